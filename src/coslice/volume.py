"""Voxels that know where they are, and the window that makes them numbers a prior understands.

A volume is a tensor (z, y, x) and an affine M, 4 x 4, that takes a voxel's index to millimetres,

    (R, A, S, 1) = M (x, y, z, 1),        R, A, S: towards the patient's right, anterior, superior.

Index 0 is the *centre* of the first voxel, so its outer face is at -1/2. From this the rest follows:
the spacing is the lengths of M's first three columns; cutting slices off the front shifts the origin,

    M' = M T(0, 0, start);

and resizing a plane from n to n' pixels while its outer faces stay in place makes pixel i' sit at
i = (i' + 1/2) n/n' - 1/2, hence

    M' = M T(s/2 - 1/2) S(s),        s = n/n'.

Priors live in [0, 1]. A window [low, high] is the affine map u = (v - low)/(high - low), with values
beyond its ends clipped; the paper's for CT is [-1000, 1600] HU (`CT_WINDOW`); an MR scan has its own
(`scan_window`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from coslice.errors import CosliceError

__all__ = ["CT_WINDOW", "Volume", "Window", "check_window", "flattens", "scan_window"]


@dataclass(frozen=True)
class Window:
    """The values `low`..`high` (in `unit`) that become 0..1.

    Raises:
        CosliceError: an end is not finite, or `high` is not above `low`.
    """

    low: float
    high: float
    unit: str = "HU"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.high > self.low):
            raise CosliceError(
                f"Window: low {self.low:g} and high {self.high:g} {self.unit} were given, "
                "finite numbers with high above low are needed; swap or widen them."
            )

    def to_unit(self, values: Tensor, clip: bool = True) -> Tensor:
        """`low`..`high` to 0..1; values outside are clipped unless `clip` is False."""
        unit = (values - self.low) / (self.high - self.low)
        return unit.clamp(0, 1) if clip else unit

    def from_unit(self, values: Tensor) -> Tensor:
        """0..1 back to `low`..`high`; nothing is clipped."""
        return values * (self.high - self.low) + self.low


CT_WINDOW = Window(-1000.0, 1600.0)
"""The paper's window for CT (appendix A.2)."""


def scan_window(name: str, data: Tensor) -> Window:
    """The window called `name`, for a scan with voxels `data` (z, y, x).

    "ct" is `CT_WINDOW`. "mr" runs from 0 to the 99.9th percentile of the positive voxels, since MR intensities have
    no unit and differ from scan to scan. "LOW:HIGH" is those two numbers, whatever the scan.

    Raises:
        CosliceError: another name, or a scan without positive voxels where "mr" needs some.
    """
    check_window(name)
    if name == "ct":
        return CT_WINDOW
    if name == "mr":
        positive = data[data > 0]
        if not len(positive):
            raise CosliceError(
                "window mr: the scan has no voxel above 0, so nothing says what is bright; leave it out."
            )
        return Window(0.0, float(np.percentile(positive.numpy(), 99.9)), "a.u.")
    low, _, high = name.partition(":")
    return Window(float(low), float(high), "")


def check_window(name: str) -> None:
    """Refuse a name that `scan_window` does not know, before there is a scan."""
    if name in ("ct", "mr"):
        return
    low, _, high = name.partition(":")
    try:
        Window(float(low), float(high), "")
    except ValueError as error:
        raise CosliceError(
            f'window: "{name}" was given, but it must be ct, mr, or LOW:HIGH, as in -160:240.'
        ) from error


@dataclass(frozen=True, eq=False, repr=False)
class Volume:
    """A scan: voxels (z, y, x) float32 and where they are.

    The axes are canonical: x, y, z run as nearly as the grid allows towards right, anterior, superior.

    Attributes:
        data: (z, y, x), float32.
        affine: 4 x 4 float64, index (x, y, z, 1) to millimetres (R, A, S, 1).
        orientation: the directions of the axes in the file this came from; a writer restores them.
        space_code: NIfTI's word for what the millimetres refer to (1 the scanner, 2 another scan, 4 MNI).

    Raises:
        CosliceError: data that is not 3D or is empty, an affine that is not an invertible 4 x 4 matrix.
    """

    data: Tensor
    affine: np.ndarray = field(default_factory=lambda: np.eye(4))
    orientation: tuple[str, str, str] = ("R", "A", "S")
    space_code: int = 1

    def __post_init__(self) -> None:
        if self.data.ndim != 3 or self.data.numel() == 0:
            raise CosliceError(
                f"Volume: data of shape {tuple(self.data.shape)} was given, "
                "three axes (z, y, x) with at least one voxel each are needed."
            )
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.array_equal(affine[3], (0, 0, 0, 1)):
            raise CosliceError(
                f"Volume: the affine {affine.tolist()} was given, "
                "a finite 4 x 4 matrix with last row (0, 0, 0, 1) is needed."
            )
        if flattens(affine):
            raise CosliceError(
                f"Volume: the affine {affine.tolist()} was given, which flattens a voxel; "
                "its first three columns must point in three different directions."
            )
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "data", self.data.to(torch.float32))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of voxels (z, y, x)."""
        nz, ny, nx = self.data.shape
        return nz, ny, nx

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distances (dz, dy, dx) in mm between voxel centres."""
        dx, dy, dz = (float(length) for length in np.linalg.norm(self.affine[:3, :3], axis=0))
        return dz, dy, dx

    def slices(self, start: int, stop: int) -> Volume:
        """Slices start..stop-1 along z, where they were.

        Raises:
            CosliceError: the range is empty or leaves the scan.
        """
        count = self.shape[0]
        if not 0 <= start < stop <= count:
            raise CosliceError(
                f"Volume.slices: slices {start} to {stop} were asked for, but the scan has {count} slices; "
                f"give 0 <= start < stop <= {count}."
            )
        return replace(self, data=self.data[start:stop], affine=self.affine @ _shift(z=start))

    def resized(self, size: int | tuple[int, int]) -> Volume:
        """Every slice resampled to (y, x) = `size` pixels, the outer faces of the field of view kept in place.

        Bilinear, with the triangle widened to the new pixels when they are larger (antialiased).

        Raises:
            CosliceError: a size below 1.
        """
        ny, nx = (size, size) if isinstance(size, int) else size
        if min(ny, nx) < 1:
            raise CosliceError(f"Volume.resized: {ny} x {nx} pixels were asked for, at least 1 x 1 is needed.")
        if (ny, nx) == self.shape[1:]:
            return self
        data = functional.interpolate(self.data[None], (ny, nx), mode="bilinear", antialias=True, align_corners=False)
        sy, sx = self.shape[1] / ny, self.shape[2] / nx
        affine = self.affine @ _shift(y=sy / 2 - 0.5, x=sx / 2 - 0.5) @ np.diag((sx, sy, 1.0, 1.0))
        return replace(self, data=data[0], affine=affine)

    def with_data(self, data: Tensor) -> Volume:
        """Other voxels in the same places.

        Raises:
            CosliceError: `data` does not have this volume's shape.
        """
        if tuple(data.shape) != self.shape:
            raise CosliceError(
                f"Volume.with_data: data of shape {tuple(data.shape)} was given, {self.shape} (z, y, x) is needed."
            )
        return replace(self, data=data)

    def __repr__(self) -> str:
        low, high = self.data.aminmax()
        voxels = " x ".join(str(n) for n in self.shape)
        spacing = " x ".join(f"{s:.4g}" for s in self.spacing)
        size = " x ".join(f"{n * s:.4g}" for n, s in zip(self.shape, self.spacing, strict=True))
        return (
            f"Volume(z, y, x: {voxels} voxels of {spacing} mm = {size} mm, "
            f"stored {''.join(self.orientation)}, values {low:g} to {high:g})"
        )


def flattens(affine: np.ndarray) -> bool:
    """Whether the axes of `affine` (4 x 4) span no space: one has no length, or they lie in a plane."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    # Of unit axes, so that fine voxels are not mistaken for flat ones.
    return bool(lengths.min() == 0 or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-4)


def _shift(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix
