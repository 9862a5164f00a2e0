"""The papers' scanners: what they see, in closed form."""

import math

import numpy as np
import pytest
import torch

from coslice.classical import fdk
from coslice.geometry import Grid, ParallelBeam, sparse_view
from coslice.operators import Projector
from coslice.problems import SparseViewCT, published_parallel_beam
from laws import relative
from simulated import uniform

ODD = Grid((7, 18, 22), (3.2, 1.3, 1.3))


def parallel(angles, grid=ODD, backend="auto"):
    return Projector(published_parallel_beam(angles, grid), grid, backend)


def test_the_parallel_scanner_is_the_published_one():
    """Section 4: images of 256 x 256, 512 detector pixels, of which 364 see the image; slice by slice."""
    angles = SparseViewCT("parallel").angles
    whole = ParallelBeam(angles, (99, 512), (5.0, 1.0))
    grid = Grid((99, 256, 256), (5.0, 1.0, 1.0))
    scanner = published_parallel_beam(angles, grid)
    assert scanner == whole.cropped(grid)
    assert scanner.detector == (99, 364) and scanner.views == 8
    # What was left out saw nothing, at any angle.
    small = Grid((2, 16, 16))
    for angles in (sparse_view(7, math.pi), (math.pi / 4,)):
        all_of_it = Projector(ParallelBeam(angles, (2, 32), (1.0, 1.0)), small).forward(torch.ones(small.shape))
        seen = parallel(angles, small).forward(torch.ones(small.shape))
        out = (32 - seen.shape[2]) // 2
        assert out > 0 and not all_of_it[..., :out].any() and not all_of_it[..., -out:].any()
        assert relative(seen, all_of_it[..., out:-out]) < 1e-6


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("centre", [0.0, 11.7])
def test_slices_of_a_parallel_scan_do_not_mix(backend, centre):
    grid = Grid(ODD.shape, ODD.spacing, (centre, 0.0, 0.0))
    angles = SparseViewCT("parallel", 6).angles
    operator = parallel(angles, grid, backend)
    truth = uniform(grid.shape)
    whole = operator.forward(truth)
    alone = parallel(angles, Grid((1, *grid.shape[1:]), grid.spacing), backend)
    for k in (0, 4):
        single = torch.zeros_like(truth)
        single[k] = truth[k]
        y = operator.forward(single)
        others = [j for j in range(len(truth)) if j != k]
        assert float(y[:, others].abs().max()) <= (0 if backend == "numba" else 1e-5 * float(y.max()))
        back = operator.adjoint(y)
        assert float(back[others].abs().max()) <= (0 if backend == "numba" else 1e-5 * float(back.max()))
        # The 2D scan of that slice, which knows of no other.
        assert relative(whole[:, k : k + 1], alone.forward(truth[k : k + 1])) < 1e-5


def test_a_parallel_view_along_the_lines_of_the_image_is_their_sum():
    """At 0 the rays run along x and u along y; at 90 degrees along y, and u against x."""
    truth = uniform((3, 16, 16))
    y = parallel((0.0, math.pi / 2), Grid((3, 16, 16), (2.0, 1.5, 1.5))).forward(truth)
    rim = (y.shape[2] - 16) // 2
    assert relative(y[0, :, rim:-rim], 1.5 * truth.sum(2)) < 1e-6
    assert relative(y[1, :, rim:-rim], 1.5 * truth.sum(1).flip(1)) < 1e-6


def test_opposite_parallel_views_are_mirror_images():
    angles = sparse_view(9, math.pi, 0.1)
    truth = uniform(ODD.shape)
    here, there = (parallel(tuple(a + turned for a in angles)).forward(truth) for turned in (0.0, math.pi))
    assert relative(there, here.flip(2)) < 1e-5


def blobs(grid, width):
    """A Gaussian in each slice, at a place of its own: (x, y) in mm, the slices, and their line integrals."""
    turned = np.arange(grid.shape[0])
    places = 6.0 * np.cos(turned), 6.0 * np.sin(turned)
    x, y = (torch.as_tensor(grid.axis(name)) for name in "xy")
    square = [(x - px) ** 2 + (y[:, None] - py) ** 2 for px, py in zip(*places, strict=True)]
    return places, torch.stack([torch.exp(-s / (2 * width**2)) for s in square]).float()


def blob_integrals(scanner, places, width):
    beta, u = np.array(scanner.angles)[:, None, None], scanner.u()
    shadow = places[1][:, None] * np.cos(beta) - places[0][:, None] * np.sin(beta)
    integrals = math.sqrt(2 * math.pi) * width * np.exp(-((u - shadow) ** 2) / (2 * width**2))
    return torch.as_tensor(integrals, dtype=torch.float32)


def test_a_parallel_scan_of_gaussians_has_its_closed_form_and_so_has_its_fbp():
    """Gaussians of width s, voxels and pixels of h.

    A line integral by Joseph's method is off by linear interpolation, h^2/8 max|f''| over the ray's planes, at most
    sqrt(2 pi) s sqrt(2) h^2 / (8 s^2). FBP of the exact integrals is off by linear interpolation of the filtered view
    q = ramp * p, whose q'' is 2 / (pi s^2) at most: pi h^2/8 max|q''| = h^2 / (4 s^2).
    """
    grid, width = Grid((4, 64, 64), (5.0, 1.0, 1.0)), 4.0
    places, truth = blobs(grid, width)
    operator = parallel(SparseViewCT("parallel", 120).angles, grid)
    exact = blob_integrals(operator.geometry, places, width)
    bound = math.sqrt(2 * math.pi) * width * math.sqrt(2) / (8 * width**2)
    assert float((operator.forward(truth) - exact).abs().max()) < bound
    found = fdk(exact, operator.geometry, grid)
    assert float((found - truth).abs().max()) < 1 / (4 * width**2)
