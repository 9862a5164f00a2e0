"""Which job is next, and whether one that ended is tried again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from coslice.engine.job import AGAIN, Attempt, Finished, Job

__all__ = ["Queue"]


class Queue:
    """Jobs in their order; one that is tried again comes after the others, when less may be going on.

    Args:
        jobs: each with a key of its own.
        retries: further attempts after a worker was killed or had no memory.
    """

    def __init__(self, jobs: Iterable[Job], retries: int) -> None:
        self._waiting = deque(jobs)
        self._attempts = {job.key: 0 for job in self._waiting}
        self._most = retries + 1
        assert len(self._attempts) == len(self._waiting), "two jobs have one key"

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def take(self) -> tuple[Job, int]:
        """The next job, and the number of this attempt at it, from 1."""
        job = self._waiting.popleft()
        self._attempts[job.key] += 1
        return job, self._attempts[job.key]

    def ended(self, job: Job, attempt: Attempt) -> Finished | None:
        """What became of a job that was taken; None where it waits for another attempt."""
        count = self._attempts[job.key]
        if attempt.ending not in AGAIN:
            return Finished(job.key, attempt, count)
        if count < self._most:
            self._waiting.append(job)
            return None
        times = "once" if count == 1 else f"{count} times"
        sentence = f"It was tried {times} and did not end, the last time: {attempt.message.rstrip('.')}."
        if attempt.ending == "memory" or "signal 9" in attempt.message:
            sentence += " Fewer workers, fewer slices or a smaller batch take less memory."
        return Finished(job.key, Attempt(attempt.ending, None, sentence, attempt.seconds), count)
