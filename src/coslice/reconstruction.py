"""From a recipe to a reconstruction: the parts are chosen here and nowhere else.

`run(problem, recipe, ...)` builds prior, fidelity, schedule and noise from the recipe's names and drives the
sampling loop, or calls a classical method. It knows no file, no terminal and no modality.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from coslice.classical import admm_tv, cgls, sirt
from coslice.errors import CosliceError
from coslice.fidelity import NullSpace, ProximalCG
from coslice.methods import DIFFUSION, METHODS, Method
from coslice.metrics import slice_difference
from coslice.noise import NOISES, Noise, Slerp
from coslice.priors import SlicePrior
from coslice.sample import Fidelity, Step, sample, start
from coslice.schedule import Eta, geometric
from coslice.tasks import Problem

__all__ = ["Progress", "Recipe", "Result", "chosen_method", "run"]

Progress = Callable[[str, int, int], None]
"""progress(phase, done, total), called as work goes on."""


@dataclass(frozen=True)
class Recipe:
    """How to reconstruct. None takes the method's published value.

    Attributes:
        method: a name in `coslice.methods.METHODS`.
        noise: "independent", "identical" (BCS) or "iscs".
        start_noise: the same names, for the noise added to the first volume; None takes `noise`.
        start_from: "initial", the analytic reconstruction plus noise, as published, or "noise" alone.
        anchor_angle: of ISCS, in degrees (the paper's Table 8); None leaves it as drawn.
        steps, sigma_max, sigma_min: of the geometric schedule.
        eta: share of fresh noise.
        cg_iterations, gamma: of DDS.
        sirt_iterations: of SIRT, and of DDNM's pseudo-inverse.
        seed: of all randomness.
    """

    method: str = "dds"
    noise: str = "iscs"
    start_noise: str | None = None
    start_from: str = "initial"
    anchor_angle: float | None = None
    steps: int | None = None
    sigma_max: float | None = None
    sigma_min: float | None = None
    eta: float | None = None
    cg_iterations: int | None = None
    gamma: float | None = None
    sirt_iterations: int | None = None
    seed: int = 0

    @property
    def title(self) -> str:
        """As tables print it: "DDS + ISCS"."""
        method = chosen_method(self)
        if method.name not in DIFFUSION or self.noise == "independent":
            return method.title
        return f"{method.title} + {'ISCS' if self.noise == 'iscs' else 'BCS'}"


@dataclass(frozen=True)
class Result:
    """What a run gives.

    Attributes:
        reconstruction: (z, y, x), clipped to the unit window.
        initial: the analytic reconstruction, clipped likewise.
        trajectory: per step: "step", "sigma", "sdiff", and "psnr" of the whole volume where a truth is known.
        seconds: per phase; "prior", "fidelity" and "renoising" are sums over the steps.
    """

    reconstruction: Tensor
    initial: Tensor
    trajectory: list[dict[str, float | int | None]]
    seconds: dict[str, float]


def chosen_method(recipe: Recipe) -> Method:
    """The method of a recipe, with the recipe's values in place of the published ones where given.

    Raises:
        CosliceError: an unknown method, noise or start, or a number out of its range.
    """
    if recipe.method not in METHODS:
        raise CosliceError(f'method: "{recipe.method}" was given, but the methods are {", ".join(METHODS)}.')
    for name in (recipe.noise, recipe.start_noise or recipe.noise):
        if name not in NOISES:
            raise CosliceError(f'noise: "{name}" was given, but the strategies are {", ".join(NOISES)}.')
    if recipe.start_from not in ("initial", "noise"):
        raise CosliceError(f'start_from: "{recipe.start_from}" was given, "initial" or "noise" is needed.')
    given = {
        name: value
        for name in ("steps", "sigma_max", "sigma_min", "eta", "cg_iterations", "sirt_iterations")
        if (value := getattr(recipe, name)) is not None
    }
    method = replace(METHODS[recipe.method], **given)
    # Building the cheap parts is checking their numbers, before any file is read or made.
    geometric(method.steps, method.sigma_max, method.sigma_min)
    Eta(method.eta)
    for name in (recipe.noise, recipe.start_noise or recipe.noise):
        _noise(recipe, name, "z")
    for name in ("cg_iterations", "sirt_iterations"):
        if getattr(method, name) < 1:
            raise CosliceError(f"{name}: {getattr(method, name)} was given, at least 1 is needed.")
    if recipe.gamma is not None and not recipe.gamma > 0:
        raise CosliceError(f"gamma: {recipe.gamma:g} was given, a positive number is needed, or none at all.")
    return method


def run(
    problem: Problem,
    recipe: Recipe,
    prior: SlicePrior | None = None,
    truth: Tensor | None = None,
    progress: Progress = lambda phase, done, total: None,
) -> Result:
    """Reconstruct.

    Args:
        problem: what was measured.
        recipe: how to reconstruct it.
        prior: for a diffusion method; its window is the problem's.
        truth: (z, y, x), only to record PSNR along the way.
        progress: told of every step.

    Raises:
        CosliceError: a recipe that names something unknown, or a prior that is missing or does not fit.
    """
    method = chosen_method(recipe)
    log = _Log(truth, progress)
    with log.phase("initial"):
        initial = problem.initial()
    if method.name in DIFFUSION:
        if prior is None:
            raise CosliceError(f"method {method.name}: no prior was given, a diffusion method needs one.")
        reconstruction = _sampled(problem, recipe, method, prior, initial, log)
    else:
        with log.phase("reconstruction"):
            reconstruction = _classical(problem, method, initial, log)
    return Result(reconstruction.clamp(0, 1), initial.clamp(0, 1), log.trajectory, log.seconds)


def _sampled(problem: Problem, recipe: Recipe, method: Method, prior: SlicePrior, initial: Tensor, log: _Log) -> Tensor:
    prior.check(tuple(initial.shape), method.sigma_max, method.sigma_min)
    with log.phase("preparation"):
        fidelity = _fidelity(problem, recipe, method)
    sigmas = geometric(method.steps, method.sigma_max, method.sigma_min)
    first = initial if recipe.start_from == "initial" else torch.zeros_like(initial)
    noise = _noise(recipe, recipe.noise, prior.along)
    steps = sample(
        start(first, sigmas[0], _noise(recipe, recipe.start_noise or recipe.noise, prior.along), recipe.seed),
        sigmas,
        log.timed("prior", prior),
        log.timed("fidelity", fidelity),
        noise,
        recipe.seed,
        Eta(method.eta),
    )
    estimate = initial
    for step in log.timed_steps("renoising", steps):
        estimate = step.estimate
        log.record(step, method.steps)
    return estimate


def _fidelity(problem: Problem, recipe: Recipe, method: Method) -> Fidelity:
    if method.fidelity == "null-space":
        pseudo_inverse = problem.pseudo_inverse(method.sirt_iterations)
        return NullSpace(problem.operator, problem.measurement, pseudo_inverse)
    return ProximalCG(problem.operator, problem.measurement, method.cg_iterations, recipe.gamma)


def _noise(recipe: Recipe, name: str, along: str) -> Noise:
    if name == "iscs" and recipe.anchor_angle is not None:
        return Slerp(along, math.radians(recipe.anchor_angle))
    return NOISES[name](along)


def _classical(problem: Problem, method: Method, initial: Tensor, log: _Log) -> Tensor:
    operator, y = problem.operator, problem.measurement
    if method.name == "sirt":
        return sirt(operator, y, method.sirt_iterations, callback=log.told(method.sirt_iterations))
    if method.name == "cgls":
        return cgls(operator, y, method.iterations, callback=log.told(method.iterations))
    if method.name == "admm-tv":
        return admm_tv(operator, y, iterations=method.iterations, callback=log.told(method.iterations))
    return initial


class _Log:
    """Seconds per phase, the trajectory, and word to the caller's `progress`."""

    def __init__(self, truth: Tensor | None, progress: Progress) -> None:
        self.truth, self.progress = truth, progress
        self.seconds: dict[str, float] = {}
        self.trajectory: list[dict[str, float | int | None]] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """One piece of work from beginning to end."""
        self.progress(name, 0, 1)
        with self._clock(name):
            yield
        self.progress(name, 1, 1)

    def told(self, total: int) -> Callable[[int, Tensor], None]:
        """A callback of an iterative method that has `total` iterations."""
        return lambda iteration, x: self.progress("reconstruction", iteration, total)

    def timed(self, name: str, function: Callable[[Tensor, float], Tensor]) -> Callable[[Tensor, float], Tensor]:
        """`function`, its seconds summed over calls."""

        def call(x: Tensor, sigma: float) -> Tensor:
            with self._clock(name):
                return function(x, sigma)

        return call

    def timed_steps(self, name: str, steps: Iterator[Step]) -> Iterator[Step]:
        """`steps`, with the seconds the loop spends between its timed parts under `name`."""
        while True:
            parts = self.seconds.get("prior", 0.0) + self.seconds.get("fidelity", 0.0)
            began = time.perf_counter()
            step = next(steps, None)
            spent = self.seconds.get("prior", 0.0) + self.seconds.get("fidelity", 0.0) - parts
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began - spent
            if step is None:
                return
            yield step

    def record(self, step: Step, total: int) -> None:
        """Add the step to the trajectory."""
        psnr = None
        if self.truth is not None:
            error = float((step.estimate.clamp(0, 1) - self.truth).square().mean())
            psnr = -10 * math.log10(max(error, 1e-10))
        self.trajectory.append(
            {"step": step.index, "sigma": step.sigma, "psnr": psnr, "sdiff": slice_difference(step.estimate)}
        )
        self.progress("sampling", step.index + 1, total)

    @contextmanager
    def _clock(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
