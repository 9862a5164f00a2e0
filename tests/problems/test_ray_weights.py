"""Weights of the rays: weighted least squares in closed form, and rays of weight 0 that change nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from coslice.classical import filled
from coslice.detector import GaussianNoise, LineIntegrals, PhotonNoise, variances
from coslice.errors import CosliceError
from coslice.geometry import sparse_view
from coslice.methods import Direct, Method, changed, find_method
from coslice.operators import Operator, WeightedRays
from coslice.problems import CTProblem, LinearProblem, relative_weights
from laws import assert_adjoint, assert_linear, assert_normal, draw, relative
from small_problems import DIFFUSION, ct, quick, reconstructed

SHAPE = (2, 2, 3)


class Matrix(Operator):
    def __init__(self, matrix):
        self.matrix, self.domain, self.codomain = matrix, SHAPE, (len(matrix),)

    def forward(self, volume):
        return self.matrix @ volume.reshape(-1)

    def adjoint(self, measurement):
        return (self.matrix.T @ measurement).view(SHAPE)


def dense(rows=30):
    return Matrix(draw((rows, 12), 1).abs())


def chance(shape, seed=2):
    """Weights between 0.2 and 2, and a fifth of them 0."""
    drawn = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return torch.where(drawn < 0.2, 0.0, 2 * drawn)


def test_the_weighted_operator_keeps_the_laws():
    operator = WeightedRays(dense(), chance((30,)))
    assert_linear(operator)
    assert_adjoint(operator)
    assert_normal(operator)


@pytest.mark.parametrize("name", ["cgls", "admm-tv"])
def test_least_squares_are_the_weighted_ones_in_closed_form(name):
    operator, weights = dense(), chance((30,))
    y = 10 + draw((30,), 3)
    problem = LinearProblem(operator, y, weights=weights)
    a, w = operator.matrix.double().numpy(), weights.double().numpy()
    expected = np.linalg.solve(a.T @ (w[:, None] * a), a.T @ (w * y.double().numpy())).reshape(SHAPE)
    own = {"iterations": 60} | ({"weight": 0.0, "penalty": 0.01} if name == "admm-tv" else {})
    method = find_method(name, "")
    assert isinstance(method, Direct)
    solution = method.solution
    found = replace(solution, **own).solve(problem, torch.zeros(SHAPE), (), lambda done, count: None)
    assert relative(found, torch.from_numpy(expected)) < 1e-2
    plain = np.linalg.solve(a.T @ a, a.T @ y.double().numpy()).reshape(SHAPE)
    assert relative(found, torch.from_numpy(plain)) > 0.05


def test_sirt_goes_to_the_least_squares_weighted_by_w_over_the_rays_lengths():
    operator, weights = dense(), chance((30,))
    y = operator.forward(torch.rand(SHAPE) + 1) + 0.1 * draw((30,), 3)
    a = operator.matrix.double().numpy()
    w = weights.double().numpy() / a.sum(1)
    expected = np.linalg.solve(a.T @ (w[:, None] * a), a.T @ (w * y.double().numpy())).reshape(SHAPE)
    problem = LinearProblem(operator, y, weights=weights)
    found = problem.pseudo_inverse(6000)(y)
    assert expected.min() > 0
    assert relative(found, torch.from_numpy(expected)) < 5e-3


def test_proximal_data_steps_are_weighted_in_closed_form():
    operator, weights = dense(), chance((30,))
    y, before = 10 + draw((30,), 3), torch.rand(SHAPE)
    problem = LinearProblem(operator, y, noise=0.5, weights=weights)
    method = changed(find_method("diffpir"), {"data": {"iterations": 40, "weight": 2.0}})
    assert isinstance(method, Method)
    step = method.data.build(problem, "z")
    a, w, gamma = operator.matrix.double().numpy(), weights.double().numpy(), 0.3**2 / (2.0 * 0.5**2)
    left = gamma * a.T @ (w[:, None] * a) + np.eye(12)
    right = gamma * a.T @ (w * y.double().numpy()) + before.double().numpy().ravel()
    assert relative(step(before, 0.3), torch.from_numpy(np.linalg.solve(left, right).reshape(SHAPE))) < 1e-4


def test_weights_of_one_leave_the_result_as_it_is():
    problem = ct()
    weighted = replace(problem, weights=torch.ones_like(problem.measurement))
    for name in ("dds", "sirt"):
        method = quick(name) if name == "dds" else find_method(name)
        assert torch.equal(reconstructed(weighted, method), reconstructed(problem, method))


def test_without_weights_a_data_step_sees_the_operator_and_the_measurement_themselves():
    problem = ct()
    assert problem.misfit[0] is problem.operator and problem.misfit[1] is problem.measurement


SEVERAL = ("dds", "wdds", "ddnm", "dds-tv", "diffpir", "dps", "sirt", "cgls", "admm-tv")  # of each data step one


@pytest.mark.parametrize("name", SEVERAL)
def test_whatever_rays_of_weight_0_hold_the_result_is_the_same(name):
    problem = ct()
    weights = torch.ones_like(problem.measurement)
    weights[2] = 0  # a lost view,
    weights[:, :, 5] = 0  # a dead column,
    weights[4, 1:3, 7:10] = 0  # and a shadow
    method = quick(name) if name in DIFFUSION else changed(find_method(name), {"solution": {"iterations": 4}})
    results = []
    for garbage in (0.0, 1e4, float("nan")):
        y = torch.where(weights > 0, problem.measurement, garbage)
        results.append(reconstructed(replace(problem, measurement=y, weights=weights), method))
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])
    believed = reconstructed(replace(problem, measurement=y.nan_to_num(1e4)), method)
    assert not torch.equal(results[0], believed)


def test_weights_move_with_the_problem_and_pickle():
    problem = replace(ct(), weights=torch.ones_like(ct().measurement))
    assert problem.misfit and "misfit" not in problem.__getstate__()
    assert problem.to("cpu").weights is not None


def smooth(views=12, rows=6, columns=20):
    """Projections that are linear along the rows and columns, and change slowly from view to view."""
    v, r, c = torch.meshgrid(*(torch.arange(n).float() for n in (views, rows, columns)), indexing="ij")
    return 3 + 0.5 * r + 0.25 * c + torch.cos(v * 2 * torch.pi / views)


@pytest.mark.parametrize("place", [(3, 2, 7), (3, slice(None), 7), (3, 2, slice(None)), (3, slice(1, 4), slice(5, 9))])
def test_gaps_within_a_view_are_filled_linearly(place):
    y = smooth()
    known = torch.ones_like(y, dtype=torch.bool)
    known[place] = False
    broken = torch.where(known, y, float("nan"))
    assert torch.allclose(filled(broken, known, sparse_view(12)), y, atol=1e-4)


@pytest.mark.parametrize("views", [[4], [0], [11, 0]])
def test_a_lost_view_is_between_its_neighbours_across_the_end_of_the_turn(views):
    y = smooth()
    known = torch.ones_like(y, dtype=torch.bool)
    known[views] = False
    found = filled(torch.where(known, y, 1e9), known, sparse_view(12))
    first, last = (views[0] - 1) % 12, (views[-1] + 1) % 12
    for n, view in enumerate(views, 1):
        share = n / (len(views) + 1)
        assert torch.allclose(found[view], (1 - share) * y[first] + share * y[last], atol=1e-4)
    half = filled(torch.where(known, y, 1e9), known, sparse_view(12, torch.pi))
    if views == [0]:
        assert torch.equal(half[0], y[1])  # half a turn has ends


def test_what_is_known_stays_and_where_all_is_known_nothing_is_done():
    y = smooth()
    known = chance(y.shape) > 0
    assert torch.equal(filled(y, known, sparse_view(12))[known], y[known])
    assert filled(y, known | True, sparse_view(12)) is y
    with pytest.raises(CosliceError, match="no ray"):
        filled(y, known & False, sparse_view(12))
    with pytest.raises(CosliceError, match="mask"):
        filled(y, known, sparse_view(11))


def test_filtered_back_projection_of_a_dead_column_is_near_that_of_none():
    problem = ct()
    weights = torch.ones_like(problem.measurement)
    weights[:, :, 9] = 0
    broken = torch.where(weights > 0, problem.measurement, 500.0)
    healed = replace(problem, measurement=broken, weights=weights).initial()
    ringed = replace(problem, measurement=broken).initial()
    assert relative(healed, problem.initial()) < 0.1 * relative(ringed, problem.initial())


def test_relative_weights_have_the_mean_1_and_the_noise_of_a_ray_of_weight_1():
    variance = torch.tensor([0.25, 1.0, 4.0, float("inf")])
    weights, noise = relative_weights(variance)
    assert weights[:3].mean() == pytest.approx(1) and weights[3] == 0
    assert torch.allclose(noise**2 / weights[:3], variance[:3])
    assert relative_weights(torch.full((5,), 0.09)) == (pytest.approx(torch.ones(5)), pytest.approx(0.3))


def test_variances_are_those_of_the_noise_that_is_drawn():
    y = torch.tensor([[[0.0, 50.0]], [[100.0, 200.0]]])
    lines = LineIntegrals(0.0193)
    noise = PhotonNoise(1e4, 20.0)
    drawn = np.stack([noise.draw(lines.from_unit(y.expand(2, 4000, 2), 1), seed, 1) for seed in range(3)])
    assert variances(y, noise, lines)[1, 0].numpy() == pytest.approx(drawn.var((0, 1)) / 0.0193**2, rel=0.06)
    assert torch.allclose(variances(y, GaussianNoise(0.3)), torch.tensor(0.09))


ONES = torch.ones(30)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (torch.ones(29), r"\(29,\)"),
        (ONES.double(), "float32"),
        (ONES.numpy(), "no tensor"),
        (-ONES, "from -1 to -1"),
        (0 * ONES, "above 0"),
        (ONES / 0, "finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights, said):
    with pytest.raises(CosliceError, match=f"LinearProblem: .*{said}"):
        LinearProblem(dense(), ONES, weights=weights)
    if isinstance(weights, torch.Tensor):
        with pytest.raises(CosliceError, match="CTProblem: "):
            CTProblem(ct().geometry, ct().grid, ct().measurement, weights=weights)


def test_a_measurement_that_is_no_number_needs_the_weight_0():
    y = torch.where(torch.arange(30) == 3, float("nan"), 1.0)
    with pytest.raises(CosliceError, match="1 entries of the measurement are no finite numbers"):
        LinearProblem(dense(), y, weights=ONES)
    LinearProblem(dense(), y, weights=torch.where(y.isnan(), 0.0, 1.0))


@pytest.mark.parametrize("variance", [[1.0, 0.0], [1.0, -1.0], [float("inf")] * 2, [1.0, float("nan")]])
def test_variances_that_say_nothing_are_refused(variance):
    with pytest.raises(CosliceError, match="relative_weights"):
        relative_weights(torch.tensor(variance))
