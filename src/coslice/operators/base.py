"""A linear operator A from volumes to measurements, and the laws it owes.

An operator owes: linearity; an exact adjoint, <A x, y> = <x, A^T y>; a normal, A^T A x, equal to the
two in turn; the shapes it declares. `tests/laws.py` holds every operator and backend to them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.operators.derivatives import applied

__all__ = ["Operator"]


class Operator(ABC):
    """A: volume -> measurement. Subclasses give `domain`, `codomain`, `forward` and `adjoint`.

    Attributes:
        domain: shape of a volume, (z, y, x).
        codomain: shape of a measurement.
    """

    domain: tuple[int, ...]
    codomain: tuple[int, ...]

    @abstractmethod
    def forward(self, volume: Tensor) -> Tensor:
        """A x: float32 of shape `domain` -> `codomain`."""

    @abstractmethod
    def adjoint(self, measurement: Tensor) -> Tensor:
        """A^T y: float32 of shape `codomain` -> `domain`."""

    def normal(self, volume: Tensor) -> Tensor:
        """A^T A x."""
        return self.adjoint(self.forward(volume))

    def gram(self, volume: Tensor, weights: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """A^T w A x: what iterations call over and over.

        Args:
            volume: x.
            weights: w, of shape `codomain`; None is 1 everywhere.
            out: memory of shape `domain` that the result may be written to, other than x; use what is returned.
        """
        if weights is None:
            return self.normal(volume)
        return self.adjoint(self.forward(volume) * weights)

    def arranged(self, measurement: Tensor) -> Tensor:
        """A measurement in the order of memory that this operator reads fastest: the same numbers."""
        return measurement

    def remark(self, device: torch.device) -> str:
        """A full sentence where volumes on `device` are worked on elsewhere, and why; "" where they are not."""
        return ""

    def __call__(self, volume: Tensor) -> Tensor:
        """A x, checked for shape, and differentiable: its gradient is the adjoint."""
        if tuple(volume.shape) != tuple(self.domain):
            raise CosliceError(
                f"{type(self).__name__}: a volume of shape {tuple(volume.shape)} was given, "
                f"{tuple(self.domain)} (z, y, x) is needed."
            )
        return applied(self, "forward", volume)
