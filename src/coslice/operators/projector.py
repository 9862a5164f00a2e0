"""The X-ray transform A of a grid seen by a scanner, and its exact transpose.

    (A x)[view, row, column] = integral of x along the ray to that pixel        (mm times the values of x)

discretised by Joseph's method (see `frame`). Rays start at the source and go on beyond the detector, so a
virtual detector at the rotation axis (axis_detector = 0) sees the whole object.

Tensors are (z, y, x) and (view, row, column), but the CPU kernels work on memory ordered (y, x, z) and
(view, column, row). Results are views over such memory, and passing them on costs no copy; a tensor in
any other order is copied once. So inside an iteration like CG nothing is ever transposed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, FanBeam, Geometry, Grid, Orbit
from coslice.operators import joseph_numba, joseph_numba_orbit, joseph_torch
from coslice.operators.base import Operator
from coslice.threads import compiled_kernels

__all__ = ["BACKENDS", "Projector"]

BACKENDS = ("auto", "numba", "torch")
_ORDER = (1, 2, 0)  # (z, y, x) -> (y, x, z)
_BACK = (2, 0, 1)


class Projector(Operator):
    """Line integrals of a volume on `grid` as measured by `geometry`.

    Args:
        geometry: ConeBeam, FanBeam, ParallelBeam or Orbit.
        grid: where the voxels are, mm.
        backend: "numba" (fast, CPU), "torch" (the reference, any device) or "auto": numba for tensors on
            the CPU, torch for others.

    Attributes:
        domain: (z, y, x), the grid's shape.
        codomain: (views, rows, columns), the geometry's.

    Raises:
        CosliceError: unknown backend; a source inside the grid; a tensor of the wrong shape, type or device.
    """

    def __init__(self, geometry: Geometry, grid: Grid, backend: str = "auto") -> None:
        if backend not in BACKENDS:
            raise CosliceError(f"Projector: backend {backend!r} was given; choose one of {', '.join(BACKENDS)}.")
        _refuse_source_inside(geometry, grid)
        self.geometry, self.grid, self.backend = geometry, grid, backend
        self.domain, self.codomain = tuple(grid.shape), tuple(geometry.shape)
        self._plan: joseph_numba.SeparablePlan | joseph_numba_orbit.OrbitPlan | None = None

    def __repr__(self) -> str:
        return f"Projector({self.geometry!r}, {self.grid!r}, backend={self.backend!r})"

    def forward(self, volume: Tensor) -> Tensor:
        """A x, (z, y, x) -> (views, rows, columns), float32, mm times the values of x."""
        self._check(volume, self.domain, "a volume", "(z, y, x)")
        volume = volume.detach()
        if self._uses_torch(volume):
            return joseph_torch.forward(self.geometry, self.grid, volume)
        plan, kernels = self._kernels()
        memory = volume.permute(_ORDER).contiguous().numpy()
        return torch.from_numpy(_threaded(kernels.forward, plan, memory)).permute(0, 2, 1)

    def adjoint(self, measurement: Tensor) -> Tensor:
        """A^T y, (views, rows, columns) -> (z, y, x), float32; exactly the transpose of `forward`."""
        self._check(measurement, self.codomain, "projections", "(views, rows, columns)")
        measurement = measurement.detach()
        if self._uses_torch(measurement):
            return joseph_torch.adjoint(self.geometry, self.grid, measurement)
        plan, kernels = self._kernels()
        memory = measurement.permute(0, 2, 1).contiguous().numpy()
        return torch.from_numpy(_threaded(kernels.adjoint, plan, memory)).permute(_BACK)

    def normal(self, volume: Tensor) -> Tensor:
        """A^T A x, float32."""
        return self.gram(volume)

    def gram(self, volume: Tensor, weights: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """A^T w A x; see `Operator.gram`. The rays' lengths and weights are multiplied in once, between A and A^T."""
        self._check(volume, self.domain, "a volume", "(z, y, x)")
        if weights is not None:
            self._check(weights, self.codomain, "weights", "(views, rows, columns)")
        volume = volume.detach()
        if self._uses_torch(volume):
            return super().gram(volume, weights) if weights is not None else super().normal(volume)
        plan, kernels = self._kernels()
        memory = volume.permute(_ORDER).contiguous().numpy()
        factors = None if weights is None else self.arranged(weights.detach()).permute(0, 2, 1).numpy()
        to = None if out is None else out.permute(_ORDER)
        given = None if to is None or not to.is_contiguous() or to.dtype != torch.float32 else to.numpy()
        return torch.from_numpy(_threaded(kernels.normal, plan, memory, factors, given)).permute(_BACK)

    def arranged(self, measurement: Tensor) -> Tensor:
        """The same projections, (view, column, row) in memory."""
        return measurement.permute(0, 2, 1).contiguous().permute(0, 2, 1)

    def _kernels(self):
        """The plan of the rays, laid once, and the module whose kernels follow it."""
        geometry, grid = self.geometry, self.grid
        if self._plan is None:
            if joseph_numba.separable(geometry, grid):
                self._plan = joseph_numba.plan(geometry, grid)
            else:
                self._plan = joseph_numba_orbit.plan(geometry, grid)
        return self._plan, joseph_numba if isinstance(self._plan, joseph_numba.SeparablePlan) else joseph_numba_orbit

    def _uses_torch(self, tensor: Tensor) -> bool:
        if self.backend == "numba" and tensor.device.type != "cpu":
            raise CosliceError(
                f"Projector: a tensor on {tensor.device} was given to the numba backend, which works on the CPU; "
                'move the tensor or choose backend="auto".'
            )
        return self.backend == "torch" or tensor.device.type != "cpu"

    def _check(self, tensor: Tensor, shape: tuple[int, ...], what: str, axes: str) -> None:
        if tuple(tensor.shape) != shape:
            raise CosliceError(
                f"Projector: {what} of shape {tuple(tensor.shape)} was given, {shape} {axes} is needed; "
                "check the grid and the geometry."
            )
        if tensor.dtype != torch.float32:
            raise CosliceError(
                f"Projector: {what} of type {tensor.dtype} was given, torch.float32 is needed; call .float() first."
            )


def _threaded(kernel: Callable[..., np.ndarray], plan: object, *arrays: np.ndarray | None) -> np.ndarray:
    with compiled_kernels():
        return kernel(plan, *arrays)


def _refuse_source_inside(geometry: Geometry, grid: Grid) -> None:
    """A ray that starts inside the volume would miss a part of it: no scanner looks like that."""
    if isinstance(geometry, (ConeBeam, FanBeam)):
        radius = grid.reach[1]
        inside = radius >= geometry.source_axis
        where = f"{radius:.1f} mm from the axis and the source turns at {geometry.source_axis:g} mm"
    elif isinstance(geometry, Orbit) and geometry.divergent:
        half = np.array(grid.size[::-1]) / 2
        away = np.abs(np.array(geometry.source) - np.array(grid.centre[::-1]))
        views = np.flatnonzero((away < half).all(axis=1))
        inside = len(views) > 0
        where = f"around the source of view {views[0]}" if inside else ""
    else:
        return
    if inside:
        raise CosliceError(
            f"Projector: the grid reaches {where}, but every source must be outside the grid; "
            "move the source out or use a smaller grid."
        )
