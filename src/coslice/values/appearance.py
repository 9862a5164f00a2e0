"""Whether a scan looks like an image of something: sentences where it does not.

Numbers in the right unit may still be no image. Of every scan here, of CT and of MR, whatever its slices,

    neighbouring pixels                    correlate by .93 and more, those of noise by 0
    neighbouring slices                    differ by a fifth of what any two differ by; in a wrong order by as much
    slices two apart                       differ by 1.7 times as much as neighbours; woven from two passes by a tenth
    the border of a CT's slices            is body to a fifth at most

so the bounds below lie far from both. They are asked of the whole scan, before anything is measured.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from coslice.axes import axis_number
from coslice.volume import Volume
from coslice.window import Window

__all__ = ["remarks_on_appearance"]

_BODY = -500.0
"""HU, half way from air to tissue."""
_NOTHING = 1e-3
"""Part of a CT's voxels that must be more than air."""
_ALIKE = 0.3
"""Least correlation of neighbouring pixels."""
_NEARER = 0.7
"""Most that neighbouring slices may differ by, of what any two of the scan differ by."""
_WOVEN = 0.8
"""Least that slices two apart differ by, of what neighbours do."""
_STILL = 0.005
"""Of the deviation of all voxels: slices that differ by less look the same, and have no order to see."""
_CLEAR = 3.0
"""Standard deviations of the noise that neighbouring slices must differ by: noise has no order."""
_ORDERED = 8
"""Slices from which on an order can be seen."""
_CUT = 0.35
"""Part of the border of a CT's slices from which on the body surely goes on beyond it."""
_SMALL_MM, _LARGE_MM = 2.0, 1000.0
"""What a field of view of a CT measures across: from a specimen in a micro-CT to twice a scanner's circle."""
_OBLONG = 1.25
"""Sides of a pixel, from which on it is no pixel of a CT's slice."""
_SLICES, _BLOCKS = 32, 16
"""Slices, and blocks of pixels across, that are looked at."""


def remarks_on_appearance(volume: Volume, window: Window, axis: str = "z", turned: bool = False) -> tuple[str, ...]:
    """What a scan looks like that is no image of a body, or not in this place and order; nothing where all is well.

    Args:
        volume: the whole scan, as it is to be measured, in the unit of the window.
        window: intensities that are 0 and 1; only of one in HU is it known what is air.
        axis: along which its slices are stacked.
        turned: whether a scanner is to turn about z, so that slices must lie along it.

    Returns:
        Full sentences.
    """
    data = volume.data
    remarks: list[str] = []
    if window.unit == "HU":
        body = float((data > _BODY).double().mean())
        if body < _NOTHING:
            return (f"The scan holds nothing but air: {100 * body:.2g} % of its voxels are above {_BODY:g} HU.",)
        remarks += _on_size(volume, turned)
        border = torch.cat((data[:, [0, -1]].flatten(), data[:, :, [0, -1]].flatten()))
        reached = float((border > _BODY + 200).double().mean())
        if turned and reached > _CUT:
            remarks.append(
                f"The body reaches the border of its slices, on {100 * reached:.0f} % of it: what lies beyond is taken "
                "for air, and a scanner would have measured it."
            )
    remarks += _on_neighbours(data.movedim(axis_number(axis), 0))
    return tuple(remarks)


def _on_size(volume: Volume, turned: bool) -> list[str]:
    said: list[str] = []
    (_, dy, dx), (_, ny, nx) = volume.spacing, volume.shape
    sides = ny * dy, nx * dx
    across = f"{sides[0]:.4g} x {sides[1]:.4g} mm"
    if max(sides) < _SMALL_MM or max(sides) > _LARGE_MM:
        said.append(
            f"The slices are {across} large ({dy:.4g} x {dx:.4g} mm a pixel), which no CT of a body is: check the "
            "voxel size, and its unit."
        )
    if turned and max(dy, dx) > _OBLONG * min(dy, dx):
        said.append(
            f"The pixels of a slice are {dy:.4g} x {dx:.4g} mm, where those of a CT are square: are its slices stacked "
            f"along {'y' if dy > dx else 'x'}, and not along z, about which the scanner turns?"
        )
    return said


def _on_neighbours(data: Tensor) -> list[str]:
    """Whether pixels, and slices, are like their neighbours."""
    some = data[:: max(1, data.shape[0] // _SLICES)].double()
    spread = float(some.var(correction=0))
    if spread == 0 or min(data.shape[1:]) < 2:
        return []
    alike = [1 - float((some.diff(dim=axis) ** 2).mean()) / (2 * spread) for axis in (1, 2)]
    if max(alike) < _ALIKE:
        return [
            "The scan looks like noise: neighbouring pixels have nothing to do with each other (correlation "
            f"{max(alike):.2f}, where images have more than .9)."
        ]
    return _on_order(data, spread**0.5)


def _on_order(data: Tensor, deviation: float) -> list[str]:
    """Whether slices are like the next ones."""
    count = data.shape[0]
    if count < _ORDERED:
        return []
    blocks = [max(1, n // _BLOCKS) for n in data.shape[1:]]
    slices = functional.avg_pool2d(data[:, None], blocks).flatten(1).double()
    one, two = (float((slices[apart:] - slices[:-apart]).abs().mean()) for apart in (1, 2))
    if one < max(_STILL * deviation, _CLEAR * _noise(data) / math.sqrt(blocks[0] * blocks[1])):
        return []
    if two < _WOVEN * one:
        return [
            f"Slices two apart are more alike than neighbours (they differ by {two / one:.2f} times as much): are two "
            "series woven together?"
        ]
    far = torch.cdist(slices, slices, p=1.0) / slices.shape[1]
    any_two = float(far.sum() / (count * (count - 1)))
    if one > _NEARER * any_two:
        return [
            f"Neighbouring slices differ as much as any two of the scan ({one / any_two:.2f} times as much): are they "
            "in the right order, and of one scan?"
        ]
    return []


def _noise(data: Tensor) -> float:
    """Deviation of the noise of a pixel, from differences of neighbours; edges are few, and padding has none."""
    some = data[:: max(1, data.shape[0] // _SLICES), :: max(1, data.shape[1] // 64)]
    steps = some.diff(dim=2).abs()
    steps = steps[steps > 0]
    return float(steps.median()) / (0.6745 * math.sqrt(2)) if len(steps) else 0.0
