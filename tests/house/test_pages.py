"""What a newcomer's pages show: their Python runs and does what they say, their commands name what there is."""

from __future__ import annotations

import importlib
import re
import shlex
from typing import Any, cast

import numpy as np
import pytest
import torch
import typer

import coslice
from coslice.cli.app import app
from coslice.cli.selection import chosen_method, settings_of_task
from coslice.errors import CosliceError
from coslice.io.nifti import read_nifti, write_nifti
from coslice.methods import METHODS, Method, load_method
from coslice.problems import make_task
from coslice.volume import Volume
from shown_pages import PAGES, QUICK, ROOT, commands, made_small, python_blocks, run_shown

DOCS = ROOT / "docs"
ROOT_COMMAND = cast(Any, typer.main.get_command(app))
MIGRATION = (DOCS / "migration.md").read_text(encoding="utf-8")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(name: str, *instead: tuple[str, str], only: slice = slice(None)) -> str:
    return made_small("\n\n".join(python_blocks(DOCS / f"{name}.md")[only]), instead)


def test_five_minutes(here, tiny_prior):
    names = run_shown(
        shown(
            "quick-start",
            ('load_prior("ct")', f'load_prior(r"{tiny_prior}")'),
            (".slices(12, 44)", ".slices(12, 20).resized(16)"),
            ("views=30", "views=4"),
            ('"dds"', QUICK),
        )
    )
    written = read_nifti(here / "reconstruction.nii.gz")
    window, result = names["study"].window, names["result"]
    torch.testing.assert_close(written.data, result.reconstruction * window.width + window.low, rtol=0, atol=0.01)
    np.testing.assert_allclose(written.affine, names["scan"].affine)
    assert names["scan"].shape == (8, 16, 16) and result.trajectory[-1]["psnr"] is not None


def test_the_noise_is_as_alike_as_the_page_on_iscs_says(capsys):
    names = run_shown(shown("how-iscs-works"))
    assert abs(float(names["eps"].var()) - 1) < 0.02
    rows = [[float(word) for word in line.split()] for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[0] for row in rows] == [1, 16, 32, 63]
    for _, alike, expected in rows:
        assert abs(alike - expected) < 0.03


def own_method(tiny_prior) -> dict[str, Any]:
    """The page's own method, run on small numbers."""
    return run_shown(
        shown(
            "own-method",
            ('load_prior("ct")', f'load_prior(r"{tiny_prior}")'),
            (".slices(100, 164).resized(128)", ".slices(100, 108).resized(16)"),
            ("SparseViewCT(views=30)", "SparseViewCT(views=4)"),
            ("Geometric(30,", "Geometric(2,"),
            ('"dds", prior', f"{QUICK}, prior"),
            ("DDS, name=", "DDS, schedule=replace(DDS.schedule, steps=2), name="),
        )
    )


@pytest.fixture
def chest(here):
    grown = torch.rand(170, 24, 24, generator=torch.Generator().manual_seed(0)) * 300 - 150
    write_nifti(Volume(grown), here / "chest.nii.gz")
    return here


def test_a_method_of_ones_own(chest, tiny_prior):
    names = own_method(tiny_prior)
    for own in ("Landweber", "Groups", "EverySecondRow"):
        text = next(block for block in python_blocks(DOCS / "own-method.md") if f"class {own}" in block)
        lines = text[text.index(f"class {own}") :].split("\n\n\n")[0].splitlines()
        assert len([line for line in lines if line.strip()]) < 20
    # its operator's adjoint is one, and its noise is shared as it says
    operator, key = names["operator"], coslice.Key(0)
    x, y = torch.rand(operator.domain), torch.rand(operator.codomain)
    assert torch.allclose((operator.forward(x) * y).sum(), (x * operator.adjoint(y)).sum(), rtol=1e-5)
    drawn = names["Groups"](size=3)((63, 64, 64), key)
    for distance, shared in ((1, 2 / 3), (2, 1 / 3), (3, 0.0)):
        assert abs(float((drawn[distance:] * drawn[:-distance]).mean()) - shared) < 0.03
    assert abs(float(drawn.var()) - 1) < 0.02
    slab = drawn[10:20]
    assert torch.equal(names["Groups"](size=3).add_(torch.zeros_like(slab), 1.0, key, 10, 63), slab)
    # of a prior whose network puts out zeros, a sample is far from the grey it began with, and finite
    assert names["volume"].shape == (8, 16, 16) and bool(torch.isfinite(names["volume"]).all())


def test_its_file_is_a_method_for_the_command_line(here):
    block = next(block for block in python_blocks(DOCS / "own-method.md") if "class Landweber" in block)
    (here / "mine.py").write_text(block, encoding="utf-8")
    assert load_method("mine.py:mine").label == "Mine + Groups"


def test_a_noise_of_ones_own(here):
    names = run_shown(shown("own-noise"))
    drawn = names["drawn"]  # the page itself asserts its variance and its slabs
    for distance, alike in ((1, 3 / 4), (2, 1 / 2), (4, 0.0)):
        assert abs(float((drawn[distance:] * drawn[:-distance]).mean()) - alike) < 0.04
    listed = re.findall(r"^\| `(\w+)` \| `(\w+)\(", (DOCS / "own-noise.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(listed) == 7
    for word, name in listed:
        method = chosen_method("dds", "ct", noise=word)
        assert isinstance(method, Method) and type(method.noise).__name__ == name
    blocks = python_blocks(DOCS / "own-noise.md")
    (here / "moving.py").write_text(f"{blocks[0]}\n\n{blocks[2]}", encoding="utf-8")
    assert load_method("moving.py:mine").label == "DDS + Moving"


def test_thin_slices_in_python(here, tiny_coronal_prior):
    head = torch.rand(4, 16, 16, generator=torch.Generator().manual_seed(0)) * 900
    write_nifti(Volume(head, np.diag((1.0, 1.0, 5.0, 1.0))), here / "head.nii.gz")
    small = shown("mr-super-resolution", ('load_prior("mr")', f'load_prior(r"{tiny_coronal_prior}")'), ('"dds"', QUICK))
    names = run_shown(small)
    thin = read_nifti(here / "thin.nii.gz")
    assert thin.shape == (20, 16, 16) and thin.spacing == pytest.approx((1, 1, 1))
    assert names["study"].problem.axis == "z"


def test_the_questions_answers(here, tiny_prior):
    names = run_shown(
        shown(
            "questions",
            ('load_prior("ct")', f'load_prior(r"{tiny_prior}")'),
            ('"dds"', QUICK),
            ("sparse_view(60)", "sparse_view(40)"),
            ("detector=(20, 256), pixel=(2.0, 3.4)", "detector=(4, 64), pixel=(9.0, 13.6)"),
            ("(10, 20, 256)", "(10, 4, 64)"),
            ("views=30, noise", "views=4, noise"),
            ("scan.data[:8, :100, :90]", "scan.data[:2, :50, :45]"),
        )
    )
    assert read_nifti(here / "found.nii.gz").shape == names["study"].problem.shape
    # counts give the line integrals that they were made of
    torch.testing.assert_close(
        names["counted"].problem.measurement, names["study"].problem.measurement, rtol=2e-3, atol=0.05
    )
    inside = (slice(4, 12), slice(60, 68), slice(60, 68))
    for name in ("mu", "wide"):  # of a whole detector, and of one that sees a half of the object in each view
        assert float(names[name][inside].mean()) == pytest.approx(float(names["attenuation"][inside].mean()), rel=0.1)
    assert names["whole"].shape == (2, 50, 45)
    chest = names["chest"].data
    assert names["axial"][0, 0] == chest[8, -1, -1] and names["coronal"][0, 0] == chest[-1, 64, -1]
    assert names["noisy"].problem.noise > 0


def test_data_and_geometries_of_others_become_ours(here):
    folder = here / "L067"
    folder.mkdir()
    slices = np.random.default_rng(0).random((12, 8, 6), dtype=np.float32)
    for number, image in enumerate(slices):
        np.save(folder / f"{number}.npy", image)
    names = run_shown(shown("migration"))
    read = read_nifti(here / "L067.nii.gz")
    # by number, not by name; the first row is anterior, the first column the patient's right
    assert read.spacing == pytest.approx((1.0, 1.5, 1.5)) and read.shape == (12, 8, 6)
    np.testing.assert_array_equal(read.data.numpy(), slices[:, ::-1, ::-1])
    scanner = names["scanner"].geometry
    assert (scanner.source_axis, scanner.axis_detector, scanner.offset) == (1000.0, 536.0, (0.0, 20.0))
    assert names["scanner"].grid.spacing == (2.0, 2.0, 2.0)
    for key, value in names["astra"].items():
        assert names["back"][key] == (pytest.approx(value) if not isinstance(value, str) else value)
    assert names["geometry"].angles[0] == pytest.approx(-np.pi / 2)


# ---------------------------------------------------------------------------------------------------- what is named


def settings_are_taken(line: str) -> None:
    """A line of `coslice reconstruct`: its method has the settings that it is given, for that task."""
    words = shlex.split(line, comments=True)[2:]
    given = {word: following for word, following in zip(words, [*words[1:], ""], strict=True) if word[:2] == "--"}
    sets = [following for word, following in zip(words, [*words[1:], ""], strict=True) if word == "--set"]
    task = given.get("--task", "svct")
    usual = "dds" if task == "zsr" else "wdds" if "--prior" in given else "wblend"
    name = given.get("--method", usual)
    if ".py" in name or name == "NAME":
        return
    steps, samples = (int(given[key]) if key in given else None for key in ("--steps", "--samples"))
    _, settings = settings_of_task(sets, {})
    chosen_method(
        name, make_task(task).problem_kind, given.get("--noise"), steps, samples, settings, fast="--fast" in given
    )


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.stem)
def test_methods_and_settings_of_the_commands_exist(page):
    wrong = {}
    for line in commands(page.read_text(encoding="utf-8")):
        if line.startswith("coslice reconstruct ") and "--resume" not in line and "..." not in line:
            try:
                settings_are_taken(line)
            except CosliceError as error:
                wrong[line] = str(error)
    assert wrong == {}


def test_what_one_types_now_exists():
    """The second column of the migration page's tables of flags: options of commands, settings of methods."""
    rows = []
    for table in re.split(r"^\| you (?:typed|edited) \|.*\n", MIGRATION, flags=re.MULTILINE)[1:]:
        rows += [line.split(" | ") for line in table.split("\n\n")[0].splitlines()[1:]]
    assert len(rows) > 60
    options = {
        name
        for command in (*ROOT_COMMAND.commands.values(), *ROOT_COMMAND.commands["priors"].commands.values())
        for item in getattr(command, "params", ())
        for name in (*item.opts, *item.secondary_opts)
    }
    for row in rows:
        for chunk in re.findall(r"`(--[^`]+)`", row[1]):
            assert {word for word in chunk.split() if word.startswith("--")} <= options, row
            sets = re.findall(r"--set (\S+)", re.sub(r"=(?:G|WEIGHT)\b", "=1", chunk))
            assert not sets or any(taken(name, kind, sets) for name in METHODS for kind in ("ct", "zsr")), chunk


def taken(name: str, kind: str, sets: list[str]) -> bool:
    try:
        chosen_method(name, kind, settings=sets)
    except CosliceError:
        return False
    return True


def test_a_setting_that_is_not_there_is_found():
    assert not taken("dds", "ct", ["data.iteration=10"]) and taken("dds", "ct", ["data.iterations=10"])
    with pytest.raises(CosliceError):
        settings_are_taken("coslice reconstruct a --method dds --set noise.length=8 --out o")
    settings_are_taken("coslice reconstruct a --method dds --noise ou --set noise.length=8 --out o")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_to_headings_of_other_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+\.md#[^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, anchor = target.split("#")
        text = (page.parent / name).read_text(encoding="utf-8")
        heads = re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
        assert anchor in {re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in heads}, target


def test_names_of_ours_that_pages_speak_of_exist():
    """Between backticks: coslice.name, coslice.room.name, with or without arguments."""
    seen = 0
    for page in (*(DOCS / f"{name}.md" for name in NEW), ROOT / "README.md"):
        for name in set(re.findall(r"`(?:with )?(coslice(?:\.[A-Za-z_]\w*)+)", page.read_text(encoding="utf-8"))):
            assert found(name), (page.name, name)
            seen += 1
    assert seen >= 8 and not found("coslice.no_such_name")


NEW = ("quick-start", "how-iscs-works", "migration", "questions", "own-method", "own-noise", "mr-super-resolution")


def found(name: str) -> bool:
    module, _, rest = name.rpartition(".")
    try:
        return hasattr(importlib.import_module(module), rest)
    except ModuleNotFoundError:
        return False
