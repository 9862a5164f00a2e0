"""Which ranks still live: each beats in the store that all of them share, and looks at the others' beats.

A process that is killed closes its connections, and whoever waits for it hears of it at once. One that is stopped, or
whose machine is lost, closes nothing, and an hour of work before the next message is no sign of death. So a thread
beats, whatever the others do meanwhile. What it finds is said where this rank next waits; where it works on, nobody
can interrupt it, and after `_GRACE` the thread ends the process.

Of several ranks that stop for one reason, one says so: the lowest that lives.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from coslice.errors import CosliceError

__all__ = ["Pulse", "RankLost"]

_BEAT = 2.0
"""Seconds between two beats."""
_DEAD = 6.0
"""Seconds without a beat after which a rank is the one that broke a connection."""
_SILENT = 35.0
"""Seconds without a beat after which a rank is lost, whatever it was doing; $COSLICE_RANK_SILENCE says otherwise."""
_GRACE = 15.0
"""Seconds that this rank has to come to a message, once another one is lost."""
_LEFT, _FAILED = "left", "failed "
_AGAIN = " To go on, start the same command again, with the ranks that there are."


class RankLost(CosliceError):
    """Another rank ended, or does not answer: the work cannot go on, and nothing is wrong with what was given."""


class Pulse:
    """The beat of this rank, and what is known of the others.

    Args:
        store: of torch.distributed, shared by all ranks.
        rank, size: of this process.
    """

    def __init__(self, store: Any, rank: int, size: int) -> None:
        self._store, self._rank, self._size = store, rank, size
        self._others = [other for other in range(size) if other != rank]
        self._silence = float(os.environ.get("COSLICE_RANK_SILENCE", _SILENT))
        self._hosts: dict[int, str] = {}
        self._heard: dict[int, tuple[str, float]] = {}  # the last state of each rank, and when it was new
        self._reason, self._lost, self._since = "", set[int](), 0.0
        self._failed = set[int]()
        self._refused = False  # whether the reason is an error that would come again
        self._noticed = False  # whether the main thread knows the reason
        self._asking = 0.0  # when the store was asked what it has not answered
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="coslice-pulse", daemon=True)
        self._store.set(f"host/{rank}", socket.gethostname())
        self._store.set(f"state/{rank}", "0")

    def start(self) -> None:
        """Begin, once every rank is there."""
        now = time.monotonic()
        for other in self._others:
            self._hosts[other] = self._store.get(f"host/{other}").decode()
            self._heard[other] = ("0", now)
        self._thread.start()

    def check(self, waited: float = 0.0) -> None:
        """Stop if another rank is known to have stopped.

        Args:
            waited: seconds that a message has been waited for. From a rank that is done, none will come.

        Raises:
            RankLost: it is.
        """
        done = [rank for rank, (state, _) in self._heard.items() if state == _LEFT]
        if done and waited > _DEAD:
            self._found(set(done), f"{self._named(done)} finished, and this one waits for more")
        asking = self._asking
        if asking and time.monotonic() - asking > self._silence:
            self._found({0}, f"{self._keeper} has not answered for {self._silence:.0f} s")
        if self._reason:
            self._noticed = True
            raise RankLost(self._sentence)

    def broken(self, error: Exception) -> RankLost:
        """What to say of a message that failed: which rank it was, if that is found out in a few seconds."""
        until = time.monotonic() + _DEAD + 2 * _BEAT
        while time.monotonic() < until and not self._reason:
            late = [rank for rank, since in self._silent() if since > _DEAD]
            if late:
                self._found(set(late), f"{self._named(late)} ended without a word (killed, or out of memory)")
            time.sleep(0.1)
        words = (str(error).strip() or type(error).__name__).splitlines()[0][:100]
        self._found(set(), f"a message between the ranks failed ({words})")
        self._noticed = True
        return RankLost(self._sentence)

    def leave(self) -> None:
        """This rank is done, and nobody need wait for it."""
        self._finish(_LEFT)

    def fail(self, sentence: str, wait: float = 20.0) -> bool:
        """This rank stops because of an error: whether another one says so.

        Args:
            sentence: what the others are told.
            wait: seconds for a lower rank to say it.
        """
        self._noticed = True
        self._finish(_FAILED + sentence)
        lower = set(range(self._rank)) - self._lost
        until = time.monotonic() + wait
        while lower and time.monotonic() < until:
            said = self._asked(lambda: self._store.check(["said"]))
            if said is None:  # the store has gone, and rank 0 with it; has it said why?
                return bool(lower - {0}) or 0 in self._failed
            if said:
                self._asked(lambda: self._store.set(f"state/{self._rank}", _LEFT))
                return True
            time.sleep(0.1)
        self._asked(lambda: self._store.set("said", str(self._rank)))
        if self._rank == 0:
            self._stay()
        return False

    def _stay(self) -> None:
        """Rank 0 may hold the store: the others have a moment to read there why it ends."""
        until = time.monotonic() + _DEAD
        waited = [other for other in self._others if other not in self._lost]
        while waited and time.monotonic() < until:
            states = self._asked(lambda: [self._store.get(f"state/{other}").decode() for other in waited])
            if not states or all(state == _LEFT for state in states):
                return
            time.sleep(0.1)

    def _run(self) -> None:
        beat, round_ended = 0, time.monotonic()
        while not self._end.wait(_BEAT):
            beat += 1
            try:
                self._asking = time.monotonic()
                self._store.set(f"state/{self._rank}", str(beat))
                states = {other: self._store.get(f"state/{other}").decode() for other in self._others}
            except Exception as error:
                if not self._end.is_set():
                    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:80]
                    self._found({0}, f"{self._keeper} has gone ({reason})")
                    self._end.wait(_GRACE)
                    self._die()
                return
            finally:
                self._asking = 0.0
            now = time.monotonic()
            # Whoever was stopped himself, with all others or alone, has heard nobody meanwhile.
            slept = now - round_ended > 3 * _BEAT
            round_ended = now
            for other, state in states.items():
                if slept or state != self._heard[other][0]:
                    self._heard[other] = (state, now)
            if self._end.is_set() or all(state == _LEFT for state in states.values()):
                return
            self._judge(states)
            if self._reason and now - self._since > _GRACE:
                self._die()

    def _judge(self, states: dict[int, str]) -> None:
        failed = {other: state.removeprefix(_FAILED) for other, state in states.items() if state.startswith(_FAILED)}
        self._failed |= set(failed)
        for other, sentence in failed.items():
            self._refused |= not self._reason
            self._found(set(), f"{self._named([other])} stopped: {sentence.removesuffix('.')}")
        late = [rank for rank, since in self._silent() if since > self._silence]
        if late:
            self._found(
                set(late),
                f"{self._named(late)} has not answered for {self._silence:.0f} s (stopped, or its machine is lost)",
            )

    def _silent(self) -> list[tuple[int, float]]:
        """The ranks that owe a beat, and for how long they have given none."""
        now = time.monotonic()
        return [
            (rank, now - heard)
            for rank, (state, heard) in self._heard.items()
            if state != _LEFT and not state.startswith(_FAILED)
        ]

    def _found(self, lost: set[int], reason: str) -> None:
        """The first reason is the one that counts."""
        if not self._reason:
            self._lost, self._since, self._reason = lost, time.monotonic(), reason

    @property
    def _sentence(self) -> str:
        return f"ranks: {self._reason}; the run stops here.{'' if self._refused else _AGAIN}"

    @property
    def _keeper(self) -> str:
        """Whoever holds the store."""
        return f"rank 0{self._at(0)}, or the torchrun beside it,"

    def _named(self, ranks: list[int]) -> str:
        return " and ".join(f"rank {rank}{self._at(rank)}" for rank in ranks)

    def _at(self, rank: int) -> str:
        host = self._hosts.get(rank)
        return f" on {host}" if host else ""

    def _finish(self, state: str) -> None:
        self._end.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(1.0)
        self._asked(lambda: self._store.set(f"state/{self._rank}", state))

    def _asked(self, question: Callable[[], Any]) -> Any:
        """What the store answers within a few seconds; None where it does not."""
        answers: list[Any] = []

        def ask() -> None:
            with suppress(Exception):  # whatever the store raises, it has gone
                answers.append(question() or False)

        if not self._asking:
            # It may be the one that does not answer, and nothing else ends such a wait.
            asking = threading.Thread(target=ask, daemon=True)
            asking.start()
            asking.join(_BEAT)
        return answers[0] if answers else None

    def _die(self) -> None:
        if self._noticed or self._end.is_set():
            return
        if not set(range(self._rank)) - self._lost:
            stream = sys.__stderr__ or sys.stderr
            stream.write(f"coslice: {self._sentence}\n")
            stream.flush()
        os._exit(2)
