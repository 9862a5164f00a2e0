"""The vectors of conjugate gradients, each operation in one pass over memory, and sums that no thread count changes.

On the CPU float32 tensors that lie in memory alike are walked in memory order by compiled kernels; others, and small
ones, which are not worth a compiler, by torch. Sums are taken in float64 over blocks of fixed length, one thread each,
and the block sums in order.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from coslice.sums import inner
from coslice.threads import compiled_kernels

__all__ = ["advance", "dot", "empty_like", "lines", "turn"]

_SMALL = 1 << 16
"""Elements below which torch does it."""


def empty_like(tensor: Tensor) -> Tensor:
    """Memory of the shape and order of `tensor`, for results that will be written over and over.

    On the CPU it comes from numpy, which asks the system for large pages where it can: they are filled sooner.
    """
    flat = _flat(tensor)
    if flat is None:
        return torch.empty_like(tensor)
    order = _order(tensor)
    memory = torch.from_numpy(np.empty([tensor.shape[axis] for axis in order], np.float32))
    return memory.permute([order.index(axis) for axis in range(tensor.ndim)])


def dot(a: Tensor, b: Tensor) -> float:
    """<a, b>, accumulated in float64."""
    flat = _flat(a, b)
    if flat is None:
        return inner(a, b)
    from coslice.classical import vector_kernels

    with compiled_kernels():
        return float(vector_kernels.dot(*flat).sum())


def advance(solution: Tensor, residual: Tensor, direction: Tensor, image: Tensor, step: float) -> float:
    """z += step p and r -= step q, in place; the new <r, r>."""
    flat = _flat(solution, residual, direction, image)
    if flat is None:
        solution.add_(direction, alpha=step)
        residual.sub_(image, alpha=step)
        return inner(residual, residual)
    from coslice.classical import vector_kernels

    with compiled_kernels():
        return float(vector_kernels.advance(*flat, np.float32(step)).sum())


def turn(direction: Tensor, residual: Tensor, factor: float) -> None:
    """p = r + factor p, in place."""
    flat = _flat(direction, residual)
    if flat is None:
        direction.mul_(factor).add_(residual)
        return
    from coslice.classical import vector_kernels

    with compiled_kernels():
        vector_kernels.turn(*flat, np.float32(factor))


def lines(axis: int, *tensors: Tensor) -> list[np.ndarray] | None:
    """Tensors as arrays (outer, n, inner) of their memory, n along an axis; None where torch must do it."""
    flat = _flat(*tensors)
    if flat is None:
        return None
    order = _order(tensors[0])
    shape = [tensors[0].shape[number] for number in order]
    at = order.index(axis)
    return [one.reshape(int(np.prod(shape[:at])), shape[at], int(np.prod(shape[at + 1 :]))) for one in flat]


def _order(tensor: Tensor) -> list[int]:
    """Axes from the outermost in memory to the innermost."""
    return sorted(range(tensor.ndim), key=lambda axis: (tensor.stride(axis), tensor.shape[axis]), reverse=True)


def _flat(*tensors: Tensor) -> list[np.ndarray] | None:
    """Memory of tensors that lie alike, without gaps, on the CPU; None where that is not so, or not worth it."""
    first = tensors[0]
    if first.numel() < _SMALL or any(
        one.device.type != "cpu" or one.dtype != torch.float32 or one.stride() != first.stride() for one in tensors
    ):
        return None
    order = _order(first)
    if not first.permute(order).is_contiguous():
        return None
    return [one.detach().permute(order).reshape(-1).numpy() for one in tensors]
