"""Noise levels of training have the law that was asked for, and are functions of seed, step and item alone."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from coslice.noise import Key
from coslice.training.levels import LevelRange, SigmaSettings
from coslice.training.supply.batches import BatchQueue
from small_training import Blobs

LOW, HIGH = LevelRange(0.01, 0.5, 0.3), LevelRange(0.5, 5.0, 0.2)
COUNT = 40_000
KNOWN = [1.2451329231262207, 0.4927636981010437, 0.026832813397049904, 0.23389042913913727]
"""Levels of `Key(3, 5, "sigma")` from before there were ranges."""


def drawn(settings, seed=0):
    return np.sort(settings.levels(Key(seed, 3, "sigma"), COUNT).double().numpy())


def distance(levels, law):
    """Kolmogorov's: the largest of the empirical distribution from the law, times the root of their number."""
    expected = law(levels)
    steps = np.arange(len(levels) + 1) / len(levels)
    return max(np.abs(expected - steps[1:]).max(), np.abs(expected - steps[:-1]).max()) * math.sqrt(len(levels))


def law_of(settings):
    """Of the closed form, as a function of levels."""

    def law(levels):
        left = 1 - sum(part.share for part in settings.ranges)
        total = left * norm.cdf((np.log(levels) - math.log(settings.median)) / settings.spread)
        for part in settings.ranges:
            where = np.log(levels / part.lowest) / math.log(part.highest / part.lowest)
            total += part.share * where.clip(0, 1)
        return total

    return law


@pytest.mark.parametrize("ranges", [(LOW,), (LOW, HIGH), (LevelRange(0.1, 2.0, 1.0),)])
def test_a_mixture_has_its_closed_form(ranges):
    """By Kolmogorov's test at one in ten thousand; and the law of other shares is refused by the same test."""
    settings = SigmaSettings(draw="mixture", ranges=ranges, lowest=1e-6, highest=1e6)
    levels = drawn(settings)
    assert distance(levels, law_of(settings)) < 2.23
    other = SigmaSettings(median=0.18, draw="mixture", ranges=(LevelRange(0.012, 0.5, 0.28),), lowest=1e-6, highest=1e6)
    assert distance(levels, law_of(other)) > 2.23


def test_without_ranges_levels_are_what_they_always_were():
    levels = SigmaSettings().levels(Key(3, 5, "sigma"), 4)
    assert levels.tolist() == pytest.approx(KNOWN, rel=1e-6)
    # Whoever is not chosen by a range keeps the level that it had.
    mixed = SigmaSettings(draw="mixture", ranges=(LevelRange(6.0, 7.0, 0.4),)).levels(Key(3, 5, "sigma"), 4000)
    plain = SigmaSettings().levels(Key(3, 5, "sigma"), 4000)
    kept = mixed == plain
    assert ((mixed[~kept] >= 6) & (mixed[~kept] <= 7)).all()
    assert float(kept.double().mean()) == pytest.approx(0.6, abs=5 * math.sqrt(0.24 / 4000))


def test_a_level_is_a_function_of_seed_step_and_item():
    settings = SigmaSettings(draw="mixture", ranges=(LOW, HIGH))
    key = Key(1, 2, "sigma")
    few, many = settings.levels(key, 5), settings.levels(key, 64)
    assert torch.equal(many[:5], few)
    for other in (Key(1, 3, "sigma"), Key(2, 2, "sigma")):
        assert (settings.levels(other, 64) != many).all()
    feed = BatchQueue(Blobs(), 7, settings, seed=3)
    assert torch.equal(torch.cat([feed.draw(1, 0, 3).sigma, feed.draw(1, 3, 4).sigma]), feed.draw(1, 0, 7).sigma)


def test_a_mixture_stays_within_the_ends():
    settings = SigmaSettings(spread=6.0, lowest=0.05, highest=3.0, draw="mixture", ranges=(LevelRange(0.05, 3, 0.5),))
    levels = drawn(settings)
    assert levels[0] == pytest.approx(0.05, rel=1e-6) and levels[-1] == pytest.approx(3.0, rel=1e-6)
