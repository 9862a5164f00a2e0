"""The processes of one run, their messages and their sums: the only place that talks to torch.distributed.

Started by `torchrun`, every process (rank) holds all of a run and does its share of the work. Training adds up
gradients,

    gradient = sum over ranks of sum over the rank's images of d loss_i / d theta,      loss_i already over all images

and since sums are the same on every rank, so are weights. Reconstruction hands round what each has made, see `shares`.
Images and noise are functions of (seed, step, item), so ranks divide the very step one process would take. Rank 0 alone
writes and speaks.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from coslice.errors import CosliceError, SaidElsewhere
from coslice.parallel.pulse import Pulse
from coslice.threads import usable_cores

__all__ = ["ALONE", "Ranks", "company", "joined"]

_T = TypeVar("_T")
_LOOK = timedelta(seconds=1)
"""How often a rank that waits for a message looks whether the others live."""


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
    _pulse: Pulse | None = field(default=None, repr=False, compare=False)

    @property
    def writes(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    @property
    def description(self) -> str:
        """How many there are and what each computes with, in a sentence."""
        threads = torch.get_num_threads()
        text = f"{self.size} ranks share the work, each with {threads} thread{'s' if threads > 1 else ''} of a CPU"
        beside = int(os.environ.get("LOCAL_WORLD_SIZE", self.size))
        there = usable_cores()
        idle = there - beside * threads
        if idle >= beside:
            text += f"; of {there} cores here {idle} are idle, which OMP_NUM_THREADS={there // beside} would use"
        return f"{text}."

    def share(self, count: int) -> tuple[int, int]:
        """First and number of this rank's items of `count`: contiguous, and as even as can be."""
        first = count * self.rank // self.size
        return first, count * (self.rank + 1) // self.size - first

    def add_(self, tensors: list[Tensor]) -> None:
        """Sum the tensors over the ranks, in place, in one message."""
        if self.size == 1:
            return
        message = torch.cat([tensor.reshape(-1) for tensor in tensors])
        self._finish(dist.all_reduce(message, async_op=True))
        pieces = message.split([tensor.numel() for tensor in tensors])
        torch._foreach_copy_(tensors, [p.view(t.shape) for p, t in zip(pieces, tensors, strict=True)])  # pyright: ignore[reportPrivateImportUsage]

    def hand_round_(self, parts: Sequence[Tensor]) -> None:
        """Give part number r, which rank r holds, to all ranks: in place, every part contiguous."""
        if self.size == 1:
            return
        # Each straight from and into its place: on one machine half the time of a gathering message.
        works = [dist.broadcast(part, rank, async_op=True) for rank, part in enumerate(parts) if part.numel()]
        for work in works:
            self._finish(work)

    def wait(self) -> None:
        """Until all ranks are here."""
        self.largest([0])

    def largest(self, numbers: Sequence[int]) -> list[int]:
        """Of each number the largest that a rank has."""
        if self.size == 1:
            return list(numbers)
        message = torch.tensor(numbers, dtype=torch.int64)
        self._finish(dist.all_reduce(message, dist.ReduceOp.MAX, async_op=True))
        return [int(number) for number in message]

    def anywhere(self, asked: bool) -> bool:
        """Whether it is so on any rank."""
        return bool(self.largest([int(asked)])[0])

    def same(self, number: int) -> bool:
        """Whether all ranks have the same number, of 63 bits."""
        high, low = self.largest([number, -number])
        return high == -low

    def from_first(self, value: _T, device: torch.device | str = "cpu") -> _T:
        """What rank 0 has, on every rank: any value that can be pickled, its tensors on `device`."""
        if self.size == 1:
            return value
        content = io.BytesIO()
        if self.writes:
            torch.save(value, content)
        (length,) = self.largest([content.tell()])
        message = torch.empty(length, dtype=torch.uint8)
        if self.writes:
            message.copy_(torch.frombuffer(content.getbuffer(), dtype=torch.uint8))
        self._finish(dist.broadcast(message, 0, async_op=True))
        if self.writes:
            return value
        # From a process of our own: nobody else's is read.
        return torch.load(io.BytesIO(message.numpy().tobytes()), map_location=device, weights_only=False)

    def agree(self, value: str, what: str) -> None:
        """Refuse to go on when ranks hold different values, say of a file that is not shared between machines.

        Raises:
            CosliceError: they do.
        """
        digest = hashlib.sha256(value.encode()).digest()
        if not self.same(int.from_bytes(digest[:7], "little")):
            raise CosliceError(f"ranks: {what} differs between processes; give all of them the same files and options.")

    def _finish(self, work: Any) -> None:
        """Wait for a message.

        Raises:
            RankLost: a rank has ended, or does not answer.
        """
        began = time.monotonic()
        while True:
            try:
                work.wait(_LOOK)
                return
            except RuntimeError as error:
                if not work.is_completed():  # not yet
                    if self._pulse is not None:
                        self._pulse.check(time.monotonic() - began)
                    continue
                failed = error
            # It failed; or it was finished in the moment after the last look.
            try:
                work.wait()
                return
            except RuntimeError as error:
                failed = error
            if self._pulse is None:
                raise failed
            raise self._pulse.broken(failed) from failed


ALONE = Ranks()
"""A run in one process."""

_COMPANY: ContextVar[Ranks] = ContextVar("coslice_company", default=ALONE)


def company() -> Ranks:
    """The ranks that this process has joined; `ALONE` outside of `joined`."""
    return _COMPANY.get()


@contextmanager
def joined() -> Iterator[Ranks]:
    """This process's `Ranks` as torchrun's environment tells them; `ALONE` without torchrun.

    An error on one rank ends all of them: rank 0 raises it, or a sentence that says which rank it was; the others raise
    `coslice.errors.SaidElsewhere`.

    Raises:
        CosliceError: the environment is incomplete, or the processes do not find each other.
        RankLost: a rank ended, or has not answered for half a minute.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield ALONE
        return
    try:
        rank, size, local = (int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        ranks, pulse = _met(rank, size, local)
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:120]
        raise CosliceError(
            f"ranks: the processes did not find each other ({reason}); start them by torchrun."
        ) from error
    if pulse is None:
        yield ranks
        return
    token = _COMPANY.set(ranks)
    try:
        yield ranks
    except BaseException as error:
        _leave_standing()
        if pulse.fail(str(error) if isinstance(error, CosliceError) else f"{type(error).__name__}: {error}"):
            raise SaidElsewhere(str(error)) from error
        raise
    finally:
        _COMPANY.reset(token)
    pulse.leave()
    dist.destroy_process_group()


def _met(rank: int, size: int, local: int) -> tuple[Ranks, Pulse | None]:
    """The ranks, once all of them are there, and their pulse."""
    if size == 1:
        return Ranks(local=local), None
    _shareusable_cores()
    if torch.cuda.is_available() and local < torch.cuda.device_count():
        torch.cuda.set_device(local)
    # Packing a large folder takes rank 0 hours, in which the others wait; whether it lives, its pulse tells.
    dist.init_process_group(timeout=timedelta(hours=24))
    pulse = Pulse(dist.PrefixStore("coslice", dist.distributed_c10d._get_default_store()), rank, size)  # pyright: ignore
    ranks = Ranks(rank, size, local, pulse)
    ranks.wait()
    pulse.start()
    return ranks, pulse


def _leave_standing() -> None:
    """Let nobody take down a group from which a rank is missing: that would wait for it, for ever."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(dist.group.WORLD))


def _shareusable_cores() -> None:
    """Divide the cores of a machine among its ranks, where nobody has said how many threads each takes."""
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if beside > 1 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, usable_cores() // beside))
