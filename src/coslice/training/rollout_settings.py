"""What of a sampler's own steps a prior is trained on, beside noise; see `coslice.training.supply.rollouts`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from coslice.methods import Method, changed, find_method
from coslice.problems import task_of_key
from coslice.training.sections import need

__all__ = ["RolloutSettings", "check_shares"]

_MOST_PIXELS = 4096


@dataclass(frozen=True)
class RolloutSettings:
    """Reconstructions of the training scans, whose steps are shown to the network.

    Attributes:
        tasks: keys, see `coslice.problems.task_of_key`; each scan is measured and reconstructed for every one.
        share: of the steps of training that show them.
        method: name of a method that samples.
        set: settings of the method that are not its usual ones, as in a recipe: {noise: iscs, schedule: {steps: 15}}.
        priors: the method's; none: the one that training starts from.
        size: side of the slices in pixels.
        slices: of a scan in one reconstruction, next to each other.
        slabs: reconstructions of each scan and task, each of other slices.
        levels: steps of a reconstruction that are kept, evenly spread over all but the last.
        shrink: the errors are multiplied by a random number from this to 1, so that the prior also meets those of a
            sampler that has become better by it.

    Raises:
        CosliceError: no task or one that is none, an unknown method or one that does not sample, a number out of range.
    """

    tasks: tuple[str, ...]
    share: float = 0.5
    method: str = "dds"
    set: dict[str, Any] = field(default_factory=lambda: {"noise": "iscs", "schedule": {"steps": 15}})
    priors: tuple[str, ...] = ()
    size: int = 128
    slices: int = 24
    slabs: int = 1
    levels: int = 12
    shrink: float = 0.5

    def __post_init__(self) -> None:
        good = bool(self.tasks) and len(set(self.tasks)) == len(self.tasks)
        need(good, "rollouts.tasks", self.tasks, "one or more different tasks, as svct-cone-30 or zsr-5")
        kinds = {task_of_key(task).problem_kind for task in self.tasks}
        need(len(kinds) == 1, "rollouts.tasks", self.tasks, "all of CT or all of MR")
        need(0 < self.share <= 1, "rollouts.share", self.share, "above 0 and at most 1")
        need(32 <= self.size <= _MOST_PIXELS, "rollouts.size", self.size, f"32 to {_MOST_PIXELS:,} pixels")
        for name in ("slices", "slabs", "levels"):
            need(getattr(self, name) >= 1, f"rollouts.{name}", getattr(self, name), "at least 1")
        need(0 < self.shrink <= 1, "rollouts.shrink", self.shrink, "above 0 and at most 1")
        sampling = isinstance(self.changed_method, Method) and self.changed_method.schedule.steps > 1
        need(sampling, "rollouts.method", self.method, "a method that samples, in two steps or more")
        need(self.changed_method.samples == 1, "rollouts.set.samples", self.changed_method.samples, "1")

    @property
    def kind(self) -> str:
        """Kind of the problems, see `coslice.problems.Problem`."""
        return task_of_key(self.tasks[0]).problem_kind

    @property
    def changed_method(self) -> Any:
        """The method with its settings."""
        return changed(find_method(self.method, self.kind), self.set, who="train", path="rollouts.set.")


def check_shares(rollouts: tuple[RolloutSettings, ...]) -> None:
    """Refuse shares that leave nothing for noise.

    Raises:
        CosliceError: they add up to more than 1.
    """
    total = sum(one.share for one in rollouts)
    need(total <= 1 + 1e-9, "the sum of rollouts.share", f"{total:g}", "at most 1; what is left shows noise")
