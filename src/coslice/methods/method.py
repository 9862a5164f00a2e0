"""A method is a composition of parts; nothing else is known of it.

    Method    a diffusion method: how the volume is read, what the data do, noise, re-noising, noise levels, the start
              and the end
    Direct    a method that does not sample: a solution

A change is a new value:

    mine = replace(DDS, data=ConjugateGradients(iterations=20), noise=Slerp())

A setting that a method does not read has no place in it, and cannot be written down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from coslice.errors import CosliceError
from coslice.escapes import shown
from coslice.fidelity import RangeNullSpace
from coslice.methods.data_steps import DataStep
from coslice.methods.endings import Ending, LastEstimate
from coslice.methods.prior_parts import PriorPart
from coslice.methods.solutions import Solution
from coslice.noise import Slerp, Strategy
from coslice.problems import Problem
from coslice.renoising import Renoising, Share
from coslice.schedule import Geometric, Schedule
from coslice.settings import Part, setting
from coslice.upper_floors import ask

__all__ = ["AnyMethod", "Direct", "Method", "Start"]


_INVERSE = 100
"""Iterations of the pseudo-inverse in a start from the range, where it has no closed form; as DDNM's."""
_MOST_SAMPLES = 10_000


@dataclass(frozen=True)
class Start(Part):
    """What sampling starts from.

    The better it is, the lower the first noise level may be, and the more steps are left for detail. What the first
    noise does not cover stays: a start must be nearly right wherever the prior is not asked to change it.

    Attributes:
        volume: "initial", the first reconstruction plus noise, as published; "noise" alone; or "range", noise in the
            null space of A alone and A-dagger y in its range, which has none (TPDM's code for thick slices).
        noise: of the start; None is the method's own.
        solution: a method that does not sample, whose result stands in for the first reconstruction; None for that
            itself.

    Raises:
        CosliceError: a solution that needs a prior of its own, or one beside a start from noise alone.
    """

    kind = "start"

    volume: str = setting("initial", "Volume that the first noise is added to", choices=("initial", "noise", "range"))
    noise: Strategy | None = setting(None, "Noise of the start; none is the method's")
    solution: Solution | None = setting(None, "Solution in place of the first reconstruction; none keeps that")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.solution is None:
            return
        word = self.solution.kind or type(self.solution).__name__
        if self.solution.need:
            raise CosliceError(
                f"Start: solution {word} was given, which needs a prior of its own; choose one that needs none."
            )
        if self.volume != "initial":
            raise CosliceError(
                f"Start: volume {self.volume} and solution {word} were given, which exclude each other; drop one."
            )

    def placed(self, problem: Problem, x: Tensor) -> Tensor:
        """x_T (z, y, x), with noise; of a start from the range, with what the measurement says in its place."""
        if self.volume != "range":
            return x
        return RangeNullSpace(problem.operator, problem.measurement, problem.pseudo_inverse(_INVERSE))(x, 0.0)


@dataclass(frozen=True)
class Method:
    """A diffusion method.

    Attributes:
        name: as the command line knows it.
        title: as tables print it, without its noise.
        source: where its constants come from.
        prior: how it reads the volume with its priors.
        data: how it agrees with the measurement.
        renoising: what becomes of the noise between two levels.
        schedule: noise levels.
        noise: how the noise of a slice depends on that of the others.
        start: what sampling starts from.
        end: what is made of the last step.
        samples: number of reconstructions with seeds seed, seed + 1, ..., of which the mean is the result.
        kinds: of problems it is for; empty for all.
        published: settings by path ("schedule.steps") that were published with another value, and that value.
        fast: whether it was made by `coslice.methods.fast_form`; a word for tables and records, which changes nothing.

    Raises:
        CosliceError: no samples, or a data step that cannot follow the re-noising.
    """

    name: str
    title: str
    source: str
    prior: PriorPart
    data: DataStep
    renoising: Renoising = Share()
    schedule: Schedule = Geometric()
    noise: Strategy = Slerp()
    start: Start = Start()
    end: Ending = LastEstimate()
    samples: int = 1
    kinds: tuple[str, ...] = ()
    published: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)
    fast: bool = False

    def __post_init__(self) -> None:
        _check_parts(self, _PARTS)
        samples: Any = self.samples
        if isinstance(samples, bool) or not isinstance(samples, int) or not 1 <= samples <= _MOST_SAMPLES:
            raise CosliceError(
                f"samples: {shown(samples)} was given, a whole number of at least 1 is needed, and at most "
                f"{_MOST_SAMPLES:,}."
            )
        self.data.check(self.renoising)

    @property
    def need(self) -> str:
        """The sort of prior it needs, see `coslice.methods.USUAL_PRIORS`."""
        return self.prior.need

    @property
    def evaluations(self) -> int:
        """Network evaluations of a run: how often its priors predict the whole volume, over all samples.

        One for each step of the loop: a predictor and a corrector have one each, and of two planes a step asks one. In
        addition what the data step and the end ask for. A prediction whose gradient is taken (DPS, the guided plane of
        TPDM) is one evaluation too, and takes the time of three. Patches of k slices are one for the whole volume, and
        take a k-th of the time.
        """
        steps = len(self.renoising.sigmas(self.schedule)) - 1
        return self.samples * (steps + self.data.evaluations(steps) + self.end.evaluations)

    @property
    def label(self) -> str:
        """As tables print it: "DDS + ISCS", "DDS, mean of 5"; with another algorithm in it "DDS (null-space)"."""
        noise = self.noise.label
        title = self.title + _departures(self, ("prior", "data"))
        return (
            title
            + (f" + {noise}" if noise else "")
            + (", fast" if self.fast else "")
            + (f", mean of {self.samples}" if self.samples > 1 else "")
        )

    def _repr_html_(self) -> str:
        return ask("html", self)


@dataclass(frozen=True)
class Direct:
    """A method that does not sample, and so has neither noise nor steps.

    Attributes:
        name, title, source, kinds, published: as of `Method`.
        solution: how it solves a problem.
    """

    name: str
    title: str
    source: str
    solution: Solution
    kinds: tuple[str, ...] = ()
    published: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)

    def __post_init__(self) -> None:
        _check_parts(self, {"solution": Solution})

    @property
    def need(self) -> str:
        """The sort of prior it needs, "" for none."""
        return self.solution.need

    @property
    def evaluations(self) -> int:
        """Network evaluations of a run, as of `Method`."""
        return self.solution.evaluations

    @property
    def label(self) -> str:
        """As tables print it."""
        return self.title + _departures(self, ("solution",))

    def _repr_html_(self) -> str:
        return ask("html", self)


AnyMethod = Method | Direct

_PARTS: dict[str, type[Part]] = {
    "prior": PriorPart,
    "data": DataStep,
    "renoising": Renoising,
    "schedule": Schedule,
    "noise": Strategy,
    "start": Start,
    "end": Ending,
}


def _check_parts(method: AnyMethod, parts: Mapping[str, type[Part]]) -> None:
    for name in ("name", "title", "source"):
        given: Any = getattr(method, name)
        if not isinstance(given, str):
            raise CosliceError(f"{type(method).__name__}: {name} {given!r} was given, a word is needed.")
    kinds: Any = method.kinds
    if not isinstance(kinds, tuple):
        raise CosliceError(f'method {method.name}: kinds {kinds!r} was given, a tuple is needed, as in ("ct",).')
    for name, sort in parts.items():
        value: Any = getattr(method, name)
        if not isinstance(value, sort):
            hint = "; write brackets behind the class" if isinstance(value, type) and issubclass(value, sort) else ""
            raise CosliceError(
                f"method {method.name}: {name} {value!r} was given, but a {sort.__name__} is needed{hint}."
            )


def _departures(method: AnyMethod, slots: tuple[str, ...]) -> str:
    """The words of the parts that make a published method another algorithm: " (null-space)"; "" of a new method."""
    from coslice.methods.papers import METHODS  # when it is asked: the papers are made of this module

    usual = METHODS.get(method.name)
    if usual is None or type(usual) is not type(method):
        return ""
    parts = [(getattr(method, slot), getattr(usual, slot)) for slot in slots]
    words = [part.kind or type(part).__name__ for part, known in parts if type(part) is not type(known)]
    return f" ({', '.join(words)})" if words else ""
