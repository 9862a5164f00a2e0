"""Folders of the user's own among the temporary files, for what may be kept and need not be.

What lies there is read again and trusted, compiled code above all. So a folder must be the user's, and nobody else may
write to it; where that cannot be had, nothing is kept.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["keep_privately", "private_folder", "temporary_place"]

_SHARED_MEMORY = "/dev/shm"
"""Containers whose file system is read-only have it all the same."""


def temporary_place() -> Path:
    """Where temporary files may be made: where Python makes them, else in memory; never the current folder.

    Raises:
        OSError: there is no such place.
    """
    try:
        place = tempfile.gettempdir()
        if Path(place) != _current():
            return Path(place)
    except OSError:
        pass
    if os.path.isdir(_SHARED_MEMORY) and os.access(_SHARED_MEMORY, os.W_OK | os.X_OK):
        return Path(_SHARED_MEMORY)
    raise OSError("no folder for temporary files")


def private_folder(name: str) -> Path:
    """The folder `coslice-NAME-USER`, made where it is missing.

    Raises:
        OSError: there is no place, or what has that name is somebody else's, or open to others.
    """
    if not hasattr(os, "getuid"):
        raise OSError("no folder for temporary files that is one's own")
    folder = temporary_place() / f"coslice-{name}-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise OSError(f"{folder} is somebody else's")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(f"{folder} cannot be written to")
    return folder


def keep_privately(variable: str, name: str, *usual: str) -> None:
    """Let a library keep its things in a private folder where its usual places cannot be written to.

    Args:
        variable: of the environment, by which it is told where; one that is set stays.
        name: of the folder.
        usual: its places, which may begin with "~" or a variable; one of which nothing exists may be made.
    """
    if os.environ.get(variable) or all(map(_can_be_written, usual)):
        return
    with suppress(OSError):  # it has to find one itself, or to say that it cannot
        os.environ[variable] = str(private_folder(name))


def _can_be_written(place: str) -> bool:
    path = Path(os.path.expanduser(os.path.expandvars(place)))
    if not path.is_absolute():  # there is no home, or no such variable
        return False
    while not os.path.lexists(path):
        path = path.parent
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)


def _current() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it was removed
        return None
