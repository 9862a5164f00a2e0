"""What was measured, as a value: y = A x, and what is known of both.

A `Problem` is data. It holds the measurement and what describes it, can be pickled, sent to another process and kept
on disk. The operator, a first reconstruction and a pseudo-inverse are made from it where they are needed. Simulated and
real measurements are the same values.

Volumes are (z, y, x) in the unit window, see `coslice.volume`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from coslice.classical import Sirt, cgls
from coslice.errors import CosliceError
from coslice.operators import Operator, WeightedRays

__all__ = ["LinearProblem", "Problem", "check_measurement", "check_weights"]


class Problem(ABC):
    """y = A x, whatever the scanner. Kinds of problems are frozen dataclasses with these attributes.

    Attributes:
        measurement: y, of the operator's codomain.
        noise: standard deviation of the noise in y, in units of y; 0 where there is none or it is not known. With
            weights, of an entry whose weight is 1.
        weights: of the entries of y, 0 for one that is not to be believed, see `coslice.problems.relative_weights`;
            None is 1 everywhere.
        kind: which of a method's published settings apply: "ct" or "zsr" (thick slices).
        initial_title: what tables call the first reconstruction.
        task: the key of a simulated task, for networks that know certain tasks only; "" where there is none.
        modality: "ct", "mr", or "" where it is not known: priors of the other one are refused.
    """

    kind: ClassVar[str] = ""
    initial_title: str
    measurement: Tensor
    noise: float
    weights: Tensor | None = None
    task: str = ""
    modality: str = ""

    @cached_property
    def operator(self) -> Operator:
        """A, from volumes (z, y, x) in the unit window to measurements; made at its first use."""
        return self._operator()

    @cached_property
    def misfit(self) -> tuple[Operator, Tensor]:
        """The operator and the measurement whose squared difference a data step makes small.

        A and y themselves; with weights w, sqrt(w) A and sqrt(w) y.
        """
        if self.weights is None:
            return self.operator, self.measurement
        weighted = WeightedRays(self.operator, self.weights)
        return weighted, weighted.whitened(self.measurement)

    @abstractmethod
    def _operator(self) -> Operator:
        """A new A."""

    @abstractmethod
    def initial(self) -> Tensor:
        """A first reconstruction (z, y, x) without a prior, from which sampling starts."""

    @abstractmethod
    def pseudo_inverse(self, iterations: int) -> Callable[[Tensor], Tensor]:
        """A-dagger: measurement -> volume, as DDNM uses it, by so many iterations where it has no closed form."""

    @property
    @abstractmethod
    def spacing(self) -> tuple[float, float, float]:
        """(dz, dy, dx) of the voxels, mm."""

    def clamped(self, volume: Tensor) -> Tensor:
        """`volume` without values that the one behind the measurement cannot have: those outside the unit window."""
        return volume.clamp(0, 1)

    @property
    def unit(self) -> float:
        """What published operators call 1, in units of A: for CT, the width of a voxel in mm."""
        return 1.0

    @property
    def missing_wedge(self) -> float:
        """The wedge of directions that no view shows, degrees; 0 where there is none, or where that has no meaning."""
        return 0.0

    @property
    def description(self) -> str:
        """The operator, in words that build it again."""
        return repr(self.operator)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x) of the volume."""
        z, y, x = self.operator.domain
        return z, y, x

    def to(self, device: torch.device | str) -> Self:
        """The same problem with its measurement on `device`."""
        moved = {"measurement": self.measurement.to(device)}
        if self.weights is not None:
            moved["weights"] = self.weights.to(device)
        return replace(self, **moved)  # pyright: ignore

    def __repr__(self) -> str:
        voxels, spacing = " x ".join(map(str, self.shape)), " x ".join(f"{mm:.4g}" for mm in self.spacing)
        entries = " x ".join(map(str, self.measurement.shape))
        noise = f" with noise of {self.noise:.3g}" if self.noise else ""
        weights = "" if self.weights is None else ", weighted"
        return (
            f"{type(self).__name__}({voxels} voxels (z, y, x) of {spacing} mm from {entries} numbers{noise}{weights}"
            f"{self._words()})"
        )

    def _words(self) -> str:
        """What a kind of problem adds to its repr."""
        return ""

    def __getstate__(self) -> dict[str, Any]:
        # What can be made again does not travel.
        known = {name: value for cls in reversed(type(self).__mro__) for name, value in vars(cls).items()}
        return {k: v for k, v in self.__dict__.items() if not isinstance(known.get(k), cached_property)}


def check_measurement(who: str, measurement: Any, noise: Any) -> None:
    """Refuse a y that is no tensor of floating-point numbers, and a noise that is no number from 0 up.

    Raises:
        CosliceError: it is none.
    """
    if not isinstance(measurement, Tensor) or not measurement.is_floating_point():
        kind = measurement.dtype if isinstance(measurement, Tensor) else type(measurement).__name__
        raise CosliceError(
            f"{who}: a measurement of type {kind} was given, but a torch tensor of floating-point numbers is needed; "
            "torch.as_tensor(y, dtype=torch.float32) makes one."
        )
    if isinstance(noise, bool) or not isinstance(noise, int | float) or not 0 <= noise < math.inf:
        raise CosliceError(f"{who}: noise {noise!r} was given, but a number from 0 up is needed.")


def check_weights(who: str, weights: Any, measurement: Tensor) -> None:
    """Refuse weights that do not fit y, or that believe in none of it; None passes.

    Raises:
        CosliceError: another type, shape or device than y's, an entry that is no number from 0 up, zeros everywhere, or
            a weight above 0 where y is no finite number.
    """
    if weights is None:
        return
    if not isinstance(weights, Tensor) or weights.dtype != measurement.dtype or weights.device != measurement.device:
        raise CosliceError(
            f"{who}: weights were given that are no tensor of {measurement.dtype} on {measurement.device}, as the "
            "measurement is; torch.as_tensor(weights).to(measurement) makes one."
        )
    if weights.shape != measurement.shape:
        raise CosliceError(
            f"{who}: weights of shape {tuple(weights.shape)} were given, but the measurement has the shape "
            f"{tuple(measurement.shape)}; each entry needs one."
        )
    if not bool(weights.isfinite().all()) or bool((weights < 0).any()) or not bool((weights > 0).any()):
        raise CosliceError(
            f"{who}: weights from {float(weights.min()):g} to {float(weights.max()):g} were given, but finite numbers "
            "from 0 up are needed, one of them above 0."
        )
    wrong = int(((weights > 0) & ~measurement.isfinite()).sum())
    if wrong:
        raise CosliceError(
            f"{who}: {wrong} entries of the measurement are no finite numbers but have a weight above 0; give them the "
            "weight 0."
        )


@dataclass(frozen=True, eq=False, repr=False)
class LinearProblem(Problem):
    """A measurement by an operator of your own.

    The first reconstruction is that of conjugate gradients on the normal equations, the pseudo-inverse is SIRT, which
    needs an operator with no entry below 0.

    Attributes:
        own_operator: A, a `coslice.Operator`.
        measurement: y, of the shape `own_operator.codomain`, float32.
        noise: standard deviation of its noise, in units of y.
        spacing: (dz, dy, dx) of the voxels, mm.
        iterations: of conjugate gradients, for the first reconstruction.
        weights: of the entries of y, of its shape; None is 1 everywhere.

    Raises:
        CosliceError: y or the weights have another shape than the operator's codomain, a weight is no number from 0 up,
            or the domain is not (z, y, x).
    """

    initial_title = "CGLS"

    own_operator: Operator
    measurement: Tensor
    noise: float = 0.0
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)  # pyright: ignore[reportIncompatibleMethodOverride]
    iterations: int = 20
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        operator: Any = self.own_operator
        if not isinstance(operator, Operator):
            raise CosliceError(f"LinearProblem: {operator!r} was given, but a coslice.Operator is needed.")
        check_measurement("LinearProblem", self.measurement, self.noise)
        if len(self.spacing) != 3 or not all(0 < mm < math.inf for mm in self.spacing):
            raise CosliceError(
                f"LinearProblem: spacing {self.spacing} mm was given, three positive numbers (z, y, x) are needed."
            )
        given, needed = tuple(self.measurement.shape), tuple(self.own_operator.codomain)
        if given != needed:
            raise CosliceError(
                f"LinearProblem: a measurement of shape {given} was given, but the operator measures {needed}."
            )
        check_weights("LinearProblem", self.weights, self.measurement)
        if len(self.own_operator.domain) != 3:
            raise CosliceError(
                f"LinearProblem: an operator of the domain {tuple(self.own_operator.domain)} was given, but volumes "
                "have three axes (z, y, x)."
            )

    def _operator(self) -> Operator:
        return self.own_operator

    def initial(self) -> Tensor:
        return cgls(*self.misfit, self.iterations)

    def pseudo_inverse(self, iterations: int) -> Callable[[Tensor], Tensor]:
        return Sirt(self.operator, iterations, weights=self.weights)
