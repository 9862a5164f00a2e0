"""Geometries: where rays run, what cropping keeps, what is refused, and that a repr can be read back."""

import math

import numpy as np
import pytest

from coslice.errors import CosliceError
from coslice.geometry import (
    ConeBeam,
    FanBeam,
    Grid,
    Orbit,
    ParallelBeam,
    limited_angle,
    sparse_view,
)
from coslice.problems import published_cone_beam

ANGLES = (0.0, 0.7, 2.0)
GRID = Grid((6, 20, 24), (2.0, 1.0, 1.0), (3.0, -2.0, 1.5))
CONE = ConeBeam(ANGLES, (9, 41), (1.5, 1.25), (0.5, -2.0), source_axis=120.0, axis_detector=60.0)
FAN = FanBeam(ANGLES, (9, 41), (1.5, 1.25), (0.5, -2.0), source_axis=120.0, axis_detector=60.0)
PARALLEL = ParallelBeam(ANGLES, (9, 41), (1.5, 1.25), (0.5, -2.0))
GEOMETRIES = [CONE, FAN, PARALLEL, CONE.to_orbit(), PARALLEL.to_orbit()]


def name(geometry: object) -> str:
    return type(geometry).__name__


@pytest.mark.parametrize("value", [*GEOMETRIES, GRID], ids=name)
def test_a_repr_reads_back(value):
    assert eval(repr(value)) == value


def test_numpy_numbers_read_back_too():
    grid = Grid(np.array((2, 3, 4)), np.array((1.0, 2.0, 3.0)), np.zeros(3))  # pyright: ignore[reportArgumentType]
    angles, detector, pixel = np.linspace(0, 1, 3), np.array((1, 4)), (np.float64(1.0), np.float32(0.5))
    scan = ParallelBeam(angles, detector, pixel)  # pyright: ignore[reportArgumentType]
    assert eval(repr(grid)) == grid
    assert eval(repr(scan)) == scan


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=name)
def test_rays_have_the_declared_shape(geometry):
    for view in range(geometry.views):
        start, direction = geometry.rays(view)
        assert start.shape == direction.shape == (*geometry.shape[1:], 3)


def test_cone_rays_reach_the_pixels_of_the_module_docstring():
    beta = ANGLES[1]
    start, direction = CONE.rays(1)
    towards, across = np.array((math.cos(beta), math.sin(beta), 0)), np.array((-math.sin(beta), math.cos(beta), 0))
    u, v = (7 - 20) * 1.25 - 2.0, (2 - 4) * 1.5 + 0.5
    assert np.allclose(start[2, 7], 120 * towards)
    assert np.allclose(start[2, 7] + direction[2, 7], -60 * towards + u * across + (0, 0, v))


def test_fan_rays_stay_in_their_slice_and_are_the_cone_s_in_the_plane():
    for view in range(3):
        (start, direction), (cone_start, cone_direction) = FAN.rays(view), CONE.rays(view)
        assert np.array_equal(direction[..., 2], np.zeros(FAN.detector))
        assert np.allclose(start[..., 2], FAN.v()[:, None])
        assert np.allclose(start[..., :2], cone_start[..., :2])
        assert np.allclose(direction[..., :2], cone_direction[..., :2])


@pytest.mark.parametrize("geometry", [CONE, PARALLEL], ids=name)
def test_an_orbit_has_the_same_rays(geometry):
    orbit = geometry.to_orbit()
    assert orbit.shape == geometry.shape and orbit.divergent == geometry.divergent
    for view in range(geometry.views):
        for ours, theirs in zip(geometry.rays(view), orbit.rays(view), strict=True):
            assert np.allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("geometry", [CONE, FAN, PARALLEL], ids=name)
def test_cropping_keeps_pixels_where_they_were(geometry):
    small = geometry.cropped(Grid((2, 6, 6), (1.0, 1.0, 1.0), (0.5, 0.0, 1.0)))
    assert small.detector[0] < geometry.detector[0] and small.detector[1] < geometry.detector[1]
    assert np.isclose(geometry.u()[:, None], small.u()).any(axis=0).all()
    assert np.isclose(geometry.v()[:, None], small.v()).any(axis=0).all()
    assert small.cropped(Grid((2, 6, 6), (1.0, 1.0, 1.0), (0.5, 0.0, 1.0))) == small


def test_grid_axes_are_centred():
    assert np.allclose(GRID.axis("z"), 3 + 2.0 * np.array((-2.5, -1.5, -0.5, 0.5, 1.5, 2.5)))
    assert np.isclose(GRID.axis("y").mean(), -2) and np.isclose(GRID.axis("x").mean(), 1.5)
    assert GRID.size == (12, 20, 24)


def test_angles_are_spread_evenly():
    assert np.allclose(sparse_view(4), (0, math.pi / 2, math.pi, 3 * math.pi / 2))
    wedge = limited_angle(math.radians(100), 100, start=0.3)
    assert np.allclose(np.diff(wedge), math.radians(1)) and np.isclose(wedge[0], 0.3)


def test_the_published_scanner_is_the_published_one():
    scan = published_cone_beam(sparse_view(2), Grid((300, 256, 256)))
    assert scan.pixel == (2.0, 2.0)
    assert (scan.source_axis, scan.source_detector) == (700, 1200)
    assert scan.detector[0] <= 512 and scan.detector[1] <= 512


def test_the_published_scanner_scales_with_the_field_of_view():
    one = published_cone_beam(sparse_view(2), Grid((32, 128, 128)))
    two = published_cone_beam(sparse_view(2), Grid((32, 128, 128), (2.0, 2.0, 2.0)))
    assert one.detector == two.detector
    assert np.isclose(two.pixel[0], 2 * one.pixel[0]) and np.isclose(two.source_axis, 2 * one.source_axis)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Grid((0, 4, 4)),
        lambda: Grid((4, 4, 4), (1.0, -1.0, 1.0)),
        lambda: Grid((4, 4, 4), (1.0, 1.0)),  # pyright: ignore[reportArgumentType]
        lambda: Grid((4, 4, 4), centre=(0.0, math.nan, 0.0)),
        lambda: ParallelBeam((), (4, 4), (1.0, 1.0)),
        lambda: ParallelBeam((math.nan,), (4, 4), (1.0, 1.0)),
        lambda: ParallelBeam(ANGLES, (4, 0), (1.0, 1.0)),
        lambda: ParallelBeam(ANGLES, (4, 4), (1.0, 0.0)),
        lambda: ConeBeam(ANGLES, (4, 4), (1.0, 1.0)),
        lambda: ConeBeam(ANGLES, (4, 4), (1.0, 1.0), source_axis=10.0, axis_detector=-1.0),
        lambda: Orbit((), (), (), (), (4, 4)),
        lambda: Orbit(((1.0, 0.0, 0.0),), ((0.0, 0.0, 0.0),), ((0.0, 0.0, 1.0),), ((0.0, 1.0, 0.0),), (0, 4)),
        lambda: sparse_view(0),
        lambda: limited_angle(0.0, 5),
        lambda: CONE.cropped(Grid((4, 400, 400))),
    ],
)
def test_nonsense_is_refused_in_one_sentence(make):
    with pytest.raises(CosliceError, match=r"[a-z]"):
        make()
