"""What the headers of one DICOM file say of its slices: where they are, how large, and what sets them apart.

A file of one slice says it at the top; an enhanced file of many frames says it for each frame, or once for all of
them, or at the top, in this order of precedence (PS3.3, C.7.6.16). Pixels are not looked at here.

A file begins with 128 bytes of anything and "DICM". Older ones begin with the first element at once; those are known
by elements that parse: a first tag of group 0002 or 0008, and the next ones in ascending order.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import UID, MediaStorageDirectoryStorage

from coslice.errors import CosliceError
from coslice.io.dicom.marks import MARKS, TIMES, b_value, mark
from coslice.io.lengths import PLAUSIBLE_MM, check_place, check_spacing
from coslice.io.plain_files import is_plain

__all__ = [
    "UNREADABLE",
    "SliceHeader",
    "damaged",
    "found",
    "is_dicom",
    "layers",
    "quiet",
    "slice_headers",
    "why_passed_over",
]

UNREADABLE = (Exception,)
"""A damaged file brings the library to errors of any kind: of zlib, of struct, of texts and of recursion too."""

_NO_SCANS = {
    "SEG": "segmentation",
    "SR": "report",
    "PR": "presentation state",
    "KO": "selection",
    "REG": "registration",
    "DOC": "document",
    "RTSTRUCT": "structure set",
    "RTDOSE": "dose",
    "RTPLAN": "plan",
    "RTIMAGE": "portal image",
    "FID": "set of fiducials",
    "RWV": "value mapping",
    "AU": "sound",
    "ECG": "electrocardiogram",
}
_REFERENCES = {"DerivationImageSequence", "ReferencedImageSequence", "UnassignedSharedConvertedAttributesSequence"}
_SKEW = 1e-2
"""Unit vectors written with two decimals are no longer than 1 by more, and no further from right angles."""
_FIRST_TAGS = {(0x0002, 0x0000), (0x0002, 0x0001), (0x0002, 0x0002), (0x0002, 0x0010)} | {
    (0x0008, element) for element in (0x0000, 0x0001, 0x0005, 0x0008, 0x0012, 0x0013, 0x0014, 0x0016, 0x0018, 0x0020)
}


@dataclass(frozen=True, eq=False)
class SliceHeader:
    """One slice, as far as its file's header tells.

    Attributes:
        path: the file.
        frame: number of the slice in a file of many, from 0; None in a file of one.
        instance: (SOPClassUID, SOPInstanceUID).
        position: centre of the first pixel in mm, LPS.
        directions: unit vectors (2, 3), LPS: along which columns are counted, along which rows are.
        spacing: (between rows, between columns) in mm.
        shape: (rows, columns).
        rescale: (slope, intercept).
        rescales: whether the file says them.
        thickness: SliceThickness in mm; None if not said.
        between: SpacingBetweenSlices in mm; None if not said.
        marks: what may set apart slices that are not of one stack, by the name of the tag.
        remark: what was assumed, one sentence, or "".
    """

    path: Path
    frame: int | None
    instance: tuple[str, str]
    position: np.ndarray
    directions: np.ndarray
    spacing: tuple[float, float]
    shape: tuple[int, int]
    rescale: tuple[float, float]
    rescales: bool = True
    thickness: float | None = None
    between: float | None = None
    marks: dict[str, Any] = field(default_factory=dict)
    remark: str = ""


def is_dicom(path: Path) -> bool:
    """Whether the file at `path` begins as DICOM files do, with the preamble or, as older ones, without it."""
    if not is_plain(path):
        return False
    try:
        with open(path, "rb") as stream:
            start = stream.read(4096)
    except OSError:
        return False
    return start[128:132] == b"DICM" or _parses(start)


def why_passed_over(header: Any) -> str:
    """Why a DICOM object is no slice of a scan, as a noun in singular; "" if it is one.

    Raises:
        ValueError: a file that ends before it says what it is.
    """
    kind = getattr(header, "file_meta", {}).get("MediaStorageSOPClassUID") or header.get("SOPClassUID")
    if kind == MediaStorageDirectoryStorage:
        return "DICOMDIR"
    if header.get("Modality") in _NO_SCANS:
        return _NO_SCANS[header.Modality]
    if "Rows" not in header:
        if "SOPInstanceUID" not in header or "Image Storage" in UID(str(kind)).name:
            raise ValueError("it ends too early")
        return "object without an image"
    # Screen captures have no place in the patient; files of many frames give it frame by frame.
    if "ImagePositionPatient" not in header and "NumberOfFrames" not in header:
        return "image without a place in the patient"
    return "localiser" if "LOCALIZER" in (header.get("ImageType") or ()) else ""


def slice_headers(dataset: Any, path: Path) -> list[SliceHeader]:
    """The slices in one file, from its header.

    Raises:
        CosliceError: colour; a place, direction, size or rescaling that is missing or senseless; many frames without
            a place for each.
    """
    try:
        with quiet():
            kind = str(dataset.get("PhotometricInterpretation") or "MONOCHROME2").strip()
            if int(dataset.get("SamplesPerPixel") or 1) != 1 or not kind.startswith("MONOCHROME"):
                raise CosliceError(f"{path} is a colour image ({kind}), one number a pixel is needed; export it grey.")
            count = int(dataset.get("NumberOfFrames") or 1)
            frames = dataset.get("PerFrameFunctionalGroupsSequence")
            if not frames and count > 1:
                raise CosliceError(f"{path} holds {count} frames without saying where they are; export slices.")
            if not frames:
                return [_slice_header(path, None, dataset, [dataset])]
            if len(frames) != count:
                raise CosliceError(
                    f"{path} is damaged or incomplete ({count} frames, {len(frames)} places); export it again."
                )
            return [_slice_header(path, k, dataset, sources) for k, sources in enumerate(layers(dataset))]
    except CosliceError:
        raise
    except UNREADABLE as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: BaseException) -> CosliceError:
    """A file the library stumbled over, in words."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return CosliceError(f"{path} is damaged or incomplete ({reason.rstrip('.')}); export it again.")


def layers(dataset: Any) -> list[list[Any]]:
    """For each slice of a file, where its elements may stand in order of precedence: its own groups, all's, the top."""
    own = dataset.get("PerFrameFunctionalGroupsSequence")
    shared = [_flat(group) for group in (dataset.get("SharedFunctionalGroupsSequence") or ())[:1]]
    return [[_flat(group), *shared, dataset] for group in own] if own else [[dataset]]


def found(sources: Sequence[Any], name: str) -> Any:
    """The value of element `name` in the first of `layers` that has one; None without."""
    for source in sources:
        value = source.get(name)
        if value is not None and value != "":
            return value
    return None


def _flat(group: Any, depth: int = 3) -> Any:
    """The elements of a functional group, those of its sequences' first items among them."""
    flat = pydicom.Dataset()
    for element in group:
        if element.VR != "SQ":
            flat[element.tag] = element
        elif depth and element.value and element.keyword not in _REFERENCES:
            flat.update(_flat(element.value[0], depth - 1))
    return flat


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings of odd but harmless values in headers, of which clinical files are full."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _slice_header(path: Path, frame: int | None, dataset: Any, sources: list[Any]) -> SliceHeader:
    position = _numbers(found(sources, "ImagePositionPatient"), 3)
    directions = _numbers(found(sources, "ImageOrientationPatient"), 6)
    spacing, remark = _numbers(found(sources, "PixelSpacing"), 2), ""
    for other in ("ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        if spacing is None and (spacing := _numbers(found(sources, other), 2)) is not None:
            remark = f"The pixels' size in mm is {other}, as PixelSpacing is missing; it may be that at the detector."
    if position is None or directions is None or spacing is None:
        raise CosliceError(f"{path} does not say where its pixels are in mm; export it with its geometry.")
    check_spacing(spacing, path, "pixels")
    check_place(position, path)
    shape = int(found(sources, "Rows")), int(found(sources, "Columns"))
    if min(shape) < 1:
        raise CosliceError(
            f"{path} has {shape[0]} rows and {shape[1]} columns, one at least is needed; export it again."
        )
    lengths = {name: _length(found(sources, name)) for name in ("SliceThickness", "SpacingBetweenSlices")}
    if lengths["SpacingBetweenSlices"] is not None:  # some write it with the sign of its direction
        lengths["SpacingBetweenSlices"] = abs(lengths["SpacingBetweenSlices"])
    for name, length in lengths.items():
        said, lengths[name] = found(sources, name), _possible(length)
        if lengths[name] is None and said is not None and length != 0 and not remark:
            remark = f"The headers give a {name} of {str(said)[:40]}, which is no length in mm and was not taken."
    marks = {name: value for name in (*MARKS, *TIMES) if (value := mark(found(sources, name))) is not None}
    if "DiffusionBValue" not in marks and (b := b_value(dataset)) is not None:
        marks["DiffusionBValue"] = b
    if frame is not None:
        marks["SOPInstanceUID"] = str(dataset.SOPInstanceUID)
    return SliceHeader(
        path=path,
        frame=frame,
        instance=(str(dataset.get("SOPClassUID", "")), str(dataset.SOPInstanceUID)),
        position=position,
        directions=_unit(directions.reshape(2, 3), path),
        spacing=(float(spacing[0]), float(spacing[1])),
        shape=shape,
        rescale=_rescale(sources, path),
        rescales=found(sources, "RescaleSlope") is not None,
        thickness=lengths["SliceThickness"],
        between=lengths["SpacingBetweenSlices"],
        marks=marks,
        remark=remark,
    )


def _rescale(sources: list[Any], path: Path) -> tuple[float, float]:
    slope, intercept = found(sources, "RescaleSlope"), found(sources, "RescaleIntercept")
    missing = "slope" if slope is None else "intercept" if intercept is None else ""
    if missing and sources[-1].get("Modality") == "CT":
        raise CosliceError(f"{path} is CT without a rescale {missing}, so its numbers are no HU; export it again.")
    if slope is None and sources[-1].get("ModalityLUTSequence"):
        raise CosliceError(f"{path} turns its numbers into values by a table, which is not read; export it again.")
    slope, intercept = float(1 if slope is None else slope), float(0 if intercept is None else intercept)
    if slope == 0 or not np.isfinite((slope, intercept)).all():
        raise CosliceError(
            f"{path} has a rescale slope of {slope:g} and an intercept of {intercept:g}, so its numbers have no "
            "values; export it again."
        )
    return slope, intercept


def _unit(directions: np.ndarray, path: Path) -> np.ndarray:
    lengths = np.linalg.norm(directions, axis=1)
    if abs(lengths - 1).max() > _SKEW or abs(directions[0] @ directions[1]) > _SKEW:
        words = ", ".join(f"{cosine:g}" for cosine in directions.ravel())
        raise CosliceError(
            f"{path} gives its rows and columns the directions {words}, two unit vectors at right angles are needed; "
            "correct its header."
        )
    across, down = directions / lengths[:, None]
    if abs(across @ down) > 1e-9:
        # Rounded. ITK believes the columns, and so do we, or what is written lies elsewhere than its source there.
        across = np.cross(down, np.cross(across, down))
    return np.stack((across / np.linalg.norm(across), down))


def _numbers(values: Any, count: int) -> np.ndarray | None:
    if values is None or isinstance(values, (str, bytes, float, int)):
        return None
    numbers = np.array([float(value) for value in values])
    return numbers if len(numbers) == count and np.isfinite(numbers).all() else None


def _length(value: Any) -> float | None:
    """A number; None where there is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _possible(length: float | None) -> float | None:
    return length if length is not None and PLAUSIBLE_MM[0] <= length <= PLAUSIBLE_MM[1] else None


def _parses(start: bytes) -> bool:
    """Whether `start` is three elements or more in ascending order, little-endian, with or without VRs."""
    place, last, count = 0, (-1, -1), 0
    while place + 8 <= len(start) and count < 8:
        tag = int.from_bytes(start[place : place + 2], "little"), int.from_bytes(start[place + 2 : place + 4], "little")
        if tag <= last or (count == 0 and tag not in _FIRST_TAGS) or tag[0] > 0x7FE0:
            return False
        letters = start[place + 4 : place + 6]
        if letters.isalpha() and letters.isupper():
            if letters in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF", b"UC", b"UR"):
                length, step = int.from_bytes(start[place + 8 : place + 12], "little"), 12
            else:
                length, step = int.from_bytes(start[place + 6 : place + 8], "little"), 8
        else:
            length, step = int.from_bytes(start[place + 4 : place + 8], "little"), 8
        if length % 2:
            return length == 0xFFFFFFFF and count >= 2
        place, last, count = place + step + length, tag, count + 1
    return count >= 3
