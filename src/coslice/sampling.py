"""The one sampling loop (the ISCS paper's Algorithm 1), for every method and task.

    denoised  = prior(x, sigma)                                                 (1) eq. 6
    estimate  = fidelity(denoised, sigma)                                       (2) eq. 7
    x         = estimate + kept (x - origin) + fresh noise                      (3) eqs. 8, 12

with kept and fresh = renoising(sigma, sigma_next), see `coslice.renoising`. origin is denoised: the noise the prior saw
is carried on; some methods take estimate instead. Full re-noising is kept = 0, fresh = sigma_next. There is no noise
where sigma_next = 0, nor, of a `quiet` rule, in the last transitions before it. A prior that looks at the volume
another way at every step is `Changing`. A method that also acts on the noisy volume itself (DiffusionMBIR) adds

    x         = correction(x, sigma, sigma_next)                                (4)

DDS, DDNM, DDIM and the rest differ only in the parts that are handed in; `+ISCS` is a noise strategy.

The loop is a generator: progress, trajectories, pictures and early stops are the caller's business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.noise import Key, Noise, Reading
from coslice.renoising import Mix, Renoising, Share
from coslice.schedule import falls

__all__ = ["Changing", "Correction", "Denoiser", "Fidelity", "Step", "altered", "sample", "start"]

Denoiser = Callable[[Tensor, float], Tensor]
"""A prior: (x, sigma) -> E[x_0 | x], volumes (z, y, x) in the unit window."""


class Changing(ABC):
    """A prior that is another denoiser at every step: patches cut anew, two planes in turn."""

    @abstractmethod
    def at(self, step: int) -> Denoiser:
        """The denoiser of step number `step`."""

    @abstractmethod
    def reading(self, step: int) -> Reading:
        """How it reads the volume, for the noise that is added before it does."""

    def auxiliary(self, step: int) -> bool:
        """Whether a second prior has the step, which a method may leave alone with it."""
        return False


def altered(
    prior: Denoiser | Changing, change: Callable[[Any], Denoiser], auxiliary: bool = True
) -> Denoiser | Changing:
    """`prior` with something done to it; where it changes from step to step, to the denoiser of every step.

    Args:
        prior: any.
        change: what is done to a denoiser.
        auxiliary: whether also to that of a second prior, see `Changing.auxiliary`.
    """
    return _Altered(prior, change, auxiliary) if isinstance(prior, Changing) else change(prior)


@dataclass(frozen=True)
class _Altered(Changing):
    prior: Changing
    change: Callable[[Any], Denoiser]
    everywhere: bool

    def at(self, step: int) -> Denoiser:
        denoiser = self.prior.at(step)
        return self.change(denoiser) if self.everywhere or not self.prior.auxiliary(step) else denoiser

    def reading(self, step: int) -> Reading:
        return self.prior.reading(step)

    def auxiliary(self, step: int) -> bool:
        return self.prior.auxiliary(step)


Fidelity = Callable[[Tensor, float], Tensor]
"""(denoised, sigma) -> estimate that agrees with the measurement."""

Correction = Callable[[Tensor, float, float], Tensor]
"""(x, sigma, sigma_next) -> x: acts on the re-noised volume, and returns another tensor or x as it was."""


@dataclass(frozen=True)
class Step:
    """One turn of the loop.

    Attributes:
        index: from 0.
        sigma: the noise level at which the prior was asked.
        denoised: x_{0|t}, the prior's prediction.
        estimate: x-hat_{0|t}, after data fidelity: the best reconstruction so far.
        x: the re-noised volume for the next step; after the last step, the estimate. Corrected, if the method
            has a correction: after the last step x is the reconstruction, whatever the method.
    """

    index: int
    sigma: float
    denoised: Tensor
    estimate: Tensor
    x: Tensor


def start(initial: Tensor, sigma: float, noise: Noise, seed: int) -> Tensor:
    """x_T = initial + sigma * noise: from a first reconstruction, or from zeros for pure noise."""
    return noise.at(sigma).add_(initial.clone(memory_format=torch.contiguous_format), sigma, Key(seed, 0, "start"))


@torch.no_grad()
def sample(
    x: Tensor,
    sigmas: Sequence[float],
    prior: Denoiser | Changing,
    fidelity: Fidelity,
    noise: Noise,
    seed: int,
    renoising: Renoising = Share(1.0),
    correction: Correction | None = None,
    first: int = 0,
) -> Iterator[Step]:
    """Run Algorithm 1 from x at sigmas[first] down to 0, one `Step` at a time.

    Args:
        x: (z, y, x), as `start` makes it, or as step first - 1 left it; itself left untouched.
        sigmas: a falling schedule that ends in 0, see `coslice.schedule`; levels may be repeated.
        prior, fidelity, noise, renoising, correction: the parts of a method.
        seed: of the re-noising; step k draws from Key(seed, k, "renoise").
        first: number of the first step that is made.

    Raises:
        CosliceError: sigmas is not a schedule.
    """
    if not falls(sigmas):
        raise CosliceError(f"sample: sigmas {tuple(sigmas)} were given, a falling sequence that ends in 0 is needed.")
    for index, (sigma, sigma_next) in enumerate(pairwise(sigmas[first:]), first):
        denoiser = prior.at(index) if isinstance(prior, Changing) else prior
        denoised = denoiser(x, sigma)
        estimate = fidelity(denoised, sigma)
        if sigma_next == 0:
            x = estimate
        else:
            mix = renoising(sigma, sigma_next, len(sigmas) - 3 - index)
            origin = denoised if renoising.origin == "denoised" else estimate
            x = _renoise(x, estimate, origin, mix, noise.at(sigma_next), Key(seed, index))
        if correction is not None:
            x = correction(x, sigma, sigma_next)
        yield Step(index, sigma, denoised, estimate, x)


def _renoise(x: Tensor, estimate: Tensor, origin: Tensor, mix: Mix, noise: Noise, key: Key) -> Tensor:
    # The prior reads slices next: give it slices in memory, whatever layout the operator left behind.
    renoised = estimate.clone(memory_format=torch.contiguous_format)
    if mix.kept > 0:
        renoised.add_(x, alpha=mix.kept).sub_(origin, alpha=mix.kept)
    if mix.fresh > 0:
        noise.add_(renoised, mix.fresh, key)
    return renoised
