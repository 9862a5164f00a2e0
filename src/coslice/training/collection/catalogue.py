"""What a pack is, as a value and as the JSON file `pack.json` beside its arrays."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from coslice.errors import CosliceError
from coslice.io.files import write_json
from coslice.io.lengths import PLAUSIBLE_MM
from coslice.io.plain_files import is_plain
from coslice.training.collection.scans import ScanSource, plane_axes
from coslice.window import Window, check_window

__all__ = ["CATALOGUE", "TYPES", "Pack", "PackedScan", "pack_of", "read_record", "write_record"]

VERSION = 1
CATALOGUE = "pack.json"
_MOST = 1_000_000
"""Slices, rows or columns."""
_LONGEST = 1000
"""Letters of a name, or of a line of credits."""
_LARGEST = 64 << 20
"""Bytes of a catalogue: a hundred thousand scans."""
TYPES = {8: np.uint8, 16: np.uint16}
"""Of a pixel, by its bits."""


@dataclass(frozen=True)
class PackedScan:
    """The slices of one scan.

    Attributes:
        name: of the scan.
        file: the array's file in the pack's folder.
        shape: slices, rows, columns.
        spacing: mm between slices, rows and columns.
        window: the values that are 0 and 1.
        quantum: the step the scan's values are multiples of, in units of the window; 0 if there is none.
        left_out: slices with nothing in them, not kept.
        modality: as of the scan.
        subject: a label that scans of one person share; empty for a scan that is alone, as far as is known.
        source: the scan this was made from, without its paths; None once the pack has travelled.
    """

    name: str
    file: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    window: Window
    quantum: float
    left_out: int
    modality: str
    subject: str
    source: ScanSource | None = None

    @property
    def person(self) -> str:
        """Equal for scans of one subject, and for no others."""
        return f"of {self.subject}" if self.subject else f"scan {self.name}"


@dataclass(frozen=True)
class Pack:
    """A folder of slices.

    Attributes:
        folder: where it is.
        plane: rows and columns of a slice, two of "z", "y", "x".
        window: "ct", "mr" or "LOW:HIGH", as of `coslice.volume.scan_window`.
        bits: of a pixel, 8 or 16.
        size: pixels slices were resampled to (rows, columns); None if they are as they were.
        empty: slices nowhere brighter than this, in the unit window, were left out.
        scans: what is in it.
        credits: licences and thanks, for people.
        background: "air" where all outside the body was made air, see `coslice.background`; else "".
    """

    folder: Path
    plane: str
    window: str
    bits: int
    size: tuple[int, int] | None
    empty: float
    scans: tuple[PackedScan, ...] = field(repr=False)
    credits: str = ""
    background: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(scan.name for scan in self.scans)

    @property
    def full(self) -> int:
        """The pixel that stands for 1."""
        return 2**self.bits - 1

    def __len__(self) -> int:
        """Number of slices."""
        return sum(scan.shape[0] for scan in self.scans)

    def scan(self, name: str) -> PackedScan:
        """The scan called `name`.

        Raises:
            CosliceError: there is none.
        """
        for scan in self.scans:
            if scan.name == name:
                return scan
        some = ", ".join(self.names[:8]) + (", ..." if len(self.names) > 8 else "")
        raise CosliceError(f'pack: scan "{name}" was asked for, but {self.folder} holds {some}; choose among these.')

    def slices(self, name: str) -> np.ndarray:
        """The slices of a scan (n, rows, columns), uint8 or uint16, mapped rather than read.

        Raises:
            CosliceError: no such scan, or its file is missing or damaged.
        """
        scan = self.scan(name)
        if not is_plain(self.folder / scan.file):
            raise CosliceError(f"{self.folder / scan.file} is missing or damaged; make the pack again.")
        try:
            array = np.load(self.folder / scan.file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise CosliceError(f"{self.folder / scan.file} is missing or damaged; make the pack again.") from error
        if array.shape != scan.shape or array.dtype != TYPES[self.bits]:
            raise CosliceError(
                f"{self.folder / scan.file} holds {array.dtype} {array.shape}, {scan.shape} of {self.bits} bits are "
                "needed; make the pack again."
            )
        return array

    def summary(self) -> dict[str, Any]:
        """What is in the pack, ready for JSON: counts, spacing ranges in mm, plane, window, sizes in pixels."""
        sizes = sorted({scan.shape[1:] for scan in self.scans})
        return {
            "scans": len(self.scans),
            "subjects": len({scan.person for scan in self.scans}),
            "slices": len(self),
            "left_out": sum(scan.left_out for scan in self.scans),
            "modality": self.scans[0].modality,
            "plane": self.plane,
            "window": self.window,
            "size": [list(sizes[0]), list(sizes[-1])],
            "pixel_mm": _range([pixel for scan in self.scans for pixel in scan.spacing[1:]]),
            "slice_mm": _range([scan.spacing[0] for scan in self.scans]),
            "bits": self.bits,
            "credits": self.credits,
        } | ({"background": self.background} if self.background else {})


def read_record(folder: Path) -> dict[str, Any]:
    """What `pack.json` in `folder` says.

    Raises:
        CosliceError: there is none, it is damaged, or of another version.
    """
    path = folder / CATALOGUE
    if not is_plain(path):
        raise CosliceError(f"{folder} holds no pack ({CATALOGUE} is missing); give the folder of a pack.")
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("too large")
        record = json.loads(path.read_text(encoding="utf-8"))
        version = record["version"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CosliceError(f"{path} is damaged; make the pack again.") from error
    if type(version) is not int or version != VERSION:
        raise CosliceError(f"{path} is of version {str(version)[:40]}, {VERSION} is needed; make the pack again.")
    return record


def write_record(pack: Pack, more: dict[str, Any]) -> None:
    """Write `pack.json`: the pack without its place, and the entries `more`."""
    record = {"version": VERSION, **more, **asdict(pack)}
    del record["folder"]
    if not pack.background:  # which earlier versions did not have
        del record["background"]
    write_json(pack.folder / CATALOGUE, record, indent=1)


def pack_of(folder: Path, record: dict[str, Any]) -> Pack:
    """The pack that `record` describes.

    Raises:
        CosliceError: entries are missing or make no sense.
    """
    try:
        plane_axes(record["plane"])
        if record["bits"] not in TYPES or not record["scans"]:
            raise ValueError("no pixels")
        pack = Pack(
            folder=folder,
            plane=record["plane"],
            window=record["window"],
            bits=record["bits"],
            size=_numbers(record["size"], 2, int) if record["size"] else None,  # type: ignore[arg-type]
            empty=_numbers([record["empty"]], 1, float)[0],
            scans=tuple(_packed_scan(entry) for entry in record["scans"]),
            credits=record["credits"],
            background=record.get("background", ""),
        )
        _check_words(pack.window, *pack.credits.splitlines(), pack.background)
        check_window(pack.window)
        if len(set(pack.names)) < len(pack.names) or len({scan.file for scan in pack.scans}) < len(pack.scans):
            raise ValueError("two scans of one name or file")
        return pack
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CosliceError(f"{folder / CATALOGUE} is damaged; make the pack again.") from error


def _packed_scan(entry: dict[str, Any]) -> PackedScan:
    # A pack may come from a stranger, and names the files that are read and written.
    if Path(entry["file"]).name != entry["file"] or not entry["file"].endswith(".npy") or "\0" in entry["file"]:
        raise ValueError("a file outside the pack")
    source = ScanSource(**_tuples(entry["source"])) if entry["source"] else None
    scan = PackedScan(**_tuples({**entry, "window": Window(**entry["window"]), "source": source}))
    _check_words(scan.name, scan.file, scan.modality, scan.subject, scan.window.unit)
    _numbers(scan.shape, 3, int)
    _numbers((scan.window.low, scan.window.high), 2, float)
    if not all(PLAUSIBLE_MM[0] <= step <= PLAUSIBLE_MM[1] for step in _numbers(scan.spacing, 3, float)):
        raise ValueError("no spacing")
    if not 0 <= _numbers((scan.quantum,), 1, float)[0] <= _MOST or type(scan.left_out) is not int or scan.left_out < 0:
        raise ValueError("no such steps or slices")
    if source is not None:
        _check_words(source.name, source.kind, source.modality, source.subject, source.stamp)
        _numbers(source.shape, 3, int)
        _numbers((*source.spacing, source.tilt), 4, float)
    return scan


def _check_words(*words: Any) -> None:
    if not all(isinstance(word, str) and len(word) <= _LONGEST and word.isprintable() for word in words):
        raise TypeError("no text")


def _numbers(values: Any, count: int, kind: type) -> tuple[Any, ...]:
    """`count` finite numbers; whole ones are from 1 to a million."""
    if not isinstance(values, list | tuple) or len(values) != count:
        raise ValueError("another number of numbers")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
            raise TypeError("no number")
        if not (1 <= value <= _MOST if kind is int else math.isfinite(value)):
            raise ValueError("no such number")
    return tuple(values)


def _tuples(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


def _range(values: Sequence[float]) -> list[float]:
    return [round(min(values), 4), round(max(values), 4)]
