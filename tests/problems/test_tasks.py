"""Tasks: how a known volume is measured, what that is called, and the noise in it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from coslice.detector import WATER, GaussianNoise, PhotonNoise
from coslice.errors import CosliceError
from coslice.problems import (
    BEAMS,
    TASKS,
    LimitedAngleCT,
    SliceSuperResolution,
    SparseViewCT,
    ThickSliceProblem,
    make_task,
    task_of_key,
)
from coslice.window import CT_WINDOW, Window
from laws import relative
from simulated import measured, thick_slices, uniform

SPACING = (2.0, 4.0, 4.0)


def test_view_angles_spread_over_the_turn_or_the_wedge():
    np.testing.assert_allclose(SparseViewCT().angles, 2 * np.pi * np.arange(30) / 30)
    np.testing.assert_allclose(LimitedAngleCT().angles, np.radians(np.arange(100)), atol=1e-12)
    narrow = LimitedAngleCT(views=10, angle=50.0)
    np.testing.assert_allclose(narrow.angles, np.radians(5 * np.arange(10)), atol=1e-12)


def test_a_parallel_beam_needs_half_the_turn():
    np.testing.assert_allclose(SparseViewCT("parallel").angles, np.pi * np.arange(8) / 8)
    np.testing.assert_allclose(SparseViewCT("parallel", 4).angles, np.radians([0, 45, 90, 135]))
    np.testing.assert_allclose(LimitedAngleCT("parallel").angles, np.radians(np.arange(90)), atol=1e-12)
    assert len(LimitedAngleCT("parallel", angle=180.0).angles) == 180


def test_a_scanner_s_profile_is_given_in_mm():
    truth = uniform((20, 4, 6))
    problem = measured(SliceSuperResolution(4, 9.0), truth, (2.0, 1.0, 1.0))
    assert relative(problem.measurement, thick_slices(truth, 4, 4.5).measurement) == 0
    # Twice the mm, twice the profile: the same scan.
    larger = measured(SliceSuperResolution(4, 18.0), truth, (4.0, 2.0, 2.0))
    assert torch.equal(larger.measurement, problem.measurement)


@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize("window", [CT_WINDOW, Window(-200.0, 800.0)])
def test_gaussian_noise_of_line_integrals_arrives_in_y_with_its_deviation(window, beam):
    """p = water (high - low)/1000 y + offset, so a deviation of sd in p is sd over that factor in y."""
    truth, task, sd = uniform((8, 24, 24)), SparseViewCT(beam, 8, seed=1), 0.02
    clean = measured(task, truth, SPACING, window)
    noisy = measured(replace(task, noise=GaussianNoise(sd)), truth, SPACING, window)
    expected = sd / (WATER * (window.high - window.low) / 1000)
    assert noisy.noise == pytest.approx(expected)
    difference = (noisy.measurement - clean.measurement).double()
    assert float(difference.std()) == pytest.approx(expected, rel=4 / math.sqrt(2 * difference.numel()))
    assert abs(float(difference.mean())) < 4 * expected / math.sqrt(difference.numel())


@pytest.mark.parametrize("beam", BEAMS)
def test_photon_noise_of_an_empty_scan_is_that_of_its_photons(beam):
    """Without a patient every pixel counts I0, so y has a variance of (1/I0 + e^2/I0^2) / scale^2."""
    photons, electronic = 1e4, 50.0
    truth, noise = torch.zeros(8, 24, 24), PhotonNoise(photons, electronic)
    empty = measured(SparseViewCT(beam, 8, noise=noise, seed=3), truth, SPACING)
    expected = math.sqrt(1 / photons + (electronic / photons) ** 2) / (WATER * 2.6)
    assert empty.noise == pytest.approx(expected)
    y = empty.measurement.double()
    assert float(y.std()) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("beam", BEAMS)
def test_photon_noise_grows_behind_a_patient(beam):
    truth, task = uniform((8, 24, 24)), SparseViewCT(beam, 8, seed=3)
    clean, noisy = (measured(replace(task, noise=n), truth, SPACING) for n in (None, PhotonNoise(1e5)))
    difference = (noisy.measurement - clean.measurement).double()
    assert noisy.noise == pytest.approx(float(difference.square().mean().sqrt()), rel=0.05)
    dark = clean.measurement > clean.measurement.median()
    assert float(difference[dark].std()) > 1.2 * float(difference[~dark].std())


def test_noise_of_thick_slices_is_of_the_window_and_enters_after_the_mean():
    truth = uniform((20, 24, 24))
    clean, noisy = (measured(SliceSuperResolution(noise=n), truth, SPACING) for n in (None, GaussianNoise(0.05)))
    difference = (noisy.measurement - clean.measurement).double()
    assert noisy.noise == pytest.approx(0.05)
    assert float(difference.std()) == pytest.approx(0.05, rel=4 / math.sqrt(2 * difference.numel()))


@pytest.mark.parametrize("task", [SparseViewCT(views=4), LimitedAngleCT(views=4), SliceSuperResolution()])
def test_the_seed_decides_the_noise_and_nothing_else_does(task):
    truth = uniform((10, 16, 16))

    def y(seed):
        return measured(replace(task, noise=GaussianNoise(0.1), seed=seed), truth, SPACING).measurement

    assert torch.equal(y(1), y(1))
    assert not torch.equal(y(1), y(2))


def test_the_record_holds_the_numbers_that_were_left_to_the_task():
    assert LimitedAngleCT().settings_chosen["angle"] == 100.0 and LimitedAngleCT().settings_chosen["views"] == 100
    assert SparseViewCT().settings_chosen["views"] == 30
    settings = SliceSuperResolution(noise=GaussianNoise(0.1), seed=3).settings_chosen
    assert (settings["factor"], settings["fwhm_mm"], settings["noise_seed"]) == (5, None, 3)
    assert "0.1" in settings["noise"]
    assert "30 cone-beam views" in str(SparseViewCT()) and "7 mm" in str(SliceSuperResolution(fwhm_mm=7.0))
    assert SparseViewCT().settings_chosen["beam"] == "cone" and "beam" not in settings
    limited = LimitedAngleCT("parallel")
    assert {"beam": "parallel", "views": 90, "angle": 90.0}.items() <= limited.settings_chosen.items()
    assert "8 parallel-beam views" in str(SparseViewCT("parallel"))
    assert all(task().settings_chosen["task"] == kind for kind, task in TASKS.items())


@pytest.mark.parametrize(
    ("task", "key"),
    [
        (SparseViewCT(), "svct-cone-30"),
        (SparseViewCT("cone", 8), "svct-cone-8"),
        (SparseViewCT("parallel"), "svct-parallel-8"),
        (SparseViewCT("parallel", 4, noise=GaussianNoise(0.1), seed=5), "svct-parallel-4"),
        (LimitedAngleCT(), "lact-cone-100"),
        (LimitedAngleCT(views=100), "lact-cone-100"),
        (LimitedAngleCT(views=50), "lact-cone-100-50"),
        (LimitedAngleCT("parallel"), "lact-parallel-90"),
        (LimitedAngleCT("parallel", 4, 62.5), "lact-parallel-62.5-4"),
    ],
)
def test_the_key_names_the_views_however_they_were_given(task, key):
    assert task.key == key
    again = task_of_key(key)
    assert again.key == key and again.angles == task.angles and again.noise is None  # pyright: ignore[reportAttributeAccessIssue]
    assert measured(task, uniform((2, 8, 8)), SPACING).task == key


def test_every_third_of_rows_a_third_as_high_is_a_published_row():
    """A pixel is a ray through its middle. Middles: published -3, -1, 1, 3 slices; of rows of 2/3 -1, -1/3, 1/3, 1."""
    truth = uniform((8, 16, 16))
    published, fine = (measured(SparseViewCT(views=3, rows=rows), truth, SPACING).measurement for rows in (2.0, 2 / 3))
    middle = published.shape[1] // 2
    kept = fine[:, fine.shape[1] // 2 + 1 - 3 * middle :: 3][:, : published.shape[1]]
    assert kept.shape == published.shape and fine.shape[1] > 2.5 * published.shape[1]
    assert relative(kept, published) < 1e-4


def test_rows_of_two_slices_are_the_published_ones_and_a_parallel_beam_has_its_own():
    assert SparseViewCT(rows=2.0) == SparseViewCT() and SparseViewCT().row_height == 2
    assert LimitedAngleCT("parallel", rows=1.0) == LimitedAngleCT("parallel")
    assert "rows" not in SparseViewCT().chosen and SparseViewCT(rows=0.5).chosen["rows"] == 0.5
    assert "rows of 0.5 slices" in str(SparseViewCT(rows=0.5))
    with pytest.raises(CosliceError, match="a parallel beam has a row for each slice"):
        make_task("svct", {"beam": "parallel", "rows": 0.5})


@pytest.mark.parametrize(
    "key",
    [
        "",
        "svct",
        "zsr",
        "zsr-05",
        "zsr-0.5",
        "zsr-x",
        "svct-cone-030",
        "lact-cone-100-100",
        "svct-fan-8",
        "svct-cone-0",
        "lact-cone-x",
        "pet-cone-3",
    ],
)
def test_a_name_that_is_no_key_is_refused(key):
    with pytest.raises(CosliceError, match="svct-parallel-8"):
        task_of_key(key)


def test_simulated_thick_slices_are_known_from_measured_ones():
    simulated = thick_slices(uniform((10, 4, 4)), 5)
    assert simulated.task == "zsr-5" and ThickSliceProblem(simulated.measurement, 5).task == ""
    assert task_of_key("zsr-5") == SliceSuperResolution(5) and SliceSuperResolution(2.5).key == "zsr-2.5"


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        ("pet", {}, "tasks are svct"),
        ("svct", {"factor": 5}, "task svct: factor 5 was given, but it belongs to zsr"),
        ("lact", {"fwhm_mm": 3.0}, "task lact: fwhm 3 was given, but it belongs to zsr"),
        ("zsr", {"views": 30}, "task zsr: views 30 was given, but it belongs to svct and lact"),
        ("zsr", {"angle": 90.0}, "task zsr: angle 90 was given, but it belongs to lact"),
        ("zsr", {"beam": "parallel"}, "task zsr: beam parallel was given, but it belongs to svct and lact"),
        ("svct", {"angle": 90.0, "beam": "parallel"}, "task svct: angle 90 was given, but it belongs to lact"),
        ("svct", {"detector": 3}, "task svct: detector 3 was given, but no task has it"),
        ("zsr", {"rows": 1.0}, "task zsr: rows 1 was given, but it belongs to svct and lact"),
        ("svct", {"rows": 0.0}, "rows 0 slices was given, at least 0.1"),
        ("zsr", {"factor": 1}, "factor 1 was given, above 1"),
        ("zsr", {"fwhm_mm": 0.0}, "fwhm_mm 0 mm was given, above 0"),
        ("zsr", {"fwhm_mm": math.nan}, "fwhm_mm nan mm was given"),
        ("zsr", {"fwhm_mm": math.inf}, "fwhm_mm inf mm was given"),
        ("svct", {"views": 0}, "views 0 was given, at least 1"),
        ("svct", {"views": 0, "beam": "parallel"}, "views 0 was given, at least 1"),
        ("lact", {"angle": 361.0}, "angle 361 degrees was given"),
        ("lact", {"angle": math.nan}, "angle nan degrees was given"),
        ("lact", {"angle": 0.0}, "angle 0 degrees was given, above 0"),
        (
            "lact",
            {"angle": 181.0, "beam": "parallel"},
            "181 degrees was given, .* at most 180 is needed",
        ),
        ("svct", {"beam": "fan"}, 'beam "fan" was given, cone or parallel'),
    ],
)
def test_a_scan_that_cannot_be_is_refused_before_there_is_a_volume(kind, settings, words):
    with pytest.raises(CosliceError, match=words):
        make_task(kind, settings)


def test_a_task_is_made_of_its_word_and_what_was_given():
    assert make_task() == SparseViewCT()
    assert make_task("svct", {"views": None, "factor": None}) == SparseViewCT()
    noise = GaussianNoise(0.1)
    assert make_task("lact", {"angle": 60.0}, noise, 4) == LimitedAngleCT(angle=60.0, noise=noise, seed=4)
    assert make_task("zsr", {"factor": 3, "fwhm_mm": 2.0}) == SliceSuperResolution(3, 2.0)


def test_mr_counts_no_photons():
    with pytest.raises(CosliceError, match="photons were given, but MR counts none"):
        SliceSuperResolution(noise=PhotonNoise(1e5))


def test_a_volume_that_is_too_small_is_refused():
    with pytest.raises(CosliceError, match="4 slices were given"):
        measured(SliceSuperResolution(), uniform((4, 8, 8)), SPACING)
    with pytest.raises(CosliceError, match="at most 10"):
        measured(SliceSuperResolution(fwhm_mm=1e9), uniform((10, 8, 8)), SPACING)
