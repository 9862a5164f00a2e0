"""What is done to a scan before it is measured: cut, cleared, thickened, resampled, padded, in this order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from coslice.background import outside_as_air
from coslice.errors import CosliceError
from coslice.io.lengths import check_wish
from coslice.io.memory import check_memory
from coslice.volume import Volume

__all__ = ["Preparation", "parse_slices"]

_MOST_VOXELS = 2**31
_BYTES = 12  # of a voxel: the scan, its unit window, and what is made of them


@dataclass(frozen=True)
class Preparation:
    """None leaves a scan as it is.

    Attributes:
        slices: first and last (not included) along z.
        thickness: of the slices along z, mm (the ISCS paper's Table 9).
        spacing: of isotropic voxels, mm; the paper's MRI has 1.
        size: pixels of a slice, size x size over the same field of view; the paper's CT has 256.
        pad: voxels on each side of the cube the scan is put in the middle of; the paper's MRI has 256.
        background: "air" makes all outside the body air (`coslice.background`), as DiffusionBlend prepares LIDC-IDRI.

    Raises:
        CosliceError: a number that is not positive, another background.
    """

    slices: tuple[int, int] | None = None
    thickness: float | None = None
    spacing: float | None = None
    size: int | None = None
    pad: int | None = None
    background: str | None = None

    def __post_init__(self) -> None:
        if self.background not in (None, "air"):
            raise CosliceError(f"background: {self.background!r} was given, but it is air, or left out.")
        for name in ("thickness", "spacing", "size", "pad"):
            value = getattr(self, name)
            if value is not None:
                check_wish(name, value)

    def __call__(self, scan: Volume) -> Volume:
        """The scan, prepared.

        Raises:
            CosliceError: a range outside the scan, slices thinner than it has, a cube smaller than it, or a background
                of what is no CT in HU.
        """
        if self.slices is not None:
            scan = scan.slices(*self.slices)
        self._check_size(scan)
        if self.background is not None:
            scan = outside_as_air(scan)
        if self.thickness is not None:
            scan = scan.thickened(self.thickness)
        if self.spacing is not None:
            scan = scan.resampled(self.spacing)
        if self.size is not None:
            scan = scan.resized(self.size)
        if self.pad is not None:
            scan = scan.padded(self.pad)
        return scan

    def _check_size(self, scan: Volume) -> None:
        """Refuse what no memory would hold, before it is asked for."""
        voxels = float(math.prod(scan.shape))
        if self.spacing is not None:
            voxels *= math.prod(scan.spacing) / self.spacing**3
        if self.size is not None:
            voxels = max(voxels, scan.shape[0] * self.size**2)
        if self.pad is not None:
            voxels = max(voxels, self.pad**3)
        advice = "choose a larger spacing, a smaller size or pad, or fewer slices"
        if voxels <= _MOST_VOXELS:
            check_memory(f"preparation: {voxels:.2g} voxels", int(_BYTES * voxels), advice)
        else:
            raise CosliceError(
                f"preparation: {voxels:.2g} voxels would come of this scan, at most {_MOST_VOXELS:.2g} are possible; "
                f"{advice}."
            )

    @property
    def settings(self) -> dict[str, Any]:
        """What was done, for the record."""
        return {
            "slices": list(self.slices) if self.slices else None,
            "thickness_mm": self.thickness,
            "resampled_mm": self.spacing,
            "size": self.size,
            "pad": self.pad,
            **({"background": self.background} if self.background else {}),
        }


def parse_slices(text: str | None, count: int) -> tuple[int, int]:
    """From "100:164" to (100, 164); either end may be left out; None is all of `count` slices.

    Raises:
        CosliceError: text that is not a range.
    """
    if text is None:
        return 0, count
    first, colon, last = text.partition(":")
    try:
        if not colon:
            raise ValueError
        return int(first or 0), int(last or count)
    except ValueError:
        raise CosliceError(
            f'slices: "{text}" was given, FIRST:LAST is needed, such as 100:164 (LAST not included).'
        ) from None
