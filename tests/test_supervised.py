"""FBP-UNet: pairs of analytic reconstructions and the truth, training on them, and the use of what was trained."""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import typer
import yaml
from typer.testing import CliRunner

from coslice.cli.train import train as command
from coslice.errors import CosliceError
from coslice.networks.edm import EDMDenoiser
from coslice.priors import SlicePrior, load_prior
from coslice.priors.supervised import check_diffusion, fbp_unet, tasks_of
from coslice.tasks import Acquisition
from coslice.tasks.keys import acquisition_of
from coslice.training.feed import Feed
from coslice.training.pack import make_pack, open_pack
from coslice.training.pairs import make_pairs
from coslice.training.preparation import settle
from coslice.training.ranks import Ranks
from coslice.training.recipe import Recipe, Sigmas
from coslice.training.run import Pace, train
from coslice.training.scans import find_scans
from coslice.training.supervised import PairStream, views_of
from coslice.training.views import View
from coslice.training.watch import Listener
from coslice.volume import CT_WINDOW, Volume

TASKS = ("svct-parallel-4", "lact-cone-100-20")
SIZES = (32, 48)
SETTINGS = {
    "images": 100,
    "batch": 4,
    "micro": 2,
    "precision": "f32",
    "network": {"channels": 16, "multipliers": [1, 2], "blocks": 1},
    "schedule": {"warmup": 8},
    "optimiser": {"learning_rate": 3e-3},
    "data": {"validation": ["scan2"]},
    "supervised": {"tasks": list(TASKS), "sizes": list(SIZES)},
}
OFTEN = Pace(log=40, validate=60, examples=4)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def phantom(number):
    """HU (z, y, x) of a scan of 6 slices of 48 x 40 pixels of 8 x 9 mm: an ellipse with two holes, and texture."""
    generator = np.random.default_rng(number)
    z, y, x = np.mgrid[:6, :48, :40]
    hu = np.full((6, 48, 40), -1000.0)
    hu[((y - 24) / 19) ** 2 + ((x - 20 + z / 3) / 15) ** 2 < 1] = 40.0 + 100 * number
    for side in (-1, 1):
        hu[((y - 22 - z) / 8) ** 2 + ((x - 20 + 7 * side) / 5) ** 2 < 1] = -800.0
    return (hu + generator.normal(0, 8, hu.shape)).round().clip(-1000)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    scans, folder = tmp_path_factory.mktemp("scans"), tmp_path_factory.mktemp("pack")
    for number in range(3):
        voxels = phantom(number).transpose(2, 1, 0).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([9.0, 8.0, 5.0, 1.0])), scans / f"scan{number}.nii.gz")
    make_pack(find_scans([scans]), "yx", "ct", folder)
    return folder


@pytest.fixture(scope="module")
def pairs(pack, tmp_path_factory):
    return make_pairs(open_pack(pack), TASKS, SIZES, tmp_path_factory.mktemp("pairs"))


@pytest.fixture
def stream(pairs):
    return PairStream(pairs, ("scan0", "scan1"), views_of(SIZES), seed=5)


@pytest.fixture(scope="module")
def finished(pack, tmp_path_factory):
    """The folder of an uninterrupted run."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    go(out, pack)
    return out


def go(out, pack, settings=SETTINGS, **options):
    recipe = settle(out, [pack], settings)
    return train(recipe, [pack], out, **{"device": "cpu", "pace": OFTEN, **options})


def state(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def as_used(number, size, key):
    """Truth and clipped analytic reconstruction of a phantom, by the way a scan takes to its reconstruction."""
    scan = Volume(torch.from_numpy(phantom(number)), np.diag([9.0, 8.0, 5.0, 1.0])).resized(size)
    unit = CT_WINDOW.to_unit(scan.data)
    return unit, acquisition_of(key).problem(unit, scan.spacing, CT_WINDOW).initial().clamp(0, 1)


# --- names of tasks


@pytest.mark.parametrize(
    ("key", "acquisition"),
    [
        ("svct-parallel-8", Acquisition("svct", beam="parallel", views=8)),
        ("svct-cone-30", Acquisition("svct", beam="cone", views=30)),
        ("lact-parallel-90", Acquisition("lact", beam="parallel", angle=90.0)),
        ("lact-cone-22.5-7", Acquisition("lact", beam="cone", angle=22.5, views=7)),
    ],
)
def test_a_key_is_the_name_of_one_acquisition(key, acquisition):
    assert acquisition_of(key) == acquisition and acquisition.key == key


@pytest.mark.parametrize(
    "key",
    ["", "svct", "svct-parallel", "svct-parallel-08", "svct-parallel-0", "svct-cone-x", "svct-spiral-8", "zsr-cone-5"]
    + ["lact-cone", "lact-cone-100-100", "lact-cone-400", "lact-parallel-nan", "lact-cone-90-3-1", "svct-cone--3"],
)
def test_what_is_no_key_is_refused(key):
    with pytest.raises(CosliceError, match=f'the key "{key}" was given'):
        acquisition_of(key)


# --- pairs


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("task", TASKS)
def test_pairs_are_what_use_will_see(pairs, task, size):
    truth, analytic = as_used(1, size, task)
    # The pack has rounded once, the pair once more.
    torch.testing.assert_close(_unit(pairs.truth("scan1", size)), truth, rtol=0, atol=2e-5)
    torch.testing.assert_close(_unit(pairs.analytic(task, "scan1", size)), analytic, rtol=0, atol=3e-4)


def _unit(stored):
    return torch.from_numpy(stored.astype(np.float32) / 65535)


def test_levels_are_the_root_mean_square_of_what_is_wrong(pairs):
    for task, level in pairs.levels(("scan0", "scan2")).items():
        squares = [
            (_unit(pairs.analytic(task, name, size)) - _unit(pairs.truth(name, size))).square().mean()
            for name in ("scan0", "scan2")
            for size in SIZES
        ]
        assert level == pytest.approx(float(torch.stack(squares).mean().sqrt()), abs=1e-4)


def test_pairs_are_made_once_and_what_is_lost_again(pack, pairs, tmp_path):
    class Made(Exception):
        pass

    def stop(done, total, name):
        if done == 5:
            raise Made

    folder, opened = tmp_path / "pairs", open_pack(pack)
    with pytest.raises(Made):
        make_pairs(opened, TASKS, SIZES, folder, progress=stop)
    first = {path: path.stat().st_mtime_ns for path in folder.glob("*.npy")}
    assert len(first) == 5
    again = make_pairs(opened, TASKS, SIZES, folder)
    assert {path: path.stat().st_mtime_ns for path in first} == first
    assert again.errors == pairs.errors
    lost = folder / again.file(TASKS[0], "scan0", 32)
    lost.unlink()
    make_pairs(opened, TASKS, SIZES, folder)
    assert lost.read_bytes() == (pairs.folder / lost.name).read_bytes()
    (folder / "pairs.json").write_text("{")
    assert make_pairs(opened, TASKS[:1], SIZES[:1], folder).errors.items() <= pairs.errors.items()
    assert len(list(folder.glob("*.npy"))) == 3 * 2


# --- the stream


class Spy(EDMDenoiser):
    """Remembers what it was shown."""

    def forward(self, x, sigma, distance=None):
        self.shown = x, sigma
        return super().forward(x, sigma, distance)


class Zero(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.zeros(()))

    def forward(self, image, label):
        return self.scale * image


def test_the_network_is_shown_the_analytic_reconstruction(stream, pairs):
    spy, feed = Spy(Zero(), 0.3, 0.2), Feed(stream, 12, Sigmas(), seed=5)
    tasks = {level: task for task, level in stream.levels.items()}
    sides = set()
    for step in range(6):
        batch = feed[step]
        side = batch.images.shape[-1]
        sides.add(side)
        assert len(batch.images) == (12 if side == 32 else round(12 * (32 / 48) ** 2))
        spy.loss(batch.images, batch.sigma, batch.noise)
        for x, sigma, truth in zip(spy.shown[0], spy.shown[1], batch.images, strict=True):
            task = tasks[round(float(sigma), 4)]
            found = 0
            for name in stream.names:
                same = (_unit(pairs.truth(name, side)) - truth).abs().amax(dim=(1, 2)) == 0
                if same.any():
                    row = int(same.nonzero()[0])
                    stored = _unit(pairs.analytic(task, name, side)[row])
                    torch.testing.assert_close(x[0], stored, rtol=0, atol=1e-6)
                    found += 1
            assert found == 1
    assert sides == set(SIZES)


def test_draws_depend_on_seed_step_and_item_alone(stream, pairs):
    feed = Feed(stream, 10, Sigmas(), seed=5)
    for step in range(4):
        whole = feed[step]
        shared = [Feed(stream, 10, Sigmas(), seed=5, ranks=Ranks(rank, 3))[step] for rank in range(3)]
        for one, parts in zip(whole.tensors, zip(*(part.tensors for part in shared), strict=True), strict=True):
            assert torch.equal(one, torch.cat(parts))
        fresh = PairStream(pairs, stream.names, stream.views, seed=5)
        assert torch.equal(fresh.batch(step, 10, 1, 2), whole.images[1:3])
        assert torch.equal(fresh.batch(step, 40, 1, 2), whole.images[1:3])
    with pytest.raises(CosliceError, match="images 3 to 99"):
        stream.batch(0, 10, 3, 96)
    other = PairStream(pairs, stream.names, (View(32, (1.0, 1.0), 1.0),), seed=6)
    same = PairStream(pairs, stream.names, (View(32, (1.0, 1.0), 1.0),), seed=5)
    assert not torch.equal(other.batch(0, 10), same.batch(0, 10))


def test_tasks_and_slices_are_equally_likely(pairs):
    stream = PairStream(pairs, ("scan0", "scan1"), (View(32, (1.0, 1.0), 1.0),), seed=0)
    count = 1200
    truths = stream.batch(0, count)
    sigma, _ = stream.corruption(0, 0, truths)
    first = int((sigma == stream.levels[TASKS[0]]).sum())
    assert abs(first - count / 2) < 4 * (count / 4) ** 0.5
    _, seen = torch.unique(truths.flatten(1), dim=0, return_counts=True)
    assert len(seen) == len(stream) == 12
    assert float((seen - count / 12).abs().max()) < 4 * (count / 12) ** 0.5


def test_larger_sizes_are_rarer_and_cost_a_step_as_much():
    small, large = views_of((256, 128))
    assert (small.side, small.images, large.side, large.images) == (128, 1.0, 256, 0.25)
    assert large.share == small.share / 2


# --- runs


def test_a_run_learns_to_improve_every_task(finished):
    records = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    last = [record for record in records if "validation" in record][-1]
    for size in SIZES:
        for task in TASKS:
            analytic = last["validation_rmse_analytic"][f"{size} px"][task]
            assert last["validation"][last["best"]][f"{size} px"][task] < 0.8 * analytic
    assert len(list((finished / "samples").glob("*.png"))) == 2


def test_a_supervised_prior_says_what_it_is(finished):
    prior = load_prior(finished / "prior.safetensors")
    tasks = tasks_of(prior.card)
    assert set(tasks) == set(TASKS) and prior.sigma_range == (min(tasks.values()), max(tasks.values()))
    page = (finished / "prior.md").read_text()
    assert "an FBP-UNet D(b, s)" in page and f"{TASKS[0]} ({tasks[TASKS[0]]:g})" in page
    assert (
        "images of 32, 48 pixels of whole slices |" in page
        and "| 48 px, analytic |" in page
        and "1 scan held out" in page
    )


def test_use_improves_a_scan_that_was_held_out(finished):
    prior = load_prior(finished / "prior.safetensors")
    for task in TASKS:
        truth, analytic = as_used(2, 48, task)
        better = fbp_unet(prior, analytic, task).clamp(0, 1)
        assert (better - truth).square().mean() < 0.7 * (analytic - truth).square().mean()
        # What the filter overshoots is cut off before the network sees it, as in training.
        overshooting = torch.where(analytic == 0, -0.3, analytic)
        assert torch.equal(fbp_unet(prior, overshooting, task).clamp(0, 1), better)


def test_an_interrupted_run_goes_on_bit_for_bit(pack, finished, tmp_path):
    class Notes(Listener):
        def __init__(self):
            self.notes = []

        def note(self, text):
            self.notes.append(text)

    out, notes = tmp_path / "stopped", Notes()
    assert go(out, pack, minutes=1e-6).reason == "minutes" and state(out)["images"] < 20
    shutil.rmtree(out / "pairs")
    assert go(out, pack, {}, listener=notes).reason == "finished"
    assert any(note.startswith(f"{TASKS[0]}: analytic reconstructions") for note in notes.notes)
    one, two = state(out), state(finished)
    for a, b in ((one["network"], two["network"]), *zip(one["averages"], two["averages"], strict=True)):
        assert all(torch.equal(a[name], b[name]) for name in a)
    with pytest.raises(CosliceError, match=r"supervised\.tasks"):
        settle(out, [pack], {"supervised": {"tasks": ["svct-cone-30"]}})


def test_a_run_that_was_stopped_among_its_pairs_goes_on(pack, tmp_path):
    class Stopping(Listener):
        def simulating(self, done, total, name):
            if done == 3:
                raise KeyboardInterrupt

    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        go(out, pack, listener=Stopping())
    assert len(list((out / "pairs").glob("*.npy"))) == 3 and not (out / "checkpoint.pt").exists()
    assert go(out, pack, minutes=1e-6).images > 0


def test_sizes_left_out_are_those_of_the_slices(pack, tmp_path):
    settings = {**SETTINGS, "supervised": {"tasks": ["svct-parallel-4"]}}
    go(tmp_path / "run", pack, settings, minutes=1e-6)
    stored = Recipe.load(tmp_path / "run" / "run.yaml")
    assert [view.side for view in stored.views] == [64]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"supervised": {"tasks": []}}, r"supervised\.tasks"),
        ({"supervised": {"tasks": ["svct-cone-8", "svct-cone-8"]}}, r"supervised\.tasks"),
        ({"supervised": {"tasks": ["denoise"]}}, 'the key "denoise"'),
        ({"supervised": {"tasks": ["svct-cone-8"], "sizes": [16]}}, r"supervised\.sizes"),
        ({"supervised": {"tasks": ["svct-cone-8"], "sizes": [50]}}, "view of 50 pixels"),
        ({"views": [{"side": 64, "scale": [1, 1], "share": 1}]}, r"supervised\.sizes 32, 48 were asked for"),
        ({"patches": {"slices": 3}, "network": None}, r"patches\.slices"),
    ],
)
def test_settings_that_are_refused_before_anything_is_simulated(pack, tmp_path, settings, told):
    with pytest.raises(CosliceError, match=told):
        go(tmp_path / "run", pack, {**SETTINGS, **settings})
    assert not (tmp_path / "run" / "pairs").exists()


def test_only_axial_ct_can_be_scanned(tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    cube = np.random.default_rng(0).integers(0, 500, (32, 32, 32)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(cube, np.eye(4)), scans / "a.nii.gz")
    for plane in ("yx", "zx"):
        opened = make_pack(find_scans([scans]), plane, "mr", tmp_path / plane)
        with pytest.raises(CosliceError, match=f"plane {plane} and window mr; give axial slices"):
            make_pairs(opened, TASKS, (32,), tmp_path / "pairs")


def test_the_command_line_names_tasks(pack, tmp_path):
    app, config = typer.Typer(), tmp_path / "run.yaml"
    app.command()(command)
    config.write_text(yaml.safe_dump({**SETTINGS, "supervised": None}))
    words = [pack, "--out", tmp_path / "run", "--config", config, "--device", "cpu", "--images", 4]
    words += ["--task", "svct-parallel-4", "--task", "svct-cone-5", "--size", 32]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    stored = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())
    assert stored["supervised"] == {"tasks": ["svct-parallel-4", "svct-cone-5"], "sizes": [32]}


# --- use


def test_each_kind_of_prior_is_refused_where_the_other_is_needed():
    network = Zero()
    diffusion = SlicePrior(EDMDenoiser(network, 0.3, 0.2), 1, (0.002, 20.0), name="mine")
    supervised = SlicePrior(
        EDMDenoiser(network, 0.3, 0.2), 1, (0.1, 0.1), name="unet", card={"tasks": {"svct-cone-30": 0.1}}
    )
    volume = torch.zeros(2, 32, 32)
    with pytest.raises(CosliceError, match="prior mine was given for the task svct-cone-30, but it is a diffusion"):
        fbp_unet(diffusion, volume, "svct-cone-30")
    with pytest.raises(CosliceError, match="it knows svct-cone-30; train one with `coslice train SCANS --task svct-co"):
        fbp_unet(supervised, volume, "svct-cone-8")
    with pytest.raises(
        CosliceError, match="method dds: prior unet was given, but it removes artefacts of svct-cone-30"
    ):
        check_diffusion(supervised, "dds")
    check_diffusion(diffusion, "dds")
    assert fbp_unet(supervised, volume, "svct-cone-30").shape == volume.shape


def test_pairs_that_were_damaged_are_named(pairs, tmp_path):
    copied = type(pairs)(
        pairs.pack, Path(shutil.copytree(pairs.folder, tmp_path / "pairs")), TASKS, SIZES, pairs.errors
    )
    path = copied.folder / copied.file("truth", "scan0", 32)
    for damage in (b"", b"\x93NUMPY"):
        path.write_bytes(damage)
        with pytest.raises(CosliceError, match="missing or damaged; delete it"):
            copied.truth("scan0", 32)
    np.save(path, np.zeros((2, 2), dtype=np.uint16))
    with pytest.raises(CosliceError, match="delete it"):
        copied.truth("scan0", 32)
