"""Methods that are one another where what sets them apart is taken away, and are not where it is there."""

from typing import Any

import pytest
import torch

from coslice import run
from laws import relative
from simulated import thick_slices
from small_problems import QUICK, prior, quick, reconstructed, scan, zsr

NOISES = ("independent", "identical", "iscs")


def run_with(method, *priors):
    return run(zsr(), method, priors).reconstruction


@pytest.mark.parametrize("noise", NOISES)
def test_one_conjugate_gradient_on_boxes_is_the_null_space_projection(noise):
    """A A^T = 1/k there, so the first step of CG from any start ends on {A z = y}: DDS is DDNM."""
    both = quick("dds", noise=noise, data={"iterations": 1}), quick("ddnm", noise=noise)
    dds, ddnm = (reconstructed(zsr(), method) for method in both)
    assert relative(dds, ddnm) < 1e-6
    assert relative(zsr().operator.forward(dds), zsr().measurement) < 1e-6
    with_profile = thick_slices(scan(), 5, 4.0)
    dds, ddnm = (reconstructed(with_profile, method) for method in both)
    assert relative(dds, ddnm) > 1e-4


@pytest.mark.parametrize("noise", NOISES)
def test_methods_are_each_other_where_what_sets_them_apart_is_taken_away(noise):
    """DDS 2D is DDS by other numbers; TPDM without a turn of the second plane, DPS; patches of strangers, slices."""
    single, coronal, strangers = prior("zx"), prior("yx"), prior("zx", 3, mixing=False)
    vp: dict[str, Any] = {"noise": noise, "schedule": {"kind": "vp"}}
    same: dict[str, Any] = vp | {"renoising": {"eta": 0.85, "temperature": 1.0}}
    plain = run_with(quick("dds-2d", **same), single)
    # With its numbers for CT, which has no rounds of projection.
    assert torch.equal(run_with(quick("dds", "ct", **same), single), plain)
    tv: dict[str, Any] = vp | {"data": {"weight": 0.1, "penalty": 3.0}, "renoising": {"eta": 0.9, "temperature": 1.0}}
    assert torch.equal(run_with(quick("dds-3d", **tv), single), run_with(quick("dds-tv", **tv), single))
    never: dict[str, Any] = {"noise": noise, "prior": {"auxiliary_every": QUICK["schedule"]["steps"] + 1}}
    guided: dict[str, Any] = {"data": {"kind": "guidance", "step": 0.4}, "renoising": {"kind": "ddim", "eta": 1.0}}
    tpdm = run_with(quick("tpdm", **never, **guided), single, coronal)
    assert torch.equal(tpdm, run_with(quick("dps", noise=noise, **guided), single))
    tpdm_cg = run_with(quick("tpdm-cg", **never), single, coronal)
    assert torch.equal(tpdm_cg, run_with(quick("dds", noise=noise), single))
    # Noise as for single slices, so that nothing but the network could tell.
    as_slices: dict[str, Any] = {"prior": {"lanes": False}}
    for name in ("diffusionblend", "diffusionblend++"):
        assert relative(run_with(quick(name, **same, **as_slices), strangers), plain) < 1e-6


def test_what_sets_them_apart_matters():
    single, coronal, three = prior("zx"), prior("yx"), prior("zx", 3)
    seen = [run_with(quick(name), single) for name in ("dds-2d", "dds-3d")]
    seen.append(run_with(quick("diffusionblend"), three))
    for settings in ({}, {"cross_every": 0}, {"cross_every": 1}, {"cross_every": 0, "partition": "fixed"}):
        seen.append(run_with(quick("diffusionblend++", prior=settings), three))
    for settings in ({"ends": "repeat"}, {"lanes": False}):
        seen.append(run_with(quick("diffusionblend++", prior=settings), three))
    seen += [run_with(quick("diffusionblend++", noise=noise), three) for noise in ("independent", "identical")]
    seen += [run_with(quick("tpdm-cg", prior={"auxiliary_every": n}), single, coronal) for n in (2, 3, 4)]
    assert all(not torch.equal(one, other) for i, one in enumerate(seen) for other in seen[:i])


def test_where_no_noise_is_tied_lanes_change_nothing():
    three = prior("zx", 3)
    for name in ("diffusionblend", "diffusionblend++"):
        both = [quick(name, noise="independent", prior={"lanes": lanes}) for lanes in (True, False)]
        assert torch.equal(*(run_with(method, three) for method in both))
