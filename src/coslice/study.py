"""A scan made ready to reconstruct, and the files a reconstruction leaves.

`simulate` prepares a scan, brings it into the prior's window, and measures it; `from_measurement` takes a scan of thick
slices as it is; `write` fills an output folder:

    reconstruction.nii.gz   in the scan's units, on the prepared grid, in the scan's orientation
    truth.nii.gz            what was measured, on the same grid; not of a real measurement
    measurement.nii.gz      the thick slices, for super-resolution
    initial.nii.gz          the reconstruction sampling started from
    metrics.json            every published number, of both, by file; not of a real measurement
    run.json                the full recipe, versions, seconds per phase, peak memory, trajectory
    report.html             pictures, table and trajectory on one page
    comparison.png          coronal and sagittal planes side by side, with a part enlarged
"""

from __future__ import annotations

import json
import platform
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torch import Tensor

from coslice.errors import CosliceError
from coslice.io.files import atomic
from coslice.io.nifti import write_nifti
from coslice.metrics import SMALLEST_SIDE, Curves, evaluate, per_slice
from coslice.preparation import Preparation
from coslice.recipe import Recipe, chosen_method
from coslice.reconstruction import Result
from coslice.report import picture, write_report
from coslice.report.command import reconstruct_command, scan_options
from coslice.tasks import TASKS, Acquisition, Problem, thick_slices
from coslice.volume import Volume, Window

__all__ = ["Metrics", "Study", "from_measurement", "measure", "parse_slices", "simulate", "write", "write_json"]


@dataclass(frozen=True)
class Study:
    """A measurement, and what is known of the volume behind it.

    Attributes:
        grid: where the reconstruction's voxels are, in the scan's units; for a simulated measurement the truth itself.
        window: of the prior.
        unit: the truth in the unit window, (z, y, x), on the device to work on; None for a real measurement.
        problem: the measurement.
        settings: task and preparation, for the record.
        title: in words.
        thick: the measured slices on their own grid, for super-resolution.
        options: the same settings as `coslice reconstruct` calls them, see `coslice.report.command.scan_options`.
    """

    grid: Volume
    window: Window
    unit: Tensor | None
    problem: Problem
    settings: dict[str, Any]
    title: str
    thick: Volume | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def truth(self) -> Volume | None:
        return self.grid if self.unit is not None else None

    def titled(self, stem: str, recipes: Mapping[str, Recipe]) -> str:
        """What a table calls the volume of a file: the initial one by the problem's name, others by their recipe."""
        if stem in recipes and recipes[stem].method != "fdk":
            return recipes[stem].title
        return self.problem.initial_title


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
    window: Window | Callable[[Volume], Window],
    acquisition: Acquisition = Acquisition(),
    preparation: Preparation = Preparation(),
    device: str = "cpu",
) -> Study:
    """Prepare `scan` and measure it.

    Args:
        scan: in its own units.
        window: what is 0 and 1, or how to find out from the prepared scan.
        acquisition, preparation, device: how to measure, what to do before, and where to work.

    Raises:
        CosliceError: a preparation, a measurement or metrics that the scan is too small for.
    """
    truth = preparation(scan)
    if min(truth.shape) < SMALLEST_SIDE:
        # Hours of sampling would end in metrics that cannot be taken.
        raise CosliceError(
            f"simulate: {' x '.join(map(str, truth.shape))} voxels (z, y, x) were given, but the metrics need at least "
            f"{SMALLEST_SIDE} along each axis; keep more slices, or smaller voxels."
        )
    window = window(truth) if callable(window) else window
    unit = window.to_unit(truth.data).to(device)
    problem = acquisition.problem(unit, truth.spacing, window)
    thick = None
    if not acquisition.is_ct:
        factor = acquisition.settings["factor"]
        thick = truth.with_thick_slices(window.from_unit(problem.measurement.cpu()), factor)
    settings = acquisition.settings | preparation.settings | _record(truth, window, problem)
    options = scan_options(acquisition, preparation)
    return Study(truth, window, unit, problem, settings, str(acquisition), thick, options)


def from_measurement(
    scan: Volume,
    window: Window | Callable[[Volume], Window],
    factor: int | None = None,
    fwhm_mm: float | None = None,
    preparation: Preparation = Preparation(),
    device: str = "cpu",
) -> Study:
    """The problem of a real scan with thick slices; nothing is known of the volume behind it.

    Args:
        scan: thick slices along z, in their own units.
        window: what is 0 and 1, or how to find out from the prepared scan.
        factor: thin slices per thick one; None makes voxels as near to cubes as a whole number can.
        fwhm_mm: of the slice profile, mm; None is a box.
        preparation, device: what to do before (not along z), and where to work.

    Raises:
        CosliceError: slices no thicker than their pixels are wide, or a slice profile too wide.
    """
    for name in ("thickness", "pad"):
        if getattr(preparation, name) is not None:
            raise CosliceError(
                f"--{name}: it was given for a real measurement, whose slices are as they are; leave it out."
            )
    scan = replace(preparation, spacing=None)(scan)
    if preparation.spacing is not None:
        scan = scan.resampled((scan.spacing[0], preparation.spacing, preparation.spacing))
    dz, dy, dx = scan.spacing
    options = scan_options(Acquisition("zsr", factor=factor, fwhm_mm=fwhm_mm), preparation, measured=True)
    if factor is None:
        factor = round(dz / min(dy, dx))
    if factor < 2:
        thick = "zyx"[scan.spacing.index(max(scan.spacing))]
        hint = "give a scan with thicker slices, or say --factor"
        if thick != "z" and max(dy, dx) > 1.5 * dz:
            hint = f"its slices are thick along {thick}, and only z is understood so far"
        raise CosliceError(
            f"zsr: slices {dz:.4g} mm apart with pixels of {dy:.4g} x {dx:.4g} mm were given, which have nothing to "
            f"gain along z; {hint}."
        )
    window = window(scan) if callable(window) else window
    unit = window.to_unit(scan.data).to(device)
    fwhm = None if fwhm_mm is None else fwhm_mm / (dz / factor)
    problem = replace(thick_slices(unit, factor, fwhm), spacing=(dz / factor, dy, dx))
    grid = scan.with_thin_slices(scan.data.repeat_interleave(factor, 0), factor)
    chosen = {"task": "zsr", "factor": factor, "fwhm_mm": fwhm_mm, "measured": True}
    settings = chosen | preparation.settings | _record(grid, window, problem)
    profile = "" if fwhm_mm is None else f", Gaussian profile of {fwhm_mm:g} mm"
    title = f"{TASKS['zsr']}, {dz:.4g} mm to {dz / factor:.4g} mm{profile}"
    return Study(grid, window, None, problem, settings, title, scan, options)


def _record(grid: Volume, window: Window, problem: Problem) -> dict[str, Any]:
    return {
        "shape": list(grid.shape),
        "spacing_mm": list(grid.spacing),
        "window": asdict(window),
        "geometry": problem.description,
        "noise_deviation": problem.noise,
    }


class Metrics(dict[str, dict[str, Any]]):
    """Published metrics by file stem, as `coslice.metrics.evaluate` gives them.

    Attributes:
        curves: by file stem, the values of every slice whose means they are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.curves: dict[str, dict[str, Curves]] = {}


def measure(
    study: Study, results: Mapping[str, Result], progress: Callable[[int, int], None] = lambda done, total: None
) -> Metrics:
    """The published metrics of "initial" and of every reconstruction, by file stem; nothing without a truth."""
    metrics = Metrics()
    if study.unit is None:
        return metrics
    volumes = {"initial": next(iter(results.values())).initial}
    volumes |= {stem: result.reconstruction for stem, result in results.items()}
    truth = study.unit.cpu()
    for done, (stem, volume) in enumerate(volumes.items()):
        progress(done, len(volumes))
        metrics.curves[stem] = per_slice(volume.cpu(), truth)
        metrics[stem] = evaluate(volume.cpu(), truth, curves=metrics.curves[stem])
    progress(len(volumes), len(volumes))
    return metrics


def write(
    folder: Path,
    study: Study,
    recipes: Mapping[str, Recipe],
    results: Mapping[str, Result],
    metrics: Metrics,
    priors: Sequence[Mapping[str, Any]],
) -> None:
    """Fill `folder`, each file atomically.

    Args:
        folder: exists, see `coslice.io.files.output_folder`.
        study: what was measured.
        recipes, results: by file stem.
        metrics: as `measure` gives them.
        priors: the cards of the priors that were used.
    """
    volumes = {"initial": next(iter(results.values())).initial.cpu()}
    volumes |= {stem: result.reconstruction.cpu() for stem, result in results.items()}
    for stem, unit in volumes.items():
        write_nifti(study.grid.with_data(study.window.from_unit(unit)), folder / f"{stem}.nii.gz")
    for stem, volume in {"truth": study.truth, "measurement": study.thick}.items():
        if volume is not None:
            write_nifti(volume, folder / f"{stem}.nii.gz")
    if metrics:
        write_json(folder / "metrics.json", metrics)
    names = [card.get("name") for card in priors]
    out = {stem: stem if len(recipes) > 1 else "out" for stem in recipes}
    commands = [reconstruct_command(study.options, recipe, names, out[stem]) for stem, recipe in recipes.items()]
    run = _run(study, recipes, results, priors)
    write_json(folder / "run.json", run)

    def titled(values: Mapping[str, Any]) -> dict[str, Any]:
        return {study.titled(stem, recipes): value for stem, value in values.items()}

    truth = None if study.unit is None else study.unit.cpu()
    window, unit = (study.window.low, study.window.high), study.window.unit
    shown = ({} if truth is None else {"truth": truth}) | titled(volumes)
    picture(folder / "comparison.png", shown, spacing=study.grid.spacing, window=window, unit=unit)
    write_report(
        folder / "report.html",
        title=study.title,
        truth=truth,
        reconstructions=titled(volumes),
        table=titled(metrics),
        spacing=study.grid.spacing,
        window=window,
        trajectory=titled(run["trajectory"]) or None,
        recipe={"study": study.settings, **titled(run["recipes"])},
        seconds=titled(run["seconds"]),
        unit=unit,
        curves=titled(metrics.curves),
        command="\n".join(command for command in commands if command) or None,
    )


def _run(
    study: Study, recipes: Mapping[str, Recipe], results: Mapping[str, Result], priors: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """All that is needed to run it again, and what it took."""
    versions = {name: _version(name) for name in ("torch", "numpy", "numba", "nibabel")}
    return {
        "coslice": _version("coslice"),
        "study": study.settings,
        "recipes": {stem: asdict(recipe) for stem, recipe in recipes.items()},
        "methods": {stem: asdict(chosen_method(recipe, study.problem.kind)) for stem, recipe in recipes.items()},
        "priors": list(priors),
        "seconds": {stem: result.seconds for stem, result in results.items()},
        "peak_memory_mb": peak_memory_mb(),
        "device": str(study.problem.measurement.device),
        "versions": versions | {"python": platform.python_version()},
        "trajectory": {stem: result.trajectory for stem, result in results.items() if result.trajectory},
    }


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
