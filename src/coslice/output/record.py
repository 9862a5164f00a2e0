"""The record of a run: all that is needed to run it again, and what it took."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from coslice.identities import version_of
from coslice.methods import Method, described
from coslice.output.intervals import Interval
from coslice.plans import Plan
from coslice.problems import Study
from coslice.problems.residual import Residual
from coslice.runs import Result

__all__ = ["peak_memory_mb", "run_record"]


def run_record(
    study: Study,
    plans: Mapping[str, Plan],
    results: Mapping[str, Result],
    intervals: Mapping[str, Interval] = MappingProxyType({}),
    residuals: Mapping[str, Residual] = MappingProxyType({}),
) -> dict[str, Any]:
    """What run.json holds.

    Args:
        study: what was measured.
        plans, results, intervals, residuals: by file stem.
    """
    versions = {name: version_of(name) for name in ("torch", "numpy", "numba", "nibabel")}
    cards = {id(prior): prior.card for planned in plans.values() for prior in planned.priors}
    computing = {
        stem: [planned.method.prior.computing(prior) for prior in planned.priors]
        for stem, planned in plans.items()
        if isinstance(planned.method, Method)
    }
    return {
        "coslice": version_of("coslice"),
        "study": study.settings,
        "remarks": list(study.told),
        "recipes": {stem: _chosen(planned) for stem, planned in plans.items()},
        "methods": {stem: described(planned.method) for stem, planned in plans.items()},
        "priors": list(cards.values()),
        "arithmetic": {stem: [prior.products for prior in asked] for stem, asked in computing.items() if asked},
        "seconds": {stem: result.seconds for stem, result in results.items()},
        "evaluations": {stem: result.evaluations for stem, result in results.items()},
        **_resumed(results),
        "peak_memory_mb": peak_memory_mb(),
        "device": str(study.problem.measurement.device),
        "versions": versions | {"python": platform.python_version()},
        "trajectory": {stem: result.trajectory for stem, result in results.items() if result.trajectory},
        "residual": {stem: one.record for stem, one in residuals.items()},
        **({"uncertainty": {stem: one.record for stem, one in intervals.items()}} if intervals else {}),
    }


def _resumed(results: Mapping[str, Result]) -> dict[str, Any]:
    """How often runs went on after they had been stopped, where they did; their seconds are of all their parts."""
    times = {stem: result.resumed for stem, result in results.items() if result.resumed}
    return {"resumed": times} if times else {}


def _chosen(planned: Plan) -> dict[str, Any]:
    """What was chosen of a plan, in the words of the command line."""
    chosen: dict[str, Any] = {"method": planned.method.name, "seed": planned.seed}
    if isinstance(planned.method, Method):
        method = planned.method
        noise = method.noise.kind or type(method.noise).__name__
        chosen |= {"noise": noise, "steps": method.schedule.steps, "samples": method.samples}
        if method.fast:
            chosen["fast"] = True
    return chosen


def peak_memory_mb() -> float | None:
    """The most memory this process has held so far, in MB; None where the system does not say."""
    try:
        import resource  # POSIX only
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
