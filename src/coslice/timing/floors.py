"""Operations and bytes of the parts of a run: what their floors are counted from.

A network's operations are counted by torch as it runs; the others have closed forms. Bytes are those that must come
from memory and go to it once: what a volume, a measurement or a file holds, and no temporaries.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from coslice.geometry import ConeBeam, ParallelBeam

__all__ = ["counted", "crossings", "perceived", "projection"]

_BETWEEN, _ONTO = 3, 4
"""Operations to interpolate between two voxels, and to add what lies between two of them to a pixel."""

_ALEXNET = (
    (1, 64, 11, 4, 2, False),
    (64, 192, 5, 1, 2, True),
    (192, 384, 3, 1, 1, True),
    (384, 256, 3, 1, 1, False),
    (256, 256, 3, 1, 1, False),
)
"""Of each convolution channels in and out, side, stride, padding, and whether 3 x 3 pooling by 2 comes before it."""


def counted(call: Callable[[], object]) -> float:
    """Operations of the convolutions and matrix products in `call`, of torch alone."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return float(counter.get_total_flops())


def projection(operator: Any) -> tuple[float, float]:
    """Operations and bytes of A x, and so of A^T y, by Joseph's method of a scanner with rows across its axis.

    At each plane of voxels that the ray of a view and a column of pixels crosses, a column of voxels is interpolated
    (3 operations a voxel) and added to the column of pixels (4 a pixel).
    """
    geometry, grid = operator.geometry, operator.grid
    per_crossing = _BETWEEN * grid.shape[0] + _ONTO * geometry.detector[0]
    moved = 4 * (math.prod(operator.domain) + math.prod(operator.codomain))
    return crossings(geometry, grid) * per_crossing, float(moved)


def perceived(rows: int, columns: int) -> float:
    """Operations of LPIPS of a pair of grey images: those of AlexNet's convolutions, of either."""
    total = 0.0
    for before, after, kernel, stride, padding, pooled in _ALEXNET:
        if pooled:
            rows, columns = ((side - 3) // 2 + 1 for side in (rows, columns))
        rows, columns = ((side + 2 * padding - kernel) // stride + 1 for side in (rows, columns))
        total += 2 * 2 * before * after * kernel**2 * rows * columns
    return total


def crossings(geometry: ConeBeam | ParallelBeam, grid: Any) -> float:
    """How many planes of voxels the rays of all views and columns cross, of the axis that each goes along the more."""
    (_, dy, dx), (_, high_y, high_x) = grid.spacing, (size / 2 for size in grid.size)
    total = 0.0
    for view in range(geometry.views):
        start, direction = geometry.rays(view)
        start, direction = (np.broadcast_to(part, (*geometry.detector, 3))[0, :, :2] for part in (start, direction))
        centre = np.array(grid.centre[:0:-1])
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = (np.array([[-1], [1]])[..., None] * (high_x, high_y) + centre - start) / direction
        first, last = np.fmin(*ends).max(-1), np.fmax(*ends).min(-1)
        along = np.maximum(0, last - first)[:, None] * np.abs(direction) / (dx, dy)
        total += float(along.max(-1).sum())
    return total
