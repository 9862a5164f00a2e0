"""Guidance: a denoiser made from a denoiser and a measurement.

The score of the posterior is that of the prior plus that of the likelihood, and Tweedie's formula turns scores into
denoisers: with D(x, sigma) = E[x0 | x] = x + sigma^2 grad log p(x),

    E[x0 | x, y] = D(x, sigma) + sigma^2 grad_x log p(y | x).

p(y | x) is not known. DPS (Chung et al., ICLR 2023) puts the prediction in place of the unknown x0,
log p(y | x) ~ -|y - A D(x, sigma)|^2 / (2 s^2), and its code divides the gradient by the length of the residual:

    guided(x, sigma) = D(x, sigma) - step grad_x |y - A D(x, sigma)|
                     = D(x, sigma) - step J^T A^T (A D - y) / |A D - y|,       J = dD/dx.

So a step of sigma^2 |A D - y| / s^2 would be the posterior's mean as DPS approximates it; a constant one is what is
published. J^T is a pass back through the network: slice by slice with `SlicePrior.pull_back`, or
`by_autograd` of any differentiable denoiser.

**Beside Algorithm 1 of the paper.** It writes x_{t-1} = x'_{t-1} - zeta grad, with x' the step of the unguided
sampler. The loop's step is x_next = D + kept (x - D) + fresh noise, which is 1 - kept in D, so in the clock of sigma

    zeta = (1 - kept) step:

all of it for full re-noising, 1 - sigma_next^2/sigma^2 of it for ancestral sampling. (In the paper's own variables,
where x_t = sqrt(abar_t) x, zeta_t = sqrt(abar_t abar_{t-1}) (1 - kept) step. The text divides the gradient of the
squared residual by its length; that is twice the gradient of the length, which the code takes, and we.)

**All of it.** `GuidedUpdates` takes zeta = step at every update whatever is kept, as the paper writes it and as TPDM's
code does: it leaves the prediction as it is and corrects x_next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.operators.base import Operator
from coslice.sampling import Denoiser
from coslice.sums import inner

__all__ = ["Guided", "GuidedUpdates", "PullBack", "by_autograd"]

PullBack = Callable[[Tensor, float, Tensor], Tensor]
"""(x, sigma, cotangent) -> J^T cotangent, with J = dD/dx at (x, sigma); all volumes (z, y, x)."""


@dataclass(frozen=True)
class Guided:
    """D(x, sigma) - step grad_x |y - A D(x, sigma)|, as a prior for the sampling loop; its fidelity is `unchanged`.

    A call costs the denoiser three times (once more forwards and once backwards for the gradient), one A and one A^T.

    Attributes:
        prior: D, (x, sigma) -> denoised.
        pull_back: J^T of the same D, as `SlicePrior.pull_back`.
        operator, measurement: A and y.
        step: length of the step against the gradient, in units of the volume squared over those of y; the gradient
            is at most the norm of A in length if D contracts.

    Raises:
        CosliceError: a negative step.
    """

    prior: Callable[[Tensor, float], Tensor]
    pull_back: PullBack
    operator: Operator
    measurement: Tensor
    step: float = 1.0

    def __post_init__(self) -> None:
        if self.step < 0:
            raise CosliceError(f"Guided: a step of {self.step} was given, 0 or more is needed.")

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        denoised = self.prior(x, sigma)
        residual = self.operator.forward(denoised) - self.measurement
        length = inner(residual, residual) ** 0.5
        if length == 0:
            return denoised
        gradient = self.pull_back(x, sigma, self.operator.adjoint(residual))
        return torch.sub(denoised, gradient, alpha=self.step / length)


@dataclass
class GuidedUpdates:
    """x_next - step grad_x |y - A D(x, sigma)|, whatever the update from x to x_next was (TPDM, Lee et al., ICCV 2023).

    It watches the prior at work, and its `correction` then acts in the sampling loop. The prediction stays the prior's.
    A call of a watched prior costs as much as one of `Guided`; a prior that is not watched costs nothing more.

    Attributes:
        operator, measurement: A and y.
        step: length of the step against the gradient, as of `Guided`.

    Raises:
        CosliceError: a negative step.
    """

    operator: Operator
    measurement: Tensor
    step: float
    _taken: tuple[Tensor, float] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.step < 0:
            raise CosliceError(f"GuidedUpdates: a step of {self.step} was given, 0 or more is needed.")

    def watched(self, prior: Denoiser, pull_back: PullBack) -> Denoiser:
        """The same denoiser, which leaves its gradient behind for the next correction."""
        return partial(self._ask, prior, pull_back)

    def _ask(self, prior: Denoiser, pull_back: PullBack, x: Tensor, sigma: float) -> Tensor:
        denoised = prior(x, sigma)
        residual = self.operator.forward(denoised) - self.measurement
        length = inner(residual, residual) ** 0.5
        if length > 0 and self.step > 0:
            gradient = pull_back(x, sigma, self.operator.adjoint(residual))
            self._taken = (gradient, self.step / length)
        return denoised

    def correction(self, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
        """x less what the last watched call left behind; x itself where there was none since."""
        taken, self._taken = self._taken, None
        return x if taken is None else torch.sub(x, taken[0], alpha=taken[1])


def by_autograd(denoiser: Callable[[Tensor, float], Tensor]) -> PullBack:
    """The pull-back of any denoiser that torch can differentiate, with the whole volume's graph in memory."""

    @torch.enable_grad()
    def pull_back(x: Tensor, sigma: float, cotangent: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(denoiser(x, sigma), x, cotangent)
        return gradient

    return pull_back
