"""The reference of the command line: a page for every command, with the help that the command itself prints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from docstrings import as_rst, first_sentence, inline
from made_pages import Made, write_pages

from coslice.cli.app import app as coslice_app

__all__ = ["commands", "page_of_command", "setup"]

_OTHERS = "Options"


def commands() -> dict[str, Any]:
    """The commands by their words, as in "priors show", each of a group after the group."""
    root: Any = typer.main.get_command(coslice_app)
    found: dict[str, Any] = {}

    def walk(command: Any, words: str) -> None:
        for name, inside in getattr(command, "commands", {}).items():
            found[f"{words}{name}"] = inside
            walk(inside, f"{words}{name} ")

    walk(root, "")
    return found


def page_of_command(words: str) -> str:
    """The page of a command and of those below it."""
    every = commands()
    lines = list(_section(words, every[words], "="))
    for below in every:
        if below.startswith(f"{words} "):
            lines += _section(below, every[below], "-")
    return "\n".join(lines)


def _section(words: str, command: Any, underline: str) -> Iterator[str]:
    title = f"coslice {words}"
    yield from [f".. _command-{words.replace(' ', '-')}:", "", title, underline * len(title), ""]
    yield from as_rst(_text(command.help or "").splitlines())
    context = command.context_class(command, info_name=title)
    arguments = [item for item in command.params if item.param_type_name == "argument"]
    below = ["COMMAND"] if getattr(command, "commands", {}) else []
    usage = " ".join([title, *below, "[OPTIONS]", *(_argument(item) for item in arguments)])
    yield from [".. code-block:: text", "", f"   {usage}", "", f".. program:: {title}", ""]
    for item in arguments:
        if item.help:
            yield from [f"``{_argument(item)}``", f"   {inline(_text(item.help))}", ""]
    panels: dict[str, list[Any]] = {}
    for item in command.params:
        if item.param_type_name == "option" and not getattr(item, "hidden", False):
            panels.setdefault(item.rich_help_panel or _OTHERS, []).append(item)
    for panel, options in panels.items():
        yield from [f".. rubric:: {panel}", ""]
        for item in options:
            yield from _option(item, context)


def _option(item: Any, context: Any) -> Iterator[str]:
    value = "" if item.is_flag else f" {_value(item, context)}"
    yield f".. option:: {', '.join(f'{name}{value}' for name in (*item.opts, *item.secondary_opts))}"
    text, default = _parted(_text(item.help or ""))
    yield from ["", f"   {inline(text)}"]
    if item.required:
        yield from ["", "   Must be given."]
    elif default:
        yield from ["", f"   Default: {inline(default)}."]
    yield ""


def _argument(item: Any) -> str:
    name = item.metavar or item.name.upper()
    return (name if item.required else f"[{name}]") + ("..." if item.nargs != 1 else "")


def _value(item: Any, context: Any) -> str:
    """The word for the value of an option. How it is asked for changes with the version of typer."""
    word = item.metavar or (item.make_metavar if hasattr(item, "make_metavar") else item.display_type)(context)
    word = str(word).strip("<>").upper()
    return {"STR": "TEXT", "INT": "INTEGER", "FLOAT": "NUMBER"}.get(word, word)


def _text(said: str) -> str:
    """Help as it is printed: in it, [ may be escaped to be no style. Options that it names are code."""
    parts = re.split(r"(`[^`]*`)", said.replace("\\[", "["))
    parts[::2] = [re.sub(r"(?<![\w-])(--[a-z][a-z-]*)", r"`\1`", part) for part in parts[::2]]
    return "".join(parts).strip()


def _parted(text: str) -> tuple[str, str]:
    """Help, and the default that stands in brackets at its end."""
    found = re.fullmatch(r"(.*?)\s+\[([^\[\]]+)\]\.?", text, re.DOTALL)
    return (found.group(1), found.group(2)) if found else (text, "")


def _make(app: Any) -> None:
    every = commands()
    first = [words for words in every if " " not in words]
    write_pages(Path(app.srcdir) / "commands", {words: page_of_command(words) for words in first})
    rows = ["", "| command | what it does |", "|---|---|"]
    for words, command in every.items():
        page = words.split(" ")[0]
        said = first_sentence(_text(command.help or "")).replace("``", "`").replace("\\", "")
        anchor = f"#command-{words.replace(' ', '-')}" if " " in words else ""
        rows.append(f"| [coslice {words}](commands/{page}.rst{anchor}) | {said} |")
    app.made_pages["command-line"] = Made("\n".join([*rows, ""]), [f"commands/{words}" for words in first])


def setup(app: Any) -> dict[str, Any]:
    app.connect("builder-inited", _make)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
