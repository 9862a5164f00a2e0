"""Commands that torchrun starts many times: one of them works over all processes, the others are for one."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from functools import wraps
from typing import ParamSpec

from coslice.errors import CosliceError

__all__ = ["over_ranks", "refuse_ranks", "said_by_first"]

_SHARED = ("reconstruct", "train")
_P = ParamSpec("_P")


def over_ranks(command: Callable[_P, None]) -> Callable[_P, None]:
    """A command whose work the ranks share. Rank 0 alone speaks, writes, and hears signals."""

    @wraps(command)
    def called(*args: _P.args, **kwargs: _P.kwargs) -> None:
        if _started() == 1:
            command(*args, **kwargs)
            return
        # On demand: it takes torch with it, and a command's help need not wait for that.
        from coslice.cli.display import say
        from coslice.parallel import company, joined

        if company().size > 1:  # --resume says the command again
            command(*args, **kwargs)
            return
        if not _first():
            # Whoever stops a job tells all its processes. Rank 0 finishes its step and keeps it, and needs the others.
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                if hasattr(signal, name):
                    signal.signal(getattr(signal, name), signal.SIG_IGN)
        with joined() as ranks, ExitStack() as silence:
            if ranks.writes:
                say(ranks.description)
            else:
                nowhere = silence.enter_context(open(os.devnull, "w", encoding="utf-8"))
                silence.enter_context(redirect_stdout(nowhere))
                silence.enter_context(redirect_stderr(nowhere))
            command(*args, **kwargs)

    return called


def refuse_ranks(name: str | None) -> None:
    """Refuse a command that several processes would each do, into one folder.

    Raises:
        CosliceError: torchrun started several, and the command is for one.
    """
    if _started() == 1 or name in (None, *_SHARED):
        return
    if not _first():
        sys.exit(2)
    way = {
        "benchmark": "its cells are spread over processes and machines by --engine",
        "cohort": "its scans are spread over processes and machines by --engine",
    }.get(str(name), "start it without torchrun")
    raise CosliceError(
        f"coslice {name}: torchrun started {_started()} processes, but only {' and '.join(_SHARED)} work over "
        f"several; {way}."
    )


def said_by_first() -> bool:
    """Whether rank 0 says what this process finds before the ranks have met: of the same command line, the same."""
    return _started() > 1 and not _first()


def _started() -> int:
    """How many processes there are; `joined` complains of what is no number."""
    if "RANK" not in os.environ:
        return 1
    text = os.environ.get("WORLD_SIZE", "1")
    return int(text) if text.isdecimal() else 2


def _first() -> bool:
    return os.environ.get("RANK", "0") == "0"
