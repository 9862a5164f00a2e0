"""A scan that looks like none is said to, and a volume that lies elsewhere than its truth."""

import numpy as np
import pytest
import torch

from coslice.data import embedded_scan
from coslice.values import remarks_on_appearance, remarks_on_resemblance
from coslice.volume import Volume
from coslice.window import CT_WINDOW, Window


@pytest.fixture(scope="module")
def chest():
    return embedded_scan().resized(64)


@pytest.mark.parametrize("noise", [0, 100])
@pytest.mark.parametrize("unit", ["HU", "a.u."])
def test_nothing_is_said_of_a_chest_whatever_its_slices(chest, noise, unit):
    window = CT_WINDOW if unit == "HU" else Window(0.0, 1000.0, "a.u.")
    draw = noise * torch.randn(chest.shape, generator=torch.Generator().manual_seed(0))
    for volume in (chest, chest.thickened(8.0), chest.slices(0, 8), chest.slices(0, 2)):
        assert remarks_on_appearance(volume.with_data(volume.data + draw[: volume.shape[0]]), window, turned=True) == ()


@pytest.mark.parametrize("axis", ["z", "y", "x"])
def test_the_order_of_slices_is_that_along_their_axis(chest, axis):
    number = "zyx".index(axis)
    order = torch.randperm(chest.shape[number], generator=torch.Generator().manual_seed(1))
    shuffled = chest.with_data(chest.data.index_select(number, order))
    (said,) = remarks_on_appearance(shuffled, CT_WINDOW, axis)
    assert "in the right order" in said
    assert not remarks_on_appearance(chest, CT_WINDOW, axis)


def test_a_volume_that_is_the_same_everywhere_has_no_order_and_is_no_noise():
    flat = Volume(torch.zeros(12, 16, 16) - 100, np.eye(4))
    assert not [one for one in remarks_on_appearance(flat, CT_WINDOW) if "order" in one or "noise" in one]


@pytest.mark.parametrize(("axis", "voxels"), [(0, 3), (1, -2), (2, 5)])
def test_a_shift_is_told_with_its_axis_and_its_sign(chest, axis, voxels):
    moved = chest.with_data(chest.data.roll(voxels, axis))
    (said,) = remarks_on_resemblance(moved, chest)
    assert f"moved by {-voxels} along {'zyx'[axis]} " in said


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirror_image_is_told_with_its_axis(chest, axis):
    (said,) = remarks_on_resemblance(chest.with_data(chest.data.flip(axis)), chest)
    assert f"mirrored along {'zyx'[axis]}:" in said


def test_a_line_through_the_values_is_told_and_noise_is_not(chest):
    (said,) = remarks_on_resemblance(chest.with_data(2 * chest.data - 100), chest)
    assert "0.5 times the reconstruction + 50" in said
    noise = 300 * torch.randn(chest.shape, generator=torch.Generator().manual_seed(2))
    assert not remarks_on_resemblance(chest.with_data(chest.data + noise), chest)
    assert not remarks_on_resemblance(chest, chest)
