"""Files that end: a pipe waits for ever, a device may never end, and a link may lead to nothing or to itself.

Whoever opens a path that a user or a folder gives asks here first.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from coslice.errors import CosliceError

__all__ = ["check_plain", "is_plain", "walked", "what_else"]

_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def is_plain(path: str | Path) -> bool:
    """Whether a path is a file that can be read from its start to its end, or a link to one."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):  # nothing there, or a name that no file can have
        return False


def what_else(path: str | Path) -> str:
    """What a path is that is no plain file, as the end of a sentence: "does not exist", "is a folder", ..."""
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError):
            return "is no name that a file can have"
        if error.errno == errno.ELOOP:
            return "is a link that leads to itself"
        if os.path.islink(path):
            return "is a link to nothing"
        return "does not exist" if isinstance(error, FileNotFoundError | NotADirectoryError) else "cannot be looked at"
    return "is a folder" if stat.S_ISDIR(kind) else f"is {_KINDS.get(kind, 'no file')}, not a file"


def check_plain(path: str | Path, needed: str) -> None:
    """Refuse what is no plain file.

    Args:
        path: to be opened.
        needed: what to give instead, a sentence's end without its full stop.

    Raises:
        CosliceError: it is none.
    """
    if not is_plain(path):
        raise CosliceError(f"{path} {what_else(path)}; {needed}.")


def walked(
    folder: Path, refused: Callable[[Path, str], None], left_out: Collection[str] = ()
) -> Iterator[tuple[Path, list[str]]]:
    """Every folder in `folder`, itself first, and the names in it that are no folders, sorted.

    Links are followed, each place once; none leads out to a folder that `folder` itself is in.

    Args:
        folder: to be searched to the bottom.
        refused: told of folders that cannot be searched, and why.
        left_out: names of folders that are not looked into.
    """
    visited: set[str] = set()
    root = os.path.realpath(folder)

    def tell(error: OSError) -> None:
        refused(Path(os.fsdecode(error.filename)), error.strerror or "refused")

    for base, folders, names in os.walk(folder, onerror=tell, followlinks=True):
        real = os.path.realpath(base)
        if real in visited or (real != root and os.path.commonpath((real, root)) == real):
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if name not in left_out)
        yield Path(base), sorted(names)
