"""A lock on a folder: two runs that would write the same files do not both get it.

The lock is a file of the hidden folder `.coslice`, in which a run also keeps what is not finished. The operating system
lets go of the lock of a process that is gone, however it went. Whether machines that share a network file system see
each other's locks is up to that system: NFS from version 4 on and Lustre mounted with `flock` do. Where there are no
locks at all, that is said, and nothing is locked.
"""

from __future__ import annotations

import errno
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from coslice.errors import CosliceError

__all__ = ["HIDDEN", "hidden_folder", "lock_folder", "locked"]

HIDDEN = ".coslice"
"""Name of the hidden folder."""
_LOCK = "lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system without locks answers, such as NFS without its lock service."""


def hidden_folder(folder: str | Path) -> Path:
    """Where a run in `folder` keeps its lock, and what is not finished."""
    return Path(folder) / HIDDEN


@contextmanager
def lock_folder(folder: str | Path, say: Callable[[str], None] = lambda sentence: None) -> Iterator[Path]:
    """Have `folder`, which exists, for oneself until the end of the block; its hidden folder is given.

    The lock is taken away at the end, and with it the hidden folder if there is nothing else in it.

    Args:
        folder: of a run.
        say: called with a sentence where the file system has no locks.

    Raises:
        CosliceError: another process has the lock, or the folder cannot be written to.
    """
    hidden = hidden_folder(folder)
    lock = _acquired(folder, hidden / _LOCK, say)
    try:
        yield hidden
    finally:
        if lock is not None:
            _release(lock, hidden / _LOCK)
        with suppress(OSError):
            hidden.rmdir()


@contextmanager
def locked(path: Path, timeout: float = 0) -> Iterator[bool]:
    """Whether the lock of that name is this process's, until the end of the block.

    For folders that many processes share at once, one piece of work each; the file of a lock stays.

    Args:
        path: of the lock, in a folder that exists.
        timeout: seconds to wait for it; -1 waits for ever.

    Raises:
        CosliceError: the folder cannot be written to, or has no locks.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        yield False
        return
    except (OSError, NotImplementedError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise CosliceError(f"{path} cannot be locked: {reason}; choose another folder.") from error
    try:
        yield True
    finally:
        lock.release()


def _acquired(folder: str | Path, path: Path, say: Callable[[str], None]) -> FileLock | None:
    while True:
        lock = FileLock(path)
        try:
            path.parent.mkdir(exist_ok=True)
            with warnings.catch_warnings():
                # Where there is no flock, filelock warns, and leaves a file that blocks for ever.
                warnings.simplefilter("error")
                lock.acquire(timeout=0)
        except Timeout:
            raise CosliceError(
                f"Another run is writing into {folder}; wait until it has ended, or choose another folder."
            ) from None
        except (NotImplementedError, Warning, OSError) as error:
            if not isinstance(error, OSError) or error.errno in _NO_LOCKS:
                say(f"The file system of {folder} has no locks; see to it that no other run writes there.")
                return None
            if isinstance(error, FileNotFoundError) and Path(folder).is_dir():
                continue  # the run before has just removed the hidden folder
            reason = (error.strerror or str(error)).lower()
            raise CosliceError(f"The folder {folder} cannot be locked: {reason}; choose another place.") from error
        if path.exists():
            return lock
        lock.release()  # it was the file of a run that has just ended


def _release(lock: FileLock, path: Path) -> None:
    """Let go of a lock; its file is removed before, so that nobody takes hold of one that is about to go."""
    with suppress(OSError):
        path.unlink()
        lock.release()
        return
    lock.release()  # Windows removes no file that is open, and none that the next run has opened
    with suppress(OSError):
        path.unlink()
