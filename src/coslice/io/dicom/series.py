"""The series in a folder: what there is to choose from, and the choice.

A series that holds several stacks (echoes, phases, passes of one acquisition woven into another) is listed once for
each. What was passed over is counted, not hidden.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from coslice.errors import CosliceError
from coslice.io.dicom.dicom_files import read_dataset
from coslice.io.dicom.dicom_stacks import DicomStack, split_stacks
from coslice.io.dicom.headers import (
    UNREADABLE,
    SliceHeader,
    damaged,
    is_dicom,
    quiet,
    slice_headers,
    why_passed_over,
)
from coslice.io.dicom.marks import MARKS, PRIVATE, TIMES
from coslice.io.plain_files import is_plain, walked, what_else

__all__ = ["Series", "choose_series", "dicom_series", "find_series"]

_TAGS = (
    *("MediaStorageSOPClassUID", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber"),
    *("SeriesDescription", "ProtocolName", "Modality", "PatientID", "SpecificCharacterSet"),
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames"),
    *("ImagePositionPatient", "ImageOrientationPatient"),
    *("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "SpacingBetweenSlices"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"),
    *(*MARKS, *TIMES, *PRIVATE),
)
_MOST_LISTED = 12
_MOST_NAMED = 3


@dataclass(frozen=True)
class Series:
    """One stack of images: a series, or the part of one whose slices belong together.

    Attributes:
        uid: SeriesInstanceUID; empty for a file that could not be read.
        paths: its files, each object once.
        modality: "CT", "MR", ...
        subject: a hash of the PatientID, empty without one.
        label: what it is chosen by, unlike that of all others found with it: the SeriesNumber, or it and a number
            ("3.2") where several share it, or "#2", the place in the list, without one.
        number: SeriesNumber.
        description: SeriesDescription, or ProtocolName.
        kind: ImageType in words, "original primary axial".
        part: what sets its slices apart in a series of several stacks, "EchoTime 10"; "" for a whole series.
        slices: how many; 0 if that could not be told.
        size: (rows, columns); (0, 0) if that could not be told.
        spacing: (between slices, rows, columns) in mm; None if it is no even stack.
        problem: why it makes no volume, one sentence; "" if it makes one.
        stack: its slices; None if it is no even stack.
    """

    uid: str
    paths: tuple[Path, ...]
    modality: str
    subject: str
    label: str = ""
    number: int | None = None
    description: str = ""
    kind: str = ""
    part: str = ""
    slices: int = 0
    size: tuple[int, int] = (0, 0)
    spacing: tuple[float, float, float] | None = None
    problem: str = ""
    stack: DicomStack | None = field(default=None, repr=False, compare=False)

    @property
    def listing(self) -> str:
        """What a person chooses by, in one line: '3: CT "Head 5 mm", 28 slices of 512 x 512, 5 x 0.45 x 0.45 mm'."""
        words = [f'{self.label}: {self.modality or "?"} "{self.description}"'.replace(' ""', "")]
        if self.part:
            words.append(self.part)
        if self.slices:
            sizes = f" of {self.size[0]} x {self.size[1]}" if self.size[0] else ""
            words.append(f"{self.slices} slice{'' if self.slices == 1 else 's'}{sizes}")
        if self.spacing:
            words.append(" x ".join(f"{length:.3g}" for length in self.spacing) + " mm")
        if self.kind:
            words.append(self.kind)
        if self.problem and self.slices != 1:
            words.append("no volume")
        return ", ".join(words)


def dicom_series(source: Path | Sequence[Path]) -> list[Series]:
    """The series of images in a folder (searched to the bottom) or among files, ordered by uid.

    Localisers and objects without images are left out. A file that cannot be read is a series of its own, so that
    reading it says why.
    """
    return find_series(source)[0]


def find_series(source: Path | Sequence[Path]) -> tuple[list[Series], tuple[str, ...]]:
    """`dicom_series`, and what was passed over, in sentences."""
    groups: dict[str, dict[str, tuple[Path, Any]]] = {}
    broken: dict[Path, str] = {}
    passed: Counter[str] = Counter()
    copies = 0
    files, notes = _dicom_files(source)
    for path in files:
        try:
            with quiet():
                header = read_dataset(path, _TAGS, pixels=False)
                if why := why_passed_over(header):
                    passed[why] += why != "DICOMDIR"  # a list of the files, nobody misses it
                    continue
                uid, instance = str(header.SeriesInstanceUID), str(header.SOPInstanceUID)
        except UNREADABLE as error:
            broken[path] = str(damaged(path, error))
            continue
        group = groups.setdefault(uid, {})
        # Copies of one object are one slice.
        copies += instance in group
        group.setdefault(instance, (path, header))
    series: list[Series] = []
    for uid in sorted(groups):
        series += _parts(uid, sorted(groups[uid].values(), key=lambda one: one[0]))
    series += [Series("", (path,), "", "", problem=problem) for path, problem in broken.items()]
    if copies:
        passed["copy"] = copies
    if found := [f"{count} x {why}" for why, count in sorted(passed.items()) if count]:
        notes.append(f"Passed over: {', '.join(found)}.")
    return _labelled(series), tuple(notes)


def choose_series(series: Sequence[Series], wanted: str | int | None, place: str | Path = "The folder") -> Series:
    """The series that is meant.

    Args:
        series: of `dicom_series`.
        wanted: its label or SeriesNumber, its UID, or a part of its description or of what sets it apart (in any
            case); None where there is but one. Series of a single image, as screen captures are, do not count then.
        place: where they were found, for sentences.

    Raises:
        CosliceError: none, or several, listed in the sentence.
    """
    readable = [one for one in series if one.uid]
    if wanted is None:
        if not series:
            raise CosliceError(f"{place} holds no DICOM series of images, one is needed; give the files of one.")
        if len(series) == 1 or not readable:
            return series[0]
        if len(readable) < len(series):
            why = next(one.problem for one in series if not one.uid).rpartition("; ")[0]
            raise CosliceError(
                f"{why}, so it is not known which series it is of; export it again, or choose "
                f"a series by number, UID or description: {_listed(readable)}."
            )
        stacks = [one for one in series if one.slices > 1]
        if len(stacks) == 1:
            return stacks[0]
        what = f"{len(series)} DICOM series of images"
        if len({one.uid for one in series}) == 1:
            what = f"{len(series)} stacks of images in one DICOM series"
        raise CosliceError(
            f"{place} holds {what}, one is needed; choose it by number, UID or a part of its description: "
            f"{_listed(series)}."
        )
    word = str(wanted).strip()
    for matching in (_by_label, _by_number, _by_place, _by_uid, _by_part, _by_description):
        chosen = [one for one in readable if matching(one, word)]
        if len(chosen) == 1:
            return chosen[0]
        if chosen:
            raise CosliceError(
                f"{place} holds {len(chosen)} DICOM series that {word!r} may mean, one is needed; choose it by the "
                f"number in front: {_listed(chosen)}."
            )
    raise CosliceError(
        f"{place} holds no DICOM series {word!r}; choose by number, UID or a part of the description: "
        f"{_listed(readable)}."
    )


def _by_label(one: Series, word: str) -> bool:
    return one.label == word


def _by_number(one: Series, word: str) -> bool:
    return one.number is not None and str(one.number) == word


def _by_place(one: Series, word: str) -> bool:
    return one.label == f"#{word}"


def _by_uid(one: Series, word: str) -> bool:
    return one.uid == word


def _by_part(one: Series, word: str) -> bool:
    return bool(word) and one.part.lower() == word.lower()


def _by_description(one: Series, word: str) -> bool:
    return bool(word) and word.lower() in f"{one.description} {one.part}".lower()


def _parts(uid: str, files: Sequence[tuple[Path, Any]]) -> list[Series]:
    """One series, or one for each stack in it."""
    header = files[0][1]
    patient = str(header.get("PatientID") or "")
    whole = Series(
        uid=uid,
        paths=tuple(path for path, _ in files),
        modality=str(header.get("Modality") or ""),
        subject=hashlib.sha256(patient.encode()).hexdigest()[:12] if patient else "",
        number=_whole(header.get("SeriesNumber")),
        description=" ".join(str(header.get("SeriesDescription") or header.get("ProtocolName") or "").split()),
        kind=_kind(header.get("ImageType")),
        slices=len(files),
    )
    try:
        slices = [one for path, head in files for one in slice_headers(head, path)]
        whole = replace(whole, slices=len(slices), size=slices[0].shape)
        name = str(files[0][0] if len(files) == 1 else files[0][0].parent)
        stacks = split_stacks(slices, name)
    except CosliceError as error:
        colour = int(header.get("SamplesPerPixel") or 1) != 1
        return [replace(whole, slices=0 if colour else whole.slices, problem=str(error))]
    return [_of(whole, stack) for stack in stacks]


def _whole(value: Any) -> int | None:
    """A number for people; None where there is none, or something else stands in its place."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _of(whole: Series, stack: DicomStack) -> Series:
    first: SliceHeader = stack.slices[0]
    return replace(
        whole,
        paths=tuple(sorted({one.path for one in stack.slices})),
        kind=_kind(first.marks.get("ImageType")),
        part=stack.part,
        slices=len(stack.slices),
        size=first.shape,
        spacing=(stack.distance, *first.spacing),
        stack=stack,
    )


def _kind(image_type: Any) -> str:
    words = [image_type] if isinstance(image_type, str) else image_type or ()
    return " ".join(str(word) for word in words).lower()


def _labelled(series: Sequence[Series]) -> list[Series]:
    total = Counter(one.number for one in series if one.uid)
    seen: Counter[int | None] = Counter()
    labelled = []
    for place, one in enumerate(series):
        seen[one.number] += 1
        if one.number is None:
            label = f"#{place + 1}"
        else:
            label = f"{one.number}.{seen[one.number]}" if total[one.number] > 1 else f"{one.number}"
        labelled.append(replace(one, label=label))
    return labelled


def _listed(series: Sequence[Series]) -> str:
    texts = [one.listing for one in series[:_MOST_LISTED]]
    more = len(series) - len(texts)
    return "; ".join(texts) + (f"; and {more} more" if more else "")


def _dicom_files(source: Path | Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The DICOM files in a place, and what could not be looked at."""
    if not isinstance(source, Path):
        return list(source), []
    if source.is_file():
        return [source], []
    files: list[Path] = []
    passed: dict[str, list[str]] = {}

    def refused(place: Path, _: str) -> None:
        passed.setdefault("folders that this user may not search", []).append(place.name)

    for path in (base / name for base, names in walked(source, refused) for name in names):
        if not is_plain(path):
            word = what_else(path)
            kind = (
                "links to files that are not there" if word.startswith(("is a link", "does")) else "pipes and devices"
            )
            passed.setdefault(kind, []).append(path.name)
        elif not os.access(path, os.R_OK):
            passed.setdefault("files that this user may not read", []).append(path.name)
        elif is_dicom(path):
            files.append(path)
        elif path.suffix.lower() in (".dcm", ".ima"):
            passed.setdefault("files that are damaged or no DICOM, whatever their names", []).append(path.name)
    return files, [_passed_over(kind, names) for kind, names in passed.items()]


def _passed_over(kind: str, names: Sequence[str]) -> str:
    some = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
    return f"Passed over: {kind} ({len(names)}): {some}."
