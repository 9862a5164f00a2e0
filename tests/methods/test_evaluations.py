"""Network evaluations: a run counts what its priors are asked, and a method says it beforehand."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from coslice import plan, run
from coslice.methods import (
    METHODS,
    Direct,
    Ending,
    changed,
    find_method,
    methods_for,
    published_evaluations,
)
from coslice.output.record import run_record
from coslice.priors import SlicePrior
from coslice.problems import make_task, simulate
from coslice.volume import Volume
from coslice.window import CT_WINDOW
from small_problems import DIFFUSION, ct, prior, priors, quick, scan, zsr


@pytest.fixture
def asked(monkeypatch):
    """The volumes that priors were asked for, by the network's own way in: whole slices, or patches."""
    volumes = []

    def counting(real):
        def call(self, x, *others, **named):
            volumes.append(tuple(x.shape))
            return real(self, x, *others, **named)

        return call

    for name in ("__call__", "patches"):
        monkeypatch.setattr(SlicePrior, name, counting(getattr(SlicePrior, name)))
    return volumes


def counted(asked, problem, method, plane="yx", **how):
    """The result of a run, with how often it asked for a whole volume."""
    asked.clear()
    result = run(problem, method, priors(method, plane) or None, **how)
    assert set(asked) <= {problem.shape}
    return result, len(asked)


@pytest.mark.parametrize("steps", [1, 2, 5, 8])
@pytest.mark.parametrize("name", DIFFUSION)
def test_a_run_counts_what_its_priors_are_asked_and_the_method_says_it_beforehand(name, steps, asked):
    """A predictor and a corrector are two; of two planes a step asks one."""
    for problem, kind, plane in ((ct(), "ct", "yx"), (zsr(), "zsr", "zx")):
        method = quick(name, kind, schedule={"steps": steps})
        result, count = counted(asked, problem, method, plane)
        pairs = method.renoising.kind == "predictor-corrector"
        assert count == result.evaluations == method.evaluations == (steps + steps % 2 if pairs else steps)


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({"end": "denoised-estimate"}, 1),
        ({"end": "denoised"}, 0),
        ({"data": {"variance": "two-noises"}}, 4),  # none in the first step
        ({"data": {"variance": "tweedie"}}, 5),
        ({"data": {"rounds": 3}}, 0),
    ],
)
def test_what_parts_ask_beside_the_loop_is_counted_for_every_sample(changes, more, asked):
    method = quick("wdds", schedule={"steps": 5}, samples=2, **changes)
    result, count = counted(asked, zsr(), method, "zx")
    assert count == result.evaluations == method.evaluations == 2 * (5 + more)


def test_a_slice_of_a_plane_is_shown_once_an_evaluation_and_thrice_where_it_is_guided(asked):
    """What an evaluation costs is counted at the network: images, and those of them that a gradient is taken of."""
    images = {False: 0, True: 0}
    real = type(prior().denoiser).forward

    class Counting(torch.nn.Module):
        def forward(self, x, sigma):
            images[torch.is_grad_enabled()] += len(x)
            return real(self, x, sigma)

        mixing = True

    problem = ct()
    slices = problem.shape[0]
    for name, guided in (("dds", 0), ("dps", 1), ("diffusion-mbir", 0)):
        images.update({False: 0, True: 0})
        method = quick(name, "ct", schedule={"steps": 4})
        result = run(problem, method, SlicePrior(Counting(), 2, (1e-3, 50.0)))
        assert images == {False: slices * result.evaluations, True: guided * slices * result.evaluations}


def test_a_method_that_does_not_sample_asks_at_most_once(asked):
    problem = ct()
    for name, method in methods_for("ct").items():
        if isinstance(method, Direct):
            given = prior(card={"tasks": {problem.task: 0.1}}) if method.need else None
            asked.clear()
            assert run(problem, method, given).evaluations == method.evaluations == len(asked) == (name == "fbp-unet")


@dataclass(frozen=True)
class Twice(Ending):
    """One of a user's own, which says nothing of what it asks."""

    def ended(self, last, ask, problem):
        return ask(ask(last.x, last.sigma), last.sigma)


def test_what_an_own_part_asks_is_counted_too(asked):
    result, count = counted(asked, zsr(), changed(quick("dds"), {"end": Twice()}), "zx")
    assert count == result.evaluations == quick("dds").evaluations + 2


@pytest.mark.parametrize("name", ["dds", "tpdm", "wblend", "fdk"])
def test_a_run_that_goes_on_has_counted_what_was_before(name):
    method = find_method(name) if name == "fdk" else quick(name, schedule={"steps": 6}, samples=2)
    planned = plan(ct() if name == "fdk" else zsr(), method, priors(method, "zx") or None)
    states = []
    whole = run(planned, keep=states.append)
    assert whole.evaluations == method.evaluations
    for state in states:
        assert run(planned, kept=state).evaluations == whole.evaluations
    # A state of a coslice that did not count has one for every step.
    for state in states:
        state.numbers["log"].pop("evaluations")
    if name != "fdk":
        assert [run(planned, kept=state).evaluations for state in states] == [whole.evaluations] * len(states)


def test_the_record_of_a_run_holds_its_evaluations():
    task, volume = make_task("svct", {"views": 6}), Volume(CT_WINDOW.from_unit(scan()))
    study = simulate(volume, task, lambda one: CT_WINDOW, values="any")
    plans = {
        name: plan(study.problem, method, priors(method) or None)
        for name, method in {
            "reconstruction": quick("tpdm", "ct", schedule={"steps": 3}),
            "dds": quick("dds", "ct", end="denoised-estimate"),
            "fdk": METHODS["fdk"],
        }.items()
    }
    results = {name: run(planned) for name, planned in plans.items()}
    assert run_record(study, plans, results)["evaluations"] == {"reconstruction": 4, "dds": 4, "fdk": 0}


@pytest.mark.parametrize("kind", ["ct", "zsr"])
def test_published_evaluations_are_those_of_the_published_settings(kind):
    for name, method in methods_for(kind).items():
        found = published_evaluations(method, kind)
        if isinstance(method, Direct):
            assert found is None
            continue
        steps = method.published.get("schedule.steps")
        as_published = method if steps is None else changed(method, {"schedule": {"steps": steps}})
        assert found == as_published.evaluations, name
        assert found == published_evaluations(changed(method, {"schedule": {"steps": 7}, "samples": 3}), kind)
    wanted = {"tpdm": 4000} | ({"diffusion-mbir": 4000, "diffusionblend++": 200, "dds": 30} if kind == "ct" else {})
    assert {name: published_evaluations(find_method(name, kind), kind) for name in wanted} == wanted
