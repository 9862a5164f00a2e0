"""Group normalisation, scale and shift, and SiLU in two passes over an image, for networks that only answer.

    u = norm(x + offset) (1 + scale) + shift        y = u / (1 + exp(-u))

Normalisation, scale and shift are one line for every channel, u = a x + b, once its group's mean and variance are
known: the first pass. The second pass computes y, and writes it in the type of x, or in 256 levels of `step`:

    y ~ step (level - zero)

No y is below -0.2785. How far up the levels must reach is known beforehand: u is largest where x is at one of the
two ends of its channel, which the first pass has seen as well.

Images are (pixels, channels), channels last. bfloat16, which numpy does not know, comes as the upper half of float32,
in uint16. One thread computes an image, so that every sum has one order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from coslice.kernels import kernel

__all__ = ["LOWEST", "ends", "levels", "line", "normalised"]

LOWEST = -0.2784646
"""The smallest value of SiLU, at u = -1.278."""

# No reassociation: rounding by adding and taking away a large number is one of the tricks below.
_OPTIONS = {"fastmath": {"nnan", "ninf", "nsz", "arcp", "contract"}, "nogil": True, "error_model": "numpy"}
_ROWS = 128  # pixels summed in single precision, before the sum goes on in double


def _float_of(typing: Any, bits: Any):
    """The float32 of 32 bits."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.bitcast(given[0], ir.FloatType())

    return types.float32(types.uint32), code


def _bits_of(typing: Any, number: Any):
    """The 32 bits of a float32."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.bitcast(given[0], ir.IntType(32))

    return types.uint32(types.float32), code


_as_float: Any = intrinsic(_float_of)
_as_bits: Any = intrinsic(_bits_of)


def _wide(value):
    """A stored number as float32."""
    raise NotImplementedError


@overload(_wide)
def _compiled_wide(value):
    if value == types.uint16:

        def shifted(value):
            return _as_float(np.uint32(value) << np.uint32(16))

        return shifted

    def same(value):
        return value

    return same


def _narrow(value, like):
    """A float32 as it is stored beside `like`, to the nearest, ties to even."""
    raise NotImplementedError


@overload(_narrow)
def _compiled_narrow(value, like):
    if like == types.uint16:

        def rounded(value, like):
            bits = _as_bits(value)
            return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))

        return rounded

    def same(value, like):
        return value

    return same


@kernel(**_OPTIONS)
def _silu(u):
    t = min(max(u * np.float32(-1.44269504), np.float32(-126)), np.float32(126))
    rounded = t + np.float32(12582912)  # 1.5 * 2^23: what is left of the fraction is rounded away
    f = t - (rounded - np.float32(12582912))
    # 2^f for |f| <= 1/2, to 1e-7
    power = np.float32(1.34004e-3)
    power = power * f + np.float32(9.67604e-3)
    power = power * f + np.float32(5.550327e-2)
    power = power * f + np.float32(2.4022107e-1)
    power = power * f + np.float32(6.9314721e-1)
    power = power * f + np.float32(1)
    exponential = _as_float(_as_bits(power) + (_as_bits(rounded) << np.uint32(23)))
    return u / (np.float32(1) + exponential)


@kernel(**_OPTIONS)
def line(x, weight, bias, offset, scale, shift, groups, eps, a, b):
    """Write a and b of u = a x + b for every channel, and return the largest u, 0 if none is above.

    x (pixels, channels) uint16 or float32; weight, bias, offset, scale, shift, a, b (channels,) float32.
    """
    pixels, channels = x.shape
    sums, squares = np.zeros(channels), np.zeros(channels)
    low, high = np.full(channels, np.float32(np.inf)), np.full(channels, np.float32(-np.inf))
    sum_here, squares_here = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for first in range(0, pixels, _ROWS):
        sum_here[:] = np.float32(0)
        squares_here[:] = np.float32(0)
        for row in range(first, min(first + _ROWS, pixels)):
            for c in range(channels):
                value = _wide(x[row, c]) + offset[c]
                sum_here[c] += value
                squares_here[c] += value * value
                low[c] = min(low[c], value)
                high[c] = max(high[c], value)
        for c in range(channels):
            sums[c] += sum_here[c]
            squares[c] += squares_here[c]
    width = channels // groups
    largest = 0.0
    for group in range(groups):
        first, last = group * width, (group + 1) * width
        mean = sums[first:last].sum() / (pixels * width)
        variance = squares[first:last].sum() / (pixels * width) - mean * mean
        inverse = 1 / math.sqrt(max(variance, 0.0) + eps)
        for c in range(first, last):
            gain = inverse * weight[c] * (1 + scale[c])
            a[c] = gain
            origin = (bias[c] - inverse * weight[c] * mean) * (1 + scale[c]) + shift[c]
            largest = max(largest, gain * low[c] + origin, gain * high[c] + origin)
            b[c] = origin + gain * offset[c]
    return largest


@kernel(**_OPTIONS)
def normalised(x, a, b, active, out):
    """out = a x + b, or SiLU of it if `active`; x and out (pixels, channels), of one type."""
    for row in range(x.shape[0]):
        for c in range(x.shape[1]):
            u = a[c] * _wide(x[row, c]) + b[c]
            out[row, c] = _narrow(_silu(u) if active else u, x[row, c])


@kernel(**_OPTIONS)
def _level(value, inverse, origin):
    level = min(max(value * inverse + origin, np.float32(0)), np.float32(255))
    return np.uint8(_as_bits(level + np.float32(8388608)) & np.uint32(255))  # 2^23: rounds


@kernel(**_OPTIONS)
def levels(x, a, b, active, step, zero, margin, out):
    """The levels of SiLU(a x + b) if `active`, else of a x + b.

    x (rows columns, channels); out (rows + 2 m, columns + 2 n, channels) uint8, written but for its margin (m, n).
    """
    inverse, origin = np.float32(1 / step), np.float32(zero)
    down, right = margin
    rows, columns = out.shape[0] - 2 * down, out.shape[1] - 2 * right
    for row in range(rows):
        for column in range(columns):
            pixel = row * columns + column
            for c in range(x.shape[1]):
                u = a[c] * _wide(x[pixel, c]) + b[c]
                out[row + down, column + right, c] = _level(_silu(u) if active else u, inverse, origin)


@kernel(**_OPTIONS)
def ends(x):
    """The smallest and the largest number in x (pixels, channels), 0 among them, and the root mean square."""
    channels = x.shape[1]
    low, high, squares = np.zeros(channels, np.float32), np.zeros(channels, np.float32), np.zeros(channels, np.float32)
    for row in range(x.shape[0]):
        for c in range(channels):
            value = _wide(x[row, c])
            low[c] = min(low[c], value)
            high[c] = max(high[c], value)
            squares[c] += value * value
    return low.min(), high.max(), math.sqrt(squares.sum() / x.size)
