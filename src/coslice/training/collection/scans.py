"""The scans a prior can be trained on: found in folders, looked at, and refused before hours are spent.

A collection of scans teaches one prior only if it is of one kind: one modality, and in the plane of the
prior images of one sort. A stack of thick axial slices has fine pixels in its plane "yx" and long,
coarse ones in "zx"; a collection that has both sorts in the prior's plane would teach it two things at
once. With pixels p x q mm in that plane, a scan is coarse where max(p, q)/min(p, q) > 1.5.

The slices' own directions count too. With M the affine's first three columns and e_k the axes of the
patient, a scan is tilted by

    t = max_k arccos(|M_k . e_k| / |M_k|),

and beyond 20 degrees its "axial" slices are not what others call axial.

Files are looked at whole, since a scan that was cut short has a perfect header. What has been packed
before is known by a stamp of its files' paths, sizes and dates, and is not read again.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from coslice.axes import axis_number, stacked_along
from coslice.errors import CosliceError
from coslice.volume import Volume

__all__ = ["FoundScans", "ScanSource", "SkippedScan", "check_directions", "find_scans", "plane_axes"]

_NIFTI = (".nii", ".nii.gz")
_COARSE = 1.5
_TILT = 20.0
_SMALLEST = 32
_AIR = -100.0
"""No magnitude image of MR goes below this; every CT with air in it does."""


@dataclass(frozen=True)
class ScanSource:
    """A readable scan, not held in memory.

    Attributes:
        name: unlike that of any other scan found with it.
        paths: its file, or all files of a DICOM series.
        kind: "nifti" or "dicom".
        shape: voxels (z, y, x).
        spacing: (dz, dy, dx) in mm.
        modality: "CT" or "MR", or DICOM's other words.
        tilt: largest angle between an axis of the grid and that of the patient, in degrees.
        subject: scans with the same subject are of one person, as far as is known.
        stamp: changes when a file is moved or written to.
    """

    name: str
    paths: tuple[Path, ...]
    kind: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    modality: str
    tilt: float = 0.0
    subject: str = ""
    stamp: str = ""

    def read(self) -> Volume:
        """The scan, in canonical order.

        Raises:
            CosliceError: as `read_nifti` and `read_dicom`.
        """
        return _read(self.kind, self.paths)


@dataclass(frozen=True)
class SkippedScan:
    """A file (or folder of a series) that is no usable scan, and why: one sentence."""

    path: Path
    reason: str


@dataclass(frozen=True)
class FoundScans:
    """What `find_scans` found."""

    scans: tuple[ScanSource, ...]
    skipped: tuple[SkippedScan, ...] = ()


@dataclass(frozen=True)
class _Candidate:
    name: str
    paths: tuple[Path, ...]
    kind: str
    modality: str = ""
    subject: str = ""

    @property
    def place(self) -> Path:
        return self.paths[0] if self.kind == "nifti" else self.paths[0].parent


def find_scans(
    places: Sequence[Path], strict: bool = False, known: Mapping[str, ScanSource] | None = None
) -> FoundScans:
    """All scans in `places`: NIfTI files, DICOM files, and folders of them, searched to the bottom.

    A file that says it is a scan (by its name or its first bytes) and cannot be read is skipped, with the reason, or
    refused with `strict`. Other files are passed over in silence, and so are localisers and DICOM objects that are no
    images.

    Args:
        places: files and folders.
        strict: refuse the whole collection for one bad scan.
        known: scans by stamp (`coslice.training.collection.pack.known_scans`) that need not be read again.

    Raises:
        CosliceError: no such place, nothing readable, a bad scan with `strict`, scans of several modalities.
    """
    candidates, skipped = _candidates([Path(place) for place in places])
    scans: list[ScanSource] = []
    for candidate in candidates:
        try:
            scans.append(_looked_at(candidate, known or {}))
        except CosliceError as error:
            skipped.append(SkippedScan(candidate.place, str(error)))
    if strict and skipped:
        raise CosliceError(
            f"{_counted(len(skipped), 'scan')} cannot be used, the first because: {skipped[0].reason.rstrip('.')}; "
            "mend or remove it, or leave out strict to skip such scans."
        )
    if not scans:
        searched = ", ".join(str(place) for place in places) or "nothing"
        why = f" (the first of {len(skipped)} skipped: {skipped[0].reason.rstrip('.')})" if skipped else ""
        raise CosliceError(
            f"No readable scan was found in {searched}{why}; give NIfTI or DICOM files or their folders."
        )
    _check_modality(scans)
    return FoundScans(_distinct(scans), tuple(skipped))


def plane_axes(plane: str) -> tuple[int, int, int]:
    """Axes of a volume (z, y, x) that are stacked, rows and columns in `plane`: "yx" -> (0, 1, 2).

    Raises:
        CosliceError: `plane` is not two different axes.
    """
    return axis_number(stacked_along(plane)), axis_number(plane[0]), axis_number(plane[1])


def check_directions(scans: Sequence[ScanSource], plane: str) -> None:
    """Refuse scans that do not show one sort of image in `plane`.

    Raises:
        CosliceError: a scan that is tilted by more than 20 degrees, or smaller than 32 pixels in the plane; long
            pixels in some scans and square ones in others; no such plane.
    """
    _, rows, columns = plane_axes(plane)
    coarse: dict[bool, ScanSource] = {}
    for scan in scans:
        if scan.tilt > _TILT:
            raise CosliceError(
                f"{_place(scan)} is tilted by {scan.tilt:.0f} degrees against the axes of the patient, at most "
                f"{_TILT:.0f} are taken; resample it to straight axes, or leave it out."
            )
        size = scan.shape[rows], scan.shape[columns]
        if min(size) < _SMALLEST:
            raise CosliceError(
                f"{_place(scan)} has slices of {size[0]} x {size[1]} pixels in plane {plane}, at least "
                f"{_SMALLEST} x {_SMALLEST} are needed; leave it out, or choose another plane."
            )
        pixel = sorted((scan.spacing[rows], scan.spacing[columns]))
        coarse.setdefault(pixel[1] > _COARSE * pixel[0], scan)
    if len(coarse) == 2:
        fine, long = coarse[False], coarse[True]
        raise CosliceError(
            f"The scans were sliced in different directions: in plane {plane}, {_place(long)} has pixels of "
            f"{long.spacing[rows]:.3g} x {long.spacing[columns]:.3g} mm and {_place(fine)} of "
            f"{fine.spacing[rows]:.3g} x {fine.spacing[columns]:.3g} mm; train on one sort, or choose another plane."
        )


def _candidates(places: Sequence[Path]) -> tuple[list[_Candidate], list[SkippedScan]]:
    # On demand, as in `_read`: a machine that is lent to train on packed slices need have nothing that reads scans.
    from coslice.io.dicom import dicom_series, is_dicom

    nifti: dict[Path, Path] = {}
    dicom: dict[Path, Path] = {}
    skipped: list[SkippedScan] = []
    for place in places:
        if not place.exists():
            raise CosliceError(f"{place} does not exist; give files or folders of NIfTI or DICOM scans.")
        for path in _files(place) if place.is_dir() else [place]:
            if path.name.endswith(_NIFTI):
                nifti.setdefault(path.resolve(), path)
            elif is_dicom(path):
                dicom.setdefault(path.resolve(), path)
            elif path.suffix.lower() == ".dcm":
                skipped.append(SkippedScan(path, f"{path} is damaged or no DICOM file; copy it again."))
            elif path == place:
                raise CosliceError(f"{place} is neither a NIfTI nor a DICOM file; give scans, or folders of scans.")
    found = [_Candidate(_stem(path), (path,), "nifti", subject=_subject(path)) for path in nifti.values()]
    for series in dicom_series(tuple(dicom.values())):
        found.append(_Candidate(series.paths[0].parent.name, series.paths, "dicom", series.modality, series.subject))
    return sorted(found, key=lambda candidate: str(candidate.place)), skipped


def _files(folder: Path) -> list[Path]:
    files, visited = [], set()
    for base, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(base)
        if real in visited:
            # A link led back to where we have been.
            folders.clear()
            continue
        visited.add(real)
        files += [Path(base) / name for name in names if not name.startswith(".")]
    return sorted(files)


def _looked_at(candidate: _Candidate, known: Mapping[str, ScanSource]) -> ScanSource:
    stamp = _stamp(candidate.paths)
    if stamp in known:
        return replace(known[stamp], name=candidate.name, paths=candidate.paths)
    volume = _read(candidate.kind, candidate.paths)
    modality = candidate.modality or ("CT" if float(volume.data.min()) < _AIR else "MR")
    directions = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    tilt = float(np.degrees(np.arccos(np.clip(np.abs(np.diag(directions)), 0, 1)).max()))
    return ScanSource(
        name=candidate.name,
        paths=candidate.paths,
        kind=candidate.kind,
        shape=volume.shape,
        spacing=volume.spacing,
        modality=modality,
        tilt=tilt,
        subject=candidate.subject,
        stamp=stamp,
    )


def _read(kind: str, paths: tuple[Path, ...]) -> Volume:
    if kind == "nifti":
        from coslice.io.nifti import read_nifti

        return read_nifti(paths[0])
    from coslice.io.dicom import read_dicom

    return read_dicom(paths)


def _stamp(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        status = path.stat()
        digest.update(f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")


def _subject(path: Path) -> str:
    # The BIDS standard names files and folders after the person: sub-01/ses-2/sub-01_ses-2_T1w.nii.gz.
    match = re.match(r"(sub-[A-Za-z0-9]+)_", path.name)
    return match.group(1) if match else ""


def _check_modality(scans: Sequence[ScanSource]) -> None:
    first = scans[0]
    for other in scans:
        if other.modality != first.modality:
            raise CosliceError(
                f"Scans of different modalities were given, {_place(first)} is {first.modality} and {_place(other)} is "
                f"{other.modality}; train one prior for each."
            )


def _distinct(scans: Sequence[ScanSource]) -> tuple[ScanSource, ...]:
    """With numbers behind names that occur more than once."""
    seen: dict[str, int] = {}
    taken = {scan.name for scan in scans}
    result = []
    for scan in scans:
        name, number = scan.name, seen.get(scan.name, 0)
        while number and (name := f"{scan.name}_{number + 1}") in taken:
            number += 1
        seen[scan.name] = number + 1
        taken.add(name)
        result.append(replace(scan, name=name))
    return tuple(result)


def _place(scan: ScanSource) -> str:
    return str(scan.paths[0] if scan.kind == "nifti" else scan.paths[0].parent)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
