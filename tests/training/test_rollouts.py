"""Rollouts: a sampler's steps on training scans, as images to train on."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import coslice
from coslice.errors import CosliceError
from coslice.networks.edm import EDMDenoiser
from coslice.networks.unet import UNet, UNetConfig
from coslice.noise import Key, standard_normal
from coslice.priors import SlicePrior, load_prior, save_prior
from coslice.training.collection.pack import open_pack
from coslice.training.learning.run_folder import run_settings_of
from coslice.training.learning.training_run import Pace, train
from coslice.training.rollout_settings import RolloutSettings
from coslice.training.sections import AugmentSettings, PatchSettings, View
from coslice.training.supply.batches import BatchQueue
from coslice.training.supply.rollout_stream import RolloutStream
from coslice.training.supply.rollouts import make_rollouts
from coslice.training.supply.slice_stream import SliceStream
from small_pairs import packed_phantoms

pytestmark = pytest.mark.usefixtures("one_thread")
TASKS = ("svct-parallel-4", "lact-cone-100-20")
ROLLOUTS = RolloutSettings(
    TASKS, set={"schedule": {"steps": 5}, "data": {"iterations": 2}}, size=32, slices=4, levels=3, shrink=0.5
)
SETTINGS = {
    "images": 112,
    "batch": 4,
    "micro": 2,
    "precision": "f32",
    "schedule": {"warmup": 8},
    "optimiser": {"learning_rate": 6e-3},
    "data": {"validation": ["scan2"]},
    "views": [{"side": 32, "scale": [0.5, 0.7], "share": 1}],
    "rollouts": [
        {
            "tasks": list(TASKS),
            "share": 0.75,
            "set": {"schedule": {"steps": 5}, "data": {"iterations": 2}},
            "size": 32,
            "slices": 4,
            "levels": 3,
        }
    ],
}


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return packed_phantoms(tmp_path_factory.mktemp("scans"), tmp_path_factory.mktemp("pack"))


@pytest.fixture(scope="module")
def init(tmp_path_factory):
    """The file of an untrained prior."""
    torch.manual_seed(0)
    network = UNet(UNetConfig(channels=16, multipliers=(1, 2), blocks=1))
    path = tmp_path_factory.mktemp("init") / "init.safetensors"
    save_prior(path, SlicePrior(EDMDenoiser(network, 0.2, 0.3), network.stride, (0.002, 20.0), name="init"))
    return path


@pytest.fixture(scope="module")
def rollouts(pack, init, tmp_path_factory):
    return make_rollouts(open_pack(pack), ROLLOUTS, [load_prior(init)], tmp_path_factory.mktemp("rollouts"))


@pytest.fixture(scope="module")
def finished(pack, init, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    go(out, pack, init)
    return out


def go(out, pack, init=None, settings=SETTINGS, **options):
    settings = {**settings, **({"init": str(init)} if init else {})}
    pace = Pace(log=40, validate=60, examples=4)
    return train(run_settings_of(out, [pack], settings), [pack], out, **{"device": "cpu", "pace": pace, **options})


def streams(rollouts, share=0.5, **changes):
    base = SliceStream(
        rollouts.pack, ("scan0", "scan1"), (View(32, (0.5, 0.7), 1.0),), AugmentSettings(**changes), seed=3
    )
    return base, RolloutStream(base, [replace(rollouts, settings=replace(rollouts.settings, share=share))])


def corrupted(stream, step, first, truths):
    """Noise levels and noise of a step that shows a rollout."""
    given = stream.corruption(step, first, truths)
    assert given is not None and given.weight is not None
    assert torch.allclose(given.weight * given.noise.square().mean(dim=(1, 2, 3)), torch.ones(len(truths)))
    return given.sigma, given.noise


def test_what_is_kept_is_what_a_reconstruction_meets(rollouts, init):
    """The same by the public road: a volume, a task, `run`, and its steps."""
    one = rollouts.listed[0]
    array = rollouts.opened(one)
    truth = torch.from_numpy(array[0].astype(np.float32))
    scan = rollouts.pack.scan(one.scan)
    (dz, dy, dx), (_, rows, columns) = scan.spacing, scan.shape
    grid = coslice.Grid((one.count, 32, 32), (dz, dy * rows / 32, dx * columns / 32))
    problem = coslice.SparseViewCT("parallel", 4).problem(truth, grid, scan.window)
    steps = []
    coslice.run(
        problem,
        ROLLOUTS.changed_method,
        load_prior(init),
        seed=one.first,
        watch=lambda step: steps.append((step.sigma, step.estimate - truth)),
    )
    assert len(steps) == 5 and len(rollouts.sigmas) == 3
    for level, k in enumerate((0, 2, 3)):
        sigma, _ = steps[k + 1]
        error = torch.from_numpy(array[1 + level].astype(np.float32))
        assert rollouts.sigmas[level] == pytest.approx(sigma)
        # The truth was rounded to 16 bits before it was measured a second time.
        assert (error - steps[k][1]).abs().max() < 5e-3 and steps[k][1].abs().max() > 0.05


def test_an_image_is_the_truth_with_error_and_noise(rollouts):
    _, stream = streams(rollouts, share=1.0, flip_rows=0.0, flip_columns=0.0)
    for step in range(4):
        truths = stream.batch(step, 6)
        sigma, noise = corrupted(stream, step, 0, truths)
        seen = truths + sigma[:, None, None, None] * noise
        for i, truth in enumerate(truths):
            white = standard_normal(Key(3, step, "train"), i, tuple(truth.shape))
            error = (seen[i] - truth - sigma[i] * white)[0]
            # Parallel to one of the errors that are kept of this slice, at its level, and 0.5 to 1 times as large.
            found = []
            for one in rollouts.of(("scan0", "scan1")):
                array = rollouts.opened(one).astype(np.float32)
                for row in np.flatnonzero((array[0] == truth[0].numpy()).all(axis=(1, 2))):
                    for level, at in enumerate(rollouts.sigmas):
                        kept = torch.from_numpy(array[1 + level][row])
                        factor = float((kept * error).sum() / (kept * kept).sum())
                        if (error - factor * kept).abs().max() < 1e-4:
                            found.append((level, factor, float(sigma[i]) / at))
            assert len(found) == 1
            _, factor, ratio = found[0]
            assert 0.5 <= factor <= 1 and 0.3 < ratio < 3


def test_flips_turn_truth_and_error_alike(rollouts):
    _, plain = streams(rollouts, share=1.0, flip_rows=0.0, flip_columns=0.0)
    _, turned = streams(rollouts, share=1.0, flip_rows=1.0, flip_columns=1.0)
    truths, others = plain.batch(0, 3), turned.batch(0, 3)
    assert torch.equal(others, truths.flip(-2, -1)) and not torch.equal(others, truths)
    (sigma, noise), (same, other) = (corrupted(s, 0, 0, t) for s, t in ((plain, truths), (turned, others)))
    white = torch.stack([standard_normal(Key(3, 0, "train"), i, (1, 32, 32)) for i in range(3)])
    assert torch.equal(sigma, same) and torch.allclose((other - white).flip(-2, -1), noise - white, atol=1e-5)


def test_steps_without_rollouts_are_those_of_the_slices(rollouts):
    base, stream = streams(rollouts)
    shows = [stream.number(step) is not None for step in range(400)]
    assert 0.4 < np.mean(shows) < 0.6

    class Levels:
        def levels(self, key, count):
            return standard_normal(key, 0, (count,)).exp()

    step = shows.index(False)
    for one, other in zip(
        BatchQueue(stream, 4, Levels(), 3)[step].tensors, BatchQueue(base, 4, Levels(), 3)[step].tensors, strict=True
    ):
        assert torch.equal(one, other)


def test_an_image_depends_on_seed_step_and_item_alone(rollouts):
    _, stream = streams(rollouts, share=1.0)
    _, again = streams(rollouts, share=1.0)
    whole = stream.batch(5, 6)
    part = again.batch(5, 6, 2, 3)
    assert torch.equal(whole[2:5], part)
    sigma, noise = corrupted(stream, 5, 0, whole)
    some, noises = corrupted(again, 5, 2, part)
    assert torch.equal(sigma[2:5], some) and torch.equal(noise[2:5], noises)


def test_patches_are_slices_of_one_reconstruction(rollouts):
    base = SliceStream(
        rollouts.pack,
        ("scan0", "scan1"),
        (View(32, (0.5, 0.7), 1.0),),
        AugmentSettings(flip_rows=0.0, flip_columns=0.0),
        3,
        PatchSettings(3, jump=0.0, flip=0.0),
    )
    stream = RolloutStream(base, [replace(rollouts, settings=replace(rollouts.settings, share=1.0))])
    patches = stream.batch(0, 5)
    assert patches.shape == (5, 3, 32, 32) and set(stream.distances(0, 0, 5).tolist()) == {5.0}
    volumes = [rollouts.opened(one)[0].astype(np.float32) for one in rollouts.of(("scan0", "scan1"))]
    for patch in patches:
        assert any(np.array_equal(patch, volume[at : at + 3]) for volume in volumes for at in range(2))


def test_training_on_rollouts_takes_errors_out(finished):
    records = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    tables = next(record["rollouts_rmse"] for record in reversed(records) if "rollouts_rmse" in record)
    assert set(tables["32 px"]) == {f"{task} dds" for task in TASKS}
    assert all(after < 0.9 * before for before, after in tables["32 px"].values())
    assert load_prior(finished / "prior.safetensors").card["rollouts_rmse"]["32 px"].keys() == tables["32 px"].keys()
    assert "| 32 px | svct-parallel-4 dds |" in (finished / "prior.md").read_text()


def test_a_run_that_was_stopped_goes_on_bit_for_bit_without_the_first_prior(pack, init, finished, tmp_path):
    mine = tmp_path / "init.safetensors"
    shutil.copy(init, mine)
    out = tmp_path / "run"
    assert go(out, pack, mine, minutes=1e-6).reason == "minutes"
    mine.unlink()
    assert go(out, pack, settings={}).reason == "finished"
    one, two = (torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (out, finished))
    assert all(torch.equal(one["network"][name], two["network"][name]) for name in two["network"])


def test_reconstructions_that_are_there_are_not_made_again(rollouts, init, tmp_path):
    folder = tmp_path / "rollouts"
    shutil.copytree(rollouts.folder, folder)
    last = folder / rollouts.listed[-1].file
    (folder / rollouts.listed[0].file).unlink()
    before = last.stat().st_mtime_ns
    again = make_rollouts(rollouts.pack, ROLLOUTS, [load_prior(init)], folder)
    assert np.array_equal(again.opened(again.listed[0]), rollouts.opened(rollouts.listed[0]))
    assert last.stat().st_mtime_ns == before and again.errors == rollouts.errors


@pytest.mark.parametrize(
    ("rollout", "message"),
    [
        ({"tasks": []}, r"rollouts\.tasks"),
        ({"tasks": ["svct-cone-8", "zsr-5"]}, "all of CT or all of MR"),
        ({"tasks": ["zsr-5"]}, "tasks of CT need CT"),
        ({"tasks": ["svct-cone-8"], "method": "fdk", "set": {}}, r"rollouts\.method"),
        ({"tasks": ["svct-cone-8"], "share": 1.5}, r"rollouts\.share"),
        ({"tasks": ["svct-cone-8"], "set": {"steps": 3}}, r"rollouts\.set\.steps"),
        ({"tasks": ["svct-cone-8"], "shrink": 0}, r"rollouts\.shrink"),
        ({"tasks": ["svct-cone-8"], "set": {"samples": 2}}, r"rollouts\.set\.samples"),
        ({"tasks": ["svct-cone-8"], "size": 33}, r"rollouts\.size 33"),
    ],
)
def test_rollouts_that_cannot_be_are_refused(rollout, message, pack, init, tmp_path):
    with pytest.raises(CosliceError, match=message):
        go(tmp_path / "run", pack, init, {**SETTINGS, "rollouts": [rollout]})
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_rollouts_need_a_prior_and_room_for_noise(pack, init, tmp_path):
    with pytest.raises(CosliceError, match="give --init PRIOR"):
        go(tmp_path / "run", pack)
    with pytest.raises(CosliceError, match="at most 1; what is left shows noise"):
        go(tmp_path / "other", pack, init, {**SETTINGS, "rollouts": 2 * SETTINGS["rollouts"]})


def test_what_is_kept_lies_as_the_pack_does_whatever_plane_the_prior_sees(pack, tmp_path):
    torch.manual_seed(0)
    network = UNet(UNetConfig(channels=16, multipliers=(1, 2), blocks=1))
    across = SlicePrior(EDMDenoiser(network, 0.2, 0.3), network.stride, (0.002, 20.0), plane="zx", name="across")
    short = {"schedule": {"steps": 2}, "data": {"iterations": 1}}
    made = make_rollouts(open_pack(pack), replace(ROLLOUTS, tasks=TASKS[:1], set=short), [across], tmp_path)
    assert made.opened(made.listed[0]).shape == (2, 4, 32, 32)
