"""Studies: where voxels are before and after, and what a real measurement is taken for."""

from typing import Any

import numpy as np
import pytest
import torch

from coslice import run
from coslice.data import embedded_scan
from coslice.detector import GaussianNoise
from coslice.errors import CosliceError
from coslice.io.nifti import read_nifti, write_nifti
from coslice.methods import changed, find_method
from coslice.metrics import evaluate
from coslice.operators import ThickSlices
from coslice.output import measure
from coslice.preparation import Preparation
from coslice.problems import SliceSuperResolution, SparseViewCT, from_thick_slices, simulate
from coslice.volume import Volume
from coslice.window import CT_WINDOW, Window, scan_window
from laws import relative
from oblique import WINDOW, at, thin


@pytest.mark.parametrize(("count", "factor"), [(15, 5), (16, 5), (12, 2), (10, 3)])
def test_measured_slices_lie_over_the_thin_ones_they_are_means_of(count, factor):
    """Outer faces are shared: the first one, and the last where the thick slices fill the scan."""
    study = simulate(thin(count), SliceSuperResolution(factor), WINDOW)
    thick, truth = study.thick, study.truth
    assert thick is not None and truth is not None
    assert thick.shape[0] == -(-count // factor) and thick.orientation == truth.orientation
    for i in range(thick.shape[0] + 1):
        np.testing.assert_allclose(at(thick, 0, 0, i - 0.5), at(truth, 0, 0, i * factor - 0.5), atol=1e-9)
    np.testing.assert_allclose(at(thick, 3, 4, 0), at(truth, 3, 4, (factor - 1) / 2), atol=1e-9)
    assert relative(thick.data[0], truth.data[:factor].mean(0)) < 1e-6


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_thin_voxels_of_a_measured_scan_fill_its_thick_ones(factor):
    scan = thin(4, (factor * 1.1, 1.5, 1.5))
    study = from_thick_slices(scan, WINDOW, factor)
    assert study.volume.shape == (4 * factor, 12, 10) and study.volume.orientation == scan.orientation
    assert study.volume.spacing == pytest.approx((1.1, 1.5, 1.5))
    for i in range(5):
        np.testing.assert_allclose(at(study.volume, 2, 1, i * factor - 0.5), at(scan, 2, 1, i - 0.5), atol=1e-9)
    assert torch.equal(study.volume.data, scan.data.repeat_interleave(factor, 0))
    assert study.thick is not None and torch.equal(study.thick.data, scan.data)
    assert study.unit is None and study.truth is None


@pytest.mark.parametrize("fwhm", [None, 4.0])
def test_a_measurement_read_back_is_the_study_it_was_simulated_in(tmp_path, fwhm):
    simulated = simulate(thin(), SliceSuperResolution(5, fwhm), WINDOW)
    assert simulated.thick is not None
    write_nifti(simulated.thick, tmp_path / "thick.nii.gz")
    real = from_thick_slices(read_nifti(tmp_path / "thick.nii.gz"), WINDOW, 5, fwhm)
    np.testing.assert_allclose(real.volume.affine, simulated.volume.affine, atol=1e-5)
    assert real.volume.orientation == simulated.volume.orientation
    ours, theirs = real.problem.operator, simulated.problem.operator
    assert isinstance(ours, ThickSlices) and isinstance(theirs, ThickSlices)
    np.testing.assert_allclose(ours.matrix, theirs.matrix, atol=1e-6)
    assert relative(real.problem.measurement, simulated.problem.measurement) < 1e-6
    assert relative(real.problem.initial(), simulated.problem.initial()) < 1e-6
    assert real.settings["measured"] and real.settings["shape"] == simulated.settings["shape"]


@pytest.mark.parametrize(
    ("spacing", "factor"), [((6.0, 1.0, 1.0), 6), ((5.0, 1.1, 0.9), 6), ((3.0, 1.0, 2.0), 3), ((1.6, 1.0, 1.0), 2)]
)
def test_slices_are_split_into_what_is_nearest_to_cubes(spacing, factor):
    operator = from_thick_slices(thin(4, spacing), WINDOW).problem.operator
    assert isinstance(operator, ThickSlices) and operator.factor == factor


def test_the_scan_is_prepared_before_it_is_measured_and_windowed():
    scan, seen = thin(), []

    def window(volume):
        seen.append(volume)
        return scan_window("mr", volume.data)

    study = simulate(scan, SliceSuperResolution(2), window, Preparation((1, 14), size=8))
    expected = scan.slices(1, 14).resized(8)
    assert torch.equal(seen[0].data, expected.data) and torch.equal(study.volume.data, expected.data)
    assert study.unit is not None and torch.equal(study.unit, study.window.to_unit(expected.data))
    assert study.settings["slices"] == [1, 14] and study.settings["shape"] == [13, 8, 8]


def test_a_measured_scan_is_resampled_in_its_planes_only():
    study = from_thick_slices(thin(4, (6.0, 1.5, 1.5)), WINDOW, preparation=Preparation((1, 4), spacing=3.0))
    assert study.thick is not None
    assert study.thick.spacing == pytest.approx((6.0, 3.0, 3.0)) and study.thick.shape == (3, 6, 5)
    operator = study.problem.operator
    assert isinstance(operator, ThickSlices) and operator.factor == 2


@pytest.mark.parametrize("name", ["thickness", "pad"])
def test_a_measured_scan_cannot_be_thickened_or_padded(name):
    asked: dict[str, Any] = {name: 64}
    with pytest.raises(CosliceError, match=f"{name}: it was given for a real measurement"):
        from_thick_slices(thin(), WINDOW, 5, preparation=Preparation(**asked))


def test_a_scan_that_has_nothing_to_gain_is_refused():
    with pytest.raises(CosliceError, match="nothing to gain"):
        from_thick_slices(thin(4, (1.4, 1.0, 1.0)), WINDOW)
    with pytest.raises(CosliceError, match="at most 4"):
        from_thick_slices(thin(4, (2.0, 1.0, 1.0)), WINDOW, fwhm_mm=100.0)


def test_a_scan_too_small_for_the_metrics_is_refused_before_the_work_and_no_other():
    scan = thin()
    for task in (SliceSuperResolution(2), SparseViewCT(views=2)):
        small, enough = scan.slices(0, 6), scan.slices(0, 7)
        with pytest.raises(CosliceError, match="6 x 12 x 10"):
            simulate(small, task, WINDOW)
        study = simulate(enough, task, WINDOW)
        sirt = changed(find_method("sirt"), {"solution": {"iterations": 1}})
        assert measure(study, {"reconstruction": run(study.problem, sirt)}).numbers
    thin_plane = evaluate(scan.data[:6], scan.data[:6], lpips=False)
    assert thin_plane["axial"]["ssim"] == pytest.approx(1) and thin_plane["coronal"]["ssim"] is None


def test_noise_is_of_the_measurement_and_not_of_the_truth():
    clean, noisy = (simulate(thin(), SliceSuperResolution(noise=n), WINDOW) for n in (None, GaussianNoise(0.1)))
    assert clean.unit is not None and noisy.unit is not None and torch.equal(clean.unit, noisy.unit)
    # In the scan's own units, the window's width to one.
    assert clean.thick is not None and noisy.thick is not None
    difference = (noisy.thick.data - clean.thick.data).std()
    assert float(difference) == pytest.approx(0.1 * 2.0, rel=0.15)
    assert noisy.settings["noise_deviation"] == pytest.approx(0.1)


def test_without_a_window_intensities_are_seen_as_such_scans_usually_are():
    scan = thin()
    assert simulate(scan, SparseViewCT(views=1), values="any").window == CT_WINDOW
    assert simulate(scan, SliceSuperResolution(3)).window == scan_window("mr", scan.data)
    thick = thin(4, (5.0, 1.0, 1.0))
    assert from_thick_slices(thick).window == scan_window("mr", thick.data)
    assert simulate(scan, values="any").task == SparseViewCT()


def test_the_record_of_a_study_holds_its_task_its_preparation_and_what_came_of_them():
    task = SliceSuperResolution(2, 3.0, noise=GaussianNoise(0.1), seed=7)
    study = simulate(thin(), task, WINDOW, Preparation(size=8))
    assert (task.settings_chosen | Preparation(size=8).settings).items() <= study.settings.items()
    assert study.settings["spacing_mm"] == pytest.approx(study.volume.spacing)
    assert study.settings["window"] == {"low": 0.0, "high": 2.0, "unit": "a.u."}
    assert study.settings["geometry"] == study.problem.description
    assert study.thick is not None
    real = from_thick_slices(study.thick, WINDOW, 2, 3.0)
    assert {"task": "zsr", "factor": 2, "fwhm_mm": 3.0, "measured": True}.items() <= real.settings.items()


def test_a_ct_in_hu_needs_no_remark_and_one_in_other_numbers_is_the_same_study():
    hu = embedded_scan().slices(20, 28).resized(32)
    task = SparseViewCT(views=4)
    plain = simulate(hu, task)
    assert plain.remarks == () and plain.values is None and plain.settings["values"] is None
    for added in (1000, 1024):
        moved = simulate(hu.with_data(hu.data + added), task, preparation=Preparation(pad=40))
        assert moved.values == f"hu+{added}" and len(moved.remarks) == 1
        padded = simulate(hu, task, preparation=Preparation(pad=40))
        assert relative(moved.problem.measurement, padded.problem.measurement) < 1e-6
    scaled = hu.with_data(hu.data / 2600)
    said = simulate(scaled, task, values="0:1=0:2600")
    assert relative(said.problem.measurement, plain.problem.measurement) < 1e-5
    with pytest.raises(CosliceError, match="--values"):
        simulate(scaled, task)


def test_mr_below_0_is_in_the_window_that_is_found_and_cut_by_one_that_is_given():
    """A scan that 56 was taken off is seen as it would be without."""
    rng = np.random.default_rng(0)
    bright = torch.as_tensor(500 * rng.random((12, 16, 16)) * (rng.random((12, 16, 16)) > 0.4), dtype=torch.float32)
    task = SliceSuperResolution(2)
    plain = simulate(Volume(bright), task)
    moved = simulate(Volume(bright - 56), task)
    assert not any("window" in remark for remark in plain.remarks) and plain.window.low == 0
    assert moved.window.low == -56 and any("-56" in remark for remark in moved.remarks)
    assert plain.unit is not None and moved.unit is not None
    assert float((moved.unit == 0).float().mean()) == pytest.approx(float((plain.unit == 0).float().mean()))
    given = simulate(Volume(bright - 56), task, Window(0.0, 400.0, ""))
    assert given.window.low == 0 and any("below the window" in remark for remark in given.remarks)
