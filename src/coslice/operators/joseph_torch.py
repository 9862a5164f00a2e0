"""Joseph's projector in plain torch: the reference, slow and readable, on any device.

For every view, rays are sorted by driving axis a (see `frame`); with b, c the other two axes,

    A x [ray]  = w * sum_p sum_corners  beta(q_b) gamma(q_c) x[p, corner]
    A^T y      = the same weights, added up at the corners

where q = S + t_p D is the crossing with plane p, beta and gamma are the linear interpolation weights and
w = |d| / |D_a| the length between planes in mm. Corners outside the grid count as 0. Both directions come
from one generator of (voxel index, weight) pairs, which makes them exact transposes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from coslice.devices import deterministic
from coslice.geometry import Geometry, Grid
from coslice.operators.frame import driving_axis, to_voxels

__all__ = ["adjoint", "forward"]

_CHUNK = 1 << 21  # ray-plane crossings held at once, to bound memory


def forward(geometry: Geometry, grid: Grid, volume: Tensor) -> Tensor:
    """Line integrals (views, rows, columns) of a volume (z, y, x), in mm times its values."""
    flat = volume.reshape(-1)
    out = flat.new_zeros(geometry.views, geometry.shape[1] * geometry.shape[2])
    for view in range(geometry.views):
        for rays, voxels, weights in _crossings(geometry, grid, view, flat.device, flat.dtype):
            out[view, rays] += (flat[voxels] * weights).sum(1)
    return out.reshape(geometry.shape)


def adjoint(geometry: Geometry, grid: Grid, projections: Tensor) -> Tensor:
    """The transpose of `forward`: (views, rows, columns) -> (z, y, x)."""
    y = projections.reshape(geometry.views, -1)
    out = y.new_zeros(int(np.prod(grid.shape)))
    for view in range(geometry.views):
        for rays, voxels, weights in _crossings(geometry, grid, view, y.device, y.dtype):
            with deterministic(y.device):
                out.index_add_(0, voxels.reshape(-1), (y[view, rays, None] * weights).reshape(-1))
    return out.reshape(grid.shape)


def _crossings(
    geometry: Geometry, grid: Grid, view: int, device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Ray numbers (n,), flat voxel indices (n, planes) and weights (n, planes), one corner at a time."""
    start, direction = (a.reshape(-1, 3) for a in geometry.rays(view))
    s, d = to_voxels(grid, start, direction)
    axis = driving_axis(d)
    length = np.linalg.norm(direction, axis=-1)
    nz, ny, nx = grid.shape
    count, stride = (nx, ny, nz), (1, nx, nx * ny)
    for a in range(3):
        b, c = (o for o in range(3) if o != a)
        driven = np.flatnonzero(axis == a)
        planes = torch.arange(count[a], device=device)
        for rays in np.array_split(driven, max(1, -(-len(driven) * count[a] // _CHUNK))):
            ray_s, ray_d = (torch.as_tensor(m[rays], device=device) for m in (s, d))
            step = torch.as_tensor(length[rays] / np.abs(d[rays, a]), device=device)
            t = (planes - ray_s[:, a, None]) / ray_d[:, a, None]
            ahead = t > 0 if geometry.divergent else torch.ones_like(t, dtype=torch.bool)
            for index_b, weight_b in _neighbours(ray_s[:, b, None] + t * ray_d[:, b, None], count[b]):
                for index_c, weight_c in _neighbours(ray_s[:, c, None] + t * ray_d[:, c, None], count[c]):
                    voxels = planes * stride[a] + index_b * stride[b] + index_c * stride[c]
                    weights = step[:, None] * ahead * weight_b * weight_c
                    yield torch.as_tensor(rays, device=device), voxels, weights.to(dtype)


def _neighbours(q: Tensor, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The two nodes next to q with their linear weights, 0 for a node that does not exist."""
    low = q.floor()
    for node, weight in ((low, 1 - (q - low)), (low + 1, q - low)):
        exists = (node >= 0) & (node < count)
        yield node.clamp(0, count - 1).long(), weight * exists
