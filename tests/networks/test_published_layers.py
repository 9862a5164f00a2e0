"""Layers of the published networks against closed forms and torch's own."""

import math

import numpy as np
import pytest
import scipy.signal
import torch
from torch.nn import functional as F

from coslice.networks.guided_config import GuidedUNetConfig
from coslice.networks.guided_layers import MultiHeadAttention
from coslice.networks.halving import FIRConv2d, fir_down, fir_up, mean_down, repeat_up
from coslice.networks.ncsnpp_layers import SingleHeadAttention
from laws import draw, inner, relative
from published import filled


@pytest.mark.parametrize("kernel", [(1, 3, 3, 1), (1, 1), (1, 2, 5, 1), (1, 4, 6, 4, 6, 1)])
def test_fir_is_convolution_with_the_kernel(kernel):
    x = draw((1, 1, 6, 8)).double()
    taps = np.array(kernel) / sum(kernel)
    full = scipy.signal.convolve2d(x[0, 0].numpy(), np.outer(taps, taps))
    start = len(kernel) - 1 - (len(kernel) - 1) // 2
    padded = np.pad(full, len(kernel))
    offset = start + len(kernel)
    assert np.allclose(fir_down(x, kernel)[0, 0].numpy(), padded[offset : offset + 6 : 2, offset : offset + 8 : 2])
    spread = np.zeros((12, 16))
    spread[::2, ::2] = x[0, 0].numpy()
    full = np.pad(scipy.signal.convolve2d(spread, 4 * np.outer(taps, taps)), len(kernel))
    offset = len(kernel) - 2 - (len(kernel) - 1) // 2 + len(kernel)
    assert np.allclose(fir_up(x, kernel)[0, 0].numpy(), full[offset : offset + 12, offset : offset + 16])


def test_fir_keeps_constants_and_up_is_four_times_downs_adjoint():
    kernel = (1, 3, 3, 1)
    ones = torch.ones(1, 2, 12, 16)
    assert torch.allclose(fir_down(ones, kernel)[..., 1:-1, 1:-1], torch.ones(1, 2, 4, 6))
    assert torch.allclose(fir_up(ones, kernel)[..., 1:-1, 1:-1], torch.ones(1, 2, 22, 30))
    x, y = draw((2, 3, 8, 12), 1), draw((2, 3, 4, 6), 2)
    assert inner(fir_down(x, kernel), y) == pytest.approx(inner(x, fir_up(y, kernel)) / 4, rel=1e-5)
    assert torch.allclose(fir_up(y, (1, 1)), repeat_up(y)) and torch.allclose(
        fir_down(x, (1, 1)), mean_down(x), atol=1e-6
    )


@pytest.mark.parametrize("direction", ["down", "up"])
def test_fused_convolution_is_filter_and_convolution_in_turn(direction):
    kernel = (1, 3, 3, 1)
    layer = filled(FIRConv2d(2, 3, kernel, direction))
    x = draw((1, 2, 8, 8))
    taps = torch.tensor(kernel) / 8
    if direction == "down":
        smooth = F.conv2d(x.transpose(0, 1), torch.outer(taps, taps)[None, None], padding=3).transpose(0, 1)
        # Filter and convolution reach 2 pixels to the left of the pixel that is kept: its index in `smooth` is 1.
        expected = F.conv2d(smooth[..., 1:-1, 1:-1], layer.weight, layer.bias, stride=2)
    else:
        spread = torch.zeros(1, 2, 16, 16)
        spread[..., ::2, ::2] = x
        wide = F.conv2d(spread, layer.weight, padding=2)[..., :17, :17]
        smooth = F.conv2d(wide.transpose(0, 1), 4 * torch.outer(taps, taps)[None, None], padding=1).transpose(0, 1)
        assert layer.bias is not None
        expected = smooth + layer.bias[:, None, None]
    assert expected.shape == layer(x).shape
    assert relative(layer(x), expected) <= 1e-6


def test_single_attention_is_softmax_of_products():
    layer = filled(SingleHeadAttention(16, rescale=True))
    x = draw((2, 16, 3, 4))
    pixels = layer.GroupNorm_0(x)
    q, k, v = (
        torch.einsum("bchw,cd->bdhw", pixels, m.W) + m.b[:, None, None] for m in (layer.NIN_0, layer.NIN_1, layer.NIN_2)
    )
    weights = torch.einsum("bchw,bcij->bhwij", q, k) / 4
    weights = weights.flatten(3).softmax(-1).reshape(weights.shape)
    answer = torch.einsum("bhwij,bcij->bchw", weights, v)
    answer = torch.einsum("bchw,cd->bdhw", answer, layer.NIN_3.W) + layer.NIN_3.b[:, None, None]
    assert relative(layer(x), (x + answer) / math.sqrt(2)) <= 1e-5


@pytest.mark.parametrize("new_order", [False, True])
def test_heads_share_the_channels_in_either_order(new_order):
    config = GuidedUNetConfig(
        channels=64, multipliers=(1,), head_channels=16, attention=(), new_attention_order=new_order
    )
    layer = filled(MultiHeadAttention(64, config, up=False))
    x = draw((2, 64, 3, 4))
    qkv = layer.qkv(layer.norm(x).flatten(2))
    answer = torch.empty(2, 64, 12)
    for head in range(4):
        starts = [kind * 64 + head * 16 if new_order else head * 48 + kind * 16 for kind in range(3)]
        q, k, v = (qkv[:, start : start + 16] for start in starts)
        answer[:, head * 16 : head * 16 + 16] = v @ (q.mT @ k / 4).softmax(-1).mT
    assert relative(layer(x, torch.zeros(2, 256)), x + layer.proj_out(answer).reshape(x.shape)) <= 1e-5
