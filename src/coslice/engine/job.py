"""A job, one attempt at it in a worker, and what becomes of it.

A job is a function that can be found by its module and name, and arguments that can be pickled. What it raises decides
whether another attempt makes sense:

    refused     `CosliceError`: the input is at fault, and would be again
    broken      any other exception: ours is the fault, and would be again
    memory      there was none left: another attempt, in a new worker, may find some
    killed      the worker is gone: another attempt
    stopped     somebody asked the worker to stop
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from coslice.errors import CosliceError

__all__ = ["AGAIN", "Attempt", "Context", "Ending", "Finished", "Job", "attempted", "prepare_worker"]

Ending = Literal["done", "refused", "broken", "memory", "killed", "stopped"]

AGAIN = ("memory", "killed")
"""Endings after which a job is tried again."""


@dataclass(frozen=True)
class Job:
    """What a worker is to do: `function(context, *arguments)`.

    Attributes:
        key: tells it from the others; also what a bar calls it.
        function: of a module, so that a worker finds it by its name.
        arguments: can be pickled.
        log: a file to which all that it prints is appended; None leaves it where the worker prints.
    """

    key: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    log: Path | None = None


def _nowhere(phase: str, done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class Context:
    """What a job knows of where it runs.

    Attributes:
        number: which attempt this is, from 1.
        progress: progress(phase, done, total), to be called as work goes on.
    """

    number: int = 1
    progress: Callable[[str, int, int], None] = field(default=_nowhere)


@dataclass(frozen=True)
class Attempt:
    """How an attempt ended.

    Attributes:
        ending: see the module.
        value: what the function gave, of one that is done.
        message: a sentence, of one that is not.
        seconds: it took, wall time.
    """

    ending: Ending
    value: Any = None
    message: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Finished:
    """A job that is not tried again.

    Attributes:
        key: of the job.
        last: its last attempt.
        attempts: how many there were.
    """

    key: str
    last: Attempt
    attempts: int

    @property
    def done(self) -> bool:
        """Whether it was done."""
        return self.last.ending == "done"


def prepare_worker(threads: int, folder: str, devices: str | None = None) -> None:
    """Make a new process a worker, before it imports anything heavy.

    Args:
        threads: that it computes on.
        folder: paths are relative to it.
        devices: the GPUs that it sees, as CUDA_VISIBLE_DEVICES has them; None leaves that as it is.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices
    with suppress(OSError):  # the machine of a cluster may not have it
        os.chdir(folder)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def attempted(job: Job, context: Context) -> Attempt:
    """Do the job once, in this process; never raises."""
    began = time.perf_counter()
    with _logged(job.log):
        try:
            given = Attempt("done", job.function(context, *job.arguments))
        except CosliceError as error:
            print(f"coslice: {error}", file=sys.stderr)
            given = Attempt("memory" if _of_memory(error) else "refused", message=str(error))
        except Exception as error:
            given = _failed(error)
        except BaseException as error:  # how Python, and what is at work, say that they were asked to stop
            print(f"coslice: {str(error) or type(error).__name__}", file=sys.stderr)
            given = Attempt("stopped", message="It was asked to stop.")
    return Attempt(given.ending, given.value, given.message, time.perf_counter() - began)


def _failed(error: Exception) -> Attempt:
    text = " ".join(str(error).split())[:200]
    if getattr(error, "exit_code", None) in (130, 143):  # of the command line's own way to leave
        return Attempt("stopped", message="It was asked to stop.")
    traceback.print_exc()
    if _of_memory(error):
        return Attempt("memory", message=f"out of memory ({text or type(error).__name__})")
    return Attempt("broken", message=f"It failed, which is an error of the program: {type(error).__name__}: {text}")


def _of_memory(error: BaseException | None) -> bool:
    """Whether there was no memory left, also where that was the cause of what was said."""
    from coslice.devices import is_out_of_memory  # which brings torch, and a worker is told its threads before that

    while error is not None:
        if type(error).__name__ == "OutOfMemoryError":
            return True
        if isinstance(error, MemoryError | RuntimeError) and is_out_of_memory(error):
            return True
        error = error.__cause__
    return False


@contextmanager
def _logged(path: Path | None) -> Iterator[None]:
    """Inside, the process's standard streams are appended to a file, those of compiled code too."""
    if path is None:
        yield
        return
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(number) for number in (1, 2)]
    try:
        with suppress(OSError), open(path, "ab", buffering=0) as file:  # a log that cannot be written stops no work
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        for number, old in zip((1, 2), kept, strict=True):
            os.dup2(old, number)
            os.close(old)
