"""Everything outside the body made air, as DiffusionBlend prepares LIDC-IDRI ("the entire background set to zero").

The paper gives no rule. This is ours, for CT in HU; slices are those along z, the body is one thing.

    1. what is above -500 HU, half way from air to tissue, may be body;
    2. each slice of it is opened by a disc of 5 mm, which takes away tables, tubes and sheets thinner than 10 mm;
    3. of what is left, the largest connected part of the volume (neighbours share a face) is the body's core;
    4. the body is what of 1 lies within 6 mm of the core in its slice, so skin and fingers' edges come back;
    5. its holes are filled slice by slice: lungs, bowel and airways are inside.

Whatever is not body becomes -1000 HU. Where 2 leaves nothing (a phantom of thin walls), 3 takes from 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import ndimage

from coslice.errors import CosliceError
from coslice.volume import Volume

__all__ = ["AIR", "body_mask", "outside_as_air"]

AIR = -1000.0
"""HU."""

_TISSUE = -500.0
_THIN = 5.0
_NEAR = 6.0


def body_mask(hu: np.ndarray, pixel: tuple[float, float]) -> np.ndarray:
    """Where the body is: (z, y, x) bool.

    Args:
        hu: (z, y, x).
        pixel: mm between rows and between columns.

    Raises:
        CosliceError: there is nothing but air.
    """
    solid = hu > _TISSUE
    if not solid.any():
        raise CosliceError(
            f"background: no voxel is above {_TISSUE:g} HU, so there is no body to keep; give a CT in HU, or leave out "
            "background."
        )
    opened = np.stack([_grown(_shrunken(each, pixel), pixel, _THIN) for each in solid])
    core = _largest(opened if opened.any() else solid)
    near = np.stack([_grown(each, pixel, _NEAR) for each in core])
    return np.stack([np.asarray(ndimage.binary_fill_holes(each)) for each in near & solid])


def outside_as_air(scan: Volume) -> Volume:
    """`scan` with everything outside the body at `AIR`.

    Raises:
        CosliceError: a scan that is not in HU, as far as can be seen: nothing below -500, or nothing above.
    """
    hu = scan.data.numpy()
    if not float(hu.min()) < _TISSUE:
        raise CosliceError(
            f"background: the lowest value is {float(hu.min()):g}, but a CT in HU has air below {_TISSUE:g}; leave out "
            "background, or give HU."
        )
    mask = body_mask(hu, (scan.spacing[1], scan.spacing[2]))
    return scan.with_data(scan.data.masked_fill(torch.from_numpy(~mask), AIR))


def _shrunken(plane: np.ndarray, pixel: tuple[float, float]) -> np.ndarray:
    """What of a plane is more than `_THIN` from its outside; the plane's own ends are no outside."""
    inside = np.pad(plane, 1, mode="edge")
    return (_to_outside(inside, pixel) > _THIN)[1:-1, 1:-1] if not inside.all() else plane


def _grown(plane: np.ndarray, pixel: tuple[float, float], mm: float) -> np.ndarray:
    """What lies within `mm` of a plane."""
    return _to_outside(~plane, pixel) <= mm if plane.any() else plane


def _to_outside(plane: np.ndarray, pixel: tuple[float, float]) -> np.ndarray:
    """mm from each pixel of a plane to the nearest that is not of it."""
    distances: Any = ndimage.distance_transform_edt(plane, pixel)
    return distances


def _largest(mask: np.ndarray) -> np.ndarray:
    found: Any = ndimage.label(mask)
    labels: np.ndarray = found[0]
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()
