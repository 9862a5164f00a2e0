"""What the machine refuses, in a sentence: files, memory, threads.

Whoever opens a file or takes memory deep in the work need not know who asked for it. What nobody has put into better
words is put into words here, for every command alike. Errors of our own making keep their traceback: it is for us.
"""

from __future__ import annotations

import errno
import os
import re

__all__ = ["sentence_of_failure"]

_LONGEST = 160
"""Letters of a path that are shown; of a longer one, its beginning and its end."""
_ADVICE = {
    errno.ENOSPC: "make room there, or choose another place",
    errno.EDQUOT: "make room within your quota, or choose another place",
    errno.EFBIG: "files there, or of this process (ulimit -f), may not be so large",
    errno.EACCES: "change its permissions, or choose another place",
    errno.EPERM: "change its permissions, or choose another place",
    errno.EROFS: "choose another place",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path: a part of it is a file",
    errno.EISDIR: "give a file",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "check the path: links in it lead back to themselves",
    errno.EMFILE: "allow this process more open files (ulimit -n)",
    errno.ENFILE: "close other programs",
    errno.EAGAIN: "allow more processes and threads (ulimit -u), or try again",
    errno.EIO: "the disk or its connection fails; copy what is there, and choose another place",
    errno.ESTALE: "the network's folder has changed; try again",
}
_ASKED = re.compile(
    r"tried to allocate (?P<bytes>\d+) bytes|(?:allocate|Tried to allocate) (?P<size>[\d.]+ [KMGT]i?B)", re.IGNORECASE
)
_OF_MEMORY = re.compile(
    r"can't allocate memory|not enough memory|out of memory|bad_alloc|cannot allocate memory|unable to mmap",
    re.IGNORECASE,
)


def sentence_of_failure(error: BaseException) -> str | None:
    """What to say of an error that nobody expected.

    Returns:
        One sentence on what was refused and what to do; None of an error that is a mistake of this program.
    """
    text = str(error)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError | OSError | ImportError) and _OF_MEMORY.search(text)):
        return _of_memory(text)
    if isinstance(error, OSError):
        return _of_file(error)
    if isinstance(error, RecursionError):
        return "An input is nested more deeply than can be read; check that it is what it should be."
    if isinstance(error, RuntimeError) and "can't start new thread" in text:
        return "This process may start no more threads; allow it more (ulimit -u), or choose fewer (OMP_NUM_THREADS=1)."
    if isinstance(error, ValueError) and "embedded null" in text:
        return "A path has a character 0 in it, which no file's name can have; correct it."
    return None


def _of_memory(text: str) -> str:
    asked = _ASKED.search(text)
    size = ""
    if asked is not None:
        size = f": {_in_words(int(asked['bytes'])) if asked['bytes'] else asked['size']} more were needed"
    return (
        f"Not enough memory{size}; take fewer slices (--slices) or smaller ones, or smaller batches, or allow this "
        "process more."
    )


def _of_file(error: OSError) -> str:
    names = [_shown(name) for name in (error.filename, error.filename2) if name is not None]
    reason = (error.strerror or str(error) or type(error).__name__).strip().rstrip(".").split("\n")[0]
    where = " and ".join(names) if names else "A file, or what stands for one"
    advice = _ADVICE.get(error.errno or 0, "check the path and the disk")
    return f"{where}: the operating system refuses it ({reason[:1].lower() + reason[1:]}); {advice}."


def _shown(name: object) -> str:
    text = name if isinstance(name, int) else os.fsdecode(name)  # pyright: ignore[reportArgumentType]
    text = f"file number {text}" if isinstance(text, int) else text
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]}...{text[-half:]}"


def _in_words(count: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:,} bytes"
