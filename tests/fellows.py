"""Ranks that are threads of one process, of which one works at a time: what they share is tested without a network."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from coslice.parallel import Ranks, dividing


@dataclass(frozen=True)
class Fellow(Ranks):
    """A rank whose messages are looked up where the others have left theirs."""

    table: Any = None

    def hand_round_(self, parts):
        held = self.table.meet(self.rank, [part.clone() for part in parts])
        for sender, part in enumerate(parts):
            part.copy_(held[sender][sender])

    def largest(self, numbers):
        return [max(column) for column in zip(*self.table.meet(self.rank, list(numbers)), strict=True)]

    def from_first(self, value, device):
        return self.table.meet(self.rank, value)[0]


class Table:
    def __init__(self, size):
        self.turn, self.gate, self.left = threading.Lock(), threading.Barrier(size, timeout=60), [None] * size
        self.messages = 0

    def meet(self, rank, left):
        """Leave something, wait for the others to do so, and see all of it."""
        self.left[rank] = left
        self.messages += rank == 0
        self.turn.release()
        try:
            self.gate.wait()
            seen = list(self.left)
            self.gate.wait()
        finally:
            self.turn.acquire()
        return seen


def together(size, work):
    """What `work()` returns on every rank; each rank's own part is all it gets without asking."""
    table = Table(size)

    def one(rank):
        with table.turn, dividing(Fellow(rank, size, rank, table=table)):
            try:
                return work()
            except BaseException:
                table.gate.abort()
                raise

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(one, range(size))), table.messages
