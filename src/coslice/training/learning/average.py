"""Averaged weights: what a run exports instead of its last step.

The last weights of a run carry the noise of the last gradients; their average over some recent part of the run does
not. EDM2 (Karras et al., CVPR 2024, section 3.1) averages with a power of time, so that the part grows with the run,

    theta_hat(t) = integral_0^t  s^gamma theta(s) ds / integral_0^t s^gamma ds,

which is the running update theta_hat <- beta theta_hat + (1 - beta) theta with beta = (1 - n/t)^(gamma + 1) after n
more images of t. Its profile has, relative to the length of the run, the standard deviation

    width = sqrt(gamma + 1) / ((gamma + 2) sqrt(gamma + 3)),

by which averages are named. Nothing has to be known of the run's length. Two widths are kept, and the lower
validation loss decides; others can be had afterwards (`afterwards`).

Published networks are averaged with a constant rate r, theta_hat <- r theta_hat + (1 - r) theta, from the weights they
start with; the code they come from calls it EMA. With r = 0 it is the last weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from coslice.errors import CosliceError
from coslice.training.sections import AverageSettings

__all__ = ["Average", "ExponentialAverage", "averages_of", "exponent"]


def exponent(width: float) -> float:
    """gamma of the average whose relative standard deviation is `width`.

    Raises:
        CosliceError: a width that no gamma >= 0 has (0 < width <= 1/sqrt(12)).
    """
    if not 0 < width <= 12**-0.5:
        raise CosliceError(f"Average: a width of {width:g} was given, above 0 and up to 0.288 is needed; correct it.")
    inverse = width**-2
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


class Average:
    """A power-function average of a network's trained parameters, relative width `width`.

    Attributes:
        name: "0.05", its width in words.
        width: as a number; None of an average that is no power-function average.
    """

    width: float | None

    def __init__(self, network: nn.Module, width: float):
        self.width = width
        self.name, self._power = f"{width:g}", exponent(width) + 1
        self.weights = _trained(network)

    @torch.no_grad()
    def update(self, parameters: Sequence[Tensor], seen: int, total: int) -> None:
        """Take in the weights after `seen` more images, `total` in all."""
        fresh = 1 - (1 - seen / total) ** self._power
        torch._foreach_lerp_(list(self.weights.values()), list(parameters), fresh)  # pyright: ignore[reportPrivateImportUsage]

    def load(self, weights: dict[str, Tensor]) -> None:
        """Go on from stored averages."""
        for name, value in self.weights.items():
            value.copy_(weights[name])


class ExponentialAverage(Average):
    """An average of which a step leaves the share `rate`."""

    def __init__(self, network: nn.Module, rate: float):
        self.width = None
        self.name, self._rate = f"rate {rate:g}", rate
        self.weights = _trained(network)

    @torch.no_grad()
    def update(self, parameters: Sequence[Tensor], seen: int, total: int) -> None:
        """Take in the weights after a step."""
        torch._foreach_lerp_(list(self.weights.values()), list(parameters), 1 - self._rate)  # pyright: ignore[reportPrivateImportUsage]


def averages_of(settings: AverageSettings, network: nn.Module) -> list[Average]:
    """The averages that `settings` name."""
    powers = [Average(network, width) for width in settings.widths]
    return powers + [ExponentialAverage(network, rate) for rate in settings.rates]


def _trained(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.named_parameters() if value.requires_grad}
