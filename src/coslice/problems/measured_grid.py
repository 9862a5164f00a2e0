"""Which voxels a measurement of projections is reconstructed on, where nobody says so.

What all views see is a cylinder about the axis of rotation. In the plane its radius is that of the outermost ray,

    R = u_edge / m  of parallel rays,        R = S sin(atan(u_edge / D))  of a fan or a cone,

u_edge the nearer edge of the detector, or, of a full turn, the farther one, since opposite views see the other half.
A voxel is as wide as a pixel at the axis, du / m, m = D / S the magnification; slices are as far apart as rows are
there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from coslice.acquisition.reduction import Reduction
from coslice.classical.filters import measured_arc
from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, FanBeam, Geometry, Grid, Orbit, ParallelBeam
from coslice.io.lengths import check_wish
from coslice.io.memory import check_memory

__all__ = [
    "OTHER_SLICES",
    "GridChoice",
    "binning_for",
    "check_room",
    "chosen_slices",
    "rows_of",
    "usual_grid",
    "voxels_and_blocks",
]

_Circular: TypeAlias = ConeBeam | FanBeam | ParallelBeam

OTHER_SLICES = (
    "The rays of a cone pass the slices that are left out too: methods that compare with the measurement, all but fdk, "
    "put what is there into those that are kept; --rows keeps fewer rays."
)
"""What is said where a cone's volume is cut to some of its slices."""

_MOST_VOXELS = 2**31
_NEARLY = 0.25  # of a pixel that a block may be wider than a voxel


@dataclass(frozen=True)
class GridChoice:
    """What the user says of the grid; None leaves it to the measurement.

    Attributes:
        size: voxels across, SIZE x SIZE over the field of view.
        spacing: of the voxels, mm; with a size too, the field of view is their product.
        plane: only the plane through the axis of rotation, y = 0, which is all there is of an object that is the same
            all around; filtered back-projection finds it alone.

    Raises:
        CosliceError: a number that is not positive.
    """

    size: int | None = None
    spacing: float | None = None
    plane: bool = False

    def __post_init__(self) -> None:
        for name in ("size", "spacing"):
            value = getattr(self, name)
            if value is not None:
                check_wish(name, value)


def usual_grid(geometry: Geometry, choice: GridChoice, asked: Grid | None = None) -> Grid:
    """The voxels to reconstruct on.

    Args:
        geometry: the scanner; a free orbit has no usual grid.
        choice: what the user says.
        asked: the grid that the scanner's own file asks for; the user's size or spacing changes its voxels and keeps
            its place.

    Raises:
        CosliceError: a free orbit without a grid; a detector that does not see the axis; more voxels than memory holds.
    """
    if isinstance(geometry, Orbit) and asked is None:
        raise CosliceError(
            "grid: the views stand freely in space, so nothing says which voxels are meant; add a grid to the geometry "
            'file: "grid": {"shape": [z, y, x], "spacing_mm": [dz, dy, dx]}.'
        )
    if asked is None:
        assert not isinstance(geometry, Orbit)
        grid = _seen_by(geometry, choice)
    else:
        grid = _changed(asked, choice)
    if choice.plane:
        grid = Grid((grid.shape[0], 1, grid.shape[2]), grid.spacing, (grid.centre[0], 0.0, grid.centre[2]))
    voxels = math.prod(grid.shape)
    if voxels > _MOST_VOXELS:
        raise CosliceError(
            f"grid: {' x '.join(map(str, grid.shape))} voxels (z, y, x) would be needed, at most {_MOST_VOXELS:.2g} "
            "are possible; choose a smaller --size, a larger --spacing, or fewer --slices."
        )
    return grid


def binning_for(geometry: Geometry, voxel: float) -> tuple[int, int]:
    """(rows, columns) of pixels to one, so that pixels are not much finer than voxels of `voxel` mm across.

    Rows of parallel and fan beams are slices, and stay.
    """
    if isinstance(geometry, Orbit):
        return 1, 1
    across, upward = _magnifications(geometry)
    dv, du = geometry.pixel
    columns = max(1, math.floor(voxel * across / du + _NEARLY))
    rows = max(1, math.floor(voxel * upward / dv + _NEARLY)) if isinstance(geometry, ConeBeam) else 1
    return rows, columns


def voxels_and_blocks(
    geometry: Geometry, choice: GridChoice, asked: Grid | None = None, binning: tuple[int, int] | None = None
) -> tuple[Grid, tuple[int, int]]:
    """The voxels to reconstruct on, and the (rows, columns) of pixels that become one for them.

    Args:
        geometry, choice, asked: as `usual_grid`, the geometry of the pixels as recorded.
        binning: what the user says; None is `binning_for` the voxels.

    Raises:
        CosliceError: as `usual_grid`.
    """
    grid = usual_grid(geometry, choice, asked)
    binning = binning or binning_for(geometry, max(grid.spacing[1:]))
    if binning[0] > 1 and asked is None:
        # Slices are as far apart as rows are now, and the field of view is as it was.
        choice = replace(choice, size=grid.shape[2], spacing=grid.spacing[2])
        grid = usual_grid(Reduction(binning=binning).geometry(geometry), choice)
    return grid, binning


def check_room(geometry: Geometry, grid: Grid) -> None:
    """Refuse a measurement whose line integrals, their weights and three volumes do not fit into memory.

    Raises:
        CosliceError: likewise.
    """
    rays, voxels = (" x ".join(map(str, one.shape)) for one in (geometry, grid))
    check_memory(
        f"A measurement of {rays} line integrals on {voxels} voxels",
        8 * math.prod(geometry.shape) + 12 * math.prod(grid.shape),
        "take fewer --views, --rows, --columns or --slices, a --binning, or a smaller --size",
    )


def _magnifications(geometry: _Circular) -> tuple[float, float]:
    across = 1.0 if isinstance(geometry, ParallelBeam) else geometry.magnification
    return across, across if isinstance(geometry, ConeBeam) else 1.0


def _seen_by(geometry: _Circular, choice: GridChoice) -> Grid:
    across, upward = _magnifications(geometry)
    dv, du = geometry.pixel
    u, v = geometry.u(), geometry.v()
    edges = (-(float(u[0]) - du / 2), float(u[-1]) + du / 2)
    farther = measured_arc(geometry.angles).closed and not isinstance(geometry, ParallelBeam)
    edge = (max if farther else min)(edges)
    if edge <= 0:
        raise CosliceError(
            f"grid: the detector reaches from {u[0]:g} to {u[-1]:g} mm, so its views never see the axis of rotation; "
            "check the detector's offset or the column of the axis."
        )
    radius = edge
    if not isinstance(geometry, ParallelBeam):
        radius = geometry.source_axis * math.sin(math.atan(edge / geometry.source_detector))
    field = 2 * radius
    if choice.size is not None and choice.spacing is not None:
        field = choice.size * choice.spacing
    voxel = choice.spacing or (field / choice.size if choice.size else du / across)
    if voxel > field * (1 + 1e-6):
        raise CosliceError(
            f"spacing: voxels of {voxel:g} mm were asked for, but the field of view is {field:g} mm; give less."
        )
    count = choice.size or max(1, math.floor(field / voxel + 1e-6))
    rows = dv / upward
    dz = max(rows, voxel) if isinstance(geometry, ConeBeam) else rows
    height = len(v) * rows
    slices = max(1, math.floor(height / dz + 1e-6))
    return Grid((slices, count, count), (dz, voxel, voxel), (float(np.mean(v)) / upward, 0.0, 0.0))


def _changed(asked: Grid, choice: GridChoice) -> Grid:
    """The file's grid with other voxels over the same field of view."""
    if choice.size is None and choice.spacing is None:
        return asked
    size = max(asked.size[1:])
    voxel = choice.spacing or size / (choice.size or 1)
    if choice.size is not None and choice.spacing is not None:
        size = choice.size * choice.spacing
    across = choice.size or max(1, math.floor(size / voxel + 1e-6))
    # A plane, as of a file that asks for one, stays one.
    counts = [
        min(across, max(1, round(extent / voxel))) if count > 1 else 1
        for count, extent in zip(asked.shape[1:], asked.size[1:], strict=True)
    ]
    deep = max(1, math.floor(asked.size[0] / voxel + 1e-6)) if asked.shape[0] > 1 else 1
    return Grid((deep, counts[0], counts[1]), (voxel, voxel, voxel), asked.centre)


def chosen_slices(grid: Grid, slices: tuple[int, int]) -> Grid:
    """Slices first to last (not included) of a grid, counted from the lowest z, where they were.

    Raises:
        CosliceError: slices that are not there.
    """
    first, last = slices
    count = grid.shape[0]
    if not 0 <= first < last <= count:
        raise CosliceError(
            f"slices: {first}:{last} was given, but the grid has {count} slices; give FIRST:LAST within 0:{count}."
        )
    middle = grid.centre[0] + ((first + last - 1) / 2 - (count - 1) / 2) * grid.spacing[0]
    return Grid((last - first, *grid.shape[1:]), grid.spacing, (middle, *grid.centre[1:]))


def rows_of(geometry: FanBeam | ParallelBeam, grid: Grid) -> tuple[int, int]:
    """First and last (not included) row of parallel or fan beams, whose rows are slices, within the grid."""
    inside = np.flatnonzero(np.abs(geometry.v() - grid.centre[0]) < grid.size[0] / 2)
    return int(inside[0]), int(inside[-1]) + 1
