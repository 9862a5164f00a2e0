"""Plans: names become values, usual priors are found, and what cannot be run is refused before any work."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

import coslice.plans
from coslice import plan, run
from coslice.data import embedded_scan
from coslice.errors import CosliceError
from coslice.methods import DDS, FDK, METHODS, Direct, Method, changed, fast_form, find_method, methods_for
from coslice.methods.method_remarks import remarks_on_size
from coslice.noise import Following, Independent, Reading, Slerp
from coslice.operators.base import Operator
from coslice.priors import load_prior
from coslice.priors.blends import Blend, Perpendicular
from coslice.problems import LinearProblem, SparseViewCT, simulate
from simulated import measured, thick_slices
from small_problems import DIFFUSION, ct, prior, priors, quick, scan, zsr


class Halved(Operator):
    """An operator of nobody's."""

    domain = codomain = (8, 8, 8)

    def forward(self, volume):
        return volume / 2

    def adjoint(self, measurement):
        return measurement / 2


def linear() -> LinearProblem:
    return LinearProblem(Halved(), torch.rand(8, 8, 8))


@pytest.mark.parametrize("problem", [ct, zsr])
def test_a_name_takes_the_settings_for_such_a_problem_and_a_value_is_taken_as_it_is(problem):
    given = problem()
    for name, method in methods_for(given.kind).items():
        if name != "fbp-unet":
            assert plan(given, name, priors(method)).method == find_method(name, given.kind)
    assert plan(given, DDS, prior()).method == DDS != find_method("dds", "zsr")
    assert plan(linear(), "dds", prior()).method == DDS


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("dds", ["ct"]),
        ("diffusionblend++", ["ct3"]),
        ("tpdm", ["ct", "ct-coronal"]),
        ("fbp-unet", ["ct-fbp-unet"]),
        ("sirt", []),
    ],
)
def test_usual_priors_are_those_that_come_with_coslice(name, names):
    problem = measured(SparseViewCT(), scan((16, 16, 16)), (2.0, 4.0, 4.0))
    assert [one.name for one in plan(problem, name).priors] == names


def test_priors_are_given_as_values_names_or_files_and_each_may_be_left_to_the_usual(tmp_path, tiny_prior):
    problem = measured(SparseViewCT(), scan((16, 16, 16)), (2.0, 4.0, 4.0))
    own = load_prior(tiny_prior)
    for given in (own, [own], str(tiny_prior), tiny_prior, [tiny_prior], (own, None)):
        assert [one.card["name"] for one in plan(problem, "dds", given).priors] == ["tiny"]
    assert plan(problem, "dds", own).priors == (own,)
    assert [one.card["name"] for one in plan(problem, "tpdm", own).priors] == ["tiny", "ct-coronal"]
    coronal = replace(own, plane="zx", name="second")
    assert [one.name for one in plan(problem, "tpdm", [None, coronal]).priors] == ["ct", "second"]


def test_what_a_plan_asks_at_every_step_and_the_noise_laid_out_for_it():
    problem, single = zsr(), prior("zx")
    planned = plan(problem, quick(), single)
    assert planned.prior() is single
    laid_out = Slerp().laid_out(Reading("y"), problem.spacing)
    assert planned.noise(single) == (laid_out, laid_out)
    start_noise, noise = plan(problem, quick(start={"noise": "independent"}), single).noise(single)
    assert (start_noise, noise) == (Independent("y", spacing=problem.spacing[1]), laid_out)
    planned = plan(problem, quick("tpdm"), [single, prior("yx")])
    asked = planned.prior()
    assert isinstance(asked, Perpendicular)
    # Of a corrector and a predictor each level has two steps.
    assert asked == Perpendicular(
        single, planned.priors[1], levels=tuple(k // 2 for k in range(len(planned.sigmas) - 1))
    )
    assert planned.noise(asked)[1] == Following(Slerp(), asked.reading, problem.spacing)
    # Sample k has the seed that follows by k, and so have its partitions.
    three = prior("zx", 3)
    planned, following = (plan(problem, quick("diffusionblend++"), three, seed=s) for s in (4, 6))
    assert planned.prior(2) == following.prior() != planned.prior()
    assert isinstance(planned.prior(), Blend)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if isinstance(method, Direct)])
def test_a_method_that_does_not_sample_asks_no_prior_at_any_step(name):
    problem = zsr() if name == "cubic" else ct()
    planned = plan(problem, name, prior(card={"tasks": {problem.task: 0.1}}) if name == "fbp-unet" else None)
    assert planned.sigmas == ()
    for ask in (planned.prior, lambda: planned.noise(prior())):
        with pytest.raises(CosliceError, match=f"method {name}: it does not sample"):
            ask()


def test_labels_are_what_tables_call_methods():
    for name in DIFFUSION:
        title = METHODS[name].title
        for noise, words in (("independent", ""), ("identical", " + BCS"), ("iscs", " + ISCS")):
            method = quick(name, noise=noise)
            assert plan(zsr(), method, priors(method)).label == title + words
            several = replace(method, samples=5)
            assert plan(zsr(), several, priors(method)).label == f"{title}{words}, mean of 5"
    # A formula by what it is for the problem.
    parallel = measured(SparseViewCT("parallel"), scan(), (2.0, 4.0, 4.0))
    assert [plan(p, "fdk").label for p in (ct(), parallel)] == ["FDK", "FBP"]
    assert plan(zsr(), "cubic").label == "Cubic" and plan(ct(), "sirt").label == "SIRT"


@pytest.mark.parametrize(
    ("problem", "method", "given", "words"),
    [
        (ct, "magic", None, '"magic" was given, but the methods are wblend'),
        (zsr, "fdk", None, "method fdk: it is not for this task"),
        (zsr, FDK, None, "method fdk: it is for ct, but not for this problem"),
        (zsr, "dds", prior("zx", 3), "patches of 3 slices"),
        (zsr, "tpdm", prior("zx"), "method tpdm: no auxiliary prior was given"),
        (zsr, "diffusionblend++", None, "method diffusionblend++: no prior was given, and none of patches"),
        (zsr, "tpdm", None, "method tpdm: no prior was given, and none of planes comes with coslice"),
        (linear, "dds", None, "method dds: no prior was given, and none of slices"),
        (
            zsr,
            changed(DDS, {"schedule": {"sigma_max": 100.0}}),
            prior("zx"),
            "sigma 100 .* it was trained for",
        ),
        (zsr, changed(DDS, {"schedule": {"sigma_min": 1e-4}}), prior("zx"), "sigma 0.0001 was asked for"),
        (
            ct,
            "dds",
            [prior(), prior("zx", name="other")],
            "prior other was given, but the method reads no such prior",
        ),
        (ct, "fdk", prior(name="other"), "method fdk: prior other was given, but the method reads no such prior"),
        (ct, "dds", prior(window="mr"), "prior prior was given, which sees the window of MR"),
        (ct, "dds", prior(card={"tasks": {"svct-cone-6": 0.1}}), "no noise; choose"),
        (
            ct,
            "fbp-unet",
            prior(),
            "for the task svct-cone-6, but it is a diffusion prior",
        ),
        (ct, "dds", "nowhere", "nowhere"),
        (ct, 3, None, "plan: a int was given, but a name or a method is needed"),
    ],
)
def test_what_cannot_be_run_is_refused_and_names_who_cannot(problem, method, given, words):
    with pytest.raises(CosliceError, match=re.sub(r"\+\+", r"\\+\\+", words)):
        plan(problem(), method, given)


def test_seeds_are_whole_numbers_and_problems_are_problems():
    for seed in (1.5, "1", True, None):
        with pytest.raises(CosliceError, match="a whole number of at least 0 is needed"):
            plan(zsr(), "cubic", seed=seed)  # pyright: ignore[reportArgumentType]
    study = simulate(embedded_scan().slices(0, 7), SparseViewCT(views=1))
    with pytest.raises(CosliceError, match="a Study was given, but a problem is needed"):
        plan(study, "fdk")  # pyright: ignore[reportArgumentType]


def test_a_plan_is_checked_before_the_first_reconstruction_and_nothing_is_resolved_twice(monkeypatch):
    """What is refused is refused before work that may take hours; a run of a plan asks for no name again."""
    problem = thick_slices(scan(), 5)
    with monkeypatch.context() as patched:
        patched.setattr(type(problem), "initial", lambda self: pytest.fail("worked before it had checked"))
        with pytest.raises(CosliceError, match="patches of 3 slices"):
            run(problem, "dds", prior("zx", 3))
    planned = plan(problem, quick(), prior("zx"))
    for name in ("find_method", "load_prior", "load_priors"):
        monkeypatch.setattr(coslice.plans, name, lambda *given: pytest.fail("resolved again"))
    assert run(planned).reconstruction.shape == scan().shape


def test_ours_says_where_it_has_too_few_iterations():
    """Tall stacks of wide slices, as measured; not where it has more, weighs noise, or is another method."""
    usual = find_method("wblend")
    few = changed(usual, {"data": {"iterations": 6}})
    assert isinstance(few, Method)
    (said,) = remarks_on_size(few, 64, 256 * 256)
    assert "6 steps" in said and "64 slices of 65536 pixels" in said and "data.iterations=12" in said
    assert remarks_on_size(few, 8, 256 * 256) == remarks_on_size(few, 64, 128 * 128) == ()
    for other in (
        usual,
        changed(few, {"data": {"trust": 7}}),
        fast_form(usual),
        find_method("wdds"),
        find_method("dds"),
    ):
        assert isinstance(other, Method) and remarks_on_size(other, 64, 256 * 256) == ()
