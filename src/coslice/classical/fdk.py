"""Filtered back-projection: FDK for cone beams, FBP for fan and parallel beams.

With the detector moved by similarity to the rotation axis (p, q = u, v / magnification; S = source_axis;
r and t the coordinates of a voxel along and across the central ray, r towards the source),

    f(x, y, z) = sum_views dbeta  m^2 [h * (w cos g)](p = m t, q = m z),    m = S / (S - r),

(Feldkamp, Davis and Kress, J. Opt. Soc. Am. A 1, 1984; Kak & Slaney eq. 3.175). Each measurement g is
multiplied by the cosine S / sqrt(S^2 + p^2 + q^2) of its ray and by the share w of its line (see
`coslice.classical.filters`) and filtered along p by the ramp h. From every view a voxel then reads the
filtered value where its ray meets the detector, linearly between four pixels, times m^2. A fan beam is the
same with q = z and no q in the cosine; a parallel beam has S infinite. Beyond the detector the filtered
projections are 0, so a detector should see the whole object across, on both sides or, in a full turn, on one.

It is exact on the central plane for many views; on the other planes it is the usual approximation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from coslice.axes import AXES
from coslice.classical.fdk_numba import backproject
from coslice.classical.filters import Arc, Filter, apply_ramp, displacement, measured_arc, redundancy, strip_window
from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, FanBeam, Geometry, Grid, ParallelBeam
from coslice.parallel import complete_, share
from coslice.threads import compiled_kernels

__all__ = ["fdk"]

_MOST_BYTES = 2**28
"""Of projections that are filtered at once: recordings of thousands of views need not fit into memory twice."""

Circular: TypeAlias = ConeBeam | FanBeam | ParallelBeam


def fdk(
    projections: Tensor,
    geometry: Geometry,
    grid: Grid,
    filter: Filter = "ramp",
    short_scan: bool | None = None,
    backend: Literal["auto", "numba", "torch"] = "auto",
) -> Tensor:
    """Reconstruct a volume from line integrals by filtered back-projection.

    Args:
        projections: line integrals, (views, rows, columns), of value times mm.
        geometry: circular `ConeBeam`, `FanBeam` or `ParallelBeam`; the source outside the grid.
        grid: where the voxels are.
        filter: "ramp" keeps all detail; "hann" is smoother.
        short_scan: whether to weigh rays by what the arc measured twice. None looks at the angles: a full
            turn needs no weights. False takes any arc for a full turn.
        backend: "numba" (CPU), "torch" (any device); "auto" takes numba for tensors on the CPU.

    Returns:
        (z, y, x) float32 on the projections' device, in value; stored with z innermost by numba.

    Raises:
        CosliceError: for projections of another shape, a free orbit, or a source inside the grid.
    """
    _check(projections, geometry, grid, backend)
    assert isinstance(geometry, ConeBeam | FanBeam | ParallelBeam)
    arc = measured_arc(geometry.angles)
    closed = arc.closed if short_scan is None else not short_scan
    overlap = 0.0
    if closed:
        projections, geometry, overlap = _widened(projections, geometry, grid)
    share = _share(geometry, arc, closed, overlap)
    on_cpu = backend == "numba" or (backend == "auto" and projections.device.type == "cpu")
    volume = (
        torch.zeros(grid.shape[1:] + grid.shape[:1]).permute(2, 0, 1) if on_cpu else projections.new_zeros(grid.shape)
    )
    # A voxel adds up the views in their order, so in how many portions they come does not change a bit.
    for views in _portions(projections):
        portion = replace(geometry, angles=geometry.angles[views])
        filtered = _filtered(projections[views], portion, share[views], filter)
        (_add_with_numba if on_cpu else _add_with_torch)(volume, filtered, portion, grid)
    if on_cpu:
        complete_(volume.permute(1, 2, 0))
    return volume


def _portions(projections: Tensor) -> Iterator[slice]:
    """The views, so many at once that their copies stay within `_MOST_BYTES`."""
    views = projections.shape[0]
    at_once = max(1, _MOST_BYTES // (4 * max(1, projections[0].numel())))
    return (slice(first, min(first + at_once, views)) for first in range(0, views, at_once))


def _check(projections: Tensor, geometry: Geometry, grid: Grid, backend: str) -> None:
    if not isinstance(geometry, ConeBeam | FanBeam | ParallelBeam):
        raise CosliceError(
            f"fdk: a {type(geometry).__name__} was given, a circular ConeBeam, FanBeam or ParallelBeam is needed; "
            "use cgls or sirt for a free orbit."
        )
    if tuple(projections.shape) != geometry.shape:
        raise CosliceError(
            f"fdk: projections of shape {tuple(projections.shape)} were given, the geometry has {geometry.shape} "
            "(views, rows, columns)."
        )
    if backend not in ("auto", "numba", "torch"):
        raise CosliceError(f'fdk: the backend {backend!r} was asked for, "auto", "numba" or "torch" is needed.')
    if backend == "numba" and projections.device.type != "cpu":
        raise CosliceError(
            f'fdk: the backend "numba" was asked for with projections on {projections.device}, '
            'it needs them on the CPU; move them or use "torch".'
        )
    if not isinstance(geometry, ParallelBeam) and grid.radius >= geometry.source_axis:
        raise CosliceError(
            f"fdk: the grid reaches {grid.radius:.1f} mm from the axis but the source turns at "
            f"{geometry.source_axis:g} mm; use a smaller grid."
        )


def _virtual(geometry: Circular) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Columns p, rows q and pitches (dp, dq) of the detector moved to the rotation axis, mm."""
    across = 1.0 if isinstance(geometry, ParallelBeam) else geometry.magnification
    upward = across if isinstance(geometry, ConeBeam) else 1.0
    dq, dp = geometry.pixel
    return geometry.u() / across, geometry.v() / upward, dp / across, dq / upward


def _reach(geometry: Circular, grid: Grid) -> float:
    """Largest |p| in mm of a ray that meets the grid."""
    if isinstance(geometry, ParallelBeam):
        return grid.radius
    return geometry.source_axis * math.tan(math.asin(grid.radius / geometry.source_axis))


def _widened(projections: Tensor, geometry: Circular, grid: Grid) -> tuple[Tensor, Circular, float]:
    """A displaced detector with zeros on its unseen side, and the signed overlap; others as they are."""
    p, _, dp, _ = _virtual(geometry)
    overlap = displacement(p, dp, _reach(geometry, grid))
    if overlap == 0:
        return projections, geometry, 0.0
    rows, columns = geometry.detector
    far = min(float(np.abs(p).max()), _reach(geometry, grid))
    extra = max(0, math.ceil((far - abs(overlap)) / dp))
    v, u = geometry.offset
    wide = replace(
        geometry,
        detector=(rows, columns + extra),
        offset=(v, u - math.copysign(extra / 2 * geometry.pixel[1], overlap)),
    )
    sides = (extra, 0) if overlap > 0 else (0, extra)
    return torch.nn.functional.pad(projections, sides), wide, overlap


def _share(geometry: Circular, arc: Arc, closed: bool, overlap: float) -> np.ndarray:
    """w dbeta, (views, columns): the part of the integral over angles that each ray stands for, rad."""
    p = _virtual(geometry)[0]
    fan = np.zeros_like(p) if isinstance(geometry, ParallelBeam) else np.arctan(p / geometry.source_axis)
    strip = strip_window(p, overlap) if overlap else None
    return redundancy(geometry.angles, fan, arc, closed, strip) * arc.steps[:, None]


def _filtered(projections: Tensor, geometry: Circular, share: np.ndarray, filter: Filter) -> Tensor:
    """h * (w cos g) dbeta, (views, rows, columns)."""
    if len(projections) > 1 and projections.stride(0) == 0 and np.allclose(share, share[0], rtol=1e-9):
        # One view that stands for all, as of an object that is the same all around, is filtered once.
        return _filtered(projections[:1], geometry, share[:1], filter).expand_as(projections)
    p, q, dp, _ = _virtual(geometry)

    def tensor(array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32, device=projections.device)

    weighted = projections.to(torch.float32) * tensor(share)[:, None, :]
    if not isinstance(geometry, ParallelBeam):
        height = q[:, None] if isinstance(geometry, ConeBeam) else 0.0
        weighted *= tensor(geometry.source_axis / np.sqrt(geometry.source_axis**2 + p**2 + height**2))
    return apply_ramp(weighted, dp, filter)


def _add_with_numba(volume: Tensor, filtered: Tensor, geometry: Circular, grid: Grid) -> None:
    """Add the views to the rows y that are this process's."""
    mine = share(grid.shape[1])
    p, q, dp, dq = _virtual(geometry)
    views, rows, columns = filtered.shape
    # Of one view that stands for all, one copy serves them one after another.
    together = 1 if filtered.stride(0) == 0 else views
    bordered = torch.zeros(together, columns + 2, rows + 2)
    bordered[:, 1:-1, 1:-1] = filtered[:together].transpose(1, 2)
    single = np.float32
    z = grid.axis("z")
    cosines, sines = np.cos(geometry.angles).astype(single), np.sin(geometry.angles).astype(single)
    where = (
        grid.axis("y").astype(single)[mine],
        grid.axis("x").astype(single),
        single(z[0]),
        single(grid.spacing[0]),
        single(p[0] - dp),
        single(dp),
        single(q[0] - dq),
        single(dq),
        single(0.0 if isinstance(geometry, ParallelBeam) else 1 / geometry.source_axis),
        isinstance(geometry, ConeBeam),
    )
    out, seen = volume.permute(1, 2, 0).numpy()[mine], bordered.numpy()
    with compiled_kernels():
        for first in range(0, views, together):
            some = slice(first, first + together)
            backproject(out, seen, cosines[some], sines[some], *where)


def _add_with_torch(volume: Tensor, filtered: Tensor, geometry: Circular, grid: Grid) -> None:
    p, q, dp, dq = _virtual(geometry)
    z, y, x = (torch.as_tensor(grid.axis(a), dtype=torch.float32, device=filtered.device) for a in AXES)
    curvature = 0.0 if isinstance(geometry, ParallelBeam) else 1 / geometry.source_axis
    for angle, view in zip(geometry.angles, filtered, strict=True):
        cosine, sine = math.cos(angle), math.sin(angle)
        m = 1 / (1 - curvature * (x * cosine + y[:, None] * sine))
        column = ((y[:, None] * cosine - x * sine) * m - p[0]) / dp
        height = z[:, None, None] * (m if isinstance(geometry, ConeBeam) else torch.ones_like(m))
        row = (height - q[0]) / dq
        volume += _bilinear(view, row, column.expand_as(row)) * m**2


def _bilinear(image: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """`image` at fractional indices; beyond its edge it falls linearly to 0 over one pixel."""
    # grid_sample counts from -1 to 1; written so that one row or one column is no division by 0
    rows, columns = image.shape
    place = torch.stack(((2 * column + 1) / columns - 1, (2 * row + 1) / rows - 1), -1)
    sampled = torch.nn.functional.grid_sample(
        image[None, None], place.flatten(0, 1)[None], mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return sampled.view(row.shape)
