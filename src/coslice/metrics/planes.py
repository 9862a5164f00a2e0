"""The paper's protocol: image metrics over the slices of the three planes.

    axial      slices along z, images (y, x)
    coronal    slices along y, images (z, x)
    sagittal   slices along x, images (z, y)

Volumes are in the unit window. A slice whose truth is constant (air beside the patient) is dropped; PSNR
and SSIM, data range 1, and LPIPS, on 2x - 1, are taken of each slice that is left and averaged. Nothing
is clipped here: what the caller hands over is what is measured.

What cannot be measured is None, never a made-up number: LPIPS of a plane whose images have a side below 31 pixels, SSIM
below 7, and everything of a plane all of whose slices are constant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coslice.axes import PLANES, axis_number
from coslice.errors import CosliceError
from coslice.metrics import perceptual
from coslice.metrics.consistency import NEIGHBOURS, consistency
from coslice.metrics.images import psnr, ssim
from coslice.metrics.quantities import PER_PLANE

__all__ = ["SMALLEST_SIDE", "Curves", "averages", "evaluate", "per_slice"]

SMALLEST_SIDE = 7
"""Voxels that both sides of an image must have for SSIM's window."""


@dataclass(frozen=True)
class Curves:
    """Metrics of one plane, slice by slice.

    Attributes:
        index: the slices measured, those whose truth is not constant.
        psnr: dB, one per slice of `index`.
        ssim: one per slice of `index`; None where the images are too small.
        lpips: one per slice of `index`; None where it was not asked for or the images are too small.
    """

    index: tuple[int, ...]
    psnr: tuple[float, ...]
    ssim: tuple[float, ...] | None
    lpips: tuple[float, ...] | None


def evaluate(
    reconstruction: Tensor, truth: Tensor, lpips: bool = True, curves: Mapping[str, Curves] | None = None
) -> dict[str, Any]:
    """Every published number of a reconstruction, ready for JSON.

    Args:
        reconstruction: (z, y, x) in the unit window.
        truth: the same shape.
        lpips: whether to compute LPIPS, by far the slowest; its entries are None otherwise.
        curves: what `per_slice` gave of the two, where that is known already.

    Returns:
        `{"axial": {"psnr", "ssim", "lpips"}, "coronal": {...}, "sagittal": {...}, "sdiff", "sdiff_truth",
        "sdiff_delta", "sdiff_gap"}`; PSNR in dB, SDiff in units of the window (eqs. 18 and 19), None of one slice.

    Raises:
        CosliceError: as `per_slice`.
    """
    curves = per_slice(reconstruction, truth, lpips) if curves is None else curves
    whole = consistency(reconstruction, truth) if len(truth) > 1 else dict.fromkeys(NEIGHBOURS)
    return {plane: averages(curves[plane]) for plane in PLANES} | whole


def per_slice(reconstruction: Tensor, truth: Tensor, lpips: bool = True) -> dict[str, Curves]:
    """The curves `evaluate` averages, for "axial", "coronal" and "sagittal". Arguments as there.

    Raises:
        CosliceError: not two volumes (z, y, x) of one shape; voxels that are not finite.
    """
    _check(reconstruction, truth)
    curves = {}
    for plane in PLANES.values():
        axis = axis_number(plane.along)
        curves[plane.name] = _curves(reconstruction.movedim(axis, 0), truth.movedim(axis, 0), lpips)
    return curves


def averages(curves: Curves) -> dict[str, float | None]:
    """The mean over slices of each metric, None where there is nothing to average."""
    return {
        quantity.name: sum(values) / len(values) if (values := getattr(curves, quantity.name)) else None
        for quantity in PER_PLANE
    }


def _curves(reconstruction: Tensor, truth: Tensor, lpips: bool) -> Curves:
    kept = torch.nonzero(truth.amax((1, 2)) > truth.amin((1, 2))).flatten()
    if len(kept) == 0:
        return Curves((), (), (), None)
    image, truth = reconstruction[kept], truth[kept]
    perceived = None
    if lpips and min(image.shape[1:]) >= perceptual.SMALLEST_SIDE:
        perceived = tuple(perceptual.lpips(image * 2 - 1, truth * 2 - 1).tolist())
    return Curves(
        index=tuple(kept.tolist()),
        psnr=tuple(psnr(image, truth).tolist()),
        ssim=tuple(ssim(image, truth).tolist()) if min(image.shape[1:]) >= SMALLEST_SIDE else None,
        lpips=perceived,
    )


def _check(reconstruction: Tensor, truth: Tensor) -> None:
    if reconstruction.shape != truth.shape or truth.ndim != 3:
        raise CosliceError(
            f"evaluate: a reconstruction of shape {tuple(reconstruction.shape)} and a truth of shape "
            f"{tuple(truth.shape)} were given, two volumes (z, y, x) of one shape are needed."
        )
    for name, volume in (("reconstruction", reconstruction), ("truth", truth)):
        wrong = int((~torch.isfinite(volume)).sum())
        if wrong:
            raise CosliceError(
                f"evaluate: the {name} has {wrong} voxels that are NaN or infinite; only finite voxels can be measured."
            )
