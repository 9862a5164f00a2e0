"""The measurement of a scan with thick slices: every one is a mean of thin ones.

    y_i = sum_z M_iz x_z,        M_iz = p(z - c_i) / sum_z' p(z' - c_i),        c_i = i k + (k - 1)/2

k is the factor, c_i the centre of thick slice i in thin ones, and p the slice profile: how much of what lies at
some distance from its centre a slice shows. As published, p is a box of k thin slices and M their mean. A real
scanner's profile has no edges; a Gaussian of given full width at half maximum (FWHM) is nearer to it, and then
neighbouring thick slices overlap.

m = ceil(n / k) thick slices cover n thin ones. Where a profile reaches beyond the volume, the volume is thought
continued by reflection in its last slice, x_{n-1+d} = x_{n-1-d}, and likewise at the front. The weights of the
slices thought up are folded back onto those they are copies of, so M is m x n, every row sums to 1, and no slice
is added to the unknowns.

M is so small that the pseudo-inverse is known in closed form,

    A+ = M^T (M M^T)^-1,

for the box with n a multiple of k the repetition of each thick slice.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from torch import Tensor

from coslice.errors import CosliceError
from coslice.operators.base import Operator
from coslice.resampling import mix_slices

__all__ = ["ThickSlices"]

_TAIL = 1e-4  # of the peak: what the Gaussian profile leaves out
_NEGLIGIBLE = 1e-9  # of a row's largest entry: what the pseudo-inverse leaves out
_WIDEST = 2.0  # FWHM in thick slices; wider ones leave nothing to invert in float32


class ThickSlices(Operator):
    """Thin slices (n, y, x) to thick ones (ceil(n / factor), y, x).

    Results do not depend on the number of threads or on how a tensor lies in memory.

    Args:
        shape: shape (z, y, x) of the volume of thin slices.
        factor: number of thin slices per thick one, k.
        fwhm: full width at half maximum of the Gaussian profile, in thin slices; None is the published box.

    Attributes:
        domain: (n, y, x), `shape`.
        codomain: (m, y, x).
        factor, fwhm: as given.
        matrix: M, (m, n) float64.

    Raises:
        CosliceError: a factor that is no whole number of at least 2, fewer slices than that, a FWHM that is not
            positive or is more than two thick slices; a tensor of the wrong shape.
    """

    def __init__(self, shape: tuple[int, int, int], factor: int, fwhm: float | None = None) -> None:
        _check(shape, factor, fwhm)
        self.factor, self.fwhm = factor, fwhm
        self.matrix = _matrix(shape[0], factor, fwhm)
        self.matrix.setflags(write=False)
        self.domain, self.codomain = tuple(shape), (len(self.matrix), *shape[1:])

    def __repr__(self) -> str:
        return f"ThickSlices({self.domain}, factor={self.factor}, fwhm={self.fwhm})"

    @property
    def reflected(self) -> int:
        """How many thin slices of the last thick one lie beyond the volume and are thought reflected."""
        return self.codomain[0] * self.factor - self.domain[0]

    def forward(self, volume: Tensor) -> Tensor:
        """A x: (z, y, x) -> (m, y, x)."""
        _check_shape(volume, self.domain, "a volume")
        return mix_slices(self.matrix, volume.float())

    def adjoint(self, measurement: Tensor) -> Tensor:
        """A^T y: (m, y, x) -> (z, y, x)."""
        _check_shape(measurement, self.codomain, "a measurement")
        return mix_slices(self.matrix.T, measurement.float())

    def pseudo_inverse(self, measurement: Tensor) -> Tensor:
        """A+ y: (m, y, x) -> (z, y, x), the smallest volume that measures as near to y as any."""
        _check_shape(measurement, self.codomain, "a measurement")
        return mix_slices(self._inverse, measurement.float())

    @cached_property
    def _inverse(self) -> np.ndarray:
        inverse = np.linalg.solve(self.matrix @ self.matrix.T, self.matrix).T
        inverse[np.abs(inverse) < _NEGLIGIBLE * np.abs(inverse).max(axis=1, keepdims=True)] = 0
        return inverse


def _matrix(count: int, factor: int, fwhm: float | None) -> np.ndarray:
    """M, (ceil(count / factor), count)."""
    taps, offsets = _profile(factor, fwhm)
    matrix = np.zeros((-(-count // factor), count))
    for i, row in enumerate(matrix):
        np.add.at(row, _reflected(i * factor + offsets, count), taps)
    return matrix


def _profile(factor: int, fwhm: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Weights that sum to 1, and the thin slices they belong to, 0 being the first of the thick slice."""
    if fwhm is None:
        return np.full(factor, 1 / factor), np.arange(factor)
    sigma = fwhm / math.sqrt(8 * math.log(2))
    reach = math.ceil(sigma * math.sqrt(-2 * math.log(_TAIL))) + factor
    offsets = np.arange(-reach, reach + factor)
    exponent = ((offsets - (factor - 1) / 2) / sigma) ** 2 / 2
    # Relative to the nearest thin slice: of a narrow profile between two of them, nothing else would be left.
    taps = np.exp(exponent.min() - exponent)
    kept = taps >= _TAIL
    return taps[kept] / taps[kept].sum(), offsets[kept]


def _reflected(index: np.ndarray, count: int) -> np.ndarray:
    """Indices outside 0..count-1 thrown back at the first and last slice, as often as it takes."""
    period = 2 * (count - 1)
    index = index % period
    return np.minimum(index, period - index)


def _check(shape: tuple[int, int, int], factor: int, fwhm: float | None) -> None:
    if len(shape) != 3 or min(shape) < 1:
        raise CosliceError(f"ThickSlices: the shape {tuple(shape)} was given, three numbers (z, y, x) are needed.")
    if not isinstance(factor, int) or factor < 2:
        raise CosliceError(
            f"ThickSlices: a factor of {factor} was given, a whole number of thin slices per thick one is needed, "
            "2 or more."
        )
    if shape[0] < factor:
        raise CosliceError(
            f"ThickSlices: {shape[0]} slices were given, at least {factor} are needed for a thick one; "
            "give more slices or a smaller factor."
        )
    if fwhm is not None and not 0 < fwhm <= _WIDEST * factor:
        raise CosliceError(
            f"ThickSlices: a FWHM of {fwhm:g} thin slices was given, more than 0 and at most {_WIDEST * factor:g} "
            f"is needed for thick slices of {factor}; {factor} is usual."
        )


def _check_shape(tensor: Tensor, shape: tuple[int, ...], what: str) -> None:
    if tuple(tensor.shape) != shape:
        raise CosliceError(
            f"ThickSlices: {what} of shape {tuple(tensor.shape)} was given, {shape} (z, y, x) is needed."
        )
