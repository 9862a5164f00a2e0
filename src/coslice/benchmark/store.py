"""Finished cells on disk, each under the hash of everything its numbers depend on.

    cells/KEY.json       its record: the cell, metrics, curves, trajectory, seconds, device, versions
    cells/KEY.nii.gz     its reconstruction, in the scan's units and place
    cells/KEY.iscs.json  its metrics and curves under another protocol, made from the volume when a table asks for them
    locks/KEY            held by the process that computes it; the system lets go of it when the process is gone
    locks/KEY.state.safetensors      where its run stands, of one that takes minutes

A record comes after its volume, so a cell that has a record is whole, whenever a process was killed. Recipes that
share a cell share its record.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from coslice.axes import PLANES
from coslice.errors import CosliceError
from coslice.io.documents import read_json
from coslice.io.files import prepare_output, write_json
from coslice.io.locks import locked
from coslice.io.nifti import write_nifti
from coslice.metrics import PER_PLANE, PER_VOLUME, Curves
from coslice.tree import built, typed
from coslice.volume import Volume

__all__ = ["Store", "digest_of", "file_digest"]


@dataclass(frozen=True)
class _Recorded:
    """What a record holds at the least."""

    metrics: dict[str, Any]
    curves: dict[str, Curves]
    trajectory: tuple[dict[str, float | None], ...]
    seconds: float
    phases: dict[str, float]


_NOTHING = {"trajectory": [], "seconds": 0.0, "phases": {}}
"""Of numbers under another protocol, which stand beside a record."""


def _check(record: Any, who: str) -> None:
    """Refuse a record whose entries are not what tables take them for.

    Raises:
        CosliceError: likewise.
    """
    known = {item.name for item in fields(_Recorded)}
    record = typed(dict[str, Any], record, "what it holds", who)
    built(_Recorded, {key: record[key] for key in known if key in record}, "", who)
    for plane in PLANES:
        numbers = typed(dict[str, float | None], record["metrics"].get(plane), f"metrics.{plane}", who)
        if plane not in record["curves"] or not {quantity.name for quantity in PER_PLANE} <= set(numbers):
            raise CosliceError(f"{who}: the plane {plane} is missing.")
    for quantity in PER_VOLUME:
        if quantity.name != "seconds":
            typed(float | None, record["metrics"].get(quantity.name, ""), f"metrics.{quantity.name}", who)
    typed(float | None, record["metrics"].get("sdiff_truth", ""), "metrics.sdiff_truth", who)


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
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CosliceError(f"{path} cannot be read ({reason}); give the path of a file.") from error
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
            with suppress(OSError):  # which the next line reports
                self._cells.mkdir(parents=True, exist_ok=True)
        prepare_output(self.folder, overwrite=self._cells.is_dir())
        for place in (self._cells, self._locks):
            place.mkdir(exist_ok=True)
            prepare_output(place, overwrite=True)

    def record(self, key: str) -> dict[str, Any] | None:
        """What is known of a finished cell; None for one that is not.

        Raises:
            CosliceError: a record that is not what was written.
        """
        path = self._cells / f"{key}.json"
        try:
            record = read_json(path)
            _check(record, "record")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:  # of which CosliceError is one
            raise CosliceError(f"{path} is damaged; delete it, and its cell is computed again.") from error
        return record

    def has(self, key: str) -> bool:
        """Whether a cell is finished."""
        return (self._cells / f"{key}.json").is_file() and self.volume(key).is_file()

    def state(self, key: str) -> Path:
        """Where it is kept how far the run of a cell is, for whoever takes it next; gone once the cell is finished."""
        return self._locks / f"{key}.state.safetensors"

    def volume(self, key: str) -> Path:
        """Where the reconstruction of a cell is."""
        return self._cells / f"{key}.nii.gz"

    def remeasured(self, key: str, protocol: str) -> dict[str, Any] | None:
        """What `keep_remeasured` kept of a cell; None where nothing is, or it is damaged, so that it is made again."""
        try:
            found = read_json(self._remeasured(key, protocol))
            _check({**_NOTHING, **found}, "numbers")
        except (OSError, ValueError, TypeError):
            return None
        return found

    def keep_remeasured(self, key: str, protocol: str, numbers: Mapping[str, Any]) -> dict[str, Any]:
        """Keep the numbers of a finished cell under another protocol than its record has; as they are read again."""
        write_json(self._remeasured(key, protocol), numbers, indent=None)
        return json.loads(json.dumps(numbers))

    def put(self, key: str, record: Mapping[str, Any], volume: Volume) -> None:
        """Keep a finished cell that this process holds.

        Files are written aside, under the cell's name: what a kill leaves of them is gone when the cell is next taken.
        """
        aside = self._aside(key)
        aside.mkdir(exist_ok=True)
        write_nifti(volume, aside / "volume.nii.gz")
        write_json(aside / "record.json", record, indent=None)
        for former in self._cells.glob(f"{key}.*.json"):  # numbers of a volume that was there before
            former.unlink(missing_ok=True)
        (aside / "volume.nii.gz").replace(self.volume(key))
        (aside / "record.json").replace(self._cells / f"{key}.json")
        self.state(key).unlink(missing_ok=True)
        shutil.rmtree(aside)

    @contextmanager
    def taken(self, key: str) -> Iterator[bool]:
        """Whether the cell is this process's to compute, until the end of the block: False if another one has it."""
        with locked(self._locks / key) as mine:
            if mine:
                shutil.rmtree(self._aside(key), ignore_errors=True)
            yield mine

    @contextmanager
    def publishing(self, name: str) -> Iterator[None]:
        """The outputs called `name` are this process's to write, until the end of the block; waits for others."""
        with locked(self._locks / f"{name}.outputs", timeout=-1):
            yield

    def _remeasured(self, key: str, protocol: str) -> Path:
        return self._cells / f"{key}.{protocol}.json"

    def _aside(self, key: str) -> Path:
        return self._locks / f"{key}.unfinished"
