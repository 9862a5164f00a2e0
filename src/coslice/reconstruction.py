"""From a recipe to a reconstruction.

`run(problem, recipe, ...)` has prior, fidelity, schedule and noise built from the recipe's names (`coslice.parts`) and
drives the sampling loop, or calls a classical method. It knows no file, no terminal and no modality.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from coslice.classical import admm_tv, cgls, sirt
from coslice.errors import CosliceError
from coslice.methods import DIFFUSION, Method
from coslice.metrics import Watcher
from coslice.parts import data_parts, noise_for, prior_for
from coslice.priors import SlicePrior
from coslice.priors.supervised import check_supervised, fbp_unet
from coslice.recipe import RENOISING, Recipe, chosen_method, sigmas_of
from coslice.renoising import Cooled
from coslice.sample import Changing, Step, each, sample, start
from coslice.tasks import Problem

__all__ = ["Progress", "Result", "check_prior", "run"]

Progress = Callable[[str, int, int], None]
"""progress(phase, done, total), called as work goes on."""


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


def run(
    problem: Problem,
    recipe: Recipe,
    prior: SlicePrior | None = None,
    truth: Tensor | None = None,
    progress: Progress = lambda phase, done, total: None,
    auxiliary: SlicePrior | None = None,
) -> Result:
    """Reconstruct.

    Args:
        problem: what was measured.
        recipe: how to reconstruct it.
        prior: for a method that needs one; its window is the problem's.
        truth: (z, y, x), only to measure the estimates along the way.
        progress: told of every step.
        auxiliary: the prior of the second plane, for TPDM.

    Raises:
        CosliceError: a recipe that names something unknown, or a prior that is missing or does not fit.
    """
    method = chosen_method(recipe, problem.kind)
    check_prior(problem, recipe, prior, auxiliary)
    log = _Log(Watcher(truth, recipe.lpips), progress)
    with log.phase("initial"):
        initial = problem.initial()
    if method.name in DIFFUSION:
        assert prior is not None
        reconstruction = torch.zeros_like(initial, memory_format=torch.contiguous_format)
        for one in range(method.samples):
            seeded = replace(recipe, seed=recipe.seed + one)
            asked = prior_for(problem, seeded, method, prior, auxiliary)
            sampled = _sampled(problem, seeded, method, asked, prior.along, initial, log)
            reconstruction.add_(sampled, alpha=1 / method.samples)
    else:
        with log.phase("reconstruction"):
            if method.prior == "supervised" and prior is not None:
                reconstruction = fbp_unet(prior, initial, problem.key)
            else:
                reconstruction = _classical(problem, method, initial, log)
    return Result(reconstruction.clamp(0, 1), initial.clamp(0, 1), log.trajectory, log.seconds)


def check_prior(problem: Problem, recipe: Recipe, prior: SlicePrior | None, auxiliary: SlicePrior | None) -> None:
    """Refuse priors that `run` could not use, before any work.

    Raises:
        CosliceError: a prior that is missing, of another kind than the method needs, or that does not fit.
    """
    method = chosen_method(recipe, problem.kind)
    if method.prior and prior is None:
        raise CosliceError(f"method {method.name}: no prior was given, but it needs one.")
    if prior is not None and method.name in DIFFUSION:
        prior_for(problem, recipe, method, prior, auxiliary)
    if prior is not None and method.prior == "supervised":
        check_supervised(prior, problem.key)


def _sampled(
    problem: Problem,
    recipe: Recipe,
    method: Method,
    prior: SlicePrior | Changing,
    along: str,
    initial: Tensor,
    log: _Log,
) -> Tensor:
    with log.phase("preparation"):
        denoiser, fidelity, correction = data_parts(problem, recipe, method, prior, along)
    sigmas = sigmas_of(method)
    first = initial if recipe.start_from == "initial" else torch.zeros_like(initial)

    steps = sample(
        start(first, sigmas[0], noise_for(recipe, recipe.start_noise or recipe.noise, prior), recipe.seed),
        sigmas,
        each(denoiser, lambda one: log.timed("prior", one)),
        log.timed("fidelity", fidelity),
        noise_for(recipe, recipe.noise, prior),
        recipe.seed,
        Cooled(RENOISING[method.renoising](method), method.temperature),
        correction,
    )
    x, total = initial, method.samples * (len(sigmas) - 1)
    first_sample = log.steps == 0
    for step in log.timed_steps("renoising", steps):
        x = step.x
        log.count(total)
        if first_sample:
            log.record(step, x if step.index == len(sigmas) - 2 else step.estimate)
    if method.rounds:
        with log.phase("projection"):
            for _ in range(method.rounds):
                x = fidelity(x.clamp(0, 1), sigmas[-2])
    return x


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
