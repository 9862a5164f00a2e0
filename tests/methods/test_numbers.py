"""What is no number stops a run at its step, and the sentence names the part that made it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch

from coslice import load_prior, run
from coslice.errors import CosliceError
from coslice.methods import DataStep
from coslice.networks.eight_bits import multiplies_eight_bits
from coslice.priors import SlicePrior
from coslice.problems import SparseViewCT
from coslice.settings import setting
from simulated import measured
from small_problems import Smoother, prior, quick, started_at, zsr

COUNT = 1440
"""Voxels of the small problem."""


class Spoilt(Smoother):
    """A smoother that puts `value` into its images below a noise level, with a count of how often it was asked."""

    def __init__(self, below: float, value: float = math.nan) -> None:
        super().__init__()
        self.below, self.value, self.asked = below, value, 0

    def forward(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        self.asked += 1
        answer = super().forward(x, sigma)
        if float(sigma[0]) < self.below:
            answer[..., 0, 0] = self.value
        return answer


@dataclass(frozen=True)
class SpoilingStep(DataStep):
    """Trusts the prior; its estimate or its correction is spoilt below a noise level."""

    estimate_below: float = setting(0.0, "Noise level")
    corrected_below: float = setting(0.0, "Noise level")

    def build(self, problem, along):
        return lambda denoised, sigma: denoised * (math.nan if sigma < self.estimate_below else 1.0)

    def correction(self, problem, along):
        return lambda x, sigma, sigma_next: x * (math.nan if sigma < self.corrected_below else 1.0)


def said_by(one: SlicePrior, **changes) -> str:
    with pytest.raises(CosliceError) as stopped:
        run(zsr(), replace(quick("dds", schedule={"steps": 5}), **changes), one)
    return str(stopped.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("below", "step"), [(1.0, 1), (0.16, 2), (0.03, 5)])
def test_a_prior_that_gives_no_numbers_is_named_at_its_step_and_not_asked_again(below, step, value):
    spoilt = Spoilt(below, value)
    said = said_by(replace(prior("zx"), denoiser=spoilt))
    # A pixel of each of twelve slices.
    assert f"at step {step} (sigma" in said and "what the prior gave holds 12 voxels" in said
    assert spoilt.asked == 12 * step


@pytest.mark.parametrize(("below", "step"), [(1.0, 1), (0.16, 2)])
def test_so_is_a_data_step(below, step):
    said = said_by(prior("zx"), data=SpoilingStep(estimate_below=below))
    assert f"at step {step} (sigma" in said and f"what the fidelity gave holds {COUNT:,} voxels" in said


def test_what_a_prior_makes_of_no_numbers_is_not_its_fault():
    said = said_by(prior("zx"), data=SpoilingStep(corrected_below=1.0))
    assert "at step 2" in said and f"what the prior was given holds {COUNT:,} voxels" in said


def test_a_first_reconstruction_without_numbers_is_named_before_any_step():
    spoilt = Spoilt(0.0)
    first = torch.full((10, 12, 12), 0.5)
    first[3, 4, 5] = math.nan
    with pytest.raises(CosliceError, match="the first reconstruction holds 1 voxels"):
        run(started_at(zsr(), first), quick(), replace(prior("zx"), denoiser=spoilt))
    assert spoilt.asked == 0


def test_large_numbers_are_numbers():
    """Their sum is more than float32 holds."""
    first = torch.full((10, 12, 12), 3e38)
    assert bool(run(started_at(zsr(), first), quick(start={"volume": "noise"}), prior("zx")).initial.eq(1).all())


@pytest.mark.parametrize("arithmetic", ["int8"])
def test_a_weight_that_is_no_number_shows_in_integers_too(arithmetic):
    """Levels from 0 to 255 have no place for it, and would go on with something else."""
    if arithmetic == "int8" and not multiplies_eight_bits():
        pytest.skip("this processor multiplies no 8-bit integers")
    spoilt = load_prior("ct")
    with torch.no_grad():
        next(spoilt.network.parameters()).fill_(math.nan)
    problem = measured(SparseViewCT(views=4), torch.full((7, 64, 64), 0.5))
    with pytest.raises(CosliceError, match=r"at step 1 \(sigma .*what the prior gave holds"):
        run(problem, quick(prior={"arithmetic": arithmetic}), spoilt)
