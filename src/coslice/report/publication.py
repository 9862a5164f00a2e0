"""What a benchmark leaves behind: its table in three formats, its figures, and one page that shows all of it.

    table.csv       a line for every number, tidy
    table.md        for pages
    table.tex       for papers
    figures/        drawings as SVG and PDF, slices as PNG and PDF
    lesions.json    of a recipe that asks for numbers of lesions: all of them, by row, seed and lesion
    report.html     the table, the figures, every volume of the first seed, the curves, the seconds, the recipe
    stamp           what they were made of: they are made again when that changes

Volumes, curves and trajectories are of the first seed, the numbers of all. Table, curves and the viewer's numbers are
taken under the benchmark's protocol; figures and the course of the sampling always under "unit", which they then say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from coslice.benchmark import (
    TRUTH,
    Benchmark,
    Cell,
    Records,
    Store,
    Table,
    digest_of,
    finished_records,
    first_reconstruction,
    latex,
    lesion_boxes,
    lesion_numbers,
    markdown,
    number_key,
    outline,
    remeasured,
    table_of,
    tidy_csv,
    truth_of,
)
from coslice.errors import CosliceError
from coslice.io.documents import read_json
from coslice.io.files import write_bytes, write_json, write_text
from coslice.io.nifti import read_nifti
from coslice.metrics import UNIT, Curves
from coslice.report.environment import template, uri
from coslice.report.figures import drawings
from coslice.report.plots import course_plots, neighbour_plot, slice_plots
from coslice.report.slice_sheets import Sheet, SheetContent, slice_sheet
from coslice.report.tables import seconds_table
from coslice.report.viewer import Scene, has_niivue, viewer
from coslice.tree import typed
from coslice.window import Window

__all__ = ["publish"]

_MOST_VOXELS = 40_000_000
"""In the viewer of a page, all volumes together; a voxel takes half a byte or more of it."""


def publish(
    folder: Path,
    benchmark: Benchmark,
    cells: Mapping[Cell, str],
    store: Store,
    command: str | None = None,
) -> tuple[Table, Path]:
    """Write the outputs of a finished benchmark into `folder`, unless they are there; its table, and its page.

    Args:
        folder: made where it is missing; files of the names above are replaced.
        benchmark, cells: the recipe, and the keys of its cells.
        store: holds all of them.
        command: what runs it again, for the page; None where no command does.

    Raises:
        CosliceError: a cell that is not finished or damaged, a place that cannot be written to.
    """
    of_unit = _with_lesions(folder, benchmark, cells, store, finished_records(benchmark, cells, store))
    records = remeasured(benchmark, cells, store, of_unit)
    table = table_of(benchmark, records)
    texts = {"table.csv": tidy_csv(benchmark, records), "table.md": markdown(table), "table.tex": latex(table)}
    made_of = {
        "cells": list(cells.values()),
        "texts": texts,
        "recipe": outline(benchmark),
        "viewer": has_niivue(),
        "command": command,
    }
    stamp, page, mark = digest_of(made_of), folder / "report.html", folder / "stamp"
    with store.publishing(folder.name):
        there = all((folder / name).is_file() for name in (*texts, page.name, mark.name))
        if there and mark.read_text(encoding="utf-8").strip() == stamp:
            return table, page
        _make(folder / "figures")
        mark.unlink(missing_ok=True)  # until all that it stands for is written
        for name, text in texts.items():
            write_text(folder / name, text)
        drawn = drawings(benchmark, of_unit)
        for drawing in drawn:
            write_bytes(folder / "figures" / f"{drawing.name}.svg", drawing.svg)
            write_bytes(folder / "figures" / f"{drawing.name}.pdf", drawing.pdf)
        sheets = _sheets(benchmark, cells, store, records)
        for sheet in sheets:
            write_bytes(folder / "figures" / f"{sheet.name}.png", sheet.png)
            write_bytes(folder / "figures" / f"{sheet.name}.pdf", sheet.pdf)
        shown = [("image/svg+xml", drawing.svg, drawing.title) for drawing in drawn]
        shown += [("image/png", sheet.png, sheet.title) for sheet in sheets]
        figures = [{"src": uri(kind, picture), "alt": words} for kind, picture, words in shown]
        scenes = _scenes(benchmark, cells, store, records)
        write_text(page, _page(benchmark, table, records, figures, scenes, command))
        write_text(mark, f"{stamp}\n")
    return table, page


def _with_lesions(
    folder: Path, benchmark: Benchmark, cells: Mapping[Cell, str], store: Store, records: Records
) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """The records, with the numbers of lesions where the recipe asks for them; which are kept in `folder`."""
    completed = {place: list(found) for place, found in records.items()}
    if not benchmark.groups_with_lesions:
        return completed
    kept, known = folder / "lesions.json", {}
    with suppress(OSError, ValueError, LookupError):  # what is damaged is measured again
        there = typed(dict[str, dict[str, Any]], read_json(kept), "lesions", "report")
        for one in there.values():
            typed(dict[str, dict[str, float | None]], one["parts"], "parts", "report")
        known = there
    numbers = lesion_numbers(benchmark, cells, store, known)
    if numbers != known:
        _make(folder)
        write_json(kept, numbers)
    for cell in cells:
        if cell.group in benchmark.groups_with_lesions:
            found, i = completed[cell.group, cell.row], benchmark.seeds.index(cell.seed)
            found[i] = {**found[i], "lesions": numbers[number_key(benchmark, cells, cell)]["parts"]}
    return completed


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CosliceError(f"{folder} cannot be written to ({error.strerror}); choose another folder.") from error


def _of_first_seed(
    benchmark: Benchmark,
    title: str,
    cells: Mapping[Cell, str],
    store: Store,
    window: Window,
    slab: slice = slice(None),
) -> dict[str, Tensor]:
    """The reconstructions of a group by row, (z, y, x) in the unit window; of the slices `slab`."""
    return {
        cell.row: window.to_unit(read_nifti(store.volume(key)).data[slab])
        for cell, key in cells.items()
        if cell.group == title and cell.seed == benchmark.seeds[0]
    }


def _sheets(benchmark: Benchmark, cells: Mapping[Cell, str], store: Store, records: Records) -> list[Sheet]:
    """The slices that the recipe asks for, of the first seed; a sheet for each group."""
    sheets: dict[str, Sheet] = {}
    for title, group in benchmark.groups.items():
        asked = [picture for picture in benchmark.drawings.pictures if title in (picture.groups or (title,))]
        if not asked:
            continue
        truth, window = truth_of(benchmark, group)
        volumes = {TRUTH: window.to_unit(truth.data)} | _of_first_seed(benchmark, title, cells, store, window)
        curves = {row: records[title, row][0]["curves"] for row in benchmark.rows[title]}
        boxes = lesion_boxes(benchmark, title)
        slices = SheetContent(title, volumes, truth.spacing, (window.low, window.high), window.unit, curves, boxes)
        for sheet in (slice_sheet(picture, slices) for picture in asked):
            if sheet is not None:
                again = sum(name.startswith(sheet.name) for name in sheets)
                sheets[sheet.name + (f"-{again + 1}" if again else "")] = sheet
    return [replace(sheet, name=name) for name, sheet in sheets.items()]


def _scenes(benchmark: Benchmark, cells: Mapping[Cell, str], store: Store, records: Records) -> list[Scene]:
    """One scene a group: the truth, the first reconstruction where no row is that, and every row's volume.

    Where the volumes are too large for a page, as many of their middle slices as fit.
    """
    truths = {title: truth_of(benchmark, group) for title, group in benchmark.groups.items()}
    voxels = sum(math.prod(truth.shape) * (len(benchmark.rows[title]) + 2) for title, (truth, _) in truths.items())
    share = min(1.0, _MOST_VOXELS / voxels)
    scenes = []
    for title, (truth, window) in truths.items():
        count = max(1, round(share * truth.shape[0]))
        first = (truth.shape[0] - count) // 2
        slab = slice(first, first + count)
        volumes: dict[str, Tensor] = {TRUTH: window.to_unit(truth.data)[slab]}
        for name, volume in first_reconstruction(benchmark, title, truth, window).items():
            volumes[name] = volume[slab]
        volumes |= _of_first_seed(benchmark, title, cells, store, window, slab)
        numbers = {row: records[title, row][0]["metrics"] for row in benchmark.rows[title]}
        named = title if share == 1 else f"{title}, slices {first + 1} to {first + count} of {truth.shape[0]}"
        ends = (window.low, window.high)
        scenes.append(Scene(named, volumes, truth.spacing, ends, window.unit, numbers=numbers))
    return scenes


def _page(
    benchmark: Benchmark,
    table: Table,
    records: Records,
    figures: Sequence[Mapping[str, str]],
    scenes: Sequence[Scene],
    command: str | None,
) -> str:
    starts = [i == 0 for _, count in table.spans for i in range(count)]
    return template("benchmark.html").render(
        title=table.title,
        table=table,
        starts=starts,
        aside="" if benchmark.protocol == UNIT else UNIT.sentence,
        figures=figures,
        viewer=viewer(scenes),
        groups=[
            _group(title, scene, {row: records[title, row][0] for row in benchmark.rows[title]})
            for title, scene in zip(benchmark.groups, scenes, strict=True)
        ],
        command=command,
        recipe=yaml.safe_dump(outline(benchmark), sort_keys=False, allow_unicode=True, width=110),
    )


def _group(title: str, scene: Scene, records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the page draws of a group, from the records of its rows."""
    curves = {
        row: {plane: Curves(**values) for plane, values in record["curves"].items()} for row, record in records.items()
    }
    courses = {row: record["trajectory"] for row, record in records.items() if record["trajectory"]}
    truth = next(iter(records.values()))["metrics"]["sdiff_truth"]
    return {
        "title": title,
        "slices": slice_plots(curves) + neighbour_plot(scene.volumes),
        "plots": course_plots(courses, truth, tuple(records)),
        "seconds": seconds_table({row: record["phases"] for row, record in records.items()}),
    }
