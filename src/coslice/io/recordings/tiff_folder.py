"""A folder of TIFF files, one view each: which of them belong together, and in which order.

Names are texts and numbers in turn. A series is the files whose texts agree and of whose numbers one counts; it is
ordered by the numbers as numbers, so that img2 comes before img10.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from coslice.errors import CosliceError
from coslice.io.recordings.stored import Stored, listed, reading, sides
from coslice.io.recordings.tiff import TiffHeader, read_tiff_into, said_of, tiff_header

__all__ = ["TIFF_SUFFIXES", "has_tiffs", "read_tiff_folder"]

TIFF_SUFFIXES = (".tif", ".tiff")
_NUMBER = re.compile(r"\d+(?:\.\d+)*")
_FIELDS = {
    "flat": "flat",
    "flats": "flat",
    "flatfield": "flat",
    "flatfields": "flat",
    "white": "flat",
    "whites": "flat",
}
_FIELDS |= {"openbeam": "flat", "ob": "flat", "whitefield": "flat", "whitefields": "flat"}
_FIELDS |= {"dark": "dark", "darks": "dark", "darkfield": "dark", "darkfields": "dark"}


@dataclass(frozen=True)
class _Numbered:
    """Files whose names differ in one number."""

    pattern: str
    paths: tuple[Path, ...]
    numbers: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.pattern} ({len(self.paths)} file{'s' if len(self.paths) > 1 else ''})"


def has_tiffs(folder: Path) -> bool:
    """Whether TIFF files are directly in `folder`."""
    try:
        return any(_is_tiff(path) for path in folder.iterdir())
    except OSError:
        return False


def read_tiff_folder(folder: Path, pattern: str | None, role: str = "") -> Stored:
    """The images of one series of TIFF files in `folder`, in natural order, and flat and dark fields by their names.

    Args:
        folder: not searched below.
        pattern: chooses among several series: the beginning of the names, or a pattern with * and ?.
        role: "flat" or "dark" reads these fields in place of the projections, where names tell them.

    Raises:
        CosliceError: no TIFF files; several series; files of several sizes or types; errors of `read_tiff`.
    """
    with reading(folder):
        inside = sorted(folder.iterdir())
    tiffs = [path for path in inside if _is_tiff(path)]
    if not tiffs:
        raise CosliceError(f"{folder} has no TIFF files; {_what_else(inside)}")
    series = _series(tiffs)
    views, fields = _chosen(folder, series, pattern, role)
    data, notes = _stacked(views)
    flat, dark = (None if name not in fields else _stacked(fields[name])[0] for name in ("flat", "dark"))
    for name, found in fields.items():
        notes += (f"{found} was taken for the {name} field by its name.",)
    taken = {path for one in (views, *fields.values()) for path in one.paths}
    left = [path.name for path in inside if path not in taken and not path.name.startswith(".")]
    if left:
        notes += (f"{len(left)} other entries of {folder.name} were left: {listed(left, 4)}.",)
    header = tiff_header(views.paths[0])
    spacing = (None, *(header.pixel or (None, None)))
    return Stored(data, spacing=spacing, flat=flat, dark=dark, notes=(*notes, *said_of(views.paths[0].name, header)))


def _is_tiff(path: Path) -> bool:
    # macOS leaves a "._name.tif" beside files on foreign disks.
    return path.suffix.lower() in TIFF_SUFFIXES and path.is_file() and not path.name.startswith(".")


def _natural(path: Path) -> tuple[tuple[int, str], ...]:
    """Sorts names by their numbers as numbers."""
    parts = re.split(r"(\d+)", path.name)
    return tuple((int(part), part) if at % 2 else (-1, part.lower()) for at, part in enumerate(parts))


def _series(paths: Sequence[Path]) -> list[_Numbered]:
    """The series among files, in the order of their first files."""
    alike = defaultdict(list)
    for path in sorted(paths, key=_natural):
        alike[(*_NUMBER.split(path.stem), path.suffix.lower())].append(path)
    found = []
    for texts, files in alike.items():
        fields = list(zip(*(_NUMBER.findall(path.stem) for path in files), strict=True))
        if not fields:
            found.append(_Numbered(files[0].name, tuple(files), ("",) * len(files)))
            continue
        # The number that counts is the one that differs most, of equals the last; the others tell series apart,
        # unless it alone tells all files apart: then they are remarks, such as an angle.
        counting = max(range(len(fields)), key=lambda at: (len(set(fields[at])), at))
        apart = defaultdict(list)
        for at, path in enumerate(files):
            others = tuple("#" if n == counting else values[at] for n, values in enumerate(fields))
            apart["" if len(set(fields[counting])) == len(files) else others].append((path, fields[counting][at]))
        for key, members in apart.items():
            several = key == ""
            words = [
                "#" if n == counting else values[0] if len(set(values)) == 1 else "*" if several else key[n]
                for n, values in enumerate(fields)
            ]
            name = texts[0] + "".join(word + text for word, text in zip(words, texts[1:-1], strict=True)) + texts[-1]
            found.append(_Numbered(name, tuple(p for p, _ in members), tuple(number for _, number in members)))
    return found


def _chosen(
    folder: Path, series: list[_Numbered], pattern: str | None, wanted_role: str
) -> tuple[_Numbered, dict[str, _Numbered]]:
    """The series of the views, and those of flat and dark fields."""
    fields: dict[str, list[_Numbered]] = {"flat": [], "dark": []}
    others = []
    for one in series:
        words = [word.lower() for word in re.split(r"[^A-Za-z]+", Path(one.pattern).stem)]
        role = next((_FIELDS[word] for word in words if word in _FIELDS), None)
        (others if role is None else fields[role]).append(one)
    if fields.get(wanted_role):
        others, fields = fields[wanted_role], {}
    candidates = others or series  # a folder of nothing but flat fields is what is given as the flat field
    if pattern is not None:
        wanted = pattern if any(mark in pattern for mark in "*?[") else pattern + "*"
        matching = _series([path for one in series for path in one.paths if fnmatch(path.name, wanted)])
        if not matching:
            raise CosliceError(f"No TIFF file in {folder} is named like {pattern!r}; it has {listed(series)}.")
        candidates = matching
    if len(candidates) > 1:
        raise CosliceError(
            f"{folder} has {len(candidates)} series of images: {listed(candidates)}; say which by the beginning of its "
            "names as the dataset, or move the others to another folder."
        )
    found = {} if not others else {role: ones[0] for role, ones in fields.items() if len(ones) == 1}
    mine = set(candidates[0].paths)
    return candidates[0], {role: one for role, one in found.items() if not mine & set(one.paths)}


def _stacked(series: _Numbered) -> tuple[np.ndarray, tuple[str, ...]]:
    """All images of a series, in its order; every header is seen before memory is asked for."""
    headers = [tiff_header(path) for path in series.paths]
    first, name = headers[0], series.paths[0].name
    for path, header in zip(series.paths, headers, strict=True):
        if header.shape[-2:] != first.shape[-2:] or header.dtype.newbyteorder("=") != first.dtype.newbyteorder("="):
            raise CosliceError(
                f"{path} is {_described(header)}, but {name} of the same series is {_described(first)}; the views of a "
                "scan have one size and type."
            )
    counts = [header.shape[0] if len(header.shape) == 3 else 1 for header in headers]
    data = np.empty((sum(counts), *first.shape[-2:]), first.dtype.newbyteorder("="))
    at = 0
    for path, count in zip(series.paths, counts, strict=True):
        read_tiff_into(path, data[at : at + count])
        at += count
    notes: tuple[str, ...] = ()
    if len(series.paths) > 1:
        ends = f"{name} to {series.paths[-1].name}"
        pages = f" of {listed(sorted(set(counts)))} images" if max(counts) > 1 else ""
        notes = (f"{len(series.paths)} files{pages} were read in the order of their numbers, {ends}.", *_gaps(series))
    return data, notes


def _described(header: TiffHeader) -> str:
    return f"{sides(header.shape)} {header.dtype.newbyteorder('=')}"


def _gaps(series: _Numbered) -> tuple[str, ...]:
    """The sentence about numbers that are missing."""
    if not all(number.isdigit() for number in series.numbers):
        return ()
    numbers = [int(number) for number in series.numbers]
    steps = [after - before for before, after in zip(numbers, numbers[1:], strict=False)]
    usual = max(set(steps), key=lambda step: (steps.count(step), -step))
    jumps = [at for at, step in enumerate(steps) if step > usual > 0]
    if not jumps:
        return ()
    where = listed([f"{series.paths[at].name} and {series.paths[at + 1].name}" for at in jumps], 3)
    return (f"The numbers of the files jump between {where}: are views missing?",)


def _what_else(inside: Sequence[Path]) -> str:
    """What to do about a folder without TIFF files."""
    below = [path.name for path in inside if path.is_dir() and has_tiffs(path)]
    if below:
        return f"its folders {listed(below)} have: give the one with the projections."
    files = [path.name for path in inside if path.is_file()]
    return f"it has {listed(files, 4)}: give a file of them." if files else "it is empty."
