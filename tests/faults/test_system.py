"""An operating system that refuses: paths that cannot be, full and failing disks, folders taken away, limits."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest
import torch

import coslice

pytestmark = pytest.mark.faults

NETWORK = ["--set", "network.channels=16", "--set", "network.multipliers=[1]", "--set", "network.blocks=1"]
STATED = ["--plane", "yx", "--window", "ct", "--range", "0:1"]
SOME = ("a long name", "through a file", "shut")
"""Of the kinds below, for commands that take long to refuse."""
OUTPUTS = {
    "reconstruct": ["reconstruct", "SCAN", "--prior", "PRIOR", "--views", "4", "--steps", "1", "--out", "@"],
    "inspect": ["inspect", "SCAN", "--out", "@/picture.png"],
    "inspect into a folder": ["inspect", "SCAN", "--out", "@"],
    "geometry": ["inspect", "SCAN", "--as-json", "@"],
    "train": ["train", "SCAN", "--images", "2", "--batch", "2", *NETWORK, "--out", "@"],
    "benchmark": ["benchmark", "table1-small", "--out", "@"],
    "import": ["priors", "import", "CHECKPOINT", *STATED, "--out", "@.safetensors"],
}
INPUTS = {
    "reconstruct": ["reconstruct", "@", "--out", "out"],
    "prior": ["reconstruct", "SCAN", "--prior", "@", "--out", "out"],
    "method": ["reconstruct", "SCAN", "--method", "@.py:mine", "--out", "out"],
    "geometry": ["reconstruct", "FILE.npy", "--geometry", "@", "--out", "out"],
    "flat": ["reconstruct", "FILE.npy", "--geometry", "FILE", "--flat", "@", "--out", "out"],
    "stack": ["reconstruct", "SCAN", "--task", "zsr", "--stack", "@", "--out", "out"],
    "evaluate": ["evaluate", "SCAN", "@"],
    "inspect": ["inspect", "@"],
    "train": ["train", "@", "--out", "out"],
    "configuration": ["train", "SCAN", "--config", "@", "--out", "out"],
    "subjects": ["train", "SCAN", "--subjects", "@.csv", "--out", "out"],
    "init": ["train", "SCAN", "--init", "@", "--out", "out"],
    "recipe": ["benchmark", "@.yaml", "--plan"],
    "scan of a recipe": ["benchmark", "table1-small", "--plan", "--scan", "chest=@"],
    "card": ["priors", "show", "@"],
    "checkpoint": ["priors", "import", "@"],
}
NOWHERE = {
    "a long name": "x" * 300,
    "a long path": "a/" * 2500 + "b",
    "through a file": "file/x",
    "a ring of links": "ring/x",
    "not to be entered": "closed/x",
    "zero in it": "a\0b",
    "dangling": "dangling/x",
    "a device": "/dev/null/x",
    "the kernel's": "/proc/none/x",
}
"""Paths at which nothing is, and nothing can be."""


@pytest.fixture
def here(tmp_path):
    """A folder with what paths lead astray through, to stand in."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "file").write_text("a file")
    (folder / "FILE").write_text("{}")
    (folder / "FILE.npy").write_bytes(b"\x93NUMPY")
    (folder / "ring").symlink_to("ring")
    (folder / "dangling").symlink_to("/proc/none")
    (folder / "shut").mkdir(mode=0o555)
    (folder / "closed").mkdir(mode=0o000)
    yield folder
    (folder / "closed").chmod(0o755)


@pytest.fixture
def filled(scan, tiny_prior, checkpoints):
    """A command with its files' names, and a path in it: filled(words, path) -> words."""
    names = {"SCAN": str(scan), "PRIOR": str(tiny_prior), "CHECKPOINT": str(checkpoints / "ncsnpp_tiny.pth")}

    def fill(words, path=""):
        return [names.get(word, word.replace("@", str(path))) for word in words]

    return fill


def held(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("command", "kind"),
    # Some commands take long to refuse, and are tried in some places only.
    [
        (one, kind)
        for one in OUTPUTS
        for kind in (*NOWHERE, "shut")
        if one not in ("benchmark", "import") or kind in SOME
    ],
)
def test_no_result_is_promised_a_place_that_cannot_be(trials, filled, here, command, kind):
    path = {**NOWHERE, "shut": "shut/x"}[kind]
    before = held(here)
    trial = trials.tried(*filled(OUTPUTS[command], path), folder=here, world={"nobody": True}).refused()
    assert held(here) == before and not held(here / "shut")
    assert len(trial.errors) < 1700


@pytest.mark.parametrize("kind", NOWHERE)
@pytest.mark.parametrize("command", INPUTS)
def test_an_input_that_cannot_be_is_a_sentence(trials, filled, here, command, kind):
    before = held(here)
    trial = trials.tried(*filled(INPUTS[command], NOWHERE[kind]), folder=here, world={"nobody": True}).refused()
    assert held(here) == before
    assert sum(line.startswith("coslice: ") for line in trial.errors.splitlines()) == 1


@pytest.mark.parametrize("out", ["/dev/null", "/dev/full", "/proc/self/mem", "SCAN", "file"])
@pytest.mark.parametrize("command", ["reconstruct", "train"])
def test_a_file_is_no_folder(trials, filled, here, scan, command, out):
    before = scan.read_bytes()
    trials.tried(*filled(OUTPUTS[command], scan if out == "SCAN" else out), folder=here).refused()
    assert scan.read_bytes() == before and (here / "file").read_text() == "a file"


def test_results_do_not_fall_among_the_inputs(trials, filled, scan, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    shutil.copy(scan, folder)
    trials.tried(*filled(OUTPUTS["reconstruct"], folder)).refused()
    assert held(folder) == {scan.name}


@pytest.mark.parametrize("error", ["ENOSPC", "EDQUOT", "EIO", "EROFS"])
@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("command", ["inspect into a folder", "train"])
def test_disks_that_fail_at_the_end_of_writing(trials, filled, here, command, call, error):
    """Quotas and networks say at the last moment that there is no room."""
    trial = trials.tried(*filled(OUTPUTS[command], here / "out"), world={"refuse": {call: error}})
    trial.refused(None if command == "train" else here / "out")
    assert "cannot be written" in trial.errors
    assert not [path for path in here.rglob(".*") if len(path.name) > 32]


@pytest.mark.parametrize(
    ("command", "size"),
    [("inspect into a folder", 600), ("train", 600), ("train", 700_000), ("reconstruct", 600), ("import", 10_000)],
)
def test_files_that_may_not_grow(trials, filled, here, command, size):
    trial = trials.tried(*filled(OUTPUTS[command], here / "out"), world={"limits": {"FSIZE": size}}).refused()
    assert "file too large" in trial.errors, trial
    assert not [path for path in here.rglob(".*") if len(path.name) > 32]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of so many kB: small_disk(64) -> its folder; only the superuser can have one."""
    made = []

    def make(kilobytes):
        folder = tmp_path / "disk"
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(folder)]
        if os.name != "posix" or os.getuid() or subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("no disk can be mounted here")
        made.append(folder)
        return folder

    yield make
    for folder in made:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    ("command", "kilobytes"),
    [("inspect into a folder", 16), ("import", 64), ("train", 16), ("train", 300), ("reconstruct", 16)],
)
def test_full_disks(trials, filled, small_disk, command, kilobytes):
    disk = small_disk(kilobytes)
    trial = trials.tried(*filled(OUTPUTS[command], disk / "out")).refused()
    assert "no space left" in trial.errors and "make room" in trial.errors, trial
    assert not [path for path in disk.rglob(".*") if len(path.name) > 32]


def test_a_disk_that_fills_in_training_leaves_the_run_where_it_was(trials, filled, small_disk):
    """The run goes on from its last checkpoint when there is room again."""
    disk = small_disk(2000)
    given = filled(OUTPUTS["train"], disk / "out")
    given[given.index("--images") + 1] = "16"
    trial = trials.tried(*given, "--save-every", "0").refused()
    assert "last checkpoint" in trial.errors, trial
    before = torch.load(disk / "out" / "checkpoint.pt", weights_only=True)["images"]
    subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
    assert trials.tried(*given).sane(bound_mb=600).code == 0
    assert 0 < before < torch.load(disk / "out" / "checkpoint.pt", weights_only=True)["images"] == 16


@pytest.mark.parametrize("instead", ["nothing", "a file", "no parent"])
def test_a_folder_that_is_taken_away(trials, filled, tmp_path, instead):
    out = tmp_path / "parent" / "out"
    out.parent.mkdir()

    def take():
        end = time.monotonic() + 30
        while not out.exists() and time.monotonic() < end:
            time.sleep(0.002)
        while out.exists():
            shutil.rmtree(out.parent if instead == "no parent" else out, ignore_errors=True)
        if instead == "a file":
            with suppress(OSError):
                out.write_text("in the way")

    taker = threading.Thread(target=take)
    taker.start()
    trial = trials.tried(*filled(OUTPUTS["reconstruct"], out)).sane()
    taker.join()
    assert trial.code == 0 or str(out) in trial.errors


@pytest.mark.parametrize("command", ["reconstruct", "inspect", "evaluate", "train", "priors"])
def test_a_current_folder_that_is_gone(trials, filled, tmp_path, command):
    given = ["priors"] if command == "priors" else filled(INPUTS[command], "SCAN")
    trial = trials.tried(*given, world={"removed": str(tmp_path / "gone")}).refused()
    assert "current folder" in trial.errors


@pytest.mark.parametrize("mask", [0o777, 0o277, 0o077, 0])
def test_masks_of_permissions(trials, filled, tmp_path, mask):
    trial = trials.tried(
        *filled(OUTPUTS["inspect into a folder"], tmp_path / "out"), world={"umask": mask, "nobody": True}
    ).sane()
    assert (trial.code == 0) == (mask & 0o300 == 0), trial


@pytest.mark.parametrize(
    ("command", "count"), [*product(["inspect", "evaluate"], [3, 4, 5, 6, 8, 64]), ("reconstruct", 6), ("train", 6)]
)
def test_few_open_files(trials, filled, here, scan, command, count):
    given = filled(OUTPUTS[command], "out") if command in ("reconstruct", "train") else filled(INPUTS[command], scan)
    trial = trials.tried(*given, folder=here, world={"limits": {"NOFILE": count}}).sane()
    assert trial.code == 0 or "open files" in trial.errors, trial


@pytest.mark.parametrize("room_mb", [100, 300])
@pytest.mark.parametrize(
    "large",
    [["--pad", "500"], ["--size", "1500", "--views", "300"], ["--spacing", "0.1"], ["--views", "300", "--pad", "300"]],
)
def test_problems_beyond_the_memory(trials, scan, tiny_prior, here, large, room_mb):
    given = ["reconstruct", scan, "--prior", tiny_prior, *large, "--steps", "1", "--out", here / "out"]
    trial = trials.tried(*given, ceiling_mb=room_mb).refused(here / "out", bound_mb=room_mb + 50)
    assert "memory" in trial.errors, trial


@pytest.mark.parametrize("flags", [["-O"], ["-I"], ["-X", "utf8=0"], ["-OO", "-B"]])
def test_interpreters_with_other_flags(flags):
    """In processes of their own: assertions that do not run, no variables, another way to read text."""
    package = str(Path(coslice.__file__).parents[1])
    code = f"import sys; sys.path.insert(0, {package!r}); sys.argv = ['coslice', '--help']\n"
    code += "from coslice.cli import main; main()"
    line = [sys.executable, *flags, "-c", code]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONHASHSEED": "7"}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "reconstruct" in done.stdout, done.stderr
