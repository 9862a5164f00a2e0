"""TPDM against its code's update, written anew in plain torch, and what its ratio and its guidance promise."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from coslice import run
from coslice.methods import TPDM, Method, UpdateGuidance, changed, find_method
from coslice.networks.edm import EDMDenoiser
from coslice.networks.unet import UNet, UNetConfig
from coslice.noise import Key, standard_normal
from coslice.operators.base import Operator
from coslice.plans import plan
from coslice.priors import SlicePrior
from coslice.priors.blends import Perpendicular
from coslice.problems import LinearProblem
from coslice.sampling import Changing, sample
from simulated import thick_slices, uniform

SHAPE, SEED, SNR, ZETA = (4, 5, 6), 3, 0.16, 0.4
LEVELS = (0.4, 0.2, 0.1, 0.05)


class Rows(nn.Module):
    """A linear denoiser of images: rows are mixed, and shrunk towards 0.5 as sigma grows."""

    def __init__(self, count: int, seed: int):
        super().__init__()
        mixing = torch.eye(count) + 0.3 * (uniform((count, count), seed) - 0.5)
        self.mixing = mixing.double()

    def forward(self, x, sigma):
        trust = 1 / (1 + sigma.double()[:, None, None, None])
        return trust * (self.mixing @ x) + (1 - trust) * 0.5


class Dense(Operator):
    def __init__(self, matrix, shape):
        self.matrix, self.domain, self.codomain = matrix, shape, (len(matrix),)

    def forward(self, volume):
        return self.matrix @ volume.reshape(-1)

    def adjoint(self, measurement):
        return (self.matrix.T @ measurement).reshape(self.domain)


MATRIX = uniform((7, math.prod(SHAPE)), 5).double() - 0.5
AXIAL, CORONAL = Rows(SHAPE[1], 1), Rows(SHAPE[0], 2)
PRIORS = [SlicePrior(AXIAL, 1, (1e-3, 500.0)), SlicePrior(CORONAL, 1, (1e-3, 500.0), "zx")]


def posed(seed: int = 6) -> LinearProblem:
    return LinearProblem(Dense(MATRIX, SHAPE), uniform((7,), seed).double(), spacing=(1.0, 1.0, 1.0))


def published(x, levels, families, y, guide_both=False):
    """Lee et al.'s loop: at a level a corrector, then the mean of a predictor, both of one family; x after each."""
    seen = []
    for level, sigma in enumerate(levels):
        below = levels[level + 1] if level + 1 < len(levels) else 0.0
        for corrects in (True, False):
            x = x.detach().requires_grad_()
            # Images of the axial family are x[i, :, :], of the coronal one x[:, i, :].
            images = x if families[level] == 0 else x.transpose(0, 1)
            trust = 1 / (1 + sigma)
            denoised = trust * ((AXIAL, CORONAL)[families[level]].mixing @ images) + (1 - trust) * 0.5
            denoised = denoised if families[level] == 0 else denoised.transpose(0, 1)
            score = (denoised - x) / sigma**2
            if corrects:
                length = 2 * (SNR * sigma) ** 2
                key, axis = Key(SEED, 2 * level), families[level]
                sides = tuple(n for i, n in enumerate(SHAPE) if i != axis)
                noise = torch.stack([standard_normal(key, i, sides).double() for i in range(SHAPE[axis])], axis)
                updated = x + length * score + math.sqrt(2 * length) * noise
            else:
                updated = x + (sigma**2 - below**2) * score
            if families[level] == 0 or guide_both:
                norm = torch.linalg.vector_norm(y - MATRIX @ denoised.reshape(-1))
                (gradient,) = torch.autograd.grad(norm, x)
                updated = updated - ZETA * gradient
            x = updated.detach()
            seen.append(x)
    return seen


def built(problem, **changes: Any):
    method = changed(TPDM, {"data": {"step": ZETA}, "schedule": {"steps": 2 * len(LEVELS)}})
    method = changed(method, changes)
    planned = plan(problem, method, PRIORS, SEED)
    sigmas = (*(level for level in LEVELS for _ in range(2)), 0.0)
    prior = method.prior.over(problem, PRIORS, SEED, sigmas)
    return method, planned, prior, method.data.acting(problem, prior, "z", sigmas), sigmas


@pytest.mark.parametrize(("every", "families"), [(2, [0, 1, 0, 1]), (3, [0, 0, 1, 0])])
@pytest.mark.parametrize("planes", ["primary", "both"])
def test_every_update_is_the_published_one(every, families, planes):
    problem, x = posed(), uniform(SHAPE, 8).double()
    method, planned, prior, acting, sigmas = built(problem, prior={"auxiliary_every": every}, data={"planes": planes})
    noise = planned.noise(prior)[1]
    steps = sample(x, sigmas, acting.denoiser, acting.fidelity, noise, SEED, method.renoising, acting.correction)
    ours = [step.x for step in steps]
    theirs = published(x, LEVELS, families, problem.measurement, planes == "both")
    assert len(ours) == len(theirs) == 8
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_only_the_primary_prior_hears_of_the_measurement():
    x = uniform(SHAPE, 8).double()
    (*_, one, _), (*_, other, _) = built(posed(6)), built(posed(7))
    moved = []
    for acting in (one, other):
        assert isinstance(acting.denoiser, Changing) and acting.correction is not None
        predictions = [acting.denoiser.at(step)(x, 0.2) for step in range(8)]
        assert all(torch.equal(acting.denoiser.at(step)(x, 0.2), predictions[step]) for step in (2, 3))
        after = []
        for step in range(8):
            acting.denoiser.at(step)(x, 0.2)
            after.append(acting.correction(x, 0.2, 0.2))
        moved.append(after)
    for step, (mine, yours) in enumerate(zip(*moved, strict=True)):
        if step % 4 in (2, 3):
            assert mine is x and yours is x, "both calls of an auxiliary level are unconditional"
        else:
            assert not torch.equal(mine, yours) and not torch.equal(mine, x)


def test_unconditional_steps_ask_one_network():
    counted = []

    class Counted(Rows):
        def forward(self, x, sigma):
            counted.append(len(x))
            return super().forward(x, sigma)

    priors = [replace(PRIORS[0], denoiser=Counted(5, 1)), replace(PRIORS[1], denoiser=Counted(4, 2))]
    problem = posed()
    prior = TPDM.prior.over(problem, priors, SEED, (0.2, 0.2, 0.1, 0.1, 0.0))
    acting = TPDM.data.acting(problem, prior, "z", (0.2, 0.2, 0.1, 0.1, 0.0))
    calls = []
    assert isinstance(acting.denoiser, Changing)
    for step in range(4):
        counted.clear()
        acting.denoiser.at(step)(uniform(SHAPE, 8).double(), 0.2)
        calls.append(sum(counted))
    # Four axial slices, each also for its gradient, forwards and back; five coronal ones, once.
    assert calls == [8, 8, 5, 5]


def test_a_fractional_ratio_is_a_frequency_and_a_whole_one_a_rhythm():
    levels = tuple(k // 2 for k in range(4000))
    drawn = Perpendicular(PRIORS[0], PRIORS[1], 2.7, 5, levels)
    taken = [drawn.auxiliary(step) for step in range(4000)]
    assert taken[::2] == taken[1::2], "both calls of a level are one family's"
    # Five standard deviations of the mean of 2000 draws.
    assert sum(taken) / 4000 == pytest.approx(1 / 2.7, abs=5 * math.sqrt(0.37 * 0.63 / 2000))
    runs = sum(one and other for one, other in zip(taken[::2], taken[2::2], strict=False)) / 2000
    assert runs == pytest.approx(1 / 2.7**2, abs=0.04), "levels are drawn apart"
    assert taken == [replace(drawn).auxiliary(step) for step in range(4000)]
    assert taken != [replace(drawn, seed=6).auxiliary(step) for step in range(4000)]
    for every in (3, 3.0):
        whole = Perpendicular(PRIORS[0], PRIORS[1], every, 5, levels)
        assert [whole.auxiliary(step) for step in range(12)] == [False] * 4 + [True] * 2 + [False] * 4 + [True] * 2
    orders = []
    for seed in (5, 6):
        prior = plan(posed(), changed(TPDM, {"prior": {"auxiliary_every": 2.7}}), PRIORS, seed).prior()
        assert isinstance(prior, Changing)
        orders.append([prior.auxiliary(step) for step in range(100)])
    assert orders[0] != orders[1] and orders[0][::2] == orders[0][1::2]


def test_a_start_in_the_range_is_the_measurement_there_and_noise_elsewhere():
    """For thick slices, as its code starts: A x = y whatever the noise, which is all there is in the null space."""
    problem = thick_slices(uniform((20, 8, 8), 1), 5)
    method = changed(
        find_method("tpdm", "zsr"), {"start": {"volume": "range"}, "data": {"step": 0.0}, "schedule": {"steps": 2}}
    )
    asked: list[torch.Tensor] = []

    class Watching(nn.Module):
        def forward(self, x, sigma):
            asked.append(x[:, 0])
            return x

    watching = SlicePrior(Watching(), 1, (1e-3, 500.0), "zx")
    # Of several threads who asks first is a matter of luck.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run(problem, method, [watching, replace(watching, plane="yx")], seed=SEED)
    finally:
        torch.set_num_threads(threads)
    x = torch.cat(asked[:8]).movedim(0, 1)
    torch.testing.assert_close(problem.operator.forward(x), problem.measurement, rtol=0, atol=1e-4)
    pure = torch.stack([standard_normal(Key(SEED, 0, "start"), i, (20, 8)) for i in range(8)], 1) * 0.2
    known = problem.pseudo_inverse(1)
    free = pure - known(problem.operator.forward(pure))
    torch.testing.assert_close(x, known(problem.measurement) + free, rtol=0, atol=1e-4)


def test_thick_slices_of_mr_run_with_two_priors():
    problem = thick_slices(uniform((20, 8, 8), 1), 5)
    method = changed(find_method("tpdm", "zsr"), {"schedule": {"steps": 4}})
    assert isinstance(method, Method) and method.data == UpdateGuidance(step=4.0)
    assert (method.published["schedule.steps"], method.published["start.volume"]) == (4000, "range")
    coronal, axial = (random_prior(plane, seed) for seed, plane in enumerate(("zx", "yx")))
    found = [run(problem, method, [coronal, axial], seed=seed).reconstruction for seed in (SEED, SEED, SEED + 1)]
    assert found[0].shape == (20, 8, 8) and bool(found[0].isfinite().all())
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def random_prior(plane: str, seed: int) -> SlicePrior:
    """A small network whose weights are whatever chance made them."""
    torch.manual_seed(seed)
    network = UNet(UNetConfig(channels=16, multipliers=(1, 2), blocks=1))
    return SlicePrior(EDMDenoiser(network, 0.3, 0.2), 4, (1e-3, 500.0), plane)
