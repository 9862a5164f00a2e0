"""Whole training runs: killed and resumed, on two processes, stopped, refused; and the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import typer
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from coslice.cli.train import train as command
from coslice.errors import CosliceError
from coslice.training.pack import make_pack, split_pack
from coslice.training.preparation import load_initial, settle
from coslice.training.run import Pace, train
from coslice.training.scans import find_scans
from coslice.training.watch import Listener

SMALL = {
    "images": 80,
    "batch": 4,
    "micro": 2,
    "precision": "f32",
    "network": {"channels": 16, "multipliers": [1, 2], "blocks": 1},
    "schedule": {"warmup": 8},
    "optimiser": {"name": "muon"},
}
OFTEN = Pace(log=8, validate=48, save=0, examples=2)
HIDING = """
import importlib.machinery, sys
absent = ("nibabel", "pydicom", "highdicom")
class Hidden:
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in absent else old(name, path, target)
old, importlib.machinery.PathFinder.find_spec = importlib.machinery.PathFinder.find_spec, Hidden().find_spec
"""
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A folder of three CT scans of 10 slices of 32 x 32 pixels."""
    folder = tmp_path_factory.mktemp("scans")
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    for number in range(3):
        disc = (y - 16) ** 2 + (x - 14 - number) ** 2 < (9 + number) ** 2
        hu = np.where(disc, 40.0, -1000.0) + generator.normal(0, 8, (10, 32, 32))
        image = nibabel.Nifti1Image(hu.transpose(2, 1, 0).round().astype(np.int16), np.diag([8.0, 8.0, 5.0, 1.0]))
        nibabel.save(image, folder / f"scan{number}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def pack(scans, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pack")
    make_pack(find_scans([scans], False), "yx", "ct", folder, bits=8)
    return folder


@pytest.fixture(scope="module")
def finished(pack, tmp_path_factory):
    """The folder of an uninterrupted run."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    go(out, pack)
    return out


def go(out, *places, settings=SMALL, **options):
    places = [Path(place) for place in places]
    return train(settle(out, places, settings), places, out, **{"device": "cpu", "pace": OFTEN, **options})


def state(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def assert_same_weights(folder, other):
    one, two = state(folder), state(other)
    assert (one["images"], one["steps"]) == (two["images"], two["steps"])
    for a, b in ((one["network"], two["network"]), *zip(one["averages"], two["averages"], strict=True)):
        assert all(torch.equal(a[name], b[name]) for name in a)
    a, b = load_file(folder / "prior.safetensors"), load_file(other / "prior.safetensors")
    assert all(torch.equal(a[name], b[name]) for name in a)


def records(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("images_per_second", None)
    return lines


class Notes(Listener):
    def __init__(self):
        self.notes, self.records = [], []

    def note(self, text):
        self.notes.append(text)

    def record(self, record):
        self.records.append(record)


def environment(**more):
    """For a process of its own: the sources first, and one thread, on a machine that is shared."""
    path = os.pathsep.join([str(Path(sys.modules["coslice"].__path__[0]).parent), *sys.path])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", **more}


def arguments(pack, out, settings=SMALL, **more):
    config = out.parent / f"{out.name}.yaml"
    config.write_text(yaml.safe_dump({**settings, **more}))
    every = ["--log-every", OFTEN.log, "--validate-every", OFTEN.validate, "--save-every", 0]
    return [str(a) for a in (pack, "--out", out, "--config", config, "--device", "cpu", *every)]


def test_a_run_leaves_everything_promised(finished):
    assert {path.name for path in finished.iterdir()} >= {
        "checkpoint.previous.pt",
        "checkpoint.pt",
        "log.jsonl",
        "prior.md",
        "prior.safetensors",
        "run.yaml",
        "samples",
    }
    losses = [record["loss"] for record in records(finished) if "loss" in record]
    assert losses[-1] < losses[0] and len(losses) == 80 // 8
    assert [path.name for path in sorted((finished / "samples").iterdir())] == ["000000048.png", "000000080.png"]
    page = (finished / "prior.md").read_text()
    assert "80 images in 20 steps" in page and "30 slices of 3 scans (CT)" in page and "1 scan held out" in page


def test_a_run_killed_at_any_moment_goes_on_bit_for_bit(pack, finished, tmp_path):
    """Even in another process, with another number of threads, and with kill -9 in the middle of whatever it did."""
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "coslice.training", *arguments(pack, out)]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL) as process:
        log = out / "log.jsonl"
        while process.poll() is None and not (log.exists() and log.read_text().count("\n") >= 2):
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert 0 < state(out)["images"] < 80
    with open(out / "log.jsonl", "a") as file:
        file.write('{"images": 79, "loss": 9.0}\n{"imag')  # as if the log had been ahead of the checkpoint
    notes = Notes()
    assert go(out, pack, listener=notes).reason == "finished"
    assert any(note.startswith("Going on at ") for note in notes.notes)
    assert_same_weights(out, finished)
    assert records(out) == records(finished)


def test_two_processes_train_what_one_trains(pack, tmp_path):
    """To 1e-5 of what the weights moved; batches of 5 are shared unevenly."""
    settings = {**SMALL, "batch": 5, "images": 30, "optimiser": {"name": "adam"}}
    go(tmp_path / "one", pack, settings=settings)
    out = tmp_path / "two"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "coslice.training", *arguments(pack, out, settings)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = state(tmp_path / "one"), state(out)
    assert one["images"] == two["images"] and one["steps"] == two["steps"] == 6
    a, b = (torch.cat([value.flatten() for value in s["network"].values()]) for s in (one, two))
    assert float((a - b).norm() / a.norm()) < 1e-5
    losses = [[record["loss"] for record in records(folder) if "loss" in record] for folder in (tmp_path / "one", out)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_signal_stops_a_run_after_a_checkpoint(pack, finished, tmp_path):
    class Interrupting(Notes):
        def record(self, record):
            super().record(record)
            if len(self.records) == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    out, before = tmp_path / "stopped", signal.getsignal(signal.SIGTERM)
    notes = Interrupting()
    outcome = go(out, pack, listener=notes)
    assert (outcome.reason, outcome.prior) == ("SIGTERM", None) and 0 < outcome.images < 80
    assert state(out)["images"] == outcome.images and not (out / "prior.safetensors").exists()
    assert "Stopped by SIGTERM" in notes.notes[-1] and signal.getsignal(signal.SIGTERM) == before
    go(out, pack)
    assert_same_weights(out, finished)


def test_minutes_end_a_call_and_not_the_run(pack, finished, tmp_path):
    out, notes = tmp_path / "short", Notes()
    outcome = go(out, pack, minutes=1e-6, listener=notes)
    assert outcome.reason == "minutes" and outcome.images == 4 and (out / "prior.safetensors").exists()
    assert "The time is up at 4 of 80 images" in notes.notes[-1]
    go(out, pack)
    assert_same_weights(out, finished)


def test_a_run_goes_on_with_what_it_was_given_and_refuses_other_settings(pack, finished, tmp_path):
    import shutil

    out = tmp_path / "again"
    shutil.copytree(finished, out)
    assert settle(out, [pack], {}) == settle(out, [pack], SMALL)
    for other, told in (
        ({"batch": 8}, "batch 4, but 8 was given"),
        ({"optimiser": {"learning_rate": "1e-3"}}, r"optimiser\.learning_rate 0\.0012, but 0\.001"),
        ({"data": {"plane": "zx"}}, "data.plane 'yx', but 'zx'"),
        ({"seed": 1}, "seed 0, but 1"),
    ):
        with pytest.raises(CosliceError, match=told):
            settle(out, [pack], other)
    longer = settle(out, [pack], {"images": 84, "data": {"licence": "CC0"}})
    assert longer.images == 84 and longer.batch == 4
    assert train(longer, [pack], out, "cpu", pace=OFTEN).images == 84
    assert "| licence of the data | CC0 |" in (out / "prior.md").read_text()


def test_other_scans_than_before_are_refused(scans, tmp_path):
    import shutil

    folder, out = tmp_path / "scans", tmp_path / "run"
    shutil.copytree(scans, folder)
    go(out, folder, minutes=1e-6)
    assert go(out, minutes=1e-6).images == 8  # its slices are in the run's own folder
    (folder / "scan1.nii.gz").unlink()
    with pytest.raises(CosliceError, match="was begun on other scans"):
        go(out, folder)


def test_fine_tuning_starts_from_a_priors_weights_and_shape(pack, finished, tmp_path):
    prior = finished / "prior.safetensors"
    stored = load_file(prior)
    started = load_initial(str(prior), 1).network.state_dict()
    assert all(torch.equal(started[name], stored[name].float()) for name in stored)
    settings = {key: value for key, value in SMALL.items() if key != "network"}
    out = tmp_path / "tuned"
    tiny = {**settings, "init": str(prior), "optimiser": {"learning_rate": 1e-7}}
    go(out, pack, settings=tiny, minutes=1e-6)
    moved = state(out)["network"]
    assert all(torch.allclose(moved[name], stored[name].float(), atol=1e-6) for name in stored)
    assert yaml.safe_load((out / "run.yaml").read_text())["network"]["channels"] == 16
    assert go(out, pack, settings=tiny, minutes=1e-6).images == 8
    other = {**settings, "init": str(prior), "network": {"channels": 32}}
    with pytest.raises(CosliceError, match="leave out network"):
        go(tmp_path / "other", pack, settings=other)
    with pytest.raises(CosliceError, match="no-such"):
        go(tmp_path / "other", pack, settings={"init": "no-such"})


def test_places_and_folders_that_are_refused(pack, scans, tmp_path):
    empty, file = tmp_path / "empty", tmp_path / "file"
    empty.mkdir()
    file.write_text("hello")
    out = tmp_path / "out"
    for places, settings, told in (
        ([], {}, "no DATA was given"),
        ([empty], {}, "No readable scan"),
        ([tmp_path / "nowhere"], {}, "does not exist"),
        ([pack], {"data": {"plane": "zx"}}, "plane zx and window ct were asked for"),
        ([pack], {"views": [{"side": 30, "scale": [1, 1], "share": 1}]}, "view of 30 pixels"),
        ([pack], {"data": {"validation": ["nobody"]}}, '"nobody"'),
        ([pack], {"optimizer": {}}, "key optimizer is not known"),
    ):
        with pytest.raises(CosliceError, match=told):
            go(out, *places, settings={**SMALL, **settings})
        assert not out.exists() or not (out / "checkpoint.pt").exists()
    with pytest.raises(CosliceError, match="is a file"):
        go(file, pack)
    with pytest.raises(CosliceError, match="something that is no training run"):
        go(tmp_path, pack)
    with pytest.raises(CosliceError, match="minutes"):
        go(out, pack, minutes=0)
    with pytest.raises(CosliceError, match='device: "abacus"'):
        go(out, pack, device="abacus")
    with pytest.raises(CosliceError, match="at least 1"):
        Pace(log=0)


def test_one_scan_is_validated_on_itself(scans, tmp_path):
    notes = Notes()
    go(tmp_path / "run", scans / "scan0.nii.gz", minutes=1e-6, listener=notes)
    assert any("only one scan" in note for note in notes.notes)
    assert "none was held out" in (tmp_path / "run" / "prior.md").read_text()


# --- the command line


@pytest.fixture
def coslice_train():
    app = typer.Typer()
    app.command()(command)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_line_comes_before_the_file(coslice_train, scans, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump({**SMALL, "seed": 3}))
    words = ["--config", config, "--out", tmp_path / "run", "--images", 8, "--learning-rate", 1e-3, "--val", "scan2"]
    done = coslice_train(scans, *words, "--optimiser", "adam", "--log-every", 4, "--device", "cpu")
    assert done.exit_code == 0, done.output
    stored = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())
    assert (stored["images"], stored["seed"], stored["batch"]) == (8, 3, 4)
    assert stored["optimiser"]["name"] == "adam" and stored["optimiser"]["learning_rate"] == 1e-3
    assert stored["data"]["validation"] == ["scan2"]
    assert "Finished after 8 images" in done.output and "8 of 8 images" in done.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--plane", "xx"], "data.plane is 'xx'"),
        (["--window", "bone"], '"bone"'),
        (["--size", 4], "data.size is 4"),
        (["--images", 0], "images is 0"),
        (["--batch", 0], "batch is 0"),
        (["--learning-rate", 0], "learning_rate is 0.0"),
        (["--optimiser", "sgd"], "optimiser.name is 'sgd'"),
        (["--schedule", "none"], "schedule.name is 'none'"),
        (["--precision", "f64"], "precision is 'f64'"),
        (["--val", 2], "data.validation is 2.0"),
        (["--val", "nobody"], '"nobody"'),
        (["--init", "nothing"], "nothing"),
        (["--seed", -1], "seed is -1"),
        (["--minutes", -1], "-1 minutes"),
        (["--device", "abacus"], "abacus"),
        (["--log-every", 0], "at least 1"),
        (["--config", "none.yaml"], "cannot be read"),
    ],
)
def test_wrong_options_are_one_sentence(coslice_train, scans, tmp_path, words, told):
    done = coslice_train(scans, "--out", tmp_path / "run", *words)
    assert isinstance(done.exception, CosliceError)
    assert told in str(done.exception) and "\n" not in str(done.exception)
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


# --- a bare machine


@pytest.mark.slow
def test_the_script_trains_where_little_is_installed(pack, tmp_path):
    """Twice on one machine without any reader of scans: the second call goes on where the first stopped."""
    from coslice.training.pack import open_pack

    travel, bare = tmp_path / "travel", tmp_path / "bare"
    split_pack(open_pack(pack), travel)
    bare.mkdir()
    (bare / "sitecustomize.py").write_text(HIDING)
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(SMALL))
    more = environment(PYTHON=sys.executable, DEVICE="cpu", CONFIG=str(config))
    more["PYTHONPATH"] = os.pathsep.join([str(bare), more["PYTHONPATH"]])
    seen = []
    for minutes in ("0.00001", "5"):
        words = ["bash", str(ROOT / "scripts" / "train_on_gpu.sh"), str(travel), str(tmp_path / "run"), minutes]
        done = subprocess.run([*words, str(tmp_path / "out")], env=more, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        seen.append(state(tmp_path / "run")["images"])
    assert seen == [4, 80]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {"prior.safetensors", "prior.md", "log.jsonl", "samples.png", "run.yaml"}
    assert all(path.stat().st_size <= 16 * 2**20 for path in (tmp_path / "out").iterdir())
