"""The folder of a cohort.

    NAME/                 the result of a scan, as `coslice reconstruct` makes it
    cohort/NAME.json      where it stands, see `ScanRecord`
    cohort/NAME.txt       what was said while it was made
    cohort/NAME.png       a small picture of it
    cohort/NAME.lock      held by the process that makes it; the system lets go of it when the process is gone
    cohort/*.share        held by a command at work, one for each share
    cohort.csv, cohort.json, cohort-summary.csv, index.html      tables, and the page

Several commands may work in it at once, each with a share of the manifest: every scan is made by one, and the tables
are made from what all have done.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from coslice.cohort.scan_record import ScanRecord
from coslice.errors import CosliceError
from coslice.io.documents import read_json
from coslice.io.files import prepare_output, write_json
from coslice.io.locks import locked
from coslice.io.plain_files import what_else
from coslice.io.refusals import advice_on, reason_of, shown_path

__all__ = ["RESERVED", "Cohort"]

RESERVED = ("cohort", "cohort.csv", "cohort.json", "cohort-summary.csv", "index.html")
"""Names in the folder that are no scan's."""


class Cohort:
    """The folder `out`, which may be there, hold a cohort, and be in use by other processes."""

    def __init__(self, out: Path) -> None:
        self.out, self._inside = out, out / "cohort"

    def prepare(self) -> None:
        """Make the folder where it is missing.

        Raises:
            CosliceError: a folder that holds something else, or cannot be written to.
        """
        self.check()
        with suppress(OSError):  # which the next line reports
            self._inside.mkdir(parents=True, exist_ok=True)
        prepare_output(self.out, overwrite=True)
        prepare_output(self._inside, overwrite=True)

    def check(self) -> None:
        """Refuse what can be no cohort's folder; nothing is made.

        Raises:
            CosliceError: a file, a folder that holds something else, or a path that cannot be.
        """
        try:
            if not os.path.lexists(self.out) or self._inside.is_dir():
                return
            if self.out.is_dir() and not any(self.out.iterdir()):
                return
        except OSError as error:
            raise CosliceError(
                f"{shown_path(self.out)} cannot be used: {reason_of(error)}; {advice_on(error)}."
            ) from error
        if not self.out.is_dir():
            raise CosliceError(f"{self.out} {what_else(self.out)}; give a folder for the results.")
        raise CosliceError(f"The folder {self.out} holds something that is no cohort; choose another one.")

    def folder(self, name: str) -> Path:
        """Where the result of a scan is."""
        return self.out / name

    def beside(self, name: str, suffix: str) -> Path:
        """A file of ours about a scan: "json", "txt", "png"."""
        return self._inside / f"{name}.{suffix}"

    def record(self, name: str) -> ScanRecord:
        """Where a scan stands; one whose record is not there or damaged is waiting."""
        path = self.beside(name, "json")
        values = _object(path)
        known = None if values is None else ScanRecord.of(values)
        return known or ScanRecord(starts=int(path.is_file()))  # what a damaged one says at least: it was begun here

    def keep(self, name: str, record: ScanRecord) -> None:
        """Keep where a scan stands."""
        write_json(self.beside(name, "json"), record.tree)

    def whole(self, name: str) -> bool:
        """Whether the folder of a scan has a result, with all its files."""
        return self.run_record(name) is not None and (self.folder(name) / "report.html").is_file()

    def run_record(self, name: str) -> dict[str, Any] | None:
        """What run.json of a result says; None where there is none."""
        return _object(self.folder(name) / "run.json")

    def metrics(self, name: str) -> dict[str, Any]:
        """The metrics of a result by file stem; empty where there was no truth."""
        return _object(self.folder(name) / "metrics.json") or {}

    @contextmanager
    def taken(self, name: str) -> Iterator[bool]:
        """Whether the scan is this process's to make, until the end of the block: False if another one is at it."""
        with locked(self._inside / f"{name}.lock") as mine:
            yield mine

    @contextmanager
    def entered(self, share: str | None) -> Iterator[None]:
        """The cohort, or a share of it, is this process's to work on, until the end of the block.

        Raises:
            CosliceError: another process works on it.
        """
        word = "whole" if share is None else share.replace("/", "-of-")
        with locked(self._inside / f"{word}.share") as mine:
            if not mine:
                what = "the cohort" if share is None else f"the share {share}"
                raise CosliceError(
                    f"{self.out}: another process works on {what} in this folder; wait for it, or give other shares."
                )
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The tables are this process's to write, until the end of the block; waits for others."""
        with locked(self._inside / "tables.share", timeout=-1):
            yield


def _object(path: Path) -> dict[str, Any] | None:
    try:
        values = read_json(path)
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None
