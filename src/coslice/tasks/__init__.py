"""What was measured: a task makes an inverse problem, y = A x.

A `Problem` is all that a method needs to know of a task. Simulated ones are made from a known volume, as both papers
do, by an `Acquisition`; `thick_slices` makes one of a real scan.
"""

from coslice.tasks.acquisition import TASKS, Acquisition
from coslice.tasks.ct import BEAMS, Beam, cone_beam_ct, parallel_beam_ct, view_angles
from coslice.tasks.problem import Problem
from coslice.tasks.zsr import PUBLISHED_FACTOR, simulated_thick_slices, thick_slices

__all__ = [
    "BEAMS",
    "PUBLISHED_FACTOR",
    "TASKS",
    "Acquisition",
    "Beam",
    "Problem",
    "cone_beam_ct",
    "parallel_beam_ct",
    "simulated_thick_slices",
    "thick_slices",
    "view_angles",
]
