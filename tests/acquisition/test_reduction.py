"""Reducing what was projected is projecting with the reduced geometry, and views are chosen evenly."""

import math

import numpy as np
import pytest

from coslice.acquisition.counts import line_integrals_from
from coslice.acquisition.reduction import Reduction, chosen_views
from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, FanBeam, ParallelBeam, sparse_view

CONE = ConeBeam(sparse_view(7), (9, 90), (1.1, 0.9), (2.0, -3.0), 150, 100)
SCANNERS = {
    "parallel": ParallelBeam(sparse_view(7), (9, 90), (0.5, 0.9), (0.4, -3.0)),
    "fan": FanBeam(sparse_view(7), (9, 90), (0.5, 0.9), (0.4, -3.0), 150, 100),
    "cone": CONE,
    "orbit": CONE.to_orbit(),
    "parallel orbit": ParallelBeam(sparse_view(7), (9, 90), (0.5, 0.9), (0.4, -3.0)).to_orbit(),
}
REDUCTIONS = [
    Reduction(),
    Reduction(views=(1, 4, 6)),
    Reduction(rows=(2, 7), columns=(10, 71)),
    Reduction(binning=(2, 3)),
    Reduction(views=(5, 0), rows=(1, 9), columns=(3, 90), binning=(3, 2)),
]


@pytest.mark.parametrize("name", SCANNERS)
@pytest.mark.parametrize("reduction", REDUCTIONS, ids=str)
def test_pixels_stand_at_the_centre_of_their_block(name, reduction):
    geometry = SCANNERS[name]
    reduced = reduction.geometry(geometry)
    assert type(reduced) is type(geometry)
    for number, view in enumerate(reduction.views or range(7)):
        start, towards = (reduction.image(each.transpose(2, 0, 1)) for each in geometry.rays(view))
        for mean, exact in zip((start, towards), reduced.rays(number), strict=True):
            np.testing.assert_allclose(mean.transpose(1, 2, 0), exact, atol=2e-5)


@pytest.mark.parametrize("name", ["parallel", "cone"])
def test_projecting_and_reducing_commute(projected, name):
    reduction = Reduction(views=(5, 0), rows=(1, 9), columns=(3, 90), binning=(2, 2))
    reduced, exact = reduction.of(projected(SCANNERS[name])), projected(reduction.geometry(SCANNERS[name]))
    assert reduced.shape == exact.shape and reduced.dtype == np.float32
    # a pixel twice as wide sees the mean over it, the projector its centre
    assert np.abs(reduced - exact).mean() < 0.03 * exact.max()


def test_views_and_crops_are_the_projector_s_own(projected):
    reduction = Reduction(views=(6, 2), rows=(2, 7), columns=(10, 71))
    exact = projected(reduction.geometry(CONE))
    np.testing.assert_allclose(reduction.of(projected(CONE)), exact, atol=1e-5)


def test_counts_are_summed_before_the_logarithm():
    counts = np.random.default_rng(0).uniform(1000, 9000, (2, 4, 6))
    flat = np.random.default_rng(1).uniform(9000, 10000, (3, 4, 6))
    reduction = Reduction(binning=(2, 3))
    lines = line_integrals_from(reduction.of(counts), reduction.image(flat), repair=False).lines
    blocks = [each.reshape(-1, 2, 2, 2, 3).sum((2, 4)) for each in (counts, flat)]
    np.testing.assert_allclose(lines, -np.log(blocks[0] / blocks[1].mean(0)), rtol=1e-5)


def test_a_block_with_a_bad_pixel_is_bad():
    bad = np.zeros((4, 6), bool)
    bad[1, 2] = True
    assert Reduction(binning=(2, 3)).mask(bad).tolist() == [[True, False], [False, False]]


def test_what_was_left_out_is_said():
    said = Reduction(views=(0, 3), rows=(1, 8), binning=(2, 3)).notes((7, 9, 90))
    assert said == (
        "2 of 7 views were kept.",
        "Rows 1 to 7 and columns 0 to 89 of the detector were kept.",
        "Blocks of 2 x 3 pixels (rows x columns) became one: 3 x 30 are left.",
    )
    assert Reduction().notes((7, 9, 90)) == ()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Reduction(binning=(0, 1)), "whole numbers from 1"),
        (
            lambda: Reduction(binning=(1, 1.5)),  # pyright: ignore[reportArgumentType]
            "whole numbers from 1",
        ),
        (lambda: Reduction(rows=(4, 4)), "rows: 4 to 4"),
        (lambda: Reduction(columns=(-1, 4)), "columns: -1 to 4"),
        (lambda: Reduction(views=()), "empty choice"),
        (lambda: Reduction(views=(7,)).geometry(CONE), "views: number 7 .* 0 to 6"),
        (lambda: Reduction(views=(7,)).of(np.zeros((7, 9, 90))), "views: number 7 .* 0 to 6"),
        (lambda: Reduction(columns=(4, 91)).geometry(CONE), "columns: number 90 .* 0 to 89"),
        (lambda: Reduction(rows=(0, 2), binning=(3, 1)).geometry(CONE), "3 rows to one .* there are 2"),
        (lambda: chosen_views(CONE.angles, 8), "8 were asked for, but the recording has 7"),
        (lambda: chosen_views(CONE.angles, 0), "choose 1 to 7"),
    ],
)
def test_what_is_not_there_is_refused(make, words):
    with pytest.raises(CosliceError, match=words):
        make()


TURN = 2 * math.pi


@pytest.mark.parametrize(
    ("angles", "count", "expected"),
    [
        (np.linspace(0, math.pi, 181), 21, range(0, 181, 9)),  # both ends
        (np.linspace(0, 1.7, 101), 11, range(0, 101, 10)),  # of a wedge
        (np.arange(360) * TURN / 360, 30, range(0, 360, 12)),  # a closed turn
        (np.arange(180) * math.pi / 180, 45, range(0, 180, 4)),  # half of one
        (-np.arange(360) * TURN / 360, 30, range(0, 360, 12)),  # the other way round
        (np.linspace(0, TURN, 361), 30, range(0, 360, 12)),  # a turn with its start again
        (np.linspace(0, TURN, 361), 360, range(360)),
        (np.linspace(0, 1.7, 5), 5, range(5)),
        (np.linspace(0, 1.7, 5), 1, [0]),
    ],
)
def test_where_it_works_out_every_nth_view_is_kept(angles, count, expected):
    choice = chosen_views(angles, count)
    assert choice.views == tuple(expected)
    assert not any("nearest" in note for note in choice.notes) or count == 1


@pytest.mark.parametrize(
    "angles", [math.pi * np.arange(181) / 181, np.sort(np.random.default_rng(0).uniform(0, 6, 99))]
)
@pytest.mark.parametrize("shuffled", [False, True])
def test_otherwise_the_nearest_to_an_even_spread(angles, shuffled):
    angles = np.random.default_rng(1).permutation(angles) if shuffled else angles
    choice = chosen_views(list(angles), 21)
    assert len(set(choice.views)) == 21 and list(choice.views) == sorted(choice.views)
    gaps = np.diff(np.sort(angles[list(choice.views)]))
    even, widest = np.ptp(angles) / 21, np.diff(np.sort(angles)).max()
    assert np.abs(gaps - even).max() < 1.5 * widest + 0.1 * even
    assert "nearest to an even spread" in choice.notes[0]
