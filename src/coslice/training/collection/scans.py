"""The scans a prior can be trained on: found in folders, looked at, and left out before hours are spent.

A collection of scans teaches one prior only if it is of one kind: one modality, and in the plane of the
prior images of one sort. A stack of thick axial slices has fine pixels in its plane "yx" and long,
coarse ones in "zx"; a collection that has both sorts in the prior's plane would teach it two things at
once. With pixels p x q mm in that plane, a scan is coarse where max(p, q)/min(p, q) > 1.5.

The slices' own directions count too. With M the affine's first three columns and e_k the axes of the
patient, a scan is tilted by

    t = max_k arccos(|M_k . e_k| / |M_k|),

and beyond 20 degrees its "axial" slices are not what others call axial.

One scan does not stop the others: what cannot be used is skipped with its reason, and refused on demand only.
Files are looked at whole, since a scan that was cut short has a perfect header. What has been packed
before is known by a stamp of its files' paths, sizes and dates, and is not read again.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from coslice.axes import axis_number, stacked_along
from coslice.errors import CosliceError
from coslice.training.collection.inventory import Candidate, inventory
from coslice.training.collection.label_maps import check_image
from coslice.training.collection.skips import PASSED_OVER, SkippedScan, Unusable, legible, skipped_of
from coslice.training.collection.subjects import ScanClue, check_subject_rule, subjects_of
from coslice.values import Intensities, reading_of
from coslice.volume import Volume
from coslice.window import EMPTY, check_window, scan_window

__all__ = ["COARSE", "SMALLEST", "FoundScans", "ScanSource", "check_directions", "find_scans", "plane_axes"]

COARSE = 1.5
_TILT = 20.0
SMALLEST = 32


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
        subject: a label that scans of one person share; empty for a scan that is alone.
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
class FoundScans:
    """What `find_scans` found.

    Attributes:
        scans: to use.
        skipped: what is not used, with reasons.
        subjects: how many subjects there are and what tells them apart, in a sentence.
    """

    scans: tuple[ScanSource, ...]
    skipped: tuple[SkippedScan, ...] = ()
    subjects: str = ""


@dataclass(frozen=True)
class _Seen:
    """A scan that was looked at, and what its numbers are, unless it was known."""

    scan: ScanSource
    candidate: Candidate
    reading: Intensities | None = None


def find_scans(
    places: Sequence[Path],
    strict: bool = False,
    known: Mapping[str, ScanSource] | None = None,
    plane: str | None = None,
    window: str | None = None,
    subjects: str | None = None,
) -> FoundScans:
    """All scans in `places`: NIfTI files, DICOM files, and folders of them, searched to the bottom.

    What is or looks like a scan and cannot be used is skipped, with the reason, or refused with `strict`: files that
    cannot be read, formats that are not, masks and label maps; with `plane` and `window` also scans that do not fit
    these or most others. Hidden files, localisers and DICOM objects that are no images are counted, but not refused.

    Args:
        places: files and folders.
        strict: refuse the whole collection for one bad scan.
        known: scans by stamp (`coslice.training.collection.pack.known_scans`) that need not be read again.
        plane: rows and columns of the images wanted; None: any scan will do.
        window: they are wanted for, "ct", "mr" or "LOW:HIGH".
        subjects: a table or pattern that says whose the scans are, see `coslice.training.collection.subjects`.

    Raises:
        CosliceError: no such place, nothing usable, a bad scan with `strict`, scans of several modalities.
    """
    if subjects:
        check_subject_rule(subjects)
    candidates, skipped = inventory([Path(place) for place in places])
    seen: list[_Seen] = []
    for candidate in candidates:
        try:
            seen.append(_looked_at(candidate, known or {}, plane, window))
        except CosliceError as error:
            skipped.append(skipped_of(candidate.place, error))
    seen = _fitting(seen, plane, window, skipped)
    bad = [one for one in skipped if one.kind not in PASSED_OVER]
    if strict and bad:
        raise CosliceError(
            f"{_counted(len(bad), 'scan')} cannot be used, the first because: {bad[0].reason.rstrip('.')}; "
            "mend or remove it, or leave out strict to skip such scans."
        )
    if not seen:
        searched = legible(", ".join(str(place) for place in places)) or "nothing"
        first = (bad or skipped)[:1]
        why = f" (the first of {len(skipped)} skipped: {first[0].reason.rstrip('.')})" if first else ""
        raise CosliceError(f"No usable scan was found in {searched}{why}; give NIfTI or DICOM files or their folders.")
    scans = _distinct([one.scan for one in seen])
    _check_modality(scans)
    clues = [
        ScanClue(c.parts, c.patient, c.paths[0].name if c.kind == "nifti" else "") for c in (s.candidate for s in seen)
    ]
    labels, how = subjects_of(clues, subjects)
    labelled = tuple(replace(scan, subject=label) for scan, label in zip(scans, labels, strict=True))
    return FoundScans(labelled, tuple(skipped), how)


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
        _check_fit(scan, plane)
        coarse.setdefault(_is_coarse(scan, plane), scan)
    if len(coarse) == 2:
        fine, long = coarse[False], coarse[True]
        raise CosliceError(
            f"The scans were sliced in different directions: in plane {plane}, {_place(long)} has pixels of "
            f"{long.spacing[rows]:.3g} x {long.spacing[columns]:.3g} mm and {_place(fine)} of "
            f"{fine.spacing[rows]:.3g} x {fine.spacing[columns]:.3g} mm; train on one sort, or choose another plane."
        )


def _check_fit(scan: ScanSource, plane: str) -> None:
    """Refuse a scan that has no images for a prior in `plane`.

    Raises:
        Unusable: it is tilted or too small.
    """
    _, rows, columns = plane_axes(plane)
    if scan.tilt > _TILT:
        raise Unusable(
            f"{_place(scan)} is tilted by {scan.tilt:.0f} degrees against the axes of the patient, at most "
            f"{_TILT:.0f} are taken; resample it to straight axes, or leave it out.",
            f"tilted by more than {_TILT:.0f} degrees",
        )
    size = scan.shape[rows], scan.shape[columns]
    if min(size) < SMALLEST:
        raise Unusable(
            f"{_place(scan)} has slices of {size[0]} x {size[1]} pixels in plane {plane}, at least "
            f"{SMALLEST} x {SMALLEST} are needed; leave it out, or choose another plane.",
            f"slices below {SMALLEST} x {SMALLEST} pixels",
        )


def _is_coarse(scan: ScanSource, plane: str) -> bool:
    _, rows, columns = plane_axes(plane)
    pixel = sorted((scan.spacing[rows], scan.spacing[columns]))
    return pixel[1] > COARSE * pixel[0]


def _fitting(seen: Sequence[_Seen], plane: str | None, window: str | None, skipped: list[SkippedScan]) -> list[_Seen]:
    """Those that fit the plane, the window and each other; the others are added to `skipped`."""
    kept: list[_Seen] = []
    for one in seen:
        try:
            if plane:
                _check_fit(one.scan, plane)
            kept.append(one)
        except Unusable as error:
            skipped.append(skipped_of(one.candidate.place, error))
    if window:
        kept = _in_units(kept, window, skipped)
        wanted = {"ct": "CT", "mr": "MR"}.get(window)
        kept = _one_sort(kept, lambda one: one.scan.modality, wanted, _other_modality, skipped)
    if plane:
        _, rows, columns = plane_axes(plane)

        def other_pixels(one: _Seen, _: Hashable) -> Unusable:
            spacing = one.scan.spacing
            return Unusable(
                f"{_place(one.scan)} has pixels of {spacing[rows]:.3g} x {spacing[columns]:.3g} mm in plane {plane}, "
                "unlike most of the scans; leave it out, or choose another plane.",
                "pixels of another form than those of most scans",
            )

        kept = _one_sort(kept, lambda one: _is_coarse(one.scan, plane), None, other_pixels, skipped)
    return kept


def _one_sort(
    seen: list[_Seen],
    sort: Callable[[_Seen], Hashable],
    wanted: Hashable,
    why: Callable[[_Seen, Hashable], Unusable],
    skipped: list[SkippedScan],
) -> list[_Seen]:
    """Those of the sort that is wanted, or most frequent; all, where it is not clear that these are meant."""
    counts = Counter(map(sort, seen))
    main = wanted if wanted in counts else max(counts, key=lambda key: counts[key], default=None)
    others = len(seen) - counts[main]
    if others > (2 * counts[main] if main == wanted else counts[main] / 2):
        return seen
    for one in seen:
        if sort(one) != main:
            skipped.append(skipped_of(one.candidate.place, why(one, main)))
    return [one for one in seen if sort(one) == main]


def _in_units(seen: Sequence[_Seen], window: str, skipped: list[SkippedScan]) -> list[_Seen]:
    """Those whose numbers are in the unit of the window; the others are added to `skipped`."""
    kept: list[_Seen] = []
    for one in seen:
        found, where = one.reading, _place(one.scan)
        if window == "ct" and found and found.ct and not found.hu:
            reason = f"{where} is CT, but its values, {_ends(found)}, look like {found.verdict}; convert them to HU."
            skipped.append(SkippedScan(one.candidate.place, reason, "CT in other units than HU"))
        else:
            kept.append(one)
    return kept


def _other_modality(one: _Seen, main: Hashable) -> Unusable:
    where, said = _place(one.scan), one.candidate.modality
    if said:
        return Unusable(f"{where} is {said}, but {main} is trained on; leave it out.", f"{said} among {main}")
    looks = f"its values, {_ends(one.reading)}, look like {one.reading.verdict}" if one.reading else "it was no such"
    if main == "CT":
        return Unusable(f"{where} is not taken for CT in HU: {looks}; convert it, or leave it out.", "no CT in HU")
    return Unusable(f"{where} is not taken for {main}: {looks}; leave it out.", f"values of CT among {main}")


def _ends(found: Intensities) -> str:
    return f"{found.low:.6g} to {found.high:.6g}"


def _looked_at(candidate: Candidate, known: Mapping[str, ScanSource], plane: str | None, window: str | None) -> _Seen:
    stamp = _stamp(candidate.paths)
    name = candidate.alias or candidate.name
    if stamp in known:
        before = known[stamp]
        # A pack that was made when names were not veiled keeps them, or its run could not go on.
        name = candidate.name if before.name.startswith(candidate.name) else name
        return _Seen(replace(before, name=name, paths=candidate.paths), candidate)
    volume = _read(candidate.kind, candidate.paths)
    where = legible(candidate.place)
    stacked = plane_axes(plane)[0] if plane else 0
    if volume.shape[stacked] < 2:
        raise Unusable(f"{where} holds one slice, at least two are needed; leave it out.", "one slice")
    if candidate.kind == "nifti":
        check_image(volume.data, candidate.parts, where)
    if window:
        _check_shown(volume, window, where)
    found = reading_of(volume)
    modality = candidate.modality or ("CT" if found.hu else "MR")
    directions = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    tilt = float(np.degrees(np.arccos(np.clip(np.abs(np.diag(directions)), 0, 1)).max()))
    scan = ScanSource(
        name=name,
        paths=candidate.paths,
        kind=candidate.kind,
        shape=volume.shape,
        spacing=volume.spacing,
        modality=modality,
        tilt=tilt,
        stamp=stamp,
    )
    return _Seen(scan, candidate, found)


def _check_shown(volume: Volume, window: str, where: str) -> None:
    """Refuse a scan of which the window shows nothing, so that packing need not.

    Raises:
        Unusable: it is black in every slice.
    """
    check_window(window)
    try:
        seen = scan_window(window, volume.data)
        shown = float(seen.to_unit(volume.data.max())) >= EMPTY
    except CosliceError:
        shown = False
    if not shown:
        raise Unusable(
            f"{where} has nothing in the window {window}, its highest value is {float(volume.data.max()):g}; "
            "choose another window, or leave it out.",
            "nothing in the window",
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
        line = f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


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
    return legible(scan.paths[0] if scan.kind == "nifti" else scan.paths[0].parent)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
