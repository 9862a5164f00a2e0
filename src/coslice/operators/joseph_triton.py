"""Joseph's projector for circular scans on a GPU, written in Triton: the discretisation of `joseph_numba`.

A program of A holds the sums of some columns and rows of one detector, walks the planes of the driving axes and
interpolates between two z columns at two nodes each:

    A x [view, u, j] = step sum_p sum_i sum_k  B(q(p) - i) B(z_j(p) - k) x[p, i, k],      B(d) = max(0, 1 - |d|)

with q the position in the plane, z_j = a(p) + b(p) j the height of row j, both in voxels, and step the length between
two planes in mm. A program of the transpose holds the sums of some voxels and collects from all views the rays of
which it was a node:

    A^T y [p, i, k]  = sum_view sum_u  B(q(p) - i) sum_j  B(z_j(p) - k) step y[view, u, j]

Which columns pass within a voxel of (p, i) is known in closed form: seen from the source, columns follow each other
like the positions of a plane. Rows do as well. So no two programs write to one voxel, no addition is atomic, and the
order of every sum is its own: the same bits in every run.

q, a and b are linear in p and are whole numbers of 2^-40 voxels (int64): both directions then have the same weights,
also where a GPU works in doubles at a small part of its speed.

Under TRITON_INTERPRET=1 the same kernels run on the CPU, slowly.
"""

# What a kernel is called with is no Python to a checker.
# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false, reportOperatorIssue=false

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

from coslice.geometry import ConeBeam, FanBeam, Grid, ParallelBeam
from coslice.operators import joseph_numba
from coslice.operators.frame import to_voxels

__all__ = ["TritonPlan", "adjoint", "forward", "plan"]

_PLACES = tl.constexpr(40)  # binary places of a position
_MARGIN = 0.01  # columns and rows that a bound in float32 may be off by, and more
_TILE = 512  # sums held by one program; a power of 2
_ALONG = 64  # of them at most along z, where memory is contiguous
_SIZES = ["paths", "views", "columns", "rows", "ny", "nx", "nz", "most_rows", "drives_x", "drives_y"]
_OPTIONS = {"do_not_specialize": _SIZES}
_FUSED = {"enable_fp_fusion": True}  # said, since versions of Triton differ in what they do where nothing is said


@dataclass(frozen=True)
class TritonPlan:
    """In-plane paths of the rays of every (view, column), on the device that is to follow them.

    Attributes:
        path: int64 (6, views * columns): q and its growth from plane to plane, likewise a and b; in 2^-40 voxels.
        span: int32 (3, views * columns): 1 if driven by y else 0; first and last plane that can be hit.
        step: float32 (views * columns, rows or 1): length of a ray between two planes, mm.
        crossing: float32 (views, 6): the column that a point is seen by, less the middle one, is N/M; both are affine
            in (x, y), the point less the middle voxel.
        driven: int32 (2, views): views with columns driven by x, then those by y; `drives` says how many there are.
        most_rows: rows within a voxel of a voxel, at most.
        shape: volume, (ny, nx, nz); detector: (views, columns, rows), as they lie in memory.
    """

    path: Tensor
    span: Tensor
    step: Tensor
    crossing: Tensor
    driven: Tensor
    drives: tuple[int, int]
    most_rows: int
    shape: tuple[int, int, int]
    detector: tuple[int, int, int]

    def to(self, device: torch.device) -> TritonPlan:
        """The same plan on another device."""
        held = {one.name: getattr(self, one.name) for one in fields(self)}
        return replace(self, **{name: one.to(device) for name, one in held.items() if isinstance(one, Tensor)})


def plan(geometry: ConeBeam | FanBeam | ParallelBeam, grid: Grid) -> TritonPlan:
    """Lay the paths of a circular geometry through a grid; it must be one that `joseph_numba.separable` accepts."""
    laid = joseph_numba.plan(geometry, grid)
    views, columns, rows = laid.detector
    q0, qs, t0, ts, length, per_plane = laid.path.T
    v0, pitch, z0, dz = laid.heights
    if laid.cone:
        v = v0 + pitch * np.arange(rows)
        step = np.hypot(length[:, None], v) * per_plane[:, None]
    else:  # z = v at every depth
        t0, ts = np.ones_like(t0), np.zeros_like(ts)
        step = (length * per_plane)[:, None]
    linear = np.stack((q0, qs, (v0 * t0 - z0) / dz, v0 * ts / dz, pitch * t0 / dz, pitch * ts / dz))
    by_y, first, last = laid.span.T
    hit = first <= last
    slopes = np.stack([linear[4] + linear[5] * plane for plane in (first, last)])[:, hit]
    least = float(slopes.min()) if hit.any() else 1.0
    columns_by_y = by_y.reshape(views, columns)
    driven = np.zeros((2, views), np.int32)
    which = [np.flatnonzero((columns_by_y == axis).any(axis=1)) for axis in (0, 1)]
    for row, found in zip(driven, which, strict=True):
        row[: len(found)] = found
    return TritonPlan(
        path=torch.from_numpy(np.rint(linear * 2.0**_PLACES.value).astype(np.int64)),
        span=torch.from_numpy(np.ascontiguousarray(laid.span.T).astype(np.int32)),
        step=torch.from_numpy(step.astype(np.float32)),
        crossing=torch.from_numpy(_crossing(geometry, grid).astype(np.float32)),
        driven=torch.from_numpy(driven),
        drives=(len(which[0]), len(which[1])),
        most_rows=math.floor(2 / least + 2 * _MARGIN) + 1,
        shape=laid.shape,
        detector=laid.detector,
    )


def _crossing(geometry: ConeBeam | FanBeam | ParallelBeam, grid: Grid) -> np.ndarray:
    """Per view N and M, (views, 6): constant, and growth with x and with y.

    The ray of column c = m + g, with m the middle one, goes through S + g S' along D + g D' (one of S', D' is 0). A
    point X is on it where (X - S - g S') x (D + g D') = 0, so g = -(X - S) x D / ((X - S) x D' - S' x D).
    """
    # The middle and one pixel beside it, whether there are such columns or not.
    pair = replace(geometry, detector=(1, 2), offset=(0.0, geometry.offset[1] + geometry.pixel[1] / 2))
    _, ny, nx = grid.shape
    centre = np.array(((nx - 1) / 2, (ny - 1) / 2))
    out = np.empty((geometry.views, 6))
    for view in range(geometry.views):
        (s, beside), (d, turned) = (ends[:, :2] for ends in to_voxels(grid, *(e[0] for e in pair.rays(view))))
        moved, turn = beside - s, turned - d
        n = np.array((-_cross(centre - s, d), -d[1], d[0]))
        m = np.array((_cross(centre - s, turn) - _cross(moved, d), turn[1], -turn[0]))
        sign = 1.0 if m[0] > 0 else -1.0  # M is above 0 within the grid, which lies before the source
        out[view] = sign * np.concatenate((n, m))
    return out / np.abs(out[:, 3:4])


def _cross(a: np.ndarray, b: np.ndarray) -> float:
    return float(a[0] * b[1] - a[1] * b[0])


def forward(plan: TritonPlan, volume: Tensor) -> Tensor:
    """A x: contiguous float32 (y, x, z) -> (view, u, v), on the plan's device."""
    views, columns, rows = plan.detector
    ny, nx, nz = plan.shape
    paths = views * columns
    out = torch.empty((paths, rows), dtype=torch.float32, device=volume.device)
    along = _block(rows)
    beside = _TILE // along
    grid = (triton.cdiv(paths, beside), triton.cdiv(rows, along))
    with _current(volume.device):
        _forward[grid](volume, out, plan.path, plan.span, paths, rows, ny, nx, nz, beside, along, **_FUSED)
    return out.mul_(plan.step).view(plan.detector)


def adjoint(plan: TritonPlan, projections: Tensor) -> Tensor:
    """A^T y: contiguous float32 (view, u, v) -> (y, x, z), on the plan's device."""
    views, columns, rows = plan.detector
    ny, nx, nz = plan.shape
    weighted = projections.view(views * columns, rows) * plan.step
    out = torch.empty(plan.shape, dtype=torch.float32, device=projections.device)
    along = _block(nz)
    beside = _TILE // along
    grid = (triton.cdiv(ny * nx, beside), triton.cdiv(nz, along))
    sizes = (views, columns, rows, ny, nx, nz, plan.most_rows, *plan.drives)
    tables = (plan.path, plan.span, plan.crossing, plan.driven)
    with _current(projections.device):
        _adjoint[grid](weighted, out, *tables, *sizes, _MARGIN, beside, along, **_FUSED)
    return out


def _block(count: int) -> int:
    """Sums along z that a program holds."""
    return min(_ALONG, triton.next_power_of_2(count))


def _current(device: torch.device):
    """Kernels are launched on the current GPU, whichever holds the tensors."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


@triton.jit
def _line(path, paths, ray, known):
    """Start and growth of q, a and b of rays."""
    q0 = tl.load(path + ray, known, other=0)
    qs = tl.load(path + paths + ray, known, other=0)
    a0 = tl.load(path + 2 * paths + ray, known, other=0)
    a1 = tl.load(path + 3 * paths + ray, known, other=0)
    b0 = tl.load(path + 4 * paths + ray, known, other=0)
    b1 = tl.load(path + 5 * paths + ray, known, other=0)
    return q0, qs, a0, a1, b0, b1


@triton.jit
def _split(fixed):
    """A position as voxel and part of the next one, 0 to 1."""
    voxel = (fixed >> _PLACES).to(tl.int32)
    part = ((fixed >> (_PLACES - 24)) & 0xFFFFFF).to(tl.float32) * (1.0 / 16777216.0)
    return voxel, part


@triton.jit
def _single(fixed):
    """A position as float32."""
    return fixed.to(tl.float32) * (1.0 / 1099511627776.0)


@triton.jit
def _rows_at(a0, a1, b0, b1, plane):
    """Height of row 0 in a plane, and of a row above the last one, voxels."""
    return _single(a0 + a1 * plane), _single(b0 + b1 * plane)


@triton.jit
def _height(a, b, row):
    """z of rows in voxels, with one rounding: the same bits in A and its transpose."""
    return tl.fma(b, row.to(tl.float32), a)


@triton.jit(**_OPTIONS)
def _forward(volume, out, path, span, paths, rows, ny, nx, nz, BESIDE: tl.constexpr, ALONG: tl.constexpr):
    ray = tl.program_id(0) * BESIDE + tl.arange(0, BESIDE)
    row = tl.program_id(1) * ALONG + tl.arange(0, ALONG)
    known = ray < paths
    q0, qs, a0, a1, b0, b1 = _line(path, paths, ray, known)
    by_y = tl.load(span + ray, known, other=0) == 1
    first = tl.load(span + paths + ray, known, other=0)
    last = tl.load(span + 2 * paths + ray, known, other=-1)
    stride = tl.where(by_y, nx * nz, nz).to(tl.int64)
    across = tl.where(by_y, nz, nx * nz).to(tl.int64)
    count = tl.where(by_y, nx, ny)
    total = tl.zeros((BESIDE, ALONG), dtype=tl.float32)
    # Rays that miss the grid have last < first, and must not stretch the walk of the others.
    hit = first <= last
    for plane in range(tl.min(tl.where(hit, first, 1 << 30)), tl.max(tl.where(hit, last, -1)) + 1):
        i, f = _split(q0 + qs * plane)
        met = (plane >= first) & (plane <= last)
        has0, has1 = met & (i >= 0) & (i < count), met & (i >= -1) & (i < count - 1)
        w0, w1 = tl.where(has0, 1 - f, 0.0), tl.where(has1, f, 0.0)
        at = plane * stride + i * across
        a, b = _rows_at(a0, a1, b0, b1, plane)
        z = _height(a[:, None], b[:, None], row[None, :])
        below = tl.floor(z)
        g = z - below
        k = below.to(tl.int32)
        in0, in1 = (k >= 0) & (k < nz), (k >= -1) & (k < nz - 1)
        here = volume + at[:, None] + k
        there = here + across[:, None]
        low = w0[:, None] * tl.load(here, has0[:, None] & in0, other=0.0)
        low += w1[:, None] * tl.load(there, has1[:, None] & in0, other=0.0)
        high = w0[:, None] * tl.load(here + 1, has0[:, None] & in1, other=0.0)
        high += w1[:, None] * tl.load(there + 1, has1[:, None] & in1, other=0.0)
        total += (1 - g) * low + g * high
    place = ray.to(tl.int64)[:, None] * rows + row[None, :]
    tl.store(out + place, total, known[:, None] & (row < rows)[None, :])


@triton.jit
def _column(crossing, view, x, y):
    """The column, less the middle one, that sees the points (x, y), which count from the middle voxel."""
    at = crossing + 6 * view
    n = tl.load(at) + tl.load(at + 1) * x + tl.load(at + 2) * y
    m = tl.load(at + 3) + tl.load(at + 4) * x + tl.load(at + 5) * y
    # One voxel beyond the grid may lie beside the source; no column is farther out than the last.
    return n / tl.maximum(m, 1e-6)


@triton.jit
def _from_views(
    weighted, path, span, crossing, driven, drives, views, columns, rows, ny, nx, x, y, k, most_rows, margin,
    BY_Y: tl.constexpr,
):  # fmt: skip
    """What voxels (x, y) and k get from all rays driven by one axis."""
    total = tl.zeros((x.shape[0], k.shape[0]), dtype=tl.float32)
    plane = y if BY_Y else x
    position = x if BY_Y else y
    paths = views * columns
    middle = (columns - 1) * 0.5
    height = k.to(tl.float32)[None, :]
    u, v = x - (nx - 1) * 0.5, y - (ny - 1) * 0.5
    du, dv = (1.0, 0.0) if BY_Y else (0.0, 1.0)
    for number in range(drives):
        view = tl.load(driven + number)
        one = _column(crossing, view, u - du, v - dv) + middle
        other = _column(crossing, view, u + du, v + dv) + middle
        start = tl.ceil(tl.maximum(tl.minimum(one, other) - margin, 0.0)).to(tl.int32)
        end = tl.floor(tl.minimum(tl.maximum(one, other) + margin, columns - 1.0)).to(tl.int32)
        for further in range(tl.max(end - start) + 1):
            column = start + further
            ray = view * columns + column
            known = column <= end
            q0, qs, a0, a1, b0, b1 = _line(path, paths, ray, known)
            mine = known & (tl.load(span + ray, known, other=-1) == BY_Y)
            i, f = _split(q0 + qs * plane)
            w = tl.where(i == position, 1 - f, tl.where(i + 1 == position, f, 0.0))
            w = tl.where(mine, w, 0.0)
            a, b = _rows_at(a0, a1, b0, b1, plane)
            a, b = a[:, None], b[:, None]
            lowest = tl.ceil((height - 1 - a) / tl.maximum(b, 1e-6) - margin)
            # No row is farther out, and what is no number of 32 bits has no meaning.
            lowest = tl.minimum(tl.maximum(lowest, -1.0e9), 1.0e9).to(tl.int32)
            seen = ray.to(tl.int64)[:, None] * rows
            part = tl.zeros((x.shape[0], k.shape[0]), dtype=tl.float32)
            for more in range(most_rows):
                row = lowest + more
                z = _height(a, b, row)
                below = tl.floor(z)
                g = z - below
                share = tl.where(below == height, 1 - g, tl.where(below + 1 == height, g, 0.0))
                part += share * tl.load(weighted + seen + row, (w > 0)[:, None] & (row >= 0) & (row < rows), other=0.0)
            total += w[:, None] * part
    return total


@triton.jit(**_OPTIONS)
def _adjoint(
    weighted, out, path, span, crossing, driven, views, columns, rows, ny, nx, nz, most_rows, drives_x, drives_y,
    margin, BESIDE: tl.constexpr, ALONG: tl.constexpr,
):  # fmt: skip
    pillar = tl.program_id(0) * BESIDE + tl.arange(0, BESIDE)
    x, y = pillar % nx, pillar // nx
    k = tl.program_id(1) * ALONG + tl.arange(0, ALONG)
    total = _from_views(
        weighted, path, span, crossing, driven, drives_x, views, columns, rows, ny, nx, x, y, k, most_rows, margin, 0
    )
    total += _from_views(
        weighted, path, span, crossing, driven + views, drives_y, views, columns, rows, ny, nx, x, y, k, most_rows,
        margin, 1,
    )  # fmt: skip
    place = pillar.to(tl.int64)[:, None] * nz + k[None, :]
    tl.store(out + place, total, (y < ny)[:, None] & (k < nz)[None, :])
