"""What the script of a day with a GPU does with its time and with the folders of its runs; nothing is trained here."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_day.sh"
PRETENDED = """#!/usr/bin/env bash
[ "$1" = -m ] || { touch "$3/summary.md"; exit; }
while [ $# -gt 0 ]; do
    case $1 in --out) out=$2 ;; --minutes) minutes=$2 ;; --average) average=$2 ;; esac
    shift
done
if [ -n "${average:-}" ]; then echo "average $average" > "$out/prior.safetensors" && touch "$out/prior.md" && exit; fi
[ ! -f "$out/checkpoint.pt" ] || echo "going on"
mkdir -p "$out/slices" "$out/averages" "$out/samples" "$out/tensorboard"
touch "$out/slices/pack.json" "$out/averages/a" "$out/samples/b.png" "$out/tensorboard/c"
touch "$out/checkpoint.previous.pt" "$out/run.yaml"
echo best > "$out/prior.safetensors"
[ -f "$out/checkpoint.pt" ] || head -c "${LARGE:-10}" /dev/urandom > "$out/checkpoint.pt"
echo "minutes $minutes"
echo "Finished after 80 images"
"""
"""In place of Python: it says for how long it was to train, and leaves the files of a run."""


@pytest.fixture
def day(tmp_path):
    """The script on a machine where training takes no time."""
    python = tmp_path / "python"
    python.write_text(PRETENDED)
    python.chmod(0o755)
    (tmp_path / "pack").mkdir()
    for name in ("pack/pack.json", "one.yaml", "two.yaml"):
        (tmp_path / name).touch()
    usual = {"PYTHON": str(python), "PARTS": "", "PACK": "pack", "CONFIG": "one.yaml two.yaml"}

    def run(minutes="5", **changes):
        environment = {**os.environ, **usual, **changes}
        words = ["bash", str(SCRIPT), "out", minutes]
        return subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600)

    return run


def said(tmp_path, name):
    return (tmp_path / "out" / name / "training.txt").read_text().splitlines()


def in_state(folder):
    """The files in a state that is kept in parts."""
    parts = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    listed = subprocess.run(["tar", "-tzf", "-"], input=parts, capture_output=True, check=True).stdout.decode()
    return {line.removeprefix("./") for line in listed.split() if not line.endswith("/")}


@pytest.mark.parametrize(("shares", "first"), [("2 1", 170 / 60), ("1 1", 2.0), ("1 9", None), ("", 2.0)])
def test_each_has_its_share_and_what_was_left_by_those_before(day, tmp_path, shares, first):
    """Of 5 minutes less half a one at its end, on a machine that may be slow; none is begun with a minute or less."""
    assert day(SHARES=shares).returncode == 0
    if first is None:
        assert said(tmp_path, "one") == ["no time was left"]
    else:
        assert first - 1 < float(said(tmp_path, "one")[0].removeprefix("minutes ")) < first + 0.01
    assert said(tmp_path, "two")[0].startswith("minutes ")


def test_what_is_kept_of_a_run_is_what_it_needs(day, tmp_path):
    out = tmp_path / "out"
    assert day(LARGE="17000000").returncode == 0
    assert in_state(out / "one" / "state") == {"checkpoint.pt", "run.yaml", "prior.safetensors"}
    sizes = [path.stat().st_size for path in out.rglob("*") if path.is_file()]
    assert sum(sizes) > 2 * 17_000_000 and max(sizes) <= 16 * 2**20
    assert day(KEEP="all").returncode == 0
    assert said(tmp_path, "one").count("going on") == 1
    assert "averages/a" in in_state(out / "one" / "state")


def test_one_training_has_no_folder_of_its_own(day, tmp_path):
    assert day(CONFIG="one.yaml", KEEP="0", AVERAGE="0.1,0.2").returncode == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {"training", "training.txt"} and not names & {"state", "one"}
    assert (tmp_path / "out" / "training" / "prior.safetensors").read_text() == "average 0.1,0.2\n"
    assert day(CONFIG="", KEEP="0").returncode == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SHARES": "1"}, "1 shares were given (SHARES) for 2 trainings"),
        ({"SHARES": "1 0"}, "the share 0 was given"),
        ({"PACK": "pack pack pack"}, "3 packs were given (PACK) for 2 trainings"),
        ({"CONFIG": "one.yaml ./one.yaml"}, "two files of one name"),
        ({"CONFIG": "one.yaml nowhere.yaml"}, "nowhere.yaml was given (CONFIG)"),
        ({"PACK": "."}, "holds no pack of slices"),
    ],
)
def test_what_cannot_be_is_one_sentence_before_anything_is_spent(day, tmp_path, changes, message):
    done = day(**changes)
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1
    assert not list((tmp_path / "out").iterdir())


def test_what_was_kept_stays_where_the_next_cannot_be(day, tmp_path):
    assert day(CONFIG="one.yaml").returncode == 0
    before = in_state(tmp_path / "out" / "state")
    full = tmp_path / "full" / "split"
    full.parent.mkdir()
    full.write_text("#!/bin/sh\nhead -c 10 > /dev/null\nexit 1\n")
    full.chmod(0o755)
    day(CONFIG="one.yaml", PATH=f"{full.parent}{os.pathsep}{os.environ['PATH']}")
    assert in_state(tmp_path / "out" / "state") == before
    assert not (tmp_path / "out" / "state.new").exists()
