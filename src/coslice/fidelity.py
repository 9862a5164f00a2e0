"""Step (2) of the loop: bring the prior's prediction into agreement with the measurement y.

    ProximalCG   DDS    a few conjugate-gradient steps on the normal equations, started at the prediction
    NullSpace    DDNM   keep the null-space part of the prediction, take the range part from y

Both are callables (denoised, sigma) -> estimate, as the sampling loop wants them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from coslice.classical import conjugate_gradient
from coslice.errors import CosliceError
from coslice.operators.base import Operator

__all__ = ["NullSpace", "ProximalCG"]


@dataclass(frozen=True)
class ProximalCG:
    """DDS (Chung et al., ICLR 2024; the ISCS paper's eqs. 15 and 16).

    With `gamma`, solve (gamma A^T A + I) z = gamma A^T y + denoised: the minimiser of
    gamma/2 |y - A z|^2 + 1/2 |z - denoised|^2. Without, as published in code: run CG on A^T A z = A^T y from
    z = denoised and stop early, which leaves the directions CG has not reached yet at the prior's values.

    Attributes:
        operator, measurement: A and y.
        iterations: CG steps.
        gamma: weight of the data, or None for the early-stopped form.
    """

    operator: Operator
    measurement: Tensor
    iterations: int = 10
    gamma: float | None = None
    _backprojected: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise CosliceError(f"ProximalCG: {self.iterations} CG iterations were given, at least 1 is needed.")
        if self.gamma is not None and self.gamma <= 0:
            raise CosliceError(f"ProximalCG: gamma {self.gamma} was given, a positive number or None is needed.")
        object.__setattr__(self, "_backprojected", self.operator.adjoint(self.measurement))

    def __call__(self, denoised: Tensor, sigma: float) -> Tensor:
        if self.gamma is None:
            return conjugate_gradient(self.operator.normal, self._backprojected, denoised, self.iterations)
        gamma = self.gamma
        return conjugate_gradient(
            lambda z: self.operator.normal(z).mul_(gamma).add_(z),
            self._backprojected * gamma + denoised,
            denoised,
            self.iterations,
        )


@dataclass(frozen=True)
class NullSpace:
    """DDNM (Wang et al., ICLR 2023; the ISCS paper's eq. 14): (I - A-dagger A) denoised + A-dagger y.

    Attributes:
        operator, measurement: A and y.
        pseudo_inverse: A-dagger: measurement -> volume. For CT as published, 100 SIRT iterations from zero with
            a positivity constraint, on y and on A denoised alike.
    """

    operator: Operator
    measurement: Tensor
    pseudo_inverse: Callable[[Tensor], Tensor]
    _range_part: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_range_part", self.pseudo_inverse(self.measurement))

    def __call__(self, denoised: Tensor, sigma: float) -> Tensor:
        return denoised + self._range_part - self.pseudo_inverse(self.operator.forward(denoised))
