"""Finished cells on disk, each under the hash of everything its numbers depend on.

    cells/KEY.json       its record: the cell, metrics, curves, trajectory, seconds, device, versions
    cells/KEY.nii.gz     its reconstruction, in the scan's units and place
    locks/KEY            held by the process that computes it; the system lets go of it when the process is gone

A record is written after its volume and names it, so a cell that has a record is whole, whenever a process was
killed. Recipes that share a cell share its record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from coslice.errors import CosliceError
from coslice.io.files import atomic, prepare_output
from coslice.io.nifti import write_nifti
from coslice.volume import Volume

__all__ = ["Store", "digest_of", "file_digest"]


def digest_of(values: Mapping[str, Any]) -> str:
    """32 hexadecimal digits for a tree of plain values, whatever the order of its keys."""
    text = json.dumps(values, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal.

    Raises:
        CosliceError: a file that cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            digest = hashlib.sha256()
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise CosliceError(f"{path} cannot be read ({error.strerror}); give the path of a file.") from error
    return digest.hexdigest()


class Store:
    """The folder `folder`, which may be there, hold finished cells, and be in use by other processes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._cells, self._locks = folder, folder / "cells", folder / "locks"

    def prepare(self) -> None:
        """Make the folder where it is missing.

        Raises:
            CosliceError: a folder that holds something else, or cannot be written to.
        """
        if not self.folder.exists() or (self.folder.is_dir() and not any(self.folder.iterdir())):
            # First of all, so that a process that starts at the same moment finds a folder of cells, not any other.
            with suppress(OSError):  # which the next line tells
                self._cells.mkdir(parents=True, exist_ok=True)
        prepare_output(self.folder, overwrite=self._cells.is_dir())
        self._locks.mkdir(exist_ok=True)

    def record(self, key: str) -> dict[str, Any] | None:
        """What is known of a finished cell; None for one that is not.

        Raises:
            CosliceError: a record that is not what was written.
        """
        path = self._cells / f"{key}.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise CosliceError(f"{path} is damaged ({error}); delete it, and its cell is computed again.") from error

    def has(self, key: str) -> bool:
        return (self._cells / f"{key}.json").is_file()

    def volume(self, key: str) -> Path:
        """Where the reconstruction of a cell is."""
        return self._cells / f"{key}.nii.gz"

    def put(self, key: str, record: Mapping[str, Any], volume: Volume) -> None:
        """Keep a finished cell."""
        write_nifti(volume, self.volume(key))
        with atomic(self._cells / f"{key}.json") as part:
            part.write_text(json.dumps(record, allow_nan=False) + "\n", encoding="utf-8")

    @contextmanager
    def claimed(self, key: str) -> Iterator[bool]:
        """Whether the cell is this process's to compute, until the end of the block: False if another one has it."""
        lock = FileLock(self._locks / key)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()
