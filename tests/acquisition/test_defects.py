"""Bad pixels of every kind are found and filled, and good ones are left alone."""

import numpy as np
import pytest

from coslice.acquisition.counts import line_integrals_from
from coslice.acquisition.defects import found_defects, mend
from coslice.errors import CosliceError

VIEWS, ROWS, COLUMNS = 40, 24, 90


@pytest.fixture(scope="module")
def exact():
    """Line integrals of a ball on its way round."""
    u, v = np.arange(COLUMNS) - 44.5, np.arange(ROWS)[:, None] - 11.5
    places = 9 * np.cos(np.linspace(0, 3, VIEWS))
    return np.stack([1.5 * np.sqrt(np.clip(1 - ((u - at) ** 2 + v**2) / 900, 0, 1)) for at in places])


class Recorded:
    """Counts of `exact` with flat and dark fields, to be spoiled."""

    def __init__(self, exact, rows=slice(None)):
        rng = np.random.default_rng(0)
        self.exact = exact[:, rows]
        beam = 2e4 * (1 + 0.2 * np.sin(np.arange(self.exact[0].size).reshape(self.exact[0].shape)))
        self.counts = rng.poisson(beam * np.exp(-self.exact)) + 100.0
        self.flat = rng.poisson(beam, (6, *beam.shape)) + 100.0
        self.dark = rng.poisson(100, (6, *beam.shape)).astype(float)

    def lines(self, **given):
        return line_integrals_from(self.counts, self.flat, self.dark, **given)


def spoil(recorded, kind):
    """Spoil pixels; returns where, (rows, columns) bool, and the word that should be said."""
    bad = np.zeros(recorded.counts.shape[1:], bool)
    counts, flat, dark = recorded.counts, recorded.flat, recorded.dark
    middle = bad.shape[0] // 2
    if kind == "dead":
        bad[middle, 40] = True
        counts[:, bad] = flat[:, bad] = dark[:, bad] = 100
    elif kind == "block":
        bad[middle : middle + 3, 40:43] = True
        counts[:, bad] = flat[:, bad] = 100
    elif kind == "stuck":
        bad[middle, 30] = True
        counts[:, bad] = flat[:, bad] = 5000
    elif kind == "hot":
        bad[middle, 50] = True
        for field in (counts, flat, dark):
            field[:, bad] += 15000
    elif kind == "aside":
        bad[middle, 60] = True
        counts[:, bad] *= 1.3
    elif kind == "unread":
        bad[middle, 20] = True
        counts[:, bad] = np.nan
    elif kind == "column":
        bad[:, 33] = True
        counts[:, bad] *= 0.9
    elif kind == "row":
        bad[7] = True
        counts[:, bad] *= 1.2
    return bad


WORDS = {"dead": "dead", "block": "dead", "stuck": "stuck", "hot": "hot", "unread": "without a number"}


@pytest.mark.parametrize("kind", ["dead", "block", "stuck", "hot", "aside", "unread", "column", "row", "none"])
def test_bad_pixels_are_found_and_no_others(exact, kind):
    recorded = Recorded(exact)
    bad = spoil(recorded, kind)
    measured = recorded.lines()
    assert np.array_equal(measured.mended.all(0), bad)
    assert (measured.mended.sum() - bad.sum() * VIEWS) <= 2
    if bad.any():
        count = int(bad.sum())
        assert any(str(count) in n and WORDS.get(kind, "out of line") in n and "mean" in n for n in measured.notes)
        inner = measured.mended & (recorded.exact > 0.7)  # away from the ball's edge
        assert np.abs(measured.lines - recorded.exact)[inner].max() < 0.1


@pytest.mark.parametrize("kind", ["dead", "stuck", "hot", "aside", "none"])
def test_on_a_single_row_too(exact, kind):
    recorded = Recorded(exact, slice(11, 12))
    bad = spoil(recorded, kind)
    assert np.array_equal(recorded.lines().mended.all(0), bad)


def test_hits_in_single_views_are_mended(exact):
    recorded, rng = Recorded(exact), np.random.default_rng(3)
    hits = {
        (int(rng.integers(VIEWS)), int(rng.integers(1, ROWS - 1)), int(rng.integers(2, COLUMNS - 2))) for _ in range(25)
    }
    for hit in hits:
        recorded.counts[hit] += 4e4
    measured = recorded.lines()
    found = {tuple(place) for place in np.argwhere(measured.mended).tolist()}
    assert hits <= found and len(found) <= len(hits) + 2
    assert any("bad in a single view" in note for note in measured.notes)


def test_without_noise_nothing_is_a_defect(exact):
    sharp = (exact > 0.4).astype(np.float32)  # edges as hard as they come
    for lines in (exact.astype(np.float32), sharp):
        defects = found_defects(lines)
        assert not defects.pixels.any() and len(defects.zingers) == 0 and defects.notes == ()


def test_a_known_mask_is_filled_by_the_mean_of_good_neighbours():
    lines = np.arange(60, dtype=np.float32).reshape(2, 5, 6)
    mask = np.zeros((5, 6), bool)
    mask[2, 2:4] = True
    expected = lines.copy()
    expected[:, 2, 2] = (lines[:, 1, 1:4].sum(1) + lines[:, 3, 1:4].sum(1) + lines[:, 2, 1]) / 7
    expected[:, 2, 3] = (lines[:, 1, 2:5].sum(1) + lines[:, 3, 2:5].sum(1) + lines[:, 2, 4]) / 7
    lines[:, mask] = np.nan
    assert np.array_equal(mend(lines, found_defects(lines, mask=mask)).all(0), mask)
    np.testing.assert_allclose(lines, expected, rtol=1e-6)


def test_a_gap_between_modules_fills_from_its_edges():
    lines = np.broadcast_to(np.linspace(0, 1, 100, dtype=np.float32), (2, 8, 100)).copy()
    mask = np.zeros((8, 100), bool)
    mask[:, 40:47] = True
    exact, lines[:, mask] = lines.copy(), -9
    mend(lines, found_defects(lines, mask=mask))
    assert np.abs(lines - exact).max() < 0.05


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mask": np.zeros((3, 3), bool)}, "bad pixels of shape"),
        ({"mask": np.arange(60).reshape(6, 10) % 4 == 0}, "the mask does not belong"),
        ({"open_beam": np.where(np.arange(60).reshape(6, 10) % 4, 100.0, 0.0)}, "flat or dark field does not belong"),
    ],
)
def test_too_much_to_mend_is_refused(given, words):
    with pytest.raises(CosliceError, match=words):
        found_defects(np.zeros((4, 6, 10), np.float32), **given)


@pytest.mark.parametrize(("rows", "turned"), [(slice(None), False), (slice(12, 13), False), (slice(None), True)])
@pytest.mark.parametrize("kept", [slice(24, None), slice(0, 66)])
def test_where_an_object_is_cut_off_its_slope_is_no_defect(exact, rows, turned, kept):
    steep = 2.5 * exact[:, rows, kept]  # up to 0.1 from one pixel to the next
    lines = (steep + np.random.default_rng(0).normal(0, 0.003, steep.shape)).astype(np.float32)
    assert found_defects(lines.swapaxes(1, 2) if turned else lines).notes == ()


@pytest.mark.parametrize("columns", [slice(18, None), slice(None)])
def test_a_bad_column_at_the_edge_is_found(exact, columns):
    lines = (2.5 * exact[..., columns]).astype(np.float32)
    lines[..., 0] += 1
    found = found_defects(lines)
    assert found.pixels[:, 0].all() and found.pixels.sum() == lines.shape[1]
