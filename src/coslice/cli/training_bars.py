"""A training run on the terminal: bars while it goes, a line where it has something to say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from coslice.cli.terminal import Terminal
from coslice.escapes import visible
from coslice.training.learning.journal import Listener, record_line

__all__ = ["TrainingBars"]


class TrainingBars(Listener):
    """Shows a run on the terminal; in a file, where bars would be noise, a line per record."""

    def __init__(self) -> None:
        self._terminal = Terminal(stderr=True)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[done]}", markup=False),  # names of scans are in it
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=self._terminal)
        self._bar = self._progress.add_task("", total=None, done="", visible=False)

    @contextmanager
    def shown(self) -> Iterator[TrainingBars]:
        """Inside, the bars are on the terminal."""
        self._progress.start()
        try:
            yield self
        finally:
            self._progress.stop()

    def note(self, text: str) -> None:
        self._terminal.print(text)

    def packing(self, done: int, total: int, name: str) -> None:
        shown = f"{done} of {total} scans {visible(name)}"
        self._progress.update(self._bar, description="packing", completed=done, total=total, done=shown, visible=True)

    def simulating(self, done: int, total: int, name: str) -> None:
        shown = f"{done} of {total} {visible(name)}"
        self._progress.update(
            self._bar, description="simulating", completed=done, total=total, done=shown, visible=True
        )

    def training(self, images: int, total: int, speed: float, loss: float | None) -> None:
        if self._progress.tasks[0].description != "training":
            # The time left follows from the speed of this session, not from what was there before.
            self._progress.reset(self._bar, description="training", total=total, completed=images, visible=True)
        known = "" if loss is None else f", loss {loss:.4f}"
        shown = f"{images:,} of {total:,} images, {speed:.3g} images/s{known}"
        self._progress.update(self._bar, completed=images, done=shown)

    def record(self, record: dict[str, Any]) -> None:
        if "validation" in record or not self._terminal.is_terminal:
            self._terminal.print(record_line(record))
