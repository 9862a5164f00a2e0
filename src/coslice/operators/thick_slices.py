"""The measurement of a scan with thick slices: every one is a mean of thin ones.

    y_i = sum_z M_iz x_z,        M_iz = p(z - c_i) / sum_z' p(z' - c_i),        c_i = i k + (k - 1)/2

z counts thin slices along one axis of the volume. k is the factor, the distance between thick slices in thin ones, and
need not be a whole number; c_i is the centre of thick slice i; p is the slice profile: how much of what lies at some
distance from its centre a slice shows. As published, p is a box of k thin slices and M their mean. A box of another
width w leaves gaps between the slices (w < k), as many MR scans do, or lets them overlap (w > k). A thin slice counts
by the part of it that lies in the box. A real scanner's profile has no edges; a Gaussian of given full width at half
maximum (FWHM) is nearer to it, and then neighbouring thick slices overlap.

m = ceil(n / k) thick slices cover n thin ones. Where a profile reaches beyond the volume, the volume is thought
continued by reflection in its last slice, x_{n-1+d} = x_{n-1-d}, and likewise at the front. The weights of the
slices thought up are folded back onto those they are copies of, so M is m x n, every row sums to 1, and no slice
is added to the unknowns.

M is so small that the pseudo-inverse is known in closed form,

    A+ = M^T (M M^T)^-1,

for the box with n a multiple of k the repetition of each thick slice. Boxes that overlap may hide whole patterns from
M; then patterns that M shrinks to less than 1 % of what it shrinks least are left out of the inverse, since it would
be their noise that came back a hundredfold.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from torch import Tensor

from coslice.axes import axis_number
from coslice.errors import CosliceError
from coslice.operators.base import Operator
from coslice.resampling import mix_along, slices_needed

__all__ = ["ThickSlices"]

_TAIL = 1e-4  # of the peak: what the Gaussian profile leaves out
_NEGLIGIBLE = 1e-9  # of a row's largest entry: what the pseudo-inverse leaves out
_WIDEST = 2.0  # FWHM in thick slices; wider ones leave nothing to invert in float32
_SHRUNKEN = 0.01  # of the largest singular value: what the pseudo-inverse of overlapping boxes leaves out


class ThickSlices(Operator):
    """Thin slices to thick ones along one axis; along z, (n, y, x) to (ceil(n / factor), y, x).

    Results do not depend on the number of threads or on how a tensor lies in memory.

    Args:
        shape: shape (z, y, x) of the volume of thin slices.
        factor: distance between the centres of thick slices, in thin slices, k.
        fwhm: full width at half maximum of the Gaussian profile, in thin slices; None is the published box.
        axis: "z", "y" or "x", the axis along which slices are thick.
        thickness: width of the box, in thin slices; None is `factor`, slices without gap or overlap.

    Attributes:
        domain: `shape`.
        codomain: the same with m slices along `axis`.
        factor, fwhm, axis, thickness: as given.
        matrix: M, (m, n) float64.

    Raises:
        CosliceError: a factor below 1, or one of 1 for slices no thicker than one; fewer slices than a thick one has; a
            FWHM or thickness that is not positive, a FWHM of more than two thick slices, or both of them; an unknown
            axis; a tensor of the wrong shape.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        factor: float,
        fwhm: float | None = None,
        axis: str = "z",
        thickness: float | None = None,
    ) -> None:
        self.number = axis_number(axis)
        _check(shape, self.number, factor, fwhm, thickness)
        self.factor, self.fwhm, self.axis, self.thickness = factor, fwhm, axis, thickness
        self.matrix = _matrix(shape[self.number], factor, fwhm, factor if thickness is None else thickness)
        self.matrix.setflags(write=False)
        self.domain = tuple(shape)
        self.codomain = (*shape[: self.number], len(self.matrix), *shape[self.number + 1 :])

    def __repr__(self) -> str:
        axis = "" if self.axis == "z" else f', axis="{self.axis}"'
        box = "" if self.thickness is None else f", thickness={self.thickness}"
        return f"ThickSlices({self.domain}, factor={self.factor}, fwhm={self.fwhm}{axis}{box})"

    @property
    def reflected(self) -> int:
        """How many whole thin slices of the last thick one lie beyond the volume and are thought reflected."""
        return int(self.codomain[self.number] * self.factor - self.domain[self.number] + 1e-6)

    def forward(self, volume: Tensor) -> Tensor:
        """A x: `domain` -> `codomain`, along z (z, y, x) -> (m, y, x)."""
        _check_shape(volume, self.domain, "a volume")
        return mix_along(self.matrix, volume.float(), self.number)

    def adjoint(self, measurement: Tensor) -> Tensor:
        """A^T y: `codomain` -> `domain`."""
        _check_shape(measurement, self.codomain, "a measurement")
        return mix_along(self.matrix.T, measurement.float(), self.number)

    def pseudo_inverse(self, measurement: Tensor) -> Tensor:
        """A+ y: `codomain` -> `domain`, the smallest volume that measures as near to y as any."""
        _check_shape(measurement, self.codomain, "a measurement")
        return mix_along(self._inverse, measurement.float(), self.number)

    @cached_property
    def _inverse(self) -> np.ndarray:
        if self.thickness is not None and self.thickness > self.factor:
            inverse = np.linalg.pinv(self.matrix, rcond=_SHRUNKEN)
        else:
            inverse = np.linalg.solve(self.matrix @ self.matrix.T, self.matrix).T
        inverse[np.abs(inverse) < _NEGLIGIBLE * np.abs(inverse).max(axis=1, keepdims=True)] = 0
        return inverse


def _matrix(count: int, factor: float, fwhm: float | None, width: float) -> np.ndarray:
    """M, (ceil(count / factor), count)."""
    matrix = np.zeros((slices_needed(count, factor), count))
    for i, row in enumerate(matrix):
        centre = i * factor + (factor - 1) / 2
        taps, index = _box(centre, width) if fwhm is None else _gaussian(centre, fwhm, factor)
        np.add.at(row, _reflected(index, count), taps)
    return matrix


def _box(centre: float, width: float) -> tuple[np.ndarray, np.ndarray]:
    """The part of each thin slice that lies in the box, in sum 1, and the thin slices they belong to."""
    low, high = centre - width / 2, centre + width / 2
    index = np.arange(math.floor(low + 0.5), math.ceil(high - 0.5) + 1)
    taps = (np.minimum(index + 0.5, high) - np.maximum(index - 0.5, low)).clip(0, 1)
    kept = taps > 1e-9  # of a thin slice; what is left of one by rounding is none
    return taps[kept] / taps[kept].sum(), index[kept]


def _gaussian(centre: float, fwhm: float, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights that sum to 1, and the thin slices they belong to."""
    sigma = fwhm / math.sqrt(8 * math.log(2))
    reach = math.ceil(sigma * math.sqrt(-2 * math.log(_TAIL)) + factor)
    index = np.arange(math.floor(centre) - reach, math.ceil(centre) + reach + 1)
    exponent = ((index - centre) / sigma) ** 2 / 2
    # Relative to the nearest thin slice: of a narrow profile between two of them, nothing else would be left.
    taps = np.exp(exponent.min() - exponent)
    kept = taps >= _TAIL
    return taps[kept] / taps[kept].sum(), index[kept]


def _reflected(index: np.ndarray, count: int) -> np.ndarray:
    """Indices outside 0..count-1 thrown back at the first and last slice, as often as it takes."""
    period = 2 * (count - 1)
    index = index % period
    return np.minimum(index, period - index)


def _check(
    shape: tuple[int, int, int], number: int, factor: float, fwhm: float | None, thickness: float | None
) -> None:
    if len(shape) != 3 or min(shape) < 1:
        raise CosliceError(f"ThickSlices: the shape {tuple(shape)} was given, three numbers (z, y, x) are needed.")
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 1 <= factor < math.inf:
        raise CosliceError(
            f"ThickSlices: a factor of {factor} was given, a number of thin slices per thick one is needed, above 1."
        )
    if fwhm is not None and thickness is not None:
        raise CosliceError(
            f"ThickSlices: a FWHM of {fwhm:g} and a thickness of {thickness:g} thin slices were given, but a profile "
            "is a Gaussian or a box; leave one out."
        )
    if thickness is not None and not 0 < thickness <= shape[number]:
        raise CosliceError(
            f"ThickSlices: a thickness of {thickness:g} thin slices was given, more than 0 and at most "
            f"{shape[number]}, all of them, is needed."
        )
    if factor == 1 and (fwhm or thickness or 1) <= 1:
        raise CosliceError(
            "ThickSlices: a factor of 1 was given, a number of thin slices per thick one is needed, above 1; or say "
            "that slices are thicker than they are apart."
        )
    if shape[number] < max(2, factor):
        raise CosliceError(
            f"ThickSlices: {shape[number]} slices were given, at least {max(2, math.ceil(factor))} are needed for a "
            "thick one; give more slices or a smaller factor."
        )
    if fwhm is not None and not 0 < fwhm <= _WIDEST * factor:
        raise CosliceError(
            f"ThickSlices: a FWHM of {fwhm:g} thin slices was given, more than 0 and at most {_WIDEST * factor:g} "
            f"is needed for thick slices of {factor:g}; {factor:g} is usual."
        )


def _check_shape(tensor: Tensor, shape: tuple[int, ...], what: str) -> None:
    if tuple(tensor.shape) != shape:
        raise CosliceError(
            f"ThickSlices: {what} of shape {tuple(tensor.shape)} was given, {shape} (z, y, x) is needed."
        )
