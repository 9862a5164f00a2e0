"""Output: the files a run leaves, where their voxels are, and the numbers and settings in them."""

import json

import numpy as np
import pytest
import torch

from coslice import plan, run
from coslice.io.nifti import read_nifti
from coslice.methods import changed, described, find_method
from coslice.metrics import evaluate, per_slice
from coslice.output import measure, titles, write_results
from coslice.problems import SliceSuperResolution, SparseViewCT, from_thick_slices, simulate
from coslice.report.run_page import write_run_page
from coslice.volume import Volume
from coslice.window import Window
from laws import relative
from oblique import WINDOW, at, thin


def planned_and_run(study, **methods):
    plans = {stem: plan(study.problem, method) for stem, method in methods.items()}
    return plans, {stem: run(planned, truth=study.unit) for stem, planned in plans.items()}


@pytest.mark.parametrize("measured", [False, True])
def test_the_files_of_a_study(tmp_path, measured):
    scan = thin(16)
    study = simulate(scan, SliceSuperResolution(), WINDOW)
    if measured:
        assert study.thick is not None
        study = from_thick_slices(study.thick, WINDOW, 5)
    plans, results = planned_and_run(study, reconstruction="cubic")
    numbers = measure(study, results)
    assert bool(numbers.numbers) == (not measured)
    record = write_results(tmp_path, study, plans, results, numbers)
    files = {"initial.nii.gz", "measurement.nii.gz", "reconstruction.nii.gz", "run.json"}
    files |= set() if measured else {"truth.nii.gz", "metrics.json"}
    assert {path.name for path in tmp_path.iterdir()} == files
    assert write_run_page(tmp_path, study, plans, results, numbers, record) == tmp_path / "report.html"
    assert {path.name for path in tmp_path.iterdir()} == files | {"comparison.png", "report.html"}
    written = {name: read_nifti(tmp_path / f"{name}.nii.gz") for name in ("reconstruction", "measurement")}
    assert written["reconstruction"].shape[0] == (20 if measured else 16)
    np.testing.assert_allclose(at(written["reconstruction"], 0, 0, -0.5), at(scan, 0, 0, -0.5), atol=1e-4)
    np.testing.assert_allclose(at(written["measurement"], 0, 0, -0.5), at(scan, 0, 0, -0.5), atol=1e-4)
    assert {volume.orientation for volume in written.values()} == {("P", "S", "R")}
    expected = WINDOW.from_unit(results["reconstruction"].reconstruction)
    assert relative(written["reconstruction"].data, expected) < 1e-6
    assert json.loads((tmp_path / "run.json").read_text()) == record
    assert record["study"]["factor"] == 5 and record["methods"]["reconstruction"]["name"] == "cubic"
    assert not measured or record["study"]["measured"]


def test_numbers_are_the_published_metrics_of_the_first_and_of_every_reconstruction():
    study = simulate(thin(), SparseViewCT(views=3), WINDOW)
    one, two = (changed(find_method("sirt"), {"solution": {"iterations": n}}) for n in (1, 2))
    plans, results = planned_and_run(study, one=one, two=two)
    measured = measure(study, results)
    assert study.unit is not None
    assert list(measured.numbers) == list(measured.curves) == ["initial", "one", "two"]
    assert titles(study, plans) == {"initial": "FDK", "one": "SIRT", "two": "SIRT"}
    for stem, volume in (
        ("initial", results["one"].initial),
        ("one", results["one"].reconstruction),
        ("two", results["two"].reconstruction),
    ):
        assert measured.numbers[stem] == evaluate(volume, study.unit)
        assert measured.curves[stem] == per_slice(volume, study.unit)


def test_a_record_holds_what_was_chosen_and_what_was_left_to_the_method(tmp_path, tiny_prior):
    study = simulate(thin(16), SliceSuperResolution(2), WINDOW)
    method = changed(find_method("dds-tv", "zsr"), {"samples": 2, "schedule": {"steps": 3}})
    plans = {"reconstruction": plan(study.problem, method, tiny_prior, seed=7)}
    results = {"reconstruction": run(plans["reconstruction"], truth=study.unit)}
    record = write_results(tmp_path, study, plans, results, measure(study, results))
    assert record["study"] == study.settings
    assert record["recipes"]["reconstruction"] == {
        "method": "dds-tv",
        "seed": 7,
        "noise": "iscs",
        "steps": 3,
        "samples": 2,
    }
    assert record["methods"]["reconstruction"] == described(method)
    assert [prior["name"] for prior in record["priors"]] == ["tiny"]
    assert record["trajectory"]["reconstruction"] == results["reconstruction"].trajectory
    assert [step["step"] for step in results["reconstruction"].trajectory] == [0, 1, 2]
    assert {"initial", "preparation", "prior", "fidelity", "renoising"} <= set(record["seconds"]["reconstruction"])
    assert record["device"] == "cpu" and record["versions"]["torch"] == torch.__version__
    assert record["peak_memory_mb"] is None or record["peak_memory_mb"] > 10


def test_the_page_of_a_run_has_its_curves_and_the_commands_it_is_given(tmp_path):
    z, y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in (8, 16, 16)), indexing="ij")
    hu = torch.where(z**2 + y**2 + x**2 < 0.9, 40.0 + 100 * x, -1000.0)
    study = simulate(Volume(hu, np.diag([2.0, 2.0, 2.0, 1.0])), SparseViewCT(views=5), Window(-1000, 1600))
    plans, results = planned_and_run(study, one="sirt")
    numbers = measure(study, results)
    record = write_results(tmp_path, study, plans, results, numbers)
    page = write_run_page(tmp_path, study, plans, results, numbers, record, ["do this", "and <that>"]).read_text(
        "utf-8"
    )
    assert "do this\nand &lt;that&gt;</pre>" in page
    assert "PSNR (dB) of each axial slice" in page
