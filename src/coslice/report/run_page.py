"""The page and the picture of a run, from its values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor

from coslice.output import Interval, Measured, titles
from coslice.output.intervals import LEVEL
from coslice.output.results import volumes_of
from coslice.plans import Plan
from coslice.problems import Study
from coslice.report.page import write_report
from coslice.report.pictures import picture
from coslice.runs import Result

__all__ = ["write_page", "write_run_page"]


def write_run_page(
    folder: Path,
    study: Study,
    plans: Mapping[str, Plan],
    results: Mapping[str, Result],
    measured: Measured,
    record: Mapping[str, Any],
    commands: Sequence[str] = (),
    intervals: Mapping[str, Interval] = MappingProxyType({}),
) -> Path:
    """Write report.html and comparison.png into `folder`.

    Args:
        folder: exists.
        study, plans, results, measured: as `coslice.output.write_results` takes them.
        record: as it returns it.
        commands: what makes the reconstructions again, a line each.
        intervals: as `coslice.output.find_intervals` gives them; the viewer shows them as layers.

    Returns:
        The path of the page.
    """
    names = titles(study, plans)
    volumes = {names[stem]: volume for stem, volume in volumes_of(results).items()}
    volumes = ({} if study.unit is None else {study.reference or "truth": study.unit.cpu()}) | volumes
    window = (study.window.low, study.window.high)
    picture(folder / "comparison.png", volumes, spacing=study.volume.spacing, window=window, unit=study.window.unit)
    page = folder / "report.html"
    write_page(page, study, plans, results, measured, record, commands, intervals)
    return page


def write_page(
    path: Path,
    study: Study,
    plans: Mapping[str, Plan],
    results: Mapping[str, Result],
    measured: Measured,
    record: Mapping[str, Any],
    commands: Sequence[str] = (),
    intervals: Mapping[str, Interval] = MappingProxyType({}),
) -> None:
    """Write the page alone, to any path; the other arguments are as of `write_run_page`."""
    names = titles(study, plans)

    def titled(values: Mapping[str, Any]) -> dict[str, Any]:
        return {names[stem]: value for stem, value in values.items()}

    write_report(
        path,
        title=study.title,
        truth=None if study.unit is None else study.unit.cpu(),
        reconstructions=titled(volumes_of(results)),
        table=titled(measured.numbers),
        spacing=study.volume.spacing,
        window=(study.window.low, study.window.high),
        trajectory=titled(record["trajectory"]) or None,
        recipe={"study": study.settings, **titled(record["methods"])},
        seconds=titled(record["seconds"]),
        unit=study.window.unit,
        curves=titled(measured.curves),
        command="\n".join(commands) or None,
        layers=_layers(titled(intervals)),
        truth_title=study.reference or "Truth",
        residual=titled(record["residual"]),
        notes=[*study.told, *(interval.reason for interval in intervals.values() if interval.reason)],
    )


def _layers(intervals: Mapping[str, Interval]) -> dict[str, Tensor]:
    """What the viewer lays over the volumes, by name; the interval, which says more, first."""
    layers: dict[str, Tensor] = {}
    for title, interval in intervals.items():
        behind = f", {title}" if len(intervals) > 1 else ""
        if interval.half_width is not None:
            layers[f"interval of {LEVEL:g} %{behind}"] = interval.half_width
        layers[f"deviation{behind}"] = interval.deviation
    return layers
