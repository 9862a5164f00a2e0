"""The folder of a run: results together or not at all, unfinished runs gone on with, and nothing left of others."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from coslice.errors import CosliceError
from coslice.io.locks import hidden_folder
from coslice.io.state_files import write_state
from coslice.output.exchange import finish_exchange
from coslice.output.results_folder import kept_command, open_results
from coslice.states import State
from coslice.stop_signals import Stopped

IDENTITY = {"reconstruction": {"method": {"data": {"iterations": 10}}, "seed": 0}}
OLD = {
    "run.json": json.dumps({"recipes": {"reconstruction": {}, "sirt": {}}}),
    "sirt.nii.gz": "old",
    "mine.txt": "mine",
}
OLD |= {"reconstruction.nii.gz": "old", "reconstruction-deviation.nii.gz": "old"}
NEW = {"run.json": "new", "reconstruction.nii.gz": "new", "metrics.json": "new"}


class Killed(BaseException):
    """Stands for the end of a process."""


@pytest.fixture
def out(tmp_path):
    """A folder with earlier results, with a series of DICOM, and a file of the user's."""
    folder = tmp_path / "out"
    folder.mkdir()
    for name, text in OLD.items():
        (folder / name).write_text(text)
    (folder / "dicom").mkdir()
    (folder / "dicom" / "0001.dcm").write_text("old")
    return folder


def written(folder: Path):
    """What a reader finds."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and not str(path.relative_to(folder)).startswith(".")
    }


def replace_all(out, identity=IDENTITY, dicom=False):
    with open_results(out, True, identity) as results, results.together() as aside:
        for name, text in NEW.items():
            (aside / name).write_text(text)
        if dicom:
            (aside / "dicom").mkdir()
            (aside / "dicom" / "0001.dcm").write_text("new")


@pytest.mark.parametrize("dicom", [False, True])
def test_results_take_the_place_of_the_earlier_ones_and_of_nothing_else(out, dicom):
    replace_all(out, dicom=dicom)
    assert written(out) == NEW | {"mine.txt": "mine"} | ({"dicom/0001.dcm": "new"} if dicom else {})
    assert not hidden_folder(out).exists()


def test_killed_at_any_call_the_results_are_the_old_ones_or_the_new_ones(out, monkeypatch):
    before, after = written(out), NEW | {"mine.txt": "mine", "dicom/0001.dcm": "new"}
    real = {name: getattr(os, name) for name in ("replace", "fsync", "unlink")}
    calls, number = 0, 0
    found = []

    def watched(name):
        def call(*given, **named):
            nonlocal calls
            calls += 1
            if calls == number:
                raise Killed
            return real[name](*given, **named)

        return call

    for attempt in range(1, 60):
        number = attempt
        calls = 0
        for name in real:
            monkeypatch.setattr(os, name, watched(name))
        try:
            replace_all(out, dicom=True)
            monkeypatch.undo()
            break
        except Killed:
            monkeypatch.undo()
        begun = (hidden_folder(out) / "exchange.json").exists()
        if begun:
            assert finish_exchange(out)
            assert written(out) == after
        assert written(out) in (before, after), "some of both"
        found.append((begun, written(out) == after))
        for path in [*out.rglob("*")]:  # as it was before
            if path.is_file():
                path.unlink()
        for name, text in before.items():
            (out / name).parent.mkdir(exist_ok=True)
            (out / name).write_text(text)
    else:
        pytest.fail("it never came to its end")
    assert found == sorted(found, key=lambda one: one[1]), "new results do not go away again"
    assert {*found} == {(False, False), (True, True), (False, True)} and number > 15
    assert written(out) == after


def test_a_run_that_is_not_finished_is_gone_on_with_and_another_is_refused(tmp_path):
    out, said = tmp_path / "out", []
    words = ["reconstruct", "scan.nii.gz", "--out", "out"]

    def stopped():
        with open_results(out, False, IDENTITY, words) as results:
            write_state(hidden_folder(out) / "reconstruction.safetensors", State({"done": 1, "total": 3}, {}), {})
            raise results.stopped("SIGTERM")

    with pytest.raises(Stopped, match="the same command goes on from there, and so does coslice reconstruct --resume"):
        stopped()
    assert kept_command(out) == (words, Path.cwd())
    other = {"reconstruction": {"method": {"data": {"iterations": 20}}, "seed": 0}}
    with pytest.raises(CosliceError, match="iterations 10, and now 20"), open_results(out, False, other):
        pass
    with pytest.raises(Stopped):
        stopped()  # it goes on
    with open_results(out, True, other, say=said.append):
        assert not list(hidden_folder(out).glob("*.safetensors"))
    assert "begins anew" in said[0]


def test_where_nothing_was_kept_nothing_is_left(tmp_path):
    def failed(error):
        with open_results(tmp_path / "out", False, IDENTITY):
            raise error

    for error, expected in (
        (CosliceError("wrong"), CosliceError),
        (KeyboardInterrupt(), Stopped),
        (MemoryError(), CosliceError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), CosliceError),
        (RuntimeError("something else"), RuntimeError),
    ):
        with pytest.raises(expected, match=r"wrong|nothing had|nothing|too little memory|something else"):
            failed(error)
        assert not (tmp_path / "out").exists()
    with pytest.raises(CosliceError, match="no unfinished run"):
        kept_command(tmp_path)


def test_a_result_that_something_is_in_the_way_of_leaves_all_as_it_was(out):
    (out / "metrics.json").mkdir()
    before = written(out)
    with pytest.raises(CosliceError, match=r"in the way of a new result.*earlier results are as they were"):
        replace_all(out)
    assert written(out) == before


def test_a_journal_that_names_other_places_is_not_followed(out):
    hidden_folder(out).mkdir()
    for names in (["../mine"], ["/etc/passwd"], [".coslice"], [7], "run.json"):
        journal = {"whose": "x", "new": names, "outdated": []}
        (hidden_folder(out) / "exchange.json").write_text(json.dumps(journal))
        with pytest.raises(CosliceError, match="damaged"):
            finish_exchange(out)
