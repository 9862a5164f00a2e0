"""Every method on a volume that is no cube: 99 slices of 5 mm, the ISCS paper's L221, seen by a parallel beam."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from coslice import run
from coslice.methods import Direct, changed, find_method, methods_for
from coslice.priors import SlicePrior, load_prior
from coslice.problems import SparseViewCT
from coslice.window import CT_WINDOW
from laws import relative
from simulated import measured, uniform
from small_bodies import ball

SPACING, SHAPE = (5.0, 24.0, 24.0), (99, 16, 16)
# These take small steps, one of them on a noisy volume.
STEPS = {"diffusion-mbir": 16, "dps": 8, "tpdm": 8}
DIRECT = [name for name, method in methods_for("ct").items() if isinstance(method, Direct)]
SAMPLING = [name for name in methods_for("ct") if name not in DIRECT]
WITH_TV = ("dds-tv", "dds-3d")
ALONE, ITERATIVE = ("fdk", "sirt", "fbp-unet"), ("sirt", "cgls", "admm-tv")


class Oracle(nn.Module):
    """Answers every image with the one of the truth that is nearest."""

    def __init__(self, images):
        super().__init__()
        self.images = images

    def forward(self, x, sigma, distance=None):
        squares = (x[:, :, None] - self.images).square().sum((-2, -1))
        return self.images[squares.argmin(-1)] + 0 * x


def checks(count):
    """Slices of 4 x 4 squares, each black or white by chance."""
    squares = (uniform((count, 4, 4)) > 0.5).float()
    return 0.1 + 0.8 * squares.repeat_interleave(4, 1).repeat_interleave(4, 2)


def oracles(method, truth):
    channels = 3 if method.need == "patches" else 1
    axial = SlicePrior(Oracle(truth), 1, (1e-3, 10.0), channels=channels)
    coronal = SlicePrior(Oracle(truth.transpose(0, 1).contiguous()), 1, (1e-3, 10.0), "zx")
    if method.need == "relay":
        return [replace(axial, channels=3), axial]
    return [axial, coronal] if method.need == "planes" else axial


@pytest.mark.parametrize("name", SAMPLING)
def test_with_a_prior_that_knows_the_truth_every_method_finds_it(name):
    """It agrees with the data, so no data step moves it; nor does total variation where all slices are alike."""
    truth = checks(1 if name in WITH_TV else SHAPE[0]).expand(SHAPE).contiguous()
    problem = measured(SparseViewCT("parallel"), truth, SPACING)
    tree = {"noise": "iscs", "schedule": {"steps": STEPS.get(name, 4), "sigma_max": 0.5}}
    if name == "diffusion-mbir":
        tree["data"] = {"weight": 0.0, "penalty": 1e-9}  # its total variation sees noisy slices, which are not alike
    method = changed(find_method(name), tree)
    result = run(problem, method, oracles(method, truth))
    assert relative(result.reconstruction, truth) < 1e-6
    assert relative(result.initial, truth) > 0.2


@pytest.fixture(scope="module")
def body():
    """As a scan may be, in the unit window."""
    return CT_WINDOW.to_unit(torch.from_numpy(ball(SHAPE, SPACING, radius=170.0)))


@pytest.mark.parametrize("name", DIRECT)
def test_a_method_that_does_not_sample_takes_no_slice_for_another(name, body, tiny_prior):
    """Where slices are solved alone, some of them give the same; mirrored along z, a scan gives the volume mirrored.

    Not that of ADMM-TV, whose differences look forward; but where all slices are alike, so they come out.
    """
    truth = 0.8 * body + 0.2 * uniform(SHAPE)
    method = changed(find_method(name), {"solution": {"iterations": 20}} if name in ITERATIVE else {})
    supervised = replace(load_prior(tiny_prior), card={"tasks": {"svct-parallel-8": 0.15}})

    def solved(volume):
        problem = measured(SparseViewCT("parallel"), volume, SPACING)
        return problem, run(problem, method, supervised if method.need else None)

    problem, result = solved(truth)
    x = result.reconstruction
    if name in ALONE:
        assert relative(solved(truth[20:53])[1].reconstruction, x[20:53]) < 1e-5
    if name != "admm-tv":
        assert relative(solved(truth.flip(0))[1].reconstruction, x.flip(0)) < 1e-5
    alike = solved(truth[49].expand(SHAPE).contiguous())[1].reconstruction
    assert relative(alike, alike[:1].expand(SHAPE)) < 1e-5
    if name in ITERATIVE:
        off, before = (relative(problem.operator.forward(v), problem.measurement) for v in (x, result.initial))
        assert off < before
        assert relative(x, truth) < relative(result.initial, truth)
