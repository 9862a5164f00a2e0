"""Scanners that turn about z: parallel, fan and cone beams onto a flat detector, and the angles they stop at.

All lengths are in mm and all angles in rad; see `coslice.geometry` for the coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from coslice.errors import CosliceError
from coslice.geometry.orbit import Orbit
from coslice.geometry.voxels import Grid, floats

__all__ = ["ConeBeam", "FanBeam", "ParallelBeam", "angles_of", "limited_angle", "missing_wedge", "sparse_view"]


def angles_of(geometry: _Detector | Orbit) -> tuple[float, ...]:
    """View angles, rad; of a free orbit, those of its sources about z."""
    if isinstance(geometry, Orbit):
        return tuple(math.atan2(y, x) for x, y, _ in geometry.source)
    return geometry.angles


def sparse_view(views: int, arc: float = 2 * math.pi, start: float = 0.0) -> tuple[float, ...]:
    """Angles in rad of `views` views spread evenly over [start, start + arc)."""
    if views < 1:
        raise CosliceError(f"sparse_view: {views} views were asked for, at least 1 is needed; give a positive number.")
    return tuple(start + arc * i / views for i in range(views))


def limited_angle(arc: float, views: int, start: float = 0.0) -> tuple[float, ...]:
    """Angles in rad of `views` views over the wedge [start, start + arc); the paper's is 100 in 100 degrees."""
    if not 0 < arc <= 2 * math.pi:
        raise CosliceError(
            f"limited_angle: an arc of {math.degrees(arc):g} degrees was asked for, "
            "but it must be above 0 and at most 360; choose one in that range."
        )
    return sparse_view(views, arc, start)


def missing_wedge(angles: Sequence[float]) -> float:
    """The wedge of directions that no view shows, rad: the widest gap between neighbours, less a usual one.

    A view and its opposite show the same directions, so angles count modulo half a turn. Directions spread evenly miss
    nothing, however few they are; of a single one, half a turn is missing.
    """
    directions = np.sort(np.asarray(angles, dtype=float) % math.pi)
    gaps = np.diff(directions, append=directions[0] + math.pi)
    gaps = gaps[gaps > 1e-9]  # of opposite views one is enough
    gaps.sort()
    return float(gaps[-1] - gaps[(len(gaps) - 1) // 2]) if len(gaps) > 1 else math.pi


@dataclass(frozen=True)
class _Detector:
    """What all circular geometries share: the views and a flat grid of pixels.

    Attributes:
        angles: view angles beta, rad.
        detector: (rows, columns).
        pixel: (dv, du), mm.
        offset: (v, u) of the detector's centre, mm, along its own axes.
    """

    angles: tuple[float, ...]
    detector: tuple[int, int]
    pixel: tuple[float, float]
    offset: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        name = type(self).__name__
        if len(self.angles) == 0:
            raise CosliceError(f"{name}: 0 views were given, at least one angle is needed; see sparse_view().")
        if not all(math.isfinite(number) for number in (*self.angles, *self.offset, *self.pixel)):
            raise CosliceError(
                f"{name}: an angle, a pixel size or an offset is not finite; give angles in rad and lengths in mm."
            )
        if min(self.detector) < 1 or min(self.pixel) <= 0:
            raise CosliceError(
                f"{name}: a detector of {self.detector} pixels of {self.pixel} mm was given, "
                "positive (rows, columns) and (dv, du) are needed."
            )
        object.__setattr__(self, "detector", tuple(int(n) for n in self.detector))
        for field in ("angles", "pixel", "offset"):
            object.__setattr__(self, field, floats(getattr(self, field)))

    @property
    def views(self) -> int:
        return len(self.angles)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the projections: (views, rows, columns)."""
        return (self.views, *self.detector)

    def u(self) -> np.ndarray:
        """Column centres in mm."""
        columns = self.detector[1]
        return self.offset[1] + (np.arange(columns) - (columns - 1) / 2) * self.pixel[1]

    def v(self) -> np.ndarray:
        """Row centres in mm."""
        rows = self.detector[0]
        return self.offset[0] + (np.arange(rows) - (rows - 1) / 2) * self.pixel[0]

    def _pixels(self, across: np.ndarray) -> np.ndarray:
        """Pixel centres (rows, columns, 3) relative to where the central ray meets the detector plane, mm."""
        return self.u()[None, :, None] * across + self.v()[:, None, None] * np.array((0.0, 0.0, 1.0))

    def _keep(self, v_reach: float, u_reach: float):
        """This geometry with only the pixels within +-reach (mm), by whole pixels; at least one stays."""
        first_v, rows = _within(self.v(), v_reach)
        first_u, columns = _within(self.u(), u_reach)
        offset = tuple(
            float(centres[first] + (count - 1) / 2 * pitch)
            for centres, first, count, pitch in (
                (self.v(), first_v, rows, self.pixel[0]),
                (self.u(), first_u, columns, self.pixel[1]),
            )
        )
        return replace(self, detector=(rows, columns), offset=offset)


def _within(centres: np.ndarray, reach: float) -> tuple[int, int]:
    inside = np.flatnonzero(np.abs(centres) <= reach)
    if len(inside) == 0:
        return int(np.abs(centres).argmin()), 1
    return int(inside[0]), len(inside)


@dataclass(frozen=True)
class ParallelBeam(_Detector):
    """Parallel rays, perpendicular to z; a stack of 2D scans. Fields as in the docstring of `coslice.geometry`."""

    def cropped(self, grid: Grid) -> ParallelBeam:
        """Without the rows and columns no ray of which meets `grid`: they only ever see 0."""
        z, radius = grid.reach
        return self._keep(z, radius)

    @property
    def divergent(self) -> bool:
        return False

    def rays(self, view: int) -> tuple[np.ndarray, np.ndarray]:
        """Points on the rays of a view, in mm, and their directions, both (rows, columns, 3) as (x, y, z)."""
        direction, across = _turned(self.angles[view])
        return self._pixels(across), np.broadcast_to(direction, (*self.detector, 3))

    def to_orbit(self) -> Orbit:
        direction, across = _turned(self.angles)
        return _orbit(self, source=direction, centre=np.zeros_like(direction), across=across, divergent=False)


@dataclass(frozen=True)
class _Divergent(_Detector):
    source_axis: float = 0.0
    axis_detector: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "source_axis", float(self.source_axis))
        object.__setattr__(self, "axis_detector", float(self.axis_detector))
        if not (0 < self.source_axis < math.inf and 0 <= self.axis_detector < math.inf):
            raise CosliceError(
                f"{type(self).__name__}: source_axis {self.source_axis} mm and axis_detector {self.axis_detector} mm "
                "were given; the first must be positive and the second not negative."
            )

    @property
    def divergent(self) -> bool:
        return True

    @property
    def source_detector(self) -> float:
        """Distance from the source to the detector plane, mm."""
        return self.source_axis + self.axis_detector

    @property
    def magnification(self) -> float:
        """Size on the detector of an object of size 1 at the rotation axis."""
        return self.source_detector / self.source_axis

    def _u_reach(self, grid: Grid) -> float:
        """Largest |u| that a ray through the grid can have, mm; refuses a source inside the grid."""
        radius = grid.reach[1]
        if radius >= self.source_axis:
            raise CosliceError(
                f"{type(self).__name__}: the grid reaches {radius:.1f} mm from the axis but the source turns at "
                f"{self.source_axis:g} mm; move the source out or use a smaller grid."
            )
        return self.source_detector * math.tan(math.asin(radius / self.source_axis))


@dataclass(frozen=True)
class FanBeam(_Divergent):
    """Fans in planes of constant z; rows are slices, `pixel[0]` and `v` are mm along z at the object.

    Attributes: as `ConeBeam`.
    """

    def rays(self, view: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the rays of a view start, in mm, and their directions, both (rows, columns, 3) as (x, y, z)."""
        direction, across = _turned(self.angles[view])
        up = np.array((0.0, 0.0, 1.0))
        start = np.broadcast_to(self.v()[:, None, None] * up - self.source_axis * direction, (*self.detector, 3))
        towards = self.u()[:, None] * across + self.source_detector * direction
        return start, np.broadcast_to(towards, (*self.detector, 3))

    def cropped(self, grid: Grid) -> FanBeam:
        """Without the rows and columns no ray of which meets `grid`; refuses a source inside it."""
        return self._keep(grid.reach[0], self._u_reach(grid))


@dataclass(frozen=True)
class ConeBeam(_Divergent):
    """A point source and a flat detector on a circle.

    Attributes:
        angles, detector, pixel, offset: as in the docstring of `coslice.geometry`.
        source_axis: distance from the source to the rotation axis, mm.
        axis_detector: distance from the rotation axis to the detector plane, mm.
    """

    def rays(self, view: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the rays of a view start, in mm, and their directions, both (rows, columns, 3) as (x, y, z)."""
        direction, across = _turned(self.angles[view])
        start = np.broadcast_to(-self.source_axis * direction, (*self.detector, 3))
        return start, self.source_detector * direction + self._pixels(across)

    def cropped(self, grid: Grid) -> ConeBeam:
        """Without the rows and columns no ray of which meets `grid`; refuses a source inside it."""
        u_reach = self._u_reach(grid)
        z, radius = grid.reach
        return self._keep(z * self.source_detector / (self.source_axis - radius), u_reach)

    def to_orbit(self) -> Orbit:
        direction, across = _turned(self.angles)
        return _orbit(
            self,
            source=-direction * self.source_axis,
            centre=direction * self.axis_detector,
            across=across,
            divergent=True,
        )


def _turned(angles: Sequence[float] | float) -> tuple[np.ndarray, np.ndarray]:
    """Per angle the direction from source to detector and the direction of u, (..., 3)."""
    beta = np.asarray(angles)
    zero = np.zeros_like(beta)
    return np.stack((-np.cos(beta), -np.sin(beta), zero), -1), np.stack((-np.sin(beta), np.cos(beta), zero), -1)


def _orbit(geometry: _Detector, source: np.ndarray, centre: np.ndarray, across: np.ndarray, divergent: bool) -> Orbit:
    up = np.broadcast_to((0.0, 0.0, 1.0), across.shape)
    centre = centre + geometry.offset[1] * across + geometry.offset[0] * up

    def per_view(vectors: np.ndarray) -> tuple[tuple[float, float, float], ...]:
        return tuple((float(x), float(y), float(z)) for x, y, z in vectors)

    return Orbit(
        source=per_view(source),
        centre=per_view(centre),
        row_step=per_view(up * geometry.pixel[0]),
        column_step=per_view(across * geometry.pixel[1]),
        detector=geometry.detector,
        divergent=divergent,
    )
