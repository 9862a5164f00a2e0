"""Volumes as images of SimpleITK, MONAI, TorchIO and nibabel: each voxel at the same millimetre, in all of them."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from itertools import product
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from coslice import SparseViewCT, interop, read_nifti, run, simulate, write_nifti
from coslice.errors import CosliceError
from coslice.volume import Volume
from coslice.window import CT_WINDOW
from elsewhere import library

MM = 1e-5
KINDS = ("simpleitk", "monai", "torchio", "nibabel")
LPS = np.diag([-1.0, -1.0, 1.0])


def placed(axes: tuple[int, int, int], signs: tuple[int, int, int], turn: float, seed: int = 0) -> nibabel.Nifti1Image:
    """An image (i, j, k) of 5 x 7 x 4 voxels whose axes run along `axes`, turned by `turn` rad about two axes."""
    c, s = np.cos(turn), np.sin(turn)
    oblique = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    affine = np.eye(4)
    affine[:3, :3] = oblique @ np.eye(3)[:, list(axes)] @ np.diag(signs) @ np.diag([0.7, 1.3, 2.5])
    affine[:3, 3] = (-31.5, 42.25, 107.125)
    array = np.random.default_rng(seed).normal(size=(5, 7, 4)).astype(np.float32)
    image = nibabel.Nifti1Image(array, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    image.header.set_xyzt_units("mm")
    return image


PLACES = [
    ((0, 1, 2), (1, 1, 1), 0.0),  # canonical
    ((0, 1, 2), (-1, -1, 1), 0.0),  # ITK's own
    ((1, 2, 0), (1, -1, -1), 0.0),  # sagittal, flipped
    ((0, 1, 2), (1, 1, 1), 0.4),  # oblique
    ((2, 0, 1), (-1, 1, -1), -0.3),
    ((1, 0, 2), (-1, -1, -1), 0.2),
]


@pytest.fixture(params=PLACES, ids=str)
def file(request, tmp_path):
    path = tmp_path / "scan.nii.gz"
    nibabel.save(placed(*request.param), path)
    return path


def there(kind: str):
    libraries = {"simpleitk": "SimpleITK", "monai": "monai.data", "torchio": "torchio", "nibabel": "nibabel"}
    library(libraries[kind])
    return getattr(interop, f"to_{kind}"), getattr(interop, f"from_{kind}")


def read_by(kind: str, path) -> Any:
    """The file, by the library itself."""
    if kind == "simpleitk":
        return library("SimpleITK").ReadImage(str(path))
    if kind == "monai":
        load = library("monai.transforms").LoadImage
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of readers that MONAI would like to have
            return load(image_only=True, ensure_channel_first=True)(path)
    return library("torchio").ScalarImage(path) if kind == "torchio" else nibabel.load(path)


def value_at(image, kind: str, point: np.ndarray) -> float:
    """By the library's own arithmetic, the voxel at `point` (R, A, S) in mm."""
    if kind == "simpleitk":
        index = image.TransformPhysicalPointToIndex((LPS @ point).tolist())
        return image.GetPixel(index)
    index = np.linalg.inv(np.array(image.affine)) @ (*point, 1)
    i, j, k = np.rint(index[:3]).astype(int)
    assert np.allclose(index[:3], (i, j, k), atol=1e-3)  # voxels to voxels, none between them
    if kind == "nibabel":
        return float(image.dataobj[i, j, k])
    data = image.data if kind == "torchio" else image.as_tensor()
    return float(data[0, i, j, k])


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_file_has_the_same_voxels_in_the_same_places(kind, file):
    to, back = there(kind)
    volume, image = read_nifti(file), read_by(kind, file)
    ours = to(volume)
    for z, y, x in product((0, 3), (1, 2), (0, 2)):
        z, y, x = z % volume.shape[0], y % volume.shape[1], x % volume.shape[2]
        point = (volume.affine @ (x, y, z, 1.0))[:3]
        assert value_at(image, kind, point) == float(volume.data[z, y, x]) == value_at(ours, kind, point)
    theirs = back(image)
    assert torch.equal(theirs.data, volume.data) and theirs.orientation == volume.orientation
    # ITK takes a qform, whose quaternion is of float32: a few 1e-6 of an axis of 10 mm, and of an origin of 100 mm.
    assert np.allclose(theirs.affine, volume.affine, atol=5e-5 if kind == "simpleitk" else MM)


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back_is_the_same_bit_for_bit_and_on_the_same_grid(kind, file):
    to, back = there(kind)
    volume = read_nifti(file)
    before = volume.data.clone()
    image = to(volume)
    again = back(image)
    assert torch.equal(again.data, volume.data)
    assert np.abs(again.affine - volume.affine).max() <= MM
    assert again.orientation == volume.orientation
    grid: Any = nibabel.load(file)
    if kind == "simpleitk":  # the image lies as the file does
        assert image.GetSize() == grid.shape
        own = read_by(kind, file)
        assert np.allclose(image.GetDirection(), own.GetDirection(), atol=1e-6)
        assert np.allclose(image.GetSpacing(), own.GetSpacing(), atol=1e-6)
        assert np.allclose(image.GetOrigin(), own.GetOrigin(), atol=5e-5)
    else:
        assert np.abs(np.array(image.affine) - grid.affine).max() <= MM
        assert tuple(image.shape)[-3:] == grid.shape
    again.data.zero_()  # memory of its own
    assert torch.equal(volume.data, before) and torch.equal(back(image).data, before)


def test_a_nibabel_image_is_its_file_codes_units_and_scaling_too(tmp_path):
    path = tmp_path / "scaled.nii"
    image = placed((1, 0, 2), (1, -1, 1), 0.0)
    affine = np.array(image.affine)
    affine[:3] *= 1000.0
    stored = nibabel.Nifti1Image(np.arange(140, dtype=np.int16).reshape(5, 7, 4), affine)
    stored.header.set_xyzt_units("micron")
    stored.header.set_slope_inter(0.1, -3.0)
    stored.set_sform(affine, 4)
    shifted = affine.copy()
    shifted[0, 3] += 5000.0
    stored.set_qform(shifted, 2)
    nibabel.save(stored, path)
    read, volume = read_nifti(path), interop.from_nibabel(nibabel.load(path))
    assert torch.equal(read.data, volume.data) and float(read.data.max()) == pytest.approx(10.9)
    assert np.allclose(read.affine, volume.affine, atol=1e-9) and read.space_code == volume.space_code == 4
    assert read.qform is not None and volume.qform is not None and read.qform_code == volume.qform_code == 2
    assert np.allclose(read.qform, volume.qform, atol=1e-9)
    assert np.allclose(volume.spacing, (2.5, 0.7, 1.3), atol=1e-6)
    written = tmp_path / "written.nii"
    write_nifti(read, written)
    on_disk: Any = nibabel.load(written)
    in_memory = interop.to_nibabel(read)
    for key in ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "pixdim", "dim", "xyzt_units", "datatype"):
        assert np.array_equal(in_memory.header[key], on_disk.header[key]), key
    assert np.array_equal(in_memory.get_fdata(), on_disk.get_fdata())


def test_monai_s_lps_and_images_without_a_channel_are_understood():
    data = library("monai.data")
    volume = interop.from_nibabel(placed(*PLACES[4]))
    image = interop.to_monai(volume)
    assert str(image.meta["space"]) == "RAS" and image.shape[0] == 1 and image.affine.dtype == torch.float64
    lps = data.MetaTensor(
        image.as_tensor(), affine=np.diag([-1, -1, 1, 1]) @ image.affine.numpy(), meta={"space": "LPS"}
    )
    for other in (lps, image[0], image.to(torch.float64)):
        again = interop.from_monai(other)
        assert torch.equal(again.data, volume.data) and np.allclose(again.affine, volume.affine, atol=MM)
    # what MONAI does with it: a flip moves the affine along, so the voxels stay in the patient
    flipped = library("monai.transforms").Flip(spatial_axis=1)(image)
    again = interop.from_monai(flipped)
    assert torch.equal(again.data, volume.data) and np.allclose(again.affine, volume.affine, atol=MM)
    assert again.orientation != volume.orientation


def test_a_sheared_scan_stays_where_it_is_in_simpleitk():
    library("SimpleITK")
    affine = np.diag([1.0, 1.5, 2.0, 1.0])
    affine[1, 2], affine[:3, 3] = 0.6, (3.0, -4.0, 50.0)  # the gantry is tilted
    volume = Volume(torch.rand(4, 5, 6), affine, ("L", "P", "S"))
    image = interop.to_simpleitk(volume)
    point = affine @ (2, 1, 3, 1.0)
    assert value_at(image, "simpleitk", point[:3]) == pytest.approx(float(volume.data[3, 1, 2]))
    assert np.allclose(interop.from_simpleitk(image).affine, affine, atol=MM)


def test_a_scan_of_simpleitk_is_reconstructed_and_lies_on_its_grid():
    sitk = library("SimpleITK")
    array = np.random.default_rng(0).uniform(-1000, 600, size=(8, 12, 10)).astype(np.float32)
    scan = sitk.GetImageFromArray(array)
    scan.SetSpacing((2.0, 2.0, 3.0))
    scan.SetDirection((-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
    scan.SetOrigin((10.0, 20.0, -30.0))
    study = simulate(interop.from_simpleitk(scan), SparseViewCT(views=20), CT_WINDOW)
    result = run(study.problem, "cgls")
    image = interop.to_simpleitk(study.volume.with_data(study.window.from_unit(result.reconstruction)))
    # SimpleITK refuses to subtract images that do not lie on each other.
    assert sitk.GetArrayFromImage(image - scan).shape == array.shape
    found = sitk.GetArrayFromImage(image)
    assert np.corrcoef(found.ravel(), array.ravel())[0, 1] > 0.8
    assert all(np.corrcoef(np.flip(found, axis).ravel(), array.ravel())[0, 1] < 0.3 for axis in range(3))
    assert np.array_equal(sitk.GetArrayFromImage(interop.to_simpleitk(study.volume)), array)


def refused(what, *words: str) -> None:
    with pytest.raises(CosliceError) as told:
        what()
    assert all(word in str(told.value) for word in words), told.value


def test_images_that_are_no_single_volume_are_refused_in_words():
    sitk, tio, monai = library("SimpleITK"), library("torchio"), library("monai.data")
    four = sitk.GetImageFromArray(np.zeros((2, 3, 4, 5), np.float32), isVector=False)
    refused(lambda: interop.from_simpleitk(four), "shape (5, 4, 3, 2)", "one 3D volume is needed", "image[:, :, :, 0]")
    assert interop.from_simpleitk(sitk.JoinSeries([four[:, :, :, 1]])).shape == (3, 4, 5)  # one of one
    vector = sitk.GetImageFromArray(np.zeros((3, 4, 5, 2), np.float32), isVector=True)
    refused(lambda: interop.from_simpleitk(vector), "2 components a voxel", "VectorIndexSelectionCast")
    refused(lambda: interop.from_simpleitk(sitk.Image(4, 4, sitk.sitkFloat32)), "shape (4, 4)")
    refused(lambda: interop.from_simpleitk(sitk.Image(4, 4, 4, sitk.sitkComplexFloat32)), "complex64")
    refused(lambda: interop.from_simpleitk(np.zeros((3, 3, 3))), "ndarray was given, but a SimpleITK.Image")
    two = torch.zeros(2, 3, 4, 5)
    refused(lambda: interop.from_torchio(tio.ScalarImage(tensor=two)), "2 channels", "one channel is needed")
    refused(lambda: interop.from_torchio(tio.Subject(a=tio.ScalarImage(tensor=two))), "Subject was given")
    refused(lambda: interop.from_monai(monai.MetaTensor(two)), "2 channels", "image[:1]")
    refused(lambda: interop.from_monai(two), "Tensor was given, but a monai.data.MetaTensor, which knows where it is")
    nib = nibabel.Nifti1Image(np.zeros((3, 4, 5, 2), np.float32), np.eye(4))
    refused(lambda: interop.from_nibabel(nib), "shape (3, 4, 5, 2)", "image.slicer[..., 0]")
    odd = nibabel.Nifti1Image(np.full((3, 4, 5), np.nan, np.float32), np.eye(4))
    refused(lambda: interop.from_nibabel(odd), "60 voxels are NaN or infinite")
    refused(lambda: interop.from_nibabel(nibabel.Nifti1Image(nib.dataobj[..., 0], 1e-5 * np.eye(4) + 0)), "voxel size")


def test_a_library_that_is_not_there_is_named(monkeypatch):
    volume = Volume(torch.zeros(2, 3, 4))
    monkeypatch.setitem(sys.modules, "torchio", None)
    with pytest.raises(CosliceError, match=r"to_torchio: torchio is not installed; pip install torchio\."):
        interop.to_torchio(volume)


def test_axes_may_be_asked_for_in_another_order():
    sitk = library("SimpleITK")
    volume = interop.from_nibabel(placed(*PLACES[2]))
    image = interop.to_simpleitk(replace(volume, orientation=("L", "P", "S")))
    assert np.allclose(image.GetDirection(), np.eye(3).ravel(), atol=1e-9)
    assert sitk.GetArrayFromImage(image).shape == volume.shape


def test_a_header_that_a_file_may_have_is_one_that_an_image_may_have(tmp_path):
    """A unit that NIfTI does not know, and a qform that is no rotation."""
    for name, value in (("xyzt_units", 7), ("quatern_b", 5.0), ("quatern_b", np.nan)):
        image = placed(*PLACES[0])
        image.header[name] = value
        nibabel.save(image, tmp_path / "scan.nii")
        own, found = read_nifti(tmp_path / "scan.nii"), interop.from_nibabel(image)
        assert np.array_equal(found.affine, own.affine) and np.array_equal(found.data, own.data)
        assert (found.qform is None) == (own.qform is None) == (name == "quatern_b")


def test_voxels_of_half_precision_are_taken():
    voxels = torch.rand(1, 3, 4, 5).bfloat16()
    for image, back in (
        (library("monai.data").MetaTensor(voxels), interop.from_monai),
        (library("torchio").ScalarImage(tensor=voxels), interop.from_torchio),
    ):
        assert torch.equal(back(image).data, voxels[0].float().permute(2, 1, 0))


def test_a_label_map_is_refused_and_ends_nothing():
    sitk = library("SimpleITK")
    labels = sitk.Cast(sitk.GetImageFromArray(np.ones((3, 4, 5), np.uint8)), sitk.sitkLabelUInt8)
    refused(lambda: interop.from_simpleitk(labels), "a label map was given", "LabelMapToLabel")
