"""What the machine refuses is a sentence that says what and what to do; a mistake of ours stays a traceback."""

from __future__ import annotations

import errno
import io
import os
import sys

import numpy as np
import pytest
import torch

from coslice.cli import main
from coslice.cli.failures import sentence_of_failure
from coslice.cli.streams import Spoken, lasting_streams
from coslice.errors import CosliceError
from coslice.io.files import write_bytes
from coslice.io.refusals import advice_on, reason_of
from coslice.private_folders import keep_privately


def refusal(number, path="scan.nii"):
    return OSError(number, os.strerror(number), path)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (refusal(errno.ENOSPC), "scan.nii cannot be used: no space left on device; make room there"),
        (refusal(errno.ENAMETOOLONG, "x" * 4000), "choose a shorter name"),
        (refusal(errno.EMFILE), "ulimit -n"),
        (OSError(errno.EIO, "Input/output error"), "input/output error"),
        (MemoryError(), "not enough memory;"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 3221225472 bytes."),
         "not enough memory: 3 GiB more"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has"), "not enough memory: 20 MiB more"),
        (ImportError("x.so: cannot allocate memory in static TLS block"), "not enough memory"),
        (RuntimeError("can't start new thread"), "OMP_NUM_THREADS"),
        (RecursionError("maximum recursion depth exceeded"), "nested"),
        (ValueError("embedded null byte"), "character 0"),
    ],
)  # fmt: skip
def test_what_the_machine_refuses_is_a_sentence(error, words):
    sentence = sentence_of_failure(error)
    assert sentence is not None and words in sentence and len(sentence) < 400 and sentence.endswith(".")


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("bad"), KeyError("x"), AssertionError()])
def test_a_mistake_of_ours_is_none(error):
    assert sentence_of_failure(error) is None


@pytest.mark.parametrize("take", [lambda: np.ones(1 << 46), lambda: torch.ones(1 << 46)])
def test_libraries_say_it_in_the_words_that_are_known(take):
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        take()
    assert "iB more were needed" in str(sentence_of_failure(caught.value))


@pytest.mark.parametrize(
    ("error", "code"), [(refusal(errno.EIO), 2), (MemoryError(), 2), (KeyError("a mistake"), None)]
)
def test_commands_end_with_it(monkeypatch, capsys, error, code):
    def failing(**_):
        raise error

    monkeypatch.setattr("coslice.cli.app.app", failing)
    with pytest.raises(SystemExit if code else type(error)) as left:
        main()
    if isinstance(left.value, SystemExit):
        assert left.value.code == code and capsys.readouterr().err.startswith("coslice: ")


class Refusing(io.StringIO):
    """Takes so many letters."""

    def __init__(self, letters, number):
        super().__init__()
        self.letters, self.number = letters, number

    def write(self, text):
        if self.tell() + len(text) > self.letters:
            raise OSError(self.number, os.strerror(self.number))
        return super().write(text)


def test_a_stream_that_refuses_is_written_to_no_more(monkeypatch):
    under = Refusing(5, errno.EPIPE)
    monkeypatch.setattr(sys, "stdout", under)
    with lasting_streams() as (stdout, stderr):
        for text in ("12345", "6", "7"):
            print(text, end="")
    assert sys.stdout is under and under.getvalue() == "12345"
    assert stdout.unheard and stderr.refusal is None
    full = Spoken(Refusing(0, errno.ENOSPC))
    assert full.write("abc") == 3 and full.refusal is not None and not full.unheard


def test_an_error_without_a_number_is_asked_for_its_reason(tmp_path, monkeypatch):
    lost = OSError("10240 requested and 4032 written")
    assert "only a part" in reason_of(lost, tmp_path) and reason_of(lost) == str(lost)
    assert reason_of(lost, tmp_path / "nowhere") == "no such file or directory"

    def full(*_):
        raise refusal(errno.ENOSPC)

    monkeypatch.setattr("coslice.io.refusals.os.fsync", full)
    assert reason_of(lost, tmp_path) == "no space left on device" and "room" in advice_on(lost, tmp_path)
    with pytest.raises(CosliceError, match="x cannot be written: no space left on device; make room"):
        write_bytes(tmp_path / "x", b"content")
    assert not list(tmp_path.iterdir())


def test_libraries_get_a_private_folder_where_theirs_cannot_be(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("PLACE", raising=False)
    keep_privately("PLACE", "things", str(tmp_path / "made" / "later"))
    assert "PLACE" not in os.environ
    (tmp_path / "file").write_text("in the way")
    if not hasattr(os, "getuid"):
        return
    keep_privately("PLACE", "things", str(tmp_path / "file" / "below"))
    folder = tmp_path / f"coslice-things-{os.getuid()}"
    assert os.environ.pop("PLACE") == str(folder) and folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    keep_privately("PLACE", "things", str(tmp_path / "file" / "below"))
    assert "PLACE" not in os.environ  # others could have filled it
