"""Ctrl-C, SIGTERM and SIGHUP as wishes: a run finishes its step and keeps its state before it stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["EXITS", "Stopped", "stop_signals"]

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
EXITS = {name: 128 + getattr(signal, name) for name in _NAMES if hasattr(signal, name)}
"""Exit codes by signal, as shells count them: 130, 143 and 129. Windows has no SIGHUP."""


class Stopped(BaseException):
    """A run ended because it was asked to; no error, and so not to be mistaken for one.

    Attributes:
        signal: its name, a key of `EXITS`.
    """

    def __init__(self, signal: str, sentence: str) -> None:
        super().__init__(sentence)
        self.signal = signal


@contextmanager
def stop_signals() -> Iterator[list[str]]:
    """Inside, these signals are noted in the list instead of ending the process; a second Ctrl-C ends it.

    What was ignored before stays ignored: `nohup` means that a closed terminal is not to stop a run. In any thread but
    the main one nothing is noted, since Python lets no other thread hear signals.
    """
    asked: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, _frame: object) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(signal.Signals(number).name)

    heard = [number for number in map(signal.Signals.__getitem__, EXITS) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in heard}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            with suppress(TypeError):
                signal.signal(number, handler)
