"""Networks that only answer: the same answers as while they learn, in fewer passes and in smaller numbers."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from coslice.networks import GuidedUNet, NCSNpp
from coslice.networks.eight_bits import EightBitConv, Levels, multiplies_eight_bits
from coslice.networks.halving import fir_up
from coslice.networks.inference import Answers, activated, answering, closed, convolved, doubled
from coslice.networks.unet import UNet, UNetConfig
from coslice.priors import load_prior
from laws import draw, relative
from published import SMALL_GUIDED, SMALL_NCSNPP, SMALL_PATCHES, filled

needs_integers = pytest.mark.skipif(not multiplies_eight_bits(), reason="this processor has no fast 8-bit products")


def answered(network, *given, eight_bits=False):
    with torch.no_grad(), answering(Answers(eight_bits)):
        return network(*given)


def networks():
    level, step = torch.tensor([0.3, 2.0]), torch.tensor([10.0, 700.0])
    unet = UNet(UNetConfig(1, 16, (1, 2), 1))
    patches = UNet(UNetConfig(3, 16, (1, 2), 1, positions=True))
    exchanging = UNet(UNetConfig(3, 16, (1, 2), 1, positions=True, exchange=True))
    return [
        (unet, draw((2, 1, 16, 12)), level),
        (patches, draw((2, 3, 16, 12)), level, torch.tensor([0.0, 1.0])),
        (exchanging, draw((2, 3, 16, 12)), level, torch.tensor([0.0, 1.0])),
        (NCSNpp(SMALL_NCSNPP), draw((2, 1, 16, 16)), level),
        (GuidedUNet(SMALL_GUIDED), draw((2, 1, 16, 16)), step),
        (GuidedUNet(SMALL_PATCHES), draw((2, 3, 16, 16)), step, torch.tensor([1, 3])),
    ]


@pytest.mark.parametrize("number", range(6))
def test_networks_answer_as_plain_torch_does_alone_and_in_a_batch(number):
    network, *given = networks()[number]
    filled(network)
    plain = network(*given)
    together = answered(network, *given)
    assert relative(together, plain) <= 1e-5
    apart = torch.cat([answered(network, *(part[i : i + 1] for part in given)) for i in range(2)])
    assert relative(apart, together) <= 1e-5


def test_layers_are_what_they_say():
    norm, conv = filled(nn.GroupNorm(4, 20)), filled(nn.Conv2d(20, 24, 3, padding=1))
    x = 3 * draw((2, 20, 9, 7)) + 1
    offset, scale, shift = (draw((2, 20), seed) for seed in (1, 2, 3))
    plus = draw((2, 24, 9, 7), 4)
    kept = plus.clone()

    u = norm(x + offset[:, :, None, None]) * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
    expected = conv(u / (1 + torch.exp(-u))) + plus
    found = answered(lambda: closed(norm, conv, x, offset=offset, scale=scale, shift=shift, plus=plus))
    assert relative(found, expected) <= 2e-6
    assert torch.equal(plus, kept)
    assert relative(answered(activated, norm, x, False), norm(x)) <= 2e-6
    assert relative(answered(activated, norm, 30 * x), F.silu(norm(30 * x))) <= 2e-6

    larger = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert relative(answered(doubled, conv, x), conv(larger)) <= 2e-6


@pytest.mark.parametrize("kernel", [(1, 3, 3, 1), (1, 2, 1), (1, 2, 3, 4, 5), (1, 1)])
def test_doubling_by_a_filter_in_bfloat16_is_that_in_float32(kernel):
    x = draw((2, 3, 6, 10)).bfloat16()
    # Taps are rounded, and every pixel once.
    assert relative(fir_up(x, kernel), fir_up(x.float(), kernel)) <= 2**-7


def test_in_bfloat16_answers_are_no_further_from_float32_than_torchs():
    network = filled(UNet(UNetConfig(1, 16, (1, 2), 1)))
    small = copy.deepcopy(network).bfloat16()
    x, level = draw((1, 1, 32, 32)), torch.tensor([0.3])
    exact = network(x, level)
    assert relative(answered(small, x.bfloat16(), level), exact) <= 1.1 * relative(small(x.bfloat16(), level), exact)


def test_what_was_packed_follows_the_weights_and_stays_at_home():
    network = filled(UNet(UNetConfig(1, 16, (1,), 1)))
    x, level = draw((1, 1, 16, 16)), torch.tensor([0.3])
    before = answered(network, x, level)
    assert torch.equal(answered(pickle.loads(pickle.dumps(network)), x, level), before)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.GroupNorm):
                layer.weight.mul_(0.5)
    after = answered(network, x, level)
    assert relative(after, network(x, level)) <= 1e-5
    assert relative(after, before) > 0.01


def test_gradients_are_plain_torchs():
    network = filled(UNet(UNetConfig(1, 16, (1,), 1)))
    x = draw((1, 1, 16, 16)).requires_grad_()
    with answering(Answers(True)):
        (found,) = torch.autograd.grad(network(x, torch.tensor([0.3])).sum(), x)
    (expected,) = torch.autograd.grad(network(x, torch.tensor([0.3])).sum(), x)
    assert torch.equal(found, expected)


@needs_integers
@pytest.mark.parametrize(("stride", "bias"), [(1, True), (2, False)])
def test_a_convolution_of_integers_is_exact_for_what_its_levels_stand_for(stride, bias):
    conv = filled(nn.Conv2d(32, 48, 3, stride, padding=1, bias=bias))
    steps = conv.weight.abs().amax((1, 2, 3), keepdim=True) / 127
    conv.weight.data = (conv.weight / steps).round() * steps
    levels = Levels.between(-0.3, 2.0, (1, 32, 10, 14), (1, 1))
    levels.stored[1:-1, 1:-1] = np.random.default_rng(0).integers(0, 256, (10, 14, 32))
    x = levels.step * (torch.from_numpy(levels.stored[1:-1, 1:-1]).float() - levels.zero)
    plus = draw((1, 48, 10 // stride, 14 // stride))
    found = EightBitConv(conv)(levels, torch.float32, plus.clone())
    assert relative(found, conv(x.permute(2, 0, 1)[None]) + plus) <= 1e-6
    assert relative(EightBitConv(conv)(levels, torch.float32), conv(x.permute(2, 0, 1)[None])) <= 1e-6


@needs_integers
def test_levels_are_within_half_a_step_of_what_they_stand_for():
    norm, conv = filled(nn.GroupNorm(4, 32)), nn.Conv2d(32, 16, 1, bias=False).requires_grad_(False)
    conv.weight.zero_()
    conv.weight[:16, :16, 0, 0] = torch.eye(16)
    x = draw((1, 32, 19, 21)).contiguous(memory_format=torch.channels_last)
    exact = F.silu(norm(x))
    step = (float(norm(x).max()) + 0.2785) / 255
    found = answered(closed, norm, conv, x, eight_bits=True)
    assert float((found - exact[:, :16]).abs().max()) <= 0.501 * step
    low, high = float(x.min()), float(x.max())
    plain = answered(convolved, conv, x, eight_bits=True)
    assert float((plain - x[:, :16]).abs().max()) <= 0.501 * (high - low) / 255
    # Levels that reach up to one large number would say nothing of the others.
    x[0, 20, 3, 3] = 100
    plain = answered(convolved, conv, x, eight_bits=True)
    assert relative(plain, x[:, :16]) <= 2**-8


@needs_integers
@pytest.mark.parametrize(("name", "sides"), [("ct", (64, 96)), ("ct3", (64, 64)), ("mr", (64, 64))])
def test_embedded_priors_err_little_more_with_integers(name, sides):
    prior = load_prior(name)
    exact = copy.deepcopy(prior.denoiser).float()
    y, x = (torch.linspace(-1, 1, side) for side in sides)
    body = ((x / 0.8) ** 2 + (y[:, None] / 0.7) ** 2 <= 1).float() * (0.4 + 0.05 * torch.sin(9 * x + 5 * y[:, None]))
    image = body.expand(1, prior.channels, -1, -1)
    for sigma in (0.02, 0.3):
        given = (image + sigma * draw(tuple(image.shape)), torch.tensor([sigma]), torch.tensor([1.0]))
        with torch.no_grad():
            answer = exact(*given)
        own = (answer - image).square().mean().sqrt()
        error = (answered(prior.denoiser, *given, eight_bits=True) - answer).square().mean().sqrt()
        assert error <= 0.25 * own
