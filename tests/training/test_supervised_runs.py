"""FBP-UNet: training on pairs, and the use of what was trained."""

import json
import shutil

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
from coslice.training.learning.journal import Listener
from coslice.training.learning.run_folder import run_settings_of
from coslice.training.learning.training_run import Pace, train
from coslice.training.run_settings import TrainingSettings
from small_pairs import SIZES, TASKS, Zero, as_used, packed_phantoms

pytestmark = pytest.mark.usefixtures("one_thread")
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


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return packed_phantoms(tmp_path_factory.mktemp("scans"), tmp_path_factory.mktemp("pack"))


@pytest.fixture(scope="module")
def finished(pack, tmp_path_factory):
    """The folder of an uninterrupted run."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    go(out, pack)
    return out


def go(out, pack, settings=SETTINGS, **options):
    return train(run_settings_of(out, [pack], settings), [pack], out, **{"device": "cpu", "pace": OFTEN, **options})


def state(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)


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
        run_settings_of(out, [pack], {"supervised": {"tasks": ["svct-cone-30"]}})


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
    stored = TrainingSettings.load(tmp_path / "run" / "run.yaml")
    assert [view.side for view in stored.views or ()] == [64]


@pytest.mark.parametrize(
    ("settings", "message"),
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
def test_settings_that_are_refused_before_anything_is_simulated(pack, tmp_path, settings, message):
    with pytest.raises(CosliceError, match=message):
        go(tmp_path / "run", pack, {**SETTINGS, **settings})
    assert not (tmp_path / "run" / "pairs").exists()


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


def test_a_prior_of_one_kind_is_refused_where_the_other_is_needed():
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
