"""Options that several commands share.

Modules of commands import nothing heavy when they are read, so that `coslice --help` answers at once: torch and all
that stands on it are imported when a command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

__all__ = ["Device", "Out", "Overwrite", "Set", "option"]


def option(text: str, panel: str | None = None) -> Any:
    """An option whose help is `text`, in which "[100]" is a default and not a style."""
    return typer.Option(help=escape(text), rich_help_panel=panel, show_default=False)


Out = Annotated[Path, option("Folder for the results; must be new or empty.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace earlier results in the output folder.")]
Device = Annotated[str, option("auto, cpu, cuda, cuda:1, ...  [auto]")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A setting of the method, as in data.iterations=20; may be repeated. `coslice methods NAME` lists them.",
        rich_help_panel="The method",
        show_default=False,
    ),
]
