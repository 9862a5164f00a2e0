"""What was measured: problems as values, and the simulated tasks that make them of a known volume.

A `Problem` is all that a method needs to know of a measurement: `CTProblem`, `ThickSliceProblem`, or a `LinearProblem`
with an operator of your own. A `Task` simulates one; a `Study` is a scan with its problem.
"""

from coslice.problems.ct import CTProblem
from coslice.problems.problem import LinearProblem, Problem
from coslice.problems.ray_weights import relative_weights
from coslice.problems.residual import Residual, remarks_on_residual, residuals
from coslice.problems.scanners import BEAMS, published_cone_beam, published_parallel_beam
from coslice.problems.study import Study, from_thick_slices, simulate
from coslice.problems.super_resolution import ThickSliceProblem
from coslice.problems.tasks import (
    TASKS,
    LimitedAngleCT,
    SliceSuperResolution,
    SparseViewCT,
    Task,
    make_task,
    task_of_key,
)

__all__ = [
    "BEAMS",
    "TASKS",
    "CTProblem",
    "LimitedAngleCT",
    "LinearProblem",
    "Problem",
    "Residual",
    "SliceSuperResolution",
    "SparseViewCT",
    "Study",
    "Task",
    "ThickSliceProblem",
    "from_thick_slices",
    "make_task",
    "published_cone_beam",
    "published_parallel_beam",
    "relative_weights",
    "remarks_on_residual",
    "residuals",
    "simulate",
    "task_of_key",
]
