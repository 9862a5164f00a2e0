"""The steps that a variance-preserving network was trained on, as a table, by the names that libraries give them.

A step shrinks the image and adds noise of variance beta_t; after t of them the image has shrunken by sqrt(abar_t),

    abar_t = prod_(s <= t) (1 - beta_s).

diffusers and MONAI describe the betas by a word and a few numbers, in files and in their schedulers:

    linear               from beta_start to beta_end in equal steps (Ho et al., NeurIPS 2020)
    scaled_linear        their square roots in equal steps (Rombach et al., CVPR 2022)
    squaredcos_cap_v2    abar_t = f(t)/f(0), f(t) = cos^2((t/T + 0.008)/1.008 pi/2), no beta above 0.999
                         (Nichol and Dhariwal, ICML 2021); MONAI's "cosine"
    sigmoid              between beta_start and beta_end along a sigmoid from -6 to 6
    trained_betas        each by itself
    rescale_betas_zero_snr   sqrt(abar) shifted and stretched, so that nothing of the image is left at the last step
                         (Lin et al., WACV 2024, algorithm 1)

In the variables of this library the last step of such a rescaled table has sigma infinite. It is left out: a sampler
begins at a finite level, and which t belongs to the others does not change.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.escapes import shown
from coslice.tree import typed

__all__ = [
    "PREDICTIONS",
    "StepTable",
    "TrainedSteps",
    "steps_of_diffusers",
    "steps_of_monai",
    "steps_of_scheduler",
    "usual",
]

PREDICTIONS = ("epsilon", "sample", "v_prediction")
"""What a network may name: the noise n, the image v, or the velocity sqrt(abar) n - sqrt(1 - abar) v."""

_MOST_STEPS = 100_000
_CAP = 0.999
_OFFSET = 0.008
_LEAST = 1e-11
"""abar with which sigma is 3e5; below it there is no image left."""

_INSTEAD_OF_0 = 2.0**-24
"""abar that some schedulers of diffusers write at the last step of a rescaled table, where it would be 0."""

_DIFFUSERS = (
    *("DDPMScheduler", "DDPMParallelScheduler", "DDIMScheduler", "DDIMParallelScheduler", "PNDMScheduler"),
    *("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "DPMSolverSDEScheduler", "DEISMultistepScheduler"),
    *("UniPCMultistepScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler"),
    *("LMSDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "SASolverScheduler"),
)
"""Schedulers of diffusers that say in the same words on which betas their network was trained."""
_MONAI = {
    "linear_beta": "linear",
    "scaled_linear_beta": "scaled_linear",
    "sigmoid_beta": "sigmoid",
    "cosine": "squaredcos_cap_v2",
    "linear": "linear",
    "scaled_linear": "scaled_linear",
    "sigmoid": "sigmoid",
}
_NO_SCHEDULER = (
    "No scheduler lies beside the network; 1000 linear betas from 0.0001 to 0.02, and a network that names the noise, "
    "were assumed."
)


@dataclass(frozen=True)
class StepTable:
    """abar after each step.

    Attributes:
        table: falling, between 0 and 1, one for each t from 0 on.

    Raises:
        CosliceError: another sequence.
    """

    table: tuple[float, ...]

    def __post_init__(self) -> None:
        falls = all(0 < below < above < 1 for above, below in pairwise(self.table))
        if not (2 <= len(self.table) <= _MOST_STEPS and falls):
            raise CosliceError(
                f"steps: {shown(self.table[:3])}... was given, but abar of 2 to {_MOST_STEPS} steps is needed, falling "
                "from below 1 to above 0."
            )

    def alpha_bar(self) -> Tensor:
        """abar_t: (count,) float64."""
        return torch.tensor(self.table, dtype=torch.float64)

    def sigmas(self, input_range: tuple[float, float]) -> Tensor:
        """The noise level of each step, in the unit window, of a network with this input range: (count,) float64."""
        alpha_bar = self.alpha_bar()
        return ((1 - alpha_bar) / alpha_bar).sqrt() / (input_range[1] - input_range[0])

    @classmethod
    def of_betas(cls, betas: Sequence[float], *, rescaled: bool = False) -> StepTable:
        """The table of steps with these variances.

        Args:
            betas: of each step, between 0 and 1.
            rescaled: so that the last step leaves nothing of the image.

        Raises:
            CosliceError: fewer than two, or others.
        """
        given = np.asarray(betas, np.float64)
        if given.ndim != 1 or not 2 <= len(given) <= _MOST_STEPS or not bool(((given > 0) & (given <= 1)).all()):
            raise CosliceError(f"steps: 2 to {_MOST_STEPS} betas are needed, above 0 and at most 1; correct them.")
        alpha_bar = np.cumprod(1 - given)
        if rescaled:
            root = np.sqrt(alpha_bar)
            if root[0] == root[-1]:
                raise CosliceError(
                    "steps: betas were given with which the last step leaves as much of the image as the first, so "
                    "they cannot be rescaled to zero signal; correct them."
                )
            alpha_bar = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
        return cls.of_alpha_bar(alpha_bar.tolist())

    @classmethod
    def of_alpha_bar(cls, alpha_bar: Sequence[float]) -> StepTable:
        """The table of these, without the last ones that leave nothing of the image.

        Raises:
            CosliceError: as of the class.
        """
        count = len(alpha_bar)
        while count and alpha_bar[count - 1] < _LEAST:
            count -= 1
        return cls(tuple(map(float, alpha_bar[:count])))


@dataclass(frozen=True)
class TrainedSteps:
    """What a scheduler says of its network.

    Attributes:
        table: of its steps.
        prediction: one of `PREDICTIONS`.
        notes: sentences on what was assumed.
    """

    table: StepTable
    prediction: str = "epsilon"
    notes: tuple[str, ...] = ()


def usual() -> TrainedSteps:
    """What is assumed where there is no scheduler, which the notes say."""
    return TrainedSteps(_named("linear", 1000, 1e-4, 2e-2), notes=(_NO_SCHEDULER,))


def steps_of_diffusers(config: Mapping[str, Any], who: str) -> TrainedSteps:
    """What a scheduler_config.json of diffusers says.

    Args:
        config: as parsed.
        who: begins a refusal.

    Raises:
        CosliceError: a scheduler, a schedule of betas or a prediction that is not known, or values of another type.
    """
    name = config.get("_class_name")
    if name not in _DIFFUSERS:
        raise CosliceError(
            f"{who}: the scheduler {shown(name)} is not known; known are those with a table of betas, such as "
            "DDPMScheduler and DDIMScheduler."
        )
    if config.get("use_flow_sigmas"):
        raise CosliceError(f"{who}: it is of a network of flows, but one that was trained on betas is needed.")
    words = {"beta_schedule": "linear", "num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 2e-2}
    words["prediction_type"] = "epsilon"
    absent = [word for word in words if config.get(word) is None]
    if config.get("trained_betas") is not None:
        absent = [word for word in absent if word == "prediction_type"]
        betas = typed(tuple[float, ...], config["trained_betas"], "trained_betas", who)
    else:
        betas = None
    found = {word: config[word] if word not in absent and word in config else value for word, value in words.items()}
    prediction = typed(Literal["epsilon", "sample", "v_prediction"], found["prediction_type"], "prediction_type", who)
    rescaled = typed(bool | None, config.get("rescale_betas_zero_snr"), "rescale_betas_zero_snr", who) is True
    if betas is not None:
        table = StepTable.of_betas(betas, rescaled=rescaled)
    else:
        table = _checked(found, "beta_schedule", rescaled, who)
    spoken = ", ".join(f"{word} {words[word]}" for word in absent)
    return TrainedSteps(
        table, prediction, (f"The scheduler does not say {spoken}, which was assumed.",) if absent else ()
    )


def steps_of_monai(config: Mapping[str, Any], who: str) -> TrainedSteps:
    """What the arguments of a scheduler of MONAI say, by their names; what is left out is as in MONAI.

    Raises:
        CosliceError: as `steps_of_diffusers`.
    """
    schedule = config.get("schedule", config.get("beta_schedule", "linear_beta"))
    known = typed(str, schedule, "schedule", who)
    if known not in _MONAI:
        raise CosliceError(f"{who}: the schedule {shown(known)} is not known; known are {', '.join(list(_MONAI)[:4])}.")
    words = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 2e-2}
    found = {word: config.get(word, value) for word, value in words.items()} | {"schedule": _MONAI[known]}
    predictions = Literal["epsilon", "sample", "v_prediction"]
    prediction = typed(predictions, config.get("prediction_type", "epsilon"), "prediction_type", who)
    for word, value in (("s", _OFFSET), ("sig_range", 6)):
        if config.get(word, value) != value:
            raise CosliceError(f"{who}: {word} is {shown(config[word])}, but only {value} is known.")
    return TrainedSteps(_checked(found, "schedule", False, who), prediction)


def steps_of_scheduler(scheduler: Any) -> TrainedSteps:
    """What a scheduler at hand says: diffusers', MONAI's, or one with the same attributes.

    Args:
        scheduler: with `alphas_cumprod`, and `prediction_type`, its own or its config's; epsilon where there is none.

    Raises:
        CosliceError: it has no such table, or a prediction that is not known.
    """
    who = type(scheduler).__name__
    alpha_bar = getattr(scheduler, "alphas_cumprod", None)
    if alpha_bar is None:
        raise CosliceError(
            f"{who}: it has no alphas_cumprod, but a scheduler with a table of betas is needed, such as DDPMScheduler."
        )
    config = getattr(scheduler, "config", None)
    if isinstance(config, Mapping):  # diffusers warns of what is asked of the scheduler itself
        prediction = str(config.get("prediction_type", "epsilon"))
    else:
        prediction = str(getattr(scheduler, "prediction_type", "epsilon"))
    typed(Literal["epsilon", "sample", "v_prediction"], prediction, "prediction_type", who)
    found = torch.as_tensor(alpha_bar).double().cpu().flatten().tolist()
    if len(found) > 1 and found[-1] == _INSTEAD_OF_0 > found[-2]:
        found.pop()
    return TrainedSteps(StepTable.of_alpha_bar(found), prediction)


def _checked(found: Mapping[str, Any], word: str, rescaled: bool, who: str) -> StepTable:
    kinds = Literal["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"]
    kind = typed(kinds, found[word], word, who)
    count = typed(int, found["num_train_timesteps"], "num_train_timesteps", who)
    first, last = (typed(float, found[end], end, who) for end in ("beta_start", "beta_end"))
    if not (2 <= count <= _MOST_STEPS and 0 < first < 1 and 0 < last < 1):
        raise CosliceError(
            f"{who}: {shown(count)} steps with betas from {first:g} to {last:g} were given, but 2 to {_MOST_STEPS} "
            "steps and betas between 0 and 1 are needed."
        )
    return _named(kind, count, first, last, rescaled)


def _named(kind: str, count: int, first: float, last: float, rescaled: bool = False) -> StepTable:
    if kind == "linear":
        betas = np.linspace(first, last, count)
    elif kind == "scaled_linear":
        betas = np.linspace(first**0.5, last**0.5, count) ** 2
    elif kind == "sigmoid":
        betas = first + (last - first) / (1 + np.exp(-np.linspace(-6, 6, count)))
    else:
        f = np.cos((np.arange(count + 1) / count + _OFFSET) / (1 + _OFFSET) * math.pi / 2) ** 2
        betas = np.minimum(1 - f[1:] / f[:-1], _CAP)
    return StepTable.of_betas(betas.tolist(), rescaled=rescaled)
