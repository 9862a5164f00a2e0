"""Thick slices owe the laws of every operator, and have matrices and inverses in closed form."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coslice.errors import CosliceError
from coslice.operators import ThickSlices
from laws import assert_operator, assert_pseudo_inverse, draw, relative

small = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def operators(strategy):
    factor = strategy(st.integers(2, 7))
    shape = (strategy(st.integers(factor, 40)), strategy(st.integers(3, 5)), strategy(st.integers(3, 6)))
    width = strategy(st.none() | st.floats(0.05, 2.0))
    return ThickSlices(shape, factor, None if width is None else width * factor)


def continued(line: np.ndarray, index: int) -> float:
    """The value at any index of a line reflected in its ends, by walking."""
    at, step = 0, 1 if index > 0 else -1
    for _ in range(abs(index)):
        if not 0 <= at + step < len(line):
            step = -step
        at += step
    return line[at]


@small
@given(operators())
def test_it_is_a_linear_operator_with_its_exact_transpose(op):
    assert_operator(op)


@small
@given(operators())
def test_the_pseudo_inverse_satisfies_its_laws(op):
    assert_pseudo_inverse(op, op.pseudo_inverse)


@small
@given(operators())
def test_the_pseudo_inverse_is_that_of_linear_algebra(op):
    y = draw(op.codomain)
    expected = np.tensordot(np.linalg.pinv(op.matrix), y.double().numpy(), 1)
    assert relative(op.pseudo_inverse(y), torch.from_numpy(expected)) <= 1e-4


@small
@given(operators())
def test_the_matrix_has_means_for_rows_and_is_what_is_applied(op):
    assert op.matrix.shape == (op.codomain[0], op.domain[0])
    assert op.codomain[0] == -(-op.domain[0] // op.factor)
    assert op.matrix.min() >= 0
    np.testing.assert_allclose(op.matrix.sum(1), 1, atol=1e-14)
    x, y = draw(op.domain), draw(op.codomain)
    dense = torch.from_numpy(op.matrix.copy())
    assert relative(op.forward(x), torch.tensordot(dense, x.double(), 1)) <= 1e-6
    assert relative(op.adjoint(y), torch.tensordot(dense.T, y.double(), 1)) <= 1e-6


@pytest.mark.parametrize(("count", "factor"), [(10, 5), (256, 4), (6, 2), (5, 5)])
def test_a_box_that_divides_the_volume_is_the_published_mean_and_its_inverse_repetition(count, factor):
    op = ThickSlices((count, 3, 4), factor)
    x, y = draw(op.domain), draw(op.codomain)
    torch.testing.assert_close(op.forward(x), x.view(-1, factor, 3, 4).mean(1), rtol=0, atol=1e-6)
    assert torch.equal(op.pseudo_inverse(y), y.repeat_interleave(factor, 0))
    assert op.reflected == 0


@pytest.mark.parametrize(("count", "factor", "reflected"), [(11, 5, 4), (13, 5, 2), (3, 2, 1), (7, 5, 3), (5, 3, 1)])
def test_what_is_missing_at_the_end_is_the_reflection(count, factor, reflected):
    op = ThickSlices((count, 2, 3), factor)
    assert op.reflected == reflected
    x = draw(op.domain)
    # torch pads the last axis of a 3D tensor
    longer = torch.nn.functional.pad(x.permute(1, 2, 0), (0, reflected), mode="reflect").permute(2, 0, 1)
    assert relative(op.forward(x), longer.unflatten(0, (-1, factor)).mean(1)) <= 1e-6


@pytest.mark.parametrize(("count", "factor", "fwhm"), [(12, 4, 4.0), (11, 5, 7.5), (2, 2, 4.0), (9, 3, 0.4), (7, 2, 1)])
def test_a_gaussian_profile_is_the_gaussian_of_that_width_over_the_reflected_volume(count, factor, fwhm):
    line = np.random.default_rng(0).standard_normal(count)
    measured = ThickSlices((count, 1, 1), factor, fwhm).matrix @ line
    for i, value in enumerate(measured):
        centre = i * factor + (factor - 1) / 2
        places = range(-60, count + 60)
        # 1/2 at half the width from the centre
        profile = np.array([0.5 ** (4 * (z - centre) ** 2 / fwhm**2) for z in places])
        expected = profile @ [continued(line, z) for z in places] / profile.sum()
        assert value == pytest.approx(expected, abs=5e-4)


def test_thick_slices_are_centred_on_the_thin_ones_they_are_made_of():
    for factor, fwhm in ((5, None), (4, None), (5, 5.0), (4, 6.0), (4, 1e-3), (5, 1e-3)):
        matrix = ThickSlices((100, 1, 1), factor, fwhm).matrix
        centres = matrix @ np.arange(100)
        expected = np.arange(len(matrix)) * factor + (factor - 1) / 2
        np.testing.assert_allclose(centres[3:-3], expected[3:-3], atol=1e-10)


@pytest.mark.parametrize("fwhm", [None, 6.0])
def test_no_bit_depends_on_threads_or_layout(fwhm):
    op = ThickSlices((23, 191, 257), 5, fwhm)  # slices large and odd enough that torch splits them unevenly
    x, y = draw(op.domain), draw(op.codomain)
    threads = torch.get_num_threads()
    for apply, tensor in ((op.forward, x), (op.adjoint, y), (op.pseudo_inverse, y)):
        expected = apply(tensor)
        try:
            for number in (1, 3):
                torch.set_num_threads(number)
                for order in ((1, 2, 0), (2, 1, 0)):
                    turned = tensor.permute(order).contiguous().permute(np.argsort(order).tolist())
                    assert torch.equal(apply(turned), expected)
                # a slice alone, at another place in memory
                assert torch.equal(_columns(apply, tensor), expected[:, 100:103, 5:250])
        finally:
            torch.set_num_threads(threads)


def _columns(apply, tensor):
    """The part [:, 100:103, 5:250] of the result, from that part of the tensor alone."""
    op = ThickSlices((23, 3, 245), 5, apply.__self__.fwhm)
    return getattr(op, apply.__name__)(tensor[:, 100:103, 5:250])


@pytest.mark.parametrize(
    ("shape", "factor", "fwhm", "words"),
    [
        ((10, 4, 4), 1, None, "factor of 1 .* above 1"),
        ((10, 4, 4), float("inf"), None, "factor of inf"),
        ((4, 4, 4), 5, None, "4 slices .* at least 5"),
        ((10, 4, 4), 5, 0.0, "FWHM of 0 .* at most 10"),
        ((10, 4, 4), 5, -2.0, "FWHM of -2"),
        ((10, 4, 4), 5, 11.0, "FWHM of 11"),
        ((10, 4, 4), 5, float("nan"), "FWHM of nan"),
        ((10, 4), 5, None, r"three numbers \(z, y, x\)"),
        ((10, 0, 4), 5, None, r"three numbers \(z, y, x\)"),
    ],
)
def test_what_cannot_be_scanned_is_refused(shape, factor, fwhm, words):
    with pytest.raises(CosliceError, match=words):
        ThickSlices(shape, factor, fwhm)


def test_tensors_of_another_shape_are_refused_with_the_one_needed():
    op = ThickSlices((11, 4, 6), 5)
    for apply, needed in ((op.forward, r"\(11, 4, 6\)"), (op.adjoint, r"\(3, 4, 6\)"), (op.pseudo_inverse, r"\(3, 4")):
        with pytest.raises(CosliceError, match=rf"\(11, 6, 4\) was given, {needed}"):
            apply(torch.zeros(11, 6, 4))
