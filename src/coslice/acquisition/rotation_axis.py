"""Where the rotation axis stands on the detector.

A line is measured twice, from opposite ends: by the ray of view beta at fan angle gamma, and by that of

    beta' = beta + pi - 2 gamma,    gamma' = -gamma,

with gamma = 0 for parallel beams, whose opposite view is the mirror image. Only about the true axis do both agree. So the axis is the
column c that minimises what is left of one after the other is taken away, divided by their variance: 0 where they agree, about 1 where
they have nothing to do with each other. Of a cone beam the rows about the plane of the orbit are taken, where it is a fan.

Where too few lines are measured twice, the axis is the one whose filtered back-projection has the least below 0
(Donath et al., J. Opt. Soc. Am. A 23, 2006). How sure it is comes from the parts of the measurement taken one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import minimize_scalar

from coslice.classical import fdk
from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, FanBeam, Geometry, Grid, Orbit, ParallelBeam

__all__ = ["RotationAxis", "axis_column", "found_axis", "with_axis"]

_SURE = 0.2  # what opposite views may leave of each other
_COARSE = 128  # columns of the first search
_VIEWS = 96  # that are compared with their opposites
_SMOOTH = 1.0  # columns, lest a shift by half a column smooth the noise and look better for it


@dataclass(frozen=True)
class RotationAxis:
    """The axis on the detector.

    Attributes:
        column: where it stands, 0 the centre of the first column.
        offset: of the detector's centre along u from the axis, mm: `geometry.offset[1]`.
        uncertainty: of the column, in columns, from the parts of the measurement taken one by one.
        sure: whether opposite rays agree about it.
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
        raise CosliceError("axis: a free orbit has no one rotation axis to find; its geometry says where every view is.")
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
    order = np.argsort(geometry.angles, kind="stable")
    angles = np.asarray(geometry.angles)[order]
    bands = [band[order] for band in _bands(lines, geometry)]
    sinogram = sum(bands) / len(bands)
    if not np.ptp(sinogram) > 0:
        raise CosliceError("axis: the views show nothing, so no axis can be found; is there an object in the scan?")
    fan = 0.0 if isinstance(geometry, ParallelBeam) else geometry.pixel[1] / geometry.source_detector
    column, left = _by_opposites(sinogram, angles, fan)
    sure = left < _SURE
    if sure:
        parts = bands if len(bands) > 1 else []
        near = [_refined(_Opposites(part, angles, fan, odd), column) for part in (*parts, sinogram) for odd in (0, 1)]
        how = "by matching opposite views"
    else:
        score = _sharpness(sinogram, angles, geometry)
        column = _least_over(score, sinogram.shape[1])
        halves = [_sharpness(sinogram[k::2], angles[k::2], geometry) for k in (0, 1)] if len(angles) >= 16 else []
        near = [_least_near(half, column, 3.0) for half in halves]
        how = "by the sharpest quick reconstruction, since too few rays are measured from both sides"
    spread = float(np.std([*near, column]) * 1.5) if near else math.inf
    uncertainty = max(spread, 0.02 if sure else 0.5)
    moved = with_axis(geometry, column)
    aside = column - (geometry.detector[1] - 1) / 2
    side = "right" if aside > 0 else "left"
    note = (
        f"The axis of rotation was found at column {column:.2f} of 0..{geometry.detector[1] - 1}, {abs(aside):.2f} "
        f"columns to the {side} of the detector's middle, {how}; "
    )
    if math.isfinite(uncertainty):
        note += f"its parts agree to {uncertainty:.2g} columns."
    else:
        note += "there are too few views to say how surely."
    return RotationAxis(column, moved.offset[1], uncertainty, sure, (note,))


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
            has = (angles + math.pi <= angles[-1] + 1.01 * self.step) | (angles - math.pi >= angles[0] - 1.01 * self.step)
            first = views[has] if has.any() else views[np.argsort(beyond)[:2]]
            first = first if parity is None or len(first) < 2 else first[parity::2]
        self.first = first[np.unique(np.linspace(0, len(first) - 1, _VIEWS).round().astype(int))]

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
            one = self.sinogram[self.first][:, i]
            a, b = one[seen], other[seen]
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
        value = (1 - t) * ((1 - s) * g[under, k] + s * g[under, k + 1]) + t * ((1 - s) * g[over, k] + s * g[over, k + 1])
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


def _refined(opposites: _Opposites, column: float) -> float:
    opposites.sinogram = gaussian_filter1d(opposites.sinogram, _SMOOTH, axis=1, mode="nearest")
    return _least_near(opposites, column, 2.0)


def _least_near(score: Callable[[float], float], column: float, reach: float) -> float:
    """Where `score` is least within +-reach columns."""
    tried = column + np.linspace(-reach, reach, max(5, math.ceil(4 * reach) + 1))
    best = tried[int(np.argmin([score(c) for c in tried]))]
    step = tried[1] - tried[0]
    return float(minimize_scalar(score, bounds=(best - step, best + step), method="bounded", options={"xatol": 0.005}).x)


def _least_over(score: Callable[[float], float], columns: int) -> float:
    candidates = np.linspace(0.2 * columns, 0.8 * columns, 49)
    best = candidates[int(np.argmin([score(c) for c in candidates]))]
    return _least_near(score, float(best), float(candidates[1] - candidates[0]))


def _sharpness(
    sinogram: np.ndarray, angles: np.ndarray, geometry: ConeBeam | FanBeam | ParallelBeam
) -> Callable[[float], float]:
    """Share below 0 of a quick reconstruction, as a function of the axis."""
    factor = max(1, math.ceil(sinogram.shape[1] / _COARSE))
    every = max(1, len(angles) // 120)
    whole = sinogram.shape[1] // factor * factor
    views = torch.from_numpy(sinogram[::every, :whole].reshape(-1, whole // factor, factor).mean(2)).float()[:, None]
    dv, du = geometry.pixel
    flat = replace(
        geometry,
        angles=tuple(angles[::every]),
        detector=(1, whole // factor),
        pixel=(dv, du * factor),
        offset=(0.0, 0.0),
    )
    if isinstance(flat, ConeBeam):
        fields = (flat.angles, flat.detector, flat.pixel, flat.offset)
        flat = FanBeam(*fields, source_axis=flat.source_axis, axis_detector=flat.axis_detector)
    across = 1.0 if isinstance(flat, ParallelBeam) else flat.magnification
    side = whole // factor
    pitch = du * factor / across
    if not isinstance(flat, ParallelBeam):
        pitch = min(pitch, 1.2 * flat.source_axis / side)
    grid = Grid((1, side, side), (dv, pitch, pitch))

    def score(column: float) -> float:
        centred = (column - (factor - 1) / 2) / factor
        image = fdk(views, with_axis(flat, centred), grid, filter="hann")
        return float(-image.clamp(max=0).sum() / image.abs().sum().clamp(min=1e-30))

    return score
