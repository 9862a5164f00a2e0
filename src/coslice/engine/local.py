"""Workers that are processes of this machine, watched by the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from coslice.engine.engine import GRACE_S, Engine, Heard
from coslice.engine.job import Attempt, Finished, Job
from coslice.engine.local_worker import serve
from coslice.engine.retries import Queue

__all__ = ["LocalEngine"]

_POLL_S = 0.25


class LocalEngine(Engine):
    """Workers of this machine.

    Args:
        workers: how many at once.
        threads: of each.
        devices: GPUs as CUDA_VISIBLE_DEVICES has them, each for as many workers as it comes to; empty for the CPU.
    """

    def __init__(self, workers: int, threads: int, devices: Sequence[str] = ()) -> None:
        self._count, self._threads, self._devices = workers, threads, tuple(devices)

    def run(
        self,
        jobs: Iterable[Job],
        retries: int = 2,
        heard: Heard = lambda key, phase, done, total: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Iterator[Finished]:
        queue = Queue(jobs, retries)
        slots: list[_Worker | None] = [None] * self._count
        try:
            while (queue or any(one and one.job for one in slots)) and not stopping():
                for number, one in enumerate(slots):
                    if queue and (one is None or one.job is None):
                        slots[number] = one = self._worker(number) if one is None else one
                        one.give(*queue.take())
                yield from self._round(queue, slots, heard)
            yield from self._stopped(queue, slots, heard)
        finally:
            for one in slots:
                if one is not None:
                    one.end()

    def _worker(self, number: int) -> _Worker:
        seen = self._devices[number % len(self._devices)] if self._devices else None
        return _Worker(self._threads, seen)

    def _round(self, queue: Queue, slots: list[_Worker | None], heard: Heard) -> Iterator[Finished]:
        """Wait for something to happen, and deal with it."""
        wait([handle for one in slots if one for handle in (one.messages, one.process.sentinel)], _POLL_S)
        for number, one in enumerate(slots):
            if one is None:
                continue
            job, attempt = one.job, one.hear(heard)
            if attempt is not None and job is not None and (finished := queue.ended(job, attempt)) is not None:
                yield finished
            if one.gone:
                one.end()
                slots[number] = None

    def _stopped(self, queue: Queue, slots: list[_Worker | None], heard: Heard) -> Iterator[Finished]:
        """Ask those at work to stop, and give what they were at."""
        busy = [one for one in slots if one is not None and one.job is not None]
        for one in busy:
            one.process.terminate()
        end = time.monotonic() + GRACE_S
        for one in busy:
            job = one.job
            assert job is not None
            attempt = None
            while attempt is None and time.monotonic() < end:
                wait([one.messages, one.process.sentinel], _POLL_S)
                attempt = one.hear(heard)
            done = attempt is not None and attempt.ending not in ("killed", "memory")
            last = attempt if done else Attempt("stopped", message="It was asked to stop.")
            finished = queue.ended(job, last)  # pyright: ignore[reportArgumentType]
            assert finished is not None
            yield finished


class _Worker:
    """One process, and the job it is at."""

    def __init__(self, threads: int, devices: str | None) -> None:
        spawning = multiprocessing.get_context("spawn")  # a fork would share locks of threads that it has not
        self.messages, theirs = spawning.Pipe()
        lifeline, self._lifeline = spawning.Pipe(duplex=False)
        self.process = spawning.Process(
            target=serve, args=(theirs, lifeline, threads, os.getcwd(), devices), daemon=True
        )
        before = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = str(threads)  # whatever the process imports first
        try:
            self.process.start()
        finally:
            os.environ.pop("OMP_NUM_THREADS")
            if before is not None:
                os.environ["OMP_NUM_THREADS"] = before
        for other in (theirs, lifeline):
            other.close()
        self.job: Job | None = None
        self.gone = False
        self._began = 0.0

    def give(self, job: Job, number: int) -> None:
        """Let it begin with a job."""
        self.job, self._began = job, time.monotonic()
        with suppress(OSError):  # it is gone already, which is heard next
            self.messages.send((job, number))

    def hear(self, heard: Heard) -> Attempt | None:
        """Take what it has said; how its job ended, if it has."""
        was_alive = self.process.is_alive()  # asked first: what it said before it died is still there
        ended: Attempt | None = None
        for message in _all(self.messages):
            if message[0] == "ended":
                ended, self.job = message[1], None
                self.gone = message[1].ending == "memory"
            elif self.job is not None:
                heard(self.job.key, *message[1:])
        if not was_alive:
            self.gone = True
            if self.job is not None:
                self.process.join()
                ended = Attempt("killed", None, _death(self.process.exitcode), time.monotonic() - self._began)
                self.job = None
        return ended

    def end(self) -> None:
        """No process is left."""
        self._lifeline.close()
        self.messages.close()
        if self.process.is_alive() and self.job is None:
            self.process.join(1.0)
        if self.process.is_alive():
            self.process.kill()
        self.process.join()


def _all(messages: Connection) -> Iterator[tuple[Any, ...]]:
    with suppress(EOFError, OSError):
        while messages.poll():
            yield messages.recv()


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = "a signal"
        more = "; a system that is out of memory does that" if -code == 9 else ""
        return f"its worker was ended by signal {-code} ({name}{more})"
    return f"its worker ended by itself, with code {code}"
