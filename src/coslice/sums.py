"""Inner products that do not depend on how many threads compute them.

A reduction to one number is split among threads, and float addition is not associative: the last bits of a
plain `torch.dot` change with the thread count, and conjugate gradients carry them into every voxel. Here the
products are summed in blocks of fixed length, one thread each, and the few block sums in order.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["inner"]

_BLOCK = 4096


def inner(a: Tensor, b: Tensor) -> float:
    """<a, b>, the sum over all elements of a b, accumulated in float64."""
    if a.stride() == b.stride():  # walk both in memory order, whatever the names of their axes
        order = sorted(range(a.ndim), key=a.stride, reverse=True)
        a, b = a.permute(order), b.permute(order)
    products = (a * b).reshape(-1)
    whole = products.numel() // _BLOCK * _BLOCK
    blocks = products[:whole].view(-1, _BLOCK).sum(1, dtype=torch.float64)
    # numpy sums on one thread, also when there are very many blocks.
    return float(blocks.cpu().numpy().sum()) + float(products[whole:].double().cpu().numpy().sum())
