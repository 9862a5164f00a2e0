"""The page of a cohort: what failed first, then every scan with a small picture, and the numbers of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import yaml
from PIL import Image

from coslice.cohort import Cohort, Statistic
from coslice.cohort.statistics import quantity_of
from coslice.cohort.tables_on_disk import CohortLine
from coslice.io.documents import read_json
from coslice.io.files import write_text
from coslice.io.nifti import read_nifti
from coslice.report.environment import template, uri
from coslice.report.pictures import grey, png, shown, square, view

__all__ = ["number_text", "small_picture", "write_cohort_page"]

_SIDE = 112  # pixels of a picture's height
_ORDER = ("failed", "running", "stopped", "waiting", "done")


def small_picture(folder: Path) -> bytes:
    """The middle axial and coronal slice of the reconstruction in a folder, side by side, as PNG.

    Args:
        folder: as `coslice reconstruct` fills it.

    Raises:
        CosliceError: there is no reconstruction.
    """
    volume = read_nifti(folder / "reconstruction.nii.gz")
    window = read_json(folder / "run.json")["study"]["window"]
    low, high = float(window["low"]), float(window["high"])
    unit = (volume.data - low) / (high - low)
    parts = []
    for plane in ("axial", "coronal"):
        image = square(grey(view(unit, plane), (low, high), shown((low, high), window["unit"])), plane, volume.spacing)
        width = max(8, min(2 * _SIDE, round(image.width * _SIDE / image.height)))
        parts.append(np.asarray(image.convert("L").resize((width, _SIDE), Image.Resampling.BILINEAR)))
    return png(Image.fromarray(np.concatenate(parts, axis=1)))


def write_cohort_page(
    cohort: Cohort,
    title: str,
    lines: Sequence[CohortLine],
    statistics: Sequence[Statistic],
    recipe: Mapping[str, Any],
    command: str,
) -> Path:
    """Write index.html; an old page is replaced whole or not at all.

    Args:
        cohort: where it goes, and where the results are that it leads to.
        title: its heading.
        lines: of all scans.
        statistics: of those that are done.
        recipe: what all scans have in common.
        command: what goes on with the cohort.
    """
    metrics = list(dict.fromkeys(metric for line in lines for metric in line.numbers if not _beside(metric)))
    notes = list(dict.fromkeys(note for line in lines for note in line.scan.notes))
    counts = {state: sum(line.record.state == state for line in lines) for state in _ORDER}
    rows = [_row(cohort, line, metrics, notes) for line in lines if line.record.state == "done"]
    page = template("cohort.html").render(
        title=title,
        counts=", ".join(f"{count} {state}" for state, count in counts.items() if count),
        total=len(lines),
        failed=[_row(cohort, line, [], notes) for line in lines if line.record.state == "failed"],
        waiting=[_row(cohort, line, [], notes) for line in lines if line.record.state not in ("failed", "done")],
        rows=rows,
        notes=notes,
        heads=[{"name": metric, "arrow": quantity_of(metric).arrow} for metric in metrics],
        statistics=[_statistic(one) for one in statistics if not one.metric.startswith("initial.")],
        recipe=yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True, width=110) if recipe else "",
        command=command,
    )
    path = cohort.out / "index.html"
    write_text(path, page)
    return path


def number_text(metric: str, value: float | None) -> str:
    """A number of the table in print; "-" where there is none."""
    return "-" if value is None else quantity_of(metric).text(value)


def _beside(metric: str) -> bool:
    """Whether a number is of a method that was run beside the reconstruction."""
    return metric.count(".") > 1 or metric.split(".")[0] not in ("axial", "coronal", "sagittal", "sdiff", "sdiff_gap")


def _statistic(one: Statistic) -> dict[str, str]:
    spread = "" if one.deviation is None else f" ± {number_text(one.metric, one.deviation)}"
    return {
        "metric": f"{one.metric} {quantity_of(one.metric).arrow}".strip(),
        "count": str(one.count),
        "mean": f"{number_text(one.metric, one.mean)}{spread}",
        "median": number_text(one.metric, one.median),
        "worst": number_text(one.metric, one.worst),
        "scan": one.worst_scan,
    }


def _row(cohort: Cohort, line: CohortLine, metrics: Sequence[str], notes: Sequence[str]) -> dict[str, Any]:
    name, record = line.scan.name, line.record
    picture = cohort.beside(name, "png")
    log = cohort.beside(name, "txt")
    done = record.state == "done"
    return {
        "name": name,
        "state": record.state,
        "message": record.message,
        "starts": record.starts,
        "seconds": "-" if record.seconds is None else f"{record.seconds:.0f}",
        "link": f"{quote(name)}/report.html" if done else "",
        "log": f"cohort/{quote(log.name)}" if log.is_file() else "",
        "src": uri("image/png", picture.read_bytes()) if done and picture.is_file() else "",
        "notes": [line.scan.notes.get(note, "") for note in notes],
        "options": ", ".join(f"{option} {value}" for option, value in line.scan.options.items()),
        "cells": [number_text(metric, line.numbers.get(metric)) for metric in metrics],
    }
