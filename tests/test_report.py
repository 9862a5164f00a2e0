"""Laws of the report: where the patient is in a picture, what a page may hold, what it says is best."""

from __future__ import annotations

import base64
import html
import importlib.util
import io
import re
import shlex
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.main import get_command

from coslice import study as study_module
from coslice.cli.app import app
from coslice.errors import CosliceError
from coslice.measurement_noise import GaussianNoise, PhotonNoise, detector_noise
from coslice.metrics import Curves, evaluate, per_slice
from coslice.preparation import Preparation
from coslice.recipe import Recipe
from coslice.reconstruction import run
from coslice.report import error_map, grey, picture, view, write_report
from coslice.report.command import reconstruct_command, scan_options
from coslice.report.pictures import PLANES, square
from coslice.report.plots import slice_plots
from coslice.study import measure, parse_slices, simulate
from coslice.tasks import Acquisition
from coslice.volume import Volume, Window

SPACING = (2.0, 1.0, 1.0)
HU = {"window": (-1000.0, 1600.0), "display": (-480.0, 820.0)}
SHAPE = (8, 12, 16)
# The first and last voxel of each axis of a RAS+ volume (z, y, x), by where in the patient it is.
PLACES = {"inferior": ("z", 0), "superior": ("z", -1), "posterior": ("y", 0), "anterior": ("y", -1)}
PLACES |= {"left": ("x", 0), "right": ("x", -1)}


def ramp(seed: int = 0) -> torch.Tensor:
    return torch.linspace(0, 1, 8 * 12 * 16).reshape(SHAPE).roll(seed, 2)


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


def told(page: str) -> str:
    """A page without its pictures and its viewer, whose script and choosers speak of everything there may be."""
    page = re.sub(r'<section class="viewer".*?</script>\s*</section>', "", page, flags=re.DOTALL)
    return re.sub(r'"data:[^"]*"', "", page)


def images(page: str, kind: str = "png") -> list[bytes]:
    return [base64.b64decode(code) for code in re.findall(rf'src="data:image/{kind}[^,]*,([^"]+)"', page)]


@pytest.mark.parametrize(
    ("plane", "up", "on_the_right"),
    [("axial", "anterior", "left"), ("coronal", "superior", "left"), ("sagittal", "superior", "posterior")],
)
def test_a_mark_in_the_patient_is_where_a_radiologist_looks_for_it(plane, up, on_the_right):
    volume = torch.zeros(SHAPE)
    where = dict.fromkeys("zyx", slice(None))
    for place in (up, on_the_right):
        axis, index = PLACES[place]
        where[axis] = index
    volume[where["z"], where["y"], where["x"]] = 1
    image = view(volume, plane)
    assert image[0, -1] == 1, "up and to the right"
    assert image.sum() == 1


@pytest.mark.parametrize("plane", PLANES)
def test_view_cuts_the_middle_and_the_asked_slice(plane):
    axis = "zyx".index(PLANES[plane].cut)
    numbered = torch.arange(SHAPE[axis], dtype=torch.float32).reshape([-1 if a == axis else 1 for a in range(3)])
    volume = numbered.expand(SHAPE)
    for at, index in ((0.0, 0), (0.5, SHAPE[axis] // 2), (1.0, SHAPE[axis] - 1)):
        assert np.unique(view(volume, plane, at)).tolist() == [index]


@pytest.mark.parametrize("spacing", [(2.0, 1.0, 1.0), (0.5, 1.5, 1.5), (1.0, 0.7, 1.4)])
def test_a_picture_has_the_proportions_of_the_patient(spacing):
    sides = {axis: n * s for axis, n, s in zip("zyx", SHAPE, spacing, strict=True)}
    for name, plane in PLANES.items():
        width, height = square(grey(view(ramp(), name), **HU), name, spacing).size
        assert width / height == pytest.approx(sides[plane.columns] / sides[plane.rows], rel=0.06)


def test_grey_is_linear_between_the_display_ends_and_clips_beyond():
    low, high = HU["window"]
    hu = np.array([[-1000.0, -480.0, 170.0, 820.0, 1600.0, 5000.0]])
    np.testing.assert_array_equal(grey((hu - low) / (high - low), **HU), [[0, 0, 128, 255, 255, 255]])


def test_errors_grow_brighter_and_saturate():
    light = error_map(np.array([[0.0, 10.0, 50.0, 100.0, 900.0]]), limit=100.0).astype(int).sum(-1)[0]
    assert (np.diff(light[:4]) > 0).all()
    assert light[0] < 10
    assert light[4] == light[3]


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


def test_without_a_truth_no_errors_are_claimed(tmp_path):
    table = {"FDK": {"sdiff": 0.02}, "DDS": {"sdiff": 0.01}}
    page = write(tmp_path / "page.html", truth=None, table=table)
    assert len(images(page)) == 3 * 2
    assert not re.search(r"PSNR|Errors|\|Δ\||Truth|dB", told(page))
    assert "0.02000" in page


def test_without_a_truth_or_any_number_there_is_no_table(tmp_path):
    nothing = {"psnr": None, "ssim": None, "lpips": None}
    unknown = dict.fromkeys(PLANES, nothing) | dict.fromkeys(("sdiff", "sdiff_truth", "sdiff_delta", "sdiff_gap"))
    steps = [{"step": i, "sigma": 1.0, "psnr": None, "sdiff": 0.01, "lpips": None} for i in range(3)]
    for table in ({}, {"FDK": unknown, "DDS": unknown}):
        page = write(tmp_path / "page.html", truth=None, table=table, trajectory={"DDS": steps})
        assert "Numbers" not in told(page)
        assert '<table class="metrics">' not in page
        assert [b"Truth" in plot for plot in images(page, "svg")] == [False, False]
        assert "The truth is not known." in page


def test_what_is_not_ct_is_shown_from_end_to_end_of_its_window(tmp_path):
    mr = {"window": (0.0, 1234.5), "unit": "a.u.", "display": None, "spacing": (1.0, 1.0, 1.0)}
    page = write(tmp_path / "page.html", **mr)
    first = np.asarray(Image.open(io.BytesIO(images(page)[0])))
    np.testing.assert_array_equal(first, np.rint(255 * view(ramp(), "axial")))
    assert not re.search(r"\bHU\b", told(page))
    assert "Shown from 0 to 1234.5 a.u.; the prior sees these values as 0 to 1." in page
    assert "difference from the truth in a.u., on one scale" in page
    ct = write(tmp_path / "page.html", display=None)
    assert ct == write(tmp_path / "page.html")
    assert "Shown from -480 to 820 HU; the prior sees -1000 to 1600 HU as 0 to 1." in ct
    plain = write(tmp_path / "page.html", **(mr | {"unit": ""}))
    assert "Shown from 0 to 1234.5; the prior" in plain
    assert "difference from the truth, on one scale" in plain


@pytest.mark.parametrize(
    ("window", "unit", "display"),
    [
        ((-1000.0, 1600.0), "HU", (-480.0, 820.0)),
        ((-160.0, 240.0), "HU", (-160.0, 240.0)),
        ((0.0, 900.0), "HU", (0.0, 900.0)),
        ((-1000.0, 1600.0), "a.u.", (-1000.0, 1600.0)),
    ],
)
def test_a_strip_shows_the_papers_greys_for_ct_and_the_window_for_others(window, unit, display):
    strips = []
    for how in ({"unit": unit}, {"display": display}):
        buffer = io.BytesIO()
        picture(buffer, {"Mark": ramp()}, spacing=SPACING, window=window, **how)
        strips.append(buffer.getvalue())
    assert strips[0] == strips[1]


def test_a_strip_leaves_out_a_truth_nobody_knows():
    strips = []
    for volumes in ({"truth": None, "DDS": ramp()}, {"DDS": ramp()}):
        buffer = io.BytesIO()
        picture(buffer, volumes, spacing=SPACING, **HU)
        strips.append(buffer.getvalue())
    assert strips[0] == strips[1]
    with pytest.raises(CosliceError, match="no volume"):
        picture(io.BytesIO(), {"truth": None}, spacing=SPACING, **HU)


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

    monkeypatch.setattr(Path, "write_text", full)
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
def test_bad_input_is_told_in_a_sentence(tmp_path, change, words):
    with pytest.raises(CosliceError) as caught:
        write(tmp_path / "page.html", **change)
    assert all(word in str(caught.value) for word in words)
    assert not list(tmp_path.iterdir())


def test_a_strip_has_a_column_for_each_volume_and_equal_ones_look_equal(tmp_path):
    width = 60
    volumes = {"Truth": ramp(), "Same": ramp(), "Other": ramp(5)}
    picture(tmp_path / "strip.png", volumes, spacing=SPACING, width=width, **HU)
    buffer = io.BytesIO()
    picture(buffer, volumes, spacing=SPACING, width=width, **HU)
    assert buffer.getvalue() == (tmp_path / "strip.png").read_bytes()
    sheet = np.asarray(Image.open(buffer).convert("RGB"))
    gap, head = 2, 18
    columns = [sheet[head:, gap + i * (width + gap) :][:, :width] for i in range(3)]
    np.testing.assert_array_equal(columns[0], columns[1])
    assert (columns[0] != columns[2]).any()
    assert sheet.shape[1] == 3 * (width + gap) + gap


def test_a_strip_enlarges_what_it_frames():
    volume = torch.zeros(40, 40, 40)
    volume[20:, :, :10] = 1  # superior and left: up and to the right
    buffer = io.BytesIO()
    how = {"spacing": (1.0, 1.0, 1.0), "window": (0.0, 1.0), "display": (0.0, 1.0), "width": 80}
    picture(buffer, {"Mark": volume}, planes=["coronal"], focus=(0.0, 1.0), **how)
    # Framed are the upper 10 rows and the last 20 of 40 columns, so the mark's edge is half across.
    part = np.asarray(Image.open(buffer).convert("L"))[18 + 80 + 2 :, 2:82][:40]
    assert part[:, :36].max() < 50
    assert part[:, 44:].min() > 200


@pytest.mark.parametrize("across", [0.25, 0.6])
def test_a_strip_enlarges_the_most_detailed_part_of_the_first_volume(across):
    plain, detailed = torch.full((40, 40, 40), 0.4), torch.full((40, 40, 40), 0.4)
    middle = round(40 * across)
    rows = torch.arange(40) % 2 * 0.2
    detailed[10:20, :, 40 - middle - 10 : 40 - middle + 10] += rows[10:20, None, None]
    detailed[:, :, :3] = 0  # an outline, however sharp, is no detail
    how = {"spacing": (1.0, 1.0, 1.0), "window": (0.0, 1.0), "planes": ["coronal"]}
    strips = []
    for volumes, focus in (((detailed, plain), None), ((detailed, plain), (25 / 40, across)), ((plain, plain), None)):
        buffer = io.BytesIO()
        picture(buffer, {"First": volumes[0], "Second": volumes[1]}, focus=focus, **how)
        strips.append(buffer.getvalue())
    assert strips[0] == strips[1]
    centred = io.BytesIO()
    picture(centred, {"First": plain, "Second": plain}, focus=(0.5, 0.5), **how)
    assert strips[2] == centred.getvalue(), "the middle where nothing stands out"


def test_a_page_without_its_viewer_says_why_and_has_the_rest(tmp_path, monkeypatch):
    whole = write(tmp_path / "page.html")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    page = write(tmp_path / "page.html")
    assert "ipyniivue" in page
    assert "<script" not in page
    assert images(page) == images(whole)


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
    path = re.search(r'<path d="([^"]*)"[^>]*stroke: #1f77b4', svg)
    x, y = np.array(re.findall(r"[ML] (\S+) (\S+)", path[1]), dtype=float).T
    assert (x[2] - x[0]) / (x[1] - x[0]) == pytest.approx(3, rel=1e-4)
    assert (y[2] - y[0]) / (y[1] - y[0]) == pytest.approx(2, rel=1e-4)


ACQUISITIONS = (
    Acquisition(),
    Acquisition(views=12, beam="parallel", noise=PhotonNoise(1e5, 3.5), seed=7),
    Acquisition("lact", angle=95.5, noise=GaussianNoise(0.1), seed=7),
    Acquisition("zsr", factor=4, fwhm_mm=3.3),
)
RECIPES = (
    Recipe(),
    Recipe("sirt", sirt_iterations=3, seed=7),
    Recipe("dds", noise="independent", steps=5, eta=0.85, lpips=True, start_from="noise", seed=7),
    Recipe("diffusionblend++", noise="iscs", patch_noise="slices", cross_every=3, seed=7),
    Recipe("tpdm", auxiliary_every=3, guidance=1e-3, seed=7),
)


def parsed(command: str) -> dict:
    """What `coslice reconstruct` makes of a line, by its own parser."""
    coslice, name, *words = shlex.split(command)
    assert (coslice, name) == ("coslice", "reconstruct")
    return get_command(app).commands[name].make_context(name, words).params


@pytest.mark.parametrize("acquisition", ACQUISITIONS, ids=str)
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.title)
def test_the_command_of_a_page_is_understood_as_what_was_run(acquisition, recipe):
    preparation = Preparation(slices=(3, 40), thickness=None, spacing=1.25, size=96, pad=None)
    acquisition = replace(acquisition, seed=recipe.seed)
    got = parsed(reconstruct_command(scan_options(acquisition, preparation), recipe))
    assert Recipe(**{f.name: got[f.name] for f in fields(Recipe)}) == recipe
    noise = detector_noise(got["measurement_noise"], got["photons"], got["electronic_noise"])
    told = {name: got[name] for name in ("task", "views", "angle", "factor", "seed", "beam")}
    assert Acquisition(**told, fwhm_mm=got["fwhm"], noise=noise) == acquisition
    assert parse_slices(got["slices"], 99) == preparation.slices
    assert all(got[f.name] == getattr(preparation, f.name) for f in fields(Preparation) if f.name != "slices")
    assert not got["from_real"]


def test_a_command_says_what_differs_and_nothing_else():
    usual = scan_options(Acquisition(), Preparation())
    assert reconstruct_command(usual, Recipe()) == "coslice reconstruct SCAN.nii.gz --out out/"
    measured = scan_options(Acquisition("zsr"), Preparation(), measured=True)
    assert parsed(reconstruct_command(measured, Recipe()))["from_real"]
    noisy = scan_options(Acquisition(noise=GaussianNoise(0.1), seed=1), Preparation())
    assert reconstruct_command(noisy, Recipe(seed=2)) is None, "one seed is all the command line has"


def test_a_run_is_written_with_its_curves_and_a_command_for_each_reconstruction(tmp_path):
    z, y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in (8, 16, 16)), indexing="ij")
    hu = torch.where(z**2 + y**2 + x**2 < 0.9, 40.0 + 100 * x, -1000.0)
    scan = Volume(hu, np.diag([2.0, 2.0, 2.0, 1.0]))
    study = simulate(scan, Window(-1000, 1600), Acquisition(views=5), Preparation(slices=(0, 8)))
    recipes = {"one": Recipe("sirt", sirt_iterations=1), "two": Recipe("sirt", sirt_iterations=2)}
    results = {stem: run(study.problem, recipe) for stem, recipe in recipes.items()}
    metrics = measure(study, results)
    assert metrics["two"] == evaluate(results["two"].reconstruction, study.unit)
    assert metrics.curves["two"] == per_slice(results["two"].reconstruction, study.unit)
    study_module.write(tmp_path, study, recipes, results, metrics, [])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    lines = html.unescape(re.search(r'<pre class="command">(.*?)</pre>', page, re.DOTALL)[1]).splitlines()
    assert [(parsed(line)["views"], parsed(line)["sirt_iterations"]) for line in lines] == [(5, 1), (5, 2)]
    assert "PSNR (dB) of each axial slice" in page


@pytest.mark.parametrize(
    ("prior", "word"), [("ct", None), ("ct-coronal", "ct-coronal"), ("/home/someone/mine", "PRIOR.safetensors")]
)
def test_a_command_names_embedded_priors_and_no_file_of_the_user(prior, word):
    command = reconstruct_command(scan_options(Acquisition(), Preparation()), Recipe(), [prior])
    assert parsed(command)["prior"] == word
    assert "someone" not in command


def test_an_unknown_plane_is_refused():
    with pytest.raises(CosliceError, match=r"oblique.*axial, coronal, sagittal"):
        view(ramp(), "oblique")
