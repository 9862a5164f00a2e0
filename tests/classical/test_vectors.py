"""One-pass vector operations and convolution: compiled and torch are one, and no thread count changes a bit."""

import pytest
import torch

from coslice.classical import vectors
from coslice.classical.convolution import convolved
from coslice.variance import gaussian
from laws import relative


def draws(count, shape=(24, 64, 65), order=(1, 2, 0)):
    generator = torch.Generator().manual_seed(1)
    back = [order.index(axis) for axis in range(3)]
    return [torch.randn([shape[a] for a in order], generator=generator).permute(back) for _ in range(count)]


@pytest.fixture
def torch_alone(monkeypatch):
    """Do the same by torch: compare(function) -> its results by both."""

    def compare(function):
        one = function()
        with monkeypatch.context() as patch:
            patch.setattr(vectors, "_SMALL", 1 << 60)
            return one, function()

    return compare


def test_steps_of_conjugate_gradients_are_torch_s(torch_alone):
    def steps():
        z, r, p, q = draws(4)
        assert vectors._flat(z, r, p, q) is not None or z.numel() < vectors._SMALL
        energy = vectors.advance(z, r, p, q, 0.3)
        vectors.turn(p, r, 0.7)
        return z, r, p, vectors.dot(z, p), energy

    one, other = torch_alone(steps)
    for a, b in zip(one[:3], other[:3], strict=True):
        assert relative(a, b) <= 1e-6
    assert one[3:] == pytest.approx(other[3:], rel=1e-5)
    assert one[3] == pytest.approx(float((one[0].double() * one[2].double()).sum()), rel=1e-12)


def test_sums_do_not_depend_on_threads():
    threads, found = torch.get_num_threads(), set()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            z, r, p, q = draws(4)
            found.add((vectors.dot(z, r), vectors.advance(z, r, p, q, 0.3), float(z.double().sum())))
    finally:
        torch.set_num_threads(threads)
    assert len(found) == 1


def test_tensors_that_lie_otherwise_or_have_gaps_are_torch_s():
    (a,), (b,) = draws(1), draws(1, order=(0, 1, 2))
    assert vectors._flat(a, b) is None and vectors._flat(a[:, ::2], a[:, ::2]) is None
    assert vectors._flat(a.double()) is None and vectors._flat(a[:2]) is None
    assert vectors.dot(a, b) == pytest.approx(float((a.double() * b.double()).sum()), rel=1e-6, abs=1e-3)
    assert vectors.empty_like(a).stride() == a.stride() and vectors.empty_like(b).stride() == b.stride()


@pytest.mark.parametrize(
    ("axis", "edges", "order"),
    [(0, False, (1, 2, 0)), (1, True, (1, 2, 0)), (0, True, (0, 1, 2)), (2, False, (0, 1, 2))],
)
def test_convolution_is_the_dense_matrix(axis, edges, order, torch_alone):
    volume, before, after = draws(3, order=order)
    count = volume.shape[axis]
    weights = gaussian(2.5, count)
    place = torch.arange(-count, 2 * count)
    wide = (place[:, None] - torch.arange(count)).abs()
    whole = torch.tensor([*weights, *[0.0] * (3 * count)])[wide]  # (beyond and within, of each voxel)
    matrix = torch.zeros(count, count)
    inside = place.clamp(0, count - 1)
    keep = torch.ones(3 * count) if edges else (place == inside).float()
    matrix.index_add_(0, inside, whole * keep[:, None])
    expected = after * (
        0.5 * before * volume + 2 * torch.movedim(torch.movedim(before * volume, axis, -1) @ matrix, -1, axis)
    )
    given = {"edges": edges, "rest": 0.5, "share": 2.0, "before": before, "after": after}
    for result in torch_alone(lambda: convolved(volume, weights, axis, **given)):
        assert relative(result, expected) <= 1e-6
    assert torch.equal(convolved(volume, weights, axis, **given, out=volume), volume)
    assert relative(volume, expected) <= 1e-6
