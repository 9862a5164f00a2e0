"""The intervals of runs: which calibration applies, what it gives, and why there is none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from coslice.methods import Method, differing
from coslice.plans import Plan
from coslice.problems import Problem, ThickSliceProblem
from coslice.runs import Result
from coslice.uncertainty import Calibration, Conditions, Coverage, coverage, find_calibration, why_none

__all__ = ["LEVEL", "Interval", "conditions_of", "find_intervals"]

LEVEL = 90.0
"""Percent, of the interval that is written."""


@dataclass(frozen=True)
class Interval:
    """What is known of the uncertainty of a reconstruction.

    Attributes:
        deviation: of the samples, or another map in its place, (z, y, x) in units of the window, on the CPU.
        half_width: of the interval about the reconstruction, likewise; None where no calibration applies.
        calibration: which one does.
        reason: why none does, a sentence; else "".
    """

    deviation: Tensor
    half_width: Tensor | None = None
    calibration: Calibration | None = None
    reason: str = ""

    def covered(self, truth: Tensor, reconstruction: Tensor) -> dict[str, float]:
        """How much of a known truth the interval holds, for metrics.json; nothing where there is none.

        Args:
            truth, reconstruction: (z, y, x) in the unit window.
        """
        if self.half_width is None or not bool(truth.max() > truth.min()):
            return {}
        held: Coverage = coverage(truth.cpu(), reconstruction.cpu(), self.half_width)
        return {f"coverage_{LEVEL:g}": held.body, f"coverage_{LEVEL:g}_everywhere": held.everywhere}

    @property
    def record(self) -> dict[str, Any]:
        """What run.json says of it."""
        if self.calibration is None:
            return {"calibration": None, "reason": self.reason}
        return {"level": LEVEL, "calibration": self.calibration.as_tree()}


def find_intervals(
    plans: Mapping[str, Plan], results: Mapping[str, Result], known: tuple[Calibration, ...] | None = None
) -> dict[str, Interval]:
    """By file stem, the intervals of results that have a deviation.

    Args:
        plans, results: by file stem.
        known: calibrations to choose among; None is those that come with the package.
    """
    found: dict[str, Interval] = {}
    for stem, result in results.items():
        if result.deviation is None:
            continue
        deviation, run = result.deviation.cpu(), conditions_of(plans[stem], result.source)
        calibration = find_calibration(run, known)
        if calibration is None:
            found[stem] = Interval(deviation, reason=why_none(run, known))
        else:
            found[stem] = Interval(deviation, calibration.half_width(deviation, LEVEL), calibration)
    return found


def conditions_of(planned: Plan, source: str = "samples") -> Conditions:
    """What a calibration must have been fitted for to apply to a run.

    Args:
        planned: the run.
        source: of its deviation, see `Conditions`.
    """
    method, (dz, dy, dx) = planned.method, planned.problem.spacing
    one = replace(method, samples=1) if isinstance(method, Method) else method
    return Conditions(
        method=method.name,
        task=_task(planned.problem),
        priors=tuple(prior.name for prior in planned.priors),
        samples=method.samples if isinstance(method, Method) else 1,
        between=(dz, dz),
        within=(min(dy, dx), max(dy, dx)),
        source=source,
        settings=json.loads(json.dumps(differing(one))),  # as a file gives them back
    )


def _task(problem: Problem) -> str:
    """A word for the measurement; a real one is no simulated one, and noise of one size none of another."""
    word = problem.task or f"measured {problem.kind or type(problem).__name__}"
    if isinstance(problem, ThickSliceProblem) and problem.fwhm is not None:
        word += f"-fwhm-{problem.fwhm:g}"
    # Of photons it depends on the scan a little: the first digit is what calibrations can share.
    return word + (f" with noise of {problem.noise:.0e}" if problem.noise > 0 else "")
