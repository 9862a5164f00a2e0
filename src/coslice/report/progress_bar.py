"""How a run goes on, in a line with the time left: on a terminal, in a notebook, in a file.

    result = coslice.run(study, progress=coslice.progress_bar())

    WBlend: sampling 12/30 [########............] 0:41 gone, 1:02 left

A terminal's line is written over; a notebook's is an element of HTML that is updated, which needs no extension and
stays in the saved notebook as it ended; a stream that is neither gets a line whenever a tenth more is done. The bar
belongs to whoever made it: it may be given to one run after another, and ends its line when a phase is complete.
"""

from __future__ import annotations

import html
import io
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol, TextIO

from coslice.escapes import visible
from coslice.report.showing import in_notebook

__all__ = ["ProgressBar", "progress_bar"]

_WIDE = 20
_EVERY = 0.1
"""Seconds between two lines on a terminal or in a notebook."""
_TENTH = 0.1


class _Sink(Protocol):
    """Where lines go."""

    def put(self, words: str, share: float, over: bool) -> None: ...


class _Terminal:
    """One line, written over until it is over."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._wide = stream, 0

    def put(self, words: str, share: float, over: bool) -> None:
        words = words[: max(shutil.get_terminal_size().columns - 1, 1)]  # a line that is broken is not written over
        padded = words.ljust(self._wide)
        self._wide = 0 if over else len(words)
        self._stream.write(f"\r{padded}" + ("\n" if over else ""))
        self._stream.flush()


class _File:
    """A line for every tenth that is done: a log is read later."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._said = stream, 0.0

    def put(self, words: str, share: float, over: bool) -> None:
        if over or share >= self._said + _TENTH:
            self._said = 0.0 if over else share
            self._stream.write(f"{words}\n")
            self._stream.flush()


class _Notebook:
    """An element of HTML; a new one for every phase."""

    def __init__(self) -> None:
        self._handle: Any = None

    def put(self, words: str, share: float, over: bool) -> None:
        from IPython.display import HTML, display  # pyright: ignore[reportMissingImports]

        text = words.rpartition(" [")[0] + words.rpartition("]")[2]  # the bar's own, which come last
        shown: Any = HTML(f'<progress value="{share:.4f}" max="1"></progress> {html.escape(text)}')
        if self._handle is None:
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)
        if over:
            self._handle = None


class ProgressBar:
    """What `coslice.run(progress=...)` calls: `bar(phase, done, total)`, see `coslice.runs.Progress`.

    Args:
        title: what the line begins with; "" for nothing.
        sink: where it goes.
        now: the clock, seconds.
    """

    def __init__(self, title: str, sink: _Sink, now: Callable[[], float] = time.monotonic) -> None:
        self._title, self._sink, self._now = title, sink, now
        self._phase, self._began, self._before, self._steps, self._part, self._told = "", 0.0, 0.0, 0, 0.0, -1.0

    def __call__(self, phase: str, done: int, total: int) -> None:
        """`done` of `total` of a phase; "denoising" is the part of a step of "sampling" that is done."""
        if phase == "denoising":
            if self._phase != "sampling" or not total:
                return
            self._part = max(self._part, min(done / total, 1.0))  # a step may ask twice
            self._say(self._steps + self._part, False)
            return
        if phase != self._phase:
            self._phase, self._began, self._before, self._told = phase, self._now(), done, -1.0
        self._steps, self._part, self._total = done, 0.0, total
        self._say(done, done >= total)
        if done >= total:
            self._phase = ""

    def _say(self, done: float, over: bool) -> None:
        now = self._now()
        if not over and self._told >= 0 and now - self._told < _EVERY:
            return
        self._told = now
        share, gone = (done / self._total if self._total else 1.0), now - self._began
        name = visible(": ".join(filter(None, (self._title, self._phase))))
        bar = "#" * round(_WIDE * share)
        words = f"{name} {int(done)}/{self._total} [{bar:.<{_WIDE}}] {_clock(gone)} gone"
        if not over and done > self._before:  # what a run that goes on had done before took none of this time
            words += f", {_clock(gone / (done - self._before) * (self._total - done))} left"
        self._sink.put(words, share, over)


def progress_bar(title: str = "", stream: TextIO | None = None) -> ProgressBar:
    """A bar with the time left, to be given to `coslice.run(progress=...)`.

    Args:
        title: what its line begins with, such as the name of the scan.
        stream: where to write; None is a notebook's cell where there is one, else the standard error stream.
    """
    if stream is None and in_notebook():
        return ProgressBar(title, _Notebook())
    place = stream or sys.stderr
    if place is None:  # pyright: ignore[reportUnnecessaryComparison]  # as where a program has no streams
        return ProgressBar(title, _File(io.StringIO()))
    return ProgressBar(title, _Terminal(place) if getattr(place, "isatty", bool)() else _File(place))


def _clock(seconds: float) -> str:
    """1:02:03, or 0:41."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
