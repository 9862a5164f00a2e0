"""The standard streams of a command, which may be closed, full, or read by nobody: words are lost there, work is not.

Who runs `coslice reconstruct ... > log` on a full disk has hours of computing to lose for a line of text. So a stream
that the system refuses to write to is written to no more, the command goes on, and its end says what became of it.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["Spoken", "lasting_streams"]


class _Nowhere(io.StringIO):
    """In place of a stream that is closed."""

    encoding = "utf-8"  # pyright: ignore[reportAssignmentType,reportIncompatibleVariableOverride]

    def write(self, text: str) -> int:
        return len(text)


class Spoken:
    """A text stream that goes on when the system refuses what is written to it.

    Attributes:
        refusal: the first error; None of a stream that took everything.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.refusal: OSError | None = None

    def write(self, text: str) -> int:
        if self.refusal is None:
            try:
                self._stream.write(text)
            except OSError as error:
                self._give_up(error)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if self.refusal is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._give_up(error)

    @property
    def unheard(self) -> bool:
        """Whether the stream is a pipe whose reader has gone."""
        return self.refusal is not None and self.refusal.errno in (errno.EPIPE, errno.ECONNRESET)

    def _give_up(self, error: OSError) -> None:
        self.refusal = error
        # What is still in its buffer goes nowhere, or the end of the process would fail on it.
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def lasting_streams() -> Iterator[tuple[Spoken, Spoken]]:
    """Inside, `sys.stdout` and `sys.stderr` are `Spoken`, also where there were none; both are flushed at the end."""
    _fill_gaps()
    before = sys.stdout, sys.stderr
    spoken = Spoken(before[0] or _Nowhere()), Spoken(before[1] or _Nowhere())
    sys.stdout, sys.stderr = spoken  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield spoken
    finally:
        for stream in spoken:
            stream.flush()
        sys.stdout, sys.stderr = before


def _fill_gaps() -> None:
    """Open nothing in place of standard streams that are closed: the next file would be one, and get what is said."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                opened = os.open(os.devnull, os.O_RDWR)
                if opened != number:
                    os.dup2(opened, number)
                    os.close(opened)
