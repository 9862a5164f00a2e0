"""Whole training runs: killed and resumed, on two processes, stopped, refused."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import nibabel
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from coslice.errors import CosliceError
from coslice.priors import read_card
from coslice.priors.suitability import seen_by
from coslice.priors.travelling_cards import NOT_FOR
from coslice.training.collection.pack import open_pack, split
from coslice.training.collection.pack_brightness import pack_intensity
from coslice.training.learning.beginning import initial_denoiser
from coslice.training.learning.run_folder import run_settings_of
from coslice.training.learning.training_run import Pace, train
from small_runs import (
    OFTEN,
    SMALL,
    Notes,
    arguments,
    assert_same_weights,
    environment,
    go,
    records,
    state,
)


@pytest.fixture(scope="module")
def finished(pack, tmp_path_factory):
    """The folder of an uninterrupted run."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    go(out, pack, settings={**SMALL, "data": {"not_for": "anything but discs"}})
    return out


def test_a_run_leaves_everything_promised(finished, pack):
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
    card = read_card(str(finished / "prior.safetensors"))
    assert card["validated_on"] == {"scans": 1, "subjects": 1} and not re.search(r"scan\d", json.dumps(card))
    trained = pack_intensity(open_pack(pack), split(open_pack(pack), 0.1)[0])
    assert seen_by(card)["intensity"] == trained and trained["level"] == pytest.approx([0.4, 0.4], abs=2e-3)
    assert card["not_for"] == f"{NOT_FOR}; anything but discs" and card["data_licence"] == "not stated"
    assert f"| not for | {card['not_for']} |" in page
    assert "80 images in 20 steps" in page and "30 slices of 3 scans (CT)" in page and "1 scan held out" in page


def test_a_checkpoint_holds_what_every_one_before_held(finished):
    """So that a run of an earlier version goes on."""
    checkpoint = state(finished)
    keys = "averages images meter network optimiser recipe scans seconds steps"
    assert " ".join(sorted(checkpoint)) == keys
    assert sorted(checkpoint["meter"]) == ["counts", "images", "losses", "norms"]
    assert sorted(checkpoint["optimiser"]) == ["adam", "means"]
    assert checkpoint["recipe"] == yaml.safe_load((finished / "run.yaml").read_text())


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
    out = tmp_path / "again"
    shutil.copytree(finished, out)
    assert run_settings_of(out, [pack], {}) == run_settings_of(out, [pack], SMALL)
    for other, message in (
        ({"batch": 8}, "batch 4, but 8 was given"),
        ({"optimiser": {"learning_rate": "1e-3"}}, r"optimiser\.learning_rate 0\.0012, but 0\.001"),
        ({"data": {"plane": "zx"}}, "data.plane 'yx', but 'zx'"),
        ({"seed": 1}, "seed 0, but 1"),
    ):
        with pytest.raises(CosliceError, match=message):
            run_settings_of(out, [pack], other)
    longer = run_settings_of(out, [pack], {"images": 84, "data": {"licence": "CC0"}})
    assert longer.images == 84 and longer.batch == 4
    assert train(longer, [pack], out, "cpu", pace=OFTEN).images == 84
    assert "| licence of the data | CC0 |" in (out / "prior.md").read_text()


def test_a_run_says_and_keeps_what_it_skipped_and_goes_on_with_its_own_scans_only(scans, tmp_path):
    folder, out, notes = tmp_path / "scans", tmp_path / "run", Notes()
    shutil.copytree(scans, folder)
    mask = nibabel.Nifti1Image(np.indices((32, 32, 4)).sum(0).astype(np.uint8) % 2, np.eye(4))
    nibabel.save(mask, folder / "mask.nii")
    (folder / "empty.nii").touch()
    go(out, folder, minutes=1e-6, listener=notes)
    table = next(note for note in notes.notes if note.startswith("Skipped 2"))
    assert "1  masks (two values)  mask.nii" in table and "1  empty files " in table
    assert any(note.startswith("Held out: scan") for note in notes.notes)
    counts = {"masks (two values)": 1, "empty files": 1}
    record = json.loads((out / "scans.json").read_text())
    assert {one["kind"]: one["count"] for one in record["skipped"]} == counts
    assert any("mask.nii is a mask" in reason for one in record["skipped"] for reason in one["reasons"])
    card = read_card(str(out / "prior.safetensors"))
    assert card["skipped"] == counts and "mask.nii" not in json.dumps(card)
    # A pack of before subjects were labels: who is held out stays so, also with the scans at hand.
    text = (out / "slices" / "pack.json").read_text()
    (out / "slices" / "pack.json").write_text(text.replace('"subject": ""', '"subject": "0123456789ab"', 1))
    assert go(out, folder, minutes=1e-6).images == 8
    assert "0123456789ab" in (out / "slices" / "pack.json").read_text()
    (folder / "scan1.nii.gz").unlink()
    with pytest.raises(CosliceError, match="was begun on other scans"):
        go(out, folder)
    assert go(out, minutes=1e-6).images == 12  # its slices are in the run's own folder


def test_fine_tuning_starts_from_a_priors_weights_and_shape(pack, finished, tmp_path):
    prior = finished / "prior.safetensors"
    stored = load_file(prior)
    started = initial_denoiser(str(prior), 1).network.state_dict()
    assert all(torch.equal(started[name], stored[name].float()) for name in stored)
    settings = {key: value for key, value in SMALL.items() if key != "network"}
    out = tmp_path / "tuned"
    tiny = {**settings, "init": str(prior), "optimiser": {"learning_rate": 1e-7}, "data": {"validation": ["scan1"]}}
    go(out, pack, settings=tiny, minutes=1e-6)
    card = read_card(str(out / "prior.safetensors"))
    assert card["recipe"]["init"] == "whole" and card["recipe"]["data"]["validation"] == ["held-out-1"]
    assert not any(told in json.dumps(card) + (out / "prior.md").read_text() for told in (str(tmp_path), "scan1"))
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
    for places, settings, message in (
        ([], {}, "no DATA was given"),
        ([empty], {}, "No usable scan"),
        ([tmp_path / "nowhere"], {}, "does not exist"),
        ([pack], {"data": {"plane": "zx"}}, "none of its scans has images of 32 x 32"),
        ([pack], {"views": [{"side": 30, "scale": [1, 1], "share": 1}]}, "view of 30 pixels"),
        ([pack], {"data": {"validation": ["nobody"]}}, '"nobody"'),
        ([pack], {"optimizer": {}}, "key optimizer is not known"),
    ):
        with pytest.raises(CosliceError, match=message):
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
