"""A voxel never changes its place in the patient, whatever is cut or resampled."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, Grid, sparse_view
from coslice.operators import Projector
from coslice.resampling import resize
from coslice.volume import Volume
from coslice.window import CT_WINDOW, Window
from laws import relative

OBLIQUE = np.array([[0.7, -0.1, 0.3, -80.0], [0.15, 0.68, -0.2, -60.0], [-0.12, 0.1, 2.4, 40.0], [0.0, 0.0, 0.0, 1.0]])


def centre_of_mass(volume: Volume) -> np.ndarray:
    """World point (R, A, S), mm, by the definition: sum of value times place."""
    data = volume.data.double().numpy()
    z, y, x = np.indices(data.shape)
    index = np.array([(data * axis).sum() for axis in (x, y, z)]) / data.sum()
    return volume.affine[:3, :3] @ index + volume.affine[:3, 3]


def blob(shape: tuple[int, int, int], centre: tuple[float, float, float], width: float) -> torch.Tensor:
    z, y, x = np.indices(shape)
    square = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2
    return torch.from_numpy(np.exp(-square / (2 * width**2))).float()


def outer_corners(volume: Volume) -> np.ndarray:
    nz, ny, nx = volume.shape
    index = np.array([(x, y, z, 1) for x in (-0.5, nx - 0.5) for y in (-0.5, ny - 0.5) for z in (-0.5, nz - 0.5)])
    return index @ volume.affine.T


@pytest.mark.parametrize("size", [(12, 20), (40, 40), (80, 33), 16])
def test_resizing_keeps_the_field_of_view_and_the_anatomy(size):
    volume = Volume(blob((9, 40, 48), (4, 17.3, 25.6), 4.0), OBLIQUE)
    resized = volume.resized(size)
    assert resized.shape == (9, *((size, size) if isinstance(size, int) else size))
    np.testing.assert_allclose(outer_corners(resized), outer_corners(volume), atol=1e-9)
    np.testing.assert_allclose(centre_of_mass(resized), centre_of_mass(volume), atol=0.02)


def test_resizing_by_a_whole_factor_down_and_up_has_the_closed_form_spacing():
    volume = Volume(torch.zeros(3, 24, 36), np.diag((0.5, 0.75, 2.0, 1.0)))
    assert volume.resized((12, 12)).spacing == pytest.approx((2.0, 1.5, 1.5))
    assert volume.resized((48, 72)).spacing == pytest.approx((2.0, 0.375, 0.25))
    assert volume.resized((24, 36)) is volume


def test_resizing_averages_instead_of_skipping():
    # A checkerboard of 0 and 1 is grey from afar; picking single pixels would leave it black or white.
    board = (torch.arange(32)[:, None] + torch.arange(32)) % 2
    coarse = Volume(board[None].float()).resized(8).data
    torch.testing.assert_close(coarse, torch.full_like(coarse, 0.5), atol=0.02, rtol=0)


@pytest.mark.parametrize(("start", "stop"), [(0, 11), (3, 9), (10, 11)])
def test_slices_stay_where_they_were(start, stop):
    volume = Volume(torch.rand(11, 5, 6), OBLIQUE)
    cut = volume.slices(start, stop)
    assert torch.equal(cut.data, volume.data[start:stop])
    first = volume.affine @ (2, 4, start, 1)
    np.testing.assert_allclose(cut.affine @ (2, 4, 0, 1), first, atol=1e-12)
    assert cut.spacing == pytest.approx(volume.spacing)


def test_slicing_twice_is_slicing_once():
    volume = Volume(torch.rand(11, 5, 6), OBLIQUE)
    twice, once = volume.slices(2, 10).slices(3, 5), volume.slices(5, 7)
    assert torch.equal(twice.data, once.data)
    np.testing.assert_allclose(twice.affine, once.affine, atol=1e-12)


@pytest.mark.parametrize(("start", "stop"), [(4, 4), (5, 3), (-1, 3), (0, 12), (11, 12)])
def test_a_range_outside_the_scan_is_refused_with_the_number_of_slices(start, stop):
    with pytest.raises(CosliceError, match="has 11 slices"):
        Volume(torch.zeros(11, 5, 6)).slices(start, stop)


def test_spacing_is_the_distance_between_neighbouring_centres():
    volume = Volume(torch.zeros(4, 5, 6), OBLIQUE)
    origin = volume.affine @ (0, 0, 0, 1)
    steps = [np.linalg.norm(volume.affine @ step - origin) for step in ((0, 0, 1, 1), (0, 1, 0, 1), (1, 0, 0, 1))]
    assert volume.spacing == pytest.approx(tuple(steps))


def test_with_data_keeps_everything_but_the_voxels():
    volume = Volume(torch.zeros(4, 5, 6), OBLIQUE, orientation=("L", "P", "S"), space_code=4)
    other = volume.with_data(torch.ones(4, 5, 6, dtype=torch.float64))
    assert other.data.dtype == torch.float32
    assert other.data.min() == 1
    assert np.array_equal(other.affine, volume.affine)
    assert (other.orientation, other.space_code) == (("L", "P", "S"), 4)
    with pytest.raises(CosliceError, match=r"\(4, 6, 5\).*\(4, 5, 6\)"):
        volume.with_data(torch.ones(4, 6, 5))


def test_the_affine_cannot_be_changed_behind_a_volumes_back():
    affine = np.eye(4)
    volume = Volume(torch.zeros(1, 1, 1), affine)
    affine[0, 3] = 7
    assert volume.affine[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0, 3] = 7


@pytest.mark.parametrize(
    ("data", "affine", "words"),
    [
        (torch.zeros(4, 5), np.eye(4), "three axes"),
        (torch.zeros(0, 5, 5), np.eye(4), "at least one voxel"),
        (torch.zeros(2, 2, 2), np.eye(3), "4 x 4"),
        (torch.zeros(2, 2, 2), np.diag((1, 1, math.nan, 1)), "finite"),
        (torch.zeros(2, 2, 2), np.diag((1, 1, 1, 2)), "last row"),
        (torch.zeros(2, 2, 2), np.diag((1, 1, 0, 1)), "flattens"),
        (torch.zeros(2, 2, 2), np.ones((4, 4)) * [[1], [1], [1], [0]] + np.diag((0, 0, 0, 1)), "last row|flattens"),
    ],
)
def test_a_volume_that_cannot_be_is_refused(data, affine, words):
    with pytest.raises(CosliceError, match=words):
        Volume(data, affine)


def test_the_repr_tells_a_clinician_what_is_in_it():
    volume = Volume(torch.linspace(-1000, 1600, 60).reshape(3, 4, 5), np.diag((0.7, 0.7, 2.5, 1)), ("L", "P", "S"))
    for words in ("3 x 4 x 5 voxels", "2.5 x 0.7 x 0.7 mm", "7.5 x 2.8 x 3.5 mm", "LPS", "-1000 to 1600"):
        assert words in repr(volume)


def test_a_window_maps_its_ends_to_0_and_1_and_back():
    torch.testing.assert_close(CT_WINDOW.to_unit(torch.tensor([-1000.0, 300.0, 1600.0])), torch.tensor([0, 0.5, 1.0]))
    values = torch.linspace(-3000, 4000, 141)
    torch.testing.assert_close(CT_WINDOW.from_unit(CT_WINDOW.to_unit(values, clip=False)), values, atol=1e-3, rtol=0)
    torch.testing.assert_close(CT_WINDOW.from_unit(CT_WINDOW.to_unit(values)), values.clamp(-1000, 1600))
    unit = CT_WINDOW.to_unit(values)
    assert all(a <= b for a, b in pairwise(unit.tolist()))
    assert unit.min() == 0
    assert unit.max() == 1


@pytest.mark.parametrize(("low", "high"), [(0, 0), (1, -1), (math.nan, 1), (0, math.inf)])
def test_a_window_without_width_is_refused(low, high):
    with pytest.raises(CosliceError, match="high above low"):
        Window(low, high)


@pytest.mark.parametrize("spacing", [1.0, (3.1, 0.9, 1.3), (2.0, 0.5, 0.7), 0.61])
def test_resampling_keeps_the_first_face_and_the_anatomy_and_gives_the_exact_spacing(spacing):
    volume = Volume(blob((20, 44, 52), (9.3, 21.3, 25.6), 3.0), OBLIQUE)
    resampled = volume.resampled(spacing)
    wanted = (spacing,) * 3 if isinstance(spacing, float) else spacing
    assert resampled.spacing == pytest.approx(wanted, rel=1e-12)
    assert resampled.shape == tuple(
        int(n * o / s) for n, o, s in zip(volume.shape, volume.spacing, wanted, strict=True)
    )
    np.testing.assert_allclose(outer_corners(resampled)[0], outer_corners(volume)[0], atol=1e-9)
    np.testing.assert_allclose(centre_of_mass(resampled), centre_of_mass(volume), atol=0.02)


@pytest.mark.parametrize(("size", "spacing"), [((9, 30), (2.0, 4 / 3, 0.8)), ((24, 12), (2.0, 0.5, 2.0))])
def test_resampling_to_whole_numbers_of_pixels_is_resizing(size, spacing):
    volume = Volume(torch.rand(3, 12, 24), np.diag((1.0, 1.0, 2.0, 1.0)))
    resampled, resized = volume.resampled(spacing), volume.resized(size)
    torch.testing.assert_close(resampled.data, resized.data, rtol=0, atol=1e-6)
    np.testing.assert_allclose(resampled.affine, resized.affine, atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_resampling_treats_the_three_axes_alike(axis):
    data, spacing = torch.rand(9, 11, 13), [1.0, 1.0, 1.0]
    turned = data.transpose(0, axis)
    spacing[axis] = 1.7
    expected = Volume(turned).resampled((1.7, 1.0, 1.0)).data.transpose(0, axis)
    dz, dy, dx = spacing
    assert torch.equal(Volume(data).resampled((dz, dy, dx)).data, expected)


def test_resampling_keeps_constants_and_ramps():
    volume = Volume(torch.arange(40.0)[:, None, None].expand(40, 6, 7) + torch.arange(7.0), np.diag((1, 1, 1, 1)))
    fine = volume.resampled((0.37, 1.0, 0.5))
    z, x = fine.affine[2, 3] + 0.37 * torch.arange(fine.shape[0]), fine.affine[0, 3] + 0.5 * torch.arange(14)
    expected = (z[:, None, None] + x).expand(fine.shape).float()
    torch.testing.assert_close(fine.data[2:-2, :, 1:-1], expected[2:-2, :, 1:-1], rtol=0, atol=1e-4)
    constant = Volume(torch.full((9, 8, 7), 0.3)).resampled((1.9, 0.23, 1.3)).data
    torch.testing.assert_close(constant, torch.full_like(constant, 0.3), rtol=0, atol=1e-6)


def test_resampling_to_what_it_is_changes_no_bit():
    # 1 mm as float32 files and products of rotations have it
    volume = Volume(torch.rand(4, 5, 6), np.diag((1.0000001, 0.99999994, 1.0, 1.0)))
    assert volume.resampled(1.0) is volume
    only_z = volume.resampled((0.5, 1.0, 1.0))
    assert torch.equal(only_z.data[0], volume.data[0])
    assert only_z.spacing[1:] == volume.spacing[1:]


def test_a_volume_thinner_than_the_new_voxels_becomes_one_of_them():
    data = torch.rand(2, 3, 4)
    single = Volume(data).resampled((5.0, 1.0, 1.0))
    assert single.shape == (1, 3, 4)
    assert single.affine[2, 3] == 2.0  # from face -0.5 to 4.5
    torch.testing.assert_close(single.data[0], (data * torch.tensor([0.6, 0.8])[:, None, None]).sum(0) / 1.4)


@pytest.mark.parametrize("spacing", [0, -1.0, math.nan, (1.0, 2.0), (1.0, math.inf, 1.0)])
def test_a_spacing_that_is_none_is_refused(spacing):
    with pytest.raises(CosliceError, match="positive numbers"):
        Volume(torch.zeros(2, 2, 2)).resampled(spacing)


@pytest.mark.parametrize("mm", [3.0, 5.0, 7.5, 1.3])
def test_thicker_slices_are_the_means_of_what_they_cover(mm):
    volume = Volume(torch.rand(31, 4, 5, dtype=torch.float64), np.diag((0.8, 0.8, 1.0, 1.0)))
    thick = volume.thickened(mm)
    assert thick.shape == (int(31 / mm), 4, 5)
    assert thick.spacing == pytest.approx((mm, 0.8, 0.8))
    np.testing.assert_allclose(outer_corners(thick)[0], outer_corners(volume)[0], atol=1e-12)
    # By tenths of a slice, each in one slice of both.
    tenths = volume.data.repeat_interleave(10, 0)[: thick.shape[0] * round(10 * mm)]
    torch.testing.assert_close(thick.data, tenths.unflatten(0, (-1, round(10 * mm))).mean(1), rtol=0, atol=1e-5)


def test_thickening_keeps_the_anatomy_and_once_by_6_is_twice_by_2_and_3():
    volume = Volume(blob((48, 20, 22), (22.7, 9.2, 11.4), 3.0), OBLIQUE)
    dz = volume.spacing[0]
    np.testing.assert_allclose(centre_of_mass(volume.thickened(2.5 * dz)), centre_of_mass(volume), atol=0.02)
    once, twice = volume.thickened(6 * dz), volume.thickened(2 * dz).thickened(6 * dz)
    torch.testing.assert_close(once.data, twice.data, rtol=0, atol=1e-6)
    np.testing.assert_allclose(once.affine, twice.affine, atol=1e-9)
    assert volume.thickened(dz) is volume


@pytest.mark.parametrize("mm", [0.99, 10.01, -3.0, math.nan, math.inf])
def test_slices_that_would_be_thinner_or_thicker_than_the_volume_are_refused(mm):
    with pytest.raises(CosliceError, match=r"1 mm \(one slice\) to 10 mm"):
        Volume(torch.zeros(10, 2, 2)).thickened(mm)


@pytest.mark.parametrize("shape", [16, (9, 11, 13), (10, 11, 15), (12, 18, 14)])
def test_padding_moves_no_voxel_and_cropping_undoes_it(shape):
    volume = Volume(torch.rand(9, 11, 13) + 2, OBLIQUE, ("L", "P", "S"), 4)
    padded = volume.padded(shape)
    assert padded.shape == ((shape,) * 3 if isinstance(shape, int) else shape)
    # Zeros have no mass.
    np.testing.assert_allclose(centre_of_mass(volume.padded(shape, 0.0)), centre_of_mass(volume), atol=1e-9)
    back = padded.cropped(volume.shape)
    assert torch.equal(back.data, volume.data)
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-12)
    assert (back.orientation, back.space_code) == (("L", "P", "S"), 4)


def test_padding_is_in_the_middle_and_has_the_value_asked_for():
    volume = Volume(torch.rand(2, 3, 4) + 1)
    assert torch.equal(volume.padded((5, 3, 8), 7.0).data[1:3, :, 2:6], volume.data)
    assert (volume.padded((5, 3, 8), 7.0).data == 7).sum() == 5 * 3 * 8 - 2 * 3 * 4
    assert volume.padded(9).data[0, 0, 0] == volume.data.min()


@pytest.mark.parametrize("shape", [(9, 12, 12), 9, (9, 11)])
def test_padding_to_less_and_cropping_to_more_are_refused(shape):
    with pytest.raises(CosliceError, match=r"not below the volume's, \(10, 11, 12\)"):
        Volume(torch.zeros(10, 11, 12)).padded(shape)
    with pytest.raises(CosliceError, match=r"not above the volume's, \(8, 11, 8\)"):
        Volume(torch.zeros(8, 11, 8)).cropped((9, 12, 12))
    with pytest.raises(CosliceError, match="at least 1"):
        Volume(torch.zeros(8, 11, 8)).cropped(0)


@pytest.mark.parametrize("factor", [1, 2, 5])
def test_thin_slices_fill_thick_ones_from_face_to_face(factor):
    thick = Volume(torch.zeros(6, 4, 5), OBLIQUE)
    thin = thick.with_thin_slices(torch.zeros(6 * factor, 4, 5), factor)
    np.testing.assert_allclose(outer_corners(thin), outer_corners(thick), atol=1e-9)
    assert thin.spacing == pytest.approx((thick.spacing[0] / factor, *thick.spacing[1:]))
    for i in range(6):
        inner = thin.slices(i * factor, (i + 1) * factor)
        np.testing.assert_allclose(outer_corners(inner), outer_corners(thick.slices(i, i + 1)), atol=1e-9)


@pytest.mark.parametrize(("count", "factor"), [(30, 5), (28, 5), (26, 5), (7, 2), (4, 4)])
def test_what_is_measured_of_a_volume_lies_where_it_does_and_leads_back_to_its_grid(count, factor):
    volume = Volume(blob((count, 12, 13), (count / 2, 5.8, 6.1), 1.5), OBLIQUE)
    measured = torch.zeros(-(-count // factor), 12, 13)
    thick = volume.with_thick_slices(measured, factor)
    centre = volume.affine @ (3, 4, 2 * factor + (factor - 1) / 2, 1)
    np.testing.assert_allclose(thick.affine @ (3, 4, 2, 1), centre, atol=1e-9)
    back = thick.with_thin_slices(volume.data, factor)
    assert torch.equal(back.data, volume.data)
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-9)


def test_the_mean_of_whole_slices_is_the_thick_volume_of_that_thickness():
    volume = Volume(torch.rand(20, 4, 5), OBLIQUE)
    thickened = volume.thickened(5 * volume.spacing[0])
    measured = volume.with_thick_slices(volume.data.unflatten(0, (4, 5)).mean(1), 5)
    torch.testing.assert_close(thickened.data, measured.data, rtol=0, atol=1e-6)
    np.testing.assert_allclose(thickened.affine, measured.affine, atol=1e-9)


@pytest.mark.parametrize("count", [4, 10, 0])
def test_slices_that_do_not_fit_the_factor_are_refused(count):
    volume = Volume(torch.zeros(3, 2, 2))
    with pytest.raises(CosliceError, match=rf"\({count}, 2, 2\) and a factor of 3 were given, \(9, 2, 2\)"):
        volume.with_thin_slices(torch.zeros(count, 2, 2), 3)
    with pytest.raises(CosliceError, match=r"\(1, 2, 2\) \(z, y, x\)"):
        volume.with_thick_slices(torch.zeros(count, 2, 2), 3)
    with pytest.raises(CosliceError, match="at least 1"):
        volume.with_thin_slices(torch.zeros(3, 2, 2), 0)
    with pytest.raises(CosliceError, match="at least 1"):
        volume.with_thick_slices(torch.zeros(3, 2, 2), 0)


@st.composite
def placed_volumes(draw):
    """Volumes of any size, turned any way and anywhere, mirrored ones too; and an isocentre."""
    number = st.floats(-1, 1, width=32)
    turn, _ = np.linalg.qr(np.eye(3) + np.array([[draw(number) for _ in range(3)] for _ in range(3)]) / 4)
    spacing = [draw(st.floats(0.2, 5)) for _ in range(3)]
    origin, isocentre = ([1000 * draw(number) for _ in range(3)] for _ in range(2))
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * spacing, origin
    return Volume(torch.zeros([draw(st.integers(1, 6)) for _ in range(3)]), affine), isocentre


@given(placed_volumes())
@settings(max_examples=100, deadline=None)
def test_a_grid_says_where_the_voxels_are_and_leads_back_to_them(placed):
    volume, isocentre = placed
    assert volume.grid() == Grid(volume.shape, volume.spacing)
    grid = volume.grid(isocentre)
    assert (grid.shape, grid.spacing) == (volume.shape, volume.spacing)
    last = [n - 1 for n in volume.shape]
    world = volume.affine @ (*last[::-1], 1)
    place = [grid.axis(name)[number] for name, number in zip("xyz", last[::-1], strict=True)]
    np.testing.assert_allclose(volume.directions @ place + isocentre, world[:3], atol=1e-9)
    back = Volume.on(grid, volume.data, isocentre, volume.directions)
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-9)
    np.testing.assert_allclose(back.grid(isocentre).centre, grid.centre, atol=1e-9)


def test_a_scan_on_a_scanners_own_axes_is_counted_from_its_isocentre():
    grid = Grid((3, 4, 5), (2.0, 1.0, 0.5), (10.0, -20.0, 30.0))
    volume = Volume.on(grid, torch.zeros(3, 4, 5))
    assert np.array_equal(volume.affine @ (0, 0, 0, 1), (29.0, -21.5, 8.0, 1))
    assert volume.grid((0, 0, 0)) == grid


@pytest.mark.parametrize("away", [(0.0, 0.0, 0.0), (3e4, -2e4, 1e4)])
def test_a_ball_casts_one_shadow_wherever_the_scan_begins(away):
    """Cutting, padding and moving patient and scanner together change nothing, once the isocentre is given."""
    turn, _ = np.linalg.qr([[1.0, 0.2, -0.1], [-0.3, 1.0, 0.2], [0.1, -0.1, 1.0]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * (1.0, 1.2, 2.0), (-20.0, -25.0, 5.0)
    ball = (blob((12, 24, 24), (5.0, 12.4, 10.7), 2.0) > 0.3).float()
    volume = Volume(ball, affine)
    isocentre = volume.affine[:3] @ (13, 11, 6, 1)
    scanner = ConeBeam(sparse_view(5), (20, 40), (2.0, 2.0), source_axis=200.0, axis_detector=100.0)
    expected = Projector(scanner, volume.grid(tuple(isocentre))).forward(volume.data)
    moved = np.eye(4)
    moved[:3, 3] = away
    for other in (volume, volume.padded((17, 25, 30), 0.0), volume.slices(0, 11)):
        there = Volume(other.data, moved @ other.affine)
        shadow = Projector(scanner, there.grid(isocentre + away)).forward(there.data)
        assert relative(shadow, expected) < 1e-4
    off = volume.padded((17, 24, 24), 0.0)
    assert relative(Projector(scanner, off.grid()).forward(off.data), expected) > 0.1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Volume(torch.zeros(2, 2, 2)).grid((0, 0)), "isocentre"),
        (lambda: Volume(torch.zeros(2, 2, 2)).grid((0, math.nan, 0)), "isocentre"),
        (lambda: Volume(torch.zeros(2, 2, 2), OBLIQUE).grid((0, 0, 0)), "right angles"),
        (lambda: Volume.on(Grid((2, 2, 2)), torch.zeros(2, 2, 3)), r"\(2, 2, 2\) \(z, y, x\)"),
        (lambda: Volume.on(Grid((2, 2, 2)), torch.zeros(2, 2, 2), directions=OBLIQUE[:3, :3]), "right angles"),
    ],
)
def test_places_that_a_grid_cannot_have_are_refused(make, words):
    with pytest.raises(CosliceError, match=words):
        make()


def test_an_image_is_resized_by_itself_whatever_is_stacked_with_it():
    stack = torch.rand(5, 33, 20, generator=torch.Generator().manual_seed(0))
    for size in ((16, 20), (40, 7), (33, 41)):
        alone = torch.cat([resize(image[None], size) for image in stack])
        assert torch.equal(resize(stack, size), alone)
    assert resize(stack, (33, 20)) is stack
