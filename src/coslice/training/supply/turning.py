"""Slices turned and zoomed at once.

A window of output pixels lies on a stored slice, turned by an angle about its middle. With e the place of an output
pixel from the middle, in output pixels, and p that of stored ones, both (row, column),

    p = p_0 + J e,        J = diag(1/d) R(angle) diag(r d),

where r are stored pixels to an output pixel and d mm to a stored one: a body is turned in mm, so that a round one stays
round where pixels are oblong. The value is a mean of stored pixels q about p, weighted by a triangle along each axis of
the output,

    w(q) = tri(u_1/h_1) tri(u_2/h_2),        u = J^-1 (q - p),        h_k = max(1, |row k of J^-1|),

tri(t) = max(0, 1 - |t|). Without an angle this is the antialiased triangle of `coslice.resampling.resize`, bilinear
interpolation where a zoom enlarges, and at a quarter turn the same turned by a quarter: one resampling, whatever the
angle, and nothing is blurred twice.

Outside the slice is 0, air. A pixel that its edge runs through is 0 in part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from coslice.kernels import kernel

__all__ = ["Span", "Turned"]


@dataclass(frozen=True)
class Span:
    """A window along one axis, as it lies without a turn.

    Attributes:
        start: first stored pixel under it.
        shown: stored pixels under it.
        size: output pixels that these become.
        offset: output pixels before them, where the slice is smaller than the window.
    """

    start: int
    shown: int
    size: int
    offset: int

    def centre(self, side: int) -> float:
        """The stored place of the middle of `side` output pixels."""
        return self.start + (side / 2 - self.offset) * self.shown / self.size - 0.5


class Turned:
    """A window on slices, turned.

    Args:
        spans: the window, by rows and columns.
        side: output pixels along each.
        shape: rows and columns of a slice.
        spacing: mm between its rows and columns.
        angle: in rad; a positive one takes what lies along the rows' axis towards the columns'.
    """

    def __init__(
        self,
        spans: tuple[Span, Span],
        side: int,
        shape: tuple[int, int],
        spacing: tuple[float, float],
        angle: float,
    ):
        self.side, self.shape = side, shape
        self._centre = np.array([span.centre(side) for span in spans])
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        mm = np.array(spacing)
        self._to_stored = turn * (mm * [span.shown / span.size for span in spans]) / mm[:, None]
        self._to_output = np.linalg.inv(self._to_stored)
        self._half = np.maximum(1.0, np.sqrt((self._to_output**2).sum(axis=1)))
        self._reach = np.abs(self._to_stored) @ self._half

    @property
    def region(self) -> tuple[slice, slice]:
        """The stored pixels that have a say, at least one."""
        far = np.abs(self._to_stored).sum(axis=1) * (self.side - 1) / 2 + self._reach
        low = np.floor(self._centre - far).astype(int)
        high = np.ceil(self._centre + far).astype(int)
        starts = [min(max(0, a), n - 1) for a, n in zip(low, self.shape, strict=True)]
        stops = [min(n, max(b + 1, a + 1)) for a, b, n in zip(starts, high, self.shape, strict=True)]
        return slice(starts[0], stops[0]), slice(starts[1], stops[1])

    def __call__(self, region: np.ndarray) -> np.ndarray:
        """The window, (n, side, side) float32, of what the slices hold in `region`, (n, h, w) float32."""
        out = np.zeros((len(region), self.side, self.side), dtype=np.float32)
        rows, columns = self.region
        first = np.array([rows.start, columns.start])
        size = np.abs(self._to_stored).sum(axis=1)
        shape = np.array(self.shape)
        centre, reach = self._centre, self._reach
        _gather(region, out, first, shape, centre, self._to_stored, self._to_output, self._half, reach, size)
        return out


@kernel(nogil=True)
def _gather(region, out, first, shape, centre, to_stored, to_output, half, reach, size):
    side = out.shape[1]
    middle = (side - 1) / 2
    for i in range(side):
        for j in range(side):
            y = centre[0] + to_stored[0, 0] * (i - middle) + to_stored[0, 1] * (j - middle)
            x = centre[1] + to_stored[1, 0] * (i - middle) + to_stored[1, 1] * (j - middle)
            # What of the pixel lies inside, by its extent along either axis.
            inside = min(1.0, max(0.0, min(y + 0.5, shape[0] - 0.5 - y) / size[0] + 0.5))
            inside *= min(1.0, max(0.0, min(x + 0.5, shape[1] - 0.5 - x) / size[1] + 0.5))
            if inside == 0.0:
                continue
            top = max(first[0], int(np.ceil(y - reach[0])))
            left = max(first[1], int(np.ceil(x - reach[1])))
            bottom = min(first[0] + region.shape[1] - 1, int(np.floor(y + reach[0])))
            right = min(first[1] + region.shape[2] - 1, int(np.floor(x + reach[1])))
            total = 0.0
            for row in range(top, bottom + 1):
                for column in range(left, right + 1):
                    a = to_output[0, 0] * (row - y) + to_output[0, 1] * (column - x)
                    b = to_output[1, 0] * (row - y) + to_output[1, 1] * (column - x)
                    weight = (1 - abs(a) / half[0]) * (1 - abs(b) / half[1])
                    if abs(a) < half[0] and abs(b) < half[1]:
                        total += weight
                        for n in range(region.shape[0]):
                            out[n, i, j] += weight * region[n, row - first[0], column - first[1]]
            for n in range(region.shape[0]):
                out[n, i, j] = out[n, i, j] * inside / total if total > 0 else 0.0
