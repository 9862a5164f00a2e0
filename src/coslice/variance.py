"""How unsure the prior is of its prediction, voxel by voxel.

The denoiser D(x, sigma) is nearly right in air and wrong at edges and vessels. A data step that knows where
(`coslice.fidelity.WeightedCG`) needs the variance of D's error up to a factor:

    SuccessivePredictions   (D_k - D_(k-1))^2                       costs nothing
    TwoNoises               (D(x, sigma) - D(x', sigma))^2 / 2      one more evaluation, of x' with other noise
    Tweedie                 sigma^2 n (D(x + h n, sigma) - D) / h   one more evaluation, n of signs +-1

The first compares the predictions of two steps of the sampler, which saw different noise and data that were better
fitted in between. The second does so at one noise level. The third is a probe (Hutchinson 1990) of the diagonal of
sigma^2 dD/dx, which by Tweedie's second-order formula is the covariance of x_0 given x.

One difference in one voxel says little: all are smoothed by a Gaussian, in plane and along the stack, and averaged over
the steps.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import torch
from torch import Tensor

from coslice.axes import axis_number
from coslice.classical.convolution import convolved
from coslice.errors import CosliceError
from coslice.noise import Key, standard_normals
from coslice.settings import Part, setting

__all__ = [
    "Estimator",
    "SuccessivePredictions",
    "Tweedie",
    "TwoNoises",
    "Variance",
    "Witness",
    "gaussian",
    "smoothed",
    "spread_along",
]


@dataclass
class Witness:
    """The prior, and what it was last asked: for data steps that look at more than its answer.

    Attributes:
        denoiser: (x, sigma) -> denoised, of the present step.
        x: what it was last asked.
        estimate: what the data step last made of its answer; None in the first step.
        told: called whenever it was asked beside the loop, by who counts evaluations.
    """

    denoiser: Callable[[Tensor, float], Tensor] | None = None
    x: Tensor | None = None
    estimate: Tensor | None = None
    told: Callable[[], None] = lambda: None

    def watching(self, denoiser: Callable[[Tensor, float], Tensor]) -> Callable[[Tensor, float], Tensor]:
        """The same denoiser; this witness remembers what it is asked."""

        def watched(x: Tensor, sigma: float) -> Tensor:
            self.denoiser, self.x = denoiser, x
            return denoiser(x, sigma)

        return watched

    def ask(self, x: Tensor, sigma: float) -> Tensor:
        """One more evaluation, by the denoiser of the present step."""
        if self.denoiser is None:
            raise CosliceError(
                "variance: the prior was asked, but what the loop asks is not watched; write asks = True in the class."
            )
        self.told()
        return self.denoiser(x, sigma)


@dataclass(frozen=True)
class Variance(Part, ABC):
    """How the variance of the prediction's error is estimated. An own one is a subclass with `squares`.

    Attributes:
        blur: standard deviation of the Gaussian that smooths squares in plane.
        blur_along: the same along the stack.
        memory: share of the estimate that comes from earlier steps.
        asks: whether it asks the prior itself, and needs to see what the loop asks.
    """

    asks = False

    def evaluations(self, steps: int) -> int:
        """How often it asks the prior in a sample of so many steps."""
        return steps if self.asks else 0

    _: KW_ONLY
    blur: float = setting(1.0, "Gaussian that smooths the squares in plane", "pixels", least=0, most=50)
    blur_along: float = setting(1.0, "Gaussian that smooths the squares along the stack", "slices", least=0, most=50)
    memory: float = setting(0.5, "Share of the estimate that comes from earlier steps", least=0, most=0.99)

    @abstractmethod
    def squares(self, denoised: Tensor, sigma: float, before: Tensor | None, step: int, seen: Witness) -> Tensor | None:
        """Numbers whose mean is the variance, up to a factor; None where nothing is known yet.

        One that asks the prior by `seen.ask` says so by `asks = True` in the class.

        Args:
            denoised: the prediction of this step (z, y, x), in the unit window.
            sigma: its noise level.
            before: the prediction of the last step; None in the first.
            step: number of the step.
            seen: what the prior was asked.
        """


@dataclass(frozen=True)
class SuccessivePredictions(Variance):
    """The squared difference of this step's and the last step's prediction: no further evaluation.

    Attributes:
        blur, blur_along, memory: as of `Variance`.
    """

    kind = "successive"

    def squares(self, denoised: Tensor, sigma: float, before: Tensor | None, step: int, seen: Witness) -> Tensor | None:
        return None if before is None else (denoised - before).square_()


@dataclass(frozen=True)
class TwoNoises(Variance):
    """Half the squared difference of two predictions, of the same estimate with different noise.

    Attributes:
        blur, blur_along, memory: as of `Variance`.
    """

    kind, asks = "two-noises", True

    def evaluations(self, steps: int) -> int:
        return steps - 1  # in the first there is no estimate yet

    def squares(self, denoised: Tensor, sigma: float, before: Tensor | None, step: int, seen: Witness) -> Tensor | None:
        if seen.estimate is None:
            return None
        other = seen.estimate.clone(memory_format=torch.contiguous_format)
        for plane, z in zip(other, _drawn(other, step), strict=True):
            plane.add_(z.to(plane), alpha=sigma)
        return (denoised - seen.ask(other, sigma)).square_().div_(2)


@dataclass(frozen=True)
class Tweedie(Variance):
    """The diagonal of sigma^2 dD/dx, by one probe of signs and a difference quotient.

    Attributes:
        blur, blur_along, memory: as of `Variance`.
        length: of the probe, against sigma.
    """

    kind, asks = "tweedie", True

    length: float = setting(0.1, "Length of the probe", "of sigma", above=0, most=1)

    def squares(self, denoised: Tensor, sigma: float, before: Tensor | None, step: int, seen: Witness) -> Tensor | None:
        assert seen.x is not None, "the prior was asked before"
        signs = torch.stack(list(_drawn(denoised, step))).sign_().to(denoised)
        probed = seen.ask(seen.x + signs * (self.length * sigma), sigma)
        # Of one voxel the probe says little and is often negative; its mean over a neighbourhood is what counts.
        return (probed - denoised).mul_(signs).mul_(sigma / self.length)


def _drawn(like: Tensor, step: int) -> Iterator[Tensor]:
    """A Gaussian plane for every plane of a volume."""
    return standard_normals(Key(0, step, "variance"), range(len(like)), tuple(like.shape[1:]), like.device)


@dataclass
class Estimator:
    """A `Variance` at work on one sample: it remembers the last prediction and the average so far.

    Attributes:
        variance: how it is estimated.
        along: axis of the stack, "z", "y" or "x".
        seen: what the prior was asked.
        average: the estimate so far (z, y, x); None where nothing is known yet.
    """

    variance: Variance
    along: str = "z"
    seen: Witness = field(default_factory=Witness)
    average: Tensor | None = None
    _before: Tensor | None = field(default=None, repr=False)
    _step: int = field(default=0, repr=False)

    def __call__(self, denoised: Tensor, sigma: float) -> Tensor | None:
        """The variance of a prediction up to a factor, (z, y, x); None where nothing is known yet.

        Raises:
            CosliceError: an estimate of another shape, or of numbers that are not finite.
        """
        part = self.variance
        squares = part.squares(denoised, sigma, self._before, self._step, self.seen)
        if squares is not None and (squares.shape != denoised.shape or not bool(squares.isfinite().all())):
            raise CosliceError(
                f"variance: {type(part).__name__} gave {tuple(squares.shape)} numbers for a volume of "
                f"{tuple(denoised.shape)}, or some that are not finite; give one finite number for each voxel."
            )
        self._before, self._step = denoised.clone(), self._step + 1
        if squares is not None:
            new = smoothed(squares, part.blur, part.blur_along, self.along).clamp_(min=0)
            self.average = new if self.average is None else torch.lerp(new, self.average, part.memory)
        return self.average

    def state_dict(self) -> dict[str, Any]:
        """The average and the last prediction; of an estimate that asks the prior, or an own one, also what was made
        of that."""
        remembered = {"average": self.average, "before": self._before}
        if self.variance.asks or not self.variance.built_in():
            remembered["estimate"] = self.seen.estimate
        return {"estimates": self._step} | {name: value for name, value in remembered.items() if value is not None}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where another one was."""
        self._step = int(state_dict["estimates"])
        self.average, self._before = state_dict.get("average"), state_dict.get("before")
        self.seen.estimate = state_dict.get("estimate")


def smoothed(volume: Tensor, in_plane: float, along_stack: float = 0.0, along: str = "z") -> Tensor:
    """A volume (z, y, x) convolved with a Gaussian; at the borders the outermost values go on.

    Args:
        volume: (z, y, x).
        in_plane: standard deviation within slices, voxels; 0 for none.
        along_stack: standard deviation along the stack, slices; 0 for none.
        along: the axis of the stack.
    """
    for axis in range(3):
        width = along_stack if axis == axis_number(along) else in_plane
        if width > 0:
            volume = convolved(volume, gaussian(width, volume.shape[axis]), axis, edges=True)
    return volume


def spread_along(volume: Tensor, width: float, along: str = "z") -> Tensor:
    """A volume (z, y, x) convolved along an axis with a Gaussian of sum 1; at the borders zeros go on.

    Args:
        volume: (z, y, x).
        width: standard deviation, slices.
        along: the axis.
    """
    axis = axis_number(along)
    return convolved(volume, gaussian(width, volume.shape[axis]), axis)


def gaussian(width: float, length: int) -> list[float]:
    """The weights at distances 0, 1, ... of a Gaussian whose sum over both sides is 1; no more than `length`."""
    weights = [math.exp(-0.5 * (distance / width) ** 2) for distance in range(min(math.ceil(3 * width) + 1, length))]
    whole = weights[0] + 2 * sum(weights[1:])
    return [weight / whole for weight in weights]
