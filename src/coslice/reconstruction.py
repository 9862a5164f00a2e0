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

from coslice.classical import admm_tv, cgls, mean_diagonal, sirt
from coslice.errors import CosliceError
from coslice.fidelity import AfterCorrector, DiffPIRWeight, NullSpace, ProximalCG, ProximalTV, unchanged
from coslice.methods import DIFFUSION, METHODS, ON_ZSR, Method
from coslice.metrics import Watcher
from coslice.noise import NOISES, Noise, Slerp
from coslice.priors import Guided, SlicePrior
from coslice.renoising import DDIM, DiffPIR, PredictorCorrector, Renoising, Share
from coslice.sample import Correction, Denoiser, Fidelity, Step, sample, start
from coslice.schedule import geometric, with_correctors
from coslice.tasks import Problem

__all__ = ["RENOISING", "Progress", "Recipe", "Result", "chosen_method", "run"]

Progress = Callable[[str, int, int], None]
"""progress(phase, done, total), called as work goes on."""

RENOISING: dict[str, Callable[[Method], Renoising]] = {
    "share": lambda method: Share(method.eta),
    "ddim": lambda method: DDIM(method.eta),
    "diffpir": lambda method: DiffPIR(method.eta),
    "predictor-corrector": lambda method: PredictorCorrector(),
}
"""Re-noising rules by the name the command line gives them."""

_FLOOR = 0.001
"""Noise that DiffPIR assumes at the least, for an A that counts lengths in voxels (Zhu et al.'s code)."""


@dataclass(frozen=True)
class Recipe:
    """How to reconstruct. None takes the method's published value.

    Attributes:
        method: a name in `coslice.methods.METHODS`.
        noise: "independent", "identical" (BCS) or "iscs".
        start_noise: the same names, for the noise added to the first volume; None takes `noise`.
        start_from: "initial", the analytic reconstruction plus noise, as published, or "noise" alone.
        anchor_angle: of ISCS, in degrees (the paper's Table 8); None leaves it as drawn.
        renoising: a name in `RENOISING`.
        steps, sigma_max, sigma_min: of the geometric schedule.
        samples: reconstructions with seeds `seed`, `seed` + 1, ..., of which the mean is the result.
        eta: share of fresh noise.
        cg_iterations: per data step.
        gamma: of DDS, for an A that counts lengths in voxels; None takes the early-stopped form.
        sirt_iterations: of SIRT, and of DDNM's pseudo-inverse.
        tv_weight, tv_penalty, data_weight, guidance: see `coslice.methods.Method`.
        lpips: whether the trajectory holds LPIPS too.
        seed: of all randomness.
    """

    method: str = "dds"
    noise: str = "iscs"
    start_noise: str | None = None
    start_from: str = "initial"
    anchor_angle: float | None = None
    renoising: str | None = None
    steps: int | None = None
    samples: int | None = None
    sigma_max: float | None = None
    sigma_min: float | None = None
    eta: float | None = None
    cg_iterations: int | None = None
    gamma: float | None = None
    sirt_iterations: int | None = None
    tv_weight: float | None = None
    tv_penalty: float | None = None
    data_weight: float | None = None
    guidance: float | None = None
    lpips: bool = False
    seed: int = 0

    @property
    def title(self) -> str:
        """As tables print it: "DDS + ISCS"."""
        if self.method not in METHODS:
            raise _unknown(self.method)
        method = METHODS[self.method]
        if method.name not in DIFFUSION or self.noise == "independent":
            return method.title
        return f"{method.title} + {'ISCS' if self.noise == 'iscs' else 'BCS'}"


@dataclass(frozen=True)
class Result:
    """What a run gives.

    Attributes:
        reconstruction: (z, y, x), clipped to the unit window; the mean of the samples.
        initial: the analytic reconstruction, clipped likewise.
        trajectory: of the first sample, per step: "step", "sigma", "psnr", "sdiff", "lpips", see
            `coslice.metrics.Watcher`.
        seconds: per phase; "prior", "fidelity" and "renoising" are sums over the steps of all samples.
    """

    reconstruction: Tensor
    initial: Tensor
    trajectory: list[dict[str, float | int | None]]
    seconds: dict[str, float]


def chosen_method(recipe: Recipe, kind: str = "ct") -> Method:
    """The method of a recipe, with the recipe's values in place of the published ones where given.

    Args:
        recipe: names and numbers.
        kind: of the problem, "ct" or "zsr".

    Raises:
        CosliceError: an unknown method, noise, re-noising or start, a method that is not for such problems, or a number
            out of its range.
    """
    if recipe.method not in METHODS:
        raise _unknown(recipe.method)
    method = METHODS[recipe.method]
    if kind not in method.kinds:
        suited = ", ".join(name for name, one in METHODS.items() if kind in one.kinds)
        raise CosliceError(f"method {method.name}: it is not for this task; choose one of {suited}.")
    for name in (recipe.noise, recipe.start_noise or recipe.noise):
        if name not in NOISES:
            raise CosliceError(f'noise: "{name}" was given, but the strategies are {", ".join(NOISES)}.')
    if recipe.start_from not in ("initial", "noise"):
        raise CosliceError(f'start_from: "{recipe.start_from}" was given, "initial" or "noise" is needed.')
    if recipe.renoising is not None and recipe.renoising not in RENOISING:
        raise CosliceError(f'renoising: "{recipe.renoising}" was given, but the rules are {", ".join(RENOISING)}.')
    given = {name: value for name in _NUMBERS if (value := getattr(recipe, name)) is not None}
    method = replace(method, **((ON_ZSR.get(method.name, {}) if kind == "zsr" else {}) | given))
    _check_numbers(recipe, method)
    return method


_NUMBERS = (
    *("renoising", "steps", "samples", "sigma_max", "sigma_min", "eta", "cg_iterations", "sirt_iterations"),
    *("tv_weight", "tv_penalty", "data_weight", "guidance"),
)


def _check_numbers(recipe: Recipe, method: Method) -> None:
    # Building the cheap parts is checking their numbers, before any file is read or made.
    _sigmas(method)
    Share(method.eta)
    for name in (recipe.noise, recipe.start_noise or recipe.noise):
        _noise(recipe, name, "z")
    for name in ("samples", "cg_iterations", "sirt_iterations"):
        if getattr(method, name) < 1:
            raise CosliceError(f"{name}: {getattr(method, name)} was given, at least 1 is needed.")
    for name in ("tv_weight", "guidance", "data_weight"):
        if not 0 <= getattr(method, name) < math.inf:
            raise CosliceError(f"{name}: {getattr(method, name):g} was given, a number from 0 up is needed.")
    if not 0 < method.tv_penalty < math.inf:
        raise CosliceError(f"tv_penalty: {method.tv_penalty:g} was given, a positive number is needed.")
    if recipe.gamma is not None and not 0 < recipe.gamma < math.inf:
        raise CosliceError(f"gamma: {recipe.gamma:g} was given, a positive number is needed, or none at all.")
    if method.fidelity == "weighted-cg" and method.data_weight == 0:
        raise CosliceError("data_weight: 0 was given, DiffPIR needs a positive number.")
    if method.fidelity == "tv-after-corrector" and method.renoising != "predictor-corrector":
        raise CosliceError(
            f"renoising: {method.renoising} was given for {method.name}, whose data step follows a corrector; "
            "leave it out."
        )
    if recipe.gamma is not None and method.fidelity != "proximal-cg":
        raise CosliceError(f"gamma: {recipe.gamma:g} was given for {method.name}, but it belongs to dds; leave it out.")


def _unknown(name: str) -> CosliceError:
    return CosliceError(f'method: "{name}" was given, but the methods are {", ".join(METHODS)}.')


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
        truth: (z, y, x), only to measure the estimates along the way.
        progress: told of every step.

    Raises:
        CosliceError: a recipe that names something unknown, or a prior that is missing or does not fit.
    """
    method = chosen_method(recipe, problem.kind)
    log = _Log(Watcher(truth, recipe.lpips), progress)
    with log.phase("initial"):
        initial = problem.initial()
    if method.name in DIFFUSION:
        if prior is None:
            raise CosliceError(f"method {method.name}: no prior was given, a diffusion method needs one.")
        prior.check(tuple(initial.shape), method.sigma_max, method.sigma_min)
        reconstruction = torch.zeros_like(initial, memory_format=torch.contiguous_format)
        for one in range(method.samples):
            sampled = _sampled(problem, replace(recipe, seed=recipe.seed + one), method, prior, initial, log)
            reconstruction.add_(sampled, alpha=1 / method.samples)
    else:
        with log.phase("reconstruction"):
            reconstruction = _classical(problem, method, initial, log)
    return Result(reconstruction.clamp(0, 1), initial.clamp(0, 1), log.trajectory, log.seconds)


def _sampled(problem: Problem, recipe: Recipe, method: Method, prior: SlicePrior, initial: Tensor, log: _Log) -> Tensor:
    with log.phase("preparation"):
        denoiser, fidelity, correction = _parts(problem, recipe, method, prior)
    sigmas = _sigmas(method)
    first = initial if recipe.start_from == "initial" else torch.zeros_like(initial)
    steps = sample(
        start(first, sigmas[0], _noise(recipe, recipe.start_noise or recipe.noise, prior.along), recipe.seed),
        sigmas,
        log.timed("prior", denoiser),
        log.timed("fidelity", fidelity),
        _noise(recipe, recipe.noise, prior.along),
        recipe.seed,
        RENOISING[method.renoising](method),
        correction,
    )
    x, total = initial, method.samples * (len(sigmas) - 1)
    first_sample = log.steps == 0
    for step in log.timed_steps("renoising", steps):
        x = step.x
        log.count(total)
        if first_sample:
            log.record(step, x if step.index == len(sigmas) - 2 else step.estimate)
    return x


def _parts(
    problem: Problem, recipe: Recipe, method: Method, prior: SlicePrior
) -> tuple[Denoiser, Fidelity, Correction | None]:
    """Prior, fidelity and correction of one run; those with a memory are made anew for each."""
    operator, y, unit = problem.operator, problem.measurement, problem.unit
    if method.fidelity == "guidance":
        return Guided(prior, prior.pull_back, operator, y, method.guidance / unit), unchanged, None
    if method.fidelity in ("proximal-tv", "tv-after-corrector"):
        scale = mean_diagonal(operator, y.device)
        weight, penalty = method.tv_weight * scale, method.tv_penalty * scale
        total_variation = ProximalTV(operator, y, weight, penalty, prior.along, cg_iterations=method.cg_iterations)
        if method.fidelity == "proximal-tv":
            return prior, total_variation, None
        return prior, unchanged, AfterCorrector(total_variation)
    if method.fidelity == "null-space":
        return prior, NullSpace(operator, y, problem.pseudo_inverse(method.sirt_iterations)), None
    if method.fidelity == "weighted-cg":
        assumed = max(problem.noise, _FLOOR * unit)
        return prior, ProximalCG(operator, y, method.cg_iterations, DiffPIRWeight(method.data_weight, assumed)), None
    gamma = None if recipe.gamma is None else recipe.gamma / unit**2
    return prior, ProximalCG(operator, y, method.cg_iterations, gamma), None


def _sigmas(method: Method) -> tuple[float, ...]:
    if method.renoising != "predictor-corrector":
        return geometric(method.steps, method.sigma_max, method.sigma_min)
    # Every level is visited twice.
    return with_correctors(geometric((method.steps + 1) // 2, method.sigma_max, method.sigma_min))


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
        settings = {"weight": method.tv_weight, "penalty": method.tv_penalty, "cg_iterations": method.cg_iterations}
        told = log.told(method.iterations)
        return admm_tv(operator, y, iterations=method.iterations, callback=told, **settings)
    return initial


class _Log:
    """Seconds per phase, the trajectory, and word to the caller's `progress`."""

    def __init__(self, watcher: Watcher, progress: Progress) -> None:
        self.watcher, self.progress = watcher, progress
        self.seconds: dict[str, float] = {}
        self.trajectory: list[dict[str, float | int | None]] = []
        self.steps = 0

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

    def count(self, total: int) -> None:
        """One more step of `total` is done."""
        self.steps += 1
        self.progress("sampling", self.steps, total)

    def record(self, step: Step, estimate: Tensor) -> None:
        """Add the step to the trajectory."""
        with self._clock("trajectory"):
            self.trajectory.append(self.watcher.record(step.index, step.sigma, estimate))

    @contextmanager
    def _clock(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
