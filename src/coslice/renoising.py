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

Every rule has a temperature, the size of its fresh noise.

For all but the last, (kept sigma)^2 + fresh^2 = sigma_next^2: with a clean image known for certain, x has noise of
exactly sigma_next after the step. The predictor overshoots and the corrector mends.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass, replace
from typing import Literal

from coslice.schedule import Schedule, with_correctors
from coslice.settings import Part, setting

__all__ = ["DDIM", "DiffPIR", "Mix", "Origin", "PredictorCorrector", "Renoising", "Share"]

Origin = Literal["denoised", "estimate"]
"""What x is measured from to name its noise."""

_ORIGIN = "Volume that x is measured from to name its noise"


@dataclass(frozen=True)
class Mix:
    """x_next = estimate + kept (x - origin) + fresh noise."""

    kept: float
    fresh: float


@dataclass(frozen=True)
class Renoising(Part, ABC):
    """A rule: (sigma, sigma_next) -> Mix, for 0 < sigma_next <= sigma. An own one is a subclass with `mix`.

    With a temperature below 1, x is cleaner than sigma says, and the prior takes away more than there is: samples lean
    towards the mean of the posterior, with less texture and a smaller error. 0, with all noise fresh, is plug-and-play
    restoration without noise (Zhang et al., TPAMI 2022, DPIR).

    Attributes:
        temperature: size of the fresh noise against the rule's, 0 to 1.
        origin: which noise is kept: that of x against the "denoised" volume, or against the "estimate".
        quiet: so many transitions between levels, the last ones, put no noise back, neither fresh nor kept: the prior
            sees the estimate itself. 1 is the code of DDS and of DiffusionBlend, whose last level is t = 0; their
            papers do not say so.
    """

    _: KW_ONLY
    temperature: float = setting(1.0, "Size of the fresh noise against the published", least=0, most=1)
    origin: Origin = setting("denoised", _ORIGIN, choices=("denoised", "estimate"))
    quiet: int = setting(0, "Transitions between levels, at the end, that put no noise back", least=0)

    @abstractmethod
    def mix(self, sigma: float, sigma_next: float) -> Mix:
        """How much noise is kept and how much is fresh, at temperature 1."""

    def __call__(self, sigma: float, sigma_next: float, left: int | None = None) -> Mix:
        """The rule at its temperature.

        Args:
            sigma, sigma_next: the levels.
            left: transitions between levels that follow this one; None where it is not known.
        """
        if left is not None and left < self.quiet:
            return Mix(0.0, 0.0)
        mix = self.mix(sigma, sigma_next)
        return Mix(mix.kept, self.temperature * mix.fresh)

    def sigmas(self, schedule: Schedule) -> tuple[float, ...]:
        """The levels at which the prior is asked, `schedule.steps` of them, then 0."""
        return schedule.sigmas()


@dataclass(frozen=True)
class Share(Renoising):
    """The same share of fresh noise at every step: eta = 1 is all fresh, 0 is deterministic.

    eta = 1 is the ISCS repository's re-noising; eta = 0.85 is DDNM's code (Wang et al., ICLR 2023), and DDS's
    (Chung et al., ICLR 2024) has the same two coefficients.

    Attributes:
        eta: share of sigma_next that is drawn anew, 0 to 1.
    """

    kind = "share"

    eta: float = setting(1.0, "Share of the next noise level that is drawn anew", least=0, most=1)

    def mix(self, sigma: float, sigma_next: float) -> Mix:
        return _mix(self.eta, sigma, sigma_next)


@dataclass(frozen=True)
class DDIM(Share):
    """DDIM (Song et al., ICLR 2021, eq. 16; the ISCS paper's eq. 8): eta = 1 is ancestral (DDPM) sampling.

    eta beta_tilde in the clock of sigma is a share e = eta sqrt(1 - sigma_next^2/sigma^2), so that even eta = 1 keeps
    most of the noise where steps are small. With origin "estimate" it is DDNM's paper, Algorithm 1: the DDPM posterior
    q(x_next | x, estimate) at eta = 1.
    """

    kind = "ddim"

    def mix(self, sigma: float, sigma_next: float) -> Mix:
        return _mix(self.eta * math.sqrt(max(0.0, 1 - (sigma_next / sigma) ** 2)), sigma, sigma_next)


@dataclass(frozen=True)
class DiffPIR(Renoising):
    """Zhu et al., CVPRW 2023, Algorithm 1: noise as named by the estimate, a share zeta of its variance fresh.

        eps_hat = (x_t - sqrt(abar_t) x0_hat) / sqrt(1 - abar_t)
        x_{t-1} = sqrt(abar_{t-1}) x0_hat + sqrt(1 - abar_{t-1}) (sqrt(1 - zeta) eps_hat + sqrt(zeta) eps)

    Attributes:
        zeta: 0 to 1.
    """

    kind = "diffpir"

    zeta: float = setting(1.0, "Share of the variance of the noise that is drawn anew", least=0, most=1)
    _: KW_ONLY
    origin: Origin = setting("estimate", _ORIGIN, choices=("denoised", "estimate"))

    def mix(self, sigma: float, sigma_next: float) -> Mix:
        return _mix(math.sqrt(self.zeta), sigma, sigma_next)


@dataclass(frozen=True)
class PredictorCorrector(Renoising):
    """The variance-exploding sampler of Song et al. (ICLR 2021, Algorithms 2 and 4), which DiffusionMBIR uses.

    With score = (denoised - x) / sigma^2 and no data fidelity of its own (estimate = denoised):

        predictor, sigma_next < sigma   x_next = x + (sigma^2 - sigma_next^2) score + sqrt(sigma^2 - sigma_next^2) noise
        corrector, sigma_next = sigma   x_next = x + step score + sqrt(2 step) noise,    step = 2 (snr sigma)^2

    Published: step = 2 (snr |noise| / |score|)^2. A score that is noise over sigma has |noise| / |score| = sigma up to
    a relative 1/sqrt(voxels), so the rule is used with its value and needs no sum over the volume. Schedules
    that repeat levels: `coslice.schedule.with_correctors`.

    TPDM's code (Lee et al., ICCV 2023) hands the predictor's mean, without fresh noise, to the next level. x then has
    less noise than sigma says, its score is shorter, and the published step is longer than the one here.

    Attributes:
        snr: length of a Langevin step against that of its noise; 0.16 is DiffusionMBIR's.
        carried: what a predictor hands on, its noisy "sample" or the "mean" of it. A corrector always adds its noise.
    """

    kind = "predictor-corrector"

    # From 1/sqrt(2) on, the step would turn the noise round rather than shrink it.
    snr: float = setting(0.16, "Length of a Langevin step against that of its noise", above=0, most=math.sqrt(0.5))
    carried: str = setting("sample", "What a predictor hands on to the next level", choices=("sample", "mean"))

    def mix(self, sigma: float, sigma_next: float) -> Mix:
        if sigma_next == sigma:
            return Mix(1 - 2 * self.snr**2, 2 * self.snr * sigma)
        fresh = 0.0 if self.carried == "mean" else math.sqrt(sigma**2 - sigma_next**2)
        return Mix((sigma_next / sigma) ** 2, fresh)

    def sigmas(self, schedule: Schedule) -> tuple[float, ...]:
        """Half as many levels, every one twice; an odd number of steps becomes the next even one, which a plan says."""
        return with_correctors(replace(schedule, steps=(schedule.steps + 1) // 2).sigmas())


def _mix(share: float, sigma: float, sigma_next: float) -> Mix:
    return Mix(sigma_next / sigma * math.sqrt(1 - share**2), sigma_next * share)
