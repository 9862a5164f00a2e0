"""Rates and optimisers: closed forms, and the papers' own recursions."""

import math

import pytest
import torch
from torch import nn

from coslice.networks.unet import UNet
from coslice.training.learning.optimisers import Adam, Muon, clip_, orthogonal, relative_rate, steps_of
from coslice.training.sections import OptimiserSettings, RateSettings
from small_training import SMALL

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", ["linear", "cosine", "inverse-sqrt"])
def test_rates_rise_from_0_and_fall_to_0(name):
    schedule = RateSettings(name, warmup=100, hold=300, decay=0.2)
    rates = [relative_rate(schedule, n, 1000) for n in range(1001)]
    assert rates[0] == 0 and rates[-1] == pytest.approx(0, abs=1e-12) and max(rates) <= 1
    assert rates[:100] == sorted(rates[:100]) and rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[50] == pytest.approx(0.5)


def test_rates_at_known_places():
    assert relative_rate(RateSettings("linear", 0, decay=0.25), 700, 1000) == 1
    assert relative_rate(RateSettings("linear", 0, decay=0.25), 875, 1000) == pytest.approx(0.5)
    assert relative_rate(RateSettings("cosine", 0), 500, 1000) == pytest.approx(0.5)
    assert relative_rate(RateSettings("inverse-sqrt", 0, hold=100, decay=0.1), 400, 1000) == pytest.approx(0.5)


# --- optimisers


def test_adam_is_the_papers():
    parameter = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    reference, mean, square = parameter.detach().clone().double(), torch.zeros(3).double(), torch.zeros(3).double()
    adam = Adam([parameter], (0.9, 0.99))
    for step in range(1, 6):
        gradient = torch.tensor([1.0, 0.1, -2.0]) * step
        adam.step([gradient], 0.01 * step)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient.double() ** 2
        reference -= 0.01 * step * (mean / (1 - 0.9**step)) / ((square / (1 - 0.99**step)).sqrt() + 1e-8)
    torch.testing.assert_close(parameter.detach().double(), reference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 24, 60), (2, 60, 24), (1, 16, 16)])
def test_newton_schulz_keeps_directions_and_evens_out_lengths(shape):
    u, _, v = torch.linalg.svd(torch.randn(shape, generator=torch.Generator().manual_seed(0)), full_matrices=False)
    lengths = torch.linspace(1.0, 0.05, u.shape[-1])
    turned = orthogonal(u * lengths @ v)
    inside = u.mT @ turned @ v.mT
    diagonal = inside.diagonal(dim1=1, dim2=2)
    assert float(diagonal.min()) > 0.6 and float(diagonal.max()) < 1.3
    assert float((inside - torch.diag_embed(diagonal)).abs().max()) < 1e-3


def test_muon_moves_hidden_convolutions_by_orthogonal_steps_and_the_rest_as_adam():
    torch.manual_seed(0)
    one, other = UNet(SMALL), UNet(SMALL)
    other.load_state_dict(one.state_dict())
    before = {name: value.clone() for name, value in one.named_parameters()}
    gradients = [torch.randn_like(parameter) for parameter in one.parameters()]
    Muon(one, (0.9, 0.99), 0.95, torch.float32).step(gradients, 0.01)
    steps_of(OptimiserSettings("adam"), other).step(gradients, 0.01)
    adams = dict(other.named_parameters())
    for name, value in one.named_parameters():
        moved = (value - before[name]).detach()
        if value.ndim == 4 and name not in ("first.weight", "last.weight"):
            matrix = moved.permute(0, 2, 3, 1).reshape(len(moved), -1)
            lengths = torch.linalg.svdvals(matrix) / (0.01 * 0.2 * math.sqrt(max(matrix.shape)))
            assert float(lengths.min()) > 0.3 and float(lengths.max()) < 1.3, name
        else:
            torch.testing.assert_close(value, adams[name], msg=name)


def test_clipping_shrinks_to_the_norm_and_never_enlarges():
    gradients = [torch.full((3,), 4.0), torch.full((4,), 3.0)]
    norm = math.sqrt(3 * 16 + 4 * 9)
    assert float(clip_(gradients, 1.0)) == pytest.approx(norm)
    assert float(clip_(gradients, 5.0)) == pytest.approx(1.0, rel=1e-5)
    assert float(clip_(gradients, 5.0)) == pytest.approx(1.0, rel=1e-5)
