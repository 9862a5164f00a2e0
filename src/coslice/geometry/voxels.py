"""Where the voxels are, as a scanner sees them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from coslice.axes import axis_number
from coslice.errors import CosliceError

__all__ = ["Grid", "floats"]


@dataclass(frozen=True)
class Grid:
    """Voxels in space: shape (nz, ny, nx), spacing (dz, dy, dx) in mm, centre (z, y, x) in mm.

    Voxel (k, j, i) is centred at z = centre_z + (k - (nz - 1)/2) dz, likewise y and x.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise CosliceError(f"Grid: shape {self.shape} was given, three positive sizes (z, y, x) are needed.")
        if not all(math.isfinite(s) and s > 0 for s in self.spacing):
            raise CosliceError(
                f"Grid: spacing {self.spacing} mm was given, three positive numbers (z, y, x) are needed."
            )
        if len(self.spacing) != 3 or len(self.centre) != 3 or not all(math.isfinite(c) for c in self.centre):
            raise CosliceError(
                f"Grid: spacing {self.spacing} mm and centre {self.centre} mm were given, "
                "three finite numbers (z, y, x) each are needed."
            )
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "spacing", floats(self.spacing))
        object.__setattr__(self, "centre", floats(self.centre))

    @property
    def size(self) -> tuple[float, float, float]:
        """Extent (z, y, x) in mm, from outer voxel face to outer voxel face."""
        nz, ny, nx = self.shape
        dz, dy, dx = self.spacing
        return (nz * dz, ny * dy, nx * dx)

    @property
    def radius(self) -> float:
        """Distance in mm from the rotation axis to the farthest corner, in the plane."""
        _, y, x = self.size
        return math.hypot(abs(self.centre[1]) + y / 2, abs(self.centre[2]) + x / 2)

    @property
    def reach(self) -> tuple[float, float]:
        """Farthest |z| and farthest distance from the rotation axis, in mm, at which the volume is not 0.

        Linear interpolation fades out half a voxel beyond the outer faces.
        """
        grown = replace(self, shape=(self.shape[0] + 1, self.shape[1] + 1, self.shape[2] + 1))
        return abs(grown.centre[0]) + grown.size[0] / 2, grown.radius

    def axis(self, name: str) -> np.ndarray:
        """Voxel centres in mm along "z", "y" or "x"."""
        a = axis_number(name)
        n = self.shape[a]
        return self.centre[a] + (np.arange(n) - (n - 1) / 2) * self.spacing[a]


def floats(numbers: Sequence[float]) -> tuple[float, ...]:
    """Plain floats, so that a repr can be read back whatever kind of number was given."""
    return tuple(float(number) for number in numbers)
