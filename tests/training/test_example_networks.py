"""The example that trains an FBP-UNet for each task: what it asks for, and that it stops where a run is stopped."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
import typer

from coslice.cli.app import app
from coslice.networks.unet import UNet
from coslice.priors import load_prior
from coslice.problems import task_of_key
from coslice.training.run_settings import TrainingSettings
from coslice.tree import nested, overlay, read_tree

COMMAND = cast(Any, typer.main.get_command(app)).commands["train"]
EXAMPLE = Path(__file__).parents[2] / "examples" / "fbp-unet"


@pytest.fixture
def script(tmp_path):
    """Run the script with a coslice that writes down what it is asked, and fails at a task: script(*words, fails)."""
    folder, asked = tmp_path / "bin", tmp_path / "asked"
    folder.mkdir()
    command = folder / "coslice"
    command.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$*" >> {shlex.quote(str(asked))}\n'
        'case " $* " in *" --task $FAILS "*) exit 143;; esac\n'
    )
    command.chmod(0o755)

    def run(*words, fails="none"):
        asked.unlink(missing_ok=True)
        place = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "FAILS": fails}
        done = subprocess.run(["sh", EXAMPLE / "train.sh", *words], env=place, check=False)
        return done.returncode, asked.read_text().splitlines()

    return run


def tasks_in(lines):
    return [line.partition("--task ")[2].split()[0] for line in lines]


def test_every_task_of_the_embedded_network_has_a_run_of_its_own(script):
    code, lines = script("scans", "out")
    embedded = load_prior("ct-fbp-unet").card["tasks"]
    assert code == 0 and sorted(tasks_in(lines)) == sorted(embedded)
    for task, line in zip(tasks_in(lines), lines, strict=True):
        words = line.split()
        assert words[:2] == ["train", "scans"] and words[-2:] == ["--out", f"out/{task}"]
        known = {name for item in COMMAND.params for name in item.opts}
        assert {word for word in words if word.startswith("--")} <= known
    assert script("scans", "out")[1] == lines, "the same line, which goes on"


def test_a_run_that_was_stopped_stops_the_rest(script):
    code, lines = script(
        "scans", "out", "svct-parallel-8", "svct-parallel-16", "lact-cone-60", fails="svct-parallel-16"
    )
    assert code == 143 and tasks_in(lines) == ["svct-parallel-8", "svct-parallel-16"]


def test_the_settings_are_those_of_one_network_for_one_task():
    tree, settings = read_tree(EXAMPLE / "network.yaml", "train"), None
    for task in load_prior("ct-fbp-unet").card["tasks"]:
        settings = TrainingSettings.from_dict(overlay(tree, nested([("supervised.tasks", [task])])))
        assert settings.supervised is not None and settings.supervised.tasks == (task,) == (task_of_key(task).key,)
        assert settings.supervised.sizes == (128, 256) and settings.schedule.epochs == 150
    assert settings is not None and settings.network is not None
    parameters = sum(p.numel() for p in UNet(settings.network).parameters())
    assert round(parameters / 1e6, 1) == 5.6, "as its comment says"
