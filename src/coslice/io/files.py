"""Files that are there whole or not at all.

A reader must never meet half a file, not even after a full disk or an interrupt. So a file is written
under another name in the same folder, flushed to the disk, and renamed: renaming within one file system
is atomic. And a folder of results is checked before hours are spent on filling it.

Text is UTF-8 with "\\n" at the end of a line, whatever the system: the same words are the same bytes.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from coslice.errors import CosliceError
from coslice.escapes import shown
from coslice.io.refusals import advice_on, reason_of, shown_path

__all__ = [
    "atomic",
    "atomic_folder",
    "check_target",
    "flush_folder",
    "output_folder",
    "prepare_output",
    "remove_dead_temporaries",
    "write_bytes",
    "write_json",
    "write_text",
]

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}(\.[0-9A-Za-z.]*)?")
"""What nothing else is called."""


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffixes; on leaving it becomes `path`, on failure it vanishes.

    An older file at `path` stays untouched until the moment it is replaced.

    Raises:
        CosliceError: as `check_target`; the operating system refuses (no permission, disk full).
    """
    path = check_target(path)
    temporary = path.with_name(f".{uuid.uuid4().hex}{''.join(path.suffixes)}")
    try:
        yield temporary
        with open(temporary, "r+b") as written:  # Windows flushes no file that is open for reading only
            os.fsync(written.fileno())
        os.replace(temporary, path)
        flush_folder(path.parent)
    except OSError as error:
        raise _refused(path, "cannot be written", error) from error
    finally:
        # Where nothing could be written there is nothing to remove, and the first error is the one to hear.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_target(path: str | Path) -> Path:
    """The path, if a file may be written there, as far as is seen before.

    What is renamed takes the place of what was there: of a device too, where whoever writes may, and then nothing on
    the machine has that device any more.

    Raises:
        CosliceError: a name that no file can have, a folder, a device or a pipe, or a folder that is not there.
    """
    path = Path(path)
    if not path.name or "\0" in str(path):
        raise CosliceError(f"{shown(str(path))} was given, but the path of a file is needed; give one with a name.")
    try:
        special = path.exists() and not (path.is_file() or path.is_dir())
        if special or os.path.dirname(os.path.abspath(path)) == "/dev":
            raise CosliceError(f"{shown_path(path)} is a device or a pipe, but a file is needed; choose another place.")
        os.stat(path.parent)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except OSError as error:
        raise _refused(path, "cannot be written", error) from error
    return path


@contextmanager
def atomic_folder(folder: str | Path, ours: str, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder beside `folder`; on leaving, its files are in `folder`, on failure they vanish.

    For files that are worth something only together, as the slices of a scan.

    Args:
        folder: a new one or an empty one; with `overwrite` one with nothing in it but earlier files.
        ours: a pattern of names; earlier files of such names are replaced, all of them, with `overwrite`.
        overwrite: whether there may be any.

    Raises:
        CosliceError: there are other files, or the operating system refuses.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise CosliceError(f"{folder} is a file, but a folder is needed for the output; choose another name.")
    there = list(folder.iterdir()) if folder.is_dir() else []
    if there and not (overwrite and all(one.is_file() and fnmatch(one.name, ours) for one in there)):
        raise CosliceError(f"The folder {folder} is not empty; choose a new one.")
    temporary, former = (folder.with_name(f".{uuid.uuid4().hex}") for _ in range(2))
    try:
        temporary.mkdir()
        yield temporary
        for one in temporary.iterdir():
            with open(one, "r+b") as written:
                os.fsync(written.fileno())
        flush_folder(temporary)
        if folder.is_dir():
            os.replace(folder, former)
        try:
            os.replace(temporary, folder)
        except BaseException:
            if former.is_dir():
                os.replace(former, folder)
            raise
        flush_folder(folder.parent)
    except OSError as error:
        raise _refused(folder, "cannot be written", error) from error
    finally:
        for one in (temporary, former):
            shutil.rmtree(one, ignore_errors=True)


def flush_folder(folder: str | Path) -> None:
    """Have the names in a folder on the disk: what was renamed there stays so when the power goes."""
    with suppress(OSError):  # Windows opens no folders, some network file systems flush none
        place = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)


def remove_dead_temporaries(folder: str | Path) -> int:
    """Remove what `atomic` and `atomic_folder` of a killed process left in a folder that nobody else writes into.

    Returns:
        How many files and folders there were.
    """
    dead = [one for one in Path(folder).iterdir() if _TEMPORARY.fullmatch(one.name)]
    for one in dead:
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one, ignore_errors=True)
        else:
            with suppress(OSError):
                one.unlink()
    return len(dead)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        CosliceError: as `atomic`.
    """
    with atomic(path) as part:
        part.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """Write a file of text, whole or not at all; halves of letters, as in names of files that are no text, become "?".

    Errors as `write_bytes`.
    """
    write_bytes(path, text.encode(errors="replace"))


def write_json(path: str | Path, values: Any, indent: int | None = 2) -> None:
    """Write a file of strict JSON, whole or not at all; other letters than ASCII's are escaped, so any reader does.

    Args:
        path: the file.
        values: mappings, sequences, text, numbers, booleans and None.
        indent: spaces a level is moved in; None writes one line.

    Raises:
        CosliceError: as `atomic`.
        ValueError: a number that is not finite, which JSON has no word for.
    """
    write_text(path, json.dumps(values, indent=indent, allow_nan=False) + "\n")


def prepare_output(folder: str | Path, overwrite: bool = False) -> Path:
    """Make `folder`, or check that it is there, empty and writable.

    With `overwrite` a folder may hold files; those written again are replaced one by one, none is deleted.

    Raises:
        CosliceError: `folder` is a file, holds something (without `overwrite`), or cannot be written to.
            Folders made on the way to that discovery are removed again.
    """
    folder = Path(folder)
    made: list[Path] = []
    try:
        if folder.exists() and not folder.is_dir():
            raise CosliceError(f"{folder} is a file, but a folder is needed for the output; choose another name.")
        if folder.is_dir() and not overwrite and any(folder.iterdir()):
            raise CosliceError(
                f"The folder {folder} is not empty; choose a new one, or ask for overwriting to replace files in it."
            )
        for place in reversed((folder, *folder.parents)):
            if not place.is_dir():
                place.mkdir()
                made.append(place)
        probe = folder / f".{uuid.uuid4().hex}"
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        for place in reversed(made):
            place.rmdir()
        raise _refused(folder, "cannot be written to", error) from error
    return folder


@contextmanager
def output_folder(folder: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """`prepare_output` now, so that it can refuse before the work; a folder made for nothing is removed again.

    Raises:
        CosliceError: as `prepare_output`.
    """
    existed = Path(folder).exists()
    place = prepare_output(folder, overwrite)
    try:
        yield place
    except BaseException:
        with suppress(OSError):  # of a folder that is no more; the first error is the one to hear
            if not existed and not any(place.iterdir()):
                place.rmdir()
        raise


def _refused(path: Path, what: str, error: OSError) -> CosliceError:
    why, advice = (say(error, path.parent) for say in (reason_of, advice_on))
    return CosliceError(f"{shown_path(path)} {what}: {why}; {advice}.")
