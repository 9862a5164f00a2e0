"""The folder of a run with samples: deviation and interval in the scan's units, or the sentence why there is none."""

import json
from dataclasses import replace

import pytest
import torch

from coslice import plan, run
from coslice.detector import GaussianNoise
from coslice.io.nifti import read_nifti
from coslice.methods import changed, find_method
from coslice.output import conditions_of, find_intervals, measure, write_results
from coslice.problems import SliceSuperResolution, SparseViewCT, from_thick_slices, simulate
from coslice.report.run_page import write_run_page
from coslice.uncertainty import Calibration, coverage, find_calibration
from laws import relative
from oblique import WINDOW, thin
from simulated import measured
from small_problems import ct, prior, quick, scan


@pytest.fixture(scope="module")
def ran():
    """A study, its plan and its result, of three samples."""
    study = simulate(thin(16), SliceSuperResolution(2), WINDOW)
    planned = plan(study.problem, changed(quick(samples=3), {"noise": "independent"}), prior("zx"), seed=1)
    return study, {"reconstruction": planned}, {"reconstruction": run(planned)}


def calibration(planned, **changes) -> Calibration:
    conditions = replace(conditions_of(planned), **changes)
    return Calibration("small", 1.5, 0.01, 1.0, {50: 0.7, 90: 1.6}, conditions, ("a", "b"))


def test_the_folder_holds_both_maps_in_the_scan_s_units_and_the_record_says_how(ran, tmp_path):
    study, plans, results = ran
    fitting = calibration(plans["reconstruction"])
    intervals = find_intervals(plans, results, (calibration(plans["reconstruction"], samples=2), fitting))
    measured = measure(study, results, intervals=intervals)
    record = write_results(tmp_path, study, plans, results, measured, intervals)
    deviation = results["reconstruction"].deviation
    half = fitting.half_width(deviation, 90)
    for word, expected in (("deviation", deviation), ("interval", half)):
        written = read_nifti(tmp_path / f"reconstruction-{word}.nii.gz")
        assert relative(written.data, expected * (WINDOW.high - WINDOW.low)) < 1e-6
        assert written.affine == pytest.approx(study.volume.affine)
        assert written.orientation == study.volume.orientation
    assert json.loads((tmp_path / "run.json").read_text()) == record
    assert record["uncertainty"]["reconstruction"] == {"level": 90, "calibration": fitting.as_tree()}
    held = coverage(study.unit, results["reconstruction"].reconstruction, half)
    numbers = json.loads((tmp_path / "metrics.json").read_text())
    assert numbers["reconstruction"]["uncertainty"] == {
        "coverage_90": held.body,
        "coverage_90_everywhere": held.everywhere,
    }
    assert "uncertainty" not in numbers["initial"]
    assert {name for name in numbers["reconstruction"] if name != "uncertainty"} == set(numbers["initial"])
    page = write_run_page(tmp_path, study, plans, results, measured, record, (), intervals).read_text("utf-8")
    assert '"interval of 90 %"' in page and '"deviation"' in page


def test_where_no_calibration_fits_there_is_no_interval_and_it_is_said(ran, tmp_path):
    study, plans, results = ran
    intervals = find_intervals(plans, results, (calibration(plans["reconstruction"], samples=8),))
    measured = measure(study, results, intervals=intervals)
    record = write_results(tmp_path, study, plans, results, measured, intervals)
    said = "No interval: no calibration fits this run; of the nearest, small, the number of samples is 8, not 3."
    assert record["uncertainty"]["reconstruction"] == {"calibration": None, "reason": said}
    assert (tmp_path / "reconstruction-deviation.nii.gz").exists()
    assert not (tmp_path / "reconstruction-interval.nii.gz").exists()
    assert "uncertainty" not in measured.numbers["reconstruction"]
    page = write_run_page(tmp_path, study, plans, results, measured, record, (), intervals).read_text("utf-8")
    assert said in page and '"deviation"' in page and "interval of 90" not in page


def test_one_sample_has_neither(ran, tmp_path):
    study, _, _ = ran
    plans = {"reconstruction": plan(study.problem, quick(), prior("zx"))}
    results = {"reconstruction": run(plans["reconstruction"])}
    assert results["reconstruction"].deviation is None
    assert find_intervals(plans, results) == {}
    record = write_results(tmp_path, study, plans, results, measure(study, results))
    assert "uncertainty" not in record
    assert not list(tmp_path.glob("*deviation*"))


def test_another_map_can_stand_in_for_the_deviation_of_samples_with_its_own_calibration(ran):
    study, _, _ = ran
    plans = {"reconstruction": plan(study.problem, quick(), prior("zx"))}
    steps = replace(
        run(plans["reconstruction"]), deviation=torch.full(study.volume.shape, 0.02), source="last 10 steps"
    )
    of_samples, of_steps = (calibration(plans["reconstruction"], source=s) for s in ("samples", "last 10 steps"))
    found = find_intervals(plans, {"reconstruction": steps}, (of_samples, of_steps))["reconstruction"]
    assert found.calibration is of_steps and found.half_width is not None
    assert find_intervals(plans, {"reconstruction": steps}, (of_samples,))["reconstruction"].half_width is None


def test_what_changes_the_error_is_a_condition_and_what_does_not_is_none():
    base = quick("dds", "ct", samples=3)
    fitted = conditions_of(plan(ct(), base, prior()))
    assert fitted.samples == 3 and fitted.method == "dds" and json.loads(json.dumps(fitted.settings)) == fitted.settings
    assert not fitted.differences(conditions_of(plan(ct(), base, prior(), seed=9)))
    for other in (
        plan(ct(), changed(base, {"data": {"iterations": 7}}), prior()),
        plan(ct(), changed(base, {"noise": "independent"}), prior()),
        plan(ct(), quick("ddnm", "ct", samples=3), prior()),
        plan(replace(ct(), noise=0.1), base, prior()),
        plan(replace(ct(), task=""), base, prior()),  # a real measurement of the same views
        plan(ct(2.0), base, prior()),
        plan(ct(), base, prior(name="mine")),
    ):
        assert fitted.differences(conditions_of(other))


def test_the_task_says_its_views():
    study = simulate(thin(), SparseViewCT(views=3), WINDOW)
    assert conditions_of(plan(study.problem, find_method("sirt"))).task == "svct-cone-3"


def test_the_deviation_of_a_run_is_that_of_its_samples(ran):
    study, plans, results = ran
    planned = plans["reconstruction"]
    one = replace(planned.method, samples=1)
    singles = [run(study.problem, one, planned.priors, seed=1 + k).reconstruction for k in range(3)]
    inside = torch.stack([(single > 0) & (single < 1) for single in singles]).all(0)  # results are clipped after it
    assert inside.double().mean() > 0.3
    expected = torch.stack(singles).double().std(0).float()
    torch.testing.assert_close(results["reconstruction"].deviation[inside], expected[inside], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("samples", "views", "spacing", "found"),
    [(8, 30, (1.0, 3.0, 3.0), True), (4, 30, (1.0, 3.0, 3.0), False), (8, 20, (1.0, 3.0, 3.0), False)]
    + [(8, 30, (8.0, 3.0, 3.0), False)],
)
def test_eight_samples_of_the_default_method_have_the_interval_that_comes_along(samples, views, spacing, found):
    problem = measured(SparseViewCT(views=views), scan((16, 16, 16)), spacing)
    planned = plan(problem, changed(find_method("wblend"), {"samples": samples}))
    assert (find_calibration(conditions_of(planned)) is not None) == found


def test_noise_of_another_size_and_a_real_measurement_are_other_tasks():
    method = changed(quick(), {"samples": 2})
    tasks = [SliceSuperResolution(2), *(SliceSuperResolution(2, noise=GaussianNoise(size)) for size in (0.01, 0.05))]
    studies = [simulate(thin(16), task, WINDOW) for task in tasks]
    thick = studies[0].thick
    assert thick is not None
    studies.append(from_thick_slices(thick, WINDOW, factor=2))
    words = {conditions_of(plan(study.problem, method, prior("zx"))).task for study in studies}
    assert words == {"zsr-2", "zsr-2 with noise of 1e-02", "zsr-2 with noise of 5e-02", "measured zsr"}
