"""Windows: the intensities that a prior sees as 0 and 1.

Priors live in [0, 1]. A window [low, high] is the affine map u = (v - low)/(high - low), with values beyond its ends
clipped; the paper's for CT is [-1000, 1600] HU (`CT_WINDOW`); an MR scan has its own (`scan_window`). What a picture
shows black and white is another matter: `DISPLAYS` names the ranges of HU that are usual there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.escapes import visible

__all__ = ["CT_WINDOW", "DISPLAYS", "EMPTY", "Window", "check_window", "same_window", "scan_window"]


_BELOW = 0.01
"""Of the bright end: values of MR further below 0 are no ringing of an interpolation."""


_LARGEST = 1e30
"""Single precision goes to 3e38."""


@dataclass(frozen=True)
class Window:
    """The values `low`..`high` (in `unit`) that become 0..1.

    Raises:
        CosliceError: an end is not finite or beyond 1e30, or `high` is not above `low`.
    """

    low: float
    high: float
    unit: str = "HU"

    def __post_init__(self) -> None:
        if not (max(abs(self.low), abs(self.high)) <= _LARGEST and self.high - self.low >= 1 / _LARGEST):
            raise CosliceError(
                f"Window: low {self.low:g} and high {self.high:g}{f' {self.unit}'.rstrip()} were given, "
                "finite numbers with high above low are needed; swap or widen them."
            )

    @property
    def width(self) -> float:
        """From `low` to `high`: what a difference of 1 in the unit window is in `unit`."""
        return self.high - self.low

    def to_unit(self, values: Tensor, clip: bool = True) -> Tensor:
        """`low`..`high` to 0..1; values outside are clipped unless `clip` is False."""
        unit = (values - self.low).div_(self.high - self.low)
        return unit.clamp_(0, 1) if clip else unit

    def from_unit(self, values: Tensor) -> Tensor:
        """0..1 back to `low`..`high`; nothing is clipped."""
        return (values * (self.high - self.low)).add_(self.low)


CT_WINDOW = Window(-1000.0, 1600.0)
"""The paper's window for CT (appendix A.2)."""

EMPTY = 0.02
"""In the unit window: an image that is nowhere brighter than this shows nothing."""

DISPLAYS = {
    "chest": (-480.0, 820.0),
    "soft": (-175.0, 275.0),
    "lung": (-1350.0, 150.0),
    "bone": (-500.0, 1300.0),
    "brain": (0.0, 80.0),
}
"""HU shown black and white, by name. "chest" is that of both papers' figures of CT, "soft" of the ISCS paper's lesions
(Figure 6)."""


def scan_window(name: str, data: Tensor) -> Window:
    """The window called `name`, for a scan with voxels `data` (z, y, x).

    "ct" is `CT_WINDOW`. "mr" runs from 0 to the 99.9th percentile of the positive voxels, since MR intensities have
    no unit and differ from scan to scan. Of a scan with values well below 0, as one that was normalised to a mean of 0,
    it starts at the 0.1th percentile of all voxels. "LOW:HIGH" is those two numbers, whatever the scan; those of
    `CT_WINDOW` are that window, in HU.

    Raises:
        CosliceError: another name, or a scan without positive voxels where "mr" needs some.
    """
    check_window(name)
    if name == "ct":
        return CT_WINDOW
    if name == "mr":
        positive = data[data > 0]
        if not len(positive):
            raise CosliceError(
                "window mr: the scan has no voxel above 0, so nothing says what is bright; leave it out."
            )
        high, low = float(np.percentile(positive.numpy(), 99.9)), 0.0
        if float(data.min()) < -_BELOW * high:
            low = float(np.percentile(data.numpy(), 0.1))
        return Window(low if low < -_BELOW * high else 0.0, high, "a.u.")
    low, _, high = name.partition(":")
    found = Window(float(low), float(high), "")
    return CT_WINDOW if (found.low, found.high) == (CT_WINDOW.low, CT_WINDOW.high) else found


def same_window(one: str, other: str) -> bool:
    """Whether two names stand for the same intensities: "ct" is -1000:1600, and "mr" differs from all numbers.

    Raises:
        CosliceError: a name that is no window.
    """
    if "mr" in (one, other):
        return one == other
    first, second = (scan_window(name, torch.empty(0)) for name in (one, other))  # only "mr" looks at a scan
    return (first.low, first.high) == (second.low, second.high)


def check_window(name: str) -> None:
    """Refuse a name that `scan_window` does not know, before there is a scan."""
    if name in ("ct", "mr"):
        return
    low, _, high = name.partition(":")
    try:
        Window(float(low), float(high), "")
    except ValueError as error:
        raise CosliceError(
            f'window: "{visible(name[:100])}" was given, but it must be ct, mr, or LOW:HIGH, as in -160:240.'
        ) from error
