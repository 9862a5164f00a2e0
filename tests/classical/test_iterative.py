"""Iterative solvers against dense linear algebra."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from coslice.classical.iterative import Sirt, cgls, conjugate_gradient, sirt
from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, Grid, sparse_view
from coslice.operators import Projector, ThickSlices
from coslice.operators.base import Operator
from laws import assert_pseudo_inverse


class Dense(Operator):
    """A matrix as an operator from volumes (z, y, x)."""

    def __init__(self, matrix, domain):
        self.matrix = torch.as_tensor(matrix, dtype=torch.float32)
        self.domain, self.codomain = domain, (self.matrix.shape[0],)
        self.calls = 0

    def forward(self, volume):
        self.calls += 1
        return self.matrix @ volume.reshape(-1)

    def adjoint(self, measurement):
        return (self.matrix.T @ measurement).view(self.domain)


DOMAIN = (2, 3, 2)


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def positive(rows=18, seed=0):
    """A matrix with no entry below 0, as a projector's, with a third of them 0."""
    values = np.random.default_rng(seed).uniform(-0.5, 1, (rows, 12))
    return np.clip(values, 0, None)


def spd():
    return torch.as_tensor(random(12, 12) @ random(12, 12).T + 8 * np.eye(12), dtype=torch.float32)


def test_conjugate_gradient_solves_in_as_many_steps_as_unknowns():
    m, b = spd(), torch.as_tensor(random(12, seed=1), dtype=torch.float32)
    z = conjugate_gradient(lambda v: m @ v, b, torch.ones(12), 12)
    assert torch.allclose(z, torch.linalg.solve(m, b), atol=1e-4)


def test_conjugate_gradient_error_falls_in_every_iteration():
    m, b = spd(), torch.as_tensor(random(12, seed=1), dtype=torch.float32)
    truth = torch.linalg.solve(m.double(), b.double())
    errors = []

    def record(iteration, z):
        assert iteration == len(errors) + 1
        away = z.double() - truth
        errors.append(float(away @ m.double() @ away))

    conjugate_gradient(lambda v: m @ v, b, None, 9, callback=record)
    assert len(errors) == 9
    assert all(after < before for before, after in pairwise(errors))


def test_conjugate_gradient_minimises_over_the_krylov_space():
    m, b = spd().double(), torch.as_tensor(random(12, seed=1))
    basis = torch.stack([torch.linalg.matrix_power(m, k) @ b for k in range(3)], 1)
    best = basis @ torch.linalg.solve(basis.T @ m @ basis, basis.T @ b)
    z = conjugate_gradient(lambda v: m.float() @ v, b.float(), None, 3)
    assert torch.allclose(z.double(), best, atol=1e-4)


def test_conjugate_gradient_rests_at_the_solution():
    m = torch.diag(torch.arange(1.0, 5.0))
    z = conjugate_gradient(lambda v: m @ v, m @ torch.ones(4), torch.ones(4), 50)
    assert torch.equal(z, torch.ones(4))
    assert torch.equal(conjugate_gradient(lambda v: m @ v, torch.zeros(4), None, 50), torch.zeros(4))
    long = conjugate_gradient(lambda v: m @ v, m @ torch.ones(4), None, 500)
    assert torch.allclose(long, torch.ones(4), atol=1e-6)


def test_conjugate_gradient_stops_where_the_matrix_is_zero():
    m = torch.diag(torch.tensor([2.0, 0.0]))
    z = conjugate_gradient(lambda v: m @ v, torch.tensor([2.0, 0.0]), torch.tensor([0.0, 7.0]), 50)
    assert torch.allclose(z, torch.tensor([1.0, 7.0]))
    assert conjugate_gradient(lambda v: 0 * v, torch.ones(2), None, 5).isfinite().all()


@pytest.mark.parametrize("options", [{"factor": 5, "fwhm": 5.0}, {"factor": 2, "thickness": 3.0}])
@pytest.mark.parametrize("iterations", [12, 200])
def test_conjugate_gradient_rests_at_a_solution_of_a_singular_system(options, iterations):
    """What is left of the residual is rounding, which has parts where M is 0: a step along them would know no bound."""
    operator = ThickSlices((20, 4, 5), **options)
    x, start = torch.rand(2, *operator.domain, generator=torch.Generator().manual_seed(0))
    y = operator.forward(x)
    matrix = torch.stack([operator.forward(e.view(operator.domain)).flatten() for e in torch.eye(start.numel())], 1)
    wanted = start + (torch.linalg.pinv(matrix.double()) @ (y - operator.forward(start)).flatten().double()).view(
        operator.domain
    )
    found = conjugate_gradient(operator.normal, operator.adjoint(y), start, iterations)
    assert (found - wanted).abs().max() < 1e-4


def test_conjugate_gradient_tolerance_is_relative():
    m, b = spd(), torch.as_tensor(random(12, seed=1), dtype=torch.float32)
    for scale in (1.0, 1e3):
        z = conjugate_gradient(lambda v: m @ v, scale * b, None, 100, tolerance=0.1)
        left = float((m @ z - scale * b).norm() / (scale * b).norm())
        assert 1e-4 < left <= 0.1


def test_conjugate_gradient_leaves_its_arguments_and_keeps_the_layout():
    right = torch.as_tensor(random(3, 4, 5), dtype=torch.float32).permute(2, 0, 1)
    start = torch.ones(5, 3, 4)
    scale = torch.linspace(1, 2, 60).view(3, 4, 5).permute(2, 0, 1)
    before = right.clone()
    z = conjugate_gradient(lambda v: scale * v, right, start, 40)
    assert torch.equal(right, before)
    assert torch.equal(start, torch.ones(5, 3, 4))
    assert z.stride() == right.stride()
    assert torch.allclose(z, right / scale, atol=1e-5)


@pytest.mark.parametrize("rows", [8, 12, 20])
def test_cgls_is_the_least_squares_solution_of_least_norm(rows):
    a, y = random(rows, 12), random(rows, seed=1)
    x = cgls(Dense(a, DOMAIN), torch.as_tensor(y, dtype=torch.float32), 60)
    assert np.allclose(x.flatten().numpy(), np.linalg.lstsq(a, y, rcond=None)[0], atol=2e-3)


def test_cgls_keeps_what_the_operator_cannot_see():
    a, y, start = random(8, 12), random(8, seed=1), random(12, seed=2)
    x = cgls(
        Dense(a, DOMAIN), torch.as_tensor(y).float(), 60, start=torch.as_tensor(start, dtype=torch.float32).view(DOMAIN)
    )
    expected = start + np.linalg.lstsq(a, y - a @ start, rcond=None)[0]
    assert np.allclose(x.flatten().numpy(), expected, atol=2e-3)


def test_cgls_equals_conjugate_gradient_on_the_normal_equations():
    operator = Dense(random(20, 12), DOMAIN)
    y = torch.as_tensor(random(20, seed=1), dtype=torch.float32)
    expected = conjugate_gradient(operator.normal, operator.adjoint(y), None, 4)
    assert torch.allclose(cgls(operator, y, 4), expected, atol=1e-4)


def test_cgls_of_nothing_is_nothing():
    assert torch.equal(cgls(Dense(random(8, 12), DOMAIN), torch.zeros(8), 5), torch.zeros(DOMAIN))


def test_sirt_residual_falls_and_ends_at_weighted_least_squares():
    a, y = positive(), random(18, seed=1)
    norms = []
    weight = 1 / a.sum(1)

    def record(_, x):
        norms.append(float((weight * (y - a @ x.double().flatten().numpy()) ** 2).sum()))

    x = sirt(Dense(a, DOMAIN), torch.as_tensor(y).float(), 4000, positivity=False, callback=record)
    assert all(after <= before + 1e-5 for before, after in pairwise(norms))
    root = np.sqrt(weight)
    expected = np.linalg.lstsq(root[:, None] * a, root * y, rcond=None)[0]
    assert np.allclose(x.flatten().numpy(), expected, atol=0.02)


def test_sirt_first_iteration_is_the_formula():
    a, y = positive(), random(18, seed=1)
    x = sirt(Dense(a, DOMAIN), torch.as_tensor(y).float(), 1, positivity=False)
    assert np.allclose(x.flatten().numpy(), (a.T @ (y / a.sum(1))) / a.sum(0), atol=1e-5)


def test_sirt_is_nonnegative_and_rests_at_the_truth():
    operator = Dense(positive(), DOMAIN)
    truth = torch.as_tensor(np.abs(random(*DOMAIN)), dtype=torch.float32)
    y = operator.forward(truth)
    assert torch.allclose(sirt(operator, y, 20, start=truth), truth, atol=1e-5)
    assert float(sirt(operator, -y, 20).min()) == 0
    assert float(sirt(operator, torch.as_tensor(random(18)).float(), 50).min()) >= 0


def test_sirt_ignores_rays_and_voxels_that_miss():
    a = positive()
    a[3], a[:, 5] = 0, 0
    y = torch.as_tensor(random(18, seed=1), dtype=torch.float32)
    start = torch.full(DOMAIN, 2.0)
    x = sirt(Dense(a, DOMAIN), y, 30, start=start)
    assert x.isfinite().all()
    assert float(x.flatten()[5]) == 2.0
    changed = y.clone()
    changed[3] = 1e6
    assert torch.equal(sirt(Dense(a, DOMAIN), changed, 30, start=start), x)


def test_sirt_object_computes_its_weights_once():
    operator = Dense(positive(), DOMAIN)
    y = torch.as_tensor(random(18, seed=1), dtype=torch.float32)
    inverse = Sirt(operator, iterations=10)
    first = inverse(y)
    used = operator.calls
    assert torch.equal(inverse(y), first)
    assert operator.calls - used == 9  # from zero, A x is known; no call for the weights
    assert torch.equal(first, sirt(operator, y, 10))


def test_bad_input_is_refused():
    operator = Dense(positive(), DOMAIN)
    for solve in (cgls, sirt):
        with pytest.raises(CosliceError, match="measurement of shape"):
            solve(operator, torch.zeros(3))
        with pytest.raises(CosliceError, match="start of shape"):
            solve(operator, torch.zeros(18), start=torch.zeros(2))
        with pytest.raises(CosliceError, match="iterations"):
            solve(operator, torch.zeros(18), iterations=-1)


def test_sirt_on_a_projector_with_voxels_no_ray_meets():
    grid = Grid((6, 12, 12), (2.0, 2.0, 2.0))
    geometry = ConeBeam(sparse_view(7), (2, 9), (2.0, 2.0), source_axis=80.0, axis_detector=20.0)
    projector = Projector(geometry, grid)
    inverse = Sirt(projector, 40, positivity=False)
    rays, voxels = inverse.diagonals(torch.device("cpu"))
    assert float(voxels.min()) == 0
    truth = torch.as_tensor(random(*grid.shape), dtype=torch.float32)
    norms = []
    y = projector.forward(truth)
    x = inverse(y, callback=lambda _, x: norms.append(float((rays * (y - projector.forward(x)).square()).sum())))
    assert all(after <= before for before, after in pairwise(norms))
    assert float(x[voxels == 0].abs().max()) == 0
    assert torch.allclose(inverse(y, start=truth), truth, atol=1e-4)


def test_cgls_to_its_end_is_the_pseudo_inverse_of_a_projector():
    """Few rays through many voxels, so that all singular values are far from 0."""
    scanner = ConeBeam((0.0, 0.6, 2.1), (4, 6), (3.0, 3.0), source_axis=60, axis_detector=40)
    projector = Projector(scanner, Grid((6, 12, 12)))
    assert_pseudo_inverse(projector, lambda y: cgls(projector, y, 150), tolerance=1e-3)
