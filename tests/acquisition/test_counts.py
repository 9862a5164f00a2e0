"""Counts, transmission and line integrals become the same line integrals, and what cannot is refused in a sentence."""

import numpy as np
import pytest

from coslice.acquisition.counts import LEAST_COUNT, LEAST_TRANSMISSION, line_integrals_from
from coslice.acquisition.recorded_values import kind_of_values
from coslice.errors import CosliceError


def lines_of_a_ball(views=6, rows=5, columns=40, depth=1.2):
    u = np.arange(columns) - (columns - 1) / 2
    profile = np.sqrt(np.clip(1 - (u / 12) ** 2, 0, 1))
    return (depth * profile * np.linspace(0.8, 1, views)[:, None, None] * np.ones((rows, 1))).astype(np.float64)


P = lines_of_a_ball()
BEAM = 20000 * (1 + 0.3 * np.sin(np.arange(5 * 40).reshape(5, 40)))
DARK = 100 + np.arange(40) % 7 * np.ones((5, 1))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, np.float64, ">u2"])
def test_counts_with_fields_give_the_line_integrals(dtype):
    counts = (BEAM * np.exp(-P) + DARK).round().astype(dtype)
    measured = line_integrals_from(counts, BEAM + DARK, DARK)
    assert measured.values == "counts" and measured.lines.dtype == np.float32 and not measured.mended.any()
    np.testing.assert_allclose(measured.lines, P, atol=3e-4)
    assert measured.open_beam is not None
    np.testing.assert_allclose(measured.open_beam, BEAM, rtol=1e-6)


def test_all_kinds_of_values_give_the_same():
    through = np.exp(-P)
    said = [
        line_integrals_from((60000 * through).astype(np.float32), white=60000),
        line_integrals_from(through, values="transmission"),
        line_integrals_from(through),
        line_integrals_from(P, values="lines"),
        line_integrals_from(P, logged=True),
        line_integrals_from(P.astype(np.float32)),
        line_integrals_from(1000 * through + 7, dark=np.full((5, 40), 7), white=1007),
    ]
    assert [one.values for one in said] == ["counts", *["transmission"] * 2, *["lines"] * 3, "counts"]
    for one in said:
        np.testing.assert_allclose(one.lines, P, atol=1e-5)
    assert "taken for transmission" in said[2].notes[0] and "taken for line integrals" in said[5].notes[0]


def test_a_hit_in_one_of_five_flat_fields_does_no_harm():
    flats = np.repeat((BEAM + DARK)[None], 5, 0)
    flats[3, 2, 20] *= 40
    measured = line_integrals_from(BEAM * np.exp(-P) + DARK, flats, np.stack([DARK - 1, DARK + 1]))
    np.testing.assert_allclose(measured.lines, P, atol=1e-5)
    assert "Of 5 flat fields the median was taken, pixel by pixel." in measured.notes
    assert "Of 2 dark fields the mean was taken, pixel by pixel." in measured.notes


def test_a_recording_is_read_view_by_view(tmp_path):
    path = tmp_path / "counts.npy"
    counts = (BEAM * np.exp(-P)).astype(np.uint16)
    np.save(path, counts)
    done = []
    lazy = line_integrals_from(np.load(path, mmap_mode="r"), BEAM, progress=lambda *now: done.append(now))
    np.testing.assert_array_equal(lazy.lines, line_integrals_from(counts, BEAM).lines)
    assert done == [(view, 6) for view in range(1, 7)]


def test_counts_at_or_below_dark_stand_at_the_floor_and_are_said():
    counts = BEAM * np.exp(-P)
    counts[1, :, 20], counts[2, 3, 21] = 0, -5
    measured = line_integrals_from(counts, BEAM, repair=False)
    np.testing.assert_allclose(measured.lines[1, :, 20], np.log(BEAM[:, 20] / LEAST_COUNT), rtol=1e-5)
    assert any(note.startswith("6 of 1200 values were below half a count") for note in measured.notes)
    through = np.exp(-P)
    through[0, 0, 20] = 0
    floor = line_integrals_from(through, values="transmission", repair=False).lines[0, 0, 20]
    assert floor == pytest.approx(-np.log(LEAST_TRANSMISSION), rel=1e-6)


def test_noise_below_zero_is_kept():
    lines = P + 0.01 * np.random.default_rng(0).normal(size=P.shape)
    measured = line_integrals_from(np.exp(-lines))
    assert (measured.lines < 0).sum() > 100
    np.testing.assert_allclose(measured.lines, lines, atol=1e-5)


@pytest.mark.parametrize(("top", "bits"), [(65535, 16), (4095, 12), (255, 8)])
def test_saturated_values_are_counted(top, bits):
    counts = np.minimum(1.1 * top * np.exp(-P), top).astype(np.uint16)
    notes = line_integrals_from(counts, white=float(top)).notes
    count = int((counts == top).sum())
    assert any(f"{count} of 1200 values stand at {top}, the top of {bits} bits" in note for note in notes)


def test_values_without_a_number_are_mended_even_without_repair():
    lines = P.copy()
    lines[3, 2, 4] = np.nan
    lines[4, 1, 7] = np.inf
    for repair in (True, False):
        measured = line_integrals_from(lines, values="lines", repair=repair)
        assert np.argwhere(measured.mended).tolist() == [[3, 2, 4], [4, 1, 7]]
        assert np.isfinite(measured.lines).all()


COUNTS = (BEAM * np.exp(-P)).astype(np.uint16)


@pytest.mark.parametrize(
    ("data", "given", "words"),
    [
        (COUNTS, {}, "--flat FILE or --white"),
        (COUNTS.astype(float), {}, "could be several things"),
        (COUNTS, {"values": "counts"}, "without what the open beam counts"),
        (COUNTS, {"logged": False}, "without what the open beam counts"),
        (COUNTS, {"values": "photons"}, "must be one of counts, transmission, lines"),
        (COUNTS, {"flat": BEAM, "white": 5.0}, "choose one"),
        (COUNTS, {"white": -5.0}, "positive number"),
        (P, {"values": "lines", "flat": BEAM}, "values that need none"),
        (P, {"values": "lines", "dark": DARK}, "dark field was given for values that are line integrals"),
        (np.exp(-P), {"flat": BEAM}, "was divided by it already"),
        (COUNTS, {"flat": BEAM[:, :-1]}, r"fields of shape \(1, 5, 39\)"),
        (COUNTS, {"flat": BEAM, "dark": np.ones((2, 3, 40))}, r"dark: fields of shape"),
        (COUNTS, {"flat": np.zeros((5, 40))}, "counts anything"),
        (COUNTS, {"flat": DARK, "dark": BEAM}, "interchanged"),
        (COUNTS, {"flat": BEAM * np.nan}, "none of its values is a number"),
        (COUNTS, {"flat": BEAM / 3}, "times the open beam"),
        (COUNTS + 30000.0, {"flat": BEAM + 60000, "dark": np.full((5, 40), 52000)}, "no brighter than without beam"),
        (COUNTS[0], {"flat": BEAM}, r"shape \(5, 40\)"),
        (COUNTS > 3, {"flat": BEAM}, "type bool"),
        (P * np.nan, {}, "none of its values is a number"),
        (np.ones((4, 5, 40)), {}, "nothing was recorded"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(data, given, words):
    with pytest.raises(CosliceError, match=words):
        line_integrals_from(data, **given)


def test_the_question_names_the_white_level_that_the_border_shows():
    with pytest.raises(CosliceError, match="--white 60000"):
        kind_of_values((60000 * np.exp(-P)).astype(np.uint16))


@pytest.mark.parametrize("depth", [0.03, 0.3, 3, 9])
def test_thin_and_thick_objects_are_told_by_their_border(depth):
    lines = lines_of_a_ball(depth=depth)
    assert kind_of_values(lines)[0] == "lines"
    assert kind_of_values(np.exp(-lines))[0] == "transmission"
    shifted = lines[:, :, 12:]  # one side shows the object
    assert kind_of_values(shifted)[0] == "lines"
    if depth < 9:
        assert kind_of_values(np.exp(-shifted))[0] == "transmission"
    else:  # from 0 at one side to 1 at the other: line integrals could be so too
        with pytest.raises(CosliceError, match="could be several things"):
            kind_of_values(np.exp(-shifted))


def test_a_border_that_shows_the_object_on_both_sides_is_asked_about():
    with pytest.raises(CosliceError, match="could be several things"):
        kind_of_values(lines_of_a_ball()[:, :, 12:-12])
