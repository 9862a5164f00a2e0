"""Tilted slices put upright show the same body at the same places."""

import numpy as np
import pytest
import torch

from coslice.errors import CosliceError
from coslice.io.dicom import open_dicom, upright
from coslice.io.nifti import canonical_volume
from coslice.volume import shears
from dicom_series import STRAIGHT, numbers, sheared, turned, write_series


def tilted(degrees, codes=None, sideways=0.0, shape=(9, 12, 6)):
    """Slices (column, row, slice) of a linear field, cut with a tilt; the field, and where it was looked at."""
    affine = sheared(degrees)
    affine[:3, 2] += sideways * affine[:3, 0]
    if codes is not None:
        affine = turned(90, codes, affine)
    gradient = np.array([0.7, -1.3, 2.1])
    index = np.indices(shape).reshape(3, -1)
    points = affine[:3, :3] @ index + affine[:3, 3:]
    return canonical_volume((gradient @ points).reshape(shape), affine), gradient


@pytest.mark.parametrize("degrees", [-28.0, -7.5, 3.0, 20.0])
@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("sideways", [0.0, 0.8])
def test_a_linear_field_is_itself_wherever_a_slice_saw_it(degrees, axis, sideways):
    volume, gradient = tilted(degrees, axis, sideways)
    straight, note = upright(volume)
    assert not shears(straight.affine)
    z, y, x = np.indices(straight.shape)
    points = np.einsum("ij,j...->i...", straight.affine[:3, :3], np.stack((x, y, z)))
    field = np.einsum("i,i...->...", gradient, points + straight.affine[:3, 3][:, None, None, None])
    # Where the volume's own grid has voxels on all sides.
    inside = np.einsum("ij,j...->i...", np.linalg.inv(volume.affine) @ straight.affine, np.stack((x, y, z, 0 * x + 1)))
    sizes = np.array(volume.shape[::-1])[:, None, None, None]
    seen = ((inside[:3] >= -1e-6) & (inside[:3] <= sizes - 1 + 1e-6)).all(axis=0)
    assert seen.sum() > 0.6 * volume.data.numel()
    np.testing.assert_allclose(straight.data.numpy()[seen], field[seen], atol=1e-3)
    # Far from all slices there is nothing but the fill.
    far = ((inside[:3] < -1) | (inside[:3] > sizes)).any(axis=0)
    np.testing.assert_allclose(straight.data.numpy()[far], float(volume.data.min()), rtol=1e-6)
    assert f"linear interpolation) onto an upright grid of {' x '.join(map(str, straight.shape))} voxels" in note


@pytest.mark.parametrize("degrees", [-20.0, 11.0])
def test_nothing_is_cut_off(degrees):
    # A slice's sum, with nothing around it, is what it was: linear interpolation is a partition of unity.
    volume, _ = tilted(degrees)
    volume = volume.with_data(torch.rand(volume.shape))
    volume.data[0, 0, 0] = 0.0
    straight, _ = upright(volume)
    sums = straight.data.double().sum((1, 2))
    torch.testing.assert_close(sums, volume.data.double().sum((1, 2)), rtol=1e-5, atol=0)


@pytest.mark.parametrize("degrees", [15.0, -25.0])
def test_the_distance_between_slices_is_that_of_their_planes(degrees):
    volume, _ = tilted(degrees)
    straight, note = upright(volume)
    assert straight.spacing[0] == pytest.approx(2.5 * np.cos(np.radians(degrees)))
    assert straight.spacing[1:] == pytest.approx(volume.spacing[1:])
    assert f"tilted by {abs(degrees):.1f} degrees" in note


def test_a_straight_volume_and_a_rounded_one_are_left_alone():
    for affine in (STRAIGHT, turned(17, 1), np.round(turned(30, 0), 3)):
        volume = canonical_volume(np.random.default_rng(0).random((4, 5, 6)), affine)
        same, note = upright(volume)
        assert same is volume and note == ""


def test_more_than_any_gantry_tilts_is_refused():
    with pytest.raises(CosliceError, match=r"tilted by 40\.0 degrees .* at most 35"):
        upright(tilted(40)[0])
    with pytest.raises(CosliceError, match=r"at most 10"):
        upright(tilted(12)[0], most=10)


def test_slanted_pixels_are_refused():
    affine = STRAIGHT.copy()
    affine[0, 1] = 0.3
    with pytest.raises(CosliceError, match=r"rows and columns .* not at right angles"):
        upright(canonical_volume(np.zeros((4, 5, 6)), affine))


def test_a_tilted_series_from_its_files(tmp_path):
    scan = open_dicom(write_series(tmp_path / "series", numbers(), sheared(15)))
    straight, note = upright(scan.volume)
    assert "15.0 degrees" in note
    assert straight.spacing[0] == pytest.approx(scan.stack.distance)
