"""Bars of many jobs at once: one of all, in which those at work count by their steps, and one of each at work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from coslice.cli.display import Watch
from coslice.runs import Progress

__all__ = ["JobBars", "job_bars"]

_MOST = 8
_SAMPLING = 0.95  # of a job; the rest is measuring and drawing


class JobBars:
    """Made by `job_bars`."""

    def __init__(
        self, watch: Watch, overall: Progress, what: str, titles: Mapping[str, str], within: ExitStack
    ) -> None:
        self._watch, self._overall, self._what = watch, overall, what
        self._titles, self._within = titles, within
        self._done, self._parts = 0, dict[str, float]()
        self._bars: dict[str, tuple[ExitStack, Progress]] = {}
        self._tell()

    def heard(self, key: str, phase: str, done: int, total: int) -> None:
        """A job goes on."""
        if phase == "sampling" and total:
            self._parts[key] = max(self._parts.get(key, 0.0), _SAMPLING * done / total)
            self._tell()
        if key not in self._bars and len(self._bars) < _MOST:
            stack = self._within.enter_context(ExitStack())
            self._bars[key] = stack, stack.enter_context(self._watch.task(self._titles[key], transient=True))
        if key in self._bars:
            self._bars[key][1](phase, done, total)

    def ended(self, key: str) -> None:
        """A job is over."""
        self._done += 1
        self._parts.pop(key, None)
        if key in self._bars:
            self._bars.pop(key)[0].close()
        self._tell()

    def _tell(self) -> None:
        done = self._done + sum(self._parts.values())
        self._overall(self._what, done, len(self._titles))  # pyright: ignore[reportArgumentType]  # a bar takes parts


@contextmanager
def job_bars(watch: Watch, title: str, what: str, titles: Mapping[str, str]) -> Iterator[JobBars]:
    """The bars of jobs.

    Args:
        watch: that shows them.
        title: of the bar of all.
        what: the jobs are: "scans".
        titles: of every job, by key.
    """
    with watch.task(title) as overall, ExitStack() as stack:
        yield JobBars(watch, overall, what, titles, stack)
