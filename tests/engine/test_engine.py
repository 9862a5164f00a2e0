"""Laws of engines: every job has one ending, and a worker that dies takes none with it."""

from __future__ import annotations

import os
import sys

import pytest

import engine_jobs
from coslice.engine import Context, Job, Queue, chosen_engine
from coslice.engine.choice import shared_out
from coslice.engine.job import Attempt, Ending, attempted
from coslice.engine.local import LocalEngine
from coslice.errors import CosliceError


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_only_what_may_go_better_is_tried_again():
    """By the ending of its attempts, how often a job is tried with two retries, and how it ends."""
    wanted: dict[Ending, int] = {"done": 1, "refused": 1, "broken": 1, "stopped": 1, "killed": 3, "memory": 3}
    for ending, times in wanted.items():
        queue, finished, numbers = Queue([Job("a", engine_jobs.refuses)], 2), None, []
        while queue:
            job, number = queue.take()
            numbers.append(number)
            finished = queue.ended(job, Attempt(ending, message="because"))
        assert numbers == list(range(1, times + 1)) and finished is not None
        assert (finished.last.ending, finished.attempts) == (ending, times)


def test_what_is_tried_again_comes_after_the_others():
    jobs = [Job(key, engine_jobs.refuses) for key in "abc"]
    queue = Queue(jobs, 1)
    first, _ = queue.take()
    assert queue.ended(first, Attempt("killed")) is None
    assert [queue.take()[0].key for _ in range(3)] == ["b", "c", "a"] and not queue


def test_an_attempt_never_raises():
    endings = {
        engine_jobs.refuses: ("refused", "scan: it is broken."),
        engine_jobs.says_short_of_memory: ("memory", "There is too little memory for this run."),
        engine_jobs.fails: ("broken", "It failed, which is an error of the program: KeyError: 'nobody thought of it'"),
    }
    for function, (ending, message) in endings.items():
        attempt = attempted(Job("a", function), Context())
        assert (attempt.ending, attempt.message) == (ending, message)
    assert attempted(Job("a", engine_jobs.short_of_memory, (1,)), Context(1)).ending == "memory"
    assert attempted(Job("a", engine_jobs.short_of_memory, (1,)), Context(2)).value == 2


def test_workers_that_die_are_replaced_and_no_job_is_lost(tmp_path):
    jobs = [
        Job("two", engine_jobs.doubled, (1,)),
        Job("once", engine_jobs.dies, (1,)),
        Job("always", engine_jobs.dies, (9,)),
        Job("bad", engine_jobs.refuses, (), tmp_path / "bad.txt"),
        Job("four", engine_jobs.doubled, (2,)),
    ]
    heard = []
    ended = {one.key: one for one in LocalEngine(1, 1).run(jobs, 1, lambda *told: heard.append(told))}
    assert {key: one.last.ending for key, one in ended.items()} == {
        "two": "done",
        "once": "done",
        "four": "done",
        "always": "killed",
        "bad": "refused",
    }
    assert [ended[key].last.value for key in ("two", "once", "four")] == [2, 2, 4]
    assert {key: one.attempts for key, one in ended.items() if one.attempts > 1} == {"once": 2, "always": 2}
    assert "tried 2 times" in ended["always"].last.message and "signal 9 (SIGKILL" in ended["always"].last.message
    assert ("two", "doubling", 1, 1) in heard
    assert (tmp_path / "bad.txt").read_text() == "coslice: scan: it is broken.\n"


def test_a_worker_keeps_what_it_has_loaded_and_is_gone_at_the_end(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    values = [one.last.value for one in LocalEngine(1, 3).run([Job(str(i), engine_jobs.process) for i in range(3)])]
    assert len({process for process, _, _ in values}) == 1 and [count for _, count, _ in values] == [1, 2, 3]
    assert {threads for *_, threads in values} == {"3"} and os.environ["OMP_NUM_THREADS"] == "5"
    assert not alive(values[0][0])


@pytest.mark.parametrize("cores", [1, 2, 6, 64])
def test_cores_are_neither_idle_nor_fought_for(cores):
    for jobs in (1, 3, 1000):
        for asked in (None, 1, 2, 5):
            workers, threads = shared_out(cores, jobs, None, asked)
            assert 1 <= workers <= jobs and threads == (asked or threads)
            assert workers * threads <= cores or workers == 1
            if jobs > cores and asked is None:
                assert workers * threads > cores - workers
        workers, threads = shared_out(cores, jobs, 3)
        assert workers == 3 and threads == max(1, cores // 3)


def test_the_engine_is_chosen_and_said(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("coslice.engine.choice.cores_here", lambda: 8)
    monkeypatch.setattr("coslice.engine.choice.find_spec", lambda name: None)
    said = chosen_engine(12, device="cpu").said
    assert said == "Engine: processes of this machine, 2 workers, 4 threads each, on 8 cores."
    assert "share cores" in chosen_engine(12, workers=16, device="cpu").said
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert "8 workers, 1 thread each" in chosen_engine(12, device="cpu").said
    for wrong, words in [
        ({"name": "ray"}, "coslice[cluster]"),
        ({"address": "auto"}, "coslice[cluster]"),
        ({"name": "dask"}, "ray or local"),
        ({"name": "local", "address": "auto"}, "leave one of them out"),
        ({"workers": 0}, "at least 1"),
    ]:
        with pytest.raises(CosliceError, match=words.replace("[", r"\[")):
            chosen_engine(12, device="cpu", **wrong)
    assert "ray" not in sys.modules
