"""Supervised training as training of a denoiser with another corruption.

`EDMDenoiser.loss` shows D the image x + sigma n and wants x. For a pair (x, b) of a task (`coslice.training.pairs`) let

    sigma = s_task,        n = (b - x) / s_task;        then x + sigma n = b:

D sees the analytic reconstruction, and its label says of which task it is. Nothing else of a training run changes.

A step draws a size; each of its images a task (all alike), then a slice (all of the training scans alike), whole and
never flipped or turned: a wedge has a side. As in `coslice.training.slices`, image number `item` of step `step` is a
function of (seed, step, item) alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from coslice.errors import CosliceError
from coslice.noise import Key, generator
from coslice.training.card import Table
from coslice.training.optimisers import Each
from coslice.training.pairs import FULL, TRUTH, Pairs
from coslice.training.views import View, Views, locate

__all__ = ["Example", "PairStream", "analytic_errors", "errors", "panel", "views_of"]


@dataclass(frozen=True)
class Example:
    """Slices of one task to validate on.

    Attributes:
        truth, analytic: (n, 1, h, w), in the unit window.
        level: s of the task.
    """

    truth: Tensor
    analytic: Tensor
    level: float

    def only(self, chosen: Tensor) -> Example:
        """Those of the slices."""
        return Example(self.truth[chosen], self.analytic[chosen], self.level)


def views_of(sizes: Sequence[int]) -> tuple[View, ...]:
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
        side, count = self.view(step).side, self.asked(step, batch, first, count)
        chosen = (self._choose(step, first + i) for i in range(count))
        return _stacked([self._slice(TRUTH, name, side, row) for _, name, row in chosen], side)

    def corruption(self, step: int, first: int, truths: Tensor) -> tuple[Tensor, Tensor]:
        """What `truths`, images first, first + 1, ... of step `step`, are corrupted by: sigma (n,), and n like them."""
        side = self.view(step).side
        chosen = [self._choose(step, first + i) for i in range(len(truths))]
        sigma = torch.tensor([self.levels[task] for task, _, _ in chosen])
        analytic = _stacked([self._slice(task, name, side, row) for task, name, row in chosen], side)
        return sigma, (analytic - truths) / sigma[:, None, None, None]

    def distances(self, step: int, first: int, count: int) -> Tensor:
        """mm between the slices of an image: (count,), 0 for single ones."""
        return torch.zeros(count)

    def examples(self, names: Sequence[str], count: int, side: int) -> dict[str, Example]:
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
        return {task: Example(truth, stack(task), level) for task, level in self.levels.items()}

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


def errors(denoiser: nn.Module, examples: dict[str, dict[str, Example]], each: Each, dtype: torch.dtype) -> Table:
    """By size and task, the root mean square error of D(b, s), in units of the window.

    Args:
        denoiser: D, on any device.
        examples: by size and task, on the CPU.
        each: a `map` that may share the images among threads.
        dtype: of autocast.
    """
    return {
        size: {task: _rms(_corrected(denoiser, example, each, dtype) - example.truth) for task, example in row.items()}
        for size, row in examples.items()
    }


def analytic_errors(examples: dict[str, dict[str, Example]]) -> Table:
    """The same of b, to six decimals."""
    return {
        size: {task: round(_rms(example.analytic - example.truth), 6) for task, example in row.items()}
        for size, row in examples.items()
    }


def panel(denoiser: nn.Module, examples: dict[str, Example], each: Each, dtype: torch.dtype) -> np.ndarray:
    """A picture (h, w), uint8: for each task a row of x, b, D(b, s), of each example; first rows are at the back."""
    rows = []
    for example in examples.values():
        triples = torch.stack((example.truth, example.analytic, _corrected(denoiser, example, each, dtype)), dim=1)
        rows.append(torch.cat(list(triples.flatten(0, 1)[:, 0].flip(-2)), dim=1))
    return (torch.cat(rows).clamp(0, 1) * 255).round().byte().numpy()


def _corrected(denoiser: nn.Module, example: Example, each: Each, dtype: torch.dtype) -> Tensor:
    """clip(D(b, s)), (n, 1, h, w) on the CPU."""
    device = next(denoiser.parameters()).device

    @torch.no_grad()  # inside what threads run: the switch is per thread
    def corrected(some: Tensor) -> Tensor:
        level = torch.full((len(some),), example.level, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            return denoiser(some.to(device), level).clamp(0, 1).float().cpu()

    return torch.cat(list(each(corrected, example.analytic.split(1 if device.type == "cpu" else 16))))


def _rms(error: Tensor) -> float:
    return float(error.double().square().mean().sqrt())


def _stacked(slices: Sequence[np.ndarray], side: int) -> Tensor:
    out = np.zeros((len(slices), 1, side, side), dtype=np.float32)
    for image, stored in zip(out, slices, strict=True):
        image[0] = stored
    return torch.from_numpy(out / np.float32(FULL))
