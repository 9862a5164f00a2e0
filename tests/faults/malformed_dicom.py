"""DICOM series with something wrong in them: every element that geometry and pixels depend on, cuts, flipped bits."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import pydicom.datadict
import pydicom.dataelem
import pydicom.encaps
import pydicom.uid
from malformed import Malformed, flipped, truncated
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless

from small_bodies import ball

SHAPE = (8, 32, 32)
_UID = "1.2.826.0.1.3680043.8.498.1"
_NUMBERS = ("nan", "inf", "-1", "0", "1e-30", "1e30", "5000", "x", "", "1\\2", "1e400", " ", "9" * 60)


def _slice(k: int) -> Dataset:
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = CTImageStorage
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = pydicom.uid.UID(f"{_UID}.{k + 1}")
    one.SeriesInstanceUID, one.StudyInstanceUID, one.Modality, one.PatientID = f"{_UID}.99", f"{_UID}.98", "CT", "A"
    one.SeriesNumber, one.InstanceNumber, one.ImageType = 1, k + 1, ["ORIGINAL", "PRIMARY", "AXIAL"]
    one.SamplesPerPixel, one.PhotometricInterpretation, one.PixelRepresentation = 1, "MONOCHROME2", 0
    one.BitsAllocated, one.BitsStored, one.HighBit = 16, 16, 15
    one.Rows, one.Columns, one.PixelSpacing = 32, 32, ["4", "4"]
    one.ImagePositionPatient, one.ImageOrientationPatient = ["-62", "-62", str(2 * k)], ["1", "0", "0", "0", "1", "0"]
    one.SliceThickness, one.SpacingBetweenSlices, one.SliceLocation = "2", "2", str(2 * k)
    one.RescaleSlope, one.RescaleIntercept, one.RescaleType = "1", "-1024", "HU"
    one.add_new("PixelData", "OW", (ball(SHAPE)[k] + 1024).astype("<u2").tobytes())
    return one


def _bytes(one: Dataset) -> bytes:
    stream = io.BytesIO()
    one.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@cache
def series() -> tuple[bytes, ...]:
    """The files of a good series."""
    return tuple(_bytes(_slice(k)) for k in range(len(ball(SHAPE))))


def _changed(k: int, changes: dict[str, Any]) -> bytes:
    """Slice k with elements set, or (None) left out; text is written as it is, whatever the element's kind."""
    one = _slice(k)
    for name, value in changes.items():
        if value is None:
            del one[name]
        elif isinstance(value, bytes):
            one[name] = pydicom.dataelem.RawDataElement(
                pydicom.tag.Tag(pydicom.datadict.tag_for_keyword(name)),  # type: ignore[arg-type]
                pydicom.datadict.dictionary_VR(name),
                len(value),
                value,
                0,
                False,
                True,
            )
        else:
            setattr(one, name, value)
    return _bytes(one)


def _made(name: str, changes: dict[int, dict[str, Any]], refused: bool | None) -> Malformed:
    with warnings.catch_warnings():  # of writing what is not allowed
        warnings.simplefilter("ignore")
        files = _files_of(changes)
    return Malformed(name, files, "s", refused)


def _files_of(changes: dict[int, dict[str, Any]]) -> dict[str, bytes]:
    return {f"s/{k}.dcm": _changed(k, changes[k]) if k in changes else found for k, found in enumerate(series())}


def _everywhere(name: str, changes: dict[str, Any], refused: bool | None) -> Malformed:
    return _made(name, dict.fromkeys(range(8), changes), refused)


def _even(text: str) -> bytes:
    found = text.encode()
    return found + b" " * (len(found) % 2)


def elements() -> Iterator[Malformed]:
    """One element at a time, in all slices or in one."""
    for value in _NUMBERS:
        refused = None if value in ("1e400",) else True
        yield _everywhere(f"PixelSpacing {value}", {"PixelSpacing": _even(f"{value}\\{value}")}, True)
        yield _everywhere(f"PixelSpacing across {value}", {"PixelSpacing": _even(f"4\\{value}")}, True)
        yield _everywhere(f"RescaleSlope {value}", {"RescaleSlope": _even(value)}, _of_slope(value))
        yield _everywhere(f"RescaleIntercept {value}", {"RescaleIntercept": _even(value)}, _of_intercept(value))
        yield _everywhere(f"position {value}", {"ImagePositionPatient": _even(f"-62\\-62\\{value}")}, True)
        yield _made(f"one position {value}", {3: {"ImagePositionPatient": _even(f"-62\\-62\\{value}")}}, True)
        yield _made(f"one position across {value}", {3: {"ImagePositionPatient": _even(f"{value}\\-62\\6")}}, True)
        thick = _everywhere(f"SliceThickness {value}", {"SliceThickness": _even(value)}, None)
        between = _everywhere(f"SpacingBetweenSlices {value}", {"SpacingBetweenSlices": _even(value)}, None)
        yield from (thick, between) if refused else (thick,)
    for name, directions in (
        ("of length 2", "2\\0\\0\\0\\2\\0"),
        ("of length 0", "0\\0\\0\\0\\0\\0"),
        ("parallel", "1\\0\\0\\1\\0\\0"),
        ("at 80 degrees", "1\\0\\0\\0.1736\\0.9848\\0"),
        ("of 1.05", "1.05\\0\\0\\0\\1\\0"),
        ("NaN", "nan\\0\\0\\0\\1\\0"),
        ("huge", "1e30\\0\\0\\0\\1e30\\0"),
        ("five", "1\\0\\0\\0\\1"),
        ("text", "a\\b\\c\\d\\e\\f"),
        ("empty", ""),
        ("integers that overflow", "\\".join(["9" * 400] * 6)),
    ):
        yield _everywhere(f"directions {name}", {"ImageOrientationPatient": _even(directions)}, True)
    yield _made("one slice turned", {4: {"ImageOrientationPatient": ["0", "1", "0", "1", "0", "0"]}}, True)
    yield _everywhere("rounded directions", {"ImageOrientationPatient": ["0.999", "0.002", "0", "0", "1", "0"]}, False)
    for tag in ("Rows", "Columns"):
        for value in (0, 1, 31, 33, 65535):
            yield _everywhere(f"{tag} {value}", {tag: value}, True)
            yield _made(f"{tag} {value} in one", {2: {tag: value}}, True)
    for name, value in (("PixelSpacing", b"4 \x00\x00"), ("Rows", b"\x20\x00\x20\x00")):
        yield _everywhere(f"{name} of {value!r}", {name: value}, None)
    for value in (0, 1, 8, 12, 15, 17, 32, 64, 65535):
        yield _everywhere(f"BitsAllocated {value}", {"BitsAllocated": value}, True)
    for value in (0, 1, 8, 17, 32, 65535):
        yield _everywhere(f"BitsStored {value}", {"BitsStored": value}, True if value in (0, 17, 32, 65535) else None)
    for value in (0, 7, 16, 65535):
        yield _everywhere(f"HighBit {value}", {"HighBit": value}, None)
    for value in (1, 2, 65535):
        yield _everywhere(f"PixelRepresentation {value}", {"PixelRepresentation": value}, None)
    for value in (0, 2, 3, 65535):
        yield _everywhere(f"SamplesPerPixel {value}", {"SamplesPerPixel": value}, None if value == 0 else True)
    for value in ("MONOCHROME1", "RGB", "PALETTE COLOR", "YBR_FULL", "", "X" * 60):
        refused = True if value in ("RGB", "PALETTE COLOR", "YBR_FULL") else None
        yield _everywhere(f"PhotometricInterpretation {value}", {"PhotometricInterpretation": value}, refused)
    for value in (b"0 ", b"-1", b"2 ", b"1000000000", b"x ", b"9" * 60):
        yield _everywhere(f"NumberOfFrames {value!r}", {"NumberOfFrames": value}, None if value == b"0 " else True)
    for tag in (
        *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Rows", "Columns", "BitsAllocated", "PixelSpacing"),
        *("ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept", "PixelData"),
        *("SamplesPerPixel", "PhotometricInterpretation", "PixelRepresentation", "BitsStored", "HighBit", "Modality"),
    ):
        mild = ("SOPClassUID", "Modality", "HighBit", "BitsStored", "SamplesPerPixel", "RescaleIntercept")
        refused = None if tag in (*mild, "PhotometricInterpretation") else True
        yield _everywhere(f"no {tag}", {tag: None}, refused)
        yield _made(f"no {tag} in one", {5: {tag: None}}, None)
    for tag, value in (
        ("Modality", "MR"),
        ("Modality", "\x1b[31m"),
        ("SeriesDescription", "\x1b[2J" * 20),
        ("SeriesNumber", b"x "),
        ("SeriesNumber", b"9" * 40),
        ("SeriesNumber", b"1\\2 "),
        ("ImageType", ""),
        ("PatientID", b"\xff\xfe\x00\x01"),
        ("SpecificCharacterSet", "NO SUCH"),
        ("SpecificCharacterSet", b"ISO_IR 192\\x"),
        ("RescaleType", "\x07"),
    ):
        yield _everywhere(f"{tag} {value!r}", {tag: value}, None)


def _of_slope(value: str) -> bool | None:
    return None if value in ("-1", "1e-30", "5000", "1e30", "9" * 60) else True


def _of_intercept(value: str) -> bool | None:
    return True if value in ("nan", "inf", "x", "1e400", "1\\2", "9" * 60) else None


def stacks() -> Iterator[Malformed]:
    """Slices that do not make a volume."""
    good = series()
    for name, places in (
        ("all in one place", [0.0] * 8),
        ("one missing", [0, 2, 4, 8, 10, 12, 14, 16]),
        ("uneven", [0, 2, 4.5, 6, 8, 10, 12, 14]),
        ("in pairs", [0, 0, 2, 2, 4, 4, 6, 6]),
        ("a nanometre apart", [k * 1e-6 for k in range(8)]),
        ("two metres apart", [k * 2000.0 for k in range(8)]),
        ("100 km apart", [k * 1e8 for k in range(8)]),
        ("far away", [1e12 + 2 * k for k in range(8)]),
    ):
        changes: dict[int, dict[str, Any]] = {}
        for k, z in enumerate(places):
            changes[k] = {"ImagePositionPatient": _even(f"-62\\-62\\{z!r}")}
        yield _made(f"slices {name}", changes, True)
    for name, z in (("huge", 1e9), ("not a number", "nan")):
        yield _made(f"slices shifted aside {name}", {3: {"ImagePositionPatient": _even(f"-62\\{z}\\6")}}, True)
    yield Malformed("one slice", {"s/0.dcm": good[0]}, "s", True)
    yield Malformed("every slice twice", {f"s/{k}.dcm": good[k // 2] for k in range(16)}, "s", False)
    yield Malformed("an empty folder", {"s/readme.txt": b"nothing"}, "s", True)


def files() -> Iterator[Malformed]:
    """Cuts, and files that are packed, or are packed as something else than they say."""
    good = series()

    def with_one(name: str, content: bytes, refused: bool | None) -> Malformed:
        return Malformed(name, {**{f"s/{k}.dcm": one for k, one in enumerate(good)}, "s/3.dcm": content}, "s", refused)

    for name, cut in truncated(good[3], (0.0, 0.01, 0.05, 0.053, 0.08, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6, 0.9, 0.99)):
        yield with_one(name, cut, True)
    yield with_one("text in the place of one", b"not DICOM at all" * 40, True)
    yield with_one("only a preamble", bytes(128) + b"DICM", True)
    for syntax in (
        *("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"),
        *("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2", "1.2.3", ""),
    ):
        one = _bytes(_slice(3)).replace(b"UI\x14\x001.2.840.10008.1.2.1\x00", _uid(syntax))
        yield with_one(f"said to be of the transfer syntax {syntax}", one, None if syntax.endswith(".1.2") else True)
    for name, content in _deflated():
        yield with_one(f"deflated, {name}", content, name != "well")
    for name, fragment in _rle():
        yield with_one(f"RLE, {name}", fragment, name != "well")
    for name, content in _nested():
        yield with_one(name, content, None)
    for name, inserted in (
        ("an element of 4 GB", b"\x09\x00\x10\x00OB\x00\x00\xf0\xff\xff\xff"),
        ("a sequence that does not end", b"\x09\x00\x10\x00SQ\x00\x00\xff\xff\xff\xff"),
        ("an unknown VR", b"\x09\x00\x10\x00ZZ\x00\x00\x04\x00\x00\x00abcd"),
        ("a group out of order", b"\x02\x00\x10\x00UI\x04\x00abcd"),
    ):
        at = good[3].index(b"\x08\x00\x60\x00CS")
        yield with_one(name, good[3][:at] + inserted + good[3][at:], None)


def _uid(syntax: str) -> bytes:
    word = syntax.encode() + b"\x00" * (len(syntax) % 2)
    return b"UI" + struct.pack("<H", len(word)) + word


def meta_of(syntax: str) -> bytes:
    """The beginning of a file of a transfer syntax, up to where its elements begin."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = pydicom.uid.UID(syntax), CTImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.UID(f"{_UID}.4")
    stream = io.BytesIO()
    pydicom.filewriter.write_file_meta_info(pydicom.filebase.DicomFileLike(stream), meta)  # type: ignore[arg-type]
    return bytes(128) + b"DICM" + stream.getvalue()


def _deflated() -> Iterator[tuple[str, bytes]]:
    whole = series()[3]
    # Behind the meta group, whose length is the value of its first element.
    body = whole[144 + int.from_bytes(whole[140:144], "little") :]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(body) + packer.flush()
    meta = meta_of(DeflatedExplicitVRLittleEndian)
    yield "well", meta + packed
    yield "cut", meta + packed[: len(packed) // 2]
    yield "nothing", meta
    yield "no deflate", meta + b"\xff" * 500
    yield "zlib", meta + zlib.compress(body)
    for seed in range(6):
        yield f"flipped {seed}", meta + next(flipped(packed, [seed], 400))[1]


def _rle() -> Iterator[tuple[str, bytes]]:
    def made(fragment: bytes, **changes: Any) -> bytes:
        one = _slice(3)
        one.file_meta.TransferSyntaxUID = RLELossless
        for name, value in changes.items():
            setattr(one, name, value)
        one.PixelData = pydicom.encaps.encapsulate([fragment])
        one["PixelData"].is_undefined_length = True
        return _bytes(one)

    def planes(*rows: bytes) -> bytes:
        starts = [64 + sum(map(len, rows[:n])) for n in range(len(rows))]
        return struct.pack("<16I", len(rows), *starts, *[0] * (15 - len(rows))) + b"".join(rows)

    row = b"\x81\x10" * 8  # 128 bytes of 16, eight times
    yield "well", made(planes(row, row))
    yield "two few bytes", made(planes(row[:4], row))
    yield "no segments", made(struct.pack("<16I", *[0] * 16))
    yield "65,535 segments", made(struct.pack("<16I", 65535, *[64] * 15))
    yield "offsets behind the end", made(struct.pack("<16I", 2, 2**31, 2**32 - 1, *[0] * 13))
    yield "of 65535 x 65535", made(planes(row, row), Rows=65535, Columns=65535)
    yield "of 10,000 frames", made(planes(row, row), NumberOfFrames=10000)


def _nested() -> Iterator[tuple[str, bytes]]:
    at = series()[3].index(b"\x08\x00\x60\x00CS")
    for depth in (50, 5000):
        tag = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
        inner = tag * depth + b"\xfe\xff\x0d\xe0\x00\x00\x00\x00\xfe\xff\xdd\xe0\x00\x00\x00\x00" * depth
        yield f"sequences {depth} deep", series()[3][:at] + inner + series()[3][at:]


def flips(seeds: range) -> Iterator[Malformed]:
    """Random bits of the header of one slice."""
    good = series()
    for name, content in flipped(good[3], seeds, len(good[3]) - 2048):
        files = {f"s/{k}.dcm": one for k, one in enumerate(good)}
        yield Malformed(name, files | {"s/3.dcm": content}, "s")


def single(seeds: range) -> Iterator[Malformed]:
    """One file of many frames: what its functional groups say."""
    whole = _enhanced()
    yield Malformed("an enhanced file", {"e.dcm": whole}, "e.dcm", False)
    for name, cut in truncated(whole, (0.05, 0.1, 0.2, 0.3, 0.5, 0.9)):
        yield Malformed(f"enhanced, {name}", {"e.dcm": cut}, "e.dcm", True)
    for name, content in flipped(whole, seeds, len(whole) - 8 * 2048):
        yield Malformed(f"enhanced, {name}", {"e.dcm": content}, "e.dcm")
    for name, changes in (
        ("of 10^6 frames", {"NumberOfFrames": 10**6}),
        ("of 7 frames", {"NumberOfFrames": 7}),
        ("of 9 frames", {"NumberOfFrames": 9}),
        ("without groups", {"PerFrameFunctionalGroupsSequence": []}),
        ("without shared groups", {"SharedFunctionalGroupsSequence": []}),
    ):
        yield Malformed(f"enhanced {name}", {"e.dcm": _enhanced(**changes)}, "e.dcm", True)


def _enhanced(**changes: Any) -> bytes:
    one = _slice(0)
    one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = pydicom.uid.EnhancedCTImageStorage
    for name in ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept"):
        delattr(one, name)
    one.NumberOfFrames = 8
    groups = []
    for k in range(8):
        place, group = Dataset(), Dataset()
        place.ImagePositionPatient = ["-62", "-62", str(2 * k)]
        group.PlanePositionSequence = [place]
        groups.append(group)
    shared, measures, turned, values = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, turned.ImageOrientationPatient = ["4", "4"], ["1", "0", "0", "0", "1", "0"]
    values.RescaleSlope, values.RescaleIntercept = "1", "-1024"
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [turned]
    shared.PixelValueTransformationSequence = [values]
    one.PerFrameFunctionalGroupsSequence, one.SharedFunctionalGroupsSequence = groups, [shared]
    one.PixelData = (ball(SHAPE) + 1024).astype("<u2").tobytes()
    for name, value in changes.items():
        setattr(one, name, value)
    return _bytes(one)
