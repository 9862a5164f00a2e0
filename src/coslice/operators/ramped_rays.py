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

    Rows are filtered with nothing beyond their ends, and the filtered ones are longer: cut off, they would not be those
    whose squares P sums.

    Args:
        operator: A, whose measurements are (views, rows, columns).
        power: p of the filter P, |f|^p along the columns, with f = 1 where it is highest; 0 is none.

    Attributes:
        domain: that of A.
        codomain: (views, rows, length), with at least twice the columns.

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
        views, rows, self._columns = operator.codomain
        # Its stubs have None, too.
        self._length: int = scipy.fft.next_fast_len(2 * self._columns, real=True)  # pyright: ignore[reportAttributeAccessIssue]
        self.domain, self.codomain = operator.domain, (views, rows, self._length)
        frequencies = np.arange(self._length // 2 + 1) / (self._length / 2)
        frequencies[0] = _LOWEST * 2 / self._length
        self._ramp = (frequencies**power).astype(np.float32)

    def __repr__(self) -> str:
        return f"RampedRays({self.operator!r}, {self.power:g})"

    def forward(self, volume: Tensor) -> Tensor:
        """P^(1/2) A x."""
        return self.filtered(self.operator.forward(volume))

    def adjoint(self, measurement: Tensor) -> Tensor:
        """A^T P^(1/2) z, with z as `filtered` gives it."""
        return self.operator.adjoint(self._passed(measurement, np.sqrt(self._ramp), self._columns))

    def normal(self, volume: Tensor) -> Tensor:
        """A^T P A x."""
        return self.operator.adjoint(self._passed(self.operator.forward(volume), self._ramp, self._columns))

    def filtered(self, measurement: Tensor) -> Tensor:
        """P^(1/2) y of a measurement (views, rows, columns): (views, rows, length)."""
        return self._passed(measurement, np.sqrt(self._ramp), self._length)

    def _passed(self, measurement: Tensor, response: np.ndarray, columns: int) -> Tensor:
        """A measurement through a filter of its rows; so many `columns` of the result."""
        rows = measurement.permute(_SWAP).contiguous()
        if rows.device.type != "cpu":
            spectrum = torch.fft.rfft(rows, n=self._length, dim=1)
            spectrum *= torch.as_tensor(response, device=rows.device)[:, None]
            return torch.fft.irfft(spectrum, n=self._length, dim=1)[:, :columns].permute(_SWAP)
        result = rows.new_empty((len(rows), columns, rows.shape[2]))

        def one(view: Tensor, to: Tensor) -> None:
            """torch's transform rounds otherwise with another number of threads; this one works alone."""
            spectrum = scipy.fft.rfft(view.numpy(), n=self._length, axis=0, workers=1)
            spectrum *= response[:, None]
            to.numpy()[...] = scipy.fft.irfft(spectrum, n=self._length, axis=0, workers=1, overwrite_x=True)[:columns]

        spread(rows.device, one, list(rows), list(result))
        return result.permute(_SWAP)

    def remark(self, device: torch.device) -> str:
        return self.operator.remark(device)
