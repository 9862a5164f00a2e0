"""`coslice reconstruct`: what it leaves behind, where it puts it, and that seeds decide."""

import html
import json
import re
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from coslice.cli import jobs as coslice_jobs
from coslice.io.nifti import read_nifti, write_nifti
from coslice.volume import Volume


@pytest.fixture
def thick_scan(head, tmp_path):
    """A real scan with 4 slices of 4 mm, as far as the command can know."""
    thin = read_nifti(head)
    path = tmp_path / "thick.nii.gz"
    write_nifti(thin.with_thick_slices(thin.data.unflatten(0, (4, 4)).mean(1), 4), path)
    return path


def test_a_reconstruction_leaves_everything_promised(coslice, svct, scan, tmp_path):
    out = tmp_path / "out"
    code, said, _ = coslice(*svct, "--slices", "2:14", "--out", out)
    assert code == 0 and "DDS + ISCS" in said
    assert sorted(p.name for p in out.iterdir()) == [
        "comparison.png",
        "initial.nii.gz",
        "metrics.json",
        "reconstruction.nii.gz",
        "report.html",
        "run.json",
        "truth.nii.gz",
    ]
    original: Any = nibabel.load(scan)
    for name in ("reconstruction", "initial", "truth"):
        image: Any = nibabel.load(out / f"{name}.nii.gz")
        assert nibabel.aff2axcodes(image.affine) == nibabel.aff2axcodes(original.affine)
        np.testing.assert_allclose(image.affine @ (0, 0, 0, 1), original.affine @ (0, 0, 2, 1), atol=1e-4)
        assert image.shape == (32, 32, 12)
    truth: Any = nibabel.load(out / "truth.nii.gz")
    np.testing.assert_array_equal(truth.get_fdata(), original.get_fdata()[:, :, 2:14])
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics) == {"reconstruction", "initial"}
    for values in metrics.values():
        assert set(values) == {"axial", "coronal", "sagittal", "sdiff", "sdiff_truth", "sdiff_delta", "sdiff_gap"}
        assert set(values["axial"]) == {"psnr", "ssim", "lpips"}
    run = json.loads((out / "run.json").read_text())
    assert run["study"]["views"] == 8 and run["study"]["slices"] == [2, 14]
    assert run["recipes"]["reconstruction"]["noise"] == "iscs"
    assert [step["step"] for step in run["trajectory"]["reconstruction"]] == [0, 1, 2]
    assert {"initial", "preparation", "prior", "fidelity", "renoising"} <= set(run["seconds"]["reconstruction"])
    assert "patient" not in json.dumps(run).lower()


def test_super_resolution_with_a_remainder_says_so_and_keeps_the_grid(coslice, zsr, head, tmp_path):
    """16 slices are 3 thick ones and a rest of 1, to which 4 are reflected."""
    out = tmp_path / "out"
    code, said, error = coslice(*zsr, "--out", out)
    assert code == 0, error
    assert "16 slices are no multiple of 5" in said and "4 are reflected" in said
    original: Any = nibabel.load(head)
    for name in ("reconstruction", "initial", "truth"):
        image: Any = nibabel.load(out / f"{name}.nii.gz")
        np.testing.assert_allclose(image.affine, original.affine, atol=1e-5)
        assert image.shape == original.shape
    thick, truth = read_nifti(out / "measurement.nii.gz"), read_nifti(head)
    assert thick.shape == (4, 24, 20) and thick.spacing == pytest.approx((5.0, 1.5, 1.5))
    np.testing.assert_allclose(thick.affine @ (0, 0, -0.5, 1), truth.affine @ (0, 0, -0.5, 1), atol=1e-5)
    np.testing.assert_allclose(thick.affine @ (0, 0, 2.5, 1), truth.affine @ (0, 0, 14.5, 1), atol=1e-5)
    # The window's upper end clips the brightest thousandth of the voxels.
    np.testing.assert_allclose(thick.data[1].numpy(), truth.data[5:10].mean(0).numpy(), atol=1.0)
    code, said, _ = coslice(*zsr, "--slices", "1:16", "--out", tmp_path / "whole")
    assert code == 0 and "no multiple" not in said


def test_a_thick_scan_comes_out_thin_over_the_same_patient(coslice, zsr, thick_scan, head, tmp_path):
    out = tmp_path / "out"
    arguments = ["reconstruct", thick_scan, *zsr[2:]]
    code, said, error = coslice(*arguments, "--from-measurement", "--factor", 4, "--out", out)
    assert code == 0, error
    assert "4 mm to 1 mm" in said and "PSNR" not in said
    assert not (out / "truth.nii.gz").exists() and not (out / "metrics.json").exists()
    original: Any = nibabel.load(head)
    image: Any = nibabel.load(out / "reconstruction.nii.gz")
    assert image.shape == original.shape
    np.testing.assert_allclose(image.affine, original.affine, atol=1e-5)
    # Four thin voxels fill a thick one and have its mean, where nothing was clipped at the ends of the window.
    thin, thick = (read_nifti(path).data for path in (out / "reconstruction.nii.gz", thick_scan))
    groups = thin.unflatten(0, (4, 4))
    inside = (groups.amin(1) > 0) & (groups.amax(1) < groups.max())
    torch.testing.assert_close(groups.mean(1)[inside], thick[inside], rtol=1e-4, atol=0)
    assert inside.float().mean() > 0.2
    # To cubes, where nothing is said: slices of 4 mm, pixels of 1.5.
    code, _, error = coslice(*arguments, "--from-measurement", "--out", tmp_path / "cubes")
    assert code == 0, error
    assert read_nifti(tmp_path / "cubes" / "reconstruction.nii.gz").shape == (12, 24, 20)


@pytest.mark.parametrize("task", ["svct", "zsr"])
def test_evaluate_repeats_the_numbers_of_the_run(coslice, request, tmp_path, task):
    out = tmp_path / "out"
    assert coslice(*request.getfixturevalue(task), "--out", out)[0] == 0
    files = [out / "reconstruction.nii.gz", out / "truth.nii.gz"]
    code, said, _ = coslice("evaluate", *files, "--json", *([] if task == "svct" else ["--window", "mr"]))
    assert code == 0
    again, first = json.loads(said), json.loads((out / "metrics.json").read_text())["reconstruction"]
    for plane in ("axial", "coronal", "sagittal"):
        for name in ("psnr", "ssim"):
            assert again[plane][name] == pytest.approx(first[plane][name], rel=1e-4)
    assert again["sdiff_gap"] == pytest.approx(first["sdiff_gap"], abs=1e-6)


def test_same_seed_same_result_whatever_the_threads(coslice, svct, tmp_path):
    threads = torch.get_num_threads()
    volumes = {}
    try:
        for name, count, seed in (("a", 1, 5), ("b", 2, 5), ("c", 2, 6)):
            torch.set_num_threads(count)
            options = ["--slices", "4:12", "--size", 16, "--measurement-noise", 0.01, "--seed", seed]
            assert coslice(*svct, *options, "--out", tmp_path / name)[0] == 0
            volumes[name] = read_nifti(tmp_path / name / "reconstruction.nii.gz").data
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(volumes["a"], volumes["b"])
    assert not torch.equal(volumes["a"], volumes["c"])


@pytest.mark.parametrize("method", ["diffusionblend++", "tpdm"])
def test_same_seed_same_result_of_patches_and_of_planes(coslice, scan, prior_files, tmp_path, method):
    arguments = ["reconstruct", scan, "--method", method, *prior_files(method), "--slices", "2:10", "--size", 16]
    volumes = {}
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        out = tmp_path / name
        assert coslice(*arguments, "--steps", 3, "--views", 8, "--seed", seed, "--out", out)[0] == 0
        volumes[name] = read_nifti(out / "reconstruction.nii.gz").data
    assert torch.equal(volumes["a"], volumes["b"]) and not torch.equal(volumes["a"], volumes["c"])


def test_either_beam_scans_and_is_named(coslice, scan, tmp_path):
    out = tmp_path / "out"
    options = ["--task", "lact", "--beam", "parallel", "--views", 15, "--photons", 1e5, "--size", 16]
    code, said, error = coslice("reconstruct", scan, *options, "--method", "sirt", "--out", out)
    assert code == 0, error
    assert "15 parallel-beam views" in said and "FBP" in said and "FDK" not in said
    study = json.loads((out / "run.json").read_text())["study"]
    assert {"task": "lact", "beam": "parallel", "views": 15, "angle": 90.0}.items() <= study.items()
    assert study["geometry"].startswith("ParallelBeam") and study["noise_deviation"] > 0


def test_the_demo_reconstructs_three_times_and_says_how_to_do_so_again(coslice, monkeypatch, tmp_path):
    small = Volume(1300 * torch.rand(9, 16, 16) - 1000, np.diag([4.0, 4.0, 3.0, 1.0]))
    monkeypatch.setattr(coslice_jobs, "embedded_scan", lambda: small)
    monkeypatch.setattr(coslice_jobs, "DEMO_SLICES", (1, 9))
    code, said, error = coslice("demo", "--steps", 1, "--out", tmp_path / "out")
    assert code == 0, error
    assert "DDS + ISCS" in said and "WBlend" in said and "FDK" in said
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert list(metrics) == ["initial", "dds-independent", "dds-iscs", "wblend"]
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    commands = re.search(r'<pre class="command">(.*?)</pre>', page, re.DOTALL)
    scanned = "coslice reconstruct SCAN.nii.gz --slices 1:9"
    assert commands and html.unescape(commands[1]).splitlines() == [
        f"{scanned} --method dds --noise independent --steps 1 --out dds-independent/",
        f"{scanned} --method dds --steps 1 --out dds-iscs/",
        f"{scanned} --steps 1 --out wblend/",
    ]


@pytest.mark.slow
def test_of_a_huge_scan_the_slices_asked_for_are_read_and_nothing_else_changes(coslice, scan, tmp_path, monkeypatch):
    records, volumes = [], []
    for most in (2**27, 100):
        monkeypatch.setattr("coslice.cli.opening.LARGE", most)
        out = tmp_path / str(most)
        code, *_ = coslice("reconstruct", scan, "--method", "cgls", "--slices", "4:13", "--views", "5", "--out", out)
        assert code == 0
        records.append(json.loads((out / "run.json").read_text()))
        volumes.append(read_nifti(out / "reconstruction.nii.gz"))
    assert records[0]["study"] == records[1]["study"] and records[1]["study"]["slices"] == [4, 13]
    assert any("were read and no others" in remark for remark in records[1]["remarks"])
    assert torch.equal(volumes[0].data, volumes[1].data)
    np.testing.assert_allclose(volumes[0].affine, volumes[1].affine, atol=1e-5)
