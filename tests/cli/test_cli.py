"""The command line beside its reconstructions: bad scans and folders, comparisons, and that it is installed."""

import gzip
import json
import subprocess
import sys
from typing import Any

import nibabel
import numpy as np
import pytest


@pytest.fixture
def quick(scan, tiny_prior):
    """Arguments of a reconstruction that takes a second."""
    return ["reconstruct", scan, "--prior", tiny_prior, "--steps", 3, "--views", 8, "--set", "data.iterations=3"]


def altered(tmp_path, name="scan.nii.gz", array=None, pixdim=None):
    image = nibabel.Nifti1Image(np.zeros((32, 32, 16), np.float32) if array is None else array, np.eye(4))
    path = tmp_path / name
    nibabel.save(image, path)
    if pixdim is not None:
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
def test_bad_scans_are_refused_in_one_sentence(refused, tiny_prior, tmp_path, kind):
    out = tmp_path / "out"
    refused("reconstruct", bad_scan(kind, tmp_path), "--prior", tiny_prior, "--out", out)
    assert not out.exists()


def test_output_folders_are_never_filled_by_surprise(coslice, refused, quick, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("keep me")
    assert "not empty" in refused(*quick, "--out", full)
    assert [p.name for p in full.iterdir()] == ["mine.txt"]
    assert coslice(*quick, "--out", full, "--overwrite")[0] == 0
    assert (full / "mine.txt").read_text() == "keep me" and (full / "report.html").exists()
    assert "file" in refused(*quick, "--out", full / "mine.txt")
    assert "cannot be written" in refused(*quick, "--out", full / "mine.txt" / "below")


def test_volumes_on_different_grids_are_not_compared(refused, scan, tmp_path):
    other = altered(tmp_path)
    assert "same grid" in refused("evaluate", scan, other)
    moved = tmp_path / "moved.nii.gz"
    image: Any = nibabel.load(scan)
    affine = image.affine.copy()
    affine[0, 3] += 10
    nibabel.save(nibabel.Nifti1Image(image.get_fdata().astype(np.float32), affine), moved)
    assert "same grid" in refused("evaluate", moved, scan)


@pytest.mark.parametrize("window", ["soft", "", ":", "10:", "200:100", "5:5", "nan:1", "0:inf"])
def test_windows_that_are_none_are_refused(refused, scan, window):
    refused("evaluate", scan, scan, "--window", window)


def test_a_window_says_what_is_compared(coslice, scan, tmp_path):
    """The same error is twice as large in half the window, and unseen where both are clipped."""
    image: Any = nibabel.load(scan)
    array = image.get_fdata().astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(array + 100 * (array == 0), image.affine), tmp_path / "other.nii.gz")

    def psnr(window):
        code, said, error = coslice("evaluate", tmp_path / "other.nii.gz", scan, "--window", window, "--json")
        assert code == 0, error
        return json.loads(said)["axial"]["psnr"]

    assert psnr("-1000:1000") - psnr("-500:500") == pytest.approx(20 * np.log10(2), abs=1e-3)
    assert psnr("200:300") >= 100
    assert psnr("ct") == psnr("-1000:1600")


def test_the_installed_command_answers():
    done = subprocess.run([sys.executable, "-m", "coslice", "--help"], capture_output=True, text=True, check=True)
    assert all(word in done.stdout for word in ("demo", "reconstruct", "evaluate"))
