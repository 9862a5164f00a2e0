"""Preparation: the steps in their order, each where it was in the patient."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from coslice.errors import CosliceError
from coslice.preparation import Preparation, parse_slices
from coslice.volume import Volume


def scan(shape=(12, 8, 10), spacing=(2.0, 1.5, 1.5)):
    dz, dy, dx = spacing
    affine = np.diag((dx, dy, dz, 1.0))
    affine[:3, 3] = (-20.0, 5.0, 100.0)
    data = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    return Volume(data, affine, ("L", "S", "P"))


def faces(volume):
    """The first and last outer faces (x, y, z) in mm."""
    x, y, z = volume.shape[::-1]
    return [(volume.affine @ (*corner, 1))[:3] for corner in ((-0.5,) * 3, (x - 0.5, y - 0.5, z - 0.5))]


def test_nothing_asked_is_nothing_done():
    given = scan()
    prepared = Preparation()(given)
    assert torch.equal(prepared.data, given.data)
    np.testing.assert_array_equal(prepared.affine, given.affine)


def test_each_step_is_the_volume_s_own():
    given = scan()
    steps: list[tuple[dict[str, Any], Volume]] = [
        ({"slices": (2, 9)}, given.slices(2, 9)),
        ({"thickness": 5.0}, given.thickened(5.0)),
        ({"spacing": 3.0}, given.resampled(3.0)),
        ({"size": 6}, given.resized(6)),
        ({"pad": 16}, given.padded(16)),
    ]
    for settings, expected in steps:
        prepared = Preparation(**settings)(given)
        assert torch.equal(prepared.data, expected.data)
        np.testing.assert_array_equal(prepared.affine, expected.affine)
        assert prepared.orientation == given.orientation


def test_steps_follow_one_another_cut_thicken_resample_resize_pad():
    given = scan()
    prepared = Preparation((1, 11), 4.0, 2.0, 7, 12)(given)
    expected = given.slices(1, 11).thickened(4.0).resampled(2.0).resized(7).padded(12)
    assert torch.equal(prepared.data, expected.data)
    np.testing.assert_array_equal(prepared.affine, expected.affine)


def test_a_scan_that_is_divided_without_rest_keeps_its_outer_faces():
    given = scan((12, 8, 10), (2.0, 1.5, 1.5))
    divided: list[dict[str, Any]] = [{"thickness": 6.0}, {"spacing": 3.0}, {"size": 5}]
    for settings in divided:
        prepared = Preparation(**settings)(given)
        np.testing.assert_allclose(faces(prepared), faces(given), atol=1e-9)


def test_a_constant_stays_what_it_is():
    given = scan().with_data(torch.full((12, 8, 10), 0.37))
    prepared = Preparation((1, 11), 3.3, 1.1, 9, 24)(given)
    torch.testing.assert_close(prepared.data, torch.full((24, 24, 24), 0.37), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["thickness", "spacing", "size", "pad"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_numbers_that_are_not_positive_are_refused_before_there_is_a_scan(name, value):
    with pytest.raises(CosliceError, match=f"{name}: {value} was given, a positive number is needed"):
        Preparation(**{name: value})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"slices": (3, 13)}, "12 slices"),
        ({"thickness": 1.9}, "2 mm"),
        ({"pad": 11}, "not below"),
    ],
)
def test_what_a_scan_cannot_be_made_into_is_refused(settings, words):
    with pytest.raises(CosliceError, match=words):
        Preparation(**settings)(scan())


def test_the_record_says_what_was_done():
    assert Preparation((1, 3), 4.0, 2.0, 7, 12).settings == {
        "slices": [1, 3],
        "thickness_mm": 4.0,
        "resampled_mm": 2.0,
        "size": 7,
        "pad": 12,
    }


def test_ranges_of_slices():
    assert parse_slices(None, 9) == parse_slices(":", 9) == (0, 9)
    assert parse_slices("2:", 9) == (2, 9) and parse_slices(":4", 9) == (0, 4) and parse_slices("2:4", 9) == (2, 4)
    for text in ("", "3", "a:b", "1:2:3", "1.5:3"):
        with pytest.raises(CosliceError, match="FIRST:LAST"):
            parse_slices(text, 9)
