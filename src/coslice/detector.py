"""What a detector adds to a simulated measurement, drawn once for a seed.

Everything here works in the unit window: y = A x with x in [0, 1], so for CT, where A holds lengths, y is in mm.
A CT detector sees attenuation instead. With HU = low + (high - low) x and mu = mu_water (1 + HU/1000), the line
integral of attenuation is the number without unit

    p = mu_water [(1 + low/1000) A(1) + (high - low)/1000 y]  =  offset + scale y,

A(1) the rays' lengths within the volume; the offset is 0 where the window starts at air, -1000 HU. Noise is
added to p and carried back to y, which divides it by the scale. Two kinds (a third is in
`coslice.problems.transmission_noise`):

    Gaussian   p' = p + N(0, sd^2)
    photons    n  = I0 exp(-p)                                  counts expected (Beer-Lambert)
               N  = Poisson(n) + N(0, e^2),  not below 1        counts read out: quantum and electronic noise
               p' = -ln(N / I0)

By the delta method the variance of p' is (n + e^2)/n^2 and its bias half of that, both for large n. Counts below
1 are set to 1, since they have no logarithm: no line integral comes out above ln I0.

Draws are counter-based (Philox): the noise of a view, or of a thick slice, is a function of the seed, the view's
number and its own expected values, so the other views, the batch and the threads change nothing. A device whose
projections differ in the last bits may draw other counts of the same distribution.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.noise import Key, generator
from coslice.operators import Operator
from coslice.window import Window

__all__ = [
    "WATER",
    "GaussianNoise",
    "LineIntegrals",
    "MeasurementNoise",
    "PhotonNoise",
    "detector_noise",
    "line_integrals",
    "measured",
    "standard_deviation",
    "variances",
]

WATER = 0.0193
"""Attenuation of water at 70 keV, near the mean energy of a 120 kVp scanner, 1/mm.

NIST's tables (Hubbell & Seltzer, standard reference database 126) have 0.2059 cm^2/g at 60 keV and 0.1837 at
80 keV; a line through the logarithms gives 0.193 between them.
"""

# More would leave the integers of numpy's Poisson generator; no scanner comes near.
_MOST_PHOTONS = 1e15
# Of line integrals, which are below 20 in patients: what is more than this has a square that is no number.
_MOST_NOISE = 1e6


@dataclass(frozen=True, eq=False)
class LineIntegrals:
    """p = offset + scale y, from measurements in the unit window to line integrals of attenuation.

    Attributes:
        scale: 1/mm for CT; below 0 where what is brighter stops fewer photons.
        offset: of the shape of y; None is 0.

    Raises:
        CosliceError: a scale that is 0 or not a number.
    """

    scale: float = 1.0
    offset: Tensor | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale) or not self.scale:
            raise CosliceError(f"LineIntegrals: scale {self.scale:g} was given, a number other than 0 is needed.")

    def from_unit(self, y: Tensor, view: int) -> np.ndarray:
        """p of one view, float64."""
        p = self.scale * _array(y[view])
        return p if self.offset is None else p + _array(self.offset[view])

    def to_unit(self, p: np.ndarray, view: int) -> np.ndarray:
        """The inverse of `from_unit`."""
        return (p if self.offset is None else p - _array(self.offset[view])) / self.scale


def line_integrals(
    operator: Operator, window: Window, water: float = WATER, device: str | torch.device = "cpu"
) -> LineIntegrals:
    """The line integrals of a CT scan in HU, seen through `window`.

    Args:
        operator: A, whose measurements are in mm.
        window: HU of unit 0 and of unit 1.
        water: attenuation of water, 1/mm.
        device: where to compute A(1), needed where the window does not start at -1000 HU.

    Raises:
        CosliceError: an attenuation that is not a positive number.
    """
    _positive("line_integrals", "attenuation of water", water)
    scale = water * (window.high - window.low) / 1000
    if window.low == -1000:
        return LineIntegrals(scale)
    lengths = operator.forward(torch.ones(operator.domain, device=device))
    return LineIntegrals(scale, water * (1 + window.low / 1000) * lengths)


@dataclass(frozen=True)
class MeasurementNoise(ABC):
    """Noise of line integrals, or of y itself where there are none."""

    def lines(self, operator: Operator, y: Tensor, window: Window) -> LineIntegrals:
        """How a CT measurement y = A x becomes the line integrals that this noise is added to: those of attenuation."""
        return line_integrals(operator, window, device=y.device)

    def fixed(self, y: Tensor, seed: int, lines: LineIntegrals) -> Tensor | None:
        """What the detector adds to every view of y alike, without the views' axis; None is nothing.

        Args:
            y: the measurement with what `draw` adds, in the unit window.
            seed: of the draws.
            lines: of y.
        """
        return None

    def fixed_variance(self, y: Tensor, lines: LineIntegrals) -> float:
        """The variance that `fixed` adds to an entry, of a pixel nobody knows, in the units of y squared."""
        return 0.0

    @abstractmethod
    def draw(self, p: np.ndarray, seed: int, view: int) -> np.ndarray:
        """p with noise, for the view of that number."""

    @abstractmethod
    def variance(self, p: np.ndarray) -> np.ndarray:
        """The variance of the noise where the noiseless value is p."""


@dataclass(frozen=True)
class GaussianNoise(MeasurementNoise):
    """The same Gaussian noise on every value.

    Attributes:
        sd: standard deviation, of line integrals (no unit) for CT, else of y in the unit window.

    Raises:
        CosliceError: a standard deviation that is not a positive number.
    """

    sd: float

    def __post_init__(self) -> None:
        _positive("GaussianNoise", "standard deviation", self.sd)
        if self.sd > _MOST_NOISE:
            raise CosliceError(
                f"GaussianNoise: a standard deviation of {self.sd:g} was given, at most {_MOST_NOISE:g} is possible."
            )

    def draw(self, p: np.ndarray, seed: int, view: int) -> np.ndarray:
        """p + N(0, sd^2)."""
        return p + self.sd * _normal(p, seed, view)

    def variance(self, p: np.ndarray) -> np.ndarray:
        """sd^2 everywhere."""
        return np.full_like(p, self.sd**2)


@dataclass(frozen=True)
class PhotonNoise(MeasurementNoise):
    """Counting statistics of photons and the noise of the electronics that read them.

    Attributes:
        photons: I0, expected without a patient, per detector pixel and view.
        electronic: standard deviation in counts; 0 for none.

    Raises:
        CosliceError: not between 1 and 1e15 photons, or electronic noise that is not a number from 0 up.
    """

    photons: float
    electronic: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.photons <= _MOST_PHOTONS:
            raise CosliceError(
                f"PhotonNoise: {self.photons:g} photons were given, 1 to {_MOST_PHOTONS:g} are needed, "
                "such as 1e5 per detector pixel."
            )
        if not 0 <= self.electronic <= _MOST_PHOTONS:
            raise CosliceError(
                f"PhotonNoise: electronic noise of {self.electronic:g} counts was given, "
                f"a number from 0 up to {_MOST_PHOTONS:g} is needed, such as 10."
            )

    def draw(self, p: np.ndarray, seed: int, view: int) -> np.ndarray:
        """-ln((Poisson(I0 exp(-p)) + N(0, electronic^2)) / I0), of at least one count."""
        # Under another name than the electronic noise, which is independent of the counts.
        counts = generator(Key(seed, 0, "photons"), view).poisson(self._expected(p)).astype(np.float64)
        if self.electronic:
            counts += self.electronic * _normal(p, seed, view)
        return -np.log(np.maximum(counts, 1.0) / self.photons)

    def variance(self, p: np.ndarray) -> np.ndarray:
        """1/n + electronic^2/n^2 with n = I0 exp(-p), taken as 1 where less, as the counts are."""
        counts = np.maximum(self._expected(p), 1.0)
        return 1 / counts + (self.electronic / counts) ** 2

    def _expected(self, p: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # infinitely many are the most
            return np.minimum(self.photons * np.exp(-p), _MOST_PHOTONS)


def detector_noise(gaussian: float | None, photons: float | None, electronic: float = 0.0) -> MeasurementNoise | None:
    """The noise of a detector by its numbers, at most one kind of it; None where neither is given.

    Args:
        gaussian: standard deviation, see `GaussianNoise`.
        photons: per pixel, see `PhotonNoise`.
        electronic: standard deviation in counts, with photons only.

    Raises:
        CosliceError: both kinds, electronic noise without photons, or a number out of range.
    """
    if photons is not None and gaussian is not None:
        raise CosliceError(
            "detector: Gaussian noise and photons were both given, but a detector has one noise; choose one."
        )
    if photons is None and electronic:
        raise CosliceError(
            f"detector: electronic noise of {electronic:g} was given without photons, whose counts it is added to."
        )
    if photons is not None:
        return PhotonNoise(photons, electronic)
    return None if gaussian is None else GaussianNoise(gaussian)


def measured(y: Tensor, noise: MeasurementNoise, seed: int, lines: LineIntegrals | None = None) -> Tensor:
    """The measurement y with noise.

    Args:
        y: noiseless, views (or slices) first, in the units of A x with x in the unit window.
        noise: what kind and how much.
        seed: of the draws.
        lines: how y becomes line integrals of attenuation; None where it does not, as for MR.

    Returns:
        Of y's shape, type and device.

    Raises:
        CosliceError: photons without line integrals, or line integrals whose offset has another shape than y.
    """
    lines = _checked(y, noise, lines)
    noisy = torch.empty_like(y)
    for view in range(len(y)):
        drawn = noise.draw(lines.from_unit(y, view), seed, view)
        noisy[view] = torch.from_numpy(lines.to_unit(drawn, view)).to(noisy)
    fixed = noise.fixed(noisy, seed, lines)
    return noisy if fixed is None else noisy.add_(fixed.to(noisy))


def standard_deviation(y: Tensor, noise: MeasurementNoise, lines: LineIntegrals | None = None) -> float:
    """Root mean square of the noise `measured` adds, in y's units.

    Exact for Gaussian noise, the delta method for photons. Arguments and errors as `measured`.
    """
    lines = _checked(y, noise, lines)
    total = sum(float(noise.variance(lines.from_unit(y, view)).sum()) for view in range(len(y)))
    return math.sqrt(total / y.numel() / lines.scale**2 + noise.fixed_variance(y, lines))


def variances(y: Tensor, noise: MeasurementNoise, lines: LineIntegrals | None = None) -> Tensor:
    """The variance of the noise in every entry of y, in y's units squared, as if y itself held none.

    By the delta method for photons. Arguments and errors as `measured`; of y's shape, type and device.
    """
    lines = _checked(y, noise, lines)
    found = torch.empty_like(y)
    for view in range(len(y)):
        found[view] = torch.from_numpy(noise.variance(lines.from_unit(y, view)) / lines.scale**2).to(found)
    return found.add_(noise.fixed_variance(y, lines))


def _checked(y: Tensor, noise: MeasurementNoise, lines: LineIntegrals | None) -> LineIntegrals:
    if lines is None:
        if isinstance(noise, PhotonNoise):
            raise CosliceError(
                "PhotonNoise: this measurement has no line integrals of attenuation to count photons behind, "
                "a CT task is needed; choose Gaussian noise instead."
            )
        return LineIntegrals()
    if lines.offset is not None and lines.offset.shape != y.shape:
        raise CosliceError(
            f"measured: a measurement of shape {tuple(y.shape)} and line integrals for {tuple(lines.offset.shape)} "
            "were given, those of one operator are needed."
        )
    return lines


def _array(view: Tensor) -> np.ndarray:
    return view.detach().cpu().double().numpy()


def _normal(like: np.ndarray, seed: int, view: int) -> np.ndarray:
    return generator(Key(seed, 0, "measure"), view).standard_normal(like.shape, dtype=np.float32).astype(np.float64)


def _positive(who: str, what: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise CosliceError(f"{who}: {what} {value:g} was given, a positive number is needed.")
