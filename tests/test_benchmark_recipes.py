"""Recipes of benchmarks: what they may say, and how a mistake is told."""

from __future__ import annotations

import json
import math

import pytest

from small_benchmark import loaded


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


def test_a_path_is_a_path_whatever_is_beside_it(tree, saved, tmp_path):
    saved(tree, "mine")
    assert loaded(saved(tree, "mine-small")).name == "mine-small"


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("metrics",), ["axial.fsim"], "axial.fsim"),
        (("metrics",), [], "asks for nothing"),
        (("groups",), {}, "neither a group"),
        (("methods",), {"Cubic": {"method": "cubic"}}, "neither a group"),
        (("editions",), ["small"], "editions"),
        (("editions",), {"small": 3}, "small of ball.yaml"),
        (("editions",), {"small": {}}, "name one"),
        (("like",), "another", "another.yaml"),
        (("like",), "ball", "like itself"),
        (("methods", "DDS", "method"), "ddx", "ddx"),
        (("methods", "DDS", "stepz"), 3, "stepz"),
        (("methods", "DDS", "steps"), 0, "row DDS of few"),
        (("methods", "DDS", "sirt_iterations"), 3, "would not read it"),
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
    ],
)
def test_a_mistake_in_a_recipe_is_one_sentence_before_any_work(tree, saved, tmp_path, refused, path, value, told):
    at = tree
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    assert told in refused("benchmark", saved(tree), "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("nothing",), "table1-small"),
        (("none.yaml",), "none.yaml"),
        (("table1-paper",), "--scan chest=FILE"),
        (("table1-huge",), "huge"),
        (("ball.yaml", "--seeds", 0), "--seeds"),
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
def test_bad_options_are_one_sentence_and_leave_nothing(tree, saved, tmp_path, refused, monkeypatch, options, told):
    saved(tree)
    saved(tree, "cells")
    twice = saved(tree, "twice")
    twice.write_text(twice.read_text() + "title: Again\n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    before = sorted(tmp_path.rglob("*"))
    assert told in refused("benchmark", *options)
    assert sorted(tmp_path.rglob("*")) == before
