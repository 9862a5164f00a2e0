"""Rules of re-noising against their closed forms."""

import math
from dataclasses import replace

import pytest
import torch

from coslice.errors import CosliceError
from coslice.noise import Key, standard_normal
from coslice.renoising import DDIM, DiffPIR, Mix, PredictorCorrector, Share
from coslice.schedule import Geometric, ddpm_alpha_bar, with_correctors

LEVELS = ((5.0, 4.9), (5.0, 0.1), (0.3, 0.2), (0.02, 0.01), (0.7, 0.7))


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.85, 1.0])
@pytest.mark.parametrize("rule", [Share, DDIM, DiffPIR])
def test_noise_about_a_point_mass_has_the_next_level_s_spread(rule, share, levels):
    """x = x_0 + sigma n with x_0 known: kept sigma n + fresh noise."""
    sigma, sigma_next = levels
    mix = rule(share)(sigma, sigma_next)
    assert math.hypot(mix.kept * sigma, mix.fresh) == pytest.approx(sigma_next, rel=1e-12)


@pytest.mark.parametrize("snr", [0.04, 0.08, 0.16])
def test_the_corrector_keeps_the_spread_of_a_point_mass_to_second_order(snr):
    mix = PredictorCorrector(snr)(0.7, 0.7)
    assert (mix.kept**2 * 0.7**2 + mix.fresh**2) / 0.7**2 == pytest.approx(1 + 4 * snr**4, rel=1e-12)


def test_the_corrector_s_step_is_the_published_one_in_high_dimension():
    """step = 2 (snr |z| / |score|)^2 with the score of a point mass, -n / sigma."""
    sigma, snr, shape = 0.7, 0.16, (300, 300)
    z, n = (standard_normal(Key(0, 0, "test"), i, shape).double() for i in range(2))
    step = 2 * (snr * z.norm() / (n / sigma).norm()) ** 2
    mix = PredictorCorrector(snr)(sigma, sigma)
    # |z| / |n| is 1 within 1 / sqrt(pixels).
    assert mix.fresh == pytest.approx(math.sqrt(2 * step), rel=3 / 300)
    assert 1 - mix.kept == pytest.approx(float(step) / sigma**2, rel=2 * 3 / 300)


def test_the_predictor_is_the_reverse_diffusion_and_ancestral_sampling_to_first_order():
    sigma, sigma_next = 0.5, 0.499
    predicted, ancestral = PredictorCorrector()(sigma, sigma_next), DDIM(1.0)(sigma, sigma_next)
    # x + (sigma^2 - sigma_next^2) (D - x) / sigma^2 = D + kept (x - D)
    assert predicted.kept == pytest.approx(1 - (sigma**2 - sigma_next**2) / sigma**2, rel=1e-12)
    assert predicted.fresh == pytest.approx(math.sqrt(sigma**2 - sigma_next**2), rel=1e-12)
    assert ancestral.kept == pytest.approx(predicted.kept, rel=1e-12)
    assert ancestral.fresh == pytest.approx(predicted.fresh * sigma_next / sigma, rel=1e-12)


def test_ddim_s_eta_is_equation_8_in_sigma_and_1_is_ancestral():
    alpha_bar = ddpm_alpha_bar()
    for late, early in ((999, 900), (500, 450), (30, 1)):
        a, a_next = float(alpha_bar[late]), float(alpha_bar[early])
        sigma, sigma_next = math.sqrt((1 - a) / a), math.sqrt((1 - a_next) / a_next)
        beta_tilde = math.sqrt((1 - a_next) / (1 - a) * (1 - a / a_next))
        assert DDIM(0.7)(sigma, sigma_next).fresh == pytest.approx(0.7 * beta_tilde / math.sqrt(a_next), rel=1e-9)
        # The DDPM posterior's weight of x_t, sqrt(alpha) (1 - abar') / (1 - abar), for x = x_t / sqrt(abar).
        weight = math.sqrt(a / a_next) * (1 - a_next) / (1 - a) * math.sqrt(a / a_next)
        assert DDIM(1.0)(sigma, sigma_next).kept == pytest.approx(weight, rel=1e-9)


def test_ends_of_the_shares():
    for levels in LEVELS[:-1]:
        sigma, sigma_next = levels
        assert Share(1.0)(*levels) == Mix(0.0, sigma_next)
        assert Share(0.0)(*levels) == DDIM(0.0)(*levels) == DiffPIR(0.0)(*levels) == Mix(sigma_next / sigma, 0.0)
        assert DiffPIR(0.36)(*levels) == Share(math.sqrt(0.36), origin="estimate")(*levels)
    assert (Share().origin, DDIM().origin, PredictorCorrector().origin) == ("denoised",) * 3
    assert (DiffPIR().origin, DDIM(1.0, origin="estimate").origin) == ("estimate",) * 2


def test_rules_are_values():
    assert eval(repr(DDIM(0.3))) == DDIM(0.3) != Share(0.3)
    assert len({Share(1.0), Share(1.0), DiffPIR(1.0), PredictorCorrector()}) == 3


@pytest.mark.parametrize("rule", [Share, DDIM, DiffPIR])
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_bad_shares_are_refused(rule, value):
    with pytest.raises(CosliceError, match=f"(eta|zeta) {value:g} was given, at least 0 and at most 1 is needed"):
        rule(value)


def test_bad_settings_are_refused():
    with pytest.raises(CosliceError, match='origin "x" was given, denoised or estimate is needed'):
        Share(1.0, origin="x")  # type: ignore[arg-type]
    for snr in (0.0, -0.1, 0.8):
        with pytest.raises(CosliceError, match="snr"):
            PredictorCorrector(snr)


def test_the_corrector_walks_to_the_noisy_prior():
    """Langevin steps at one level from anywhere: N(mean, s^2 + sigma^2), for small steps."""
    sigma, snr, s, count = 0.4, 0.05, 0.3, 20_000
    rule, x = PredictorCorrector(snr), torch.zeros(count, dtype=torch.float64)
    for step in range(2000):
        denoised = 0.5 + s**2 / (s**2 + sigma**2) * (x - 0.5)
        mix = rule(sigma, sigma)
        noise = standard_normal(Key(1, step, "test"), 0, (count,)).double()
        x = denoised + mix.kept * (x - denoised) + mix.fresh * noise
    expected = math.hypot(s, sigma)
    assert float(x.mean()) == pytest.approx(0.5, abs=3 * expected / math.sqrt(count))
    # A step of finite length adds snr^2 sigma^2 / expected^2 / 2 of the spread.
    assert float(x.std()) == pytest.approx(expected, rel=snr**2 + 3 / math.sqrt(2 * count))


@pytest.mark.parametrize("rule", [Share(0.6), DDIM(1.0), DiffPIR(0.3), PredictorCorrector()])
def test_a_temperature_shrinks_what_is_fresh_and_nothing_else(rule):
    colder = replace(rule, temperature=0.7)
    for levels in ((1.0, 0.4), (0.4, 0.4)):
        mix = rule.mix(*levels)
        assert colder(*levels) == Mix(mix.kept, 0.7 * mix.fresh)
        assert colder.mix(*levels) == rule(*levels) == mix
    assert rule.temperature == 1 and colder.origin == rule.origin
    for temperature in (-0.1, 1.1, math.nan):
        with pytest.raises(CosliceError, match="temperature"):
            replace(rule, temperature=temperature)


def test_a_rule_says_at_which_levels_it_asks_and_asks_as_often_as_the_schedule_has_steps():
    """A corrector visits every level twice, so it has half as many; an odd number is rounded up."""
    for rule in (Share(), DDIM(), DiffPIR()):
        assert rule.sigmas(Geometric(7, 5.0, 0.1)) == Geometric(7, 5.0, 0.1).sigmas()
    rule = PredictorCorrector()
    assert rule.sigmas(Geometric(8, 5.0, 0.1)) == with_correctors(Geometric(4, 5.0, 0.1).sigmas())
    assert rule.sigmas(Geometric(7, 5.0, 0.1)) == rule.sigmas(Geometric(8, 5.0, 0.1))
    assert len(rule.sigmas(Geometric(8, 5.0, 0.1))) == 8 + 1
