"""The noise of DM4CT (Shi et al., ICLR 2026): photons behind an image whose attenuation is made up, and bad pixels.

DM4CT holds images from -1 to 1, whatever they are of, and asks for a mean transmission T instead of an attenuation.
With x in the unit window and the rays' lengths A(1), the sinogram of its image is

    s = A (2 x - 1) = 2 y - A(1),        p = f s,   f = -ln(T) / mean(s)

and N = Poisson(I0 exp(-p)), at least 1, becomes s' = -ln(N / I0) / f. Where most of an image is below the middle, as
air and soft tissue in a window that holds bone are, mean(s) and f are negative: air then stops the most photons, and
rays through nothing but air are the noisiest. p hardly differs from ray to ray, so the noise is nearly even, and for
tissue, which is little brighter than air in that window, it is large.

Rings come from pixels that are off by the same amount in every view: a share of all pixels, each with a deviate of
N(0, (r sd(s'))^2) that stays. sd(s') is that of the whole noisy sinogram.

Ours differs in one thing: mean and deviation are of the whole measurement, in DM4CT's code of one slice at a time,
since it has no more. Draws are of the seed and the view, as all noise here (`coslice.detector`).
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch
from torch import Tensor

from coslice.detector import LineIntegrals, PhotonNoise
from coslice.errors import CosliceError
from coslice.noise import Key, generator
from coslice.operators import Operator
from coslice.sums import inner
from coslice.window import Window

__all__ = ["TransmissionNoise"]

_MOST_DEVIATION = 1e6
"""Of what is more the square is soon no number of 32 bits."""


@dataclass(frozen=True)
class TransmissionNoise(PhotonNoise):
    """Photons behind an image whose mean transmission is set, and pixels that are off in every view.

    Attributes:
        photons: I0, per detector pixel and view.
        electronic: as of `PhotonNoise`; DM4CT has none.
        transmission: T, of the mean line integral.
        bad_pixels: share of the detector's pixels that are off.
        bad_pixel_sd: r, by how much, in standard deviations of the noisy measurement.

    Raises:
        CosliceError: as `PhotonNoise`; a transmission or a share out of range, or only one of the last two.
    """

    _: KW_ONLY
    transmission: float = 0.5
    bad_pixels: float = 0.0
    bad_pixel_sd: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.transmission < 1:
            raise CosliceError(
                f"TransmissionNoise: a mean transmission of {self.transmission:g} was given, between 0 and 1 is "
                "needed, such as 0.5."
            )
        if not 0 <= self.bad_pixels <= 1 or not 0 <= self.bad_pixel_sd <= _MOST_DEVIATION:
            raise CosliceError(
                f"TransmissionNoise: a share of {self.bad_pixels:g} bad pixels that are off by {self.bad_pixel_sd:g} "
                "standard deviations was given; a share from 0 to 1 and a number from 0 to 1e6 are needed."
            )
        if bool(self.bad_pixels) != bool(self.bad_pixel_sd):
            raise CosliceError(
                f"TransmissionNoise: a share of {self.bad_pixels:g} bad pixels that are off by {self.bad_pixel_sd:g} "
                "standard deviations was given, which is none; give both or neither."
            )

    def lines(self, operator: Operator, y: Tensor, window: Window) -> LineIntegrals:
        """p = f (2 y - A(1)), with the factor that makes the mean transmission T; the window does not matter.

        Raises:
            CosliceError: a measurement whose image is as much above the middle as below, which no factor dims.
        """
        lengths = operator.forward(torch.ones(operator.domain, device=y.device))
        mean = _mean(2 * y - lengths)
        if abs(mean) <= 1e-6 * _mean(lengths):
            raise CosliceError(
                "TransmissionNoise: the mean line integral of the image from -1 to 1 is 0, so no factor gives it a "
                "transmission; take photons of real attenuation, or another window."
            )
        factor = -math.log(self.transmission) / mean
        return LineIntegrals(2 * factor, -factor * lengths)

    def fixed(self, y: Tensor, seed: int, lines: LineIntegrals) -> Tensor | None:
        """Of shape (rows, columns): 0, and at the bad pixels their deviates."""
        count = round(self.bad_pixels * y[0].numel())
        if not count:
            return None
        draws = generator(Key(seed, 0, "bad pixels"), 0)
        where = draws.permutation(y[0].numel())[:count]
        pattern = np.zeros(y[0].numel())
        pattern[where] = draws.standard_normal(count)
        return torch.as_tensor(self.bad_pixel_sd * _spread(y, lines) * pattern).reshape(y.shape[1:])

    def fixed_variance(self, y: Tensor, lines: LineIntegrals) -> float:
        """The share of bad pixels times the variance of their deviates."""
        return self.bad_pixels * (self.bad_pixel_sd * _spread(y, lines)) ** 2 if self.bad_pixels else 0.0


def _spread(y: Tensor, lines: LineIntegrals) -> float:
    """The standard deviation of s / 2 over the whole measurement: that of p, in the units of y."""
    p = lines.scale * y.double()
    p = p if lines.offset is None else p + lines.offset
    p = p - _mean(p)
    return math.sqrt(inner(p, p) / max(p.numel() - 1, 1)) / abs(lines.scale)


def _mean(values: Tensor) -> float:
    """The mean, the same for any number of threads."""
    return inner(values, values.new_ones(1).expand_as(values)) / values.numel()
