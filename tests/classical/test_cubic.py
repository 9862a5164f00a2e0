"""The spline along z interpolates, is a spline, and knows where thick slices are."""

import pytest
import torch
from scipy.interpolate import CubicSpline

from coslice.classical import cubic
from coslice.errors import CosliceError
from coslice.operators import ThickSlices
from laws import draw, relative


def line(values) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32)[:, None, None]


@pytest.mark.parametrize(("thick", "factor", "count"), [(1, 5, 3), (2, 3, 6), (7, 5, 33), (9, 1, 9)])
def test_a_constant_stays_what_it_is(thick, factor, count):
    thin = cubic(torch.full((thick, 2, 3), 0.7), factor, count)
    torch.testing.assert_close(thin, torch.full((count, 2, 3), 0.7), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("factor", "count"), [(5, 28), (3, 18), (7, 44)])
def test_thin_slices_at_the_centres_are_the_thick_ones(factor, count):
    thick = draw((-(-count // factor), 3, 2))
    centres = range((factor - 1) // 2, count, factor)
    torch.testing.assert_close(cubic(thick, factor, count)[list(centres)], thick[: len(centres)], rtol=0, atol=1e-6)


@pytest.mark.parametrize("factor", [2, 5])
def test_a_cubic_that_is_level_at_the_ends_is_reproduced_and_held_beyond_them(factor):
    count = 8 * factor
    t = ((torch.arange(count) - (factor - 1) / 2) / (7 * factor)).clamp(0, 1).double()
    step = t * t * (3 - 2 * t)  # slope 0 at 0 and 1, the first and last centre
    at = torch.arange(8).double() / 7
    torch.testing.assert_close(cubic(line(at * at * (3 - 2 * at)), factor, count), line(step), rtol=0, atol=1e-6)


def test_a_ramp_seen_in_thick_slices_comes_back_in_the_interior():
    for factor in (4, 5):
        ramp = line(torch.linspace(0, 1, 40 * factor)).expand(-1, 2, 2)
        thin = cubic(ThickSlices((40 * factor, 2, 2), factor).forward(ramp), factor, 40 * factor)
        inside = slice(10 * factor, -10 * factor)
        torch.testing.assert_close(thin[inside], ramp[inside], rtol=0, atol=1e-6)


def test_it_is_the_spline_of_every_line_and_so_linear():
    a, b = draw((6, 4, 3), 1), draw((6, 4, 3), 2)
    expected = CubicSpline([i * 5 + 2 for i in range(6)], a.double().numpy(), bc_type="clamped")
    places = torch.arange(28).clamp(2, 27).numpy()
    assert relative(cubic(a, 5, 28), torch.from_numpy(expected(places))) <= 1e-6
    assert relative(cubic(2.5 * a - b, 5, 28), 2.5 * cubic(a, 5, 28) - cubic(b, 5, 28)) <= 1e-6


def test_it_is_the_same_from_either_end():
    thick = draw((6, 4, 3))
    torch.testing.assert_close(cubic(thick.flip(0), 5, 30), cubic(thick, 5, 30).flip(0), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("thick", "factor", "count"), [((3, 2), 5, 15), ((3, 2, 2), 5, 16), ((3, 2, 2), 0, 3)])
def test_slices_that_do_not_cover_the_volume_are_refused(thick, factor, count):
    with pytest.raises(CosliceError, match="thin slices / factor, rounded up"):
        cubic(torch.zeros(thick), factor, count)
