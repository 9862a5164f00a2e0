"""Thick slices: a scan, such as MR, whose slices are several times as thick as the ones wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from coslice.axes import axis_number
from coslice.classical import cubic
from coslice.errors import CosliceError
from coslice.operators import ThickSlices
from coslice.problems.problem import Problem, check_measurement
from coslice.resampling import mix_along, new_count

__all__ = ["ThickSliceProblem"]


@dataclass(frozen=True, eq=False, repr=False)
class ThickSliceProblem(Problem):
    """Slices along one axis, each of them a mean of thin ones.

    The first reconstruction is a cubic spline, the pseudo-inverse has a closed form.

    Attributes:
        measurement: y, the thick slices, (m, y, x) where they are stacked along z, in the unit window, float32.
        factor: distance between thick slices, in thin ones.
        fwhm: full width at half maximum of the slice profile, in thin slices; None is a box.
        count: thin slices wanted: at most factor m, and more than that less a thick one; None is all of them.
        spacing: (dz, dy, dx) of the thin slices, mm.
        noise: standard deviation of the noise in y, of the unit window.
        task: key of a simulated task, as "zsr-5"; "" for a real measurement.
        axis: "z", "y" or "x", along which slices are thick.
        thickness: width of the box, in thin slices; None is `factor`.
        modality: "ct", "mr", or "" where it is not known.
        clipped: whether the volume behind lies within the unit window; if not, what was measured outside is kept.

    Raises:
        CosliceError: as `coslice.operators.ThickSlices`; a count that m slices do not cover.
    """

    kind = "zsr"
    initial_title = "Cubic"

    measurement: Tensor
    factor: float
    fwhm: float | None = None
    count: int | None = None
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)  # pyright: ignore[reportIncompatibleMethodOverride]
    noise: float = 0.0
    task: str = ""
    axis: str = "z"
    thickness: float | None = None
    modality: str = ""
    clipped: bool = True

    def __post_init__(self) -> None:
        check_measurement("ThickSliceProblem", self.measurement, self.noise)
        if tuple(self.operator.codomain) != tuple(self.measurement.shape):
            number = axis_number(self.axis)
            raise CosliceError(
                f"ThickSliceProblem: {self.measurement.shape[number]} slices of {self.factor:g} thin ones were given "
                f"for {self.count} thin slices, which have {self.operator.codomain[number]}; correct the count."
            )

    def _words(self) -> str:
        return f", slices {self.factor:g} times as thick along {self.axis}"

    def _operator(self) -> ThickSlices:
        number, shape = axis_number(self.axis), list(self.measurement.shape)
        shape[number] = new_count(shape[number], 1 / self.factor) if self.count is None else self.count
        z, y, x = shape
        return ThickSlices((z, y, x), self.factor, self.fwhm, self.axis, self.thickness)

    def initial(self) -> Tensor:
        return cubic(self.measurement, self.factor, self.shape[axis_number(self.axis)], self.axis)

    def pseudo_inverse(self, iterations: int) -> Callable[[Tensor], Tensor]:
        return self._operator().pseudo_inverse

    def clamped(self, volume: Tensor) -> Tensor:
        if self.clipped:
            return super().clamped(volume)
        low, high = self._open
        inside = volume.clamp(0, 1)
        return torch.where(((volume < 0) & low) | ((volume > 1) & high), volume, inside)

    @cached_property
    def _open(self) -> tuple[Tensor, Tensor]:
        """Where values below 0, and where values above 1 must be allowed: beside slices that were measured so."""
        operator = self._operator()
        count, number = operator.domain[operator.number], operator.number
        # Thin slices in a gap belong to the two thick ones they lie between.
        place = (np.arange(count) - (self.factor - 1) / 2) / self.factor
        near = np.abs(place[:, None] - np.arange(len(operator.matrix))) < 1
        seen = np.transpose(np.asarray(operator.matrix, np.float64)) > 0
        seen = (seen | (near & ~seen.any(1, keepdims=True))).astype(float)
        y = self.measurement
        return mix_along(seen, (y < 0).float(), number) > 0, mix_along(seen, (y > 1).float(), number) > 0
