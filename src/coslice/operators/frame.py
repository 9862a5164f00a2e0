"""Rays in voxel units, and the axis that drives each of them.

Joseph's method (1982) walks a ray s + t d through the planes of one axis a of the grid, interpolates the
volume linearly in the other two at each crossing, and weights by the length between two planes:

    t_p = (p - S_a) / D_a        p = 0 .. n_a - 1
    (A x) = |d| / |D_a| * sum_p  x interpolated at S + t_p D

S and D are s and d in voxel units (index of the first voxel centre = 0, each axis divided by its spacing),
|d| is in mm. The driving axis a is the one in which D is largest, so no step skips a voxel.
"""

from __future__ import annotations

import numpy as np

from coslice.geometry import Grid

__all__ = ["BIAS", "SLACK", "driving_axis", "to_voxels"]

# At 45 degrees two axes tie and rounding would choose; the bias makes every implementation choose alike.
BIAS = np.array((1 + 2e-6, 1 + 1e-6, 1.0))
SLACK = 1e-3
"""Voxels; more than what rounding does to where a ray enters a row."""


def to_voxels(grid: Grid, start: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World points and directions (..., 3) as (x, y, z) in mm -> the same in voxel units, (x, y, z)."""
    spacing = np.array(grid.spacing[::-1])
    first = np.array([grid.axis(name)[0] for name in "xyz"])
    return (start - first) / spacing, direction / spacing


def driving_axis(direction: np.ndarray) -> np.ndarray:
    """Per direction (..., 3) in voxel units the axis, 0 = x, 1 = y, 2 = z, in which it is largest."""
    return np.argmax(np.abs(direction) * BIAS, axis=-1)
