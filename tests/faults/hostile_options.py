"""Hostile values for every option of every command, by its type, and for every setting of every method, by its bounds.

The command itself is the list: `options` asks the typer application, `settings` the dataclasses of the parts.
"""

import dataclasses
import inspect
import math
import typing
from collections.abc import Iterator
from typing import Any

import typer

from coslice.cli.app import app
from coslice.methods import METHODS, kinds_at, setting_lines
from coslice.settings import Setting

LONG = "9" * 5000
WORDS = (
    *("", " ", "nonsense", "é\u202e\u200b", "\x1b[31mred\x1b[0m\x07", "\x1b]52;c;AAAA\x07", "a\nb", "x" * 300, LONG),
    *("../../evil", "/dev/null", "/dev/zero", "~", "-", "--", "=1+1", "con", "a:b:c", ",", ":", "NaN", "\udcff"),
)
WHOLE = (
    *("0", "-1", "1", "1000000000", str(10**30), LONG, str(2**64), str(-(2**63)), "1_000", "1.5", "1e3"),
    *("\u0663", "x", "", " 1", "0x10", "nan", "inf", "+1", "-0"),
)
NUMBERS = (
    *("0", "-1", "1e-110", "1e308", "-1e308", "1e-308", "nan", "inf", "-inf", "1e999", LONG, "1,5", "1_0"),
    *("\u0663", "x", "", "5e-324", "1e9", "1e-9", "+1", "--1"),
)
PAIRS = (
    *("5:3", ":", "-1:", "0:0", "1:1000000000000", f"{LONG[:4000]}:1", "nan:inf", "1e308:-1e308", "0:1e-300", "a:b"),
    *("1:2:3", ",", "1,2,3"),
)
"""For options that take two numbers."""
DEVICES = (
    *("meta", "mkldnn", "xla", "hip", "nonsense", "", "cuda:99", "cpu:-1", "CPU", "\x1b[31m", "mps"),
    f"cpu:{LONG[:50]}",
)
OF_WHOLE = (
    "0",
    "-1",
    "1000000000",
    str(10**30),
    LONG[:4000],
    "1.5",
    "x",
    "\u0663",
    "1_0",
    "true",
    "none",
    "[1]",
    ".nan",
)
OF_NUMBERS = (
    *("0", "-1", "1e-110", "1e308", "-1e308", ".nan", ".inf", "-.inf", LONG[:4000], "x", "true", "{a: 1}", "1e999"),
)
OF_WORDS = ("nonsense", "1", "[a, b]", "{kind: nonsense}", "null", "!!python/object:os.system x", "2024-02-30")
OF_CHOICES = ("1", "yes", "nonsense", "[true]", "\x1b[31m", "null")


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command of the application by its words."""
    root = typer.main.get_command(app)

    def below(path: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
        if getattr(command, "commands", None):
            for name, one in command.commands.items():
                yield from below((*path, name), one)
            if path:
                yield path, command
        else:
            yield path, command

    yield from below((), root)


def options(command: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every option of a command that takes a value, and hostile values for it."""
    hints = typing.get_type_hints(inspect.unwrap(command.callback))
    for parameter in command.params:
        if parameter.param_type_name != "option" or getattr(parameter, "is_flag", False):
            continue
        word = next(one for one in parameter.opts if one.startswith("--"))
        kind = {hints[parameter.name], *typing.get_args(hints[parameter.name])}
        if word == "--device":
            values: tuple[str, ...] = DEVICES
        elif int in kind:
            values = WHOLE
        elif float in kind:
            values = NUMBERS
        else:
            values = WORDS + PAIRS
        yield word, values


def flags(command: Any) -> Iterator[str]:
    """Options without a value."""
    for parameter in command.params:
        if parameter.param_type_name == "option" and getattr(parameter, "is_flag", False):
            yield from (one for one in (*parameter.opts, *parameter.secondary_opts) if one != "--help")


def beyond(setting: Setting, value: Any) -> Iterator[str]:
    """Values for a setting: at and beyond its bounds, of other types, and past all measure."""
    for bound in (setting.least, setting.above, setting.most):
        if bound is not None:
            yield f"{bound - 1:g}"
            yield f"{math.nextafter(bound, -math.inf)!r}"
            yield f"{bound + 1:g}"
    if isinstance(value, bool) or setting.choices:
        yield from OF_CHOICES
    elif isinstance(value, int):
        yield from OF_WHOLE
    else:
        yield from OF_NUMBERS if isinstance(value, float) or value is None else OF_WORDS


def settings() -> Iterator[tuple[str, str, str]]:
    """(method, path, value) for every setting of every method."""
    for name, method in METHODS.items():
        for line in setting_lines(method):
            for value in dict.fromkeys(beyond(line.setting, line.value)):
                yield name, line.path, value
        for path in kinds_at(method):
            for value in ("nonsense", "", "null", "[1]", "{kind: 3}", "\x1b[31m"):
                yield name, path, value


def fields_of(kind: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a tree of dataclasses: its path, and the type of its field."""
    for item in dataclasses.fields(kind):
        hint = typing.get_type_hints(kind)[item.name]
        below = next((one for one in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(one)), None)
        here = path if item.metadata.get("inline") else f"{path}{item.name}."
        if below is not None and typing.get_origin(hint) is not tuple:
            yield from fields_of(below, here)
        else:
            yield f"{path}{item.name}", hint
