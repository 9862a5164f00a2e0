"""Noise levels and how much of them is random.

sigma is the only clock: x = x_0 + sigma * noise. A schedule is the falling sequence of sigmas at which the
prior is asked, followed by 0, where sampling ends. A variance-preserving model lives in the same clock in
the variables x / sqrt(alpha_bar), with sigma = sqrt((1 - alpha_bar) / alpha_bar).

Re-noising to sigma_next mixes the noise the prior saw (the direction) with fresh noise:

    x = estimate + sigma_next * (sqrt(1 - e^2) * direction + e * noise),      e = eta(sigma, sigma_next)

`Eta` is the fraction e itself, as the ISCS repository uses it (e = 1: all fresh). `DDIMEta` is eta of eq. 8:
eta * beta_tilde in sigma's terms is e = eta * sqrt(1 - sigma_next^2 / sigma^2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from coslice.errors import CosliceError

__all__ = ["DDIMEta", "Eta", "EtaRule", "ddpm_alpha_bar", "from_alpha_bar", "geometric", "karras"]


def geometric(steps: int, sigma_max: float = 5.0, sigma_min: float = 0.01) -> tuple[float, ...]:
    """`steps` sigmas at equal ratios, then 0: the VE schedule of the ISCS paper (30 steps from 5 to 0.01)."""
    _check(steps, sigma_max, sigma_min)
    ratio = (sigma_min / sigma_max) ** (1 / max(steps - 1, 1))
    return (*(sigma_max * ratio**i for i in range(steps)), 0.0)


def karras(steps: int, sigma_max: float = 5.0, sigma_min: float = 0.01, rho: float = 7.0) -> tuple[float, ...]:
    """`steps` sigmas, evenly spaced in sigma^(1/rho), then 0 (EDM, eq. 5)."""
    _check(steps, sigma_max, sigma_min)
    top, bottom = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return (*((top + i / max(steps - 1, 1) * (bottom - top)) ** rho for i in range(steps)), 0.0)


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
    return (*((1 - chosen) / chosen).sqrt().tolist(), 0.0)


def _check(steps: int, sigma_max: float, sigma_min: float) -> None:
    if steps < 1:
        raise CosliceError(f"schedule: {steps} steps were asked for, at least 1 is needed; raise --steps.")
    if not 0 < sigma_min <= sigma_max < math.inf:
        raise CosliceError(
            f"schedule: sigma from {sigma_max:g} to {sigma_min:g} was given, "
            "0 < sigma_min <= sigma_max is needed; swap or correct them."
        )


class EtaRule(Protocol):
    """The share of sigma_next that is fresh noise, between 0 and 1."""

    def __call__(self, sigma: float, sigma_next: float) -> float: ...


@dataclass(frozen=True)
class Eta:
    """The same share at every step: 1 is all fresh noise, 0 is deterministic."""

    value: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.value <= 1:
            raise CosliceError(f"{type(self).__name__}: eta {self.value} was given, 0 to 1 is needed; correct --eta.")

    def __call__(self, sigma: float, sigma_next: float) -> float:
        return self.value


@dataclass(frozen=True)
class DDIMEta(Eta):
    """eta of DDIM, eq. 8: 1 is ancestral (DDPM) sampling, 0 is deterministic."""

    def __call__(self, sigma: float, sigma_next: float) -> float:
        return self.value * math.sqrt(max(0.0, 1 - (sigma_next / sigma) ** 2))


def falls(sigmas: Sequence[float]) -> bool:
    """Whether a sequence is a schedule: positive, never rising, and 0 at its end only."""
    return sigmas[-1] == 0 and all(a >= b for a, b in zip(sigmas, sigmas[1:], strict=False)) and min(sigmas[:-1]) > 0
