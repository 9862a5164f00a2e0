"""A scan made ready to reconstruct: a problem, and what is known of the volume behind it.

`simulate` prepares a scan, brings it into the window of a prior, and measures it. A scan that is the measurement itself
is taken as such elsewhere (`coslice.problems.thick_scans`, `coslice.problems.joint_stacks`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from coslice.devices import chosen_device
from coslice.errors import CosliceError
from coslice.metrics import SMALLEST_SIDE
from coslice.preparation import Preparation
from coslice.problems.problem import Problem
from coslice.problems.super_resolution import ThickSliceProblem
from coslice.problems.task_remarks import remarks_on_preparation, remarks_on_problem
from coslice.problems.tasks import SparseViewCT, Task
from coslice.upper_floors import ask
from coslice.values import Values, remarks_for_scan, remarks_on_appearance, settle
from coslice.volume import Volume
from coslice.window import Window, scan_window

__all__ = ["Study", "simulate", "without_files"]

_NEEDED = {"HU": "ct", "a.u.": "mr"}
"""What a scan's numbers must be by the unit of its window, see `coslice.values.settle`; any in other units."""


@dataclass(frozen=True, repr=False)
class Study:
    """A measurement, and what is known of the volume behind it.

    Attributes:
        volume: where the reconstruction's voxels are, in the scan's units; of a simulated measurement the truth itself.
        window: intensities of unit 0 and 1.
        unit: the truth in the unit window, (z, y, x), on the device to work on; None for a real measurement.
        problem: the measurement.
        task: what was simulated, or what the real measurement is like; None for measured projections.
        preparation: what was done to the scan first.
        title: in words.
        thick: the measured slices on their own grid, for super-resolution.
        values: what the scan's numbers were, where that was said or found, see `coslice.values.parse_values`.
        remarks: sentences on what was found, guessed, or done to the scan.
        reference: of a real measurement, what `unit` is then: another reconstruction, to compare with, in words.
        stated: of measured projections, what was stated of them, by name.
        names: of files that were read, which may be called after a person and stay out of what is written.
    """

    volume: Volume
    window: Window
    unit: Tensor | None
    problem: Problem
    task: Task | None
    preparation: Preparation
    title: str
    thick: Volume | None = None
    values: str | None = None
    remarks: tuple[str, ...] = ()
    reference: str = ""
    stated: Mapping[str, Any] = field(default_factory=dict[str, Any])
    names: tuple[str, ...] = ()

    @property
    def told(self) -> tuple[str, ...]:
        """The remarks as they are written: files are called FILE in them."""
        return tuple(without_files(remark, self.names) for remark in self.remarks)

    @property
    def measured(self) -> bool:
        """Whether the measurement is a real one."""
        return self.unit is None or bool(self.reference)

    @property
    def truth(self) -> Volume | None:
        """The volume behind the measurement, where it is known; or the reference."""
        return self.volume if self.unit is not None else None

    @property
    def known(self) -> Tensor | None:
        """What is known of the voxels before anything is reconstructed, in the unit window.

        Of a simulation the truth, of thick slices themselves; None of projections.
        """
        if not self.measured:
            return self.unit
        return None if self.thick is None else self.window.to_unit(self.thick.data)

    @property
    def settings(self) -> dict[str, Any]:
        """Task, preparation and what came of them, for the record of a run."""
        return {
            **self._task_settings(),
            **({"measured": True} if self.measured else {}),
            **({"reference": self.reference} if self.reference else {}),
            **({} if self.task is None else self.preparation.settings),
            "shape": list(self.volume.shape),
            "spacing_mm": list(self.volume.spacing),
            "window": asdict(self.window),
            "geometry": self.problem.description,
            "noise_deviation": self.problem.noise,
            "values": self.values,
        }

    def __repr__(self) -> str:
        unit = f" {self.window.unit}".rstrip()
        known = self.reference or ("the truth is known" if self.unit is not None else "the truth is not known")
        return (
            f"Study({self.title}: {self.problem!r}, 0 and 1 are {self.window.low:g} and {self.window.high:g}{unit}, "
            f"{known})"
        )

    def _repr_html_(self) -> str:
        return ask("html", self)

    def show(self, **how: Any) -> Any:
        """Look at the first reconstruction, and the truth where it is known; as `coslice.show(study)`."""
        return ask("show", self, **how)

    def _task_settings(self) -> dict[str, Any]:
        if self.task is None:
            return {"task": "projections", **self.stated}
        return {"task": self.task.kind, **self.task.chosen} if self.measured else self.task.settings_chosen


def without_files(text: str, names: Iterable[str], word: str = "FILE") -> str:
    """A text in which `word` stands for names, the longest first."""
    for name in sorted(filter(None, names), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", word, text)
    return text


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
    unit = seen.to_unit(truth.data).to(device)
    problem = task.problem(unit, truth.grid(), seen)
    remarks = (
        *settled.remarks,
        *remarks_on_appearance(settled.scan, seen, turned=problem.kind == "ct"),
        *remarks_for_scan(truth, seen),
        *remarks_on_preparation(settled.scan, truth, preparation),
        *remarks_on_problem(problem),
    )
    thick = None
    if isinstance(problem, ThickSliceProblem):
        thick = truth.with_thick_slices(seen.from_unit(problem.measurement.cpu()), problem.factor, problem.axis)
    return Study(truth, seen, unit, problem, task, preparation, str(task), thick, settled.values, remarks)


def _window(window: Window | Callable[[Volume], Window] | None, task: Task, volume: Volume) -> Window:
    """The window that was asked for, of a volume."""
    if window is None:
        return scan_window(task.window, volume.data)
    return window(volume) if callable(window) else window
