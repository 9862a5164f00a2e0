"""Thick slices: a scan, such as MR, whose slices are several times as thick as the ones wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from coslice.classical import cubic
from coslice.errors import CosliceError
from coslice.operators import ThickSlices
from coslice.problems.problem import Problem, check_measurement

__all__ = ["ThickSliceProblem"]


@dataclass(frozen=True, eq=False)
class ThickSliceProblem(Problem):
    """Slices along z, each of them a mean of thin ones.

    The first reconstruction is a cubic spline, the pseudo-inverse has a closed form.

    Attributes:
        measurement: y, the thick slices (m, y, x) in the unit window, float32.
        factor: thin slices to a thick one.
        fwhm: full width at half maximum of the slice profile, in thin slices; None is a box.
        count: thin slices wanted: at most factor m, and more than that less a thick one; None is all of them.
        spacing: (dz, dy, dx) of the thin slices, mm.
        noise: standard deviation of the noise in y, of the unit window.
        task: key of a simulated task, as "zsr-5"; "" for a real measurement.

    Raises:
        CosliceError: as `coslice.operators.ThickSlices`; a count that m slices do not cover.
    """

    kind = "zsr"
    initial_title = "Cubic"

    measurement: Tensor
    factor: int
    fwhm: float | None = None
    count: int | None = None
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)  # pyright: ignore[reportIncompatibleMethodOverride]
    noise: float = 0.0
    task: str = ""

    def __post_init__(self) -> None:
        check_measurement("ThickSliceProblem", self.measurement, self.noise)
        if tuple(self.operator.codomain) != tuple(self.measurement.shape):
            raise CosliceError(
                f"ThickSliceProblem: {len(self.measurement)} slices of {self.factor} thin ones were given for "
                f"{self.count} thin slices, which have {self.operator.codomain[0]}; correct the count."
            )

    def _operator(self) -> ThickSlices:
        thick, y, x = self.measurement.shape
        return ThickSlices((self.factor * thick if self.count is None else self.count, y, x), self.factor, self.fwhm)

    def initial(self) -> Tensor:
        return cubic(self.measurement, self.factor, self.shape[0])

    def pseudo_inverse(self, iterations: int) -> Callable[[Tensor], Tensor]:
        return self._operator().pseudo_inverse
