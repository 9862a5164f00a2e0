"""What the machine refuses, in a sentence: files, memory, threads.

Whoever opens a file or takes memory deep in the work need not know who asked for it. What nobody has put into better
words is put into words here, for every command alike. Errors of our own making keep their traceback: it is for us.
"""

from __future__ import annotations

import re

from coslice.io.refusals import advice_on, reason_of, shown_path

__all__ = ["sentence_of_failure"]

_ASKED = re.compile(
    r"tried to allocate (?P<bytes>\d+) bytes|allocate (?P<number>[\d.]+) (?P<unit>[KMGTPE]i?B)", re.IGNORECASE
)
"""How torch, numpy and CUDA say what there was no room for."""
_OF_MEMORY = re.compile(
    r"can't allocate memory|not enough memory|out of memory|bad_alloc|cannot allocate memory|unable to mmap|"
    r"error return without exception set",  # the last one is what is left of a MemoryError that was lost on its way
    re.IGNORECASE,
)
_CAN_BE_OF_MEMORY = (RuntimeError, OSError, ImportError, SystemError)


def sentence_of_failure(error: BaseException) -> str | None:
    """What to say of an error that nobody expected.

    Returns:
        One sentence on what was refused and what to do; None of an error that is a mistake of this program.
    """
    text = str(error)
    if isinstance(error, MemoryError) or (isinstance(error, _CAN_BE_OF_MEMORY) and _OF_MEMORY.search(text)):
        return _of_memory(text)
    if isinstance(error, OSError):
        return _of_file(error)
    if isinstance(error, RecursionError):
        return "An input is nested more deeply than can be read; check that it is what it should be."
    if isinstance(error, RuntimeError) and "can't start new thread" in text:
        return (
            "This process can start no more threads; allow it more (ulimit -u), or more memory for them (ulimit -v), "
            "or choose fewer (OMP_NUM_THREADS=1)."
        )
    if isinstance(error, ValueError) and "embedded null" in text:
        return "A path has a character 0 in it, which no name of a file can have; correct it."
    return None


def _of_memory(text: str) -> str:
    asked = _ASKED.search(text)
    size = ""
    if asked is not None:
        known = f"{float(asked['number']):.3g} {asked['unit']}" if asked["number"] else _in_words(int(asked["bytes"]))
        size = f": {known} more were needed"
    return (
        f"There is not enough memory{size}; take fewer slices (--slices) or smaller ones (--size), smaller batches, or "
        "allow this process more (ulimit -v, the container's limit)."
    )


def _of_file(error: OSError) -> str:
    names = [shown_path(name) for name in (error.filename, error.filename2) if name is not None]
    if not names:
        return f"The operating system refuses a file: {reason_of(error)}; {advice_on(error)}."
    return f"{' and '.join(names)} cannot be used: {reason_of(error)}; {advice_on(error)}."


def _in_words(count: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:,} bytes"
