"""Priors blended of patches, or of two planes: equivalences with priors of slices, closed forms, what networks get."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from coslice.axes import axis_number
from coslice.errors import CosliceError
from coslice.methods import changed, find_method
from coslice.networks.edm import EDMDenoiser
from coslice.networks.unet import UNet, UNetConfig
from coslice.noise import Following, Key, Lanes, Reading, Slerp
from coslice.plans import plan
from coslice.priors import SlicePrior
from coslice.priors.blends import Blend, Perpendicular
from coslice.priors.denoisers import Betas, VPDenoiser
from coslice.priors.partitions import RandomPartitions, cross, windows
from laws import draw
from simulated import thick_slices

SIGMA, SPACING, RANGE = 0.3, 2.5, (0.01, 10.0)
SHAPE = (11, 16, 20)


class Alone(nn.Module):
    """Every channel denoised alone, by one small map of images."""

    def __init__(self):
        super().__init__()
        self.kernel = draw((1, 1, 3, 3), 7)

    def forward(self, x, sigma):
        channels = x.shape[1]
        near = functional.conv2d(x, self.kernel.expand(channels, -1, -1, -1), padding=1, groups=channels)
        return torch.tanh(near) + x / (1 + sigma[:, None, None, None])


class Mean(nn.Module):
    """Every channel becomes the patch's mean, times a weight of its own place."""

    def __init__(self, channels):
        super().__init__()
        self.weights = torch.arange(1.0, channels + 1)[:, None, None]

    def forward(self, x, sigma):
        return self.weights * x.mean(dim=1, keepdim=True)


class Position(nn.Module):
    """Puts out the position it was given, in every pixel of every channel."""

    positions = True

    def forward(self, x, sigma, position):
        return torch.zeros_like(x) + position[:, None, None, None]


class Ramp(nn.Module):
    """Multiplies by 1, 2, ... along the columns of an image, and by 1, 100, ... along its rows."""

    def forward(self, x, sigma):
        rows, columns = (torch.arange(1.0, n + 1) for n in x.shape[-2:])
        return x * (rows[:, None] + columns * 1000)


def patches(denoiser, channels=3, plane="yx", **others):
    return SlicePrior(denoiser, getattr(denoiser, "stride", 4), RANGE, plane, channels=channels, **others)


def blend(prior, partition=None, shape=SHAPE):
    count = shape[axis_number(prior.along)]
    return Blend(prior, count, SPACING, partition or RandomPartitions(prior.channels, 3))


@pytest.mark.parametrize("plane", ["yx", "zx", "zy", "xy"])
@pytest.mark.parametrize("kind", ["overlap", "repeat", "windows"])
def test_a_network_that_sees_channels_alone_is_the_prior_of_slices(plane, kind):
    """Whatever the partition, along any axis: every slice comes back once, and to its own place."""
    alone = Alone()
    single = SlicePrior(alone, 4, RANGE, plane)
    for channels in (3, 5) if kind == "windows" else (2, 3):
        prior = patches(alone, channels, plane)
        cut = RandomPartitions(channels, 3, ends=kind) if kind != "windows" else lambda k, n, c=channels: windows(n, c)
        volume, blended = draw(SHAPE, 1), blend(prior, cut)
        for step in range(4):
            torch.testing.assert_close(blended.at(step)(volume, SIGMA), single(volume, SIGMA), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("slices", "ends"), [(3, "overlap"), (3, "repeat"), (4, "overlap")])
def test_a_network_that_mixes_channels_gets_the_slices_of_its_patch_in_their_order(slices, ends):
    partition = RandomPartitions(slices, 1, ends=ends)
    volume, size = draw(SHAPE, 2), partition.size
    for step in range(5):
        denoised = blend(patches(Mean(size), size), partition).at(step)(volume, SIGMA)
        for patch in partition(step, SHAPE[0]).patches:
            mean = sum(volume[i] for i in patch.slices) / size
            for place in patch.own:
                torch.testing.assert_close(denoised[patch.slices[place]], (place + 1) * mean)


def test_a_window_answers_for_its_middle_and_at_an_end_for_the_slice_it_is_about():
    volume = draw(SHAPE, 3)
    denoised = blend(patches(Mean(3)), lambda step, count: windows(count, 3)).at(7)(volume, SIGMA)
    means = (volume[:-2] + volume[1:-1] + volume[2:]) / 3
    torch.testing.assert_close(denoised[1:-1], 2 * means)
    torch.testing.assert_close(denoised[0], means[0])
    torch.testing.assert_close(denoised[-1], 3 * means[-1])
    denoised = blend(patches(Mean(3)), lambda step, count: windows(count, 3, "repeat")).at(7)(volume, SIGMA)
    torch.testing.assert_close(denoised[0], 2 * (2 * volume[0] + volume[1]) / 3)


def test_mixing_and_cutting_anew_are_along_the_stack_of_the_prior():
    """A prior of coronal patches of a volume is an axial one of the volume turned."""
    volume = draw(SHAPE, 4)
    turned = volume.transpose(0, 1).contiguous()
    for step in range(4):
        coronal = blend(patches(Mean(3), plane="zx")).at(step)(volume, SIGMA)
        axial = blend(patches(Mean(3)), shape=turned.shape).at(step)(turned, SIGMA)
        assert torch.equal(coronal, axial.transpose(0, 1))


def test_results_depend_neither_on_threads_nor_on_the_batch_of_an_accelerator():
    network = UNet(UNetConfig(image_channels=3, channels=16, multipliers=(1, 2), blocks=1, positions=True))
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    denoiser = EDMDenoiser(network.requires_grad_(False), 0.2, 0.2)
    volume, threads, results = draw((11, 32, 32), 5), torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(blend(patches(denoiser), shape=volume.shape).at(1)(volume, SIGMA))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(result, results[0]) for result in results)
    # As an accelerator takes them, several patches in one call.
    cut = RandomPartitions(3, 3)(1, 11).patches
    images = volume[torch.tensor([patch.slices for patch in cut])]
    together = patches(denoiser)(images, SIGMA, torch.full((len(cut),), SPACING))
    for patch, slices in zip(cut, together, strict=True):
        for place in patch.own:
            torch.testing.assert_close(results[0][patch.slices[place]], slices[place], rtol=1e-4, atol=1e-5)


def test_a_network_with_positions_is_given_the_mm_between_slices():
    blended = blend(patches(Position()))
    assert blended.at(0)(draw(SHAPE), SIGMA).unique().tolist() == [3 * SPACING]
    assert blended.at(1)(draw(SHAPE), SIGMA).unique().tolist() == [SPACING]
    seen = blend(patches(Position()), lambda step, count: windows(count, 3)).at(0)(draw(SHAPE), SIGMA)
    assert seen.unique().tolist() == [SPACING]


class Classes(nn.Module):
    """A network of noise that answers its class."""

    def forward(self, v, t, label):
        return torch.zeros_like(v) + label[:, None, None, None]


@pytest.mark.parametrize("classes", [(1, 3), (3, 0)])
def test_a_network_with_classes_is_given_those_of_neighbours_and_of_jumping_slices(classes):
    """D = x - sigma eps, and eps is the class."""
    denoiser = VPDenoiser(Classes(), Betas(), learn_sigma=False, classes=4)
    prior = patches(denoiser, classes=classes)
    volume = draw(SHAPE)
    for step, label in ((0, classes[1]), (1, classes[0]), (2, classes[1])):
        torch.testing.assert_close(blend(prior).at(step)(volume, SIGMA), volume - SIGMA * label)


def test_the_images_of_every_step_lie_as_the_plane_of_its_prior_does():
    """Two images of no square volume: rows and columns of each prior are those of its plane."""
    primary, auxiliary = (SlicePrior(Ramp(), 1, RANGE, plane) for plane in ("yx", "zx"))
    prior, volume = Perpendicular(primary, auxiliary), draw((5, 6, 7), 6)
    z, y, x = (torch.arange(1.0, n + 1) for n in volume.shape)
    axial = volume * (y[:, None] + 1000 * x)
    coronal = volume * (z[:, None, None] + 1000 * x)
    for step in range(4):
        torch.testing.assert_close(prior.at(step)(volume, SIGMA), coronal if step % 2 else axial)
    sagittal = Perpendicular(primary, SlicePrior(Ramp(), 1, RANGE, "yz")).at(1)(volume, SIGMA)
    torch.testing.assert_close(sagittal, volume * (y[:, None] + 1000 * z[:, None, None]))


@pytest.mark.parametrize("every", [2, 3, 5])
def test_the_second_plane_takes_the_last_of_so_many_steps(every):
    primary, auxiliary = (SlicePrior(Ramp(), 1, RANGE, plane) for plane in ("yx", "zx"))
    prior = Perpendicular(primary, auxiliary, every)
    assert [k for k in range(20) if prior.at(k) is auxiliary] == [k for k in range(20) if (k + 1) % every == 0]


def turned_to_iscs(name):
    return changed(find_method(name, "zsr"), {"noise": "iscs"})


def test_noise_is_laid_out_as_the_prior_of_the_next_step_reads():
    primary, auxiliary = (SlicePrior(Ramp(), 1, RANGE, plane) for plane in ("yx", "zx"))
    prior = Perpendicular(primary, auxiliary)
    assert [prior.reading(k) for k in range(3)] == [Reading("z"), Reading("y"), Reading("z")]
    problem, shape = thick_slices(torch.rand(6, 7, 8), 2), (6, 7, 8)
    start_noise, noise = plan(problem, turned_to_iscs("tpdm"), (primary, auxiliary)).noise(prior)
    assert torch.equal(start_noise(shape, Key(1, 0, "start")), Slerp("z")(shape, Key(1, 0, "start")))
    assert torch.equal(noise(shape, Key(1, 0)), Slerp("y")(shape, Key(1, 0)))
    assert torch.equal(noise(shape, Key(1, 1)), Slerp("z")(shape, Key(1, 1)))
    partition = RandomPartitions(3, 3)
    blended = blend(patches(Mean(3), plane="zx"), partition)
    for step in range(4):
        assert blended.reading(step) == Reading("y", partition(step, SHAPE[1]).lanes)
    assert replace(blended, lanes=False).reading(1) == Reading("y", Lanes())
    problem = thick_slices(torch.rand(SHAPE), 5)
    start_noise, noise = plan(problem, turned_to_iscs("diffusionblend++"), blended.prior).noise(blended)
    assert noise == start_noise == Following(Slerp(), blended.reading, problem.spacing)
    assert torch.equal(noise(SHAPE, Key(1, 1)), Slerp("y", cross(SHAPE[1], 3).lanes)(SHAPE, Key(1, 1)))


def made(name, *priors, seed=0, **settings) -> Any:
    """What a method asks at every step, made of the priors it was given."""
    method = changed(find_method(name, "zsr"), {"prior": settings})
    return plan(thick_slices(torch.rand(10, 12, 12), 5), method, priors, seed).prior()


def test_settings_and_seed_reach_the_partitions():
    single, three = SlicePrior(Ramp(), 1, RANGE, name="one"), patches(Mean(3))
    assert made("dds-2d", single) is single and made("dds-3d", single) is single
    blended = made("diffusionblend++", three, seed=4, cross_every=3, partition="fixed", ends="repeat")
    assert blended.partition == RandomPartitions(3, 4, 3, False, "repeat") and blended.lanes and blended.count == 10
    assert not made("diffusionblend++", three, lanes=False).lanes
    assert made("diffusionblend", three).lanes and not made("diffusionblend", three, lanes=False).lanes
    assert made("diffusionblend", three, ends="repeat").partition(8, 10) == windows(10, 3, "repeat")
    coronal = SlicePrior(Ramp(), 1, RANGE, "zx")
    assert made("tpdm-cg", single, coronal, auxiliary_every=4) == Perpendicular(single, coronal, 4)


def test_priors_that_a_method_cannot_use_are_refused():
    single, three = SlicePrior(Ramp(), 1, RANGE, name="one"), patches(Mean(3), name="three")
    coronal = SlicePrior(Ramp(), 1, RANGE, "zx", name="coronal")
    narrow = replace(coronal, sigma_range=(0.01, 0.05))
    for arguments, words in (
        (("dds", three), "prior three: it denoises patches of 3 slices"),
        (("dds-2d", three), "patches of 3 slices"),
        (("diffusionblend", single), "prior one: it denoises single slices"),
        (("diffusionblend++", single), "prior one: it denoises single slices"),
        (("tpdm", single), "method tpdm: no auxiliary prior was given"),
        (("tpdm-cg", single), "method tpdm-cg: no auxiliary prior was given"),
        (("tpdm", single, replace(single, name="two")), "one and two were given, which are both of plane yx"),
        (("tpdm", single, replace(single, plane="xy")), "both of plane yx"),
        (("tpdm", single, replace(coronal, window="mr")), "one of window ct and coronal of mr"),
        (("tpdm", three, coronal), "prior three: it denoises patches"),
        (("tpdm", single, replace(three, plane="zx")), "prior three: it denoises patches"),
        (("tpdm", single, narrow), "prior coronal: sigma 0.2 was asked for"),
    ):
        with pytest.raises(CosliceError, match=words):
            made(*arguments)
    with pytest.raises(CosliceError, match=r"prior\.auxiliary_every 1 was given, at least 2"):
        made("tpdm", single, coronal, auxiliary_every=1)
    with pytest.raises(CosliceError, match="auxiliary_every: 1"):
        Perpendicular(single, coronal, 1)
    with pytest.raises(CosliceError, match="a window has a middle"):
        made("diffusionblend", patches(Mean(4), 4))
    with pytest.raises(CosliceError, match="patches of 2 slices were given"):
        three.patches(draw(SHAPE), SIGMA, RandomPartitions(2)(1, 11).patches, SPACING)
    with pytest.raises(CosliceError, match="trained for"):
        blend(three).at(0)(draw(SHAPE), 20.0)
    with pytest.raises(CosliceError, match="a prior of patches is for diffusionblend"):
        three(draw(SHAPE), SIGMA)
