"""A pack: the slices of a collection of scans as a network meets them, in files that can be mapped.

Of every scan with voxels v, a window [low, high] and the plane of the prior, a pack holds one array
(n, h, w), slices first, of

    p = round((2^b - 1) clip((v - low)/(high - low), 0, 1)),        b = 8 or 16 bits,

so a random slice is one short read, whatever the number of scans, and none of them need fit in memory.
The steps of p are 1/(2^b - 1) apart. What the scan itself was rounded to is often coarser: its quantum,
the greatest common divisor of the differences of its values (if they are integers; else 0), is kept
in units of the window, so that training can undo whichever rounding is the coarser.

`pack.json` says what each file is. It is written anew after every scan, so a pack whose making was
interrupted is taken up where it stood; a scan is redone if its file or the settings have changed.

For travel, `split_pack` writes the arrays as a few compressed files of limited size, and `open_pack` restores them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from coslice.background import outside_as_air
from coslice.errors import CosliceError
from coslice.io.files import atomic, prepare_output
from coslice.resampling import resize
from coslice.training.collection.catalogue import (
    CATALOGUE,
    TYPES,
    Pack,
    PackedScan,
    pack_of,
    read_record,
    write_record,
)
from coslice.training.collection.chunks import check_parts, read_chunks, write_chunks
from coslice.training.collection.scans import FoundScans, ScanSource, check_directions, plane_axes
from coslice.training.collection.subjects import LABEL, ScanClue, subject_labels, subjects_of
from coslice.volume import Volume
from coslice.window import EMPTY, check_window, scan_window

__all__ = [
    "as_packed",
    "check_scans",
    "is_pack",
    "known_scans",
    "make_pack",
    "open_pack",
    "regrouped",
    "split",
    "split_pack",
]

_BIDS = re.compile(r"(sub-[A-Za-z0-9]+)_")


def make_pack(
    found: FoundScans,
    plane: str,
    window: str,
    folder: Path,
    bits: int = 16,
    size: int | tuple[int, int] | None = None,
    empty: float = EMPTY,
    progress: Callable[[int, int, str], None] | None = None,
    credits: str = "",
    background: str = "",
) -> Pack:
    """Pack the slices of the scans that were found into `folder`, or finish a pack that is there.

    Args:
        found: scans; those packed before from the same files with the same settings are not read again, and scans
            that are in the pack but were not found are taken out of it.
        plane: rows and columns of a slice.
        window: "ct", "mr" or "LOW:HIGH".
        folder: made if it does not exist.
        bits: 8 or 16.
        size: resample slices to so many pixels (rows, columns), the field of view kept in place.
        empty: leave out slices that are nowhere brighter than this, in the unit window.
        progress: called with (scans done, scans in all, name of the next).
        credits: licences and thanks, to travel with the pack.
        background: "air" makes all outside the body air (`coslice.background`), of CT in HU; "" leaves it.

    Raises:
        CosliceError: scans that do not fit together in `plane` (`check_directions`), settings that make no sense, a
            scan that cannot be read or has no slice with anything in it, a window that is not for its modality, a
            folder that cannot be written to.
    """
    if bits not in TYPES:
        raise CosliceError(f"make_pack: {bits} bits were asked for, 8 or 16 are possible.")
    size = (size, size) if isinstance(size, int) else size
    if size is not None and min(size) < 32:
        raise CosliceError(f"make_pack: slices of {size[0]} x {size[1]} pixels were asked for, at least 32 are needed.")
    check_scans(found.scans, plane, window)
    pack = Pack(prepare_output(folder, overwrite=True), plane, window, bits, size, empty, (), credits, background)
    before, older = _before(pack)
    for number, scan in enumerate(found.scans):
        if progress:
            progress(number, len(found.scans), scan.name)
        kept = older.pop(scan.stamp, None)
        packed = _pack_scan(pack, scan) if kept is None else replace(kept, name=scan.name, subject=scan.subject)
        pack = replace(pack, scans=(*pack.scans, packed))
        # Those still to be looked at stay listed, or an interruption would forget them.
        write_record(replace(pack, scans=(*pack.scans, *older.values())), {"complete": False})
    write_record(pack, {"complete": True})
    for file in before - {scan.file for scan in pack.scans}:
        (pack.folder / file).unlink(missing_ok=True)
    if progress:
        progress(len(found.scans), len(found.scans), "")
    return pack


def open_pack(folder: Path, cache: Path | None = None) -> Pack:
    """The pack in `folder`; one that was split for travel is put together in `cache` (by default a folder in it).

    Raises:
        CosliceError: no pack, a pack that is unfinished, of a later version, or damaged.
    """
    folder = Path(folder)
    record = read_record(folder)
    if "parts" in record:
        check_parts(folder, record["parts"])
        return _joined(pack_of(folder, record), record["parts"], Path(cache) if cache else folder / "slices")
    if not record.get("complete"):
        raise CosliceError(f"The pack in {folder} is unfinished; run again what makes it, and it goes on from there.")
    return pack_of(folder, record)


def split_pack(pack: Pack, folder: Path, limit: int = 16_000_000) -> tuple[Path, ...]:
    """Write `pack` into the empty or new `folder` for travel: compressed files of at most `limit` bytes.

    Paths and dates of the scans' own files stay at home, and whatever could be tried against a list of them or of
    patients: files are named by what is in them, subjects by numbers.

    Raises:
        CosliceError: the folder holds something, cannot be written to, or a slice is larger than a file may be.
    """
    folder = prepare_output(folder)
    parts = write_chunks((pack.slices(name) for name in pack.names), folder, limit)
    labels = [scan.subject for scan in pack.scans]
    if not all(LABEL.fullmatch(label) for label in labels if label):
        labels = subject_labels(labels)  # of a pack that was made when subjects were hashes of what patients are called
    scans = tuple(
        replace(scan, source=None, subject=label, file=_file(scan.name, pack.slices(scan.name).tobytes()))
        for scan, label in zip(pack.scans, labels, strict=True)
    )
    write_record(replace(pack, folder=folder, scans=scans), {"complete": True, "parts": parts})
    return tuple(folder / name for name in (CATALOGUE, *(part["file"] for part in parts)))


def is_pack(folder: Path) -> bool:
    """Whether `folder` holds a pack, whole, unfinished, or split for travel."""
    return (Path(folder) / CATALOGUE).is_file()


def known_scans(folder: Path) -> dict[str, ScanSource]:
    """By stamp, the scans packed in `folder`, so that `find_scans` need not read them again; {} without a pack."""
    try:
        packed = pack_of(Path(folder), read_record(Path(folder))).scans
    except CosliceError:
        return {}
    return {scan.source.stamp: scan.source for scan in packed if scan.source}


def as_packed(found: FoundScans, folder: Path) -> FoundScans | None:
    """The same scans with the subjects that they have in the pack in `folder`, so that a run's split stays its own.

    None if that pack is of other scans.
    """
    try:
        subjects = {scan.name: scan.subject for scan in pack_of(Path(folder), read_record(Path(folder))).scans}
    except CosliceError:
        return found  # There is none any more, and it is made anew.
    if [scan.name for scan in found.scans] != list(subjects):
        return None
    scans = tuple(replace(scan, subject=subjects[scan.name]) for scan in found.scans)
    return replace(found, scans=scans, subjects=f"{len(scans)} scans of subjects as they were when these were packed.")


def regrouped(pack: Pack, rule: str) -> tuple[Pack, str]:
    """The pack with subjects as a rule says (`coslice.training.collection.subjects`), and that in a sentence.

    Raises:
        CosliceError: as `subjects_of`.
    """
    labels, how = subjects_of([ScanClue((name,)) for name in pack.names], rule)
    return replace(pack, scans=tuple(replace(s, subject=x) for s, x in zip(pack.scans, labels, strict=True))), how


def split(pack: Pack, validation: float | Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the scans to train on, and of those held back to validate with.

    Args:
        pack: of which scans.
        validation: the fraction of subjects to hold back, or names of scans. A fraction is chosen by a hash of the
            subjects' names, or of their first scans', so it does not change from run to run; scans of one subject stay
            together, and each side has at least one subject, if there are two. Names are taken as they are.

    Raises:
        CosliceError: a fraction outside 0..1, a name the pack does not have, nothing left to train on.
    """
    if isinstance(validation, (int, float)):
        if not 0 <= validation < 1:
            raise CosliceError(f"validation: the fraction {validation:g} was given, from 0 to below 1 is needed.")
        people: dict[str, list[PackedScan]] = {}
        for scan in pack.scans:
            people.setdefault(scan.person, []).append(scan)
        order = sorted(people.values(), key=lambda scans: _digest(_called(scans)))
        count = min(max(1, round(validation * len(order))), len(order) - 1) if validation else 0
        held = {scan.name for scans in order[:count] for scan in scans}
    else:
        held = {pack.scan(name).name for name in validation}
    train = tuple(name for name in pack.names if name not in held)
    if not train:
        raise CosliceError("validation: all scans were held back, at least one is needed to train on; name fewer.")
    return train, tuple(name for name in pack.names if name in held)


def _called(scans: Sequence[PackedScan]) -> str:
    """What one subject's scans are drawn by: BIDS' name of it, or that of its first scan; in older packs, its label.

    Labels of today change with the scans beside it.
    """
    subject = scans[0].subject
    if subject and not LABEL.fullmatch(subject):
        return subject
    people = {match.group(1) if (match := _BIDS.match(scan.name)) else "" for scan in scans}
    return people.pop() if len(people) == 1 and "" not in people else min(scan.name for scan in scans)


def _joined(travelled: Pack, parts: list[dict], target: Path) -> Pack:
    pack = replace(travelled, folder=target)
    try:
        if open_pack(target) == pack and all((target / scan.file).is_file() for scan in pack.scans):
            return pack
    except CosliceError:
        pass  # Nothing there yet, or something else.
    prepare_output(target, overwrite=True)
    shapes = [scan.shape for scan in pack.scans]
    for scan, array in zip(pack.scans, read_chunks(travelled.folder, parts, shapes, TYPES[pack.bits]), strict=True):
        with atomic(target / scan.file) as part:
            np.save(part, array)
    write_record(pack, {"complete": True})
    return pack


def _pack_scan(pack: Pack, scan: ScanSource) -> PackedScan:
    volume = scan.read()
    volume = outside_as_air(volume) if pack.background == "air" else volume
    window = scan_window(pack.window, volume.data)
    axes = plane_axes(pack.plane)
    stack = window.to_unit(volume.data.permute(axes))
    spacing = [volume.spacing[axis] for axis in axes]
    quantum = _quantum(volume) / (window.high - window.low)
    if pack.size is not None and pack.size != tuple(stack.shape[1:]):
        spacing[1:] = (spacing[k] * stack.shape[k] / pack.size[k - 1] for k in (1, 2))
        stack = torch.cat([resize(some, pack.size) for some in stack.split(16)])
        # Averages of multiples are no multiples.
        quantum = 0.0
    kept = stack[stack.amax(dim=(1, 2)) >= pack.empty]
    if not len(kept):
        raise CosliceError(
            f"{scan.paths[0]} has nothing in the window {window.low:g} to {window.high:g}; "
            "choose another window, or leave it out."
        )
    array = (kept * pack.full).round_().numpy().astype(TYPES[pack.bits])
    # Other settings make another file, so that none is ever taken for what it is not.
    settings: tuple[object, ...] = (scan.stamp, pack.plane, pack.window, pack.bits, pack.size, pack.empty)
    settings += (pack.background,) if pack.background else ()
    file = _file(scan.name, repr(settings).encode())
    with atomic(pack.folder / file) as part:
        np.save(part, np.ascontiguousarray(array))
    return PackedScan(
        name=scan.name,
        file=file,
        shape=array.shape,
        spacing=(spacing[0], spacing[1], spacing[2]),
        window=window,
        quantum=quantum,
        left_out=len(stack) - len(kept),
        modality=scan.modality,
        subject=scan.subject,
        source=replace(scan, paths=(), subject=""),
    )


def _file(name: str, content: bytes) -> str:
    """Name of an array's file, after the scan and with a hash of what makes it another."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:60].strip("._")
    return f"{slug}-{hashlib.sha256(content).hexdigest()[:12]}.npy"


def _quantum(volume: Volume) -> float:
    """The step of which the values' differences are multiples, if they are integers; else 0."""
    values = volume.data.numpy().reshape(-1)
    values = np.unique(values[:: max(1, len(values) // 500_000)])
    if not np.array_equal(values, np.round(values)):
        return 0.0
    # The ends may come from clipping, which knows no steps.
    steps = np.diff(values[1:-1].astype(np.int64))
    return float(np.gcd.reduce(steps)) if len(steps) else 0.0


def check_scans(scans: Sequence[ScanSource], plane: str, window: str) -> None:
    """Refuse scans that cannot become one pack.

    Raises:
        CosliceError: none at all, scans that do not fit together in `plane`, a window that is none or not for them.
    """
    if not scans:
        raise CosliceError("make_pack: no scans were given, at least one is needed.")
    check_directions(scans, plane)
    check_window(window)
    modality = scans[0].modality
    if window in ("ct", "mr") and modality in ("CT", "MR") and modality != window.upper():
        looks = "look like HU" if modality == "CT" else "do not look like HU"
        raise CosliceError(
            f"window: {window} was given, but {scans[0].name} is {modality} (a NIfTI file, if its values {looks}); "
            f"give {modality.lower()}, a window in numbers, LOW:HIGH, or CT in HU."
        )


def _before(pack: Pack) -> tuple[set[str], dict[str, PackedScan]]:
    """Files of the pack that is in the folder already, and by stamp its scans that are as `pack` wants them."""
    try:
        older = pack_of(pack.folder, read_record(pack.folder))
    except CosliceError:
        return set(), {}
    files = {scan.file for scan in older.scans}
    if replace(older, scans=(), credits=pack.credits) != pack:
        return files, {}
    return files, {s.source.stamp: s for s in older.scans if s.source and (pack.folder / s.file).is_file()}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
