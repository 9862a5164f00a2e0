"""Normal deviates in integer arithmetic: the same bits by every path, and how normal and how independent they are."""

import hashlib
import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.special import ndtr, ndtri

import coslice.noise
import coslice.normal_deviates
from coslice.correlated_noise import Anchors, Matern, OrnsteinUhlenbeck
from coslice.errors import CosliceError
from coslice.mixed_noise import Mixed
from coslice.noise import Identical, Independent, Key, Lanes, Slerp, angle_between, standard_normal, standard_normals
from coslice.normal_deviates import BITS, deviates, gram, planes_of_deviates, table
from coslice.normal_deviates_numba import quantiles
from coslice.variance import Tweedie, TwoNoises, Witness

CPU = torch.device("cpu")
KEY = (0x12345678, 0x9ABCDEF0)
STRATEGIES = [
    Independent(),
    Identical("y", Lanes(2)),
    Slerp(lanes=Lanes(3)),
    Slerp("x", angle=70.0),
    OrnsteinUhlenbeck(length=3.0),
    Matern(length=4.0, lanes=Lanes(2)),
    Anchors(every=2.0),
    Mixed(share=0.3),
]


def deviates_of(words: np.ndarray) -> np.ndarray:
    out = np.empty(len(words), np.float32)
    quantiles(words.astype(np.uint32), table(), out)
    return out


# The same bits


@pytest.mark.parametrize("size", [0, 1, 3, 4, 1023, 1024, 1025, 4099])
def test_compiled_code_and_operations_of_torch_give_the_same_bits(size):
    """The second path is that of every accelerator; on the CPU it is never taken but here."""
    indices = [0, 1, 2**32 - 1, 2**32, 2**64 - 1]
    compiled = torch.stack(list(planes_of_deviates(KEY, 2**32 - 1, indices, size, CPU)))
    assert torch.equal(compiled, deviates(KEY, 2**32 - 1, indices, size, CPU))
    assert compiled.dtype == torch.float32 and compiled.shape == (5, size)


def test_any_number_of_planes_and_deviates_at_once_gives_the_same_bits(monkeypatch):
    whole = deviates(KEY, 3, range(9), 120, CPU)
    monkeypatch.setattr(coslice.normal_deviates, "_AT_ONCE", 64)  # parts of a plane
    assert torch.equal(deviates(KEY, 3, range(9), 120, CPU), whole)

    def draw(key, step, indices, size, device):
        drawn.append(len(indices))
        return deviates(key, step, indices, size, CPU)

    monkeypatch.setattr(coslice.normal_deviates, "deviates", draw)
    for at_once, shares in ((64, [1] * 9), (500, [4, 4, 1]), (10**6, [9])):
        drawn = []
        monkeypatch.setattr(coslice.normal_deviates, "_AT_ONCE", at_once)
        assert torch.equal(torch.stack(list(planes_of_deviates(KEY, 3, range(9), 120, torch.device("cuda")))), whole)
        assert drawn == shares


def test_an_element_does_not_depend_on_the_size_of_its_plane_nor_on_other_planes():
    long = standard_normal(Key(5), 7, (3000,))
    for size in (1, 7, 1024, 2222):
        assert torch.equal(standard_normal(Key(5), 7, (size,)), long[:size])
    assert torch.equal(standard_normal(Key(5), 7, (30, 100)), long.view(30, 100))
    for number, plane in zip((9, 7, 2**40), standard_normals(Key(5), (9, 7, 2**40), (3000,)), strict=True):
        assert torch.equal(plane, standard_normal(Key(5), number, (3000,)))


def test_the_bits_are_those_of_every_version_and_machine():
    """A seed is worth its noise: who changes these bits says so in the changelog."""
    plane = standard_normal(Key(3, 5, "renoise"), 1, (64, 65)).numpy().astype("<f4")
    assert (plane.ravel()[:4] * 2**BITS).tolist() == [-958831, -2318335, -123231, -618798]
    assert hashlib.sha256(plane.tobytes()).hexdigest()[:16] == "1513129d42e8061b"
    assert hashlib.sha256(table().astype("<i8").tobytes()).hexdigest()[:16] == "3b4f6ba120729ad9"


class Elsewhere(torch.Tensor):
    """A tensor that says it lies on an accelerator."""

    device = torch.device("cuda", 7)


@pytest.fixture
def asked(monkeypatch):
    """(device, planes) of every draw; the path of accelerators is taken, on the CPU."""
    draws = []

    def drawn(key, step, indices, size, device):
        draws.append((device, len(indices)))
        yield from deviates(key, step, indices, size, CPU)

    monkeypatch.setattr(coslice.noise, "planes_of_deviates", drawn)
    return draws


@pytest.mark.parametrize("strategy", STRATEGIES, ids=[f"{i}-{one.kind}" for i, one in enumerate(STRATEGIES)])
def test_strategies_draw_where_the_volume_is_and_have_the_same_bits_there(strategy, request):
    strategy = replace(strategy, spacing=1.5)
    compiled = strategy((6, 7, 8), Key(3, 5))
    asked = request.getfixturevalue("asked")
    there = strategy.add_(torch.zeros(6, 7, 8).as_subclass(Elsewhere), 1.0, Key(3, 5))
    assert torch.equal(there.as_subclass(torch.Tensor), compiled)
    assert {device for device, _ in asked} == {Elsewhere.device}


def test_a_second_evaluation_draws_where_the_volume_is(asked):
    volume = torch.zeros(3, 4, 5).as_subclass(Elsewhere)
    TwoNoises().squares(volume, 0.1, None, 0, Witness(lambda x, sigma: x, volume, volume))
    Tweedie().squares(volume, 0.1, None, 0, Witness(lambda x, sigma: x, volume, volume))
    assert asked == [(Elsewhere.device, 3)] * 2


def test_a_stack_of_independent_slices_is_asked_for_at_once(asked):
    """One draw, which an accelerator does in a few launches, not one for each slice."""
    for strategy in (Independent(), OrnsteinUhlenbeck(), Matern()):
        strategy.add_(torch.zeros(40, 4, 4), 1.0, Key(0))
    assert [planes for _, planes in asked] == [40, 40, 80]


def test_planes_that_cannot_be_numbered_are_refused():
    for key, index in ((Key(0, -1), 0), (Key(0, 2**32), 0), (Key(0), -1), (Key(0), 2**64)):
        with pytest.raises(CosliceError, match="counted from 0"):
            standard_normal(key, index, (4,))


# Exact


def test_every_deviate_is_a_multiple_of_the_unit_that_float32_holds():
    units = standard_normal(Key(1), 0, (1 << 16,)).double() * 2**BITS
    assert torch.equal(units, units.round()) and units.abs().max() < 2**24


def test_inner_products_are_exact_in_any_order():
    a, b = standard_normals(Key(2), (0, 1), (3, 40001))
    x, y = ([int(value) for value in (plane.double() * 2**BITS).flatten().tolist()] for plane in (a, b))
    exact = tuple(sum(p * q for p, q in zip(*pair, strict=True)) for pair in ((x, x), (x, y), (y, y)))
    assert gram(a, b) == exact
    order = torch.randperm(a.numel(), generator=torch.Generator().manual_seed(0))
    assert gram(a.flatten()[order], b.flatten()[order]) == exact
    assert gram(a.T, b.T) == exact
    cosine = exact[1] / math.sqrt(exact[0]) / math.sqrt(exact[2])
    assert angle_between(a, b) == pytest.approx(math.acos(cosine), rel=1e-15)
    assert angle_between(a, a) == 0.0 and angle_between(a, -a) == math.pi
    # As large as they can be, in one block: 63 bits are enough.
    largest = torch.full((1 << 15,), float(np.abs(deviates_of(np.array([0])))[0]))
    assert gram(largest, largest)[0] == int(float(largest[0]) * 2**BITS) ** 2 << 15


# Normal


def test_every_word_is_its_quantile():
    """To 0.6 of the unit 2^-21 in every segment of every octave: half is the rounding to a multiple of the unit."""
    octave, segment = np.arange(32)[:, None, None], np.arange(64)[None, :, None]
    inside = np.concatenate(([0.0, 1.0], np.random.default_rng(0).random(30)))
    v = np.minimum((64 + segment + inside) * 2.0 ** (octave - 6), 2.0**32 - 1).astype(np.uint64).ravel()
    words = np.unique(v >> 1).astype(np.uint32)  # twice a word, and 1
    drawn = deviates_of(words).astype(np.float64)
    assert np.abs(drawn + ndtri((2.0 * words + 1) / 2.0**33)).max() < 0.6 * 2.0**-BITS
    assert np.array_equal(deviates_of(words | np.uint32(1 << 31)), -drawn)
    assert len(words) > 39000 and words[0] == 0 and words[-1] == 2**31 - 1


def test_moments_are_those_of_the_normal_distribution():
    z = standard_normal(Key(0, 0, "moments"), 0, (1 << 20,)).double()
    for power in range(1, 9):
        expected = math.prod(range(1, power, 2)) if power % 2 == 0 else 0.0
        variance = math.prod(range(1, 2 * power, 2)) - expected**2
        assert abs(float((z**power).mean()) - expected) < 4 * math.sqrt(variance / len(z)), power


def test_cells_and_tails_hold_what_they_should():
    z = standard_normal(Key(0, 0, "cells"), 0, (1 << 21,)).numpy()
    cells = np.bincount((ndtr(z.astype(np.float64)) * 64).astype(int), minlength=64)
    expected = len(z) / 64
    assert abs(((cells - expected) ** 2 / expected).sum() - 63) < 4 * math.sqrt(2 * 63)
    for beyond in (3.0, 4.0, 4.5):
        for side in (z, -z):
            expected = len(z) * ndtr(-beyond)
            assert abs((side > beyond).sum() - expected) < 4 * math.sqrt(expected) + 1, beyond


def test_neighbours_of_every_kind_are_independent():
    """Elements, planes, steps, streams and seeds: of the numbers, of their squares, and of their signs."""
    size = 1 << 17
    base = Key(7, 11, "renoise")
    keys = [base, replace(base, step=12), replace(base, stream="start"), replace(base, stream="+renoise")]
    keys += [replace(base, seed=8), replace(base, seed=7 + 2**32)]
    planes = [standard_normal(key, 0, (size,)) for key in keys]
    planes += list(standard_normals(base, (1, 2, 3, 2**32), (size,)))
    planes += [planes[0].roll(lag) for lag in (*range(1, 9), 64, 256, 65536)]
    for shape in (lambda z: z, lambda z: (z * z - 1) / math.sqrt(2), torch.sign):
        table_of_all = torch.stack([shape(plane) for plane in planes])
        correlations = table_of_all @ table_of_all.T / size
        for i, j in combinations(range(len(planes)), 2):
            assert abs(float(correlations[i, j])) < 5 / math.sqrt(size), (i, j)


@pytest.mark.slow
def test_all_words_together_are_the_normal_distribution():
    """Counted over the 2^31 words of one sign: the distance of the distributions, the moments, the tails."""
    at_once = 1 << 20
    words, out = np.empty(at_once, np.uint32), np.empty(at_once, np.float32)
    counts = np.zeros(7 << BITS, np.int64)
    for first in range(0, 1 << 31, at_once):
        words[:] = np.arange(first, first + at_once, dtype=np.uint32)
        quantiles(words, table(), out)
        units = (out * np.float32(2**BITS)).astype(np.int64)
        least = units.min()
        part = np.bincount(units - least)
        counts[least : least + len(part)] += part
    assert counts.sum() == 1 << 31
    places = np.arange(len(counts))
    tail = counts[::-1].cumsum()[::-1] / 2.0**32  # of Z at each place and above
    border = (places[1:] - 0.5) * 2.0**-BITS
    assert np.abs(tail[1:] - ndtr(-border)).max() < 1.6e-8
    square, weights = (places * 2.0**-BITS).astype(np.longdouble) ** 2, counts.astype(np.longdouble)
    for power, bound in ((2, 2e-8), (4, 2e-8), (6, 1e-7), (8, 1e-6), (10, 6e-6), (12, 3e-5)):
        weights *= square
        moment = weights.sum() / np.longdouble(1 << 31)
        assert abs(moment / math.prod(range(1, power, 2)) - 1) < bound
    for beyond, bound in ((3.0, 2e-7), (4.0, 1e-6), (5.0, 2e-4), (5.5, 6e-3)):
        place = int(beyond * 2**BITS)
        assert abs(tail[place] / ndtr(-border[place - 1]) - 1) < bound


@pytest.mark.slow
def test_pairs_of_many_draws_fill_the_squares_evenly():
    """Chi-square of 32 x 32 cells for neighbouring elements, planes, steps and seeds, 2^24 pairs each."""
    size = 1 << 24

    def cells(key, index):
        z = standard_normal(key, index, (size,)).double().numpy()
        return (ndtr(z) * 32).astype(np.int64)

    base = cells(Key(1, 2), 3)
    others = [np.roll(base, 1), np.roll(base, 4), cells(Key(1, 2), 4), cells(Key(1, 3), 3), cells(Key(2, 2), 3)]
    others.append(cells(Key(1, 2, "start"), 3))
    for other in others:
        squares = np.bincount(base * 32 + other, minlength=1024)
        expected = size / 1024
        assert abs(((squares - expected) ** 2 / expected).sum() - 1023) < 4 * math.sqrt(2 * 1023)
