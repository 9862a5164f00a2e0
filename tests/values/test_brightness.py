"""Three numbers of how bright a scan is: known of discs, blind to what is around a body, and true to its scale."""

import numpy as np
import pytest
from torch.nn import functional

from coslice.data import embedded_scan
from coslice.values import Brightness, brightness_of, spans
from coslice.window import CT_WINDOW

OF_DISC = Brightness(0.4, 0.4, 0.0)


def discs(value=0.4, around=0.1, count=5, side=40):
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return np.where(y**2 + x**2 < 12**2, value, around)[None].repeat(count, 0)


def chest():
    return CT_WINDOW.to_unit(embedded_scan().slices(24, 40).data)


def test_a_disc_has_its_own_value_whatever_is_around_it():
    for images in (discs(), discs(around=0.0), discs()[:, 10:30, 10:30], discs(side=100), discs(count=1)):
        found = brightness_of(images)
        assert (found.level, found.bright, found.clipped) == pytest.approx((0.4, 0.4, 0.0))


def test_stored_numbers_are_those_of_the_unit_window():
    assert brightness_of((discs() * 65535).round().astype(np.uint16), 65535).level == pytest.approx(0.4, abs=1e-4)


def test_slices_that_show_nothing_say_nothing_unless_all_do():
    empty = np.zeros((20, 40, 40))
    assert brightness_of(np.concatenate((empty, discs()))).level == pytest.approx(0.4)
    assert brightness_of(empty) == Brightness(0.0, 0.0, 0.0)


def test_numbers_follow_the_scale_of_a_scan():
    """So that a scale that is wrong is seen as just that."""
    whole, half = brightness_of(chest().numpy()), brightness_of(0.5 * chest().numpy())
    assert (half.level, half.bright) == pytest.approx((whole.level / 2, whole.bright / 2), rel=1e-5)


def test_a_field_of_view_moves_the_mean_of_an_image_and_not_its_level():
    u = chest()
    wide, narrow = functional.pad(u, (40,) * 4), u[:, 32:96, 32:96]
    assert float(narrow.mean() / wide.mean()) > 4
    level = brightness_of(u.numpy()).level
    for other in (wide, narrow, u.permute(1, 0, 2)):
        assert brightness_of(other.numpy()).level == pytest.approx(level, rel=0.08)


def test_what_lies_beyond_the_window_is_what_a_tenth_of_the_images_have():
    images = discs(count=20)
    images[:1, :4, :10] = 3.0  # 40 of 1600, in a twentieth of the images
    assert brightness_of(images).clipped == 0
    images[:4, :4, :10] = 1.0
    assert brightness_of(images).clipped == pytest.approx(40 / 1600)


def test_spans_are_from_the_smallest_to_the_largest():
    found = spans([Brightness(0.3, 0.6, 0.0), Brightness(0.4, 0.5, 0.01), Brightness(0.35, 0.55, 0.002)])
    assert found == {"level": [0.3, 0.4], "bright": [0.5, 0.6], "clipped": [0.0, 0.01]} and spans([]) == {}
