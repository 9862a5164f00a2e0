"""What was measured: a task makes an inverse problem, y = A x.

A `Problem` is all that a method needs to know of a task. Simulated ones are made here from a known volume, as
both papers do; sparse-view CT (svct) spreads its views over a full turn, limited-angle CT (lact) has one view
per degree of a wedge.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from coslice.classical import Sirt, fdk
from coslice.errors import CosliceError
from coslice.geometry import Grid, limited_angle, sparse_view
from coslice.methods import published_cone_beam
from coslice.operators import Operator, Projector

__all__ = ["PUBLISHED_WEDGE", "TASKS", "Problem", "cone_beam_ct", "view_angles"]

TASKS = {"svct": "Sparse-view CT", "lact": "Limited-angle CT"}
"""Tasks by the name the command line gives them."""

PUBLISHED_WEDGE = 100.0
"""Of limited-angle CT, degrees (section 4.1)."""


@dataclass(frozen=True)
class Problem:
    """y = A x and the two inverses that cost no prior.

    Attributes:
        operator: A, from volumes (z, y, x) in the unit window.
        measurement: y.
        initial: the analytic reconstruction, where sampling starts from: FDK for CT.
        pseudo_inverse: iterations -> A-dagger, as DDNM uses it: SIRT for CT.
        initial_title: what tables call it.
        description: the geometry in words that rebuild it.
    """

    operator: Operator
    measurement: Tensor
    initial: Callable[[], Tensor]
    pseudo_inverse: Callable[[int], Callable[[Tensor], Tensor]]
    initial_title: str
    description: str


def view_angles(task: str, views: int | None = None, angle: float | None = None) -> tuple[float, ...]:
    """View angles in rad of a CT task.

    Args:
        task: "svct" or "lact".
        views: number of views; 30 for svct, one per degree for lact.
        angle: lact's wedge in degrees, 100 as published; svct takes none.

    Raises:
        CosliceError: an unknown task, no views, or a wedge that is none.
    """
    if task == "svct":
        if angle is not None:
            raise CosliceError(
                f"task svct: an angle of {angle:g} degrees was given, but sparse views cover the full turn; "
                "leave --angle out or choose --task lact."
            )
        return sparse_view(30 if views is None else views)
    if task == "lact":
        wedge = PUBLISHED_WEDGE if angle is None else angle
        if not 0 < wedge <= 360:
            raise CosliceError(
                f"task lact: an angle of {wedge:g} degrees was given, more than 0 and at most 360 is needed."
            )
        return limited_angle(math.radians(wedge), max(1, round(wedge)) if views is None else views)
    raise CosliceError(f'task: "{task}" was given, but the tasks are {", ".join(TASKS)}.')


def cone_beam_ct(truth: Tensor, spacing: tuple[float, float, float], angles: tuple[float, ...]) -> Problem:
    """Simulate cone-beam projections of `truth` (z, y, x) in the published geometry, scaled to its field of view.

    Args:
        truth: in the unit window, on the device to work on.
        spacing: (dz, dy, dx) in mm.
        angles: view angles in rad.
    """
    grid = Grid(tuple(truth.shape), spacing)  # type: ignore[arg-type]
    geometry = published_cone_beam(angles, grid)
    operator = Projector(geometry, grid)
    measurement = operator.forward(truth)
    return Problem(
        operator=operator,
        measurement=measurement,
        initial=lambda: fdk(measurement, geometry, grid),
        pseudo_inverse=lambda iterations: Sirt(operator, iterations),
        initial_title="FDK",
        description=repr(geometry),
    )
