"""How far a reconstruction is from its measurement, and the mistakes that a residual gives away."""

import math
from dataclasses import replace

import pytest
import torch

from coslice.classical import sirt
from coslice.geometry import ConeBeam, Grid, ParallelBeam, sparse_view
from coslice.operators import Projector
from coslice.problems import CTProblem, relative_weights
from coslice.problems.residual import Residual, remarks_on_residual, residual, residuals
from small_problems import ct, zsr

GRID = Grid((3, 20, 20), (8.0, 5.0, 5.0))
CONE = ConeBeam(sparse_view(20), (5, 48), (8.0, 5.0), source_axis=200.0, axis_detector=150.0)
PARALLEL = ParallelBeam(sparse_view(30, math.pi), (4, 36), (8.0, 5.0))
SCANNERS = {"cone": CONE, "parallel": PARALLEL, "orbit": CONE.to_orbit()}


def body():
    """Two balls in a larger one, none of them in the middle."""
    z, y, x = torch.meshgrid(*(torch.from_numpy(GRID.axis(a)).float() for a in "zyx"), indexing="ij")

    def ball(cy, cx, radius):
        return torch.sigmoid(radius - (z**2 / 4 + (y - cy) ** 2 + (x - cx) ** 2).sqrt())

    return 0.4 * ball(2, -3, 34) + 0.5 * ball(12, 10, 8) - 0.35 * ball(-10, 4, 9)


def measured(geometry, noise=0.0):
    y = Projector(geometry, GRID).forward(body())
    y = y + noise * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    return CTProblem(geometry, GRID, y, noise)


def judged(problem):
    """The remarks on a reconstruction within the window, as all results are."""
    initial = residual(problem, problem.initial().clamp(0, 1))
    volume = sirt(problem.operator, problem.measurement, 20, weights=problem.weights).clamp(0, 1)
    return remarks_on_residual(problem, initial, residual(problem, volume))


@pytest.mark.parametrize(("name", "noise"), [("cone", 0.0), ("parallel", 3.0), ("orbit", 0.0)])
def test_of_a_sound_measurement_nothing_is_said(name, noise):
    assert judged(measured(SCANNERS[name], noise)) == ()


def test_the_views_turn_the_other_way():
    problem = measured(CONE)
    wrong = replace(problem, geometry=replace(CONE, angles=tuple(-angle for angle in CONE.angles)))
    assert any("the views turn the other way" in said for said in judged(wrong))


SLOWLY = [pytest.param(name, columns, marks=pytest.mark.slow) for name, columns in (("cone", 5), ("orbit", -2))]


@pytest.mark.parametrize(("name", "columns"), [("parallel", -8), *SLOWLY])
def test_the_axis_is_beside_the_middle(name, columns):
    problem = measured(SCANNERS[name])
    geometry = SCANNERS["cone" if name == "orbit" else name]
    moved = replace(geometry, offset=(0.0, columns * 5.0))
    given = replace(problem, geometry=moved.to_orbit() if name == "orbit" else moved)
    said = " ".join(judged(given))
    assert "--rotation-axis find" in said and f"along {'-' if columns > 0 else '+'}u" in said
    moved_by = float(said.partition("moved by ")[2].partition(" mm")[0])
    assert moved_by == pytest.approx(5.0 * abs(columns), abs=5.0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda y: 60000 * torch.exp(-0.03 * y), "say that they are counts"),
        pytest.param(lambda y: torch.exp(-0.05 * y), "say that they are counts", marks=pytest.mark.slow),
        (lambda y: -y, "their sign is turned"),
        (lambda y: y + 20, "is subtracted: correct the open beam"),
        (lambda y: y * 10, "times the top of the window"),
        pytest.param(lambda y: y / 20, "times the top of the window", marks=pytest.mark.slow),
    ],
)
def test_values_that_are_no_line_integrals_in_mm(wrong, said):
    problem = measured(PARALLEL)
    assert any(said in sentence for sentence in judged(replace(problem, measurement=wrong(problem.measurement))))


def test_lengths_in_cm():
    tenth = replace(CONE, pixel=(0.8, 0.5), source_axis=20.0, axis_detector=15.0)
    grid = replace(GRID, spacing=(0.8, 0.5, 0.5))
    given = replace(measured(CONE), geometry=tenth, grid=grid)
    assert any("lengths may be in cm" in said for said in judged(given))


@pytest.mark.parametrize("bad", [[3, 12]])
def test_a_few_bad_views_are_named_and_alone(bad):
    problem = measured(CONE)
    y = problem.measurement.clone()
    for view in bad:
        y[view] = y[view].roll(9, -1)
    (said,) = judged(replace(problem, measurement=y))
    assert ", ".join(map(str, bad)) + " (counted from 0)" in said
    weights = torch.ones_like(y)
    weights[bad] = 0
    assert judged(replace(problem, measurement=y, weights=weights)) == ()


def test_what_nothing_explains_is_said_with_the_likely_reasons():
    y = torch.rand(CONE.shape, generator=torch.Generator().manual_seed(1)) * 40
    said = judged(CTProblem(CONE, GRID, y))
    assert "Likely reasons" in said[0] and "%" in said[0]


def test_noise_that_is_known_is_no_reason():
    problem = measured(PARALLEL, 12.0)
    assert judged(problem) == ()
    assert residual(problem, body()).total > 0.15


def test_noise_that_is_known_ray_by_ray_is_no_reason():
    problem = measured(PARALLEL)
    deviation = torch.where(torch.arange(PARALLEL.detector[1]) % 4 == 0, 30.0, 1.0).expand(PARALLEL.shape)
    y = problem.measurement + deviation * torch.randn(PARALLEL.shape, generator=torch.Generator().manual_seed(0))
    weights, noise = relative_weights(deviation.square())
    noisy = replace(problem, measurement=y, weights=weights, noise=noise)
    left = residual(noisy, body())
    assert left.total > 0.3
    assert remarks_on_residual(noisy, left, left) == ()
    assert remarks_on_residual(replace(noisy, noise=0.0), replace(left, total=1.01 * left.total), left) != ()


def test_a_result_of_one_step_is_doubted_for_a_reason_only():
    """Filtered back-projection leaves a large residual of a sound measurement, and cannot make it fall."""
    problem = measured(CONE)
    wrong = replace(problem, geometry=replace(CONE, angles=tuple(-angle for angle in CONE.angles)))
    once, awry = (residual(one, one.initial().clamp(0, 1)) for one in (problem, wrong))
    assert once.total > 0.03 and remarks_on_residual(problem, once, once) == ()
    large, reason = remarks_on_residual(wrong, awry, awry)
    assert "fall" not in large and "the views turn the other way" in reason


@pytest.mark.parametrize("make", [ct, zsr])
def test_the_residual_is_the_length_of_the_difference_by_view(make):
    problem = make()
    y = problem.measurement
    volume = 0.7 * torch.rand(problem.shape)
    left = (problem.operator.forward(volume) - y).flatten(1).double().norm(dim=1) / y.flatten(1).double().norm(dim=1)
    found = residual(problem, volume)
    assert residuals(problem, volume) == found.per_view == pytest.approx(left.tolist(), rel=1e-5)
    total = (problem.operator.forward(volume) - y).double().norm() / y.double().norm()
    assert found.total == pytest.approx(float(total), rel=1e-5)
    assert found.record["per_view"] == pytest.approx(left.tolist(), abs=1e-6)


def test_rays_of_weight_0_are_no_part_of_it():
    problem = ct()
    weights = torch.ones_like(problem.measurement)
    weights[1] = 0
    weights[:, 2] = 0
    y = torch.where(weights > 0, problem.measurement, float("nan"))
    masked = residual(replace(problem, measurement=y, weights=weights), torch.zeros(problem.shape))
    assert masked.per_view == pytest.approx((1, 0, 1, 1, 1, 1)) and masked.total == pytest.approx(1)


def test_a_blank_view_is_a_number_and_a_bad_one():
    problem = measured(CONE)
    y = problem.measurement.clone()
    y[4] = 0
    found = residual(replace(problem, measurement=y), body())
    assert math.isfinite(found.per_view[4]) and found.per_view[4] > 10
    assert residual(replace(problem, measurement=0 * y), 0 * body()) == Residual((0.0,) * 20, 0.0)
