"""How much memory a file may ask for, settled before any is taken.

A header is twenty bytes that can promise anything. Two rules hold for all formats, here:

1. What is packed, or has holes in it, stands for at most `PACKING` times the room that it takes on the disk, or for
   `FREE` bytes, whichever is more. Scans shrink to a half or a tenth; what shrinks to a thousandth is empty, or made
   to fill a memory. Unpacked on the disk it is believed, as it is there then.
2. What is asked for fits into the memory that there is: the machine's, the container's, and the process's own limit.

Both speak of the bytes that values take once they are read, so as float32.
"""

from __future__ import annotations

import os
from pathlib import Path

from coslice.errors import CosliceError

__all__ = ["FREE", "PACKING", "available", "check_memory", "check_packing", "on_disk", "unpacks_to"]

PACKING = 100
"""What a byte on the disk may stand for in memory."""
FREE = 128 << 20
"""Bytes that any file may stand for."""
_BLOCK = 512
"""Bytes of `st_blocks`, whatever the file system's own blocks are."""
_GROUPS = (("memory.max", "memory.current", "memory.stat"),)
_GROUPS += (("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),)
"""Of a container, cgroup version 2 and 1: the limit, what is used, and of what kind that is."""
_GIVEN_BACK = ("active_file", "inactive_file")
"""Copies of what is on the disk, which count as used until something else needs the room."""


def on_disk(path: Path) -> int:
    """Bytes of a file that take room on the disk: its length but for the holes.

    A file system that keeps no count of blocks, as some on a network, is believed its length.
    """
    status = os.stat(path)
    blocks = getattr(status, "st_blocks", 0) * _BLOCK
    return min(status.st_size, blocks) if blocks else status.st_size


def unpacks_to(present: int) -> int:
    """The most bytes that may come of `present` packed ones."""
    return max(FREE, PACKING * present)


def check_packing(what: object, needed: int, present: int, instead: str = "") -> None:
    """Refuse what promises more than can honestly be in it.

    Args:
        what: the file or the array, for the sentence.
        needed: bytes that its values would take in memory.
        present: bytes that it takes on the disk.
        instead: what else can be done, " or ..." without a full stop.

    Raises:
        CosliceError: the first rule is broken.
    """
    if needed > unpacks_to(present):
        raise CosliceError(
            f"{what} takes {_size(present)} on the disk and would fill {_size(needed)} of memory, but what is packed "
            f"or has holes may fill {PACKING} times its size, or {_size(FREE)}; check that it is no damaged or empty "
            f"file, unpack it on the disk first{instead}."
        )


def check_memory(what: object, needed: int, instead: str) -> None:
    """Refuse what does not fit into the memory that there is.

    Args:
        what: is to be read, for the sentence.
        needed: bytes.
        instead: what to do, a sentence's end without its full stop.

    Raises:
        CosliceError: the second rule is broken.
    """
    there = available()
    if there is not None and needed > there:
        raise CosliceError(f"{what} needs {_size(needed)} of memory, and {_size(there)} are available; {instead}.")


def available() -> int | None:
    """Bytes of memory that this process may still take; None where the system does not say."""
    known = [room for room in (_of_machine(), _of_container(), _of_process()) if room is not None]
    return max(min(known), 0) if known else None


def _of_machine() -> int | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:
            said = dict(line.split(":", 1) for line in stream)
        return int(said["MemAvailable"].split()[0]) << 10
    except (OSError, ValueError, KeyError, IndexError):
        pass
    try:  # another system than Linux says at most how much is built in
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def _of_container() -> int | None:
    for names in _GROUPS:
        try:
            most, used, kinds = (Path("/sys/fs/cgroup", name).read_text(encoding="ascii") for name in names)
            said = dict(line.split() for line in kinds.splitlines())
            return int(most) - int(used) + sum(int(said[kind]) for kind in _GIVEN_BACK)
        except (OSError, ValueError, KeyError):  # none, or "max"
            continue
    return None


def _of_process() -> int | None:
    """What `ulimit -v` leaves."""
    try:
        import resource

        soft = resource.getrlimit(resource.RLIMIT_AS)[0]
        if soft == resource.RLIM_INFINITY:
            return None
        return soft - int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except (ImportError, OSError, ValueError, IndexError):
        return None


def _size(count: int) -> str:
    """Bytes in words."""
    for unit, name in ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}" if count < 1000 * unit else f"{count / unit:,.0f} {name}"
    return f"{count} bytes"
