"""Several stacks as one operator: its laws, what it is where stacks are simple, and ramps in closed form."""

from typing import Any, cast

import numpy as np
import pytest
import torch

from coslice.errors import CosliceError
from coslice.operators import SliceStack, Stacks, ThickSlices
from laws import assert_operator, draw, relative

SHAPE = (12, 15, 10)


def turned(seed: int) -> np.ndarray:
    """A rotation."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def stack(shape, steps, centre, rotation=None, **others) -> SliceStack:
    """A stack with voxels of `steps` (x, y, z) voxels of the volume, its middle at the index `centre` (x, y, z)."""
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if rotation is None else rotation) @ np.diag(steps)
    affine[:3, 3] = np.array(centre) - affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    return SliceStack(shape, tuple(map(tuple, affine)), **others)


MIDDLE = (np.array(SHAPE[::-1]) - 1) / 2
OBLIQUE = (
    stack((3, 5, 4), (1.3, 1.3, 3.0), MIDDLE, turned(1)),
    stack((6, 3, 5), (1.0, 3.6, 1.1), MIDDLE + 0.3, turned(2), axis=1, thickness=0.7),
    stack((4, 4, 3), (1.0, 1.2, 2.5), MIDDLE, turned(3), gaussian=True, thickness=1.1),
)


def test_it_is_a_linear_operator_with_its_exact_transpose():
    assert_operator(Stacks(SHAPE, OBLIQUE))


def test_a_constant_stays_and_a_ramp_is_seen_at_the_middle_of_each_voxel():
    """Trilinear interpolation of a ramp is exact, and profiles are even."""
    op = Stacks(SHAPE, OBLIQUE)
    torch.testing.assert_close(op.forward(torch.ones(SHAPE)), torch.ones(op.codomain), rtol=0, atol=1e-6)
    z, y, x = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    ramp = torch.from_numpy(0.3 * x - 0.2 * y + 0.5 * z).float()
    expected = []
    for one, seen in zip(op.stacks, op.seen, strict=True):
        index = np.stack(np.nonzero(seen)[::-1] + (np.ones(int(seen.sum())),))
        expected.append(np.array([0.3, -0.2, 0.5]) @ (np.array(one.affine) @ index)[:3])
        assert seen.sum() > seen.size / 4
    measured = op.forward(ramp).split([len(one) for one in expected])
    for ours, theirs, one in zip(measured, expected, op.stacks, strict=True):
        # What is missing of a Gaussian at the volume's faces may be a thousandth of it.
        assert relative(ours, torch.from_numpy(theirs)) < (5e-4 if one.gaussian else 1e-5)


@pytest.mark.parametrize(("axis", "factor"), [("z", 4), ("y", 5), ("x", 2)])
@pytest.mark.parametrize("gaussian", [False, True])
def test_stacks_that_lie_as_the_volume_does_are_thick_slices(axis, factor, gaussian):
    number, shape = "zyx".index(axis), [4, 3, 5]
    shape[number] = 6 * factor
    thick = ThickSlices((shape[0], shape[1], shape[2]), factor, 1.2 * factor if gaussian else None, axis)
    steps = [1.0, 1.0, 1.0]
    steps[2 - number] = factor
    width, middle = 1.2 if gaussian else 1.0, (np.array(shape[::-1]) - 1) / 2
    one: Any = stack(cast(Any, thick.codomain), steps, middle, axis=number, thickness=width, gaussian=gaussian)
    op = Stacks((shape[0], shape[1], shape[2]), [one])
    volume = draw(thick.domain)
    (ours,), theirs = op.scattered(op.forward(volume), fill=float("nan")), thick.forward(volume)
    seen = torch.from_numpy(op.seen[0])
    # Boxes fill the volume; of Gaussians those at the ends reach beyond it.
    whole = slice(2, 4) if gaussian else slice(None)
    assert seen.all() == (not gaussian)
    assert relative(ours.movedim(number, 0)[whole], theirs.movedim(number, 0)[whole]) < 1e-5
    assert torch.equal(op.gathered([ours]), ours[seen])


def test_voxels_that_reach_beyond_the_volume_are_left_out_and_no_others():
    inside = stack((3, 15, 10), (1, 1, 4), MIDDLE)
    beyond = stack((4, 15, 10), (1, 1, 4), MIDDLE + (0, 0, 2))  # its last slice lies outside, the rest fits
    op = Stacks(SHAPE, [inside, beyond])
    assert op.seen[0].all() and op.seen[1][:3].all() and not op.seen[1][3].any()
    half = stack((3, 15, 10), (1, 1, 4), MIDDLE + (0, 0, 0.5))  # its last samples lie between the volume and nothing
    assert not Stacks(SHAPE, [half]).seen[0][2].any()


def test_a_gap_is_seen_by_no_slice_and_a_wide_pixel_is_a_mean():
    gap = Stacks(SHAPE, [stack((3, 15, 10), (1, 1, 4), MIDDLE, thickness=0.5)])
    seen = gap.adjoint(torch.ones(gap.codomain)).sum((1, 2)) > 0
    assert seen.tolist() == [False, True, True, False] * 3
    wide = Stacks(SHAPE, [stack((12, 5, 5), (2, 3, 1), MIDDLE)])
    x = draw(SHAPE)
    expected = x.reshape(12, 5, 3, 5, 2).mean((2, 4))
    assert relative(wide.forward(x), expected.reshape(-1)) < 1e-6


def test_no_bit_depends_on_threads():
    op = Stacks(SHAPE, OBLIQUE)
    x, y, threads = draw(SHAPE), draw(op.codomain), torch.get_num_threads()
    results = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append((Stacks(SHAPE, OBLIQUE).forward(x), op.adjoint(y)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_stacks_that_cannot_be_are_refused():
    with pytest.raises(CosliceError, match="no stack"):
        Stacks(SHAPE, [])
    with pytest.raises(CosliceError, match="no voxel of stack 2"):
        Stacks(SHAPE, [OBLIQUE[0], stack((3, 4, 4), (1, 1, 3), MIDDLE + 100)])
    with pytest.raises(CosliceError, match=r"GiB .* crop the stacks"):
        Stacks(SHAPE, [stack((400, 2000, 2000), (0.5, 0.5, 6.0), MIDDLE)])
    op = Stacks(SHAPE, OBLIQUE)
    for apply in (op.forward, op.adjoint):
        with pytest.raises(CosliceError, match=r"shape \(3, 3\)"):
            apply(torch.zeros(3, 3))
    with pytest.raises(CosliceError, match="shapes"):
        op.gathered([torch.zeros(2, 2, 2)])
