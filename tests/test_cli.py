"""The command line: what it leaves behind, that seeds decide, and how it refuses."""

import json
import subprocess
import sys

import nibabel
import numpy as np
import pytest
import torch

from coslice.io.nifti import read_nifti


@pytest.fixture
def quick(scan, tiny_prior):
    """Arguments of a reconstruction that takes a second."""
    return ["reconstruct", scan, "--prior", tiny_prior, "--steps", 3, "--views", 8, "--cg-iterations", 3]


def test_a_reconstruction_leaves_everything_promised(coslice, quick, scan, tmp_path):
    out = tmp_path / "out"
    code, said, _ = coslice(*quick, "--slices", "2:14", "--out", out)
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
    original = nibabel.load(scan)
    for name in ("reconstruction", "initial", "truth"):
        image = nibabel.load(out / f"{name}.nii.gz")
        assert nibabel.aff2axcodes(image.affine) == nibabel.aff2axcodes(original.affine)
        np.testing.assert_allclose(image.affine @ (0, 0, 0, 1), original.affine @ (0, 0, 2, 1), atol=1e-4)
        assert image.shape == (32, 32, 12)
    np.testing.assert_array_equal(nibabel.load(out / "truth.nii.gz").get_fdata(), original.get_fdata()[:, :, 2:14])
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


def test_evaluate_repeats_the_numbers_of_the_run(coslice, quick, tmp_path):
    out = tmp_path / "out"
    assert coslice(*quick, "--out", out)[0] == 0
    code, said, _ = coslice("evaluate", out / "reconstruction.nii.gz", out / "truth.nii.gz", "--json")
    assert code == 0
    again, first = json.loads(said), json.loads((out / "metrics.json").read_text())["reconstruction"]
    for plane in ("axial", "coronal", "sagittal"):
        for name in ("psnr", "ssim"):
            assert again[plane][name] == pytest.approx(first[plane][name], rel=1e-4)
    assert again["sdiff_gap"] == pytest.approx(first["sdiff_gap"], abs=1e-6)


def test_same_seed_same_result_whatever_the_threads(coslice, quick, tmp_path):
    threads = torch.get_num_threads()
    volumes = {}
    try:
        for name, count, seed in (("a", 1, 5), ("b", 2, 5), ("c", 2, 6)):
            torch.set_num_threads(count)
            assert coslice(*quick, "--seed", seed, "--out", tmp_path / name)[0] == 0
            volumes[name] = read_nifti(tmp_path / name / "reconstruction.nii.gz").data
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(volumes["a"], volumes["b"])
    assert not torch.equal(volumes["a"], volumes["c"])


@pytest.mark.parametrize(
    ("options", "title"),
    [
        (["--method", "fdk"], "FDK"),
        (["--method", "sirt", "--sirt-iterations", 5], "SIRT"),
        (["--method", "cgls"], "CGLS"),
        (["--method", "admm-tv"], "ADMM-TV"),
        (["--method", "ddnm", "--sirt-iterations", 3], "DDNM + ISCS"),
        (["--noise", "identical"], "DDS + BCS"),
        (["--noise", "independent", "--eta", 0.5], "DDS"),
        (["--task", "lact", "--angle", 90, "--views", 10], "DDS + ISCS"),
        (["--start-from", "noise", "--anchor-angle", 60, "--gamma", 5], "DDS + ISCS"),
        (["--size", 16], "DDS + ISCS"),
    ],
)
def test_every_method_noise_and_task_runs(coslice, quick, tmp_path, options, title):
    code, said, error = coslice(*quick, *options, "--out", tmp_path / "out")
    assert code == 0, error
    assert title in said
    assert np.isfinite(nibabel.load(tmp_path / "out" / "reconstruction.nii.gz").get_fdata()).all()


def altered(tmp_path, name="scan.nii.gz", array=None, pixdim=None):
    image = nibabel.Nifti1Image(np.zeros((32, 32, 16), np.float32) if array is None else array, np.eye(4))
    path = tmp_path / name
    nibabel.save(image, path)
    if pixdim is not None:
        import gzip

        raw = bytearray(gzip.decompress(path.read_bytes()))
        raw[76 + 12 : 76 + 16] = np.float32(pixdim).tobytes()
        path.write_bytes(gzip.compress(bytes(raw)))
    return path


def bad_scan(kind, tmp_path):
    if kind == "text":
        (tmp_path / "scan.nii.gz").write_text("not a scan")
        return tmp_path / "scan.nii.gz"
    if kind in ("nan", "inf"):
        array = np.zeros((32, 32, 16), np.float32)
        array[3, 4, 5] = float(kind)
        return altered(tmp_path, array=array)
    if kind in ("2D", "4D"):
        return altered(tmp_path, array=np.zeros((32, 32) if kind == "2D" else (32, 32, 16, 3), np.float32))
    if kind in ("zero", "negative"):
        return altered(tmp_path, pixdim=0.0 if kind == "zero" else -2.0)
    return tmp_path / "nowhere.nii.gz"


@pytest.mark.parametrize("kind", ["text", "nan", "inf", "2D", "4D", "zero", "negative", "missing"])
def test_bad_scans_are_refused_in_one_sentence(coslice, tiny_prior, tmp_path, kind):
    out = tmp_path / "out"
    refused(coslice("reconstruct", bad_scan(kind, tmp_path), "--prior", tiny_prior, "--out", out))
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--slices", "5:5"], "16 slices"),
        (["--slices", "10:17"], "16 slices"),
        (["--slices", "-3:4"], "16 slices"),
        (["--slices", "ten"], "FIRST:LAST"),
        (["--views", 0], "0 views"),
        (["--views", -4], "-4 views"),
        (["--method", "magic"], "methods are dds"),
        (["--noise", "pink"], "strategies are independent"),
        (["--task", "pet"], "tasks are svct"),
        (["--prior", "mr-of-mars"], "neither an embedded prior"),
        (["--task", "lact", "--angle", 0], "0 degrees"),
        (["--angle", 90], "leave --angle out"),
        (["--size", 2], "at least 4 x 4"),
        (["--size", 0], "positive number"),
        (["--steps", 0], "0 steps"),
        (["--eta", 1.5], "eta 1.5"),
        (["--sigma-min", 0], "sigma_min"),
        (["--sigma-max", 100], "trained for"),
        (["--cg-iterations", 0], "at least 1"),
        (["--gamma", -1], "positive"),
        (["--anchor-angle", 180], "between 0 and 180"),
        (["--start-from", "middle"], "initial"),
        (["--device", "toaster"], "toaster"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(coslice, quick, tmp_path, options, words):
    out = tmp_path / "out"
    error = refused(coslice(*quick, *options, "--out", out))
    assert words in error
    assert not out.exists()


def test_output_folders_are_never_filled_by_surprise(coslice, quick, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("keep me")
    assert "not empty" in refused(coslice(*quick, "--out", full))
    assert [p.name for p in full.iterdir()] == ["mine.txt"]
    assert coslice(*quick, "--out", full, "--overwrite")[0] == 0
    assert (full / "mine.txt").read_text() == "keep me" and (full / "report.html").exists()
    assert "file" in refused(coslice(*quick, "--out", full / "mine.txt"))
    assert "cannot be written" in refused(coslice(*quick, "--out", full / "mine.txt" / "below"))


def test_volumes_on_different_grids_are_not_compared(coslice, scan, tmp_path):
    other = altered(tmp_path)
    assert "same grid" in refused(coslice("evaluate", scan, other))
    moved = tmp_path / "moved.nii.gz"
    image = nibabel.load(scan)
    affine = image.affine.copy()
    affine[0, 3] += 10
    nibabel.save(nibabel.Nifti1Image(image.get_fdata().astype(np.float32), affine), moved)
    assert "same grid" in refused(coslice("evaluate", moved, scan))


def refused(answer):
    code, _, error = answer
    assert code == 2
    lines = [line for line in error.strip().splitlines() if line]
    assert len(lines) == 1 and lines[0].startswith("coslice: ") and "Traceback" not in error
    return error


def test_the_installed_command_answers():
    done = subprocess.run([sys.executable, "-m", "coslice", "--help"], capture_output=True, text=True, check=True)
    assert all(word in done.stdout for word in ("demo", "reconstruct", "evaluate"))
