"""From a recipe to a reconstruction: equivalences between recipes, on small problems and a prior in closed form."""

import math
import re
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from coslice.classical import admm_tv, cgls, sirt
from coslice.errors import CosliceError
from coslice.measurement_noise import GaussianNoise
from coslice.methods import CLASSICAL, DIFFUSION, METHODS, ON_ZSR
from coslice.noise import NOISES
from coslice.priors import SlicePrior
from coslice.recipe import RENOISING, Recipe, chosen_method
from coslice.reconstruction import run
from coslice.tasks import Acquisition, simulated_thick_slices
from coslice.volume import CT_WINDOW
from laws import relative

SPACING = (2.0, 4.0, 4.0)
QUICK = {"noise": "iscs", "steps": 3, "sigma_max": 0.3, "sigma_min": 0.02}
OF_PRIORS = {"cross_every": 3, "partition": "fixed", "ends": "repeat", "patch_noise": "slices", "auxiliary_every": 3}


class Smoother(nn.Module):
    """A posterior mean for images that differ little from their neighbourhoods': x shrunk towards its local mean.

    With `mixing`, of patches whose slices are alike: the local mean is that of all channels.
    """

    def __init__(self, mixing=False):
        super().__init__()
        self.mixing = mixing

    def forward(self, x, sigma):
        local = functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="reflect"), 3, 1)
        if self.mixing:
            local = local.mean(dim=1, keepdim=True)
        share = (0.1**2 / (0.1**2 + sigma**2))[:, None, None, None]
        return share * x + (1 - share) * local


def prior(plane="yx", channels=1, mixing=True):
    return SlicePrior(Smoother(mixing), 2, (1e-3, 50.0), plane, channels=channels)


def priors(method, plane):
    """What a method needs: the prior, and that of a second plane or none."""
    kind = METHODS[method].prior
    auxiliary = prior("zx" if plane == "yx" else "yx") if kind == "planes" else None
    return prior(plane, 3 if kind == "patches" else 1), auxiliary


def scan(shape=(10, 12, 12)):
    """A soft ball with texture, far from the ends of the window."""
    axes = [torch.linspace(-1, 1, n) for n in shape]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    texture = torch.rand(shape, generator=torch.Generator().manual_seed(4))
    return 0.4 + 0.15 * torch.exp(-3 * (z**2 + y**2 + x**2)) + 0.05 * texture


def ct(scale=1.0, noise=None):
    spacing = tuple(scale * mm for mm in SPACING)
    return Acquisition("svct", views=6, noise=noise).problem(scan(), spacing, CT_WINDOW)


def zsr(factor=5):
    return simulated_thick_slices(scan(), factor)


def reconstructed(problem, recipe, plane=None, **others):
    plane = plane or ("yx" if problem.kind == "ct" else "zx")
    first, auxiliary = priors(recipe.method, plane)
    return run(problem, recipe, first, auxiliary=auxiliary, **others).reconstruction


def quick(method="dds", **others):
    own = {"ddnm": {"sirt_iterations": 3}, "dps": {}, "tpdm": {}}.get(method, {"cg_iterations": 2})
    return Recipe(method, **(QUICK | own | others))


@pytest.mark.parametrize("problem", [ct, zsr])
@pytest.mark.parametrize("method", DIFFUSION)
def test_every_method_on_every_task_is_a_function_of_its_seed(method, problem):
    """Whoever has a memory, duals say, starts each run anew."""
    given = problem()
    once, again, other = (reconstructed(given, quick(method, noise="independent", seed=s)) for s in (0, 0, 1))
    assert torch.isfinite(once).all() and once.shape == scan().shape
    assert 0.01 < float(once.std()) < 0.3
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


@pytest.mark.parametrize(
    ("name", "problem", "expected"),
    [
        ("sirt", ct, lambda p: sirt(p.operator, p.measurement, 3)),
        ("cgls", zsr, lambda p: cgls(p.operator, p.measurement, 20)),
        ("admm-tv", zsr, lambda p: admm_tv(p.operator, p.measurement, 0.03, 2.0, 30, 2)),
    ],
)
def test_a_classical_method_is_called_with_the_recipe_s_numbers(name, problem, expected):
    given = problem()
    own = {"sirt": {"sirt_iterations": 3}, "admm-tv": {"cg_iterations": 2, "tv_weight": 0.03, "tv_penalty": 2.0}}
    result = run(given, Recipe(name, **own.get(name, {})))
    assert torch.equal(result.reconstruction, expected(given).clamp(0, 1))
    assert result.trajectory == []


@pytest.mark.parametrize(("name", "problem"), [("fdk", ct), ("cubic", zsr)])
def test_the_analytic_methods_are_the_initial_reconstruction(name, problem):
    result = run(problem(), Recipe(name))
    assert torch.equal(result.reconstruction, result.initial)
    assert torch.equal(result.initial, problem().initial().clamp(0, 1))


@pytest.mark.parametrize("noise", NOISES)
def test_one_conjugate_gradient_on_boxes_is_the_null_space_projection(noise):
    """A A^T = 1/k there, so the first step of CG from any start ends on {A z = y}: DDS is DDNM."""
    both = (("dds", {"cg_iterations": 1}), ("ddnm", {}))
    dds, ddnm = (reconstructed(zsr(), quick(m, noise=noise, **own)) for m, own in both)
    assert relative(dds, ddnm) < 1e-6
    assert relative(zsr().operator.forward(dds), zsr().measurement) < 1e-6
    with_profile = simulated_thick_slices(scan(), 5, 4.0)
    dds, ddnm = (reconstructed(with_profile, quick(m, noise=noise, **own)) for m, own in both)
    assert relative(dds, ddnm) > 1e-4


@pytest.mark.parametrize(
    "recipe",
    [
        *(quick(method, noise="iscs") for method in DIFFUSION),
        quick(gamma=0.02),
        Recipe("sirt", sirt_iterations=5),
        Recipe("fdk"),
    ],
)
def test_reconstructions_do_not_depend_on_the_unit_of_length(recipe):
    """All millimetres tripled is the same patient, seen by the same scanner in another unit."""
    assert relative(reconstructed(ct(3.0), recipe), reconstructed(ct(), recipe)) < 2e-5


def test_weights_are_for_lengths_in_voxels():
    """Where a voxel is 1 mm wide they are taken as they stand; gamma weighs A^T A, a step of DPS goes with 1/A."""
    given = ct()
    assert given.unit == SPACING[1] and ct(1 / SPACING[1]).unit == 1
    bare = replace(given, unit=1.0)
    for recipe, scaled in (
        (quick(gamma=0.02), quick(gamma=0.02 / SPACING[1] ** 2)),
        (quick("dps", guidance=0.4), quick("dps", guidance=0.4 / SPACING[1])),
    ):
        assert relative(reconstructed(given, recipe), reconstructed(bare, scaled)) < 1e-6
        assert relative(reconstructed(given, recipe), reconstructed(bare, recipe)) > 1e-4


def test_diffpir_knows_the_noise_of_the_measurement():
    """gamma = sigma^2 / (lambda noise^2): four times the lambda is twice the noise."""
    noisy = ct(noise=GaussianNoise(0.05))
    assert noisy.noise > 0.001 * noisy.unit
    doubled = reconstructed(replace(noisy, noise=2 * noisy.noise), quick("diffpir", data_weight=1.0))
    assert torch.equal(reconstructed(noisy, quick("diffpir", data_weight=4.0)), doubled)
    assert not torch.equal(reconstructed(noisy, quick("diffpir", data_weight=1.0)), doubled)


@pytest.mark.parametrize("method", ["dds", "dds-tv", "diffusionblend++"])
def test_the_mean_of_samples_is_the_mean_of_runs_with_the_seeds_that_follow(method):
    problem, recipe = zsr(), quick(method, noise="independent", seed=7)
    singles = [reconstructed(problem, replace(recipe, seed=7 + i)) for i in range(3)]
    # Clipping comes after the mean, so the law holds where none is clipped.
    assert all(float(single.min()) > 0 and float(single.max()) < 1 for single in singles)
    mean = reconstructed(problem, replace(recipe, samples=3))
    torch.testing.assert_close(mean, torch.stack(singles).mean(0), rtol=0, atol=1e-6)


def test_of_several_samples_the_first_is_watched_and_all_are_counted():
    problem, truth, told = zsr(), scan(), []

    def progress(phase, done, total):
        if phase == "sampling":
            told.append((done, total))

    several = run(problem, quick(samples=4), prior("zx"), truth, progress)
    assert several.trajectory == run(problem, quick(), prior("zx"), truth).trajectory
    assert [step["step"] for step in several.trajectory] == [0, 1, 2]
    assert told == [(done, 12) for done in range(1, 13)]
    # Better than its parts, the point of it all; the trajectory ends at the first part.
    error = float((several.reconstruction - truth).square().mean())
    assert -10 * math.log10(error) > several.trajectory[-1]["psnr"]


def test_the_trajectory_ends_at_the_reconstruction_whatever_the_method():
    for method in DIFFUSION:
        first, auxiliary = priors(method, "zx")
        result = run(zsr(), quick(method), first, scan(), auxiliary=auxiliary)
        error = float((result.reconstruction - scan()).square().mean())
        assert result.trajectory[-1]["psnr"] == pytest.approx(-10 * math.log10(error), abs=1e-4)


@pytest.mark.parametrize("method", ["dds", "ddnm"])
def test_where_a_thick_slice_is_empty_no_thin_one_holds_anything(method):
    """x >= 0 and a mean of 0: the noise that the sampler leaves behind the head is projected away."""
    truth = scan()
    truth[5:, :4] = 0
    problem = simulated_thick_slices(truth, 5)
    projected = reconstructed(problem, quick(method))
    plain = reconstructed(problem, quick(method, rounds=0))
    assert projected[5:, :4].max() < 0.15 * plain[5:, :4].max()
    off, before = (relative(problem.operator.forward(x), problem.measurement) for x in (projected, plain))
    assert off < 0.2 * before  # what the clipping of the result takes from its agreement with y


def test_the_start_has_its_own_strategy():
    """With no fresh noise on the way, the re-noising strategy is never asked."""
    problem, still = zsr(), {"eta": 0.0, "renoising": "share"}
    whole = reconstructed(problem, quick(noise="iscs", **still))
    for noise in NOISES:
        start_only = reconstructed(problem, quick(noise=noise, start_noise="iscs", **still))
        assert torch.equal(start_only, whole)
    assert not torch.equal(reconstructed(problem, quick(noise="independent", **still)), whole)


def test_a_start_without_a_strategy_of_its_own_takes_that_of_the_steps():
    problem = zsr()
    plain, named, other = (
        reconstructed(problem, quick(noise="iscs", start_noise=name)) for name in (None, "iscs", "independent")
    )
    assert torch.equal(plain, named) and not torch.equal(plain, other)


def test_the_start_from_noise_knows_nothing_of_the_initial():
    problem = zsr()
    told = replace(problem, initial=lambda: torch.full_like(scan(), 0.9))
    recipe = quick(start_from="noise")
    assert torch.equal(reconstructed(problem, recipe), reconstructed(told, recipe))
    recipe = quick()
    assert not torch.equal(reconstructed(problem, recipe), reconstructed(told, recipe))


def test_an_anchor_angle_of_its_own_changes_iscs_only():
    problem = zsr()
    plain, turned = (reconstructed(problem, quick(noise="iscs", anchor_angle=a)) for a in (None, 40.0))
    assert not torch.equal(plain, turned)
    for noise in ("independent", "identical"):
        with pytest.raises(CosliceError, match="anchor_angle: 40"):
            chosen_method(quick(noise=noise, anchor_angle=40.0))


def test_the_rules_of_renoising_differ_where_noise_is_fresh_and_meet_where_it_is_not():
    problem = zsr()
    at = {name: reconstructed(problem, quick(renoising=name, eta=1.0)) for name in ("share", "ddim")}
    assert relative(at["share"], at["ddim"]) > 1e-3
    at = {name: reconstructed(problem, quick(renoising=name, eta=0.0)) for name in ("share", "ddim")}
    assert torch.equal(at["share"], at["ddim"])
    named = {name: reconstructed(problem, quick(renoising=name)) for name in RENOISING}
    assert torch.equal(named["share"], reconstructed(problem, quick()))


def test_guidance_of_no_length_is_the_prior_alone():
    problem = zsr()
    elsewhere = replace(problem, measurement=problem.measurement.flip(0))
    recipe = quick("dps", guidance=0.0, start_from="noise")
    assert torch.equal(reconstructed(problem, recipe), reconstructed(elsewhere, recipe))
    recipe = replace(recipe, guidance=0.5)
    assert not torch.equal(reconstructed(problem, recipe), reconstructed(elsewhere, recipe))


def test_the_prior_s_plane_is_obeyed():
    """A coronal prior of a volume is an axial one of the volume turned; so with the noise along the stack."""
    turned = scan().transpose(0, 1).contiguous()
    given = Acquisition("zsr", factor=5).problem(scan(), (1.0, 1.0, 1.0), CT_WINDOW)
    recipe = quick("dds", noise="iscs", gamma=1e-9)
    coronal = reconstructed(replace(given, initial=lambda: scan()), recipe, "zx")
    other = simulated_thick_slices(turned, 6)
    axial = reconstructed(replace(other, initial=lambda: turned), recipe, "yx")
    # The data have next to no weight: what is left is prior and noise.
    assert relative(coronal, axial.transpose(0, 1)) < 1e-5


def run_with(method, first, auxiliary=None, problem=zsr, **settings):
    return run(problem(), quick(method, **settings), first, auxiliary=auxiliary).reconstruction


@pytest.mark.parametrize("noise", ["iscs", "identical", "independent"])
def test_methods_are_each_other_where_what_sets_them_apart_is_taken_away(noise):
    """DDS 2D is DDS by other numbers; TPDM without a turn of the second plane, DPS; patches of strangers, slices."""
    single, coronal, strangers = prior("zx"), prior("yx"), prior("zx", 3, mixing=False)
    same = {"noise": noise, "schedule": "vp", "eta": 0.85, "temperature": 1.0}
    plain = run_with("dds-2d", single, **same)
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(ON_ZSR, "dds", {})
        assert torch.equal(run_with("dds", single, **same), plain)
    tv = {"noise": noise, "tv_weight": 0.1, "tv_penalty": 3.0, "schedule": "vp", "eta": 0.9, "temperature": 1.0}
    assert torch.equal(run_with("dds-3d", single, **tv), run_with("dds-tv", single, **tv))
    never = {"noise": noise, "auxiliary_every": QUICK["steps"] + 1}
    guided = {"noise": noise, "guidance": 0.4}
    assert torch.equal(run_with("tpdm", single, coronal, **never, guidance=0.4), run_with("dps", single, **guided))
    assert torch.equal(run_with("tpdm-cg", single, coronal, **never), run_with("dds", single, noise=noise))
    # Noise as for single slices, so that nothing but the network could tell.
    as_slices = {} if noise == "independent" else {"patch_noise": "slices"}
    for method in ("diffusionblend", "diffusionblend++"):
        assert relative(run_with(method, strangers, **same, **as_slices), plain) < 1e-6


def test_what_sets_them_apart_matters():
    single, coronal, three = prior("zx"), prior("yx"), prior("zx", 3)
    seen = [run_with("dds-2d", single), run_with("dds-3d", single), run_with("diffusionblend", three)]
    for settings in ({}, {"cross_every": 0}, {"cross_every": 1}, {"cross_every": 0, "partition": "fixed"}):
        seen.append(run_with("diffusionblend++", three, **settings))
    for settings in ({"ends": "repeat"}, {"patch_noise": "slices"}, {"noise": "independent"}, {"noise": "identical"}):
        seen.append(run_with("diffusionblend++", three, **settings))
    seen += [run_with("tpdm-cg", single, coronal, auxiliary_every=every) for every in (2, 3, 4)]
    assert all(not torch.equal(one, other) for i, one in enumerate(seen) for other in seen[:i])


@pytest.mark.parametrize("method", ["dds-2d", "diffusionblend", "diffusionblend++", "tpdm-cg"])
def test_ninety_nine_slices_of_any_side_agree_with_the_data(method):
    """No number of slices, and no volume that is not a cube, is special (the issue's 99 slices)."""
    truth = scan((99, 8, 10))
    problem = simulated_thick_slices(truth, 3)
    x = reconstructed(problem, quick(method, cg_iterations=1, sigma_max=0.05))
    assert x.shape == truth.shape
    assert relative(problem.operator.forward(x), problem.measurement) < 1e-5


@pytest.mark.parametrize("kind", ["ct", "zsr"])
def test_a_recipe_s_numbers_come_before_the_published_ones(kind):
    for name, method in METHODS.items():
        if kind in method.kinds:
            chosen_method(Recipe(name), kind)
        if kind in method.kinds and name in DIFFUSION:
            chosen = chosen_method(Recipe(name, **QUICK, samples=2), kind)
            assert all(getattr(chosen, key) == value for key, value in QUICK.items()) and chosen.samples == 2
    assert set(METHODS) == set(DIFFUSION) | set(CLASSICAL)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "magic"}, "methods are dds"),
        ({"noise": "pink"}, "strategies are"),
        ({"start_noise": "pink"}, "strategies are"),
        ({"start_from": "middle"}, "start_from"),
        ({"renoising": "magic"}, "choices are share"),
        ({"method": "cubic"}, "not for this task"),
        ({"samples": 0}, "samples: 0"),
        ({"steps": 0}, "0 steps"),
        ({"method": "diffusion-mbir", "steps": 0}, "0 steps"),
        ({"eta": 1.1}, "eta 1.1"),
        ({"eta": math.nan}, "eta nan"),
        ({"method": "dps", "guidance": -1.0}, "guidance: -1"),
        ({"method": "dds-tv", "tv_penalty": 0.0}, "tv_penalty: 0"),
        ({"method": "dds-tv", "tv_weight": math.inf}, "tv_weight: inf"),
        ({"method": "diffpir", "data_weight": 0.0}, "DiffPIR"),
        ({"method": "ddnm", "gamma": 1.0}, "gamma: 1.0 was given, but DDNM .* would not read it"),
        ({"method": "fdk", "steps": 5}, "FDK would not read it"),
        ({"tv_weight": 0.1}, "would not read it"),
        ({"method": "diffusion-mbir", "eta": 0.5}, "would not read it"),
        ({"gamma": 0.0}, "gamma: 0"),
        ({"gamma": math.nan}, "gamma: nan"),
        ({"gamma": math.inf}, "gamma: inf"),
        ({"cg_iterations": 0}, "at least 1"),
        ({"method": "ddnm", "sirt_iterations": 0}, "at least 1"),
        ({"anchor_angle": 0.0}, "between 0 and 180"),
        ({"anchor_angle": math.nan}, "between 0 and 180"),
        ({"sigma_max": math.nan}, "sigma"),
        ({"sigma_max": 0.001}, "sigma"),
        ({"method": "diffusion-mbir", "renoising": "share"}, "diffusion-mbir"),
        ({"schedule": "cosine"}, "choices are geometric, vp, karras"),
        ({"method": "fdk", "schedule": "vp"}, "would not read it"),
        ({"method": "fbp-unet", "steps": 5}, "would not read it"),
        ({"method": "dds-2d", "tv_weight": 0.1}, "would not read it"),
        *(({name: value}, "would not read it") for name, value in OF_PRIORS.items()),
        *(({"method": "tpdm", name: OF_PRIORS[name]}, "not read it") for name in OF_PRIORS if "aux" not in name),
        *(
            ({"method": "diffusionblend", name: OF_PRIORS[name]}, "not read it")
            for name in ("cross_every", "partition")
        ),
        ({"method": "diffusionblend++", "auxiliary_every": 3}, "would not read it"),
        ({"method": "diffusionblend++", "noise": "independent", "patch_noise": "lanes"}, "would not read it"),
        ({"method": "tpdm", "cg_iterations": 3}, "would not read it"),
        ({"method": "tpdm-cg", "guidance": 1.0}, "would not read it"),
        ({"method": "diffusionblend++", "partition": "odd"}, "choices are random, fixed"),
        ({"method": "diffusionblend++", "patch_noise": "odd"}, "choices are lanes, slices"),
        ({"method": "diffusionblend", "ends": "odd"}, "choices are overlap, repeat"),
        ({"method": "diffusionblend++", "cross_every": -1}, "cross_every: -1"),
        ({"method": "tpdm-cg", "auxiliary_every": 1}, "auxiliary_every: 1"),
    ],
)
def test_recipes_that_cannot_be_are_refused_before_there_is_a_problem(settings, words):
    with pytest.raises(CosliceError, match=words):
        chosen_method(Recipe(**settings))


def test_a_diffusion_method_needs_a_prior_that_fits():
    with pytest.raises(CosliceError, match="no prior"):
        run(zsr(), Recipe("dds"))
    with pytest.raises(CosliceError, match="trained for"):
        run(zsr(), Recipe("dds", sigma_max=100.0), prior("zx"))
    for method in ("diffusionblend++", "tpdm", "fbp-unet"):
        with pytest.raises(CosliceError, match=f"method {re.escape(method)}: no prior was given"):
            run(ct(), Recipe(method))
    with pytest.raises(CosliceError, match="no prior of a second plane"):
        run(zsr(), Recipe("tpdm"), prior("zx"))
    with pytest.raises(CosliceError, match="patches of 3 slices"):
        run(zsr(), Recipe("dds"), prior("zx", 3))
