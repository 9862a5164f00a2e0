"""The manifest of a cohort: a CSV file with one row a scan.

    scan,name,views,set.data.iterations,#site
    images/p01.nii.gz,p01,30,,north
    images/p02.nii.gz,p02,60,20,south

`scan` is a path, relative to the manifest. `name` is the folder of its result; by default the file's name without its
suffix. Columns that begin with # are notes, which go into the table. Every other column is an option, whose values
come before those of the recipe where they are not empty; what options there are, the command line knows.

Cells are separated by commas, semicolons or tabs, whichever the first row has.
"""

from __future__ import annotations

import csv
import io
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from coslice.errors import CosliceError
from coslice.escapes import check_file_name

__all__ = ["Manifest", "ManifestScan", "read_manifest", "share_of"]

_MOST_BYTES = 32 * 2**20  # a line of 100 letters for each of 300,000 scans
_MOST_CELLS = 3_000_000  # ten for each of as many
_SUFFIXES = (".nii.gz", ".nii", ".dcm", ".npy", ".npz", ".tiff", ".tif", ".hdf5", ".h5", ".mha", ".mhd", ".mat")
_LONGEST = 150  # bytes of a name; a file system takes 255, and files beside it have longer ones

T = TypeVar("T")


@dataclass(frozen=True)
class ManifestScan:
    """A row of a manifest.

    Attributes:
        line: of the file, from 1.
        name: of the folder of its result.
        scan: its place.
        said: the same as the manifest has it.
        options: texts by option, without the empty ones.
        notes: texts by the column's name, without its #.
    """

    line: int
    name: str
    scan: Path
    said: str
    options: dict[str, str]
    notes: dict[str, str]


@dataclass(frozen=True)
class Manifest:
    """The rows of a manifest, in order; no two have one name.

    Attributes:
        path: of the file.
        scans: the rows.
    """

    path: Path
    scans: tuple[ManifestScan, ...]

    def __len__(self) -> int:
        return len(self.scans)


def read_manifest(path: Path, known: Collection[str], reserved: Collection[str] = ()) -> Manifest:
    """The rows of a manifest.

    Args:
        path: the file.
        known: options that may be columns; one "set.PATH" may be for every PATH where "set" is among them.
        reserved: names that no scan may have.

    Raises:
        CosliceError: no such file or no text in it, no scan, a column that is not known, or rows that do not fit.
    """
    lines = _lines(path)
    if not lines:
        raise CosliceError(
            f"manifest: {path.name} is empty; write a line of columns, as in scan,name, and a row a scan."
        )
    (_, head), *rows = lines
    columns = [_column(word, path, known) for word in head]
    twice = sorted(column for column, count in Counter(columns).items() if count > 1)
    if twice:
        raise CosliceError(f"manifest: {path.name} has the column {twice[0]} twice; leave one out.")
    if "scan" not in columns:
        raise CosliceError(
            f"manifest: {path.name} has the columns {', '.join(columns)}, but one called scan is needed, with the "
            "place of every scan."
        )
    scans = tuple(
        _scan(path, line, dict(zip(columns, _padded(path, line, cells, columns), strict=True))) for line, cells in rows
    )
    if not scans:
        raise CosliceError(f"manifest: {path.name} has columns, but no scan; write a row a scan.")
    _check_names(path, scans, reserved)
    return Manifest(path, scans)


def share_of(items: Sequence[T], share: str | None) -> tuple[T, ...]:
    """The share "K/N" of a list, K from 0: every N-th item from K on. The N shares are the whole list, and none
    has two items more than another.

    Raises:
        CosliceError: a text that is no share.
    """
    if share is None:
        return tuple(items)
    found = re.fullmatch(r"([0-9]{1,7})/([0-9]{1,7})", share)
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if number >= count:
        counted = ", counted from 0" if found else ""
        raise CosliceError(f'share: "{share}" was given, but K/N is needed, K below N{counted}: 0/4, 1/4, 2/4, 3/4.')
    return tuple(items[number::count])


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """The rows that are not empty, each with its line."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise CosliceError(f"manifest: {path} is no file; give a CSV file with a row a scan.")
        if found.st_size > _MOST_BYTES:
            raise CosliceError(
                f"manifest: {path.name} has {found.st_size / 2**20:.0f} MiB, more than the {_MOST_BYTES / 2**20:.0f} "
                "that are read; divide it."
            )
        # Some files of the system are regular by their own account, and have 0 bytes until somebody waits for more.
        text = path.read_bytes().decode("utf-8-sig") if found.st_size else ""
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no UTF-8 text"
        raise CosliceError(f"manifest: {path} cannot be read ({reason}); give a CSV file with a row a scan.") from error
    if "\x00" in text:
        raise CosliceError(f"manifest: {path.name} is no text; give a CSV file with a row a scan.")
    first = text.partition("\n")[0]
    between = max(",;\t", key=lambda mark: mark.join(("", first)).count(mark))
    if text.count(between) + text.count("\n") > _MOST_CELLS:
        raise CosliceError(f"manifest: {path.name} has more than {_MOST_CELLS:,} cells; divide it.")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=between, strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        for cells in reader:
            if any(map(str.strip, cells)):
                rows.append((reader.line_num, [cell.strip() for cell in cells]))
    except csv.Error as error:
        raise CosliceError(
            f"manifest: line {reader.line_num} of {path.name} is no CSV ({error}); correct it."
        ) from error
    return rows


def _column(word: str, path: Path, known: Collection[str]) -> str:
    if word.startswith("#"):
        return word
    column = word.lower() if word.lower() in ("scan", "name") else word.removeprefix("--").replace("_", "-")
    if word.startswith("set."):
        column = word
    if column in ("scan", "name") or column in known or (column.startswith("set.") and "set" in known):
        return column
    raise CosliceError(
        f'manifest: {path.name} has the column "{word}", which is not known; write #{word} to keep it as a note. Known '
        f"are scan, name, {', '.join(sorted(known))} and set.PATH."
    )


def _padded(path: Path, line: int, cells: list[str], columns: list[str]) -> list[str]:
    if len(cells) > len(columns):
        raise CosliceError(
            f"manifest: line {line} of {path.name} has {len(cells)} cells, but there are {len(columns)} columns; put "
            'cells with a comma in them between quotation marks ("...").'
        )
    return cells + [""] * (len(columns) - len(cells))


def _scan(path: Path, line: int, row: dict[str, str]) -> ManifestScan:
    said = row.pop("scan")
    if not said:
        raise CosliceError(f"manifest: line {line} of {path.name} names no scan; give its place, or delete the line.")
    name = unicodedata.normalize("NFC", row.pop("name", "") or _usual_name(said))
    return ManifestScan(
        line,
        name,
        (path.parent / said).absolute(),
        said,
        {column: cell for column, cell in row.items() if cell and not column.startswith("#")},
        {column[1:].strip(): cell for column, cell in row.items() if column.startswith("#")},
    )


def _usual_name(said: str) -> str:
    """The last part of a path, without a suffix that says what is in the file."""
    last = Path(said.replace("\\", "/")).name
    return next((last[: -len(suffix)] for suffix in _SUFFIXES if last.lower().endswith(suffix)), last)


def _check_names(path: Path, scans: Sequence[ManifestScan], reserved: Collection[str]) -> None:
    """Refuse names that are no folders, on any system, and those that are there twice."""
    seen: dict[str, ManifestScan] = {}
    for one in scans:
        check_file_name(one.name, f"manifest: line {one.line} of {path.name}: the name")
        if len(one.name.encode()) > _LONGEST or one.name.casefold() in reserved:
            raise CosliceError(
                f'manifest: line {one.line} of {path.name} has the name "{one.name}", which cannot be that of a folder '
                "of results; give another one in the column name."
            )
        other = seen.setdefault(one.name.casefold(), one)
        if other is not one:
            raise CosliceError(
                f'manifest: lines {other.line} and {one.line} of {path.name} have one name, "{one.name}"; give every '
                "scan a name of its own in the column name."
            )
