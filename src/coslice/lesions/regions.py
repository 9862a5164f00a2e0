"""A real lesion: what a reconstruction keeps of the contrast of a region against its surroundings.

    contrast = mean over the region - mean over a rim about it
    recovery = contrast of the reconstruction / the truth's

The region comes from a mask that an expert drew, or is all between two thresholds inside a box (`outlined`), which is
an outline and no diagnosis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from coslice.errors import CosliceError
from coslice.lesions.spheres import Box
from coslice.volume import Volume

__all__ = ["RegionNumbers", "measure_region", "outlined", "rim_of"]


@dataclass(frozen=True)
class RegionNumbers:
    """A region in a reconstruction.

    Attributes:
        contrast_truth, contrast: mean of the region minus that of the rim, in the volume's unit.
        recovery: `contrast` over `contrast_truth`; None where the truth has none.
        bias: mean error in the region.
        error: root mean square error in the region.
        cnr: |contrast| over the standard deviation of the error in the rim; None where the rim has no error.
    """

    contrast_truth: float
    contrast: float
    recovery: float | None
    bias: float
    error: float
    cnr: float | None


def rim_of(region: Tensor, spacing: tuple[float, float, float], within: Tensor, width: float = 5.0) -> Tensor:
    """Voxels about a region: farther from it than one voxel, at most `width` mm beyond that.

    Args:
        region: (z, y, x) bool.
        spacing: (dz, dy, dx) mm.
        within: (z, y, x) bool, where a rim may be: tissue.
        width: mm.
    """
    distance = torch.from_numpy(ndimage.distance_transform_edt(~region.numpy(), sampling=spacing))
    gap = max(spacing)
    return within & (distance > gap * (1 + 1e-6)) & (distance <= gap + width)


def measure_region(reconstruction: Volume, truth: Volume, region: Tensor, rim: Tensor) -> RegionNumbers:
    """Measure a region.

    Args:
        reconstruction, truth: in one unit.
        region, rim: (z, y, x) bool.

    Raises:
        CosliceError: another shape, a region without voxels, or a rim of fewer than 2.
    """
    shapes = {reconstruction.shape, truth.shape, tuple(region.shape), tuple(rim.shape)}
    if len(shapes) > 1 or not bool(region.any()) or int(rim.sum()) < 2:
        raise CosliceError(
            f"measure_region: shapes {', '.join(map(str, sorted(shapes)))}, a region of {int(region.sum())} voxels and "
            f"a rim of {int(rim.sum())} were given; one shape, at least 1 voxel and 2 of the rim are needed."
        )
    ours, theirs = reconstruction.data.double(), truth.data.double()
    known, kept = (float(volume[region].mean() - volume[rim].mean()) for volume in (theirs, ours))
    error = ours - theirs
    noise = float(error[rim].std())
    return RegionNumbers(
        contrast_truth=known,
        contrast=kept,
        recovery=kept / known if known else None,
        bias=float(error[region].mean()),
        error=math.sqrt(float(error[region].square().mean())),
        cnr=abs(kept) / noise if noise > 0 else None,
    )


def outlined(volume: Volume, box: Box, low: float, high: float) -> Tensor:
    """The largest connected part of a box whose voxels are from `low` to `high`, as (z, y, x) bool of the volume.

    Voxels are connected by faces. Of parts of one size, the first in the order of voxels is taken.

    Raises:
        CosliceError: a box that leaves the volume, or without such a voxel.
    """
    ranges = [
        (part.start or 0, n if part.stop is None else part.stop) for part, n in zip(box, volume.shape, strict=True)
    ]
    if not all(0 <= a < b <= n for (a, b), n in zip(ranges, volume.shape, strict=True)):
        raise CosliceError(
            f"outlined: the box {ranges} (z, y, x) was given, but the volume has {volume.shape} voxels; give "
            "0 <= first < last <= count along each axis."
        )
    inside = np.zeros(volume.shape, dtype=bool)
    values = volume.data[box].numpy()
    inside[box] = (values >= low) & (values <= high)
    labels, count = cast("tuple[np.ndarray, int]", ndimage.label(inside))
    if not count:
        raise CosliceError(
            f"outlined: no voxel of the box is from {low:g} to {high:g}; widen the thresholds or move the box."
        )
    sizes = np.bincount(labels.ravel())[1:]
    return torch.from_numpy(labels == 1 + int(sizes.argmax()))
