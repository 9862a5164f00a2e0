"""What NCSN++ is made of: residual blocks, attention, pyramids, Fourier features.

Group normalisation with four channels a group (at most 32 groups), SiLU, 3x3 convolutions. A layer that closes a
residual branch starts at zero, so that a fresh network is a plain path. Parameters have their published names.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coslice.networks.halving import FIRConv2d, fir_down, fir_up, mean_down, repeat_up
from coslice.networks.inference import activated, closed, convolved
from coslice.networks.layers import silent, waves

__all__ = [
    "BigGANBlock",
    "Combine",
    "FourierFeatures",
    "PixelDense",
    "Pyramid",
    "Resampled",
    "SingleHeadAttention",
    "conv3x3",
    "merge",
    "norm",
    "resampler",
]

Resample = Callable[[Tensor], Tensor]


class BigGANBlock(nn.Module):
    """The residual block of BigGAN: two normalised 3x3 convolutions with the noise level as a bias; it may resample."""

    def __init__(
        self, width_in: int, width_out: int, label_width: int, rescale: bool, resample: Resample | None = None
    ):
        super().__init__()
        self.rescale, self.resample = rescale, resample
        self.GroupNorm_0 = norm(width_in)
        self.Conv_0 = conv3x3(width_in, width_out)
        self.Dense_0 = nn.Linear(label_width, width_out)
        self.GroupNorm_1 = norm(width_out)
        self.Conv_1 = silent(conv3x3(width_out, width_out))
        if width_in != width_out or resample is not None:
            self.Conv_2 = nn.Conv2d(width_in, width_out, 1)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """(b, width_in, h, w), label (b, label_width) -> (b, width_out, h', w')."""
        if self.resample is None:
            h = closed(self.GroupNorm_0, self.Conv_0, x)
        else:
            h, x = self.resample(activated(self.GroupNorm_0, x)), self.resample(x)
            h = convolved(self.Conv_0, h)
        h = closed(self.GroupNorm_1, self.Conv_1, h, offset=self.Dense_0(F.silu(label)))
        return merge(convolved(self.Conv_2, x, levels=False) if hasattr(self, "Conv_2") else x, h, self.rescale)


class SingleHeadAttention(nn.Module):
    """Every pixel asks all others: softmax(q k^T / sqrt(c)) v, with one head, added to the input."""

    def __init__(self, width: int, rescale: bool):
        super().__init__()
        self.rescale = rescale
        self.GroupNorm_0 = norm(width)
        self.NIN_0, self.NIN_1, self.NIN_2 = PixelDense(width), PixelDense(width), PixelDense(width)
        self.NIN_3 = silent(PixelDense(width))

    def forward(self, x: Tensor) -> Tensor:
        """(b, width, h, w) -> the same shape."""
        pixels = activated(self.GroupNorm_0, x, active=False).flatten(2).transpose(1, 2)
        heads = (layer(pixels)[:, None] for layer in (self.NIN_0, self.NIN_1, self.NIN_2))
        answer = self.NIN_3(F.scaled_dot_product_attention(*heads)[:, 0])
        return merge(x, answer.transpose(1, 2).reshape(x.shape), self.rescale)


class PixelDense(nn.Module):
    """A dense layer on channels last ("network in network"), its matrix stored (in, out)."""

    def __init__(self, width: int):
        super().__init__()
        self.W = nn.Parameter(torch.empty(width, width))
        self.b = nn.Parameter(torch.zeros(width))
        nn.init.xavier_uniform_(self.W)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        return x @ self.W + self.b


class Combine(nn.Module):
    """Joins the shrunken picture to the features: a 1x1 convolution, then sum or concatenation."""

    def __init__(self, picture: int, width: int, method: str):
        super().__init__()
        self.method = method
        self.Conv = nn.Conv2d(picture, width, 1)

    def forward(self, picture: Tensor, h: Tensor) -> Tensor:
        """(b, picture, h, w), (b, width, h, w) -> (b, width or 2 width, h, w)."""
        lifted = self.Conv(picture)
        return torch.cat((lifted, h), dim=1) if self.method == "cat" else lifted + h


class Resampled(nn.Module):
    """A picture halved or doubled; without parameters, but with a number of its own among the published modules."""

    def __init__(self, resample: Resample):
        super().__init__()
        self.resample = resample

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, c, h/2, w/2) or (b, c, 2h, 2w)."""
        return self.resample(x)


class Pyramid(nn.Module):
    """A convolution that halves or doubles the resolution beside the main path."""

    def __init__(self, width_in: int, width_out: int, kernel: tuple[float, ...] | None, direction: str):
        super().__init__()
        self.direction = direction
        if kernel is not None:
            self.Conv2d_0 = FIRConv2d(width_in, width_out, kernel, direction)
        elif direction == "down":
            self.Conv_0 = nn.Conv2d(width_in, width_out, 3, stride=2)
        else:
            self.Conv_0 = conv3x3(width_in, width_out)

    def forward(self, x: Tensor) -> Tensor:
        """(b, width_in, h, w) -> (b, width_out, h/2, w/2) or (b, width_out, 2h, 2w)."""
        if hasattr(self, "Conv2d_0"):
            return self.Conv2d_0(x)
        # The published network pads one side only here.
        return self.Conv_0(F.pad(x, (0, 1, 0, 1)) if self.direction == "down" else repeat_up(x))


class FourierFeatures(nn.Module):
    """sin and cos of 2 pi W ln(sigma), with frequencies W drawn once and never trained."""

    def __init__(self, count: int, scale: float):
        super().__init__()
        self.W = nn.Parameter(nn.init.normal_(torch.empty(count), std=scale), requires_grad=False)

    def forward(self, log_sigma: Tensor) -> Tensor:
        """(b,) -> (b, 2 count)."""
        phase = log_sigma[:, None] * self.W.to(log_sigma) * 2 * math.pi
        return waves(phase, sines_first=True)


def resampler(kernel: tuple[float, ...] | None, direction: str) -> Resample:
    """Halving ("down") or doubling ("up") by the filter, or by means and repetition if there is none."""
    if kernel is None:
        return mean_down if direction == "down" else repeat_up
    return partial(fir_down if direction == "down" else fir_up, kernel=kernel)


def norm(width: int) -> nn.GroupNorm:
    """Group normalisation, four channels a group and at most 32 groups."""
    return nn.GroupNorm(min(width // 4, 32), width, eps=1e-6)


def conv3x3(width_in: int, width_out: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size."""
    return nn.Conv2d(width_in, width_out, 3, padding=1)


def merge(a: Tensor, b: Tensor, rescale: bool) -> Tensor:
    """The sum of two branches, its variance restored if asked."""
    return (a + b) / math.sqrt(2) if rescale else a + b
