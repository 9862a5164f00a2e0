"""Laws of measurement noise: its moments in closed form, its limits, and what a draw depends on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from coslice.detector import (
    WATER,
    GaussianNoise,
    LineIntegrals,
    PhotonNoise,
    line_integrals,
    measured,
    standard_deviation,
)
from coslice.errors import CosliceError
from coslice.geometry import Grid, ParallelBeam
from coslice.operators import Projector
from coslice.window import CT_WINDOW, Window
from laws import relative

SHAPE = (6, 40, 250)  # views, rows, columns
LINES = LineIntegrals(0.05)


def flat(p: float) -> torch.Tensor:
    """Measurements whose line integrals are all p."""
    return torch.full(SHAPE, p / LINES.scale)


def line_noise(p: float, noise, seed: int = 1) -> np.ndarray:
    """Line integrals with noise, minus p."""
    return (measured(flat(p).double(), noise, seed, LINES) * LINES.scale - p).numpy().ravel()


def assert_moments(values: np.ndarray, mean: float, variance: float) -> None:
    """Sample mean and variance within 4 standard errors (of a near-Gaussian sample)."""
    n = values.size
    assert abs(values.mean() - mean) < 4 * math.sqrt(variance / n)
    assert abs(values.var() / variance - 1) < 4 * math.sqrt(2 / n)


def test_line_integrals_are_those_of_the_attenuation_itself():
    """p of y, for windows with and without an offset, is the projection of mu in 1/mm."""
    grid = Grid((3, 12, 12), (2.0, 1.5, 1.5))
    operator = Projector(ParallelBeam((0.1, 0.9, 2.0), (3, 20), (2.0, 1.5)), grid)
    hu = 1200 * torch.rand(grid.shape, generator=torch.Generator().manual_seed(3)) - 200
    expected = operator.forward(WATER * (1 + hu / 1000)).numpy()
    for window in (CT_WINDOW, Window(-200.0, 1000.0), Window(-1024.0, 3071.0)):
        y = operator.forward(window.to_unit(hu))
        lines = line_integrals(operator, window)
        p = np.stack([lines.from_unit(y, view) for view in range(len(y))])
        np.testing.assert_allclose(p, expected, atol=2e-6)
        back = np.stack([lines.to_unit(p[view], view) for view in range(len(y))])
        np.testing.assert_allclose(back, y.numpy(), atol=1e-10)
    assert line_integrals(operator, CT_WINDOW, 0.02).scale == pytest.approx(0.052)
    assert line_integrals(operator, CT_WINDOW).offset is None


def test_gaussian_noise_has_its_standard_deviation_on_line_integrals():
    assert_moments(line_noise(3.0, GaussianNoise(0.01)), 0.0, 1e-4)
    assert standard_deviation(flat(3.0), GaussianNoise(0.01), LINES) == pytest.approx(0.01 / LINES.scale)


def test_gaussian_noise_without_line_integrals_is_on_the_measurement():
    y = flat(0.02)
    noise = measured(y, GaussianNoise(0.1), 5).double() - y.double()
    assert_moments(noise.numpy().ravel(), 0.0, 0.01)
    assert standard_deviation(y, GaussianNoise(0.1)) == pytest.approx(0.1)


@pytest.mark.parametrize(("p", "photons", "electronic"), [(0.0, 1e4, 0.0), (2.0, 1e5, 0.0), (4.0, 1e5, 40.0)])
def test_photons_have_the_moments_of_the_delta_method(p, photons, electronic):
    n = photons * math.exp(-p)
    variance = (n + electronic**2) / n**2
    noise = PhotonNoise(photons, electronic)
    assert_moments(line_noise(p, noise), variance / 2, variance)
    assert standard_deviation(flat(p), noise, LINES) == pytest.approx(math.sqrt(variance) / LINES.scale, rel=1e-6)


def test_electronic_noise_adds_its_variance_and_is_independent_of_the_counts():
    """At one seed the counts are the same with and without; their difference is the electronic part alone."""
    photons, electronic = 1e6, 300.0
    quantum, both = (np.exp(-line_noise(0.0, PhotonNoise(photons, e))) * photons for e in (0.0, electronic))
    added = both - quantum
    assert_moments(added, 0.0, electronic**2)
    assert abs(np.corrcoef(added, quantum)[0, 1]) < 4 / math.sqrt(added.size)


def test_the_deviation_is_the_root_mean_square_over_unlike_rays():
    y = torch.linspace(0.0, 5.0, 60000).reshape(SHAPE) / LINES.scale
    noise = PhotonNoise(1e5, 5.0)
    seen = float((measured(y, noise, 2, LINES) - y).double().square().mean().sqrt())
    assert seen == pytest.approx(standard_deviation(y, noise, LINES), rel=0.02)


def test_without_end_of_photons_there_is_no_noise():
    y = torch.linspace(0.0, 6.0, 60000).reshape(SHAPE) / LINES.scale
    errors = [relative(measured(y, PhotonNoise(photons), 0, LINES), y) for photons in (1e4, 1e8, 1e15)]
    assert errors[0] > 50 * errors[1] > 0
    assert errors[2] < 1e-6


def test_rays_that_let_nothing_through_end_at_one_count():
    """Few counts, also negative ones of the electronics, leave finite line integrals of at most ln I0."""
    noise = PhotonNoise(1000.0, 5.0)
    p = line_noise(30.0, noise) + 30.0
    assert p.max() == pytest.approx(math.log(1000.0))
    assert np.isfinite(p).all()
    assert standard_deviation(flat(30.0), noise, LINES) == pytest.approx(math.sqrt(26.0) / LINES.scale)


@pytest.mark.parametrize("noise", [GaussianNoise(0.1), PhotonNoise(1e4, 10.0)])
def test_a_draw_is_of_its_seed_and_view_alone(noise):
    y = torch.rand(SHAPE, generator=torch.Generator().manual_seed(1)) / LINES.scale
    before = torch.get_rng_state()
    whole = measured(y, noise, 7, LINES)
    assert torch.equal(whole, measured(y, noise, 7, LINES))
    assert torch.equal(whole[:2], measured(y[:2], noise, 7, LINES)), "fewer views"
    assert torch.equal(torch.get_rng_state(), before)
    other = y.clone()
    other[0] *= 0.5
    assert torch.equal(whole[1:], measured(other, noise, 7, LINES)[1:]), "another first view"
    assert (whole.dtype, whole.shape) == (y.dtype, y.shape)
    errors = (whole - y).flatten(1).double()
    again = (measured(y, noise, 8, LINES) - y).flatten(1).double()
    unlike = torch.corrcoef(torch.cat((errors, again))) - torch.eye(2 * len(y), dtype=torch.float64)
    assert unlike.abs().max() < 5 / math.sqrt(errors.shape[1]), "views and seeds are independent"


def test_noise_does_not_depend_on_where_the_window_starts():
    """The offset takes part in the counts and drops out of y: noise seen in p is the same."""
    p = torch.linspace(0.0, 4.0, 60000, dtype=torch.float64).reshape(SHAPE)
    offset = torch.linspace(0.0, 1.0, 60000, dtype=torch.float64).reshape(SHAPE)
    noise = PhotonNoise(1e5, 3.0)
    plain = measured(p, noise, 3, LineIntegrals())
    shifted = measured((p - offset) / 0.02, noise, 3, LineIntegrals(0.02, offset))
    torch.testing.assert_close(shifted * 0.02 + offset, plain, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GaussianNoise(0.0), ["GaussianNoise", "0", "positive"]),
        (lambda: GaussianNoise(math.nan), ["GaussianNoise", "nan", "positive"]),
        (lambda: PhotonNoise(-5.0), ["PhotonNoise", "-5 photons", "1 to 1e+15"]),
        (lambda: PhotonNoise(math.inf), ["PhotonNoise", "inf", "1 to 1e+15"]),
        (lambda: PhotonNoise(1e5, -1.0), ["electronic", "-1", "from 0 up"]),
        (lambda: LineIntegrals(0.0), ["LineIntegrals", "scale 0", "other than 0"]),
        (lambda: measured(flat(1.0), PhotonNoise(1e5), 0), ["no line integrals", "CT", "Gaussian"]),
        (lambda: standard_deviation(flat(1.0), PhotonNoise(1e5)), ["no line integrals", "CT", "Gaussian"]),
        (
            lambda: measured(flat(1.0), PhotonNoise(1e5), 0, LineIntegrals(1.0, torch.zeros(2, 3))),
            ["(6, 40, 250)", "(2, 3)", "one operator"],
        ),
    ],
)
def test_bad_input_is_answered_in_a_sentence(make, words):
    with pytest.raises(CosliceError) as caught:
        make()
    assert all(word in str(caught.value) for word in words)
    assert str(caught.value).count(". ") == 0
