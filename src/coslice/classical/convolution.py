"""Convolution of a volume along one axis with a symmetric kernel, and what is multiplied before and after it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from coslice.classical import vectors
from coslice.threads import compiled_kernels

__all__ = ["convolved"]


def convolved(
    volume: Tensor,
    weights: Sequence[float],
    axis: int,
    *,
    edges: bool = False,
    rest: float = 0.0,
    share: float = 1.0,
    before: Tensor | None = None,
    after: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """after (rest + share G) before volume, where G convolves along an axis; every voxel is summed in one order.

    Args:
        volume: (z, y, x).
        weights: of G at distances 0, 1, ... to either side, at most as many as voxels along the axis.
        axis: 0, 1 or 2.
        edges: whether the outermost values go on beyond the ends; if not, zeros do.
        rest, share: of the volume itself and of its convolution.
        before, after: volumes of factors; None for 1.
        out: where the result is written, of the volume's shape; may be `volume` itself. None for new memory.
    """
    out = vectors.empty_like(volume) if out is None else out
    factors = [one for one in (before, after) if one is not None]
    lines = vectors.lines(axis, volume, out, *factors)
    if lines is None:
        return out.copy_(_with_torch(volume, weights, axis, edges, rest, share, before, after))
    from coslice.classical import vector_kernels

    whole, written, *given = lines
    none = np.empty((0, 0, 0), np.float32)
    first, last = given.pop(0) if before is not None else none, given.pop(0) if after is not None else none
    with compiled_kernels():
        vector_kernels.convolve(
            written, whole, first, last, np.array(weights, np.float32), np.float32(share), np.float32(rest), edges
        )
    return out


def _with_torch(
    volume: Tensor,
    weights: Sequence[float],
    axis: int,
    edges: bool,
    rest: float,
    share: float,
    before: Tensor | None,
    after: Tensor | None,
) -> Tensor:
    volume = volume if before is None else volume * before
    count, reach = volume.shape[axis], len(weights) - 1
    result = volume * (rest + share * weights[0])
    for distance, weight in enumerate(weights[1:], 1):
        near, far = (0, min(distance, count)), (min(distance, count), 0)
        for to, of in (near, far):
            length = count - max(to, of)
            result.narrow(axis, to, length).add_(volume.narrow(axis, of, length), alpha=share * weight)
    if edges and reach:
        for end, inwards in ((0, 1), (count - 1, -1)):
            last = volume.select(axis, end)
            for distance in range(min(reach, count)):
                beyond = sum(weights[distance + 1 :])
                result.select(axis, end + inwards * distance).add_(last, alpha=share * beyond)
    return result if after is None else result.mul_(after)
