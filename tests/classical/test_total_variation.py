"""Total variation: D and its adjoint, closed forms, and equivalences."""

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch

from coslice.classical.iterative import cgls, conjugate_gradient
from coslice.classical.total_variation import AdmmState, TotalVariation, admm_step, admm_tv, mean_diagonal
from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, Grid, sparse_view
from coslice.operators import Projector
from coslice.operators.base import Operator
from coslice.problems import published_cone_beam

AXES = [names for count in (1, 2, 3) for names in combinations("zyx", count)]
SHAPE = (3, 4, 5)


class Dense(Operator):
    """A matrix as an operator from volumes (z, y, x)."""

    def __init__(self, matrix, domain):
        self.matrix = torch.as_tensor(matrix, dtype=torch.float32)
        self.domain, self.codomain = domain, (self.matrix.shape[0],)

    def forward(self, volume):
        return self.matrix @ volume.reshape(-1)

    def adjoint(self, measurement):
        return (self.matrix.T @ measurement).view(self.domain)


class Scaled(Operator):
    """A = factor * identity."""

    def __init__(self, shape, factor=1.0):
        self.domain = self.codomain = shape
        self.factor = factor

    def forward(self, volume):
        return self.factor * volume

    def adjoint(self, measurement):
        return self.factor * measurement


def random(*shape, seed=0):
    return torch.as_tensor(np.random.default_rng(seed).standard_normal(shape), dtype=torch.float32)


def denoise(noisy, weight, **options):
    return admm_tv(Scaled(tuple(noisy.shape)), noisy, weight, 1.0, 150, 6, **options)


@pytest.mark.parametrize("axes", AXES)
def test_adjoint(axes):
    variation = TotalVariation(axes)
    x, d = random(*SHAPE), random(len(axes), *SHAPE, seed=1)
    left = (variation.gradient(x).double() * d).sum()
    right = (x.double() * variation.adjoint(d)).sum()
    assert left.item() == pytest.approx(right.item(), rel=1e-5)


def test_gradient_is_the_forward_difference():
    x = random(*SHAPE)
    d = TotalVariation(("y", "z")).gradient(x)
    assert torch.equal(d[0, :, :-1], x[:, 1:] - x[:, :-1])
    assert torch.equal(d[1, :-1], x[1:] - x[:-1])
    assert float(d[0, :, -1].abs().max()) == float(d[1, -1].abs().max()) == 0


def test_axes_of_one_voxel_and_any_layout():
    x = random(1, 4, 5)
    assert float(TotalVariation(("z",)).value(x)) == 0
    stored = random(4, 5, 3).permute(2, 0, 1)
    d = TotalVariation().gradient(stored)
    assert torch.equal(d, TotalVariation().gradient(stored.contiguous()))
    assert d[0].stride() == stored.stride()


@pytest.mark.parametrize("isotropic", [True, False])
def test_shrink_is_the_proximal_map(isotropic):
    variation = TotalVariation(("z", "x"), isotropic)
    d, threshold = random(2, *SHAPE), 0.7
    best = variation.shrink(d, threshold)

    def objective(s):
        size = s.square().sum(0).sqrt().sum() if isotropic else s.abs().sum()
        return float(threshold * size + (s - d).square().sum() / 2)

    for seed in range(20):
        assert objective(best) <= objective(best + 0.05 * random(2, *SHAPE, seed=seed)) + 1e-5
    assert torch.equal(variation.shrink(d, 0.0), d)
    assert torch.equal(variation.shrink(torch.zeros_like(d), threshold), torch.zeros_like(d))


@pytest.mark.parametrize("axis", "zyx")
@pytest.mark.parametrize("isotropic", [True, False])
def test_denoising_a_step_moves_both_levels(axis, isotropic):
    # 3 samples at 1 and 7 at 0: the levels move towards each other by weight/3 and weight/7
    line = torch.cat((torch.ones(3), torch.zeros(7)))
    shape = [2, 2, 2]
    shape["zyx".index(axis)] = 10
    view = [1, 1, 1]
    view["zyx".index(axis)] = 10
    weight = 0.3
    x = denoise(line.view(view).expand(shape).clone(), weight, isotropic=isotropic)
    expected = torch.cat((torch.full((3,), 1 - weight / 3), torch.full((7,), weight / 7)))
    assert torch.allclose(x, expected.view(view).expand(shape), atol=1e-4)


def test_a_pulse_gives_way_from_both_sides_until_it_is_gone():
    pulse = torch.zeros(1, 1, 12)
    pulse[..., 5:7] = 1
    x = denoise(pulse, 0.2, axes=("x",))
    assert torch.allclose(x[0, 0, 5:7], torch.tensor(1 - 2 * 0.2 / 2), atol=1e-4)
    assert torch.allclose(denoise(pulse, 5.0, axes=("x",)), torch.full((1, 1, 12), 2 / 12), atol=1e-4)


def test_one_axis_is_both_isotropic_and_anisotropic():
    noisy = random(*SHAPE)
    same = [denoise(noisy, 0.4, axes=("z",), isotropic=i) for i in (True, False)]
    assert torch.equal(*same)


def test_slices_along_z_alone_are_lines_on_their_own():
    noisy = random(*SHAPE)
    x = denoise(noisy, 0.4, axes=("z",))
    line = denoise(noisy[:, 1:2, 2:3].clone(), 0.4, axes=("z",))
    assert torch.allclose(x[:, 1:2, 2:3], line, atol=1e-4)


def test_a_constant_volume_stays():
    a = np.abs(random(40, 60).numpy())
    operator = Dense(a, SHAPE)
    flat = torch.full(SHAPE, 0.7)
    x = admm_tv(operator, operator.forward(flat), 1e-2, 0.3, 60, 10)
    assert torch.allclose(x, flat, atol=2e-3)


def test_weight_zero_is_least_squares():
    operator = Dense(random(90, 60), SHAPE)
    y = random(90, seed=1)
    x = admm_tv(operator, y, 0.0, 1e-2, 60, 20)
    expected = conjugate_gradient(operator.normal, operator.adjoint(y), None, 200)
    assert torch.allclose(x, expected, atol=2e-3)


@pytest.mark.parametrize("isotropic", [True, False])
def test_objective_falls_to_a_minimum(isotropic):
    operator = Dense(random(40, 60), SHAPE)
    y = random(40, seed=1)
    weight = 0.02
    strength = weight * mean_diagonal(operator)
    variation = TotalVariation(isotropic=isotropic)

    def objective(x):
        return float((operator.forward(x) - y).square().sum()) / 2 + strength * variation.value(x)

    course = []
    x = admm_tv(
        operator, y, weight, 0.3, 150, 8, isotropic=isotropic, callback=lambda _, x: course.append(objective(x))
    )
    assert course[-1] < course[9] < course[0]
    assert all(after < before + 1e-3 * course[0] for before, after in pairwise(course[20:]))
    for seed in range(30):
        for size in (0.003, 0.03):
            assert objective(x) < objective(x + size * random(*SHAPE, seed=seed)) + 1e-4


def test_weight_means_the_same_for_an_operator_in_other_units():
    a, y = random(40, 60), random(40, seed=1)
    x = admm_tv(Dense(a, SHAPE), y, 0.01, 0.02, 20, 5)
    scaled = admm_tv(Dense(300 * a, SHAPE), 300 * y, 0.01, 0.02, 20, 5)
    assert torch.allclose(x, scaled, atol=1e-4)


def test_a_step_leaves_the_state_it_was_given():
    operator, variation = Scaled(SHAPE), TotalVariation()
    y = random(*SHAPE)
    state = AdmmState.started_at(torch.zeros(SHAPE), variation)
    first = admm_step(state, operator.normal, y, variation, 0.1, 1.0, 5)
    kept = [t.clone() for t in (first.volume, first.split, first.dual)]
    admm_step(first, operator.normal, y, variation, 0.1, 1.0, 5)
    assert float(state.volume.abs().max()) == 0
    assert all(torch.equal(a, b) for a, b in zip(kept, (first.volume, first.split, first.dual), strict=True))
    # Moreau: shrinking takes at most the threshold off, so the scaled dual never exceeds it
    assert float(first.dual.square().sum(0).sqrt().max()) <= 0.1 + 1e-6


def test_mean_diagonal_is_the_mean_squared_column():
    a = random(300, 2000).numpy() * np.linspace(0.1, 1, 2000)
    exact = (a**2).sum(0).mean()
    assert mean_diagonal(Dense(a, (10, 10, 20))) == pytest.approx(exact, rel=0.15)
    assert mean_diagonal(Scaled(SHAPE, 3.0)) == pytest.approx(9.0)


def test_mean_diagonal_does_not_depend_on_the_width_of_the_volume():
    narrow, wide = (
        Projector(published_cone_beam(sparse_view(8), grid), grid) for grid in (Grid((6, 48, 48)), Grid((6, 96, 96)))
    )
    assert mean_diagonal(wide) == pytest.approx(mean_diagonal(narrow), rel=0.2)


def test_bad_input_is_refused():
    operator = Scaled(SHAPE)
    with pytest.raises(CosliceError, match="axes"):
        TotalVariation(("z", "w"))
    with pytest.raises(CosliceError, match="penalty"):
        admm_tv(operator, torch.zeros(SHAPE), penalty=0.0)
    with pytest.raises(CosliceError, match="measurement of shape"):
        admm_tv(operator, torch.zeros(3))
    with pytest.raises(CosliceError, match="start of shape"):
        admm_tv(operator, torch.zeros(SHAPE), start=torch.zeros(3))


def test_few_views_of_a_piecewise_constant_object():
    # half as many measurements as voxels: least squares smears the object, total variation knows its edges
    grid = Grid((4, 24, 24), (2.0, 2.0, 2.0))
    geometry = ConeBeam(sparse_view(9), (6, 40), (3.0, 3.0), source_axis=150.0, axis_detector=75.0)
    truth = torch.zeros(grid.shape)
    truth[:, 6:18, 7:16] = 0.5
    truth[:, 9:13, 9:13] = 1.0
    projector = Projector(geometry, grid)
    y = projector.forward(truth)
    errors = [
        float((x - truth).norm() / truth.norm()) for x in (cgls(projector, y, 20), admm_tv(projector, y, iterations=20))
    ]
    assert errors[1] < errors[0] / 2
