"""Real measurements by the command: from their files to results that open where they belong."""

import json
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch

from coslice.geometry import ConeBeam, Grid, sparse_view
from coslice.io.geometry_files import write_geometry
from coslice.operators import Projector
from dicom_series import write_series

TOOTH = "tests/data/tooth/tooth.h5"


def thick_series(folder):
    """A CT of slices of 4 mm: a box whose HU rise from slice to slice."""
    z, y, x = np.indices((6, 20, 24))
    hu = np.where((abs(y - 9) < 6) & (abs(x - 11) < 8), 40.0 + 3 * z, -1000.0)
    affine = np.diag([-1.0, -1.0, 4.0, 1.0])
    affine[:3, 3] = 12.0, 10.0, -30.0
    stored = (hu + 1024).astype(np.uint16)
    write_series(folder, stored, affine, RescaleIntercept=-1024, RescaleSlope=1, SliceThickness="4")


def opened(folder):
    """A series as SimpleITK sees it."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def test_the_measured_tooth_is_compared_with_all_its_views(coslice, request, tmp_path):
    out, tooth = tmp_path / "out", request.config.rootpath / TOOTH
    told = ("--beam", "parallel", "--rotation-axis", "find", "--views", 7, "--size", 64)
    asked = ("--method", "fdk", "--compare", "sirt", "--reference", "all-views")
    code, said, error = coslice("reconstruct", tooth, *told, *asked, "--out", out)
    assert code == 0, error
    numbers, record = (json.loads((out / f"{name}.json").read_text()) for name in ("metrics", "run"))
    assert numbers["sirt"]["axial"]["psnr"] > numbers["initial"]["axial"]["psnr"] + 3
    assert record["study"]["task"] == "projections" and record["study"]["measured"] is True
    assert record["study"]["reference"] == "FBP of all 21 views" and len(record["residual"]["sirt"]["per_view"]) == 7
    # The terminal calls the file by its name, and what is written does not.
    assert set(record["remarks"]) <= set(said.replace("tooth.h5", "FILE").splitlines())
    assert any("photons" in one for one in record["remarks"]) and "tooth" not in json.dumps(record["remarks"])
    page = (out / "report.html").read_text()
    assert "--rotation-axis find" in page and "--size 64" in page and str(tmp_path) not in page
    assert (out / "reference.nii.gz").is_file() and not (out / "truth.nii.gz").exists()


@pytest.fixture
def rod(tmp_path):
    """Views of a rod of water to the right, front and top of the axis: files of projections and of geometry."""
    grid = Grid((8, 24, 24), (2.0, 2.0, 2.0))
    z, y, x = np.meshgrid(*(grid.axis(name) for name in "zyx"), indexing="ij")
    mu = 0.02 * ((x - 10) ** 2 + (y - 6) ** 2 < 36) * (z > 0)
    geometry = ConeBeam(sparse_view(60), (10, 40), (4.0, 4.0), source_axis=300.0, axis_detector=300.0)
    lines = Projector(geometry, grid).forward(torch.from_numpy(mu).float()).numpy()
    np.save(tmp_path / "lines.npy", lines[:, ::-1, ::-1])  # as a detector stores it that is read from its top right
    write_geometry(geometry, tmp_path / "g.json")
    told = json.loads((tmp_path / "g.json").read_text()) | {"rows": "down", "columns": "left"}
    (tmp_path / "g.json").write_text(json.dumps(told))
    return tmp_path


def test_projections_come_out_in_hu_at_their_place_as_nifti_and_as_dicom(coslice, rod):
    told = ("--geometry", rod / "g.json", "--values", "lines", "--water", 0.02)
    code, _, error = coslice(
        "reconstruct", rod / "lines.npy", *told, "--method", "cgls", "--dicom", "--out", rod / "out"
    )
    assert code == 0, error
    nifti = SimpleITK.ReadImage(str(rod / "out" / "reconstruction.nii.gz"))
    hu, dicom = SimpleITK.GetArrayFromImage(nifti), opened(rod / "out" / "dicom")
    k, j, i = np.nonzero(hu > -400)
    middle = [float(index.mean()) for index in (i, j, k)]
    left, posterior, superior = nifti.TransformContinuousIndexToPhysicalPoint(middle)
    assert (left, posterior) == pytest.approx((-10, -6), abs=1) and 2 < superior < 6
    for point, value in (((-10.0, -6.0, 4.0), 0), ((8.0, 3.0, -5.0), -1000)):
        here, there = (one[one.TransformPhysicalPointToIndex(point)] for one in (nifti, dicom))
        assert here == pytest.approx(value, abs=150) and there == pytest.approx(here, abs=0.1)


def test_thick_dicom_goes_in_and_thin_dicom_comes_out_where_it_was(coslice, tmp_path):
    thick_series(tmp_path / "thick")
    told = ("--task", "zsr", "--from-measurement", "--factor", 4, "--method", "cubic", "--dicom")
    code, said, error = coslice("reconstruct", tmp_path / "thick", *told, "--out", tmp_path / "out")
    assert code == 0, error
    thick, thin = opened(tmp_path / "thick"), opened(tmp_path / "out" / "dicom")
    assert thin.GetSize() == (24, 20, 24) and thin.GetSpacing() == pytest.approx((1, 1, 1), abs=1e-4)
    faces = [one.TransformContinuousIndexToPhysicalPoint((-0.5, -0.5, -0.5)) for one in (thick, thin)]
    np.testing.assert_allclose(*faces, atol=0.01)
    means = SimpleITK.GetArrayFromImage(thin)[:, 9, 11].reshape(6, 4).mean(1)
    assert np.abs(means - SimpleITK.GetArrayFromImage(thick)[:, 9, 11]).max() < 4
    assert "name no patient" in said
    assert b"A^B" not in b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())


def test_several_stacks_are_one_measurement(coslice, tmp_path):
    for name, axis in (("a", 2), ("b", 0)):
        affine, shape = np.eye(4), [18, 18, 18]
        affine[axis, axis], shape[axis] = 3.0, 6
        x, y, z = (index * affine[k, k] for k, index in enumerate(np.indices(shape)))
        array = 100 + 400 * np.exp(-((x - 8) ** 2 + (y - 9) ** 2 + (z - 8) ** 2) / 30)
        nibabel.save(nibabel.Nifti1Image(array.astype(np.float32), affine), tmp_path / f"{name}.nii.gz")
    told = ("--stack", tmp_path / "b.nii.gz", "--task", "zsr", "--from-measurement", "--method", "cgls")
    code, said, error = coslice("reconstruct", tmp_path / "a.nii.gz", *told, "--out", tmp_path / "out")
    assert code == 0, error
    volume: Any = nibabel.load(tmp_path / "out" / "reconstruction.nii.gz")
    assert np.linalg.norm(volume.affine[:3, :3], axis=0) == pytest.approx((1, 1, 1)) and "otion" in said
    i, j, k, _ = np.round(np.linalg.inv(volume.affine) @ (8, 9, 8, 1)).astype(int)
    assert volume.dataobj[i, j, k] == pytest.approx(500, abs=60)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--water", "1"], "taken for a scan"),
        (["--reference", "x.nii"], "has its truth"),
        (["--keep-patient"], "without --dicom"),
        (["--gap", "1"], "--from-measurement"),
        (["--window", "0:5"], "--values any"),
        (["--window", "5"], "LOW:HIGH"),
        (["--compare", "sirt,sirt"], "each once"),
        (["--factor", "2.5", "--task", "zsr"], "whole numbers"),
        (["--from-measurement"], "choose --task zsr"),
    ],
)
def test_options_that_do_not_belong_together_are_refused(refused, scan, tmp_path, options, words):
    assert words in refused("reconstruct", scan, "--method", "sirt", *options, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "nothing says where their rays ran"),
        (["--beam", "cone"], "does not say where its source is"),
        (["--geometry", "g.json", "--beam", "parallel"], "says it already"),
        (["--geometry", "g.json", "--task", "lact"], "taken for measured projections"),
        (["--geometry", "g.json", "--rotation-axis", "left"], "a number is needed, or find"),
        (["--geometry", "g.json", "--binning", "a"], "N or N,M"),
        (["--geometry", "none.json"], "none.json"),
    ],
)
def test_projections_that_cannot_be_used_are_refused(refused, rod, monkeypatch, options, words):
    monkeypatch.chdir(rod)
    assert words in refused("reconstruct", "lines.npy", *options, "--out", "out")
    assert not (rod / "out").exists()
