"""Thin slices from thick ones by a cubic spline along their axis, as if each were a point at its centre.

Thick slice i, k thin ones from the next, has its centre at c_i = i k + (k - 1)/2. Between the centres runs the spline
s with s(c_i) = y_i, two continuous derivatives, and no slope at the first and last centre; beyond them the volume goes
on as it ends. On brain MR at k = 5 this is 0.1 to 0.25 dB better than the spline with its usual ends (not-a-knot, going
on as a cubic), and 0.05 dB better than cubic convolution, the "bicubic" of image libraries (0.17 at k = 3). The
spline is linear in y,

    x_z = sum_i W_zi y_i,        column i of W: the spline through 1 at c_i and 0 at the other centres.

It interpolates the means y as if they were values, so A x is not quite y: that is what the baseline is.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicSpline
from torch import Tensor

from coslice.axes import axis_number
from coslice.errors import CosliceError
from coslice.resampling import mix_along, slices_needed

__all__ = ["cubic"]

_NEGLIGIBLE = 1e-9  # far from its centre a slice still has a share, but not in float32


def cubic(thick: Tensor, factor: float, count: int, axis: str = "z") -> Tensor:
    """The spline through thick slices, at thin ones z = 0..count-1.

    Args:
        thick: (m, y, x), or m along another axis.
        factor: distance between thick slices in thin ones, k.
        count: number of thin slices; m = ceil(count / factor).
        axis: "z", "y" or "x", along which slices are thick.

    Returns:
        (count, y, x), or `count` along another axis, of the type of `thick`.

    Raises:
        CosliceError: not three axes, a factor below 1, or a number of thick slices that does not cover `count`.
    """
    number = axis_number(axis)
    if factor < 1 or thick.ndim != 3 or count < 1 or thick.shape[number] != slices_needed(count, factor):
        raise CosliceError(
            f"cubic: thick slices of shape {tuple(thick.shape)}, a factor of {factor} and {count} thin slices were "
            "given; (m, y, x) with m = thin slices / factor, rounded up, is needed."
        )
    return mix_along(_weights(thick.shape[number], factor, count), thick, number)


def _weights(thick: int, factor: float, count: int) -> np.ndarray:
    """W, (count, thick) float64."""
    if thick == 1:
        return np.ones((count, 1))
    centres = np.arange(thick) * factor + (factor - 1) / 2
    places = np.arange(count).clip(centres[0], centres[-1])
    weights = CubicSpline(centres, np.eye(thick), bc_type="clamped")(places)
    weights[np.abs(weights) < _NEGLIGIBLE] = 0
    return weights
