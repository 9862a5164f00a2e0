"""Averaged weights: what a run exports instead of its last step.

The last weights of a run carry the noise of the last gradients; their average over some recent part of the run does
not. EDM2 (Karras et al., CVPR 2024, section 3.1) averages with a power of time, so that the part grows with the run,

    theta_hat(t) = integral_0^t  s^gamma theta(s) ds / integral_0^t s^gamma ds,

which is the running update theta_hat <- beta theta_hat + (1 - beta) theta with beta = (1 - n/t)^(gamma + 1) after n
more images of t. Its profile has, relative to the length of the run, the standard deviation

    width = sqrt(gamma + 1) / ((gamma + 2) sqrt(gamma + 3)),

by which averages are named. Nothing has to be known of the run's length. Two widths are kept, and the lower
validation loss decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from coslice.errors import CosliceError

__all__ = ["Average", "exponent"]


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
    """A power-function average of a network's parameters, relative width `width`."""

    def __init__(self, network: nn.Module, width: float):
        self.width, self._power = width, exponent(width) + 1
        self.weights = {name: value.detach().clone() for name, value in network.named_parameters()}

    @torch.no_grad()
    def update(self, parameters: Sequence[Tensor], seen: int, total: int) -> None:
        """Take in the weights after `seen` more images, `total` in all."""
        fresh = 1 - (1 - seen / total) ** self._power
        torch._foreach_lerp_(list(self.weights.values()), list(parameters), fresh)  # pyright: ignore[reportPrivateImportUsage]

    def load(self, weights: dict[str, Tensor]) -> None:
        """Go on from stored averages."""
        for name, value in self.weights.items():
            value.copy_(weights[name])
