"""Schedules and eta rules against their closed forms."""

import math

import pytest
import torch

from coslice.errors import CosliceError
from coslice.schedule import DDIMEta, Eta, ddpm_alpha_bar, falls, from_alpha_bar, geometric, karras


def test_geometric_has_equal_ratios_between_its_ends():
    sigmas = geometric(30, 5.0, 0.01)
    assert len(sigmas) == 31 and sigmas[-1] == 0
    assert sigmas[0] == 5.0 and sigmas[29] == pytest.approx(0.01)
    ratios = [b / a for a, b in zip(sigmas[:-2], sigmas[1:-1], strict=True)]
    assert max(ratios) - min(ratios) < 1e-12


def test_karras_is_even_in_the_root():
    sigmas = karras(10, 80, 0.002, rho=7)
    roots = [s ** (1 / 7) for s in sigmas[:-1]]
    gaps = [a - b for a, b in zip(roots, roots[1:], strict=False)]
    assert max(gaps) - min(gaps) < 1e-12 and sigmas[0] == pytest.approx(80)


def test_ddpm_sigmas_satisfy_the_forward_process():
    alpha_bar = ddpm_alpha_bar()
    sigmas = from_alpha_bar(alpha_bar, 1000)
    # x_t / sqrt(alpha_bar) = x_0 + sigma n: sigma^2 alpha_bar = 1 - alpha_bar, eq. 2.
    found = torch.tensor(sigmas[:-1], dtype=torch.float64).flip(0)
    torch.testing.assert_close(found.square() * alpha_bar, 1 - alpha_bar)
    assert falls(from_alpha_bar(alpha_bar, 20)) and from_alpha_bar(alpha_bar, 20)[0] == sigmas[0]


def test_ddim_eta_is_equation_8_in_sigma():
    alpha_bar = ddpm_alpha_bar()
    for late, early in ((999, 900), (500, 450), (30, 1)):
        a, a_next = float(alpha_bar[late]), float(alpha_bar[early])
        sigma, sigma_next = math.sqrt((1 - a) / a), math.sqrt((1 - a_next) / a_next)
        beta_tilde = math.sqrt((1 - a_next) / (1 - a) * (1 - a / a_next))
        share = DDIMEta(0.7)(sigma, sigma_next)
        assert share * sigma_next == pytest.approx(0.7 * beta_tilde / math.sqrt(a_next), rel=1e-9)


@pytest.mark.parametrize("make", [geometric, karras])
@pytest.mark.parametrize("arguments", [(0, 5.0, 0.01), (10, 0.01, 5.0), (10, 5.0, 0.0), (10, math.inf, 1.0)])
def test_bad_schedules_are_refused(make, arguments):
    with pytest.raises(CosliceError):
        make(*arguments)


def test_bad_eta_is_refused():
    for value in (-0.1, 1.1):
        with pytest.raises(CosliceError, match="0 to 1"):
            Eta(value)
