"""Data steps: the settings of step (2) of the loop, which build themselves for a problem.

    ConjugateGradients    DDS                solve towards the measurement from the prediction, and stop early
    WeightedGradients     WDDS               the same, in the metric of the prior's uncertainty
    NullSpace             DDNM               keep the null-space part of the prediction
    StackTV               DDS+TV             conjugate gradients with total variation along the stack
    TrustedPrediction     DiffPIR            conjugate gradients whose trust in the data falls with sigma
    Guidance              DPS                nothing; the prior is guided instead
    UpdateGuidance        TPDM               nothing; what the update gives is guided instead
    TVAfterCorrector      DiffusionMBIR      nothing; the noisy volume is corrected instead

The arithmetic is in `coslice.fidelity`. An own data step is a subclass of `DataStep` with `build`.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

from coslice.classical import mean_diagonal
from coslice.errors import CosliceError
from coslice.fidelity import (
    AfterCorrector,
    DiffPIRWeight,
    ProximalCG,
    ProximalTV,
    RangeNullSpace,
    WeightedCG,
    unchanged,
)
from coslice.operators import RampedRays
from coslice.priors import Guided, SlicePrior
from coslice.priors.guidance import GuidedUpdates
from coslice.problems import Problem
from coslice.renoising import PredictorCorrector, Renoising
from coslice.sampling import Changing, Correction, Denoiser, Fidelity, altered
from coslice.settings import Part, setting
from coslice.states import Stateful
from coslice.variance import Estimator, SuccessivePredictions, Variance, Witness

__all__ = [
    "Acting",
    "ConjugateGradients",
    "DataStep",
    "Guidance",
    "NullSpace",
    "Projecting",
    "StackTV",
    "TVAfterCorrector",
    "TrustedPrediction",
    "UpdateGuidance",
    "WeightedGradients",
]

_FLOOR = 0.001
"""Noise that DiffPIR assumes at the least, for an A that counts lengths in voxels (Zhu et al.'s code)."""


@dataclass(frozen=True)
class Acting:
    """A data step at work on one sample: what the loop is given, see `coslice.sampling.sample`.

    Attributes:
        denoiser, fidelity, correction: of the loop.
        projection: what is repeated at the end, see `Projecting`; None is `fidelity`.
        witness: of a data step that asks the prior itself, where it does so; None of all others.
    """

    denoiser: Denoiser | Changing
    fidelity: Fidelity
    correction: Correction | None = None
    projection: Fidelity | None = None
    witness: Witness | None = None

    @property
    def memories(self) -> dict[str, Stateful]:
        """What remembers something from step to step, by its name in the loop."""
        acting = {"fidelity": self.fidelity, "correction": self.correction}
        return {name: one for name, one in acting.items() if isinstance(one, Stateful)}


@dataclass(frozen=True)
class DataStep(Part, ABC):
    """How a method agrees with the measurement. An own one overrides `build`; some act elsewhere in the loop.

    What these functions give may have a memory, so they are called anew for every sample. What has one is
    `coslice.Stateful`; an own data step without any says `memoryless = True`, see `coslice.settings.Part`.
    """

    def build(self, problem: Problem, along: str) -> Fidelity:
        """The function (denoised, sigma) -> estimate of the loop, volumes (z, y, x) in the unit window.

        Args:
            problem: y, its operator A, and what is known of the noise; `misfit` has the weights of the rays in it.
            along: the axis along which the prior's slices are stacked.
        """
        return unchanged

    def guided(self, problem: Problem, prior: SlicePrior | Changing) -> Denoiser | Changing:
        """The prior, changed by the measurement where a method does so."""
        return prior

    def correction(self, problem: Problem, along: str) -> Correction | None:
        """What acts on the noisy volume after re-noising; None for nothing."""
        return None

    def acting(self, problem: Problem, prior: SlicePrior | Changing, along: str, sigmas: Sequence[float]) -> Acting:
        """The three together. One that needs to know the noise levels, or what the prior is asked, overrides this.

        Args:
            problem, prior, along: as above.
            sigmas: the noise levels, then 0.
        """
        return Acting(self.guided(problem, prior), self.build(problem, along), self.correction(problem, along))

    def evaluations(self, steps: int) -> int:
        """How often it asks the prior itself in a sample of so many steps, beside the loop."""
        return 0

    def check(self, renoising: Renoising) -> None:
        """Refuse a re-noising that the data step cannot follow.

        Raises:
            CosliceError: it cannot.
        """


@dataclass(frozen=True)
class Projecting(DataStep):
    """A data step that can be repeated at the end, on the volume cut off at 0 and 1.

    Attributes:
        rounds: how often; projections between the data and values from 0 to 1, after the last step.
    """

    _: KW_ONLY
    rounds: int = setting(0, "Projections between the data and values from 0 to 1, at the end", least=0)


_CG = "Steps of conjugate gradients"


@dataclass(frozen=True)
class ConjugateGradients(Projecting):
    """DDS (Chung et al., ICLR 2024; the ISCS paper's eqs. 15 and 16): A^T A z = A^T y, started at the prediction.

    Attributes:
        iterations: steps of conjugate gradients. Stopping early leaves what they have not reached at the prediction.
        gamma: weight of the data against the prediction, for an A that counts lengths in voxels, solving
            (gamma A^T A + 1) z = gamma A^T y + prediction; None takes the early-stopped form.
    """

    kind = "cg"

    iterations: int = setting(10, _CG, least=1)
    gamma: float | None = setting(None, "Weight of the data; none stops early instead", above=0)

    def build(self, problem: Problem, along: str) -> Fidelity:
        gamma = None if self.gamma is None else self.gamma / problem.unit**2
        return ProximalCG(*problem.misfit, self.iterations, gamma)


@dataclass(frozen=True)
class WeightedGradients(Projecting):
    """Ours: conjugate gradients that change most where the prior is unsure, see `coslice.fidelity.WeightedCG`.

    What a step fits beyond the noise that follows is lost in it. So iterations grow from step to step, linearly: of K
    steps, number k from 0 has iterations (1 + late (2 k / (K - 1) - 1)), rounded, and at least one.

    Attributes:
        iterations: steps of conjugate gradients, mean over the steps of the sampler.
        late: how unequal they are; 0 gives each step the same number, 1 the last one twice as many as on average.
        floor: of the prediction's standard deviation, against its mean: what no voxel falls below.
        tie: what the errors of neighbouring slices have in common, against what each has of its own.
        reach: so many slices have it in common.
        ramp: the power p of the filter |f|^p of the detector's rows by which residuals count, see
            `coslice.operators.RampedRays`. For CT without noise, that is, without `trust`; else it is not used.
        trust: None stops early, as DDS does. A number lambda weighs prediction against noise as DiffPIR does: the
            prediction is trusted like a measurement that errs by sigma/sqrt(lambda) where W is 1.
        variance: how the variance of the prediction is estimated.
    """

    kind = "weighted-cg"

    iterations: int = setting(10, "Steps of conjugate gradients, mean over the sampler's steps", least=1)
    late: float = setting(0.8, "Growth of that number: 0 for none, 1 from none to twice the mean", least=0, most=1)
    floor: float = setting(0.3, "Least standard deviation of the prediction", "of its mean", above=0)
    tie: float = setting(2.0, "What the errors of neighbouring slices have in common, against each one's own", least=0)
    reach: float = setting(3.0, "Gaussian along the stack within which they do", "slices", above=0, most=100)
    ramp: float = setting(0.75, "Power of the ramp |f|^p by which residuals of CT without noise count", least=0, most=2)
    trust: float | None = setting(None, "Weight lambda of the prediction, as DiffPIR's; none stops early", above=0)
    variance: Variance = setting(SuccessivePredictions(), "Estimate of the prediction's variance")

    def build(self, problem: Problem, along: str) -> Fidelity:
        """The same where the noise levels are not known: every step has the mean number of iterations.

        Raises:
            CosliceError: an estimate of the variance that asks the prior.
        """
        if self.variance.asks:
            raise CosliceError(
                f"{type(self).__name__}: the variance {self.variance.kind or type(self.variance).__name__} asks the "
                "prior, which `build` is not given; use `acting`."
            )
        return self._fidelity(problem, along, (self.iterations,))

    def acting(self, problem: Problem, prior: SlicePrior | Changing, along: str, sigmas: Sequence[float]) -> Acting:
        fidelity = self._fidelity(problem, along, self._counts(len(sigmas) - 1))
        if not self.variance.asks:
            return Acting(prior, fidelity, projection=fidelity.again)
        seen = fidelity.estimator.seen
        return Acting(altered(prior, seen.watching), fidelity, projection=fidelity.again, witness=seen)

    def evaluations(self, steps: int) -> int:
        return self.variance.evaluations(steps)

    def _fidelity(self, problem: Problem, along: str, counts: Sequence[int]) -> WeightedCG:
        (operator, measurement), gamma = problem.misfit, None
        if self.trust is not None:
            gamma = DiffPIRWeight(self.trust, max(problem.noise, _FLOOR * problem.unit))
        elif self.ramp and problem.kind == "ct" and not problem.noise:
            operator = RampedRays(operator, self.ramp)
            measurement = operator.filtered(measurement)
        estimator = Estimator(self.variance, along)
        return WeightedCG(operator, measurement, estimator, counts, self.floor, self.tie, self.reach, gamma)

    def _counts(self, steps: int) -> tuple[int, ...]:
        places = [2 * k / (steps - 1) - 1 if steps > 1 else 0.0 for k in range(steps)]
        return tuple(max(1, round(self.iterations * (1 + self.late * place))) for place in places)


@dataclass(frozen=True)
class NullSpace(Projecting):
    """DDNM (Wang et al., ICLR 2023; the ISCS paper's eq. 14): (1 - A-dagger A) prediction + A-dagger y.

    Attributes:
        sirt_iterations: of the pseudo-inverse of CT; that of thick slices is exact.
    """

    kind = "null-space"

    sirt_iterations: int = setting(100, "SIRT iterations of the pseudo-inverse of CT", least=1)

    def build(self, problem: Problem, along: str) -> Fidelity:
        # The weights are in the pseudo-inverse: what rays of weight 0 hold does not pass it.
        inverse = problem.pseudo_inverse(self.sirt_iterations)
        return RangeNullSpace(problem.operator, problem.measurement, inverse)


@dataclass(frozen=True)
class _WithTV(DataStep):
    """What the two data steps with total variation along the stack share.

    Weight and penalty are relative to the mean diagonal of A^T A. (Published code scales its backprojection by
    pi/(2 views), which brings that diagonal to about 1.) Split and dual go on from step to step, so one iteration of
    ADMM in each, the published number, adds up over the sampling.

    Attributes:
        passes: iterations of ADMM in each step of the sampler; conjugate gradients are counted within one of them.
    """

    weight: float = setting(0.04, "Weight lambda of total variation, against the mean diagonal of A^T A", least=0)
    penalty: float = setting(10.0, "Penalty rho of ADMM, likewise", above=0)
    _: KW_ONLY
    passes: int = setting(1, "Iterations of ADMM in each step of the sampler", least=1)

    def _total_variation(self, problem: Problem, along: str, iterations: int) -> ProximalTV:
        operator, y = problem.misfit
        scale = mean_diagonal(operator, y.device)
        return ProximalTV(operator, y, self.weight * scale, self.penalty * scale, along, self.passes, iterations)


@dataclass(frozen=True)
class StackTV(_WithTV, Projecting):
    """DDS+TV (Chung et al., ICLR 2024): |y - A z|^2 / 2 + lambda |D z|_1, D the differences along the stack.

    Attributes:
        weight, penalty: lambda and rho.
        iterations: steps of conjugate gradients in each iteration of ADMM.
    """

    kind = "tv"

    iterations: int = setting(5, _CG, least=1)

    def build(self, problem: Problem, along: str) -> Fidelity:
        return self._total_variation(problem, along, self.iterations)


@dataclass(frozen=True)
class TVAfterCorrector(_WithTV):
    """DiffusionMBIR (Chung et al., CVPR 2023): the same on the noisy volume, after every corrector.

    Attributes:
        weight, penalty: lambda and rho.
        iterations: steps of conjugate gradients in each iteration of ADMM.

    Raises:
        CosliceError: a re-noising without correctors.
    """

    kind = "tv-after-corrector"

    iterations: int = setting(1, _CG, least=1)

    def correction(self, problem: Problem, along: str) -> Correction:
        return AfterCorrector(self._total_variation(problem, along, self.iterations))

    def check(self, renoising: Renoising) -> None:
        if not isinstance(renoising, PredictorCorrector):
            raise CosliceError(
                f"renoising: {renoising.kind or type(renoising).__name__} was given, but the data step {self.kind} "
                f"follows a corrector; choose {PredictorCorrector.kind}, or another data step."
            )


@dataclass(frozen=True)
class TrustedPrediction(Projecting):
    """DiffPIR (Zhu et al., CVPRW 2023): the prediction is trusted like a measurement that errs by sigma/sqrt(lambda).

    Attributes:
        weight: lambda.
        iterations: steps of conjugate gradients.
    """

    kind = "trust"

    weight: float = setting(7.0, "Weight lambda of the prediction", above=0)
    iterations: int = setting(10, _CG, least=1)

    def build(self, problem: Problem, along: str) -> Fidelity:
        assumed = max(problem.noise, _FLOOR * problem.unit)
        weight = DiffPIRWeight(self.weight, assumed)
        return ProximalCG(*problem.misfit, self.iterations, weight)


@dataclass(frozen=True)
class Guidance(DataStep):
    """DPS (Chung et al., ICLR 2023): the prediction goes down the gradient of |y - A prediction|.

    Attributes:
        step: length of a step against the gradient, for an A that counts lengths in voxels.
    """

    kind = "guidance"

    step: float = setting(1.0, "Step against the gradient of the residual's length", least=0)

    def guided(self, problem: Problem, prior: SlicePrior | Changing) -> Denoiser | Changing:
        (operator, y), step = problem.misfit, self.step / problem.unit
        return altered(prior, lambda one: Guided(one, one.pull_back, operator, y, step))


@dataclass(frozen=True)
class UpdateGuidance(DataStep):
    """TPDM (Lee et al., ICCV 2023; its code): what every update gives goes down the gradient of |y - A prediction|.

    All of the step is subtracted, whatever noise the update keeps, also after a corrector. Of two planes the primary
    one alone is guided; the updates of the other are unconditional, and cost one network call instead of three.

    Attributes:
        step: zeta, for an A that counts lengths in voxels.
        planes: which of two priors are guided.
    """

    kind = "update-guidance"

    step: float = setting(0.25, "Step against the gradient of the residual's length", least=0)
    planes: str = setting("primary", "Planes whose updates the measurement guides", choices=("primary", "both"))

    def acting(self, problem: Problem, prior: SlicePrior | Changing, along: str, sigmas: Sequence[float]) -> Acting:
        updates = GuidedUpdates(*problem.misfit, self.step / problem.unit)

        def guide(one: SlicePrior) -> Denoiser:
            return updates.watched(one, one.pull_back)

        guided = altered(prior, guide, auxiliary=self.planes == "both")
        return Acting(guided, unchanged, updates.correction)
