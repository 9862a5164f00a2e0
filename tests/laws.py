"""The laws every operator owes, as assertions to use on any `Operator` and backend.

A is linear; <A x, y> = <x, A^T y>; A^T A x is the two in turn; the gradient of A x is A^T; a pseudo-inverse
satisfies A A+ A = A and A+ A A+ = A+.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from coslice.operators.base import Operator

DEVICE = "cpu"
"""Where the laws are tried; conftest sets it to what `pytest --device` says."""


def draw(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """A reproducible standard normal float32 tensor on `DEVICE`."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def relative(given: Tensor, expected: Tensor) -> float:
    """|given - expected| / |expected|, summed in float64; |given| itself where 0 is expected."""
    scale = expected.double().norm()
    return float((given.double() - expected.double()).norm() / (scale if scale > 0 else 1.0))


def inner(a: Tensor, b: Tensor) -> float:
    return float((a.double() * b.double()).sum())


def assert_linear(op: Operator, tolerance: float = 1e-5) -> None:
    """A (a x + b z) = a A x + b A z, the same for A^T, and both have the shapes they declare."""
    for apply, into, out in ((op.forward, op.domain, op.codomain), (op.adjoint, op.codomain, op.domain)):
        x, z = draw(into, 1), draw(into, 2)
        assert tuple(apply(x).shape) == tuple(out)
        assert apply(x).dtype == torch.float32
        assert relative(apply(2.5 * x - 0.5 * z), 2.5 * apply(x) - 0.5 * apply(z)) <= tolerance
        assert not apply(torch.zeros(into, device=DEVICE)).any()


def assert_adjoint(op: Operator, tolerance: float = 1e-6) -> None:
    """<A x, y> = <x, A^T y>, relative to |A x| |y|."""
    for seed in (3, 5):
        x, y = draw(op.domain, seed), draw(op.codomain, seed + 1)
        projected = op.forward(x)
        scale = float(projected.double().norm() * y.double().norm())
        assert abs(inner(projected, y) - inner(x, op.adjoint(y))) <= tolerance * scale


def assert_normal(op: Operator, tolerance: float = 1e-5) -> None:
    """A^T A x is the two in turn, and <x, A^T A x> = |A x|^2."""
    x = draw(op.domain, 7)
    projected, normal = op.forward(x), op.normal(x)
    assert relative(normal, op.adjoint(projected)) <= tolerance
    assert abs(inner(x, normal) - inner(projected, projected)) <= tolerance * inner(projected, projected)


def assert_differentiable(op: Operator, tolerance: float = 1e-5) -> None:
    """The gradient of |A x - y|^2 / 2 is A^T (A x - y), and the arguments are left as they were."""
    x, y = draw(op.domain, 8).requires_grad_(), draw(op.codomain, 9)
    before = x.detach().clone()
    residual = op(x) - y
    (residual.square().sum() / 2).backward()
    assert x.grad is not None
    assert relative(x.grad, op.adjoint(residual.detach())) <= tolerance
    assert torch.equal(x.detach(), before)


def assert_pseudo_inverse(op: Operator, pinv: Callable[[Tensor], Tensor], tolerance: float = 1e-4) -> None:
    """A A+ A x = A x and A+ A A+ y = A+ y."""
    x, y = draw(op.domain, 10), draw(op.codomain, 11)
    projected, back = op.forward(x), pinv(y)
    assert relative(op.forward(pinv(projected)), projected) <= tolerance
    assert relative(pinv(op.forward(back)), back) <= tolerance


def assert_operator(op: Operator, tolerance: float = 1e-6) -> None:
    """All the laws that need nothing but the operator."""
    assert_linear(op)
    assert_adjoint(op, tolerance)
    assert_normal(op)
    assert_differentiable(op)
