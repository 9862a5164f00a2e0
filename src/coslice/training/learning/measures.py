"""What a run measures its averaged weights by, and shows of them.

A diffusion prior is measured at removing noise, an FBP-UNet at its tasks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from coslice.training.learning.optimisers import Mapper
from coslice.training.learning.pair_validation import analytic_errors, pair_errors, pair_picture
from coslice.training.learning.rollout_validation import rollout_errors
from coslice.training.learning.trainer import common_side
from coslice.training.learning.validation import SIGMAS, ErrorTable, Examples, picture, validate
from coslice.training.run_settings import TrainingSettings
from coslice.training.supply.pair_stream import PairStream
from coslice.training.supply.rollout_stream import RolloutStream
from coslice.training.supply.slice_stream import SliceStream

__all__ = ["Measures", "measures_of"]

_ROLLOUTS = 12
"""Images of each task that are measured."""


class Measures(ABC):
    """The measures of a run.

    Args:
        settings: of the run.
        stream: of its images.
        names: scans to measure on.
    """

    def __init__(self, settings: TrainingSettings, stream: Any, names: Sequence[str]):
        self.settings, self.stream, self.names = settings, stream, names

    @property
    @abstractmethod
    def sigma_range(self) -> tuple[float, float]:
        """Lowest and highest label that the denoiser knows."""

    @abstractmethod
    def examples(self, count: int) -> dict[str, Any]:
        """By size, as in "128 px", what to measure on: `count` slices of the smallest, of others as cost the same."""

    @abstractmethod
    def errors(self, denoiser: nn.Module, examples: dict[str, Any], mapper: Mapper, dtype: torch.dtype) -> ErrorTable:
        """Errors of a denoiser, in units of the window, by size of image and sigma or task."""

    @abstractmethod
    def picture(self, denoiser: nn.Module, examples: dict[str, Any], mapper: Mapper, dtype: torch.dtype) -> np.ndarray:
        """A picture (h, w), uint8, of what a denoiser does to some examples of the most frequent size."""

    def notes(self, examples: dict[str, Any]) -> dict[str, Any]:
        """What log and card say besides."""
        return {}

    def more(self, denoiser: nn.Module, mapper: Mapper, dtype: torch.dtype) -> dict[str, Any]:
        """What log and card say besides of a denoiser."""
        return {}

    def _counts(self, count: int) -> dict[int, int]:
        """`count` slices to measure on of the smallest size of image, and of larger ones as many as cost the same."""
        sides = sorted({view.side for view in self.stream.views})
        return {side: max(2, round(count * (sides[0] / side) ** 2)) for side in sides}

    def _common(self, examples: dict[str, Any]) -> Any:
        return examples[f"{common_side(self.settings)} px"]


class _DenoisingMeasures(Measures):
    """Of a diffusion prior: what is left of noise."""

    stream: SliceStream

    @property
    def sigma_range(self) -> tuple[float, float]:
        return self.settings.sigma.lowest, self.settings.sigma.highest

    def examples(self, count: int) -> dict[str, Any]:
        counts = self._counts(count)
        return {f"{side} px": Examples(*self.stream.validation(self.names, n, side)) for side, n in counts.items()}

    def errors(self, denoiser: nn.Module, examples: dict[str, Any], mapper: Mapper, dtype: torch.dtype) -> ErrorTable:
        low, high = self.sigma_range
        sigmas = [sigma for sigma in SIGMAS if low <= sigma <= high]
        tables = {size: validate(denoiser, x, sigmas, mapper, dtype) for size, x in examples.items()}
        return {size: {f"{sigma:g}": rmse for sigma, rmse in row.items()} for size, row in tables.items()}

    def picture(self, denoiser: nn.Module, examples: dict[str, Any], mapper: Mapper, dtype: torch.dtype) -> np.ndarray:
        common = self._common(examples)
        chosen = _spread(len(common.images))
        shown = Examples(common.images[chosen], common.distances[chosen])
        highest = min(self.settings.sigma.highest, 5.0)
        upwards = self.stream.pack.plane.startswith("z")  # people expect heads up
        mean, _ = self.settings.moments
        return picture(denoiser, shown, mean, highest, mapper, dtype, upwards, lowest=self.settings.sigma.lowest)


class _RolloutMeasures(_DenoisingMeasures):
    """Of a diffusion prior that is shown rollouts: what is left of a sampler's errors too."""

    stream: RolloutStream  # pyright: ignore[reportIncompatibleVariableOverride]

    def more(self, denoiser: nn.Module, mapper: Mapper, dtype: torch.dtype) -> dict[str, Any]:
        """Errors of rollouts of the held-out scans, before and after D, in units of the window."""
        tables = self.stream.examples(self.names, _ROLLOUTS)
        return {"rollouts_rmse": rollout_errors(denoiser, tables, mapper, dtype)}


class _PairMeasures(Measures):
    """Of an FBP-UNet: what it makes of analytic reconstructions."""

    stream: PairStream

    @property
    def sigma_range(self) -> tuple[float, float]:
        return min(self.stream.levels.values()), max(self.stream.levels.values())

    def examples(self, count: int) -> dict[str, Any]:
        counts = self._counts(count)
        return {f"{side} px": self.stream.examples(self.names, n, side) for side, n in counts.items()}

    def errors(self, denoiser: nn.Module, examples: dict[str, Any], mapper: Mapper, dtype: torch.dtype) -> ErrorTable:
        return pair_errors(denoiser, examples, mapper, dtype)

    def picture(self, denoiser: nn.Module, examples: dict[str, Any], mapper: Mapper, dtype: torch.dtype) -> np.ndarray:
        common = self._common(examples)
        chosen = _spread(len(next(iter(common.values())).truth))
        return pair_picture(denoiser, {task: x.only(chosen) for task, x in common.items()}, mapper, dtype)

    def notes(self, examples: dict[str, Any]) -> dict[str, Any]:
        """The tasks with their levels, and the errors of the analytic reconstructions."""
        return {"tasks": self.stream.levels, "validation_rmse_analytic": analytic_errors(examples)}


def measures_of(
    settings: TrainingSettings, stream: SliceStream | PairStream | RolloutStream, names: Sequence[str]
) -> Measures:
    """The measures that suit a run; arguments as of `Measures`."""
    kinds = {PairStream: _PairMeasures, RolloutStream: _RolloutMeasures, SliceStream: _DenoisingMeasures}
    return kinds[type(stream)](settings, stream, names)


def _spread(count: int) -> torch.Tensor:
    """Up to three numbers below `count`, evenly spaced."""
    return torch.linspace(0, count - 1, min(3, count)).long()
