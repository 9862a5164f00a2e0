"""Seconds of a piece of work: the median of several times, and how far they spread."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import quantiles

import torch

from coslice.devices import finish

__all__ = ["Seconds", "timed"]

_LEAST, _MOST = 3, 200


@dataclass(frozen=True)
class Seconds:
    """Times of one piece of work.

    Attributes:
        median: s.
        low, high: the quartiles, s: half of the times lie between them.
        count: of times.
    """

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, times: list[float], per: float = 1.0) -> Seconds:
        """Of times, s, each of `per` equal pieces."""
        times = [one / per for one in times]
        low, middle, high = quantiles(times, n=4, method="inclusive") if len(times) > 1 else 3 * times
        return cls(middle, low, high, len(times))

    @property
    def spread(self) -> float:
        """Half the distance of the quartiles, as a share of the median."""
        return (self.high - self.low) / 2 / self.median if self.median else 0.0


def timed(work: Callable[[], object], device: torch.device, seconds: float = 1.0, per: float = 1.0) -> Seconds:
    """Do `work` again and again, for about `seconds` but at least three times; once more before, unmeasured.

    The first call compiles kernels, packs weights and fills caches, which `coslice.timing.starting` measures.

    Args:
        work: what is timed.
        device: that it works on; its queue is empty before the clock is read.
        seconds: to spend.
        per: number of equal pieces in one call; the result is of one.
    """
    work()
    times: list[float] = []
    while len(times) < _LEAST or (sum(times) < seconds and len(times) < _MOST):
        finish(device)
        began = time.perf_counter()
        work()
        finish(device)
        times.append(time.perf_counter() - began)
    return Seconds.of(times, per)
