"""A scan made ready to reconstruct: a problem, and what is known of the volume behind it.

`simulate` prepares a scan, brings it into the window of a prior, and measures it. `from_thick_slices` takes a scan of
thick slices as the measurement it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from coslice.axes import AXES
from coslice.devices import chosen_device
from coslice.errors import CosliceError
from coslice.metrics import SMALLEST_SIDE
from coslice.preparation import Preparation
from coslice.problems.problem import Problem
from coslice.problems.super_resolution import ThickSliceProblem
from coslice.problems.tasks import SliceSuperResolution, SparseViewCT, Task
from coslice.values import Values, covering, remarks_for_scan, settle
from coslice.volume import Volume
from coslice.window import Window, scan_window

__all__ = ["Study", "from_thick_slices", "simulate"]

_NEEDED = {"HU": "ct", "a.u.": "mr"}
"""What a scan's numbers must be by the unit of its window, see `coslice.values.settle`; any in other units."""


@dataclass(frozen=True)
class Study:
    """A measurement, and what is known of the volume behind it.

    Attributes:
        volume: where the reconstruction's voxels are, in the scan's units; of a simulated measurement the truth itself.
        window: intensities of unit 0 and 1.
        unit: the truth in the unit window, (z, y, x), on the device to work on; None for a real measurement.
        problem: the measurement.
        task: what was simulated, or what the real measurement is like; its factor may be None for the usual one.
        preparation: what was done to the scan first.
        title: in words.
        thick: the measured slices on their own grid, for super-resolution.
        values: what the scan's numbers were, where that was said or found, see `coslice.values.parse_values`.
        remarks: sentences on what was found, guessed, or done to the scan.
    """

    volume: Volume
    window: Window
    unit: Tensor | None
    problem: Problem
    task: Task
    preparation: Preparation
    title: str
    thick: Volume | None = None
    values: str | None = None
    remarks: tuple[str, ...] = ()

    @property
    def truth(self) -> Volume | None:
        """The volume behind the measurement, where it is known."""
        return self.volume if self.unit is not None else None

    @property
    def settings(self) -> dict[str, Any]:
        """Task, preparation and what came of them, for the record of a run."""
        measured = {} if self.unit is not None else {"measured": True}
        chosen = self.task.settings_chosen if self.unit is not None else {"task": self.task.kind, **self.task.chosen}
        return {
            **chosen,
            **measured,
            **self.preparation.settings,
            "shape": list(self.volume.shape),
            "spacing_mm": list(self.volume.spacing),
            "window": asdict(self.window),
            "geometry": self.problem.description,
            "noise_deviation": self.problem.noise,
            "values": self.values,
        }


def simulate(
    scan: Volume,
    task: Task | None = None,
    window: Window | Callable[[Volume], Window] | None = None,
    preparation: Preparation = Preparation(),
    device: str = "cpu",
    values: Values | str | None = None,
) -> Study:
    """Prepare `scan` and measure it.

    Args:
        scan: in its own units, HU for CT.
        task: how to measure; None is `SparseViewCT()`.
        window: intensities of unit 0 and 1, or how to find them from the prepared scan, as `prior.window_for`; None is
            the task's usual window.
        preparation: what to do before.
        device: where to work.
        values: what the scan's numbers are, as in "hu+1024", see `coslice.values.parse_values`; None looks at them
            (`coslice.values.settle`), but not where the window is one in numbers of its own.

    Raises:
        CosliceError: a preparation, a measurement or metrics that the scan is too small for; numbers that are not in
            the unit of the window.
    """
    task = SparseViewCT() if task is None else task
    for name, given, sort in (("scan", scan, Volume), ("task", task, Task), ("preparation", preparation, Preparation)):
        if not isinstance(given, sort):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise CosliceError(f"simulate: the {name} {given!r} was given, but a {sort.__name__} is needed.")
    window = getattr(window, "window_for", window)  # a prior is meant as its window
    if not (window is None or isinstance(window, Window) or callable(window)):
        raise CosliceError(
            f"simulate: the window {window!r} was given, but a Window is needed, or a function as prior.window_for."
        )
    device = str(chosen_device(device))
    truth = preparation(scan)
    if min(truth.shape) < SMALLEST_SIDE:
        # Hours of sampling would end in metrics that cannot be taken.
        raise CosliceError(
            f"simulate: {' x '.join(map(str, truth.shape))} voxels (z, y, x) were given, but the metrics need at least "
            f"{SMALLEST_SIDE} along each axis; keep more slices, or smaller voxels."
        )
    seen = _window(window, task, truth)
    # The whole scan tells more of its numbers than the slices that are kept.
    settled = settle(scan, _NEEDED.get(seen.unit, ""), values)
    if settled.scan is not scan:
        truth = preparation(settled.scan)
        seen = _window(window, task, truth)
    found = _NEEDED.get(seen.unit) == "mr" and not isinstance(window, Window)
    seen, covered = covering(seen, truth) if found else (seen, ())
    remarks = (*settled.remarks, *covered, *remarks_for_scan(truth, seen))
    unit = seen.to_unit(truth.data).to(device)
    problem = task.problem(unit, truth.grid(), seen)
    thick = None
    if isinstance(problem, ThickSliceProblem):
        thick = truth.with_thick_slices(seen.from_unit(problem.measurement.cpu()), problem.factor)
    return Study(truth, seen, unit, problem, task, preparation, str(task), thick, settled.values, remarks)


def _window(window: Window | Callable[[Volume], Window] | None, task: Task, volume: Volume) -> Window:
    """The window that was asked for, of a volume."""
    if window is None:
        return scan_window(task.window, volume.data)
    return window(volume) if callable(window) else window


def from_thick_slices(
    scan: Volume,
    window: Window | Callable[[Volume], Window] | None = None,
    factor: int | None = None,
    fwhm_mm: float | None = None,
    preparation: Preparation = Preparation(),
    device: str = "cpu",
) -> Study:
    """The problem of a real scan with thick slices; nothing is known of the volume behind it.

    Args:
        scan: thick slices along z, in their own units.
        window: intensities of unit 0 and 1, or how to find them from the prepared scan; None is that of MR.
        factor: thin slices to a thick one; None makes voxels as near to cubes as a whole number can.
        fwhm_mm: full width at half maximum of the slice profile, mm; None is a box.
        preparation: what to do before, not along z.
        device: where to work.

    Raises:
        CosliceError: slices no thicker than their pixels are wide, or a slice profile too wide.
    """
    for name in ("thickness", "pad"):
        if getattr(preparation, name) is not None:
            raise CosliceError(f"{name}: it was given for a real measurement, whose slices are as they are.")
    scan = replace(preparation, spacing=None)(scan)
    if preparation.spacing is not None:
        scan = scan.resampled((scan.spacing[0], preparation.spacing, preparation.spacing))
    factor = _factor(scan) if factor is None else factor
    task = SliceSuperResolution(factor, fwhm_mm)
    if window is None:
        window = scan_window(task.window, scan.data)
    window = window(scan) if callable(window) else window
    dz, dy, dx = scan.spacing
    unit = window.to_unit(scan.data).to(device)
    fwhm = None if fwhm_mm is None else fwhm_mm / (dz / factor)
    problem = ThickSliceProblem(unit, factor, fwhm, spacing=(dz / factor, dy, dx))
    volume = scan.with_thin_slices(scan.data.repeat_interleave(factor, 0), factor)
    profile = "" if fwhm_mm is None else f", Gaussian profile of {fwhm_mm:g} mm"
    title = f"{task.title}, {dz:.4g} mm to {dz / factor:.4g} mm{profile}"
    return Study(volume, window, None, problem, task, preparation, title, scan)


def _factor(scan: Volume) -> int:
    """How many thin slices make voxels that are nearly cubes."""
    dz, dy, dx = scan.spacing
    factor = round(dz / min(dy, dx))
    if factor < 2:
        thick = AXES[scan.spacing.index(max(scan.spacing))]
        hint = "give a scan with thicker slices, or say the factor"
        if thick != "z" and max(dy, dx) > 1.5 * dz:
            hint = f"its slices are thick along {thick}, and only z is understood so far"
        raise CosliceError(
            f"zsr: slices {dz:.4g} mm apart with pixels of {dy:.4g} x {dx:.4g} mm were given, which have nothing to "
            f"gain along z; {hint}."
        )
    return factor
