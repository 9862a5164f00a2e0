"""What a run gives, and what it is of."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from coslice.plans import Plan
from coslice.problems import Study
from coslice.upper_floors import ask

__all__ = ["Result"]


@dataclass(frozen=True, repr=False)
class Result:
    """What a run gives.

    Attributes:
        reconstruction: (z, y, x), clipped to the unit window, but where a real measurement itself goes beyond it, see
            `coslice.problems.Problem.clamped`; the mean of the samples.
        initial: the first reconstruction, clipped likewise.
        trajectory: of the first sample, per step: "step", "sigma", "psnr", "sdiff", "lpips", see
            `coslice.metrics.Watcher`.
        seconds: per phase; "prior", "fidelity" and "renoising" are sums over the steps of all samples.
        deviation: the sample standard deviation of the samples, (z, y, x) in units of the window, before clipping;
            None of one sample. It is narrower than the error, see `coslice.uncertainty`.
        source: where the deviation comes from; a calibration is for one source.
        resumed: how often the run went on from a kept state.
        evaluations: how often the priors predicted the whole volume, over all samples, see
            `coslice.methods.Method.evaluations`; as it was counted, also by parts of one's own.
        plan: what was run; None of a result that no run gave.
        study: what was given to `coslice.run`, where that was a study; it knows the window and the truth.
    """

    reconstruction: Tensor
    initial: Tensor
    trajectory: list[dict[str, float | int | None]]
    seconds: dict[str, float]
    deviation: Tensor | None = None
    source: str = "samples"
    resumed: int = 0
    evaluations: int = 0
    plan: Plan | None = field(default=None, compare=False)
    study: Study | None = field(default=None, compare=False)

    def report(self, path: str | Path, study: Study | None = None) -> Path:
        """Write the page of this run: the volumes in a viewer, the metrics, slices, errors, course, seconds, recipe.

        It is the page that `coslice reconstruct` writes, one HTML file that needs no network.

        Args:
            path: the file, such as "x.html"; an old one is replaced whole or not at all.
            study: what was measured. None is the study that `coslice.run` was given; where it was given a problem
                alone, nothing says what 0 and 1 are nor what the truth is, and the page says so.

        Returns:
            The path.

        Raises:
            CosliceError: a result that no run gave, a study of another measurement, or a path that cannot be written.
        """
        return ask("report", self, path, study)

    def show(self, **how: Any) -> Any:
        """Look at the first reconstruction, this one, and the truth where it is known; as `coslice.show(result)`."""
        return ask("show", self, **how)

    def __repr__(self) -> str:
        label = "no plan" if self.plan is None else self.plan.label
        voxels = " x ".join(map(str, self.reconstruction.shape))
        low, high = self.reconstruction.aminmax()
        samples = "" if self.deviation is None else ", with the deviation of its samples"
        return (
            f"Result({label}: {voxels} voxels (z, y, x), {low:.3g} to {high:.3g} in the unit window{samples}; "
            f"{self.evaluations} evaluations, {sum(self.seconds.values()):.3g} s)"
        )

    def _repr_html_(self) -> str:
        return ask("html", self)
