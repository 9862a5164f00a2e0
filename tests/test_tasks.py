"""Tasks: the problem a measurement makes, in closed form, and the noise in it."""

import json
import math

import numpy as np
import pytest
import torch

from coslice.classical import Sirt, cubic, fdk
from coslice.errors import CosliceError
from coslice.geometry import Grid, ParallelBeam, sparse_view
from coslice.measurement_noise import WATER, GaussianNoise, PhotonNoise
from coslice.methods import published_cone_beam, published_parallel_beam
from coslice.operators import Projector
from coslice.tasks import BEAMS, Acquisition, simulated_thick_slices, thick_slices, view_angles
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


def test_a_parallel_beam_needs_half_the_turn():
    np.testing.assert_allclose(view_angles("svct", beam="parallel"), np.pi * np.arange(8) / 8)
    np.testing.assert_allclose(view_angles("svct", 4, beam="parallel"), np.radians([0, 45, 90, 135]))
    np.testing.assert_allclose(view_angles("lact", beam="parallel"), np.radians(np.arange(90)), atol=1e-12)
    assert len(view_angles("lact", angle=180.0, beam="parallel")) == 180


ODD = Grid((7, 18, 22), (3.2, 1.3, 1.3))


def parallel(angles, grid=ODD, backend="auto"):
    return Projector(published_parallel_beam(angles, grid), grid, backend)


def test_the_parallel_scanner_is_the_published_one():
    """Section 4: images of 256 x 256, 512 detector pixels, of which 364 see the image; slice by slice."""
    angles = view_angles("svct", beam="parallel")
    whole = ParallelBeam(angles, (99, 512), (5.0, 1.0))
    grid = Grid((99, 256, 256), (5.0, 1.0, 1.0))
    scanner = published_parallel_beam(angles, grid)
    assert scanner == whole.cropped(grid)
    assert scanner.detector == (99, 364) and scanner.views == 8
    # What was left out saw nothing, at any angle.
    small = Grid((2, 16, 16))
    for angles in (sparse_view(7, math.pi), (math.pi / 4,)):
        all_of_it = Projector(ParallelBeam(angles, (2, 32), (1.0, 1.0)), small).forward(torch.ones(small.shape))
        seen = parallel(angles, small).forward(torch.ones(small.shape))
        out = (32 - seen.shape[2]) // 2
        assert out > 0 and not all_of_it[..., :out].any() and not all_of_it[..., -out:].any()
        assert relative(seen, all_of_it[..., out:-out]) < 1e-6


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("centre", [0.0, 11.7])
def test_slices_of_a_parallel_scan_do_not_mix(backend, centre):
    grid = Grid(ODD.shape, ODD.spacing, (centre, 0.0, 0.0))
    angles = view_angles("svct", 6, beam="parallel")
    operator = parallel(angles, grid, backend)
    truth = uniform(grid.shape)
    whole = operator.forward(truth)
    alone = parallel(angles, Grid((1, *grid.shape[1:]), grid.spacing), backend)
    for k in (0, 4):
        single = torch.zeros_like(truth)
        single[k] = truth[k]
        y = operator.forward(single)
        others = [j for j in range(len(truth)) if j != k]
        assert float(y[:, others].abs().max()) <= (0 if backend == "numba" else 1e-5 * float(y.max()))
        back = operator.adjoint(y)
        assert float(back[others].abs().max()) <= (0 if backend == "numba" else 1e-5 * float(back.max()))
        # The 2D scan of that slice, which knows of no other.
        assert relative(whole[:, k : k + 1], alone.forward(truth[k : k + 1])) < 1e-5


def test_a_parallel_view_along_the_lines_of_the_image_is_their_sum():
    """At 0 the rays run along x and u along y; at 90 degrees along y, and u against x."""
    truth = uniform((3, 16, 16))
    y = parallel((0.0, math.pi / 2), Grid((3, 16, 16), (2.0, 1.5, 1.5))).forward(truth)
    rim = (y.shape[2] - 16) // 2
    assert relative(y[0, :, rim:-rim], 1.5 * truth.sum(2)) < 1e-6
    assert relative(y[1, :, rim:-rim], 1.5 * truth.sum(1).flip(1)) < 1e-6


def test_opposite_parallel_views_are_mirror_images():
    angles = sparse_view(9, math.pi, 0.1)
    truth = uniform(ODD.shape)
    here, there = (parallel(tuple(a + turned for a in angles)).forward(truth) for turned in (0.0, math.pi))
    assert relative(there, here.flip(2)) < 1e-5


def blobs(grid, width):
    """A Gaussian in each slice, at a place of its own: (x, y) in mm, the slices, and their line integrals."""
    turned = np.arange(grid.shape[0])
    places = 6.0 * np.cos(turned), 6.0 * np.sin(turned)
    x, y = (torch.as_tensor(grid.axis(name)) for name in "xy")
    square = [(x - px) ** 2 + (y[:, None] - py) ** 2 for px, py in zip(*places, strict=True)]
    return places, torch.stack([torch.exp(-s / (2 * width**2)) for s in square]).float()


def blob_integrals(scanner, places, width):
    beta, u = np.array(scanner.angles)[:, None, None], scanner.u()
    shadow = places[1][:, None] * np.cos(beta) - places[0][:, None] * np.sin(beta)
    integrals = math.sqrt(2 * math.pi) * width * np.exp(-((u - shadow) ** 2) / (2 * width**2))
    return torch.as_tensor(integrals, dtype=torch.float32)


def test_a_parallel_scan_of_gaussians_has_its_closed_form_and_so_has_its_fbp():
    """Gaussians of width s, voxels and pixels of h.

    A line integral by Joseph's method is off by linear interpolation, h^2/8 max|f''| over the ray's planes, at most
    sqrt(2 pi) s sqrt(2) h^2 / (8 s^2). FBP of the exact integrals is off by linear interpolation of the filtered view
    q = ramp * p, whose q'' is 2 / (pi s^2) at most: pi h^2/8 max|q''| = h^2 / (4 s^2).
    """
    grid, width = Grid((4, 64, 64), (5.0, 1.0, 1.0)), 4.0
    places, truth = blobs(grid, width)
    operator = parallel(view_angles("svct", 120, beam="parallel"), grid)
    exact = blob_integrals(operator.geometry, places, width)
    bound = math.sqrt(2 * math.pi) * width * math.sqrt(2) / (8 * width**2)
    assert float((operator.forward(truth) - exact).abs().max()) < bound
    found = fdk(exact, operator.geometry, grid)
    assert float((found - truth).abs().max()) < 1 / (4 * width**2)


def test_a_parallel_scan_starts_at_fbp_and_is_the_same_in_any_unit_of_length():
    truth = uniform((6, 16, 16))
    scan = Acquisition("svct", beam="parallel")
    problem, larger = (scan.problem(truth, mm, CT_WINDOW) for mm in (SPACING, (4.0, 8.0, 8.0)))
    grid = Grid((6, 16, 16), SPACING)
    geometry = published_parallel_beam(view_angles("svct", beam="parallel"), grid)
    assert problem.description == repr(geometry) and problem.initial_title == "FBP"
    assert torch.equal(problem.initial(), fdk(problem.measurement, geometry, grid))
    assert problem.kind == "ct" and problem.unit == 4.0 and problem.noise == 0
    assert_operator(problem.operator)
    # Twice the mm: the same rays, twice as long.
    assert larger.unit == 8.0
    assert torch.equal(larger.measurement, 2 * problem.measurement)
    assert relative(larger.initial(), problem.initial()) < 1e-6
    inverses = (p.pseudo_inverse(3)(p.measurement) for p in (larger, problem))
    assert relative(*inverses) < 1e-6
    assert Acquisition("svct").problem(truth, SPACING, CT_WINDOW).initial_title == "FDK"


@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize("window", [CT_WINDOW, Window(-200.0, 800.0)])
def test_gaussian_noise_of_line_integrals_arrives_in_y_with_its_deviation(window, beam):
    """p = water (high - low)/1000 y + offset, so a deviation of sd in p is sd over that factor in y."""
    truth, angles, sd = uniform((8, 24, 24)), view_angles("svct", 8, beam=beam), 0.02
    clean = BEAMS[beam].simulated(truth, SPACING, angles, window=window)
    noisy = BEAMS[beam].simulated(truth, SPACING, angles, GaussianNoise(sd), 1, window)
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
    empty = BEAMS[beam].simulated(truth, SPACING, view_angles("svct", 8), noise, 3)
    expected = math.sqrt(1 / photons + (electronic / photons) ** 2) / (WATER * 2.6)
    assert empty.noise == pytest.approx(expected)
    y = empty.measurement.double()
    assert float(y.std()) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("beam", BEAMS)
def test_photon_noise_grows_behind_a_patient(beam):
    truth, angles = uniform((8, 24, 24)), view_angles("svct", 8, beam=beam)
    clean = BEAMS[beam].simulated(truth, SPACING, angles)
    noisy = BEAMS[beam].simulated(truth, SPACING, angles, PhotonNoise(1e5), 3)
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
    assert Acquisition("svct").settings["beam"] == "cone" and "beam" not in settings
    limited = Acquisition("lact", beam="parallel")
    assert {"beam": "parallel", "views": 90, "angle": 90.0}.items() <= limited.settings.items()
    assert "8 parallel-beam views" in str(Acquisition(beam="parallel"))


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({}, "svct-cone-30"),
        ({"views": 8, "beam": "cone"}, "svct-cone-8"),
        ({"beam": "parallel"}, "svct-parallel-8"),
        ({"beam": "parallel", "views": 4, "noise": GaussianNoise(0.1), "seed": 5}, "svct-parallel-4"),
        ({"task": "lact"}, "lact-cone-100"),
        ({"task": "lact", "views": 100}, "lact-cone-100"),
        ({"task": "lact", "views": 50}, "lact-cone-100-50"),
        ({"task": "lact", "beam": "parallel"}, "lact-parallel-90"),
        ({"task": "lact", "beam": "parallel", "angle": 62.5, "views": 4}, "lact-parallel-62.5-4"),
    ],
)
def test_the_key_names_the_views_however_they_were_given(settings, key):
    assert Acquisition(**settings).key == key


def test_thick_slices_have_no_key():
    with pytest.raises(CosliceError, match="zsr"):
        _ = Acquisition("zsr").key


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
        ({"task": "lact", "angle": 181.0, "beam": "parallel"}, "181 degrees.* at most 180"),
        ({"task": "svct", "angle": 90.0, "beam": "parallel"}, "leave --angle out"),
        ({"task": "svct", "views": 0, "beam": "parallel"}, "0 views"),
        ({"task": "svct", "beam": "fan"}, "beams are cone, parallel"),
        ({"task": "zsr", "beam": "parallel"}, "--beam parallel"),
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


def test_the_command_line_scans_with_either_beam(coslice, scan, tmp_path):
    out = tmp_path / "out"
    options = [
        "--task",
        "lact",
        "--beam",
        "parallel",
        "--views",
        15,
        "--photons",
        1e5,
        "--size",
        16,
        "--method",
        "sirt",
    ]
    code, said, error = coslice("reconstruct", scan, *options, "--out", out)
    assert code == 0, error
    assert "15 parallel-beam views" in said and "FBP" in said and "FDK" not in said
    study = json.loads((out / "run.json").read_text())["study"]
    assert {"task": "lact", "beam": "parallel", "views": 15, "angle": 90.0}.items() <= study.items()
    assert study["geometry"].startswith("ParallelBeam") and study["noise_deviation"] > 0


def test_the_command_line_refuses_a_beam_for_thick_slices(refused, scan, tmp_path):
    said = refused("reconstruct", scan, "--task", "zsr", "--beam", "cone", "--out", tmp_path / "out")
    assert "--beam cone" in said
