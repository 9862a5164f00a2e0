"""An operator whose measurements count by weights: least squares with it are weighted least squares.

With w the weights of the entries of a measurement, |sqrt(w) y - sqrt(w) A z|^2 = sum_i w_i (y_i - (A z)_i)^2. So a
data step that knows nothing of weights minimises the weighted misfit when it is given sqrt(w) A and sqrt(w) y.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.operators.base import Operator

__all__ = ["WeightedRays"]


class WeightedRays(Operator):
    """sqrt(w) A, with the transpose A^T sqrt(w).

    Args:
        operator: A.
        weights: w, of the shape of A's measurements, finite and at least 0.

    Attributes:
        domain, codomain: those of A.

    Raises:
        CosliceError: weights of another shape, or one that is no number from 0 up.
    """

    def __init__(self, operator: Operator, weights: Tensor) -> None:
        if tuple(weights.shape) != tuple(operator.codomain):
            raise CosliceError(
                f"WeightedRays: weights of shape {tuple(weights.shape)} were given, but the operator measures "
                f"{tuple(operator.codomain)}."
            )
        if not bool(weights.isfinite().all()) or bool((weights < 0).any()):
            raise CosliceError("WeightedRays: a weight is below 0 or no finite number; give each ray one from 0 up.")
        weights = operator.arranged(weights)
        self.operator, self.weights, self._roots = operator, weights, weights.sqrt()
        self.domain, self.codomain = operator.domain, operator.codomain

    def __repr__(self) -> str:
        return f"WeightedRays({self.operator!r})"

    def forward(self, volume: Tensor) -> Tensor:
        """sqrt(w) A x."""
        return self.operator.forward(volume) * self._roots

    def adjoint(self, measurement: Tensor) -> Tensor:
        """A^T sqrt(w) y."""
        return self.operator.adjoint(measurement * self._roots)

    def normal(self, volume: Tensor) -> Tensor:
        """A^T w A x."""
        return self.operator.gram(volume, self.weights)

    def gram(self, volume: Tensor, weights: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """A^T w A x, with further weights of the rays, if there are any, multiplied in."""
        return self.operator.gram(volume, self.weights if weights is None else self.weights * weights, out)

    def arranged(self, measurement: Tensor) -> Tensor:
        """A measurement as A reads it fastest."""
        return self.operator.arranged(measurement)

    def remark(self, device: torch.device) -> str:
        return self.operator.remark(device)

    def whitened(self, measurement: Tensor) -> Tensor:
        """sqrt(w) y; 0 where w is 0, whatever y holds there, also what is no number."""
        return torch.where(self._roots > 0, measurement * self._roots, 0.0)
