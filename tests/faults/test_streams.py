"""Standard streams that are full, closed, read by nobody, or of few letters: words are lost there, and no work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.faults

SPEAKING = {
    "help": ["--help"],
    "reconstruct --help": ["reconstruct", "--help"],
    "methods": ["methods"],
    "method": ["methods", "dds"],
    "priors": ["priors"],
    "show": ["priors", "show", "ct"],
    "show --json": ["priors", "show", "ct", "--json"],
    "inspect": ["inspect", "SCAN"],
    "inspect --json": ["inspect", "SCAN", "--json"],
    "evaluate": ["evaluate", "SCAN", "SCAN"],
    "evaluate --json": ["evaluate", "SCAN", "SCAN", "--json"],
}
ENCODINGS = ["cp1252", "ascii", "latin-1", "cp437", "koi8-r", "utf-7", "shift_jis"]
RESULTS = {"reconstruction.nii.gz", "initial.nii.gz", "truth.nii.gz", "metrics.json", "run.json", "report.html"}


def words(command, scan):
    return [str(scan) if word == "SCAN" else word for word in SPEAKING[command]]


@pytest.mark.parametrize("command", SPEAKING)
def test_a_full_disk_below_the_standard_output_is_said(trials, scan, command):
    trial = trials.tried(*words(command, scan), world={"stdout": "full"}).refused()
    assert "standard output" in trial.errors and "no space left" in trial.errors


@pytest.mark.parametrize("command", SPEAKING)
def test_who_reads_no_further_ends_nothing(trials, scan, command):
    trial = trials.tried(*words(command, scan), world={"stdout": "broken"})
    assert (trial.code, trial.output, trial.errors) == (141, "", "")


@pytest.mark.parametrize("command", SPEAKING)
@pytest.mark.parametrize("world", [{"stdout": "closed"}, {"stdout": "closed", "stderr": "closed"}])
def test_closed_streams_are_told_nothing(trials, scan, command, world):
    trial = trials.tried(*words(command, scan), world=world).sane()
    assert (trial.code, trial.output, trial.errors) == (0, "", "")


@pytest.mark.parametrize("command", SPEAKING)
@pytest.mark.parametrize("kind", ["full", "broken", "closed"])
def test_errors_that_nobody_can_hear_change_nothing(trials, scan, command, kind):
    trial = trials.tried(*words(command, scan), world={"stderr": kind}).sane()
    assert trial.code == 0 and len(trial.output) > 100


@pytest.mark.parametrize("kind", ["full", "broken", "closed"])
def test_a_refusal_that_nobody_can_hear_is_one(trials, tmp_path, kind):
    code = trials.tried("reconstruct", "nowhere.nii.gz", "--out", tmp_path / "out", world={"stderr": kind}).code
    assert code == 2 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(("kind", "code"), [("full", 2), ("broken", 141)])
def test_results_are_written_whoever_hears_of_them(trials, svct, tmp_path, kind, code):
    trial = trials.tried(*map(str, svct), "--out", tmp_path / "out", world={"stdout": kind, "stderr": kind})
    assert trial.code == code
    assert {path.name for path in (tmp_path / "out").iterdir()} >= RESULTS


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("command", ["help", "methods", "priors", "inspect", "evaluate", "evaluate --json"])
def test_streams_of_few_letters_get_the_same_numbers(trials, scan, command, encoding):
    said = []
    for world in ({}, {"stdout": {"encoding": encoding}, "stderr": {"encoding": encoding}}):
        trial = trials.tried(*words(command, scan), world=world).sane(bound_mb=400)
        assert trial.code == 0 and not trial.errors
        said.append(trial.output.encode("utf-8", "replace"))
    if encoding != "utf-7":  # which writes other letters in digits
        assert re.findall(rb"\d+", said[0]) == re.findall(rb"\d+", said[1])


@pytest.mark.parametrize("command", [["inspect"], ["evaluate"], ["priors", "show"]])
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_names_that_are_no_text_are_shown_nearly(trials, scan, tmp_path, command, encoding):
    odd = tmp_path / "sc\udcffan.nii.gz"
    shutil.copy(scan, odd)
    given = [*command, odd, *([odd] if command == ["evaluate"] else [])]
    trial = trials.tried(*given, world={name: {"encoding": encoding} for name in ("stdout", "stderr")}).sane()
    assert "sc?an" in trial.output + trial.errors
    assert trial.code == (2 if command == ["priors", "show"] else 0)


@pytest.mark.parametrize(
    "variables",
    [
        {"TERM": "dumb"},
        {"COLUMNS": "1"},
        {"COLUMNS": "0"},
        {"COLUMNS": "wide"},
        {"COLUMNS": "20"},
        {"LANG": "xx_YY.none", "LC_ALL": "tlh"},
        {"TZ": "No/Where"},
    ],
)
@pytest.mark.parametrize("command", ["help", "methods", "priors", "evaluate"])
def test_odd_terminals_and_places(trials, scan, command, variables):
    trial = trials.tried(*words(command, scan), environment=variables).sane()
    assert trial.code == 0 and len(trial.output) > 100


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such shell")
@pytest.mark.parametrize(
    ("end", "code"), [("| head -n 1; exit ${PIPESTATUS[0]}", 141), ("> /dev/full", 2), (">&-", 0), (">&- 2>&-", 0)]
)
def test_shells_have_the_same(end, code):
    """Real pipes and devices, in a process of its own."""
    environment = {**os.environ, "PYTHON": sys.executable}
    line = f'"$PYTHON" -m coslice --help {end}'
    done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
