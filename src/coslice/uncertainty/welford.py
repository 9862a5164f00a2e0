"""Mean and standard deviation of samples as they come, none of which is kept.

Welford's recurrence (Technometrics 4, 1962): with the n-th sample x,

    d = x - mean,    mean += d / n,    squares += d (x - mean),    deviation = sqrt(squares / (n - 1)).

Unlike the difference of mean squares it loses nothing where the spread is small against the values, which is where a
float32 would. Every operation is of one voxel and rounded by itself, so the result does not depend on threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from coslice.errors import CosliceError

__all__ = ["Welford"]


class Welford:
    """Sums over samples (z, y, x), in float32 and in place: one volume for one sample, two for more.

    Attributes:
        count: samples so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean: Tensor | None = None
        self._squares: Tensor | None = None

    def add(self, sample: Tensor) -> None:
        """Count a sample; it is not changed and not kept.

        Raises:
            CosliceError: one of another shape than the first.
        """
        self.count += 1
        if self._mean is None:
            self._mean = sample.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
            return
        if sample.shape != self._mean.shape:
            raise CosliceError(
                f"Welford: a sample of shape {tuple(sample.shape)} was given after one of {tuple(self._mean.shape)}; "
                "samples of one shape are needed."
            )
        off = sample - self._mean
        self._mean += off / self.count
        left = (sample - self._mean) * off
        self._squares = left if self._squares is None else self._squares.add_(left)

    @property
    def mean(self) -> Tensor:
        """(z, y, x), float32.

        Raises:
            CosliceError: no sample yet.
        """
        if self._mean is None:
            raise CosliceError("Welford: no sample was given, at least one is needed.")
        return self._mean

    @property
    def deviation(self) -> Tensor | None:
        """The sample standard deviation, with count - 1; (z, y, x), float32. None of fewer than two samples."""
        return None if self._squares is None else (self._squares / (self.count - 1)).sqrt()

    def state_dict(self) -> dict[str, Any]:
        """The sums, to go on with: "count", and of samples "mean" and "squares". The next `add` changes them."""
        sums = {"mean": self._mean, "squares": self._squares}
        return {"count": self.count} | {name: value for name, value in sums.items() if value is not None}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on with the sums of another, which are changed in place from now on."""
        self.count = int(state_dict["count"])
        self._mean, self._squares = state_dict.get("mean"), state_dict.get("squares")
