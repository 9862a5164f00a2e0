"""The page of one result, from what the result knows: `result.report("x.html")`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from coslice.errors import CosliceError
from coslice.io.files import check_target
from coslice.output import find_intervals, measure, run_record
from coslice.plans import Plan
from coslice.preparation import Preparation
from coslice.problems import Problem, Study
from coslice.report.run_page import write_page
from coslice.run_result import Result
from coslice.volume import Volume
from coslice.window import Window

__all__ = ["write_result_page"]

_STEM = "reconstruction"


def write_result_page(result: Result, path: str | Path, study: Study | None = None) -> Path:
    """Write the page of a result; see `coslice.Result.report`, which this answers.

    Args:
        result: as `coslice.run` gives it.
        path: the HTML file.
        study: what was measured; None is that of the result, or else what the problem itself says.

    Returns:
        The path.

    Raises:
        CosliceError: a result without a plan, a study of another measurement, or a path that cannot be written.
    """
    planned: Any = result.plan
    if not isinstance(planned, Plan):
        raise CosliceError(
            "report: a result without a plan was given, so nothing says what was measured and how; a result of "
            "coslice.run is needed."
        )
    target = check_target(path)  # before the metrics, which take their time
    study = study or result.study
    if study is None:
        study = _bare(planned.problem)
    elif not _same(study.problem, planned.problem):
        raise CosliceError(
            f"report: the study {study.title} was given, but the result is of another measurement; give the study "
            "whose problem was run."
        )
    plans, results = {_STEM: planned}, {_STEM: result}
    intervals = find_intervals(plans, results)
    measured = measure(study, results, intervals=intervals)
    record = run_record(study, plans, results, intervals, measured.residuals)
    write_page(target, study, plans, results, measured, record, intervals=intervals)
    return target


def _bare(problem: Problem) -> Study:
    """A study of all that a problem says: the grid, and neither a window nor a truth."""
    affine = np.diag([*problem.spacing[::-1], 1.0])
    volume = Volume(torch.zeros(1).expand(problem.shape), affine)
    said = (
        "Values are those of the unit window and there is no truth: coslice.run was given a problem, which knows "
        "neither. coslice.run(study), or report(path, study), has both."
    )
    return Study(volume, Window(0.0, 1.0, ""), None, problem, None, Preparation(), "A measurement", remarks=(said,))


def _same(one: Problem, other: Problem) -> bool:
    """Whether two problems are of one measurement, wherever it lies."""
    if one is other:
        return True
    y, other_y = one.measurement.cpu(), other.measurement.cpu()
    return one.shape == other.shape and y.shape == other_y.shape and bool(torch.equal(y, other_y))
