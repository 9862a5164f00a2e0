"""Laws of the bar: the time left is that of what is left, one line stays one line, and a notebook's is updated."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import coslice
from coslice.report.progress_bar import ProgressBar, _Notebook, progress_bar
from small_problems import prior, quick, zsr


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Lines:
    def __init__(self):
        self.said = []

    def put(self, words, share, over):
        self.said.append((words, share, over))


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_the_time_left_is_in_proportion_to_what_is_left():
    lines, clock = Lines(), Clock()
    bar = ProgressBar("chest", lines, clock)
    bar("sampling", 0, 30)
    for step in range(1, 31):
        clock.now = 2.0 * step
        bar("sampling", step, 30)
    assert "left" not in lines.said[0][0]
    words = lines.said[12][0]
    assert words == "chest: sampling 12/30 [########............] 0:24 gone, 0:36 left"
    assert lines.said[30][0].endswith("] 1:00 gone") and lines.said[30][1:] == (1.0, True)


def test_a_run_that_goes_on_counts_its_own_steps_alone():
    lines, clock = Lines(), Clock()
    bar = ProgressBar("", lines, clock)
    bar("sampling", 20, 30)
    clock.now = 10.0
    bar("sampling", 25, 30)
    assert lines.said[-1][0].endswith("0:10 gone, 0:10 left")


def test_images_are_parts_of_a_step_and_never_go_back():
    lines, clock = Lines(), Clock()
    bar = ProgressBar("", lines, clock)
    bar("denoising", 3, 4)  # of a bar that knows of no step
    bar("sampling", 0, 2)
    for done in (1, 2, 4, 1):
        clock.now += 1.0
        bar("denoising", done, 4)
    assert [round(share, 3) for _, share, _ in lines.said] == [0, 0.125, 0.25, 0.5, 0.5]


def test_a_terminal_has_one_line_for_a_phase():
    stream = Terminal()
    coslice.run(zsr(), quick("dds"), prior("zx"), progress=progress_bar("head", stream))
    *lines, last = (line.rpartition("\r")[2] for line in stream.getvalue().split("\n"))  # what stays to be seen
    assert last == ""
    (sampling,) = [line for line in lines if "sampling" in line]
    assert sampling.startswith("head: sampling 3/3 [####################]")


def test_a_file_has_few_lines_and_no_returns():
    stream = io.StringIO()
    bar = progress_bar("", stream)
    for done in range(1001):
        bar("sampling", done, 1000)
    text = stream.getvalue()
    assert "\r" not in text and text.count("\n") <= 11 and "sampling 1000/1000" in text.splitlines()[-1]


def test_a_title_is_harmless():
    stream = io.StringIO()
    progress_bar("\x1b[31mred", stream)("sampling", 1, 1)
    assert "\x1b" not in stream.getvalue()


def test_a_notebook_updates_one_element(monkeypatch):
    displayed, updated = [], []

    def display(one, display_id):
        displayed.append(one)
        return SimpleNamespace(update=updated.append)

    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display, HTML=str))
    bar = progress_bar("<b>")
    bar("sampling", 0, 4)
    bar("sampling", 4, 4)
    assert len(displayed) == len(updated) == 1
    assert 'value="1.0000"' in updated[0] and "sampling 4/4" in updated[0]
    assert "<b>" not in displayed[0] and "&lt;b&gt;" in displayed[0]
    bar("sampling", 0, 4)
    assert len(displayed) == 2  # another run has a line of its own


def test_a_line_is_no_wider_than_its_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    bar = progress_bar("a scan with a name that is longer than the terminal is wide", stream)
    bar("sampling", 1, 2)
    bar("sampling", 2, 2)
    assert all(len(line) < 40 for line in stream.getvalue().strip("\r\n").split("\r"))


def test_brackets_in_a_title_are_a_part_of_it_in_a_notebook(monkeypatch):
    shown = []
    display = SimpleNamespace(HTML=lambda text: text, display=lambda text, display_id: shown.append(text))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    ProgressBar("scan [2] b", _Notebook())("sampling", 1, 2)
    assert shown[0].endswith("scan [2] b: sampling 1/2 0:00 gone")
