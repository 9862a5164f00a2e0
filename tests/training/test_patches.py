"""Patches: slices of one scan as channels, and networks that know how many mm they are apart."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import typer
import yaml
from safetensors.torch import load_file
from torch.nn import functional as F
from typer.testing import CliRunner

from coslice.cli.train import train as command
from coslice.errors import CosliceError
from coslice.networks.edm import EDMDenoiser
from coslice.networks.unet import UNet, UNetConfig, for_patches
from coslice.priors import load_prior, read_card
from coslice.training.collection.catalogue import Pack, PackedScan
from coslice.training.collection.pack import make_pack
from coslice.training.collection.scans import find_scans
from coslice.training.learning.beginning import initial_denoiser
from coslice.training.learning.optimisers import Muon
from coslice.training.learning.run_folder import run_settings_of
from coslice.training.learning.training_run import Pace, train
from coslice.training.learning.validation import Examples, picture, validate
from coslice.training.run_settings import default_network
from coslice.training.sections import AugmentSettings, PatchSettings, View
from coslice.training.supply.slice_stream import SliceStream
from coslice.window import CT_WINDOW

PLAIN = AugmentSettings(flip_columns=0, flip_rows=0, gain=0, offset=0, dequantise=False)
WHOLE = (View(32, (1.0, 1.0), 1),)
SHAPE = UNetConfig(channels=16, multipliers=(1, 2), blocks=1)
SMALL = {
    "images": 24,
    "batch": 4,
    "micro": 2,
    "precision": "f32",
    "schedule": {"warmup": 8},
    "network": {"channels": 16, "multipliers": [1, 2], "blocks": 1},
}
THREE = {**SMALL["network"], "image_channels": 3, "positions": True}
OFTEN = Pace(log=8, validate=16, save=0, examples=2)
pytestmark = pytest.mark.usefixtures("one_thread")


def pack_of(folder, stacks):
    """A pack of (mm between slices, array (n, h, w) in [0, 1])."""
    scans = []
    for name, (mm, stack) in stacks.items():
        np.save(folder / f"{name}.npy", (stack * 65535).round().astype(np.uint16))
        scans.append(PackedScan(name, f"{name}.npy", stack.shape, (mm, 1.0, 1.0), CT_WINDOW, 0.0, 0, "CT", ""))
    return Pack(folder, "yx", "ct", 16, None, 0.0, tuple(scans))


def numbered(count, first=0):
    """Slices that tell their number: row r of the scan has the value (first + r) / 200 everywhere."""
    return np.tile((first + np.arange(count))[:, None, None] / 200, (1, 32, 32))


def rows_of(images):
    """The slices' numbers in images of `numbered` slices, (n, slices)."""
    return (images[..., 16, 16] * 200).round().long()


# --- what a patch is


@pytest.mark.parametrize("slices", [2, 3, 5])
def test_a_patch_is_rows_of_one_scan_apart_by_its_distance(tmp_path, slices):
    """Neighbours, or `slices` apart, in order or reversed, as often as asked; every scan has its own numbers."""
    pack = pack_of(tmp_path, {"a": (2.0, numbered(40)), "b": (5.0, numbered(50, 100))})
    stream = SliceStream(pack, ("a", "b"), WHOLE, PLAIN, 0, PatchSettings(slices, jump=0.3, flip=0.2))
    images, distances = stream.batch(0, 2000), stream.distances(0, 0, 2000)
    assert images.shape == (2000, slices, 32, 32) and distances.dtype == torch.float32
    rows = rows_of(images)
    steps = rows.diff(dim=1)
    assert (steps == steps[:, :1]).all()
    gap = steps[:, 0].abs()
    assert set(gap.tolist()) == {1, slices}
    inside = (rows < 40) | ((rows >= 100) & (rows < 150))
    assert inside.all() and ((rows < 100) == (rows[:, :1] < 100)).all()
    assert torch.equal(distances, gap * torch.where(rows[:, 0] < 100, 2.0, 5.0))
    assert abs((gap == slices).float().mean() - 0.3) < 0.05 and abs((steps[:, 0] < 0).float().mean() - 0.2) < 0.05
    # The first slice and the last are seen, and nothing outside.
    assert {0, 39, 100, 149} <= set(rows.flatten().tolist())


@pytest.mark.parametrize(
    ("slices", "middle", "jumping", "count", "rows", "gap"),
    [
        (3, 10, False, 40, [9, 10, 11], 1),
        (3, 10, True, 40, [7, 10, 13], 3),
        (3, 0, False, 40, [0, 1, 2], 1),
        (3, 39, False, 40, [37, 38, 39], 1),
        (3, 1, True, 40, [0, 3, 6], 3),
        (3, 38, True, 40, [33, 36, 39], 3),
        (3, 3, True, 7, [0, 3, 6], 3),
        (3, 3, True, 6, [2, 3, 4], 1),  # too few to jump
        (3, 1, False, 2, [0, 1, 1], 1),
        (3, 0, True, 1, [0, 0, 0], 1),
        (2, 5, False, 9, [5, 6], 1),
        (2, 5, True, 9, [4, 6], 2),
        (1, 5, True, 9, [5], 1),
    ],
)
def test_ends_are_moved_inside_and_too_few_slices_repeat_the_last(slices, middle, jumping, count, rows, gap):
    assert PatchSettings(slices).rows(middle, jumping, count) == (rows, gap)


def test_slices_of_a_patch_share_window_zoom_flips_and_scanner(tmp_path):
    """Slices that differ by a factor stay so in every image, whatever is done to it; only the noise is their own."""
    base = np.random.default_rng(0).random((48, 56)) * 0.5 + 0.1
    stack = np.stack([base * factor for factor in (1.0, 1.2, 1.4)])
    pack = pack_of(tmp_path, {"a": (1.0, stack)})
    augment = AugmentSettings(flip_columns=0.5, flip_rows=0.5, gain=0.1, offset=0, dequantise=False)
    views = (View(32, (0.6, 1.0), 1, 1, (0.8, 1.3)),)
    images = SliceStream(pack, ("a",), views, augment, 0, PatchSettings(3, jump=0, flip=0)).batch(0, 24)
    assert (images[:, 1] - 1.2 * images[:, 0]).abs().max() < 1e-4
    assert (images[:, 2] - 1.4 * images[:, 0]).abs().max() < 1e-4
    # The first slice, as it would have been shown alone.
    alone, plain = pack_of(tmp_path, {"b": (1.0, stack[:1])}), (View(32, (0.6, 1.0), 1),)
    one = SliceStream(alone, ("b",), plain, augment, 0).batch(0, 24)
    three = SliceStream(pack, ("a",), plain, augment, 0, PatchSettings(3, jump=0, flip=0)).batch(0, 24)
    assert torch.equal(one[:, 0], three[:, 0])
    # Each slice is moved on its own staircase.
    noisy = SliceStream(pack, ("a",), WHOLE, AugmentSettings(gain=0, offset=0), 0, PatchSettings(3, 0, 0)).batch(0, 4)
    noise = (noisy[:, 1] - 1.2 * noisy[:, 0]) * 65535
    assert 0.3 < noise.std() < 0.7


def test_thin_slices_are_drawn_as_often_as_they_are_thin(tmp_path):
    """In proportion to 1/mm each: slices of 1 mm five times as often as slices of 5 mm; alike without patches."""
    pack = pack_of(tmp_path, {"a": (5.0, numbered(30)), "b": (1.0, numbered(10, 100)), "c": (2.5, numbered(20, 150))})
    weights = {"a": 30 / 5, "b": 10 / 1, "c": 20 / 2.5}
    for slices, expected in ((2, weights), (1, {"a": 30, "b": 10, "c": 20})):
        stream = SliceStream(pack, ("a", "b", "c"), WHOLE, PLAIN, 0, PatchSettings(slices, 0, 0))
        rows = rows_of(torch.cat([stream.batch(step, 500) for step in range(4)]))[:, 0]
        drawn = torch.stack([(rows < 100).sum(), ((rows >= 100) & (rows < 150)).sum(), (rows >= 150).sum()])
        for seen, share in zip(drawn.tolist(), expected.values(), strict=True):
            mean = 2000 * share / sum(expected.values())
            assert abs(seen - mean) < 5 * mean**0.5
        # Within a scan, alike (but for the last, which no patch of two can begin with).
        within = torch.bincount(rows[rows < 100], minlength=30)[:28].double()
        mean = 2000 * expected["a"] / sum(expected.values()) / 30
        assert (within - mean).abs().max() < 5 * mean**0.5


def test_a_patch_is_the_same_in_any_batch(tmp_path):
    rng = np.random.default_rng(0)
    pack = pack_of(tmp_path, {"a": (2.0, rng.random((20, 40, 40))), "b": (3.0, rng.random((9, 40, 40)))})
    views = (View(32, (0.8, 1.0), 1, 1, (0.5, 2.0)), View(32, (1.0, 1.0), 1))
    stream = SliceStream(pack, ("a", "b"), views, AugmentSettings(), 7, PatchSettings(3))
    for step in range(6):
        whole, distances = stream.batch(step, 12), stream.distances(step, 0, 12)
        assert torch.equal(torch.cat([stream.batch(step, 12, 0, 5), stream.batch(step, 12, 5)]), whole)
        assert torch.equal(stream.batch(step, 30)[:12], whole)
        assert torch.equal(torch.cat([stream.distances(step, 0, 5), stream.distances(step, 5, 7)]), distances)
        assert whole.min() >= 0 and whole.max() <= 1
    assert not torch.equal(stream.batch(0, 12), stream.batch(1, 12))


@pytest.mark.parametrize(("jump", "gaps"), [(0.5, [1, 3, 1, 3]), (0.0, [1] * 4), (1.0, [3] * 4), (0.25, [1, 1, 1, 3])])
def test_validation_jumps_as_often_as_training(tmp_path, jump, gaps):
    pack = pack_of(tmp_path, {"a": (2.5, numbered(40))})
    stream = SliceStream(pack, ("a",), WHOLE, PLAIN, 0, PatchSettings(3, jump))
    images, distances = stream.validation(("a",), 4, 32)
    assert rows_of(images).diff(dim=1).tolist() == [[gap, gap] for gap in gaps]
    assert rows_of(images)[:, 1].tolist() == [5, 15, 25, 35]
    assert torch.equal(distances, 2.5 * torch.tensor(gaps))


# --- networks of patches


def learned(config, seed=0):
    """A network none of whose layers is silent."""
    torch.manual_seed(seed)
    network = UNet(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network


@pytest.mark.parametrize(("slices", "fold"), [(2, 1), (3, 2), (5, 2)])
@torch.no_grad()
def test_a_network_of_patches_begins_with_what_the_network_of_slices_says(slices, fold):
    single = EDMDenoiser(learned(UNetConfig(channels=16, multipliers=(1, 2), blocks=1, fold=fold)), 0.3, 0.2)
    assert isinstance(single.network, UNet)
    patches = EDMDenoiser(for_patches(single.network, slices), 0.3, 0.2)
    x, sigma = torch.rand(4, slices, 16, 24), torch.tensor([0.01, 0.1, 1.0, 5.0])
    expected = torch.cat([single(x[:, k, None], sigma) for k in range(slices)], dim=1)
    assert (expected - x).abs().max() > 0.01
    for mm in (0.5, 3.0, 15.0):
        torch.testing.assert_close(patches(x, sigma, torch.full((4,), mm)), expected, rtol=1e-5, atol=1e-6)


def test_a_network_of_patches_learns_what_only_neighbours_know():
    """From where it begins, silent: what no slice can know of itself, the sum of those beside it."""
    network = for_patches(learned(SHAPE), 3)
    parameters, muon = list(network.parameters()), Muon(network, (0.9, 0.99), 0.95, torch.float32)
    draw = torch.Generator().manual_seed(0)
    label = torch.zeros(8)

    def wrong():
        """The best that a slice can say without its neighbours is 0, which is wrong by 1."""
        images = torch.randn(8, 3, 16, 16, generator=draw)
        beside = F.pad(images, (0, 0, 0, 0, 1, 1)).unfold(1, 3, 1)[..., [0, 2]].sum(-1)
        return (network(images, label, label) - beside).square().mean() / beside.square().mean()

    for _ in range(60):
        muon.step(torch.autograd.grad(wrong(), parameters), 3e-3)
    assert wrong().item() < 0.9


@torch.no_grad()
def test_what_is_exchanged():
    """A patch turned over gives answers turned over; images do not hear of each other; ends hear of one side."""
    network = learned(UNetConfig(4, 16, (1, 2), 1, positions=True, exchange=True))
    x, label, mm = torch.rand(3, 4, 16, 16), torch.tensor([-1.0, 0.0, 0.3]), torch.tensor([0.1, 0.5, 0.2])
    answers = network(x, label, mm)
    torch.testing.assert_close(network(x.flip(1), label, mm), answers.flip(1), rtol=1e-4, atol=1e-5)
    alone = torch.cat([network(x[k, None], label[k, None], mm[k, None]) for k in range(3)])
    torch.testing.assert_close(alone, answers, rtol=1e-4, atol=1e-5)

    assert network.middle.exchange is not None
    layer, h, gate = network.middle.exchange, torch.rand(8, 32, 4, 4), torch.rand(8, 32)
    beside = torch.zeros_like(h)
    for k in range(8):
        for other in (k - 1, k + 1):
            if 0 <= other < 8 and other // 4 == k // 4:
                beside[k] += torch.einsum("oc,chw->ohw", layer.mix.weight[:, :, 0, 0], h[other]) * (
                    1 + gate[other, :, None, None]
                )
    torch.testing.assert_close(layer(h, gate), h + beside, rtol=1e-4, atol=1e-5)


def test_a_network_of_patches_begins_alike_everywhere():
    """Whatever was drawn before, and without disturbing what is drawn after; also from weights in bfloat16."""
    single = learned(SHAPE).bfloat16()
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        following = torch.rand(3)
        torch.manual_seed(seed)
        states.append(for_patches(single, 3).state_dict())
        assert torch.equal(torch.rand(3), following)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert torch.equal(states[0]["first.weight"], single.first.weight.float())
    with pytest.raises(CosliceError, match="one of single slices is needed"):
        for_patches(for_patches(single, 3), 3)


def test_the_distance_matters_once_it_is_learned():
    network = for_patches(learned(SHAPE), 3)
    assert network.middle.exchange is not None
    network.middle.exchange.mix.weight.data.normal_()
    denoiser = EDMDenoiser(network, 0.3, 0.2)
    x, sigma = torch.rand(2, 3, 16, 16), torch.full((2,), 0.3)

    def answers():
        return [denoiser(x, sigma, torch.full((2,), mm)) for mm in (1.0, 3.0)]

    near, far = answers()
    assert torch.equal(near, far)
    # A silent layer can learn: the loss pulls at it.
    denoiser.loss(x, sigma, torch.randn_like(x), torch.ones(2)).sum().backward()
    assert network.position.dense2.weight.grad is not None and network.position.dense2.weight.grad.any()
    with torch.no_grad():
        network.position.dense2.weight.normal_()
        near, far = answers()
    assert (near - far).abs().max() > 1e-3
    # Each image by its own distance.
    both = denoiser(x, sigma, torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(both, torch.stack([near[0], far[1]]), rtol=1e-4, atol=1e-5)


def test_distances_are_demanded_where_they_are_needed():
    x, sigma = torch.rand(1, 3, 16, 16), torch.ones(1)
    with pytest.raises(CosliceError, match="no distance was given, but a network of patches needs the mm"):
        EDMDenoiser(for_patches(UNet(SHAPE), 3), 0.3, 0.2)(x, sigma)
    plain = EDMDenoiser(learned(SHAPE), 0.3, 0.2)
    assert torch.equal(plain(x[:, :1], sigma), plain(x[:, :1], sigma, torch.full((1,), 7.0)))


def test_validation_and_pictures_know_the_distance():
    """Of a denoiser that adds its distance: so wrong is every pixel; and pictures show the middle slices."""

    class Adding(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1), requires_grad=False)

        def forward(self, x, sigma, distance):
            return 0.25 + distance[:, None, None, None] * torch.ones_like(x)

    images = torch.full((3, 3, 8, 8), 0.25)
    images[:, 0], images[:, 2] = 0.0, 1.0
    distances = torch.tensor([0.1, 0.2, 0.3])
    grey = picture(Adding(), Examples(images, distances), 0.2, 1.0)
    assert grey.shape == (4 * 8, 7 * 8)
    tiles = grey.reshape(4, 8, 7, 8)[:, 4, :, 4]
    assert tiles[:3, 0].tolist() == [64, 64, 64]
    assert tiles[:3, 2].tolist() == [round(255 * (0.25 + d)) for d in (0.1, 0.2, 0.3)]
    equal = Examples(torch.full((3, 3, 8, 8), 0.25), distances)
    assert validate(Adding(), equal, (0.1,))[0.1] == pytest.approx((0.14 / 3) ** 0.5, rel=1e-5)


# --- runs


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """A pack of two CT scans of 10 slices of 32 x 32 pixels, 5 and 2 mm apart."""
    scans, folder = tmp_path_factory.mktemp("scans"), tmp_path_factory.mktemp("pack")
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    for mm in (5.0, 2.0):
        disc = (y - 16) ** 2 + (x - 12 - mm) ** 2 < 90
        hu = np.where(disc, 40.0, -1000.0) + generator.normal(0, 8, (10, 32, 32))
        image = nibabel.Nifti1Image(hu.transpose(2, 1, 0).round().astype(np.int16), np.diag([8.0, 8.0, mm, 1.0]))
        nibabel.save(image, scans / f"scan{mm:g}.nii.gz")
    make_pack(find_scans([scans], False), "yx", "ct", folder)
    return folder


def go(out, place, **settings):
    minutes = settings.pop("minutes", None)
    tree = {**SMALL, **settings}
    return train(run_settings_of(out, [Path(place)], tree), [Path(place)], out, "cpu", minutes, pace=OFTEN)


@pytest.fixture(scope="module")
def runs(pack, tmp_path_factory):
    """Folders of a finished run of slices and one of patches of three."""
    folder = tmp_path_factory.mktemp("runs")
    go(folder / "slices", pack)
    go(folder / "patches", pack, patches={"slices": 3}, network=THREE)
    return folder


def test_a_run_of_patches_makes_a_prior_of_patches(runs):
    prior = load_prior(runs / "patches" / "prior.safetensors")
    assert prior.channels == 3 and isinstance(prior.network, UNet) and prior.network.config.positions
    assert isinstance(prior.denoiser, EDMDenoiser) and prior.denoiser.positions
    card = read_card(runs / "patches" / "prior.safetensors")
    assert card["recipe"]["patches"] == {"slices": 3, "jump": 0.5, "flip": 0.5}
    assert card["title"] == "CT, plane yx, patches of 3"
    page = (runs / "patches" / "prior.md").read_text()
    assert "of patches of 3 slices (neighbours or 3 apart), d = 2 to 15 mm from one to the next, plane yx" in page
    assert "a denoiser D(x, sigma) of single slices, plane yx" in (runs / "slices" / "prior.md").read_text()


def test_a_run_of_patches_goes_on_bit_for_bit(runs, pack, tmp_path):
    out = tmp_path / "again"
    assert go(out, pack, patches={"slices": 3}, network=THREE, minutes=1e-6).images == 4
    go(out, pack, patches={"slices": 3}, network=THREE)
    one, two = (load_file(folder / "prior.safetensors") for folder in (out, runs / "patches"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    with pytest.raises(CosliceError, match=r"patches\.slices 3, but 2 was given"):
        run_settings_of(out, [pack], {"patches": {"slices": 2}})


@torch.no_grad()
def test_patches_start_with_the_answers_of_a_prior_of_slices(runs):
    stored = str(runs / "slices" / "prior.safetensors")
    initial, prior = initial_denoiser(stored, 3), load_prior(stored)
    x, sigma = torch.rand(2, 1, 32, 32), torch.tensor([0.05, 0.5])
    given = initial(x.expand(-1, 3, -1, -1).contiguous(), sigma, torch.tensor([2.0, 15.0]))
    expected = EDMDenoiser(prior.network.float(), initial.data_mean, initial.data_std)(x, sigma)
    torch.testing.assert_close(given, expected.expand(-1, 3, -1, -1), rtol=1e-4, atol=1e-5)
    assert all(parameter.requires_grad for parameter in initial.parameters())


def test_a_run_of_patches_from_a_prior_of_slices(runs, pack, tmp_path):
    stored, out = str(runs / "slices" / "prior.safetensors"), tmp_path / "tuned"
    tuned = {"init": stored, "network": None, "patches": {"slices": 3}, "optimiser": {"learning_rate": 1e-7}}
    go(out, pack, **tuned, minutes=1e-6)
    first = torch.load(out / "checkpoint.pt", weights_only=True)["network"]
    start = initial_denoiser(stored, 3).network.state_dict()
    assert all(torch.allclose(first[name], start[name], atol=1e-6) for name in start)
    settings = yaml.safe_load((out / "run.yaml").read_text())
    assert settings["network"]["image_channels"] == 3 and settings["network"]["positions"] is True
    assert go(out, pack, **tuned, minutes=1e-6).images == 8
    with pytest.raises(CosliceError, match="is of 3 slices to an image, but 5 were asked for"):
        initial_denoiser(str(runs / "patches" / "prior.safetensors"), 5)
    same = initial_denoiser(str(runs / "patches" / "prior.safetensors"), 3).network.state_dict()
    stored_patches = load_file(runs / "patches" / "prior.safetensors")
    assert all(torch.equal(same[name], stored_patches[name].float()) for name in stored_patches)


def test_slices_on_the_command_line(pack, tmp_path):
    app = typer.Typer()
    app.command()(command)
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(SMALL | {"network": {**SMALL["network"], "image_channels": 2, "positions": True}}))
    words = [pack, "--config", config, "--out", tmp_path / "run", "--slices", 2, "--device", "cpu", "--minutes", 1e-6]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert "as patches of 2" in done.output
    settings = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())
    assert settings["patches"]["slices"] == settings["network"]["image_channels"] == 2
    assert default_network(1) == UNetConfig(blocks=1) and default_network(2) == UNetConfig(2, blocks=1, positions=True)
    wrong = CliRunner().invoke(app, [str(pack), "--out", str(tmp_path / "other"), "--slices", "0"])
    assert isinstance(wrong.exception, CosliceError) and "at least 1 slice" in str(wrong.exception)
