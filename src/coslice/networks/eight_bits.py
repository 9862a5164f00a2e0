"""A convolution of 8-bit integers, by oneDNN.

    y_o = bias_o + sum_i w_oi x_i ~ bias_o + step step_o sum_i q_oi (level_i - zero)

with levels 0 to 255 of the input, weights q from -127 to 127 and a step for every output channel. Products of integers
are summed without rounding. What lies beyond the border is written down, as the level of 0, so that every weight of a
channel meets the same `zero`, and its part of the sum belongs to the bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["LEAST_PIXELS", "EightBitConv", "Levels", "multiplies_eight_bits"]

LEAST_PIXELS = 256
"""Of an image. oneDNN has no fast code for smaller ones of many widths: 7 x 7 pixels took it 100 times as long."""


@dataclass(frozen=True)
class Levels:
    """An image x ~ step (level - zero).

    Attributes:
        stored: levels (h + 2 m, w + 2 n, c) uint8, with a margin of zeros.
        step: between levels.
        zero: the level of 0.
    """

    stored: np.ndarray
    step: float
    zero: int

    @classmethod
    def between(cls, low: float, high: float, shape: tuple[int, ...], margin: tuple[int, int]) -> Levels:
        """For numbers from `low`, at most 0, to `high`, at least 0: a margin around what is to be written.

        Args:
            low, high: the lowest level is that of `low`, the highest that of `high`.
            shape: (1, c, h, w).
            margin: (m, n).
        """
        step = max((high - low) / 255, 1e-12)
        zero = round(-low / step)
        (down, right), (channels, height, width) = margin, shape[1:]
        stored = np.empty((height + 2 * down, width + 2 * right, channels), np.uint8)
        stored[:down] = stored[height + down :] = zero
        stored[:, :right] = stored[:, width + right :] = zero
        return cls(stored, step, zero)


class EightBitConv:
    """The convolution `conv` with weights of 8 bits.

    Args:
        conv: with zeros beyond the border, no groups, no dilation; see `suits`.

    Attributes:
        padding: margin that its levels need.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        weight = conv.weight.detach().float()
        self._steps = (weight.abs().amax((1, 2, 3)) / 127).clamp(min=1e-12)
        levels = (weight / self._steps[:, None, None, None]).round()
        self._zeros = torch.zeros(len(weight), dtype=torch.int32)
        self._sums = self._steps * levels.sum((1, 2, 3))
        self._bias = torch.zeros(len(weight)) if conv.bias is None else conv.bias.detach().float()
        self.padding = (int(conv.padding[0]), int(conv.padding[1]))
        self._grid: tuple[Any, ...] = (list(conv.stride), [0, 0], [1, 1], 1)
        self._weight = torch.ops.onednn.qconv_prepack(levels.to(torch.int8), self._steps, 1.0, 0, *self._grid, None)

    @staticmethod
    def suits(conv: nn.Conv2d) -> bool:
        """Whether a convolution is one that this class knows, wide enough to gain, and of finite weights."""
        if not bool(conv.weight.isfinite().all()):
            return False
        plain = conv.groups == 1 and conv.dilation == (1, 1) and conv.padding_mode == "zeros"
        return plain and not isinstance(conv.padding, str) and min(conv.in_channels, conv.out_channels) >= 16

    def __call__(self, x: Levels, dtype: torch.dtype, plus: Tensor | None = None) -> Tensor:
        """conv(x) + plus: (1, c', h', w') of `dtype`, channels last.

        `plus`, like it, is written to; None is 0.
        """
        op = torch.ops.onednn.qconv2d_pointwise
        levels = torch.from_numpy(x.stored)[None].permute(0, 3, 1, 2)
        bias = self._bias - x.step * x.zero * self._sums
        given = (levels, x.step, 0, self._weight, self._steps, self._zeros)
        if plus is None:
            return op(*given, bias, *self._grid, 1.0, 0, dtype, "none", [], "")
        plus = plus.contiguous(memory_format=torch.channels_last)
        return op.binary(*given, plus, bias, *self._grid, 1.0, 0, dtype, 1.0, 0, "sum", 1.0, "none", [], "")


@cache
def multiplies_eight_bits() -> bool:
    """Whether this processor multiplies 8-bit integers faster than other numbers, and this torch can ask it to.

    Tried on a small convolution: the operations are torch's own affair, and not the same in all its versions.
    """
    from llvmlite.binding import get_host_cpu_features

    if not get_host_cpu_features().get("avx512vnni", False):
        return False
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):  # and no weights drawn from the user's random numbers
        conv = nn.Conv2d(16, 16, 3, padding=1, bias=False)
    conv.weight = nn.Parameter(torch.randn(conv.weight.shape, generator=generator), requires_grad=False)
    x = torch.rand((1, 16, 6, 6), generator=generator) - 0.3
    levels = Levels.between(-0.3, 0.7, x.shape, (1, 1))
    levels.stored[1:-1, 1:-1] = (x[0].permute(1, 2, 0) / levels.step + levels.zero).round().numpy()
    try:
        found = EightBitConv(conv)(levels, torch.float32, x)
    except (RuntimeError, AttributeError, TypeError, NotImplementedError):
        return False
    exact = conv(x) + x
    return bool((found - exact).abs().max() <= 0.03 * exact.abs().max())
