"""Thick slices along any axis, with gaps and overlap, and any distance between them: their matrices in closed form."""

import numpy as np
import pytest
import torch

from coslice.classical import cubic
from coslice.errors import CosliceError
from coslice.operators import ThickSlices
from laws import assert_operator, assert_pseudo_inverse, draw, relative

CASES = (
    ("z", 5, None, 4.0),
    ("y", 4, None, None),
    ("x", 3, None, 1.5),
    ("x", 2.5, None, None),
    ("y", 3.4, 3.0, None),
    ("z", 2.5, None, 4.1),
    ("z", 1, None, 3.0),
    ("x", 2, None, 4.0),  # slices twice as thick as they are apart: a pattern in turn is hidden from them
)


def made(axis, factor, fwhm, thickness, shape=(14, 13, 12)) -> ThickSlices:
    return ThickSlices(shape, factor, fwhm, axis, thickness)


@pytest.mark.parametrize("case", CASES)
def test_it_is_a_linear_operator_with_its_exact_transpose(case):
    op = made(*case)
    assert_operator(op)
    constant = torch.full(op.domain, 0.7)
    torch.testing.assert_close(op.forward(constant), torch.full(op.codomain, 0.7), rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", CASES[:6])
def test_the_pseudo_inverse_satisfies_its_laws(case):
    op = made(*case)
    assert_pseudo_inverse(op, op.pseudo_inverse)


@pytest.mark.parametrize("case", CASES)
def test_the_pseudo_inverse_never_makes_much_of_noise(case):
    """A+ A A+ = A+ always; and no y is made more than 1/0.01 as long as A makes a volume, of overlapping boxes."""
    op = made(*case)
    y = draw(op.codomain)
    back = op.pseudo_inverse(y)
    assert relative(op.pseudo_inverse(op.forward(back)), back) < 1e-3
    assert float(back.norm()) <= float(y.norm()) * 100 / np.linalg.norm(op.matrix, 2)


@pytest.mark.parametrize("number", [1, 2])
def test_another_axis_is_the_volume_turned_bit_for_bit(number):
    turned = made("zyx"[number], 4, 5.0, None)
    shape = list(turned.domain)
    shape[0], shape[number] = shape[number], shape[0]
    straight = made("z", 4, 5.0, None, tuple(shape))
    x, y = draw(turned.domain), draw(turned.codomain)
    for apply, expected, tensor in (
        (turned.forward, straight.forward, x),
        (turned.adjoint, straight.adjoint, y),
        (turned.pseudo_inverse, straight.pseudo_inverse, y),
    ):
        assert torch.equal(apply(tensor), expected(tensor.transpose(0, number)).transpose(0, number))
    thin = cubic(y, 4, turned.domain[number], "zyx"[number])
    assert torch.equal(thin, cubic(y.transpose(0, number), 4, turned.domain[number]).transpose(0, number))


@pytest.mark.parametrize(("factor", "thickness"), [(5, 3.0), (5, 7.0), (2.5, 2.5), (4, 0.5), (3.3, 2.0), (1, 5.0)])
def test_a_box_is_the_integral_over_it(factor, thickness):
    """Of a volume that is constant within each thin slice, by the trapezoids of a fine comb."""
    count, fine = 40, 4000
    line = np.random.default_rng(0).uniform(size=count)
    op = ThickSlices((count, 1, 1), factor, thickness=thickness)
    for i in range(3, len(op.matrix) - 3):
        centre = i * factor + (factor - 1) / 2
        at = centre + ((np.arange(fine) + 0.5) / fine - 0.5) * thickness
        assert float(op.matrix[i] @ line) == pytest.approx(line[np.round(at).astype(int)].mean(), abs=2e-3)


@pytest.mark.parametrize(("factor", "thickness"), [(2.5, 3.0), (5, 2.0), (3.3, 4.0), (4, None)])
def test_a_ramp_is_measured_at_the_centres_of_slices(factor, thickness):
    op = ThickSlices((40, 1, 1), factor, thickness=thickness)
    inside = slice(2, -2)
    centres = np.arange(len(op.matrix)) * factor + (factor - 1) / 2
    np.testing.assert_allclose((op.matrix @ np.arange(40))[inside], centres[inside], atol=1e-9)


def test_what_lies_in_a_gap_is_not_measured():
    op = ThickSlices((20, 1, 1), 5, thickness=3.0)
    seen = op.matrix.sum(0)
    np.testing.assert_allclose(seen, np.tile([0, 1 / 3, 1 / 3, 1 / 3, 0], 4), atol=1e-12)
    y = draw(op.codomain)
    assert not op.pseudo_inverse(y)[0].any() and torch.equal(op.pseudo_inverse(y)[2], op.pseudo_inverse(y)[1])


def test_a_box_as_wide_as_the_distance_is_the_published_one_bit_for_bit():
    for factor, count in ((5, 23), (4, 16)):
        plain, said = (ThickSlices((count, 2, 2), factor, thickness=t) for t in (None, float(factor)))
        assert np.array_equal(plain.matrix, said.matrix)
        assert np.array_equal(ThickSlices((count, 2, 2), float(factor)).matrix, plain.matrix)
        expected = np.zeros(count)
        expected[:factor] = 1 / factor
        assert np.array_equal(plain.matrix[0], expected)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("q", 5, None, None), 'axis: "q"'),
        (("z", 0.5, None, None), "factor of 0.5"),
        (("z", 5, 3.0, 3.0), "Gaussian or a box"),
        (("z", 5, None, 0.0), "thickness of 0"),
        (("z", 5, None, -1.0), "thickness of -1"),
        (("z", 5, None, 15.0), "thickness of 15 .* at most 14"),
        (("z", 1, None, 1.0), "factor of 1"),
        (("y", 13.5, None, None), "13 slices were given, at least 14"),
    ],
)
def test_profiles_that_cannot_be_are_refused(arguments, words):
    with pytest.raises(CosliceError, match=words):
        made(*arguments)
