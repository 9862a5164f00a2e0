"""A reconstruction that is killed, stopped, out of disk or out of memory, and what the same command makes of it.

Every trial is a process of its own, with its scan, its method and its files; but for one of each kind, its page is a
line instead of plots, which take most of a small run's time.
"""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path

import pytest

from coslice.io.locks import hidden_folder

pytestmark = pytest.mark.faults

METHODS = {
    "dds": [],
    "ddnm": ["--set", "data.sirt_iterations=3"],
    "dds-tv": [],
    "wdds": [],
    "samples": ["--samples", 3, "--steps", 2],
    "diffusionblend++": [],
    "tpdm": ["--steps", 4],
    "diffusion-mbir": ["--steps", 4],
    "wblend": [],
    "compared": ["--compare", "cgls,sirt"],
}
CT = ["--views", 8, "--size", 16]


def fated(*fates, kept=True):
    """The environment of a trial with these fates; `kept` after every step."""
    return {"COSLICE_TRIAL_FATE": "+".join(["plain", *fates]), **({"COSLICE_KEEP_EVERY": "0"} if kept else {})}


MOMENTS = 20
CALLS = 20


@pytest.fixture
def command(scan, head, prior_files, tiny_prior, saved_patch_prior, tmp_path):
    """Words of a reconstruction by each method: command("dds-tv") -> them."""

    def words(name):
        method = name if name not in ("samples", "compared") else "dds"
        priors = prior_files(method)
        if method == "wblend":
            priors = ["--prior", saved_patch_prior, "--auxiliary-prior", tiny_prior]
        steps = [] if "--steps" in METHODS[name] else ["--steps", 3]
        return ["reconstruct", scan, *CT, "--method", method, *priors, *steps, *METHODS[name]]

    return words


_SECONDS: dict[str, float] = {}
"""What an uninterrupted run took of a processor."""


@pytest.fixture(scope="module")
def whole(trials, tmp_path_factory):
    """What an uninterrupted run leaves: whole("dds", words) -> its folder, once for each name."""
    made: dict[str, Path] = {}

    def folder(name, words):
        if name not in made:
            out = tmp_path_factory.mktemp("whole") / "out"
            trial = trials.tried(*map(str, words), "--out", out, environment=fated()).sane()
            assert trial.code == 0, trial
            made[name], _SECONDS[name] = out, trial.user_s
        return made[name]

    return folder


def contents(folder: Path) -> dict[str, object]:
    """All files of a folder, hidden ones too, as they must be again; a record without its times."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = str(path.relative_to(folder))
            found[name] = path.read_bytes()
            if name == "run.json":
                record = json.loads(path.read_text())
                for key in ("seconds", "resumed", "peak_memory_mb"):
                    record.pop(key, None)
                found[name] = record
    return found


def resumed(trials, words, out, expected, **environment):
    """Go on with a killed run, as often as it takes, and find what an uninterrupted one leaves."""
    trial = trials.tried(*map(str, words), "--out", out, environment={**fated(), **environment}).sane()
    assert trial.code == 0, trial
    assert contents(out) == contents(expected)
    return trial


@pytest.mark.parametrize("number", range(MOMENTS))
def test_killed_at_any_moment_it_ends_with_the_same_bits(trials, command, whole, tmp_path, number):
    name = [*METHODS][number % len(METHODS)]
    words, out = command(name), tmp_path / "out"
    expected = whole(name, words)
    fate = f"moment:{random.Random(number).uniform(0.1, 0.9) * _SECONDS[name]:.3f}"
    trial = trials.tried(*map(str, words), "--out", out, environment=fated(fate))
    if trial.code == 0:  # it was a tenth faster this time
        assert contents(out) == contents(expected)
        return
    assert trial.code == -signal.SIGVTALRM, trial
    if (out / "run.json").exists() and not (hidden_folder(out) / "exchange.json").exists():  # it had only to say so
        assert visible_of(out) == contents(expected)
        return
    resumed(trials, words, out, expected)


@pytest.mark.parametrize("number", range(CALLS))
def test_killed_while_it_writes_it_ends_with_the_same_bits(trials, command, whole, tmp_path, number):
    """At calls spread over all that change files: while states are written, results, and while these are exchanged.

    The folder holds earlier results, of another number of views: they are whole until the new ones are.
    """
    name = [*METHODS][number % len(METHODS)]
    words, out = [*command(name), "--overwrite"], tmp_path / "out"
    expected = whole(name, command(name))
    earlier = whole("earlier", [*command("dds")[:2], "--views", 6, "--size", 16, "--method", "fdk"])
    copied(earlier, out)
    before = contents(out)
    at = 1 + (calls_of(trials, words, earlier, tmp_path, name) - 1) * number // (CALLS - 1)
    trial = trials.tried(*map(str, words), "--out", out, environment=fated(f"call:{at}"))
    assert trial.code == -9, trial
    if not (hidden_folder(out) / "exchange.json").exists():
        assert visible_of(out) in (before, contents(expected)), "neither the old results nor the new ones"
    resumed(trials, words, out, expected)


_CALLS: dict[str, int] = {}


def calls_of(trials, words, earlier, folder, name):
    """How often a run over earlier results changes files."""
    if name not in _CALLS:
        copied(earlier, folder / "counting")
        counted = folder / "counted"
        trial = trials.tried(*map(str, words), "--out", folder / "counting", environment=fated(f"call:0:{counted}"))
        assert trial.code == 0, trial
        _CALLS[name] = int(counted.read_text())
    return _CALLS[name]


def visible_of(folder):
    return {key: value for key, value in contents(folder).items() if not key.startswith(".")}


def copied(folder: Path, to: Path) -> None:
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_it_after_its_step_with_a_sentence(trials, command, whole, tmp_path, name, code):
    words, out = command("wdds"), tmp_path / "out"
    expected = whole("wdds", words)
    trial = trials.tried(*map(str, words), "--out", out, environment=fated(f"signal:{name}:2", kept=False))
    assert trial.code == code
    assert f"Stopped by {name} at step 2 of 3; the same command goes on" in trial.errors
    assert {path.name for path in hidden_folder(out).iterdir()} == {"reconstruction.safetensors", "run.json"}
    trial = trials.tried("reconstruct", "--resume", out, environment=fated())
    assert trial.code == 0 and "going on after step 2 of 3, kept" in trial.output, trial
    assert contents(out) == contents(expected)
    assert json.loads((out / "run.json").read_text())["resumed"] == {"reconstruction": 1}


def test_another_command_is_refused_or_begins_anew(trials, command, whole, tmp_path):
    words, out = command("dds"), tmp_path / "out"
    assert trials.tried(*map(str, words), "--out", out, environment=fated("signal:SIGTERM:2")).code == 143
    trial = trials.tried(*map(str, command("wdds")), "--out", out).sane()
    assert trial.code == 2 and "holds a run that is not finished, with name dds, and now wdds" in trial.errors, trial
    trial = trials.tried("reconstruct", "--resume", out, "--steps", "4").sane()
    assert trial.code == 2 and "--resume was given with steps" in trial.errors, trial
    moved = out.rename(tmp_path / "moved")
    trial = trials.tried("reconstruct", "--resume", moved, environment=fated())
    assert trial.code == 0 and contents(moved) == contents(whole("dds", words)) and not out.exists(), trial
    assert trials.tried(*map(str, words), "--out", out, environment=fated("signal:SIGTERM:2")).code == 143
    anew = trials.tried(*map(str, command("wdds")), "--out", out, "--overwrite", environment=fated())
    assert "had name dds, and now wdds; this one begins anew" in anew.output
    assert contents(out) == contents(whole("wdds", command("wdds")))


MINE = """
from dataclasses import replace
from coslice.methods import DDS
from pathlib import Path
Path("executed").touch()
mine = replace(DDS, name="mine")
"""


def test_a_folder_does_not_name_the_program_that_is_run(trials, command, tmp_path):
    """A method in a file is a program; the folder of an unfinished run may be a stranger's."""
    (tmp_path / "mine.py").write_text(MINE)
    words = [*map(str, command("dds")), "--method", "mine.py:mine", "--out", "out"]
    assert trials.tried(*words, folder=tmp_path, environment=fated("signal:SIGTERM:2")).code == 143
    (tmp_path / "executed").unlink()
    trial = trials.tried("reconstruct", "--resume", tmp_path / "out").sane()
    assert trial.code == 2 and "which is a program" in trial.errors, trial
    assert not (tmp_path / "executed").exists()
    trial = trials.tried(*words, folder=tmp_path, environment=fated())
    assert trial.code == 0 and "going on after step 2 of 3" in trial.output, trial


def test_a_second_interrupt_ends_it_at_once(trials, command, tmp_path):
    fate = fated("signal:SIGINT:2:2")
    trial = trials.tried(*map(str, command("dds")), "--out", tmp_path / "out", environment=fate)
    assert trial.code == 130 and "Stopped by SIGINT; the same command goes on" in trial.errors, trial


def test_out_of_memory_is_a_sentence_and_the_last_state_is_there(trials, command, whole, tmp_path):
    words, out = command("dds"), tmp_path / "out"
    fate = fated("memory:3")
    trial = trials.tried(*map(str, words), "--out", out, environment=fate).sane()
    assert trial.code == 2 and "too little memory" in trial.errors and "goes on from the last state" in trial.errors
    said = resumed(trials, words, out, whole("dds", words)).output
    assert "going on after step 2 of 3" in said, said


def test_what_is_no_number_stops_at_its_step_and_what_was_kept_stays(trials, command, whole, tmp_path):
    words, out = command("dds"), tmp_path / "out"
    trial = trials.tried(*map(str, words), "--out", out, environment=fated("spoilt:3")).sane()
    assert trial.code == 2 and "at step 3" in trial.errors and "the fidelity gave" in trial.errors
    assert "What was kept before stays: the same command goes on" in trial.errors
    assert "going on after step 2 of 3" in resumed(trials, words, out, whole("dds", words)).output


@pytest.mark.parametrize("where", ["results", "folder", "disk"])
def test_a_full_disk_leaves_earlier_results_whole_and_throws_nothing_away(trials, command, whole, tmp_path, where):
    words, out = [*command("dds"), "--overwrite"], tmp_path / "out"
    earlier = whole("earlier", [*command("dds")[:2], "--views", 6, "--size", 16, "--method", "fdk"])
    copied(earlier, out)
    elsewhere = tmp_path / "temporary"
    elsewhere.mkdir()
    fate = {"results": "full:/results/", "folder": f"full:{out}&.safetensors:/results/", "disk": "limit:9000"}[where]
    environment = fated(fate, kept=False) | {"TMPDIR": str(elsewhere)}
    trial = trials.tried(*map(str, words), "--out", out, environment=environment).sane()
    assert trial.code == 2, trial
    assert "earlier results are as they were" in trial.errors
    assert visible_of(out) == contents(earlier)
    left = list(elsewhere.rglob("*.safetensors"))
    assert ("there was no room to keep the reconstruction either" in trial.errors) == (where == "disk")
    assert len(left) == (where == "folder")
    if left:
        assert f"kept in {left[0]} (move it to" in trial.errors
        left[0].rename(hidden_folder(out) / left[0].name)
    said = resumed(trials, words, out, whole("dds", command("dds"))).output
    assert ("finished before" in said) == (where != "disk")


def test_two_runs_do_not_share_a_folder_and_a_dead_one_locks_none(trials, command, whole, tmp_path):
    from filelock import FileLock

    words, out = command("dds"), tmp_path / "out"
    hidden_folder(out).mkdir(parents=True)
    with FileLock(hidden_folder(out) / "lock"):
        trial = trials.tried(*map(str, words), "--out", out).sane()
        assert trial.code == 2 and "Another run is writing into" in trial.errors
    (hidden_folder(out) / "lock").touch()  # of a process that is gone
    (out / f".{'0' * 32}.nii.gz").write_bytes(b"half")
    (hidden_folder(out) / f".{'a' * 32}.safetensors").write_bytes(b"half")
    resumed(trials, words, out, whole("dds", words))


def test_training_and_a_second_one_do_not_share_a_folder(trials, scan, tmp_path):
    from filelock import FileLock

    hidden_folder(tmp_path / "run").mkdir(parents=True)
    with FileLock(hidden_folder(tmp_path / "run") / "lock"):
        trial = trials.tried("train", scan, "--out", tmp_path / "run", "--images", "4").sane()
        assert trial.code == 2 and "Another run is writing into" in trial.errors, trial


def test_the_page_with_all_its_plots_is_the_same_too(trials, command, tmp_path):
    words, out, expected = command("dds"), tmp_path / "out", tmp_path / "expected"
    assert trials.tried(*map(str, words), "--out", expected).code == 0
    fate = {"COSLICE_TRIAL_FATE": "signal:SIGTERM:2"}
    assert trials.tried(*map(str, words), "--out", out, environment=fate).code == 143
    assert trials.tried("reconstruct", "--resume", out).code == 0
    assert {path.name for path in out.iterdir()} == {path.name for path in expected.iterdir()}
    for name in ("comparison.png", "reconstruction.nii.gz", "metrics.json"):
        assert (out / name).read_bytes() == (expected / name).read_bytes()
    assert os.path.getsize(out / "report.html") > 100_000
