"""A DICOM series opened: its voxels, and what a derived series must know of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from coslice.errors import CosliceError
from coslice.io.dicom.carried import carried
from coslice.io.dicom.dicom_files import read_dataset
from coslice.io.dicom.dicom_stacks import DicomStack
from coslice.io.dicom.headers import UNREADABLE, SliceHeader, damaged, found, layers, quiet
from coslice.io.dicom.series import Series, choose_series, find_series
from coslice.io.dicom.stored_pixels import stored_pixels
from coslice.io.memory import check_memory, check_packing, on_disk
from coslice.io.nifti import canonical_volume
from coslice.volume import ROUNDED, Volume, shears

__all__ = ["DicomScan", "open_dicom", "read_dicom"]

_HOUNSFIELD = ("HU", "US", "UNSPECIFIED", "")
"""What files of HU say of their values; US is "unspecified"."""


@dataclass(frozen=True, eq=False)
class DicomScan:
    """One stack of a DICOM series.

    Attributes:
        volume: in canonical order, rescaled (CT: HU).
        series: where it was found and what it is called.
        template: the elements of its first slice that a derived series may carry (`write_dicom` chooses among them).
        notes: what was assumed, passed over, or is unusual; full sentences.
    """

    volume: Volume
    series: Series
    template: pydicom.Dataset
    notes: tuple[str, ...] = ()

    @property
    def stack(self) -> DicomStack:
        """The slices' headers, in order."""
        stack = self.series.stack
        assert stack is not None  # only a series with a stack has been opened
        return stack

    @property
    def modality(self) -> str:
        """ "CT", "MR", ..."""
        return self.series.modality

    @property
    def along(self) -> str:
        """The axis of the volume ("z", "y" or "x") along which the slices are stacked."""
        return {"S": "z", "I": "z", "A": "y", "P": "y", "R": "x", "L": "x"}[self.volume.orientation[2]]

    @property
    def slice_thickness_mm(self) -> float | None:
        """How thick the slices are in mm, which need not be how far apart; None if the files do not say."""
        return self.stack.thickness

    @property
    def gap_mm(self) -> float | None:
        """What lies between two slices and in neither, in mm: distance - thickness, negative if they overlap."""
        thickness = self.stack.thickness
        return None if thickness is None else self.stack.distance - thickness

    @property
    def tilt_degrees(self) -> float:
        """Between the slices' normal and the line they are stacked along, as of a tilted gantry (`upright`)."""
        return self.stack.tilt


def open_dicom(source: str | Path | Sequence[Path], wanted: str | int | None = None) -> DicomScan:
    """One stack of images, its place, and what its headers say.

    Args:
        source: a folder (searched to the bottom), a file of many frames, or files, in any order.
        wanted: which series, by number, UID or a part of the description (`choose_series`); None where there is one.

    Raises:
        CosliceError: no series, or several and none chosen (they are listed); a file that is damaged, or compressed
            in a way no installed decoder reads; colour; fewer than two slices; slices of different sizes, spacings or
            directions, in the same place, missing, uneven, woven together or not in a line; CT without a rescale
            slope.
    """
    place = Path(source) if isinstance(source, (str, Path)) else source
    name = place if isinstance(place, Path) else (place[0].parent if place else Path())
    if isinstance(place, Path) and not place.exists():
        raise CosliceError(f"{place} does not exist; give a folder of DICOM files, or one of many frames.")
    series, notes = find_series(place)
    chosen = choose_series(series, wanted, name)
    if chosen.stack is None:
        raise CosliceError(chosen.problem)
    if len(series) > 1:
        # Without descriptions: people write names into them, and these sentences are kept beside the results.
        others = "; ".join(replace(one, description="").listing for one in series if one is not chosen and one.uid)
        read = replace(chosen, description="").listing
        broken = [one.problem for one in series if not one.uid]
        notes = (*notes, *([f"Of several series, {read}, is read; not read: {others}."] if others else []))
        notes = (*notes, *broken)
    return _opened(chosen, notes)


def read_dicom(source: str | Path | Sequence[Path], wanted: str | int | None = None) -> Volume:
    """The volume of one series, in canonical order, rescaled (CT: HU), float32; otherwise as `open_dicom`."""
    return open_dicom(source, wanted).volume


def _opened(series: Series, notes: tuple[str, ...]) -> DicomScan:
    stack = series.stack
    assert stack is not None
    order = {(one.path, one.frame): k for k, one in enumerate(stack.slices)}
    count, (rows, columns) = len(stack.slices), stack.slices[0].shape
    what, needed = f"{series.paths[0].parent} ({count} slices of {rows} x {columns})", 4 * count * rows * columns
    check_packing(what, needed, sum(map(on_disk, series.paths)))
    check_memory(what, 2 * needed, "give fewer of its files")
    values: np.ndarray | None = None
    remarks: list[str] = []
    template = None
    for path in series.paths:
        of_file = [one for one in stack.slices if one.path == path]
        try:
            with quiet():
                dataset = read_dataset(path)
                stored = stored_pixels(dataset, path)
                # Only now: until here a header may have promised more than there is.
                if values is None:
                    values = np.empty((len(stack.slices), *stack.slices[0].shape), dtype=np.float32)
                for one in of_file:
                    values[order[one.path, one.frame]] = _rescaled(stored[one.frame or 0], one)
                if template is None:
                    sources = layers(dataset)[of_file[0].frame or 0]
                    template = carried(sources)
                    remarks += _unusual(sources, series.modality)
        except CosliceError:
            raise
        except UNREADABLE as error:
            raise damaged(path, error) from error
    assert template is not None and values is not None
    affine = stack.affine
    volume = canonical_volume(values.transpose(2, 1, 0), affine)
    if shears(affine) and not shears(affine, ROUNDED):
        # Rounded: sform has the positions as they are, qform the right angles that ITK takes them for.
        straight = affine.copy()
        straight[:3, 2] = np.cross(affine[:3, 0], affine[:3, 1])
        straight[:3, 2] *= stack.distance / np.linalg.norm(straight[:3, 2]) * np.sign(straight[:3, 2] @ affine[:3, 2])
        volume = replace(volume, qform=straight @ np.linalg.inv(affine) @ volume.affine, qform_code=1)
    if series.part:
        remarks.append(f"The series holds several stacks; this is the one with {series.part}.")
    if np.sin(np.radians(stack.tilt)) > ROUNDED:
        remarks.append(
            f"The slices are tilted by {stack.tilt:.1f} degrees against the line they are stacked along (a tilted "
            "gantry), so the volume's axes are not at right angles."
        )
    return DicomScan(volume, series, template, (*notes, *stack.remarks, *remarks))


def _rescaled(stored: np.ndarray, one: SliceHeader) -> np.ndarray:
    values = stored.astype(np.float32)
    values *= np.float32(one.rescale[0])
    values += np.float32(one.rescale[1])
    if values.shape != one.shape or not np.isfinite(values).all():
        raise CosliceError(f"{one.path} has voxels that are NaN or infinite, or too few of them; export it again.")
    return values


def _unusual(sources: list[Any], modality: str) -> list[str]:
    kind = str(found(sources, "RescaleType") or "").strip().upper()
    said = []
    if modality == "CT" and kind not in _HOUNSFIELD:
        said.append(f"The files call their values {kind}, which are no HU.")
    if str(found(sources, "PhotometricInterpretation") or "").strip() == "MONOCHROME1":
        said.append("The files show small values bright (MONOCHROME1); the values were read as they are stored.")
    return said
