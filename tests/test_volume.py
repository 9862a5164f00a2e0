"""A voxel never changes its place in the patient, whatever is cut or resampled."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from coslice.errors import CosliceError
from coslice.volume import CT_WINDOW, Volume, Window

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
