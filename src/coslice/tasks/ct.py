"""CT: sparse views (svct) spread over all directions, or a limited angle (lact) seen at one view per degree.

The beam is a cone, as in the ISCS paper (Du et al., ICLR 2026, section 4.1), or parallel, as in DiffusionBlend (Song et
al., NeurIPS 2024, section 4): a stack of 2D scans, whose slices do not mix. A parallel view and its opposite are one
another's mirror image, so its views are spread over half a turn, those of a cone over a whole one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from coslice.classical import Sirt, fdk
from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, Grid, ParallelBeam, limited_angle, sparse_view
from coslice.measurement_noise import MeasurementNoise, line_integrals, measured, standard_deviation
from coslice.methods import published_cone_beam, published_parallel_beam
from coslice.operators import Projector
from coslice.tasks.problem import Problem
from coslice.volume import CT_WINDOW, Window

__all__ = ["BEAMS", "Beam", "cone_beam_ct", "parallel_beam_ct", "view_angles", "wedge_of"]


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
    grid = _grid(truth, spacing)
    return _simulated(truth, published_cone_beam(angles, grid), grid, "FDK", noise, seed, window)


def parallel_beam_ct(
    truth: Tensor,
    spacing: tuple[float, float, float],
    angles: tuple[float, ...],
    noise: MeasurementNoise | None = None,
    seed: int = 0,
    window: Window = CT_WINDOW,
) -> Problem:
    """The same with parallel rays, slice by slice: arguments as `cone_beam_ct`."""
    grid = _grid(truth, spacing)
    return _simulated(truth, published_parallel_beam(angles, grid), grid, "FBP", noise, seed, window)


def _grid(truth: Tensor, spacing: tuple[float, float, float]) -> Grid:
    return Grid((truth.shape[0], truth.shape[1], truth.shape[2]), spacing)


def _simulated(
    truth: Tensor,
    geometry: ConeBeam | ParallelBeam,
    grid: Grid,
    initial_title: str,
    noise: MeasurementNoise | None,
    seed: int,
    window: Window,
) -> Problem:
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
        initial_title=initial_title,
        description=repr(geometry),
        unit=max(grid.size[1:]) / max(grid.shape[1:]),
        noise=deviation,
        spacing=grid.spacing,
    )


@dataclass(frozen=True)
class Beam:
    """A kind of scanner, and the published numbers of its tasks.

    Attributes:
        simulated: the problem of a known volume; arguments as `cone_beam_ct`.
        turn: after how many degrees a view shows nothing new.
        views: of svct.
        wedge: of lact, degrees.
    """

    simulated: Callable[..., Problem]
    turn: float
    views: int
    wedge: float


BEAMS = {
    "cone": Beam(cone_beam_ct, turn=360.0, views=30, wedge=100.0),
    "parallel": Beam(parallel_beam_ct, turn=180.0, views=8, wedge=90.0),
}
"""By the name the command line gives them."""


def wedge_of(beam: str, angle: float | None) -> float:
    """The wedge of lact in degrees: `angle`, or as published for a name in `BEAMS`."""
    return BEAMS[beam].wedge if angle is None else angle


def view_angles(
    task: str, views: int | None = None, angle: float | None = None, beam: str = "cone"
) -> tuple[float, ...]:
    """View angles in rad of a CT task.

    Args:
        task: "svct" or "lact".
        views: number of views; for svct 30 of a cone beam, 8 of a parallel one; one per degree for lact.
        angle: lact's wedge in degrees, as published 100 of a cone beam, 90 of a parallel one; svct takes none.
        beam: a name in `BEAMS`.

    Raises:
        CosliceError: a wedge for svct, no views, or a wedge that is none.
    """
    turn = BEAMS[beam].turn
    if task == "svct":
        if angle is not None:
            raise CosliceError(
                f"task svct: an angle of {angle:g} degrees was given, but sparse views cover all directions; "
                "leave --angle out or choose --task lact."
            )
        return sparse_view(BEAMS[beam].views if views is None else views, math.radians(turn))
    wedge = wedge_of(beam, angle)
    if not 0 < wedge <= turn:
        raise CosliceError(
            f"task lact: an angle of {wedge:g} degrees was given, more than 0 and at most {turn:g} is needed with a "
            f"{beam} beam."
        )
    return limited_angle(math.radians(wedge), max(1, round(wedge)) if views is None else views)
