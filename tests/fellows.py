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

    def from_first(self, value, device="cpu"):
        return self.table.meet(self.rank, value)[0]


class Table:
    def __init__(self, size):
        self.size, self.turn, self.left, self.at, self.gone = size, threading.Condition(), {}, [0] * size, False

    def meet(self, rank, left):
        """Leave something, wait for the others to do so, and see all of it."""
        number, self.at[rank] = self.at[rank], self.at[rank] + 1
        here = self.left.setdefault(number, {})
        here[rank] = left
        self.turn.notify_all()
        self.turn.wait_for(lambda: len(here) == self.size or self.gone, timeout=60)
        if len(here) < self.size:
            raise RuntimeError("a rank does not come")
        return [here[other] for other in range(self.size)]


def together(size, work):
    """What `work()` returns on every rank; each rank's own part is all it gets without asking."""
    table = Table(size)

    def one(rank):
        with table.turn, dividing(Fellow(rank, size, rank, table=table)):
            try:
                return work()
            except BaseException:
                table.gone = True
                table.turn.notify_all()
                raise

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(one, range(size))), table.at[0]
