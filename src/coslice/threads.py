"""The only place that knows how many threads work, and on what.

torch's own number (`torch.set_num_threads`, OMP_NUM_THREADS) is the one knob: compiled kernels follow it. No
result depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numba
import torch

__all__ = ["compiled_kernels", "one_each"]


@contextmanager
def compiled_kernels() -> Iterator[None]:
    """Compiled kernels inside run on as many threads as torch would, in small portions: a slow thread holds up none."""
    before, most = numba.get_num_threads(), numba.config.NUMBA_NUM_THREADS  # pyright: ignore
    numba.set_num_threads(max(1, min(torch.get_num_threads(), most)))
    try:
        with numba.parallel_chunksize(1):
            yield
    finally:
        numba.set_num_threads(before)


@contextmanager
def one_each() -> Iterator[ThreadPoolExecutor]:
    """A pool as wide as torch's, whose workers run every operation of torch on one thread.

    Normalisations sum in an order that depends on how many threads share an operation, and float32 convolutions
    in one that depends on how many images share a call. One image on one thread makes the result independent of
    thread count and stack height, bit for bit. It is also faster where the cores are shared with other work: no
    operation waits for a thread that was put aside.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as workers:
            yield workers
    finally:
        torch.set_num_threads(threads)
