"""The papers' updates, each in its paper's own variables, for a Gaussian prior and a dense A.

Nothing here knows coslice. x is (n, columns): every column is a problem of its own with the same A (m, n), y (m, 1) and
prior N(mean, covariance). z is the standard normal noise of the update. Variance-preserving methods speak of abar, with
x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise; variance-exploding ones of sigma.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """y = a x + noise of `spread`, x ~ N(mean, covariance)."""

    a: Tensor
    y: Tensor
    mean: Tensor
    covariance: Tensor
    spread: float = 0.0

    @property
    def eye(self) -> Tensor:
        return torch.eye(len(self.mean), dtype=torch.float64)

    def posterior(self) -> tuple[Tensor, Tensor]:
        """Mean (n, 1) and covariance (n, n) of x given y."""
        inside = self.a @ self.covariance @ self.a.T + self.spread**2 * torch.eye(len(self.y), dtype=torch.float64)
        gain = self.covariance @ self.a.T @ torch.linalg.inv(inside)
        return self.mean + gain @ (self.y - self.a @ self.mean), (self.eye - gain @ self.a) @ self.covariance


Data = Callable[[Tensor, float], Tensor]
"""(x_{0|t}, abar_t) -> x-hat_{0|t}."""


def nothing(x0: Tensor, abar: float) -> Tensor:
    return x0


def prediction(p: Gaussian, x: Tensor, abar: float) -> tuple[Tensor, Tensor]:
    """x_{0|t} by Tweedie's formula (DDS eq. 8) and eps = -sqrt(1 - abar) score, from the score of p(x_t)."""
    score = -torch.linalg.solve(abar * p.covariance + (1 - abar) * p.eye, x - math.sqrt(abar) * p.mean)
    return (x + (1 - abar) * score) / math.sqrt(abar), -math.sqrt(1 - abar) * score


Predict = Callable[[Gaussian, Tensor, float], tuple[Tensor, Tensor]]
"""(p, x_t, abar_t) -> x_{0|t}, eps."""


def of_patches(patches: Sequence[Sequence[int]]) -> Predict:
    """DiffusionBlend++ eq. 19: a patch by the score of its own marginal; where two overlap, the later counts."""

    def predict(p: Gaussian, x: Tensor, abar: float) -> tuple[Tensor, Tensor]:
        x0, eps = torch.full_like(x, math.nan), torch.full_like(x, math.nan)
        for some in map(list, patches):
            part = Gaussian(p.a[:, some], p.y, p.mean[some], p.covariance[some][:, some])
            x0[some], eps[some] = prediction(part, x[some], abar)
        return x0, eps

    return predict


def given_neighbours(p: Gaussian, x: Tensor, abar: float) -> tuple[Tensor, Tensor]:
    """DiffusionBlend eq. 4 with j = 1: grad log p(x_t,i | its neighbours in x_t); at an end the two nearest."""
    mean, covariance = math.sqrt(abar) * p.mean, abar * p.covariance + (1 - abar) * p.eye
    scores = []
    for i in range(len(x)):
        first = min(max(i - 1, 0), len(x) - 3)
        others = [k for k in range(first, first + 3) if k != i]
        gain = torch.linalg.solve(covariance[others][:, others], covariance[others][:, [i]]).T
        expected = mean[[i]] + gain @ (x[others] - mean[others])
        scores.append(-(x[[i]] - expected) / (covariance[i, i] - gain @ covariance[others][:, [i]]))
    score = torch.cat(scores)
    return (x + (1 - abar) * score) / math.sqrt(abar), -math.sqrt(1 - abar) * score


def ddim(p: Gaussian, x: Tensor, z: Tensor, abar: float, before: float, eta: float, data: Data = nothing) -> Tensor:
    """DDIM eq. 12 with sigma_t of eq. 16; with `data`, DDS Algorithm 1 (the ISCS paper's eqs. 6 to 8)."""
    x0, eps = prediction(p, x, abar)
    sigma = eta * math.sqrt((1 - before) / (1 - abar)) * math.sqrt(1 - abar / before)
    return math.sqrt(before) * data(x0, abar) + math.sqrt(max(1 - before - sigma**2, 0)) * eps + sigma * z


def ddpm(p: Gaussian, x: Tensor, z: Tensor, abar: float, before: float, data: Data = nothing) -> Tensor:
    """DDPM eqs. 6 and 7: the posterior q(x_{t-1} | x_t, x_0); with `data`, DDNM Algorithm 1, DPS's x'_{t-1}."""
    x0 = data(prediction(p, x, abar)[0], abar)
    alpha, beta = abar / before, 1 - abar / before
    mean = math.sqrt(before) * beta / (1 - abar) * x0 + math.sqrt(alpha) * (1 - before) / (1 - abar) * x
    return mean + math.sqrt((1 - before) / (1 - abar) * beta) * z


def shared(
    p: Gaussian,
    x: Tensor,
    z: Tensor,
    abar: float,
    before: float,
    eta: float,
    data: Data = nothing,
    predict: Predict = prediction,
) -> Tensor:
    """The re-noising of the code of DDNM, DDS, DiffusionBlend and ISCS: eta of sqrt(1 - abar) is fresh."""
    x0, eps = predict(p, x, abar)
    return math.sqrt(before) * data(x0, abar) + math.sqrt(1 - before) * (eta * z + math.sqrt(1 - eta**2) * eps)


def diffpir(p: Gaussian, x: Tensor, z: Tensor, abar: float, before: float, lam: float, zeta: float) -> Tensor:
    """DiffPIR Algorithm 1."""
    x0, _ = prediction(p, x, abar)
    rho = lam * p.spread**2 * abar / (1 - abar)
    x0 = torch.linalg.solve(p.a.T @ p.a + rho * p.eye, p.a.T @ p.y + rho * x0)
    eps = (x - math.sqrt(abar) * x0) / math.sqrt(1 - abar)
    return math.sqrt(before) * x0 + math.sqrt(1 - before) * (math.sqrt(1 - zeta) * eps + math.sqrt(zeta) * z)


def dps(p: Gaussian, x: Tensor, z: Tensor, abar: float, before: float, zeta: float) -> Tensor:
    """DPS Algorithm 1, the gradient of |y - A x_{0|t}| as in its code."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad((p.y - p.a @ prediction(p, x, abar)[0]).norm(), x)
    return ddpm(p, x.detach(), z, abar, before) - zeta * gradient


def proximal(p: Gaussian, gamma: float) -> Data:
    """DDS's proximal step, the ISCS paper's eq. 16."""
    return lambda x0, abar: torch.linalg.solve(p.eye + gamma * p.a.T @ p.a, x0 + gamma * p.a.T @ p.y)


def krylov(p: Gaussian, iterations: int) -> Data:
    """DDS's early-stopped step: conjugate gradients on A^T A z = A^T y from x_{0|t}."""
    return lambda x0, abar: conjugate_gradients(p.a.T @ p.a, p.a.T @ p.y, x0, iterations)


def null_space(p: Gaussian) -> Data:
    """DDNM eq. 13."""
    pinv = torch.linalg.pinv(p.a)
    return lambda x0, abar: pinv @ p.y + (p.eye - pinv @ p.a) @ x0


def conjugate_gradients(matrix: Tensor, right: Tensor, z: Tensor, iterations: int) -> Tensor:
    """On all columns as one system, as Hestenes and Stiefel write it."""
    r = right - matrix @ z
    p = r
    for _ in range(iterations):
        a = (r * r).sum() / (p * (matrix @ p)).sum()
        z, after = z + a * p, r - a * matrix @ p
        r, p = after, after + (after * after).sum() / (r * r).sum() * p
    return z


class TotalVariation:
    """ADMM of DiffusionMBIR and DDS+TV along the stack, split and dual kept between calls; lambda, rho as published."""

    def __init__(self, p: Gaussian, lam: float, rho: float, iterations: int, cg_iterations: int) -> None:
        self.p, self.lam, self.rho, self.iterations, self.cg_iterations = p, lam, rho, iterations, cg_iterations
        self.d = torch.diff(p.eye, dim=0)
        self.z = self.w = torch.zeros(len(self.d), 1, dtype=torch.float64)

    def __call__(self, x: Tensor, abar: float) -> Tensor:
        p, d = self.p, self.d
        for _ in range(self.iterations):
            right = p.a.T @ p.y + self.rho * d.T @ (self.z - self.w)
            x = conjugate_gradients(p.a.T @ p.a + self.rho * d.T @ d, right, x, self.cg_iterations)
            moved = d @ x + self.w
            self.z = moved.sign() * (moved.abs() - self.lam / self.rho).clamp(min=0)
            self.w = moved - self.z
        return x


def predictor(p: Gaussian, x: Tensor, z: Tensor, sigma: float, before: float) -> Tensor:
    """Song et al., Algorithm 2, lines 3 and 4; no noise in the last step."""
    score = -torch.linalg.solve(p.covariance + sigma**2 * p.eye, x - p.mean)
    mean = x + (sigma**2 - before**2) * score
    return mean + math.sqrt(sigma**2 - before**2) * z if before > 0 else mean


def corrector(p: Gaussian, x: Tensor, z: Tensor, sigma: float, snr: float) -> Tensor:
    """Song et al., Algorithm 4, with |z| / |score| at its value in high dimension, sigma."""
    score = -torch.linalg.solve(p.covariance + sigma**2 * p.eye, x - p.mean)
    step = 2 * (snr * sigma) ** 2
    return x + step * score + math.sqrt(2 * step) * z
