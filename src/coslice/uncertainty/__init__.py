"""How far a reconstruction may be from the truth: the spread of samples, calibrated on scans whose truth is known.

    deviation   the standard deviation of the samples of a run: what they disagree about; too small, see below
    interval    half of the width of an interval about the reconstruction that held the truth of 90 % of the voxels of
                the bodies in the training scans

Samples of a diffusion sampler share the errors of their prior, so they agree where they are wrong together, and their
spread alone is too narrow. `Calibration` widens it by what was measured on training scans. It is fitted for a method
with all its settings, a task, priors and a number of samples, and says where it does not apply.
"""

from coslice.uncertainty.calibration import LEVELS, Calibration, Case
from coslice.uncertainty.conditions import Conditions
from coslice.uncertainty.reliability import Coverage, body_mask, coverage, reliability_curve
from coslice.uncertainty.shipped import find_calibration, read_calibration, shipped_calibrations, why_none
from coslice.uncertainty.welford import Welford

__all__ = [
    "LEVELS",
    "Calibration",
    "Case",
    "Conditions",
    "Coverage",
    "Welford",
    "body_mask",
    "coverage",
    "find_calibration",
    "read_calibration",
    "reliability_curve",
    "shipped_calibrations",
    "why_none",
]
