"""Machines on which nothing can be written but the results: no home, no name, no temporary files, root's package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import coslice

pytestmark = pytest.mark.faults

STRANGER: dict[str, Any] = {
    "nobody": True,
    "unset": ["HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME", "MPLCONFIGDIR"],
}
READING = {
    "help": ["--help"],
    "version": ["--version"],
    "methods": ["methods"],
    "method": ["methods", "wblend"],
    "priors": ["priors"],
    "show": ["priors", "show", "ct"],
    "inspect": ["inspect", "SCAN"],
    "inspect prior": ["inspect", "ct"],
    "evaluate": ["evaluate", "SCAN", "SCAN"],
    "benchmark": ["benchmark"],
    "plan": ["benchmark", "table1-small", "--plan"],
    "bench": ["bench", "--help"],
    "train": ["train", "--help"],
}
HOMES = [{"HOME": "/nonexistent"}, {"HOME": ""}, {"HOME": "/"}, {"HOME": "/dev/null"}, {"HOME": "relative"}]
PLACES = [{"TMPDIR": "/nonexistent"}, {"TMPDIR": "/dev/null"}, {"TMPDIR": "/proc"}, {"NUMBA_CACHE_DIR": "/proc/none"},
          {"XDG_CACHE_HOME": "/proc/none"}, {"XDG_CACHE_HOME": "relative"}, {"MPLCONFIGDIR": "/proc/none"},
          {"COSLICE_PRIORS": "/proc/none"}, {"COSLICE_PRIORS": "/dev/null"}, {"COSLICE_PRIORS": "x" * 300}]  # fmt: skip


@pytest.fixture
def shut(tmp_path):
    """A folder that its owner may not write to, to stand in."""
    folder = tmp_path / "shut"
    folder.mkdir(mode=0o555)
    return folder


def words(command, scan):
    return [str(scan) if word == "SCAN" else word for word in READING[command]]


@pytest.mark.parametrize("command", READING)
def test_who_has_neither_name_nor_home_can_use_every_command(trials, scan, shut, command):
    trial = trials.tried(*words(command, scan), folder=shut, world=STRANGER).sane()
    assert trial.code == 0 and trial.output and not list(shut.iterdir())


@pytest.mark.parametrize("variables", [*HOMES, *PLACES])
@pytest.mark.parametrize("command", ["priors", "show", "inspect"])
def test_variables_that_lead_nowhere_change_nothing(trials, scan, shut, command, variables):
    world = {"nobody": True, "unset": ["COSLICE_PRIORS", "XDG_CACHE_HOME"]}
    trial = trials.tried(*words(command, scan), folder=shut, environment=variables, world=world).sane()
    assert trial.code == 0 and trial.output and not list(shut.iterdir())


@pytest.mark.parametrize("method", [["--method", "fdk"], ["--method", "dds", "--steps", "2"]])
def test_only_the_results_need_a_place(trials, scan, tiny_prior, tmp_path, shut, method):
    prior = [] if "fdk" in method else ["--prior", tiny_prior]
    given = ["reconstruct", scan, *method, *prior, "--views", "4", "--out", tmp_path / "out"]
    trial = trials.tried(*given, folder=shut, world=STRANGER).sane(bound_mb=400)
    assert trial.code == 0 and (tmp_path / "out" / "report.html").is_file() and not list(shut.iterdir())


def test_training_needs_no_other_place_either(trials, scan, tmp_path, shut):
    network = {"network.channels": 16, "network.multipliers": "[1]", "network.blocks": 1}
    sets = [word for name, value in network.items() for word in ("--set", f"{name}={value}")]
    given = ["train", scan, "--images", "2", "--batch", "2", *sets, "--out", tmp_path / "out"]
    trial = trials.tried(*given, folder=shut, world=STRANGER).sane(bound_mb=600)
    assert trial.code == 0 and (tmp_path / "out" / "prior.safetensors").is_file() and not list(shut.iterdir())


def test_without_a_home_the_list_says_that_there_is_no_store(trials, shut):
    trial = trials.tried(
        "priors", folder=shut, world={**STRANGER, "unset": [*STRANGER["unset"], "COSLICE_PRIORS"]}
    ).sane()
    assert "ct" in trial.output and "COSLICE_PRIORS" in trial.errors


@pytest.mark.parametrize("store", [None, "/proc/none", "/dev/null", "x" * 300, "SHUT"])
def test_importing_says_where_a_store_could_be(trials, checkpoints, shut, store):
    variables = {} if store is None else {"COSLICE_PRIORS": store.replace("SHUT", str(shut))}
    given = ["priors", "import", checkpoints / "ncsnpp_tiny.pth", "--plane", "yx", "--window", "ct", "--range", "0:1"]
    trial = trials.tried(*given, folder=shut, environment=variables, world=STRANGER).refused()
    assert not list(shut.iterdir())
    assert "COSLICE_PRIORS" in trial.errors or "cannot be" in trial.errors


@pytest.mark.parametrize("place", ["shut/out", "shut/a/b/out", "/proc/none/out", "/sys/out"])
def test_results_that_find_no_place_are_refused_before_the_work(trials, svct, tmp_path, shut, place):
    del shut
    trial = trials.tried(*map(str, svct), "--out", place, folder=tmp_path, world=STRANGER).refused()
    assert trial.errors.count("\n") == 1 and "cannot be" in trial.errors


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no users to be")
@pytest.mark.parametrize("command", [["--help"], ["methods"]])
def test_an_installation_of_somebody_else(tmp_path, command):
    """In a process of its own: a copy of the package that cannot be written to, and no place for compiled code."""
    package = tmp_path / "package" / "coslice"
    shutil.copytree(Path(coslice.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (package, *package.rglob("*"), tmp_path / "package"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    bound = ["setpriv", "--bounding-set=-dac_override"] if os.getuid() == 0 else []
    if bound and shutil.which("setpriv") is None:
        pytest.skip("the superuser can write everywhere")
    gone = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"), "/proc/none")
    environment = {**os.environ, **gone, "PYTHONPATH": str(package.parent), "OMP_NUM_THREADS": "1"}
    (tmp_path / "here").mkdir(mode=0o555)
    line = [*bound, sys.executable, "-m", "coslice", *command]
    done = subprocess.run(line, env=environment, cwd=tmp_path / "here", capture_output=True, text=True, timeout=300)
    for path in (package, *package.rglob("*"), tmp_path / "package"):
        if path.is_dir():
            path.chmod(0o755)
    assert done.returncode == 0 and done.stdout and "Traceback" not in done.stderr, done.stderr
    assert not list(package.rglob("__pycache__")) and not list((tmp_path / "here").iterdir())
