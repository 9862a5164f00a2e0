"""What a run of hours says once its first images tell: how long they took, and so what all of them will."""

from __future__ import annotations

import time
from collections.abc import Callable

from coslice.runs import Progress

__all__ = ["Forecast"]

_LONG = 600.0
"""Seconds of a run that is spoken of before it ends; of others the bar says enough."""
_LEAST, _SHARE = 4, 10
"""Images that are waited for, or one in so many: the first is slow, and those of several threads come at once."""


class Forecast:
    """Hears how a run goes on, and says one sentence if it is long.

    Args:
        label: of what is run.
        progress: told all that is heard.
        say: called with the sentence.
        now: the clock, seconds.
    """

    def __init__(
        self,
        label: str,
        progress: Progress,
        say: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label, self._progress, self._say, self._now = label, progress, say, now
        self._steps = 0
        self._first: tuple[float, int] | None = None
        self._over = False

    def heard(self, phase: str, done: int, total: int) -> None:
        """The run goes on."""
        self._progress(phase, done, total)
        if self._over:
            return
        if phase == "sampling":
            self._over = self._steps > 0  # a step is done, and the bar knows better
            self._steps = total - done
        elif phase == "denoising" and self._first is None:
            self._first = self._now(), done
        elif phase == "denoising" and self._first is not None:
            began, before = self._first
            if done - before >= max(_LEAST, total / _SHARE):
                self._over = True
                self._tell((self._now() - began) / (done - before), total)

    def _tell(self, each: float, images: int) -> None:
        left = each * images * self._steps
        if left >= _LONG:
            seconds = f"{each:.2g}" if each < 10 else f"{each:.0f}"
            steps = "1 step" if self._steps == 1 else f"{self._steps} steps"
            self._say(
                f"{self._label}: the prior takes {seconds} s for an image here. {images} of them in {steps} are "
                f"{_spoken(left)} at least; the same command goes on if it is stopped."
            )


def _spoken(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 100 else f"{minutes / 60:.2g} hours"
