"""Step (3) of the loop: what becomes of the noise between two levels.

Every published sampler that knows its noise level is one line with two numbers,

    x_next = estimate + kept (x - origin) + fresh noise,

where x - origin is the noise the step believes to be in x, of size sigma: what is kept of it shrinks to
sigma_next, and what is missing is drawn anew. Two choices hide in "believes". The network names the noise as
x - denoised, before the data had their say; that is the default. DiffPIR, and DDNM as its paper writes it, name it
as x - estimate, after: then what fidelity changed is taken out of x as if it had been noise.

    Share(eta)               kept = sigma_next/sigma sqrt(1 - eta^2)   fresh = sigma_next eta
    DDIM(eta)                the same with e = eta sqrt(1 - sigma_next^2/sigma^2) for eta
    DiffPIR(zeta)            Share(sqrt(zeta)) about the estimate
    PredictorCorrector(snr)  kept = sigma_next^2/sigma^2               fresh = sqrt(sigma^2 - sigma_next^2)
                             and, where a level is repeated, a step of Langevin's equation

For all but the last, (kept sigma)^2 + fresh^2 = sigma_next^2: with a clean image known for certain, x has noise of
exactly sigma_next after the step. The predictor overshoots and the corrector mends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

from coslice.errors import CosliceError

__all__ = ["DDIM", "Cooled", "DiffPIR", "Mix", "Origin", "PredictorCorrector", "Renoising", "Share"]

Origin = Literal["denoised", "estimate"]
"""What x is measured from to name its noise."""


@dataclass(frozen=True)
class Mix:
    """x_next = estimate + kept (x - origin) + fresh noise."""

    kept: float
    fresh: float


class Renoising(Protocol):
    """(sigma, sigma_next) -> Mix, 0 < sigma_next <= sigma; `origin` says which noise is kept."""

    @property
    def origin(self) -> Origin: ...

    def __call__(self, sigma: float, sigma_next: float) -> Mix: ...


@dataclass(frozen=True)
class Share:
    """The same share of fresh noise at every step: eta = 1 is all fresh, 0 is deterministic.

    eta = 1 is the ISCS repository's re-noising; eta = 0.85 is DDNM's code (Wang et al., ICLR 2023), and DDS's
    (Chung et al., ICLR 2024) has the same two coefficients.

    Attributes:
        eta: share of sigma_next that is drawn anew, 0 to 1.
        origin: "denoised" or "estimate".
    """

    eta: float = 1.0
    origin: Origin = "denoised"

    def __post_init__(self) -> None:
        _check(type(self).__name__, "eta", self.eta)
        if self.origin not in ("denoised", "estimate"):
            raise CosliceError(
                f'{type(self).__name__}: origin "{self.origin}" was given, "denoised" or "estimate" is needed.'
            )

    def __call__(self, sigma: float, sigma_next: float) -> Mix:
        return _mix(self.eta, sigma, sigma_next)


@dataclass(frozen=True)
class DDIM(Share):
    """eta of DDIM (Song et al., ICLR 2021, eq. 16; the ISCS paper's eq. 8): 1 is ancestral (DDPM) sampling.

    eta beta_tilde in the clock of sigma is a share e = eta sqrt(1 - sigma_next^2/sigma^2), so that even eta = 1 keeps
    most of the noise where steps are small. With origin "estimate" it is DDNM's paper, Algorithm 1: the DDPM posterior
    q(x_next | x, estimate) at eta = 1.
    """

    def __call__(self, sigma: float, sigma_next: float) -> Mix:
        return _mix(self.eta * math.sqrt(max(0.0, 1 - (sigma_next / sigma) ** 2)), sigma, sigma_next)


@dataclass(frozen=True)
class DiffPIR:
    """Zhu et al., CVPRW 2023, Algorithm 1: noise as named by the estimate, a share zeta of its variance fresh.

        eps_hat = (x_t - sqrt(abar_t) x0_hat) / sqrt(1 - abar_t)
        x_{t-1} = sqrt(abar_{t-1}) x0_hat + sqrt(1 - abar_{t-1}) (sqrt(1 - zeta) eps_hat + sqrt(zeta) eps)

    Attributes:
        zeta: 0 to 1.
    """

    zeta: float = 1.0

    @property
    def origin(self) -> Origin:
        return "estimate"

    def __post_init__(self) -> None:
        _check("DiffPIR", "zeta", self.zeta)

    def __call__(self, sigma: float, sigma_next: float) -> Mix:
        return _mix(math.sqrt(self.zeta), sigma, sigma_next)


@dataclass(frozen=True)
class PredictorCorrector:
    """The variance-exploding sampler of Song et al. (ICLR 2021, Algorithms 2 and 4), which DiffusionMBIR uses.

    With score = (denoised - x) / sigma^2 and no data fidelity of its own (estimate = denoised):

        predictor, sigma_next < sigma   x_next = x + (sigma^2 - sigma_next^2) score + sqrt(sigma^2 - sigma_next^2) noise
        corrector, sigma_next = sigma   x_next = x + step score + sqrt(2 step) noise,    step = 2 (snr sigma)^2

    Published: step = 2 (snr |noise| / |score|)^2. A score that is noise over sigma has |noise| / |score| = sigma up to
    a relative 1/sqrt(voxels), so the rule is used with its value and needs no sum over the volume. Schedules
    that repeat levels: `coslice.schedule.with_correctors`.

    Attributes:
        snr: length of a Langevin step against that of its noise; 0.16 is DiffusionMBIR's.
    """

    snr: float = 0.16

    @property
    def origin(self) -> Origin:
        return "denoised"

    def __post_init__(self) -> None:
        # From 1/sqrt(2) on, the step would turn the noise round rather than shrink it.
        if not 0 < self.snr <= math.sqrt(0.5):
            raise CosliceError(f"PredictorCorrector: snr {self.snr} was given, above 0 and at most 0.707 is needed.")

    def __call__(self, sigma: float, sigma_next: float) -> Mix:
        if sigma_next == sigma:
            return Mix(1 - 2 * self.snr**2, 2 * self.snr * sigma)
        return Mix((sigma_next / sigma) ** 2, math.sqrt(sigma**2 - sigma_next**2))


@dataclass(frozen=True)
class Cooled:
    """A rule whose fresh noise is `temperature` times as large.

    x is then cleaner than sigma says, and the prior takes away more than there is: samples lean towards the mean
    of the posterior, with less texture and a smaller error. 1 is the rule itself; 0, with all noise fresh, is
    plug-and-play restoration without noise (Zhang et al., TPAMI 2022, DPIR).

    Attributes:
        rule: which noise is kept and which is fresh.
        temperature: 0 to 1.
    """

    rule: Renoising
    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check("Cooled", "temperature", self.temperature, "temperature")

    @property
    def origin(self) -> Origin:
        return self.rule.origin

    def __call__(self, sigma: float, sigma_next: float) -> Mix:
        mix = self.rule(sigma, sigma_next)
        return Mix(mix.kept, self.temperature * mix.fresh)


def _mix(share: float, sigma: float, sigma_next: float) -> Mix:
    return Mix(sigma_next / sigma * math.sqrt(1 - share**2), sigma_next * share)


def _check(who: str, name: str, value: float, option: str = "eta") -> None:
    if not 0 <= value <= 1:
        raise CosliceError(f"{who}: {name} {value} was given, 0 to 1 is needed; correct --{option}.")
