"""Tables of methods on the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from coslice.cli.terminal import Terminal
from coslice.methods import AnyMethod, Direct, SettingLine, kinds_at, setting_lines
from coslice.problems import TASKS

__all__ = ["show_method", "show_methods"]

_out = Terminal()


def show_methods(methods: Iterable[AnyMethod]) -> None:
    """A line for each method."""
    table = _table("name", "title", "sampling", "source")
    for method in methods:
        sampled = "no" if isinstance(method, Direct) else "yes"
        table.add_row(*map(Text, (method.name, method.title, sampled, method.source)))
    _out.print(table)
    _out.print("`coslice methods NAME` prints the settings of one.")


def show_method(method: AnyMethod, called: str, task: str = "svct", fast: bool = False) -> None:
    """The parts of a method, and every setting: how `--set` calls it, value, published value, meaning.

    Args:
        method: to show.
        called: how the user named it, a name or FILE.py:NAME.
        task: for which the settings are.
        fast: whether it is the fast form.
    """
    _out.print(Text.assemble((method.title, "bold"), f" ({called}{', fast form' if fast else ''})"))
    _out.print(f"Source: {method.source}")
    if method.kinds:
        tasks = [name for name, one in TASKS.items() if one.problem_kind in method.kinds]
        _out.print(f"For: {', '.join(tasks)}")
    lines = setting_lines(method)
    if not lines:
        return
    table = _table("setting", "value", "published", "meaning")
    kinds = kinds_at(method)
    for line in lines:
        is_part = line.path in kinds
        published = "" if line.published == line.value else _value(line.published)
        cells = (line.path, _value(line.value), published, _meaning(line, kinds.get(line.path)))
        table.add_row(*(Text(cell, style="bold" if is_part else "") for cell in cells))
    _out.print(table)
    example = next((line for line in lines if "." in line.path and type(line.value) in (int, float)), None)
    if example is not None:
        words = ["coslice", "reconstruct", "SCAN", *(() if task == "svct" else ("--task", task)), "--method", called]
        words += ["--fast"] if fast else []
        words += ["--set", f"{example.path}={_value(example.value)}", "--out", "out/"]
        _out.print(f"Change one with --set, as in: {shlex.join(words)}")


def _meaning(line: SettingLine, kinds: list[str] | None) -> str:
    known = line.setting
    if kinds is not None:
        others = [word for word in kinds if word != line.value]
        meaning = known.meaning.removesuffix(".")
        return f"{meaning}. Others: {', '.join(others)}." if others else known.meaning
    meaning = known.meaning + (f", {known.unit}" if known.unit else "")
    bounded = known.choices or (known.least, known.above, known.most) != (None, None, None)
    return f"{meaning} ({known.needed})" if bounded else meaning


def _table(*titles: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    return table


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)
