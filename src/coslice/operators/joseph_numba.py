"""Joseph's projector for circular scans on the CPU: separable, vectorised along z, with an exact transpose.

When the detector's columns are parallel to the rotation axis, a ray's path in the plane does not depend on
its row. With the volume stored (y, x, z) and the projections (view, u, v), every (view, u) is

    for planes p of the driving axis (x or y, see `frame`):
        column(z) = (1 - f) x[p, i, z] + f x[p, i + 1, z]        i + f = q0 + p qs: contiguous in z
        A x [v]  += column at z = v t_p                           t_p = t0 + p ts: depth, 1 at the detector

times |d| / |D_a|. In parallel and fan beams z = v at every plane, so columns are added up first and
resampled once. The transpose goes plane by plane, and threads share out the planes: no voxel is written by
two threads, and every sum has an order of its own whatever the number of threads.

Inside, z is counted in voxels, and row j sits at z = a + b j. Every thread works in a strip of memory of its
own: z columns with a margin of `_PAD` voxels, then rows. What is gathered from and what is added to are in one
strip on purpose: loops that the compiler then leaves scalar beat the gathers it would otherwise emit. Where the
CPU has AVX-512 or AVX2 and rows are neither much nearer together nor farther apart than voxels, `joseph_lanes` does
cone beams.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeGuard

import numba
import numpy as np

from coslice.geometry import ConeBeam, FanBeam, Geometry, Grid, ParallelBeam
from coslice.kernels import kernel
from coslice.operators import joseph_lanes
from coslice.operators.frame import SLACK, driving_axis, to_voxels
from coslice.parallel import complete_, share

__all__ = ["SeparablePlan", "adjoint", "forward", "normal", "plan", "separable"]

_PAD = 2  # one empty voxel for interpolation beyond either end, one for rounding
_CHUNK = 16  # detector columns a thread takes at once: neighbours share voxels in cache
_BLOCK = 4  # planes a thread takes at once: they share a read of the projections
_SCALAR = {"fastmath": True, "nogil": True, "error_model": "numpy"}
_OPTIONS = {"parallel": True, **_SCALAR}


@dataclass(frozen=True)
class SeparablePlan:
    """In-plane paths of the rays of every (view, column), and the rows' heights.

    Attributes:
        path: float64 (views * columns, 6): q0, qs, t0, ts; in-plane |d| in mm; 1 / |D_a|.
        span: int64 (views * columns, 3): 1 if driven by y else 0; first and last plane that can be hit.
        heights: float64 (4,): v of row 0 and row pitch in mm, z of voxel 0 and dz in mm.
        shape: volume, (ny, nx, nz); detector: (views, columns, rows), as they lie in memory.
        cone: whether z grows with depth along a ray.
    """

    path: np.ndarray
    span: np.ndarray
    heights: np.ndarray
    shape: tuple[int, int, int]
    detector: tuple[int, int, int]
    cone: bool
    _rows: list[np.ndarray] = field(default_factory=list, init=False, repr=False, compare=False)
    _spans: dict[tuple[int, int], np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def wide(self) -> bool:
        """Whether the kernels for registers of rows can follow it."""
        return self.cone and joseph_lanes.suits(self.path, self.span, self.heights)

    def rays(self, views: slice) -> tuple[np.ndarray, np.ndarray, slice]:
        """Path and span of the rays of some views, and which rays these are."""
        mine = slice(views.start * self.detector[1], views.stop * self.detector[1])
        return self.path[mine], self.span[mine], mine

    def reaching(self, rows: slice) -> np.ndarray:
        """The span of all rays, without the planes in which they touch no voxel of some rows y."""
        key = rows.start, rows.stop
        if key == (0, self.shape[0]):
            return self.span
        if key not in self._spans:
            by_y, first, last = self.span.T
            q0, qs = self.path[:, 0], self.path[:, 1]
            slope = np.where(np.abs(qs) < 1e-12, 1e-12, qs)
            edges = np.stack(((rows.start - 1 - SLACK - q0) / slope, (rows.stop + SLACK - q0) / slope))
            low, high = np.clip(np.sort(edges, axis=0), -1, self.shape[1])
            low, high = np.where(by_y, rows.start, np.ceil(low)), np.where(by_y, rows.stop - 1, np.floor(high))
            narrow = (by_y, np.maximum(first, low), np.minimum(last, high))
            self._spans[key] = np.ascontiguousarray(np.stack(narrow, axis=1).astype(np.int64))
        return self._spans[key]

    @contextmanager
    def workspace(self) -> Iterator[np.ndarray]:
        """Memory for the rows of all rays: kept for the next call, and never given to two threads at once."""
        try:
            rows = self._rows.pop()
        except IndexError:
            rows = joseph_lanes.padded(self.detector)
        yield rows
        self._rows.append(rows)


def separable(geometry: Geometry, grid: Grid) -> TypeGuard[ConeBeam | FanBeam | ParallelBeam]:
    """Whether every ray that can meet the grid is driven by x or y, so that this module applies."""
    if not isinstance(geometry, (ConeBeam, FanBeam, ParallelBeam)):
        return False
    if not isinstance(geometry, ConeBeam):
        return True
    _, direction = _in_plane(geometry)
    z, radius = grid.reach
    highest = min(np.abs(geometry.v()).max(), z * geometry.source_detector / (geometry.source_axis - radius))
    dz, dy, dx = grid.spacing
    slowest = np.maximum(np.abs(direction[..., 0]) / dx, np.abs(direction[..., 1]) / dy).min()
    return bool(highest / dz < slowest)


def plan(geometry: ConeBeam | FanBeam | ParallelBeam, grid: Grid) -> SeparablePlan:
    """Lay the paths of a circular geometry through a grid."""
    start, direction = _in_plane(geometry)
    nz, ny, nx = grid.shape
    s, d = to_voxels(grid, start, direction)
    by_y = driving_axis(d * (1, 1, 0)) == 1
    s_a, s_b = np.where(by_y, s[:, 1], s[:, 0]), np.where(by_y, s[:, 0], s[:, 1])
    d_a, d_b = np.where(by_y, d[:, 1], d[:, 0]), np.where(by_y, d[:, 0], d[:, 1])
    n_a, n_b = np.where(by_y, ny, nx), np.where(by_y, nx, ny)
    t0, ts = -s_a / d_a, 1 / d_a
    q0, qs = s_b + t0 * d_b, d_b / d_a
    # a ray along its driving axis never leaves the strip it is in; a slope of 1e-12 says the same in numbers
    slope = np.where(np.abs(qs) < 1e-12, 1e-12, qs)
    edges = np.sort(np.stack(((-1 - q0) / slope, (n_b - q0) / slope)), axis=0)
    first = np.ceil(np.clip(edges[0], 0, n_a)).astype(np.int64)
    last = np.floor(np.clip(edges[1], -1, n_a - 1)).astype(np.int64)
    length = np.hypot(direction[:, 0], direction[:, 1])
    v, z = geometry.v(), grid.axis("z")
    return SeparablePlan(
        path=np.ascontiguousarray(np.stack((q0, qs, t0, ts, length, 1 / np.abs(d_a)), axis=1)),
        span=np.ascontiguousarray(np.stack((by_y.astype(np.int64), first, last), axis=1)),
        heights=np.array((v[0], geometry.pixel[0], z[0], grid.spacing[0])),
        shape=(ny, nx, nz),
        detector=(geometry.views, geometry.detector[1], geometry.detector[0]),
        cone=isinstance(geometry, ConeBeam),
    )


def _in_plane(geometry: ConeBeam | FanBeam | ParallelBeam) -> tuple[np.ndarray, np.ndarray]:
    """Starts and directions (views * columns, 3) of the rays of one row, the in-plane part of any row's."""
    row = replace(geometry, detector=(1, geometry.detector[1]), offset=(0.0, geometry.offset[1]))
    start, direction = zip(*(row.rays(view) for view in range(row.views)), strict=True)
    return np.concatenate(start, axis=1)[0], np.concatenate(direction, axis=1)[0]


def forward(plan: SeparablePlan, volume: np.ndarray) -> np.ndarray:
    """A x: contiguous float32 (y, x, z) -> (view, u, v). Ranks share the views."""
    views, columns, rows = plan.detector
    whole = np.empty((views * columns, rows), np.float32)
    path, span, rays = plan.rays(share(views))
    out = whole[rays]
    tasks = -(-len(out) // _CHUNK)
    if plan.wide:
        with plan.workspace() as work:
            joseph_lanes.project(volume, work, out, path, span, plan.heights, plan.shape)
    else:
        strip = np.zeros((tasks, plan.shape[2] + 2 * _PAD + 2 * rows), np.float32)
        if plan.cone:
            node = np.empty((tasks, rows), np.int32)
            _cone_forward(volume.reshape(-1), out, strip, node, path, span, plan.heights, plan.shape)
        else:
            _flat_forward(volume.reshape(-1), out, strip, path, span, plan.heights, plan.shape)
    projections = whole.reshape(plan.detector)
    complete_(projections)
    return projections


def adjoint(plan: SeparablePlan, projections: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """A^T y: contiguous float32 (view, u, v) -> (y, x, z), to `out` if there is one. Ranks share the rows y."""
    views, columns, rows = plan.detector
    ny, nx, nz = plan.shape
    y = projections.reshape(views * columns, rows)
    if out is None:
        out = np.empty(plan.shape, np.float32)
    # What else is written lies in rows that others have, and is overwritten by theirs.
    span = plan.reaching(share(ny))
    if plan.wide:
        with plan.workspace() as work:
            joseph_lanes.weigh(y, work, plan.path, plan.heights)
            joseph_lanes.backproject(work, out, plan.path, span, plan.heights, plan.shape, rows)
        complete_(out)
        return out
    out.fill(0)
    volume = out.reshape(-1)
    weighted = np.zeros((views * columns, rows if plan.cone else nz), np.float32)
    (_weight_rows if plan.cone else _spread_rows)(y, weighted, plan.path, plan.heights)
    for by_y, planes in ((0, nx), (1, ny)):
        if plan.cone:
            tasks = -(-planes // _BLOCK)
            strip = np.zeros((tasks, 2 * (nz + 2 * _PAD) + 2 * rows), np.float32)
            node = np.empty((tasks, rows), np.int32)
            _cone_adjoint(weighted, volume, strip, node, plan.path, span, plan.heights, plan.shape, by_y)
        else:
            _flat_adjoint(weighted, volume, plan.path, span, plan.shape, by_y)
    complete_(out)
    return out


def normal(
    plan: SeparablePlan, volume: np.ndarray, weights: np.ndarray | None = None, out: np.ndarray | None = None
) -> np.ndarray:
    """A^T w A x: contiguous float32 (y, x, z), to `out` if there is one; w is (view, u, v), None is 1 everywhere."""
    if not plan.wide:
        projections = forward(plan, volume)
        if weights is not None:
            projections *= weights
        return adjoint(plan, projections, out)
    views, columns, rows = plan.detector
    if out is None:
        out = np.empty(plan.shape, np.float32)
    path, span, rays = plan.rays(share(views))
    w = np.empty((0, rows), np.float32) if weights is None else weights.reshape(views * columns, rows)[rays]
    with plan.workspace() as work:
        mine = joseph_lanes.part(work, rays, rows)
        joseph_lanes.project_weighted(volume, mine, w, rows, path, span, plan.heights, plan.shape)
        complete_(joseph_lanes.by_view(work, views))
        reaching = plan.reaching(share(plan.shape[0]))
        joseph_lanes.backproject(work, out, plan.path, reaching, plan.heights, plan.shape, rows)
    complete_(out)
    return out


@kernel(**_SCALAR)
def _columns(q, plane, across, count):
    """Offsets of the z columns either side of q in a plane, and their weights; 0 for one outside the grid."""
    i = math.floor(q)
    f = q - i
    w0 = np.float32(1 - f if 0 <= i < count else 0.0)
    w1 = np.float32(f if -1 <= i < count - 1 else 0.0)
    c0, c1 = min(max(i, 0), count - 1) * across, min(max(i + 1, 0), count - 1) * across
    return np.uint64(plane + c0), np.uint64(plane + c1), w0, w1


@kernel(**_SCALAR)
def _seen(a, b, rows, nz):
    """First and last row that meets the grid, and the first and last voxel they interpolate, one more for rounding."""
    low, high = max(0, math.ceil((-1 - a) / b)), min(rows - 1, math.floor((nz - a) / b))
    return low, high, max(0, math.floor(a + b * low) - 1), min(nz - 1, math.floor(a + b * high) + 2)


@kernel(**_OPTIONS)
def _cone_forward(volume, out, strip, node, path, span, heights, shape):
    ny, nx, nz = shape
    paths, rows = out.shape
    sums = np.uint64(nz + 2 * _PAD)
    fractions = np.uint64(nz + 2 * _PAD + rows)
    for task in numba.prange(strip.shape[0]):
        for ray in range(task * _CHUNK, min(task * _CHUNK + _CHUNK, paths)):
            stride, across, count = (nx * nz, nz, nx) if span[ray, 0] else (nz, nx * nz, ny)
            for j in range(np.uint64(0), np.uint64(rows)):
                strip[task, sums + j] = np.float32(0)
            for p in range(span[ray, 1], span[ray, 2] + 1):
                t = path[ray, 2] + path[ray, 3] * p
                a, b = (heights[0] * t - heights[2]) / heights[3], heights[1] * t / heights[3]
                low, high, bottom, top = _seen(a, b, rows, nz)
                if high < low:
                    continue
                c0, c1, w0, w1 = _columns(path[ray, 0] + path[ray, 1] * p, p * stride, across, count)
                for k in range(np.uint64(bottom), np.uint64(top + 1)):
                    strip[task, k + np.uint64(_PAD)] = w0 * volume[c0 + k] + w1 * volume[c1 + k]
                a32, b32 = np.float32(a + _PAD), np.float32(b)
                for j in range(np.uint64(low), np.uint64(high + 1)):
                    z = a32 + b32 * np.float32(j)
                    n = np.int32(z)
                    node[task, j] = n
                    strip[task, fractions + j] = z - np.float32(n)
                for j in range(np.uint64(low), np.uint64(high + 1)):
                    k = np.uint64(node[task, j])
                    here = strip[task, k]
                    there = strip[task, k + np.uint64(1)]
                    strip[task, sums + j] += here + strip[task, fractions + j] * (there - here)
            for j in range(np.uint64(0), np.uint64(rows)):
                v = heights[0] + heights[1] * np.float64(j)
                step = math.sqrt(path[ray, 4] ** 2 + v * v) * path[ray, 5]
                out[ray, j] = strip[task, sums + j] * np.float32(step)


@kernel(**_OPTIONS)
def _cone_adjoint(weighted, out, strip, node, path, span, heights, shape, by_y):
    ny, nx, nz = shape
    rows = weighted.shape[1]
    stride, across, count = (nx * nz, nz, nx) if by_y else (nz, nx * nz, ny)
    # what rows give to the voxel below them and to the one above lies apart: no addition waits for the last one
    above = np.uint64(nz + 2 * _PAD)
    to_below = np.uint64(2 * (nz + 2 * _PAD))
    to_above = np.uint64(2 * (nz + 2 * _PAD) + rows)
    for task in numba.prange(strip.shape[0]):
        for ray in range(path.shape[0]):
            if span[ray, 0] != by_y:
                continue
            first, last = max(task * _BLOCK, span[ray, 1]), min(task * _BLOCK + _BLOCK - 1, span[ray, 2])
            for p in range(first, last + 1):
                t = path[ray, 2] + path[ray, 3] * p
                a, b = (heights[0] * t - heights[2]) / heights[3], heights[1] * t / heights[3]
                low, high, bottom, top = _seen(a, b, rows, nz)
                if high < low:
                    continue
                c0, c1, w0, w1 = _columns(path[ray, 0] + path[ray, 1] * p, p * stride, across, count)
                for k in range(np.uint64(bottom), np.uint64(top + 1)):
                    strip[task, k + np.uint64(_PAD)] = np.float32(0)
                    strip[task, above + k + np.uint64(_PAD - 1)] = np.float32(0)
                a32, b32 = np.float32(a + _PAD), np.float32(b)
                for j in range(np.uint64(low), np.uint64(high + 1)):
                    z = a32 + b32 * np.float32(j)
                    n = np.int32(z)
                    upper = weighted[ray, j] * (z - np.float32(n))
                    node[task, j] = n
                    strip[task, to_above + j] = upper
                    strip[task, to_below + j] = weighted[ray, j] - upper
                for j in range(np.uint64(low), np.uint64(high + 1)):
                    k = np.uint64(node[task, j])
                    strip[task, k] += strip[task, to_below + j]
                    strip[task, above + k] += strip[task, to_above + j]
                for k in range(np.uint64(bottom), np.uint64(top + 1)):
                    g = strip[task, k + np.uint64(_PAD)] + strip[task, above + k + np.uint64(_PAD - 1)]
                    out[c0 + k] += w0 * g
                for k in range(np.uint64(bottom), np.uint64(top + 1)):
                    g = strip[task, k + np.uint64(_PAD)] + strip[task, above + k + np.uint64(_PAD - 1)]
                    out[c1 + k] += w1 * g


@kernel(**_OPTIONS)
def _weight_rows(y, weighted, path, heights):
    for ray in numba.prange(y.shape[0]):
        for j in range(y.shape[1]):
            v = heights[0] + heights[1] * j
            weighted[ray, j] = y[ray, j] * np.float32(math.sqrt(path[ray, 4] ** 2 + v * v) * path[ray, 5])


@kernel(**_OPTIONS)
def _flat_forward(volume, out, strip, path, span, heights, shape):
    ny, nx, nz = shape
    paths, rows = out.shape
    a, b = (heights[0] - heights[2]) / heights[3], heights[1] / heights[3]
    low, high, _, _ = _seen(a, b, rows, nz)
    for task in numba.prange(strip.shape[0]):
        for ray in range(task * _CHUNK, min(task * _CHUNK + _CHUNK, paths)):
            stride, across, count = (nx * nz, nz, nx) if span[ray, 0] else (nz, nx * nz, ny)
            for k in range(np.uint64(0), np.uint64(nz)):
                strip[task, k + np.uint64(_PAD)] = np.float32(0)
            for p in range(span[ray, 1], span[ray, 2] + 1):
                c0, c1, w0, w1 = _columns(path[ray, 0] + path[ray, 1] * p, p * stride, across, count)
                for k in range(np.uint64(0), np.uint64(nz)):
                    strip[task, k + np.uint64(_PAD)] += w0 * volume[c0 + k] + w1 * volume[c1 + k]
            step = path[ray, 4] * path[ray, 5]
            for j in range(rows):
                out[ray, j] = np.float32(0)
            for j in range(low, high + 1):
                z = a + b * j + _PAD
                k = np.int64(z)
                f = z - k
                out[ray, j] = step * ((1 - f) * strip[task, k] + f * strip[task, k + 1])


@kernel(**_OPTIONS)
def _flat_adjoint(weighted, out, path, span, shape, by_y):
    ny, nx, nz = shape
    planes = ny if by_y else nx
    stride, across, count = (nx * nz, nz, nx) if by_y else (nz, nx * nz, ny)
    for task in numba.prange((planes + _BLOCK - 1) // _BLOCK):
        for ray in range(path.shape[0]):
            if span[ray, 0] != by_y:
                continue
            first, last = max(task * _BLOCK, span[ray, 1]), min(task * _BLOCK + _BLOCK - 1, span[ray, 2])
            for p in range(first, last + 1):
                c0, c1, w0, w1 = _columns(path[ray, 0] + path[ray, 1] * p, p * stride, across, count)
                for k in range(np.uint64(0), np.uint64(nz)):
                    out[c0 + k] += w0 * weighted[ray, k]
                for k in range(np.uint64(0), np.uint64(nz)):
                    out[c1 + k] += w1 * weighted[ray, k]


@kernel(**_OPTIONS)
def _spread_rows(y, weighted, path, heights):
    rows, nz = y.shape[1], weighted.shape[1]
    a, b = (heights[0] - heights[2]) / heights[3], heights[1] / heights[3]
    low, high, _, _ = _seen(a, b, rows, nz)
    for ray in numba.prange(y.shape[0]):
        step = path[ray, 4] * path[ray, 5]
        for j in range(low, high + 1):
            z = a + b * j
            k = math.floor(z)
            f = z - k
            if 0 <= k < nz:
                weighted[ray, k] += step * (1 - f) * y[ray, j]
            if -1 <= k < nz - 1:
                weighted[ray, k + 1] += step * f * y[ray, j]
