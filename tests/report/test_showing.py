"""Laws of looking at volumes: a page and a notebook hold the voxels that were given, and guess nothing unsaid."""

from __future__ import annotations

import base64
import io
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

import coslice
from coslice.errors import CosliceError
from coslice.methods import METHODS
from coslice.metrics import PER_PLANE
from coslice.report import showing as module
from coslice.report.showing import in_notebook, showing
from page_volumes import held_content, volumes_of_page
from small_problems import prior, quick, scan

SHAPE, SPACING = (12, 16, 14), (2.0, 1.0, 1.5)


def volume(low: float = -1000.0, high: float = 400.0, seed: int = 0) -> coslice.Volume:
    data = low + (high - low) * torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed))
    return coslice.Volume(data, np.diag([*SPACING[::-1], 1.0]))


@pytest.fixture(scope="module")
def study():
    hu = coslice.CT_WINDOW.from_unit(scan((12, 16, 16)))
    return coslice.simulate(
        coslice.Volume(hu, np.diag([4.0, 4.0, 2.0, 1.0])), coslice.SparseViewCT(views=6), values="hu"
    )


@pytest.fixture(scope="module")
def result(study):
    return coslice.run(study, quick("dds", "ct"), prior())


class Tags(HTMLParser):
    """Every element with its attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def framed(html: str) -> str:
    """The page within the frame, as a browser reads it."""
    ((tag, attributes),) = Tags(html).found
    assert tag == "iframe" and attributes["sandbox"] == "allow-scripts"
    return str(attributes["srcdoc"])


def decoded(source: str | None) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(str(source).partition("base64,")[2]))).convert("L"))


def test_a_page_holds_the_voxels_in_their_own_unit():
    one, other = volume(), volume(seed=1)
    shown = showing({"before": one, "after": other}, unit="HU")
    held = volumes_of_page(shown.page())
    assert list(held) == ["before", "after"]
    for name, given in (("before", one), ("after", other)):
        np.testing.assert_allclose(held[name], given.data, atol=0.5001)
    (scene,), _ = held_content(shown.page())
    assert scene["spacing"] == list(SPACING) and not scene["known"]
    assert scene["presets"][0]["name"] == "chest"


def test_another_unit_fills_the_window_from_end_to_end():
    one, other = volume(0, 300), volume(100, 900, 1)
    shown = showing(one, other, names=["one", "other"])
    low, high = float(one.data.min()), float(other.data.max())
    assert shown.scene.window == (low, high) and shown.scene.unit == "" and not shown.notes
    np.testing.assert_allclose(volumes_of_page(shown.page())["other"], other.data, atol=0.51 * (high - low) / 4096)


def test_what_was_guessed_is_said_and_can_be_said():
    guessed = showing(volume())
    assert guessed.scene.unit == "HU" and any("taken for HU" in note for note in guessed.notes)
    assert "taken for HU" in guessed.page()
    assert not showing(volume(), unit="HU").notes
    assert showing(volume(), unit="").scene.unit == ""
    assert any("1 mm" in note for note in showing(torch.rand(SHAPE)).notes)
    moved = coslice.Volume(volume().data, np.diag([*SPACING[::-1], 1.0]) + np.eye(4, k=3))
    assert any("different places" in note for note in showing(volume(), moved, unit="HU").notes)


def test_a_truth_comes_first_and_errors_with_it():
    shown = showing(volume(), truth=volume(seed=1), unit="HU", names="mine")
    assert list(shown.scene.volumes) == ["truth", "mine"] and shown.scene.known


def test_a_result_is_shown_beside_the_first_reconstruction_and_the_truth(study, result):
    held = volumes_of_page(showing(result).page())
    assert list(held) == ["truth", "FDK", result.plan.label]
    for name, unit in (("truth", study.unit), ("FDK", result.initial), (result.plan.label, result.reconstruction)):
        np.testing.assert_allclose(held[name], study.window.from_unit(unit), atol=0.51)
    before = showing(study).scene.volumes
    assert list(before) == ["truth", "FDK"] and torch.equal(before["FDK"], result.initial)


def test_a_result_of_a_problem_says_that_its_unit_is_not_known(study):
    shown = showing(coslice.run(study.problem, "fdk"))
    assert shown.scene.window == (0, 1) and not shown.scene.known
    assert any("does not say what 0 and 1 are" in note for note in shown.notes)


def test_outside_of_a_notebook_a_page_is_written_and_said(tmp_path, capsys, monkeypatch):
    opened = []
    monkeypatch.setattr(module.webbrowser, "open", lambda address: opened.append(address) or True)
    assert not in_notebook()
    path = volume().show(path=tmp_path / "x.html")
    assert capsys.readouterr().out == f"Written: {path}\n" and not opened
    np.testing.assert_allclose(volumes_of_page(path.read_text())["volume"], volume().data, atol=0.5001)
    monkeypatch.setattr(module.tempfile, "mkdtemp", lambda prefix: str(tmp_path))
    path = Path(str(coslice.show(volume())))
    assert opened == [path.as_uri()] and capsys.readouterr().out == f"Opened: {path}\n"
    coslice.show(volume(), form="picture", path=tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes() == showing(volume()).picture()


def test_a_notebook_displays_the_page_in_a_frame_that_reaches_nothing(monkeypatch):
    displayed = []
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=displayed.append))
    assert in_notebook()
    assert volume().show() is None
    bundle = displayed[0]._repr_mimebundle_()
    page = framed(bundle["text/html"])
    np.testing.assert_allclose(volumes_of_page(page)["volume"], volume().data, atol=0.5001)
    assert "default-src 'none'" in page
    assert base64.b64decode(bundle["image/png"]) == displayed[0].picture()


def test_without_niivue_a_notebook_has_pictures_and_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(module, "has_niivue", lambda: False)
    tags = Tags(showing(volume())._repr_mimebundle_()["text/html"])
    assert [tag for tag, _ in tags.found if tag != "div"] == ["img"]
    assert 'pip install "coslice[viewer]"' in tags.text and "taken for HU" in tags.text


def test_the_picture_shows_three_planes_as_a_radiologist_looks_at_them():
    data = torch.full(SHAPE, -1000.0)
    data[SHAPE[0] // 2 :, SHAPE[1] // 2 :, SHAPE[2] // 2 :] = 1000.0  # superior, anterior, right
    shown = showing(coslice.Volume(data, np.diag([1.0, 1.0, 1.0, 1.0])), unit="HU").picture()
    image = np.asarray(Image.open(io.BytesIO(shown)).convert("L")).astype(int)[18:]
    axial = image[:, : image.shape[1] // 3]
    rows, columns = np.nonzero(axial > 200)
    middle = np.argwhere(axial >= 0).mean(0)
    assert rows.mean() < middle[0] and columns.mean() < middle[1]  # anterior is up, the right is on the left


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: showing(), "nothing was given"),
        (lambda: showing(volume(), names=["a", "b"]), "2 names were given for 1"),
        (lambda: showing(volume(), volume(), names=["a", "a"]), "one of its own"),
        (lambda: showing({"truth": volume(), "b": volume()}, truth=volume()), 'a volume called "truth"'),
        (lambda: showing(volume(), truth=volume(), names="truth"), 'a volume called "truth"'),
        (lambda: showing(torch.zeros(0, 4, 4)), "with voxels in them"),
        (lambda: showing(torch.zeros(3, 4, 4, dtype=torch.complex64)), "has complex numbers"),
        (lambda: showing(torch.zeros(3, 4, 4), spacing=cast(Any, 2.0)), "the spacing 2.0 was given"),
        (lambda: coslice.show(volume(), path=""), "'.' was given, but the path of a file is needed"),
        (lambda: coslice.show(volume(), path="a\0b", form="picture"), "the path of a file is needed"),
        (lambda: showing(volume(), torch.rand(SHAPE)), "in different units"),
        (lambda: showing(volume(), volume().slices(0, 9), unit="HU"), "volumes of one shape"),
        (lambda: showing(volume().with_data(volume().data / 0)), "not finite"),
        (lambda: showing(cast(Any, "scan.nii")), "a str"),
        (lambda: coslice.show(volume(), form="film"), "one of auto, page, picture, widget"),
        (lambda: coslice.show(volume(), form="widget"), "lives in a notebook"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(call, words):
    with pytest.raises(CosliceError, match=words):
        call()


def test_a_report_holds_the_volumes_and_the_numbers_of_evaluate(study, result, tmp_path):
    page = result.report(tmp_path / "x.html").read_text()
    held = volumes_of_page(page)
    assert list(held) == ["Truth", "FDK", result.plan.label]
    np.testing.assert_allclose(held[result.plan.label], study.window.from_unit(result.reconstruction), atol=0.51)
    wanted = coslice.evaluate(result.reconstruction, study.unit)
    (scene,), _ = held_content(page)
    shown = scene["volumes"][2]["metrics"]
    for plane in ("axial", "coronal", "sagittal"):
        numbers = [(q, wanted[plane][q.name]) for q in PER_PLANE]  # of so small a volume there is no LPIPS
        assert shown[plane] == [f"{q.title} {q.with_unit(value)}" for q, value in numbers if value is not None]
        assert len(shown[plane]) >= 2


def test_a_study_may_be_given_to_the_run_or_to_the_report(study, tmp_path):
    result = coslice.run(study.problem, "fdk")
    assert result.study is None
    bare = result.report(tmp_path / "bare.html").read_text()
    assert "knows neither" in bare and list(volumes_of_page(bare)) == ["FDK"]
    full = result.report(tmp_path / "full.html", study).read_text()
    assert next(iter(volumes_of_page(full))) == "Truth" and "knows neither" not in full


def test_a_run_of_a_study_is_that_of_its_problem_measured_along_the_way(study, result):
    other = coslice.run(study.problem, quick("dds", "ct"), prior(), truth=study.unit)
    assert torch.equal(other.reconstruction, result.reconstruction)
    assert other.trajectory == result.trajectory and result.trajectory[0]["psnr"] is not None


def test_a_report_of_another_measurement_or_of_no_run_is_refused(study, result, tmp_path):
    other = coslice.simulate(study.volume, coslice.SparseViewCT(views=5), values="hu")
    with pytest.raises(CosliceError, match="of another measurement"):
        result.report(tmp_path / "x.html", other)
    with pytest.raises(CosliceError, match="without a plan"):
        coslice.Result(result.reconstruction, result.initial, [], {}).report(tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


def test_reprs_are_a_line_and_dump_no_numbers(study, result):
    for value in (study, study.problem, result, result.plan, prior()):
        assert "tensor(" not in repr(value) and "\n" not in repr(value) and len(repr(value)) < 400
    assert "12 x 16 x 16 voxels" in repr(result) and result.plan.label in repr(result)
    assert f"{result.evaluations} evaluations" in repr(result) and "seed 0" in repr(result.plan)


def test_a_method_is_still_read_back_from_its_repr():
    names = {name: getattr(coslice.methods, name) for name in dir(coslice.methods)}
    names |= {name: getattr(m, name) for m in (coslice.noise, coslice.renoising, coslice.schedule) for name in dir(m)}
    method = METHODS["dds"]
    assert eval(repr(method), names) == method


def test_html_forms_are_pictures_and_tables_of_what_was_given(study, result):
    for value, images in ((study.volume, 1), (study, 1), (result, 1), (result.plan, 0), (prior(), 0)):
        tags = Tags(value._repr_html_())
        assert repr(value) in tags.text
        pictures = [attributes["src"] for tag, attributes in tags.found if tag == "img"]
        assert len(pictures) == images and all(decoded(source).std() > 5 for source in pictures)
    text = Tags(METHODS["dds"]._repr_html_()).text
    assert "data.iterations" in text and "schedule.sigma_max" in text


def test_a_volume_without_a_number_has_a_picture_all_the_same():
    nothing = coslice.Volume(torch.full(SHAPE, float("nan")))
    ((_, attributes),) = [one for one in Tags(nothing._repr_html_()).found if one[0] == "img"]
    assert decoded(attributes["src"]).max() <= 17  # the sheet's own black


def test_names_of_strangers_are_no_markup():
    name = "<script>alert(1)</script>"
    tags = Tags(framed(showing(volume(), names=name, unit="HU")._repr_mimebundle_()["text/html"]))
    assert ("script", {}) not in tags.found and name in tags.text


def test_what_a_result_says_itself_is_not_said_again(result):
    told: tuple[dict[str, Any], ...] = ({"names": "mine"}, {"unit": "HU"}, {"spacing": (1.0, 1.0, 1.0)})
    for said in told:
        with pytest.raises(CosliceError, match="with a Result, which says them itself"):
            showing(result, **said)


def test_names_may_be_numbers_and_volumes_may_want_gradients():
    one = coslice.Volume(torch.rand(SHAPE).requires_grad_())
    shown = showing(cast(Any, {0: one, 1: one}), unit="")
    assert list(shown.scene.volumes) == ["0", "1"] and shown.page() and shown.picture()
    assert "<img" in one._repr_html_() and showing(one).page()


def test_a_volume_that_is_large_and_constant_is_shown():
    assert showing(coslice.Volume(torch.full((4, 4, 4), 1e20))).page()


def test_a_report_that_cannot_be_written_is_refused_before_it_is_made(result, tmp_path, monkeypatch):
    monkeypatch.setattr("coslice.report.result_page.measure", lambda *_, **__: pytest.fail("the work was done first"))
    for path in (tmp_path / "none" / "x.html", tmp_path, ""):
        with pytest.raises(CosliceError):
            result.report(path)


def test_where_nothing_temporary_can_be_written_a_path_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(CosliceError, match=r"say where to write it, as in path='x\.html'"):
        coslice.show(volume())
