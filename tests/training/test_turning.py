"""Turned slices: by a quarter they are what they were, in between they are where geometry says, and blurred once."""

import math

import numpy as np
import pytest
import torch

from coslice.resampling import resize
from coslice.training.collection.catalogue import Pack, PackedScan
from coslice.training.sections import AugmentSettings, PatchSettings, View
from coslice.training.supply.slice_stream import SliceStream
from coslice.training.supply.turning import Span, Turned
from coslice.window import CT_WINDOW

pytestmark = pytest.mark.usefixtures("one_thread")
TURNING = AugmentSettings(flip_columns=0, flip_rows=0, gain=0, offset=0, dequantise=False, rotate=30)


def pack_of(folder, stack, spacing=(1.0, 1.0, 1.0)):
    np.save(folder / "a.npy", (stack * 65535).round().astype(np.uint16))
    scan = PackedScan("a", "a.npy", stack.shape, spacing, CT_WINDOW, 0.0, 0, "CT", "")
    return Pack(folder, "yx", "ct", 16, None, 0.0, (scan,))


def turned(stack, size, side, angle, spacing=(1.0, 1.0), offsets=(0, 0)):
    """All of the slices (n, h, w) become `size` pixels in a window of `side`, turned by `angle`."""
    shape = stack.shape[1:]
    spans = tuple(Span(0, n, m, at) for n, m, at in zip(shape, size, offsets, strict=True))
    turn = Turned((spans[0], spans[1]), side, shape, spacing, angle)
    rows, columns = turn.region
    return torch.from_numpy(turn(np.ascontiguousarray(stack[:, rows, columns], dtype=np.float32)))


def blob(shape, centre, radius, spacing=(1.0, 1.0)):
    """A smooth round spot, (1, h, w), places and radius in mm."""
    y, x = (np.arange(n) * mm for n, mm in zip(shape, spacing, strict=True))
    away = (y[:, None] - centre[0]) ** 2 + (x - centre[1]) ** 2
    return np.exp(-away / (2 * radius**2))[None]


@pytest.mark.parametrize("size", [64, 48, 32, 21, 100, 128])
@pytest.mark.parametrize("quarters", [0, 1, 2, -1])
def test_a_quarter_turn_is_the_resized_slice_turned_by_a_quarter(size, quarters):
    """Antialiased where it shrinks, bilinear where it grows, to the edges; none at all is `resize`."""
    stack = np.random.default_rng(0).random((2, 64, 64)).astype(np.float32)
    expected = torch.rot90(resize(torch.from_numpy(stack), (size, size)), -quarters, (1, 2))
    assert (turned(stack, (size, size), size, quarters * math.pi / 2) - expected).abs().max() < 1e-5


def test_a_smaller_slice_lies_where_it_would():
    stack = np.random.default_rng(0).random((1, 20, 30)).astype(np.float32)
    out = turned(stack, (20, 30), 40, 0.0, offsets=(7, 4))
    expected = torch.zeros(1, 40, 40)
    expected[:, 7:27, 4:34] = torch.from_numpy(stack)
    assert (out - expected).abs().max() < 1e-6
    back = turned(stack, (20, 30), 40, math.pi, offsets=(7, 4))
    assert (back - expected.flip(1, 2)).abs().max() < 1e-6


@pytest.mark.parametrize("angle", [0.2, -0.7, 2.0])
@pytest.mark.parametrize("zoom", [0.5, 1.0, 2.0])
def test_what_is_smooth_is_where_geometry_says(angle, zoom):
    """A spot off the middle moves on its circle, as a closed form has it."""
    side = round(128 * zoom)
    out = turned(blob((128, 128), (80.0, 50.0), 8.0), (side, side), side, angle)[0]
    dy, dx = (np.array([80.0, 50.0]) - 63.5) * zoom
    # J takes places of the output to those of the slice, so the spot goes the other way.
    y = math.cos(angle) * dy + math.sin(angle) * dx + (side - 1) / 2
    x = -math.sin(angle) * dy + math.cos(angle) * dx + (side - 1) / 2
    expected = torch.from_numpy(blob((side, side), (y, x), 8.0 * zoom))[0]
    assert (out - expected).abs().max() < 0.02


def test_a_round_body_stays_round_where_pixels_are_oblong():
    """Rows 3 mm apart, columns 1.5 mm, shown at 1.5 mm: a spot about the middle is the same at every angle."""
    stored = blob((64, 128), (94.5, 95.25), 16.0, (3.0, 1.5))
    upright = turned(stored, (128, 128), 128, 0.0, (3.0, 1.5))
    for angle in (0.5, 1.2, math.pi / 2):
        assert (turned(stored, (128, 128), 128, angle, (3.0, 1.5)) - upright).abs().max() < 0.02
    # In pixels instead it would not.
    assert (turned(stored, (128, 128), 128, 1.2) - upright).abs().max() > 0.2


@pytest.mark.parametrize("angle", [0.3, math.pi / 4])
def test_outside_is_air_and_nothing_is_lost(angle):
    stack = np.ones((1, 40, 40))
    out = turned(stack, (40, 40), 64, angle, offsets=(12, 12))[0]
    assert out.sum().item() == pytest.approx(1600, rel=2e-3)
    assert (out[28:36, 28:36] - 1).abs().max() < 1e-6 and not out[:3].any() and out.min() >= 0 and out.max() <= 1 + 1e-6


def test_what_is_finer_than_the_new_pixels_is_averaged():
    """A checkerboard at half resolution is grey; points of it, as interpolation alone takes them, are not."""
    board = (np.indices((128, 128)).sum(axis=0) % 2)[None].astype(np.float32)
    inside = turned(board, (64, 64), 64, 0.3)[0, 16:48, 16:48]
    assert (inside - 0.5).abs().max() < 0.06
    grid = torch.nn.functional.affine_grid(_rotation(0.3), [1, 1, 64, 64], align_corners=False)
    points = torch.nn.functional.grid_sample(torch.from_numpy(board)[None], grid, align_corners=False)
    assert (points[0, 0, 16:48, 16:48] - 0.5).abs().max() > 0.3


def _rotation(angle):
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[[c, -s, 0.0], [s, c, 0.0]]])


def test_angles_are_uniform_and_functions_of_seed_step_and_item(tmp_path):
    """A ramp shows the angle; and whoever draws an image, in whatever batch, gets the same."""
    down, across = np.mgrid[:200, :200] / 800
    pack = pack_of(tmp_path, np.stack([0.25 + down + 0 * across]))
    stream = SliceStream(pack, ("a",), (View(32, (1.0, 1.0), 1),), TURNING, 0)
    images = stream.batch(0, 800)[:, 0].double()
    middle = images[:, 4:-4, 4:-4]
    rows, columns = middle.diff(dim=1).mean(dim=(1, 2)), middle.diff(dim=2).mean(dim=(1, 2))
    whole = images.amin(dim=(1, 2)) > 0  # a corner may lie outside
    angles = torch.rad2deg(torch.atan2(-columns, rows))[whole].sort().values
    assert whole.float().mean() > 0.5 and angles.abs().max() <= 30.5
    place = (angles + 30) / 60
    assert (place - (torch.arange(len(place)) + 0.5) / len(place)).abs().max() < 1.95 / len(place) ** 0.5
    assert torch.equal(torch.cat([stream.batch(0, 800, 5, 3), stream.batch(0, 900, 8, 2)])[:, 0].double(), images[5:10])
    other = SliceStream(pack, ("a",), (View(32, (1.0, 1.0), 1),), TURNING, 1).batch(0, 10)
    assert (other - stream.batch(0, 10)).abs().amax(dim=(1, 2, 3)).min() > 0


def test_the_other_draws_are_the_same_with_and_without_a_turn(tmp_path):
    """So the middle of a window is the same place of the same slice, and gain, offset and flips are too."""
    rng = np.random.default_rng(0)
    stack = np.repeat(np.repeat(rng.random((5, 8, 8)) * 0.5 + 0.25, 16, axis=1), 16, axis=2)
    views = (View(32, (0.5, 1.0), 1),)
    settings = [AugmentSettings(rotate=rotate, dequantise=False) for rotate in (0.0, 20.0)]
    pack = pack_of(tmp_path, stack)
    plain, turn = (SliceStream(pack, ("a",), views, one, 7).batch(3, 200)[:, 0, 15:17, 15:17] for one in settings)
    assert ((plain - turn).abs().amax(dim=(1, 2)) < 0.01).float().mean() > 0.6


# --- slices no thinner than some mm


def test_thin_slices_are_shown_as_means_over_the_thickness(tmp_path):
    """Of 2.5 mm out of slices of 1 mm: 0.3, 0.4, 0.3, and less of a slab that reaches beyond an end."""
    plain = AugmentSettings(flip_columns=0, flip_rows=0, gain=0, offset=0, dequantise=False)
    stack = np.random.default_rng(0).random((6, 32, 32))
    pack = pack_of(tmp_path, stack)
    stored = torch.from_numpy(pack.slices("a").astype(np.float64) / 65535).float()
    shown = SliceStream(pack, ("a",), (View(32, (1.0, 1.0), 1),), plain, 0, thickness=2.5).batch(0, 60)[:, 0]
    slabs = [0.3 * stored[k - 1] + 0.4 * stored[k] + 0.3 * stored[k + 1] for k in range(1, 5)]
    slabs = [(1.0 * stored[0] + 0.75 * stored[1]) / 1.75, *slabs, (1.0 * stored[5] + 0.75 * stored[4]) / 1.75]
    apart = (shown[:, None] - torch.stack(slabs)).abs().amax(dim=(2, 3))
    assert apart.amin(dim=1).max() < 1e-6 and set(apart.argmin(dim=1).tolist()) == set(range(6))
    # Noise of a slice falls as its closed form says.
    quiet = torch.stack(slabs[1:5]).var(dim=(1, 2)).mean() / stored.var(dim=(1, 2)).mean()
    assert float(quiet) == pytest.approx(0.34, rel=0.1)


def test_what_rises_evenly_along_the_stack_stays_as_it_is(tmp_path):
    """Away from the ends; for any thickness, in patches too, whose slices are each a mean of their own."""
    plain = AugmentSettings(flip_columns=0, flip_rows=0, gain=0, offset=0, dequantise=False)
    stack = np.tile(np.arange(60)[:, None, None] / 100 + 0.1, (1, 32, 32))
    pack, view, patches = pack_of(tmp_path, stack, (0.7, 1.0, 1.0)), (View(32, (1.0, 1.0), 1),), PatchSettings(3, 0.5)
    for thickness in (1.0, 1.9, 3.4):
        alone, thick = (
            SliceStream(pack, ("a",), view, plain, 0, patches, thickness=t).batch(0, 100)[..., 0, 0]
            for t in (None, thickness)
        )
        inside = ((alone > 0.1 + 0.05) & (alone < 0.69 - 0.05)).all(dim=1)
        assert (alone - thick)[inside].abs().max() < 2e-5 and inside.sum() > 50


def test_thicker_slices_are_as_they_were(tmp_path):
    stack = np.random.default_rng(0).random((6, 40, 40))
    pack, view = pack_of(tmp_path, stack, (2.5, 1.0, 1.0)), (View(32, (0.8, 1.0), 1),)
    bits = [SliceStream(pack, ("a",), view, AugmentSettings(), 0, thickness=t).batch(0, 8) for t in (None, 1.0, 2.5)]
    assert torch.equal(bits[0], bits[1]) and torch.equal(bits[0], bits[2])
    thicker = SliceStream(pack, ("a",), view, AugmentSettings(), 0, thickness=2.6).batch(0, 8)
    assert not torch.equal(bits[0], thicker)
