"""Noise levels.

sigma is the only clock: x = x_0 + sigma * noise. A schedule is the falling sequence of sigmas at which the
prior is asked, followed by 0, where sampling ends. A variance-preserving model lives in the same clock in
the variables x / sqrt(alpha_bar), with sigma = sqrt((1 - alpha_bar) / alpha_bar).

A schedule is a value: `Geometric(steps=30, sigma_max=0.5, sigma_min=0.01).sigmas()`.

A level may be repeated: the step between two equal levels neither adds nor removes noise, which is the place of
a corrector (`with_correctors`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.settings import Part, setting

__all__ = [
    "Geometric",
    "Karras",
    "Schedule",
    "VariancePreserving",
    "ddpm_alpha_bar",
    "falls",
    "from_alpha_bar",
    "with_correctors",
]


@dataclass(frozen=True)
class Schedule(Part, ABC):
    """A falling sequence of noise levels. An own one is a subclass with `sigmas`.

    Attributes:
        steps: network evaluations for each sample.
        sigma_max, sigma_min: first and last noise level, in units of the window.

    Raises:
        CosliceError: no steps, or levels that are not 0 < sigma_min <= sigma_max.
    """

    steps: int = setting(30, "Network evaluations for each sample", least=1)
    sigma_max: float = setting(5.0, "First noise level", "of the window", above=0)
    sigma_min: float = setting(0.01, "Last noise level", "of the window", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sigma_min > self.sigma_max:
            raise CosliceError(
                f"{type(self).__name__}: sigma from {self.sigma_max:g} to {self.sigma_min:g} was given, "
                "0 < sigma_min <= sigma_max is needed; swap or correct them."
            )

    @abstractmethod
    def sigmas(self) -> tuple[float, ...]:
        """The levels, `steps` of them, then 0."""


@dataclass(frozen=True)
class Geometric(Schedule):
    """Equal ratios: the VE schedule of the ISCS paper (30 steps from 5 to 0.01)."""

    kind = "geometric"

    def sigmas(self) -> tuple[float, ...]:
        ratio = (self.sigma_min / self.sigma_max) ** (1 / max(self.steps - 1, 1))
        return (*(self.sigma_max * ratio**i for i in range(self.steps)), 0.0)


@dataclass(frozen=True)
class Karras(Schedule):
    """Evenly spaced in sigma^(1/rho) (EDM, eq. 5).

    Attributes:
        rho: more puts more levels near sigma_min.
    """

    kind = "karras"

    rho: float = setting(7.0, "Exponent of the spacing", above=0)

    def sigmas(self) -> tuple[float, ...]:
        top, bottom = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        return (*((top + i / max(self.steps - 1, 1) * (bottom - top)) ** self.rho for i in range(self.steps)), 0.0)


@dataclass(frozen=True)
class VariancePreserving(Schedule):
    """Evenly spaced timesteps of a DDPM with 1000 linear betas: DDS's and DiffusionBlend's.

    sigma_t = sqrt((1 - alpha_bar_t) / alpha_bar_t) / width: DiffusionBlend's networks saw images in [-1, 1], twice as
    wide as the unit window, so sigma is half of what it is there; DDS's saw them in [0, 1]. Between whole t, t is
    linear in ln(sigma). From pure noise, sigma_max 78.6, every second step would be above 1.7.

    Attributes:
        width: of the range that the network saw its images in.
    """

    kind = "vp"

    width: float = setting(2.0, "Width of the range the network saw: 2 for -1:1, 1 for 0:1", above=0)

    def sigmas(self) -> tuple[float, ...]:
        alpha_bar = ddpm_alpha_bar().numpy()
        logs, table = np.log(((1 - alpha_bar) / alpha_bar) ** 0.5 / self.width), np.arange(len(alpha_bar))
        first, last = (float(np.interp(math.log(sigma), logs, table)) for sigma in (self.sigma_max, self.sigma_min))
        between = np.exp(np.interp(np.linspace(first, last, self.steps), table, logs))
        middle = list(map(float, between.clip(self.sigma_min, self.sigma_max)))
        # The ends as they were given, also beyond the table.
        middle[-1], middle[0] = self.sigma_min, self.sigma_max
        return (*middle, 0.0)


def ddpm_alpha_bar(first: float = 1e-4, last: float = 2e-2, count: int = 1000) -> Tensor:
    """alpha_bar (count,) of linear betas, eq. 2: the published guided-diffusion models' table."""
    return torch.cumprod(1 - torch.linspace(first, last, count, dtype=torch.float64), 0)


def from_alpha_bar(alpha_bar: Tensor, steps: int) -> tuple[float, ...]:
    """`steps` sigmas at evenly spaced timesteps of a DDPM, from its last to its first, then 0."""
    if not 1 <= steps <= len(alpha_bar):
        raise CosliceError(
            f"from_alpha_bar: {steps} steps were asked of a model of {len(alpha_bar)} timesteps; "
            f"choose between 1 and {len(alpha_bar)}."
        )
    kept = torch.linspace(len(alpha_bar) - 1, 0, steps, dtype=torch.float64).round().long()
    chosen = alpha_bar.double()[kept]
    return (*map(float, ((1 - chosen) / chosen).sqrt()), 0.0)


def with_correctors(sigmas: Sequence[float]) -> tuple[float, ...]:
    """A schedule for `coslice.renoising.PredictorCorrector`: every level twice, but the final 0.

    (s1, s2, 0) -> (s1, s1, s2, s2, 0), which reads: correct at s1, predict s2, correct at s2, predict 0. That is the
    order of Song et al.'s code (ICLR 2021). Their Algorithm 2 and DiffusionMBIR write it as predictor, then corrector
    at the level reached: the same sequence, but for the one corrector at s1 before it, which leaves x as noisy as it
    was, and none at 0. N levels cost 2 N calls of the prior.
    """
    return (*(level for level in sigmas[:-1] for _ in range(2)), sigmas[-1])


def falls(sigmas: Sequence[float]) -> bool:
    """Whether a sequence is a schedule: positive, never rising, and 0 at its end only."""
    return (
        len(sigmas) > 1
        and sigmas[-1] == 0
        and min(sigmas[:-1]) > 0
        and all(sigma >= sigma_next for sigma, sigma_next in pairwise(sigmas))
    )
