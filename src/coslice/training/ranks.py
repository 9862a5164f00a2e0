"""One run on several processes: the only place in training that knows ranks.

Started by `torchrun`, every process (rank) holds the whole network, computes the gradient of its share of a step's
images, and adds up:

    gradient = sum over ranks of sum over the rank's images of d loss_i / d theta,      loss_i already over all images

Since sums are the same on every rank, so are weights, and nothing else has to be sent. Images and noise are functions
of (seed, step, item), so ranks divide the very step one process would take. Rank 0 alone writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from coslice.errors import CosliceError

__all__ = ["ALONE", "Ranks", "joined"]


@dataclass(frozen=True)
class Ranks:
    """This process among its fellows.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
        local: its number on this machine, which is also the number of its accelerator.
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def writes(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def share(self, count: int) -> tuple[int, int]:
        """First and number of this rank's items of `count`: contiguous, and as even as can be."""
        first = count * self.rank // self.size
        return first, count * (self.rank + 1) // self.size - first

    def add_(self, tensors: list[Tensor]) -> None:
        """Sum the tensors over the ranks, in place, in one message."""
        if self.size == 1:
            return
        message = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(message)
        pieces = message.split([tensor.numel() for tensor in tensors])
        torch._foreach_copy_(tensors, [p.view(t.shape) for p, t in zip(pieces, tensors, strict=True)])  # pyright: ignore[reportPrivateImportUsage]

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.size > 1:
            dist.barrier()

    def agree(self, value: str, what: str) -> None:
        """Refuse to go on when ranks hold different values, say of a file that is not shared between machines.

        Raises:
            CosliceError: they do.
        """
        if self.size == 1:
            return
        values: list[str | None] = [None] * self.size
        dist.all_gather_object(values, value)
        if len(set(values)) > 1:
            raise CosliceError(f"ranks: {what} differs between processes; give all of them the same files and options.")


ALONE = Ranks()
"""A run in one process."""


@contextmanager
def joined() -> Iterator[Ranks]:
    """This process's `Ranks` as torchrun's environment tells them; `ALONE` without torchrun.

    Raises:
        CosliceError: the environment is incomplete, or the processes do not find each other.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield ALONE
        return
    try:
        ranks = Ranks(*(int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
        # Packing a large folder takes rank 0 hours, in which the others wait.
        dist.init_process_group(timeout=timedelta(hours=24))
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:120]
        raise CosliceError(
            f"ranks: the processes did not find each other ({reason}); start them by torchrun."
        ) from error
    try:
        yield ranks
    finally:
        dist.destroy_process_group()
