"""What the engines have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator

from coslice.engine.job import Finished, Job

__all__ = ["GRACE_S", "Engine", "Heard"]

GRACE_S = 45.0
"""Seconds that workers have to finish their step when they are asked to stop; batch systems give a minute."""

Heard = Callable[[str, str, int, int], None]
"""heard(key, phase, done, total), called as a job goes on, where the engine hears of it."""


class Engine(ABC):
    """Workers, each a process that keeps what it has loaded from one job to the next."""

    @abstractmethod
    def run(
        self,
        jobs: Iterable[Job],
        retries: int = 2,
        heard: Heard = lambda key, phase, done, total: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Iterator[Finished]:
        """Do the jobs; give each as it is finished. No worker outlives this.

        Args:
            jobs: each with a key of its own.
            retries: further attempts at a job whose worker was killed or had no memory. Bad input is tried once.
            heard: called as jobs go on.
            stopping: asked again and again; once it is true, workers are asked to stop (SIGTERM), none begins another
                job, and those at work are given as "stopped". Jobs that did not begin are not given.
        """
