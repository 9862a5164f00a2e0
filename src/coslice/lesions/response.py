"""What a reconstruction makes of one lesion.

Of the same scan with the lesion and without, reconstructed with the same seeds, the difference r is the response to the
lesion alone. With w its shares of the voxels and c its contrast,

    contrast recovery   (w . r / w . w) / c                1 is perfect; a blur lowers it
    CNR                 |w . r / w . w| / s                s: standard deviation of the error about the lesion
    offset              of the peak of r, matched to w, from the centre, mm
    width               full width at half maximum of r along z and in the plane, over that of the lesion itself

The first is the least-squares contrast, as in `detection`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.lesions.detection import filtered
from coslice.lesions.spheres import Box, Lesion, profile
from coslice.volume import Volume

__all__ = ["LesionResponse", "contrast_recovery", "half_width", "respond"]


@dataclass(frozen=True)
class LesionResponse:
    """A lesion in a pair of reconstructions.

    Attributes:
        recovery: measured over true contrast.
        noise: standard deviation of the error about the lesion, in the volume's unit.
        cnr: measured contrast over `noise`; None where there is no error about the lesion.
        offset: of the peak, mm.
        width_z, width_plane: full widths at half maximum over the lesion's own; the second is the mean of y and x. None
            where the response has no maximum that falls to its half within a diameter from the centre.
    """

    recovery: float
    noise: float
    cnr: float | None
    offset: float
    width_z: float | None
    width_plane: float | None


def contrast_recovery(response: Tensor, shares: Tensor, contrast: float) -> float:
    """(w . r / w . w) / c, for r and w of one shape.

    For a Gaussian w of standard deviation a, blurred by one of b, in three dimensions:
    (2 a^2 / (2 a^2 + b^2))^(3/2).
    """
    weights = shares.double()
    return float((weights * response.double()).sum() / weights.square().sum()) / contrast


def half_width(line: Tensor, middle: int) -> float | None:
    """Full width at half maximum of a line through a peak, in samples, linearly interpolated.

    Args:
        line: (n,), the peak upwards.
        middle: a sample near the peak; the next local maximum uphill from it is taken.

    Returns:
        None where there is no maximum above 0, or the line does not fall to its half on both sides.
    """
    values = [float(value) for value in line]
    top = middle
    while True:
        around = [i for i in (top - 1, top + 1) if 0 <= i < len(values) and values[i] > values[top]]
        if not around:
            break
        top = max(around, key=lambda i: values[i])
    half = values[top] / 2
    if half <= 0:
        return None
    width = 0.0
    for way in (-1, 1):
        i = top
        while 0 <= i + way < len(values) and values[i + way] > half:
            i += way
        if not 0 <= i + way < len(values):
            return None
        width += abs(i - top) + (values[i] - half) / (values[i] - values[i + way])
    return width


def respond(lesion: Lesion, present: Volume, absent: Volume, truth: Volume) -> LesionResponse:
    """Measure a lesion in a pair of reconstructions.

    Args:
        lesion: on the grid of the volumes.
        present, absent: reconstructions of the same scan with the lesion and without, by the same seeds.
        truth: the scan without it.

    Raises:
        CosliceError: volumes of other shapes, or a lesion that is not wholly inside.
    """
    if not present.shape == absent.shape == truth.shape:
        raise CosliceError(
            f"respond: volumes of shapes {present.shape}, {absent.shape} and {truth.shape} were given, one is needed."
        )
    spacing = truth.spacing
    shares, box = profile(lesion, spacing, truth.shape)
    difference = present.data.double() - absent.data.double()
    recovery = contrast_recovery(difference[box], shares, lesion.contrast)
    error = absent.data.double() - truth.data.double()
    noise = float(error[_shell(lesion, truth)].std())
    own = torch.zeros(truth.shape, dtype=torch.float64)
    own[box] = shares
    upright = difference / lesion.contrast
    widths = [_relative_width(upright, own, lesion, spacing, axis) for axis in range(3)]
    plane = None if widths[1] is None or widths[2] is None else (widths[1] + widths[2]) / 2
    return LesionResponse(
        recovery=recovery,
        noise=noise,
        cnr=abs(recovery * lesion.contrast) / noise if noise > 0 else None,
        offset=_offset(upright, lesion, spacing),
        width_z=widths[0],
        width_plane=plane,
    )


def _shell(lesion: Lesion, volume: Volume) -> Tensor:
    """Voxels about the lesion, beyond a voxel from its surface and within a diameter of it."""
    z, y, x = (
        ((torch.arange(n) - c) * size).square()
        for n, c, size in zip(volume.shape, lesion.centre, volume.spacing, strict=True)
    )
    distance = (z[:, None, None] + y[:, None] + x).sqrt() - lesion.reach
    return (distance > max(volume.spacing)) & (distance < max(lesion.diameter, 2 * max(volume.spacing)))


def _middle(lesion: Lesion) -> list[int]:
    return [math.floor(c + 0.5) for c in lesion.centre]


def _relative_width(
    upright: Tensor, own: Tensor, lesion: Lesion, spacing: tuple[float, ...], axis: int
) -> float | None:
    """Width of the response along an axis over that of the lesion, both of lines averaged over its core."""
    middle, core = _middle(lesion), []
    for i, n in enumerate(own.shape):
        reach = 1.5 * lesion.diameter if i == axis else lesion.diameter / 4
        half = math.ceil(reach / spacing[i]) if i == axis else math.floor(reach / spacing[i])
        core.append(slice(max(0, middle[i] - half), min(n, middle[i] + half + 1)))
    across = [i for i in range(3) if i != axis]
    start = middle[axis] - core[axis].start
    widths = [half_width(volume[tuple(core)].mean(across), start) for volume in (upright, own)]
    return None if widths[0] is None or widths[1] is None else widths[0] / widths[1]


def _offset(upright: Tensor, lesion: Lesion, spacing: tuple[float, ...]) -> float:
    """Distance from the centre to the best match of the lesion's shape within a radius, mm."""
    half = [math.ceil(lesion.reach / size) for size in spacing]
    centred, box = profile(
        Lesion((half[0], half[1], half[2]), lesion.diameter, 1.0, lesion.edge),
        spacing,
        (2 * half[0] + 1, 2 * half[1] + 1, 2 * half[2] + 1),
    )
    template = torch.zeros([2 * h + 1 for h in half], dtype=torch.float64)
    template[box] = centred
    # Room of the template about the places looked at; beyond the volume there is no response.
    reach = [math.ceil(lesion.diameter / 2 / size) for size in spacing]
    middle = _middle(lesion)
    wide = [(h + r) for h, r in zip(half, reach, strict=True)]
    part = torch.zeros([2 * w + 1 for w in wide], dtype=torch.float64)
    source, target = _overlap(middle, wide, tuple(upright.shape))
    part[target] = upright[source]
    scores = filtered(part, template)
    best = int(scores.nan_to_num(-math.inf).argmax())
    found = [int(i) for i in torch.unravel_index(torch.tensor(best), scores.shape)]
    away = [
        (_refined(scores, found, axis) + middle[axis] - wide[axis] - lesion.centre[axis]) * spacing[axis]
        for axis in range(3)
    ]
    return math.hypot(*away)


def _overlap(middle: list[int], half: list[int], shape: tuple[int, ...]) -> tuple[Box, Box]:
    """A box about `middle` as far as it is in the volume, and the same counted from the box's own first voxel."""
    pairs = []
    for m, h, n in zip(middle, half, shape, strict=True):
        low, high = max(0, m - h), min(n, m + h + 1)
        pairs.append((slice(low, high), slice(low - m + h, high - m + h)))
    return (pairs[0][0], pairs[1][0], pairs[2][0]), (pairs[0][1], pairs[1][1], pairs[2][1])


def _refined(scores: Tensor, peak: list[int], axis: int) -> float:
    """The top of the parabola through a peak and its two neighbours along an axis."""
    place, line = peak[axis], scores.movedim(axis, 2)[tuple(p for i, p in enumerate(peak) if i != axis)]
    if not 0 < place < len(line) - 1:
        return float(place)
    before, at, after = (float(line[place + i]) for i in (-1, 0, 1))
    bend = before - 2 * at + after
    if not bend < 0:  # NaN beside the peak, too: then the peak is where it is
        return float(place)
    return place + 0.5 * (before - after) / bend
