"""A scan made ready to reconstruct, and the files a reconstruction leaves.

`simulate` cuts and resizes a scan, brings it into the prior's window, and measures it; `write` fills an output
folder:

    reconstruction.nii.gz   in the scan's units, on the cut and resized grid, in the scan's orientation
    truth.nii.gz            what was measured, on the same grid
    initial.nii.gz          the analytic reconstruction sampling started from
    metrics.json            every published number, of both, by file
    run.json                the full recipe, versions, seconds per phase, peak memory, trajectory
    report.html             pictures, table and trajectory on one page
    comparison.png          coronal and sagittal planes side by side, with a part enlarged
"""

from __future__ import annotations

import json
import platform
import resource
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torch import Tensor

from coslice.errors import CosliceError
from coslice.io.files import atomic
from coslice.io.nifti import write_nifti
from coslice.metrics import evaluate
from coslice.reconstruction import Recipe, Result, chosen_method
from coslice.report import picture, write_report
from coslice.tasks import PUBLISHED_WEDGE, TASKS, Problem, cone_beam_ct, view_angles
from coslice.volume import Volume, Window

__all__ = ["Study", "measure", "parse_slices", "simulate", "write", "write_json"]


@dataclass(frozen=True)
class Study:
    """A known volume and its simulated measurement.

    Attributes:
        truth: cut and resized, in the scan's units.
        window: of the prior.
        unit: the truth in the unit window, (z, y, x), on the device to work on.
        problem: its measurement.
        settings: task and cut, for the record.
    """

    truth: Volume
    window: Window
    unit: Tensor
    problem: Problem
    settings: dict[str, Any]

    def title(self, stem: str, recipes: Mapping[str, Recipe]) -> str:
        """What a table calls the volume of a file: the initial one by the problem's name, others by their recipe."""
        return recipes[stem].title if stem in recipes else self.problem.initial_title


def parse_slices(text: str | None, count: int) -> tuple[int, int]:
    """From "100:164" to (100, 164); either end may be left out; None is all of `count` slices.

    Raises:
        CosliceError: text that is not a range.
    """
    if text is None:
        return 0, count
    first, colon, last = text.partition(":")
    try:
        if not colon:
            raise ValueError
        return int(first or 0), int(last or count)
    except ValueError:
        raise CosliceError(
            f'slices: "{text}" was given, FIRST:LAST is needed, such as 100:164 (LAST not included).'
        ) from None


def simulate(
    scan: Volume,
    window: Window,
    task: str = "svct",
    views: int | None = None,
    angle: float | None = None,
    slices: tuple[int, int] | None = None,
    size: int | None = None,
    device: str = "cpu",
) -> Study:
    """Cut `scan` to `slices`, resize its slices to `size` x `size`, and measure it as `task` says.

    Raises:
        CosliceError: an unknown task, a range outside the scan, a size below 1, or no views.
    """
    angles = view_angles(task, views, angle)
    truth = scan if slices is None else scan.slices(*slices)
    if size is not None:
        truth = truth.resized(size)
    unit = window.to_unit(truth.data).to(device)
    problem = cone_beam_ct(unit, truth.spacing, angles)
    settings = {
        "task": task,
        "views": len(angles),
        "angle": PUBLISHED_WEDGE if task == "lact" and angle is None else angle,
        "slices": list(slices) if slices else [0, scan.shape[0]],
        "size": list(truth.shape[1:]),
        "spacing_mm": list(truth.spacing),
        "window": asdict(window),
        "geometry": problem.description,
    }
    return Study(truth, window, unit, problem, settings)


def measure(
    study: Study, results: Mapping[str, Result], progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, dict[str, Any]]:
    """The published metrics of "initial" and of every reconstruction, by file stem."""
    volumes = {"initial": next(iter(results.values())).initial}
    volumes |= {stem: result.reconstruction for stem, result in results.items()}
    metrics = {}
    for done, (stem, volume) in enumerate(volumes.items()):
        progress(done, len(volumes))
        metrics[stem] = evaluate(volume.cpu(), study.unit.cpu())
    progress(len(volumes), len(volumes))
    return metrics


def write(
    folder: Path,
    study: Study,
    recipes: Mapping[str, Recipe],
    results: Mapping[str, Result],
    metrics: Mapping[str, Mapping[str, Any]],
    prior: Mapping[str, Any] | None,
) -> None:
    """Fill `folder`, each file atomically.

    Args:
        folder: exists, see `coslice.io.files.output_folder`.
        study: what was measured.
        recipes, results: by file stem.
        metrics: as `measure` gives them.
        prior: the card of the prior, or None.
    """
    volumes = {"initial": next(iter(results.values())).initial.cpu()}
    volumes |= {stem: result.reconstruction.cpu() for stem, result in results.items()}
    for stem, unit in volumes.items():
        write_nifti(study.truth.with_data(study.window.from_unit(unit)), folder / f"{stem}.nii.gz")
    write_nifti(study.truth, folder / "truth.nii.gz")
    write_json(folder / "metrics.json", metrics)
    seconds = {stem: result.seconds for stem, result in results.items()}
    trajectories = {stem: result.trajectory for stem, result in results.items() if result.trajectory}
    run = {
        "coslice": _version("coslice"),
        "study": study.settings,
        "recipes": {stem: asdict(recipe) for stem, recipe in recipes.items()},
        "methods": {stem: asdict(chosen_method(recipe)) for stem, recipe in recipes.items()},
        "prior": prior,
        "seconds": seconds,
        "peak_memory_mb": peak_memory_mb(),
        "device": str(study.unit.device),
        "versions": {name: _version(name) for name in ("torch", "numpy", "numba", "nibabel")}
        | {"python": platform.python_version()},
        "trajectory": trajectories,
    }
    write_json(folder / "run.json", run)

    def titled(values: Mapping[str, Any]) -> dict[str, Any]:
        return {study.title(stem, recipes): value for stem, value in values.items()}

    truth, spacing, window = study.unit.cpu(), study.truth.spacing, (study.window.low, study.window.high)
    picture(folder / "comparison.png", {"truth": truth} | titled(volumes), spacing=spacing, window=window)
    write_report(
        folder / "report.html",
        title=f"{TASKS[study.settings['task']]}, {study.settings['views']} views",
        truth=truth,
        reconstructions=titled(volumes),
        table=titled(metrics),
        spacing=spacing,
        window=window,
        trajectory=titled(trajectories) or None,
        recipe={"study": study.settings, **titled(run["recipes"])},
        seconds=titled(seconds),
        unit=study.window.unit,
    )


def write_json(path: Path, values: Any) -> None:
    """Write strict JSON, atomically."""
    with atomic(path) as part:
        part.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n")


def peak_memory_mb() -> float:
    """The most memory this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
