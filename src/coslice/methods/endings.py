"""Endings: what a run gives back after the last step of the loop.

    LastEstimate       DDS, DDNM (thick slices)    the volume after the last data step
    LastPrediction     DDNM's code (CT)            the prior's last image, before its data step
    DenoisedEstimate   DDS of ISCS's code (CT)     the last estimate, seen by the prior once more
    KaczmarzStep       DiffusionMBIR's code        the volume after the last step, moved towards the data

The papers end with the last step of Algorithm 1; their code often does not, and what it does then is in their numbers.
An own ending is a subclass of `Ending` with `ended`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from coslice.problems import Problem
from coslice.sampling import Denoiser, Step
from coslice.settings import Part

__all__ = ["DenoisedEstimate", "Ending", "KaczmarzStep", "LastEstimate", "LastPrediction"]


@dataclass(frozen=True)
class Ending(Part, ABC):
    """How a run ends: the reconstruction, made of the last step. An own one overrides `ended`.

    Projections between the data and values from 0 to 1 (`rounds` of the data step) come after it.

    Attributes:
        evaluations: how often it asks the prior.
    """

    evaluations: ClassVar[int] = 0

    @abstractmethod
    def ended(self, last: Step, ask: Denoiser, problem: Problem) -> Tensor:
        """The reconstruction (z, y, x), in the unit window.

        Args:
            last: the last step, whose `x` is the volume that the loop ends with.
            ask: the prior (x, sigma) -> denoised, of a prior that changes from step to step that of the last step.
                Its time counts as the prior's.
            problem: y and its operator A; `misfit` has the weights of the rays in it.
        """


@dataclass(frozen=True)
class LastEstimate(Ending):
    """The volume after the last data step: Algorithm 1 as it is printed. Published for thick slices."""

    kind = "estimate"

    def ended(self, last: Step, ask: Denoiser, problem: Problem) -> Tensor:
        return last.x


@dataclass(frozen=True)
class LastPrediction(Ending):
    """The prior's last image, before its data step: DDNM for CT in the code of Du et al., ICLR 2026.

    The last data step is then without effect. The image is clean, and agrees with the measurement less.
    """

    kind = "denoised"

    def ended(self, last: Step, ask: Denoiser, problem: Problem) -> Tensor:
        return last.denoised


@dataclass(frozen=True)
class DenoisedEstimate(Ending):
    """The last estimate, denoised once more: D(estimate, sigma_min), one network call above `schedule.steps`.

    DDS for CT in the code of Du et al., ICLR 2026: no noise is added after the last data step, and a reverse-diffusion
    step without noise follows, x + sigma_min^2 score(x, sigma_min), which is D(x, sigma_min).
    """

    kind, evaluations = "denoised-estimate", 1

    def ended(self, last: Step, ask: Denoiser, problem: Problem) -> Tensor:
        # The prior reads slices: give it slices in memory, whatever layout the operator left behind.
        return ask(last.x.clone(memory_format=torch.contiguous_format), last.sigma)


@dataclass(frozen=True)
class KaczmarzStep(Ending):
    """One step towards the data, x + A^T W (y - A x) / (A^T W A 1): DiffusionMBIR's code (Chung et al., CVPR 2023).

    W are the weights of the rays, which its code has none of. Voxels that no ray meets stay as they are.
    """

    kind = "kaczmarz"

    def ended(self, last: Step, ask: Denoiser, problem: Problem) -> Tensor:
        operator, y = problem.misfit
        met = operator.normal(torch.ones_like(last.x))
        gradient = operator.adjoint(y - operator.forward(last.x))
        return last.x + torch.where(met > 0, gradient / met, 0.0)
