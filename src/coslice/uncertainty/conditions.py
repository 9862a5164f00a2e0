"""What a calibration was fitted for, and what a run must be for it to apply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Conditions"]

_SLACK = 1.25
"""A spacing may lie outside the fitted range by this factor: scans of one protocol differ by as much."""


@dataclass(frozen=True)
class Conditions:
    """What the error of a reconstruction depends on besides the patient.

    Attributes:
        method: name of the method.
        settings: those of its settings that differ from their first publication, as
            `coslice.methods.changes.differing` gives them; not the number of samples.
        task: key of the measurement, such as "svct-cone-30"; with "noise" behind it where y has some.
        priors: names of the priors.
        source: where the deviation comes from: "samples", or "last 10 steps" of a single run, say.
        samples: how many the reconstruction is the mean of.
        between: (smallest, largest) distance between slices, mm; of a run both are its own.
        within: the same of the pixels in a slice, mm.
    """

    method: str
    task: str
    priors: tuple[str, ...]
    samples: int
    between: tuple[float, float]
    within: tuple[float, float]
    source: str = "samples"
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)

    def differences(self, run: Conditions) -> list[str]:
        """Why what was fitted under these conditions does not apply to a run, in words; empty where it does."""
        words = (
            ("method", self.method, run.method),
            ("task", self.task, run.task),
            ("prior", " and ".join(self.priors), " and ".join(run.priors)),
            ("source of the deviation", self.source, run.source),
            ("number of samples", self.samples, run.samples),
        )
        found = [
            f"the {name} is {mine or 'none'}, not {other or 'none'}" for name, mine, other in words if mine != other
        ]
        if self.method == run.method and self.settings != run.settings:
            found.append(f"the settings of {run.method} are others")
        for name, mine, other in (("slices", self.between, run.between), ("pixels", self.within, run.within)):
            if other[0] < mine[0] / _SLACK or other[1] > mine[1] * _SLACK:
                found.append(f"the {name} are {_range(mine)} mm apart, not {_range(other)}")
        return found

    def joined(self, others: list[Conditions]) -> Conditions:
        """The same with the ranges of spacings that hold these and `others`."""
        every = [self, *others]
        between = min(one.between[0] for one in every), max(one.between[1] for one in every)
        within = min(one.within[0] for one in every), max(one.within[1] for one in every)
        return Conditions(
            self.method, self.task, self.priors, self.samples, between, within, self.source, self.settings
        )


def _range(ends: tuple[float, float]) -> str:
    low, high = (f"{mm:.3g}" for mm in ends)
    return low if low == high else f"{low} to {high}"
