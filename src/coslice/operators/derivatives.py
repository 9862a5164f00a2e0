"""What a linear operator does as a function that can be differentiated, as often as wanted.

A x is linear in x, so its derivative is A itself, and what comes back from a loss is multiplied by A^T:

    y = A x,        dy = A dx,        dL/dx = A^T dL/dy.

A^T is linear too, with the gradient A dL/dx; and A^T A is its own transpose. So one function, told which of the three
it is, has derivatives of every order, forwards and backwards, and keeps nothing of x for them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor

from coslice.errors import CosliceError

if TYPE_CHECKING:
    from coslice.operators.base import Operator

__all__ = ["Action", "applied"]

Action = Literal["forward", "adjoint", "normal"]
"""A x, A^T y or A^T A x."""

_TRANSPOSED: dict[Action, Action] = {"forward": "adjoint", "adjoint": "forward", "normal": "normal"}


def applied(operator: Operator, action: Action, tensor: Tensor) -> Tensor:
    """A x, A^T y or A^T A x, differentiable.

    Args:
        operator: A.
        action: which of the three.
        tensor: the operator's domain, or codomain for the adjoint, behind any number of leading axes, which are done
            one after the other; of a type that the operator takes.

    Returns:
        The same leading axes.

    Raises:
        CosliceError: another shape.
    """
    needed = tuple(operator.codomain if action == "adjoint" else operator.domain)
    if tuple(tensor.shape[max(0, tensor.ndim - len(needed)) :]) != needed:
        what = "a measurement" if action == "adjoint" else "a volume"
        axes = " (z, y, x)" if action != "adjoint" else ""
        raise CosliceError(
            f"{type(operator).__name__}: {what} of shape {tuple(tensor.shape)} was given, {needed}{axes} is needed, "
            "with any number of axes before it."
        )
    return cast(Tensor, _Apply.apply(tensor, operator, action))


class _Apply(torch.autograd.Function):
    @staticmethod
    def forward(tensor: Tensor, operator: Operator, action: Action) -> Tensor:  # type: ignore[override]
        into = tuple(operator.codomain if action == "adjoint" else operator.domain)
        one = getattr(operator, action)
        leading = tensor.shape[: tensor.ndim - len(into)]
        items = tensor.detach().reshape(math.prod(leading), *into)
        # No view of anything is returned: autograd lets nobody change one that a function made, and what everybody
        # writes is `residual = A(x); residual -= y`.
        out = tuple(operator.codomain if action == "forward" else operator.domain)
        if not len(items):
            return items.new_empty((*leading, *out))
        first = one(items[0])
        if len(items) == 1:
            # As it lies, in the order of memory that the operator reads fastest.
            return first[(None,) * len(leading)].clone()
        done = first.new_empty((*leading, *out))
        for number, into_place in enumerate(done.view(len(items), *out)):
            into_place.copy_(one(items[number]) if number else first)
        return done

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _, ctx.operator, ctx.action = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor):  # type: ignore[override]
        return _Apply.apply(gradient, ctx.operator, _TRANSPOSED[ctx.action]), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any):  # type: ignore[override]
        return _Apply.apply(tangent, ctx.operator, ctx.action)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], tensor: Tensor, operator: Operator, action: Action):  # type: ignore[override]
        return _Apply.apply(tensor.movedim(in_dims[0] or 0, 0), operator, action), 0
