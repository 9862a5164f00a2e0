"""Whether a file, or a folder of files, is what it was.

Size and time of change are looked at first, since reading every scan of a cohort takes minutes; where only the time is
another, as after a copy, the content decides.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from coslice.errors import CosliceError

__all__ = ["Fingerprint", "fingerprint", "options_digest", "same_content"]


@dataclass(frozen=True)
class Fingerprint:
    """What is known of the content of a file or folder.

    Attributes:
        size: bytes, of all files.
        changed: the latest time of change, ns.
        content: SHA-256 of the bytes, in a folder with the names; "" where it was not read.
    """

    size: int
    changed: int
    content: str = ""

    @property
    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def fingerprint(path: Path, read: bool = True) -> Fingerprint:
    """Of a file, or of the regular files in a folder and below.

    Args:
        path: the file or folder.
        read: whether to read the content.

    Raises:
        CosliceError: nothing is there, or it cannot be read.
    """
    try:
        files = list(_files(path))
        size, changed = (
            sum(found.st_size for _, found in files),
            max((found.st_mtime_ns for _, found in files), default=0),
        )
        if not read:
            return Fingerprint(size, changed)
        digest = hashlib.sha256()
        for one, found in files:
            if one != path:
                digest.update(os.fsencode(one.relative_to(path)) + b"\0%d\0" % found.st_size)
            _add(digest, one, found.st_size)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CosliceError(f"{path} cannot be read ({reason}); give the place of a scan.") from error
    return Fingerprint(size, changed, digest.hexdigest())


def same_content(path: Path, known: Fingerprint) -> bool:
    """Whether `path` holds what it held; a place that holds nothing does not."""
    try:
        now = fingerprint(path, read=False)
        if now.size != known.size:
            return False
        return now.changed == known.changed or fingerprint(path).content == known.content
    except CosliceError:
        return False


def options_digest(options: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """32 hexadecimal digits for options, and for what is in the files that they name, whatever the order of either.

    Args:
        options: plain values by name.
        files: SHA-256 by name.
    """
    text = json.dumps([dict(options), dict(files)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _files(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Regular files in a fixed order, each with what the system knows of it; of a pipe or a device nothing is read."""
    found = path.stat()
    if not stat.S_ISDIR(found.st_mode):
        if stat.S_ISREG(found.st_mode):
            yield path, found
        return
    for folder, below, names in os.walk(path):
        below.sort()
        for name in sorted(names):
            one = Path(folder) / name
            try:
                inside = one.stat()
            except OSError:  # a link that leads nowhere
                continue
            if stat.S_ISREG(inside.st_mode):
                yield one, inside


def _add(digest: Any, path: Path, size: int) -> None:
    """The bytes of a file, no more than it had when it was looked at."""
    with open(path, "rb") as stream:
        while size > 0 and (block := stream.read(min(size, 1 << 20))):
            digest.update(block)
            size -= len(block)
