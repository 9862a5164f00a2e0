"""Every published method, as parts of the one loop, against its paper's update in the paper's own variables.

The prior is Gaussian, so its denoiser is known; A is a small matrix along z, and each of the many columns (y, x) of
the volume is a problem of its own. Two laws for each method: (a) from the same noise, every step of the loop is the
paper's; (b) mean and covariance over columns at the end are what the paper's update, affine in x and noise, gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

import papers
from coslice.fidelity import AfterCorrector, DiffPIRWeight, ProximalCG, ProximalTV, RangeNullSpace, unchanged
from coslice.noise import Identical, Independent, Key, Noise, Slerp, standard_normal
from coslice.operators.base import Operator
from coslice.priors import Guided, by_autograd
from coslice.renoising import DDIM, DiffPIR, PredictorCorrector, Renoising, Share
from coslice.sampling import sample, start
from coslice.schedule import Geometric, with_correctors

HEIGHT, PLANE = 6, (48, 48)
SEED = 11
INDEPENDENT, FULL = Independent(), Share(1.0)


def problem(spread: float = 0.0, white: bool = False) -> papers.Gaussian:
    """Three measurements of six slices; slices alike to their neighbours, or each alone."""
    generator = torch.Generator().manual_seed(2)
    a = torch.randn(3, HEIGHT, generator=generator, dtype=torch.float64)
    y = torch.randn(3, 1, generator=generator, dtype=torch.float64)
    place = torch.arange(HEIGHT, dtype=torch.float64)
    likeness = torch.eye(HEIGHT, dtype=torch.float64) if white else torch.exp(-(place[:, None] - place).abs() / 2)
    return papers.Gaussian(a, y, (0.2 + 0.1 * place)[:, None], 0.09 * likeness, spread)


class AlongZ(Operator):
    """A matrix along z, the same for every (y, x)."""

    def __init__(self, matrix, plane):
        self.matrix = matrix
        self.domain, self.codomain = (matrix.shape[1], *plane), (matrix.shape[0], *plane)

    def forward(self, volume):
        return torch.einsum("mz,zyx->myx", self.matrix, volume)

    def adjoint(self, measurement):
        return torch.einsum("mz,myx->zyx", self.matrix, measurement)


def denoiser(p: papers.Gaussian):
    """E[x_0 | x] = mean + C (C + sigma^2)^-1 (x - mean)."""

    def denoise(x, sigma):
        wiener = p.covariance @ torch.linalg.inv(p.covariance + sigma**2 * p.eye)
        return torch.einsum("ab,byx->ayx", wiener, x - p.mean[..., None]) + p.mean[..., None]

    return denoise


# Levels of a variance-preserving model, and the same in the clock of sigma.
ABAR = [*(1 / (1 + s**2) for s in Geometric(14, 20.0, 0.02).sigmas()[:-1]), 1.0]
SIGMAS = tuple(math.sqrt((1 - abar) / abar) for abar in ABAR)
EXPLODING = with_correctors(Geometric(9, 20.0, 0.02).sigmas())


@dataclass(frozen=True)
class Case:
    """A method: its parts for the loop, from (p, A, y), and the paper's update(k, x, z), from p.

    `spread` is that of the measurement's noise. The paper's x is `scales` times the loop's, level by level. Where the
    update is not `affine`, (b) cannot be asked.
    """

    parts: Callable[..., dict[str, Any]]
    update: Callable[[papers.Gaussian], Callable]
    spread: float = 0.0
    noise: Noise = INDEPENDENT
    sigmas: tuple[float, ...] = SIGMAS
    scales: tuple[float, ...] = tuple(math.sqrt(abar) for abar in ABAR)
    affine: bool = True


def vp(update, **options):
    """An update of x_t at (abar_t, abar_{t-1}) as update(k, x, z) of a problem; options may be functions of it."""

    def of(p):
        made = {name: value(p) if callable(value) else value for name, value in options.items()}
        return lambda k, x, z: update(p, x, z, ABAR[k], ABAR[k + 1], **made)

    return of


def dps_update(step):
    """zeta_t of DPS that a constant step of ours is, for ancestral sampling."""

    def update(p, x, z, abar, before):
        beta = 1 - (1 - before) / before / ((1 - abar) / abar)
        return papers.dps(p, x, z, abar, before, math.sqrt(abar * before) * beta * step)

    return vp(update)


def mbir_update(tv):
    """Corrector at even steps, predictor at odd ones; ADMM after the corrector, and after the last predictor."""

    def of(p):
        variation = tv(p) if tv else papers.nothing

        def update(k, x, z):
            sigma, before = EXPLODING[k], EXPLODING[k + 1]
            if k % 2 == 0:
                return variation(papers.corrector(p, x, z, sigma, 0.16), 1.0)
            x = papers.predictor(p, x, z, sigma, before)
            return variation(x, 1.0) if before == 0 else x

        return update

    return of


def pinv(p):
    return lambda y: torch.einsum("zm,myx->zyx", torch.linalg.pinv(p.a), y)


def cg(gamma, iterations=12):
    return lambda p, op, y: ProximalCG(op, y, iterations, gamma)


def ddnm(p, op, y):
    return RangeNullSpace(op, y, pinv(p))


def method(fidelity=lambda p, op, y: unchanged, renoising: Renoising = FULL, correction=None, prior=None):
    def parts(p, op, y):
        return {
            "prior": prior(p, op, y) if prior else denoiser(p),
            "fidelity": fidelity(p, op, y),
            "renoising": renoising,
            "correction": correction(p, op, y) if correction else None,
        }

    return parts


def tv_of_papers(iterations, cg_iterations):
    return lambda p: papers.TotalVariation(p, 0.02, 0.7, iterations, cg_iterations)


def tv(iterations, cg_iterations):
    return lambda p, op, y: ProximalTV(op, y, 0.02, 0.7, "z", iterations, cg_iterations)


def guided(step):
    return lambda p, op, y: Guided(denoiser(p), by_autograd(denoiser(p)), op, y, step)


VE: dict[str, Any] = {"sigmas": EXPLODING, "scales": (1.0,) * len(EXPLODING)}
DDS = method(cg(0.7))
CASES = {
    "DDIM, eta 0": Case(method(renoising=DDIM(0.0)), vp(papers.ddim, eta=0.0)),
    "DDIM, eta 0.5": Case(method(renoising=DDIM(0.5)), vp(papers.ddim, eta=0.5)),
    "DDIM, eta 1": Case(method(renoising=DDIM(1.0)), vp(papers.ddim, eta=1.0)),
    "DDPM, ancestral": Case(method(renoising=DDIM(1.0)), vp(papers.ddpm)),
    "DDPM, full re-noising": Case(method(), vp(papers.shared, eta=1.0)),
    "DDS, gamma": Case(method(cg(0.7), DDIM(0.85)), vp(papers.ddim, eta=0.85, data=lambda p: papers.proximal(p, 0.7))),
    "DDS, early stop": Case(
        method(cg(None, 2), Share(0.85)), vp(papers.shared, eta=0.85, data=lambda p: papers.krylov(p, 2)), affine=False
    ),
    "DDS, run to its end": Case(method(cg(None, 3), Share(1.0)), vp(papers.shared, eta=1.0, data=papers.null_space)),
    "DDNM, the code": Case(method(ddnm, Share(0.85)), vp(papers.shared, eta=0.85, data=papers.null_space)),
    "DDNM, the paper": Case(method(ddnm, DDIM(1.0, origin="estimate")), vp(papers.ddpm, data=papers.null_space)),
    "DDS+TV": Case(method(tv(2, 2), Share(0.85)), vp(papers.shared, eta=0.85, data=tv_of_papers(2, 2)), affine=False),
    "DiffPIR": Case(
        method(lambda p, op, y: ProximalCG(op, y, 12, DiffPIRWeight(5.0, p.spread)), DiffPIR(0.3)),
        vp(papers.diffpir, lam=5.0, zeta=0.3),
        spread=0.1,
    ),
    "DPS": Case(method(renoising=DDIM(1.0), prior=guided(0.4)), dps_update(0.4), affine=False),
    "predictor-corrector": Case(method(renoising=PredictorCorrector(0.16)), mbir_update(None), **VE),
    "DiffusionMBIR": Case(
        method(renoising=PredictorCorrector(0.16), correction=lambda p, op, y: AfterCorrector(tv(1, 1)(p, op, y))),
        mbir_update(tv_of_papers(1, 1)),
        affine=False,
        **VE,
    ),
    "DDS + BCS": Case(DDS, vp(papers.shared, eta=1.0, data=lambda p: papers.proximal(p, 0.7)), noise=Identical()),
    "DDS + ISCS": Case(DDS, vp(papers.shared, eta=1.0, data=lambda p: papers.proximal(p, 0.7)), noise=Slerp()),
    "DDNM + ISCS": Case(method(ddnm, Share(0.85)), vp(papers.shared, eta=0.85, data=papers.null_space), noise=Slerp()),
}
AFFINE = [name for name, case in CASES.items() if case.affine]


def run(parts, p: papers.Gaussian, plane: tuple[int, int], sigmas=SIGMAS, noise: Noise = INDEPENDENT):
    """The first volume, mean + sigmas[0] noise, and the steps of the loop from it."""
    operator = AlongZ(p.a, plane)
    x = start(p.mean[..., None].repeat(1, *plane), sigmas[0], noise, SEED)
    made = parts(p, operator, p.y[..., None].expand(operator.codomain).clone())
    return x, sample(x, sigmas, noise=noise, seed=SEED, **made)


def final(*arguments) -> torch.Tensor:
    """Where `run` ends, (HEIGHT, columns)."""
    *_, last = run(*arguments)[1]
    return last.x.flatten(1)


def drawn(noise: Noise, plane: tuple[int, int], key: Key) -> torch.Tensor:
    """The strategies in the papers' words, (HEIGHT, columns): z_i for each slice, one for all, or eq. 11."""
    if isinstance(noise, Independent):
        planes = [standard_normal(key, i, plane) for i in range(HEIGHT)]
    elif isinstance(noise, Identical):
        planes = [standard_normal(key, 0, plane)] * HEIGHT
    else:
        assert isinstance(noise, Slerp)
        z_1, z_s = (standard_normal(key, i, plane).double() for i in range(2))
        # The noise is drawn, and its angle measured, in single precision.
        omega = noise.anchors(key, plane)[2]
        assert omega == pytest.approx(float(torch.acos((z_1 * z_s).sum() / z_1.norm() / z_s.norm())), abs=1e-6)
        places = [i / (HEIGHT - 1) for i in range(HEIGHT)]
        planes = [(math.sin((1 - a) * omega) * z_1 + math.sin(a * omega) * z_s) / math.sin(omega) for a in places]
    return torch.stack(planes).double().flatten(1)


@pytest.mark.parametrize("name", CASES)
def test_every_step_is_the_paper_s(name):
    case, plane = CASES[name], (4, 5)
    p = problem(case.spread)
    x, steps = run(case.parts, p, plane, case.sigmas, case.noise)
    theirs, update = case.scales[0] * x.flatten(1), case.update(p)
    for step in steps:
        theirs = update(step.index, theirs, drawn(case.noise, plane, Key(SEED, step.index)))
        ours = case.scales[step.index + 1] * step.x.flatten(1)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def propagated(case: Case, p: papers.Gaussian) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance of a column at the end: the update's matrices, asked for one basis vector at a time."""
    place = torch.linspace(0, 1, HEIGHT, dtype=torch.float64)
    likeness = {
        Independent: p.eye,
        Identical: torch.ones_like(p.eye),
        Slerp: torch.cos(math.pi / 2 * (place[:, None] - place)),
    }[type(case.noise)]
    update, zero = case.update(p), torch.zeros_like(p.eye)
    mean, covariance = case.scales[0] * p.mean, (case.scales[0] * case.sigmas[0]) ** 2 * likeness
    for k in range(len(case.sigmas) - 1):
        offset = update(k, zero, zero)[:, :1]
        gain, fresh = update(k, p.eye, zero) - offset, update(k, zero, p.eye) - offset
        mean, covariance = gain @ mean + offset, gain @ covariance @ gain.T + fresh @ likeness @ fresh.T
    return mean, covariance


def assert_mean_and_spread(x: torch.Tensor, mean: torch.Tensor, covariance: torch.Tensor, errors: float = 3.0) -> None:
    """Columns of x (n, N) ~ N(mean, covariance), by three statistics whose own spread is known.

    Whitened, N |sample mean - mean|^2 is chi-squared of `rank` degrees, and N times the trace of the sample covariance
    one of N rank; entries of the sample covariance have variance (C_ii C_jj + C_ij^2) / N.
    """
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > 1e-9 * values.max()
    rank, count = int(kept.sum()), x.shape[1]
    white = (vectors[:, kept] / values[kept].sqrt()).T @ (x - mean)
    assert float(white.mean(1).square().sum()) * count < rank + errors * math.sqrt(2 * rank)
    assert abs(float(white.square().mean()) - 1) < errors * math.sqrt(2 / rank / count)
    sampled = (x - mean) @ (x - mean).T / count
    allowed = ((covariance.diag()[:, None] * covariance.diag() + covariance**2) / count).sqrt()
    assert bool(((sampled - covariance).abs() <= 4 * allowed + 1e-12).all())


@pytest.mark.parametrize("name", AFFINE)
def test_mean_and_spread_are_those_of_theory(name):
    case = CASES[name]
    p = problem(case.spread)
    assert_mean_and_spread(final(case.parts, p, PLANE, case.sigmas, case.noise), *propagated(case, p))


@pytest.mark.parametrize("name", ["DDNM, the code", "DDNM, the paper", "DDS, run to its end", "DDNM + ISCS"])
def test_without_noise_and_with_a_white_prior_the_mean_is_the_posterior_s(name):
    """Range and null space of A are then independent, and the null space keeps the prior's mean."""
    case, p = CASES[name], problem(white=True)
    mean, covariance = propagated(case, p)
    truth, _ = p.posterior()
    torch.testing.assert_close(mean, truth, rtol=0, atol=1e-10)
    x = final(case.parts, p, PLANE, case.sigmas, case.noise)
    assert_mean_and_spread(x, truth, covariance)
    torch.testing.assert_close(p.a @ x, p.y.expand(-1, x.shape[1]), rtol=0, atol=1e-10)


def test_with_many_ancestral_steps_ddnm_samples_the_posterior():
    p = problem(white=True)
    x = final(method(ddnm, DDIM(1.0)), p, (24, 24), Geometric(400, 20.0, 1e-3).sigmas())
    # Finitely many steps lose some of the spread, less than so few columns could tell.
    assert_mean_and_spread(x, *p.posterior())


def test_diffpir_with_the_exact_weight_samples_the_posterior():
    """gamma = Var[x_0 | x_t] / noise^2 makes the estimate E[x_0 | x_t, y]; without fresh noise it is the ODE."""
    p = problem(spread=0.1, white=True)

    def fidelity(p, op, y):
        return ProximalCG(op, y, 8, lambda sigma: 1 / (1 / p.covariance[0, 0].item() + 1 / sigma**2) / p.spread**2)

    x = final(method(fidelity, DiffPIR(0.0)), p, (32, 32), Geometric(300, 20.0, 1e-3).sigmas())
    assert_mean_and_spread(x, *p.posterior())
