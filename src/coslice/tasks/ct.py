"""Cone-beam CT: sparse views (svct) spread over a full turn, or a limited angle (lact) seen at one view per degree."""

from __future__ import annotations

import math

from torch import Tensor

from coslice.classical import Sirt, fdk
from coslice.errors import CosliceError
from coslice.geometry import Grid, limited_angle, sparse_view
from coslice.measurement_noise import MeasurementNoise, line_integrals, measured, standard_deviation
from coslice.methods import published_cone_beam
from coslice.operators import Projector
from coslice.tasks.problem import Problem
from coslice.volume import CT_WINDOW, Window

__all__ = ["PUBLISHED_WEDGE", "cone_beam_ct", "view_angles"]

PUBLISHED_WEDGE = 100.0
"""Of limited-angle CT, degrees (section 4.1)."""


def view_angles(task: str, views: int | None = None, angle: float | None = None) -> tuple[float, ...]:
    """View angles in rad of a CT task.

    Args:
        task: "svct" or "lact".
        views: number of views; 30 for svct, one per degree for lact.
        angle: lact's wedge in degrees, 100 as published; svct takes none.

    Raises:
        CosliceError: a wedge for svct, no views, or a wedge that is none.
    """
    if task == "svct":
        if angle is not None:
            raise CosliceError(
                f"task svct: an angle of {angle:g} degrees was given, but sparse views cover the full turn; "
                "leave --angle out or choose --task lact."
            )
        return sparse_view(30 if views is None else views)
    wedge = PUBLISHED_WEDGE if angle is None else angle
    if not 0 < wedge <= 360:
        raise CosliceError(
            f"task lact: an angle of {wedge:g} degrees was given, more than 0 and at most 360 is needed."
        )
    return limited_angle(math.radians(wedge), max(1, round(wedge)) if views is None else views)


def cone_beam_ct(
    truth: Tensor,
    spacing: tuple[float, float, float],
    angles: tuple[float, ...],
    noise: MeasurementNoise | None = None,
    seed: int = 0,
    window: Window = CT_WINDOW,
) -> Problem:
    """Simulate cone-beam projections of `truth` (z, y, x) in the published geometry, scaled to its field of view.

    Args:
        truth: in the unit window, on the device to work on.
        spacing: (dz, dy, dx) in mm.
        angles: view angles in rad.
        noise: of the line integrals of attenuation; None for none.
        seed: of the noise.
        window: HU of unit 0 and 1, which say what a line integral attenuates.
    """
    grid = Grid(tuple(truth.shape), spacing)  # type: ignore[arg-type]
    geometry = published_cone_beam(angles, grid)
    operator = Projector(geometry, grid)
    measurement, deviation = operator.forward(truth), 0.0
    if noise is not None:
        lines = line_integrals(operator, window, device=truth.device)
        deviation = standard_deviation(measurement, noise, lines)
        measurement = measured(measurement, noise, seed, lines)
    return Problem(
        kind="ct",
        operator=operator,
        measurement=measurement,
        initial=lambda: fdk(measurement, geometry, grid),
        pseudo_inverse=lambda iterations: Sirt(operator, iterations),
        initial_title="FDK",
        description=repr(geometry),
        unit=max(grid.size[1:]) / max(grid.shape[1:]),
        noise=deviation,
    )
