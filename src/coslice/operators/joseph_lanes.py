"""The separable projector of cone beams (see `joseph_numba`) for CPUs with AVX-512 or AVX2: a register of
rows or voxels at once (`lanes`).

Rows are kept in one array with margins of zeros, ray after ray, so that no block of them needs to know where a ray
ends. A^T A fills it by A, with everything that lies between A and A^T multiplied in, and A^T reads it as it is.

A goes through the planes of the driving axis for a few neighbouring rays at once, which meet the same voxel columns.
A^T goes plane by plane through all rays, as every version of it does.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from coslice.kernels import kernel
from coslice.operators import lanes
from coslice.operators.lanes import PITCHES

__all__ = ["backproject", "by_view", "padded", "part", "project", "project_weighted", "suits", "weigh"]

_CHUNK = 8  # neighbouring rays a thread takes at once: they share voxels in the nearest cache
_BLOCK = 4  # planes a thread takes at once in the transpose: they share a read of the rows
_MARGIN, _WIDTH = lanes.MARGIN, lanes.WIDTH
_NEAR = 1e-3  # rows; more than what rounding does to the first row that sees a voxel
_SCALAR = {"fastmath": True, "nogil": True, "error_model": "numpy"}
_OPTIONS = {"parallel": True, **_SCALAR}


def suits(path: np.ndarray, span: np.ndarray, heights: np.ndarray) -> bool:
    """Whether this CPU and these rays are what the kernels are for; arguments as in `SeparablePlan`."""
    met = span[:, 1] <= span[:, 2]
    depths = path[met, 2, None] + path[met, 3, None] * span[met, 1:]
    pitches = depths * (heights[1] / heights[3])
    return lanes.available() and bool(met.any() and pitches.min() > PITCHES[0] and pitches.max() < PITCHES[1])


def padded(detector: tuple[int, int, int]) -> np.ndarray:
    """Zeros for the rows of all rays of (views, columns, rows): a margin, then rows and a margin for every ray."""
    views, columns, rows = detector
    return np.zeros(_MARGIN + views * columns * _padded_width(rows), np.float32)


def part(work: np.ndarray, rays: slice, rows: int) -> np.ndarray:
    """The part of `padded` memory that belongs to some rays, laid out as that of all is."""
    width = _padded_width(rows)
    return work[rays.start * width : rays.stop * width + _MARGIN]


def by_view(work: np.ndarray, views: int) -> np.ndarray:
    """`padded` memory without the margin before the first row, (views, rows of all columns with their margins)."""
    return work[_MARGIN:].reshape(views, -1)


def _padded_width(rows: int) -> int:
    return -(-rows // _WIDTH) * _WIDTH + _MARGIN


def project(volume, work, out, path, span, heights, shape) -> None:
    """A x to `out` (rays, rows)."""
    none = np.empty((0, 0), np.float32)
    _project(volume.reshape(-1), work, out, none, path, span, heights, shape, out.shape[1])


def project_weighted(volume, work, weights, rows, path, span, heights, shape) -> None:
    """step^2 w A x to `work`, with w (rays, rows) or empty for 1: A^T of that is `backproject`."""
    none = np.empty((0, 0), np.float32)
    _project(volume.reshape(-1), work, none, weights, path, span, heights, shape, rows)


def backproject(work, out, path, span, heights, shape, rows) -> None:
    """A^T to `out` (y, x, z) of what `weigh` or `project_weighted` left in `work`."""
    for by_y in (0, 1):
        _backproject(work, out.reshape(-1), path, span, heights, shape, rows, by_y)


@kernel(**_SCALAR)
def _columns(q, plane, across, count):
    """Offsets of the z columns either side of q in a plane, and their weights; 0 for one outside the grid."""
    i = math.floor(q)
    f = q - i
    w0 = np.float32(1 - f if 0 <= i < count else 0.0)
    w1 = np.float32(f if -1 <= i < count - 1 else 0.0)
    c0, c1 = min(max(i, 0), count - 1) * across, min(max(i + 1, 0), count - 1) * across
    return plane + c0, plane + c1, w0, w1


@kernel(**_OPTIONS)
def _project(volume, work, out, weights, path, span, heights, shape, rows):
    ny, nx, nz = shape
    paths = path.shape[0]
    width = (rows + _WIDTH - 1) // _WIDTH * _WIDTH + _MARGIN
    z0, zt, pitch = -heights[2] / heights[3], heights[0] / heights[3], heights[1] / heights[3]
    for task in numba.prange((paths + _CHUNK - 1) // _CHUNK):
        start, stop = task * _CHUNK, min(task * _CHUNK + _CHUNK, paths)
        for i in range(start * width + _MARGIN, stop * width + _MARGIN):
            work[i] = np.float32(0)
        for by_y in range(2):
            stride, across, count = (nx * nz, nz, nx) if by_y else (nz, nx * nz, ny)
            begin, end = ny + nx, -1
            for ray in range(start, stop):
                if span[ray, 0] == by_y:
                    begin, end = min(begin, span[ray, 1]), max(end, span[ray, 2])
            for p in range(begin, end + 1):
                for ray in range(np.uint64(start), np.uint64(stop)):
                    if span[ray, 0] != by_y or p < span[ray, 1] or p > span[ray, 2]:
                        continue
                    t = path[ray, 2] + path[ray, 3] * p
                    a, b = zt * t + z0, pitch * t
                    inverse = 1 / b
                    low = max(0, math.floor((-1 - a) * inverse))
                    high = min(rows - 1, math.ceil((nz - a) * inverse))
                    if high < low:
                        continue
                    c0, c1, w0, w1 = _columns(path[ray, 0] + path[ray, 1] * p, p * stride, across, count)
                    ahead = (p + 1) * stride + math.floor(path[ray, 0] + path[ray, 1] * (p + 1)) * across
                    lanes.add_rows(  # pyright: ignore  # the first parameter is numba's
                        work,
                        np.int64(ray) * width + _MARGIN,
                        volume,
                        c0,
                        c1,
                        w0,
                        w1,
                        np.float32(a),
                        np.float32(b),
                        nz,
                        low // _WIDTH,
                        high // _WIDTH,
                        ahead,
                    )
        for ray in range(start, stop):
            at = ray * width + _MARGIN
            if out.size:
                for j in range(rows):
                    v = heights[0] + heights[1] * np.float64(j)
                    step = math.sqrt(path[ray, 4] ** 2 + v * v) * path[ray, 5]
                    out[ray, j] = work[at + j] * np.float32(step)
            else:
                for j in range(rows):
                    v = heights[0] + heights[1] * np.float64(j)
                    step = (path[ray, 4] ** 2 + v * v) * path[ray, 5] ** 2
                    work[at + j] *= np.float32(step)
                if weights.size:
                    for j in range(rows):
                        work[at + j] *= weights[ray, j]
            for j in range(rows, width):
                work[at + j] = np.float32(0)


@kernel(**_OPTIONS)
def weigh(y, work, path, heights):
    """Put y (rays, rows) times the rays' steps to `work`."""
    rows = y.shape[1]
    width = (rows + _WIDTH - 1) // _WIDTH * _WIDTH + _MARGIN
    for ray in numba.prange(path.shape[0]):
        at = ray * width + _MARGIN
        for j in range(rows):
            v = heights[0] + heights[1] * np.float64(j)
            step = math.sqrt(path[ray, 4] ** 2 + v * v) * path[ray, 5]
            work[at + j] = y[ray, j] * np.float32(step)


@kernel(**_OPTIONS)
def _backproject(work, out, path, span, heights, shape, rows, by_y):
    ny, nx, nz = shape
    width = (rows + _WIDTH - 1) // _WIDTH * _WIDTH + _MARGIN
    planes = ny if by_y else nx
    stride, across, count = (nx * nz, nz, nx) if by_y else (nz, nx * nz, ny)
    z0, zt, pitch = -heights[2] / heights[3], heights[0] / heights[3], heights[1] / heights[3]
    for task in numba.prange((planes + _BLOCK - 1) // _BLOCK):
        if not by_y:  # the first time
            for y in range(ny):
                start, stop = task * _BLOCK * nz, min(task * _BLOCK + _BLOCK, nx) * nz
                out[y * nx * nz + start : y * nx * nz + stop] = np.float32(0)
        for ray in range(np.uint64(0), np.uint64(path.shape[0])):
            if span[ray, 0] != by_y:
                continue
            first, last = max(task * _BLOCK, span[ray, 1]), min(task * _BLOCK + _BLOCK - 1, span[ray, 2])
            for p in range(first, last + 1):
                t = path[ray, 2] + path[ray, 3] * p
                a, b = zt * t + z0, pitch * t
                bottom, top = max(0, math.floor(a) - 1), min(nz - 1, math.floor(a + b * (rows - 1)) + 2)
                if top < bottom:
                    continue
                inverse = 1 / b
                c0, c1, w0, w1 = _columns(path[ray, 0] + path[ray, 1] * p, p * stride, across, count)
                at = np.int64(ray) * width + _MARGIN
                a32, b32, i32, s32 = (
                    np.float32(a),
                    np.float32(b),
                    np.float32(inverse),
                    np.float32((-1 - a) * inverse - _NEAR),
                )
                if b >= 1.001:
                    lanes.add_voxels_of_2(
                        out, c0, c1, w0, w1, work, at, a32, b32, i32, s32, nz, bottom // _WIDTH, top // _WIDTH
                    )
                elif 0.668 <= b <= 1:
                    lanes.add_voxels_of_3(
                        out, c0, c1, w0, w1, work, at, a32, b32, i32, s32, nz, bottom // _WIDTH, top // _WIDTH
                    )
                else:
                    lanes.add_voxels_of_4(
                        out, c0, c1, w0, w1, work, at, a32, b32, i32, s32, nz, bottom // _WIDTH, top // _WIDTH
                    )
