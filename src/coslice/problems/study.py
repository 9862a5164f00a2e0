"""A scan made ready to reconstruct: a problem, and what is known of the volume behind it.

`simulate` prepares a scan, brings it into the window of a prior, and measures it. A scan that is the measurement itself
is taken as such elsewhere (`coslice.problems.thick_scans`, `coslice.problems.stacks`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from coslice.devices import chosen_device
from coslice.errors import CosliceError
from coslice.metrics import SMALLEST_SIDE
from coslice.preparation import Preparation
from coslice.problems.problem import Problem
from coslice.problems.super_resolution import ThickSliceProblem
from coslice.problems.tasks import SparseViewCT, Task
from coslice.volume import Volume
from coslice.window import Window, scan_window

__all__ = ["Study", "simulate"]


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
        remarks: full sentences on what was found, assumed, or kept out.
    """

    volume: Volume
    window: Window
    unit: Tensor | None
    problem: Problem
    task: Task
    preparation: Preparation
    title: str
    thick: Volume | None = None
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
        }


def simulate(
    scan: Volume,
    task: Task | None = None,
    window: Window | Callable[[Volume], Window] | None = None,
    preparation: Preparation = Preparation(),
    device: str = "cpu",
) -> Study:
    """Prepare `scan` and measure it.

    Args:
        scan: in its own units, HU for CT.
        task: how to measure; None is `SparseViewCT()`.
        window: intensities of unit 0 and 1, or how to find them from the prepared scan, as `prior.window_for`; None is
            the task's usual window.
        preparation: what to do before.
        device: where to work.

    Raises:
        CosliceError: a preparation, a measurement or metrics that the scan is too small for.
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
    window = scan_window(task.window, truth.data) if window is None else window
    window = window(truth) if callable(window) else window
    unit = window.to_unit(truth.data).to(device)
    problem = task.problem(unit, truth.grid(), window)
    thick = None
    if isinstance(problem, ThickSliceProblem):
        thick = truth.with_thick_slices(window.from_unit(problem.measurement.cpu()), problem.factor, problem.axis)
    return Study(truth, window, unit, problem, task, preparation, str(task), thick)
