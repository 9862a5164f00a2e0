"""The error of a denoiser that is known in closed form, measured as any prior's is; and the same bits however."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from coslice.data import embedded_scan
from coslice.errors import CosliceError
from coslice.priors import SlicePrior, load_prior, measure_prior
from coslice.priors.denoising_error import SIGMAS
from coslice.resampling import resize
from coslice.volume import Volume

MEAN, DEVIATION = 0.5, 0.02
SPACING = (3.0, 1.5, 2.0)


class Wiener(nn.Module):
    """E[x | x + sigma n] of voxels that are independent and Gaussian; keeps what it was told."""

    def __init__(self, positions=False):
        super().__init__()
        self.positions, self.told = positions, []

    def forward(self, x, sigma, label=None):
        self.told.append(label)
        share = (DEVIATION**2 / (DEVIATION**2 + sigma**2))[:, None, None, None]
        return MEAN + share * (x - MEAN)


def wiener(channels=1, plane="yx", positions=False, **others):
    sigmas = others.pop("sigma_range", (0.002, 20.0))
    return SlicePrior(Wiener(positions), 4, sigmas, plane, "0:1", channels, name="wiener", **others)


def voxels(shape=(12, 34, 30), spacing=SPACING):
    data = MEAN + DEVIATION * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return Volume(data, np.diag([*spacing[::-1], 1.0]))


def test_the_error_of_a_gaussian_prior_is_the_known_one():
    """sigma s / sqrt(sigma^2 + s^2) of what it was made for; of voxels of deviation r, (1 - w)^2 r^2 + w^2 sigma^2."""
    scan = voxels()
    native, halved = measure_prior(wiener(), [scan], most=99).rows
    assert native.rmse.keys() == halved.rmse.keys() == {f"{sigma:g}" for sigma in SIGMAS}
    r = float((resize(scan.data, (17, 15)) - MEAN).square().mean().sqrt())
    assert r < 0.6 * DEVIATION
    for sigma in SIGMAS:
        known = sigma * DEVIATION / math.hypot(sigma, DEVIATION)
        w = DEVIATION**2 / (DEVIATION**2 + sigma**2)
        assert native.rmse[f"{sigma:g}"] == pytest.approx(known, rel=0.02)
        assert halved.rmse[f"{sigma:g}"] == pytest.approx(math.hypot((1 - w) * r, w * sigma), rel=0.03)
    assert (native.pixels, native.pixel_mm, native.apart_mm) == ((34, 30), (1.5, 2.0), 3.0)
    assert (halved.pixels, halved.pixel_mm, halved.images) == ((17, 15), (3.0, 4.0), 12)


def test_hu_are_the_window_times_its_width():
    prior = replace(wiener(), window="ct")
    for row in measure_prior(prior, [embedded_scan()], most=2).rows:
        assert row.rmse_hu == {key: pytest.approx(2600 * value, abs=0.01) for key, value in row.rmse.items()}
    assert all(row.rmse_hu == {} for row in measure_prior(wiener(), [voxels()], most=1).rows)


def errors(measured):
    return [(row.scan, row.kind, row.pixels, row.images, row.rmse) for row in measured.rows]


@pytest.mark.parametrize("make", [lambda: wiener(), lambda: replace(load_prior("ct-coronal"), plane="yx")])
def test_a_seed_repeats_on_any_number_of_threads(make):
    scan = embedded_scan().slices(20, 24).resized(48)
    prior = replace(make(), window="ct")
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(errors(measure_prior(prior, [scan], seed=5)))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]
    assert errors(measure_prior(prior, [scan], seed=6)) != found[0]


def test_an_image_has_its_noise_whatever_is_measured_beside_it():
    """Squares of the whole are means of those of its parts, each told by where in the scan it lies."""
    scan, prior = voxels(), wiener()
    whole, first, rest = (
        measure_prior(prior, [scan], slices=kept).rows[0].rmse["0.03"] for kept in ((None, None), (0, 3), (3, None))
    )
    assert 12 * whole**2 == pytest.approx(3 * first**2 + 9 * rest**2, rel=1e-4)
    assert abs(first - rest) > 1e-5
    twice = measure_prior(prior, [scan, scan]).rows
    assert [row.scan for row in twice] == [1, 1, 2, 2] and twice[0].rmse == twice[2].rmse


def test_a_prior_sees_its_own_plane():
    """Coronal images of a volume are the axial ones of the volume that lies on its back."""
    scan = voxels((12, 34, 30))
    back = voxels((34, 12, 30), (1.5, 3.0, 2.0)).with_data(scan.data.permute(1, 0, 2).contiguous())
    assert errors(measure_prior(wiener(), [scan])) == errors(measure_prior(wiener(plane="zx"), [back]))


def test_patches_are_measured_as_neighbours_and_jumping_and_told_their_distance():
    prior = wiener(3, positions=True)
    rows = measure_prior(prior, [voxels()], most=4).rows
    assert [(row.kind, row.apart_mm) for row in rows] == 2 * [("neighbours", 3.0), ("jumping", 9.0)]
    for row in rows[:2]:
        assert row.rmse["0.01"] == pytest.approx(0.01 * DEVIATION / math.hypot(0.01, DEVIATION), rel=0.03)
    told = {float(mm) for label in prior.denoiser.told for mm in label}  # pyright: ignore
    assert told == {3.0, 9.0}
    few = measure_prior(wiener(3), [voxels((6, 34, 30))]).rows
    assert {row.kind for row in few} == {"neighbours"}  # three slices 3 apart are seven high


def test_only_noise_levels_that_it_was_trained_for_are_asked():
    (row, _) = measure_prior(wiener(sigma_range=(0.03, 1.0)), [voxels()], most=1).rows
    assert list(row.rmse) == ["0.03", "0.1", "0.3", "1"]


@pytest.mark.parametrize(
    ("prior", "scan", "options", "said"),
    [
        (wiener(card={"tasks": {"svct-parallel-8": 0.1}}), voxels(), {}, "svct-parallel-8 and no noise"),
        (wiener(sigma_range=(5.0, 20.0)), voxels(), {}, "sigma 5 to 20"),
        (wiener(), voxels(), {"slices": (4, 40)}, "4:40 along z"),
        (wiener(), voxels(), {"slices": (4, 4)}, "4:4"),
        (wiener(), voxels(), {"most": 0}, "at most 0 images"),
        (wiener(3), voxels((2, 34, 30)), {}, "2 slices, and a patch has 3"),
        (wiener(), voxels().with_data(-voxels().data), {}, "nothing in the window"),
        (wiener(), voxels((12, 34, 2)), {}, "34 x 2 pixels"),
        (replace(wiener(), window="ct"), voxels(), {}, "needs HU"),
    ],
)
def test_what_cannot_be_measured_is_refused(prior, scan, options, said):
    with pytest.raises(CosliceError) as refused:
        measure_prior(prior, [scan], **options)
    assert said in str(refused.value) and "\n" not in str(refused.value)
