"""Why the operating system refuses a file, and what to do, in words.

Libraries that write by themselves (arrays, pictures, tensors) say of a full disk no more than that some bytes are
missing. So where the error has no reason, the place is asked once more: a short file is written there, and what comes
of that is the reason.
"""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from coslice.errors import CosliceError

__all__ = ["advice_on", "check_name", "reason_of", "shown_path"]

_PROBE = 1 << 20
"""Bytes: a disk that takes so much is not what failed."""
_LONGEST = 160
"""Letters of a path that are shown."""
_ELSEWHERE = "choose another place"
_ADVICE = {
    errno.ENOSPC: f"make room there, or {_ELSEWHERE}",
    errno.EDQUOT: f"make room within your quota, or {_ELSEWHERE}",
    errno.EFBIG: f"allow larger files (ulimit -f), or {_ELSEWHERE}",
    errno.EACCES: f"change its permissions, or {_ELSEWHERE}",
    errno.EPERM: f"change its permissions, or {_ELSEWHERE}",
    errno.ENOENT: f"look whether its folder was removed, or {_ELSEWHERE}",
    errno.ENOTDIR: "check the path, of which a part is a file",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "check the path, in which links lead back to themselves",
    errno.EMFILE: "allow this process more open files (ulimit -n)",
    errno.ENFILE: "close other programs",
    errno.EAGAIN: "allow more processes and threads (ulimit -u), or try again",
    errno.EIO: f"look after the disk, or its connection, and {_ELSEWHERE}",
}


def reason_of(error: OSError, folder: str | Path | None = None) -> str:
    """The system's words for an error, in small letters.

    Args:
        error: what was raised.
        folder: where it was to be written; asked again where the error has no number.
    """
    known = error if error.errno or folder is None else _asked(Path(folder)) or error
    words = (known.strerror or str(known) or type(known).__name__).strip().split("\n")[0]
    if not known.errno and folder is not None:
        return f"only a part of it could be written ({words[:100]})"
    return words[:1].lower() + words[1:]


def advice_on(error: OSError, folder: str | Path | None = None) -> str:
    """What to do about it, as the end of a sentence. Arguments as of `reason_of`."""
    known = error if error.errno or folder is None else _asked(Path(folder)) or error
    return _ADVICE.get(known.errno or 0, _ELSEWHERE)


def check_name(path: str | Path) -> None:
    """Refuse a path that is not UTF-8: the library that reads and writes weights takes no other.

    Raises:
        CosliceError: it is not.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise CosliceError(
            f"{shown_path(path)} has a name that is not UTF-8, and weights can be kept under no such name; rename it."
        ) from error


def shown_path(path: object) -> str:
    """A path in a sentence: of a very long one, its beginning and its end."""
    text = f"file number {path}" if isinstance(path, int) else os.fsdecode(path)  # pyright: ignore[reportArgumentType]
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]}...{text[-half:]}"


def _asked(folder: Path) -> OSError | None:
    """What the system says of a file in `folder` now; None where it takes it."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as probe:
            left = _PROBE
            while left:  # a system that takes a part only says why at the next
                left -= probe.write(b"\0" * left)
            os.fsync(probe.fileno())
    except OSError as error:
        return error
    return None
