"""Voxels that know where they are.

A volume is a tensor (z, y, x) and an affine M, 4 x 4, that takes a voxel's index to millimetres,

    (R, A, S, 1) = M (x, y, z, 1),        R, A, S: towards the patient's right, anterior, superior.

Index 0 is the *centre* of the first voxel, so its outer face is at -1/2. From this the rest follows:
the spacing is the lengths of M's first three columns; cutting slices off the front shifts the origin,

    M' = M T(0, 0, start);

padding before the front shifts it back, start < 0; and voxels s times as large, the outer face at index -1/2 kept
in place, make voxel i' sit at i = (i' + 1/2) s - 1/2, hence

    M' = M T(s/2 - 1/2) S(s).

Resizing a plane from n to n' pixels is s = n/n', a new spacing is s = new/old, and k thin slices to a thick one are
s = k along z, or 1/k the other way.

A scanner counts from its isocentre c, in mm along the volume's own axes. With D the unit vectors of M's first three
columns, the voxel with index i is for the scanner at

    (x, y, z) = D^T (M i - c),

which is what a `Grid` says (`Volume.grid`, and `Volume.on` the other way).

A NIfTI file may place the same voxels a second time, in another space (`qform`); that affine Q moves with the voxels
as M does, Q' = Q M^-1 M'.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from coslice.axes import axis_number
from coslice.errors import CosliceError
from coslice.geometry import Grid
from coslice.resampling import box_weights, mix_slices, new_count, resample, resize, same_size, slices_needed
from coslice.upper_floors import ask

__all__ = ["ROUNDED", "Volume", "flattens", "shears"]

_SQUARE = 1e-5
"""Cosines between axes below this are rounding: in files they are float32."""

ROUNDED = 4e-3
"""Cosines between axes below this may be those of unit vectors written with three decimals; no gantry is tilted by
as little (0.23 degrees)."""


@dataclass(frozen=True, eq=False, repr=False)
class Volume:
    """A scan: voxels (z, y, x) float32 and where they are.

    The axes are canonical: x, y, z run as nearly as the grid allows towards right, anterior, superior.

    Attributes:
        data: (z, y, x), float32.
        affine: 4 x 4 float64, index (x, y, z, 1) to millimetres (R, A, S, 1).
        orientation: the directions of the axes in the file this came from; a writer restores them.
        space_code: NIfTI's word for what the millimetres refer to (1 the scanner, 2 another scan, 4 MNI); 0 where the
            file has a qform and no sform.
        qform: the file's qform, 4 x 4, for the same index; None without one. It may be another place than `affine`.
        qform_code: NIfTI's word for what its millimetres refer to.

    Raises:
        CosliceError: data that is not 3D or is empty, an affine that is not an invertible 4 x 4 matrix.
    """

    data: Tensor
    affine: np.ndarray = field(default_factory=lambda: np.eye(4))
    orientation: tuple[str, str, str] = ("R", "A", "S")
    space_code: int = 1
    qform: np.ndarray | None = None
    qform_code: int = 0

    def __post_init__(self) -> None:
        if self.data.ndim != 3 or self.data.numel() == 0:
            raise CosliceError(
                f"Volume: data of shape {tuple(self.data.shape)} was given, "
                "three axes (z, y, x) with at least one voxel each are needed."
            )
        object.__setattr__(self, "affine", _checked("affine", self.affine))
        if self.qform is not None:
            object.__setattr__(self, "qform", _checked("qform", self.qform))
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

    @property
    def directions(self) -> np.ndarray:
        """Unit vectors (R, A, S) of the axes x, y, z, as columns: (3, 3) float64."""
        return self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)

    def grid(self, isocentre: Sequence[float] | None = None) -> Grid:
        """Where the voxels are for a scanner, in mm along the volume's own axes.

        Args:
            isocentre: the scanner's origin (R, A, S) in mm. None is the middle of the volume: then the grid's centre
                is (0, 0, 0), and axes that are not at right angles (a tilted gantry) are taken as if they were.

        Raises:
            CosliceError: an isocentre that is not three finite numbers, or one for axes that are not at right angles.
        """
        if isocentre is None:
            return Grid(self.shape, self.spacing)
        origin = _point("Volume.grid", isocentre)
        if shears(self.affine):
            raise CosliceError(
                "Volume.grid: an isocentre was given for a volume whose axes are not at right angles, as a grid's are; "
                "resample the scan, or leave the isocentre out."
            )
        middle = self.affine @ (*((n - 1) / 2 for n in self.shape[::-1]), 1)
        x, y, z = map(float, (middle[:3] - origin) @ self.directions)
        return Grid(self.shape, self.spacing, (z, y, x))

    @classmethod
    def on(
        cls, grid: Grid, data: Tensor, isocentre: Sequence[float] = (0, 0, 0), directions: np.ndarray | None = None
    ) -> Volume:
        """The volume whose voxels are where `grid` says: the inverse of `grid`.

        Args:
            grid: in mm from the isocentre, along the scanner's axes.
            data: (z, y, x).
            isocentre: the scanner's origin (R, A, S) in mm.
            directions: unit vectors (R, A, S) of the scanner's axes x, y, z, as columns (3, 3), at right angles;
                None is x to the right, y to anterior, z to superior.

        Raises:
            CosliceError: data of another shape than the grid's; an isocentre or directions of another kind.
        """
        if tuple(data.shape) != grid.shape:
            raise CosliceError(
                f"Volume.on: data of shape {tuple(data.shape)} was given, {grid.shape} (z, y, x) is needed."
            )
        axes = np.eye(3) if directions is None else np.array(directions, dtype=np.float64)
        if axes.shape != (3, 3) or not np.allclose(np.transpose(axes) @ axes, np.eye(3), atol=_SQUARE):
            raise CosliceError(
                f"Volume.on: the directions {axes.tolist()} were given, three unit vectors at right angles, "
                "as columns, are needed."
            )
        affine = np.eye(4)
        affine[:3, :3] = axes * grid.spacing[::-1]
        affine[:3, 3] = _point("Volume.on", isocentre) + axes @ [grid.axis(name)[0] for name in "xyz"]
        return cls(data, affine)

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
        return self._moved(self.data[start:stop], _shift(z=start))

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
        data = resize(self.data, (ny, nx))
        return self._moved(data, _scale(y=self.shape[1] / ny, x=self.shape[2] / nx))

    def resampled(self, spacing: float | tuple[float, float, float]) -> Volume:
        """Voxels of `spacing` (dz, dy, dx) mm, or cubes of one, the outer face at index -1/2 kept in place.

        Linear, with the triangle widened to the new voxels when they are larger (antialiased). As many voxels as fit
        into the volume, at least 1; what is left at the end is dropped. An axis whose spacing is already right to a
        millionth keeps its voxels and its spacing, bit for bit.

        Raises:
            CosliceError: a spacing that is not positive.
        """
        wanted = (spacing,) * 3 if isinstance(spacing, (int, float)) else spacing
        if len(wanted) != 3 or not all(0 < s < math.inf for s in wanted):
            raise CosliceError(f"Volume.resampled: a spacing of {spacing} mm was given, positive numbers are needed.")
        z, y, x = (1.0 if same_size(new / old) else new / old for new, old in zip(wanted, self.spacing, strict=True))
        if z == y == x == 1:
            return self
        return self._moved(resample(self.data, (z, y, x)), _scale(z, y, x))

    def thickened(self, mm: float) -> Volume:
        """Slices `mm` thick: means along z over what each covers, slices cut by its faces counted in part.

        What is left at the end and does not fill a slice is dropped. The first outer face stays in place.

        Raises:
            CosliceError: slices thinner than the present ones, or thicker than the whole volume.
        """
        ratio = mm / self.spacing[0]
        if same_size(ratio):
            return self
        if not (ratio > 1 and new_count(self.shape[0], ratio) >= 1):
            raise CosliceError(
                f"Volume.thickened: slices of {mm:g} mm were asked for, {self.spacing[0]:g} mm (one slice) to "
                f"{self.shape[0] * self.spacing[0]:g} mm (all of them) is possible."
            )
        data = mix_slices(box_weights(self.shape[0], ratio), self.data)
        return self._moved(data, _scale(z=ratio))

    def padded(self, shape: int | tuple[int, int, int], value: float | None = None) -> Volume:
        """In the middle of a volume of `shape` (z, y, x), or a cube of one size, that is `value` elsewhere.

        Where an odd number of voxels is added, the end gets one more. None takes the volume's smallest value.

        Raises:
            CosliceError: a shape smaller than the volume along an axis.
        """
        wanted, (z, y, x) = self._middle("padded", shape, larger=True)
        after = [new - old - b for new, old, b in zip(wanted, self.shape, (z, y, x), strict=True)]
        fill = float(self.data.min()) if value is None else value
        data = functional.pad(self.data, (x, after[2], y, after[1], z, after[0]), value=fill)
        return self._moved(data, _shift(-x, -y, -z))

    def cropped(self, shape: int | tuple[int, int, int]) -> Volume:
        """The middle `shape` (z, y, x), or a cube of one size; undoes `padded`.

        Raises:
            CosliceError: a shape larger than the volume along an axis.
        """
        (nz, ny, nx), (z, y, x) = self._middle("cropped", shape, larger=False)
        return self._moved(self.data[z : z + nz, y : y + ny, x : x + nx], _shift(x, y, z))

    def with_thick_slices(self, data: Tensor, factor: float, axis: str = "z") -> Volume:
        """What a scan of this volume with slices `factor` times as thick gave: M' = M T(factor/2 - 1/2) S(factor).

        Args:
            data: (m, y, x), m = z / factor rounded up: the last one may reach beyond this volume.
            factor: thin slices per thick one.
            axis: along which slices are thick; the shape of `data` follows.

        Raises:
            CosliceError: another shape, or a factor below 1.
        """
        count = slices_needed(self.shape[axis_number(axis)], max(factor, 1))
        self._check_slices("with_thick_slices", data, factor, count, axis)
        return self._moved(data, _scale(**{axis: factor}))

    def with_thin_slices(self, data: Tensor, factor: float, axis: str = "z") -> Volume:
        """Voxels for this volume with each slice split in `factor`: M' = M T(1/(2 factor) - 1/2) S(1/factor).

        The first `factor` thin slices fill the first thick one from face to face, and so on.

        Args:
            data: (z * factor, y, x), or less by up to `factor` - 1 slices at the end.
            factor: thin slices per thick one.
            axis: along which slices are split; the shape of `data` follows.

        Raises:
            CosliceError: another shape, or a factor below 1.
        """
        number = axis_number(axis)
        count, given = new_count(self.shape[number], 1 / max(factor, 1)), data.shape[number] if data.ndim == 3 else 0
        if factor >= 1 and given and slices_needed(given, factor) == self.shape[number]:
            count = given
        self._check_slices("with_thin_slices", data, factor, count, axis)
        return self._moved(data, _scale(**{axis: 1 / factor}))

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

    def show(self, **how: Any) -> Any:
        """Look at it, in a notebook or in the browser; as `coslice.show(volume)`, whose options it takes."""
        return ask("show", self, **how)

    def _moved(self, data: Tensor, index: np.ndarray) -> Volume:
        """Other voxels; `index` takes theirs to this volume's."""
        qform = None if self.qform is None else self.qform @ index
        return replace(self, data=data, affine=self.affine @ index, qform=qform)

    def _middle(self, who: str, shape: int | tuple[int, ...], larger: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """`shape` as three numbers, and where the smaller of it and this volume starts in the middle of the other."""
        wanted = (shape,) * 3 if isinstance(shape, int) else tuple(shape)
        if len(wanted) != 3 or not all(
            old <= new if larger else 1 <= new <= old for old, new in zip(self.shape, wanted, strict=True)
        ):
            raise CosliceError(
                f"Volume.{who}: the shape {wanted} was asked for, three numbers (z, y, x) "
                f"{'not below' if larger else 'of at least 1 and not above'} the volume's, {self.shape}, are needed."
            )
        return wanted, tuple(abs(new - old) // 2 for old, new in zip(self.shape, wanted, strict=True))

    def _check_slices(self, who: str, data: Tensor, factor: float, count: int, axis: str) -> None:
        number = axis_number(axis)
        needed = (*self.shape[:number], count, *self.shape[number + 1 :])
        if factor < 1 or tuple(data.shape) != needed:
            raise CosliceError(
                f"Volume.{who}: data of shape {tuple(data.shape)} and a factor of {factor} were given, "
                f"{needed} (z, y, x) and a factor of at least 1 are needed."
            )

    def __repr__(self) -> str:
        low, high = self.data.aminmax()
        voxels = " x ".join(str(n) for n in self.shape)
        spacing = " x ".join(f"{s:.4g}" for s in self.spacing)
        size = " x ".join(f"{n * s:.4g}" for n, s in zip(self.shape, self.spacing, strict=True))
        return (
            f"Volume(z, y, x: {voxels} voxels of {spacing} mm = {size} mm, "
            f"stored {''.join(self.orientation)}, values {low:g} to {high:g})"
        )

    def _repr_html_(self) -> str:
        return ask("html", self)


def flattens(affine: np.ndarray) -> bool:
    """Whether the axes of `affine` (4 x 4) span no space: one has no length, or they lie in a plane."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    # Of unit axes, so that fine voxels are not mistaken for flat ones.
    return bool(lengths.min() == 0 or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-4)


def shears(affine: np.ndarray, tolerance: float = _SQUARE) -> bool:
    """Whether the axes of `affine` (4 x 4) are not at right angles, as those of a scan with a tilted gantry.

    Cosines between axes up to `tolerance` count as right angles.
    """
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return not np.allclose(directions.T @ directions, np.eye(3), atol=tolerance)


def _checked(what: str, given: np.ndarray) -> np.ndarray:
    """An affine that is one, made read-only."""
    affine = np.array(given, dtype=np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.array_equal(affine[3], (0, 0, 0, 1)):
        raise CosliceError(
            f"Volume: the {what} {affine.tolist()} was given, "
            "a finite 4 x 4 matrix with last row (0, 0, 0, 1) is needed."
        )
    if flattens(affine):
        raise CosliceError(
            f"Volume: the {what} {affine.tolist()} was given, which flattens a voxel; "
            "its first three columns must point in three different directions."
        )
    affine.setflags(write=False)
    return affine


def _point(who: str, given: Sequence[float]) -> np.ndarray:
    """An isocentre (R, A, S) as an array."""
    point = np.array(given, dtype=np.float64)
    if point.shape != (3,) or not np.isfinite(point).all():
        raise CosliceError(f"{who}: the isocentre {given} was given, three finite numbers (R, A, S) in mm are needed.")
    return point


def _shift(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix


def _scale(z: float = 1.0, y: float = 1.0, x: float = 1.0) -> np.ndarray:
    """T(s/2 - 1/2) S(s): voxels s times as large, the outer face at index -1/2 kept in place."""
    return _shift(x / 2 - 0.5, y / 2 - 0.5, z / 2 - 0.5) @ (np.eye(4) * np.array((x, y, z, 1.0)))
