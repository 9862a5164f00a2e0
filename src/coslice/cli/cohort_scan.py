"""One scan of a cohort, in a worker: what `coslice reconstruct` does, and a record of it."""

from __future__ import annotations

import os
import socket
import sys
import time
from dataclasses import dataclass, replace
from typing import Any

from coslice.cli.cohort_options import shown, wish_of
from coslice.cohort import Cohort, Fingerprint, ManifestScan, ScanRecord, fingerprint, same_content
from coslice.engine import Context
from coslice.errors import CosliceError

__all__ = ["ScanTask", "finished", "reconstruct_one"]


@dataclass(frozen=True)
class ScanTask:
    """What a worker is told of a scan.

    Attributes:
        cohort: its folder.
        row: of the manifest.
        options: by parameter, as `coslice.cli.cohort_options.options_of` gives them.
        recipe: digest of them, and of the files that they name.
        device: where to compute.
    """

    cohort: Cohort
    row: ManifestScan
    options: dict[str, Any]
    recipe: str
    device: str


def finished(cohort: Cohort, row: ManifestScan, recipe: str, record: ScanRecord | None = None) -> bool:
    """Whether the result of a scan is there and whole, made of this scan by this recipe."""
    record = cohort.record(row.name) if record is None else record
    if record.state != "done" or record.recipe != recipe or record.scan is None:
        return False
    return same_content(row.scan, record.scan) and cohort.whole(row.name)


def reconstruct_one(context: Context, task: ScanTask) -> str:
    """Reconstruct a scan into its folder, and keep where it stands.

    Returns:
        "done", or "elsewhere" where another process is at it.

    Raises:
        CosliceError: the scan or an option is at fault; which is kept too.
    """
    from coslice.cli.display import listening
    from coslice.cli.wishes import keep_priors

    cohort, name = task.cohort, task.row.name
    with cohort.taken(name) as mine:
        if not mine:
            return "elsewhere"
        before = cohort.record(name)
        if finished(cohort, task.row, task.recipe, before):
            return "done"
        at = f"{socket.gethostname()}:{os.getpid()}"
        ours = before.starts > 0 or not _filled(task)
        record = ScanRecord("running", task.recipe, shown(task.options), None, before.starts + ours, worker=at)
        cohort.keep(name, record)
        sys.argv[1:] = ["cohort"]  # what is kept of an unfinished run says whose it is; workers have other words here
        began = time.perf_counter()
        try:
            record = replace(record, scan=_known(task, before))
            cohort.keep(name, record)
            keep_priors()
            with listening(context.progress):
                wish_of(task.row, task.options, cohort.folder(name), task.device, _replaces(task, before, record))()
            _picture(cohort, name)
        except CosliceError as error:
            cohort.keep(name, replace(record, state="failed", message=str(error), worker="", seconds=_since(began)))
            raise
        cohort.keep(name, replace(record, state="done", worker="", seconds=_since(began)))
    return "done"


def _known(task: ScanTask, before: ScanRecord) -> Fingerprint:
    """Of the scan; its content is not read again where it is as it was."""
    if before.scan is not None:
        now = fingerprint(task.row.scan, read=False)
        if (now.size, now.changed) == (before.scan.size, before.scan.changed):
            return before.scan
    return fingerprint(task.row.scan)


def _replaces(task: ScanTask, before: ScanRecord, now: ScanRecord) -> bool:
    """Whether what is in the folder of the result may be replaced: where this cohort put it there."""
    same = before.recipe == now.recipe and before.scan in (None, now.scan)
    return before.starts > 0 and (_filled(task) or not same)


def _filled(task: ScanTask) -> bool:
    """Whether there is a result, or something else, in the folder for it."""
    folder = task.cohort.folder(task.row.name)
    return folder.is_dir() and any(not one.name.startswith(".") for one in folder.iterdir())


def _picture(cohort: Cohort, name: str) -> None:
    """A small picture for the page; a result without one is a result."""
    from coslice.io.files import write_bytes
    from coslice.report.cohort_page import small_picture

    try:
        write_bytes(cohort.beside(name, "png"), small_picture(cohort.folder(name)))
    except (CosliceError, ValueError, KeyError, TypeError) as error:
        print(f"There is no small picture for the page of the cohort: {error}")


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 2)
