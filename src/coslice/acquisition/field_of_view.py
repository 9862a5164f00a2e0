"""Which voxels the detector sees, view by view."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from coslice.geometry import FanBeam, Geometry, Grid, Orbit, ParallelBeam

__all__ = ["FieldOfView", "field_of_view"]

_SIDE = 17  # sampled voxels along an axis
_VIEWS = 90


@dataclass(frozen=True, eq=False)
class FieldOfView:
    """In what share of the views the detector shows a voxel.

    Attributes:
        share: of each sampled voxel, (z, y, x), 0 to 1.
        planes: z of the sampled planes, mm.
    """

    share: np.ndarray
    planes: np.ndarray

    @property
    def unseen(self) -> float:
        """Share of the grid that no view shows."""
        return float((self.share == 0).mean())

    @property
    def unseen_planes(self) -> float:
        """Share of the slices that no view shows any of."""
        return float((self.share == 0).all((1, 2)).mean())

    def below(self, share: float) -> float:
        """Share of the grid's inscribed cylinder shown by fewer than this share of the views."""
        y, x = (np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in self.share.shape[1:])
        inside = y[:, None] ** 2 + x**2 <= 1
        return float((self.share[:, inside] < share).mean())


def field_of_view(geometry: Geometry, grid: Grid) -> FieldOfView:
    """Sample the voxels' centres, at most 17 along each axis and the outermost among them, in at most 90 views."""
    axes = [_spread(grid.axis(name)) for name in "zyx"]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    points = np.stack((x, y, z), -1).reshape(-1, 3)
    views = np.unique(np.linspace(0, geometry.views - 1, _VIEWS).round().astype(int))
    seen = np.zeros(len(points))
    for view in views:
        seen += _seen_in(geometry, int(view), points)
    return FieldOfView((seen / len(views)).reshape(z.shape), axes[0])


def _spread(axis: np.ndarray) -> np.ndarray:
    return axis[np.unique(np.linspace(0, len(axis) - 1, _SIDE).round().astype(int))]


def _seen_in(geometry: Geometry, view: int, points: np.ndarray) -> np.ndarray:
    """Whether the ray through each point (n, 3) meets the detector."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if isinstance(geometry, Orbit):
            j, i, ahead = _on_orbit(geometry, view, points)
        else:
            cosine, sine = math.cos(geometry.angles[view]), math.sin(geometry.angles[view])
            along, across = points[:, :2] @ (cosine, sine), points[:, :2] @ (-sine, cosine)
            height, ahead = points[:, 2], np.ones(len(points), bool)
            if not isinstance(geometry, ParallelBeam):
                magnification = geometry.source_detector / (geometry.source_axis - along)
                ahead = along < geometry.source_axis
                across = across * magnification
                height = height if isinstance(geometry, FanBeam) else height * magnification
            j = (height - geometry.offset[0]) / geometry.pixel[0]
            i = (across - geometry.offset[1]) / geometry.pixel[1]
        rows, columns = geometry.detector
        return ahead & (np.abs(j) <= rows / 2) & (np.abs(i) <= columns / 2)


def _on_orbit(geometry: Orbit, view: int, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row and column from the detector's centre at which the rays through the points meet it."""
    source, centre, row, column = (
        np.array(vectors[view])
        for vectors in (geometry.source, geometry.centre, geometry.row_step, geometry.column_step)
    )
    towards = points - source if geometry.divergent else np.broadcast_to(source, points.shape)
    # point + t towards = centre + j row + i column
    plane = np.linalg.inv(np.stack((row, column, np.cross(row, column)), 1))
    start, step = (points - centre) @ plane.T, towards @ plane.T
    t = -start[:, 2] / step[:, 2]
    j, i = (start[:, k] + t * step[:, k] for k in (0, 1))
    return j, i, t > -1 if geometry.divergent else np.isfinite(t)
