"""The process of a local worker: it does what it is sent, until nobody is left to send anything."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from coslice.engine.engine import GRACE_S
from coslice.engine.job import Context, attempted, prepare_worker

__all__ = ["serve"]


def serve(messages: Connection, lifeline: Connection, threads: int, folder: str, devices: str | None) -> None:
    """Do jobs until there are no more.

    Args:
        messages: gives (job, number of the attempt) and takes ("progress", phase, done, total) and ("ended", attempt).
        lifeline: is closed when the process that sends jobs is gone, however it went.
        threads, folder, devices: see `prepare_worker`.
    """
    with suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the sender's to answer
    prepare_worker(threads, folder, devices)
    threading.Thread(target=_leave_with_sender, args=(lifeline,), daemon=True).start()
    sending = threading.Lock()

    def send(*message: Any) -> None:
        with sending, suppress(OSError):  # nobody listens any more
            messages.send(message)

    while True:
        try:
            job, number = messages.recv()
        except (EOFError, OSError):
            return
        context = Context(number, lambda phase, done, total: send("progress", phase, done, total))
        attempt = attempted(job, context)
        send("ended", attempt)
        if attempt.ending == "memory":
            return  # a new process begins with all there is


def _leave_with_sender(lifeline: Connection) -> None:
    """Ask this process to stop when its sender is gone, and end it where it does not."""
    with suppress(EOFError, OSError):
        lifeline.recv()
    with suppress(OSError):
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)
