"""What a problem takes of memory, and what the machine has: asked before anything is allocated.

A wish of a few letters may need terabytes: a million views, a spacing of a nanometre. An estimate of what the arrays
take is held against the memory of the machine, so that the answer is a sentence at once, and not the end of the process
by the system in the middle of the work.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from coslice.errors import CosliceError

__all__ = ["check_memory", "machine_memory"]

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""What a container may use, as Linux says it; "max" where it is all."""
_UNKNOWN = 2**36
"""Of a machine that does not say what it has: as much as a large one."""


def machine_memory() -> int:
    """Bytes that this process may use at the most: the machine's memory, or what a container or a limit leaves of it.

    What others use is not asked for: whether a problem fits should not depend on the hour.
    """
    known = [_UNKNOWN]
    with suppress(ValueError, OSError, AttributeError):
        known = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for place in _LIMITS:
        with suppress(OSError, ValueError):
            known.append(int(Path(place).read_text(encoding="ascii")))
    with suppress(ImportError, OSError, ValueError):
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        known += [] if limit == resource.RLIM_INFINITY else [limit]
    return min(known)


def check_memory(who: str, what: str, needed: float, advice: str) -> None:
    """Refuse what the machine's memory cannot hold.

    Args:
        who: begins the sentence.
        what: needs the memory, in words, as in "1,000,000 views of 512 x 512 pixels".
        needed: bytes, by an estimate that is rather too small than too large.
        advice: what to do instead.

    Raises:
        CosliceError: `needed` is more than there is.
    """
    there = machine_memory()
    if not needed <= there:
        amount = f"{needed / 2**30:,.0f} GiB" if needed < 2**60 else "more memory than any machine has"
        raise CosliceError(
            f"{who}: {what} would need {amount}, and this machine has {there / 2**30:.0f} GiB; {advice}."
        )
