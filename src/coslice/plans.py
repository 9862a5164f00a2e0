"""A plan: a problem, a method and its priors, resolved and checked once, before any work and any file.

    plan(problem, "dds", prior, seed=0)      names become values, usual priors are loaded, what cannot be run is refused
    run(plan)                                runs it; nothing is resolved a second time

A plan says what will be done: its method with all settings, the noise levels, the priors, the noise laid out as the
prior reads the volume.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coslice.axes import axis_number
from coslice.devices import chosen_device
from coslice.errors import CosliceError
from coslice.methods import (
    KINDS,
    AnalyticSolution,
    AnyMethod,
    Direct,
    Method,
    default_method,
    fast_form,
    find_method,
    usual_priors,
)
from coslice.methods.method_remarks import remarks_on_method, remarks_on_size
from coslice.methods.noisy_data import suited_to_noise
from coslice.mixed_noise import Mixed
from coslice.noise import Following, Key, Noise, Reading, Strategy
from coslice.priors import SlicePrior, load_prior
from coslice.priors.supervised import check_diffusion
from coslice.problems import Problem
from coslice.renoising import PredictorCorrector
from coslice.sampling import Changing
from coslice.schedule import falls
from coslice.upper_floors import ask

__all__ = ["Plan", "Priors", "load_priors", "plan"]

Priors = SlicePrior | str | Path | Sequence[SlicePrior | str | Path | None] | None
"""A prior, or several, as values, names or files; None for a usual one."""


@dataclass(frozen=True, repr=False)
class Plan:
    """What will be run. Made by `plan`.

    Attributes:
        problem: the measurement.
        method: with all its settings.
        priors: as many as the method needs.
        seed: of all randomness; sample k has seed + k.
    """

    problem: Problem
    method: AnyMethod
    priors: tuple[SlicePrior, ...]
    seed: int = 0

    @property
    def sigmas(self) -> tuple[float, ...]:
        """The noise levels, then 0; none of a method that does not sample."""
        return () if isinstance(self.method, Direct) else self.method.renoising.sigmas(self.method.schedule)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Full sentences on what is done otherwise or elsewhere than asked, and what of these priors will not help."""
        elsewhere = self.problem.operator.remark(self.problem.measurement.device)
        return (*self._remarks_on_steps(), *self._remarks_on_priors(), *([elsewhere] if elsewhere else []))

    def _remarks_on_steps(self) -> tuple[str, ...]:
        if isinstance(self.method, Direct):
            return ()
        number = axis_number(self.priors[0].along)
        shape, spacing = self.problem.shape, self.problem.spacing
        said = remarks_on_method(self.method, self.sigmas, shape[number], spacing[number])
        if self.problem.kind == "ct":
            said += remarks_on_size(self.method, shape[number], math.prod(shape) // shape[number])
        asked, made = self.method.schedule.steps, len(self.sigmas) - 1
        if made == asked or not isinstance(self.method.renoising, PredictorCorrector):
            return said
        return (
            *said,
            f"{self.method.title} was given {asked} network evaluations, but makes {made}: it takes them in pairs, a "
            "predictor and a corrector for each noise level.",
        )

    def _remarks_on_priors(self) -> tuple[str, ...]:
        axis = getattr(self.problem, "axis", "")
        blind = [prior for prior in self.priors if axis and axis not in prior.plane]
        if not blind or len(blind) < len(self.priors):
            return ()
        return (
            f"Prior {blind[0].name} sees planes {blind[0].plane}, in which the axis {axis} of the thick slices does "
            f"not lie: it sees each thin slice alone. A prior of a plane with {axis} sees how they follow each other.",
        )

    @property
    def label(self) -> str:
        """What tables call it; a formula by what it is for this problem, FBP or FDK."""
        formula = isinstance(self.method, Direct) and isinstance(self.method.solution, AnalyticSolution)
        return self.problem.initial_title if formula else self.method.label

    def prior(self, sample: int = 0) -> SlicePrior | Changing:
        """What a sampling method asks at every step of a sample.

        Raises:
            CosliceError: the method does not sample.
        """
        part = _sampling(self.method).prior
        return part.over(self.problem, self.priors, self.seed + sample, self.sigmas)

    def noise(self, prior: SlicePrior | Changing) -> tuple[Noise, Noise]:
        """The noise of the start and that of the steps, laid out as `prior` reads the volume."""
        method = _sampling(self.method)
        start = method.noise if method.start.noise is None else method.start.noise
        return self._laid_out(start, prior), self._laid_out(method.noise, prior)

    def __repr__(self) -> str:
        steps = len(self.sigmas) - 1
        levels = f", {steps} steps, sigma {self.sigmas[0]:.4g} to {self.sigmas[-2]:.4g}" if steps > 0 else ""
        priors = f", priors {', '.join(prior.name for prior in self.priors)}" if self.priors else ""
        return f"Plan({self.label}{levels}{priors}, seed {self.seed}; {self.problem!r})"

    def _repr_html_(self) -> str:
        return ask("html", self)

    def _laid_out(self, strategy: Strategy, prior: SlicePrior | Changing) -> Noise:
        if isinstance(prior, Changing):
            return Following(strategy, prior.reading, self.problem.spacing)
        return strategy.laid_out(Reading(prior.along), self.problem.spacing)


def plan(
    problem: Problem,
    method: str | AnyMethod | None = None,
    prior: Priors = None,
    seed: int = 0,
    device: str | None = None,
    *,
    fast: bool = False,
) -> Plan:
    """Resolve and check everything that a run needs.

    Args:
        problem: what was measured.
        method: a name, which takes the settings for such a problem and its noise (`methods.noisy_data`), or a method of
            one's own, which is taken as it is; None takes our best, see `coslice.methods.default_method`.
        prior: for a method that needs one; None takes the embedded ones. Two for a method of two planes.
        seed: of all randomness.
        device: to load priors on that are given by name; None is the measurement's.
        fast: whether to take the method's fast form, see `coslice.methods.fast_form`.

    Raises:
        CosliceError: an unknown method or prior, one that does not fit the problem, a method without a fast form, or a
            number out of its range.
    """
    if not isinstance(problem, Problem):  # pyright: ignore[reportUnnecessaryIsInstance]  # not every caller checks types
        raise CosliceError(
            f"plan: a {type(problem).__name__} was given, but a problem is needed, as in simulate(...).problem."
        )
    kind = problem.kind if problem.kind in KINDS else ""
    if method is None:
        method = default_method(kind, _listed(prior))
    chosen = suited_to_noise(find_method(method, kind), problem) if isinstance(method, str) else method
    if not isinstance(chosen, Method | Direct):  # pyright: ignore[reportUnnecessaryIsInstance]  # not every caller checks types
        raise CosliceError(f"plan: a {type(method).__name__} was given, but a name or a method is needed.")
    if fast:
        chosen = fast_form(chosen, kind)
    if chosen.kinds and problem.kind not in chosen.kinds:
        raise CosliceError(f"method {chosen.name}: it is for {' and '.join(chosen.kinds)}, but not for this problem.")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:  # pyright: ignore
        raise CosliceError(f"seed: {seed!r} was given, but a whole number of at least 0 is needed.")
    place = str(problem.measurement.device if device is None else chosen_device(device))
    planned = Plan(problem, chosen, load_priors(chosen, problem.kind, prior, place, problem.modality), seed)
    _check_priors(planned)
    if isinstance(chosen, Method):
        _check_levels(planned)
        _check_noise(chosen)
    return planned


def load_priors(
    method: AnyMethod, kind: str, prior: Priors = None, device: str = "cpu", modality: str = ""
) -> tuple[SlicePrior, ...]:
    """The priors that a method needs: those that are given, loaded where they are names, else the embedded ones.

    Args:
        method: whose priors they are.
        kind: of the problem.
        prior: as `plan` takes it; in a sequence, None stands for the usual one.
        device: to load them on.
        modality: of the problem, where it is known.

    Raises:
        CosliceError: a prior that the method would not read, or one that is neither given nor embedded.
    """
    given = _listed(prior)
    planes = method.prior.planes if isinstance(method, Method) else ("prior",) if method.need else ()
    for one in given:
        if not (one is None or isinstance(one, SlicePrior | str | Path)):  # pyright: ignore
            raise CosliceError(
                f"prior: a {type(one).__name__} was given, but a prior as load_prior gives it, its name or its file is "
                "needed."
            )
    for unread in given[len(planes) :]:
        if unread is not None:
            name = unread.name if isinstance(unread, SlicePrior) else unread
            raise CosliceError(
                f"method {method.name}: prior {name} was given, but the method reads no such prior; leave it out."
            )
    usual = usual_priors(kind, method.need, modality)
    found: list[SlicePrior] = []
    for number, plane in enumerate(planes):
        one = given[number] if number < len(given) else None
        one = usual[number] if one is None and number < len(usual) else one
        if one is None:
            raise CosliceError(
                f"method {method.name}: no {plane} was given, and none of {method.need} comes with coslice for this "
                "task; name one, or train it with coslice train."
            )
        found.append(one if isinstance(one, SlicePrior) else load_prior(one, device))
    return tuple(found)


def _listed(prior: Priors) -> list[SlicePrior | str | Path | None]:
    return list(prior) if isinstance(prior, Sequence) and not isinstance(prior, str) else [prior]


def _check_priors(planned: Plan) -> None:
    problem, method, priors = planned.problem, planned.method, planned.priors
    for prior in priors:
        if problem.modality == "ct" and prior.window == "mr":
            raise CosliceError(
                f"method {method.name}: prior {prior.name} was given, which sees the window of MR, but the problem is "
                "of CT; choose a prior of CT."
            )
    if isinstance(method, Direct):
        method.solution.check(problem, priors)
        return
    for prior in priors:
        check_diffusion(prior, method.name)
        prior.check(problem.shape, method.schedule.sigma_max, method.schedule.sigma_min)
    planned.prior()  # building it is checking it


def _check_levels(planned: Plan) -> None:
    sigmas = planned.sigmas
    if not falls(sigmas):
        raise CosliceError(
            f"method {planned.method.name}: the schedule gives {tuple(sigmas)}, but a falling sequence that ends in 0 "
            "is needed."
        )


def _check_noise(method: Method) -> None:
    """Refuse a noise of the user's own that adds nothing: the volume would look better and be no sample."""
    given = (method.noise, method.start.noise)
    tied = (noise.tied for noise in given if isinstance(noise, Mixed))
    for noise in (*given, *tied):
        if noise is not None and not noise.built_in():
            drawn = noise.laid_out(Reading(), (1.0, 1.0, 1.0))((4, 8, 8), Key(0))
            if not bool(drawn.isfinite().all()) or not bool(drawn.any()):
                raise CosliceError(
                    f"method {method.name}: the noise {type(noise).__name__} adds nothing, or what is no number, to a "
                    "stack; add to `stack` in place, as in stack[i].add_(plane, alpha=scale)."
                )


def _sampling(method: AnyMethod) -> Method:
    if isinstance(method, Direct):
        raise CosliceError(
            f"method {method.name}: it does not sample, so it asks no prior at any step and adds no noise."
        )
    return method
