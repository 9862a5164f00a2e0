"""Simulated measurements: a task makes a problem of a known volume, as the papers do.

    svct    SparseViewCT            few views, spread over all directions
    lact    LimitedAngleCT          a wedge of directions, one view per degree
    zsr     SliceSuperResolution    thick slices along an axis, as an MR scan has

The beam of CT is a cone, as in the ISCS paper (Du et al., ICLR 2026, section 4.1), or parallel, as in DiffusionBlend
(Song et al., NeurIPS 2024, section 4): a stack of 2D scans whose slices do not mix. A parallel view and its opposite
are one another's mirror image, so its views are spread over half a turn, those of a cone over a whole one.

What a task calls itself, which settings it has and what it measures stands here and nowhere else.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, fields
from difflib import get_close_matches
from typing import Any, ClassVar

from torch import Tensor

from coslice.axes import AXES, axis_number
from coslice.detector import MeasurementNoise, PhotonNoise, measured, standard_deviation
from coslice.errors import CosliceError
from coslice.geometry import Grid, limited_angle, sparse_view
from coslice.operators import Projector, ThickSlices
from coslice.problems.ct import CTProblem
from coslice.problems.problem import Problem
from coslice.problems.scanners import BEAMS
from coslice.problems.super_resolution import ThickSliceProblem
from coslice.settings import Part, setting
from coslice.window import Window

__all__ = ["TASKS", "LimitedAngleCT", "SliceSuperResolution", "SparseViewCT", "Task", "make_task", "task_of_key"]


@dataclass(frozen=True)
class Task(Part, ABC):
    """A simulated scan. A setting that is None takes the published value, or has none.

    Attributes:
        noise: of the measurement; None for none.
        seed: of the noise.
        kind: the word for the task in files and on the command line.
        title: what it is, in words.
        problem_kind: kind of the problems it makes, see `coslice.problems.Problem`.
        window: name of the intensities that such scans are usually seen in, see `coslice.volume.scan_window`.
    """

    problem_kind: ClassVar[str] = "ct"
    window: ClassVar[str] = "ct"

    _: KW_ONLY
    noise: MeasurementNoise | None = setting(None, "Noise of the measurement")
    seed: int = setting(0, "Seed of the noise", least=0, most=2**63 - 1)

    @abstractmethod
    def problem(self, truth: Tensor, grid: Grid, window: Window) -> Problem:
        """Measure a known volume.

        Args:
            truth: (z, y, x) in the unit window, on the device to work on.
            grid: where its voxels are, mm.
            window: intensities of unit 0 and 1, which say what a line integral attenuates.

        Raises:
            CosliceError: fewer slices than one thick one has, or a slice profile too wide.
        """

    @property
    @abstractmethod
    def chosen(self) -> dict[str, Any]:
        """The settings by name, published values in place of what was left out."""

    @property
    @abstractmethod
    def key(self) -> str:
        """A stable name of what is measured, for networks trained for it and files that speak of it.

        Task, beam and number of views of svct ("svct-cone-30", "svct-parallel-8"); task, beam and wedge in degrees of
        lact ("lact-cone-100", "lact-parallel-90"), and the number of views where it is not one per degree
        ("lact-cone-100-50"); task and factor of zsr ("zsr-5"). Noise, the grid, the height of detector rows, and
        profile and axis of thick slices are not part of it.
        """

    @property
    def settings_chosen(self) -> dict[str, Any]:
        """The same with task and noise, for the record of a run."""
        noise = repr(self.noise) if self.noise else None
        return {"task": self.kind, **self.chosen, "noise": noise, "noise_seed": self.seed}

    @abstractmethod
    def describe(self) -> str:
        """The chosen settings in words."""

    def __str__(self) -> str:
        return f"{self.title}, {self.describe()}" + (f", {self.noise}" if self.noise else "")


@dataclass(frozen=True)
class _CT(Task):
    """What the two tasks of CT share.

    Attributes:
        rows: height of a detector row of a cone beam, slices; None is the published one, 2. A parallel beam has a row
            for each slice.

    Raises:
        CosliceError: other rows of a parallel beam.
    """

    beam: str = setting("cone", "Beam of the scanner", choices=tuple(BEAMS))
    views: int | None = setting(None, "Number of views", least=1, most=1_000_000)
    _: KW_ONLY
    rows: float | None = setting(None, "Height of a detector row of a cone beam", "slices", least=0.1, most=50)

    def __post_init__(self) -> None:
        super().__post_init__()
        usual = BEAMS[self.beam]
        if self.rows is None:
            return
        if self.rows == usual.rows:
            object.__setattr__(self, "rows", None)  # one scanner, one value: its key is that of all earlier cells
        elif usual.whole_rows:
            raise CosliceError(
                f"{type(self).__name__}: rows {self.rows:g} was given, but a {self.beam} beam has a row for each "
                "slice; leave it out, or choose a cone beam."
            )

    @property
    @abstractmethod
    def angles(self) -> tuple[float, ...]:
        """View angles, rad."""

    def problem(self, truth: Tensor, grid: Grid, window: Window) -> CTProblem:
        geometry = BEAMS[self.beam].scanner(self.angles, grid, self.row_height)
        operator = Projector(geometry, grid)
        measurement, deviation = operator.forward(truth), 0.0
        if self.noise is not None:
            lines = self.noise.lines(operator, measurement, window)
            deviation = standard_deviation(measurement, self.noise, lines)
            measurement = measured(measurement, self.noise, self.seed, lines)
        return CTProblem(geometry, grid, measurement, deviation, self.key)

    @property
    def row_height(self) -> float:
        """Height of a detector row, slices."""
        return BEAMS[self.beam].rows if self.rows is None else self.rows

    @property
    def _rows_chosen(self) -> dict[str, Any]:
        """The rows, where they are not the published ones."""
        return {} if self.rows is None else {"rows": self.rows}

    def describe(self) -> str:
        count = len(self.angles)
        rows = "" if self.rows is None else f", detector rows of {self.rows:g} slices"
        return f"{count} {self.beam}-beam view{'s' if count > 1 else ''}{rows}"


@dataclass(frozen=True)
class SparseViewCT(_CT):
    """Few views, spread over all directions.

    Attributes:
        beam: "cone" or "parallel".
        views: number of views; None is the published one: 30 of a cone beam, 8 of a parallel one.
        rows: height of a detector row of a cone beam, slices; None is the published one, 2.
    """

    kind, title = "svct", "Sparse-view CT"

    @property
    def angles(self) -> tuple[float, ...]:
        beam = BEAMS[self.beam]
        return sparse_view(beam.views if self.views is None else self.views, math.radians(beam.turn))

    @property
    def chosen(self) -> dict[str, Any]:
        return {"beam": self.beam, "views": len(self.angles), "angle": None, **self._rows_chosen}

    @property
    def key(self) -> str:
        return f"svct-{self.beam}-{len(self.angles)}"


@dataclass(frozen=True)
class LimitedAngleCT(_CT):
    """A wedge of directions.

    Attributes:
        beam: "cone" or "parallel".
        views: number of views; None is one per degree.
        angle: the wedge, degrees; None is the published one: 100 of a cone beam, 90 of a parallel one.
        rows: as of `SparseViewCT`.

    Raises:
        CosliceError: a wedge that is none, or wider than what shows something new.
    """

    kind, title = "lact", "Limited-angle CT"

    angle: float | None = setting(None, "Wedge of directions", "degrees", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        turn = BEAMS[self.beam].turn
        if not self.wedge <= turn:
            raise CosliceError(
                f"{type(self).__name__}: angle {self.wedge:g} degrees was given, above 0 and at most {turn:g} is "
                f"needed with a {self.beam} beam."
            )

    @property
    def wedge(self) -> float:
        """The wedge, degrees."""
        return BEAMS[self.beam].wedge if self.angle is None else self.angle

    @property
    def angles(self) -> tuple[float, ...]:
        views = self._usual_views if self.views is None else self.views
        return limited_angle(math.radians(self.wedge), views)

    @property
    def _usual_views(self) -> int:
        return max(1, round(self.wedge))

    @property
    def chosen(self) -> dict[str, Any]:
        return {"beam": self.beam, "views": len(self.angles), "angle": self.wedge, **self._rows_chosen}

    @property
    def key(self) -> str:
        views = len(self.angles)
        return f"lact-{self.beam}-{self.wedge:g}" + ("" if views == self._usual_views else f"-{views}")


@dataclass(frozen=True)
class SliceSuperResolution(Task):
    """Thick slices along an axis.

    Attributes:
        factor: distance between thick slices, in thin ones; published: 5 (section 4.1).
        fwhm_mm: full width at half maximum of the slice profile, mm; None is a box.
        axis: "z", "y" or "x", along which slices are thick.
        slice_thickness_mm: width of the box, mm; None is as wide as slices are apart.

    Raises:
        CosliceError: noise of photons, which MR has not; a factor of 1 without a profile of its own.
    """

    kind, title = "zsr", "Super-resolution along z"
    problem_kind, window = "zsr", "mr"

    factor: float = setting(5, "Thin slices to a thick one", least=1)
    fwhm_mm: float | None = setting(None, "Width of a Gaussian slice profile", "mm", above=0)
    axis: str = setting("z", "Axis along which slices are thick", choices=tuple(AXES))
    slice_thickness_mm: float | None = setting(None, "Width of a box profile; none leaves no gap", "mm", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.factor == 1 and self.fwhm_mm is None and self.slice_thickness_mm is None:
            raise CosliceError(
                "SliceSuperResolution: factor 1 was given, above 1 is needed, or slices thicker than they are apart."
            )
        if isinstance(self.noise, PhotonNoise):
            raise CosliceError(
                "task zsr: photons were given, but MR counts none; give the measurement Gaussian noise instead."
            )

    def problem(self, truth: Tensor, grid: Grid, window: Window) -> ThickSliceProblem:
        number = axis_number(self.axis)
        fwhm, thickness = (
            None if mm is None else mm / grid.spacing[number] for mm in (self.fwhm_mm, self.slice_thickness_mm)
        )
        z, y, x = truth.shape
        operator = ThickSlices((z, y, x), self.factor, fwhm, self.axis, thickness)
        thick, deviation = operator.forward(truth), 0.0
        if self.noise is not None:
            thick, deviation = measured(thick, self.noise, self.seed), standard_deviation(thick, self.noise)
        count = truth.shape[number]
        return ThickSliceProblem(
            thick, self.factor, fwhm, count, grid.spacing, deviation, self.key, self.axis, thickness
        )

    @property
    def key(self) -> str:
        return f"zsr-{self.factor:g}"

    @property
    def chosen(self) -> dict[str, Any]:
        axis = {} if self.axis == "z" else {"axis": self.axis}
        box = {} if self.slice_thickness_mm is None else {"slice_thickness_mm": self.slice_thickness_mm}
        return {"factor": self.factor, "fwhm_mm": self.fwhm_mm, **axis, **box}

    def describe(self) -> str:
        profile = "box profile" if self.fwhm_mm is None else f"Gaussian profile of {self.fwhm_mm:g} mm"
        box = "" if self.slice_thickness_mm is None else f" of {self.slice_thickness_mm:g} mm"
        axis = "" if self.axis == "z" else f" along {self.axis}"
        return f"{self.factor:g} thin slices to a thick one{axis}, {profile}{box}"


TASKS: dict[str, type[Task]] = {task.kind: task for task in (SparseViewCT, LimitedAngleCT, SliceSuperResolution)}
"""Tasks by their kind."""


def make_task(
    kind: str = "svct", settings: Mapping[str, Any] | None = None, noise: MeasurementNoise | None = None, seed: int = 0
) -> Task:
    """A task by its word.

    Args:
        kind: a name in `TASKS`.
        settings: its settings by name; None, or left out, takes the default.
        noise, seed: of the measurement.

    Raises:
        CosliceError: an unknown task, a setting of another task, or a number out of its range.
    """
    if kind not in TASKS:
        near = get_close_matches(str(kind).lower(), TASKS, 1)
        meant = f"; did you mean {near[0]}?" if near else "."
        raise CosliceError(f'task: "{kind}" was given, but the tasks are {", ".join(TASKS)}{meant}')
    given = {name: value for name, value in (settings or {}).items() if value is not None}
    for name, value in given.items():
        if name not in _settings_of(TASKS[kind]):
            others = [other for other, task in TASKS.items() if name in _settings_of(task)]
            belongs = f"it belongs to {' and '.join(others)}" if others else "no task has it"
            shown = value if isinstance(value, str) else f"{value:g}"
            raise CosliceError(
                f"task {kind}: {name.removesuffix('_mm')} {shown} was given, but {belongs}; leave it out or choose "
                "another task."
            )
    try:
        return TASKS[kind](**given, noise=noise, seed=seed)
    except CosliceError as error:
        # A task names itself by its class; who asked for it by its word knows that.
        raise CosliceError(f"task {kind}: {str(error).removeprefix(f'{TASKS[kind].__name__}: ')}") from error


def _settings_of(task: type[Task]) -> list[str]:
    return [item.name for item in fields(task) if item.name not in ("noise", "seed")]


def task_of_key(key: str) -> Task:
    """The task without noise whose `key` this is: "svct-parallel-8", "lact-cone-100", "zsr-5" and the like.

    Raises:
        CosliceError: a key that no task has.
    """
    try:
        match key.split("-"):
            case ["svct", beam, views]:
                found = SparseViewCT(beam, int(views))
            case ["lact", beam, angle]:
                found = LimitedAngleCT(beam, angle=float(angle))
            case ["lact", beam, angle, views]:
                found = LimitedAngleCT(beam, int(views), float(angle))
            case ["zsr", factor]:
                found = SliceSuperResolution(float(factor))
            case _:
                raise ValueError
        # One name for one task: "svct-cone-030" or "lact-cone-100-100" would be second ones.
        if found.key != key:
            raise ValueError
    except ValueError as error:
        raise CosliceError(
            f'task: the key "{key}" was given, but keys are like svct-parallel-8 (views) or lact-cone-100 (degrees); '
            "correct it."
        ) from error
    return found
