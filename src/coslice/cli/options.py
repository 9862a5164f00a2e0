"""Options that several commands share.

Modules of commands import nothing heavy when they are read, so that `coslice --help` answers at once: torch and all
that stands on it are imported when a command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

__all__ = [
    "PROJECTIONS",
    "Axis",
    "Axisymmetric",
    "Binning",
    "Columns",
    "Dark",
    "Dataset",
    "Device",
    "Flat",
    "Geometry",
    "Order",
    "Out",
    "Overwrite",
    "Pixel",
    "Rows",
    "Set",
    "White",
    "option",
]

PROJECTIONS = "Measured projections"
"""The panel of their options."""


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
        help="A setting of the method, as in data.iterations=20; may be repeated. `coslice methods NAME` lists them. "
        "Of a simulated measurement: task.rows, height of a detector row in slices.",
        rich_help_panel="The method",
        show_default=False,
    ),
]

Geometry = Annotated[
    Path | None, option("JSON, RTK .xml, ASTRA, Nikon .xtekct, LEAP or TIGRE: where the rays ran.", PROJECTIONS)
]
Flat = Annotated[Path | None, option("Images of the open beam.", PROJECTIONS)]
Dark = Annotated[Path | None, option("Images without beam.", PROJECTIONS)]
White = Annotated[float | None, option("Counts of the open beam, without --flat.", PROJECTIONS)]
Pixel = Annotated[str | None, option("Of the detector, mm, or ROW,COLUMN.  [the files']", PROJECTIONS)]
Dataset = Annotated[str | None, option("The array, in a file of several.", PROJECTIONS)]
Order = Annotated[str | None, option("Axes of the file: vrc, rvc, ... (v views, r rows, c columns).", PROJECTIONS)]
Axis = Annotated[str | None, option("Its column on the detector, from 0, or find.  [as in the geometry]", PROJECTIONS)]
Rows = Annotated[str | None, option("FIRST:LAST of the detector that are used.  [all]", PROJECTIONS)]
Columns = Annotated[str | None, option("Likewise.  [all]", PROJECTIONS)]
Binning = Annotated[str | None, option("Pixels to one: N or ROWS,COLUMNS.  [to the voxels]", PROJECTIONS)]
Axisymmetric = Annotated[
    bool,
    typer.Option("--axisymmetric", help="One view stands for every view.", rich_help_panel=PROJECTIONS),
]
