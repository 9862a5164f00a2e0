"""Schedules against their closed forms."""

import math

import pytest
import torch

from coslice.errors import CosliceError
from coslice.schedule import ddpm_alpha_bar, falls, from_alpha_bar, geometric, karras, with_correctors


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


def test_correctors_repeat_every_level_but_the_last():
    assert with_correctors((5.0, 1.0, 0.0)) == (5.0, 5.0, 1.0, 1.0, 0.0)
    assert falls(with_correctors(karras(20))) and len(with_correctors(karras(20))) - 1 == 2 * 20


def test_a_schedule_never_rises_and_ends_in_its_only_zero():
    assert falls((1.0, 0.0)) and falls((1.0, 1.0, 0.5, 0.0))
    for sigmas in ((), (0.0,), (1.0, 0.5), (0.5, 1.0, 0.0), (1.0, 0.0, 0.0), (1.0, -1.0, 0.0)):
        assert not falls(sigmas)


@pytest.mark.parametrize("make", [geometric, karras])
@pytest.mark.parametrize("arguments", [(0, 5.0, 0.01), (10, 0.01, 5.0), (10, 5.0, 0.0), (10, math.inf, 1.0)])
def test_bad_schedules_are_refused(make, arguments):
    with pytest.raises(CosliceError):
        make(*arguments)
