"""A scan from what a command names: a NIfTI file, a folder of DICOM, or one DICOM file of many frames."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from coslice.errors import CosliceError
from coslice.escapes import shown
from coslice.io.nifti import fits_memory, nifti_remarks, nifti_shape, read_nifti
from coslice.preparation import parse_slices
from coslice.values import Values, reading_of, settle
from coslice.volume import Volume, shears

if TYPE_CHECKING:
    from coslice.io.dicom import DicomScan

__all__ = ["LARGE", "OpenedScan", "names_of", "open_scan", "slices_said"]

LARGE = 2**27
"""Voxels of a file of which only the slices that are asked for are read; as float32 they take half a GiB."""
_MOST_NAMES, _LEAST_NAME = 20_000, 4
_WORD = re.compile(r"[a-z]+")
"""No name of a person in a file's, but what it is."""


@dataclass(frozen=True, eq=False)
class OpenedScan:
    """A scan, and what its file says beside the voxels.

    Attributes:
        volume: the scan, in its own units.
        dicom: where it comes from; None of NIfTI.
        remarks: on how it was read, in full sentences.
        cut: first and last (not included) of the slices from the feet that were read; None where all were.
    """

    volume: Volume
    dicom: DicomScan | None = None
    remarks: tuple[str, ...] = ()
    cut: tuple[int, int] | None = None

    @property
    def modality(self) -> str | None:
        """ "CT" or "MR", where the file says it."""
        return None if self.dicom is None else self.dicom.modality

    @property
    def kind(self) -> str:
        """ "ct" or "mr": as the file says it, else by its numbers."""
        said = (self.modality or "").lower()
        return said if said in ("ct", "mr") else "ct" if reading_of(self.volume).ct else "mr"

    @property
    def along(self) -> str | None:
        """The axis along which the file's slices are stacked, where it says it."""
        return None if self.dicom is None else self.dicom.along

    @property
    def slice_thickness_mm(self) -> float | None:
        """How thick the slices are, mm, where the file says it."""
        return None if self.dicom is None else self.dicom.slice_thickness_mm

    def settled(self, values: Values | None) -> OpenedScan:
        """The same in HU where it is a CT; by what `values` says of its numbers, else by looking at them."""
        found = settle(self.volume, self.kind, values)
        return replace(self, volume=found.scan, remarks=(*self.remarks, *found.remarks))


def slices_said(volume: Volume, kept: tuple[int, int], count: int) -> str:
    """Where a cut along z lies, from the feet, in mm, and as the file counts, in a sentence.

    Args:
        volume: the slices that were kept.
        kept: first and last (not included) of them, from the feet.
        count: of the slices of the file.
    """
    first, last = kept[0], kept[1] - 1
    middle = [(n - 1) / 2 for n in volume.shape[:0:-1]]
    low, high = (float((volume.affine @ (*middle, k, 1))[2]) for k in (0, last - first))
    said = f"Slices {first} to {last} from the feet were kept, {low:.1f} to {high:.1f} mm"
    if "I" in volume.orientation:
        said += f"; the file counts from the head, where they are {count - 1 - last} to {count - 1 - first}"
    return said + "."


def names_of(*places: str | Path | None) -> tuple[str, ...]:
    """Names that files and folders of the user have, and all that lies in these: they may be those of persons.

    A word in small letters, as "scans", is none.
    """
    found: set[str] = set()
    for place in map(Path, filter(None, places)):
        if not place.exists():
            continue
        below = [path for path, _ in zip(place.rglob("*"), range(_MOST_NAMES), strict=False)] if place.is_dir() else []
        found |= {str(path) for path in (place, place.absolute())} | {path.name for path in (place, *below)}
    return tuple(sorted(name for name in found if len(name) >= _LEAST_NAME and not _WORD.fullmatch(name)))


def open_scan(path: Path, series: str | None = None, slices: str | None = None) -> OpenedScan:
    """The scan that `path` holds; one of a tilted gantry is put upright, which is said.

    Args:
        path: NIfTI, a folder of DICOM files, or a DICOM file of many frames.
        series: which of several DICOM series, by number, UID or words of its description.
        slices: "FIRST:LAST" that are wanted. Of a NIfTI file beyond `LARGE` voxels no others are read; smaller ones are
            read whole, and the caller cuts them.

    Raises:
        CosliceError: nothing that can be read as one scan; several series and none chosen.
    """
    if path.name.lower().endswith((".nii", ".nii.gz")) and not path.is_dir():
        return _of_nifti(path, series, slices)
    from coslice.io.dicom import is_dicom, open_dicom, upright  # takes long to load, and most scans are NIfTI

    if not (path.is_dir() or is_dicom(path)):
        return _of_nifti(path, series, slices)
    scan = open_dicom(path, series)
    if not shears(scan.volume.affine):
        return OpenedScan(scan.volume, scan, scan.notes)
    volume, note = upright(scan.volume)
    return OpenedScan(volume, scan, (*scan.notes, *([note] if note else [])))


def _of_nifti(path: Path, series: str | None, slices: str | None) -> OpenedScan:
    if series is not None:
        raise CosliceError(
            f"--series {shown(series)} was given, but {path.name} is no DICOM, and holds one scan; leave it out."
        )
    remarks = nifti_remarks(path)
    if slices is None:
        return OpenedScan(read_nifti(path), remarks=remarks)
    shape = nifti_shape(path)
    if math.prod(shape) <= LARGE and fits_memory(path):
        return OpenedScan(read_nifti(path), remarks=remarks)
    kept = parse_slices(slices, shape[0])
    volume = read_nifti(path, kept)
    said = (
        f"{path.name} holds {' x '.join(map(str, shape))} voxels: the slices that were asked for were read and no "
        "others, and what its numbers are was told from these."
    )
    return OpenedScan(volume, remarks=(*remarks, said, slices_said(volume, kept, shape[0])), cut=kept)
