"""Steps of a sampler among the images of training.

A share of the steps of training shows rollouts (`supply.rollouts`), the others noise alone, as `supply.slice_stream`
has it. An image of a rollout is a slice x, or a patch of slices, of one reconstruction, with the error e_k of one of
its steps, shrunk by a factor f uniform in shrink..1, and a noise level about that of the step:

    D sees  x + f e_k + sigma n,      ln sigma uniform between the neighbouring kept levels' middles,     and wants x.

In the words of a denoiser's loss, which shows x + sigma n', that is n' = n + f e_k / sigma: only the noise is another.
The loss is relative to sigma^2, and an error larger than sigma would rule all steps; it counts 1 / mean n'^2 times.
Flips are those of the other images, of x and e_k alike; nothing is zoomed, since an error belongs to its pixels.

As there, image number `item` of step `step` is a function of (seed, step, item) alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from coslice.noise import Key, generator, standard_normal
from coslice.training.sections import View
from coslice.training.supply.batches import Corruption
from coslice.training.supply.rollouts import Rollout, Rollouts
from coslice.training.supply.slice_stream import SliceStream
from coslice.training.supply.views import Views

__all__ = ["RolloutExample", "RolloutStream"]


@dataclass(frozen=True)
class RolloutExample:
    """Images of one task to validate on.

    Attributes:
        truth, error, seen: (n, slices, h, w): x, e_k, and x + e_k + sigma n.
        sigma: (n,), noise levels.
        distances: (n,), as of `SliceStream.distances`.
    """

    truth: Tensor
    error: Tensor
    seen: Tensor
    sigma: Tensor
    distances: Tensor


@dataclass(frozen=True)
class _Choice:
    """An image: a rollout, rows of its slices, the number of its level, flips, and sigma and f."""

    rollout: Rollout
    rows: list[int]
    gap: int
    level: int
    flips: tuple[bool, bool]
    sigma: float
    factor: float


class RolloutStream(Views):
    """A supply of images of which some are rollouts.

    Args:
        base: the supply of the others; its scans are those whose rollouts are shown.
        rollouts: of each settings.
    """

    def __init__(self, base: SliceStream, rollouts: Sequence[Rollouts]):
        super().__init__(base.views, base.seed)
        self.base, self.rollouts = base, tuple(rollouts)
        self.pack, self.patches = base.pack, base.patches
        self._ends = np.cumsum([one.settings.share for one in rollouts])
        smallest = min(view.side for view in base.views)
        self._views = [
            View(one.settings.size, (1.0, 1.0), one.settings.share, min(1.0, (smallest / one.settings.size) ** 2))
            for one in rollouts
        ]
        self._shown = [one.of(base.names) for one in rollouts]
        # A map holds a file open, of which a process may have about a thousand.
        self._opened = lru_cache(maxsize=256)(self._open)

    def __len__(self) -> int:
        """Number of different slices."""
        return len(self.base)

    def view(self, step: int) -> View:
        """What step number `step` shows."""
        number = self.number(step)
        return self.base.view(step) if number is None else self._views[number]

    def number(self, step: int) -> int | None:
        """Which of the rollouts a step shows; None: noise alone."""
        draw = generator(Key(self.seed, step, "rollout"), 0).random()
        number = int(np.searchsorted(self._ends, draw, side="right"))
        return number if number < len(self._ends) else None

    def batch(self, step: int, batch: int, first: int = 0, count: int | None = None) -> Tensor:
        """Images first..first+count-1 of step `step` (all of them by default), (count, slices, side, side) in [0, 1].

        Raises:
            CosliceError: the step does not have these images.
        """
        number = self.number(step)
        if number is None:
            return self.base.batch(step, batch, first, count)
        count = self.checked_count(step, batch, first, count)
        chosen = (self._choose(number, step, first + i) for i in range(count))
        return torch.stack([self._part(number, one, 0) for one in chosen])

    def corruption(self, step: int, first: int, truths: Tensor) -> Corruption | None:
        """What `truths`, images first, first + 1, ... of step `step`, are corrupted by; None where it is noise alone.

        The noise is n', and a loss counts in proportion to 1 / mean n'^2.
        """
        number = self.number(step)
        if number is None:
            return None
        chosen = [self._choose(number, step, first + i) for i in range(len(truths))]
        noises = []
        for i, one in enumerate(chosen):
            white = standard_normal(Key(self.seed, step, "train"), first + i, tuple(truths.shape[1:]))
            noises.append(white + self._part(number, one, 1 + one.level) * (one.factor / one.sigma))
        noise = torch.stack(noises)
        return Corruption(torch.tensor([one.sigma for one in chosen]), noise, 1 / noise.square().mean(dim=(1, 2, 3)))

    def distances(self, step: int, first: int, count: int) -> Tensor:
        """mm between the slices of images first..first+count-1 of step `step`, or their classes: (count,)."""
        number = self.number(step)
        if number is None:
            return self.base.distances(step, first, count)
        chosen = [self._choose(number, step, first + i) for i in range(count)]
        told = [self.base.told(one.gap, self.pack.scan(one.rollout.scan).spacing[0]) for one in chosen]
        return torch.tensor(told, dtype=torch.float32)

    def validation(self, names: Sequence[str], count: int, side: int) -> tuple[Tensor, Tensor]:
        """As of `SliceStream`."""
        return self.base.validation(names, count, side)

    def examples(self, names: Sequence[str], count: int) -> dict[str, dict[str, RolloutExample]]:
        """By size, as in "128 px", and task: `count` images of rollouts of the scans `names`, with whole errors.

        Levels and slices are spread evenly, the noise is fixed.
        """
        tables: dict[str, dict[str, RolloutExample]] = {}
        for rollouts in self.rollouts:
            table = tables.setdefault(f"{rollouts.settings.size} px", {})
            for task in rollouts.settings.tasks:
                of_task = [one for one in rollouts.of(names) if one.task == task]
                if of_task:
                    table[f"{task} {rollouts.settings.method}"] = self._example(rollouts, of_task, count)
        return tables

    def _example(self, rollouts: Rollouts, of_task: Sequence[Rollout], count: int) -> RolloutExample:
        truths, errors, seen, sigmas, distances = [], [], [], [], []
        for i in range(count):
            one, level = of_task[i % len(of_task)], i * len(rollouts.sigmas) // count
            array, sigma = rollouts.opened(one), rollouts.sigmas[level]
            rows, gap = self.patches.rows(int((i + 0.5) / count * one.count), False, one.count)
            truth, error = (torch.from_numpy(array[k][rows].astype(np.float32)) for k in (0, 1 + level))
            truths.append(truth)
            errors.append(error)
            seen.append(truth + error + sigma * standard_normal(Key(0, 0, "validate"), i, tuple(truth.shape)))
            sigmas.append(sigma)
            distances.append(self.base.told(gap, self.pack.scan(one.scan).spacing[0]))
        truth, error, shown = (torch.stack(images) for images in (truths, errors, seen))
        return RolloutExample(truth, error, shown, torch.tensor(sigmas), torch.tensor(distances))

    def _choose(self, number: int, step: int, item: int) -> _Choice:
        rollouts, shown, augment = self.rollouts[number], self._shown[number], self.base.augment
        draws = generator(Key(self.seed, step, "rollouts"), item).random(9)
        which, where, at, rows, columns, between, shrink, jump, flip = (float(draw) for draw in draws)
        one = shown[int(which * len(shown))]
        middle = int(where * one.count)
        chosen, gap = self.patches.rows(middle, self.patches.slices > 1 and jump < self.patches.jump, one.count)
        if self.patches.slices > 1 and flip < self.patches.flip:
            chosen = chosen[::-1]
        level = int(at * len(rollouts.sigmas))
        flips = rows < augment.flip_rows, columns < augment.flip_columns
        factor = rollouts.settings.shrink + (1 - rollouts.settings.shrink) * shrink
        return _Choice(one, chosen, gap, level, flips, _between(rollouts.sigmas, level, between), factor)

    def _open(self, number: int, rollout: Rollout) -> np.ndarray:
        return self.rollouts[number].opened(rollout)

    def _part(self, number: int, one: _Choice, entry: int) -> Tensor:
        """x (entry 0) or e_k (entry 1 + k) of an image, (slices, side, side) float32."""
        image = torch.from_numpy(self._opened(number, one.rollout)[entry][one.rows].astype(np.float32))
        turned = [axis for axis, turn in zip((-2, -1), one.flips, strict=True) if turn]
        return image.flip(turned) if turned else image


def _between(sigmas: Sequence[float], level: int, place: float) -> float:
    """A level at relative place 0..1 between the middles, in ln sigma, of sigmas[level] and its neighbours."""
    middle = math.log(sigmas[level])
    ends = [
        (middle + math.log(sigmas[near])) / 2 if 0 <= near < len(sigmas) else middle for near in (level - 1, level + 1)
    ]
    return math.exp(ends[0] + place * (ends[1] - ends[0]))
