"""DiffusionBlend++, DiffusionBlend and TPDM against their papers' updates in the papers' own variables, step by step.

Slices are jointly Gaussian, so what an ideal network of patches or of slices would answer is known. Prior, noise,
re-noising and data step are those of the method of that name; patches, lanes and scores are written anew here.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import papers
from coslice.methods import Windows, changed, find_method
from coslice.noise import Independent, Key, Slerp, generator, standard_normal
from coslice.operators.base import Operator
from coslice.plans import plan
from coslice.priors import SlicePrior
from coslice.problems import LinearProblem
from coslice.sampling import sample, start
from coslice.schedule import Geometric

SEED, MEAN = 11, 0.3
SPACING = (2.0, 1.0, 1.0)
# Levels that single precision holds: priors hand them to networks in it.
SIGMAS = (*(float(torch.tensor(s, dtype=torch.float32)) for s in Geometric(13, 5.0, 0.02).sigmas()[:-1]), 0.0)
NOISES = [{"noise": "independent"}, {"noise": "iscs"}, {"noise": "iscs", "prior": {"lanes": False}}]
ABAR = [1 / (1 + sigma**2) for sigma in SIGMAS]


def likeness(count: int, gap: float = 1.0) -> torch.Tensor:
    """The covariance of lines `gap` apart."""
    place = gap * torch.arange(count, dtype=torch.float64)
    return 0.09 * torch.exp(-(place[:, None] - place).abs() / 2)


class Exact(nn.Module):
    """E[x_0 | x] of images whose `lines`, channels or rows, are alike to their neighbours, and nothing else is."""

    def __init__(self, lines: str):
        super().__init__()
        self.lines, self.positions = lines, lines == "channels"

    def forward(self, x, sigma, distance=None):
        gap = 1.0 if distance is None else float(distance[0]) / SPACING[0]
        x = x if self.positions else x.transpose(1, 2)
        covariance = likeness(x.shape[1], gap)
        white = float(sigma[0]) ** 2 * torch.eye(len(covariance), dtype=torch.float64)
        wiener = covariance @ torch.linalg.inv(covariance + white)
        denoised = torch.einsum("ab,nbhw->nahw", wiener, x - MEAN) + MEAN
        return denoised if self.positions else denoised.transpose(1, 2)


class Lines(Operator):
    """A dense A on the first axes of a volume, flattened; the same for every column of what is left."""

    def __init__(self, matrix, shape):
        self.matrix, self.domain = matrix, shape
        self.codomain = (len(matrix), math.prod(shape) // matrix.shape[1])

    def forward(self, volume):
        return self.matrix @ volume.reshape(self.matrix.shape[1], -1)

    def adjoint(self, measurement):
        return (self.matrix.T @ measurement).reshape(self.domain)


def posed(covariance: torch.Tensor, shape: tuple[int, int, int]) -> tuple[papers.Gaussian, LinearProblem]:
    """Five measurements of the lines that `covariance` is of."""
    random = torch.Generator().manual_seed(2)
    a = torch.randn(5, len(covariance), generator=random, dtype=torch.float64)
    y = torch.randn(5, 1, generator=random, dtype=torch.float64)
    operator = Lines(a, shape)
    problem = LinearProblem(operator, y.expand(operator.codomain).clone(), spacing=SPACING)
    return papers.Gaussian(a, y, torch.full((len(a.T), 1), MEAN, dtype=torch.float64), covariance), problem


def assert_steps(problem, method, priors, update, drawn):
    """update(k, x, z) in the paper's x = sqrt(abar) x_ours; drawn(key, step that reads it) is the paper's z."""
    planned = plan(problem, method, priors, SEED)
    prior = planned.prior()
    start_noise, noise = planned.noise(prior)
    denoiser, fidelity = method.data.guided(problem, prior), method.data.build(problem, "z")
    x = start(torch.full(problem.shape, MEAN, dtype=torch.float64), SIGMAS[0], start_noise, SEED)
    lines = len(problem.operator.matrix.T)
    expected = MEAN + SIGMAS[0] * drawn(Key(SEED, 0, "start"), 0)
    torch.testing.assert_close(x.reshape(lines, -1), expected, rtol=0, atol=1e-6)
    theirs = math.sqrt(ABAR[0]) * x.reshape(lines, -1)
    steps = list(sample(x, SIGMAS, denoiser, fidelity, noise, SEED, method.renoising))
    assert len(steps) == 13
    for step in steps:
        k = step.index
        theirs = update(k, theirs, drawn(Key(SEED, k), k + 1))
        ours = math.sqrt(ABAR[k + 1]) * step.x.reshape(lines, -1)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def offset(step: int) -> int:
    """The paper's m, k of which is none, as it was drawn."""
    return int(generator(Key(SEED, step, "blend"), 0).integers(3))


def patches(step: int, height: int) -> list[range]:
    """Cross partitions at even steps, else adjacency from a random slice; the ends first, to be overwritten."""
    if step % 2 == 0:
        whole = [range(b + j, b + j + 9, 3) for b in range(0, height - 8, 9) for j in range(3)]
        rest = [range(i - 6, i + 1, 3) for i in range(9 * (height // 9), height)]
        return [*rest, *whole]
    whole = [range(i, i + 3) for i in range(offset(step), height - 2, 3)]
    return [range(3), range(height - 3, height), *whole]


def slices_noise(method, height, plane):
    """z in the paper's words: one for each slice, or eq. 11 of ISCS within a lane, which has no two of a patch."""

    def lane(i, step):
        if not method.prior.lanes:
            return 0
        if isinstance(method.prior, Windows):
            return i % 3
        return i // 3 % 3 if step % 2 == 0 else (i - offset(step)) % 3

    def drawn(key, step):
        if isinstance(method.noise, Independent):
            planes = [standard_normal(key, i, plane).double() for i in range(height)]
        else:
            planes = []
            for i in range(height):
                of, a = lane(i, step), i / (height - 1)
                z_1, z_s = (standard_normal(key, 2 * of + end, plane).double() for end in (0, 1))
                # The angle is measured in single precision.
                omega = Slerp().anchors(key, plane, of)[2]
                assert omega == pytest.approx(float(torch.acos((z_1 * z_s).sum() / z_1.norm() / z_s.norm())), abs=1e-6)
                planes.append((math.sin((1 - a) * omega) * z_1 + math.sin(a * omega) * z_s) / math.sin(omega))
        return torch.stack(planes).flatten(1)

    return drawn


@pytest.mark.parametrize("height", [9, 11])
@pytest.mark.parametrize("name", ["diffusionblend++", "diffusionblend"])
@pytest.mark.parametrize("noise", NOISES)
def test_blended_patches_are_the_paper_s(height, name, noise):
    """DDIM with eta 0.85, CG on x_{0|t}, variable sharing: a partition to a step (Algorithms 1 and 2)."""
    plane = (4, 6)
    p, problem = posed(likeness(height), (height, *plane))
    method = changed(find_method(name), {"data": {"iterations": 3}} | noise)
    prior = SlicePrior(Exact("channels"), 1, (1e-3, 10.0), channels=3)

    def update(k, x, z):
        predict = papers.given_neighbours if name == "diffusionblend" else papers.of_patches(patches(k, height))
        return papers.shared(p, x, z, ABAR[k], ABAR[k + 1], 0.85, papers.krylov(p, 3), predict)

    assert_steps(problem, method, prior, update, slices_noise(method, height, plane))


@pytest.mark.parametrize("every", [2, 3])
@pytest.mark.parametrize("noise", ["independent", "identical"])
@pytest.mark.parametrize("name", ["tpdm", "tpdm-cg"])
def test_two_planes_in_turn_are_the_papers(name, noise, every):
    """DPS, or DDS's data step, with the score of slices alone: rows are y for axial ones, z for coronal ones."""
    shape = (4, 5, 6)
    axial = torch.kron(torch.eye(4, dtype=torch.float64), likeness(5))
    coronal = torch.kron(likeness(4), torch.eye(5, dtype=torch.float64))
    (p, problem), (q, _) = posed(axial, shape), posed(coronal, shape)
    own = {"data": {"iterations": 3}}
    if name == "tpdm":  # as before its code's sampler; that is in test_two_planes
        own = {"data": {"kind": "guidance", "step": 0.4}, "renoising": {"kind": "ddim", "eta": 1.0}}
    method = changed(find_method(name), {"noise": noise, "prior": {"auxiliary_every": every}} | own)
    priors = [SlicePrior(Exact("rows"), 1, (1e-3, 10.0), plane) for plane in ("yx", "zx")]

    def second(k):
        return k % every == every - 1

    def update(k, x, z):
        seen, abar, before = q if second(k) else p, ABAR[k], ABAR[k + 1]
        if name == "tpdm-cg":
            return papers.shared(seen, x, z, abar, before, 1.0, papers.krylov(seen, 3))
        fresh = 1 - (1 - before) / before / ((1 - abar) / abar)
        # The step of DPS that a constant one of ours is.
        return papers.dps(seen, x, z, abar, before, math.sqrt(abar * before) * fresh * 0.4)

    def drawn(key, step):
        axis = 1 if second(step) else 0
        sides = tuple(n for i, n in enumerate(shape) if i != axis)
        planes = [standard_normal(key, i if noise == "independent" else 0, sides) for i in range(shape[axis])]
        return torch.stack(planes, axis).double().reshape(20, -1)

    assert_steps(problem, method, priors, update, drawn)
