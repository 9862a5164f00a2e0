"""Compiled passes over vectors in memory order; see `vectors`.

A block is summed by one thread in an order of its own, so that no sum depends on how many threads there are.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from coslice.kernels import kernel

__all__ = ["advance", "convolve", "dot", "turn"]

_BLOCK = 4096  # elements that are summed up alone
_TASK = 16  # blocks a thread takes at once
_LANES = 64  # neighbouring lines that are convolved together
_SCALAR = {"fastmath": True, "nogil": True, "error_model": "numpy"}
_OPTIONS = {"parallel": True, **_SCALAR}


@kernel(**_OPTIONS)
def dot(a, b):
    """Block sums of a b, float64."""
    blocks = (a.size + _BLOCK - 1) // _BLOCK
    sums = np.empty(blocks)
    for task in prange((blocks + _TASK - 1) // _TASK):
        for block in range(task * _TASK, min(task * _TASK + _TASK, blocks)):
            total = 0.0
            here = slice(block * _BLOCK, min(block * _BLOCK + _BLOCK, a.size))
            p, q = a[here], b[here]
            for i in range(p.size):
                total += np.float64(p[i]) * np.float64(q[i])
            sums[block] = total
    return sums


@kernel(**_OPTIONS)
def advance(solution, residual, direction, image, step):
    """solution += step direction, residual -= step image; block sums of residual^2, float64."""
    blocks = (residual.size + _BLOCK - 1) // _BLOCK
    sums = np.empty(blocks)
    for task in prange((blocks + _TASK - 1) // _TASK):
        for block in range(task * _TASK, min(task * _TASK + _TASK, blocks)):
            total = 0.0
            here = slice(block * _BLOCK, min(block * _BLOCK + _BLOCK, residual.size))
            z, r, p, q = solution[here], residual[here], direction[here], image[here]
            for i in range(z.size):
                z[i] += step * p[i]
            for i in range(r.size):
                rest = r[i] - step * q[i]
                r[i] = rest
                total += np.float64(rest) * np.float64(rest)
            sums[block] = total
    return sums


@kernel(**_OPTIONS)
def turn(direction, residual, factor):
    """direction = residual + factor direction."""
    size = _BLOCK * _TASK
    for task in prange((direction.size + size - 1) // size):
        here = slice(task * size, min(task * size + size, direction.size))
        p, r = direction[here], residual[here]
        for i in range(p.size):
            p[i] = r[i] + factor * p[i]


@kernel(**_SCALAR)
def _fill(to, of):
    for i in range(to.size):
        to[i] = of[i]


@kernel(**_SCALAR)
def _scale(line, factors):
    for i in range(line.size):
        line[i] *= factors[i]


@kernel(**_SCALAR)
def _add_both(total, weight, low, high, size):
    for i in range(size):
        total[i] += weight * (low[i] + high[i])


@kernel(**_OPTIONS)
def convolve(out, volume, before, after, weights, share, rest, edges):
    """out = after (rest + share G)(before volume) along the middle axis of arrays (outer, n, inner).

    Args:
        out, volume, before, after: the last two may be empty, for 1 everywhere; `out` may be `volume`.
        weights: of G, at distances 0, 1, ... to either side.
        edges: whether the outermost values go on beyond the ends; if not, zeros do.
    """
    outer, n, inner = volume.shape
    reach = weights.size - 1
    volume, out, before, after = volume.reshape(-1), out.reshape(-1), before.reshape(-1), after.reshape(-1)
    chunks = (inner + _LANES - 1) // _LANES
    units = outer * chunks
    for task in prange((units + _LANES - 1) // _LANES):
        line = np.empty((n + 2 * reach) * min(inner, _LANES), np.float32)
        mixed = np.empty(n * min(inner, _LANES), np.float32)
        for unit in range(task * _LANES, min(task * _LANES + _LANES, units)):
            o, first = unit // chunks, unit % chunks * _LANES
            width = min(_LANES, inner - first)
            size, margin = n * width, reach * width
            middle = line[margin : margin + size]
            # all lanes of the array at once lie in one piece
            runs, length = (1, size) if chunks == 1 else (n, width)
            for k in range(runs):
                at, here = (o * n + k) * inner + first, slice(k * length, (k + 1) * length)
                _fill(middle[here], volume[at : at + length])
                if before.size:
                    _scale(middle[here], before[at : at + length])
            for k in range(reach):
                for i in range(width):
                    line[k * width + i] = middle[i] if edges else np.float32(0)
                    line[margin + size + k * width + i] = middle[size - width + i] if edges else np.float32(0)
            for i in range(size):
                mixed[i] = weights[0] * middle[i]
            for d in range(1, reach + 1):
                _add_both(mixed, weights[d], line[margin - d * width :], line[margin + d * width :], size)
            for i in range(size):
                mixed[i] = rest * middle[i] + share * mixed[i]
            for k in range(runs):
                at, here = (o * n + k) * inner + first, slice(k * length, (k + 1) * length)
                if after.size:
                    _scale(mixed[here], after[at : at + length])
                _fill(out[at : at + length], mixed[here])
