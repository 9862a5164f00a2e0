"""Laws of the report: what a page may hold, what it says is best."""

from __future__ import annotations

import base64
import html
import importlib.util
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from coslice.axes import PLANES
from coslice.errors import CosliceError
from coslice.metrics import Curves, per_slice
from coslice.report import grey, view, write_report
from coslice.report.plots import slice_plots
from ramps import HU, SHAPE, SPACING, ramp


def metrics(psnr: float, lpips: float | None = 0.1, gap: float = 0.001) -> dict:
    plane = {"psnr": psnr, "ssim": psnr / 50, "lpips": lpips}
    return dict.fromkeys(PLANES, plane) | {"sdiff": 0.005 + gap, "sdiff_truth": 0.005, "sdiff_gap": gap}


def write(path: Path, **changes) -> str:
    """A page with two methods, read back."""
    arguments = {
        "title": "A scan",
        "truth": ramp(),
        "reconstructions": {"FDK": ramp(1), "DDS": ramp(2)},
        "table": {"FDK": metrics(24.0), "DDS": metrics(31.0, 0.05, 0.0005)},
        "spacing": SPACING,
        **HU,
    }
    write_report(path, **(arguments | changes))
    return path.read_text(encoding="utf-8")


def words_of(page: str) -> str:
    """A page without its pictures and its viewer, whose script and choosers speak of everything there may be."""
    page = re.sub(r'<section class="viewer".*?</script>\s*</section>', "", page, flags=re.DOTALL)
    return re.sub(r'"data:[^"]*"', "", page)


def images(page: str, kind: str = "png") -> list[bytes]:
    return [base64.b64decode(code) for code in re.findall(rf'src="data:image/{kind}[^,]*,([^"]+)"', page)]


def test_a_page_needs_nothing_but_itself(tmp_path):
    steps = [{"step": i, "sigma": 5.0 - i, "psnr": 20.0 + i, "sdiff": 0.05 / (i + 1)} for i in range(4)]
    page = write(tmp_path / "page.html", trajectory={"DDS": steps}, recipe={"eta": 1.0}, seconds={"simulate": 1.5})
    sources = re.findall(r'(?:src|href)\s*=\s*"([^"]*)"', page)
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    assert not re.search(r"<script[^>]* src|<link|@import|url\(|https?://|\bfetch\(", page)
    assert "Content-Security-Policy\" content=\"default-src 'none';" in page, "nor could it have anything else"
    assert len(images(page, "svg")) == 2 + 1
    assert "LPIPS on a few slices" not in page
    # Nor do the plots inside it reach out: addresses in them are names of namespaces only.
    for plot in images(page, "svg"):
        assert not re.search(rb'(?:src|href)="(?!#)', plot)


def test_the_course_of_lpips_is_drawn_where_it_was_measured(tmp_path):
    known = {"sigma": 1.0, "psnr": 20.0, "sdiff": 0.01}
    steps = [{"step": i, "lpips": None if i == 1 else 0.3 - 0.1 * i} | known for i in range(3)]
    blind = [{"step": i} | known for i in range(3)]  # as runs recorded before LPIPS was
    page = write(tmp_path / "page.html", trajectory={"DDS": steps, "DDNM": blind})
    drawn = images(page, "svg")[-3:]
    assert re.findall(r'<img [^>]*alt="(\S+)[^"]* of the estimate', page) == ["PSNR", "SDiff", "LPIPS"]
    assert [b"DDNM" in plot for plot in drawn] == [True, True, False]
    assert "LPIPS on a few slices" in page
    # A method keeps its colour where another has no curve.
    second = images(write(tmp_path / "page.html", trajectory={"DDNM": blind, "DDS": steps}), "svg")[-1]
    assert b"#ff7f0e" in second
    assert b"#1f77b4" not in second


def test_every_picture_is_described(tmp_path):
    tags = re.findall(r"<img [^>]*>", write(tmp_path / "page.html"))
    assert len(tags) == 3 * 3 + 3 * 2 + 1 + 1, "three planes of three volumes, their two errors, the scale, a plot"
    assert all(re.search(r'alt="[^"]+"', tag) for tag in tags)


def test_the_pictures_of_the_page_are_the_views(tmp_path):
    page = write(tmp_path / "page.html", spacing=(1.0, 1.0, 1.0))
    first = np.asarray(Image.open(io.BytesIO(images(page)[0])))
    np.testing.assert_array_equal(first, grey(view(ramp(), "axial"), **HU))


def test_the_best_of_each_column_is_bold(tmp_path):
    page = write(tmp_path / "page.html")
    rows = dict(re.findall(r'<th scope="row">(FDK|DDS)</th>(.*?)</tr>', page, re.DOTALL))
    assert "<b>" not in rows["FDK"]
    bold = re.findall(r"<b>([^<]+)</b>", rows["DDS"])
    assert bold == ["31.00", "0.620", "0.050"] * 3 + ["0.00050"], "all but SDiff itself, where less is not better"


def test_equals_are_equally_bold_and_nothing_is_where_all_are_equal(tmp_path):
    three = {"reconstructions": {"A": ramp(1), "B": ramp(2), "C": ramp(3)}}
    table = {"A": metrics(30.001), "B": metrics(30.004), "C": metrics(20.0)}
    page = write(tmp_path / "page.html", table=table, **three)
    assert page.count("<b>30.00</b>") == 2 * 3
    assert "<b>0.100</b>" not in page


def test_a_missing_metric_leaves_its_column_out(tmp_path):
    table = {"FDK": metrics(24.0, lpips=None), "DDS": metrics(31.0, lpips=None)}
    page = write(tmp_path / "page.html", table=table)
    assert page.count(">PSNR ↑<") == 3
    assert "LPIPS" not in page


def test_without_a_truth_no_errors_are_shown(tmp_path):
    table = {"FDK": {"sdiff": 0.02}, "DDS": {"sdiff": 0.01}}
    page = write(tmp_path / "page.html", truth=None, table=table)
    assert len(images(page)) == 3 * 2
    assert not re.search(r"PSNR|Errors|\|Δ\||Truth|dB", words_of(page))
    assert "0.02000" in page


def test_without_a_truth_or_any_number_there_is_no_table(tmp_path):
    nothing = {"psnr": None, "ssim": None, "lpips": None}
    unknown = dict.fromkeys(PLANES, nothing) | dict.fromkeys(("sdiff", "sdiff_truth", "sdiff_delta", "sdiff_gap"))
    steps = [{"step": i, "sigma": 1.0, "psnr": None, "sdiff": 0.01, "lpips": None} for i in range(3)]
    for table in ({}, {"FDK": unknown, "DDS": unknown}):
        page = write(tmp_path / "page.html", truth=None, table=table, trajectory={"DDS": steps})
        assert "Numbers" not in words_of(page)
        assert '<table class="metrics">' not in page
        assert [b"Truth" in plot for plot in images(page, "svg")] == [False, False]
        assert "The truth is not known." in page


def test_what_is_not_ct_is_shown_from_end_to_end_of_its_window(tmp_path):
    mr = {"window": (0.0, 1234.5), "unit": "a.u.", "display": None, "spacing": (1.0, 1.0, 1.0)}
    page = write(tmp_path / "page.html", **mr)
    first = np.asarray(Image.open(io.BytesIO(images(page)[0])))
    np.testing.assert_array_equal(first, np.rint(255 * view(ramp(), "axial")))
    assert not re.search(r"\bHU\b", words_of(page))
    assert "Shown from 0 to 1234.5 a.u.; the prior sees these values as 0 to 1." in page
    assert "difference from the truth in a.u., on one scale" in page
    ct = write(tmp_path / "page.html", display=None)
    assert ct == write(tmp_path / "page.html")
    assert "Shown from -480 to 820 HU; the prior sees -1000 to 1600 HU as 0 to 1." in ct
    plain = write(tmp_path / "page.html", **(mr | {"unit": ""}))
    assert "Shown from 0 to 1234.5; the prior" in plain
    assert "difference from the truth, on one scale" in plain


def test_names_and_values_cannot_break_the_page(tmp_path):
    nasty = "<b>&\"'"
    page = write(
        tmp_path / "page.html",
        title=nasty,
        reconstructions={nasty: ramp(1)},
        table={nasty: metrics(30.0)},
        recipe={nasty: nasty},
    )
    assert nasty not in page
    assert "&lt;b&gt;&amp;" in page


def test_the_same_input_gives_the_same_bytes(tmp_path):
    steps = [{"step": i, "sigma": 1.0, "psnr": None, "sdiff": 0.01} for i in range(3)]
    pages = [write(tmp_path / name, trajectory={"DDS": steps}) for name in ("a.html", "b.html")]
    assert pages[0] == pages[1]
    assert len(images(pages[0], "svg")) == 1 + 1, "no curve where no value is known"


def test_an_old_page_survives_a_failure_and_no_debris_stays(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    before = write(path)

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises((OSError, CosliceError)):
        write(path, title="Another")
    monkeypatch.undo()
    assert path.read_text(encoding="utf-8") == before
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reconstructions": {"DDS": torch.zeros(8, 12, 15)}}, ["DDS", "(8, 12, 15)", "(8, 12, 16)"]),
        ({"reconstructions": {"DDS": torch.full(SHAPE, float("nan"))}}, ["DDS", "not finite"]),
        ({"truth": None, "reconstructions": {}}, ["no volume"]),
        ({"spacing": (1.0, 0.0, 1.0)}, ["spacing", "positive"]),
        ({"display": (400.0, 40.0)}, ["display", "400", "low < high"]),
    ],
)
def test_bad_input_is_refused_in_a_sentence(tmp_path, change, words):
    with pytest.raises(CosliceError) as caught:
        write(tmp_path / "page.html", **change)
    assert all(word in str(caught.value) for word in words)
    assert not list(tmp_path.iterdir())


def test_a_page_without_its_viewer_says_why_and_has_the_rest(tmp_path, monkeypatch):
    whole = write(tmp_path / "page.html")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    page = write(tmp_path / "page.html")
    assert "ipyniivue" in page
    assert "<script" not in page
    assert images(page) == images(whole)
    (sentence,) = re.findall(r'<p class="note">([^<]*ipyniivue.*?)</p>', page)
    assert '<code>pip install "coslice[viewer]"</code>' in sentence
    assert "ipyniivue was not installed" not in html.unescape(whole)
    # All else is as it is with a viewer.
    assert words_of(page).replace(f'<p class="note">{sentence}</p>', "") == words_of(whole)


def test_every_slice_is_in_the_curves_of_the_page_and_nothing_that_was_not_measured(tmp_path):
    curves = {name: per_slice(ramp(shift), ramp(), lpips=False) for name, shift in (("FDK", 1), ("DDS", 2))}
    plain, page = write(tmp_path / "page.html"), write(tmp_path / "page.html", curves=curves)
    alts = re.findall(r'<img [^>]*svg[^>]*alt="([^"]*)"', page)
    wanted = [f"{name} of each {plane} slice for FDK, DDS" for plane in PLANES for name in ("PSNR (dB)", "SSIM")]
    assert alts[:-1] == wanted, "LPIPS was not measured"
    assert alts[-1].endswith("next for FDK, DDS, Truth")
    assert re.findall(r'<img [^>]*svg[^>]*alt="([^"]*)"', plain) == alts[-1:]
    assert len(set(images(page, "svg"))) == len(alts)


def test_a_method_has_one_colour_on_the_whole_page(tmp_path):
    curves = {name: per_slice(ramp(shift), ramp(), lpips=False) for name, shift in (("FDK", 1), ("DDS", 2))}
    steps = [{"step": i, "sigma": 1.0, "psnr": 20.0 + i} for i in range(3)]
    page = write(tmp_path / "page.html", curves=curves, trajectory={"DDS": steps})
    second = [b"#ff7f0e" in plot for plot in images(page, "svg")]
    assert all(second), "DDS, the second method"
    assert b"#1f77b4" not in images(page, "svg")[-1], "FDK has no course"


def test_a_plot_of_slices_goes_through_their_values():
    line = Curves(index=(2, 3, 5), psnr=(20.0, 30.0, 40.0), ssim=(), lpips=None)
    (plot,) = slice_plots({"FDK": {"axial": line}})
    svg = base64.b64decode(plot["src"].partition(",")[2]).decode()
    path = re.findall(r'<path d="([^"]*)"[^>]*stroke: #1f77b4', svg)
    x, y = np.array(re.findall(r"[ML] (\S+) (\S+)", path[0]), dtype=float).T
    assert (x[2] - x[0]) / (x[1] - x[0]) == pytest.approx(3, rel=1e-4)
    assert (y[2] - y[0]) / (y[1] - y[0]) == pytest.approx(2, rel=1e-4)
