"""A DICOM series is the volume of its NIfTI twin, in whatever order and direction it was stored; half of it is none."""

import io

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    MPEG4HP41,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from coslice.errors import CosliceError
from coslice.io.dicom import dicom_series, is_dicom, read_dicom, stored_pixels
from coslice.io.nifti import read_nifti
from dicom_series import SHAPE, STRAIGHT, change, header, numbers, sheared, turned, write_enhanced, write_series


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
    order = [2, 0, 4, 3, 1]
    write_enhanced(tmp_path / "enhanced.dcm", stored[order], [affine] * 5, order)
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
    ("spoil", "message"),
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
def test_half_a_series_is_refused(tmp_path, spoil, message):
    folder = write_series(tmp_path / "series", numbers())
    spoil(folder)
    with pytest.raises(CosliceError, match=message):
        read_dicom(folder)


def uid(folder):
    return str(pydicom.dcmread(folder / "0000.dcm").SeriesInstanceUID)


def edit(folder, **changes):
    """Change or (None) remove elements of the third file."""
    if "ImagePositionPatient" in changes:
        changes["NumberOfFrames"] = 1
    change(folder / "0002.dcm", **changes)


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


@pytest.mark.parametrize("implicit", [True, False])
def test_files_without_the_preamble_are_known_by_their_first_elements(tmp_path, implicit):
    folder = write_series(tmp_path / "series", numbers())
    expected = read_dicom(folder)
    for path in folder.iterdir():
        bare = DicomBytesIO()
        bare.is_little_endian, bare.is_implicit_VR = True, implicit
        write_dataset(bare, pydicom.dcmread(path))
        path.write_bytes(bare.getvalue())
    assert np.array_equal(read_dicom(folder).data.numpy(), expected.data.numpy())


@pytest.mark.parametrize(
    "content",
    [
        np.zeros(600, np.uint8).tobytes(),
        np.full(600, 8, np.uint8).tobytes(),
        nibabel.Nifti1Header().binaryblock * 2,
        b"0008,0005 is the first element of many a file of text about DICOM " * 9,
        b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" + bytes(400),
        b"\x08\x00\x05\x00" + b"\xff" * 500,
    ],
    ids=["zeros", "eights", "nifti", "text", "one element", "endless"],
)
def test_other_files_are_no_dicom(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert not is_dicom(tmp_path / "a")


SYNTAXES = ("JPEGLosslessProcess14", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEGLSNearLossless", "RLELossless")
SYNTAXES += ("JPEG2000Lossless", "JPEG2000", "JPEGExtendedProcess2_4", "DeflatedExplicitVRLittleEndian")


@pytest.mark.parametrize("syntax", [*SYNTAXES, "ExplicitVRBigEndian"])
def test_a_compressed_series_is_the_same_volume(tmp_path, syntax):
    gdcm = pytest.importorskip("gdcm")
    stored = (np.indices((2, 16, 16)).sum(0) * 40).astype(np.uint16)
    folder = write_series(tmp_path / "series", stored, BitsStored=12, HighBit=11)
    expected = read_dicom(folder)
    for path in folder.iterdir():
        reader, turned_to, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(path))
        assert reader.Read()
        turned_to.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
        turned_to.SetInput(reader.GetImage())
        assert turned_to.Change()
        writer.SetFile(reader.GetFile())
        writer.SetImage(turned_to.GetOutput())
        writer.SetFileName(str(path))
        assert writer.Write()
    lossy = syntax in ("JPEG2000", "JPEGLSNearLossless", "JPEGExtendedProcess2_4")
    np.testing.assert_allclose(read_dicom(folder).data.numpy(), expected.data.numpy(), atol=6 if lossy else 0)


def test_baseline_jpeg_is_read_to_its_own_loss(tmp_path):
    stored = (np.indices((2, 16, 16)).sum(0) * 5).astype(np.uint16)
    folder = write_series(tmp_path / "series", stored)
    for path, pixels in zip(sorted(folder.iterdir()), stored, strict=True):
        dataset, packed = pydicom.dcmread(path), io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(packed, "jpeg", quality=100)
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        dataset.PixelData = encapsulate([packed.getvalue()])
        dataset["PixelData"].VR = "OB"
        dataset.save_as(path)
    np.testing.assert_allclose(read_dicom(folder).data.numpy()[0], stored[0, ::-1, ::-1] - 1024.0, atol=2)


@pytest.mark.parametrize(("present", "advice"), [(None, r"coslice\[dicom\]"), (object(), "pylibjpeg-libjpeg")])
def test_the_missing_decoder_is_named(tmp_path, monkeypatch, present, advice):
    folder = write_series(tmp_path / "series", numbers())
    monkeypatch.setattr(stored_pixels, "find_spec", lambda name: present)
    monkeypatch.setattr(stored_pixels, "_decodable", lambda syntax: False)
    monkeypatch.setattr(Dataset, "pixel_array", property(lambda self: exec("raise RuntimeError('no decoder')")))
    change(folder / "0000.dcm", PixelData=encapsulate([bytes(64)]))
    dataset = pydicom.dcmread(folder / "0000.dcm")
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.save_as(folder / "0000.dcm")
    with pytest.raises(CosliceError, match=rf"0000.dcm is compressed \(JPEG 2000 .*{advice}"):
        read_dicom(folder)


def test_more_pixels_than_the_data_can_hold_are_refused_before_memory_is_taken(tmp_path):
    folder = write_series(tmp_path / "series", numbers())
    dataset = pydicom.dcmread(folder / "0001.dcm")
    dataset.file_meta.TransferSyntaxUID = RLELossless
    dataset.PixelData = encapsulate([bytes(64)])
    dataset["PixelData"].VR = "OB"
    dataset.Rows = dataset.Columns = 65534
    dataset.save_as(folder / "0001.dcm")
    with pytest.raises(CosliceError, match=r"2 slices of 65534 x 65534\) takes .* on the disk and would fill 32 GB"):
        read_dicom([folder / "0001.dcm", copied(folder / "0001.dcm", 2.5)])


def copied(path, up):
    """The same slice further up, as another object."""
    other = path.with_name("copied.dcm")
    dataset = pydicom.dcmread(path)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.ImagePositionPatient = [*dataset.ImagePositionPatient[:2], float(dataset.ImagePositionPatient[2]) + up]
    dataset.save_as(other)
    return other
