"""Numbers that are not what they seem, at the command line: refused before any work, or put right and said."""

import json

import numpy as np
import pytest

from coslice.data import embedded_scan
from coslice.io.dicom import read_dicom
from coslice.io.nifti import read_nifti, write_nifti
from dicom_series import write_series


@pytest.fixture(scope="module")
def chest():
    """Eight slices of the chest that comes along, 32 x 32, HU."""
    return embedded_scan().slices(20, 28).resized(32)


@pytest.fixture
def saved(tmp_path):
    def save(volume, change=lambda data: data):
        path = tmp_path / "scan.nii.gz"
        write_nifti(volume.with_data(change(volume.data)), path)
        return path

    return save


def quick(path, *options, out):
    return ["reconstruct", path, "--method", "sirt", "--views", 4, "--set", "solution.iterations=2", *options] + [
        "--out",
        out,
    ]


def everywhere(said, out):
    """What the terminal, the record and the page say."""
    record = json.loads((out / "run.json").read_text())
    page = (out / "report.html").read_text("utf-8")
    assert record["remarks"] and all(remark in " ".join(said.split("\n")) for remark in record["remarks"])
    assert all(remark.split("'")[0] in page for remark in record["remarks"])
    return record


@pytest.mark.parametrize(
    ("change", "option"),
    [
        (lambda hu: ((hu + 1000) / 2600).clamp(0, 1), "0:1=-1000:1600"),
        (lambda hu: (255 * (hu + 1000) / 2600).clamp(0, 255).round(), "0:255=-1000:1600"),
        (lambda hu: 0.2 * (1 + hu / 1000).clamp(min=0), "mu/cm:"),
    ],
)
def test_other_numbers_are_refused_before_a_folder_is_made(refused, saved, chest, tmp_path, change, option):
    sentence = refused(*quick(saved(chest, change), out=tmp_path / "out"))
    assert "0 to" in sentence and "HU" in sentence and f"--values {option}" in sentence
    assert not (tmp_path / "out").exists()


def test_a_single_slice_is_measured_and_has_no_neighbours(coslice, tmp_path, chest):
    thin = chest.slices(0, 1)
    for name, volume in (("truth", thin), ("mine", thin.with_data(thin.data + 26))):
        write_nifti(volume, tmp_path / f"{name}.nii.gz")
    code, said, error = coslice("evaluate", tmp_path / "mine.nii.gz", tmp_path / "truth.nii.gz", "--protocol", "tpdm")
    assert code == 0, error
    seen = [((volume.data + 1000) / 2600).clamp(0, 1) for volume in (thin, thin.with_data(thin.data + 26))]
    assert "SDiff of the truth -;" in said
    assert f"{-10 * float((seen[0] - seen[1]).square().mean().log10()):.2f}" in said


def test_what_is_said_of_the_numbers_is_done_and_recorded(coslice, saved, chest, tmp_path):
    out, said = tmp_path / "out", "mu/cm:0.2"
    scan = saved(chest, lambda hu: 0.2 * (1 + hu / 1000).clamp(min=0))
    code, printed, error = coslice(*quick(scan, "--values", said, out=out))
    assert code == 0, error
    np.testing.assert_allclose(read_nifti(out / "truth.nii.gz").data, chest.data.clamp(min=-1000), atol=0.2)
    record = everywhere(printed, out)
    assert record["study"]["values"] == said and f"--values {said}" in (out / "report.html").read_text("utf-8")


def test_hu_and_1024_are_hu_and_metal_is_counted_in_all_places(coslice, saved, chest, tmp_path):
    hu = chest.data.clone()
    hu[2:5, 14:16, 14:16] = 8000
    hu[:, 0, :] = -3024
    out = tmp_path / "out"
    code, said, error = coslice(*quick(saved(chest, lambda _: hu + 1024), out=out))
    assert code == 0, error
    np.testing.assert_allclose(read_nifti(out / "truth.nii.gz").data, hu, atol=1e-3)
    record = everywhere(said, out)
    taken_off, above = record["remarks"]
    assert "1024 was taken off" in taken_off and record["study"]["values"] == "hu+1024"
    assert "12 voxels" in above and "8000 HU" in above and "3024" not in above


def test_mr_is_refused_for_a_task_of_ct_and_a_ct_for_a_prior_of_mr(
    refused, saved, head, chest, tiny_prior, tiny_coronal_prior, tmp_path
):
    out = tmp_path / "out"
    assert "--task zsr" in refused("reconstruct", head, "--prior", tiny_prior, "--out", out)
    sentence = refused(
        "reconstruct", saved(chest), "--task", "zsr", "--factor", 2, "--prior", tiny_coronal_prior, "--out", out
    )
    assert "--prior ct-coronal" in sentence and not out.exists()


def test_thick_slices_of_a_ct_are_simulated_with_the_prior_of_a_ct(coslice, saved, chest, tmp_path):
    out = tmp_path / "out"
    code, _, error = coslice("reconstruct", saved(chest), "--task", "zsr", "--factor", 2, "--steps", 2, "--out", out)
    assert code == 0, error
    record = json.loads((out / "run.json").read_text())
    assert [card["name"] for card in record["priors"]] == ["ct-coronal"]
    assert "The scan is a CT, so the prior is ct-coronal." in record["remarks"]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_an_empty_volume_does_not_look_good(coslice, refused, chest, tmp_path, suffix):
    unit, empty = tmp_path / f"truth{suffix}", tmp_path / f"zeros{suffix}"
    scaled = chest.with_data(((chest.data + 1000) / 2600).clamp(0, 1))
    write_nifti(scaled, unit)
    write_nifti(chest.with_data(0 * chest.data), empty)
    sentence = refused("evaluate", empty, unit)
    assert "--window 0:1" in sentence and "0.0" in sentence
    code, said, error = coslice("evaluate", empty, unit, "--window", "0:1", "--json")
    numbers = json.loads(said)
    assert code == 0 and numbers["axial"]["psnr"] < 15 and "in every voxel" in error
    assert numbers["window"] == {"low": 0.0, "high": 1.0, "unit": ""} and len(numbers["remarks"]) == 1
    code, said, _ = coslice("evaluate", unit, unit, "--window", "0:1")
    assert code == 0 and "Window: 0 to 1" in said and "Protocol unit: data range 1" in said


def test_each_file_is_said_what_it_is_and_the_numbers_say_how_they_were_taken(coslice, refused, chest, saved, tmp_path):
    unit, whole = tmp_path / "unit.nii.gz", saved(chest)
    write_nifti(chest.with_data(((chest.data + 1000) / 2600).clamp(0, 1)), unit)
    assert "not in one unit" in refused("evaluate", unit, whole)
    halves = ("--values", "0:1=-1000:1600", "--values", "hu")
    code, said, error = coslice("evaluate", unit, whole, *halves, "--protocol", "iscs", "--json")
    numbers, seen = json.loads(said), ((chest.data + 1000) / 2600).clamp(0, 1)
    assert code == 0 and "turned into HU" in error and numbers["axial"]["psnr"] > 90
    assert numbers["protocol"] == "iscs" and numbers["window"]["unit"] == "HU"
    assert numbers["data_range"] == pytest.approx(float(seen.max() - seen.min()), abs=1e-6)
    assert numbers["values"]["truth"] == [float(chest.data.min()), float(chest.data.max())]
    assert "3 times" in refused("evaluate", unit, unit, *("--values", "hu") * 3)
    known = "unit, iscs, tpdm, diffusionblend, dm4ct, dm4ct-rocks"
    assert known in refused("evaluate", unit, unit, "--protocol", "paper")


def test_values_beyond_the_window_count_in_iscs_and_are_cut_in_ours(coslice, chest, saved, tmp_path):
    """ISCS's script clips the truth and not what it measures."""
    write_nifti(chest.with_data(chest.data.clamp(-1000, 1600) - 260.0), tmp_path / "low.nii.gz")
    whole, found = saved(chest), {}
    for protocol in ("unit", "iscs"):
        options = ("--window", "-1000:1600", "--protocol", protocol, "--json")
        code, said, error = coslice("evaluate", tmp_path / "low.nii.gz", whole, *options)
        assert code == 0, error
        found[protocol] = json.loads(said)
    assert found["iscs"]["axial"]["psnr"] == pytest.approx(20 + 20 * np.log10(found["iscs"]["data_range"]), abs=1e-3)
    assert found["unit"]["axial"]["psnr"] > 20.5


def test_dicom_is_compared_as_nifti_is(coslice, chest, tmp_path):
    stored = (chest.data.numpy() + 1024).round().astype(np.uint16)
    write_series(tmp_path / "series", stored, RescaleSlope="1", RescaleIntercept="-1024")
    write_nifti(read_dicom(tmp_path / "series"), tmp_path / "same.nii.gz")
    for one, other in (("series", "same.nii.gz"), ("same.nii.gz", "series"), ("series", "series")):
        code, said, error = coslice("evaluate", tmp_path / one, tmp_path / other, "--json")
        assert code == 0 and not error, error
        assert json.loads(said)["axial"]["psnr"] == 100
