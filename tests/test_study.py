"""Studies: where voxels are before and after, what a real measurement is taken for, and the files that are left."""

import json

import numpy as np
import pytest
import torch

from coslice.errors import CosliceError
from coslice.io.nifti import read_nifti, write_nifti
from coslice.measurement_noise import GaussianNoise
from coslice.metrics import evaluate
from coslice.preparation import Preparation
from coslice.recipe import Recipe
from coslice.reconstruction import run
from coslice.study import from_measurement, measure, parse_slices, simulate, write
from coslice.tasks import Acquisition
from coslice.volume import Volume, Window, scan_window
from laws import relative

WINDOW = Window(0.0, 2.0, "a.u.")


def thin(count=15, spacing=(1.0, 1.5, 1.5), seed=0):
    """An oblique scan."""
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)) * 0.1 + np.eye(3))
    affine = np.eye(4)
    affine[:3, :3] = turn * np.sign(np.diag(turn)) @ np.diag(spacing[::-1])
    affine[:3, 3] = (-20.0, 5.0, 100.0)
    data = torch.rand((count, 12, 10), generator=torch.Generator().manual_seed(seed)) + 0.5
    return Volume(data, affine, ("P", "S", "R"))


def at(volume, x, y, z):
    return (volume.affine @ (x, y, z, 1.0))[:3]


@pytest.mark.parametrize(("count", "factor"), [(15, 5), (16, 5), (12, 2), (10, 3)])
def test_measured_slices_lie_over_the_thin_ones_they_are_means_of(count, factor):
    """Outer faces are shared: the first one, and the last where the thick slices fill the scan."""
    study = simulate(thin(count), WINDOW, Acquisition("zsr", factor=factor))
    thick, truth = study.thick, study.truth
    assert thick.shape[0] == -(-count // factor) and thick.orientation == truth.orientation
    for i in range(thick.shape[0] + 1):
        np.testing.assert_allclose(at(thick, 0, 0, i - 0.5), at(truth, 0, 0, i * factor - 0.5), atol=1e-9)
    np.testing.assert_allclose(at(thick, 3, 4, 0), at(truth, 3, 4, (factor - 1) / 2), atol=1e-9)
    assert relative(thick.data[0], truth.data[:factor].mean(0)) < 1e-6


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_thin_voxels_of_a_measured_scan_fill_its_thick_ones(factor):
    scan = thin(4, (factor * 1.1, 1.5, 1.5))
    study = from_measurement(scan, WINDOW, factor)
    assert study.grid.shape == (4 * factor, 12, 10) and study.grid.orientation == scan.orientation
    assert study.grid.spacing == pytest.approx((1.1, 1.5, 1.5))
    for i in range(5):
        np.testing.assert_allclose(at(study.grid, 2, 1, i * factor - 0.5), at(scan, 2, 1, i - 0.5), atol=1e-9)
    assert torch.equal(study.grid.data, scan.data.repeat_interleave(factor, 0))
    assert study.thick is not None and torch.equal(study.thick.data, scan.data)
    assert study.unit is None and study.truth is None


@pytest.mark.parametrize("fwhm", [None, 4.0])
def test_a_measurement_read_back_is_the_study_it_was_simulated_in(tmp_path, fwhm):
    simulated = simulate(thin(), WINDOW, Acquisition("zsr", factor=5, fwhm_mm=fwhm))
    write_nifti(simulated.thick, tmp_path / "thick.nii.gz")
    real = from_measurement(read_nifti(tmp_path / "thick.nii.gz"), WINDOW, 5, fwhm)
    np.testing.assert_allclose(real.grid.affine, simulated.grid.affine, atol=1e-5)
    assert real.grid.orientation == simulated.grid.orientation
    np.testing.assert_allclose(real.problem.operator.matrix, simulated.problem.operator.matrix, atol=1e-6)
    assert relative(real.problem.measurement, simulated.problem.measurement) < 1e-6
    assert relative(real.problem.initial(), simulated.problem.initial()) < 1e-6
    assert real.settings["measured"] and real.settings["shape"] == simulated.settings["shape"]


@pytest.mark.parametrize(
    ("spacing", "factor"), [((6.0, 1.0, 1.0), 6), ((5.0, 1.1, 0.9), 6), ((3.0, 1.0, 2.0), 3), ((1.6, 1.0, 1.0), 2)]
)
def test_slices_are_split_into_what_is_nearest_to_cubes(spacing, factor):
    assert from_measurement(thin(4, spacing), WINDOW).problem.operator.factor == factor


def test_the_scan_is_prepared_before_it_is_measured_and_windowed():
    scan, seen = thin(), []

    def window(volume):
        seen.append(volume)
        return scan_window("mr", volume.data)

    study = simulate(scan, window, Acquisition("zsr", factor=2), Preparation((1, 14), size=8))
    expected = scan.slices(1, 14).resized(8)
    assert torch.equal(seen[0].data, expected.data) and torch.equal(study.grid.data, expected.data)
    assert torch.equal(study.unit, study.window.to_unit(expected.data))
    assert study.settings["slices"] == [1, 14] and study.settings["shape"] == [13, 8, 8]


def test_a_measured_scan_is_resampled_in_its_planes_only():
    study = from_measurement(thin(4, (6.0, 1.5, 1.5)), WINDOW, preparation=Preparation((1, 4), spacing=3.0))
    assert study.thick.spacing == pytest.approx((6.0, 3.0, 3.0)) and study.thick.shape == (3, 6, 5)
    assert study.problem.operator.factor == 2


@pytest.mark.parametrize("name", ["thickness", "pad"])
def test_a_measured_scan_cannot_be_thickened_or_padded(name):
    with pytest.raises(CosliceError, match=f"--{name}"):
        from_measurement(thin(), WINDOW, 5, preparation=Preparation(**{name: 64}))


def test_a_scan_that_has_nothing_to_gain_is_refused():
    with pytest.raises(CosliceError, match="nothing to gain"):
        from_measurement(thin(4, (1.4, 1.0, 1.0)), WINDOW)
    with pytest.raises(CosliceError, match="at most 4"):
        from_measurement(thin(4, (2.0, 1.0, 1.0)), WINDOW, fwhm_mm=100.0)


def test_a_scan_thick_along_another_axis_is_told_so():
    with pytest.raises(CosliceError, match="thick along x, and only z is understood"):
        from_measurement(thin(15, (1.0, 1.0, 5.0)), WINDOW)


def test_a_scan_too_small_for_the_metrics_is_refused_before_the_work_and_no_other():
    scan = thin()
    for acquisition in (Acquisition("zsr", factor=2), Acquisition("svct", views=2)):
        small, enough = scan.slices(0, 6), scan.slices(0, 7)
        with pytest.raises(CosliceError, match="6 x 12 x 10"):
            simulate(small, WINDOW, acquisition)
        study = simulate(enough, WINDOW, acquisition)
        assert measure(study, {"reconstruction": run(study.problem, Recipe("sirt", sirt_iterations=1))})
    with pytest.raises(CosliceError, match="at least 7"):
        evaluate(scan.data[:6], scan.data[:6], lpips=False)


def test_noise_is_of_the_measurement_and_not_of_the_truth():
    clean, noisy = (simulate(thin(), WINDOW, Acquisition("zsr", noise=n)) for n in (None, GaussianNoise(0.1)))
    assert torch.equal(clean.unit, noisy.unit)
    # In the scan's own units, the window's width to one.
    difference = (noisy.thick.data - clean.thick.data).std()
    assert float(difference) == pytest.approx(0.1 * 2.0, rel=0.15)
    assert noisy.settings["noise_deviation"] == pytest.approx(0.1)


@pytest.mark.parametrize("measured", [False, True])
def test_the_files_of_a_study(tmp_path, measured):
    scan = thin(16)
    study = simulate(scan, WINDOW, Acquisition("zsr"))
    if measured:
        study = from_measurement(study.thick, WINDOW, 5)
    recipes = {"reconstruction": Recipe("cubic")}
    results = {"reconstruction": run(study.problem, recipes["reconstruction"], truth=study.unit)}
    metrics = measure(study, results)
    assert bool(metrics) == (not measured)
    write(tmp_path, study, recipes, results, metrics, [])
    files = {"comparison.png", "initial.nii.gz", "measurement.nii.gz", "reconstruction.nii.gz", "report.html"}
    files |= {"run.json"} | (set() if measured else {"truth.nii.gz", "metrics.json"})
    assert {path.name for path in tmp_path.iterdir()} == files
    written = {name: read_nifti(tmp_path / f"{name}.nii.gz") for name in ("reconstruction", "measurement")}
    assert written["reconstruction"].shape[0] == (20 if measured else 16)
    np.testing.assert_allclose(at(written["reconstruction"], 0, 0, -0.5), at(scan, 0, 0, -0.5), atol=1e-4)
    np.testing.assert_allclose(at(written["measurement"], 0, 0, -0.5), at(scan, 0, 0, -0.5), atol=1e-4)
    assert {volume.orientation for volume in written.values()} == {("P", "S", "R")}
    expected = WINDOW.from_unit(results["reconstruction"].reconstruction)
    assert relative(written["reconstruction"].data, expected) < 1e-6
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["study"]["factor"] == 5 and record["methods"]["reconstruction"]["name"] == "cubic"
    assert not measured or record["study"]["measured"]


def test_ranges_of_slices():
    assert parse_slices(None, 9) == parse_slices(":", 9) == (0, 9)
    assert parse_slices("2:", 9) == (2, 9) and parse_slices(":4", 9) == (0, 4) and parse_slices("2:4", 9) == (2, 4)
    for text in ("", "3", "a:b", "1:2:3", "1.5:3"):
        with pytest.raises(CosliceError, match="FIRST:LAST"):
            parse_slices(text, 9)
