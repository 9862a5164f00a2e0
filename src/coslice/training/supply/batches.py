"""What a step learns from: images, noise levels and noise, each a pure function of (seed, step, item).

    sigma_i as `LevelSource` draws them,     the noise n_i from counter-based draws

(but for a stream that has its own corruption), so a rank can draw its share of a step, a resumed run its next step, and
a thread a step ahead of time, and all get what an uninterrupted run in one process gets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from coslice.noise import Key, standard_normal
from coslice.parallel import ALONE, Ranks

__all__ = ["Batch", "BatchQueue", "CorruptingStream", "Corruption", "ImageStream", "LevelSource"]


class LevelSource(Protocol):
    """Where noise levels come from: `coslice.training.levels.SigmaSettings`, or what a network is trained for."""

    def levels(self, key: Key, count: int) -> Tensor: ...


class ImageStream(Protocol):
    """Where images come from; `supply.slice_stream.SliceStream` is one."""

    def images(self, step: int, batch: int) -> int: ...

    def batch(self, step: int, batch: int, first: int = 0, count: int | None = None) -> Tensor: ...

    def distances(self, step: int, first: int, count: int) -> Tensor: ...


@dataclass(frozen=True)
class Corruption:
    """What images are corrupted by.

    Attributes:
        sigma: (n,), noise levels.
        noise: like the images.
        weight: (n,), of the images' losses; None: alike.
    """

    sigma: Tensor
    noise: Tensor
    weight: Tensor | None = None


@runtime_checkable
class CorruptingStream(Protocol):
    """A stream that says itself what images are corrupted by, of some steps or all; `supply.pair_stream.PairStream`."""

    def corruption(self, step: int, first: int, truths: Tensor) -> Corruption | None: ...


@dataclass(frozen=True)
class Batch:
    """This rank's share of a step.

    Attributes:
        total: images of the step, over all ranks.
        images: (n, slices, side, side), in the unit window.
        sigma: (n,), noise levels.
        noise: standard normal, or as the stream has it, like `images`.
        distance: (n,), mm between the slices of an image; for a network with classes, the class that stands for it.
        weight: (n,), of the images' losses.
    """

    total: int
    images: Tensor
    sigma: Tensor
    noise: Tensor
    distance: Tensor
    weight: Tensor

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.images, self.sigma, self.noise, self.distance, self.weight

    def to(self, device: torch.device) -> Batch:
        return Batch(self.total, *(part.to(device, non_blocking=True) for part in self.tensors))


class BatchQueue:
    """The batches of a run by their step, drawn by threads ahead of need.

    Args:
        stream: of images.
        batch: nominal images per step.
        sigmas: of the noise levels.
        seed: the user's.
        ranks: draw this rank's share only.
        pinned: batches are going to an accelerator.
    """

    def __init__(
        self,
        stream: ImageStream,
        batch: int,
        sigmas: LevelSource,
        seed: int,
        ranks: Ranks = ALONE,
        pinned: bool = False,
    ):
        self.stream, self.batch, self.sigmas, self.seed, self.ranks = stream, batch, sigmas, seed, ranks
        self._pinned = pinned
        # A CPU that trains has no core to spare; beside an accelerator they are idle.
        self._threads = min(16, os.cpu_count() or 1) if self._pinned else 1
        self._workers: ThreadPoolExecutor | None = None
        self._ahead: dict[int, list[Future[Batch]]] = {}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inside, batches are drawn ahead."""
        with ThreadPoolExecutor(self._threads) as self._workers:
            try:
                yield
            finally:
                for pieces in self._ahead.values():
                    for piece in pieces:
                        piece.cancel()
                self._ahead.clear()
        self._workers = None

    def __getitem__(self, step: int) -> Batch:
        """The batch of step number `step`."""
        if self._workers is None:
            return self.draw(step, *self.ranks.share(self.stream.images(step, self.batch)))
        for ahead in (step, step + 1, step + 2)[: 3 if self._pinned else 2]:
            if ahead not in self._ahead:
                self._ahead[ahead] = self._ordered(self._workers, ahead)
        pieces = [piece.result() for piece in self._ahead.pop(step)]
        if len(pieces) == 1:
            return pieces[0]
        parts = (torch.cat(parts) for parts in zip(*(piece.tensors for piece in pieces), strict=True))
        return Batch(pieces[0].total, *(part.pin_memory() if self._pinned else part for part in parts))

    def draw(self, step: int, first: int, count: int) -> Batch:
        """Items first..first+count-1 of step number `step`."""
        total = self.stream.images(step, self.batch)
        images = self.stream.batch(step, self.batch, first, count)
        distance = self.stream.distances(step, first, count)
        own = self.stream.corruption(step, first, images) if isinstance(self.stream, CorruptingStream) else None
        even = torch.ones(len(images))
        if own is not None:
            return Batch(total, images, own.sigma, own.noise, distance, even if own.weight is None else own.weight)
        sigma = self.sigmas.levels(Key(self.seed, step, "sigma"), total)[first : first + count]
        noise = torch.empty_like(images)
        for i, plane in enumerate(noise):
            plane.copy_(standard_normal(Key(self.seed, step, "train"), first + i, tuple(plane.shape)))
        return Batch(total, images, sigma, noise, distance, even)

    def _ordered(self, workers: ThreadPoolExecutor, step: int) -> list[Future[Batch]]:
        first, count = self.ranks.share(self.stream.images(step, self.batch))
        pieces = min(self._threads, max(count, 1))
        cuts = [first + count * i // pieces for i in range(pieces + 1)]
        return [workers.submit(self.draw, step, a, b - a) for a, b in zip(cuts, cuts[1:], strict=False)]
