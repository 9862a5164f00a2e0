"""Protocols against scikit-image and formulas: the expected numbers are another implementation's, never ours."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from coslice.axes import PLANES, axis_number
from coslice.errors import CosliceError
from coslice.metrics import PROTOCOLS, evaluate, lpips, per_slice, ssim


def pair(shape=(24, 26, 31), air=3):
    """A truth of 0.1 to 0.8 in air of 0.1, and a reconstruction that leaves 0..1 here and there."""
    random = np.random.default_rng(0)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    truth = 0.1 + 0.35 * (1 + np.sin(6 * x + 2 * z) * np.cos(5 * y)) * ((y / 0.9) ** 2 + (x / 0.8) ** 2 < 1)
    truth[:air] = 0.1
    return tuple(torch.from_numpy(a).float() for a in (truth + random.normal(0, 0.15, shape), truth))


def images(plane, *volumes):
    return (np.moveaxis(volume.double().numpy(), axis_number(PLANES[plane].along), 0) for volume in volumes)


def torchmetrics_ssim(image, truth, data_range):
    """Gaussian of sigma 1.5 on 11 x 11, biased, the border of 5 left out."""
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": data_range}
    return structural_similarity(image, truth, **settings)


def test_the_gaussian_ssim_is_the_formula_written_out():
    """One 11 x 11 image has one window: Wang et al. 2004, equation 13, with plain sums."""
    random = np.random.default_rng(1)
    a, b = random.random((2, 11, 11))
    bell = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(bell, bell) / np.outer(bell, bell).sum()
    for width in (1.0, 0.6):
        mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
        var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
        both = (weights * (a - mean_a) * (b - mean_b)).sum()
        c1, c2 = (0.01 * width) ** 2, (0.03 * width) ** 2
        expected = (2 * mean_a * mean_b + c1) * (2 * both + c2)
        expected /= (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
        found = ssim(torch.from_numpy(a)[None], torch.from_numpy(b)[None], width, "gaussian")
        assert float(found) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("plane", PLANES)
def test_iscs_takes_the_range_of_the_whole_truth_and_a_gaussian_window(plane):
    reconstruction, truth = pair()
    width = float(truth.max()) - float(truth.min())
    assert 0.6 < width < 0.75
    expected = [
        (10 * np.log10(width**2 / np.mean((ours - theirs) ** 2)), torchmetrics_ssim(ours, theirs, width))
        for ours, theirs in zip(*images(plane, reconstruction, truth), strict=True)
        if np.ptp(theirs) > 1e-6
    ]
    assert len(expected) < truth.shape[axis_number(PLANES[plane].along)] or plane != "axial"
    found = evaluate(reconstruction, truth, lpips=False, protocol="iscs")[plane]
    assert [found["psnr"], found["ssim"]] == pytest.approx(np.mean(expected, axis=0).tolist(), abs=1e-6)


@pytest.mark.parametrize("plane", PLANES)
def test_tpdm_clips_counts_all_slices_and_has_one_psnr(plane):
    reconstruction, truth = pair()
    clipped = reconstruction.clamp(0, 1)
    assert not torch.equal(clipped, reconstruction)
    error = np.mean((clipped.double().numpy() - truth.double().numpy()) ** 2)
    similar = [
        torchmetrics_ssim(ours, theirs, 1.0) for ours, theirs in zip(*images(plane, clipped, truth), strict=True)
    ]
    found = evaluate(reconstruction, truth, lpips=False, protocol="tpdm")[plane]
    assert found["psnr"] == pytest.approx(-10 * np.log10(error), abs=1e-6)
    assert found["ssim"] == pytest.approx(np.mean(similar), abs=1e-6)


def test_diffusionblend_is_scikit_images_default_on_clipped_images():
    reconstruction, truth = pair()
    clipped = reconstruction.clamp(0, 1)
    similar = [
        structural_similarity(ours, theirs, data_range=1)
        for ours, theirs in zip(*images("axial", clipped, truth), strict=True)
    ]
    found = evaluate(reconstruction, truth, lpips=False, protocol="diffusionblend")
    assert found["axial"]["ssim"] == pytest.approx(np.mean(similar[3:]), abs=1e-6)
    assert found == evaluate(clipped, truth, lpips=False)
    assert found["sdiff"] != evaluate(reconstruction, truth, lpips=False)["sdiff"]


def published_dm4ct(plane, reconstruction, truth, rocks):
    """PSNR and SSIM of scikit-image as DM4CT's code asks for them, means over the slices; rocks have no -1 to 1."""
    found = []
    for ours, theirs in zip(*images(plane, reconstruction, truth), strict=True):
        if rocks and np.ptp(theirs) == 0:
            continue
        a, b, width = (theirs, ours, np.ptp(theirs)) if rocks else (2 * theirs - 1, 2 * ours - 1, 2)
        similar = structural_similarity(a, b, data_range=width)
        found.append((peak_signal_noise_ratio(a, b, data_range=width), similar))
    return np.mean(found, axis=0).tolist()


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("rocks", [False, True])
def test_dm4ct_is_scikit_image_with_range_2_or_that_of_each_slice(plane, rocks):
    reconstruction, truth = pair()
    found = evaluate(reconstruction, truth, lpips=False, protocol="dm4ct-rocks" if rocks else "dm4ct")[plane]
    expected = published_dm4ct(plane, reconstruction, truth, rocks)
    assert [found["psnr"], found["ssim"]] == pytest.approx(expected, abs=1e-5)
    assert found["ssim"] != pytest.approx(evaluate(reconstruction, truth, lpips=False)[plane]["ssim"], abs=1e-3)


def test_dm4ct_counts_constant_slices_and_has_the_psnr_of_unit_where_there_are_none():
    for air in (0, 3):
        reconstruction, truth = pair(air=air)
        assert (np.ptp(truth.numpy(), axis=(1, 2)) > 0).sum() == 24 - air
        found = {name: per_slice(reconstruction, truth, False, name)["axial"] for name in ("unit", "dm4ct")}
        assert [len(found[name].psnr) for name in found] == [24 - air, 24]
        assert found["unit"].psnr == found["dm4ct"].psnr[air:]


def test_lpips_of_a_range_of_each_slice_is_of_images_over_it():
    reconstruction, truth = pair((2, 40, 40), air=0)
    truth[1] *= 0.5
    widths = torch.tensor([float(image.max() - image.min()) for image in truth])[:, None, None]
    expected = lpips(2 * (reconstruction / widths) - 1, 2 * (truth / widths) - 1)
    found = per_slice(reconstruction, truth, protocol="dm4ct-rocks")["axial"].lpips
    assert found == pytest.approx(expected.tolist(), abs=1e-6)


def test_lpips_of_iscs_is_of_images_over_the_range():
    reconstruction, truth = pair((2, 40, 40), air=0)
    width = float(truth.max()) - float(truth.min())
    expected = lpips(2 * (reconstruction / width) - 1, 2 * (truth / width) - 1)
    found = per_slice(reconstruction, truth, protocol="iscs")["axial"].lpips
    assert found == pytest.approx(expected.tolist(), abs=1e-6)


def test_a_gaussian_window_needs_11_pixels_and_a_range_of_truth_a_truth_that_varies():
    reconstruction, truth = pair((9, 26, 31), air=0)
    found = {name: evaluate(reconstruction, truth, lpips=False, protocol=name) for name in ("unit", "iscs")}
    assert found["unit"]["coronal"]["ssim"] is not None and found["iscs"]["coronal"]["ssim"] is None
    with pytest.raises(CosliceError, match="11 x 11"):
        ssim(reconstruction[:, :10], truth[:, :10], window="gaussian")
    with pytest.raises(CosliceError, match="every voxel of the truth is 0"):
        evaluate(reconstruction, 0 * truth, protocol="iscs")
    with pytest.raises(CosliceError, match="data range of 0"):
        ssim(reconstruction, truth, 0.0)
    with pytest.raises(CosliceError, match="unit, iscs, tpdm, diffusionblend, dm4ct, dm4ct-rocks"):
        evaluate(reconstruction, truth, protocol="paper")


def test_every_protocol_says_its_range_and_its_window():
    for name, protocol in PROTOCOLS.items():
        assert f"Protocol {name}: data range" in protocol.sentence
        assert ("11 x 11" if protocol.ssim_window == "gaussian" else "7 x 7") in protocol.sentence
