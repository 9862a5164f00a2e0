"""Spherical lesions with exact partial volumes.

A lesion adds its contrast c to a volume:  x + c w,  w the share of each voxel that lies in the sphere. Rays along z
through a voxel are cut exactly: of a ray at a distance t from the centre, the part |z| < sqrt(r^2 - t^2) is inside; a
voxel is the mean of 32 x 32 rays. A soft edge of s mm falls linearly from r - s/2 to r + s/2, which is the mean of hard
spheres with these radii; 8 are taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.volume import Volume

__all__ = ["Box", "Lesion", "insert", "profile"]

Box = tuple[slice, slice, slice]
"""A part of a volume (z, y, x)."""

_RAYS = 32
_RADII = 8


@dataclass(frozen=True)
class Lesion:
    """A sphere of one additive contrast.

    Attributes:
        centre: index (z, y, x) in the volume it is for; whole numbers are centres of voxels.
        diameter: mm, where the contrast has half its value.
        contrast: what is added inside, in the volume's unit; below 0 for a dark one.
        edge: width of the soft edge, mm; 0 is a hard one.
        tissue: where it lies, a word for tables.

    Raises:
        CosliceError: a number that is not finite; a diameter or contrast of 0; an edge wider than the lesion.
    """

    centre: tuple[float, float, float]
    diameter: float
    contrast: float
    edge: float = 0.0
    tissue: str = ""

    def __post_init__(self) -> None:
        numbers = (*self.centre, self.diameter, self.contrast, self.edge)
        if len(self.centre) != 3 or not all(math.isfinite(number) for number in numbers):
            raise CosliceError(
                f"Lesion: centre {self.centre}, diameter {self.diameter}, contrast {self.contrast} and edge "
                f"{self.edge} were given, but finite numbers are needed, three for the centre (z, y, x)."
            )
        if not (self.diameter > 0 and self.contrast != 0 and 0 <= self.edge <= self.diameter):
            raise CosliceError(
                f"Lesion: diameter {self.diameter:g} mm, contrast {self.contrast:g} and edge {self.edge:g} mm were "
                "given; a diameter above 0, a contrast other than 0, and an edge from 0 to the diameter are needed."
            )

    @property
    def reach(self) -> float:
        """How far from the centre it adds something, mm."""
        return (self.diameter + self.edge) / 2


def profile(lesion: Lesion, spacing: Sequence[float], shape: tuple[int, int, int]) -> tuple[Tensor, Box]:
    """Shares w of the voxels about a lesion, and where they are in the volume.

    A voxel's share is right to 1e-3 and their sum to 1e-3 of the sphere's volume, for a diameter of at least a voxel.

    Args:
        lesion: whose contrast is left aside.
        spacing: (dz, dy, dx) mm; axes that are not at right angles are taken as if they were.
        shape: of the volume, voxels (z, y, x).

    Returns:
        (z, y, x) float64 from 0 to 1, all voxels that have a share; the box of the volume they fill.

    Raises:
        CosliceError: a lesion that is not wholly inside the volume.
    """
    reach = [lesion.reach / size for size in spacing]
    # The outer faces of a volume are at -1/2 and n - 1/2.
    inside = [r - 0.5 <= c <= n - 0.5 - r + 1e-9 for c, r, n in zip(lesion.centre, reach, shape, strict=True)]
    if not all(inside):
        raise CosliceError(
            f"{lesion}: it is not wholly inside the volume of {' x '.join(map(str, shape))} voxels (z, y, x); move its "
            "centre, or make it smaller."
        )
    first = [max(math.floor(c - r + 0.5), 0) for c, r in zip(lesion.centre, reach, strict=True)]
    last = [min(math.ceil(c + r - 0.5), n - 1) for c, r, n in zip(lesion.centre, reach, shape, strict=True)]
    z, y, x = (
        (np.arange(a, b + 1) - c) * size for a, b, c, size in zip(first, last, lesion.centre, spacing, strict=True)
    )
    within = (np.arange(_RAYS) + 0.5) / _RAYS - 0.5
    rays_y, rays_x = ((axis[:, None] + within * size).ravel() for axis, size in ((y, spacing[1]), (x, spacing[2])))
    squares = rays_y[:, None] ** 2 + rays_x**2
    fractions = (np.arange(_RADII) + 0.5) / _RADII - 0.5 if lesion.edge else np.zeros(1)
    shares = np.zeros((len(z), len(y), len(x)))
    for fraction in fractions:
        half = np.sqrt(np.clip((lesion.diameter / 2 + fraction * lesion.edge) ** 2 - squares, 0, None))
        for i, middle in enumerate(z):
            low, high = middle - spacing[0] / 2, middle + spacing[0] / 2
            cut = np.clip(np.minimum(high, half) - np.maximum(low, -half), 0, None) / spacing[0]
            shares[i] += cut.reshape(len(y), _RAYS, len(x), _RAYS).mean((1, 3)) / len(fractions)
    box = tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))
    return torch.from_numpy(shares), (box[0], box[1], box[2])


def insert(volume: Volume, lesions: Sequence[Lesion]) -> Volume:
    """`volume` with lesions added: x + sum c w.

    Raises:
        CosliceError: no lesion; one that is not wholly inside; two that share a voxel, whose contrasts would add up.
    """
    if not lesions:
        raise CosliceError("insert: no lesion was given, at least one is needed.")
    data, taken = volume.data.clone(), torch.zeros(volume.shape, dtype=torch.bool)
    for lesion in lesions:
        shares, box = profile(lesion, volume.spacing, volume.shape)
        if bool((taken[box] & (shares > 0)).any()):
            raise CosliceError(f"insert: {lesion} shares a voxel with another one; move them apart.")
        taken[box] |= shares > 0
        data[box] += (lesion.contrast * shares).to(data)
    return volume.with_data(data)
