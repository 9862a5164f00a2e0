"""A scan that a real measurement is compared with."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from coslice.errors import CosliceError
from coslice.preparation import Preparation
from coslice.problems import from_thick_slices, with_reference
from coslice.volume import Volume
from coslice.window import Window

WINDOW = Window(0.0, 1000.0, "")


def affine(z=0.0, dz=5.0, dx=1.0):
    matrix = np.diag([dx, dx, dz, 1.0])
    matrix[2, 3] = z
    return matrix


def study(preparation=Preparation(), size=12):
    thick = Volume(torch.rand(6, size, size, generator=torch.Generator().manual_seed(1)) * 900, affine())
    return from_thick_slices(thick, WINDOW, 5, preparation=preparation)


def test_voxels_that_lie_on_those_of_the_reference_are_taken_bit_by_bit():
    thin = Volume(torch.rand(40, 12, 12) * 900, affine(z=-4.0, dz=1.0))  # begins two slices below the first thin one
    found = with_reference(study(), thin, "thin")
    assert found.unit is not None and found.measured and found.reference == "thin"
    assert torch.equal(found.unit, WINDOW.to_unit(thin.data[2:32]))
    assert "interpolated" not in found.remarks[-1]


def test_other_voxels_are_interpolated_linearly_which_is_said():
    """A linear ramp in mm is the same ramp on any grid."""

    def ramp(place, shape):
        z, y, x = np.indices(shape)
        index = np.stack((x, y, z, np.ones(shape)))
        r, a, s = np.tensordot(place, index, 1)[:3]
        return torch.from_numpy(300 + 3 * r - 2 * a + 4 * s).float()

    place, shape = affine(z=-5.3, dz=1.7, dx=0.9), (30, 16, 16)
    place[0, 3] = place[1, 3] = -0.4
    found = with_reference(study(), Volume(ramp(place, shape), place), "other")
    assert found.unit is not None and "interpolated linearly" in found.remarks[-1]
    expected = WINDOW.to_unit(ramp(found.volume.affine, found.volume.shape))
    torch.testing.assert_close(found.unit, expected, rtol=0, atol=1e-4)


def test_the_reference_is_resized_as_the_scan_was():
    thin = Volume(torch.rand(40, 12, 12) * 900, affine(z=-4.0, dz=1.0))
    found = with_reference(study(Preparation(size=6)), thin, "thin")
    assert found.unit is not None
    torch.testing.assert_close(found.unit, WINDOW.to_unit(thin.resized(6).data[2:32]))


@pytest.mark.parametrize(("z", "count", "kept"), [(8.0, 40, "2:6"), (-4.0, 17, "0:3"), (3.0, 15, "1:4")])
def test_a_reference_that_is_too_short_says_which_slices_to_keep(z, count, kept):
    thin = Volume(torch.rand(count, 12, 12), affine(z=z, dz=1.0))
    with pytest.raises(CosliceError, match=f"--slices {kept}"):
        with_reference(study(), thin, "thin")
    first, last = map(int, kept.split(":"))
    cut = study(Preparation(slices=(first, last)))
    assert with_reference(cut, thin, "thin").unit is not None


def test_one_elsewhere_is_refused():
    far = replace(study().volume, affine=affine(z=500.0, dz=1.0), qform=None)
    with pytest.raises(CosliceError, match="no slice in common"):
        with_reference(study(), far, "far")
