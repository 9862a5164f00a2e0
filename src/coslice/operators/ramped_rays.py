"""Rays whose residuals count by frequency: least squares with a ramp along the rows of the detector.

A^T A passes a structure of frequency f with 1/|f| of its strength, since every view shows all of what is coarse and
little of what is fine (the slice theorem). So conjugate gradients find what is fine late, and what lies beside a
missing wedge last. With P the filter |f|^p of the rows,

    |P^(1/2) (y - A z)|^2

is least where |y - A z|^2 is, for data that A explains, and A^T P A passes all frequencies nearly alike: p = 1 is the
filter of filtered back-projection. Noise it passes on, so it is for data without any.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.operators.base import Operator
from coslice.threads import spread

__all__ = ["RampedRays"]

_SWAP = (0, 2, 1)  # (view, row, column) <-> (view, column, row), which is how projectors store them
_LOWEST = 0.25
"""Of the lowest frequency: as what is filtered that has none. A ramp cut off at the detector's ends is not 0 there."""


class RampedRays(Operator):
    """P^(1/2) A, with the transpose A^T P^(1/2).

    Args:
        operator: A, whose measurements are (views, rows, columns).
        power: p of the filter P, |f|^p along the columns; 0 is none.

    Attributes:
        domain, codomain: those of A.

    Raises:
        CosliceError: an operator of other measurements, or a power below 0.
    """

    def __init__(self, operator: Operator, power: float) -> None:
        if len(operator.codomain) != 3 or not power >= 0:
            raise CosliceError(
                f"RampedRays: a power of {power:g} and an operator that measures {tuple(operator.codomain)} were "
                "given, but a power from 0 up and projections (views, rows, columns) are needed."
            )
        self.operator, self.power = operator, power
        self.domain, self.codomain = operator.domain, operator.codomain
        columns = self.codomain[2]
        self._length = scipy.fft.next_fast_len(2 * columns, real=True)
        frequencies = np.arange(self._length // 2 + 1) / (self._length / 2)
        frequencies[0] = _LOWEST * 2 / self._length
        self._response = (frequencies ** (power / 2)).astype(np.float32)

    def __repr__(self) -> str:
        return f"RampedRays({self.operator!r}, {self.power:g})"

    def forward(self, volume: Tensor) -> Tensor:
        """P^(1/2) A x."""
        return self.filtered(self.operator.forward(volume))

    def adjoint(self, measurement: Tensor) -> Tensor:
        """A^T P^(1/2) y."""
        return self.operator.adjoint(self.filtered(measurement))

    def filtered(self, measurement: Tensor) -> Tensor:
        """P^(1/2) y, symmetric: beyond the detector's ends there is nothing."""
        columns, rows = self.codomain[2], measurement.permute(_SWAP).contiguous()
        if rows.device.type != "cpu":
            response = torch.as_tensor(self._response, device=rows.device)[:, None]
            spectrum = torch.fft.rfft(rows, n=self._length, dim=1) * response
            return torch.fft.irfft(spectrum, n=self._length, dim=1)[:, :columns].permute(_SWAP)
        result = torch.empty_like(rows)
        spread(rows.device, self._filter, list(rows), list(result))
        return result.permute(_SWAP)

    def _filter(self, rows: Tensor, result: Tensor) -> None:
        """One view, (columns, rows) both; torch's transform would round otherwise with another number of threads."""
        spectrum = scipy.fft.rfft(rows.numpy(), n=self._length, axis=0, workers=1)
        spectrum *= self._response[:, None]
        result.numpy()[...] = scipy.fft.irfft(spectrum, n=self._length, axis=0, workers=1)[: len(result)]

    def arranged(self, measurement: Tensor) -> Tensor:
        """A measurement as A reads it fastest."""
        return self.operator.arranged(measurement)

    def remark(self, device: torch.device) -> str:
        return self.operator.remark(device)
