"""The paper's protocol: image metrics over the slices of the three planes.

    axial      slices along z, images (y, x)
    coronal    slices along y, images (z, x)
    sagittal   slices along x, images (z, y)

Volumes are in the unit window. A slice whose truth is constant (air beside the patient) is dropped; PSNR
and SSIM, data range 1, and LPIPS, on 2x - 1, are taken of each slice that is left and averaged. Nothing
is clipped here: what the caller hands over is what is measured. This is the protocol "unit"; what others do otherwise
stands in `coslice.metrics.protocols`.

What cannot be measured is None, never a made-up number: LPIPS of a plane whose images have a side below 31 pixels, SSIM
below 7 (in a Gaussian window 11), and everything of a plane all of whose slices are constant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coslice.axes import PLANES, axis_number
from coslice.errors import CosliceError
from coslice.metrics import perceptual
from coslice.metrics.consistency import NEIGHBOURS, consistency
from coslice.metrics.images import SSIM_SIDES, mean_squares, of_mean_square, psnr, ssim
from coslice.metrics.perceptual import lpips_of_each
from coslice.metrics.protocols import UNIT, Protocol, protocol_called
from coslice.metrics.quantities import PER_PLANE

__all__ = ["SMALLEST_SIDE", "Curves", "averages", "evaluate", "per_slice", "per_slice_of_each"]

SMALLEST_SIDE = SSIM_SIDES["box"]
"""Voxels that both sides of an image must have for SSIM's window."""

_PIECE = 1 << 20  # voxels of each volume that are copied at a time


@dataclass(frozen=True)
class Curves:
    """Metrics of one plane, slice by slice.

    Attributes:
        index: the slices measured, those whose truth is not constant; all of them where the protocol says so.
        psnr: dB, one per slice of `index`.
        ssim: one per slice of `index`; None where the images are too small.
        lpips: one per slice of `index`; None where it was not asked for or the images are too small.
    """

    index: tuple[int, ...]
    psnr: tuple[float, ...]
    ssim: tuple[float, ...] | None
    lpips: tuple[float, ...] | None


def evaluate(
    reconstruction: Tensor,
    truth: Tensor,
    lpips: bool = True,
    curves: Mapping[str, Curves] | None = None,
    protocol: Protocol | str = UNIT,
) -> dict[str, Any]:
    """Every published number of a reconstruction, ready for JSON.

    Args:
        reconstruction: (z, y, x) in the unit window.
        truth: the same shape.
        lpips: whether to compute LPIPS, by far the slowest; its entries are None otherwise.
        curves: what `per_slice` gave of the two with the same protocol, where that is known already.
        protocol: how PSNR, SSIM and LPIPS are taken, or its name, see `coslice.metrics.protocols`.

    Returns:
        `{"axial": {"psnr", "ssim", "lpips"}, "coronal": {...}, "sagittal": {...}, "sdiff", "sdiff_truth",
        "sdiff_delta", "sdiff_gap"}`; PSNR in dB, SDiff in units of the window (eqs. 18 and 19), None of one slice.

    Raises:
        CosliceError: as `per_slice`.
    """
    protocol = _named(protocol)
    curves = per_slice(reconstruction, truth, lpips, protocol) if curves is None else curves
    reconstruction, truth = protocol.seen(reconstruction), protocol.seen(truth)
    whole = consistency(reconstruction, truth) if len(truth) > 1 else dict.fromkeys(NEIGHBOURS)
    numbers: dict[str, Any] = {plane: averages(curves[plane]) for plane in PLANES} | whole
    if protocol.one_stack:
        of_all = float(of_mean_square(mean_squares(reconstruction, truth).mean(), protocol.data_range(truth)))
        for plane in PLANES:
            numbers[plane]["psnr"] = of_all
    return numbers


def per_slice(
    reconstruction: Tensor, truth: Tensor, lpips: bool = True, protocol: Protocol | str = UNIT
) -> dict[str, Curves]:
    """The curves `evaluate` averages, for "axial", "coronal" and "sagittal". Arguments as there.

    Raises:
        CosliceError: not two volumes (z, y, x) of one shape; voxels that are not finite; a protocol of no such name, or
            a constant truth where the protocol takes its range.
    """
    return per_slice_of_each({"": reconstruction}, truth, lpips, protocol)[""]


def per_slice_of_each(
    reconstructions: Mapping[str, Tensor],
    truth: Tensor,
    lpips: bool = True,
    protocol: Protocol | str = UNIT,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, dict[str, Curves]]:
    """`per_slice` of several volumes, by name: LPIPS sees the truth once for all of them.

    What it needs beside the volumes does not grow with them: a few slices are copied at a time.

    Args:
        reconstructions: by name, (z, y, x) in the unit window.
        truth, lpips, protocol: as of `evaluate`.
        progress: called with the planes that are done and their number.

    Raises:
        CosliceError: as `per_slice`.
    """
    for reconstruction in reconstructions.values():
        _check(reconstruction, truth)
    protocol = _named(protocol)
    data_range = protocol.data_range(truth)
    curves: dict[str, dict[str, Curves]] = {name: {} for name in reconstructions}
    for done, plane in enumerate(PLANES.values()):
        progress(done, len(PLANES))
        stacks = [volume.movedim(axis_number(plane.along), 0) for volume in (*reconstructions.values(), truth)]
        found = _curves(stacks, lpips, protocol, data_range)
        for name, of_one in zip(reconstructions, found, strict=True):
            curves[name][plane.name] = of_one
    progress(len(PLANES), len(PLANES))
    return curves


def _named(protocol: Protocol | str) -> Protocol:
    return protocol_called(protocol) if isinstance(protocol, str) else protocol


def averages(curves: Curves) -> dict[str, float | None]:
    """The mean over slices of each metric, None where there is nothing to average."""
    return {
        quantity.name: sum(values) / len(values) if (values := getattr(curves, quantity.name)) else None
        for quantity in PER_PLANE
    }


def _curves(stacks: Sequence[Tensor], lpips: bool, protocol: Protocol, data_range: float) -> list[Curves]:
    """Of stacks (n, h, w), each against the last."""
    *images, truth = stacks
    kept, side = protocol.counted(truth), min(truth.shape[1:])
    if len(kept) == 0:
        return [Curves((), (), (), None) for _ in images]
    similar, perceived = side >= SSIM_SIDES[protocol.ssim_window], lpips and side >= perceptual.SMALLEST_SIDE
    values: list[list[list[float]]] = [[[], [], []] for _ in images]
    for chosen in kept.split(max(1, _PIECE // truth[0].numel())):
        *seen, true = (protocol.seen(stack[chosen]) for stack in stacks)
        ranges = protocol.ranges(true, data_range)
        for (noise, likeness, _), image in zip(values, seen, strict=True):
            noise += psnr(image, true, ranges).tolist()
            if similar:
                a, b, width = (2 * image - 1, 2 * true - 1, 2 * ranges) if protocol.signed else (image, true, ranges)
                likeness += ssim(a, b, width, protocol.ssim_window).tolist()
        if perceived:
            width = ranges[:, None, None] if isinstance(ranges, Tensor) else ranges
            *signed, true = (image.div_(width).mul_(2).sub_(1) for image in (*seen, true))
            for (*_, distances), found in zip(values, lpips_of_each(signed, true), strict=True):
                distances += found.tolist()
    index = tuple(kept.tolist())
    return [
        Curves(index, tuple(noise), tuple(likeness) if similar else None, tuple(distances) if perceived else None)
        for noise, likeness, distances in values
    ]


def _check(reconstruction: Tensor, truth: Tensor) -> None:
    if reconstruction.shape != truth.shape or truth.ndim != 3:
        raise CosliceError(
            f"evaluate: a reconstruction of shape {tuple(reconstruction.shape)} and a truth of shape "
            f"{tuple(truth.shape)} were given, two volumes (z, y, x) of one shape are needed."
        )
    for name, volume in (("reconstruction", reconstruction), ("truth", truth)):
        if not bool(volume.sum().isfinite()) and (wrong := int((~torch.isfinite(volume)).sum())):
            raise CosliceError(
                f"evaluate: the {name} has {wrong} voxels that are NaN or infinite; only finite voxels can be measured."
            )
