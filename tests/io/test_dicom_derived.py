"""A derived series lies where its source lies, holds its values, is a valid object, and tells of nobody."""

import functools
import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from pydicom import config
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import Dataset

from coslice.errors import CosliceError
from coslice.io.dicom import open_dicom, read_dicom, write_dicom
from coslice.io.dicom.carried import TECHNIQUE
from coslice.io.nifti import canonical_volume, read_nifti, write_nifti
from coslice.volume import Volume
from dicom_series import STRAIGHT, moved, numbers, sheared, turned, write_enhanced, write_series

SimpleITK = pytest.importorskip("SimpleITK")
DATA = Path(__file__).parents[1] / "data" / "nifti_forms"
WORDS: dict[str, Any] = {"description": "Prior", "derivation": "A made-up method."}
AFFINES = {
    "axial": STRAIGHT,
    "coronal": turned(90, 0),
    "sagittal": turned(-90, 1, turned(90, 2)),
    "oblique": turned(17, 0, turned(-9, 2)),
    "feet first": STRAIGHT @ np.diag((1.0, 1.0, -1.0, 1.0)),
    "gantry": sheared(15),
}


def itk(folder):
    reader = SimpleITK.ImageSeriesReader()
    (series,) = reader.GetGDCMSeriesIDs(str(folder))
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series))
    return reader.Execute()


def same_place(one, other):
    assert one.GetSize() == other.GetSize()
    for index in np.ndindex(2, 2, 2):
        corner = tuple(i * (n - 1) for i, n in zip(index, one.GetSize(), strict=True))
        apart = np.subtract(one.TransformIndexToPhysicalPoint(corner), other.TransformIndexToPhysicalPoint(corner))
        assert np.abs(apart).max() < 0.01


def datasets(folder):
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES.keys())
def test_in_and_out_again_is_the_same_for_simpleitk(tmp_path, affine, modality):
    source = write_series(tmp_path / "in", numbers(), affine, Modality=modality, RescaleSlope=0.3, SliceThickness=2)
    scan = open_dicom(source)
    unit = "HU" if modality == "CT" else "a.u."
    notes = write_dicom(scan.volume, tmp_path / "out", scan, **WORDS, unit=unit)
    before, after = itk(tmp_path / "in"), itk(tmp_path / "out")
    same_place(before, after)
    # 0.3 * 2999 in 65535 steps of a power of two: 1/64.
    assert f"steps of {1 / 64:.3g} {unit.rstrip('.')}." in notes[0]
    if modality == "CT":  # ITK ignores the source's rescaling of MR, as the standard's module has none
        apart = SimpleITK.GetArrayFromImage(before) - SimpleITK.GetArrayFromImage(after)
        assert np.abs(apart).max() <= 1 / 128 + 1e-4
    again = read_dicom(tmp_path / "out")
    np.testing.assert_allclose(again.affine, scan.volume.affine, atol=1e-4)
    np.testing.assert_allclose(again.data.numpy(), scan.volume.data.numpy(), atol=1 / 128 + 1e-4)
    assert again.orientation == scan.volume.orientation
    stored = SimpleITK.GetArrayFromImage(after)
    assert sorted(set(np.round(stored.ravel(), 3))) == pytest.approx(
        sorted(set(np.round(again.data.numpy().ravel(), 3))), abs=2e-3
    )


@pytest.mark.parametrize(
    ("low", "high", "slope"),
    [(-1024, 3071, 1 / 16), (-1024.0, 3072.5, 1 / 8), (0, 0.05, 2.0**-20), (-1e5, 1e5, 4.0), (3.5, 3.5, None)],
)
def test_values_come_back_to_half_the_smallest_power_of_two_that_holds_them(tmp_path, low, high, slope):
    data = torch.linspace(low, high, 4 * 5 * 6).view(4, 5, 6)
    data[0, 0, 1] = low + (high - low) / math.pi
    write_dicom(Volume(data), tmp_path / "out", **WORDS)
    one = datasets(tmp_path / "out")[0]
    if slope is not None:
        assert float(one.RescaleSlope) == pytest.approx(slope, rel=1e-6)
        assert slope / 2 < (high - low) / 65535 <= slope
    error = (read_dicom(tmp_path / "out").data - data.flip(1, 2).flip(1, 2)).abs().max()
    assert float(error) <= float(one.RescaleSlope) / 2 + 1e-6 * max(abs(low), abs(high))


@pytest.mark.parametrize(("low", "high"), [(-1024, 3071), (-32768, 32767), (0, 65535), (5, 5)])
def test_whole_numbers_come_back_exactly(tmp_path, low, high):
    data = torch.from_numpy(np.random.default_rng(0).integers(low, high, (4, 5, 6), endpoint=True)).float()
    data[0, 0, :2] = torch.tensor([low, high])
    notes = write_dicom(Volume(data), tmp_path / "out", **WORDS)
    assert torch.equal(read_dicom(tmp_path / "out").data, data)
    assert "steps of 1 HU." in notes[0]


@functools.cache
def module_tables():
    """The attributes of the modules that CT and MR images must have: highdicom's tables of the standard."""
    package = importlib.util.find_spec("highdicom")
    if package is None or package.origin is None:
        pytest.skip("needs highdicom's tables")
    tables = Path(package.origin).parent / "_standard"
    return [json.loads((tables / f"{name}.json").read_text()) for name in ("iod_module_map", "module_attribute_map")]


def at(dataset, path):
    """The datasets that `path`, keywords of sequences, leads to."""
    if not path:
        return [dataset]
    return [inner for item in dataset.get(path[0]) or () for inner in at(item, path[1:])]


@pytest.mark.parametrize("source", ["dicom", "enhanced", "nothing"])
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_every_attribute_the_standard_requires_is_there_and_none_is_foreign(tmp_path, modality, source):
    modules, attributes = module_tables()
    scan = None
    if source == "dicom":
        scan = open_dicom(write_series(tmp_path / "in", numbers(), Modality=modality, **everything()))
    elif source == "enhanced":
        order = [2, 0, 4, 3, 1]
        scan = open_dicom(write_enhanced(tmp_path / "in.dcm", numbers()[order], [STRAIGHT] * 5, order))
    volume = scan.volume if scan else Volume(torch.rand(4, 5, 6))
    write_dicom(volume, tmp_path / "out", scan, **WORDS, modality=modality)
    one = datasets(tmp_path / "out")[1]
    present = {element.keyword for element in one}
    known = {"SpacingBetweenSlices", "RescaleSlope", "RescaleIntercept", "RescaleType"}  # in one of the two IODs only
    for module in modules[f"{modality.lower()}-image"]:
        for attribute in attributes[module["key"]]:
            keyword = attribute["keyword"]
            if not attribute["path"]:
                known.add(keyword)
            if module["usage"] != "M" and (attribute["path"] or keyword not in present):
                continue
            for place in at(one, attribute["path"]):
                if attribute["type"] == "1":
                    assert place.get(keyword) not in (None, ""), (module["key"], attribute)
                if attribute["type"] == "2":
                    assert keyword in place, (module["key"], attribute)
    assert present - known - {"PixelData"} <= {"LUTLabel"}
    # What is written is Part 10, and every value within its limits, or pydicom raises.
    config.settings.writing_validation_mode = config.RAISE
    try:
        one.save_as(tmp_path / "again.dcm", enforce_file_format=True)
    finally:
        config.settings.writing_validation_mode = config.WARN


def everything():
    """A header full of words that must not go out, in all elements of text and time that a slice may have."""
    words = {"LO": "SECRET", "SH": "SECRET", "PN": "SECRET^S", "ST": "SECRET", "LT": "SECRET", "UT": "SECRET"}
    words |= {
        "DA": "19771231",
        "TM": "235959.77",
        "DT": "19771231235959",
        "AS": "077Y",
        "AE": "SECRET",
        "UI": "1.77.77",
    }
    kept = {*TECHNIQUE, "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "SpecificCharacterSet"}
    result = {}
    groups = (0x08, 0x10, 0x18, 0x20, 0x32, 0x38, 0x40)
    for tag, (vr, vm, _, retired, keyword) in DicomDictionary.items():
        if tag >> 16 in groups and vr in words and vm.startswith("1") and keyword not in kept and not retired:
            result[keyword] = words[vr]
    result |= {"StudyInstanceUID": "1.2.3.4", "FrameOfReferenceUID": "1.2.3.5", "Manufacturer": "Maker"}
    # Marks of stacks are the same for all slices, but times would be read as such.
    return {name: value for name, value in result.items() if name != "StackID"}


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    folder = write_series(tmp_path_factory.mktemp("full") / "in", numbers(), **everything())
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        block = dataset.private_block(0x0033, "SECRET MAKER", create=True)
        block.add_new(0x01, "LO", "SECRET")
        item = Dataset()
        item.PatientName = "SECRET^S"
        dataset.RequestAttributesSequence = [item]
        dataset.save_as(path)
    return open_dicom(folder)


def test_nobody_is_named_by_default(tmp_path, full):
    assert len(everything()) > 300
    notes = write_dicom(full.volume, tmp_path / "out", full, **WORDS)
    for path in (tmp_path / "out").iterdir():
        content = path.read_bytes()
        for secret in (b"SECRET", b"19771231", b"235959", b"077Y", b"1.77.77"):
            assert secret not in content
    one = datasets(tmp_path / "out")[0]
    assert (one.PatientIdentityRemoved, one.BurnedInAnnotation) == ("YES", "NO")
    assert [code.CodeValue for code in one.DeidentificationMethodCodeSequence] == ["113100", "113110"]
    assert one.PatientID == str(one.PatientName) and one.PatientID.startswith("coslice-")
    assert "name no patient" in notes[1]
    # Two series of one study are of one person.
    write_dicom(full.volume, tmp_path / "second", full, **WORDS)
    assert datasets(tmp_path / "second")[0].PatientID == one.PatientID
    assert datasets(tmp_path / "second")[0].SeriesInstanceUID != one.SeriesInstanceUID


def test_the_patient_is_kept_on_request_in_any_alphabet(tmp_path):
    name = "Müller^Jörg"
    changes: dict[str, Any] = {
        "PatientName": name,
        "PatientBirthDate": "19501231",
        "StudyDate": "20200102",
        "AccessionNumber": "77",
    }
    source = write_series(tmp_path / "in", numbers(), SpecificCharacterSet="ISO_IR 100", **changes)
    scan = open_dicom(source)
    notes = write_dicom(scan.volume, tmp_path / "out", scan, **WORDS, keep_patient=True)
    for one in datasets(tmp_path / "out"):
        assert {key: str(one[key].value) for key in changes} == changes
        assert one.PatientIdentityRemoved == "NO" and one.PatientID == "A^B"
    assert "name the patient" in notes[1]
    assert all("ller" not in path.name for path in (tmp_path / "out").iterdir())


def test_study_and_frame_of_reference_are_kept_and_the_rest_is_new(tmp_path, full):
    write_dicom(full.volume, tmp_path / "out", full, **WORDS)
    out, sources = datasets(tmp_path / "out"), full.stack.slices
    for k, one in enumerate(out):
        assert (one.StudyInstanceUID, one.FrameOfReferenceUID) == ("1.2.3.4", "1.2.3.5")
        assert list(one.ImageType)[:2] == ["DERIVED", "SECONDARY"]
        assert one.DerivationDescription == WORDS["derivation"] and one.SeriesDescription == WORDS["description"]
        near = {source.instance[1] for source in sources[max(k - 1, 0) : k + 2]}
        assert {item.ReferencedSOPInstanceUID for item in one.SourceImageSequence} == near
        (referenced,) = one.ReferencedSeriesSequence
        assert referenced.SeriesInstanceUID == full.series.uid
        equipment = one.ContributingEquipmentSequence[0]
        assert (equipment.Manufacturer, one.Manufacturer) == ("coslice", "Maker")
    assert len({one.SOPInstanceUID for one in out}) == 5
    assert {one.SOPInstanceUID for one in out}.isdisjoint(source.instance[1] for source in sources)
    assert len({one.SeriesInstanceUID for one in out} | {full.series.uid}) == 2
    assert [one.InstanceNumber for one in out] == [1, 2, 3, 4, 5]


def test_thin_slices_from_thick_ones_say_so(tmp_path):
    scan = open_dicom(write_series(tmp_path / "in", numbers(), SliceThickness=2.0, LossyImageCompression="01"))
    fine = scan.volume.with_thin_slices(torch.rand(20, 6, 7), 4)
    write_dicom(fine, tmp_path / "out", scan, **WORDS)
    out = datasets(tmp_path / "out")
    assert {(float(one.SliceThickness), float(one.SpacingBetweenSlices)) for one in out} == {(0.625, 0.625)}
    assert [code.CodeValue for code in out[0].DerivationCodeSequence] == ["RECONSTRUCTION", "113085"]
    assert {one.LossyImageCompression for one in out} == {"01"}
    np.testing.assert_allclose(read_dicom(tmp_path / "out").affine, fine.affine, atol=1e-6)
    # On the source's own slices the source's thickness holds.
    write_dicom(scan.volume, tmp_path / "same", scan, **WORDS)
    assert {float(one.SliceThickness) for one in datasets(tmp_path / "same")} == {2.0}


def test_frames_of_a_source_of_many_are_referenced_by_number(tmp_path):
    order = [2, 0, 4, 3, 1]
    scan = open_dicom(write_enhanced(tmp_path / "in.dcm", numbers()[order], [STRAIGHT] * 5, order))
    write_dicom(scan.volume, tmp_path / "out", scan, **WORDS)
    first = datasets(tmp_path / "out")[0]
    # The lowest slice and its neighbour are frames 2 and 5.
    assert list(first.SourceImageSequence[0].ReferencedFrameNumber) == [2, 5]


@pytest.mark.parametrize("codes", ["RAS", "LPS", "RSA", "AIL"])
def test_without_a_source_the_image_stands_upright_where_the_volume_is(tmp_path, codes):
    affine = turned(12, 1, turned(5, 0, moved(3)))
    volume = canonical_volume(numbers().astype(np.float32).transpose(2, 1, 0), affine)
    volume = Volume(volume.data, volume.affine, tuple(codes))
    write_dicom(volume, tmp_path / "out", **WORDS)
    np.testing.assert_allclose(read_dicom(tmp_path / "out").affine, volume.affine, atol=1e-6)
    assert torch.equal(read_dicom(tmp_path / "out").data, volume.data)
    one = datasets(tmp_path / "out")[0]
    cosines = np.array([float(cosine) for cosine in one.ImageOrientationPatient]).reshape(2, 3)
    for row in cosines:
        axis = int(np.argmax(np.abs(row)))
        # Towards left and posterior; towards the feet where rows run along the body.
        assert row[axis] * (1, 1, -1)[axis] > 0.9
    assert one.StudyInstanceUID and one.Manufacturer == "coslice"


@pytest.mark.parametrize("scan", ["three-decimals", "sform-is-mni"])
def test_a_nifti_scan_becomes_dicom_where_itk_saw_it(tmp_path, scan):
    path = DATA / f"{scan}.nii.gz"
    write_dicom(read_nifti(path), tmp_path / "out", **WORDS)
    before, after = SimpleITK.ReadImage(str(path)), itk(tmp_path / "out")
    for index in np.ndindex(before.GetSize()):
        place = before.TransformIndexToPhysicalPoint(index)
        there = after.TransformPhysicalPointToContinuousIndex(place)
        nearest = tuple(int(n) for n in np.rint(there))
        assert np.abs(np.subtract(after.TransformIndexToPhysicalPoint(nearest), place)).max() < 0.01
        assert after.GetPixel(nearest) == before.GetPixel(index)


@pytest.mark.parametrize("decimals", [3, 6])
def test_rounded_cosines_are_written_at_right_angles(tmp_path, decimals):
    affine = turned(17, 0, turned(-9, 2)).copy()
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    affine[:3, :3] = np.round(affine[:3, :3] / lengths, decimals) * lengths
    volume = canonical_volume(numbers().astype(np.float32).transpose(2, 1, 0), affine)
    write_dicom(volume, tmp_path / "out", **WORDS)
    one = datasets(tmp_path / "out")[0]
    cosines = np.array([float(cosine) for cosine in one.ImageOrientationPatient]).reshape(2, 3)
    np.testing.assert_allclose(cosines @ cosines.T, np.eye(2), atol=1e-11)
    # The pixels are moved by no more than the rounding, about the middle of the slice.
    corners = np.array([(x, y, z, 1) for x in (0, 6) for y in (0, 5) for z in (0, 4)])
    apart = corners @ (read_dicom(tmp_path / "out").affine - volume.affine).T
    assert np.abs(apart).max() < 10 * 0.5 * 10.0**-decimals


def test_what_dicom_cannot_say_is_refused(tmp_path):
    skewed = STRAIGHT.copy()
    skewed[0, 1] = 0.2
    with pytest.raises(CosliceError, match=r"80\.9\d degrees apart|99\.0\d degrees apart"):
        write_dicom(canonical_volume(np.zeros((4, 5, 6)), skewed), tmp_path / "out", **WORDS)
    with pytest.raises(CosliceError, match="1 voxels are NaN"):
        write_dicom(Volume(torch.tensor([[[torch.nan, 1.0]]])), tmp_path / "out", **WORDS)
    with pytest.raises(CosliceError, match="modality PT"):
        write_dicom(Volume(torch.zeros(2, 2, 2)), tmp_path / "out", **WORDS, modality="PT")
    assert not list(tmp_path.iterdir())


def test_a_series_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    volume, out = Volume(torch.rand(4, 5, 6)), tmp_path / "out"
    write = Dataset.save_as

    def full_disk(self, path, **options):
        if Path(path).name == "0003.dcm":
            raise OSError(28, "No space left on device")
        write(self, path, **options)

    monkeypatch.setattr(Dataset, "save_as", full_disk)
    with pytest.raises(CosliceError, match="out cannot be written: no space left"):
        write_dicom(volume, out, **WORDS)
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    write_dicom(volume, out, **WORDS)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(CosliceError, match="not empty"):
        write_dicom(volume, out, **WORDS)
    monkeypatch.setattr(Dataset, "save_as", full_disk)
    with pytest.raises(CosliceError, match="no space left"):
        write_dicom(volume, out, **WORDS, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    monkeypatch.undo()
    write_dicom(volume.slices(0, 2), out, **WORDS, overwrite=True)
    assert [path.name for path in sorted(out.iterdir())] == ["0001.dcm", "0002.dcm"]
    (out / "notes.txt").write_text("mine")
    with pytest.raises(CosliceError, match="not empty"):
        write_dicom(volume, out, **WORDS, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("digits", [3, 4])
def test_cosines_that_were_rounded_leave_everything_where_itk_sees_it(tmp_path, digits):
    """Columns as given, rows put at right angles to them: of pixels this large, half of the error is 0.1 mm."""
    affine = turned(44, 0, turned(43, 1, turned(40, 2))) @ np.diag((30.0, 30.0, 1.0, 1.0))
    directions = np.concatenate([np.diag((-1, -1, 1)) @ affine[:3, c] / np.linalg.norm(affine[:3, c]) for c in (0, 1)])
    write_series(tmp_path / "in", numbers(), affine, ImageOrientationPatient=list(np.round(directions, digits)))
    scan = open_dicom(tmp_path / "in")
    write_dicom(scan.volume, tmp_path / "out", scan, **WORDS)
    write_nifti(scan.volume, tmp_path / "out.nii")
    for result in (itk(tmp_path / "out"), SimpleITK.ReadImage(str(tmp_path / "out.nii"))):
        same_place(itk(tmp_path / "in"), result)
