"""What becomes of a trial's process: killed at a moment or in a write, sent a signal, out of disk or of memory.

Fates are a text, since they go by the environment: "NAME:ARGUMENT:ARGUMENT+NAME:ARGUMENT".
"""

from __future__ import annotations

import builtins
import errno
import json
import os
import resource
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILE_CALLS = ("fsync", "replace", "unlink", "mkdir", "rmdir")


def meet(fates: str) -> None:
    """Prepare this process for its fates."""
    tempfile.tempdir = None  # the trial's own, not that of the process it was forked from
    known = {
        "moment": _moment,
        "call": _call,
        "signal": _signal,
        "full": _full,
        "limit": _limit,
        "memory": _memory,
        "spoilt": _spoilt,
        "plain": _plain,
    }
    for fate in fates.split("+"):
        name, *arguments = fate.split(":")
        known[name](*arguments)


def _moment(seconds: str) -> None:
    """Dead after so many seconds of computing, wherever it is: as by kill -9, nothing of Python's is run any more."""
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_VIRTUAL, float(seconds))


def _call(number: str, counted: str = "") -> None:
    """Killed before call `number` that changes files; where that flushes one, half of it is not on the disk.

    With a path, the number of such calls is written there.
    """
    calls = 0

    def watched(name: str) -> None:
        real = getattr(os, name)

        def call(*given, **named):
            nonlocal calls
            calls += 1
            if counted:
                with builtins.open(counted, "w") as file:
                    file.write(str(calls))
            if calls == int(number):
                if name == "fsync" and os.path.isfile(f"/proc/self/fd/{given[0]}"):
                    path = os.readlink(f"/proc/self/fd/{given[0]}")
                    os.truncate(path, os.path.getsize(path) // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*given, **named)

        setattr(os, name, call)

    for name in FILE_CALLS:
        watched(name)


def _signal(name: str, step: str, times: str = "1") -> None:
    """Sent a signal by itself at the end of a step, so many times."""
    from coslice.runs import _Log

    real, made = _Log.end, 0

    def end(self, total):
        nonlocal made
        real(self, total)
        made += 1
        if made == int(step):
            for _ in range(int(times)):
                os.kill(os.getpid(), getattr(signal, name))

    _Log.end = end


def _full(*parts: str) -> None:
    """No space left for files whose path has any of these parts in it; "A&B" is both."""
    real = os.fsync

    def fsync(place):
        path = Path(os.readlink(f"/proc/self/fd/{place}"))
        if path.is_file() and any(all(one in str(path) for one in part.split("&")) for part in parts):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(place)

    os.fsync = fsync


def _limit(size: str) -> None:
    """No file may become larger than that: the system's own refusal, in the middle of a write."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))


def _memory(step: str) -> None:
    """In a step, torch finds no memory."""
    import torch

    _in_data_step(int(step), lambda volume: torch.empty(2**60))


def _spoilt(step: str) -> None:
    """In a step, the data step gives what is no number."""
    _in_data_step(int(step), lambda volume: volume * float("nan"))


def _in_data_step(step: int, done: Callable[[Any], object]) -> None:
    from coslice import fidelity

    real, made = fidelity.ProximalCG.__call__, 0

    def call(self, denoised, sigma):
        nonlocal made
        made += 1
        return done(denoised) if made == step else real(self, denoised, sigma)

    fidelity.ProximalCG.__call__ = call  # pyright: ignore[reportAttributeAccessIssue]


def _plain() -> None:
    """The page of a run is a line: its plots take most of the time of a small run."""
    from coslice.cli import execution

    def write(folder, study, plans, results, measured, *others):
        page = folder / "report.html"
        page.write_text(json.dumps(measured.numbers))
        (folder / "comparison.png").write_bytes(b"plain")
        return page

    execution.write_run_page = write
