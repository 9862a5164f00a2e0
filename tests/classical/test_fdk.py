"""Filtered back-projection against closed-form projections of balls and cylinders."""

import math
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch

from coslice.classical.fdk import fdk
from coslice.classical.filters import apply_ramp, measured_arc, ramp_response, redundancy
from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, FanBeam, Grid, ParallelBeam, sparse_view

SOURCE, BEHIND = 200.0, 120.0


def rays(geometry):
    """A point on each ray and its unit direction, (views, rows, columns, 3), from the definitions of the geometries."""
    beta = np.asarray(geometry.angles)[:, None, None]
    v, u = geometry.v()[None, :, None], geometry.u()[None, None, :]
    shape = geometry.shape
    centre = np.stack([np.broadcast_to(a, shape) for a in (np.cos(beta), np.sin(beta), 0 * beta)], -1)
    across = np.stack([np.broadcast_to(a, shape) for a in (-np.sin(beta), np.cos(beta), 0 * beta)], -1)
    up = np.broadcast_to((0.0, 0.0, 1.0), centre.shape)
    if isinstance(geometry, ParallelBeam):
        return u[..., None] * across + v[..., None] * up, -centre
    pixel = -geometry.axis_detector * centre + u[..., None] * across + v[..., None] * up
    source = geometry.source_axis * centre
    if isinstance(geometry, FanBeam):
        source = source + v[..., None] * up
    direction = pixel - source
    return source, direction / np.linalg.norm(direction, axis=-1, keepdims=True)


def ball(geometry, centre=(0.0, 0.0, 0.0), radius=20.0, value=0.02):
    """Line integrals of a uniform ball; centre (x, y, z) in mm."""
    point, direction = rays(geometry)
    away = point - np.asarray(centre)
    along = (away * direction).sum(-1)
    squared = (away**2).sum(-1) - along**2
    return torch.as_tensor(2 * value * np.sqrt(np.clip(radius**2 - squared, 0, None)), dtype=torch.float32)


def cylinder(geometry, centre=(0.0, 0.0), radius=20.0, value=0.02):
    """Line integrals of a uniform cylinder along z that never ends; centre (x, y) in mm."""
    point, direction = rays(geometry)
    flat = np.linalg.norm(direction[..., :2], axis=-1)
    away = point[..., :2] - np.asarray(centre)
    distance = np.abs(away[..., 0] * direction[..., 1] - away[..., 1] * direction[..., 0]) / flat
    return torch.as_tensor(2 * value * np.sqrt(np.clip(radius**2 - distance**2, 0, None)) / flat, dtype=torch.float32)


def scanner(kind, views=180, arc=2 * math.pi, detector=(24, 96), pixel=(2.0, 1.6), offset=(0.0, 0.0), start=0.1):
    common = {"angles": sparse_view(views, arc, start), "detector": detector, "offset": offset}
    if kind is ParallelBeam:
        return ParallelBeam(pixel=(pixel[0], pixel[1] / 1.6), **common)
    up = pixel[0] if kind is ConeBeam else pixel[0] / 1.6
    return kind(pixel=(up, pixel[1]), source_axis=SOURCE, axis_detector=BEHIND, **common)


GRID = Grid((9, 48, 48), (1.5, 1.25, 1.25))
KINDS = (ConeBeam, FanBeam, ParallelBeam)
HALF_FAN = math.asin(GRID.radius / SOURCE)


def middle(volume, grid, centre=(0.0, 0.0), radius=10.0):
    """Mean over the voxels of the central slice within `radius` of (x, y)."""
    y, x = torch.as_tensor(grid.axis("y")), torch.as_tensor(grid.axis("x"))
    inside = (y[:, None] - centre[1]) ** 2 + (x - centre[0]) ** 2 < radius**2
    return float(volume[grid.shape[0] // 2][inside].mean())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("filter", ["ramp", "hann"])
def test_value_of_a_cylinder_and_of_air(kind, filter):
    geometry = scanner(kind)
    volume = fdk(cylinder(geometry), geometry, GRID, filter)
    assert middle(volume, GRID) == pytest.approx(0.02, rel=0.01)
    assert abs(middle(volume, GRID, centre=(25.5, 25.5), radius=2.5)) < 0.0004


def test_value_of_a_ball_in_every_plane_near_the_middle():
    geometry = scanner(ConeBeam, detector=(64, 96), pixel=(1.6, 1.6))
    grid = Grid((25, 25, 25), (1.0, 1.0, 1.0))
    volume = fdk(ball(geometry), geometry, grid)
    assert torch.allclose(volume[:, 8:17, 8:17].mean((1, 2)), torch.tensor(0.02), rtol=0.02)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arc", [math.pi, math.pi + 2 * HALF_FAN, 1.5 * math.pi, 6.0, 2 * math.pi])
def test_every_arc_long_enough_gives_the_same_values(kind, arc):
    if kind is not ParallelBeam:
        arc = max(arc, math.pi + 2 * HALF_FAN)
    geometry = scanner(kind, views=240, arc=arc, detector=(16, 64))
    volume = fdk(cylinder(geometry, centre=(6.0, -4.0)), geometry, GRID)
    assert middle(volume, GRID, centre=(6.0, -4.0)) == pytest.approx(0.02, rel=0.01)
    full = scanner(kind, views=240, detector=(16, 64))
    reference = fdk(cylinder(full, centre=(6.0, -4.0)), full, GRID)
    assert float((volume - reference).abs().mean()) < 0.02 * 0.02


@pytest.mark.parametrize("arc", [1.0, 2.9, math.pi, math.pi + 2 * HALF_FAN, 5.0, 2 * math.pi])
def test_redundancy_counts_every_measured_line_once(arc):
    angles = sparse_view(400, arc, start=1.0)
    fan = np.linspace(-HALF_FAN, HALF_FAN, 21)
    found = measured_arc(angles)
    assert found.length == pytest.approx(arc)
    weights = redundancy(angles, fan, found, found.closed)
    beta = np.asarray(angles)[:, None]
    along = np.mod(beta - 2 * fan + math.pi - found.start, 2 * math.pi)
    view = along / found.steps[0] - 0.5
    measured = along < found.length
    assert np.allclose(weights[~measured], 1.0)
    mirrored = np.broadcast_to(np.arange(20, -1, -1), view.shape)
    whole = np.mod(np.rint(view), 400) if found.closed else np.clip(np.rint(view), 0, 399)
    conjugate = weights[whole.astype(int), mirrored]
    assert np.median(np.abs(weights + conjugate - 1)[measured]) < 0.02 if measured.any() else arc < 2.9


def test_a_limited_arc_keeps_the_share_it_measured():
    # parallel views of a disc about the axis are all alike, so the central voxel's value is proportional to the arc
    geometry = scanner(ParallelBeam, views=100, arc=math.radians(100))
    whole = scanner(ParallelBeam, views=180, arc=math.pi)
    grid = Grid((1, 1, 1))
    short, full = (fdk(cylinder(g), g, grid).item() for g in (geometry, whole))
    assert short == pytest.approx(full * 100 / 180, rel=1e-4)


def test_short_scan_can_be_forced_and_refused():
    turn = scanner(ConeBeam, views=240)
    y = cylinder(turn)
    forced, plain = (fdk(y, turn, GRID, short_scan=s) for s in (True, None))
    assert middle(forced, GRID) == pytest.approx(middle(plain, GRID), rel=0.01)
    half = scanner(ParallelBeam, arc=math.pi)
    once, refused = (fdk(cylinder(half), half, GRID, short_scan=s) for s in (None, False))
    assert torch.allclose(refused, once / 2, atol=1e-7)


def test_arc_of_views_in_any_order_and_spacing():
    gapped = measured_arc((0.3, 0.1, 0.2, 0.5, 2 * math.pi + 0.2))
    assert not gapped.closed
    assert gapped.start == pytest.approx(0.05)
    assert gapped.length == pytest.approx(0.55)
    assert np.allclose(gapped.steps, [0.15, 0.1, 0.05, 0.2, 0.05])
    twice = measured_arc(sparse_view(40, 4 * math.pi))
    assert twice.closed
    assert np.allclose(twice.steps, 2 * math.pi / 40)


def test_views_taken_twice_change_nothing():
    once = scanner(ConeBeam, views=40)
    twice = replace(once, angles=(*once.angles, *once.angles))
    y = cylinder(once)
    assert torch.allclose(fdk(torch.cat((y, y)), twice, GRID), fdk(y, once, GRID), atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arc", [2 * math.pi, 4.0, 1.7])
def test_numba_equals_torch(kind, arc):
    geometry = scanner(kind, views=11, arc=arc, detector=(9, 31), pixel=(2.0, 3.0), offset=(2.5, -7.3))
    grid = Grid((14, 17, 23), (2.1, 3.0, 2.4), (3.0, -4.0, 6.0))  # wider and higher than the detector
    y = torch.randn(geometry.shape, generator=torch.Generator().manual_seed(0))
    fast, plain = (fdk(y, geometry, grid, backend=b) for b in ("numba", "torch"))
    assert float((plain == 0).float().mean()) > 0.01
    assert float((fast - plain).abs().max()) < 1e-4 * float(plain.abs().max())


def test_one_row_and_one_voxel():
    geometry = scanner(ConeBeam, views=5, detector=(1, 8))
    y = torch.randn(geometry.shape, generator=torch.Generator().manual_seed(0))
    for grid in (Grid((1, 1, 1)), Grid((3, 4, 5))):
        assert torch.allclose(fdk(y, geometry, grid), fdk(y, geometry, grid, backend="torch"), atol=1e-5)


def test_linear():
    geometry = scanner(ConeBeam, views=7, arc=4.0)
    a, b = torch.randn(2, *geometry.shape, generator=torch.Generator().manual_seed(0))
    whole = fdk(2 * a - 3 * b, geometry, GRID)
    assert torch.allclose(whole, 2 * fdk(a, geometry, GRID) - 3 * fdk(b, geometry, GRID), atol=1e-4)


def test_hann_is_smoother_than_ramp():
    geometry = scanner(ConeBeam, views=30)
    y = torch.randn(geometry.shape, generator=torch.Generator().manual_seed(0))
    ramp, hann = (fdk(y, geometry, GRID, f) for f in ("ramp", "hann"))
    assert float(hann.diff(dim=2).norm()) < 0.6 * float(ramp.diff(dim=2).norm())


@pytest.mark.parametrize("kind", KINDS)
def test_a_quarter_turn_of_the_scanner_turns_the_volume(kind):
    geometry = scanner(kind, views=12)
    y = torch.randn(geometry.shape, generator=torch.Generator().manual_seed(0))
    turned = replace(geometry, angles=tuple(a + math.pi / 2 for a in geometry.angles))
    there = fdk(y, turned, GRID)  # (x, y) -> (-y, x)
    here = fdk(y, geometry, GRID)
    assert torch.allclose(there, here.transpose(1, 2).flip(2), atol=1e-4 * float(here.abs().max()))


def test_a_moved_grid_is_a_window_on_the_same_volume():
    geometry = scanner(ConeBeam, views=9)
    y = torch.randn(geometry.shape, generator=torch.Generator().manual_seed(0))
    whole = fdk(y, geometry, Grid((8, 20, 24), (2.0, 2.5, 1.5)))
    part = fdk(y, geometry, Grid((4, 10, 12), (2.0, 2.5, 1.5), (2.0 * 2, -2.5 * 3, 1.5 * 6)))
    assert torch.allclose(part, whole[4:8, 2:12, 12:24], atol=1e-4 * float(whole.abs().max()))


def test_a_cropped_detector_sees_the_same_object():
    geometry = scanner(ConeBeam, detector=(40, 140))
    cropped = geometry.cropped(GRID)
    assert cropped.shape[2] < 100
    whole, part = (fdk(cylinder(g), g, GRID) for g in (geometry, cropped))
    assert torch.allclose(part, whole, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_an_offset_detector_sees_the_object_where_it_is(kind):
    centre = (8.0, -5.0)
    geometry = scanner(kind, detector=(24, 110), offset=(3.3, 12.7))
    volume = fdk(cylinder(geometry, centre), geometry, GRID)
    straight = scanner(kind, detector=(24, 110))
    reference = fdk(cylinder(straight, centre), straight, GRID)
    assert middle(volume, GRID, centre) == pytest.approx(0.02, rel=0.01)
    assert float((volume - reference).abs().mean()) < 0.02 * 0.02


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_displaced_detector_sees_the_far_half_half_a_turn_later(kind, side):
    geometry = scanner(kind, views=240, detector=(16, 50), offset=(0.0, side * 17 * scanner(kind).pixel[1]))
    y = cylinder(geometry)
    assert float(y[:, 8, 0].min()) != float(y[:, 8, -1].min())  # one side of the cylinder is cut off
    volume = fdk(y, geometry, GRID)
    assert middle(volume, GRID, radius=17.0) == pytest.approx(0.02, rel=0.01)
    assert abs(middle(volume, GRID, centre=(25.5, 25.5), radius=2.5)) < 0.0004


def test_a_fan_is_the_central_slice_of_a_cone():
    cone = scanner(ConeBeam, views=30, detector=(9, 96))
    fan = FanBeam(cone.angles, (9, 96), cone.pixel, source_axis=SOURCE, axis_detector=BEHIND)
    y = torch.randn(cone.shape, generator=torch.Generator().manual_seed(0))
    grid = Grid((1, 30, 30))
    assert torch.allclose(fdk(y, cone, grid), fdk(y, fan, grid), atol=1e-6)


def test_the_number_of_threads_does_not_matter():
    geometry = scanner(ConeBeam, views=9)
    y = torch.randn(geometry.shape, generator=torch.Generator().manual_seed(0))
    threads = torch.get_num_threads()
    volumes = []
    try:
        for count in (1, 2, 1, 3):
            torch.set_num_threads(count)
            volumes.append(fdk(y, geometry, GRID, backend="numba"))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(volume, volumes[0]) for volume in volumes)


def test_the_ramp_does_not_know_how_many_threads_there_are():
    rows = torch.randn(8, 20, 32, generator=torch.Generator().manual_seed(0))
    threads = torch.get_num_threads()
    filtered = []
    try:
        for count in (1, 2, 1, 3):
            torch.set_num_threads(count)
            filtered.append(apply_ramp(rows, 1.0))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(some, filtered[0]) for some in filtered)
    response = torch.as_tensor(ramp_response(32, 1.0), dtype=torch.float32)
    plain = torch.fft.irfft(torch.fft.rfft(rows, n=2 * (len(response) - 1)) * response)[..., :32]
    torch.testing.assert_close(filtered[0], plain, rtol=1e-5, atol=1e-5)


def test_bad_input_is_refused():
    geometry = scanner(ConeBeam, views=3)
    y = torch.zeros(geometry.shape)
    with pytest.raises(CosliceError, match="projections of shape"):
        fdk(y[:2], geometry, GRID)
    with pytest.raises(CosliceError, match="Orbit"):
        fdk(y, geometry.to_orbit(), GRID)
    with pytest.raises(CosliceError, match="source turns"):
        fdk(y, geometry, Grid((2, 400, 400)))
    with pytest.raises(CosliceError, match="filter"):
        fdk(y, geometry, GRID, "cosine")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_portions_of_views_change_no_bit_and_one_view_may_stand_for_all(backend, monkeypatch):
    geometry = ConeBeam(sparse_view(9), (10, 16), (2.0, 2.0), (0.0, 1.0), source_axis=90.0, axis_detector=60.0)
    grid = Grid((6, 7, 8), (2.0, 2.0, 2.0))
    projections = torch.rand(9, 10, 16, generator=torch.Generator().manual_seed(2))
    whole = fdk(projections, geometry, grid, backend=backend)
    one = projections[:1].expand(9, -1, -1)
    copies = fdk(one.contiguous(), geometry, grid, backend=backend)
    torch.testing.assert_close(fdk(one, geometry, grid, backend=backend), copies, rtol=1e-5, atol=1e-7)
    module = import_module("coslice.classical.fdk")  # the name is that of the function, too
    monkeypatch.setattr(module, "_MOST_BYTES", 4 * 2 * 10 * 16)  # two views
    assert torch.equal(fdk(projections, geometry, grid, backend=backend), whole)
