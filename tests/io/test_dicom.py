"""A DICOM series is the volume of its NIfTI twin, in whatever order and direction it was stored; half of it is none."""

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    MPEG4HP41,
    EnhancedCTImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from coslice.errors import CosliceError
from coslice.io.dicom import dicom_series, is_dicom, read_dicom
from coslice.io.nifti import read_nifti
from dicom_series import SHAPE, STRAIGHT, header, numbers, place, sheared, turned, write_series


def hounsfield(stored: np.ndarray) -> np.ndarray:
    k = np.arange(len(stored))[:, None, None]
    return (stored * (1 + k / 2) - 1024 + k).astype(np.float32)


def twin(path, stored, affine):
    """The NIfTI file of the same volume: array (column, row, slice) and its affine."""
    nibabel.save(nibabel.Nifti1Image(hounsfield(stored).transpose(2, 1, 0), affine), path)
    return read_nifti(path)


AFFINES = {
    "axial": STRAIGHT,
    "tilted": turned(17, 0, turned(-9, 2)),
    "gantry": sheared(15),
    "coronal": turned(90, 0),
    "sagittal": turned(-90, 1, turned(90, 2)),
    "feet first": STRAIGHT @ np.diag((1.0, 1.0, -1.0, 1.0)),
}


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES.keys())
@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (3, 0, 4, 1, 2)], ids=["sorted", "shuffled"])
def test_a_series_is_its_nifti_twin(tmp_path, affine, order):
    stored = numbers()
    volume = read_dicom(write_series(tmp_path / "series", stored, affine, names=order))
    expected = twin(tmp_path / "twin.nii", stored, affine)
    assert np.array_equal(volume.data.numpy(), expected.data.numpy())
    np.testing.assert_allclose(volume.affine, expected.affine, atol=1e-4)


def test_one_file_of_many_frames_is_the_same_volume(tmp_path):
    stored, affine = numbers(), AFFINES["tilted"]
    dataset = header(generate_uid(), EnhancedCTImageStorage)
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = SHAPE
    order = [2, 0, 4, 3, 1]
    groups = []
    for k in order:
        position, directions, _ = place(affine, k)
        group, inner = Dataset(), [Dataset() for _ in range(3)]
        inner[0].ImagePositionPatient = [f"{p:.9f}" for p in position]
        inner[1].ImageOrientationPatient = [f"{d:.9f}" for d in directions]
        inner[2].RescaleSlope, inner[2].RescaleIntercept = 1 + k / 2, -1024 + k
        group.PlanePositionSequence, group.PlaneOrientationSequence = Sequence(inner[:1]), Sequence(inner[1:2])
        group.PixelValueTransformationSequence = Sequence(inner[2:])
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    shared, measures = Dataset(), Dataset()
    measures.PixelSpacing = place(affine, order[-1])[2]
    shared.PixelMeasuresSequence = Sequence([measures])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PixelData = stored[order].tobytes()
    dataset.save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)

    volume = read_dicom((tmp_path / "enhanced.dcm",))
    expected = twin(tmp_path / "twin.nii", stored, affine)
    assert np.array_equal(volume.data.numpy(), expected.data.numpy())
    np.testing.assert_allclose(volume.affine, expected.affine, atol=1e-4)


def test_series_are_kept_apart_and_what_is_no_scan_is_passed_over(tmp_path):
    first, second = sorted(generate_uid() for _ in range(2))
    write_series(tmp_path / "all", numbers(1), series=second)
    write_series(tmp_path / "all", numbers(2), series=first, names=range(10, 15))
    write_series(tmp_path / "all" / "copy", numbers(2), series=first, names=range(5))
    write_series(tmp_path / "scout", numbers(3), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_series(tmp_path / "report", numbers(3), Modality="SEG")
    capture = header(generate_uid(), SecondaryCaptureImageStorage)
    capture.Rows = capture.Columns = 4
    capture.save_as(tmp_path / "screen.dcm", enforce_file_format=True)
    (tmp_path / "notes.txt").write_text("not an image")

    found = dicom_series(tmp_path)
    assert [series.uid for series in found] == [first, second]
    assert {series.modality for series in found} == {"CT"}
    # One person, under a name that is nobody's.
    assert len({series.subject for series in found}) == 1 and "A^B" not in found[0].subject
    with pytest.raises(CosliceError, match="several slices in the same place"):
        read_dicom(found[0].paths)  # its slices were written twice, as different objects
    assert read_dicom(found[1].paths).shape == SHAPE


def test_copies_of_one_object_are_one_slice(tmp_path):
    folder = write_series(tmp_path / "series", numbers())
    (folder / "copy.dcm").write_bytes((folder / "0002.dcm").read_bytes())
    assert read_dicom(folder).shape == SHAPE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "0002.dcm").unlink(), r"5 mm apart \(after slice 2 of 4\) where others are 2.5 mm apart"),
        (lambda f: write_series(f, numbers()[:1, :4], series=uid(f), names=[7]), "mixes slices of 6 x 7 and 4 x 7"),
        (lambda f: write_series(f, numbers()[:1], turned(5, 0), uid(f), [7]), "different directions"),
        (lambda f: edit(f, PixelSpacing=[1, 1]), "pixels of different sizes in mm"),
        (lambda f: edit(f, ImagePositionPatient=None), "0002.dcm does not say where its pixels are"),
        (lambda f: edit(f, RescaleSlope=None), "0002.dcm is CT without a rescale slope"),
        (lambda f: edit(f, PixelData=b"\0\0"), "0002.dcm is damaged or incomplete"),
        (lambda f: [(f / f"000{k}.dcm").unlink() for k in range(1, 5)], "one slice"),
        (lambda f: write_series(f, numbers(), names=range(10, 15)), "holds 2 DICOM series"),
        (lambda f: [path.unlink() for path in f.iterdir()], "holds no DICOM series"),
    ],
    ids=["missing", "sizes", "directions", "spacing", "nowhere", "no slope", "cut", "single", "two", "none"],
)
def test_half_a_series_is_refused(tmp_path, change, message):
    folder = write_series(tmp_path / "series", numbers())
    change(folder)
    with pytest.raises(CosliceError, match=message):
        read_dicom(folder)


def uid(folder):
    return str(pydicom.dcmread(folder / "0000.dcm").SeriesInstanceUID)


def edit(folder, **changes):
    """Change or (None) remove elements of the third file."""
    dataset = pydicom.dcmread(folder / "0002.dcm")
    for name, value in changes.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    if "ImagePositionPatient" in changes:
        dataset.NumberOfFrames = 1
    dataset.save_as(folder / "0002.dcm")


def test_compression_without_a_decoder_is_said(tmp_path):
    folder = write_series(tmp_path / "series", numbers())
    dataset = pydicom.dcmread(folder / "0002.dcm")
    dataset.PixelData = encapsulate([bytes(64)])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = MPEG4HP41
    dataset.save_as(folder / "0002.dcm")
    with pytest.raises(CosliceError, match=r"0002.dcm is compressed \(MPEG-4.*no installed decoder"):
        read_dicom(folder)


def test_the_first_bytes_tell(tmp_path):
    folder = write_series(tmp_path / "series", numbers())
    (tmp_path / "a.dcm").write_bytes(b"short")
    assert is_dicom(folder / "0000.dcm")
    assert not is_dicom(tmp_path / "a.dcm")
    assert not is_dicom(tmp_path / "b.dcm")
