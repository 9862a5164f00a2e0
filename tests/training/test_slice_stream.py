"""An image depends on (seed, step, item) alone, and is a window of a slice: moved, zoomed, mirrored, dequantised."""

import threading

import numpy as np
import pytest
import torch
from torch.nn import functional

from coslice.errors import CosliceError
from coslice.training.collection.catalogue import Pack, PackedScan
from coslice.training.sections import AugmentSettings, View
from coslice.training.supply.slice_stream import SliceStream
from coslice.training.supply.views import default_views
from coslice.window import CT_WINDOW

PLAIN = AugmentSettings(flip_columns=0, flip_rows=0, gain=0, offset=0, dequantise=False)
MIXED = (View(32, (0.5, 0.5), 2), View(32, (0.6, 1.0), 1), View(64, (1.0, 1.0), 1, 0.25))


def pack_of(folder, stacks, bits=16, quantum=0.0):
    """A pack of arrays (n, h, w) in [0, 1]."""
    scans = []
    for name, stack in stacks.items():
        np.save(folder / f"{name}.npy", (stack * (2**bits - 1)).round().astype(np.uint16 if bits == 16 else np.uint8))
        scans.append(PackedScan(name, f"{name}.npy", stack.shape, (1, 1, 1), CT_WINDOW, quantum, 0, "CT", ""))
    return Pack(folder, "yx", "ct", bits, None, 0.0, tuple(scans))


@pytest.fixture
def noisy(tmp_path):
    rng = np.random.default_rng(0)
    return pack_of(tmp_path, {"a": rng.random((5, 64, 64)), "b": rng.random((3, 60, 72)), "c": rng.random((4, 64, 64))})


def ramp(n=1, h=64, w=64):
    """Slices whose pixel (i, j) is (i + j w) / (h w) apart from the slice: every place has its own value."""
    return np.tile((np.arange(h * w) / (h * w)).reshape(h, w) * 0.5 + 0.25, (n, 1, 1))


def test_an_item_is_the_same_in_any_batch_rank_thread_or_order(noisy):
    stream = SliceStream(noisy, ("a", "b"), MIXED, AugmentSettings(), seed=7)
    sides = set()
    for step in range(12):
        whole = stream.batch(step, 16)
        assert whole.shape == (stream.images(step, 16), 1, *[stream.view(step).side] * 2)
        sides.add(whole.shape[-1])
        cut = len(whole) // 3
        assert torch.equal(torch.cat([stream.batch(step, 16, 0, cut), stream.batch(step, 16, cut)]), whole)
        if step % 4 == 0:
            assert torch.equal(stream.batch(step, 32)[: len(whole)], whole)
    assert sides == {32, 64}

    expected = {step: stream.batch(step, 8) for step in range(6)}
    resumed: dict[int, torch.Tensor] = {}

    def work(steps):
        other = SliceStream(noisy, ("a", "b"), MIXED, AugmentSettings(), seed=7)
        for step in steps:
            resumed[step] = other.batch(step, 8)

    threads = [threading.Thread(target=work, args=(steps,)) for steps in ((5, 3, 1), (4, 2, 0))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(resumed[step], expected[step]) for step in expected)


def test_seeds_steps_and_items_differ(noisy):
    view = (View(32, (0.8, 1.0), 1),)
    streams = [SliceStream(noisy, ("a",), view, AugmentSettings(), seed) for seed in (0, 1)]
    images = torch.cat([stream.batch(step, 4) for stream in streams for step in (0, 1)]).flatten(1)
    distances = torch.cdist(images, images) + 1e9 * torch.eye(len(images))
    assert distances.min() > 1


def test_a_window_at_full_resolution_is_stored_pixels_from_anywhere(tmp_path):
    stream = SliceStream(pack_of(tmp_path, {"a": ramp()}), ("a",), (View(32, (1.0, 1.0), 1),), PLAIN, 0)
    stored = torch.from_numpy(ramp()[0]).float()
    images = stream.batch(0, 400)[:, 0]
    corners = set()
    for image in images:
        place = (stored - image[0, 0]).abs().argmin().item()
        top, left = place // 64, place % 64
        corners.add((top, left))
        assert (image - stored[top : top + 32, left : left + 32]).abs().max() < 1e-5
    tops, lefts = zip(*corners, strict=True)
    assert (min(tops), max(tops), min(lefts), max(lefts)) == (0, 32, 0, 32)


def test_half_resolution_is_the_whole_slice_averaged(noisy):
    stream = SliceStream(noisy, ("c",), (View(32, (0.5, 0.5), 1),), PLAIN, 3)
    stored = torch.from_numpy(noisy.slices("c").astype(np.float32) / 65535)[:, None]
    whole = functional.interpolate(stored, (32, 32), mode="bilinear", antialias=True)
    nearest = torch.cdist(stream.batch(0, 16).flatten(1), whole.flatten(1)).min(dim=1)
    assert nearest.values.max() < 1e-4
    assert len(set(nearest.indices.tolist())) == 4


@pytest.mark.parametrize("scale", [(0.5, 1.0), (0.8, 1.25), (1.5, 2.0)])
def test_the_zoom_is_log_uniform_in_its_range(tmp_path, scale):
    # On a ramp, the difference between neighbours is the zoom's inverse.
    stack = np.tile(np.arange(200) / 400 + 0.25, (1, 200, 1))
    stream = SliceStream(pack_of(tmp_path, {"a": stack}), ("a",), (View(64, scale, 1),), PLAIN, 0)
    image = stream.batch(0, 300)[:, 0]
    zooms = 1 / (400 * (image[:, 32, 48] - image[:, 32, 16]) / 32)
    low, high = scale
    # Windows are whole pixels, so a zoom is met to about half of one.
    assert low * 0.98 < zooms.min() < low * 1.05 and high * 0.95 < zooms.max() < high * 1.02
    place = (zooms / low).log() / np.log(high / low)
    assert abs(place.mean() - 0.5) < 0.06 and abs(place.std() - 12**-0.5) < 0.04


def nearest(images, known):
    """The largest distance of an image (n, ...) to the nearest of the `known` ones."""
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(images.flatten(1), known.flatten(1), compute_mode=exact).min(dim=1).values.max()


def test_rows_are_stretched_on_top_of_the_zoom(noisy):
    """By 2 at full resolution: 16 rows by 32 columns of stored pixels, the rows zoomed twice."""
    stream = SliceStream(noisy, ("c",), (View(32, (1.0, 1.0), 1, 1, (2.0, 2.0)),), PLAIN, 3)
    stored = torch.from_numpy(noisy.slices("c").astype(np.float32) / 65535)
    windows = stored.unfold(1, 16, 1).unfold(2, 32, 1).reshape(-1, 1, 16, 32)
    twice = functional.interpolate(windows, (32, 32), mode="bilinear", antialias=True)
    assert nearest(stream.batch(0, 12), twice) < 1e-4
    # Halved while the zoom doubles the whole: rows as they were.
    rows = SliceStream(noisy, ("c",), (View(64, (2.0, 2.0), 1, 1, (0.5, 0.5)),), PLAIN, 3).batch(0, 4)
    windows = stored.unfold(2, 32, 1).permute(0, 2, 1, 3).reshape(-1, 1, 64, 32)
    wider = functional.interpolate(windows, (64, 64), mode="bilinear", antialias=True)
    assert nearest(rows, wider) < 1e-4


def test_the_stretch_is_log_uniform_and_leaves_columns_alone(tmp_path):
    down, across = np.mgrid[:300, :300] / 1200
    stack = np.stack([down, across]) + 0.25
    view = (View(64, (1.0, 1.0), 1, 1, (0.5, 2.0)),)
    images = SliceStream(pack_of(tmp_path, {"a": stack}), ("a",), view, PLAIN, 0).batch(0, 600)[:, 0]
    falling = images[:, 16:48].std(dim=(1, 2)) > 2 * images[:, 32].std(dim=1)
    columns = 1 / (1200 * (images[~falling, 32, 48] - images[~falling, 32, 16]) / 32)
    assert (columns - 1).abs().max() < 1e-3
    rows = 1 / (1200 * (images[falling, 48, 32] - images[falling, 16, 32]) / 32)
    assert 0.49 < rows.min() < 0.53 and 1.9 < rows.max() < 2.05
    place = (rows / 0.5).log() / np.log(4)
    assert abs(place.mean() - 0.5) < 0.06 and abs(place.std() - 12**-0.5) < 0.04


def test_a_view_that_does_not_stretch_draws_what_it_always_drew(noisy):
    """Pixels of images, dequantised too, that were drawn before views could stretch and images have channels."""
    images = SliceStream(noisy, ("a", "b"), MIXED, AugmentSettings(), seed=7).batch(3, 4)
    drawn = [0.3885068, 0.2663278, 0.490584, 0.5465996]
    assert images[:, 0, 9, 20].tolist() == pytest.approx(drawn, abs=1e-5)


def test_validation_is_stretched_as_training_is_on_average(noisy):
    stored = torch.from_numpy(noisy.slices("c").astype(np.float32) / 65535)[:, None]
    views = (View(64, (1.0, 1.0), 1, 1, (1.0, 4.0)), View(32, (1.0, 1.0), 1, 1, (0.25, 1.0)))
    stream = SliceStream(noisy, ("a",), views, AugmentSettings(), 0)
    half, _ = stream.validation(("c",), 4, 64)
    assert not half[..., :16].any() and not half[..., 48:].any()
    thin = functional.interpolate(stored, (64, 32), mode="bilinear", antialias=True)
    assert (half[..., 16:48] - thin).abs().max() < 1e-6
    flat, _ = stream.validation(("c",), 4, 32)
    wide = functional.interpolate(stored, (16, 32), mode="bilinear", antialias=True)
    assert (flat[..., 8:24, :] - wide).abs().max() < 1e-6
    # No view has this side: as the first.
    large, _ = stream.validation(("c",), 4, 128)
    assert (large[..., 32:96].amax(dim=(0, 1)) > 0).all() and not large[..., :32].any() and not large[..., 96:].any()


def test_slices_smaller_than_the_window_are_surrounded_by_zeros(tmp_path):
    stream = SliceStream(pack_of(tmp_path, {"a": ramp(h=40, w=50)}), ("a",), (View(64, (1.0, 1.0), 1),), PLAIN, 0)
    places = set()
    for image in stream.batch(0, 200)[:, 0]:
        rows, columns = image.any(dim=1).nonzero()[:, 0], image.any(dim=0).nonzero()[:, 0]
        top, left = int(rows[0]), int(columns[0])
        places.add((top, left))
        assert (len(rows), len(columns)) == (40, 50)
        assert (image[top : top + 40, left : left + 50] - torch.from_numpy(ramp(h=40, w=50)[0])).abs().max() < 1e-5
    tops, lefts = zip(*places, strict=True)
    assert (min(tops), max(tops), min(lefts), max(lefts)) == (0, 24, 0, 14)


def test_every_slice_is_equally_likely_and_views_have_their_shares(tmp_path):
    counts = {"a": 2, "b": 7, "c": 1}
    stacks = {
        n: np.full((k, 32, 32), v) + 0.01 * np.arange(k)[:, None, None]
        for (n, k), v in zip(counts.items(), (0.2, 0.5, 0.8), strict=True)
    }
    pack = pack_of(tmp_path, stacks)
    stream = SliceStream(pack, tuple(counts), (View(32, (1.0, 1.0), 3), View(16, (0.5, 0.5), 1)), PLAIN, 0)
    assert len(stream) == 10
    values = torch.cat([stream.batch(step, 100).mean(dim=(1, 2, 3)) for step in range(20)])
    known = torch.cat([torch.from_numpy(stack[:, 0, 0]) for stack in stacks.values()])
    drawn = torch.bincount((values[:, None] - known).abs().argmin(dim=1), minlength=10)
    assert (drawn - 200).abs().max() < 5 * 200**0.5
    assert abs(sum(stream.view(step).side == 32 for step in range(2000)) - 1500) < 5 * (2000 * 3 / 16) ** 0.5


def test_flips_are_as_often_as_asked(tmp_path):
    pack = pack_of(tmp_path, {"a": ramp(h=32, w=32)})
    augment = AugmentSettings(flip_columns=0.5, flip_rows=0.25, gain=0, offset=0, dequantise=False)
    images = SliceStream(pack, ("a",), (View(32, (1.0, 1.0), 1),), augment, 0).batch(0, 2000)[:, 0]
    original = torch.from_numpy(ramp(h=32, w=32)[0]).float()
    rows, columns = images[:, 0, 0] > images[:, -1, 0], images[:, 0, 0] > images[:, 0, -1]
    for image, down, across in zip(images[:50], rows[:50], columns[:50], strict=True):
        dims = [axis for axis, flip in enumerate((down, across)) if flip]
        assert torch.allclose(image, original.flip(dims), atol=1e-5)
    shares = rows.float().mean(), columns.float().mean(), (rows & columns).float().mean()
    assert all(abs(share - p) < 0.05 for share, p in zip(shares, (0.25, 0.5, 0.125), strict=True))


def test_gain_and_offset_are_small_and_air_stays_air(tmp_path):
    stack = ramp()
    stack[:, :20] = 0
    pack = pack_of(tmp_path, {"a": stack}, quantum=0.004)
    augment = AugmentSettings(flip_columns=0, flip_rows=0, gain=0.1, offset=0.02, dequantise=False)
    view = (View(64, (1.0, 1.0), 1),)
    images = SliceStream(pack, ("a",), view, augment, 0).batch(0, 300)[:, 0]
    assert not images[:, :20].any()
    x, y = torch.from_numpy(stack[0, 20:].ravel()), images[:, 20:].flatten(1).double()
    x = x - x.mean()
    gain = (y - y.mean(dim=1, keepdim=True)) @ x / (x @ x)
    offset = y.mean(dim=1) - gain * torch.from_numpy(stack[0, 20:]).mean()
    assert (gain.min(), gain.max()) == pytest.approx((0.9, 1.1), abs=0.005)
    assert (offset.min(), offset.max()) == pytest.approx((-0.02, 0.02), abs=0.001)
    assert not SliceStream(pack, ("a",), view, AugmentSettings(flip_rows=0), 0).batch(0, 8)[:, 0, :20].any()


@pytest.mark.parametrize(("bits", "quantum"), [(16, 8 / 2600), (8, 8 / 2600), (8, 0.02)])
def test_dequantisation_is_uniform_over_the_coarser_rounding(tmp_path, bits, quantum):
    pack = pack_of(tmp_path, {"a": np.full((1, 64, 64), 0.4)}, bits, quantum)
    augment = AugmentSettings(flip_columns=0, flip_rows=0, gain=0, offset=0)
    images = SliceStream(pack, ("a",), (View(64, (1.0, 1.0), 1),), augment, 0).batch(0, 16).double()
    step = max(quantum, 1 / (2**bits - 1))
    noise = (images - round(0.4 * pack.full) / pack.full) / step
    assert noise.min() == pytest.approx(-0.5, abs=0.001) and noise.max() == pytest.approx(0.5, abs=0.001)
    histogram = torch.histc(noise, 10, -0.5, 0.5) / noise.numel()
    assert (histogram - 0.1).abs().max() < 0.01
    # Pixels do not share their noise.
    assert abs((noise[..., 1:] * noise[..., :-1]).mean() * 12) < 0.02


def test_images_stay_in_the_window(noisy):
    stream = SliceStream(noisy, noisy.names, MIXED, AugmentSettings(gain=0.5, offset=0.3), 0)
    for step in range(6):
        images = stream.batch(step, 8)
        assert images.dtype == torch.float32 and images.min() >= 0 and images.max() <= 1


def test_validation_is_whole_slices_evenly_spaced(noisy):
    stream = SliceStream(noisy, ("a",), MIXED, AugmentSettings(), 0)

    def shown(*what):
        images, distances = stream.validation(*what)
        assert torch.equal(distances, torch.ones(len(images)))
        return images

    stored = torch.from_numpy(noisy.slices("c").astype(np.float32) / 65535)[:, None]
    assert (shown(("c",), 4, 64) - stored).abs().max() < 1e-6
    half = functional.interpolate(stored, (32, 32), mode="bilinear", antialias=True)
    assert (shown(("c",), 4, 32) - half).abs().max() < 1e-6
    assert torch.equal(shown(("c",), 2, 64), shown(("c",), 4, 64)[[1, 3]])
    assert torch.equal(shown(("c", "a"), 99, 64)[:4], shown(("c",), 99, 64))
    # Neither square nor as large: in the middle, at its own resolution.
    padded = shown(("b",), 1, 96)[0, 0]
    assert not padded[:18].any() and not padded[-18:].any() and not padded[:, :12].any() and not padded[:, -12:].any()
    assert (padded[18:78, 12:84] - torch.from_numpy(noisy.slices("b")[1] / np.float32(65535))).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("side", "sides"), [(512, (256, 512)), (256, (128, 256)), (200, (128, 224)), (150, (128, 160)), (100, (128,))]
)
def test_default_views_show_the_whole_slice_and_its_parts(tmp_path, side, sides):
    pack = pack_of(tmp_path, {"a": np.ones((1, side, side)), "b": np.ones((1, side, side)), "c": np.ones((1, 40, 40))})
    views = default_views(pack)
    assert sorted({view.side for view in views}) == sorted(sides)
    assert sum(view.share for view in views) == pytest.approx(1)
    # Nothing costs more than a batch of the cheapest view, and something shows whole slices.
    assert all(view.side**2 * view.images <= min(sides) ** 2 * 1.001 for view in views)
    assert any(view.scale == (1.0, 1.0) and view.side >= side for view in views)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda p: View(0, (1, 1), 1), "a side of at least 1"),
        (lambda p: View(8, (1, 0.5), 1), "smallest <= largest"),
        (lambda p: View(8, (1, 1), 0), "above 0"),
        (lambda p: View(8, (1, 1), 1, 1, (0, 1)), "smallest <= largest"),
        (lambda p: View(8, (1, 1), 1, 1, (2, 1)), "smallest <= largest"),
        (lambda p: AugmentSettings(gain=2), "between 0 and 1"),
        (lambda p: SliceStream(p, ("a",), (), PLAIN, 0), "no views"),
        (lambda p: SliceStream(p, (), MIXED, PLAIN, 0), "no scan was named"),
        (lambda p: SliceStream(p, ("z",), MIXED, PLAIN, 0), 'scan "z" was asked for'),
        (lambda p: SliceStream(p, ("a",), MIXED[:1], PLAIN, 0).batch(0, 8, 4, 5), "images 4 to 9 .* step 0 has 8"),
        (lambda p: SliceStream(p, ("a",), MIXED, PLAIN, 0).validation(("a",), 0, 8), "at least 1 of each"),
    ],
)
def test_senseless_requests_are_refused(noisy, act, message):
    with pytest.raises(CosliceError, match=message):
        act(noisy)
