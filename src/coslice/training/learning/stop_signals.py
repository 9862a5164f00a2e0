"""Ctrl-C and SIGTERM as wishes: a run finishes its step and saves before it stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["stop_signals"]


@contextmanager
def stop_signals() -> Iterator[list[str]]:
    """Inside, Ctrl-C and SIGTERM are noted in the list instead of ending the process; a second Ctrl-C ends it."""
    asked: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, _frame: object) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(signal.Signals(number).name)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            with suppress(TypeError):
                signal.signal(number, handler)
