"""Everything in some folders that is a scan, or looks like one and cannot be read, each file once.

A file is judged by its name without regard to case, then by what it is (a link to nothing, a pipe), and only a plain
file is opened, for its first bytes: a pipe would wait for ever, and a device never ends. What neither is called nor
begins like a scan is no business of ours.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coslice.errors import CosliceError
from coslice.io.plain_files import walked
from coslice.training.collection.skips import HIDDEN, NO_SLICES, SkippedScan, Unusable, legible, skipped_of

__all__ = ["Candidate", "inventory", "stem_of"]

_NIFTI = (".nii", ".nii.gz")
_DICOM = (".dcm", ".dicom", ".ima")
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".z")
_FORMATS = {
    ".mha": "MetaImage",
    ".mhd": "MetaImage",
    ".nrrd": "NRRD",
    ".nhdr": "NRRD",
    ".mgz": "MGH",
    ".mgh": "MGH",
    ".mnc": "MINC",
    ".head": "AFNI",
    ".par": "Philips PAR/REC",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".hdr": "Analyze or NIfTI pair (.hdr, .img)",
    ".img": "Analyze or NIfTI pair (.hdr, .img)",
}
"""By the end of a name: formats of scans that are not read."""
_POINTERS = (b"/annex/objects/", b"../.git/annex/", b"version https://git-lfs")
_HEAD = 352
_PLACEHOLDERS = {"", "0", "none", "unknown", "anon", "anonym", "anonymous", "anonymized", "anonymised", "patient", "id"}
"""Numbers that are given to patients who shall have none."""


@dataclass(frozen=True)
class Candidate:
    """What may be a scan.

    Attributes:
        name: its file's stem, or its series' folder.
        paths: its file, or all files of a series.
        kind: "nifti" or "dicom".
        parts: names of folders below the places that were searched, then of the file (its stem) or the series.
        modality: as DICOM says it.
        patient: DICOM's PatientID, never to be written anywhere; empty if there is none.
        alias: a name instead of `name`, where that holds the patient's number or name.
    """

    name: str
    paths: tuple[Path, ...]
    kind: str
    parts: tuple[str, ...] = ()
    modality: str = ""
    patient: str = ""
    alias: str = ""

    @property
    def place(self) -> Path:
        return self.paths[0] if self.kind == "nifti" else self.paths[0].parent


def inventory(places: Sequence[Path]) -> tuple[list[Candidate], list[SkippedScan]]:
    """Candidates in `places`, files or folders searched to the bottom (but .git), ordered by path; and what is none.

    Raises:
        CosliceError: a place that does not exist, or a file that is no scan though it was asked for.
    """
    # On demand: a machine that is lent to train on packed slices need have nothing that reads scans.
    from coslice.io.dicom import dicom_series

    found: dict[str, dict[str, Path]] = {"nifti": {}, "dicom": {}}
    skipped: list[SkippedScan] = []
    refused: dict[str, SkippedScan] = {}
    for place in places:
        if not os.path.lexists(place) or (place.is_symlink() and not place.exists()):
            raise CosliceError(f"{legible(place)} does not exist; give files or folders of NIfTI or DICOM scans.")
        for path in _files(place, skipped) if place.is_dir() else [place]:
            real = os.path.realpath(path)
            try:
                kind = _kind(path)
            except Unusable as error:
                refused.setdefault(real, skipped_of(path, error))
                continue
            if kind:
                found[kind].setdefault(real, path)
            elif path == place:
                raise CosliceError(
                    f"{legible(place)} is neither a NIfTI nor a DICOM file; give scans, or folders of scans."
                )
    # What has an odd name beside a good one is used by the good one.
    skipped += [one for real, one in refused.items() if real not in found["nifti"] and real not in found["dicom"]]
    root = _root(places)
    candidates = [
        Candidate(_text(stem_of(path.name)), (path,), "nifti", _parts(path, root)) for path in found["nifti"].values()
    ]
    used: set[Path] = set()
    for series in dicom_series(tuple(found["dicom"].values())):
        used.update(series.paths)
        patient, alias = _patient(series.paths[0])
        folder = series.paths[0].parent
        parts = tuple(_text(part) for part in _below(folder, root))
        candidates.append(Candidate(_text(folder.name), series.paths, "dicom", parts, series.modality, patient, alias))
    for path in found["dicom"].values():
        if path not in used:
            reason = f"{legible(path)} is a DICOM object without slices of a scan, or a second copy of one."
            skipped.append(SkippedScan(path, reason, NO_SLICES))
    return sorted(candidates, key=lambda candidate: str(candidate.place)), skipped


def stem_of(name: str) -> str:
    """The name of a NIfTI file without .nii or .nii.gz, in any case."""
    return re.sub(r"(\.nii)?(\.gz)?$", "", name, count=1, flags=re.IGNORECASE)


def _files(folder: Path, skipped: list[SkippedScan]) -> Iterator[Path]:
    """All files, sorted; a folder that links lead back to is searched once."""

    def refused(place: Path, why: str) -> None:
        reason = f"{legible(place)} cannot be searched ({why}); change its permissions, or leave it out."
        skipped.append(SkippedScan(place, reason, "folders that cannot be searched"))

    # What DataLad keeps in .git is found again through its links, which have names.
    yield from sorted(base / name for base, names in walked(folder, refused, (".git",)) for name in names)


def _kind(path: Path) -> str:
    """ "nifti", "dicom", or nothing for what is no scan.

    Raises:
        Unusable: what is or looks like a scan, and cannot be read.
    """
    from coslice.io.dicom import is_dicom

    ends, where = _suffix(path.name), legible(path)
    if path.name.startswith("."):
        if ends:
            raise Unusable(f"{where} is hidden, as the companions are that macOS writes beside a file.", HIDDEN)
        return ""
    # DICOM files often have no suffix, or one that is the end of a number.
    likely = bool(ends) or path.suffix == "" or path.suffix[1:].isdigit()
    head = _head(path, likely)
    if head is None:
        return ""
    if not head and ends:
        raise Unusable(f"{where} is empty; copy it again.", "empty files")
    if head.startswith(_POINTERS):
        raise Unusable(
            f"{where} is only a pointer to content that git-annex or Git LFS keeps; fetch it.", "content not fetched"
        )
    if ends == ".nii":
        return "nifti"
    if is_dicom(path):
        return "dicom"
    if _is_bare_dicom(head):
        raise Unusable(
            f"{where} is DICOM without its first 132 bytes (preamble and DICM); write it anew with a DICOM tool.",
            "DICOM without preamble",
        )
    if ends == ".dcm":
        raise Unusable(f"{where} is damaged or no DICOM file; copy it again.", "damaged or no DICOM, whatever the name")
    if _is_nifti(head):
        raise Unusable(
            f"{where} holds NIfTI, but its name does not end in .nii or .nii.gz; rename it to have it used.",
            "NIfTI under another name",
        )
    if ends and _is_scan(path, ends, head):
        what = _FORMATS.get(ends, "NIfTI packed otherwise than by gzip")
        raise Unusable(f"{where} is {what}, which is not read; convert it to .nii.gz.", f"{what}: not read")
    return ""


def _suffix(name: str) -> str:
    """What kind of scan a name tells of: ".nii", ".dcm", one of the formats, or ".nii.*" for NIfTI packed oddly."""
    low = name.lower()
    if low.endswith(_NIFTI):
        return ".nii"
    if low.endswith(_DICOM):
        return ".dcm"
    bare = next((low.removesuffix(packed) for packed in _PACKED if low.endswith(packed)), low)
    end = os.path.splitext(bare)[1]
    return ".nii.*" if end == ".nii" else end if end in _FORMATS else ""


def _head(path: Path, likely: bool) -> bytes | None:
    """The first bytes of a plain file; None for what is none and is not likely a scan either.

    Raises:
        Unusable: no plain file, or one that cannot be opened.
    """
    where = legible(path)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Unusable(f"{where} is a pipe, socket or device, not a file; leave it out.", "no plain files")
        with open(path, "rb") as stream:
            return stream.read(_HEAD)
    except OSError as error:
        annexed = os.path.islink(path) and "annex/objects" in os.readlink(path)
        if not (likely or annexed):
            return None
        if error.errno == errno.ELOOP:
            raise Unusable(f"{where} is a link that leads to itself; remove it.", "links to themselves") from error
        if annexed:
            words = "links to content that git-annex (DataLad) has not fetched; get it first"
            raise Unusable(f"{where} {words}.", "content not fetched") from error
        if isinstance(error, FileNotFoundError):
            raise Unusable(f"{where} is a link to nothing; bring back what it leads to.", "links to nothing") from error
        if isinstance(error, PermissionError):
            raise Unusable(
                f"{where} may not be read by this user; change its permissions.", "no permission to read"
            ) from error
        raise Unusable(f"{where} cannot be opened ({error.strerror}); copy it again.", "cannot be opened") from error


def _is_nifti(head: bytes) -> bool:
    return head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0"


def _is_bare_dicom(head: bytes) -> bool:
    """Whether a file begins with the first elements that DICOM objects have, and not with a preamble."""
    if len(head) < 8 or head[:2] not in (b"\x08\x00", b"\x02\x00") or head[3] != 0:
        return False
    explicit = head[4:6] in (b"UL", b"CS", b"UI", b"OB", b"DA", b"TM", b"LO", b"SH")
    implicit = head[2] in (0x00, 0x01, 0x05, 0x08, 0x16, 0x18) and head[6:8] == b"\0\0"
    return explicit or implicit


def _is_scan(path: Path, ends: str, head: bytes) -> bool:
    """Of a format's suffix, which others use too: whether this is that format, and not half of what is counted."""
    name = path.name.lower()
    stem = name.split(ends)[0]
    if ends == ".hdr":
        # An Analyze header says its length; ENVI and Radiance, which use the suffix too, begin with words.
        return name != stem + ends or head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c", b"\x1c\x02\0\0", b"\0\0\x02\x1c")
    if ends not in (".img", ".par"):
        return True
    beside = {other.name.lower() for other in path.parent.iterdir()}
    if ends == ".par":
        return f"{stem}.rec" in beside
    return not any(f"{stem}.hdr{packed}" in beside for packed in ("", *_PACKED))


def _root(places: Sequence[Path]) -> str:
    """The folder that all places are in, or the one place."""
    folders = [os.path.abspath(place if place.is_dir() else place.parent) for place in places]
    try:
        return os.path.commonpath(folders)
    except ValueError:  # none, or on different drives
        return os.sep


def _below(path: Path, root: str) -> tuple[str, ...]:
    """Folders and name of `path` below `root`; as it was found, since a link's target has another name."""
    return Path(os.path.relpath(os.path.abspath(path), root)).parts


def _parts(path: Path, root: str) -> tuple[str, ...]:
    *folders, name = _below(path, root)
    return (*(_text(folder) for folder in folders), _text(stem_of(name)))


def _text(name: str) -> str:
    """A file's name as text that can be written anywhere; bytes that are no UTF-8 are replaced."""
    return os.fsencode(name).decode("utf-8", "replace")


def _patient(path: Path) -> tuple[str, str]:
    """PatientID of a DICOM file, and "series" where the name of its folder would give the patient away."""
    from coslice.io.dicom.dicom_files import read_dataset

    try:
        header: Any = read_dataset(path, ["PatientID", "PatientName"], pixels=False)
        patient, name = (str(header.get(tag) or "").strip() for tag in ("PatientID", "PatientName"))
    except Exception:  # a broken file says why when it is read as a whole
        return "", ""
    patient = "" if patient.lower() in _PLACEHOLDERS else patient
    words = {word.lower() for word in (patient, *re.split(r"[\^ ,=]+", name)) if len(word) > 2}
    told = path.parent.name.lower()
    return patient, "series" if any(word in told for word in words) else ""
