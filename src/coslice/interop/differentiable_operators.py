"""An operator of ours in somebody else's network or loss.

    A = coslice.interop.differentiable(operator)
    loss = (A(volumes) - y).square().sum()
    loss.backward()                                   # volumes.grad is 2 A^T (A volumes - y), exactly

The gradient is the exact adjoint that our own methods use, not one that automatic differentiation makes of the forward
kernel, and nothing of the volume is kept for it. Derivatives of every order exist, forwards and backwards: `torch.func`
works (`jvp`, `vjp`, `jacrev`, `vmap`), and so does a network trained through a gradient step.

The operator computes in float32, whatever the type of what it is given, and gives that type back: results in float64
are right to about 1e-6, no better.
"""

from __future__ import annotations

from torch import Tensor

from coslice.errors import CosliceError
from coslice.operators import Operator
from coslice.operators.derivatives import Action, applied

__all__ = ["DifferentiableOperator", "differentiable"]


class DifferentiableOperator:
    """A x, A^T y and A^T A x of an operator, for volumes with leading axes, with derivatives of every order.

    Attributes:
        operator: A.
        domain: shape of a volume, (z, y, x).
        codomain: shape of a measurement; (views, rows, columns) for a projector.
    """

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self.domain, self.codomain = tuple(operator.domain), tuple(operator.codomain)

    def __call__(self, volume: Tensor) -> Tensor:
        """A x: (..., z, y, x) -> (..., *codomain), where it is and of the type that it has.

        Raises:
            CosliceError: another shape; integers or complex numbers.
        """
        return self._applied("forward", volume)

    def adjoint(self, measurement: Tensor) -> Tensor:
        """A^T y: (..., *codomain) -> (..., z, y, x); its gradient is A. Errors as a call."""
        return self._applied("adjoint", measurement)

    def normal(self, volume: Tensor) -> Tensor:
        """A^T A x, (..., z, y, x); at once, which is faster than the two in turn. Errors as a call."""
        return self._applied("normal", volume)

    def _applied(self, action: Action, tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            raise CosliceError(
                f"{type(self.operator).__name__}: a tensor of type {tensor.dtype} was given, floating-point numbers "
                "are needed; call .float() first."
            )
        return applied(self.operator, action, tensor.float()).to(tensor.dtype)

    def __repr__(self) -> str:
        return f"differentiable({self.operator!r})"


def differentiable(operator: Operator) -> DifferentiableOperator:
    """The operator as a function for torch that can be differentiated, and takes volumes in batches.

    Args:
        operator: a `coslice.operators.Projector`, `ThickSlices`, or any other `coslice.Operator`.

    Raises:
        CosliceError: it is none.
    """
    return DifferentiableOperator(checked_operator("differentiable", operator))


def checked_operator(who: str, operator: object) -> Operator:
    """Refuse what is no operator of ours.

    Raises:
        CosliceError: naming `who` asks.
    """
    if isinstance(operator, Operator):
        return operator
    hint = "; give its attribute operator" if hasattr(operator, "operator") else ""
    raise CosliceError(f"{who}: {type(operator).__name__} was given, but a coslice.Operator is needed{hint}.")
