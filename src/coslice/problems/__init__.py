"""What was measured: problems as values, and the simulated tasks that make them of a known volume.

A `Problem` is all that a method needs to know of a measurement: `CTProblem`, `ThickSliceProblem`, or a `LinearProblem`
with an operator of your own. A `Task` simulates one; a `Study` is a scan with its problem.
"""

from coslice.problems.ct import CTProblem
from coslice.problems.joint_stacks import StackProblem, from_stacks
from coslice.problems.measured_grid import GridChoice
from coslice.problems.modality import modality_of
from coslice.problems.problem import LinearProblem, Problem
from coslice.problems.projections import from_projections
from coslice.problems.ray_weights import relative_weights
from coslice.problems.references import with_reference
from coslice.problems.residual import Residual, remarks_on_residual, residuals
from coslice.problems.scanners import BEAMS, published_cone_beam, published_parallel_beam
from coslice.problems.stated import DetectorChoice, Stated
from coslice.problems.study import Study, simulate
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
from coslice.problems.thick_scans import from_thick_slices, thick_axis
from coslice.problems.transmission_noise import TransmissionNoise

__all__ = [
    "BEAMS",
    "TASKS",
    "CTProblem",
    "DetectorChoice",
    "GridChoice",
    "LimitedAngleCT",
    "LinearProblem",
    "Problem",
    "Residual",
    "SliceSuperResolution",
    "SparseViewCT",
    "StackProblem",
    "Stated",
    "Study",
    "Task",
    "ThickSliceProblem",
    "TransmissionNoise",
    "from_projections",
    "from_stacks",
    "from_thick_slices",
    "make_task",
    "modality_of",
    "published_cone_beam",
    "published_parallel_beam",
    "relative_weights",
    "remarks_on_residual",
    "residuals",
    "simulate",
    "task_of_key",
    "thick_axis",
    "with_reference",
]
