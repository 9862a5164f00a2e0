"""Supervised training as training of a denoiser with another corruption.

`EDMDenoiser.loss` shows D the image x + sigma n and wants x. For a pair (x, b) of a task (`supply.pairs`) let

    sigma = s_task,        n = (b - x) / s_task;        then x + sigma n = b:

D sees the analytic reconstruction, and its label says of which task it is. Nothing else of a training run changes.

A step draws a size; each of its images a task (all alike), then a slice (all of the training scans alike), whole and
never flipped or turned: a wedge has a side. As in `supply.slice_stream`, image number `item` of step `step` is a
function of (seed, step, item) alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.noise import Key, generator
from coslice.training.sections import View
from coslice.training.supply.batches import Corruption
from coslice.training.supply.pairs import FULL, TRUTH, Pairs
from coslice.training.supply.views import Views, locate

__all__ = ["PairExample", "PairStream", "views_of_sizes"]


@dataclass(frozen=True)
class PairExample:
    """Slices of one task to validate on.

    Attributes:
        truth, analytic: (n, 1, h, w), in the unit window.
        level: s of the task.
    """

    truth: Tensor
    analytic: Tensor
    level: float

    def only(self, chosen: Tensor) -> PairExample:
        """Those of the slices."""
        return PairExample(self.truth[chosen], self.analytic[chosen], self.level)


def views_of_sizes(sizes: Sequence[int]) -> tuple[View, ...]:
    """A kind of batch for each size: a larger one is as much rarer, and has as many images as cost the same."""
    smallest = min(sizes)
    return tuple(View(size, (1.0, 1.0), smallest / size, (smallest / size) ** 2) for size in sorted(sizes))


class PairStream(Views):
    """An endless, numbered supply of pairs.

    Args:
        pairs: of all scans.
        names: the scans to draw from.
        views: the kinds of batches; of each its side, share and images count.
        seed: the user's.

    Attributes:
        levels: s of each task, over the scans drawn from.

    Raises:
        CosliceError: no names, a name the pack does not have.
    """

    def __init__(self, pairs: Pairs, names: Sequence[str], views: Sequence[View], seed: int):
        if not names:
            raise CosliceError("PairStream: no scan was named, at least one is needed.")
        super().__init__(views, seed)
        self.pairs, self.names = pairs, tuple(names)
        self.levels = pairs.levels(names)
        self._ends = np.cumsum([pairs.pack.scan(name).shape[0] for name in names])
        self._maps: dict[tuple[str, str, int], np.ndarray] = {}

    def __len__(self) -> int:
        """Number of different slices."""
        return int(self._ends[-1])

    def batch(self, step: int, batch: int, first: int = 0, count: int | None = None) -> Tensor:
        """Truths first..first+count-1 of step `step` (all of them by default), (count, 1, side, side) in [0, 1].

        Raises:
            CosliceError: the step does not have these images.
        """
        side, count = self.view(step).side, self.checked_count(step, batch, first, count)
        chosen = (self._choose(step, first + i) for i in range(count))
        return _stacked([self._slice(TRUTH, name, side, row) for _, name, row in chosen], side)

    def corruption(self, step: int, first: int, truths: Tensor) -> Corruption:
        """What `truths`, images first, first + 1, ... of step `step`, are corrupted by: sigma (n,), and n like them."""
        side = self.view(step).side
        chosen = [self._choose(step, first + i) for i in range(len(truths))]
        sigma = torch.tensor([self.levels[task] for task, _, _ in chosen])
        analytic = _stacked([self._slice(task, name, side, row) for task, name, row in chosen], side)
        return Corruption(sigma, (analytic - truths) / sigma[:, None, None, None])

    def distances(self, step: int, first: int, count: int) -> Tensor:
        """mm between the slices of an image: (count,), 0 for single ones."""
        return torch.zeros(count)

    def examples(self, names: Sequence[str], count: int, side: int) -> dict[str, PairExample]:
        """By task, `count` slices (fewer, if there are fewer) evenly spaced through the scans `names`.

        Raises:
            CosliceError: a name the pack does not have.
        """
        ends = np.cumsum([self.pairs.pack.scan(name).shape[0] for name in names])
        count = min(count, int(ends[-1]))
        places = [locate(ends, int(index)) for index in (np.arange(count) + 0.5) * ends[-1] / count]

        def stack(kind: str) -> Tensor:
            return _stacked([self._slice(kind, names[scan], side, row) for scan, row in places], side)

        truth = stack(TRUTH)
        return {task: PairExample(truth, stack(task), level) for task, level in self.levels.items()}

    def _choose(self, step: int, item: int) -> tuple[str, str, int]:
        """Task, scan and slice of an image."""
        which, where = generator(Key(self.seed, step, "pairs"), item).random(2)
        scan, row = locate(self._ends, int(where * len(self)))
        return self.pairs.tasks[int(which * len(self.pairs.tasks))], self.names[scan], row

    def _slice(self, kind: str, name: str, side: int, row: int) -> np.ndarray:
        key = kind, name, side
        if key not in self._maps:
            pairs = self.pairs
            self._maps[key] = pairs.truth(name, side) if kind == TRUTH else pairs.analytic(kind, name, side)
        return self._maps[key][row]


def _stacked(slices: Sequence[np.ndarray], side: int) -> Tensor:
    out = np.zeros((len(slices), 1, side, side), dtype=np.float32)
    for image, stored in zip(out, slices, strict=True):
        image[0] = stored
    return torch.from_numpy(out / np.float32(FULL))
