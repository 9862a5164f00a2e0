"""Good scans are found wherever they lie; a bad one is named; a collection that cannot teach one prior is refused."""

import gzip
from typing import Any

import nibabel
import numpy as np
import pytest
from pydicom.uid import generate_uid

from coslice.errors import CosliceError
from coslice.training.collection.scans import check_directions, find_scans, plane_axes
from dicom_series import numbers, write_series


def save(path, shape=(40, 36, 34), spacing=(1.0, 1.0, 1.0), low=-1000, tilt=0.0, codes="RAS"):
    """A NIfTI scan of noise, (x, y, z), turned about z by `tilt` degrees, stored in the axis order `codes`."""
    values = np.random.default_rng(len(path.name)).integers(low, low + 1500, shape).astype(np.int16)
    affine = np.diag((*spacing, 1.0))
    cosine, sine = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    affine[:2, :2] = np.array([[cosine, -sine], [sine, cosine]]) @ affine[:2, :2]
    image = nibabel.Nifti1Image(values, affine)
    target = nibabel.orientations.axcodes2ornt(codes)
    path.parent.mkdir(parents=True, exist_ok=True)
    turn: Any = nibabel.orientations.ornt_transform(nibabel.io_orientation(affine), target)
    nibabel.save(image.as_reoriented(turn), path)
    return path


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-2000])
    return path


def test_nifti_and_dicom_are_found_to_the_bottom_of_folders_once_each(tmp_path):
    save(tmp_path / "a" / "one.nii.gz")
    save(tmp_path / "a" / "deep" / "er" / "one.nii", codes="LPI", shape=(33, 40, 50))
    write_series(tmp_path / "b" / "ct", numbers())
    (tmp_path / "a" / "notes.txt").write_text("notes")
    (tmp_path / "a" / "round").symlink_to(tmp_path / "a", target_is_directory=True)
    found = find_scans([tmp_path, tmp_path / "a", tmp_path / "a" / "one.nii.gz"])
    assert {(scan.name, scan.kind, scan.shape) for scan in found.scans} == {
        ("one", "nifti", (50, 40, 33)),
        ("one_2", "nifti", (34, 36, 40)),
        ("ct", "dicom", (5, 6, 7)),
    }
    assert found.skipped == ()
    assert all(scan.modality == "CT" for scan in found.scans)
    for scan in found.scans:
        volume = scan.read()
        assert volume.shape == scan.shape and volume.spacing == scan.spacing


def test_several_series_in_one_folder_are_several_scans(tmp_path):
    write_series(tmp_path / "ct", numbers(1), series=generate_uid())
    write_series(tmp_path / "ct", numbers(2), series=generate_uid(), names=range(10, 15))
    found = find_scans([tmp_path])
    assert [scan.name for scan in found.scans] == ["ct", "ct_2"]
    assert found.scans[0].subject == found.scans[1].subject != ""


def test_bad_scans_among_good_ones_are_named_or_refused(tmp_path):
    save(tmp_path / "good.nii.gz")
    cut_short(save(tmp_path / "short.nii.gz"))
    (tmp_path / "text.nii").write_text("no scan")
    (tmp_path / "empty.dcm").touch()
    write_series(tmp_path / "gap", numbers())
    (tmp_path / "gap" / "0002.dcm").unlink()
    found = find_scans([tmp_path])
    assert [scan.name for scan in found.scans] == ["good"]
    assert {skipped.path.name for skipped in found.skipped} == {"short.nii.gz", "text.nii", "empty.dcm", "gap"}
    for skipped in found.skipped:
        assert str(skipped.path) in skipped.reason
    with pytest.raises(CosliceError, match="4 scans cannot be used, the first because: "):
        find_scans([tmp_path], strict=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: None, "No usable scan was found in .*nothing-here"),
        (lambda f: (f / "notes.txt").write_text("x"), "No usable scan"),
        (
            lambda f: cut_short(save(f / "a.nii.gz")),
            r"No usable scan .* \(the first of 1 skipped: .*a.nii.gz is damaged",
        ),
        (lambda f: f.rmdir(), "does not exist"),
        (
            lambda f: (save(f / "a.nii"), save(f / "b.nii", low=0)),
            "different modalities.*a.nii is CT and .*b.nii is MR",
        ),
    ],
    ids=["empty", "no scans", "all bad", "no place", "mixed"],
)
def test_places_without_one_sort_of_scan_are_refused(tmp_path, make, message):
    folder = tmp_path / "nothing-here"
    folder.mkdir()
    make(folder)
    with pytest.raises(CosliceError, match=message):
        find_scans([folder])


def test_a_file_that_is_no_scan_is_refused_when_it_was_asked_for(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(CosliceError, match=r"notes.txt is neither a NIfTI nor a DICOM file"):
        find_scans([tmp_path / "notes.txt"])


def test_known_scans_are_not_read_again_unless_they_changed(tmp_path, monkeypatch):
    path = save(tmp_path / "a.nii.gz")
    found = find_scans([tmp_path])
    known = {scan.stamp: scan for scan in found.scans}
    with monkeypatch.context() as patch:
        patch.setattr("coslice.io.nifti.read_nifti", lambda path: pytest.fail(f"{path} was read"))
        assert find_scans([tmp_path], known=known) == found
    path.write_bytes(gzip.compress(b"damaged"))
    with pytest.raises(CosliceError, match="No usable scan"):
        find_scans([tmp_path], known=known)


@pytest.mark.parametrize(
    ("other", "plane", "message"),
    [
        ({"tilt": 25.0}, "yx", r"b.nii is tilted by 25 degrees"),
        ({"tilt": 15.0}, "yx", None),
        ({"shape": (40, 31, 34)}, "yx", r"b.nii has slices of 31 x 40 pixels in plane yx"),
        ({"shape": (40, 31, 34)}, "zx", None),
        ({"spacing": (1.0, 1.0, 4.0)}, "yx", None),
        ({"spacing": (1.0, 1.0, 4.0)}, "zx", r"different directions: in plane zx, .*b.nii .* 4 x 1 mm and .*a.nii"),
        ({"spacing": (4.0, 1.0, 1.0)}, "yx", r"different directions: in plane yx, .*b.nii .* 1 x 4 mm"),
        ({"spacing": (4.0, 1.0, 1.0), "codes": "SLP"}, "yx", r"different directions: in plane yx, .*b.nii"),
    ],
)
def test_scans_of_different_slice_directions_are_refused_in_the_plane_where_it_matters(tmp_path, other, plane, message):
    save(tmp_path / "a.nii")
    save(tmp_path / "b.nii", **other)
    scans = find_scans([tmp_path]).scans
    if message is None:
        check_directions(scans, plane)
    else:
        with pytest.raises(CosliceError, match=message):
            check_directions(scans, plane)


def test_long_pixels_in_all_scans_are_one_sort(tmp_path):
    for name in "ab":
        save(tmp_path / f"{name}.nii", spacing=(1.0, 1.0, 5.0))
    check_directions(find_scans([tmp_path]).scans, "zx")


def test_a_plane_is_two_axes():
    assert plane_axes("yx") == (0, 1, 2) and plane_axes("zx") == (1, 0, 2) and plane_axes("zy") == (2, 0, 1)
    for wrong in ("xx", "x", "xyz", "ab"):
        with pytest.raises(CosliceError, match="two different axes"):
            plane_axes(wrong)
