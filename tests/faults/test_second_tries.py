"""What is tried a second time, or too early: resumed again, interrupted at once, begun in a folder of others."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from test_kills import contents, fated

from coslice.cli.cohort_options import columns, options_of
from coslice.cli.cohort_scan import ScanTask, reconstruct_one
from coslice.cohort import Cohort, read_manifest
from coslice.engine import Context
from coslice.errors import CosliceError
from coslice.io.locks import hidden_folder

pytestmark = pytest.mark.faults


@pytest.fixture
def words(scan, tiny_prior):
    return [
        "reconstruct",
        scan,
        "--views",
        "8",
        "--size",
        "16",
        "--method",
        "dds",
        "--prior",
        tiny_prior,
        "--steps",
        "4",
    ]


def test_what_was_resumed_by_name_is_resumed_by_name_again(trials, words, tmp_path):
    """From another folder each time, moved in between: the command that is kept stays that of the beginning."""
    assert trials.tried(*words, "--out", tmp_path / "whole", environment=fated()).code == 0
    (tmp_path / "elsewhere").mkdir()
    out = tmp_path / "out"
    assert trials.tried(*words, "--out", "out", folder=tmp_path, environment=fated("signal:SIGTERM:1")).code == 143
    again = ("reconstruct", "--resume", "../out")
    trial = trials.tried(*again, folder=tmp_path / "elsewhere", environment=fated("signal:SIGHUP:1"))
    assert trial.code == 129, trial
    out = out.rename(tmp_path / "moved")
    for fate, code in ((["signal:SIGTERM:1"], 143), ([], 0)):
        trial = trials.tried("reconstruct", "--resume", out, environment=fated(*fate))
        assert trial.code == code, trial
    assert contents(out) == contents(tmp_path / "whole")


def test_a_kept_command_that_only_resumes_is_a_sentence(trials, words, tmp_path):
    out = tmp_path / "out"
    assert trials.tried(*words, "--out", out, environment=fated("signal:SIGTERM:1")).code == 143
    kept = json.loads((hidden_folder(out) / "run.json").read_text())
    kept["command"] = ["reconstruct", "--resume", str(out)]
    (hidden_folder(out) / "run.json").write_text(json.dumps(kept))
    trial = trials.tried("reconstruct", "--resume", out).sane()
    assert trial.code == 2 and "names no command but --resume" in trial.errors, trial


def test_where_no_folder_can_be_made_for_the_results_they_are_kept(trials, words, tmp_path):
    """As on a disk that has bytes left and no inodes."""
    out, elsewhere = tmp_path / "out", tmp_path / "temporary"
    elsewhere.mkdir()
    full = {"refuse": {"mkdir@results": "ENOSPC"}}
    trial = trials.tried(*words, "--out", out, environment=fated(kept=False), world=full).sane()
    assert trial.code == 2 and f"is kept in {hidden_folder(out) / 'reconstruction.safetensors'}" in trial.errors, trial
    trial = trials.tried("reconstruct", "--resume", out, environment=fated()).sane()
    assert trial.code == 0 and "finished before" in trial.output, trial


IMPORTING = """
import sys
class Interrupting:
    def find_spec(self, name, *_):
        if name == "coslice.cli.train":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
from coslice.cli import main
"""
WORKING = """
import sys
from coslice.cli import main, reconstruct
def interrupted(**options):
    raise KeyboardInterrupt
sys.modules["coslice.cli.reconstruct"].asked = interrupted
sys.argv = ["coslice", "reconstruct", "nowhere.nii", "--out", "nowhere"]
main()
"""


@pytest.mark.parametrize("code", [IMPORTING, WORKING], ids=["importing", "working"])
def test_an_interrupt_before_there_is_a_run_is_a_word(code, tmp_path):
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "coslice: Interrupted.\n")


@pytest.mark.parametrize("option", [("--views", "few"), ("--prior", "")])
def test_ranks_say_once_what_all_of_them_find(trials, words, tmp_path, option):
    said = [
        trials.tried(*words, *option, "--out", tmp_path, environment={"RANK": rank, "WORLD_SIZE": "2"}) for rank in "01"
    ]
    assert [one.code for one in said] == [2, 2] and option[0] in said[0].errors and not said[1].errors


def test_a_cohort_overwrites_what_it_made_and_nothing_else(scan, tmp_path, monkeypatch):
    """Tried again, too; a damaged record says that the result is the cohort's."""
    monkeypatch.setattr(sys, "argv", ["coslice"])
    (tmp_path / "m.csv").write_text(f"scan,name,method,views\n{scan},a,fdk,6\n")
    cohort = Cohort(tmp_path / "out")
    cohort.prepare()
    row = read_manifest(tmp_path / "m.csv", columns(), ()).scans[0]
    task = ScanTask(cohort, row, options_of(row, {}, tmp_path / "m.csv"), "recipe", "cpu")
    mine = cohort.folder("a") / "metrics.json"
    mine.parent.mkdir()
    mine.write_text("mine")
    for _ in range(2):
        with pytest.raises(CosliceError, match="is not empty"):
            reconstruct_one(Context(1, lambda *_: None), task)
        assert mine.read_text() == "mine" and cohort.record("a").starts == 0
    os.remove(mine)
    assert reconstruct_one(Context(1, lambda *_: None), task) == "done"
    cohort.beside("a", "json").write_text('{"state": "do')
    assert reconstruct_one(Context(1, lambda *_: None), task) == "done"
    assert cohort.record("a").state == "done" and cohort.whole("a")
