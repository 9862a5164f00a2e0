"""What a recipe says: what to reconstruct, how, how often, and what was published. Its file is one YAML mapping:

    title, source                which table this is
    metrics                      its columns, such as axial.psnr or sdiff_gap, see `coslice.benchmark.metric`
    groups                       its groups of rows: a scan, measured in one way
    methods                      its rows: a method and settings of it, see `coslice.benchmark.rows`
    published                    its numbers, by group and row, in the order of `metrics`
    scans, priors, seeds         where the data are, and how often each row is run
    protocol                     how its numbers are taken, see `coslice.metrics.protocols`; "unit" unless it is said
    settings                     settings by method, "*" for every method that samples; a row's own come after them
    figures                      what to draw beside the table
    pictures                     slices to show beside it, see `coslice.benchmark.slice_figure`

The types of the classes here are what a file may say. How a file is found, and what editions are, stands in
`coslice.benchmark.recipe_file`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from coslice.benchmark.group_noise import GroupNoise
from coslice.benchmark.lesion_content import InsertedLesions, LesionRegion
from coslice.benchmark.metric import metric_called
from coslice.benchmark.slice_figure import SliceFigure
from coslice.data import embedded_file
from coslice.errors import CosliceError
from coslice.methods import METHODS, setting_lines
from coslice.methods.former import FORMER
from coslice.metrics import PER_STEP, UNIT, protocol_called
from coslice.preparation import Preparation, parse_slices
from coslice.priors import Shown, parse_range
from coslice.problems import Task, make_task
from coslice.window import check_window

__all__ = [
    "COUNTED",
    "NUMBERS_OF_GROUPS",
    "BenchmarkScan",
    "Figure",
    "Group",
    "Needed",
    "PublishedNumbers",
    "RecipeContent",
    "SettingsByMethod",
]

_EMBEDDED = "embedded:"
_SECTIONS = {line.path.partition(".")[0] for method in METHODS.values() for line in setting_lines(method)}
"""What the paths of settings begin with; no metric begins so."""
_MEASURED = ("beam", "views", "angle", "rows", "factor", "fwhm_mm")
_NOISE = ("measurement_noise", "photons", "electronic_noise")
_OF_GROUPS = "task"
COUNTED = "evaluations"
"""What a figure is drawn against that is counted in each run, see `coslice.methods.Method.evaluations`."""
NUMBERS_OF_GROUPS = (*_MEASURED[1:], *_NOISE)
"""What a figure may be drawn against of the groups, as in "task.views"."""

SettingsByMethod = dict[str, dict[str, Any]]
PublishedNumbers = dict[str, dict[str, tuple[float | tuple[float, float] | None, ...]]]


@dataclass(frozen=True)
class Needed:
    """A prior that only the user has.

    Attributes:
        needs: what it is, in words.
        plane, window: what its images must be, as in "zx" and "mr"; None is not said. Of a published checkpoint that
            does not say it itself, this is what they were.
        range: what its network saw for 0 and 1, as in "0:1", likewise.

    Raises:
        CosliceError: a plane, window or range that is none.
    """

    needs: str
    plane: str | None = None
    window: str | None = None
    range: str | None = None

    def __post_init__(self) -> None:
        _ = self.shown  # refuses what cannot be

    @property
    def shown(self) -> Shown:
        """What its images are."""
        saw = None if self.range is None else parse_range(self.range, "range")
        return Shown(self.plane, self.window, saw)


@dataclass(frozen=True)
class BenchmarkScan:
    """A scan and its preparation.

    Attributes:
        file: a path, or "embedded:chest" or "embedded:brain"; None where the user must name one.
        needs: what to name then.
        slices: FIRST:LAST; the others are as in `coslice.preparation.Preparation`.
    """

    file: str | None = None
    needs: str | None = None
    slices: str | None = None
    thickness: float | None = None
    spacing: float | None = None
    size: int | None = None
    pad: int | None = None
    background: str | None = None

    def __post_init__(self) -> None:
        self.preparation(1)

    @property
    def embedded(self) -> bool:
        """Whether it comes with coslice."""
        return str(self.file).startswith(_EMBEDDED)

    @property
    def path(self) -> Path:
        """Where its file is."""
        name = str(self.file)
        return embedded_file(name.removeprefix(_EMBEDDED)) if self.embedded else Path(name)

    def preparation(self, count: int) -> Preparation:
        """What is done to a scan of `count` slices."""
        cut = None if self.slices is None else parse_slices(self.slices, count)
        return Preparation(cut, self.thickness, self.spacing, self.size, self.pad, self.background)


@dataclass(frozen=True)
class Group(GroupNoise):
    """One scan, measured in one way: what a group of rows shares. Its noise is a `GroupNoise`.

    Attributes:
        scan: its name in the recipe.
        task, beam, views, angle, rows, factor, fwhm_mm: as `coslice.problems.make_task` takes them.
        intensities: LOW:HIGH, the values that are 0 and 1 to priors and metrics; None is what such scans are usually
            seen in, -1000:1600 HU for CT.
        settings: settings by method, for this group only.
        published: the published group whose numbers to show; None is the one of the same title.
        lesions: what is put into the scan before it is measured; None is nothing.
        region: a lesion that is there, to measure.

    Raises:
        CosliceError: both of the last two, or intensities that are none.
    """

    scan: str
    task: str = "svct"
    beam: str | None = None
    views: int | None = None
    angle: float | None = None
    rows: float | None = None
    factor: int | None = None
    fwhm_mm: float | None = None
    intensities: str | None = None
    settings: SettingsByMethod = field(default_factory=dict)
    published: str | None = None
    lesions: InsertedLesions | None = None
    region: LesionRegion | None = None

    def __post_init__(self) -> None:
        if self.intensities is not None:
            check_window(self.intensities)
        if self.lesions is not None and self.region is not None:
            raise CosliceError(
                "group: it has lesions and a region, but only one of the two is measured; leave one out."
            )

    def measurement(self, seed: int) -> Task:
        """How the scan is measured; the seed matters where there is noise."""
        settings = {name: getattr(self, name) for name in _MEASURED}
        return make_task(self.task, settings, self.noise, seed if self.noise else 0)

    def number(self, name: str) -> float | None:
        """What a figure against a number of the groups has for this one.

        What was left out has its published value. No noise is a deviation of 0, and infinitely many photons.

        Args:
            name: one of `NUMBERS_OF_GROUPS`; None is the answer where such a measurement has no such number.
        """
        task = self.measurement(0)
        if name in _NOISE:
            given, none = getattr(self, name), math.inf if name == "photons" else 0.0
            return none if given is None else given
        return getattr(task, "row_height", None) if name == "rows" else task.chosen.get(name)

    def but_for(self, name: str) -> dict[str, Any]:
        """How it is measured but for one number; groups of which this is the same are a line of a figure."""
        values = {item.name: getattr(self, item.name) for item in fields(self)} | self.measurement(0).chosen
        return {key: value for key, value in values.items() if key not in (name, "settings", "published")}

    @property
    def kind(self) -> str:
        """Kind of its problems, see `coslice.problems.Problem`."""
        return self.measurement(0).problem_kind

    @property
    def task_key(self) -> str:
        """A stable name of its measurement, see `coslice.problems.Task.key`: "svct-parallel-8"."""
        return self.measurement(0).key

    @property
    def window(self) -> str:
        """Name of the intensities that its rows are compared in, see `coslice.volume.scan_window`."""
        return self.measurement(0).window if self.intensities is None else self.intensities

    @property
    def count_of_lesions(self) -> int:
        """How many lesions are measured in it."""
        return self.lesions.count if self.lesions is not None else int(self.region is not None)


@dataclass(frozen=True)
class Figure:
    """A drawing of the table's numbers.

    Attributes:
        x: the path of a setting that is a number and differs from row to row, as in "renoising.eta", or "steps";
            "evaluations", which are counted and not set; a number that differs from group to group, as in "task.views"
            (`NUMBERS_OF_GROUPS`); "step" for the course of the sampling; or a metric.
        y: what to draw against it, one or several: metrics; with "step" psnr, sdiff or lpips.

    Raises:
        CosliceError: something else.
    """

    x: str
    y: str | tuple[str, ...]

    def __post_init__(self) -> None:
        if self.x in FORMER and self.kind == "scatter":
            raise CosliceError(
                f"figure: x {self.x} was given, but settings are named by their paths; did you mean {FORMER[self.x]}?"
            )
        if not self.ys:
            raise CosliceError(f"figure: nothing was given to draw against {self.x}; give y, a metric or several.")
        if self.kind == "course":
            known = [quantity.name for quantity in PER_STEP]
            for name in self.ys:
                if name not in known:
                    raise CosliceError(
                        f"figure: {name} was given for each step, but what is known is {', '.join(known)}."
                    )
            return
        if self.kind == "groups" and self.of_groups not in NUMBERS_OF_GROUPS:
            known = ", ".join(f"{_OF_GROUPS}.{name}" for name in NUMBERS_OF_GROUPS)
            raise CosliceError(f"figure: x {self.x} was given, but numbers of groups are {known}.")
        for name in (*self.ys, *((self.x,) if self.kind == "scatter" else ())):
            metric_called(name)

    @property
    def ys(self) -> tuple[str, ...]:
        """All that is drawn against x."""
        return (self.y,) if isinstance(self.y, str) else self.y

    @property
    def kind(self) -> str:
        """ "course" over the steps, "sweep" over a setting, "groups" over a number of theirs, or "scatter"."""
        if self.x == "step":
            return "course"
        if self.x.partition(".")[0] == _OF_GROUPS:
            return "groups"
        if self.x == COUNTED:
            return "sweep"
        return "sweep" if self.setting.partition(".")[0] in _SECTIONS else "scatter"

    @property
    def of_groups(self) -> str:
        """The number of the groups that it is against: "views"."""
        return self.x.partition(".")[2]

    @property
    def setting(self) -> str:
        """The path of the setting that a sweep is over: "schedule.steps", which also the evaluations follow."""
        return "schedule.steps" if self.x in ("steps", COUNTED) else self.x


@dataclass(frozen=True)
class RecipeContent:
    """The file as it stands, an edition laid over it."""

    title: str
    metrics: tuple[str, ...]
    groups: dict[str, Group]
    methods: dict[str, dict[str, Any]]
    scans: dict[str, BenchmarkScan]
    source: str = ""
    about: str = ""
    seeds: tuple[int, ...] = (0,)
    priors: dict[str, str | Needed] = field(default_factory=dict)
    settings: SettingsByMethod = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    pictures: tuple[SliceFigure, ...] = ()
    published: PublishedNumbers = field(default_factory=dict)
    protocol: str = UNIT.name

    def __post_init__(self) -> None:
        protocol_called(self.protocol)
