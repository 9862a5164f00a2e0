"""Noise levels that a network is trained at.

A log-normal law puts most of the training where a denoiser has most to learn (Karras et al., NeurIPS 2022, table 1).
A sampler spends its steps elsewhere: evenly in ln sigma from the level it starts at to the one it ends at. One that
starts at 5 takes as many steps above 0.5 as between 0.05 and 0.5. A mixture gives levels their shares:

    ln sigma ~ (1 - sum_k s_k) N(ln median, spread^2) + sum_k s_k U(ln low_k, ln high_k)

The loss keeps its weight 1/c_out^2, so this says where training looks, not how much an error there counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from coslice.noise import Key, generator, standard_normal
from coslice.training.sections import need

__all__ = ["LevelRange", "SigmaSettings"]

_ROUNDING = 1e-9
"""Of a sum of shares as people write them: 0.1 + 0.2 + 0.7 is more than 1 in binary."""


@dataclass(frozen=True)
class LevelRange:
    """Levels evenly in ln sigma.

    Attributes:
        lowest, highest: ends of the range.
        share: of the images that get a level from it.
    """

    lowest: float
    highest: float
    share: float

    def __post_init__(self) -> None:
        ends = (self.lowest, self.highest)
        need(0 < self.lowest < self.highest, "sigma.ranges", ends, "a lowest level above 0 and a higher one")
        need(0 < self.share <= 1, "sigma.ranges.share", self.share, "above 0 and at most 1")


@dataclass(frozen=True)
class SigmaSettings:
    """Noise levels of training: ln sigma ~ N(ln median, spread^2), clamped to lowest..highest.

    Attributes:
        median, spread, lowest, highest: as above.
        draw: "log-normal"; "mixture", of which `ranges` have their shares and the log-normal law the rest; or
            "published", as a published network draws them (`coslice.priors.denoisers`), which reads neither median nor
            spread.
        ranges: of a mixture, within lowest..highest.
    """

    median: float = 0.15
    spread: float = 1.5
    lowest: float = 0.002
    highest: float = 20.0
    draw: str = "log-normal"
    ranges: tuple[LevelRange, ...] = ()

    def __post_init__(self) -> None:
        kinds = ("log-normal", "mixture", "published")
        need(self.draw in kinds, "sigma.draw", self.draw, "log-normal, mixture or published")
        need(self.median > 0, "sigma.median", self.median, "above 0")
        need(self.spread >= 0, "sigma.spread", self.spread, "at least 0")
        need(0 < self.lowest < self.highest, "sigma.lowest", self.lowest, "above 0 and below sigma.highest")
        wanted = "one or more ranges for a mixture" if self.draw == "mixture" else "left out where draw is no mixture"
        need(bool(self.ranges) == (self.draw == "mixture"), "sigma.ranges", list(self.ranges), wanted)
        for part in self.ranges:
            good = self.lowest <= part.lowest and part.highest <= self.highest
            ends = f"within sigma.lowest and sigma.highest, {self.lowest:g} to {self.highest:g}"
            need(good, "sigma.ranges", (part.lowest, part.highest), ends)
        total = sum(part.share for part in self.ranges)
        need(total <= 1 + _ROUNDING, "sigma.ranges", f"of shares {total:g} together", "at most 1 together")

    def levels(self, key: Key, count: int) -> Tensor:
        """Noise levels of `count` images: (count,) float32; that of image i is a function of `key` and i alone."""
        sigma = (math.log(self.median) + self.spread * standard_normal(key, 0, (count,))).exp()
        if self.ranges:
            which, where = generator(replace(key, stream="mixture"), 0).random((count, 2)).T
            first = 0.0
            for part in self.ranges:
                chosen = (first <= which) & (which < first + part.share)
                ln = math.log(part.lowest) + where * math.log(part.highest / part.lowest)
                sigma = torch.where(torch.from_numpy(chosen), torch.from_numpy(np.exp(ln)).float(), sigma)
                first += part.share
        return sigma.clamp(self.lowest, self.highest)
