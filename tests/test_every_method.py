"""Every method on a volume that is no cube: 99 slices of 5 mm, the ISCS paper's L221."""

from dataclasses import replace

import pytest
import torch

from conftest import ball
from coslice import run
from coslice.methods import DIFFUSION, METHODS
from coslice.priors import load_prior
from coslice.recipe import Recipe, chosen_method
from coslice.tasks import Acquisition
from coslice.volume import CT_WINDOW

SPACING = (5.0, 24.0, 24.0)
# These take small steps, one of them on a noisy volume.
STEPS = {"diffusion-mbir": 16, "dps": 8, "tpdm": 8}
CT = sorted(name for name, method in METHODS.items() if "ct" in method.kinds)


@pytest.fixture(scope="module")
def truth():
    return CT_WINDOW.to_unit(torch.from_numpy(ball((99, 16, 16), SPACING, radius=170.0)))


@pytest.fixture(scope="module")
def priors(tiny_prior, saved_patch_prior, saved_second_prior):
    single = load_prior(tiny_prior)
    supervised = replace(single, card={"tasks": {"svct-parallel-8": 0.15}})
    return {
        "": (None, None),
        "slices": (single, None),
        "patches": (load_prior(saved_patch_prior), None),
        "planes": (single, load_prior(saved_second_prior)),
        "supervised": (supervised, None),
    }


@pytest.mark.parametrize("name", CT)
def test_99_slices_of_5_mm(name, truth, priors):
    problem = Acquisition("svct", beam="parallel").problem(truth, SPACING, CT_WINDOW)
    prior, auxiliary = priors[chosen_method(Recipe(method=name)).prior]
    recipe = Recipe(method=name, noise="iscs", **({"steps": STEPS.get(name, 4)} if name in DIFFUSION else {}))
    result = run(problem, recipe, prior, auxiliary=auxiliary)
    assert result.reconstruction.shape == truth.shape
    # The priors know no more than the mean, but the data do: the body is where it was, no axis taken for another.
    alike = torch.corrcoef(torch.stack((result.reconstruction.flatten(), truth.flatten())))[0, 1]
    assert alike > 0.4, float(alike)
