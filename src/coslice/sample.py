"""The one sampling loop (the ISCS paper's Algorithm 1), for every method and task.

    denoised  = prior(x, sigma)                                                 (1) eq. 6
    estimate  = fidelity(denoised, sigma)                                       (2) eq. 7
    x         = estimate + sigma_next (sqrt(1 - e^2) direction + e noise)       (3) eqs. 8, 12

with direction = (x - denoised) / sigma, the noise the prior saw, and e = eta(sigma, sigma_next). DDS, DDNM,
DDIM and the rest differ only in the parts that are handed in; `+ISCS` is a noise strategy.

The loop is a generator: progress, trajectories, pictures and early stops are the caller's business.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.noise import Key, Noise
from coslice.schedule import Eta, EtaRule, falls

__all__ = ["Denoiser", "Fidelity", "Step", "sample", "start"]

Denoiser = Callable[[Tensor, float], Tensor]
"""A prior: (x, sigma) -> E[x_0 | x], volumes (z, y, x) in the unit window."""

Fidelity = Callable[[Tensor, float], Tensor]
"""(denoised, sigma) -> estimate that agrees with the measurement."""


@dataclass(frozen=True)
class Step:
    """One turn of the loop.

    Attributes:
        index: from 0.
        sigma: the noise level at which the prior was asked.
        denoised: x_{0|t}, the prior's prediction.
        estimate: x-hat_{0|t}, after data fidelity: the best reconstruction so far.
        x: the re-noised volume for the next step; after the last step, the estimate.
    """

    index: int
    sigma: float
    denoised: Tensor
    estimate: Tensor
    x: Tensor


def start(initial: Tensor, sigma: float, noise: Noise, seed: int) -> Tensor:
    """x_T = initial + sigma * noise: from a first reconstruction, or from zeros for pure noise."""
    return noise.add_(initial.clone(memory_format=torch.contiguous_format), sigma, Key(seed, 0, "start"))


@torch.no_grad()
def sample(
    x: Tensor,
    sigmas: Sequence[float],
    prior: Denoiser,
    fidelity: Fidelity,
    noise: Noise,
    seed: int,
    eta: EtaRule = Eta(1.0),
) -> Iterator[Step]:
    """Run Algorithm 1 from x at sigmas[0] down to 0, one `Step` at a time.

    Args:
        x: (z, y, x), as `start` makes it; left untouched.
        sigmas: a falling schedule that ends in 0, see `coslice.schedule`.
        prior, fidelity, noise, eta: the parts of a method.
        seed: of the re-noising; step k draws from Key(seed, k, "renoise").

    Raises:
        CosliceError: sigmas is not a schedule.
    """
    if not falls(sigmas):
        raise CosliceError(f"sample: sigmas {tuple(sigmas)} were given, a falling sequence that ends in 0 is needed.")
    for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = prior(x, sigma)
        estimate = fidelity(denoised, sigma)
        x = _renoise(x, denoised, estimate, sigma, sigma_next, eta(sigma, sigma_next), noise, Key(seed, index))
        yield Step(index, sigma, denoised, estimate, x)


def _renoise(
    x: Tensor,
    denoised: Tensor,
    estimate: Tensor,
    sigma: float,
    sigma_next: float,
    share: float,
    noise: Noise,
    key: Key,
) -> Tensor:
    if sigma_next == 0:
        return estimate
    # The prior reads slices next: give it slices in memory, whatever layout the operator left behind.
    renoised = estimate.clone(memory_format=torch.contiguous_format)
    kept = sigma_next / sigma * math.sqrt(1 - share**2)
    if kept > 0:
        renoised.add_(x, alpha=kept).sub_(denoised, alpha=kept)
    if share > 0:
        noise.add_(renoised, sigma_next * share, key)
    return renoised
