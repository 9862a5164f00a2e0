"""Small jobs, which a worker finds by their module."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from coslice.errors import CosliceError


def doubled(context, number):
    context.progress("doubling", 1, 1)
    return 2 * number


def dies(context, times):
    """Killed in its first attempts, so many times."""
    if context.number <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return context.number


def short_of_memory(context, times):
    if context.number <= times:
        raise MemoryError("17 GiB")
    return context.number


def says_short_of_memory(context):
    try:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 17 bytes")
    except RuntimeError as error:
        raise CosliceError("There is too little memory for this run.") from error


def refuses(context):
    raise CosliceError("scan: it is broken.")


def fails(context):
    raise KeyError("nobody thought of it")


def process(context):
    """The process, and what it has kept from job to job."""
    _kept.append(len(_kept))
    return os.getpid(), len(_kept), os.environ["OMP_NUM_THREADS"]


_kept: list[int] = []


def waits(context, folder):
    """Until it is asked to stop; says that it began, and that it was asked."""
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    Path(folder, f"began-{os.getpid()}").touch()
    while not asked:
        time.sleep(0.02)
    Path(folder, f"asked-{os.getpid()}").touch()
    raise SystemExit(143)
