"""Locks of folders and dead temporaries: one run at a time, and nothing left of those that are gone."""

from __future__ import annotations

import errno
import signal
import uuid

import filelock
import pytest

from coslice.errors import CosliceError
from coslice.io import locks
from coslice.io.files import atomic, remove_dead_temporaries
from coslice.io.locks import HIDDEN, lock_folder
from coslice.stop_signals import stop_signals


def test_one_run_has_a_folder_at_a_time_and_leaves_no_lock(tmp_path):
    with lock_folder(tmp_path) as hidden:
        assert hidden == tmp_path / HIDDEN and hidden.is_dir()
        with pytest.raises(CosliceError, match="Another run is writing into"), lock_folder(tmp_path):
            pass
        assert (hidden / "lock").exists()
    assert not any(tmp_path.iterdir())
    with lock_folder(tmp_path) as hidden:
        (hidden / "kept").touch()
    assert [one.name for one in hidden.iterdir()] == ["kept"]
    with pytest.raises(CosliceError, match="cannot be locked"), lock_folder(tmp_path / "nowhere"):
        pass


WITHOUT_LOCKS = [NotImplementedError("flock"), OSError(errno.ENOLCK, "no locks"), UserWarning("soft")]


@pytest.mark.parametrize("error", WITHOUT_LOCKS)
def test_where_there_are_no_locks_that_is_said_and_the_run_goes_on(tmp_path, monkeypatch, error):
    class Missing(filelock.FileLock):
        def acquire(self, *given, **named):
            raise error

    monkeypatch.setattr(locks, "FileLock", Missing)
    said = []
    with lock_folder(tmp_path, said.append):
        assert len(said) == 1 and "has no locks" in said[0]


def test_only_what_a_dead_process_of_ours_left_is_removed(tmp_path):
    ours = [tmp_path / f".{uuid.uuid4().hex}{suffix}" for suffix in ("", ".nii.gz", ".json", ".safetensors")]
    folder = tmp_path / f".{uuid.uuid4().hex}"
    folder.mkdir()
    (folder / "0001.dcm").touch()
    theirs = [tmp_path / name for name in (".hidden", f"{uuid.uuid4().hex}.nii.gz", f".{'g' * 32}", f".{'a' * 31}.nii")]
    for one in (*ours, *theirs):
        one.touch()
    with atomic(tmp_path / "file.json") as part:
        part.touch()
        assert part.name.startswith(".")
    assert remove_dead_temporaries(tmp_path) == len(ours) + 1
    assert {one.name for one in tmp_path.iterdir()} == {one.name for one in theirs} | {"file.json"}


def test_signals_are_wishes_but_for_those_that_were_ignored():
    # A terminal's, also where the tests were started in the background, which ignores it.
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    before = {name: signal.getsignal(getattr(signal, name)) for name in ("SIGTERM", "SIGINT")}
    ignored = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with stop_signals() as asked:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            assert asked == ["SIGINT"]
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, ignored)
        signal.signal(signal.SIGINT, interrupt)
    before["SIGINT"] = interrupt
    assert {name: signal.getsignal(getattr(signal, name)) for name in before} == before
