"""Laws of what is written: it is there whole or not at all, strict, and the same bytes everywhere."""

from __future__ import annotations

import json
import math
import os

import pytest

from coslice.errors import CosliceError
from coslice.io.files import check_target, write_bytes, write_json, write_text

VALUES = {"name": "Δ é", "list": [1, 2.5, True, None], "nested": {"empty": {}}}


@pytest.mark.parametrize("indent", [2, 1, None])
def test_json_comes_back_as_it_was_and_ends_its_last_line(tmp_path, indent):
    path = tmp_path / "values.json"
    write_json(path, VALUES, indent)
    content = path.read_bytes()
    assert json.loads(content) == VALUES
    assert content.isascii(), "whatever a reader takes it for"
    assert content.endswith(b"}\n") and b"\r" not in content
    assert content.count(b"\n") == (1 if indent is None else json.dumps(VALUES, indent=1).count("\n") + 1)


@pytest.mark.parametrize("value", [math.nan, math.inf, {1, 2}])
def test_what_is_no_json_is_refused_and_the_old_file_stays(tmp_path, value):
    path = tmp_path / "values.json"
    write_json(path, VALUES)
    before = path.read_bytes()
    with pytest.raises((ValueError, TypeError)):
        write_json(path, {"bad": value})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_text_is_utf_8_with_its_own_ends_of_lines(tmp_path):
    write_text(tmp_path / "text.md", "Δ\r\nx\n")
    assert (tmp_path / "text.md").read_bytes() == b"\xce\x94\r\nx\n"
    write_bytes(tmp_path / "bytes", b"\x00\r\n")
    assert (tmp_path / "bytes").read_bytes() == b"\x00\r\n"


@pytest.mark.parametrize("write", [write_bytes, write_text, write_json])
def test_a_place_that_cannot_be_written_to_is_named(tmp_path, write):
    with pytest.raises(CosliceError, match="cannot be written"):
        write(tmp_path / "nowhere" / "file", b"" if write is write_bytes else "")


def test_a_device_or_a_pipe_is_not_taken_the_place_of(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    link = tmp_path / "link"
    link.symlink_to("/dev/null")
    for place in (pipe, link):
        with pytest.raises(CosliceError, match="is a device or a pipe, but a file is needed"):
            write_text(place, "words")
    for place in ("/dev/null", "/dev/stdout", "/dev/not-there"):  # looked at alone: who is root would end the machine's
        with pytest.raises(CosliceError, match="is a device or a pipe, but a file is needed"):
            check_target(place)
    assert pipe.is_fifo() and link.is_symlink()
