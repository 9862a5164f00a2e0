"""Our operators in torch, deepinv, scipy and pylops, and theirs in our methods: the same numbers."""

from __future__ import annotations

import pickle
import re
import warnings
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, aslinearoperator, lsqr
from torch.autograd import gradcheck, gradgradcheck

from coslice import LinearProblem, find_method, interop, run
from coslice.classical import cgls, conjugate_gradient
from coslice.detector import GaussianNoise
from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, Grid, sparse_view
from coslice.operators import Projector, ThickSlices
from coslice.problems import SparseViewCT, simulate
from coslice.volume import Volume
from coslice.window import CT_WINDOW
from elsewhere import library
from laws import assert_operator, draw, relative
from simulated import uniform
from small_problems import DIFFUSION, priors, quick

SHAPE = (6, 7, 5)
THICK = ThickSlices(SHAPE, 2, fwhm=2.5)
CONE = Projector(
    ConeBeam(sparse_view(5), (6, 9), (1.5, 1.5), source_axis=30.0, axis_detector=20.0), Grid(SHAPE, (1.0, 1.2, 1.2))
)
TINY = ThickSlices((4, 1, 2), 2, fwhm=2.0)
TINY_CONE = Projector(
    ConeBeam(sparse_view(2), (2, 3), (1.5, 1.5), source_axis=30.0, axis_detector=20.0), Grid((2, 3, 3), (1.0, 1.0, 1.0))
)
OURS = pytest.mark.parametrize("operator", [THICK, CONE], ids=["thick", "cone"])
ACTIONS = [lambda a: a, lambda a: a.adjoint, lambda a: a.normal]


def dense(operator) -> np.ndarray:
    """The matrix of an operator, float64, column by column."""
    ones = torch.eye(int(np.prod(operator.domain))).reshape(-1, *operator.domain)
    return np.stack([operator.forward(one).reshape(-1).double().numpy() for one in ones], axis=1)


# torch


@pytest.mark.parametrize(("operator", "action"), product([TINY, TINY_CONE], range(3)))
def test_derivatives_are_those_of_finite_differences_twice_over(operator, action):
    """Steps of 1 are exact for what is linear, so float32 costs its rounding only: 1e-5 of entries of about 1."""
    apply = ACTIONS[action](interop.differentiable(operator))
    shape = operator.codomain if action == 1 else operator.domain
    x = draw((2, *shape)).double().requires_grad_()
    close: dict[str, Any] = {"eps": 1.0, "atol": 1e-5, "rtol": 1e-5}
    assert gradcheck(apply, (x,), check_forward_ad=True, **close)
    assert gradgradcheck(apply, (x,), check_fwd_over_rev=True, **close)


@OURS
def test_a_batch_is_its_volumes_one_by_one_and_so_is_its_gradient(operator):
    apply = interop.differentiable(operator)
    x = draw((2, 3, *SHAPE)).requires_grad_()
    y = apply(x)
    assert y.shape == (2, 3, *operator.codomain)
    assert all(torch.equal(y[i, j], operator.forward(x[i, j].detach())) for i in range(2) for j in range(3))
    weights = draw(tuple(y.shape), 1)
    (gradient,) = torch.autograd.grad((y * weights).sum(), x)
    assert torch.equal(gradient, apply.adjoint(weights))
    assert torch.equal(apply.adjoint(weights)[1, 2], operator.adjoint(weights[1, 2]))
    assert relative(apply.normal(x).detach(), apply.adjoint(y).detach()) <= 1e-6
    assert apply(x[:0]).shape == (0, 3, *operator.codomain)


@OURS
def test_functions_of_torch_func_give_the_matrix(operator):
    apply, x = interop.differentiable(operator), draw(SHAPE)
    matrix = dense(operator)
    for jacobian in (torch.func.jacrev(apply)(x), torch.func.jacfwd(apply)(x)):
        assert np.allclose(jacobian.reshape(matrix.shape).numpy(), matrix, atol=1e-5 * matrix.max())
    hessian = torch.func.hessian(lambda v: apply(v).square().sum() / 2)(x).reshape(matrix.shape[1], -1).numpy()
    assert np.allclose(hessian, matrix.T @ matrix, atol=1e-5 * (matrix.T @ matrix).max())
    along = torch.stack([draw(SHAPE, seed) for seed in range(3)], dim=2)  # the batch anywhere
    assert torch.equal(torch.func.vmap(apply, in_dims=2)(along)[1], apply(along[:, :, 1]))


@OURS
def test_an_operator_that_is_called_can_be_differentiated_twice(operator):
    """The gradient of |A^T(A x - y)|^2 / 2 is (A^T A)^2 x - A^T A A^T y."""
    x, y = draw(SHAPE).requires_grad_(), draw(operator.codomain, 1)
    (gradient,) = torch.autograd.grad((operator(x) - y).square().sum() / 2, x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum() / 2, x)
    assert relative(second, operator.normal(gradient.detach())) <= 1e-5


@OURS
def test_what_an_operator_gives_may_be_changed_in_place(operator):
    apply, x, y = interop.differentiable(operator), draw(SHAPE), draw(operator.codomain, 1)
    for leading in ((), (1,), (2,)):
        volumes = x.expand(*leading, *SHAPE).clone().requires_grad_()
        residual = apply(volumes)
        residual -= y
        (gradient,) = torch.autograd.grad(residual.square().sum() / 2, volumes)
        expected = operator.adjoint(operator.forward(x) - y)
        assert relative(gradient.reshape(-1, *SHAPE)[0], expected) <= 1e-5


def test_the_type_that_was_given_comes_back_and_what_is_no_volume_is_refused():
    apply, x = interop.differentiable(THICK), draw(SHAPE)
    for kind in (torch.float64, torch.bfloat16):
        assert torch.equal(apply(x.to(kind)), THICK.forward(x.to(kind).float()).to(kind))
    with pytest.raises(CosliceError, match=r"shape \(7, 5\) was given, \(6, 7, 5\) \(z, y, x\) is needed"):
        apply(x[0])
    with pytest.raises(CosliceError, match=r"a measurement of shape \(6, 7, 5\)"):
        apply.adjoint(x)
    for kind in (torch.int64, torch.complex64):
        with pytest.raises(CosliceError, match=f"{kind} was given, floating-point"):
            apply(torch.ones(SHAPE, dtype=kind))
    with pytest.raises(CosliceError, match="give its attribute operator"):
        interop.differentiable(LinearProblem(THICK, THICK.forward(x)))  # pyright: ignore


# deepinv


@OURS
def test_deepinv_finds_the_adjoint_exact_and_the_norm_that_of_the_matrix(operator):
    library("deepinv")
    physics = interop.deepinv_physics(operator)
    assert float(physics.adjointness_test(draw((1, 1, *SHAPE)), num_samples=4)) <= 1e-5
    largest = np.linalg.norm(dense(operator), 2)
    norm = physics.compute_norm(draw((1, 1, *SHAPE)), squared=False, tol=1e-6, max_iter=500, verbose=False)
    assert float(norm) == pytest.approx(largest, rel=1e-3)
    x = draw((2, 3, *SHAPE))
    assert relative(physics.A_adjoint_A(x), physics.A_adjoint(physics.A(x))) <= 1e-6
    assert torch.equal(physics.clone().A(x), physics.A(x)) and repr(operator) in repr(physics)


@OURS
def test_deepinv_solves_as_our_conjugate_gradients_do_step_by_step(operator):
    library("deepinv")
    physics, y = interop.deepinv_physics(operator), operator.forward(uniform(SHAPE))
    for steps in (2, 3):
        expected = conjugate_gradient(operator.normal, operator.adjoint(y), None, steps)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = physics.A_dagger(y[None, None], max_iter=steps, tol=0.0)
        assert found.shape == (1, 1, *SHAPE) and relative(found[0, 0], expected) <= 1e-4


def test_deepinv_s_descent_and_its_proximal_step_find_our_solution():
    optim = library("deepinv.optim")
    share, start = 0.05, uniform(SHAPE, 3)
    physics, y = interop.deepinv_physics(THICK, max_iter=100, tol=1e-7), THICK.forward(uniform(SHAPE))
    # |A x - y|^2 / 2 + share |x|^2 / 2
    ridge = conjugate_gradient(lambda z: THICK.normal(z) + share * z, THICK.adjoint(y), None, 60)
    descent = optim.PGD(
        data_fidelity=optim.data_fidelity.L2(),
        prior=optim.prior.Tikhonov(),
        lambda_reg=share,
        max_iter=200,
        stepsize=1.0,
    )
    assert relative(descent(y[None, None], physics)[0, 0], ridge) <= 1e-3
    # |A x - y|^2 / 2 + share |x - start|^2 / 2
    near = conjugate_gradient(lambda z: THICK.normal(z) + share * z, THICK.adjoint(y) + share * start, None, 60)
    assert relative(physics.prox_l2(start[None, None], y[None, None], 1 / share)[0, 0], near) <= 1e-4


def test_gradients_go_through_deepinv_s_parts():
    optim = library("deepinv.optim")
    physics, y = interop.deepinv_physics(CONE), draw((2, 1, *CONE.codomain))
    x = draw((2, 1, *SHAPE)).requires_grad_()
    fidelity = optim.data_fidelity.L2()(x, y, physics)
    (gradient,) = torch.autograd.grad(fidelity.sum(), x)
    assert relative(gradient, physics.A_adjoint(physics.A(x.detach()) - y)) <= 1e-5
    # d |A^T A x|^2 / dx = 2 (A^T A)^2 x
    (gradient,) = torch.autograd.grad(physics.A_adjoint_A(x).square().sum() / 2, x)
    assert relative(gradient, physics.A_adjoint_A(physics.A_adjoint_A(x.detach()))) <= 1e-5


def ct_study(noise=None):
    ball = -1000 + 1600 * uniform((8, 12, 12), 2)
    return simulate(Volume(ball, np.diag([2.0, 2.0, 2.0, 1.0])), SparseViewCT(views=5, noise=noise), CT_WINDOW)


def test_a_study_of_ours_is_a_problem_of_deepinv_s_in_the_unit_window():
    deepinv = library("deepinv")
    study = ct_study(GaussianNoise(0.2))
    physics, y = interop.deepinv_problem(study)
    assert torch.equal(y[0, 0], study.problem.measurement) and study.unit is not None
    assert float(physics.noise_model.sigma) == pytest.approx(study.problem.noise) and study.problem.noise > 0
    clean = physics.A(study.unit[None, None])
    # Both noises, theirs and ours, are of that size about A of the truth in the unit window.
    for noisy in (physics(study.unit[None, None]), y):
        assert float((noisy - clean).std()) == pytest.approx(study.problem.noise, rel=0.1)
    hu = study.problem.operator.forward(study.window.from_unit(study.unit))
    low = study.problem.operator.forward(torch.full(study.problem.shape, study.window.low))
    assert relative(hu, study.window.width * clean[0, 0] + low) <= 1e-5
    own = interop.deepinv_physics(CONE, deepinv.physics.PoissonNoise(gain=0.5), max_iter=30)
    assert own.noise_model.gain == 0.5 and own.max_iter == 30
    with pytest.raises(CosliceError, match="deepinv_problem: Tensor was given"):
        interop.deepinv_problem(y)  # pyright: ignore


def test_weights_of_rays_go_along():
    library("deepinv")
    weights = uniform(CONE.codomain, 5)
    problem = LinearProblem(CONE, draw(CONE.codomain), weights=weights)
    (physics, y), (matrix, flat) = interop.deepinv_problem(problem), interop.linear_problem(problem)
    x = draw(SHAPE)
    misfit = float((weights * (CONE.forward(x) - problem.measurement).square()).sum())
    assert float((physics.A(x[None, None]) - y).square().sum()) == pytest.approx(misfit, rel=1e-5)
    assert float(((matrix @ x.numpy().ravel() - flat) ** 2).sum()) == pytest.approx(misfit, rel=1e-5)


# scipy and pylops


@OURS
def test_scipy_and_pylops_solve_as_our_cgls_does_step_by_step(operator):
    optimization = library("pylops.optimization.basic")
    y = operator.forward(uniform(SHAPE))
    problem = LinearProblem(operator, y)
    for steps in (3, 8):
        expected = cgls(operator, y, steps)
        matrix, flat = interop.linear_problem(problem)
        found = lsqr(matrix, flat, iter_lim=steps, atol=0, btol=0, conlim=0)[0]
        assert relative(torch.from_numpy(found.reshape(SHAPE)), expected) <= 1e-4
        matrix, flat = interop.linear_problem(problem, "pylops")
        found = optimization.cgls(matrix, flat, niter=steps, tol=0)[0]
        assert relative(torch.from_numpy(found.reshape(SHAPE)), expected) <= 1e-4


@OURS
def test_a_linear_operator_is_the_matrix(operator):
    dottest = library("pylops.utils").dottest
    matrix = dense(operator)
    columns = np.random.default_rng(0).normal(size=(matrix.shape[1], 3)) * (1 + 2j)
    rows = matrix @ columns
    for given in (interop.linear_operator(operator), interop.linear_operator(operator, "pylops")):
        assert given.shape == matrix.shape and given.dtype == np.float32
        close = {"rtol": 1e-4, "atol": 1e-5 * np.abs(rows).max()}
        assert np.allclose(given.matmat(columns.real), rows.real, **close)
        assert np.allclose(given @ columns[:, 0], rows[:, 0], **close)
        assert np.allclose(given.H @ rows[:, 0], matrix.T @ rows[:, 0], rtol=1e-4, atol=1e-4 * np.abs(rows).max() ** 2)
    pylops = interop.linear_operator(operator, "pylops")
    # Relative to the inner product itself, which may be small by chance.
    assert dottest(pylops, rtol=1e-3) and dottest(pylops, rtol=1e-3, complexflag=3)
    x = draw(SHAPE)
    assert np.array_equal(pylops @ x.numpy(), operator.forward(x).numpy())  # as volumes and projections
    with pytest.raises(CosliceError, match="the library 'sigpy' was given; choose"):
        interop.linear_operator(operator, "sigpy")  # pyright: ignore


# theirs in ours


def test_a_physics_of_volumes_is_an_operator():
    deepinv = library("deepinv")
    filter = uniform((1, 1, 3, 3, 3), 1)
    physics = deepinv.physics.Blur(filter=filter, padding="circular", noise_model=deepinv.physics.GaussianNoise(0.3))
    operator = interop.operator_from(physics, SHAPE)
    assert_operator(operator)
    x = draw(SHAPE)
    assert operator.codomain == SHAPE and torch.equal(operator.forward(x), physics.A(x[None, None])[0, 0])
    problem = interop.problem_from(physics, physics.A(x[None, None]), SHAPE, spacing=(2.0, 1.0, 1.0))
    assert problem.noise == pytest.approx(0.3) and problem.spacing == (2.0, 1.0, 1.0)
    assert torch.equal(problem.measurement, operator.forward(x))


def test_a_physics_of_images_measures_slice_by_slice():
    deepinv = library("deepinv")
    mask = (uniform((1, *SHAPE[1:]), 1) > 0.5).float()
    physics = deepinv.physics.MRI(mask=mask, img_size=(2, *SHAPE[1:]))
    with pytest.raises(CosliceError, match=r"could not be tried.*slicewise=True"):
        interop.operator_from(physics, SHAPE)
    blur = deepinv.physics.Blur(filter=uniform((1, 1, 3, 3)), padding="circular")
    operator = interop.operator_from(blur, SHAPE, slicewise=True)
    assert_operator(operator)
    x = draw(SHAPE)
    assert operator.codomain == SHAPE
    automatic = deepinv.physics.LinearPhysics(A=blur.A, img_size=(1, *SHAPE[1:]))  # its adjoint by torch
    assert relative(interop.operator_from(automatic, SHAPE, slicewise=True).adjoint(x), operator.adjoint(x)) <= 1e-6
    for z in range(SHAPE[0]):
        assert relative(operator.forward(x)[z], blur.A(x[z][None, None])[0, 0]) <= 1e-6


def test_a_linear_operator_of_scipy_or_pylops_is_an_operator():
    pylops = library("pylops")
    matrix = np.random.default_rng(0).normal(size=(20, int(np.prod(SHAPE))))
    x, y = draw(SHAPE), draw((20,), 1)
    operator = interop.operator_from(aslinearoperator(matrix), SHAPE)
    assert_operator(operator)
    assert np.allclose(operator.forward(x), matrix @ x.double().numpy().ravel(), atol=1e-3)
    assert np.allclose(operator.adjoint(y), (matrix.T @ y.double().numpy()).reshape(SHAPE), atol=1e-4)
    assert torch.equal(pickle.loads(pickle.dumps(operator)).forward(x), operator.forward(x))
    difference = interop.operator_from(pylops.FirstDerivative(SHAPE, axis=1, kind="forward"))
    assert difference.domain == difference.codomain == SHAPE
    assert torch.allclose(difference.forward(x)[:, :-1], x.diff(dim=1), atol=1e-6)
    assert "it is of numpy" in difference.remark(torch.device("cuda")) and not difference.remark(torch.device("cpu"))


def test_a_measurement_of_hu_comes_into_the_unit_window():
    unit, noise = uniform(SHAPE), 26.0
    y = CONE.forward(CT_WINDOW.from_unit(unit)).numpy()
    matrix = interop.linear_operator(CONE)
    problem = interop.problem_from(matrix, y.ravel(), SHAPE, noise=noise, window=CT_WINDOW)
    assert relative(problem.measurement, CONE.forward(unit).reshape(-1)) <= 1e-4
    assert problem.noise == pytest.approx(noise / 2600)
    pylops = interop.linear_operator(CONE, "pylops")
    for given in (y, y.ravel(), y[None, None]):
        assert interop.problem_from(pylops, given).measurement.shape == CONE.codomain
    with pytest.raises(CosliceError, match=r"y of shape \(5, 6, 8\)"):
        interop.problem_from(interop.linear_operator(CONE, "pylops"), y[..., 1:])


class Pair:
    """A physics of two functions, one of which may be wrong."""

    def __init__(self, forward, adjoint):
        self.A, self.A_adjoint = forward, adjoint


def refusal(forward, adjoint, **others) -> str:
    with pytest.raises(CosliceError) as refused:
        interop.operator_from(Pair(forward, adjoint), SHAPE, **others)
    return str(refused.value)


def test_a_wrong_adjoint_is_refused_with_the_mismatch_and_a_right_one_passes():
    def forward(x):
        return CONE.forward(x[0, 0])[None, None]

    def adjoint(y):
        return CONE.adjoint(y[0, 0])[None, None]

    assert interop.operator_from(Pair(forward, adjoint), SHAPE).codomain == CONE.codomain
    for wrong, least in (
        (lambda y: 1.01 * adjoint(y), 0.0099),
        (lambda y: adjoint(y).flip(2), 0.05),
        (lambda y: adjoint(y).roll(1, 4), 0.05),
        (lambda y: adjoint(y.roll(1, 2)), 0.05),
    ):
        told = refusal(forward, wrong)
        assert "the adjoint of Pair is not the transpose of its A" in told
        measured = float(re.findall(r"differ by (\S+) of", told)[0])
        assert least <= measured <= 3
    assert interop.operator_from(Pair(forward, lambda y: 1.01 * adjoint(y)), SHAPE, tolerance=0.05)


def test_what_is_no_linear_operator_of_real_numbers_is_refused():
    same = (lambda x: x, lambda y: y)
    assert interop.operator_from(Pair(*same), SHAPE).codomain == SHAPE
    assert "is not linear" in refusal(lambda x: x + 0.1, same[1])
    assert "is not linear" in refusal(torch.abs, same[1])
    assert "is not linear" in refusal(lambda x: x + 0.1 * torch.randn_like(x), same[1])
    assert "complex numbers" in refusal(lambda x: x + 0j, same[1])
    assert "measures list, but one tensor" in refusal(lambda x: [x], same[1])
    assert "NaN" in refusal(lambda x: x / 0 * 0, same[1])
    assert "the adjoint of Pair gives (1, 1, 3, 7, 5)" in refusal(same[0], lambda y: y[:, :, ::2])
    with pytest.raises(CosliceError, match="has 8 columns, but a volume of"):
        interop.operator_from(aslinearoperator(np.eye(8)), SHAPE)
    with pytest.raises(CosliceError, match="complex128"):
        interop.operator_from(aslinearoperator(1j * np.eye(8)), (2, 2, 2))
    with pytest.raises(CosliceError, match="does not say one, but the shape"):
        interop.operator_from(aslinearoperator(np.eye(8)))
    with pytest.raises(CosliceError, match="ndarray was given, but a deepinv LinearPhysics"):
        interop.operator_from(np.eye(8), (2, 2, 2))
    one_way = LinearOperator((8, 8), matvec=lambda v: v)  # pyright: ignore
    with pytest.raises(CosliceError, match="rmatvec is not defined"):
        interop.operator_from(one_way, (2, 2, 2))


@pytest.mark.parametrize("name", [*DIFFUSION, "sirt", "cgls", "admm-tv"])
def test_every_method_gives_with_their_operator_what_it_gives_with_ours(name):
    op = ThickSlices((10, 12, 12), 5)
    y = op.forward(uniform(op.domain, 1))
    theirs = interop.operator_from(interop.linear_operator(op, "pylops"))
    method = quick(name) if name in DIFFUSION else find_method(name)  # the others need projections or thick slices
    own, foreign = (run(LinearProblem(one, y), method, priors(method)).reconstruction for one in (op, theirs))
    assert relative(foreign, own) <= 1e-4 and float(own.std()) > 0.01


def test_a_physics_that_works_in_place_changes_nothing_of_ours():
    memory = torch.empty(1, 1, 2, 3, 4)

    class InPlace:
        def A(self, x):
            return memory.copy_(x.mul_(2))

        A_adjoint = A

    operator = interop.operator_from(InPlace(), (2, 3, 4))
    for action in (operator.forward, operator.adjoint):
        x, other = torch.rand(2, 3, 4), torch.rand(2, 3, 4)
        before, found = x.clone(), action(x)
        action(other)
        assert torch.equal(x, before) and torch.equal(found, 2 * x)


def test_a_measurement_may_have_the_bytes_of_another_machine():
    matrix = aslinearoperator(np.random.default_rng(0).random((5, 8)))
    y = np.arange(5, dtype=">f4")
    assert interop.problem_from(matrix, y, (2, 2, 2)).measurement.tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(CosliceError, match="y is a str, but a tensor or numbers are needed"):
        interop.problem_from(matrix, "five", (2, 2, 2))
