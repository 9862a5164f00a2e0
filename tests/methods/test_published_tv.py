"""ADMM with total variation as Du et al.'s and Chung et al.'s code has it, written anew in numpy for a dense A.

The code counts lengths in voxels and keeps lambda, rho as they are. A volume is (z, y, x); `axes` are numbers of it.
"""

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest
import torch

from coslice import find_method
from coslice.classical import mean_diagonal
from coslice.methods import Direct, StackTV, changed
from coslice.operators import Operator
from coslice.problems import LinearProblem, SparseViewCT
from laws import relative
from simulated import measured, uniform

SHAPE = (3, 5, 5)


def forward_differences(x, axes):
    """x[i + 1] - x[i], the first voxel behind the last one."""
    return [np.roll(x, -1, axis) - x for axis in axes]


def transposed(differences, axes):
    return sum(np.roll(d, 1, axis) - d for d, axis in zip(differences, axes, strict=True))


def solved(apply, right, x, steps):
    """Conjugate gradients, all voxels one vector."""
    r = right - apply(x)
    p = r
    for _ in range(steps):
        image = apply(p)
        length = (r * r).sum() / (p * image).sum()
        x, new = x + length * p, r - length * image
        p, r = new + (new * new).sum() / (r * r).sum() * p, new
    return x


def admm(a, y, x, axes, lam, rho, outer, inner):
    """argmin 1/2 |A x - y|^2 + lambda (|D_1 x|_1 + |D_2 x|_1 + ...), split and dual from 0."""
    split = dual = [np.zeros_like(x) for _ in axes]

    def system(v):
        normal = (a.T @ (a @ v.ravel())).reshape(v.shape)
        return normal + rho * transposed(forward_differences(v, axes), axes)

    for _ in range(outer):
        right = (a.T @ y).reshape(x.shape)
        right = right + rho * transposed([s - u for s, u in zip(split, dual, strict=True)], axes)
        x = solved(system, right, x, inner)
        found = [d + u for d, u in zip(forward_differences(x, axes), dual, strict=True)]
        split = [np.sign(v) * np.maximum(np.abs(v) - lam / rho, 0) for v in found]
        dual = [v - s for v, s in zip(found, split, strict=True)]
    return x


class Lengths(Operator):
    """A matrix of lengths in mm, of rays through a volume."""

    domain, codomain = SHAPE, (60,)

    def __init__(self, matrix):
        self.matrix = torch.from_numpy(matrix).float()

    def forward(self, volume):
        return self.matrix @ volume.reshape(-1)

    def adjoint(self, measurement):
        return (self.matrix.T @ measurement).view(SHAPE)


@dataclass(frozen=True, eq=False)
class InMm(LinearProblem):
    """One whose voxels are 1.7 mm wide."""

    @property
    def unit(self):
        return 1.7


LENGTHS = np.random.default_rng(0).random((60, math.prod(SHAPE)))
RAYS = 1.7 * np.where(LENGTHS < 0.2, 5 * LENGTHS, 0)  # every ray misses most voxels
# Of values up to 30, so that differences are above lambda / rho = 0.06 as those of thousands of voxels are.
Y = RAYS @ (30 * uniform(SHAPE).double().numpy().ravel())
PROBLEM = InMm(Lengths(RAYS), torch.from_numpy(Y).float())


def solve(solution):
    return solution.solve(PROBLEM, torch.zeros(SHAPE), (), lambda done, count: None)


@pytest.mark.parametrize("outer", [1, 3])
def test_the_published_admm_tv_is_that_of_the_code(outer):
    """recon_CBCT.py: lambda 3, rho 50, 20 steps, D_x and D_y, from zero; lengths in voxels, here of 1.7 mm."""
    method = find_method("admm-tv")
    tree = {path.removeprefix("solution."): value for path, value in method.published.items()}
    solution: Any = cast(Direct, changed(method, {"solution": tree | {"iterations": outer}})).solution
    theirs = torch.from_numpy(admm(RAYS / 1.7, Y / 1.7, np.zeros(SHAPE), (1, 2), 3.0, 50.0, outer, 20))
    assert relative(solve(solution), theirs) < 1e-4
    others = [{"axes": "zyx"}, {"periodic": False}, {"penalty": 10.0}, {"scale": "diagonal"}, {"cg_iterations": 2}]
    if outer > 1:  # the first x knows nothing of how differences shrink
        others += [{"isotropic": True}, {"weight": 30.0}]
    for other in others:
        assert relative(solve(changed(solution, other)), theirs) > 1e-3, other


def test_the_published_weights_are_a_quarter_and_four_of_the_mean_diagonal_at_30_views():
    shape, mm = (12, 96, 96), 3.0
    operator = measured(SparseViewCT(views=30), uniform(shape), (mm, mm, mm)).operator
    signs = uniform(shape, seed=1).sub(0.5).sign()
    diagonal = float(operator.forward(signs).square().sum(dtype=torch.float64)) / signs.numel() / mm**2
    assert 3 / diagonal == pytest.approx(0.25, rel=0.1)
    assert 50 / diagonal == pytest.approx(4.1, rel=0.1)


@pytest.mark.parametrize("passes", [1, 3])
def test_passes_are_iterations_of_admm_in_one_data_step(passes):
    """DDS+TV's ADMM along z, started at the prediction; in ours the last slice has no neighbour behind it."""
    step = StackTV(weight=2.0, penalty=10.0, iterations=5, passes=passes)
    prediction, fidelity = 30 * uniform(SHAPE, seed=1), step.build(PROBLEM, "z")
    scale = mean_diagonal(PROBLEM.operator)
    theirs = stack_admm(RAYS, Y, prediction.double().numpy(), 2.0 * scale, 10.0 * scale, passes)
    assert relative(fidelity(prediction, 0.1), torch.from_numpy(theirs)) < 1e-4


def stack_admm(a, y, x, lam, rho, outer):
    d = np.kron(np.diff(np.eye(SHAPE[0]), axis=0), np.eye(SHAPE[1] * SHAPE[2]))
    split = dual = np.zeros(len(d))
    for _ in range(outer):
        x = solved(
            lambda v: (a.T @ (a @ v.ravel()) + rho * d.T @ (d @ v.ravel())).reshape(SHAPE),
            (a.T @ y + rho * d.T @ (split - dual)).reshape(SHAPE),
            x,
            5,
        )
        found = d @ x.ravel() + dual
        split = np.sign(found) * np.maximum(np.abs(found) - lam / rho, 0)
        dual = found - split
    return x


def test_of_mr_the_code_has_no_admm_tv():
    assert not find_method("admm-tv", "zsr").published
