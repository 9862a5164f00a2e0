"""Recipes of benchmarks: what they may say, and how a mistake is answered."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from coslice.methods import DDS, ConjugateGradients, changed, fast_form, find_method
from coslice.noise import Independent, Slerp
from coslice.schedule import Karras, VariancePreserving
from small_benchmark import QUICK, loaded, sampling


def test_like_takes_what_is_not_said(tree, saved):
    base = json.loads(json.dumps(tree)) | {"editions": {"one": {"seeds": [7], "about": "One."}, "two": {"seeds": [8]}}}
    saved(base, "base")
    assert loaded(f"{saved({'like': 'base', 'title': 'Mine'}, 'a')}:one").seeds == (7,)
    own = loaded(f"{saved({'like': 'base', 'seeds': [1], 'metrics': ['sdiff']}, 'b')}:one")
    assert own.seeds == (1,) and own.about == "One." and own.title == tree["title"]
    assert own.published == {} and [metric.name for metric in own.metrics] == ["sdiff"]  # of other columns
    edition = {"like": "base", "editions": {"one": {"seeds": [2]}, "new": {"about": "New."}}}
    assert loaded(f"{saved(edition, 'c')}:one").seeds == (2,) and loaded(f"{saved(edition, 'c')}:two").seeds == (8,)
    assert loaded(f"{saved(edition, 'c')}:new").about == "New."


def test_settings_of_recipe_group_and_row_come_after_one_another(tree, saved):
    """Later ones go first, and a part that is named anew leaves behind what it has not."""
    tree["settings"] = {
        "dds": {"schedule": {"sigma_max": 2}, "noise": {"kind": "iscs", "angle": 30}},
        "*": {"schedule": "karras", "steps": 7, "data": {"rounds": 1}, "lpips": True},
    }
    tree["groups"]["few"]["settings"] = {"*": {"schedule": {"rho": 5}}, "dds": {"steps": 8}}
    tree["methods"] = {
        "FDK": {"method": "fdk"},
        "plain": {"method": "dds"},
        "row": {"method": "dds", "noise": {"angle": 60}, "schedule": {"sigma_max": 3}, "lpips": False},
        "other": {"method": "dds", "noise": "independent", "schedule": "vp", "steps": 9},
    }
    benchmark = loaded(saved(tree | {"published": {}, "figures": [], "pictures": []}))
    plain, row, other = (sampling(benchmark, "few", name) for name in ("plain", "row", "other"))
    assert plain.schedule == Karras(steps=8, sigma_max=2, rho=5)
    assert (plain.noise, row.noise, other.noise) == (Slerp(angle=30), Slerp(angle=60), Independent())
    assert row.schedule == replace(plain.schedule, sigma_max=3)
    assert other.schedule == VariancePreserving(steps=9, sigma_max=2)
    assert sampling(benchmark, "many", "plain").schedule == Karras(steps=7, sigma_max=2)
    assert all(method.data == ConjugateGradients(rounds=1) for method in (plain, row, other))
    assert {name: chosen.lpips for name, chosen in benchmark.rows["few"].items()} == {
        "FDK": False,
        "plain": True,
        "row": False,
        "other": True,
    }


def test_a_fast_row_has_the_fast_form_and_then_its_own_settings(tree, saved):
    """It comes after what the recipe says of all rows, which would make it slow again."""
    tree["methods"] = {
        "fast": {"method": "dds", "noise": "independent", "fast": True},
        "faster": {"method": "dds", "fast": True, "steps": 3},
        "usual": {"method": "dds", "fast": False},
    }
    benchmark = loaded(saved(tree | {"published": {}, "figures": [], "pictures": []}))
    fast, faster, usual = (sampling(benchmark, "few", name) for name in ("fast", "faster", "usual"))
    assert fast == replace(fast_form(DDS), noise=Independent()) and not usual.fast
    assert faster == replace(fast_form(DDS), schedule=replace(fast.schedule, steps=3))
    assert usual == changed(DDS, {"schedule": {"steps": QUICK["steps"]}, "data": QUICK["data"]})


def test_the_recipe_of_the_guide_is_one(tmp_path):
    guide = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(guide.partition("```yaml\n")[2].partition("```")[0], encoding="utf-8")
    (tmp_path / "mine.py").write_text("from coslice.methods import DDNM as MINE\n")
    benchmark = loaded(tmp_path / "mine.yaml")
    assert sampling(benchmark, "noisy", "ours").noise == Slerp(angle=60) and "ours" not in benchmark.rows["30 views"]
    assert sampling(benchmark, "noisy", "DDS").schedule == Karras(steps=30, sigma_max=1)
    assert sampling(benchmark, "noisy", "mine") == changed(find_method("ddnm"), {"schedule": {"steps": 10}})


def test_a_path_is_a_path_whatever_is_beside_it(tree, saved, tmp_path):
    saved(tree, "mine")
    assert loaded(saved(tree, "mine-small")).name == "mine-small"


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("groups", "few", "views"), 0, "ball: group few: task svct: views 0 was given"),
        (("metrics",), ["axial.fsim"], "axial.fsim"),
        (("metrics",), [], "asks for nothing"),
        (("groups",), {}, "neither a group"),
        (("methods",), {"Cubic": {"method": "cubic"}}, "neither a group"),
        (("editions",), ["small"], "editions"),
        (("editions",), {"small": 3}, "small of ball.yaml"),
        (("editions",), {"small": {}}, "name one"),
        (("like",), "another", "another.yaml"),
        (("like",), "ball", "like itself"),
        (("like",), "table1-small", "write like: table1"),
        (("methods", "DDS", "method"), "ddx", "ddx"),
        (("methods", "DDS", "stepz"), 3, "stepz"),
        (("methods", "DDS", "steps"), 0, "row DDS of few"),
        (("methods", "DDS", "sirt_iterations"), 3, "no setting of that name"),
        (("methods", "DDS", "groups"), ["fewer"], "fewer"),
        (("groups", "few", "scan"), "cube", "cube"),
        (("groups", "few", "task"), "mri", "mri"),
        (("groups", "few", "factor"), 3, "factor"),
        (("groups", "few", "published"), "AAPM", "AAPM"),
        (("scans", "ball", "size"), -1, "size"),
        (("scans", "ball", "slices"), "all", "slices"),
        (("priors", "ct.volumes"), "ct", "ct.volumes"),
        (("settings", "dsd"), {}, "dsd"),
        (("seeds",), [], "seeds"),
        (("seeds",), [1, 1], "only once"),
        (("published", "few", "DDS"), [1.0], "4 metrics"),
        (("figures",), [{"x": "steps", "y": "psnr"}], "psnr"),
        (("figures",), [{"x": "step", "y": "axial.psnr"}], "each step"),
        (("figures",), [{"x": "steps", "y": []}], "give y"),
        (("figures",), [{"x": "steps", "y": "lesion.recovery"}], "add it to metrics"),
        (("figures",), [{"x": "weather", "y": "axial.psnr"}], "weather"),
        (("titel",), "A table", "titel"),
        (("methods", "DDS", "method"), ["dds"], "row DDS"),
        (("methods", "DDS", "groups"), 3, "groups of row DDS"),
        (("methods", "DDS", "groups"), None, "groups of row DDS"),
        (("methods", "DDS", "groups"), [["few"]], "groups of row DDS"),
        (("methods", "DDS", "seed"), 3, "leave it out"),
        (("methods", "Truth"), {"method": "dds"}, "another title"),
        (("settings", "*", "method"), "fdk", "leave it out"),
        (("published", "few", "DSS"), [1.0, 1.0, 1.0, 1.0], "DSS"),
        (("published", "fewer"), {}, "fewer"),
        (("editions",), {1: {}}, "editions"),
        (("like",), "sub/other", "sub/other"),
        (("scans", "ball", "thickness"), math.inf, "thickness"),
        (("scans", "ball", "file"), "a\x00b", "cannot be read"),
        (("groups", "few", "fwhm_mm"), math.inf, "fwhm"),
        (("figures",), [{"x": "noise", "y": "axial.psnr"}], "noise"),
        (("figures",), [{"x": "eta", "y": "axial.psnr"}], "did you mean renoising.eta?"),
        (("figures",), [{"x": "data.weight", "y": "axial.psnr"}], "no row has a number"),
        (("methods", "DDS", "cg_iterations"), 3, "did you mean data.iterations?"),
        (("settings", "*", "cg_iterations"), 3, "settings for *"),
        (("methods", "DDS", "data"), {"cg_iterations": 3}, "did you mean data.iterations?"),
        (("methods", "DDS", "schedule"), {"stepz": 3}, "did you mean schedule.steps?"),
        (("methods", "DDS+ISCS, longer", "schedule"), {"steps": 3}, "give one of the two"),
        (("methods", "FDK", "steps"), 3, "row FDK of few"),
        (("methods", "FDK", "noise"), "iscs", "does not sample"),
        (("methods", "DDS", "lpips"), "yes", "lpips"),
        (("methods", "DDS", "fast"), "yes", "fast is 'yes', but true or false"),
        (("methods", "FDK", "fast"), True, "row FDK of few: method fdk: it does not sample"),
        (("settings", "*", "fast"), True, "leave it out"),
        (("methods", "DDS", "method"), "none.py:MINE", "no file none.py"),
        (("settings", "dds"), {"groups": ["few"]}, "leave it out"),
    ],
)
def test_a_mistake_in_a_recipe_is_one_sentence_before_any_work(tree, saved, tmp_path, refused, path, value, expected):
    at = tree
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    assert expected in refused("benchmark", saved(tree), "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("nothing",), "table1-small"),
        (("none.yaml",), "none.yaml"),
        (("table1-paper",), "scan chest=FILE"),
        (("table1-huge",), "huge"),
        (("ball.yaml", "--seeds", 0), "--seeds"),
        (("ball.yaml", "--protocol", ""), "nothing was given"),
        (("ball.yaml", "--scan", "ball"), "NAME=FILE"),
        (("ball.yaml", "--scan", "cube=a.nii"), "cube"),
        (("ball.yaml", "--scan", "ball=missing.nii"), "missing.nii"),
        (("ball.yaml", "--prior", "ct.slices=missing.pth"), "missing.pth"),
        (("ball.yaml", "--prior", "ct.slices=mr"), "window"),
        (("ball.yaml", "--device", "abacus"), "abacus"),
        (("ball.yaml", "--out", "full"), "not empty"),
        (("cells.yaml",), "rename it"),
        (("twice.yaml",), "twice"),
    ],
)
def test_bad_options_are_one_sentence_and_leave_nothing(tree, saved, tmp_path, refused, monkeypatch, options, expected):
    saved(tree)
    saved(tree, "cells")
    twice = saved(tree, "twice")
    twice.write_text(twice.read_text() + "title: Again\n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    before = sorted(tmp_path.rglob("*"))
    assert expected in refused("benchmark", *options)
    assert sorted(tmp_path.rglob("*")) == before
