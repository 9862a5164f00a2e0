"""New results in the place of old ones, all of them or none.

New files are written aside, into the hidden folder of the run, and flushed to the disk. Then a journal is written that
names them, and from that moment on they are the results: they are renamed one after the other, and if the power goes in
between, the next run in the folder, or whoever calls `finish_exchange`, does what is left to do. Before that moment the
old results are as they were.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from coslice.errors import CosliceError
from coslice.io.documents import read_json
from coslice.io.files import flush_folder, write_json
from coslice.io.locks import hidden_folder

__all__ = ["aside_in", "drop_aside", "exchange", "exchange_begun", "finish_exchange", "outdated"]

_JOURNAL, _ASIDE, _FORMER = "exchange.json", "results", "former"
_FILES = ("metrics.json", "run.json", "comparison.png", "report.html")
_STEMS = ("initial", "truth", "reference", "measurement")
_DICOM = "dicom"


def aside_in(out: Path) -> Path:
    """An empty folder for new results of the run in `out`.

    Raises:
        CosliceError: the operating system refuses.
    """
    drop_aside(out)
    aside = hidden_folder(out) / _ASIDE
    try:
        aside.mkdir(parents=True)
    except OSError as error:
        raise CosliceError(f"{aside} cannot be made: {error.strerror}; choose another place.") from error
    return aside


def exchange_begun(out: Path) -> bool:
    """Whether results that are aside are the results, but for their places."""
    return (hidden_folder(out) / _JOURNAL).is_file()


def drop_aside(out: Path) -> None:
    """Remove results that are aside, unless their exchange was begun."""
    if not exchange_begun(out):
        shutil.rmtree(hidden_folder(out) / _ASIDE, ignore_errors=True)


def exchange(out: Path, whose: str) -> None:
    """Put the results that are aside into `out`, in the place of those of an earlier run.

    Args:
        out: whose lock the caller holds.
        whose: a digest of the run's identity.

    Raises:
        CosliceError: a folder stands where a file is to go, or the other way round; the operating system refuses.
    """
    hidden = hidden_folder(out)
    aside = hidden / _ASIDE
    new = sorted(one.name for one in aside.iterdir())
    for name in new:
        if (out / name).exists() and (out / name).is_dir() != (aside / name).is_dir():
            raise CosliceError(f"{out / name} is in the way of a new result; move it, or choose another folder.")
    for one in sorted(aside.rglob("*")):
        if one.is_file():
            with open(one, "r+b") as written:
                os.fsync(written.fileno())
        else:
            flush_folder(one)
    flush_folder(aside)
    journal = {"whose": whose, "new": new, "outdated": sorted(outdated(out) - {*new})}
    write_json(hidden / _JOURNAL, journal)
    finish_exchange(out)


def finish_exchange(out: Path) -> str | None:
    """Do what is left of an exchange that was begun, and clear what the run kept; nothing where none was begun.

    Args:
        out: whose lock the caller holds.

    Returns:
        Whose results they are now; None where there was nothing to do.

    Raises:
        CosliceError: a journal that is damaged, or the operating system refuses.
    """
    hidden = hidden_folder(out)
    path = hidden / _JOURNAL
    if not exchange_begun(out):
        return None
    journal = _read(path)
    try:
        for name in journal["new"]:
            new, old, former = hidden / _ASIDE / name, out / name, hidden / _FORMER / name
            if not new.exists():
                continue  # it is in its place
            if new.is_dir() and old.is_dir():
                shutil.rmtree(former, ignore_errors=True)
                former.parent.mkdir(exist_ok=True)
                os.replace(old, former)
            os.replace(new, old)
        for name in journal["outdated"]:
            _remove(out / name)
        flush_folder(out)
        # The journal last: with it, what is here is of a run that has ended.
        for one in hidden.iterdir():
            if one.name in (_ASIDE, _FORMER) or one.suffix == ".safetensors":
                _remove(one)
        (hidden / "run.json").unlink(missing_ok=True)
        path.unlink()
        flush_folder(hidden)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CosliceError(
            f"The results in {out} are whole but not all in their places: {reason}; when that is mended, the same "
            "command puts them there."
        ) from error
    return str(journal["whose"])


def outdated(out: Path) -> set[str]:
    """Names of the results of an earlier run in `out`: they are not to lie among those of another one."""
    try:
        record = read_json(out / "run.json")
        stems = [str(stem) for stem in record["recipes"]]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    names = {f"{stem}.nii.gz" for stem in (*_STEMS, *stems)} | {*_FILES}
    names |= {f"{stem}-{word}.nii.gz" for stem in stems for word in ("deviation", "interval")}
    found = {name for name in names if name == Path(name).name and (out / name).is_file()}
    series = out / _DICOM
    if series.is_dir() and all(one.is_file() and one.match("[0-9]*.dcm") for one in series.iterdir()):
        found.add(_DICOM)
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        journal = read_json(path)
        names = [*journal["new"], *journal["outdated"]]
        plain = all(isinstance(name, str) and name == Path(name).name and name[:1] != "." for name in names)
    except (OSError, ValueError, KeyError, TypeError):
        plain, journal = False, {}
    if not plain:
        raise CosliceError(f"{path} is damaged; remove {path.parent}, and run the command again.")
    return journal


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError):
            path.unlink()
