"""Workers that are actors of Ray: processes of this machine, or of every machine of a cluster."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from coslice.engine.engine import GRACE_S, Engine, Heard
from coslice.engine.job import Attempt, Context, Finished, Job, attempted, prepare_worker
from coslice.engine.retries import Queue
from coslice.errors import CosliceError

__all__ = ["RayEngine", "RayWorker", "connected"]

_POLL_S = 0.5
_STORE_BYTES = 80 * 2**20  # of Ray's shared memory: jobs are names of files, and it takes 75 MiB at the least

_USUAL = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # workers are as eager as the process that starts them, and not by 15 less
}


def connected(address: str | None, cores: int, gpus: int) -> tuple[float, float, float]:
    """Join the cluster at `address`, or start a Ray of this machine alone.

    It has so many CPUs and GPUs, and its largest machine so many CPUs.

    Nothing is reported to anybody: Ray's statistics of usage are switched off, and so is its dashboard.

    Args:
        address: of a cluster, as HOST:PORT, "auto" or ray://HOST:PORT; None starts one.
        cores, gpus: that the Ray of this machine is to use.

    Raises:
        CosliceError: there is no cluster, or Ray does not start.
    """
    for name, value in _USUAL.items():
        os.environ.setdefault(name, value)
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    if ray.is_initialized():
        ray.shutdown()
    how: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    if address is None:
        how |= {"address": "local", "num_cpus": cores, "num_gpus": gpus, "include_dashboard": False}
        how |= {"object_store_memory": _STORE_BYTES}
    else:
        how["address"] = address
    try:
        ray.init(**how)
        found = ray.cluster_resources()
        largest = max((one["Resources"].get("CPU", 0.0) for one in ray.nodes() if one["Alive"]), default=0.0)
    except Exception as error:  # of Ray's own many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        place = "on this machine" if address is None else f"at {address}"
        raise CosliceError(
            f"engine: Ray could not be reached {place} ({reason}); start it with `ray start`, or use --engine local."
        ) from error
    return found.get("CPU", 0.0), found.get("GPU", 0.0), largest


class RayWorker:
    """What an actor is made of."""

    def __init__(self, threads: int, folder: str) -> None:
        prepare_worker(threads, folder)

    def where(self) -> tuple[str, int]:
        """Its machine and its process."""
        return socket.gethostname(), os.getpid()

    def attempt(self, job: Job, number: int) -> Attempt:
        """Do a job once."""
        return attempted(job, Context(number))


class RayEngine(Engine):
    """Workers of Ray; made after `connected`. An actor that dies, or whose machine does, is replaced by a new one.

    Args:
        workers: how many at once.
        threads: of each, which is also the number of CPUs that it takes of the cluster.
        gpus: that each takes; a fraction shares one.
    """

    def __init__(self, workers: int, threads: int, gpus: float = 0.0) -> None:
        self._count, self._threads, self._gpus = workers, threads, gpus

    def run(
        self,
        jobs: Iterable[Job],
        retries: int = 2,
        heard: Heard = lambda key, phase, done, total: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Iterator[Finished]:
        import ray

        queue = Queue(jobs, retries)
        idle: list[_Actor] = []
        busy: dict[Any, tuple[_Actor, Job, float]] = {}
        try:
            while (queue or busy) and not stopping():
                while queue and len(busy) < self._count:
                    actor = idle.pop() if idle else _Actor(self._threads, self._gpus)
                    job, number = queue.take()
                    busy[actor.handle.attempt.remote(job, number)] = actor, job, time.monotonic()
                for done in ray.wait(list(busy), num_returns=1, timeout=_POLL_S)[0]:
                    actor, job, began = busy.pop(done)
                    attempt = _given(done, began)
                    if attempt.ending in ("killed", "memory"):
                        actor.end()
                    else:
                        idle.append(actor)
                    if (finished := queue.ended(job, attempt)) is not None:
                        yield finished
            yield from self._stopped(queue, busy)
        finally:
            for actor in (*idle, *(actor for actor, _, _ in busy.values())):
                actor.end()
            ray.shutdown()

    def _stopped(self, queue: Queue, busy: dict[Any, tuple[_Actor, Job, float]]) -> Iterator[Finished]:
        """Ask the actors of this machine to stop; those of others are ended, and go on from what they have kept."""
        import ray

        asked = [reference for reference, (actor, _, _) in busy.items() if actor.asked_to_stop()]
        if asked:
            ray.wait(asked, num_returns=len(asked), timeout=GRACE_S)
        for reference, (actor, job, began) in list(busy.items()):
            del busy[reference]
            ready = bool(ray.wait([reference], timeout=0)[0])
            attempt = _given(reference, began) if ready else None
            actor.end()
            if attempt is None or attempt.ending in ("killed", "memory"):
                attempt = Attempt("stopped", message="It was asked to stop.")
            finished = queue.ended(job, attempt)
            assert finished is not None
            yield finished


class _Actor:
    """A worker of Ray, seen from here."""

    def __init__(self, threads: int, gpus: float) -> None:
        import ray

        made: Any = ray.remote(num_cpus=threads, num_gpus=gpus, max_restarts=0)(RayWorker)
        self.handle = made.remote(threads, os.getcwd())
        self._where = self.handle.where.remote()

    def asked_to_stop(self) -> bool:
        """Send it SIGTERM, where it is a process of this machine."""
        import ray

        if not ray.wait([self._where], timeout=0)[0]:
            return False
        with suppress(Exception):  # it is gone
            machine, process = ray.get(self._where)
            if machine == socket.gethostname():
                os.kill(process, signal.SIGTERM)
                return True
        return False

    def end(self) -> None:
        import ray

        with suppress(Exception):  # it is gone
            ray.kill(self.handle, no_restart=True)


def _given(reference: Any, began: float) -> Attempt:
    """How an attempt ended, also where its actor is gone."""
    import ray
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError

    try:
        return ray.get(reference)
    except (RayActorError, OutOfMemoryError, NodeDiedError) as error:
        memory = isinstance(error, OutOfMemoryError) or "memory pressure" in str(error).lower()
        message = "its Ray worker was killed" + (", since its machine was out of memory" if memory else "")
        return Attempt("memory" if memory else "killed", None, message, time.monotonic() - began)
    except Exception as error:  # what cannot be sent, or cannot be imported there
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1][:200]
        return Attempt(
            "broken",
            None,
            f"The job could not be run on its Ray worker ({reason}); is the same coslice installed on every machine?",
            time.monotonic() - began,
        )
