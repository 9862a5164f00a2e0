"""Halving and doubling the resolution, in plain torch.

A short filter k (its sum made 1) smooths along rows and columns before every second pixel is kept, or after zeros
were put between the pixels. In one dimension, with K taps,

    down(x)_n = sum_i k_i x_(2n + a - i),           a = K - 1 - floor((K - 1)/2)
    up(x)_m   = 2 sum_i k_i z_(m + b - i),          b = K - 2 - floor((K - 1)/2),     z_(2n) = x_n, else 0

and 0 beyond the borders. The factor 2 (4 for images) keeps a constant constant. For a symmetric k of even length,
up = 4 down^T for images. With k = 1,3,3,1 this is the anti-aliased resampling of StyleGAN2 (Karras et al., CVPR 2020),
which NCSN++ uses in its blocks and, fused with a 3 x 3 convolution, in its pyramids.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FIRConv2d", "fir_down", "fir_up", "mean_down", "repeat_up"]


def fir_down(x: Tensor, kernel: tuple[float, ...]) -> Tensor:
    """x (b, c, h, w) filtered, and every second pixel kept: (b, c, h/2, w/2)."""
    spare = len(kernel) - 2
    return _filter(x, kernel, (spare + 1) // 2, spare // 2, step=2)


def fir_up(x: Tensor, kernel: tuple[float, ...]) -> Tensor:
    """x (b, c, h, w) with zeros put between its pixels, then filtered: (b, c, 2h, 2w)."""
    if x.device.type == "cpu" and x.dtype == torch.bfloat16:
        return _phases_up(x, kernel)
    channels, height, width = x.shape[1:]
    weight = _depthwise(x, kernel, gain=4.0)
    start = len(kernel) - 2 - (len(kernel) - 1) // 2
    full = F.conv_transpose2d(x, weight, stride=2, groups=channels)
    return full[:, :, start : start + 2 * height, start : start + 2 * width]


def _phases_up(x: Tensor, kernel: tuple[float, ...]) -> Tensor:
    """`fir_up` where the transpose of a convolution has no fast code: one convolution for every second row and column.

    Of the taps, those meet pixels whose distance from the result is even: for results 2n + p, k_i meets x_(n + j) with
    2j = p + b - i.
    """
    height, width = x.shape[2:]
    before = len(kernel) - 2 - (len(kernel) - 1) // 2
    taps = _depthwise(x, kernel, gain=4.0)[:1]
    result = torch.empty((*x.shape[:2], 2 * height, 2 * width), dtype=x.dtype, memory_format=torch.channels_last)
    for p in (0, 1):
        for q in (0, 1):
            first, left = (p + before) % 2, (q + before) % 2
            # Larger i are pixels further before.
            weight = taps[:, :, first::2, left::2].flip(-1, -2).expand(x.shape[1], -1, -1, -1)
            (up, down), (west, east) = (
                ((lowest - start - before) // 2, (start + before - highest) // 2)
                for start, lowest, highest in (
                    (p, first + 2 * (weight.shape[2] - 1), first),
                    (q, left + 2 * (weight.shape[3] - 1), left),
                )
            )
            result[:, :, p::2, q::2] = F.conv2d(F.pad(x, (west, east, up, down)), weight, groups=x.shape[1])
    return result


def mean_down(x: Tensor) -> Tensor:
    """x (b, c, h, w) to the means of its 2 x 2 blocks."""
    return F.avg_pool2d(x, 2)


def repeat_up(x: Tensor) -> Tensor:
    """x (b, c, h, w) with every pixel made a 2 x 2 block."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class FIRConv2d(nn.Conv2d):
    """A 3 x 3 convolution fused with filtered resampling: filter, then every second output ("down"), or convolve the
    image with zeros between its pixels, then filter ("up").
    """

    def __init__(self, width_in: int, width_out: int, kernel: tuple[float, ...], direction: str):
        super().__init__(width_in, width_out, 3)
        self.fir_kernel, self.direction = kernel, direction

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """(b, width_in, h, w) -> (b, width_out, h/2, w/2) or (b, width_out, 2h, 2w)."""
        taps = len(self.fir_kernel)
        if self.direction == "down":
            smooth = _filter(x, self.fir_kernel, (taps + 1) // 2, taps // 2)
            return F.conv2d(smooth, self.weight, self.bias, stride=2)
        spread = F.conv_transpose2d(x, self.weight.flip(-1, -2).transpose(0, 1), stride=2)
        # The convolution has already used up two of the filter's border pixels.
        before, after = (taps - 3) // 2 + 1, (taps - 4) // 2 + 1
        smooth = _filter(spread, self.fir_kernel, before, after, gain=4.0)
        return smooth if self.bias is None else smooth + self.bias[:, None, None]


def _filter(x: Tensor, kernel: tuple[float, ...], before: int, after: int, gain: float = 1.0, step: int = 1) -> Tensor:
    """x convolved with the kernel after `before` and `after` pixels were added (or taken off) at its ends."""
    weight = _depthwise(x, kernel, gain).flip(-1, -2)
    return F.conv2d(F.pad(x, (before, after, before, after)), weight, stride=step, groups=x.shape[1])


def _depthwise(x: Tensor, kernel: tuple[float, ...], gain: float) -> Tensor:
    # Made on the spot: a buffer would have to travel with the weights, which do not know it.
    taps = torch.tensor(kernel, dtype=x.dtype, device=x.device) * (math.sqrt(gain) / sum(kernel))
    return torch.outer(taps, taps).expand(x.shape[1], 1, -1, -1)
