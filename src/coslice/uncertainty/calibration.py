"""From the spread of samples to intervals that hold what they say, by scans whose truth is known.

The error of a voxel is modelled as a number of unit spread times

    u(x)^2 = a^2 blur(s^2)(x) + b^2,

s the deviation, blurred because eight samples know a variance to no better than a half; a the factor by which samples
are too narrow; b what they do not show at all, since they share the errors of their prior. a and b minimise

    mean(log u^2 + e^2 / u^2),        e = truth - estimate,

the quasi-likelihood of a variance, which asks nothing of the shape of the errors. The shape is then measured: for each
nominal level, q is the quantile of |e| / u, as in split conformal prediction with a normalised score (Lei et al., JASA
113, 2018, sec. 5.2). The interval is the estimate -+ q u.

All voxels inside the bodies of the training scans are pooled, every scan with the same weight. u is a function of
deviations alone, so an interval may be too wide in one tissue and too narrow in another; and voxels of one scan are no
independent draws, so a scan that is unlike the training scans may be covered less or more than is said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from coslice.errors import CosliceError
from coslice.escapes import shown
from coslice.uncertainty.conditions import Conditions
from coslice.uncertainty.reliability import body_mask, check_same

__all__ = ["LEVELS", "Calibration", "Case"]

LEVELS = (50.0, 68.0, 80.0, 90.0, 95.0)
"""Nominal levels, percent."""

_BLURS = (0.0, 1.0, 2.0, 3.0)
_LARGEST_SHARE = 0.999  # of the deviation in u^2: b is not 0, so no interval is of no width
_TUPLES = ("priors", "between", "within")  # of conditions; JSON knows lists only
_REACH = 4.0  # of a blur, in its standard deviations


@dataclass(frozen=True)
class Case:
    """A training scan, reconstructed.

    Attributes:
        truth: (z, y, x).
        estimate: the reconstruction, the mean of the samples.
        deviation: their standard deviation, or another map in its place.
        body: true inside the patient; None is `body_mask(truth)`.

    Raises:
        CosliceError: volumes of different shapes, values that are not finite, or deviations below 0.
    """

    truth: Tensor
    estimate: Tensor
    deviation: Tensor
    body: Tensor | None = None

    def __post_init__(self) -> None:
        check_same("Case", truth=self.truth, estimate=self.estimate, deviation=self.deviation)
        _check_deviation("Case", self.deviation)

    @property
    def inside(self) -> np.ndarray:
        """True inside the body, (z, y, x)."""
        body = body_mask(self.truth) if self.body is None else self.body
        return body.cpu().bool().numpy()

    @property
    def squared_error(self) -> np.ndarray:
        """Of every voxel of the body, float64."""
        off = (self.truth.cpu().double() - self.estimate.cpu().double()).numpy()
        return off[self.inside] ** 2


@dataclass(frozen=True)
class Calibration:
    """What turns a deviation into intervals. Made by `fit`, or read with `read_calibration`.

    Attributes:
        name: of its file.
        a: factor of the deviation.
        b: what is added in quadrature, in the unit of the volumes; the unit window, if coslice is to use it.
        blur: standard deviation of the Gaussian that s^2 is blurred with, pixels, within axial slices.
        quantiles: by nominal level in percent, the quantile of |error| / u.
        conditions: what it was fitted for.
        scans: what it was fitted on.

    Raises:
        CosliceError: numbers that are not finite or below 0, b of 0, or quantiles that fall with the level.
    """

    name: str
    a: float
    b: float
    blur: float
    quantiles: Mapping[float, float]
    conditions: Conditions
    scans: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        numbers = (self.a, self.b, self.blur, *self.quantiles, *self.quantiles.values())
        if not all(math.isfinite(number) and number >= 0 for number in numbers) or self.b == 0:
            raise CosliceError(
                f"Calibration {self.name}: a {self.a}, b {self.b}, blur {self.blur} and quantiles "
                f"{dict(self.quantiles)} were given, finite numbers from 0 up with b above 0 are needed."
            )
        if not self.quantiles or sorted(self.quantiles.values()) != [q for _, q in sorted(self.quantiles.items())]:
            raise CosliceError(
                f"Calibration {self.name}: the quantiles {dict(self.quantiles)} were given, some that do not fall with "
                "the level are needed."
            )

    @classmethod
    def fit(
        cls,
        cases: Sequence[Case],
        conditions: Conditions,
        name: str = "",
        scans: Sequence[str] = (),
        levels: Sequence[float] = LEVELS,
        blurs: Sequence[float] = _BLURS,
    ) -> Calibration:
        """Fit a, b, the blur and the quantiles.

        Args:
            cases: training scans only: what a prior or a calibration has seen says nothing of how it does on others.
            conditions: under which they were reconstructed.
            name, scans: to be remembered by.
            levels: nominal, percent, between 0 and 100.
            blurs: to choose among, pixels.

        Raises:
            CosliceError: no case, reconstructions without any error, or levels that are none.
        """
        if not cases or not blurs or not levels or not all(0 < level < 100 for level in levels):
            raise CosliceError(
                f"Calibration.fit: {len(cases)} cases, blurs {tuple(blurs)} and levels {tuple(levels)} were given, at "
                "least one case, one blur and levels between 0 and 100 percent are needed."
            )
        errors = [case.squared_error for case in cases]
        weights = np.concatenate([np.full(len(one), 1 / (len(one) * len(errors))) for one in errors])
        error = np.concatenate(errors)
        if not error.max() > 0:
            raise CosliceError("Calibration.fit: the reconstructions have no error; others than the truth are needed.")
        fits = []
        for blur in blurs:
            spread = np.concatenate([_blurred(case.deviation, blur)[case.inside] for case in cases])
            fits.append((*_fitted(spread, error, weights), blur, spread))
        _, slope, floor, blur, spread = min(fits, key=lambda one: one[0])
        ratio = np.sqrt(error / (slope * spread + floor))
        order = np.argsort(ratio, kind="stable")
        reached = np.cumsum(weights[order])
        quantiles = {
            float(level): float(ratio[order[min(int(np.searchsorted(reached, level / 100 - 1e-9)), len(order) - 1)]])
            for level in sorted(levels)
        }
        return cls(name, math.sqrt(slope), math.sqrt(floor), blur, quantiles, conditions, tuple(scans))

    def uncertainty(self, deviation: Tensor) -> Tensor:
        """u, (z, y, x) float32 on the CPU, of a deviation in the unit of b.

        Raises:
            CosliceError: not three axes, values that are not finite or below 0.
        """
        check_same("Calibration.uncertainty", deviation=deviation)
        _check_deviation("Calibration.uncertainty", deviation)
        squares = self.a**2 * _blurred(deviation, self.blur) + self.b**2
        return torch.from_numpy(np.sqrt(squares).astype(np.float32))

    def half_width(self, deviation: Tensor, level: float = 90.0) -> Tensor:
        """q u, (z, y, x): the truth is thought to be within so much of the reconstruction in `level` % of the voxels.

        Raises:
            CosliceError: a level that was not fitted; as `uncertainty`.
        """
        if level not in self.quantiles:
            known = ", ".join(f"{one:g}" for one in sorted(self.quantiles))
            raise CosliceError(f"Calibration {self.name}: a level of {level:g} % was asked for, there are {known}.")
        return self.uncertainty(deviation) * self.quantiles[level]

    def half_widths(self, deviation: Tensor) -> dict[float, Tensor]:
        """The half-width of every level."""
        u = self.uncertainty(deviation)
        return {level: u * q for level, q in sorted(self.quantiles.items())}

    def scaled(self, factor: float) -> Calibration:
        """The same for volumes whose values are `factor` times as large: in HU, say, and not in the unit window."""
        return replace(self, b=self.b * factor)

    def as_tree(self) -> dict[str, Any]:
        """Plain values for JSON; `from_tree` reads them back."""
        conditions = asdict(self.conditions)
        for name in _TUPLES:
            conditions[name] = list(conditions[name])
        return {
            "name": self.name,
            "a": self.a,
            "b": self.b,
            "blur": self.blur,
            "quantiles": {f"{level:g}": q for level, q in sorted(self.quantiles.items())},
            "conditions": conditions,
            "scans": list(self.scans),
        }

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Calibration:
        """What `as_tree` gave.

        Raises:
            CosliceError: a tree that has not what is needed.
        """
        try:
            conditions = dict(tree["conditions"])
            for name in _TUPLES:
                conditions[name] = tuple(conditions[name])
            quantiles = {float(level): float(q) for level, q in tree["quantiles"].items()}
            numbers = {name: float(tree[name]) for name in ("a", "b", "blur")}
            return cls(
                name=str(tree["name"]),
                **numbers,
                quantiles=quantiles,
                conditions=Conditions(**conditions),
                scans=tuple(tree["scans"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise CosliceError(
                f"Calibration: {shown(repr(error))} came up in reading one; a file that scripts/calibrate.py wrote is "
                "needed."
            ) from error


def _fitted(spread: np.ndarray, error: np.ndarray, weights: np.ndarray) -> tuple[float, float, float]:
    """(quasi-likelihood, a^2, b^2) of squared deviations and squared errors.

    With m the mean of the spread, u^2 = c (r spread / m + 1 - r): the best c of a share r is known in closed form,
    and the share is searched for.
    """
    mean = float(weights @ spread)
    relative = spread / mean if mean > 0 else np.ones_like(spread)

    def at(share: float) -> tuple[float, float]:
        shape = share * relative + (1 - share)
        scale = float(weights @ (error / shape))
        return math.log(scale) + float(weights @ np.log(shape)), scale

    share, low, high = 0.0, 0.0, _LARGEST_SHARE if mean > 0 else 0.0
    for _ in range(4):  # finer and finer; the best of eleven, then between its neighbours
        shares = np.linspace(low, high, 11)
        best = int(np.argmin([at(float(share))[0] for share in shares]))
        share = float(shares[best])
        low, high = float(shares[max(best - 1, 0)]), float(shares[min(best + 1, 10)])
    value, scale = at(share)
    return value, scale * share / mean if mean > 0 else 0.0, scale * (1 - share)


def _blurred(deviation: Tensor, blur: float) -> np.ndarray:
    """s^2 blurred within axial slices, (z, y, x) float64; the edges are thought continued."""
    squares = deviation.detach().cpu().double().numpy() ** 2
    return ndimage.gaussian_filter(squares, (0, blur, blur), mode="nearest", truncate=_REACH) if blur else squares


def _check_deviation(who: str, deviation: Tensor) -> None:
    if bool((deviation < 0).any()):
        raise CosliceError(f"{who}: the deviation is below 0 in some voxels; deviations of 0 or more are needed.")
