"""The projector: laws, equivalence of backends, closed forms, and the symmetries of a scanner."""

import math

import numpy as np
import pytest
import torch

import laws
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
from coslice.operators import Projector, joseph_numba
from coslice.problems import published_cone_beam
from laws import assert_operator, draw, relative

# along the axes, at 45 degrees where two driving axes tie, and in between
ANGLES = (0.0, 0.3, math.pi / 4, math.pi / 2, 2.5, math.pi, 4.0)
GRID = Grid((10, 12, 14), (1.2, 1.0, 0.9), (1.5, -1.0, 2.0))
CONE = ConeBeam(ANGLES, (13, 21), (1.5, 1.4), (1.0, 2.0), source_axis=90.0, axis_detector=45.0)
FAN = FanBeam(ANGLES, (13, 21), (1.1, 1.4), (1.0, 2.0), source_axis=90.0, axis_detector=45.0)
PARALLEL = ParallelBeam(ANGLES, (13, 21), (0.9, 0.8), (1.0, 2.0))
TILTED = Orbit(
    source=((60.0, 5.0, 20.0), (3.0, -4.0, 70.0), (-40.0, 30.0, -35.0)),
    centre=((-40.0, 0.0, -10.0), (0.0, 1.0, -50.0), (30.0, -25.0, 25.0)),
    row_step=((0.2, 0.1, 2.0), (0.0, 2.1, 0.0), (0.8, 0.2, 1.7)),
    column_step=((0.0, 2.0, 0.1), (1.9, 0.0, 0.1), (1.3, 1.5, 0.0)),
    detector=(13, 21),
)
TILTED_PARALLEL = Orbit(
    source=((1.0, 0.3, 0.2), (0.1, 0.2, -1.0)),
    centre=((0.0, -1.0, 1.0), (2.0, 0.0, 0.0)),
    row_step=((0.0, 0.0, 1.0), (0.0, 1.0, 0.0)),
    column_step=((0.0, 1.0, 0.0), (1.0, 0.0, 0.1)),
    detector=(13, 21),
    divergent=False,
)
GEOMETRIES = {
    "cone": CONE,
    "fan": FAN,
    "parallel": PARALLEL,
    "orbit": CONE.to_orbit(),
    "tilted": TILTED,
    "tilted parallel": TILTED_PARALLEL,
    "wedge": ParallelBeam(limited_angle(math.radians(100), 5), (13, 21), (1.0, 1.0)),
}


@pytest.fixture(autouse=True)
def one_thread():
    """Tasks this small only wait for each other on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


each_geometry = pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())


def ellipsoid_integrals(geometry, centre, semi_axes, split=4):
    """Chords (views, rows, columns) in mm through an ellipsoid, (x, y, z), averaged over split^2 points a pixel."""
    orbit = geometry.to_orbit()
    rows, columns = orbit.detector
    fine = Orbit(
        orbit.source,
        orbit.centre,
        tuple(tuple(c / split for c in step) for step in orbit.row_step),
        tuple(tuple(c / split for c in step) for step in orbit.column_step),
        (rows * split, columns * split),
        orbit.divergent,
    )
    out = []
    for view in range(fine.views):
        start, direction = fine.rays(view)
        s, d = (start - centre) / semi_axes, direction / semi_axes
        a, b, c = (d * d).sum(-1), (s * d).sum(-1), (s * s).sum(-1) - 1
        chord = 2 * np.sqrt(np.maximum(b * b - a * c, 0)) / a * np.linalg.norm(direction, axis=-1)
        out.append(chord.reshape(rows, split, columns, split).mean((1, 3)))
    return torch.from_numpy(np.stack(out)).float()


def ellipsoid(grid, centre, semi_axes, split=4):
    """Share of every voxel (z, y, x) that lies within an ellipsoid, from split^3 points."""
    within = (np.arange(split) + 0.5) / split - 0.5
    z, y, x = (
        (grid.axis(name)[:, None] + within * pitch).reshape(-1) for name, pitch in zip("zyx", grid.spacing, strict=True)
    )
    (cx, cy, cz), (ax, ay, az) = centre, semi_axes
    norm = (
        ((z - cz) / az)[:, None, None] ** 2 + ((y - cy) / ay)[None, :, None] ** 2 + ((x - cx) / ax)[None, None, :] ** 2
    )
    nz, ny, nx = grid.shape
    inside = (norm <= 1).reshape(nz, split, ny, split, nx, split)
    return torch.from_numpy(inside.mean((1, 3, 5))).float()


@pytest.mark.parametrize("backend", ["numba", "torch"])
@each_geometry
def test_laws(geometry, backend):
    if backend == "numba" and laws.DEVICE != "cpu":
        pytest.skip(f"numba works on the CPU, not on {laws.DEVICE}")
    assert_operator(Projector(geometry, GRID, backend), tolerance=1e-7)


@each_geometry
def test_the_fast_backend_is_the_reference(geometry):
    fast, reference = (Projector(geometry, GRID, backend) for backend in ("numba", "torch"))
    x, y = draw(fast.domain), draw(fast.codomain)
    assert relative(fast.forward(x), reference.forward(x)) <= 3e-6
    assert relative(fast.adjoint(y), reference.adjoint(y)) <= 3e-6


@pytest.mark.parametrize("shape", [(1, 12, 14), (2, 9, 1), (3, 1, 8)])
@pytest.mark.parametrize("geometry", [CONE, FAN, PARALLEL, CONE.to_orbit()], ids=lambda g: type(g).__name__)
def test_thin_stacks(geometry, shape):
    grid = Grid(shape, (2.5, 1.0, 1.0))
    fast, reference = (Projector(geometry, grid, backend) for backend in ("numba", "torch"))
    x, y = draw(fast.domain), draw(fast.codomain)
    assert relative(fast.forward(x), reference.forward(x)) <= 3e-6
    assert relative(fast.adjoint(y), reference.adjoint(y)) <= 3e-6


def test_a_cone_too_steep_for_the_separable_path_still_equals_the_reference():
    grid = Grid((40, 12, 12), (0.2, 1.0, 1.0))
    steep = ConeBeam(ANGLES, (21, 21), (2.0, 2.0), source_axis=25.0, axis_detector=10.0)
    assert not joseph_numba.separable(steep, grid) and joseph_numba.separable(CONE, GRID)
    fast, reference = (Projector(steep, grid, backend) for backend in ("numba", "torch"))
    assert relative(fast.forward(draw(grid.shape)), reference.forward(draw(grid.shape))) <= 3e-6


@pytest.mark.parametrize("geometry", [CONE, PARALLEL], ids=["cone", "parallel"])
def test_a_circle_is_an_orbit(geometry):
    circle, orbit = Projector(geometry, GRID), Projector(geometry.to_orbit(), GRID)
    assert relative(circle.forward(draw(GRID.shape)), orbit.forward(draw(GRID.shape))) <= 3e-6
    y = draw(geometry.shape)
    assert relative(circle.adjoint(y), orbit.adjoint(y)) <= 3e-6


def test_a_ray_along_an_axis_sums_voxels_in_mm():
    grid = Grid((3, 4, 5), (1.0, 2.0, 0.5))
    x = draw(grid.shape)
    along_x = ParallelBeam((0.0,), (3, 4), (1.0, 2.0))
    along_y = ParallelBeam((math.pi / 2,), (3, 5), (1.0, 0.5))
    assert torch.allclose(Projector(along_x, grid).forward(x)[0], 0.5 * x.sum(2), atol=1e-5)
    assert torch.allclose(Projector(along_y, grid).forward(x)[0], 2.0 * x.sum(1).flip(1), atol=1e-5)


@pytest.mark.parametrize("kind", ["cone", "parallel", "orbit"])
def test_ellipsoids_have_their_closed_form(kind):
    grid = Grid((40, 48, 48))
    cone = ConeBeam(sparse_view(5, start=0.2), (64, 80), (1.5, 1.5), (0.0, 3.0), source_axis=200.0, axis_detector=100.0)
    geometry = {
        "cone": cone,
        "parallel": ParallelBeam(sparse_view(5, math.pi, 0.2), (44, 60), (1.0, 1.0)),
        "orbit": cone.to_orbit(),
    }[kind]
    volume, expected = torch.zeros(grid.shape), torch.zeros(geometry.shape)
    for value, centre, axes in (
        (1.0, (2.0, -3.0, 1.0), (16.0, 12.0, 14.0)),
        (0.5, (-5.0, 6.0, -4.0), (7.0, 9.0, 6.0)),
    ):
        volume += value * ellipsoid(grid, centre, axes)
        expected += value * ellipsoid_integrals(geometry, centre, axes)
    assert relative(Projector(geometry, grid).forward(volume), expected) <= 0.016  # 0.0135 at 48 voxels


def test_a_shadow_is_magnified():
    grid, radius = Grid((48, 48, 48)), 14.0
    scan = ConeBeam((0.4,), (1, 401), (0.25, 0.25), source_axis=150.0, axis_detector=90.0)
    shadow = Projector(scan, grid).forward(ellipsoid(grid, (0, 0, 0), (radius,) * 3))[0, 0]
    width = 0.25 * int((shadow > 3.0).sum())  # chords of 3 mm end 0.08 mm before the rim
    expected = 2 * scan.source_detector * math.tan(math.asin(radius / scan.source_axis))
    assert abs(width - expected) <= 1.5
    assert abs(float(shadow[200]) - 2 * radius) <= 0.05 * radius
    assert abs(scan.magnification - 1.6) < 1e-12


@pytest.mark.parametrize("kind", [ConeBeam, FanBeam, ParallelBeam])
def test_turning_the_object_by_a_quarter_is_turning_the_scanner_back(kind):
    distances = {} if kind is ParallelBeam else {"source_axis": 90.0, "axis_detector": 40.0}
    angles = sparse_view(8, start=0.15)
    projector = Projector(kind(angles, (7, 31), (1.5, 1.0), (0.0, 2.0), **distances), Grid((5, 16, 16)))
    x = draw(projector.domain)
    turned = x.transpose(1, 2).flip(2)  # counter-clockwise in (x, y): value at (x, y) moves to (-y, x)
    assert relative(projector.forward(turned), projector.forward(x).roll(2, 0)) <= 1e-5


def test_a_detector_offset_shifts_the_shadow():
    x = draw(GRID.shape)
    straight = Projector(ConeBeam(ANGLES, (40, 50), (1.0, 1.2), source_axis=90.0, axis_detector=40.0), GRID)
    shifted = ConeBeam(ANGLES, (40, 50), (1.0, 1.2), (3.0, -2.4), source_axis=90.0, axis_detector=40.0)
    a, b = straight.forward(x), Projector(shifted, GRID).forward(x)
    assert relative(b[:, :-3, 2:], a[:, 3:, :-2]) <= 1e-5


def test_voxel_size_is_in_mm():
    scan = ConeBeam(sparse_view(4), (32, 48), (1.5, 1.5), source_axis=150.0, axis_detector=75.0)
    fine, coarse = Grid((32, 32, 32)), Grid((16, 16, 32), (2.0, 2.0, 1.0))
    axes, centre = (11.0, 9.0, 10.0), (1.0, 2.0, -1.0)
    a, b = (Projector(scan, grid).forward(ellipsoid(grid, centre, axes)) for grid in (fine, coarse))
    assert relative(b, a) <= 0.08
    doubled = ConeBeam(sparse_view(4), (32, 48), (3.0, 3.0), source_axis=300.0, axis_detector=150.0)
    x = draw(fine.shape)
    same_but_larger = Projector(doubled, Grid((32, 32, 32), (2.0, 2.0, 2.0))).forward(x)
    assert relative(same_but_larger, 2 * Projector(scan, fine).forward(x)) <= 1e-5


@pytest.mark.parametrize("geometry", [CONE, PARALLEL, TILTED], ids=["cone", "parallel", "tilted"])
def test_results_do_not_depend_on_the_number_of_threads(geometry):
    projector = Projector(geometry, GRID)
    x, y = draw(projector.domain), draw(projector.codomain)
    results = []
    for count in (1, 2):
        torch.set_num_threads(count)
        results.append((projector.forward(x), projector.adjoint(y)))
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])


def test_memory_in_the_kernel_s_order_is_not_copied(monkeypatch):
    projector, seen = Projector(CONE, GRID), []
    for name in ("forward", "adjoint"):
        kernel = getattr(joseph_numba, name)
        monkeypatch.setattr(
            joseph_numba, name, lambda plan, memory, k=kernel: seen.append(memory.ctypes.data) or k(plan, memory)
        )
    volume = projector.adjoint(draw(projector.codomain))
    measured = projector.forward(volume)
    projector.adjoint(measured)
    assert seen[1:] == [volume.data_ptr(), measured.data_ptr()]
    assert volume.permute(1, 2, 0).is_contiguous() and measured.permute(0, 2, 1).is_contiguous()
    assert torch.equal(projector.forward(volume.contiguous()), measured)


@pytest.mark.parametrize("kind", [ConeBeam, FanBeam, ParallelBeam])
@pytest.mark.parametrize("pitch", [0.3, 2.0])
def test_cropping_loses_nothing(kind, pitch):
    distances = {} if kind is ParallelBeam else {"source_axis": 30.0, "axis_detector": 10.0}
    grid = Grid((4, 7, 9), (1.5, 1.0, 1.0), (0.5, 1.0, -2.0))
    whole = kind(sparse_view(9), (int(40 / pitch), int(60 / pitch)), (pitch, pitch), (1.0, 0.5), **distances)
    small = whole.cropped(grid)
    row = int(np.abs(whole.v() - small.v()[0]).argmin())
    column = int(np.abs(whole.u() - small.u()[0]).argmin())
    x = draw(grid.shape)
    full, part = Projector(whole, grid).forward(x), Projector(small, grid).forward(x)
    rows, columns = small.detector
    window = (slice(None), slice(row, row + rows), slice(column, column + columns))
    assert relative(part, full[window]) <= 1e-5
    full[window] = 0
    assert not full.any() and part.numel() < full.numel()


def test_a_source_beside_a_long_grid_sees_only_what_is_ahead():
    grid = Grid((4, 4, 20))
    ahead = Orbit(((-30.0, 0.0, 0.0),), ((30.0, 0.0, 0.0),), ((0.0, 0.0, 1.0),), ((0.0, 1.0, 0.0),), (4, 4))
    behind = Orbit(((-30.0, 0.0, 0.0),), ((-60.0, 0.0, 0.0),), ((0.0, 0.0, 1.0),), ((0.0, 1.0, 0.0),), (4, 4))
    for backend in ("numba", "torch"):
        assert Projector(ahead, grid, backend).forward(torch.ones(grid.shape)).any()
        assert not Projector(behind, grid, backend).forward(torch.ones(grid.shape)).any()
        assert not Projector(behind, grid, backend).adjoint(torch.ones(behind.shape)).any()


def test_the_published_scanner_sees_the_whole_volume():
    grid = Grid((16, 24, 24), (2.0, 1.5, 1.5))
    projector = Projector(published_cone_beam(sparse_view(6), grid), grid)
    assert (projector.adjoint(torch.ones(projector.codomain)) > 0).all()


@pytest.mark.parametrize(
    "act",
    [
        lambda: Projector(CONE, GRID, "cupy"),
        lambda: Projector(CONE, Grid((8, 200, 200))),
        lambda: Projector(CONE.to_orbit(), Grid((8, 200, 200))),
        lambda: Projector(CONE, GRID).forward(torch.zeros(3, 4, 5)),
        lambda: Projector(CONE, GRID)(torch.zeros(3, 4, 5)),
        lambda: Projector(CONE, GRID).adjoint(torch.zeros(GRID.shape)),
        lambda: Projector(CONE, GRID).forward(torch.zeros(GRID.shape, dtype=torch.float64)),
        lambda: Projector(CONE.to_orbit(), GRID, "triton").forward(torch.zeros(GRID.shape)),
    ],
)
def test_nonsense_is_refused_in_one_sentence(act):
    with pytest.raises(CosliceError, match="Projector"):
        act()
