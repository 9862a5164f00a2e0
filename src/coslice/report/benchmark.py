"""What a benchmark leaves behind: its table in three formats, its figures, and one page that shows all of it.

    table.csv       a line for every number, tidy
    table.md        for pages
    table.tex       for papers
    figures/        SVG and PDF
    report.html     the table, the figures, every volume of the first seed, the curves, the seconds, the recipe
    stamp           what they were made of: they are made again when that changes

Volumes, curves and trajectories are of the first seed, the numbers of all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from coslice.benchmark import Benchmark, Cell, Store, Table, latex, markdown, table_of, tidy_csv, truth_of
from coslice.benchmark.recipe import TRUTH
from coslice.benchmark.store import digest_of
from coslice.benchmark.table import Records
from coslice.errors import CosliceError
from coslice.io.files import atomic
from coslice.io.nifti import read_nifti
from coslice.metrics import Curves
from coslice.priors import embedded_priors
from coslice.recipe import Recipe
from coslice.report.environment import template, uri
from coslice.report.figures import Drawing, drawings
from coslice.report.plots import course_plots, neighbour_plot, slice_plots
from coslice.report.tables import seconds_table
from coslice.report.viewer import Scene, has_niivue, viewer

__all__ = ["publish"]

_MOST_VOXELS = 40_000_000
"""In the viewer of a page, all volumes together; each takes half a byte and more of it."""
_FIRST = ("fdk", "cubic")
"""Methods that are the reconstruction others start from."""


def publish(folder: Path, benchmark: Benchmark, cells: Mapping[Cell, str], store: Store) -> tuple[Table, Path]:
    """Write the outputs of a finished benchmark into `folder`, unless they are there; its table, and its page.

    Args:
        folder: made where it is missing; files of the names above are replaced.
        benchmark, cells: the recipe, and the keys of its cells.
        store: holds all of them.

    Raises:
        CosliceError: a cell that is not finished or damaged, a place that cannot be written to.
    """
    records: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell, key in cells.items():
        record = store.record(key)
        if record is None:
            raise CosliceError(f"{benchmark.name}: {cell.group}, {cell.row} is not finished; run the benchmark again.")
        records.setdefault((cell.group, cell.row), []).append(record)
    table = table_of(benchmark, records)
    texts = {"table.csv": tidy_csv(benchmark, records), "table.md": markdown(table), "table.tex": latex(table)}
    made_of = {"cells": list(cells.values()), "texts": texts, "recipe": _told(benchmark), "viewer": has_niivue()}
    stamp, page, mark = digest_of(made_of), folder / "report.html", folder / "stamp"
    with store.publishing(benchmark.name):
        there = all((folder / name).is_file() for name in (*texts, page.name, mark.name))
        if there and mark.read_text(encoding="utf-8").strip() == stamp:
            return table, page
        try:
            (folder / "figures").mkdir(parents=True, exist_ok=True)
            mark.unlink(missing_ok=True)  # until all that it stands for is written
        except OSError as error:
            raise CosliceError(f"{folder} cannot be written to ({error.strerror}); choose another --out.") from error
        for name, text in texts.items():
            _write(folder / name, text.encode())
        drawn = drawings(benchmark, records)
        for drawing in drawn:
            _write(folder / "figures" / f"{drawing.name}.svg", drawing.svg)
            _write(folder / "figures" / f"{drawing.name}.pdf", drawing.pdf)
        _write(page, _page(benchmark, table, records, drawn, _scenes(benchmark, cells, store, records)).encode())
        _write(mark, f"{stamp}\n".encode())
    return table, page


def _write(path: Path, content: bytes) -> None:
    with atomic(path) as part:
        part.write_bytes(content)


def _scenes(benchmark: Benchmark, cells: Mapping[Cell, str], store: Store, records: Records) -> list[Scene]:
    """A scene for each group: the truth, the first reconstruction where no row is that, and every row's volume.

    Of volumes that are too many for a page, the middle slices, as many as fit.
    """
    truths = {title: truth_of(benchmark, group) for title, group in benchmark.groups.items()}
    voxels = sum(math.prod(truth.shape) * (len(benchmark.rows[title]) + 2) for title, (truth, _) in truths.items())
    share = min(1.0, _MOST_VOXELS / voxels)
    scenes = []
    for title, (truth, window) in truths.items():
        count = max(1, round(share * truth.shape[0]))
        first = (truth.shape[0] - count) // 2
        slab = slice(first, first + count)
        unit = window.to_unit(truth.data)
        volumes: dict[str, Tensor] = {TRUTH: unit[slab]}
        if not any(recipe.method in _FIRST for recipe in benchmark.rows[title].values()):
            problem = benchmark.groups[title].acquisition(benchmark.seeds[0]).problem(unit, truth.spacing, window)
            volumes[problem.initial_title] = problem.initial().clamp(0, 1)[slab]
        for cell, key in cells.items():
            if cell.group == title and cell.seed == benchmark.seeds[0]:
                volumes[cell.row] = window.to_unit(read_nifti(store.volume(key)).data[slab])
        numbers = {row: records[title, row][0]["metrics"] for row in benchmark.rows[title]}
        named = title if share == 1 else f"{title}, slices {first + 1} to {first + count} of {truth.shape[0]}"
        ends = (window.low, window.high)
        scenes.append(Scene(named, volumes, truth.spacing, ends, window.unit, numbers=numbers))
    return scenes


def _page(
    benchmark: Benchmark, table: Table, records: Records, drawn: Sequence[Drawing], scenes: Sequence[Scene]
) -> str:
    starts = [i == 0 for _, count in table.spans for i in range(count)]
    return template("benchmark.html").render(
        title=table.title,
        table=table,
        starts=starts,
        timed=all(metric.name != "seconds" for metric in table.metrics),  # else the recipe asks for them itself
        figures=[{"src": uri("image/svg+xml", drawing.svg), "alt": drawing.title} for drawing in drawn],
        viewer=viewer(scenes),
        groups=[
            _group(title, scene, {row: records[title, row][0] for row in benchmark.rows[title]})
            for title, scene in zip(benchmark.groups, scenes, strict=True)
        ],
        command=benchmark.command,
        recipe=yaml.safe_dump(_told(benchmark), sort_keys=False, allow_unicode=True, width=110),
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


def _told(benchmark: Benchmark) -> dict[str, Any]:
    """Everything that was asked for, as plain values, without the places of files on this machine."""
    plain = Recipe()
    rows = {
        group: {
            row: {
                item.name: value
                for item in fields(Recipe)
                if (value := getattr(recipe, item.name)) != getattr(plain, item.name)
                or item.name in ("method", "noise")
            }
            for row, recipe in recipes.items()
        }
        for group, recipes in benchmark.rows.items()
    }
    scans = {
        name: _given(asdict(scan)) | {"file": scan.file if scan.embedded else "FILE"}
        for name, scan in benchmark.scans.items()
    }
    return {
        "title": benchmark.title,
        "source": benchmark.source,
        "about": benchmark.about,
        "seeds": list(benchmark.seeds),
        "metrics": [metric.name for metric in benchmark.metrics],
        "figures": [{"x": figure.x, "y": list(figure.ys)} for figure in benchmark.figures],
        "scans": scans,
        "priors": {kind: name if name in embedded_priors() else "FILE" for kind, name in benchmark.priors.items()},
        "groups": {name: _given(asdict(group)) for name, group in benchmark.groups.items()},
        "rows": rows,
    }


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """What was set."""
    return {name: value for name, value in values.items() if value not in (None, {}, 0.0)}
