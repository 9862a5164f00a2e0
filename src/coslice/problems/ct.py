"""CT: projections of a volume by a scanner whose geometry is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from coslice.classical import Sirt, cgls, fdk, filled
from coslice.errors import CosliceError
from coslice.geometry import Geometry, Grid, Orbit, ParallelBeam, missing_wedge
from coslice.operators import Projector
from coslice.problems.problem import Problem, check_measurement, check_weights

__all__ = ["CTProblem"]

_ITERATIONS = 20
"""Of conjugate gradients, for a first reconstruction where no formula gives one."""


@dataclass(frozen=True, eq=False, repr=False)
class CTProblem(Problem):
    """Projections.

    The first reconstruction is filtered back-projection: FDK, of parallel beams FBP. A free orbit has none, and takes
    conjugate gradients on the normal equations. The pseudo-inverse is SIRT. Filtered back-projection knows no weights;
    rays of weight 0 are interpolated from their neighbours for it.

    Attributes:
        geometry: where the rays run, mm and rad.
        grid: where the voxels are, mm.
        measurement: y, (views, rows, columns) float32: line integrals of the unit window, in mm.
        noise: standard deviation of the noise in y, mm; with weights, of a ray whose weight is 1.
        weights: of the rays, (views, rows, columns): relative inverse variances, mean 1, see `relative_weights`; 0 for
            a ray that is not to be believed. None is 1 everywhere.
        bounds: the least and the largest value of the unit window that the volume can have; of a real measurement,
            which may be of metal, the second is infinite.
        task: key of a simulated task, see `coslice.problems.Task.key`; "" for any other measurement.

    Raises:
        CosliceError: a measurement or weights of another shape than the geometry has, or a weight that is no number
            from 0 up.
    """

    kind = "ct"
    modality = "ct"

    geometry: Geometry
    grid: Grid
    measurement: Tensor
    noise: float = 0.0
    task: str = ""
    weights: Tensor | None = None
    bounds: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        check_measurement("CTProblem", self.measurement, self.noise)
        given, needed = tuple(self.measurement.shape), tuple(self.geometry.shape)
        if given != needed:
            raise CosliceError(
                f"CTProblem: projections of shape {given} were given, but the geometry measures {needed} (views, rows, "
                "columns); check which of them is meant."
            )
        check_weights("CTProblem", self.weights, self.measurement)

    def _operator(self) -> Projector:
        return Projector(self.geometry, self.grid)

    def initial(self) -> Tensor:
        if isinstance(self.geometry, Orbit):
            return cgls(*self.misfit, _ITERATIONS)
        if self.weights is None:
            return fdk(self.measurement, self.geometry, self.grid)
        measurement = filled(self.measurement, self.weights > 0, self.geometry.angles)
        return fdk(measurement, self.geometry, self.grid)

    def _words(self) -> str:
        return f", {type(self.geometry).__name__}"

    def clamped(self, volume: Tensor) -> Tensor:
        return volume.clamp(*self.bounds)

    def pseudo_inverse(self, iterations: int) -> Callable[[Tensor], Tensor]:
        return Sirt(self.operator, iterations, weights=self.weights)

    @property
    def initial_title(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        if isinstance(self.geometry, Orbit):
            return "CGLS"
        return "FBP" if isinstance(self.geometry, ParallelBeam) else "FDK"

    @property
    def spacing(self) -> tuple[float, float, float]:
        return self.grid.spacing

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.grid.shape

    @property
    def unit(self) -> float:
        return max(self.grid.size[1:]) / max(self.grid.shape[1:])

    @property
    def missing_wedge(self) -> float:
        if isinstance(self.geometry, Orbit):
            return 0.0  # its views may lie anywhere
        return math.degrees(missing_wedge(self.geometry.angles))

    @property
    def description(self) -> str:
        return repr(self.geometry)
