"""What this process does of a list of things, and how it gets the rest.

    mine = share(len(items))         first to last of the items that this rank does; all of them for a process alone
    memory[mine] = work(items[mine])
    complete_(memory)                what the others have done

Work is shared inside of `dividing` only, which `coslice.run` is: all ranks are there, and come by the same places in
the same order. Outside, as where rank 0 measures what came of it, everything is the process's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.parallel.ranks import ALONE, Ranks, company

__all__ = ["agree", "check_same", "complete_", "dividing", "from_first", "share", "shares"]

_T = TypeVar("_T")
_DIVIDED: ContextVar[Ranks] = ContextVar("coslice_divided", default=ALONE)


@contextmanager
def dividing(ranks: Ranks | None = None) -> Iterator[None]:
    """Inside, work is shared among ranks; None takes those that this process has joined."""
    token = _DIVIDED.set(company() if ranks is None else ranks)
    try:
        yield
    finally:
        _DIVIDED.reset(token)


def share(count: int) -> slice:
    """Which of `count` things are this process's."""
    first, number = _DIVIDED.get().share(count)
    return slice(first, first + number)


def shares(count: int) -> list[slice]:
    """Which of `count` things are whose, by rank."""
    size = _DIVIDED.get().size
    parts = (Ranks(rank, size).share(count) for rank in range(size))
    return [slice(first, first + number) for first, number in parts]


def complete_(memory: Tensor | np.ndarray, rows: Sequence[Sequence[int]] | None = None) -> None:
    """Fill in what other ranks have made; without others, nothing.

    Args:
        memory: contiguous; this rank has made some of it, counted along the first axis.
        rows: what each rank has made; None is `shares(len(memory))`.
    """
    ranks = _DIVIDED.get()
    if ranks.size == 1:
        return
    tensor = torch.from_numpy(memory) if isinstance(memory, np.ndarray) else memory
    if rows is None:
        ranks.hand_round_([tensor[part] for part in shares(len(tensor))])
        return
    if all(list(mine) == list(range(mine[0], mine[0] + len(mine))) for mine in rows if mine):
        ranks.hand_round_([tensor[mine[0] : mine[0] + len(mine)] if mine else tensor[:0] for mine in rows])
        return
    apart = [torch.tensor(mine, dtype=torch.int64, device=tensor.device) for mine in rows]
    parts = [tensor[mine] for mine in apart]
    ranks.hand_round_(parts)
    for mine, part in zip(apart, parts, strict=True):
        tensor[mine] = part


def agree(value: Callable[[], str], what: str) -> None:
    """Refuse to begin with what is not the same on all ranks.

    Args:
        value: called where there are several ranks.
        what: for the sentence.

    Raises:
        CosliceError: the values differ.
    """
    ranks = _DIVIDED.get()
    if ranks.size > 1:
        ranks.agree(value(), what)


def from_first(value: _T, device: torch.device) -> _T:
    """What rank 0 has, on every rank, its tensors on a device."""
    return _DIVIDED.get().from_first(value, device)


def check_same(volume: Tensor, what: str) -> None:
    """Refuse to go on with a volume that is not the same on all ranks, bit for bit.

    Raises:
        CosliceError: it is not.
    """
    ranks = _DIVIDED.get()
    if ranks.size == 1:
        return
    # Bits as whole numbers: their sum is exact, in whatever order.
    bits = int(volume.float().view(torch.int32).sum(dtype=torch.int64))
    if not ranks.same(bits):
        raise CosliceError(
            f"ranks: {what} differs between the processes, so each works on a volume of its own; give all of them the "
            "same files and options, on machines with processors of one kind and the same packages."
        )
