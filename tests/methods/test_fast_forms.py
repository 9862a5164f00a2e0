"""Fast forms: half the work, the same method, and whatever is said besides wins."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from coslice import plan, run
from coslice.benchmark.cell_keys import differing
from coslice.errors import CosliceError
from coslice.methods import DDS, FAST_FORMS, KINDS, METHODS, Method, changed, described, fast_form, find_method
from small_problems import ct, prior, zsr

FORMS = [(kind, name) for kind in KINDS for name in FAST_FORMS[kind]]
PRIOR = 20
"""What a network evaluation of a slice costs, in steps of conjugate gradients (measured: 64 slices of 256 pixels, 30
cone-beam views, two cores: 3.9 s and 0.2 s)."""


def cost(method) -> float:
    """Of a run, in steps of conjugate gradients. A patch costs what a slice does, and answers for three."""
    steps, share = method.schedule.steps, 1.0
    if method.need == "relay":
        share = (1 - method.prior.share) / 3 + method.prior.share
    if method.need == "patches":
        share = 1 / 3
    iterations = getattr(method.data, "iterations", None) or method.data.sirt_iterations
    iterations *= getattr(method.data, "passes", 1)
    return steps * (share * PRIOR + iterations)


@pytest.mark.parametrize(("kind", "name"), FORMS)
def test_a_fast_form_costs_at_most_half(kind, name):
    usual = find_method(name, kind)
    fast = fast_form(usual, kind)
    assert cost(fast) <= 0.505 * cost(usual), cost(fast) / cost(usual)


@pytest.mark.parametrize(("kind", "name"), FORMS)
def test_a_fast_form_is_the_same_algorithm_and_says_that_it_is_one(kind, name):
    usual = find_method(name, kind)
    assert isinstance(usual, Method)
    fast = fast_form(usual, kind)
    for slot in ("prior", "data", "renoising", "noise", "start", "end"):
        assert type(getattr(fast, slot)) is type(getattr(usual, slot)), slot
    assert fast.label == f"{usual.label}, fast"
    assert described(fast)["fast"] is True and "fast" not in described(usual)
    assert fast_form(fast, kind) == fast


def test_there_is_one_for_the_defaults_and_for_methods_of_the_papers():
    assert {"wblend", "wdds", "dds", "ddnm", "dds-tv", "diffusionblend++"} <= set(FAST_FORMS["ct"])
    assert {"dds"} <= set(FAST_FORMS["zsr"])


def test_the_word_is_no_part_of_what_numbers_depend_on():
    assert differing(replace(DDS, fast=True)) == differing(DDS)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in FAST_FORMS["ct"]])
def test_a_method_without_one_says_so(name):
    with pytest.raises(CosliceError, match=rf"^method {name}: it .* fast"):
        fast_form(METHODS[name], "ct")


def test_what_is_given_of_the_method_beforehand_stays_and_what_does_not_fit_is_refused():
    kept = fast_form(changed(DDS, {"noise": "matern", "samples": 3}), "ct")
    assert kept.noise.kind == "matern" and kept.samples == 3
    with pytest.raises(CosliceError, match=r"^fast form of dds: data"):
        fast_form(changed(DDS, {"data": "null-space"}), "ct")


def test_a_plan_and_a_run_take_the_fast_form(monkeypatch):
    monkeypatch.setitem(FAST_FORMS["ct"], "dds", {"schedule": {"steps": 2}, "data": {"iterations": 3}})
    problem = ct()
    planned = plan(problem, "dds", prior(), fast=True)
    assert planned.method == fast_form(DDS, "ct")
    assert plan(zsr(), "dds", prior("zx"), fast=True).method == fast_form(find_method("dds", "zsr"), "zsr")
    got = run(problem, "dds", prior(), fast=True)
    assert len(got.trajectory) == 2
    assert torch.equal(got.reconstruction, run(planned).reconstruction)
    with pytest.raises(CosliceError, match="fast, but it has its own"):
        run(planned, fast=True)
    with pytest.raises(CosliceError, match="method sirt: it does not sample, so it has no fast form"):
        plan(problem, "sirt", fast=True)


def test_records_say_that_it_was_fast():
    from coslice.output.record import _chosen

    planned = plan(ct(), "dds", prior(), fast=True)
    assert _chosen(planned)["fast"] is True and "fast" not in _chosen(plan(ct(), "dds", prior()))
    assert json.loads(json.dumps(described(planned.method)))["fast"] is True
