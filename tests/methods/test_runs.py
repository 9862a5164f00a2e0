"""From a plan to a reconstruction: what samples, starts, seeds, units and planes do to it, and what is watched."""

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from coslice import plan, run
from coslice.classical import admm_tv, cgls, sirt
from coslice.detector import GaussianNoise
from coslice.methods import Projecting, changed, find_method
from coslice.problems import CTProblem
from laws import relative
from simulated import thick_slices
from small_problems import DIFFUSION, SPACING, ct, prior, priors, quick, reconstructed, scan, started_at, zsr

NOISES = ("independent", "identical", "iscs")


@pytest.mark.parametrize("problem", [ct, zsr])
@pytest.mark.parametrize("name", DIFFUSION)
def test_every_method_on_every_task_is_a_function_of_its_seed(name, problem):
    """Whoever has a memory, duals say, starts each run anew."""
    given = problem()
    method = quick(name, given.kind, noise="independent")
    once, again, other = (reconstructed(given, method, seed=s) for s in (0, 0, 1))
    assert torch.isfinite(once).all() and once.shape == scan().shape
    assert 0.01 < float(once.std()) < 0.3
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


@pytest.mark.parametrize("problem", [ct, zsr])
@pytest.mark.parametrize("name", ["dds", "dds-tv", "diffusionblend++", "tpdm-cg"])
def test_a_plan_is_run_as_often_as_wanted_and_is_what_it_was_made_of(name, problem):
    given = problem()
    method = quick(name, given.kind)
    planned = plan(given, method, priors(method, "yx"), seed=3)
    assert (planned.problem, planned.method, planned.seed) == (given, method, 3)
    once, again = run(planned), run(planned)
    direct = run(given, method, priors(method, "yx"), seed=3)
    assert torch.equal(once.reconstruction, direct.reconstruction)
    assert torch.equal(once.reconstruction, again.reconstruction)
    assert planned.sigmas == method.renoising.sigmas(method.schedule)


@pytest.mark.parametrize(
    ("name", "settings", "problem", "expected"),
    [
        ("sirt", {"iterations": 3}, ct, lambda p: sirt(p.operator, p.measurement, 3)),
        ("cgls", {}, zsr, lambda p: cgls(p.operator, p.measurement, 20)),
        ("cgls", {"iterations": 4}, ct, lambda p: cgls(p.operator, p.measurement, 4)),
        (
            "admm-tv",
            {"cg_iterations": 2, "weight": 0.03, "penalty": 2.0},
            zsr,
            lambda p: admm_tv(p.operator, p.measurement, 0.03, 2.0, 30, 2),
        ),
        ("admm-tv", {"iterations": 3}, zsr, lambda p: admm_tv(p.operator, p.measurement, 0.01, 1.0, 3, 5)),
    ],
)
def test_a_classical_method_is_called_with_its_numbers(name, settings, problem, expected):
    given = problem()
    method = changed(find_method(name, given.kind), {"solution": settings})
    result = run(given, method)
    assert torch.equal(result.reconstruction, expected(given).clamp(0, 1))
    assert result.trajectory == [] and plan(given, method).sigmas == ()


@pytest.mark.parametrize(("name", "problem"), [("fdk", ct), ("cubic", zsr)])
def test_the_analytic_methods_are_the_initial_reconstruction(name, problem):
    result = run(problem(), name)
    assert torch.equal(result.reconstruction, result.initial)
    assert torch.equal(result.initial, problem().initial().clamp(0, 1))


@pytest.mark.parametrize(
    "method",
    [
        *(quick(name, "ct", noise="iscs") for name in DIFFUSION),
        quick("dds", "ct", data={"gamma": 0.02}),
        changed(find_method("sirt"), {"solution": {"iterations": 5}}),
        find_method("fdk"),
    ],
    ids=lambda method: method.label,
)
def test_reconstructions_do_not_depend_on_the_unit_of_length(method):
    """All millimetres tripled is the same patient, seen by the same scanner in another unit."""
    assert relative(reconstructed(ct(3.0), method), reconstructed(ct(), method)) < 2e-5


@dataclass(frozen=True, eq=False)
class OfUnitOne(CTProblem):
    """One that takes its voxels to be 1 mm wide."""

    @property
    def unit(self):
        return 1.0


def test_weights_are_for_lengths_in_voxels():
    """Where a voxel is 1 mm wide they are taken as they stand; gamma weighs A^T A, a step of DPS goes with 1/A."""
    given = ct()
    assert given.unit == SPACING[1] and ct(1 / SPACING[1]).unit == 1
    bare = OfUnitOne(given.geometry, given.grid, given.measurement)
    for method, scaled in (
        (quick("dds", "ct", data={"gamma": 0.02}), quick("dds", "ct", data={"gamma": 0.02 / SPACING[1] ** 2})),
        (quick("dps", "ct", data={"step": 0.4}), quick("dps", "ct", data={"step": 0.4 / SPACING[1]})),
    ):
        assert relative(reconstructed(given, method), reconstructed(bare, scaled)) < 1e-6
        assert relative(reconstructed(given, method), reconstructed(bare, method)) > 1e-4


def test_diffpir_knows_the_noise_of_the_measurement():
    """gamma = sigma^2 / (lambda noise^2): four times the lambda is twice the noise."""
    noisy = ct(noise=GaussianNoise(0.05))
    assert noisy.noise > 0.001 * noisy.unit
    fourfold, single = (quick("diffpir", "ct", data={"weight": weight}) for weight in (4.0, 1.0))
    doubled = reconstructed(replace(noisy, noise=2 * noisy.noise), single)
    assert torch.equal(reconstructed(noisy, fourfold), doubled)
    assert not torch.equal(reconstructed(noisy, single), doubled)


@pytest.mark.parametrize("name", ["dds", "dds-tv", "diffusionblend++"])
def test_the_mean_of_samples_is_the_mean_of_runs_with_the_seeds_that_follow(name):
    problem, method = zsr(), quick(name, noise="independent")
    singles = [reconstructed(problem, method, seed=7 + i) for i in range(3)]
    # Clipping comes after the mean, so the law holds where none is clipped.
    assert all(float(single.min()) > 0 and float(single.max()) < 1 for single in singles)
    mean = reconstructed(problem, replace(method, samples=3), seed=7)
    torch.testing.assert_close(mean, torch.stack(singles).mean(0), rtol=0, atol=1e-6)


def test_of_several_samples_the_first_is_watched_and_all_are_counted():
    problem, truth, counted = zsr(), scan(), []

    def progress(phase, done, total):
        if phase == "sampling":
            counted.append((done, total))

    several = run(problem, quick(samples=4), prior("zx"), truth=truth, progress=progress)
    assert several.trajectory == run(problem, quick(), prior("zx"), truth=truth).trajectory
    assert [step["step"] for step in several.trajectory] == [0, 1, 2]
    assert counted == [(done, 12) for done in range(13)]
    # Better than its parts, the point of it all; the trajectory ends at the first part.
    error = float((several.reconstruction - truth).square().mean())
    of_first = several.trajectory[-1]["psnr"]
    assert of_first is not None and -10 * math.log10(error) > of_first


def test_the_trajectory_ends_at_the_reconstruction_whatever_the_method():
    for name in DIFFUSION:
        method = quick(name)
        if isinstance(method.data, Projecting):  # projections come after the last step, and have no level of their own
            method = changed(method, {"data": {"rounds": 0}})
        result = run(zsr(), method, priors(method, "zx"), truth=scan())
        error = float((result.reconstruction - scan()).square().mean())
        assert result.trajectory[-1]["psnr"] == pytest.approx(-10 * math.log10(error), abs=1e-4)


@pytest.mark.parametrize("name", ["dds", "ddnm"])
def test_where_a_thick_slice_is_empty_no_thin_one_holds_anything(name):
    """x >= 0 and a mean of 0: the noise that the sampler leaves behind the head is projected away."""
    truth = scan()
    truth[5:, :4] = 0
    problem = thick_slices(truth, 5)
    projected = reconstructed(problem, quick(name))
    plain = reconstructed(problem, quick(name, data={"rounds": 0}))
    assert projected[5:, :4].max() < 0.15 * plain[5:, :4].max()
    off, before = (relative(problem.operator.forward(x), problem.measurement) for x in (projected, plain))
    assert off < 0.2 * before  # what the clipping of the result takes from its agreement with y


def test_the_start_has_its_own_strategy():
    """With no fresh noise on the way, the re-noising strategy is never asked."""
    problem = zsr()
    still: dict[str, Any] = {"renoising": {"kind": "share", "eta": 0.0}}
    whole = reconstructed(problem, quick(noise="iscs", **still))
    for noise in NOISES:
        start_only = reconstructed(problem, quick(noise=noise, start={"noise": "iscs"}, **still))
        assert torch.equal(start_only, whole)
    assert not torch.equal(reconstructed(problem, quick(noise="independent", **still)), whole)


def test_a_start_without_a_strategy_of_its_own_takes_that_of_the_steps():
    problem = zsr()
    plain, named, other = (
        reconstructed(problem, quick(noise="iscs", start={"noise": name})) for name in (None, "iscs", "independent")
    )
    assert torch.equal(plain, named) and not torch.equal(plain, other)


def test_the_start_from_noise_knows_nothing_of_the_initial():
    problem = zsr()
    elsewhere = started_at(problem, torch.full_like(scan(), 0.9))
    method = quick(start={"volume": "noise"})
    assert torch.equal(reconstructed(problem, method), reconstructed(elsewhere, method))
    assert not torch.equal(reconstructed(problem, quick()), reconstructed(elsewhere, quick()))


def test_an_angle_of_its_own_changes_iscs():
    problem = zsr()
    plain, turned = (reconstructed(problem, quick(noise={"kind": "iscs", "angle": a})) for a in (None, 40.0))
    assert not torch.equal(plain, turned)


def test_the_rules_of_renoising_differ_where_noise_is_fresh_and_meet_where_it_is_not():
    problem = zsr()

    def at(eta):
        return [reconstructed(problem, quick(renoising={"kind": kind, "eta": eta})) for kind in ("share", "ddim")]

    assert relative(*at(1.0)) > 1e-3
    assert torch.equal(*at(0.0))
    full = reconstructed(problem, quick())
    assert torch.equal(reconstructed(problem, quick(renoising="share")), full)
    assert torch.equal(reconstructed(problem, quick(renoising={"kind": "diffpir", "zeta": 1.0})), full)
    for other in ({"kind": "diffpir", "zeta": 0.5}, "predictor-corrector"):
        assert not torch.equal(reconstructed(problem, quick(renoising=other)), full)


def test_guidance_of_no_length_is_the_prior_alone():
    problem = zsr()
    elsewhere = replace(problem, measurement=problem.measurement.flip(0))
    method = quick("dps", data={"step": 0.0}, start={"volume": "noise"})
    assert torch.equal(reconstructed(problem, method), reconstructed(elsewhere, method))
    method = changed(method, {"data": {"step": 0.5}})
    assert not torch.equal(reconstructed(problem, method), reconstructed(elsewhere, method))


def test_the_prior_s_plane_is_obeyed():
    """A coronal prior of a volume is an axial one of the volume turned; so with the noise along the stack."""
    turned = scan().transpose(0, 1).contiguous()
    method = quick("dds", noise="iscs", data={"gamma": 1e-9})
    coronal = reconstructed(started_at(zsr(), scan()), method, "zx")
    axial = reconstructed(started_at(thick_slices(turned, 6), turned), method, "yx")
    # The data have next to no weight: what is left is prior and noise.
    assert relative(coronal, axial.transpose(0, 1)) < 1e-5


@pytest.mark.parametrize("name", ["dds-2d", "diffusionblend", "diffusionblend++", "tpdm-cg"])
def test_ninety_nine_slices_of_any_side_agree_with_the_data(name):
    """No number of slices, and no volume that is not a cube, is special (the issue's 99 slices)."""
    truth = scan((99, 8, 10))
    problem = thick_slices(truth, 3)
    x = reconstructed(problem, quick(name, data={"iterations": 1}, schedule={"sigma_max": 0.05}))
    assert x.shape == truth.shape
    assert relative(problem.operator.forward(x), problem.measurement) < 1e-5
