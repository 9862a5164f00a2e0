"""Methods with other settings: what is written is what is changed, and what cannot be written is answered."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from coslice.errors import CosliceError
from coslice.methods import (
    DDS,
    KINDS,
    METHODS,
    ConjugateGradients,
    Direct,
    Method,
    StackTV,
    changed,
    described,
    find_method,
    methods_for,
    parts_of,
    setting_lines,
)
from coslice.noise import Identical, Independent, Slerp
from coslice.renoising import DDIM, Share
from coslice.schedule import Karras, VariancePreserving
from coslice.tree import nested, overlay
from small_problems import QUICK, another, excluded

EVERY = [pytest.param(method, id=f"{name}-{kind}") for kind in KINDS for name, method in methods_for(kind).items()]


def values(method) -> dict[str, Any]:
    return {line.path: line.value for line in setting_lines(method)}


@pytest.mark.parametrize("method", EVERY)
def test_a_setting_that_is_given_changes_and_nothing_else_does(method):
    before = values(method)
    for line in setting_lines(method):
        # A part that is named is not one value but many.
        if line.path in parts_of(method) or excluded(method, line):
            continue
        after = values(changed(method, nested([(line.path, another(line))])))
        assert after == before | {line.path: another(line)}
    assert changed(method, {}) == method


def test_a_start_from_noise_alone_has_no_solution_beside_it():
    wdds = find_method("wdds")
    assert isinstance(wdds, Method)
    with pytest.raises(CosliceError, match="volume noise and solution suited were given, which"):
        changed(wdds, {"start": {"volume": "noise"}})
    assert changed(wdds.start, {"volume": "noise", "solution": None}).volume == "noise"
    with pytest.raises(CosliceError, match="otherwise network was given, which needs a prior"):
        changed(wdds, {"start": {"solution": {"otherwise": "network"}}})
    with pytest.raises(CosliceError, match="solution network was given, which needs a prior of its own"):
        changed(wdds, {"start": {"solution": "network"}})


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_that_are_given_come_before_the_published_ones(kind):
    for method in methods_for(kind).values():
        if isinstance(method, Method):
            chosen = changed(method, overlay(QUICK, {"samples": 2}))
            assert (chosen.schedule.steps, chosen.schedule.sigma_max, chosen.schedule.sigma_min) == (3, 0.3, 0.02)
            assert (chosen.noise, chosen.samples) == (Slerp(), 2)
            assert (chosen.data, chosen.prior, chosen.renoising) == (method.data, method.prior, method.renoising)


@pytest.mark.parametrize("method", EVERY)
def test_a_description_makes_the_method_again_of_any_other(method):
    """Also by way of JSON: what a record holds is enough."""
    tree = json.loads(json.dumps(described(method)))
    words = {name: tree.pop(name) for name in ("name", "title", "source")}
    assert words == {"name": method.name, "title": method.title, "source": method.source}
    other = find_method("tpdm" if isinstance(method, Method) else "admm-tv", "zsr")
    assert changed(other, tree) == replace(other, **{name: getattr(method, name) for name in tree})


@pytest.mark.parametrize("method", EVERY)
def test_published_values_are_of_settings_that_there_are_and_differ(method):
    lines = {line.path: line for line in setting_lines(method)}
    for path, value in method.published.items():
        assert lines[path].published == value != lines[path].value
    assert all(line.published == line.value for path, line in lines.items() if path not in method.published)


def test_a_part_of_another_kind_keeps_what_was_chosen_of_what_both_have():
    chosen = changed(DDS, {"schedule": {"steps": 7, "sigma_max": 0.4}})
    assert changed(chosen, {"schedule": "karras"}).schedule == Karras(7, 0.4, 0.01)
    assert changed(chosen, {"schedule": {"kind": "vp", "steps": 9}}).schedule == VariancePreserving(9, 0.4, 0.01)
    colder = changed(DDS, {"renoising": {"eta": 0.6, "temperature": 0.7}})
    assert changed(colder, {"renoising": "ddim"}).renoising == DDIM(0.6, temperature=0.7)
    # Iterations of one data step are no iterations of another.
    rounds = changed(DDS, {"data": {"rounds": 4, "iterations": 20}})
    assert changed(rounds, {"data": "tv"}).data == StackTV(rounds=4)
    # The same kind, named again, is the part that is there.
    assert changed(rounds, {"data": {"kind": "cg", "gamma": 2}}).data == ConjugateGradients(20, 2.0, rounds=4)
    turned = changed(DDS, {"noise": {"angle": 40}})
    assert turned.noise == Slerp(angle=40.0) and changed(turned, {"noise": "iscs"}) == turned
    assert changed(changed(turned, {"noise": "identical"}), {"noise": "iscs"}).noise == Slerp()


def test_a_part_may_be_a_value_or_nothing_where_there_may_be_none():
    assert changed(DDS, {"noise": Identical()}) == replace(DDS, noise=Identical())
    own = changed(DDS, {"start": {"noise": "independent", "volume": "noise"}})
    assert own.start.noise == Independent() and own.start.volume == "noise"
    assert changed(own, {"start": {"noise": None}}).start.noise is None
    weighted = changed(DDS, {"data": {"gamma": 3}}).data
    assert isinstance(weighted, ConjugateGradients) and weighted.gamma == 3.0
    assert changed(changed(DDS, {"data": {"gamma": 3}}), {"data": {"gamma": None}}) == DDS
    assert changed(Share(), {"eta": 0.5}) == Share(0.5)


@pytest.mark.parametrize(
    ("name", "tree", "words"),
    [
        ("dds", {"noise": "pink"}, "noise is 'pink', but it is one of independent, .*identical, iscs"),
        ("dds", {"noise": "icsc"}, "noise is 'icsc', .*; did you mean iscs?"),
        ("dds", {"start": {"noise": "pink"}}, "start.noise is 'pink'"),
        (
            "dds",
            {"start": {"noise": {"angle": 40.0}}},
            "start.noise was given settings .angle., .* give start.noise.kind",
        ),
        (
            "dds",
            {"start": {"volume": "middle"}},
            'start.volume "middle" was given, initial or noise or range is',
        ),
        ("dds", {"renoising": "magic"}, "renoising is 'magic', but it is one of share, ddim, "),
        ("dds", {"schedule": "cosine"}, "schedule is 'cosine', but it is one of geometric, "),
        ("dds", {"samples": 0}, "samples: 0 was given, a whole number of at least 1"),
        ("dds", {"samples": 2.5}, "samples is 2.5, but a whole number is needed"),
        ("dds", {"schedule": {"steps": 0}}, "schedule.steps 0 was given"),
        ("diffusion-mbir", {"schedule": {"steps": 0}}, "steps 0 was given"),
        ("dds", {"renoising": {"origin": "x"}}, "renoising.origin is 'x', but denoised or estimate is needed"),
        ("dds", {"renoising": {"eta": 1.1}}, "eta 1.1 was given, at least 0 and at most 1"),
        ("dds", {"renoising": {"eta": math.nan}}, "renoising.eta is nan, but a number is needed"),
        ("dps", {"data": {"step": -1.0}}, "step -1 was given"),
        ("dds-tv", {"data": {"penalty": 0.0}}, "penalty 0 was given, above 0"),
        ("dds-tv", {"data": {"weight": math.inf}}, "data.weight is inf"),
        ("dds-tv", {"data": {"weight": "heavy"}}, "data.weight is 'heavy', but a number is needed"),
        ("diffpir", {"data": {"weight": 0.0}}, "data.weight 0 was given, above 0"),
        ("dds", {"data": {"gamma": 0.0}}, "gamma 0 was given, above 0"),
        ("dds", {"data": {"gamma": math.nan}}, "data.gamma is nan"),
        ("dds", {"data": {"gamma": math.inf}}, "data.gamma is inf"),
        ("dds", {"data": {"iterations": 0}}, "iterations 0 was given, at least 1"),
        ("dds", {"data": {"iterations": True}}, "data.iterations is True, but a whole number is needed"),
        ("ddnm", {"data": {"sirt_iterations": 0}}, "sirt_iterations 0 was given, at least 1"),
        ("dds", {"data": {"rounds": -1}}, "rounds -1 was given, at least 0"),
        ("dds", {"noise": {"angle": 0.0}}, "between 0 and 180"),
        ("dds", {"noise": {"angle": math.nan}}, "noise.angle is nan"),
        ("dds", {"schedule": {"sigma_max": math.nan}}, "schedule.sigma_max is nan"),
        ("dds", {"schedule": {"sigma_max": 0.001}}, "sigma from 0.001 to 0.01"),
        ("diffusion-mbir", {"renoising": "share"}, "follows a corrector; choose predictor-corrector"),
        ("diffusionblend++", {"prior": {"partition": "odd"}}, 'partition "odd" was given, random or fixed'),
        ("diffusionblend++", {"prior": {"lanes": "odd"}}, "prior.lanes is 'odd', but true or false is needed"),
        ("diffusionblend", {"prior": {"ends": "odd"}}, 'ends "odd" was given, overlap or repeat'),
        ("diffusionblend++", {"prior": {"cross_every": -1}}, "cross_every -1 was given"),
        ("tpdm-cg", {"prior": {"auxiliary_every": 1}}, "auxiliary_every 1 was given, at least 2"),
        ("dds", {"data": 3}, "data is 3, but it is one of cg, "),
        ("dds", {"noise": None}, "noise is None, but it is one of"),
        ("dds", [1], "settings with values are needed"),
    ],
)
def test_values_that_cannot_be_are_refused_by_their_path(name, tree, words):
    with pytest.raises(CosliceError, match=words) as caught:
        changed(find_method(name), tree)
    assert str(caught.value).startswith("method: ")


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("ddnm", "data.gamma", 1.0),
        ("dds", "data.weight", 0.1),
        ("diffusion-mbir", "renoising.eta", 0.5),
        ("dds-2d", "data.penalty", 0.1),
        ("tpdm", "data.iterations", 3),
        ("tpdm-cg", "data.step", 1.0),
        ("tpdm", "noise.angle", 40.0),
        ("dds", "noise.along", "y"),
        ("sirt", "solution.penalty", 1.0),
        *(("dds", f"prior.{name}", 3) for name in ("cross_every", "partition", "ends", "lanes", "auxiliary_every")),
        *(("tpdm", f"prior.{name}", 3) for name in ("cross_every", "partition", "ends", "lanes")),
        *(("diffusionblend", f"prior.{name}", 3) for name in ("cross_every", "partition", "auxiliary_every")),
        ("diffusionblend++", "prior.auxiliary_every", 3),
    ],
)
def test_a_setting_that_a_method_has_not_cannot_be_written_and_the_answer_says_what_it_has(name, path, value):
    method, section = find_method(name), path.partition(".")[0]
    with pytest.raises(CosliceError) as caught:
        changed(method, nested([(path, value)]))
    said = str(caught.value)
    assert said.startswith(f"method: {path} was given, but {section} has no setting of that name; ")
    own = ", ".join(name for name, _ in getattr(method, section).settings())
    assert said.endswith(f"it has {own}." if own else "it has no settings.")


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if isinstance(method, Direct)])
def test_a_method_that_does_not_sample_has_nothing_of_the_sampler(name):
    method = find_method(name, "zsr" if name == "cubic" else "ct")
    for section in ("noise", "schedule", "samples", "data", "prior", "renoising", "start"):
        with pytest.raises(CosliceError, match=f"{section} was given, but {method.title} does not sample"):
            changed(method, {section: {}})
    with pytest.raises(CosliceError, match=r"steps was given, but .* does not sample and has none; its settings: "):
        changed(method, {"steps": 5})


@pytest.mark.parametrize(
    ("name", "tree", "near"),
    [
        ("dds", {"cg_iterations": 5}, "data.iterations"),
        ("dds", {"data": {"cg_iterations": 5}}, "data.iterations"),
        ("dds", {"steps": 5}, "schedule.steps"),
        ("dds", {"anchor_angle": 5.0}, "noise.angle"),
        ("dds", {"iteration": 5}, "data.iterations"),
        ("dds", {"nois": "iscs"}, "noise"),
        ("dds", {"schedule": {"sigmamax": 1.0}}, "schedule.sigma_max"),
        ("dds", {"start_noise": "iscs"}, "start.noise"),
        ("diffpir", {"eta": 0.3}, "renoising.zeta"),
        ("diffusionblend", {"patch_noise": "lanes"}, "prior.lanes"),
        ("admm-tv", {"cg_iterations": 5}, "solution.cg_iterations"),
        ("admm-tv", {"tv_weight": 5.0}, "solution.weight"),
        ("sirt", {"sirt_iterations": 5}, "solution.iterations"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_that_the_method_has(name, tree, near):
    method = find_method(name)
    assert near in values(method)
    with pytest.raises(CosliceError, match=f"did you mean {near}\\? "):
        changed(method, tree)


def test_methods_are_found_by_name_for_the_problems_they_are_for():
    with pytest.raises(CosliceError, match='"magic" was given, but the methods are wblend, wdds, dds, ddnm'):
        find_method("magic")
    for name, kind in (("cubic", "ct"), ("fdk", "zsr"), ("fbp-unet", "zsr")):
        with pytest.raises(CosliceError, match="not for this task; choose one of w") as caught:
            find_method(name, kind)
        assert name not in str(caught.value).partition("choose")[2].rstrip(".").split(", ")
    for kind in KINDS:
        found = methods_for(kind)
        assert all(find_method(name, kind) == method and method.name == name for name, method in found.items())
        assert set(found) == {name for name, method in METHODS.items() if not method.kinds or kind in method.kinds}
    # Problems of another kind, of an own operator say, take what is for CT.
    assert find_method("dds", "") == DDS and "fdk" in methods_for("")
