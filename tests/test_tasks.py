"""Tasks: the problem a measurement makes, in closed form, and the noise in it."""

import math

import numpy as np
import pytest
import torch

from coslice.classical import Sirt, cubic, fdk
from coslice.errors import CosliceError
from coslice.geometry import Grid
from coslice.measurement_noise import WATER, GaussianNoise, PhotonNoise
from coslice.methods import published_cone_beam
from coslice.tasks import Acquisition, cone_beam_ct, simulated_thick_slices, thick_slices, view_angles
from coslice.volume import CT_WINDOW, Window
from laws import assert_operator, draw, relative

UNIT = Window(0.0, 1.0, "")
SPACING = (2.0, 4.0, 4.0)


def uniform(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("count", "factor"), [(15, 5), (16, 5), (19, 5), (12, 2), (7, 3), (9, 7)])
def test_thick_slices_of_any_number_are_means_with_the_end_reflected(count, factor):
    truth = uniform((count, 4, 6))
    problem = simulated_thick_slices(truth, factor)
    missing = -count % factor
    continued = torch.cat([truth, truth[-1 - missing : -1].flip(0)])
    assert relative(problem.measurement, continued.unflatten(0, (-1, factor)).mean(1)) < 1e-6
    assert problem.operator.reflected == missing
    assert_operator(problem.operator)
    assert torch.equal(problem.initial(), cubic(problem.measurement, factor, count))
    assert problem.kind == "zsr" and problem.unit == 1 and problem.noise == 0


def test_the_pseudo_inverse_of_thick_slices_is_repetition_whatever_the_iterations():
    problem = simulated_thick_slices(uniform((15, 4, 6)), 5)
    y = draw(problem.operator.codomain)
    for iterations in (1, 100):
        assert relative(problem.pseudo_inverse(iterations)(y), y.repeat_interleave(5, 0)) < 1e-6


@pytest.mark.parametrize("fwhm", [None, 4.0])
@pytest.mark.parametrize("count", [None, 15, 13])
def test_a_real_scan_and_a_simulated_one_with_the_same_slices_are_one_problem(count, fwhm):
    simulated = simulated_thick_slices(uniform((count or 15, 4, 6)), 5, fwhm)
    real = thick_slices(simulated.measurement, 5, fwhm, count)
    assert real.description == simulated.description
    np.testing.assert_array_equal(real.operator.matrix, simulated.operator.matrix)
    assert torch.equal(real.initial(), simulated.initial())
    y = draw(real.operator.codomain)
    assert torch.equal(real.pseudo_inverse(1)(y), simulated.pseudo_inverse(1)(y))


def test_a_scanner_s_profile_is_given_in_mm():
    truth = uniform((20, 4, 6))
    problem = Acquisition("zsr", factor=4, fwhm_mm=9.0).problem(truth, (2.0, 1.0, 1.0), UNIT)
    assert relative(problem.measurement, simulated_thick_slices(truth, 4, 4.5).measurement) == 0
    # Twice the mm, twice the profile: the same scan.
    larger = Acquisition("zsr", factor=4, fwhm_mm=18.0).problem(truth, (4.0, 2.0, 2.0), UNIT)
    assert torch.equal(larger.measurement, problem.measurement)


def test_ct_is_projected_in_the_published_geometry_and_starts_at_fdk():
    truth = uniform((6, 16, 16))
    problem = Acquisition("svct", views=5).problem(truth, SPACING, CT_WINDOW)
    grid = Grid((6, 16, 16), SPACING)
    geometry = published_cone_beam(view_angles("svct", 5), grid)
    assert problem.description == repr(geometry)
    assert relative(problem.measurement, problem.operator.forward(truth)) == 0
    assert torch.equal(problem.initial(), fdk(problem.measurement, geometry, grid))
    expected = Sirt(problem.operator, 3)(problem.measurement)
    assert torch.equal(problem.pseudo_inverse(3)(problem.measurement), expected)
    assert problem.unit == 4.0 and problem.noise == 0


def test_view_angles_spread_over_the_turn_or_the_wedge():
    np.testing.assert_allclose(view_angles("svct"), 2 * np.pi * np.arange(30) / 30)
    np.testing.assert_allclose(view_angles("lact"), np.radians(np.arange(100)), atol=1e-12)
    np.testing.assert_allclose(view_angles("lact", 10, 50.0), np.radians(5 * np.arange(10)), atol=1e-12)


@pytest.mark.parametrize("window", [CT_WINDOW, Window(-200.0, 800.0)])
def test_gaussian_noise_of_line_integrals_arrives_in_y_with_its_deviation(window):
    """p = water (high - low)/1000 y + offset, so a deviation of sd in p is sd over that factor in y."""
    truth, angles, sd = uniform((8, 24, 24)), view_angles("svct", 8), 0.02
    clean = cone_beam_ct(truth, SPACING, angles, window=window)
    noisy = cone_beam_ct(truth, SPACING, angles, GaussianNoise(sd), 1, window)
    expected = sd / (WATER * (window.high - window.low) / 1000)
    assert noisy.noise == pytest.approx(expected)
    difference = (noisy.measurement - clean.measurement).double()
    assert float(difference.std()) == pytest.approx(expected, rel=4 / math.sqrt(2 * difference.numel()))
    assert abs(float(difference.mean())) < 4 * expected / math.sqrt(difference.numel())


def test_photon_noise_of_an_empty_scan_is_that_of_its_photons():
    """Without a patient every pixel counts I0, so y has a variance of (1/I0 + e^2/I0^2) / scale^2."""
    photons, electronic = 1e4, 50.0
    empty = cone_beam_ct(torch.zeros(8, 24, 24), SPACING, view_angles("svct", 8), PhotonNoise(photons, electronic), 3)
    expected = math.sqrt(1 / photons + (electronic / photons) ** 2) / (WATER * 2.6)
    assert empty.noise == pytest.approx(expected)
    y = empty.measurement.double()
    assert float(y.std()) == pytest.approx(expected, rel=0.03)


def test_photon_noise_grows_behind_a_patient():
    truth, angles = uniform((8, 24, 24)), view_angles("svct", 8)
    clean = cone_beam_ct(truth, SPACING, angles)
    noisy = cone_beam_ct(truth, SPACING, angles, PhotonNoise(1e5), 3)
    difference = (noisy.measurement - clean.measurement).double()
    assert noisy.noise == pytest.approx(float(difference.square().mean().sqrt()), rel=0.05)
    dark = clean.measurement > clean.measurement.median()
    assert float(difference[dark].std()) > 1.2 * float(difference[~dark].std())


def test_noise_of_thick_slices_is_of_the_window_and_enters_after_the_mean():
    truth = uniform((20, 24, 24))
    clean, noisy = (Acquisition("zsr", noise=n).problem(truth, SPACING, UNIT) for n in (None, GaussianNoise(0.05)))
    difference = (noisy.measurement - clean.measurement).double()
    assert noisy.noise == pytest.approx(0.05)
    assert float(difference.std()) == pytest.approx(0.05, rel=4 / math.sqrt(2 * difference.numel()))


@pytest.mark.parametrize("task", ["svct", "zsr"])
def test_the_seed_decides_the_noise_and_nothing_else_does(task):
    truth = uniform((10, 16, 16))

    def y(seed):
        acquisition = Acquisition(task, views=4 if task == "svct" else None, noise=GaussianNoise(0.1), seed=seed)
        return acquisition.problem(truth, SPACING, CT_WINDOW).measurement

    assert torch.equal(y(1), y(1))
    assert not torch.equal(y(1), y(2))


def test_the_record_holds_the_numbers_that_were_left_to_the_task():
    assert Acquisition("lact").settings["angle"] == 100.0 and Acquisition("lact").settings["views"] == 100
    assert Acquisition("svct").settings["views"] == 30
    settings = Acquisition("zsr", noise=GaussianNoise(0.1), seed=3).settings
    assert (settings["factor"], settings["fwhm_mm"], settings["noise_seed"]) == (5, None, 3)
    assert "0.1" in settings["noise"]
    assert "30 cone-beam views" in str(Acquisition()) and "7 mm" in str(Acquisition("zsr", fwhm_mm=7.0))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"task": "pet"}, "tasks are svct"),
        ({"task": "svct", "factor": 5}, "--factor 5"),
        ({"task": "lact", "fwhm_mm": 3.0}, "--fwhm 3"),
        ({"task": "zsr", "views": 30}, "--views 30"),
        ({"task": "zsr", "angle": 90.0}, "--angle 90"),
        ({"task": "zsr", "factor": 1}, "factor of 1"),
        ({"task": "zsr", "fwhm_mm": 0.0}, "FWHM of 0"),
        ({"task": "zsr", "fwhm_mm": math.nan}, "FWHM of nan"),
        ({"task": "zsr", "noise": PhotonNoise(1e5)}, "--photons"),
        ({"task": "svct", "views": 0}, "0 views"),
        ({"task": "lact", "angle": 361.0}, "361 degrees"),
        ({"task": "lact", "angle": math.nan}, "nan degrees"),
    ],
)
def test_a_scan_that_cannot_be_is_refused_before_there_is_a_volume(settings, words):
    with pytest.raises(CosliceError, match=words):
        Acquisition(**settings)


def test_a_volume_that_is_too_small_is_refused():
    with pytest.raises(CosliceError, match="4 slices were given"):
        Acquisition("zsr").problem(uniform((4, 8, 8)), SPACING, UNIT)
    for fwhm in (1e9, math.inf):
        with pytest.raises(CosliceError, match="at most 10"):
            Acquisition("zsr", fwhm_mm=fwhm).problem(uniform((10, 8, 8)), SPACING, UNIT)
