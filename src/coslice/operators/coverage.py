"""Whether a scanner sees the volume at all: which voxels its rays pass, from which views.

A voxel is seen by a view where its centre, thrown from the source, falls on the detector. Up to 24 centres along each
axis of the grid are tried, ends included; for each of them the answer is exact. So it does not matter how far apart
the rays are, only where the detector ends.

A view and its opposite show the same line, so directions count and not views: a detector that stands to one side sees
half of the object from anywhere, and in a full turn all of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from coslice.geometry import ConeBeam, FanBeam, Geometry, Grid, Orbit

__all__ = ["FieldOfView", "coverage", "remarks_on_coverage", "unseen_share"]

_SAMPLES = 24
_WORTH_SAYING = 0.01
_ROUNDING = 1e-6  # pixels


@dataclass(frozen=True)
class FieldOfView:
    """Shares of the voxels, from 0 to 1.

    Attributes:
        unseen: no view sees them.
        truncated: of those within the ellipse that touches the grid's sides: some directions see them and some do not.
    """

    unseen: float
    truncated: float


def unseen_share(geometry: Geometry, grid: Grid) -> float:
    """The share of voxels that no ray meets, from 0 to 1."""
    return coverage(geometry, grid).unseen


def coverage(geometry: Geometry, grid: Grid) -> FieldOfView:
    """How much of a grid the scanner sees."""
    z, y, x = (
        grid.axis(name)[np.unique(np.linspace(0, n - 1, min(n, _SAMPLES)).round().astype(int))]
        for name, n in zip("zyx", grid.shape, strict=True)
    )
    points = np.stack(np.meshgrid(x, y, z, indexing="ij"), -1).reshape(-1, 3)
    seen = np.stack([_sees(geometry, view, points) for view in range(geometry.views)])
    directions = _directions(geometry)
    pairs = max(1, geometry.views // 2) if _turns_whole(geometry) else geometry.views
    bins = np.floor(directions / math.pi * pairs + 0.5).astype(int) % pairs
    by_direction = np.stack([seen[bins == one].any(0) for one in np.unique(bins)])
    offset = (points[:, :2] - np.array(grid.centre[:0:-1])) / (np.array(grid.size[:0:-1]) / 2)
    inside = np.sum(offset**2, axis=1) <= 1
    partly = np.asarray(by_direction.any(0) & ~by_direction.all(0))
    truncated = float(partly[inside].mean()) if inside.any() else 0.0
    return FieldOfView(float(1 - seen.any(0).mean()), truncated)


def remarks_on_coverage(geometry: Geometry, grid: Grid) -> tuple[str, ...]:
    """What of the volume the geometry does not see, as full sentences; nothing where it sees all of it."""
    found, remarks = coverage(geometry, grid), list[str]()
    if found.unseen > _WORTH_SAYING:
        remarks.append(
            f"No ray meets {found.unseen:.0%} of the voxels, which only the prior fills; check the geometry, or give a "
            "smaller grid."
        )
    if found.truncated > _WORTH_SAYING:
        remarks.append(
            f"The detector sees {found.truncated:.0%} of the voxels from some directions only: what lies there is "
            "uncertain, and what lies beyond the detector makes the rim too bright."
        )
    return tuple(remarks)


def _sees(geometry: Geometry, view: int, points: np.ndarray) -> np.ndarray:
    """Whether the points (n, 3) as (x, y, z) fall on the detector."""
    rows, columns = geometry.detector
    if isinstance(geometry, FanBeam):
        flat = ConeBeam(
            (geometry.angles[view],),
            (1, columns),
            geometry.pixel,
            (0.0, geometry.offset[1]),
            geometry.source_axis,
            geometry.axis_detector,
        )
        column, _ = _place(flat.to_orbit(), 0, points * (1, 1, 0))
        row = (points[:, 2] - geometry.offset[0]) / geometry.pixel[0]
    else:
        one = geometry if isinstance(geometry, Orbit) else geometry.to_orbit()
        column, row = _place(one, view, points)
    half = np.array((rows, columns)) / 2 + _ROUNDING
    return (np.abs(row) <= half[0]) & (np.abs(column) <= half[1])


def _place(orbit: Orbit, view: int, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows from the detector's centre, in pixels, of thrown points; not finite behind a source."""
    source, centre, row, column = (
        np.array(vectors[view]) for vectors in (orbit.source, orbit.centre, orbit.row_step, orbit.column_step)
    )
    normal = np.cross(column, row)
    if orbit.divergent:
        away = points - source
        along = away @ normal
        full = float((centre - source) @ normal)
        share = np.where(along * full > 0, full / np.where(along == 0, np.inf, along), np.inf)
        with np.errstate(invalid="ignore"):
            hit = source + share[:, None] * away
    else:
        hit = points + ((centre - points) @ normal / float(source @ normal))[:, None] * source
    # Rows and columns need not be at right angles: solve for both steps.
    steps = np.stack((column, row), 1)
    with np.errstate(invalid="ignore"):
        places = (hit - centre) @ np.linalg.pinv(steps).T
    return places[:, 0], places[:, 1]


def _directions(geometry: Geometry) -> np.ndarray:
    """Of each view, where its central ray runs in the plane, rad modulo half a turn."""
    if not isinstance(geometry, Orbit):
        return np.mod(geometry.angles, math.pi)
    source = np.array(geometry.source)
    towards = np.array(geometry.centre) - source if geometry.divergent else source
    return np.mod(np.arctan2(towards[:, 1], towards[:, 0]), math.pi)


def _turns_whole(geometry: Geometry) -> bool:
    """Whether views lie on both sides, so that opposite ones show the same lines."""
    if isinstance(geometry, Orbit):
        source = np.array(geometry.source)
        towards = np.array(geometry.centre) - source if geometry.divergent else source
        angles = np.arctan2(towards[:, 1], towards[:, 0])
    else:
        angles = np.array(geometry.angles)
    turned = np.sort(np.mod(angles, 2 * math.pi))
    gaps = np.diff(turned, append=turned[0] + 2 * math.pi)
    return bool(gaps.max() < 0.75 * math.pi) and len(gaps) > 3
