"""Networks as denoisers, against priors whose score and noise are known in closed form."""

import math

import pytest
import torch
from torch import nn

from coslice.errors import CosliceError
from coslice.priors.denoisers import Betas, VEDenoiser, VPDenoiser
from laws import draw, relative

MEAN, SPREAD = 0.4, 0.15
ALPHA_BAR = Betas().alpha_bar()


def posterior_mean(x, sigma):
    """E[x0 | x] for x0 ~ N(MEAN, SPREAD^2), x = x0 + sigma n."""
    return (SPREAD**2 * x + sigma**2 * MEAN) / (SPREAD**2 + sigma**2)


class GaussianScore(nn.Module):
    """grad log p_sigma of that prior."""

    def forward(self, x, sigma):
        return (MEAN - x) / (SPREAD**2 + sigma[:, None, None, None] ** 2)


class GaussianNoise(nn.Module):
    """E[n | v_t] for v0 = low + (high - low) x0, v_t = sqrt(abar) v0 + sqrt(1 - abar) n, abar of step t read off the
    table, geometrically in (1 - abar)/abar between its entries; a second half of other channels if asked.
    """

    def __init__(self, extra=False, low=-1.0, high=1.0):
        super().__init__()
        self.extra, self.low, self.width = extra, low, high - low
        self.seen = []

    def forward(self, v, t, label=None):
        self.seen.append((t, label))
        logs = ((1 - ALPHA_BAR) / ALPHA_BAR).log()
        low = t.double().floor().long().clamp(max=len(logs) - 2)
        odds = torch.lerp(logs[low], logs[low + 1], t.double() - low).exp()[:, None, None, None]
        abar = 1 / (1 + odds)
        mean, spread = self.low + self.width * MEAN, self.width * SPREAD
        total = abar * spread**2 + 1 - abar
        noise = ((1 - abar).sqrt() * (v - abar.sqrt() * mean) / total).float()
        return torch.cat((noise, torch.full_like(noise, 9.0)), dim=1) if self.extra else noise


@pytest.mark.parametrize("sigma", [0.01, 0.3, 5.0, 300.0])
def test_ve_is_tweedies_formula(sigma):
    denoiser = VEDenoiser(GaussianScore(), (0.01, 378.0))
    x = MEAN + math.hypot(SPREAD, sigma) * draw((3, 2, 4, 5))
    assert relative(denoiser(x, torch.full((3,), sigma)), posterior_mean(x, sigma)) <= 1e-4


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("sigma", [0.00501, 0.03, 0.3, 5.0, 78.0])
def test_vp_finds_the_same_posterior_mean(sigma, learned):
    denoiser = VPDenoiser(GaussianNoise(learned), learn_sigma=learned)
    x = MEAN + math.hypot(SPREAD, sigma) * draw((3, 2, 4, 5))
    assert relative(denoiser(x, torch.full((3,), sigma)), posterior_mean(x, sigma)) <= 1e-4


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (-0.5, 3.5)])
@pytest.mark.parametrize("sigma", [0.011, 0.3, 30.0])
def test_a_network_is_shown_its_own_range_at_the_noise_of_its_own_clock(sigma, low, high):
    """In every range the posterior mean of the same Gaussian; and DDS's raw clock, sigma = sqrt((1 - abar) / abar)."""
    network = GaussianNoise(low=low, high=high)
    denoiser = VPDenoiser(network, learn_sigma=False, input_range=(low, high))
    x = MEAN + math.hypot(SPREAD, sigma) * draw((3, 2, 4, 5))
    assert relative(denoiser(x, sigma), posterior_mean(x, sigma)) <= 1e-4
    (t, _), odds = network.seen[-1], ((1 - ALPHA_BAR) / ALPHA_BAR).sqrt()
    assert odds[int(t[0])] <= sigma * (high - low) * (1 + 1e-6) and odds[int(t[0]) + 1] >= sigma * (high - low)


def test_a_raw_network_in_the_wrong_range_is_not_the_posterior_mean():
    x = MEAN + math.hypot(SPREAD, 0.3) * draw((3, 2, 4, 5))
    wrong = VPDenoiser(GaussianNoise(low=0.0), learn_sigma=False)(x, 0.3)
    assert relative(wrong, posterior_mean(x, 0.3)) > 0.05


def test_a_centred_score_is_of_the_centred_image():
    """score_sde's `centered`: the network's images are 2 x - 1, and so is its noise twice that of x."""

    class CentredScore(nn.Module):
        def forward(self, v, sigma):
            return ((2 * MEAN - 1) - v) / (4 * SPREAD**2 + sigma[:, None, None, None] ** 2)

    denoiser = VEDenoiser(CentredScore(), (0.005, 189.0), (-1.0, 1.0))
    for sigma in (0.02, 0.4, 100.0):
        x = MEAN + math.hypot(SPREAD, sigma) * draw((3, 2, 4, 5))
        assert relative(denoiser(x, sigma), posterior_mean(x, sigma)) <= 1e-4


@pytest.mark.parametrize("ends", [(1.0, 0.0), (0.0, 0.0), (0.0, math.inf)])
def test_ranges_that_are_none_are_refused(ends):
    with pytest.raises(CosliceError, match="LOW:HIGH is needed"):
        VPDenoiser(GaussianNoise(), input_range=ends)


def test_steps_are_exact_at_the_table_and_monotone_between():
    denoiser = VPDenoiser(GaussianNoise(), Betas(), learn_sigma=False)
    sigmas = ((1 - ALPHA_BAR) / ALPHA_BAR).sqrt() / 2
    assert torch.allclose(denoiser.step(sigmas), torch.arange(1000.0), atol=1e-3)
    between = (sigmas[:-1] * sigmas[1:]).sqrt()
    assert torch.allclose(denoiser.step(between), torch.arange(999.0) + 0.5, atol=1e-3)


def test_betas_are_ddpms():
    betas = torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64)
    expected = torch.tensor([math.prod((1 - betas[: t + 1]).tolist()) for t in (0, 1, 500, 999)], dtype=torch.float64)
    assert torch.allclose(ALPHA_BAR[[0, 1, 500, 999]], expected, rtol=1e-12)
    # In [-1, 1] the last noise is sqrt((1 - abar)/abar) = 157.4 of the image, here half of it.
    for input_range, ends in (((-1, 1), (0.0050003, 78.7036)), ((0, 1), (0.0100005, 157.407))):
        assert Betas().sigmas(input_range)[[0, -1]].tolist() == pytest.approx(ends, rel=1e-4)
    assert Betas.from_dict(Betas(count=50).to_dict()) == Betas(count=50)


def denoisers():
    return [VEDenoiser(GaussianScore(), (0.01, 378.0)), VPDenoiser(GaussianNoise(), Betas(), learn_sigma=False)]


@pytest.mark.parametrize("denoiser", denoisers(), ids=["ve", "vp"])
def test_each_image_has_its_own_level_and_one_number_serves_all(denoiser):
    x, sigma = draw((3, 1, 4, 4)), torch.tensor([0.02, 0.5, 40.0])
    together = denoiser(x, sigma)
    alone = [denoiser(x[i : i + 1], float(sigma[i])) for i in range(3)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-6)
    assert torch.equal(denoiser(x, 0.5), denoiser(x, torch.full((3,), 0.5)))


@pytest.mark.parametrize("denoiser", denoisers(), ids=["ve", "vp"])
def test_output_is_float32_whatever_goes_in(denoiser):
    for dtype in (torch.float64, torch.float16):
        assert denoiser(draw((2, 1, 4, 4)).to(dtype), 0.5).dtype == torch.float32


@pytest.mark.parametrize("denoiser", denoisers(), ids=["ve", "vp"])
def test_levels_outside_the_training_are_refused(denoiser):
    x = torch.zeros(2, 1, 4, 4)
    low, high = denoiser.sigma_range
    for end in (low, high):  # also after rounding to float32
        assert denoiser(x, torch.full((2,), end)).isfinite().all()
    for sigma in (low * 0.99, high * 1.01, float("nan"), 0.0, -1.0, torch.tensor([0.5, 1e4])):
        with pytest.raises(CosliceError, match="was trained for"):
            denoiser(x, sigma)
    with pytest.raises(CosliceError, match="one for each image"):
        denoiser(x, torch.ones(3))


def test_labels_reach_a_network_with_classes_and_are_asked_for():
    network = GaussianNoise()
    denoiser = VPDenoiser(network, Betas(), learn_sigma=False, classes=4)
    x = torch.zeros(2, 1, 4, 4)
    denoiser(x, 0.5, torch.tensor([3, 0]))
    assert network.seen[-1][1].tolist() == [3, 0]
    denoiser(x, 0.5, 2)
    assert network.seen[-1][1].tolist() == [2, 2]
    with pytest.raises(CosliceError, match="needs a label of 0 to 3"):
        denoiser(x, 0.5)
    with pytest.raises(CosliceError, match="0 to 3"):
        denoiser(x, 0.5, torch.tensor([0, 4]))
    with pytest.raises(CosliceError, match="whole number"):
        denoiser(x, 0.5, torch.tensor([0.5, 1.0]))
    with pytest.raises(CosliceError, match="takes none"):
        VPDenoiser(network, Betas(), learn_sigma=False)(x, 0.5, 2)


def test_channels_and_variances_that_make_no_sense_are_refused():
    with pytest.raises(CosliceError, match="answered with 1"):
        VPDenoiser(GaussianNoise(), Betas(), learn_sigma=True)(torch.zeros(1, 1, 4, 4), 0.5)
    with pytest.raises(CosliceError, match="between 0 and 1"):
        Betas(first=0.0)
