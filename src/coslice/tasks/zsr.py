"""Super-resolution along z (zsr): thin slices from thick ones, as an MR scan of thick slices needs."""

from __future__ import annotations

from torch import Tensor

from coslice.classical import cubic
from coslice.measurement_noise import MeasurementNoise, measured, standard_deviation
from coslice.operators import ThickSlices
from coslice.tasks.problem import Problem

__all__ = ["PUBLISHED_FACTOR", "simulated_thick_slices", "thick_slices"]

PUBLISHED_FACTOR = 5
"""Thin slices per thick one (section 4.1)."""


def thick_slices(thick: Tensor, factor: int, fwhm: float | None = None, count: int | None = None) -> Problem:
    """The problem of a scan with thick slices.

    Args:
        thick: y, (m, y, x) in the unit window, on the device to work on.
        factor: thin slices per thick one.
        fwhm: of the slice profile, in thin slices; None is a box.
        count: thin slices to reconstruct, at most `factor` m and more than that less a thick one; None is all.

    Raises:
        CosliceError: as `ThickSlices`.
    """
    count = factor * len(thick) if count is None else count
    return _problem(ThickSlices((count, thick.shape[1], thick.shape[2]), factor, fwhm), thick)


def simulated_thick_slices(
    truth: Tensor, factor: int, fwhm: float | None = None, noise: MeasurementNoise | None = None, seed: int = 0
) -> Problem:
    """Simulate thick slices of `truth` (z, y, x), which is in the unit window, and so is the noise.

    Raises:
        CosliceError: as `ThickSlices`; noise of photons, which MR has not.
    """
    operator = ThickSlices((truth.shape[0], truth.shape[1], truth.shape[2]), factor, fwhm)
    thick = operator.forward(truth)
    if noise is None:
        return _problem(operator, thick)
    return _problem(operator, measured(thick, noise, seed), standard_deviation(thick, noise))


def _problem(operator: ThickSlices, thick: Tensor, noise: float = 0.0) -> Problem:
    return Problem(
        kind="zsr",
        operator=operator,
        measurement=thick,
        initial=lambda: cubic(thick, operator.factor, operator.domain[0]),
        pseudo_inverse=lambda iterations: operator.pseudo_inverse,
        initial_title="Cubic",
        description=repr(operator),
        noise=noise,
    )
