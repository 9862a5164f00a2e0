"""Resampling along an axis: a small matrix that mixes slices.

Averaging, interpolating and coarsening along z are all

    y_i = sum_j W_ij x_j,

with x_j the slices of a volume and W a matrix of few entries a row. Every row sums to 1, so a constant stays what
it is. With index 0 the centre of the first slice, and its outer face at -1/2 kept in place, a new slice that is
r old ones thick is centred at c_i = (i + 1/2) r - 1/2, and there are floor(n/r) of them. Two families of W:

    box        W_ij = |[c_i - r/2, c_i + r/2] with [j - 1/2, j + 1/2]| / r           the mean over the new slice
    triangle   W_ij ~ max(0, 1 - |j - c_i| / max(r, 1))                              linear interpolation; for r > 1
                                                                                    widened, so that nothing is skipped

`mix_slices` multiplies and adds whole slices in the order of j, one rounding after each operation. The result is
therefore the same, bit for bit, on any number of threads and for any layout of x in memory, which a matrix
product does not promise.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor
from torch.nn import functional

__all__ = [
    "box_weights",
    "index_of",
    "interpolated",
    "mix_along",
    "mix_slices",
    "new_count",
    "resample",
    "resize",
    "same_size",
    "slices_needed",
    "triangle_weights",
]

_TOLERANCE = 1e-6  # of a slice: spacings in files are float32


def same_size(ratio: float) -> bool:
    """Whether new and old slices are equally thick, but for the rounding of spacings in files."""
    return abs(ratio - 1) <= _TOLERANCE


def new_count(count: int, ratio: float) -> int:
    """How many slices `ratio` old ones thick fit in `count` old ones; may be 0."""
    return math.floor(count / ratio + _TOLERANCE)


def slices_needed(count: int, ratio: float) -> int:
    """How many slices `ratio` old ones thick cover `count` old ones."""
    return math.ceil(count / ratio - _TOLERANCE)


def box_weights(count: int, ratio: float) -> np.ndarray:
    """W of the box, (new_count(count, ratio), count) float64, for `ratio` >= 1."""
    old = np.arange(count)
    start = np.arange(new_count(count, ratio))[:, None] * ratio  # of faces, counted from the first one
    overlap = np.minimum(start + ratio, old + 1) - np.maximum(start, old)
    return _normalised(overlap.clip(min=0))


def triangle_weights(count: int, ratio: float) -> np.ndarray:
    """W of the triangle, (new_count(count, ratio) or 1, count) float64."""
    centre = (np.arange(max(1, new_count(count, ratio))) + 0.5) * ratio - 0.5
    distance = np.abs(np.arange(count) - centre[:, None]) / max(ratio, 1.0)
    return _normalised((1 - distance).clip(min=0))


def resample(volume: Tensor, ratios: tuple[float, float, float]) -> Tensor:
    """Voxels `ratios` (z, y, x) times as large, by the triangle; axes of ratio 1 keep every bit.

    Args:
        volume: (z, y, x).
        ratios: new over old spacing, positive.
    """
    for axis, ratio in enumerate(ratios):
        if not same_size(ratio):
            volume = mix_along(triangle_weights(volume.shape[axis], ratio), volume, axis)
    return volume.contiguous()


def resize(stack: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (n, height, width) of `size` (height, width) pixels, the outer faces of their field of view kept in place.

    Bilinear, with the triangle widened to the new pixels when they are larger (antialiased). Images that have the size
    already are returned as they are, not copied. Each image by itself, whatever others are in the stack.
    """
    if tuple(stack.shape[1:]) == tuple(size):
        return stack
    return functional.interpolate(stack[None], tuple(size), mode="bilinear", antialias=True, align_corners=False)[0]


def interpolated(volume: Tensor, place: np.ndarray, shape: tuple[int, int, int]) -> Tensor:
    """Another grid's voxels, linearly between the eight about each; beyond the outer ones, the nearest.

    Args:
        volume: (z, y, x), on the CPU.
        place: 4 x 4, takes an index (x, y, z, 1) of the other grid to one of `volume`.
        shape: (z, y, x) of the other grid.
    """
    nz, ny, nx = shape
    y, x = np.meshgrid(np.arange(ny), np.arange(nx), indexing="ij")
    source, data = volume.numpy(), torch.empty(shape)
    for k in range(nz):  # coordinates of a whole volume would be six times as large as it is
        index = np.stack((x, y, np.full_like(x, k), np.ones_like(x))).reshape(4, -1)
        at = (place @ index)[2::-1]
        data[k] = torch.from_numpy(map_coordinates(source, at, order=1, mode="nearest").reshape(ny, nx))
    return data


def index_of(indices: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Indices (n, 3) of one grid as those of another, by a 4 x 4 matrix `place`; float64."""
    return indices @ place[:3, :3].T + place[:3, 3]


def mix_slices(weights: np.ndarray, volume: Tensor) -> Tensor:
    """sum_j W_ij x_j: weights (new, old), volume (old, y, x) -> (new, y, x), of the volume's type and device.

    The result is contiguous and carries no gradient.
    """
    volume = volume.detach().contiguous()
    mixed = volume.new_zeros((len(weights), *volume.shape[1:]))
    product = torch.empty_like(mixed[0])
    for row, result in zip(weights, mixed, strict=True):
        for j in np.flatnonzero(row):
            # Not add_ with alpha: whether that rounds once or twice depends on how torch was built, and on the device.
            result.add_(torch.mul(volume[j], float(row[j]), out=product))
    return mixed


def mix_along(weights: np.ndarray, volume: Tensor, number: int) -> Tensor:
    """`mix_slices` along the axis `number` of a volume; the result is contiguous."""
    return mix_slices(weights, volume.transpose(0, number)).transpose(0, number).contiguous()


def _normalised(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum(axis=1, keepdims=True)
