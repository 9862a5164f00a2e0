"""The only place that knows how many threads work, and on what.

torch's own number (`torch.set_num_threads`, OMP_NUM_THREADS) is the one knob: compiled kernels follow it. No
result depends on it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch

__all__ = ["compiled_kernels", "counting", "spread", "usable_cores"]

_Counted = Callable[[int, int], None]
_counts: ContextVar[tuple[_Counted, ...]] = ContextVar("counts", default=())


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def compiled_kernels() -> Iterator[None]:
    """Compiled kernels inside run on as many threads as torch would, in small portions: a slow thread holds up none."""
    # On demand: who only asks a network needs no compiler, and waits long for it.
    import numba

    threads = torch.get_num_threads()  # asked first: what follows may change it
    before, most = numba.get_num_threads(), numba.config.NUMBA_NUM_THREADS  # pyright: ignore
    numba.set_num_threads(max(1, min(threads, most)))
    try:
        with numba.parallel_chunksize(1):
            yield
    finally:
        numba.set_num_threads(before)
        # With OpenMP numba's threads are torch's: the first kernel of a process gave torch as many as there are cores.
        torch.set_num_threads(threads)


@contextmanager
def counting(counted: _Counted) -> Iterator[None]:
    """Inside, `spread` says how many of its calls are done, and of how many: counted(done, total)."""
    before = _counts.set((*_counts.get(), counted))
    try:
        yield
    finally:
        _counts.reset(before)


def spread(device: torch.device, function: Callable[..., object], *lists: Sequence[Any]) -> None:
    """function(a, b, ...) for the items a, b, ... of `lists` that belong together, as `map` calls it.

    On the CPU, as many threads as torch would use share the calls, and each of them runs every operation of torch
    alone. On an accelerator the calls come one after the other.

    Normalisations sum in an order that depends on how many threads share an operation, and float32 convolutions
    in one that depends on how many images share a call. One image on one thread makes the result independent of
    thread count and stack height, bit for bit. It is also faster where the cores are shared with other work: no
    operation waits for a thread that was put aside.
    """
    if device.type != "cpu":
        _count(map(function, *lists), lists)
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as workers:
            _count(workers.map(function, *lists), lists)
    finally:
        torch.set_num_threads(threads)


def _count(calls: Iterator[object], lists: Sequence[Sequence[Any]]) -> None:
    """Go through the calls, and tell who counts; in this thread, whichever makes them."""
    total = min(map(len, lists))
    for done, _ in enumerate(calls, 1):
        for counted in _counts.get():
            counted(done, total)
