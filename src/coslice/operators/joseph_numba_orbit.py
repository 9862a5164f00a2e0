"""Joseph's projector for free orbits on the CPU: any source and detector per view, exact transpose.

Every ray is walked on its own through the planes of its driving axis (x, y or z, see `frame`), with bilinear
interpolation in the other two. Volumes lie (y, x, z) and projections (view, u, v) in memory, as in
`joseph_numba`. The transpose shares out planes of one driving axis among threads, so no voxel is written by
two of them and no sum depends on their number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np

from coslice.geometry import Geometry, Grid
from coslice.kernels import kernel
from coslice.operators import frame
from coslice.parallel import complete_, share

__all__ = ["OrbitPlan", "adjoint", "forward", "normal", "plan"]

_BLOCKS = 32  # portions of planes shared among threads in the transpose
_SLACK = frame.SLACK
_OPTIONS = {"fastmath": True, "nogil": True, "error_model": "numpy"}
_BIAS_X, _BIAS_Y, _ = (float(b) for b in frame.BIAS)


@dataclass(frozen=True)
class OrbitPlan:
    """A free orbit in voxel units.

    Attributes:
        start: float64 (views, 3, 3): start of the ray of pixel (0, 0) as (x, y, z), and its step per row, column.
        direction: float64 (views, 3, 3): likewise the directions.
        spacing: float64 (3,): voxel units to mm, (x, y, z).
        shape: volume, (ny, nx, nz); detector: (views, columns, rows), as they lie in memory.
        divergent: whether rays begin at their start.
    """

    start: np.ndarray
    direction: np.ndarray
    spacing: np.ndarray
    shape: tuple[int, int, int]
    detector: tuple[int, int, int]
    divergent: bool


def plan(geometry: Geometry, grid: Grid) -> OrbitPlan:
    """Put the rays of a geometry in voxel units; both their starts and directions are affine in (row, column)."""
    orbit = geometry.to_orbit()  # pyright: ignore  # fans never come here, they are always separable
    rows, columns = orbit.detector
    source, centre, row, column = (
        np.array(vectors) for vectors in (orbit.source, orbit.centre, orbit.row_step, orbit.column_step)
    )
    corner = centre - (rows - 1) / 2 * row - (columns - 1) / 2 * column
    still = np.zeros_like(row)
    start, direction = ((source, still, still), (corner - source, row, column))
    if not orbit.divergent:
        start, direction = ((corner, row, column), (source, still, still))
    spacing = np.array(grid.spacing[::-1])
    first = np.array([grid.axis(name)[0] for name in "xyz"])
    start = np.stack(start, axis=1) / spacing
    start[:, 0] -= first / spacing
    nz, ny, nx = grid.shape
    return OrbitPlan(
        start=start,
        direction=np.stack(direction, axis=1) / spacing,
        spacing=spacing,
        shape=(ny, nx, nz),
        detector=(orbit.views, columns, rows),
        divergent=orbit.divergent,
    )


def forward(plan: OrbitPlan, volume: np.ndarray) -> np.ndarray:
    """A x: contiguous float32 (y, x, z) -> (view, u, v). Ranks share the views."""
    out = np.zeros(plan.detector, np.float32)
    mine = share(plan.detector[0])
    rays = plan.start[mine], plan.direction[mine], plan.spacing, plan.shape, plan.divergent
    _forward(volume.reshape(-1), out[mine], *rays)
    complete_(out)
    return out


def adjoint(plan: OrbitPlan, projections: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """A^T y: contiguous float32 (view, u, v) -> (y, x, z), to `out` if there is one. Ranks share the rows y."""
    if out is None:
        out = np.empty(plan.shape, np.float32)
    out.fill(0)
    mine = share(plan.shape[0])
    rays = plan.start, plan.direction, plan.spacing, plan.shape, plan.divergent
    # What else is written lies in rows that others have, and is overwritten by theirs.
    for axis in range(3):
        _adjoint(projections, out.reshape(-1), *rays, axis, mine.start, mine.stop)
    complete_(out)
    return out


def normal(
    plan: OrbitPlan, volume: np.ndarray, weights: np.ndarray | None = None, out: np.ndarray | None = None
) -> np.ndarray:
    """A^T w A x: contiguous float32 (y, x, z); w is (view, u, v), None is 1 everywhere."""
    projections = forward(plan, volume)
    if weights is not None:
        projections *= weights
    return adjoint(plan, projections, out)


@kernel(**_OPTIONS)
def _ray(start, direction, view, row, column):
    """Start and direction of a ray (x, y, z) in voxel units, and its driving axis."""
    sx = start[view, 0, 0] + row * start[view, 1, 0] + column * start[view, 2, 0]
    sy = start[view, 0, 1] + row * start[view, 1, 1] + column * start[view, 2, 1]
    sz = start[view, 0, 2] + row * start[view, 1, 2] + column * start[view, 2, 2]
    dx = direction[view, 0, 0] + row * direction[view, 1, 0] + column * direction[view, 2, 0]
    dy = direction[view, 0, 1] + row * direction[view, 1, 1] + column * direction[view, 2, 1]
    dz = direction[view, 0, 2] + row * direction[view, 1, 2] + column * direction[view, 2, 2]
    x, y, z = abs(dx) * _BIAS_X, abs(dy) * _BIAS_Y, abs(dz)
    axis = 0 if x >= y and x >= z else (1 if y >= z else 2)
    return sx, sy, sz, dx, dy, dz, axis


@kernel(**_OPTIONS)
def _line(ray, shape, spacing, divergent):
    """A ray as positions q = q0 + p qs on planes p of its driving axis a: strides, counts, first and last p, weight.

    The other two axes are b and c, in the order of (x, y, z).
    """
    ny, nx, nz = shape
    sx, sy, sz, dx, dy, dz, axis = ray
    length = math.sqrt((dx * spacing[0]) ** 2 + (dy * spacing[1]) ** 2 + (dz * spacing[2]) ** 2)
    if axis == 0:
        s, d, planes, stride = (sx, sy, sz), (dx, dy, dz), nx, nz
        nb, nc, stride_b, stride_c = ny, nz, nx * nz, 1
    elif axis == 1:
        s, d, planes, stride = (sy, sx, sz), (dy, dx, dz), ny, nx * nz
        nb, nc, stride_b, stride_c = nx, nz, nz, 1
    else:
        s, d, planes, stride = (sz, sx, sy), (dz, dx, dy), nz, 1
        nb, nc, stride_b, stride_c = nx, ny, nz, nx * nz
    slope_b, slope_c = d[1] / d[0], d[2] / d[0]
    b0, c0 = s[1] - s[0] * slope_b, s[2] - s[0] * slope_c
    first, last = _clip(b0, slope_b, -1.0, nb, 0.0, planes - 1.0)
    first, last = _clip(c0, slope_c, -1.0, nc, first, last)
    if divergent:  # only planes ahead of the source
        if d[0] > 0:
            first = max(first, s[0])
        else:
            last = min(last, s[0])
    first, last = math.ceil(max(first, 0.0)), math.floor(min(last, planes - 1.0))
    return b0, slope_b, nb, stride_b, c0, slope_c, nc, stride_c, stride, first, last, length / abs(d[0])


@kernel(**_OPTIONS)
def _clip(q0, slope, low, high, first, last):
    """The part of [first, last] where q0 + p slope is within (low, high): (-1, count) is where a grid is not 0."""
    if abs(slope) < 1e-12:
        return (first, last) if low < q0 < high else (1.0, 0.0)
    one, other = (low - q0) / slope, (high - q0) / slope
    return max(first, min(one, other)), min(last, max(one, other))


@kernel(**_OPTIONS)
def _node(q, count, stride):
    """Offsets and weights of the two nodes next to q; weight 0 beyond the grid."""
    i = math.floor(q)
    f = q - i
    w0 = 1 - f if 0 <= i < count else 0.0
    w1 = f if -1 <= i < count - 1 else 0.0
    return min(max(i, 0), count - 1) * stride, min(max(i + 1, 0), count - 1) * stride, w0, w1


@kernel(parallel=True, **_OPTIONS)
def _forward(volume, out, start, direction, spacing, shape, divergent):
    views, columns, rows = out.shape
    for task in numba.prange(views * columns):
        view, column = task // columns, task % columns
        for row in range(rows):
            ray = _ray(start, direction, view, row, column)
            b0, bs, nb, stride_b, c0, cs, nc, stride_c, stride, first, last, step = _line(
                ray, shape, spacing, divergent
            )
            total = 0.0
            for p in range(first, last + 1):
                i0, i1, v0, v1 = _node(b0 + bs * p, nb, stride_b)
                j0, j1, w0, w1 = _node(c0 + cs * p, nc, stride_c)
                at = p * stride
                total += v0 * (w0 * volume[at + i0 + j0] + w1 * volume[at + i0 + j1])
                total += v1 * (w0 * volume[at + i1 + j0] + w1 * volume[at + i1 + j1])
            out[view, column, row] = total * step


@kernel(parallel=True, **_OPTIONS)
def _adjoint(projections, out, start, direction, spacing, shape, divergent, axis, top, bottom):
    # The voxels of rows y from `top` to before `bottom`; in others there is some of it.
    ny, nx, nz = shape
    planes = nx if axis == 0 else (ny if axis == 1 else nz)
    views, columns, rows = projections.shape
    for block in numba.prange(_BLOCKS):
        low, high = block * planes // _BLOCKS, (block + 1) * planes // _BLOCKS - 1
        if low <= high:
            for view in range(views):
                for column in range(columns):
                    for row in range(rows):
                        ray = _ray(start, direction, view, row, column)
                        if ray[6] != axis:
                            continue
                        b0, bs, nb, stride_b, c0, cs, nc, stride_c, stride, first, last, step = _line(
                            ray, shape, spacing, divergent
                        )
                        if axis == 1:
                            first, last = max(first, top), min(last, bottom - 1)
                        elif top > 0 or bottom < ny:
                            y0, ys = (b0, bs) if axis == 0 else (c0, cs)
                            start_y, end_y = _clip(y0, ys, top - 1 - _SLACK, bottom + _SLACK, first, last)
                            first, last = math.ceil(start_y), math.floor(end_y)
                        y = projections[view, column, row] * step
                        for p in range(max(first, low), min(last, high) + 1):
                            i0, i1, v0, v1 = _node(b0 + bs * p, nb, stride_b)
                            j0, j1, w0, w1 = _node(c0 + cs * p, nc, stride_c)
                            at = p * stride
                            out[at + i0 + j0] += y * v0 * w0
                            out[at + i0 + j1] += y * v0 * w1
                            out[at + i1 + j0] += y * v1 * w0
                            out[at + i1 + j1] += y * v1 * w1
