"""Tilted slices put upright.

With unit vectors e_1, e_2 of a slice's axes and n its normal, the step from slice to slice is s = a e_1 + b e_2 + d n;
a tilted gantry makes a or b other than 0. On the grid with step d n a voxel (i, j, k) is at

    p_0 + i d_1 e_1 + j d_2 e_2 + k d n = p_k + (i d_1 - k a) e_1 + (j d_2 - k b) e_2,

so every slice is moved in its own plane, by (k a, k b) mm, and none is mixed with another. Linear interpolation is
exact where values change linearly. The slices stay where they were cut; only the box around them grows.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.volume import ROUNDED, Volume, shears

__all__ = ["upright"]

_MOST = 35.0
"""Degrees; gantries tilt by up to 30."""


def upright(volume: Volume, most: float = _MOST) -> tuple[Volume, str]:
    """The volume on a grid with axes at right angles, and what was done in a sentence; "" where nothing was needed.

    The slices, and what is between them, are kept; each is moved within its plane (linear interpolation), and the
    planes grow so that nothing is cut off. What no slice has seen is given the volume's smallest value. Axes that
    are within 0.2 degrees of right angles are left as they are.

    Args:
        volume: stacked along the last axis of its file (`Volume.orientation`).
        most: the largest tilt in degrees that is taken.

    Raises:
        CosliceError: a larger tilt, or axes within the slices that are not at right angles.
    """
    if not shears(volume.affine, ROUNDED):
        return volume, ""
    # 0, 1, 2: x, y, z of the affine's columns; the data's axes run the other way.
    stacked = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}[volume.orientation[2]]
    first, second = (axis for axis in range(3) if axis != stacked)
    columns = volume.affine[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    units = columns / lengths
    if abs(units[:, first] @ units[:, second]) > ROUNDED:
        raise CosliceError(
            "The rows and columns of the volume's slices are not at right angles; resample it to a straight grid first."
        )
    normal = np.cross(units[:, first], units[:, second])
    normal *= np.sign(normal @ units[:, stacked]) / np.linalg.norm(normal)
    step = columns[:, stacked]
    distance = float(step @ normal)
    tilt = math.degrees(math.acos(min(distance / float(lengths[stacked]), 1.0)))
    if tilt > most:
        raise CosliceError(
            f"The volume's slices are tilted by {tilt:.1f} degrees against the line they are stacked along, at most "
            f"{most:g} are taken; resample it to a straight grid first."
        )
    count = volume.data.shape[2 - stacked]
    fill = float(volume.data.min())
    data, start = volume.data, np.zeros(3)
    for axis in (first, second):
        shift = float(step @ units[:, axis]) / float(lengths[axis])
        if abs(shift) * (count - 1) < 1e-3:
            continue
        data, start[axis] = _moved_slices(data, 2 - stacked, 2 - axis, shift, fill)
    affine = np.eye(4)
    affine[:3, :3] = columns
    affine[:3, stacked] = distance * normal
    affine[:3, 3] = volume.affine[:3, 3] + columns @ start
    sizes = " x ".join(str(n) for n in data.shape)
    note = (
        f"The slices were tilted by {tilt:.1f} degrees; each was moved within its plane (linear interpolation) onto "
        f"an upright grid of {sizes} voxels (z, y, x), {distance:.4g} mm between slices, with {fill:g} where no slice "
        "had seen anything."
    )
    code = volume.space_code or volume.qform_code
    return replace(volume, data=data, affine=affine, qform=None, qform_code=0, space_code=code), note


def _moved_slices(data: Tensor, along: int, axis: int, shift: float, fill: float) -> tuple[Tensor, float]:
    """Slice k moved by k `shift` voxels along `axis`, and where the first voxel of the result is."""
    slices = data.movedim((along, axis), (0, 1))
    size, count = slices.shape[1], slices.shape[0]
    ends = (0.0, shift * (count - 1))
    start, stop = math.floor(min(ends) + 1e-6), math.ceil(max(ends) - 1e-6)
    result = torch.full((count, size + stop - start, *slices.shape[2:]), fill, dtype=data.dtype)
    for k, one in enumerate(slices):
        # Voxel j of the result is voxel j + start - k shift of the slice.
        moved = start - k * shift
        whole = math.floor(moved)
        weight = moved - whole
        padded = torch.full((one.shape[0] + 2, *one.shape[1:]), fill, dtype=data.dtype)
        padded[1:-1] = one
        mixed = padded[:-1] * (1 - weight) + padded[1:] * weight if weight > 1e-9 else padded[:-1]
        # mixed[m] is at m - 1 + weight of the slice, so at m - 1 - whole of the result.
        first = -1 - whole
        low, high = max(first, 0), min(first + mixed.shape[0], result.shape[1])
        result[k, low:high] = mixed[low - first : high - first]
    return result.movedim((0, 1), (along, axis)).contiguous(), float(start)
