"""A result lies where its scan lay, for programs that believe the sform and for ITK's, that believe the qform."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

from coslice.errors import CosliceError
from coslice.io.nifti import read_nifti, write_nifti
from coslice.volume import Volume

SimpleITK = pytest.importorskip("SimpleITK")
DATA = Path(__file__).parents[1] / "data" / "nifti_forms"
SCANS = ("three-decimals", "sform-is-mni")
CORNERS = [(x, y, z) for x in (0, 5) for y in (0, 7) for z in (0, 3)]


def loaded(path) -> Any:
    return nibabel.load(path)


def forms(path):
    header = loaded(path).header
    return *header.get_sform(coded=True), *header.get_qform(coded=True)


def places(path, indices):
    image = SimpleITK.ReadImage(str(path))
    return np.array([image.TransformIndexToPhysicalPoint(tuple(map(int, index))) for index in indices])


def in_axes(codes, scan, path):
    """The scan stored in another axis order, both forms with it."""
    image = loaded(DATA / f"{scan}.nii.gz")
    turn = ornt_transform(axcodes2ornt(("R", "A", "S")), axcodes2ornt(codes))
    back = inv_ornt_aff(turn, image.shape)
    sform, sform_code, qform, qform_code = forms(DATA / f"{scan}.nii.gz")
    turned = nibabel.Nifti1Image(apply_orientation(np.asanyarray(image.dataobj), turn), sform @ back)
    turned.set_sform(sform @ back, int(sform_code))
    turned.set_qform(qform @ back, int(qform_code))
    nibabel.save(turned, path)
    return path


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA"])
def test_both_forms_come_back_with_their_codes(tmp_path, scan, codes):
    path = in_axes(tuple(codes), scan, tmp_path / "in.nii")
    write_nifti(read_nifti(path), tmp_path / "out.nii")
    for given, written in zip(forms(path), forms(tmp_path / "out.nii"), strict=True):
        np.testing.assert_allclose(written, given, atol=1e-4)
    np.testing.assert_allclose(places(tmp_path / "out.nii", CORNERS), places(path, CORNERS), atol=0.01)


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR"])
def test_a_cut_lies_where_itk_saw_it(tmp_path, scan, codes):
    path = in_axes(tuple(codes), scan, tmp_path / "in.nii")
    volume = read_nifti(path)
    # Every voxel of its own value, so that a place is known by what is there.
    volume = volume.with_data(torch.arange(volume.data.numel(), dtype=torch.float32).view(volume.shape))
    write_nifti(volume, tmp_path / "whole.nii")
    write_nifti(volume.slices(2, 6).padded((9, 15, 17), -1.0).cropped((3, 9, 11)), tmp_path / "cut.nii")
    whole = SimpleITK.ReadImage(str(tmp_path / "whole.nii"))
    cut = SimpleITK.ReadImage(str(tmp_path / "cut.nii"))
    for index in np.ndindex(cut.GetSize()):
        there = whole.TransformPhysicalPointToContinuousIndex(cut.TransformIndexToPhysicalPoint(index))
        nearest = tuple(int(n) for n in np.rint(there))
        assert np.abs(np.subtract(there, nearest)).max() < 1e-3
        assert cut.GetPixel(index) == whole.GetPixel(nearest)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.slices(1, 4),
        lambda v: v.resized((5, 9)),
        lambda v: v.resampled((1.5, 3.0, 9.0)),
        lambda v: v.thickened(2.3),
        lambda v: v.padded((9, 16, 15)),
        lambda v: v.cropped((3, 7, 8)),
        lambda v: v.with_thick_slices(torch.zeros(3, 12, 14), 3),
        lambda v: v.with_thin_slices(torch.zeros(16, 12, 14), 2),
        lambda v: v.with_data(v.data + 1),
    ],
)
@pytest.mark.parametrize("scan", SCANS)
def test_the_qform_moves_as_an_affine_in_its_place_would(scan, change):
    volume = read_nifti(DATA / f"{scan}.nii.gz")
    # The index map of a change depends on the spacing, which is that of the affine.
    scaled = volume.affine @ np.diag((1 / 3, 1, 1, 1)) @ np.diag((3.0, 1, 1, 1))
    twin = Volume(volume.data, scaled, qform=volume.affine, qform_code=1)
    np.testing.assert_allclose(change(twin).qform, change(volume).affine, atol=1e-9)
    # And of any other form it keeps the relation: Q' = Q M^-1 M'.
    after = change(volume)
    assert volume.qform is not None
    np.testing.assert_allclose(after.qform, volume.qform @ np.linalg.inv(volume.affine) @ after.affine, atol=1e-9)
    assert (after.qform_code, after.space_code) == (volume.qform_code, volume.space_code)


@pytest.mark.parametrize(("sform_code", "qform_code"), [(1, 0), (0, 1), (2, 3), (4, 1)])
def test_codes_come_back_one_by_one(tmp_path, sform_code, qform_code):
    affine = np.diag((2.0, 2.5, 3.0, 1.0))
    affine[:3, 3] = -10, 20, 30
    image = nibabel.Nifti1Image(np.zeros((3, 4, 5), np.float32), affine)
    image.set_sform(affine, sform_code)
    image.set_qform(affine, qform_code)
    nibabel.save(image, tmp_path / "in.nii")
    write_nifti(read_nifti(tmp_path / "in.nii").slices(1, 4), tmp_path / "out.nii")
    header = loaded(tmp_path / "out.nii").header
    assert int(header["sform_code"]) == sform_code
    # A scan without a qform gets that of its sform: programs that know only qforms find it, in the same place.
    assert int(header["qform_code"]) == (qform_code or sform_code)
    np.testing.assert_allclose(
        places(tmp_path / "out.nii", [(0, 0, 0)]), places(tmp_path / "in.nii", [(0, 0, 1)]), atol=1e-4
    )


@pytest.mark.parametrize("decimals", [3, 4, 6])
@pytest.mark.parametrize("seed", range(3))
def test_rounded_cosines_without_a_qform_are_opened_by_itk(tmp_path, decimals, seed):
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = np.round(turn, decimals) * (0.8, 0.9, 2.0)
    volume = Volume(torch.zeros(30, 40, 50), affine)
    write_nifti(volume, tmp_path / "out.nii")
    corners = [(x, y, z) for x in (0, 49) for y in (0, 39) for z in (0, 29)]
    expected = (np.array([(*corner, 1) for corner in corners]) @ affine.T)[:, :3] * (-1, -1, 1)
    # As far off as the rounding itself: half a unit of the last place for each voxel's step.
    np.testing.assert_allclose(places(tmp_path / "out.nii", corners), expected, atol=100 * 0.5 * 10.0**-decimals)


@pytest.mark.parametrize(("degrees", "told"), [(0.1, True), (0.5, False), (12, False)])
def test_only_a_true_shear_has_no_qform(tmp_path, degrees, told):
    affine = np.eye(4)
    affine[1, 2] = np.tan(np.radians(degrees))
    write_nifti(Volume(torch.zeros(3, 4, 5), affine), tmp_path / "out.nii")
    assert (int(loaded(tmp_path / "out.nii").header["qform_code"]) > 0) == told


@pytest.mark.parametrize("quaternion", [(2.0, 0.0, 0.0), (np.nan, 0.0, 0.0)])
def test_a_senseless_qform_beside_an_sform_is_left_out(tmp_path, quaternion):
    image = nibabel.Nifti1Image(np.zeros((3, 4, 5), np.float32), np.eye(4))
    nibabel.save(image, tmp_path / "in.nii")
    content = bytearray((tmp_path / "in.nii").read_bytes())
    header = nibabel.Nifti1Header(bytes(content[:348]), check=False)
    header["qform_code"] = 1
    header["quatern_b"], header["quatern_c"], header["quatern_d"] = quaternion
    content[:348] = header.binaryblock
    (tmp_path / "in.nii").write_bytes(bytes(content))
    volume = read_nifti(tmp_path / "in.nii")
    assert volume.qform is None and volume.qform_code == 0
    np.testing.assert_allclose(volume.affine, np.eye(4))


@pytest.mark.parametrize("qform", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.diag((1.0, 1.0, 0.0, 1.0))])
def test_a_volume_with_a_qform_that_is_none_is_refused(qform):
    with pytest.raises(CosliceError, match="the qform"):
        Volume(torch.zeros(2, 2, 2), qform=qform)
