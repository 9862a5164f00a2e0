"""A look into an HDF5 file by another process, since some damaged files never let the library go, or end it.

Where a heap or a tree in the file leads back to itself, HDF5 goes round for ever, deep in C, where nothing in this
process can stop it. So a copy of the process looks at all that is read but the large arrays, with few seconds of
computing; a slow disk takes none of these.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

__all__ = ["check_by_trial"]

_COMPUTING_S = 5
_WAITING_S = 120.0


def check_by_trial(path: Path, look: Callable[[Path], object]) -> None:
    """Let a copy of this process look into a file.

    Args:
        path: of the file.
        look: what it does with it; what that raises is not of interest, since it is raised again here.

    Raises:
        ValueError: the copy came to no end, or was ended.
    """
    if sys.platform != "linux":  # elsewhere a copy of a process is not safe to work with
        return
    status = os.stat(path)
    reason = _outcome(os.fspath(path), (status.st_ino, status.st_size, status.st_mtime_ns), look)
    if reason:
        raise ValueError(reason)


@lru_cache(maxsize=16)
def _outcome(path: str, stamp: tuple[int, ...], look: Callable[[Path], object]) -> str:
    try:
        child = os.fork()
    except OSError:  # no room for another process: what can be done without is done without
        return ""
    if child == 0:
        try:
            import resource  # only where there is one

            resource.setrlimit(resource.RLIMIT_CPU, (_COMPUTING_S, _COMPUTING_S))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            look(Path(path))
        finally:
            os._exit(0)
    until, wait = time.monotonic() + _WAITING_S, 1e-3
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
        time.sleep(wait)
        wait = min(1.5 * wait, 0.1)
    if not os.WIFSIGNALED(status):
        return ""
    endless = os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
    return "HDF5's library comes to no end with it" if endless else "HDF5's library breaks off with it"
