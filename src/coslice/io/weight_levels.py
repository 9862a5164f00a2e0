"""Weights of 8 bits that are bfloat16 still: whole levels of a step that every output channel has for itself.

With t the largest absolute weight of an output channel and q a level from -127 to 127,

    w = bfloat16(q (t / 127)).

t is one of the weights, with the level 127 or -127, so t and the levels can be read off the weights again: bfloat16 is
wrong by 1/512 of a weight at most, which is a quarter of a level where it is most. A weight of 8 bits then takes 7 bits
in a file (`coslice.io.packing`), and the 8-bit convolutions of a CPU, whose steps are these (`coslice.networks`), lose
nothing by rounding it.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["levels_of", "on_levels", "weights_of"]

_MOST = 127
_LEAST_TO_A_CHANNEL = 16
"""Weights of a channel for which levels pay: t takes two bytes of its own."""


def on_levels(weight: Tensor) -> Tensor:
    """`weight` (c, ...) rounded to the nearest levels of its output channels c, as bfloat16."""
    tops = _tops(weight.to(torch.bfloat16))
    return weights_of(_nearest(weight.float(), tops), tops)


def levels_of(weight: Tensor) -> tuple[Tensor, Tensor] | None:
    """Levels, int8 of the shape of `weight`, and the t of each channel, (c,) bfloat16.

    None where the weights are not bit for bit what `weights_of` makes of these, or where levels would not pay.
    """
    if weight.dtype != torch.bfloat16 or weight.ndim < 2 or weight[:1].numel() < _LEAST_TO_A_CHANNEL:
        return None
    if not bool(weight.isfinite().all()):
        return None
    tops = _tops(weight)
    levels = _nearest(weight.float(), tops)
    same = torch.equal(weights_of(levels, tops).view(torch.int16), weight.contiguous().view(torch.int16))
    return (levels, tops) if same else None


def weights_of(levels: Tensor, tops: Tensor) -> Tensor:
    """The weights, bfloat16, of `levels` (c, ...) int8 and `tops` (c,) bfloat16."""
    return (levels.float() * _steps(tops, levels.ndim)).to(torch.bfloat16)


def _tops(weight: Tensor) -> Tensor:
    return weight.abs().flatten(1).amax(1)


def _steps(tops: Tensor, sides: int) -> Tensor:
    return (tops.float() / _MOST).reshape(-1, *[1] * (sides - 1))


def _nearest(weight: Tensor, tops: Tensor) -> Tensor:
    levels = (weight / _steps(tops, weight.ndim)).nan_to_num(0.0).round()  # a channel of zeros has no step
    return levels.clamp(-_MOST, _MOST).to(torch.int8)
