"""Ranks as processes: the same bits as one process, and no way to hang when one of them is lost."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel.nifti1
import numpy as np
import pytest
import rank_worker
import torch

from coslice.parallel import pulse

pytestmark = pytest.mark.faults
TESTS = Path(__file__).parents[1]
WORKER = TESTS / "faults" / "rank_worker.py"
LONGEST = 60.0
"""Seconds in which a job ends whose rank is lost."""


@pytest.fixture(scope="module", autouse=True)
def _silence():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSLICE_RANK_SILENCE", "8")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(WORKER.parent), str(TESTS), *filter(None, sys.path)]))
        yield


@dataclass
class Forked:
    """A rank that was forked from a process in which all is imported."""

    process: Any
    out: Path

    def __getattr__(self, name):
        return getattr(self.process, name)

    def poll(self):
        return self.process.exitcode

    def send_signal(self, number):
        os.kill(self.process.pid, number)

    def communicate(self, timeout=None):
        self.process.join(timeout)
        assert self.process.exitcode is not None, f"still at work after {timeout} s"
        return [Path(f"{self.out}.{number}").read_text() for number in (1, 2)]


class Job:
    """Ranks of one machine, without torchrun: nobody but they themselves notices that one is lost."""

    def __init__(self, size, words, folder, fork=True):
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        places = [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]
        words = [str(word) for word in words]
        self.ranks = [(self._forked if fork else self._spawned)(place, words) for place in places]

    def _forked(self, place, words):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["rank_worker"])
        place |= {name: value for name, value in os.environ.items() if name.startswith("COSLICE_")}
        out = self.folder / f"words-{place['RANK']}"
        process = context.Process(target=rank_worker.child, args=(place, words, out))
        process.start()
        return Forked(process, out)

    def _spawned(self, place, words):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, str(WORKER), *words], env=os.environ | place, **pipes)

    def at_work(self):
        """Wait until every rank is in the middle of something."""
        until = time.monotonic() + 120
        while len(list(self.folder.glob("started-*"))) < len(self.ranks):
            assert all(rank.poll() is None for rank in self.ranks), self.ended()
            assert time.monotonic() < until
            time.sleep(0.05)

    def ended(self, seconds=240.0, but=()):
        """Exit code of every rank, and what coslice said there, as soon as all have ended."""
        ends = [rank for number, rank in enumerate(self.ranks) if number not in but]
        words = [rank.communicate(timeout=seconds)[1] for rank in ends]
        return [rank.poll() for rank in ends], [sentences(one) for one in words]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for rank in self.ranks:
            rank.kill()
            rank.communicate()


def voxels(path):
    return np.asarray(nibabel.nifti1.load(path).dataobj)


def sentences(words):
    """What coslice said; torch's own warnings of a connection that broke are torch's."""
    assert "Traceback" not in words, words
    return [line for line in words.splitlines() if line.startswith("coslice:")]


@pytest.fixture(scope="module")
def alone():
    return rank_worker.volumes()


def whole(scan, tiny_prior, out, *more):
    """The command in one process."""
    words = ["coslice", "reconstruct", str(scan), "--prior", str(tiny_prior), *more, "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            rank_worker.coslice_main()
    assert not ended.value.code
    return words, voxels(out / "reconstruction.nii.gz")


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_make_the_volumes_of_one_process(size, alone, tmp_path):
    with Job(size, ["volumes", tmp_path], tmp_path) as job:
        codes, said = job.ended()
    assert codes == [0] * size, said
    for rank in range(size):
        volumes = torch.load(tmp_path / f"{size}-{rank}.pt")
        assert volumes.keys() == alone.keys()
        assert all(torch.equal(volumes[name], alone[name]) for name in alone)


def test_a_lost_rank_is_noticed_within_a_minute():
    """Whether the others wait for its messages or not, see `Pulse`; below, they are less patient."""
    assert pulse._SILENT + pulse._BEAT + pulse._GRACE + pulse._BEAT < LONGEST
    assert pulse._SILENT > 10 * pulse._BEAT


@pytest.mark.parametrize(
    ("victim", "how", "reason"),
    [
        (1, "SIGKILL", "rank 1 on .* ended without a word"),
        (0, "SIGKILL", "rank 0 on .*, or the torchrun beside it, has gone"),
        (1, "SIGSTOP", r"rank 1 on .* has not answered for 8 s"),
        (0, "SIGSTOP", r"rank 0 on .*, or the torchrun beside it, has not answered for 8 s"),
    ],
)
def test_a_rank_that_is_lost_ends_the_others_with_a_sentence(victim, how, reason, tmp_path):
    with Job(2, ["endless", tmp_path], tmp_path, fork=victim == 0) as job:  # an interpreter's end may hang too
        job.at_work()
        job.ranks[victim].send_signal(getattr(signal, how))
        codes, said = job.ended(LONGEST, but=[victim])
    assert codes == [2]
    assert len(said[0]) == 1
    assert re.search(reason, said[0][0]), said
    assert "start the same command again" in said[0][0]


def test_a_rank_that_is_lost_ends_those_that_wait_for_no_message(tmp_path):
    with Job(2, ["busy", tmp_path], tmp_path) as job:
        job.at_work()
        job.ranks[1].kill()
        codes, said = job.ended(LONGEST, but=[1])
    assert codes == [2]
    assert len(said[0]) == 1
    assert "has not answered" in said[0][0]


@pytest.mark.parametrize(("job_name", "reason"), [("other", "differs between processes"), ("missing", "is not there")])
def test_what_one_rank_refuses_is_said_once(job_name, reason, tmp_path):
    with Job(2, [job_name, tmp_path], tmp_path) as job:
        codes, said = job.ended(LONGEST)
    assert codes == [2, 2]
    assert len(said[0]) == 1
    assert reason in said[0][0]
    assert said[1] == []


def test_the_command_speaks_once_and_writes_once(scan, tiny_prior, tmp_path):
    words, one = whole(scan, tiny_prior, tmp_path / "1", "--method", "dds", "--steps", "3")
    words[-1] = str(tmp_path / "2")
    with Job(2, words, tmp_path) as job:
        assert job.ended() == ([0, 0], [[], []])
        spoken = [rank.communicate()[0] for rank in job.ranks]
    assert "Report:" in spoken[0]
    assert "2 ranks" in spoken[0]
    assert spoken[1] == ""
    assert np.array_equal(one, voxels(tmp_path / "2" / "reconstruction.nii.gz"))
    with Job(2, words, tmp_path) as job:  # the folder is not empty, which rank 0 alone looks at
        codes, said = job.ended(LONGEST)
    assert codes == [2, 2]
    assert "is not empty" in said[0][0]
    assert len(said[0]) == 1
    assert said[1] == []


def test_a_run_goes_on_after_a_rank_was_killed(scan, tiny_prior, tmp_path, monkeypatch):
    monkeypatch.setenv("COSLICE_KEEP_EVERY", "0")
    words, one = whole(scan, tiny_prior, tmp_path / "whole", "--method", "dds-tv", "--steps", "20")
    out = tmp_path / "out"
    words[-1], kept = str(out), out / ".coslice" / "reconstruction.safetensors"
    with Job(2, words, tmp_path) as job:
        until = time.monotonic() + 120
        while not kept.exists() and time.monotonic() < until:
            time.sleep(0.01)
        job.ranks[1].kill()
        codes, said = job.ended(LONGEST, but=[1])
    assert codes == [2]
    assert "ended without a word" in said[0][0]
    assert kept.exists()
    assert not (out / "reconstruction.nii.gz").exists()
    with Job(3, ["coslice", "reconstruct", "--resume", out], tmp_path) as job:  # by another number of ranks
        assert job.ended()[0] == [0, 0, 0]
        assert "oing on after step" in job.ranks[0].communicate()[0]
    assert np.array_equal(one, voxels(out / "reconstruction.nii.gz"))


@pytest.mark.parametrize("command", [["demo"], ["methods"], ["benchmark", "no.yaml"]])
def test_commands_for_one_process_are_refused_under_torchrun(command, tmp_path, monkeypatch):
    place = tmp_path / "here"
    place.mkdir()
    with Job(2, ["coslice", *command, *(["--out", place / "out"] if command != ["methods"] else [])], tmp_path) as job:
        codes, said = job.ended(LONGEST)
    assert codes == [2, 2]
    assert re.search(f"coslice {command[0]}: torchrun started 2 processes", said[0][0])
    assert said[1] == []
    assert list(place.iterdir()) == []
