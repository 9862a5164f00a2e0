"""Where the rotation axis stands on the detector.

A line is measured twice, from opposite ends: by the ray of view beta at fan angle gamma, and by that of

    beta' = beta + pi - 2 gamma,    gamma' = -gamma,

with gamma = 0 for parallel beams, whose opposite view is the mirror image. Only about the true axis do both agree. So
the axis is the column c that minimises what is left of one after the other is taken away, divided by their variance:
0 where they agree, about 1 where they have nothing to do with each other. Of a cone beam the rows about the plane of
the orbit are taken, where it is a fan.

Where too few lines are measured twice, and the whole object is seen, moments tell (Helgason and Ludwig): sorted into
parallel projections, all have the same mass and a centre of mass that goes round as a cos + b sin, without a
constant. The axis is the column about which the constant vanishes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, FanBeam, Geometry, Orbit, ParallelBeam

__all__ = ["RotationAxis", "axis_column", "found_axis", "with_axis"]

_SURE = 0.2  # what opposite views may leave of each other
_COARSE = 128  # columns of the first search
_VIEWS = 32  # that are compared with their opposites
_ARC = math.radians(60)  # of parallel projections, below which moments say too little
_SMOOTH = 1.0  # columns, lest a shift by half a column smooth the noise and look better for it


@dataclass(frozen=True)
class RotationAxis:
    """The axis on the detector.

    Attributes:
        column: where it stands, 0 the centre of the first column.
        offset: of the detector's centre along u from the axis, mm: `geometry.offset[1]`.
        uncertainty: of the column, in columns, from the parts of the measurement taken one by one.
        sure: whether opposite rays agree about it; if not, it is from moments, or where the geometry has it.
        notes: in full sentences.
    """

    column: float
    offset: float
    uncertainty: float
    sure: bool
    notes: tuple[str, ...] = ()


def axis_column(geometry: ConeBeam | FanBeam | ParallelBeam) -> float:
    """The column at which a geometry has its axis, 0 the centre of the first."""
    return (geometry.detector[1] - 1) / 2 - geometry.offset[1] / geometry.pixel[1]


def with_axis(geometry: ConeBeam | FanBeam | ParallelBeam, column: float):
    """The geometry with its detector moved along u so that the axis stands at `column`."""
    offset = ((geometry.detector[1] - 1) / 2 - column) * geometry.pixel[1]
    return replace(geometry, offset=(geometry.offset[0], offset))


def found_axis(lines: np.ndarray, geometry: Geometry) -> RotationAxis:
    """Find it.

    Args:
        lines: line integrals, (views, rows, columns).
        geometry: the scanner; its own offset along u is not used.

    Raises:
        CosliceError: a free orbit; line integrals of another shape; fewer than 3 views or 8 columns; an empty scan.
    """
    if isinstance(geometry, Orbit):
        raise CosliceError(
            "axis: a free orbit has no one rotation axis to find; its geometry says where every view is."
        )
    if tuple(lines.shape) != tuple(geometry.shape):
        raise CosliceError(
            f"axis: line integrals of shape {tuple(lines.shape)} were given, the geometry has {geometry.shape} (views, "
            "rows, columns)."
        )
    if geometry.views < 3 or geometry.detector[1] < 8:
        raise CosliceError(
            f"axis: {geometry.views} views of {geometry.detector[1]} columns were given, at least 3 of 8 are needed to "
            "find the axis of rotation; give it with the geometry."
        )
    angles, order = np.unique(geometry.angles, return_index=True)
    if len(angles) < 3:
        raise CosliceError(f"axis: the views are at {len(angles)} different angles, at least 3 are needed to find it.")
    bands = [band[order] for band in _bands(lines, geometry)]
    sinogram = np.mean(bands, axis=0)
    if not np.ptp(sinogram) > 0:
        raise CosliceError("axis: the views show nothing, so no axis can be found; is there an object in the scan?")
    fan = 0.0 if isinstance(geometry, ParallelBeam) else geometry.pixel[1] / geometry.source_detector
    column, left = _by_opposites(sinogram, angles, fan)
    sure = left < _SURE
    balance = _balanced(sinogram, angles, geometry)
    how = "by matching opposite views"
    if sure:
        parts = bands if len(bands) > 1 else []
        smooth = [gaussian_filter1d(part, _SMOOTH, axis=1, mode="nearest") for part in (*parts, sinogram)]
        near = [_least_near(_Opposites(part, angles, fan, odd), column, 1.0) for part in smooth for odd in (0, 1)]
        uncertainty = max(0.02, 1.5 * float(np.std([*near, column])))
        if balance is not None and not _Opposites(sinogram, angles, fan).many:
            # The ends of half a turn are all that is seen twice, and a step apart.
            uncertainty = max(uncertainty, abs(balance[0] - column) / 2)
            column, how = (column + balance[0]) / 2, "by matching opposite views and by the centre of mass of all"
    elif balance is not None:
        column, uncertainty = balance
        how = "by the centre of mass of the views, since too few rays are measured from both sides"
    else:
        column = axis_column(geometry)
        note = (
            f"The axis of rotation was left at column {column:.2f} of 0..{geometry.detector[1] - 1}: it cannot be "
            "found, since opposite views do not match anywhere and the views do not all show the whole object."
        )
        return RotationAxis(column, geometry.offset[1], math.inf, False, (note,))
    aside = column - (geometry.detector[1] - 1) / 2
    note = (
        f"The axis of rotation was found at column {column:.2f} of 0..{geometry.detector[1] - 1}, {abs(aside):.2f} "
        f"columns to the {'right' if aside > 0 else 'left'} of the detector's middle, {how}; it is sure to about "
        f"{uncertainty:.2g} columns."
    )
    return RotationAxis(column, with_axis(geometry, column).offset[1], uncertainty, sure, (note,))


def _bands(lines: np.ndarray, geometry: ConeBeam | FanBeam | ParallelBeam) -> list[np.ndarray]:
    """One or two sinograms (views, columns), of different rows, that hold nothing that is no number."""
    rows = geometry.detector[0]
    if isinstance(geometry, ConeBeam):
        v = np.abs(geometry.v())
        # within this, a ray climbs less than a row over an object as wide as half the way to the source
        near = np.flatnonzero(v <= max(geometry.pixel[0], 0.004 * geometry.source_detector))
        near = near[np.argsort(v[near], kind="stable")][:16] if len(near) else np.array([int(v.argmin())])
        near = np.sort(near)
    else:
        near = np.unique(np.linspace(0, rows - 1, 32).round().astype(int))
    groups = [near] if len(near) == 1 else [near[::2], near[1::2]]
    return [np.nan_to_num(np.stack([lines[:, row] for row in group]).mean(0, dtype=np.float64)) for group in groups]


class _Opposites:
    """What opposite rays leave of each other, as a function of the axis.

    `parity` takes only every second view against its opposites: 0 or 1, None all.
    """

    def __init__(self, sinogram: np.ndarray, angles: np.ndarray, fan: float, parity: int | None = None) -> None:
        self.sinogram, self.angles, self.fan = sinogram, angles, fan
        self.step = float(np.median(np.diff(angles)))
        self.full = angles[-1] - angles[0] + 1.5 * self.step >= 2 * math.pi
        views = np.arange(len(angles))
        if self.full:
            self.knots = np.append(angles, angles[0] + 2 * math.pi)
            self.rows = np.append(views, 0)
        else:
            # a step on at both ends, where half a turn that leaves its end out has its only opposites
            self.knots, self.rows = angles, views
        first = views if parity is None else views[parity::2]
        if not self.full and not fan:
            beyond = np.minimum(np.abs(angles + math.pi - angles[-1]), np.abs(angles - math.pi - angles[0]))
            has = beyond <= 1.01 * self.step
            has |= (angles + math.pi <= angles[-1]) | (angles - math.pi >= angles[0])
            first = views[has] if has.any() else views[np.argsort(beyond)[:2]]
            first = first if parity is None or len(first) < 2 else first[parity::2]
        self.many = self.full or len(first) > 4 or bool(fan)
        self.first = first[np.unique(np.linspace(0, len(first) - 1, _VIEWS).round().astype(int))]
        self.own = sinogram[self.first]

    def __call__(self, axis: float) -> float:
        columns = self.sinogram.shape[1]
        i = np.arange(columns)
        opposite = 2 * axis - i
        inside = (opposite >= 0) & (opposite <= columns - 1)
        if inside.sum() < max(8, columns // 16):
            return 1.0
        i, opposite = i[inside], opposite[inside]
        gamma = np.arctan((i - axis) * self.fan)
        total, energy = 0.0, 0.0
        for way in (1, -1):
            beta = self.angles[self.first, None] + way * math.pi - 2 * gamma
            other, seen = self._at(beta, opposite)
            if not seen.any():
                continue
            a, b = self.own[:, inside][seen], other[seen]
            total += float(((a - b) ** 2).sum())
            energy += float(((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum())
            if self.full:
                break
        return total / energy if energy > 0 else 1.0

    def _at(self, beta: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The sinogram between views and columns, and where there is one."""
        knots = self.knots
        if self.full:
            beta = knots[0] + (beta - knots[0]) % (2 * math.pi)
            seen = np.ones(np.broadcast_shapes(beta.shape, column.shape), bool)
        else:
            slack = 1.01 * self.step if not self.fan else 1e-6
            seen = (beta >= knots[0] - slack) & (beta <= knots[-1] + slack)
            seen = np.broadcast_to(seen, np.broadcast_shapes(beta.shape, column.shape))
        low = np.clip(np.searchsorted(knots, beta, side="right") - 1, 0, len(knots) - 2)
        t = (beta - knots[low]) / (knots[low + 1] - knots[low])
        k = np.clip(np.floor(column).astype(int), 0, self.sinogram.shape[1] - 2)
        s = column - k
        under, over = self.rows[low], self.rows[low + 1]
        g = self.sinogram
        before, after = ((1 - s) * g[row, k] + s * g[row, k + 1] for row in (under, over))
        value = (1 - t) * before + t * after
        return np.broadcast_to(value, seen.shape), seen


def _by_opposites(sinogram: np.ndarray, angles: np.ndarray, fan: float) -> tuple[float, float]:
    """The column of the axis, and what opposite views leave of each other there."""
    columns = sinogram.shape[1]
    factor = max(1, math.ceil(columns / _COARSE))
    whole = columns // factor * factor
    coarse = _Opposites(sinogram[:, :whole].reshape(len(sinogram), -1, factor).mean(2), angles, fan * factor)
    candidates = np.arange(0, whole / factor - 0.5, 0.5)
    left = np.array([coarse(c) for c in candidates])
    column = float(candidates[left.argmin()]) * factor + (factor - 1) / 2
    smooth = gaussian_filter1d(sinogram, _SMOOTH, axis=1, mode="nearest")
    fine = _Opposites(smooth, angles, fan)
    column = _least_near(fine, column, float(factor))
    return column, fine(column)


def _least_near(score: Callable[[float], float], column: float, reach: float) -> float:
    """Where `score` is least within +-reach columns."""
    from scipy.optimize import fminbound  # takes long to load, and most runs look for no axis

    tried = column + np.linspace(-reach, reach, max(5, math.ceil(4 * reach) + 1))
    best = tried[int(np.argmin([score(c) for c in tried]))]
    step = tried[1] - tried[0]
    return float(fminbound(score, best - step, best + step, xtol=0.005))  # pyright: ignore[reportArgumentType]


def _balanced(
    sinogram: np.ndarray, angles: np.ndarray, geometry: ConeBeam | FanBeam | ParallelBeam
) -> tuple[float, float] | None:
    """The column of the axis by moments, and its deviation; None where they say nothing."""
    columns = sinogram.shape[1]
    smooth = gaussian_filter1d(sinogram, 2, axis=1, mode="nearest").max(0)
    shown = np.flatnonzero(smooth > 0.05 * smooth.max())
    if shown[0] == 0 or shown[-1] == columns - 1:
        return None  # truncated
    column = float((sinogram.sum(0) * np.arange(columns)).sum() / sinogram.sum())
    deviation = math.inf
    for _ in range(20):
        found = _constant(sinogram, angles, geometry, column, (int(shown[0]), int(shown[-1])))
        if found is None:
            return None
        constant, deviation = found
        column += constant
        if not 0 <= column <= columns - 1:
            return None
        if abs(constant) < 0.002:
            break
    else:
        return None
    return (column, max(0.05, 2 * deviation)) if 2 * deviation < 0.02 * columns else None


def _constant(
    sinogram: np.ndarray,
    angles: np.ndarray,
    geometry: ConeBeam | FanBeam | ParallelBeam,
    column: float,
    shown: tuple[int, int],
) -> tuple[float, float] | None:
    """The constant of the centre of mass about `column`, in columns, and its deviation."""
    u = (np.arange(sinogram.shape[1]) - column) * geometry.pixel[1]
    if isinstance(geometry, ParallelBeam):
        theta, place, sorted_views, per_column = angles, u, sinogram, geometry.pixel[1]
    else:
        # line integrals of parallel projections: direction beta - gamma, distance S sin gamma
        gamma = np.arctan(u / geometry.source_detector)
        ends = gamma[[max(0, shown[0] - 2), min(len(u) - 1, shown[1] + 2)]]
        theta = np.linspace(angles[0] - ends.min(), angles[-1] - ends.max(), len(angles))
        if theta[-1] <= theta[0]:
            return None
        place = geometry.source_axis * np.sin(gamma)
        sorted_views = np.stack(
            [np.interp(theta + g, angles, view) for g, view in zip(gamma, sinogram.T, strict=True)], 1
        )
        per_column = geometry.pixel[1] / geometry.magnification
    if theta[-1] - theta[0] < _ARC or len(theta) < 6:
        return None
    width = np.gradient(place)
    mass = (sorted_views * width).sum(1)
    if mass.mean() <= 0 or mass.std() > 0.03 * mass.mean():
        return None
    centre = (sorted_views * width * place).sum(1) / mass / per_column
    circle = np.stack((np.ones_like(theta), np.cos(theta), np.sin(theta)), 1)
    solution = np.linalg.lstsq(circle, centre, rcond=None)[0]
    left = (centre - circle @ solution).std()
    return float(solution[0]), float(left * math.sqrt(np.linalg.inv(circle.T @ circle)[0, 0]))
