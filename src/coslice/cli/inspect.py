"""`coslice inspect`: what an input is, in words, and drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coslice.cli.options import (
    PROJECTIONS,
    Axis,
    Axisymmetric,
    Binning,
    Columns,
    Dark,
    Dataset,
    Flat,
    Geometry,
    Order,
    Pixel,
    Rows,
    White,
    option,
)

if TYPE_CHECKING:
    from coslice.cli.descriptions.description import Description
    from coslice.cli.measurements import ProjectionFiles

__all__ = ["inspect"]


def inspect(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="A scan, a folder of DICOM, projections, a scanner's geometry, a prior (file or name), or results.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None, option("Picture to write, .png; or a new folder for picture, words and JSON.  [only words]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    values: Annotated[str | None, option("What the numbers are, as of reconstruct.  [found]")] = None,
    series: Annotated[str | None, option("DICOM: number, UID or words of the series.")] = None,
    geometry: Geometry = None,
    beam: Annotated[str | None, option("parallel, where the file has the angles.", PROJECTIONS)] = None,
    flat: Flat = None,
    dark: Dark = None,
    white: White = None,
    pixel: Pixel = None,
    dataset: Dataset = None,
    order: Order = None,
    rotation_axis: Axis = None,
    rows: Rows = None,
    columns: Columns = None,
    binning: Binning = None,
    axisymmetric: Axisymmetric = False,
    size: Annotated[int | None, option("Of the grid, voxels across.", PROJECTIONS)] = None,
    spacing: Annotated[float | None, option("Of the grid, mm.", PROJECTIONS)] = None,
    to_json: Annotated[
        Path | None, typer.Option("--as-json", help="Write the geometry as coslice's JSON.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace earlier files.")] = False,
) -> None:
    """Say in words what INPUT is, what is doubtful about it and what to type; with --out draw it."""
    from coslice.cli.descriptions.recognised import described
    from coslice.cli.measurements import ProjectionFiles
    from coslice.cli.opening import names_of
    from coslice.cli.parsing import interval, number_or_find, pair
    from coslice.problems import DetectorChoice, GridChoice, Stated

    for path in (out, to_json):
        _refuse_existing(path, overwrite)
    files = ProjectionFiles(
        source, geometry, beam, None if pixel is None else pair("pixel", pixel, float), flat, dark, dataset, order
    )
    stated = Stated(
        values=values,
        white=white,
        detector=DetectorChoice(
            interval("rows", rows),
            interval("columns", columns),
            None if binning is None else pair("binning", binning, int),
        ),
        axis=number_or_find("rotation-axis", rotation_axis),
        grid=GridChoice(size, spacing),
        axisymmetric=axisymmetric,
    )
    found = described(files, stated, series, axisymmetric)
    _show(found, as_json)
    if to_json is not None:
        _write_geometry(files, axisymmetric, to_json, as_json)
    if out is not None:
        _write(found, out, overwrite, as_json, names_of(source, geometry, flat, dark))


def _show(found: Description, as_json: bool) -> None:
    from coslice.cli.descriptions.description import written
    from coslice.cli.display import say, show_card
    from coslice.cli.terminal import print_json

    if as_json:
        print_json(found.values)
        return
    say(*written(found).split("\n"))
    if "card" in found.facts:
        say("")
        show_card("Its card", found.facts["card"])


def _refuse_existing(path: Path | None, overwrite: bool) -> None:
    from coslice.errors import CosliceError

    if path is None or overwrite or not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    raise CosliceError(f"inspect: {path} exists; choose another name, or replace it with --overwrite.")


def _write_geometry(files: ProjectionFiles, one_view: bool, path: Path, quiet: bool) -> None:
    from coslice.cli.display import say
    from coslice.cli.measurements import opened
    from coslice.io.geometry_files import read_geometry, write_geometry

    scanner = opened(files, one_view)[1] if files.meant else read_geometry(files.recording, pixel=files.pixel)
    write_geometry(
        scanner.geometry,
        path,
        scanner.grid,
        flip_rows=scanner.flip_rows,
        flip_columns=scanner.flip_columns,
        white=scanner.white,
    )
    if not quiet:
        say(f"Written: {path}")


def _descriptions(values: object) -> Iterator[str]:
    """What is called a description, wherever it stands."""
    if isinstance(values, dict):
        for key, value in values.items():
            if key == "description" and isinstance(value, str):
                yield value
            yield from _descriptions(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _descriptions(value)


def _write(found: Description, out: Path, overwrite: bool, quiet: bool, names: tuple[str, ...]) -> None:
    """The picture; into a folder, the words and JSON as well, in which files have no names."""
    from coslice.cli.descriptions.description import written
    from coslice.cli.display import say
    from coslice.errors import CosliceError
    from coslice.io.files import output_folder, write_bytes, write_json, write_text
    from coslice.problems.study import without_files

    if out.suffix.lower() == ".png":
        if found.picture is None:
            raise CosliceError(f"inspect: --out {out.name} was given, but there is nothing to draw of {found.title}.")
        write_bytes(out, found.picture())
        made = str(out)
    elif out.suffix:
        raise CosliceError(f"inspect: --out {out.name} was given, but a picture is written as .png; or give a folder.")
    else:
        with output_folder(out, overwrite) as folder:
            if found.picture is not None:
                write_bytes(folder / "picture.png", found.picture())
            # People write names of patients into the descriptions of series.
            described = tuple(_descriptions(found.values))
            words, values = (
                without_files(without_files(text, described, "DESCRIPTION"), names)
                for text in (written(found), json.dumps(found.values, ensure_ascii=False))
            )
            write_text(folder / "inspection.txt", f"{words}\n")
            write_json(folder / "inspection.json", json.loads(values))
        made = str(out)
    if not quiet:
        say(f"Written: {made}")
