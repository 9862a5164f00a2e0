"""Patches first, single slices at the end; starts that suit the views; which method is taken where none is named."""

import math

import pytest
import torch

from coslice import run
from coslice.errors import CosliceError
from coslice.geometry import limited_angle, missing_wedge, sparse_view
from coslice.methods import WBLEND, AdmmTVSolution, Relay, SuitedSolution, changed, default_method, find_method
from coslice.noise import Lanes
from coslice.plans import plan
from coslice.problems import LimitedAngleCT
from simulated import measured
from small_problems import SPACING, ct, prior, priors, quick, scan, zsr


@pytest.mark.parametrize(
    ("steps", "share", "singles"), [(50, 0.2, 10), (30, 0.2, 6), (3, 0.2, 1), (1, 0.2, 1), (4, 1.0, 4)]
)
def test_the_last_steps_see_single_slices_and_at_least_one_does(steps, share, singles):
    problem, both = ct(), priors(WBLEND)
    sigmas = (*(0.3 * 0.9**k for k in range(steps)), 0.0)
    relay = Relay(share).over(problem, both, 0, sigmas)
    kinds = [relay.at(step) is both[1] for step in range(steps)]
    assert kinds == [False] * (steps - singles) + [True] * singles
    # the noise before a step is laid out for who reads it
    assert [relay.reading(step).lanes == Lanes() for step in range(steps)] == kinds


def test_priors_of_different_images_are_refused():
    problem = ct()
    with pytest.raises(CosliceError, match="one goes on where the other ends"):
        plan(problem, "wblend", [prior(channels=3), prior("zx")])
    with pytest.raises(CosliceError, match="a prior of patches is needed"):
        plan(problem, "wblend", [prior(), prior()])
    with pytest.raises(CosliceError, match="give it to wblend"):
        plan(problem, "wblend", [prior(channels=3), prior(channels=3)])


def test_wblend_gives_the_same_bits_again_and_the_second_prior_matters():
    problem, method = ct(), quick("wblend", "ct")
    both = [prior(channels=3), prior()]
    once, again = (run(problem, method, both, seed=3).reconstruction for _ in range(2))
    assert torch.equal(once, again)
    assert not torch.equal(once, run(problem, changed(method, {"prior": {"share": 1.0}}), both, seed=3).reconstruction)


@pytest.mark.parametrize(
    ("angles", "degrees"),
    [
        (sparse_view(30), 0),  # 15 directions, each from both sides
        (sparse_view(8, math.pi), 0),
        (sparse_view(2, math.pi), 0),
        (limited_angle(math.radians(100), 100), 80),
        (limited_angle(math.radians(90), 90), 90),
        (limited_angle(math.radians(10), 2), 170),  # views at 0 and 5 degrees
        ((1.0,), 180),
        (sparse_view(2), 180),  # one direction from both sides
    ],
)
def test_a_missing_wedge_is_the_widest_gap_less_a_usual_one(angles, degrees):
    turned = tuple(angle + 0.7 for angle in reversed(angles))
    assert math.degrees(missing_wedge(angles)) == pytest.approx(degrees, abs=1e-6)
    assert math.degrees(missing_wedge(turned)) == pytest.approx(degrees, abs=1e-6)


def test_a_start_suits_the_views():
    wide, wedge = ct(), measured(LimitedAngleCT(angle=60.0), scan(), SPACING)
    part = SuitedSolution(otherwise=AdmmTVSolution(iterations=2, cg_iterations=1))
    assert torch.equal(part.solve(wide, wide.initial(), (), lambda done, total: None), wide.initial())
    expected = AdmmTVSolution(iterations=2, cg_iterations=1).solve(wedge, wedge.initial(), (), lambda done, total: None)
    assert torch.equal(part.solve(wedge, wedge.initial(), (), lambda done, total: None), expected)
    assert zsr().missing_wedge == 0 and wide.missing_wedge < 1e-6


@pytest.mark.parametrize(
    ("kind", "given", "name"),
    [
        ("ct", (), "wblend"),
        ("ct", (None, None), "wblend"),
        ("ct", ("ct3", "ct"), "wblend"),
        ("ct", (None, "mine"), "wblend"),
        ("ct", ("mine",), "wdds"),
        ("ct", ("mine", None), "wdds"),
        ("zsr", (), "dds"),
        ("zsr", ("mine",), "dds"),
        ("", ("mine",), "wdds"),
    ],
)
def test_the_default_is_the_best_for_the_problem_and_the_priors(kind, given, name):
    assert default_method(kind, given) == name
    assert find_method(name, kind).name == name


def test_a_plan_without_a_method_takes_the_default():
    assert plan(ct(), prior=prior()).method.name == "wdds"
    assert plan(ct(), prior=[prior(channels=3), prior()]).method.name == "wblend"
    assert plan(zsr(), prior=prior()).method.name == "dds"
