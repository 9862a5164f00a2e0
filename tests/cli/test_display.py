"""Laws of the terminal: words are printed as they are, on any stream, and the numbers are the same on all."""

from __future__ import annotations

import io
import json
import math
import re
import sys

import pytest
from rich.cells import cell_len

from coslice.axes import PLANES
from coslice.cli import display, main
from coslice.cli.terminal import Terminal, adapt_streams, print_json
from coslice.cli.training_bars import TrainingBars
from coslice.errors import CosliceError
from coslice.metrics import PER_PLANE, QUANTITIES

STREAMS = ["utf-8", "cp1252", "cp437", "latin-1", "ascii"]
NASTY = ["[bold]x[/]", "[/]", "[red]", ":lungs:", "a[0]\\", "[link=x]y"]
PLANE = {"psnr": 31.234, "ssim": 0.91234, "lpips": None}
NUMBERS = {
    **dict.fromkeys(PLANES, PLANE),
    "sdiff": 0.01234,
    "sdiff_truth": 0.01156,
    "sdiff_delta": 0.00078,
    "sdiff_gap": 0.00078,
}


@pytest.fixture
def stream(monkeypatch):
    """Make the standard streams take an encoding: stream(encoding) -> what gives the text that was written."""

    def make(encoding, errors="strict"):
        written = io.BytesIO()
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, io.TextIOWrapper(written, encoding, errors, write_through=True))
        return lambda: written.getvalue().decode(encoding)

    return make


def digits(text: str) -> list[str]:
    return re.findall(r"\d+", text)


@pytest.mark.parametrize("encoding", STREAMS)
def test_the_table_has_its_numbers_and_straight_columns_on_every_stream(stream, encoding):
    said = {}
    for name in ("utf-8", encoding):
        read = stream(name)
        adapt_streams()
        display.show_table({"DDS": NUMBERS, "A longer name - with ISCS": NUMBERS})
        said[name] = read()
    assert digits(said[encoding]) == digits(said["utf-8"])
    lines = said[encoding].splitlines()
    ends = {
        cell_len(line.rstrip())
        for line in lines
        if line.endswith("0008") or "SDiff  " in line or set(line) <= set("-─")
    }
    assert len(ends) == 1, "head, line and rows end below each other"
    assert ("|Δ|" in said[encoding]) == (encoding == "utf-8")
    assert ("|diff|" in said[encoding]) == (encoding != "utf-8")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Δ ± … – — \u2212", "diff +/- ... - - -"),
        ("─━╸│┃┌┼╯", "---||+++"),
        ("↑ ↓ → \u2018a\u2019 “b”", "^ v -> 'a' \"b\""),
        ("η σ Ångström é ﬁ", "eta sigma Angstrom e fi"),
        ("中\udcff", "??"),
    ],
)
def test_what_a_stream_lacks_becomes_what_comes_near_and_what_it_has_stays(stream, text, plain):
    for encoding, wanted in (("ascii", plain), ("utf-8", text.replace("\udcff", "?"))):
        read = stream(encoding)
        adapt_streams()
        print(text)
        display.say(text)
        assert read() == f"{wanted}\n{wanted}\n"


@pytest.mark.parametrize(("errors", "written"), [("replace", "?"), ("xmlcharrefreplace", "&#916;")])
def test_what_somebody_chose_for_a_stream_stays(stream, errors, written):
    read = stream("ascii", errors)
    adapt_streams()
    print("Δ")
    assert read() == f"{written}\n"


@pytest.mark.parametrize("arguments", [["evaluate", "SCAN", "SCAN"], ["--help"], ["priors"], ["benchmark"]])
def test_commands_write_to_any_stream(stream, monkeypatch, scan, arguments):
    for encoding in ("cp1252", "ascii"):
        read = stream(encoding)
        monkeypatch.setattr(sys, "argv", ["coslice", *(str(scan) if word == "SCAN" else word for word in arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        assert not left.value.code
        assert len(read()) > 200


@pytest.mark.parametrize("text", NASTY)
def test_nothing_of_the_user_is_read_as_markup(capsys, text):
    display.say(text)
    assert capsys.readouterr().out == f"{text}\n"
    display.warn(text)
    assert capsys.readouterr().err == f"coslice: {text}\n"
    card = {"title": text, "plane": "yx", "licence": text, text: text, "list": [f"{text} and", text]}
    grid = {"validation": {text: {text: text}}}
    for show, count in (
        (lambda: display.show_table({text: NUMBERS}), 1),
        (lambda: display.show_priors({text: card}, {text}), 3),
        (lambda: display.show_benchmarks({text: (text, text)}), 3),
        (lambda: display.show_card(text, card | grid), 1 + 2 + 2 + 2 + 3),
    ):
        show()
        assert capsys.readouterr().out.count(text) == count
    with display.Watch() as watch, watch.task(text) as progress:
        progress(text, 1, 2)
    assert f"{text}: {text}" in capsys.readouterr().err


@pytest.mark.parametrize("text", NASTY)
def test_training_shows_names_of_scans_as_they_are(capsys, text):
    bars = TrainingBars()
    with bars.shown():
        bars.note(text)
        assert text in capsys.readouterr().err
        bars.packing(1, 3, text)
    assert f"1 of 3 scans {text}" in capsys.readouterr().err


def test_json_is_strict_and_the_same_on_every_stream(stream):
    values = {"name": "Δ é [bold]", "list": [1, 0.1 + 0.2, True, None], "long": "x " * 200}
    said = set()
    for encoding in STREAMS:
        read = stream(encoding)
        print_json(values)
        said.add(read())
    assert len(said) == 1
    text = said.pop()
    assert json.loads(text) == values and text.isascii() and text.endswith("}\n")
    with pytest.raises(CosliceError, match="not finite"):
        print_json({"psnr": math.inf})


def test_a_terminal_marks_nothing_in_what_it_prints(capsys):
    for text in NASTY:
        Terminal().print(text)
    assert capsys.readouterr().out == "".join(f"{text}\n" for text in NASTY)


def test_a_number_is_printed_as_the_papers_do(capsys):
    display.show_table({"DDS": NUMBERS})
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("DDS"))
    texts = {name: None if value is None else QUANTITIES[name].text(value) for name, value in PLANE.items()}
    assert list(texts) == [quantity.name for quantity in PER_PLANE]
    plane = ["-" if text is None else text.removeprefix("0") for text in texts.values()]
    assert row.split() == ["DDS", *3 * plane, ".0123", ".0008"]
