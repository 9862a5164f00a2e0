"""The files that a reconstruction leaves, and the numbers in them.

reconstruction.nii.gz   in the scan's units, on the prepared grid, in the scan's orientation
truth.nii.gz            what was measured, on the same grid; not of a real measurement
reference.nii.gz        what a real measurement was compared with, where it was
measurement.nii.gz      the thick slices, for super-resolution
initial.nii.gz          the reconstruction sampling started from
metrics.json            every published number, of both, by file; not of a real measurement
run.json                all settings, versions, seconds per phase, evaluations, peak memory, trajectory, the calibration

and of several samples, beside NAME.nii.gz, the reconstruction, in the same units

NAME-deviation.nii.gz   the standard deviation of the samples
NAME-interval.nii.gz    half the width of the interval of 90 %, see `coslice.uncertainty`; where a calibration applies
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from coslice.io.files import write_json
from coslice.io.nifti import write_nifti
from coslice.metrics import Curves, evaluate, per_slice_of_each
from coslice.output.intervals import Interval
from coslice.output.record import run_record
from coslice.plans import Plan
from coslice.problems import Residual, Study
from coslice.problems.residual import residual
from coslice.runs import Result
from coslice.threads import spread
from coslice.volume import Volume

__all__ = ["Measured", "measure", "titles", "volumes_of", "write_results"]


@dataclass(frozen=True)
class Measured:
    """Published metrics by file stem; empty without a truth.

    Attributes:
        numbers: as `coslice.metrics.evaluate` gives them; of a reconstruction with an interval, "uncertainty" too.
        curves: the values of every slice whose means they are.
        residuals: how far "initial" and every reconstruction is from the measurement; also without a truth.
    """

    numbers: dict[str, dict[str, Any]] = field(default_factory=dict)
    curves: dict[str, dict[str, Curves]] = field(default_factory=dict)
    residuals: dict[str, Residual] = field(default_factory=dict)


def volumes_of(results: Mapping[str, Result]) -> dict[str, Tensor]:
    """By file stem, "initial" and every reconstruction, (z, y, x) in the unit window, on the CPU."""
    volumes = {"initial": next(iter(results.values())).initial.cpu()}
    return volumes | {stem: result.reconstruction.cpu() for stem, result in results.items()}


def titles(study: Study, plans: Mapping[str, Plan]) -> dict[str, str]:
    """What a table calls the volume of each file stem."""
    return {"initial": study.problem.initial_title} | {stem: planned.label for stem, planned in plans.items()}


def measure(
    study: Study,
    results: Mapping[str, Result],
    progress: Callable[[int, int], None] = lambda done, total: None,
    intervals: Mapping[str, Interval] = MappingProxyType({}),
) -> Measured:
    """The published metrics of "initial" and of every reconstruction, by file stem; none without a truth.

    Args:
        study: what was measured.
        results: by file stem.
        progress: called as work goes on.
        intervals: by file stem, as `find_intervals` gives them; how much of the truth they hold is measured too.
    """
    measured = Measured()
    if study.volume.shape[1] > 1:  # of a plane that stands for an object all around, nothing can be projected
        volumes = {"initial": next(iter(results.values())).initial} | {
            stem: result.reconstruction for stem, result in results.items()
        }
        measured.residuals.update({stem: residual(study.problem, volume) for stem, volume in volumes.items()})
    if study.unit is None:
        return measured
    volumes, truth = volumes_of(results), study.unit.cpu()
    measured.curves.update(per_slice_of_each(volumes, truth, progress=progress))
    for stem, volume in volumes.items():
        measured.numbers[stem] = evaluate(volume, truth, curves=measured.curves[stem])
        if stem in intervals and (held := intervals[stem].covered(truth, volume)):
            measured.numbers[stem]["uncertainty"] = held
    return measured


def write_results(
    folder: Path,
    study: Study,
    plans: Mapping[str, Plan],
    results: Mapping[str, Result],
    measured: Measured,
    intervals: Mapping[str, Interval] = MappingProxyType({}),
) -> dict[str, Any]:
    """Fill `folder`, every file whole or not at all.

    Args:
        folder: exists, see `coslice.io.files.output_folder`.
        study: what was measured.
        plans, results: by file stem.
        measured: as `measure` gives it.
        intervals: as `find_intervals` gives them.

    Returns:
        The record that run.json holds.
    """
    volumes: dict[str, Callable[[], Volume]] = {}
    for stem, unit in volumes_of(results).items():
        volumes[stem] = lambda unit=unit: study.volume.with_data(study.window.from_unit(unit))
    for stem, interval in intervals.items():
        for word, width in {"deviation": interval.deviation, "interval": interval.half_width}.items():
            if width is not None:
                volumes[f"{stem}-{word}"] = lambda width=width: study.volume.with_data(width * study.window.width)
    known = "reference" if study.measured else "truth"
    for stem, volume in {known: study.truth, "measurement": study.thick}.items():
        if volume is not None:
            volumes[stem] = lambda volume=volume: volume
    # Packing takes longer than the disk: a file a core. And as few volumes in their units as there are cores.
    spread(
        torch.device("cpu"),
        lambda stem, volume: write_nifti(volume(), folder / f"{stem}.nii.gz"),
        [*volumes],
        [*volumes.values()],
    )
    if measured.numbers:
        write_json(folder / "metrics.json", measured.numbers)
    record = run_record(study, plans, results, intervals, measured.residuals)
    write_json(folder / "run.json", record)
    return record
