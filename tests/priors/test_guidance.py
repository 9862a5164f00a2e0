"""Guidance: pull-backs against autograd and differences, and a guided denoiser against its formula."""

import math

import pytest
import torch

from coslice.axes import axis_number
from coslice.errors import CosliceError
from coslice.fidelity import unchanged
from coslice.networks.edm import EDMDenoiser
from coslice.networks.unet import UNet, UNetConfig
from coslice.noise import Independent
from coslice.operators.base import Operator
from coslice.priors import Guided, SlicePrior, by_autograd
from coslice.renoising import DDIM
from coslice.sampling import sample, start
from coslice.schedule import Geometric
from laws import draw, inner, relative


def network(channels=16, spread=0.1):
    torch.manual_seed(0)
    net = UNet(UNetConfig(channels=channels, multipliers=(1, 2), blocks=1))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=spread)
    return net


@pytest.fixture(scope="module")
def denoiser():
    # Not frozen: the weights' own gradients are nobody's business, whether they could have some or not.
    return EDMDenoiser(network(), 0.2, 0.2)


def whole(prior):
    """The same denoiser, of all slices at once and differentiable."""
    order = [axis_number(axis) for axis in (prior.along, *prior.plane)]

    def denoise(x, sigma):
        images = x.permute(order)[:, None]
        sides = images.shape[-2:]
        images = torch.nn.functional.pad(images, (0, -sides[1] % 4, 0, -sides[0] % 4), mode="reflect")
        denoised = prior.denoiser(images, torch.full((len(images),), sigma))
        return denoised[:, 0, : sides[0], : sides[1]].permute([order.index(axis) for axis in range(3)])

    return denoise


@pytest.mark.parametrize("plane", ["yx", "zx", "xy"])
def test_slice_by_slice_is_autograd_of_the_volume(denoiser, plane):
    """Also for sides that are padded by reflection."""
    prior = SlicePrior(denoiser, 4, (0.01, 10.0), plane)
    x, cotangent = draw((9, 10, 13)), draw((9, 10, 13), 1)
    with torch.no_grad():
        found = prior.pull_back(x, 0.3, cotangent)
        expected = by_autograd(whole(prior))(x, 0.3, cotangent)
    assert relative(found, expected) < 1e-5
    assert not found.requires_grad and all(parameter.grad is None for parameter in denoiser.parameters())


def test_the_pull_back_is_the_adjoint_of_the_derivative(denoiser):
    """<u, D(x + h v) - D(x - h v)> / 2h = <J^T u, v>."""
    prior = SlicePrior(denoiser, 4, (0.01, 10.0))
    x, u, v = draw((2, 12, 16)), draw((2, 12, 16), 1), draw((2, 12, 16), 2)
    h = 1e-2
    difference = (prior(x + h * v, 0.5) - prior(x - h * v, 0.5)) / (2 * h)
    pulled = prior.pull_back(x, 0.5, u)
    scale = float(u.norm() * difference.norm())
    assert inner(u, difference) == pytest.approx(inner(pulled, v), abs=2e-3 * scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_pull_back_depends_neither_on_neighbours_nor_on_threads(dtype):
    # torch's stubs have no `to` with a type and a format.
    net = network(32, 0.05).to(dtype, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    net.requires_grad_(False)
    prior = SlicePrior(EDMDenoiser(net, 0.2, 0.2), net.stride, (0.01, 10.0))
    x, cotangent = draw((4, 64, 64), 3), draw((4, 64, 64), 4)
    threads = torch.get_num_threads()
    results = []
    try:
        for count, cut in ((1, 4), (2, 4), (3, 3), (4, 1)):
            torch.set_num_threads(count)
            slabs = zip(x.split(cut), cotangent.split(cut), strict=True)
            results.append(torch.cat([prior.pull_back(a, 0.3, b) for a, b in slabs]))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert results[0].isfinite().all() and results[0].any()
    assert all(torch.equal(result, results[0]) for result in results)


def test_a_silent_network_pulls_back_by_its_skip(tmp_path):
    """D = m + c_skip (x - m): J^T is c_skip, Wiener's factor."""
    silent = UNet(UNetConfig(channels=16, multipliers=(1, 2), blocks=1))
    prior = SlicePrior(EDMDenoiser(silent, 0.3, 0.2), 4, (0.01, 10.0))
    cotangent = draw((2, 8, 8))
    torch.testing.assert_close(prior.pull_back(draw((2, 8, 8), 1), 0.5, cotangent), 0.04 / (0.04 + 0.25) * cotangent)


class Weights(Operator):
    """A = diag(weights), one measurement for each voxel."""

    def __init__(self, weights):
        self.weights = weights
        self.domain = self.codomain = tuple(weights.shape)

    def forward(self, volume):
        return self.weights * volume

    def adjoint(self, measurement):
        return self.weights * measurement


def test_a_guided_denoiser_steps_against_the_gradient_of_the_residual_s_length(denoiser):
    prior = SlicePrior(denoiser, 4, (0.01, 10.0))
    shape = (3, 12, 12)
    operator, y, x = Weights(draw(shape, 1)), draw(shape, 2), draw(shape, 3)
    guided = Guided(prior, prior.pull_back, operator, y, step=0.7)
    inside = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((operator(whole(prior)(inside, 0.4)) - y).norm(), inside)
    assert relative(guided(x, 0.4) - prior(x, 0.4), -0.7 * gradient) < 1e-4
    assert torch.equal(Guided(prior, prior.pull_back, operator, y, 0.0)(x, 0.4), prior(x, 0.4))


def test_where_the_prediction_agrees_with_the_data_there_is_nothing_to_guide():
    operator = Weights(torch.ones(2, 4, 4))
    x = draw((2, 4, 4))

    def half(x, sigma):
        return x / 2

    assert torch.equal(Guided(half, by_autograd(half), operator, x / 2, 5.0)(x, 1.0), x / 2)


def test_with_tweedie_s_step_a_gaussian_is_guided_to_its_posterior_as_dps_approximates_it():
    """White prior N(m, s^2), D = m + w (x - m): a step of sigma^2 |r| / noise^2 takes off w sigma^2 A^T r / noise^2."""
    mean, spread, error, sigma = 0.4, 0.3, 0.1, 0.05
    operator, y, x = Weights(draw((2, 4, 4), 1)), draw((2, 4, 4), 2), draw((2, 4, 4), 3)
    w = spread**2 / (spread**2 + sigma**2)

    def prior(x, sigma):
        return mean + w * (x - mean)

    residual = operator.forward(prior(x, sigma)) - y
    step = sigma**2 * float(residual.norm()) / error**2
    found = Guided(prior, by_autograd(prior), operator, y, step)(x, sigma)
    torch.testing.assert_close(found, prior(x, sigma) - w * sigma**2 / error**2 * operator.adjoint(residual))
    # The exact posterior mean differs by the variance DPS leaves out, w sigma^2 A A^T beside error^2.
    kalman = w * sigma**2 * operator.weights / (error**2 + w * sigma**2 * operator.weights**2)
    exact = prior(x, sigma) - kalman * residual
    bound = w * sigma**2 * operator.weights.square().max() / error**2
    assert relative(found - prior(x, sigma), exact - prior(x, sigma)) < float(bound)


def test_guidance_brings_samples_to_the_data_and_the_prior_alone_does_not():
    shape = (4, 16, 16)
    operator, truth = Weights((draw(shape, 1) > 0).float()), 0.4 + 0.3 * draw(shape, 2)
    y = operator.forward(truth)

    def prior(x, sigma):
        return 0.4 + 0.09 / (0.09 + sigma**2) * (x - 0.4)

    sizes = {}
    for step in (0.0, 1.0):
        guided = Guided(prior, by_autograd(prior), operator, y, step)
        residuals = []
        for seed in range(4):
            x = start(torch.zeros(shape), 5.0, Independent(), seed)
            *_, last = sample(x, Geometric(100, 5.0, 0.01).sigmas(), guided, unchanged, Independent(), seed, DDIM(1.0))
            residuals.append(operator.forward(last.x) - y)
        sizes[step] = float(torch.stack(residuals).square().sum(dim=(1, 2, 3)).mean().sqrt())
    # A third, give or take a twentieth of it from seed to seed.
    assert sizes[1.0] < 0.36 * sizes[0.0]
    # Two independent draws of the prior differ by sqrt(2) of its spread.
    assert sizes[0.0] == pytest.approx(0.3 * math.sqrt(2 * float(operator.weights.sum())), rel=0.1)


def test_refusals(denoiser):
    prior = SlicePrior(denoiser, 4, (0.01, 10.0))
    x = torch.zeros(2, 8, 8)
    with pytest.raises(CosliceError, match="cotangent of shape"):
        prior.pull_back(x, 0.3, torch.zeros(2, 8, 4))
    with pytest.raises(CosliceError, match=r"trained for 0\.01 to 10"):
        prior.pull_back(x, 20.0, x)
    with pytest.raises(CosliceError, match="takes a volume"):
        prior.pull_back(x[:, None], 0.3, x[:, None])
    with pytest.raises(CosliceError, match="step of -1"):
        Guided(prior, prior.pull_back, Weights(x), x, -1.0)
