"""Step (2) of the loop: bring the prior's prediction into agreement with the measurement y.

    unchanged       DPS, DiffusionMBIR    nothing: the data come in elsewhere, or there are none
    ProximalCG      DDS, DiffPIR          argmin_z  gamma/2 |y - A z|^2 + 1/2 |z - denoised|^2, by conjugate gradients
    WeightedCG      WDDS                  the same with |z - denoised|^2 in the metric W^-1 of the prior's uncertainty
    RangeNullSpace  DDNM                  keep the null-space part of the prediction, take the range part from y
    ProximalTV      DDS+TV                argmin_z  1/2 |y - A z|^2 + lambda |D z|_1, by a step of ADMM from there

All are callables (denoised, sigma) -> estimate, as the sampling loop wants them. DiffusionMBIR uses the last on the
noisy volume instead: `AfterCorrector(ProximalTV(...))` is the loop's correction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from coslice.axes import axis_number
from coslice.classical import AdmmState, TotalVariation, admm_step, conjugate_gradient, vectors
from coslice.classical.convolution import convolved
from coslice.errors import CosliceError
from coslice.operators.base import Operator
from coslice.states import Stateful
from coslice.sums import inner
from coslice.variance import Estimator, gaussian

__all__ = ["AfterCorrector", "DiffPIRWeight", "ProximalCG", "ProximalTV", "RangeNullSpace", "WeightedCG", "unchanged"]


def unchanged(denoised: Tensor, sigma: float) -> Tensor:
    """The prior alone."""
    return denoised


@dataclass(frozen=True)
class DiffPIRWeight:
    """gamma(sigma) = sigma^2 / (lam noise^2), of DiffPIR (Zhu et al., CVPRW 2023, Algorithm 1).

    There the estimate is argmin |y - A z|^2 + rho_t |z - denoised|^2 with rho_t = lam noise^2 / sigma^2: the prediction
    is trusted like a measurement of z with an error of sigma / sqrt(lam), so the data rule early and the prior late.

    Attributes:
        lam: published: 1 to 25, by task.
        noise: standard deviation of an entry of the measurement, in its units.
    """

    lam: float
    noise: float

    def __post_init__(self) -> None:
        if not (self.lam > 0 and self.noise > 0):
            raise CosliceError(
                f"DiffPIRWeight: lambda {self.lam} and noise {self.noise} were given, both must be above 0; for data "
                "without noise give the noise they may be assumed to have."
            )

    def __call__(self, sigma: float) -> float:
        return sigma**2 / (self.lam * self.noise**2)


@dataclass(frozen=True)
class ProximalCG:
    """DDS (Chung et al., ICLR 2024; the ISCS paper's eqs. 15 and 16), and DiffPIR's data step.

    With `gamma`, solve (gamma A^T A + I) z = gamma A^T y + denoised: the minimiser of
    gamma/2 |y - A z|^2 + 1/2 |z - denoised|^2. Without, as published in code: run CG on A^T A z = A^T y from
    z = denoised and stop early, which leaves the directions CG has not reached yet at the prior's values.

    Attributes:
        operator, measurement: A and y.
        iterations: CG steps.
        gamma: weight of the data, a number or a function of sigma, or None for the early-stopped form.
    """

    operator: Operator
    measurement: Tensor
    iterations: int = 10
    gamma: float | Callable[[float], float] | None = None
    _backprojected: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise CosliceError(f"ProximalCG: {self.iterations} CG iterations were given, at least 1 is needed.")
        if isinstance(self.gamma, (int, float)) and self.gamma <= 0:
            raise CosliceError(f"ProximalCG: gamma {self.gamma} was given, a positive number or None is needed.")
        object.__setattr__(self, "_backprojected", self.operator.adjoint(self.measurement))

    def __call__(self, denoised: Tensor, sigma: float) -> Tensor:
        image = vectors.empty_like(self._backprojected)
        if self.gamma is None:
            return conjugate_gradient(
                lambda z: self.operator.gram(z, out=image), self._backprojected, denoised, self.iterations
            )
        gamma = self.gamma(sigma) if callable(self.gamma) else self.gamma

        def normal(z: Tensor) -> Tensor:
            return torch.add(z, self.operator.gram(z, out=image), alpha=gamma, out=image)

        start = vectors.empty_like(image).copy_(denoised)
        right = torch.add(start, self._backprojected, alpha=gamma)
        return conjugate_gradient(normal, right, start, self.iterations)


@dataclass
class WeightedCG:
    """Conjugate gradients in the metric of the prior's uncertainty.

    Let the prediction be wrong by a Gaussian error of covariance c C, and y = A x without noise. The mean of x given
    both is

        z = denoised + C A^T (A C A^T)^+ (y - A denoised),

    whatever c: of all volumes that agree with y, the one nearest to the prediction in the metric C^-1. With C = L L^T
    it is denoised + L w, and w solves L^T A^T A L w = L^T A^T (y - A denoised): conjugate gradients from w = 0. As in
    DDS, few iterations leave what they do not reach at the prediction; C = 1 is DDS's step itself.

        L = S (1 + tie G),    S = s / mean(s) + floor,    s^2 the estimate of the variance

    S is a volume of factors: where the prior is unsure the data change most; the floor is there because no prior is
    certain anywhere. G smooths along the stack by a Gaussian: neighbouring slices show the same anatomy and were given
    nearly the same noise, so their errors are alike, and what the data say of one holds for the other. While nothing is
    known of the variance, in the first step, S is 1.

    With `gamma`, w solves (gamma L^T A^T A L + 1) w = gamma L^T A^T (y - A denoised) instead: the mean of x where the
    measurement has noise of variance r and c = gamma r.

    Attributes:
        operator, measurement: A and y.
        estimator: (denoised, sigma) -> variance up to a factor, or None; has a memory, so this object has one too: it
            is for one run, called once for each step, in order.
        iterations: CG steps, by step of the sampler; the last number goes on.
        floor: against the mean of s.
        tie: of the errors of slices; 0 for errors that are independent.
        reach: standard deviation of G, slices.
        gamma: weight of the data, a function of sigma, or None for the early-stopped form.
    """

    operator: Operator
    measurement: Tensor
    estimator: Estimator
    iterations: Sequence[int] = (10,)
    floor: float = 0.3
    tie: float = 0.0
    reach: float = 3.0
    gamma: Callable[[float], float] | None = None
    _backprojected: Tensor = field(init=False, repr=False)
    _step: int = field(default=0, init=False, repr=False)
    _factors: Tensor | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.iterations or min(self.iterations) < 0 or not self.floor > 0:
            raise CosliceError(
                f"WeightedCG: iterations {tuple(self.iterations)} and a floor of {self.floor:g} were given, numbers "
                "from 0 up and a floor above 0 are needed."
            )
        self._backprojected = self.operator.adjoint(self.measurement)

    def __call__(self, denoised: Tensor, sigma: float) -> Tensor:
        self._factors = self._diagonal(self.estimator(denoised, sigma))
        estimate = self.again(denoised, sigma)
        self._step += 1
        self.estimator.seen.estimate = estimate
        return estimate

    def again(self, denoised: Tensor, sigma: float) -> Tensor:
        """The same for another volume, in the metric of the last prediction."""
        iterations = self.iterations[min(self._step, len(self.iterations) - 1)]
        factors = self._diagonal(None) if self._factors is None else self._factors
        gamma = 1.0 if self.gamma is None else self.gamma(sigma)
        spread, image = vectors.empty_like(self._backprojected), vectors.empty_like(self._backprojected)

        def normal(w: Tensor) -> Tensor:
            self._smooth(w, after=factors, out=spread)
            smooth = self._smooth(self.operator.gram(spread, out=image), before=factors, out=spread)
            return smooth if self.gamma is None else torch.add(w, smooth, alpha=gamma, out=spread)

        prediction = vectors.empty_like(image).copy_(denoised)
        gradient = torch.sub(self._backprojected, self.operator.gram(prediction, out=image), out=image)
        right = self._smooth(gradient, before=factors, out=vectors.empty_like(image)).mul_(gamma)
        large = self._smooth(self._backprojected, before=factors, out=spread)
        scale = gamma * math.sqrt(vectors.dot(large, large))
        # Thick slices are solved in a few iterations; what follows would be rounding.
        w = conjugate_gradient(normal, right, None, iterations, tolerance=1e-6, scale=scale)
        return self._smooth(w, after=factors, out=spread).add_(prediction)

    def state_dict(self) -> dict[str, Any]:
        """The number of the step, and what the estimator remembers. The factors are made anew in every step."""
        return {"step": self._step, **self.estimator.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where another one was."""
        self._step = int(state_dict["step"])
        self.estimator.load_state_dict(state_dict)

    def _diagonal(self, variance: Tensor | None) -> Tensor:
        """The diagonal of S, as the operator stores volumes."""
        factors = torch.ones_like(self._backprojected)
        if variance is not None:
            factors.copy_(variance).sqrt_()
            mean = inner(factors, torch.ones_like(factors)) / factors.numel()
            factors = factors.div_(mean).add_(self.floor) if mean > 0 else factors.fill_(1.0)
        return factors

    def _smooth(
        self, volume: Tensor, *, before: Tensor | None = None, after: Tensor | None = None, out: Tensor
    ) -> Tensor:
        """after (1 + tie G) before volume, in `out`; 1 + tie G is symmetric: beyond the stack there is nothing."""
        axis = axis_number(self.estimator.along)
        weights = gaussian(self.reach, volume.shape[axis]) if self.tie else [1.0]
        return convolved(volume, weights, axis, rest=1.0, share=self.tie, before=before, after=after, out=out)


@dataclass(frozen=True)
class RangeNullSpace:
    """DDNM (Wang et al., ICLR 2023; the ISCS paper's eq. 14): (I - A-dagger A) denoised + A-dagger y.

    Attributes:
        operator, measurement: A and y.
        pseudo_inverse: A-dagger: measurement -> volume. For CT as published, 100 SIRT iterations from zero with
            a positivity constraint, on y and on A denoised alike.
    """

    operator: Operator
    measurement: Tensor
    pseudo_inverse: Callable[[Tensor], Tensor]
    _range_part: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_range_part", self.pseudo_inverse(self.measurement))

    def __call__(self, denoised: Tensor, sigma: float) -> Tensor:
        return denoised + self._range_part - self.pseudo_inverse(self.operator.forward(denoised))


@dataclass
class ProximalTV:
    """Data and total variation along the stack, by ADMM: DDS+TV's fidelity, and DiffusionMBIR's correction.

        min_z  1/2 |y - A z|^2 + lambda |D z|_1,      D = differences between neighbours along one axis

    (Chung et al., CVPR 2023, Algorithm 1, and ICLR 2024.) A call starts its conjugate gradients at the volume it is
    given, which enters nowhere else. Split and dual go on from where the last call left them, and start at 0: the
    iterations of ADMM are spread over the steps of the diffusion, published with one each. So this is an object with
    a memory: one for each run, called once for each step, in order.

    Attributes:
        operator, measurement: A and y.
        weight: lambda, in units of A^T A times those of a volume.
        penalty: rho of ADMM, in units of A^T A.
        along: the axis of the stack, "z", "y" or "x".
        admm_iterations: in each call.
        cg_iterations: in each iteration of ADMM.
        state: split and dual, (1, z, y, x) each, None before the first call.
    """

    operator: Operator
    measurement: Tensor
    weight: float
    penalty: float
    along: str = "z"
    admm_iterations: int = 1
    cg_iterations: int = 1
    state: tuple[Tensor, Tensor] | None = field(default=None, repr=False)
    _variation: TotalVariation = field(init=False, repr=False)
    _backprojected: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.weight < 0 or self.penalty <= 0:
            raise CosliceError(
                f"ProximalTV: weight {self.weight} and penalty {self.penalty} were given, a weight of at least 0 and a "
                "penalty above 0 are needed."
            )
        if self.admm_iterations < 1 or self.cg_iterations < 1:
            raise CosliceError(
                f"ProximalTV: {self.admm_iterations} ADMM and {self.cg_iterations} CG iterations were given, at least "
                "1 of each is needed."
            )
        # Published differences wrap round from the last slice to the first, which ties the two ends of a body
        # together; these stop at the last slice.
        self._variation = TotalVariation((self.along,))
        self._backprojected = self.operator.adjoint(self.measurement)

    def __call__(self, denoised: Tensor, sigma: float) -> Tensor:
        if self.state is None:
            split = torch.zeros_like(denoised)[None]
            self.state = (split, split)
        admm = AdmmState(denoised, *self.state)
        for _ in range(self.admm_iterations):
            admm = admm_step(
                admm,
                self.operator.normal,
                self._backprojected,
                self._variation,
                self.weight / self.penalty,
                self.penalty,
                self.cg_iterations,
            )
        self.state = (admm.split, admm.dual)
        return admm.volume

    def state_dict(self) -> dict[str, Any]:
        """Split and dual; nothing before the first call."""
        return {} if self.state is None else {"split": self.state[0], "dual": self.state[1]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where another one was."""
        self.state = (state_dict["split"], state_dict["dual"]) if state_dict else None


@dataclass(frozen=True)
class AfterCorrector:
    """A fidelity as the loop's correction: on x where a level is repeated, after its corrector, and at the end.

    DiffusionMBIR (Chung et al., CVPR 2023, Algorithm 1): predictor, corrector, ADMM; see
    `coslice.schedule.with_correctors` for the order of levels. x is noisy, and data and total variation act on it as
    it is.
    """

    fidelity: Callable[[Tensor, float], Tensor]

    def __call__(self, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
        return self.fidelity(x, sigma_next) if sigma_next in (sigma, 0) else x

    def state_dict(self) -> dict[str, Any]:
        """The memory of the fidelity, if it has one."""
        return self.fidelity.state_dict() if isinstance(self.fidelity, Stateful) else {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where another one was."""
        if isinstance(self.fidelity, Stateful):
            self.fidelity.load_state_dict(state_dict)
