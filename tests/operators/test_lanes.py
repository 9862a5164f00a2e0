"""The kernels for registers of rows against those for every CPU, both as one operator: they differ in speed only."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import laws
from coslice.geometry import ConeBeam, Grid, sparse_view
from coslice.operators import Projector, WeightedRays, joseph_lanes, joseph_numba, lanes
from coslice.problems import published_cone_beam
from coslice.threads import compiled_kernels
from laws import assert_operator, draw, relative

ANGLES = (0.0, 0.3, np.pi / 4, np.pi / 2, 2.5, 4.0)
pytestmark = pytest.mark.skipif(laws.DEVICE != "cpu", reason="compiled kernels work on the CPU")
needs_lanes = pytest.mark.skipif(not lanes.available(), reason="this CPU has neither AVX-512 nor AVX2")


def scan(height, shape, rows=23, offset=0.0):
    """A scan whose rows are about `height` / 1.5 voxels apart, nearer ones less and farther ones more."""
    grid = Grid(shape, (1.0, 1.1, 0.9), (0.7, -1.0, 2.0))
    cone = ConeBeam(ANGLES, (rows, 25), (height, 1.4), (offset, 2.0), source_axis=90.0, axis_detector=45.0)
    return grid, cone


# pitches about 0.7, 1.0 and 1.7 voxels, where a voxel is seen by up to 4, 3 and 2 rows; columns that are shorter and
# longer than one register and two, and rows that miss the grid above, below or on both sides
@needs_lanes
@pytest.mark.parametrize(
    ("height", "shape", "rows", "offset"),
    [
        (1.05, (37, 9, 11), 23, 0.0),
        (1.1, (16, 7, 8), 80, 3.0),
        (1.5, (35, 12, 10), 50, -8.0),
        (1.5, (3, 12, 10), 7, 0.0),
        (2.3, (64, 8, 9), 17, 12.0),
        (2.4, (70, 8, 9), 40, 0.0),
    ],
)
def test_both_paths_are_one_operator(height, shape, rows, offset, monkeypatch):
    grid, cone = scan(height, shape, rows, offset)
    fast, slow = (joseph_numba.plan(cone, grid) for _ in range(2))
    assert fast.wide
    monkeypatch.setattr(lanes, "available", lambda: False)
    assert not slow.wide
    x, y = (draw(one).numpy() for one in (fast.shape, fast.detector))
    w = draw(fast.detector, 3).abs().numpy()
    with compiled_kernels():
        for of, ins in (("forward", (x,)), ("adjoint", (y,)), ("normal", (x,)), ("normal", (x, w))):
            one, other = (torch.from_numpy(getattr(joseph_numba, of)(plan, *ins)) for plan in (fast, slow))
            assert relative(one, other) <= 2e-6, of


@needs_lanes
@pytest.mark.parametrize("height", [1.1, 1.5, 2.2])
def test_the_fast_path_is_an_exact_transpose_pair(height):
    grid, cone = scan(height, (33, 12, 14), 40)
    projector = Projector(cone, grid)
    assert_operator(projector, tolerance=1e-7)


@pytest.mark.parametrize("height", [0.5, 4.0])
def test_rows_too_near_or_too_far_apart_take_the_path_for_every_cpu(height):
    grid, cone = scan(height, (20, 12, 14), 40)
    plan = joseph_numba.plan(cone, grid)
    assert not plan.wide
    assert_operator(Projector(cone, grid), tolerance=1e-7)


@pytest.mark.parametrize("fast", [True, False])
def test_memory_is_taken_over_and_weights_count_once(fast, monkeypatch):
    monkeypatch.setattr(joseph_lanes, "suits", joseph_lanes.suits if fast else lambda *rays: False)
    grid, cone = scan(1.5, (18, 12, 14))
    projector = Projector(cone, grid)
    x, weights = draw(grid.shape), draw(cone.shape, 2).abs()
    expected = projector.adjoint(projector.forward(x) * weights)
    out = torch.full(projector.adjoint(weights).permute(1, 2, 0).shape, 7.0).permute(2, 0, 1)
    for _ in range(2):  # what is left in kept memory changes nothing
        assert projector.gram(x, weights, out).data_ptr() == out.data_ptr()
        assert relative(out, expected) <= 1e-6
        projector.adjoint(draw(cone.shape, 4))
    assert relative(projector.gram(x), projector.normal(x)) == 0
    believed = WeightedRays(projector, weights)
    assert torch.equal(believed.gram(x, out=out), out) and relative(out, expected) <= 1e-6
    assert relative(believed.adjoint(believed.forward(x)), expected) <= 1e-6


def test_threads_share_no_memory_and_change_no_bit():
    grid, cone = scan(1.5, (40, 20, 22), 48)
    projector = Projector(cone, grid)
    volumes = [draw(grid.shape, seed) for seed in range(6)]
    expected = [projector.normal(x) for x in volumes]
    with ThreadPoolExecutor(3) as workers:
        assert all(map(torch.equal, workers.map(projector.normal, volumes), expected))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert all(torch.equal(projector.normal(x), one) for x, one in zip(volumes, expected, strict=True))
    finally:
        torch.set_num_threads(threads)


def test_the_published_scanner_has_the_fast_path_wherever_there_is_one():
    for shape in ((64, 256, 256), (300, 256, 256), (16, 64, 64)):
        grid = Grid(shape, (2.5, 0.8, 0.8))
        assert joseph_numba.plan(published_cone_beam(sparse_view(3), grid), grid).wide == lanes.available()
