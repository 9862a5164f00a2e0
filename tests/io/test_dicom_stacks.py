"""Stacks in one series are told apart by their own marks, or refused by name; what headers claim against the positions
is said."""

from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from coslice.errors import CosliceError
from coslice.io.dicom import choose_series, dicom_series, find_series, open_dicom, read_dicom
from coslice.training.collection.scans import find_scans
from dicom_series import STRAIGHT, change, moved, numbers, sheared, turned, write_enhanced, write_series

MARKS = {
    "AcquisitionNumber": (1, 2),
    "EchoNumbers": (1, 2),
    "EchoTime": (4.6, 9.2),
    "TemporalPositionIdentifier": (1, 2),
    "DiffusionBValue": (0.0, 1000.0),
    "ImageType": (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]),
    "ConvolutionKernel": ("B30f", "B70f"),
    "InversionTime": (100, 900),
    "KVP": (80, 140),
    "SliceThickness": (2.5, 5),
    "FrameOfReferenceUID": ("1.2.3", "1.2.4"),
    "ContentTime": ("100000", "100500.25"),
}


def two(folder, first, second, up=0.0, **common):
    """Two stacks in one series, the second `up` mm above the first."""
    series = generate_uid()
    write_series(folder, numbers(1), series=series, **{**common, **first})
    write_series(folder, numbers(2), moved(up), series=series, names=range(10, 15), **{**common, **second})
    return folder


def alone(folder, seed, up=0.0):
    return read_dicom(write_series(folder, numbers(seed), moved(up))).data.numpy()


@pytest.mark.parametrize(
    ("mark", "up"),
    [*((mark, 1.25) for mark in MARKS), ("EchoTime", 0.0), ("ContentTime", 0.0), ("ImageType", 0.7), ("KVP", 12.5)],
)
def test_two_stacks_in_one_series_are_two_unless_one_continues_the_other(tmp_path, mark, up):
    first, second = ({mark: value} for value in MARKS[mark])
    folder = two(tmp_path / "series", {"SliceThickness": 2.5, **first}, {"SliceThickness": 2.5, **second}, up)
    found = dicom_series(folder)
    if up == 12.5:
        # Blocks one above the other are one scan, as of a table that moved on.
        assert [series.slices for series in found] == [10]
        return
    assert [series.slices for series in found] == [5, 5]
    assert all(series.part.startswith(mark) for series in found)
    with pytest.raises(CosliceError, match=f"holds 2 stacks of images in one DICOM series.*{mark}.*{mark}"):
        read_dicom(folder)
    expected = [alone(tmp_path / "first", 1), alone(tmp_path / "second", 2, up)]
    for series, values in zip(found, expected, strict=True):
        assert np.array_equal(read_dicom(series.paths).data.numpy(), values)
    assert np.array_equal(read_dicom(folder, found[1].part).data.numpy(), expected[1])


def test_training_takes_each_stack_as_a_scan(tmp_path):
    two(tmp_path / "series", {"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}, 1.25)
    scans = find_scans([tmp_path]).scans
    assert [scan.shape for scan in scans] == [(5, 6, 7)] * 2
    assert np.array_equal(scans[1].read().data.numpy(), alone(tmp_path / "alone", 2))


@pytest.mark.parametrize("mark", ["AcquisitionNumber", "EchoTime", "ConvolutionKernel"])
def test_a_woven_stack_that_is_not_whole_is_refused_by_name(tmp_path, mark):
    first, second = ({mark: value} for value in MARKS[mark])
    folder = two(tmp_path / "series", first, second, 1.25)
    (folder / "0012.dcm").unlink()
    with pytest.raises(CosliceError, match=rf"woven together that differ in {mark} \("):
        read_dicom(folder)


def test_two_marks_part_what_one_does_not(tmp_path):
    series = generate_uid()
    for seed, (echo, time) in enumerate([(1, 1), (1, 2), (2, 1), (2, 2)]):
        names = range(10 * seed, 10 * seed + 5)
        marks: dict[str, Any] = {"EchoNumbers": echo, "TemporalPositionIdentifier": time}
        write_series(tmp_path / "series", numbers(seed), series=series, names=names, **marks)
    found = dicom_series(tmp_path / "series")
    assert [one.part for one in found] == [
        f"EchoNumbers {echo}, TemporalPositionIdentifier {time}" for echo in (1, 2) for time in (1, 2)
    ]
    assert np.array_equal(read_dicom(tmp_path / "series", found[2].part).data.numpy(), alone(tmp_path / "alone", 2))


@pytest.mark.parametrize("mark", ["AcquisitionNumber", "AcquisitionTime", "InstanceNumber", "ContentTime"])
def test_marks_that_every_slice_has_its_own_of_part_nothing(tmp_path, mark):
    folder = write_series(tmp_path / "series", numbers())
    for k in range(5):
        change(folder / f"000{k}.dcm", **{mark: f"10000{k}"})
    assert len(dicom_series(folder)) == 1
    assert read_dicom(folder).shape == (5, 6, 7)


def test_every_second_slice_acquired_first_is_one_stack(tmp_path):
    # As thick as they are apart: the two halves belong together, whatever the clock says.
    folder = write_series(tmp_path / "series", numbers(), SliceThickness=2.5)
    for k in range(5):
        change(folder / f"000{k}.dcm", AcquisitionTime="100000" if k % 2 else "100100")
    assert read_dicom(folder).shape == (5, 6, 7)


def test_stacks_of_two_directions_or_sizes_in_one_series_are_two(tmp_path):
    series = generate_uid()
    write_series(tmp_path / "a", numbers(1), series=series)
    write_series(tmp_path / "a", numbers(2), turned(90, 0), series, range(10, 15))
    assert {one.part.split()[0] for one in dicom_series(tmp_path / "a")} == {"ImageOrientationPatient"}
    write_series(tmp_path / "b", numbers(1), series=series)
    write_series(tmp_path / "b", numbers(2)[:, :4], series=series, names=range(10, 15))
    assert [one.size for one in dicom_series(tmp_path / "b")] == [(4, 7), (6, 7)]


@pytest.mark.parametrize("name", ["StackID", "TemporalPositionIndex"])
def test_stacks_in_a_file_of_many_frames_are_told_apart(tmp_path, name):
    stored, order = np.concatenate((numbers(1), numbers(2))), [0, 1, 2, 3, 4] * 2
    number = str if name == "StackID" else int
    places = [STRAIGHT] * 5 + [moved(1.25)] * 5
    path = tmp_path / "enhanced.dcm"
    write_enhanced(path, stored, places, order, frame=lambda n: {name: number(n // 5 + 1)})
    found = dicom_series(path)
    assert [one.part for one in found] == [f"{name} 1", f"{name} 2"]
    with pytest.raises(CosliceError, match=f"2 stacks of images in one DICOM series.*{name} 1"):
        read_dicom(path)
    second = open_dicom(path, f"{name} 2")
    assert np.array_equal(second.volume.data.numpy(), alone(tmp_path / "alone", 2))
    assert [one.frame for one in second.stack.slices] == [5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ([2], r"5 mm apart \(after slice 2 of 6\).*from -97.50 to -92.50 mm.*so 1 slice is missing"),
        ([2, 4], r"after slice 2 of 5, and likewise after 3\).*so 2 slices are missing"),
        ([2, 3], r"7.5 mm apart \(after slice 2 of 5\).*so 2 slices are missing"),
    ],
)
def test_missing_slices_are_counted_and_placed(tmp_path, gone, words):
    folder = write_series(tmp_path / "series", np.concatenate((numbers(), numbers()[:2])))
    for k in gone:
        (folder / f"000{k}.dcm").unlink()
    with pytest.raises(CosliceError, match=words):
        read_dicom(folder)


def test_uneven_slices_are_refused_with_where_and_jitter_is_said(tmp_path):
    folder = write_series(tmp_path / "series", numbers())
    change(folder / "0002.dcm", ImagePositionPatient=[-40, -30, -94.9])
    assert open_dicom(folder).notes == (
        "The slices are 2.4 to 2.6 mm apart; they were taken as 2.5 mm apart everywhere.",
    )
    change(folder / "0002.dcm", ImagePositionPatient=[-40, -30, -94.4])
    with pytest.raises(CosliceError, match=r"slices 3.1 mm apart \(after slice 2 of 5, and likewise after 3\).*uneven"):
        read_dicom(folder)


@pytest.mark.parametrize(
    ("said", "gap", "words"),
    [
        ({}, None, ()),
        ({"SliceThickness": 2.5, "SpacingBetweenSlices": 2.5}, 0.0, ()),
        ({"SliceThickness": 2.0, "SpacingBetweenSlices": 2.5}, 0.5, ("2 mm thick and 2.5 mm apart: gaps of 0.5 mm",)),
        ({"SliceThickness": 5}, -2.5, ("5 mm thick and 2.5 mm apart: they overlap by 2.5 mm",)),
        ({"SpacingBetweenSlices": 3}, None, ("SpacingBetweenSlices says 3 mm and the positions 2.5 mm",)),
        ({"SliceThickness": 0}, None, ()),
    ],
)
def test_positions_win_and_thickness_is_said(tmp_path, said, gap, words):
    scan = open_dicom(write_series(tmp_path / "series", numbers(), **said))
    assert scan.volume.spacing[0] == pytest.approx(2.5)
    assert scan.gap_mm == (None if gap is None else pytest.approx(gap))
    assert scan.slice_thickness_mm == (said.get("SliceThickness") or None)
    assert len(scan.notes) == len(words) and all(word in note for word, note in zip(words, scan.notes, strict=True))


@pytest.mark.parametrize("degrees", [0.0, 0.1, 15.0, -20.0])
def test_a_tilt_is_said_in_degrees(tmp_path, degrees):
    scan = open_dicom(write_series(tmp_path / "series", numbers(), sheared(degrees)))
    assert scan.tilt_degrees == pytest.approx(abs(degrees), abs=1e-3)
    assert [f"tilted by {abs(degrees):.1f} degrees" in note for note in scan.notes] == [True] * (abs(degrees) > 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 0.2, 0.98, 0]}, "directions 1, 0, 0, 0.2, 0.98, 0, two unit vectors"),
        ({"ImageOrientationPatient": [2, 0, 0, 0, 1, 0]}, "two unit vectors at right angles"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "two unit vectors at right angles"),
        ({"PixelSpacing": [0, 1]}, "pixels of 0 x 1 mm"),
        ({"PixelSpacing": [1e9, 1]}, r"pixels of 1e\+09 x 1 mm"),
        ({"RescaleSlope": 0}, "rescale slope of 0"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, r"colour image \(RGB\)"),
        ({"RescaleSlope": None, "Modality": "MR", "ModalityLUTSequence": [Dataset()]}, "by a table"),
    ],
    ids=["skew", "long", "zero", "no width", "huge", "no slope", "colour", "table"],
)
def test_senseless_headers_are_refused_with_the_file(tmp_path, changes, words):
    folder = write_series(tmp_path / "series", numbers())
    change(folder / "0000.dcm", **changes)
    with pytest.raises(CosliceError, match=rf"0000\.dcm .*{words}"):
        read_dicom(folder)


def test_cosines_of_two_decimals_are_taken_and_made_unit(tmp_path):
    cosines = [round(float(c), 2) for c in (np.cos(0.3), np.sin(0.3), 0, -np.sin(0.3), np.cos(0.3), 0)]
    volume = read_dicom(write_series(tmp_path / "series", numbers(), ImageOrientationPatient=cosines))
    assert volume.spacing == pytest.approx((2.5, 1.25, 0.75))


def test_the_detector_s_pixel_size_is_used_with_a_word(tmp_path):
    folder = write_series(tmp_path / "series", numbers(), ImagerPixelSpacing=[0.8, 0.4])
    for path in folder.iterdir():
        change(path, PixelSpacing=None)
    scan = open_dicom(folder)
    assert scan.volume.spacing == pytest.approx((2.5, 0.8, 0.4))
    assert "ImagerPixelSpacing" in scan.notes[0]


def several(folder):
    write_series(folder, numbers(1), SeriesNumber=2, SeriesDescription="Head 5 mm", SliceThickness=2.5)
    write_series(folder, numbers(2), SeriesNumber=3, SeriesDescription="Head 1 mm", names=range(5, 10))
    write_series(folder, numbers(3), names=range(10, 15), Modality="MR")
    return folder


def test_a_series_is_chosen_by_number_uid_or_words(tmp_path):
    found = dicom_series(several(tmp_path / "study"))
    by_label = {one.label: one for one in found}
    head = by_label["2"]
    assert head.listing == '2: CT "Head 5 mm", 5 slices of 6 x 7, 2.5 x 1.25 x 0.75 mm, original primary axial'
    other = next(one for one in found if one.number is None)
    assert other.label.startswith("#")
    for wanted in (2, "2", head.uid, "5 mm", "HEAD 5"):
        assert choose_series(found, wanted) is head
    assert choose_series(found, other.label) is other
    with pytest.raises(CosliceError, match=r"study holds 3 DICOM series.*; 3: CT .*|study holds 3 DICOM series"):
        open_dicom(tmp_path / "study")
    for one in found:
        with pytest.raises(CosliceError) as refusal:
            choose_series(found, None)
        assert one.listing in str(refusal.value)
    with pytest.raises(CosliceError, match="2 DICOM series that 'head' may mean"):
        choose_series(found, "head")
    with pytest.raises(CosliceError, match="no DICOM series '77'"):
        choose_series(found, 77)
    notes = " ".join(open_dicom(tmp_path / "study", 2).notes)
    assert "not read: " in notes and "3: CT, 5 slices of 6 x 7" in notes
    assert "Head" not in notes  # people write names there, and notes are kept beside the results


def test_series_share_a_number_and_are_told_apart(tmp_path):
    write_series(tmp_path / "study", numbers(1), SeriesNumber=4)
    write_series(tmp_path / "study", numbers(2), SeriesNumber=4, names=range(5, 10))
    found = dicom_series(tmp_path / "study")
    assert [one.label for one in found] == ["4.1", "4.2"]
    with pytest.raises(CosliceError, match="'4' may mean"):
        choose_series(found, 4)


def test_what_is_passed_over_is_counted(tmp_path):
    folder = write_series(tmp_path / "study", numbers(1), SeriesNumber=2)
    write_series(folder, numbers(2)[:1], names=[50], SeriesNumber=1)
    write_series(folder, numbers(2)[:2], names=[60, 61], Modality="SR")
    write_series(folder, numbers(2)[:1], names=[70], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    (folder / "again.dcm").write_bytes((folder / "0001.dcm").read_bytes())
    (folder / "gone").symlink_to(tmp_path / "nowhere")
    (folder / "loop").symlink_to(folder)
    (folder / "broken.dcm").write_text("no longer an image")
    notes = find_series(folder)[1]
    assert any("Passed over: 1 x copy, 1 x localiser, 2 x report." in note for note in notes)
    assert any("damaged or no DICOM, whatever their names (1): broken.dcm" in note for note in notes)
    assert any("links to files that are not there (1)" in note for note in notes)
    # A single image beside the stack is no second choice, but it is spoken of.
    scan = open_dicom(folder)
    assert scan.volume.shape == (5, 6, 7)
    assert any("not read: 1: CT, 1 slice of 6 x 7" in note for note in scan.notes)


@pytest.mark.parametrize("length", [180, 400, 600])
def test_a_damaged_file_of_an_unknown_series_is_not_passed_over_in_silence(tmp_path, length):
    folder = write_series(tmp_path / "series", numbers(), SeriesNumber=2)
    (folder / "0004.dcm").write_bytes((folder / "0004.dcm").read_bytes()[:length])
    with pytest.raises(CosliceError, match=r"0004\.dcm is damaged .* not known which series.* 2: CT"):
        read_dicom(folder)
    assert any("0004.dcm is damaged" in note for note in open_dicom(folder, 2).notes)
