"""Schedules against their closed forms."""

import math

import pytest
import torch

from coslice.errors import CosliceError
from coslice.schedule import (
    Geometric,
    Karras,
    VariancePreserving,
    ddpm_alpha_bar,
    falls,
    from_alpha_bar,
    with_correctors,
)

KINDS = (Geometric, Karras, VariancePreserving)


def test_geometric_has_equal_ratios_between_its_ends():
    sigmas = Geometric(30, 5.0, 0.01).sigmas()
    assert len(sigmas) == 31 and sigmas[-1] == 0
    assert sigmas[0] == 5.0 and sigmas[29] == pytest.approx(0.01)
    ratios = [b / a for a, b in zip(sigmas[:-2], sigmas[1:-1], strict=True)]
    assert max(ratios) - min(ratios) < 1e-12


def test_karras_is_even_in_the_root():
    sigmas = Karras(10, 80, 0.002, rho=7).sigmas()
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


def table() -> torch.Tensor:
    """sigma_t of a DDPM in the unit window, half of what it is in [-1, 1]: t = 0, 1, ..., 999."""
    alpha_bar = ddpm_alpha_bar()
    return ((1 - alpha_bar) / alpha_bar).sqrt() / 2


@pytest.mark.parametrize(("first", "last", "steps"), [(999, 0, 1000), (999, 0, 28), (700, 100, 61), (40, 10, 11)])
def test_evenly_spaced_whole_timesteps_are_the_ddpm_s(first, last, steps):
    sigmas = table()
    chosen = torch.linspace(first, last, steps, dtype=torch.float64)
    assert bool((chosen == chosen.round()).all())
    found = VariancePreserving(steps, float(sigmas[first]), float(sigmas[last])).sigmas()
    torch.testing.assert_close(torch.tensor(found[:-1], dtype=torch.float64), sigmas[chosen.long()], rtol=1e-9, atol=0)


def test_between_timesteps_the_logarithm_is_linear():
    """t = 500.5, 300.25, 100: each the geometric mean of its neighbours, weighted by how near they are."""
    logs = table().log()

    def at(t):
        return float((1 - t % 1) * logs[int(t)] + t % 1 * logs[int(t) + 1])

    found = VariancePreserving(3, math.exp(at(500.5)), math.exp(at(100))).sigmas()
    assert found[1] == pytest.approx(math.exp(at(300.25)), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ends", [(0.5, 0.01), (5.0, 0.01), (0.2, 0.02), (500.0, 1e-4), (0.004, 0.001), (1.0, 1.0)])
@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_every_schedule_falls_from_its_first_level_to_its_last(kind, ends, steps):
    """Also where both ends lie beyond the table of a DDPM, 0.005 to 78.6."""
    sigmas = kind(steps, *ends).sigmas()
    assert falls(sigmas) and len(sigmas) == steps + 1
    assert sigmas[0] == pytest.approx(ends[0], rel=1e-12)
    assert steps == 1 or sigmas[-2] == pytest.approx(ends[1], rel=1e-12)
    if kind is VariancePreserving:
        assert sigmas[0] == ends[0] and (steps == 1 or sigmas[-2] == ends[1])


def test_correctors_repeat_every_level_but_the_last():
    assert with_correctors((5.0, 1.0, 0.0)) == (5.0, 5.0, 1.0, 1.0, 0.0)
    sigmas = with_correctors(Karras(20).sigmas())
    assert falls(sigmas) and len(sigmas) - 1 == 2 * 20


def test_a_schedule_never_rises_and_ends_in_its_only_zero():
    assert falls((1.0, 0.0)) and falls((1.0, 1.0, 0.5, 0.0))
    for sigmas in ((), (0.0,), (1.0, 0.5), (0.5, 1.0, 0.0), (1.0, 0.0, 0.0), (1.0, -1.0, 0.0)):
        assert not falls(sigmas)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ((0, 5.0, 0.01), "steps 0 was given, at least 1 is needed"),
        ((10, 0.01, 5.0), "sigma from 0.01 to 5 was given, 0 < sigma_min <= sigma_max"),
        ((10, 5.0, 0.0), "sigma_min 0 of the window was given, above 0 is needed"),
        ((10, math.inf, 1.0), "sigma_max inf of the window was given"),
        ((10, math.nan, 1.0), "sigma_max nan of the window was given"),
    ],
)
def test_bad_schedules_are_refused(kind, settings, words):
    with pytest.raises(CosliceError, match=f"{kind.__name__}: {words}"):
        kind(*settings)


def test_a_ddpm_has_no_more_timesteps_than_it_has():
    for steps in (0, 1001):
        with pytest.raises(CosliceError, match="between 1 and 1000"):
            from_alpha_bar(ddpm_alpha_bar(), steps)
