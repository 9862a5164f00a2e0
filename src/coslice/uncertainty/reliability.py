"""What share of the voxels an interval holds, counted where it can be wrong.

Air about a patient is reconstructed exactly, or nearly so, and any interval holds it. A share of all voxels is
therefore flattered by the size of the field of view. `coverage` counts inside the body, and beside that everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from coslice.errors import CosliceError

__all__ = ["Coverage", "body_mask", "check_same", "coverage", "reliability_curve"]

_BINS = 256


@dataclass(frozen=True)
class Coverage:
    """The share of voxels whose truth an interval holds, from 0 to 1.

    Attributes:
        body: of those inside the body, see `body_mask`. This is the number to judge an interval by.
        everywhere: of all voxels, air about the patient included.
    """

    body: float
    everywhere: float


def coverage(truth: Tensor, estimate: Tensor, half_width: Tensor, body: Tensor | None = None) -> Coverage:
    """How much of a known truth the intervals estimate - half_width to estimate + half_width hold.

    Args:
        truth, estimate, half_width: (z, y, x), in one unit, whichever.
        body: (z, y, x), true inside the body; None is `body_mask(truth)`.

    Raises:
        CosliceError: volumes of different shapes, values that are not finite, widths below 0, or an empty body.
    """
    check_same("coverage", truth=truth, estimate=estimate, half_width=half_width)
    if bool((half_width < 0).any()):
        raise CosliceError("coverage: the half-width is below 0 in some voxels; widths of 0 or more are needed.")
    inside = body_mask(truth) if body is None else body.cpu().bool()
    if inside.shape != truth.shape or not bool(inside.any()):
        raise CosliceError(
            f"coverage: a body of shape {tuple(inside.shape)} with {int(inside.sum())} voxels was given, some voxels "
            f"of a volume {tuple(truth.shape)} are needed."
        )
    held = (truth.cpu() - estimate.cpu()).abs() <= half_width.cpu()
    return Coverage(float(held[inside].double().mean()), float(held.double().mean()))


def reliability_curve(
    truth: Tensor, estimate: Tensor, half_widths: Mapping[float, Tensor], body: Tensor | None = None
) -> dict[float, Coverage]:
    """The reliability curve: by nominal level in percent, what was covered. A calibrated one covers its level.

    Args:
        truth, estimate: (z, y, x).
        half_widths: by level, (z, y, x), as `Calibration.half_widths` gives them.
        body: as of `coverage`.

    Raises:
        CosliceError: as `coverage`.
    """
    inside = body_mask(truth) if body is None else body
    return {level: coverage(truth, estimate, width, inside) for level, width in half_widths.items()}


def body_mask(volume: Tensor) -> Tensor:
    """Where the patient is: (z, y, x), true inside the skin, lungs and bowel gas included.

    Brighter than Otsu's threshold (IEEE SMC 9, 1979), thin things such as a table taken away, the largest connected
    piece, and what it encloses in an axial slice. Scaling and shifting the values changes nothing.

    Args:
        volume: (z, y, x), in any unit; a truth, or a reconstruction that is near to it.

    Raises:
        CosliceError: not three axes, values that are not finite, or a constant volume, which has no body.
    """
    check_same("body_mask", volume=volume)
    values = volume.detach().cpu().double().numpy()
    if not values.max() > values.min():
        raise CosliceError("body_mask: the volume is constant, so nothing says where the body is; give a mask.")
    bright = values > _otsu(values)
    in_plane = np.ones((1, 3, 3), dtype=bool)
    solid = ndimage.binary_opening(bright, in_plane)
    found: Any = ndimage.label(solid if solid.any() else bright)
    pieces, count = found
    largest = pieces == 1 + np.argmax(np.bincount(pieces.ravel(), minlength=count + 1)[1:])
    filled = np.stack([np.asarray(ndimage.binary_fill_holes(one), dtype=bool) for one in largest])
    return torch.from_numpy(filled)


def _otsu(values: np.ndarray) -> float:
    """The threshold between two groups of values that differ most between and least within."""
    counts, edges = np.histogram(values, _BINS)
    middles = (edges[:-1] + edges[1:]) / 2
    below, total = np.cumsum(counts), values.size
    sums = np.cumsum(counts * middles)
    above = total - below
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[1:][np.nanargmax(between)])


def check_same(who: str, **volumes: Tensor) -> None:
    """Refuse what is no volume (z, y, x), volumes of different shapes, and values that are not finite."""
    first, reference = next(iter(volumes.items()))
    for name, volume in volumes.items():
        if volume.ndim != 3 or volume.shape != reference.shape:
            raise CosliceError(
                f"{who}: the {name} has shape {tuple(volume.shape)} and the {first} {tuple(reference.shape)}; volumes "
                "(z, y, x) of one shape are needed."
            )
        if not bool(volume.isfinite().all()):
            raise CosliceError(f"{who}: the {name} holds values that are not finite; leave that volume out.")
