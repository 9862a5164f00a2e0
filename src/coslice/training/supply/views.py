"""Kinds of batches: sides in pixels, zooms, and how often each is drawn; what all streams of images share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from coslice.errors import CosliceError
from coslice.noise import Key, generator
from coslice.training.collection.catalogue import Pack
from coslice.training.sections import View

__all__ = ["Views", "default_views", "locate", "whole_views"]

_GRID = 32
"""Sides are multiples of this, so that every network can halve them as often as it likes."""


class Views:
    """An endless supply of batches, of which a step shows one view: a function of (seed, step) alone.

    Args:
        views: the kinds of batches.
        seed: the user's.

    Raises:
        CosliceError: no views.
    """

    def __init__(self, views: Sequence[View], seed: int):
        if not views:
            raise CosliceError(
                f"{type(self).__name__}: no views were given, at least one is needed; see default_views."
            )
        self.views, self.seed = tuple(views), seed
        self._shares = np.cumsum([view.share for view in views]) / sum(view.share for view in views)

    def view(self, step: int) -> View:
        """What step number `step` shows."""
        draw = generator(Key(self.seed, step, "views"), 0).random()
        return self.views[min(int(np.searchsorted(self._shares, draw, side="right")), len(self.views) - 1)]

    def images(self, step: int, batch: int) -> int:
        """Number of images of step `step`, over all ranks, when the nominal batch is `batch`."""
        return max(1, round(batch * self.view(step).images))

    def checked_count(self, step: int, batch: int, first: int, count: int | None) -> int:
        """How many images are asked for: `count`, or all from `first` on.

        Raises:
            CosliceError: the step does not have these images.
        """
        total = self.images(step, batch)
        count = total - first if count is None else count
        if min(first, count) < 0 or first + count > total:
            raise CosliceError(
                f"{type(self).__name__}.batch: images {first} to {first + count} were asked for, but step {step} has "
                f"{total}."
            )
        return count


def default_views(pack: Pack) -> tuple[View, ...]:
    """Views that suit the slices of `pack`.

    Large slices (192 pixels and more): whole at half resolution, windows of that side between half and full
    resolution (mostly near full), whole at full resolution in batches of a quarter. Smaller ones: windows of 128
    pixels at about full resolution, and whole slices.
    """
    sides = np.repeat([max(scan.shape[1:]) for scan in pack.scans], [scan.shape[0] for scan in pack.scans])
    side = int(np.median(sides))
    whole, half = _on_grid(side), _on_grid(side / 2)
    if side >= 192:
        return (
            View(half, (0.5, 0.5), 0.45),
            View(half, (0.5, 1.0), 0.2),
            View(half, (0.75, 1.0), 0.2),
            View(whole, (1.0, 1.0), 0.15, 0.25),
        )
    window = min(128, whole)
    return View(window, (0.8, 1.2), 0.7), View(whole, (1.0, 1.0), 0.3, (window / whole) ** 2)


def whole_views(pack: Pack) -> tuple[View, ...]:
    """Whole slices as they are, as published networks were trained; smaller ones are surrounded by zeros."""
    return (View(_on_grid(max(max(scan.shape[1:]) for scan in pack.scans)), (1.0, 1.0), 1.0),)


def _on_grid(side: float) -> int:
    return max(1, math.ceil(side / _GRID)) * _GRID


def locate(ends: np.ndarray, index: int) -> tuple[int, int]:
    """Number of the stack and of its slice, of slice `index` of stacks put end to end."""
    stack = int(np.searchsorted(ends, index, side="right"))
    return stack, index - (int(ends[stack - 1]) if stack else 0)
