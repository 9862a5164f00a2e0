"""How runs end, against the published updates written out here for a matrix, a linear prior and noise of all ones."""

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from coslice import LinearProblem, Operator, plan, run
from coslice.errors import CosliceError
from coslice.methods import DDNM, DDS, Ending, LastEstimate, changed, described, differing, find_method
from coslice.noise import Strategy
from coslice.priors import SlicePrior
from coslice.priors.blends import Blend
from coslice.priors.partitions import windows
from small_problems import prior, priors, quick, scan, zsr

SHAPE = (2, 4, 4)
LEVELS = (0.3, 0.3 * (0.02 / 0.3) ** 0.5, 0.02)
QUICK: dict[str, Any] = {"schedule": {"steps": 3, "sigma_max": 0.3, "sigma_min": 0.02}}
A = np.random.default_rng(0).uniform(0, 1, (12, 32))
A[:, 5] = 0  # a voxel that no ray meets
Y = A @ np.random.default_rng(1).uniform(0.3, 0.6, 32)


class Matrix(Operator):
    def __init__(self):
        self.matrix = torch.tensor(A, dtype=torch.float32)
        self.domain, self.codomain = SHAPE, (len(A),)

    def forward(self, volume):
        return self.matrix @ volume.reshape(-1)

    def adjoint(self, measurement):
        return (self.matrix.T @ measurement).view(SHAPE)


@dataclass(frozen=True)
class Ones(Strategy):
    """Noise that is 1 everywhere, so that whoever writes an update down needs no draws."""

    def add_to_stack(self, stack, scale, key, first, count):
        stack.add_(scale)


class Linear(nn.Module):
    """The posterior mean of voxels with mean 0.4 and variance 0.04; counts the images it sees."""

    images = 0

    def forward(self, x, sigma):
        self.images += len(x)
        share = (0.04 / (0.04 + sigma**2))[:, None, None, None]
        return share * x + (1 - share) * 0.4


def denoised(x, sigma):
    share = 0.04 / (0.04 + sigma**2)
    return share * x + (1 - share) * 0.4


def conjugate_gradients(x, iterations):
    residual = A.T @ (Y - A @ x)
    direction = residual
    for _ in range(iterations):
        image = A.T @ (A @ direction)
        length = residual @ residual / (direction @ image)
        x, old, residual = x + length * direction, residual, residual - length * image
        direction = residual + residual @ residual / (old @ old) * direction
    return x


def inverse(y, iterations=3):
    """SIRT from zero with values from 0 up."""
    x, rays, voxels = np.zeros(32), 1 / A.sum(1), np.divide(1, A.sum(0), where=A.sum(0) > 0, out=np.zeros(32))
    for _ in range(iterations):
        x = np.maximum(x + voxels * (A.T @ (rays * (y - A @ x))), 0)
    return x


def null_space(x):
    return inverse(Y) + x - inverse(A @ x)


def published(x, fidelity, eta=1.0, quiet=0):
    """(last prediction, last estimate): re-noised by shares, with nothing put back at the last `quiet` transitions."""
    prediction = estimate = x
    for index, (sigma, after) in enumerate(pairwise((*LEVELS, 0.0))):
        prediction = denoised(x, sigma)
        estimate = fidelity(prediction)
        put_back = 0.0 if index >= 2 - quiet else after
        x = estimate + put_back * (math.sqrt(1 - eta**2) * (x - prediction) / sigma + eta)
    return prediction, estimate


def linear(**others):
    return LinearProblem(Matrix(), torch.tensor(Y, dtype=torch.float32), **others)


def made(method, problem=None, module=None, **changes):
    """The reconstruction, (32,); no value of it may lie where `run` would cut it off."""
    given = changed(replace(method, noise=Ones()), QUICK | {"start": {"volume": "noise"}} | changes)
    x = run(problem or linear(), given, SlicePrior(module or Linear(), 2, (1e-3, 50.0), "yx")).reconstruction
    assert float(x.min()) > 0 and float(x.max()) < 1
    return x.reshape(-1).double().numpy()


def test_dds_ends_as_its_code_for_cone_beams_does():
    """No noise after the last data step, and the mean of a reverse-diffusion step at sigma_min."""
    _, estimate = published(0.3 * np.ones(32), lambda x: conjugate_gradients(x, 2))
    sigma, score = 0.02, (denoised(estimate, 0.02) - estimate) / 0.02**2
    small = {"data": {"iterations": 2}}
    np.testing.assert_allclose(made(DDS, end="denoised-estimate", **small), estimate + sigma**2 * score, atol=2e-5)
    np.testing.assert_allclose(made(DDS, end="estimate", **small), estimate, atol=2e-5)
    assert abs(estimate - denoised(estimate, sigma)).max() > 1e-3


def test_ddnm_starts_from_its_pseudo_inverse_and_ends_with_the_last_image_as_its_code_does():
    prediction, estimate = published(inverse(Y) + 0.3, null_space)
    small = {"data": {"sirt_iterations": 3}, "start": {"solution": {"kind": "sirt", "iterations": 3}}}
    np.testing.assert_allclose(made(DDNM, end="denoised", **small), prediction, atol=2e-5)
    np.testing.assert_allclose(made(DDNM, end="estimate", **small), estimate, atol=2e-5)
    assert abs(prediction - estimate).max() > 1e-3


@pytest.mark.parametrize("weighted", [False, True])
def test_the_step_of_kaczmarz_is_that_of_diffusion_mbir(weighted):
    w = np.random.default_rng(2).uniform(0.2, 1, 12) if weighted else np.ones(12)
    problem = linear(weights=torch.tensor(w, dtype=torch.float32) if weighted else None)
    changes: dict[str, Any] = {"schedule": QUICK["schedule"] | {"steps": 4}}
    method = find_method("diffusion-mbir")
    x = made(method, problem, end="estimate", **changes)
    up, down = A.T @ (w * (Y - A @ x)), A.T @ (w * (A @ np.ones(32)))
    expected = x + np.where(down > 0, up / np.where(down > 0, down, 1), 0)
    np.testing.assert_allclose(made(method, problem, end="kaczmarz", **changes), expected, atol=2e-5)
    assert expected[5] == x[5] and abs(expected - x).max() > 1e-3


@pytest.mark.parametrize("quiet", [0, 1, 2])
def test_the_last_transitions_put_nothing_back_where_they_are_quiet(quiet):
    """DDS's and DiffusionBlend's code at j == 0: neither fresh noise nor kept; the last call sees the estimate."""
    _, estimate = published(0.3 * np.ones(32), lambda x: conjugate_gradients(x, 2), 0.85, quiet)
    renoising = {"eta": 0.85, "quiet": quiet}
    x = made(DDS, data={"iterations": 2}, renoising=renoising, end="estimate")
    np.testing.assert_allclose(x, estimate, atol=2e-5)


def test_a_prediction_of_patches_is_cut_off_where_that_is_asked():
    volume = scan((6, 8, 8)) * 4 - 1
    whole = Blend(prior(channels=3), 6, 2.0, lambda step, count: windows(count, 3, "overlap"))
    cut = replace(whole, clip=True)
    assert torch.equal(cut.at(0)(volume, 0.1), whole.at(0)(volume, 0.1).clamp(0, 1))
    assert float(whole.at(0)(volume, 0.1).max()) > 1.05
    for name in ("diffusionblend", "diffusionblend++", "wblend"):
        method = quick(name, data={"iterations": 1})
        path = {"patches": {"clip": True}} if name == "wblend" else {"clip": True}
        high = replace(zsr(), measurement=zsr().measurement * 2)
        plain, clipped = (
            run(high, one, priors(one, "zx")).reconstruction for one in (method, changed(method, {"prior": path}))
        )
        assert not torch.equal(plain, clipped)


@pytest.mark.parametrize(
    ("name", "end"),
    [
        *(("dds", "kaczmarz"), ("dps", "denoised"), ("wdds", "denoised-estimate")),
        *((name, "denoised-estimate") for name in ("diffusionblend++", "tpdm-cg", "wblend")),
    ],
)
def test_ends_of_all_sorts_of_priors_are_watched_and_averaged(name, end):
    """The trajectory ends at the reconstruction; the mean of samples is that of the runs."""
    method = quick(name, end=end, noise="independent")
    if hasattr(method.data, "rounds"):
        method = changed(method, {"data": {"rounds": 0}})
    given = priors(method, "zx")
    first, second = (run(zsr(), method, given, seed=s, truth=scan()) for s in (0, 1))
    error = float((first.reconstruction - scan()).square().mean())
    assert first.trajectory[-1]["psnr"] == pytest.approx(-10 * math.log10(error), abs=1e-4)
    both = run(zsr(), replace(method, samples=2), given)
    torch.testing.assert_close(
        both.reconstruction, (first.reconstruction + second.reconstruction) / 2, rtol=0, atol=1e-6
    )


def test_projections_come_after_the_end():
    plain, projected = (
        made(DDS, end="denoised-estimate", data={"iterations": 2, "rounds": rounds}) for rounds in (0, 1)
    )
    np.testing.assert_allclose(projected, conjugate_gradients(plain, 2), atol=2e-5)


def test_the_extra_call_is_one_network_evaluation():
    counts = []
    for end in ("estimate", "denoised", "denoised-estimate", "kaczmarz"):
        module = Linear()
        made(DDS, module=module, end=end, data={"iterations": 1})
        counts.append(module.images / SHAPE[0])
    assert counts == [3, 3, 4, 3]


def test_an_end_that_is_as_it_always_was_leaves_no_trace_in_keys():
    for name in ("dds", "ddnm", "diffusion-mbir", "wblend"):
        method = replace(find_method(name), end=LastEstimate())
        assert "end" not in differing(method)
        assert described(method)["end"] == {"kind": "estimate"}
        assert differing(changed(method, {"end": "denoised"}))["end"] == {"kind": "denoised"}


def test_an_end_of_one_s_own_is_a_small_class_and_gives_a_volume():
    @dataclass(frozen=True)
    class Halfway(Ending):
        def ended(self, last, ask, problem):
            return (last.denoised + last.x) / 2

    @dataclass(frozen=True)
    class Nothing(Ending):
        def ended(self, last, ask, problem) -> Any:
            return None

    @dataclass(frozen=True)
    class NoNumber(Ending):
        def ended(self, last, ask, problem):
            return last.x / torch.zeros(())

    small = {"data": {"iterations": 2}}
    prediction, estimate = published(0.3 * np.ones(32), lambda x: conjugate_gradients(x, 2))
    np.testing.assert_allclose(made(DDS, end=Halfway(), **small), (prediction + estimate) / 2, atol=2e-5)
    with pytest.raises(CosliceError, match="the end Nothing gave None, but a volume"):
        made(DDS, end=Nothing(), **small)
    with pytest.raises(CosliceError, match=r"what the end NoNumber gave holds .* no numbers"):
        made(DDS, end=NoNumber(), **small)
    with pytest.raises(CosliceError, match=r"end .* was given, but a Ending is needed"):
        replace(DDS, end="denoised")  # pyright: ignore[reportArgumentType]


def test_an_odd_number_of_evaluations_of_pairs_is_said():
    for steps, said in ((4, ()), (5, ("5", "6"))):
        planned = plan(zsr(), quick("diffusion-mbir", schedule={"steps": steps}), prior("zx"))
        remarks = [remark for remark in planned.remarks if "evaluations" in remark]
        assert len(planned.sigmas) - 1 == steps + steps % 2
        assert len(remarks) == bool(said) and all(number in remarks[0] for number in said)
