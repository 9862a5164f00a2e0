"""The X-ray transform A of a grid seen by a scanner, and its exact transpose.

    (A x)[view, row, column] = integral of x along the ray to that pixel        (mm times the values of x)

discretised by Joseph's method (see `frame`). Rays start at the source and go on beyond the detector, so a
virtual detector at the rotation axis (axis_detector = 0) sees the whole object.

Tensors are (z, y, x) and (view, row, column), but the kernels work on memory ordered (y, x, z) and
(view, column, row). Results are views over such memory, and passing them on costs no copy; a tensor in
any other order is copied once. So inside an iteration like CG nothing is ever transposed.

Who computes is decided tensor by tensor. What the kernels of the CPU are given from another device they bring
to the CPU, and the result back: so a network may work on a GPU where the projector cannot.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache, cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, FanBeam, Geometry, Grid, Orbit
from coslice.memory import check_memory
from coslice.operators import joseph_numba, joseph_numba_orbit, joseph_torch
from coslice.operators.base import Operator
from coslice.parallel import ALONE, complete_, dividing, share
from coslice.private_folders import keep_privately
from coslice.threads import compiled_kernels

__all__ = ["BACKENDS", "Projector"]

BACKENDS = ("auto", "numba", "triton", "torch")
_BYTES = 12  # of a voxel and of a ray: what comes in, what goes out, and one copy
_ORDER = (1, 2, 0)  # (z, y, x) -> (y, x, z)
_BACK = (2, 0, 1)
_SWAP = (0, 2, 1)  # (view, row, column) <-> (view, column, row)


class Projector(Operator):
    """Line integrals of a volume on `grid` as measured by `geometry`.

    Args:
        geometry: ConeBeam, FanBeam, ParallelBeam or Orbit.
        grid: where the voxels are, mm.
        backend: "numba" (on the CPU, tensors elsewhere are brought there and back), "triton" (on a GPU, circular
            scans), "torch" (the slow reference, on any device) or "auto": triton for tensors on a GPU where it is
            installed and knows the geometry, numba for all others.

    Attributes:
        domain: (z, y, x), the grid's shape.
        codomain: (views, rows, columns), the geometry's.

    Raises:
        CosliceError: unknown backend; a source inside the grid; a tensor of the wrong shape or type; "triton" where it
            is not installed, of a tensor that is on no GPU, or of a geometry that it does not know.
    """

    def __init__(self, geometry: Geometry, grid: Grid, backend: str = "auto") -> None:
        if backend not in BACKENDS:
            raise CosliceError(f"Projector: backend {backend!r} was given; choose one of {', '.join(BACKENDS)}.")
        _refuse_source_inside(geometry, grid)
        self.geometry, self.grid, self.backend = geometry, grid, backend
        self.domain, self.codomain = tuple(grid.shape), tuple(geometry.shape)
        views, rows, columns = self.codomain
        check_memory(
            "projector",
            f"{views:,} views of {rows} x {columns} pixels of {math.prod(self.domain):.3g} voxels",
            _BYTES * (math.prod(self.domain) + math.prod(self.codomain)),
            "choose fewer views, or a coarser grid",
        )
        self._plan: joseph_numba.SeparablePlan | joseph_numba_orbit.OrbitPlan | None = None
        self._plans: dict[torch.device, Any] = {}
        self._parts: dict[tuple[str, int, int], Projector] = {}

    def __repr__(self) -> str:
        return f"Projector({self.geometry!r}, {self.grid!r}, backend={self.backend!r})"

    def forward(self, volume: Tensor) -> Tensor:
        """A x, (z, y, x) -> (views, rows, columns), float32, mm times the values of x."""
        self._check(volume, self.domain, "a volume", "(z, y, x)")
        volume = volume.detach()
        backend, mine = self._route(volume.device), share(self.codomain[0])
        if backend != "numba" and mine != slice(0, self.codomain[0]):
            views, rows, columns = self.codomain
            whole = volume.new_empty((views, columns, rows))
            with dividing(ALONE):
                whole[mine] = self._of_views(mine).forward(volume).permute(_SWAP)
            complete_(whole)
            return whole.permute(_SWAP)
        match backend:
            case "torch":
                return joseph_torch.forward(self.geometry, self.grid, volume)
            case "triton":
                kernels, plan = self._triton(volume.device)
                return kernels.forward(plan, volume.permute(_ORDER).contiguous()).permute(_SWAP)
        return _returned(self._forward(_memory(volume, _ORDER)), _SWAP, volume)

    def adjoint(self, measurement: Tensor) -> Tensor:
        """A^T y, (views, rows, columns) -> (z, y, x), float32; exactly the transpose of `forward`."""
        self._check(measurement, self.codomain, "projections", "(views, rows, columns)")
        measurement = measurement.detach()
        backend, mine = self._route(measurement.device), share(self.domain[1])
        if backend != "numba" and mine != slice(0, self.domain[1]):
            z, y, x = self.domain
            whole = measurement.new_empty((y, x, z))
            with dividing(ALONE):
                whole[mine] = self._of_rows(mine).adjoint(measurement).permute(_ORDER)
            complete_(whole)
            return whole.permute(_BACK)
        match backend:
            case "torch":
                return joseph_torch.adjoint(self.geometry, self.grid, measurement)
            case "triton":
                kernels, plan = self._triton(measurement.device)
                return kernels.adjoint(plan, measurement.permute(_SWAP).contiguous()).permute(_BACK)
        return _returned(self._adjoint(_memory(measurement, _SWAP)), _BACK, measurement)

    def remark(self, device: torch.device) -> str:
        if device.type == "cpu" or self._route(device) != "numba":
            return ""
        reason = (
            "its backend is numba"
            if self.backend == "numba"
            else f"there are no kernels for {device.type.upper()}"
            if device.type != "cuda"
            else "kernels for GPUs know scanners that turn about z with a flat detector, and this one is another"
            if not self._circular
            else "triton, which compiles it for GPUs, is not installed (pip install coslice[gpu])"
        )
        return f"The network works on {device}, but the projector on the CPU: {reason}."

    def normal(self, volume: Tensor) -> Tensor:
        """A^T A x, float32."""
        return self.gram(volume)

    def gram(self, volume: Tensor, weights: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """A^T w A x; see `Operator.gram`. The rays' lengths and weights are multiplied in once, between A and A^T."""
        self._check(volume, self.domain, "a volume", "(z, y, x)")
        if weights is not None:
            self._check(weights, self.codomain, "weights", "(views, rows, columns)")
        volume = volume.detach()
        if self._route(volume.device) != "numba":
            return super().gram(volume, weights) if weights is not None else super().normal(volume)
        # The projections stay on the CPU, wherever the volume is.
        plan, kernels = self._kernels()
        factors = None if weights is None else _memory(weights.detach(), _SWAP)
        to = None if out is None or out.device.type != "cpu" else out.permute(_ORDER)
        given = None if to is None or not to.is_contiguous() or to.dtype != torch.float32 else to.numpy()
        return _returned(_threaded(kernels.normal, plan, _memory(volume, _ORDER), factors, given), _BACK, volume)

    def arranged(self, measurement: Tensor) -> Tensor:
        """The same projections, (view, column, row) in memory."""
        return measurement.permute(_SWAP).contiguous().permute(_SWAP)

    def _forward(self, memory: np.ndarray) -> np.ndarray:
        plan, kernels = self._kernels()
        return _threaded(kernels.forward, plan, memory)

    def _adjoint(self, memory: np.ndarray) -> np.ndarray:
        plan, kernels = self._kernels()
        return _threaded(kernels.adjoint, plan, memory)

    def _of_views(self, views: slice) -> Projector:
        """A of some views alone: what a rank makes where the kernels do not share the work themselves."""
        key = "views", views.start, views.stop
        if key not in self._parts:
            self._parts[key] = Projector(_some_views(self.geometry, views), self.grid, self.backend)
        return self._parts[key]

    def _of_rows(self, rows: slice) -> Projector:
        """A of the voxels of some rows y alone."""
        key = "rows", rows.start, rows.stop
        if key not in self._parts:
            (nz, ny, nx), (z, y, x) = self.grid.shape, self.grid.centre
            y += ((rows.start + rows.stop - 1) / 2 - (ny - 1) / 2) * self.grid.spacing[1]
            part = replace(self.grid, shape=(nz, rows.stop - rows.start, nx), centre=(z, y, x))
            self._parts[key] = Projector(self.geometry, part, self.backend)
        return self._parts[key]

    def _kernels(self):
        """The plan of the rays, laid once, and the module whose kernels follow it."""
        geometry, grid = self.geometry, self.grid
        if self._plan is None:
            if joseph_numba.separable(geometry, grid):
                self._plan = joseph_numba.plan(geometry, grid)
            else:
                self._plan = joseph_numba_orbit.plan(geometry, grid)
        return self._plan, joseph_numba if isinstance(self._plan, joseph_numba.SeparablePlan) else joseph_numba_orbit

    def _triton(self, device: torch.device):
        """The module of kernels for GPUs, and the plan of the rays on `device`, laid once."""
        # On demand: it asks for a package that few machines have.
        from coslice.operators import joseph_triton

        if device not in self._plans:
            keep_privately("TRITON_CACHE_DIR", "triton", "~/.triton")
            self._plans[device] = joseph_triton.plan(self.geometry, self.grid).to(device)  # pyright: ignore
        return joseph_triton, self._plans[device]

    @cached_property
    def _circular(self) -> bool:
        """Whether the kernels for GPUs know the geometry; found once, since it looks at every ray of a row."""
        return joseph_numba.separable(self.geometry, self.grid)

    def _route(self, device: torch.device) -> str:
        """Which backend works on tensors on `device`."""
        if self.backend == "triton":
            self._refuse_without_triton(device)
        if self.backend != "auto":
            return self.backend
        on_gpu = device.type == "cuda" and _installed() and self._circular
        return "triton" if on_gpu else "numba"

    def _refuse_without_triton(self, device: torch.device) -> None:
        if not _installed():
            raise CosliceError(
                "Projector: the backend triton was asked for, but triton is not installed; pip install coslice[gpu], "
                'or choose backend="auto".'
            )
        if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
            raise CosliceError(
                f"Projector: a tensor on {device} was given to the backend triton, which works on a GPU; move the "
                'tensor or choose backend="auto".'
            )
        if not self._circular:
            raise CosliceError(
                "Projector: the backend triton was asked for, but it knows only beams that turn about z, with a flat "
                'detector, and no cone this steep; choose backend="auto".'
            )

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


def _some_views(geometry: Geometry, views: slice) -> Geometry:
    if not isinstance(geometry, Orbit):
        return replace(geometry, angles=geometry.angles[views])
    fields = ("source", "centre", "row_step", "column_step")
    return replace(geometry, **{name: getattr(geometry, name)[views] for name in fields})


@cache
def _installed() -> bool:
    return find_spec("triton") is not None


def _memory(tensor: Tensor, order: tuple[int, int, int]) -> np.ndarray:
    """A tensor in the kernels' order, on the CPU; no copy of one that is so already."""
    return tensor.permute(order).contiguous().cpu().numpy()


def _returned(memory: np.ndarray, order: tuple[int, int, int], like: Tensor) -> Tensor:
    """What a kernel of the CPU made, with the axes of a tensor, where `like` is."""
    return torch.from_numpy(memory).to(like.device).permute(order)


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
