"""The metrics against scikit-image, the published LPIPS values and closed forms."""

import json
import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from coslice.axes import PLANES, axis_number
from coslice.errors import CosliceError
from coslice.metrics import (
    PER_PLANE,
    PER_VOLUME,
    PSNR_CAP,
    QUANTITIES,
    Curves,
    averages,
    best_of,
    consistency,
    evaluate,
    images,
    lpips,
    per_slice,
    per_slice_of_each,
    perceptual,
    psnr,
    slice_difference,
    slice_differences,
    ssim,
)


def anatomy(shape, seed=0):
    """Smooth structure with flat air around it, in [0, 1]."""
    z, y, x = (np.linspace(-1, 1, n).reshape([-1 if i == a else 1 for i in range(3)]) for a, n in enumerate(shape))
    inside = ((y / 0.8) ** 2 + (x / 0.6) ** 2 < 1) * (0.4 + 0.2 * np.sin(5 * x + 3 * z) * np.cos(4 * y))
    noise = np.random.default_rng(seed).normal(0, 0.02, shape) * (inside > 0)
    return torch.from_numpy(np.broadcast_to(inside, shape) + noise).clamp(0, 1).float()


def pair(shape=(9, 24, 31), seed=1, level=0.05):
    truth = anatomy(shape)
    noise = torch.from_numpy(np.random.default_rng(seed).normal(0, level, shape)).float()
    return truth + noise, truth


@pytest.mark.parametrize("plane", PLANES)
def test_psnr_and_ssim_are_scikit_images_slice_by_slice(plane):
    reconstruction, truth = pair()
    curves = per_slice(reconstruction, truth, lpips=False)[plane]
    axis = axis_number(PLANES[plane].along)
    truths = np.moveaxis(truth.double().numpy(), axis, 0)
    images = np.moveaxis(reconstruction.double().numpy(), axis, 0)
    assert curves.index == tuple(i for i, image in enumerate(truths) if np.ptp(image) > 0)
    assert curves.ssim is not None
    for i, ours_psnr, ours_ssim in zip(curves.index, curves.psnr, curves.ssim, strict=True):
        assert ours_psnr == pytest.approx(peak_signal_noise_ratio(truths[i], images[i], data_range=1), abs=1e-6)
        assert ours_ssim == pytest.approx(structural_similarity(truths[i], images[i], data_range=1), abs=1e-6)


def test_psnr_of_a_constant_error_is_its_decibels_and_stops_at_the_cap():
    truth = anatomy((3, 10, 10))
    error = torch.tensor([0.1, 1e-3, 0.0]).view(3, 1, 1)
    torch.testing.assert_close(psnr(truth.double() + error, truth), torch.tensor([20.0, 60.0, PSNR_CAP]).double())


def test_ssim_is_1_for_equal_images_symmetric_and_closed_form_for_flat_ones():
    image, truth = pair()
    torch.testing.assert_close(ssim(truth, truth), torch.ones(9, dtype=torch.float64))
    torch.testing.assert_close(ssim(image, truth), ssim(truth, image))
    a, b = 0.25, 0.75
    flat = ssim(torch.full((1, 8, 8), a), torch.full((1, 8, 8), b))
    assert float(flat) == pytest.approx((2 * a * b + 1e-4) / (a * a + b * b + 1e-4), abs=1e-9)


def test_a_large_stack_is_measured_in_pieces_without_changing_a_value(monkeypatch):
    image, truth = pair((5, 40, 50))
    whole = {metric: metric(image, truth) for metric in (psnr, ssim, lpips)}
    for module in (images, perceptual):
        monkeypatch.setattr(module, "_PIECE", 2 * 40 * 50)
    for metric, values in whole.items():
        torch.testing.assert_close(metric(image, truth), values, atol=1e-6, rtol=0)


@pytest.mark.parametrize("protocol", ["unit", "tpdm"])
def test_several_volumes_are_measured_as_each_alone(protocol):
    one, truth = pair((33, 40, 36))
    two = truth + 2 * (one - truth)
    each = per_slice_of_each({"one": one, "two": two}, truth, protocol=protocol)
    for name, volume in (("one", one), ("two", two)):
        alone = per_slice(volume, truth, protocol=protocol)
        for plane in PLANES:
            assert each[name][plane].index == alone[plane].index
            for quantity in PER_PLANE:
                ours, theirs = (getattr(curves[plane], quantity.name) for curves in (each[name], alone))
                np.testing.assert_allclose(ours, theirs, atol=1e-7)


def test_a_grey_image_is_one_of_three_equal_channels():
    image, truth = (volume[:2] * 2 - 1 for volume in pair((3, 40, 50)))
    coloured = [stack[:, None].expand(-1, 3, -1, -1) for stack in (image, truth)]
    torch.testing.assert_close(lpips(image, truth), lpips(*coloured), atol=1e-6, rtol=0)


def test_lpips_gives_the_values_of_the_original_package():
    g = torch.Generator().manual_seed(0)
    a = torch.rand(2, 3, 96, 128, generator=g) * 2 - 1
    b = torch.rand(2, 3, 96, 128, generator=g) * 2 - 1
    torch.testing.assert_close(lpips(a, b), torch.tensor([0.1645140, 0.1700722]).double(), atol=1.1e-4, rtol=0)


def test_lpips_of_an_image_with_itself_is_0_it_is_symmetric_and_grows_with_the_noise():
    truth = anatomy((1, 64, 96)) * 2 - 1
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (1, 64, 96))).float()
    assert float(lpips(truth, truth)) == 0
    distances = [float(lpips(truth + level * noise, truth)) for level in (0.01, 0.03, 0.1, 0.3)]
    assert distances == sorted(distances)
    assert distances[0] > 0
    assert float(lpips(truth, truth + 0.1 * noise)) == pytest.approx(distances[2], abs=1e-6)


def test_lpips_of_grey_images_is_that_of_three_equal_channels():
    image, truth = (v * 2 - 1 for v in pair((2, 40, 50)))
    colour = lpips(image[:, None].repeat(1, 3, 1, 1), truth[:, None].repeat(1, 3, 1, 1))
    torch.testing.assert_close(lpips(image, truth), colour, atol=1e-6, rtol=0)


def test_lpips_needs_31_pixels():
    assert lpips(torch.zeros(1, 31, 31), torch.zeros(1, 31, 31)).shape == (1,)
    with pytest.raises(CosliceError, match="31 x 31"):
        lpips(torch.zeros(1, 30, 40), torch.zeros(1, 30, 40))


def test_sdiff_of_a_ramp_is_its_slope_along_each_axis():
    z, y, x = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), torch.arange(8.0), indexing="ij")
    ramp = 0.03 * z - 0.02 * y + 0.01 * x
    assert [slice_difference(ramp, axis) for axis in "zyx"] == pytest.approx([0.03, 0.02, 0.01], rel=1e-5)
    steps = torch.tensor([0.0, 0.5, 0.2, 0.2]).view(4, 1, 1).expand(4, 7, 7)
    torch.testing.assert_close(slice_differences(steps), torch.tensor([0.5, 0.3, 0.0]).double())


def test_the_gap_tells_flicker_from_smoothing():
    truth = torch.linspace(0, 0.5, 11).view(11, 1, 1).expand(11, 8, 8)
    steep, flat = consistency(truth * 1.5, truth), consistency(truth * 0.5, truth)
    assert (steep["sdiff"], steep["sdiff_truth"]) == pytest.approx((0.075, 0.05))
    assert (steep["sdiff_delta"], flat["sdiff_delta"]) == pytest.approx((0.025, -0.025))
    assert steep["sdiff_gap"] == pytest.approx(flat["sdiff_gap"])


def test_independent_noise_adds_its_closed_form_to_sdiff():
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (40, 50, 50))).float()
    # The difference of two is normal with variance 2 s^2, and E|N(0, t^2)| = t sqrt(2/pi).
    assert slice_difference(noise) == pytest.approx(0.1 * math.sqrt(2) * math.sqrt(2 / math.pi), rel=0.01)


def test_evaluate_has_the_published_shape_and_is_json():
    reconstruction, truth = pair((31, 33, 32))
    result = evaluate(reconstruction, truth)
    assert list(result) == ["axial", "coronal", "sagittal", "sdiff", "sdiff_truth", "sdiff_delta", "sdiff_gap"]
    curves = per_slice(reconstruction, truth)
    for plane in PLANES:
        assert list(result[plane]) == ["psnr", "ssim", "lpips"]
        assert result[plane] == averages(curves[plane])
        assert result[plane]["lpips"] == pytest.approx(np.mean(curves[plane].lpips or ()))
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_swapping_axes_swaps_the_planes():
    reconstruction, truth = pair((16, 20, 12))
    turned = per_slice(reconstruction.permute(1, 0, 2), truth.permute(1, 0, 2), lpips=False)
    straight = per_slice(reconstruction, truth, lpips=False)
    for ours, theirs in (("axial", "coronal"), ("coronal", "axial")):
        assert turned[ours].index == straight[theirs].index
        assert turned[ours].psnr == pytest.approx(straight[theirs].psnr)
        assert turned[ours].ssim == pytest.approx(straight[theirs].ssim)


def test_slices_of_constant_truth_do_not_count():
    reconstruction, truth = pair((9, 24, 31))
    padded_truth = torch.cat((torch.zeros(4, 24, 31), truth, torch.full((2, 24, 31), 0.3)))
    padded = torch.cat((torch.rand(4, 24, 31, generator=torch.Generator().manual_seed(0)), reconstruction, truth[:2]))
    ours, theirs = (per_slice(a, b, lpips=False)["axial"] for a, b in ((padded, padded_truth), (reconstruction, truth)))
    assert ours.index == tuple(4 + i for i in theirs.index)
    assert ours.psnr == pytest.approx(theirs.psnr)
    assert ours.ssim == pytest.approx(theirs.ssim)


def test_a_perfect_reconstruction_is_finite_and_perfect():
    truth = anatomy((31, 32, 33))
    result = evaluate(truth, truth)
    for plane in PLANES:
        assert result[plane] == pytest.approx({"psnr": PSNR_CAP, "ssim": 1.0, "lpips": 0.0})
    assert result["sdiff_gap"] == 0


def test_what_cannot_be_measured_is_none():
    thin = evaluate(*pair((9, 40, 40)))
    assert thin["axial"]["lpips"] > 0
    assert thin["coronal"]["lpips"] is None
    assert thin["sagittal"]["lpips"] is None
    assert evaluate(*pair((9, 40, 40)), lpips=False)["axial"]["lpips"] is None
    slab, truth = pair((2, 40, 40))
    two = evaluate(slab, truth)  # a scan of two rows has whole slices along z and no more
    assert two["axial"]["ssim"] == pytest.approx(float(ssim(slab, truth).mean()))
    assert two["coronal"]["ssim"] is None
    seen, known = slab.movedim(1, 0), truth.movedim(1, 0)
    varied = known.amax((1, 2)) > known.amin((1, 2))
    assert two["coronal"]["psnr"] == pytest.approx(float(psnr(seen, known)[varied].mean()))
    assert evaluate(slab[:1], truth[:1])["sdiff"] is None and two["sdiff"] is not None
    ramp = torch.linspace(0, 1, 8).view(8, 1, 1).expand(8, 9, 10)
    assert evaluate(ramp, ramp)["axial"] == {"psnr": None, "ssim": None, "lpips": None}
    assert evaluate(ramp, ramp)["coronal"]["psnr"] == PSNR_CAP


@pytest.mark.parametrize(
    ("reconstruction", "truth", "words"),
    [
        (torch.zeros(8, 8, 8), torch.zeros(8, 8, 9), "of one shape"),
        (torch.zeros(8, 8), torch.zeros(8, 8), "of one shape"),
        (torch.full((8, 8, 8), math.nan), torch.zeros(8, 8, 8), "reconstruction has 512 voxels"),
        (torch.zeros(8, 8, 8), torch.full((8, 8, 8), math.inf), "truth has 512 voxels"),
    ],
)
def test_what_makes_no_sense_is_refused(reconstruction, truth, words):
    with pytest.raises(CosliceError, match=words):
        evaluate(reconstruction, truth)


@pytest.mark.parametrize("metric", [psnr, ssim, lpips])
def test_stacks_of_different_shape_are_refused(metric):
    with pytest.raises(CosliceError, match="one shape"):
        metric(torch.zeros(2, 40, 40), torch.zeros(3, 40, 40))
    with pytest.raises(CosliceError, match=r"7 x 7|31 x 31"):
        (ssim if metric is psnr else metric)(torch.zeros(2, 6, 40), torch.zeros(2, 6, 40))


def test_sdiff_needs_two_slices_and_a_known_axis():
    with pytest.raises(CosliceError, match="at least 2"):
        slice_difference(torch.zeros(1, 8, 8))
    with pytest.raises(CosliceError, match="'z', 'y' or 'x'"):
        slice_difference(torch.zeros(4, 8, 8), along="w")


def test_the_table_of_quantities_names_what_is_measured_and_nothing_else():
    reconstruction, truth = pair((9, 24, 31))
    result = evaluate(reconstruction, truth, lpips=False)
    names = [quantity.name for quantity in PER_PLANE]
    assert all(list(result[plane]) == names for plane in PLANES)
    assert [name for name in result if name not in PLANES] == [q.name for q in PER_VOLUME if q.name != "seconds"]
    assert [field.name for field in fields(Curves)] == ["index", *names]
    assert list(QUANTITIES) == [quantity.name for quantity in (*PER_PLANE, *PER_VOLUME)]


def test_a_poorer_reconstruction_is_worse_in_every_quantity_that_has_a_better_direction():
    truth = anatomy((31, 32, 33))
    noise = torch.from_numpy(np.random.default_rng(1).normal(0, 1, truth.shape)).float()
    good, poor = (evaluate(truth + level * noise, truth) for level in (0.02, 0.1))
    for plane in PLANES:
        for quantity in PER_PLANE:
            assert quantity.better * (good[plane][quantity.name] - poor[plane][quantity.name]) > 0
    gap = QUANTITIES["sdiff_gap"]
    assert gap.better * (good[gap.name] - poor[gap.name]) > 0
    assert not any(QUANTITIES[name].better for name in ("sdiff", "sdiff_truth", "sdiff_delta", "seconds"))


def test_a_printed_number_is_the_nearest_of_its_decimals_with_one_more_on_pages_for_sdiff():
    for name, quantity in QUANTITIES.items():
        extra = name.startswith("sdiff")
        for text, decimals in (
            (quantity.text(2 / 3), quantity.decimals),
            (quantity.page_text(2 / 3), quantity.decimals + extra),
        ):
            assert text == str(round(2 / 3, decimals) if decimals else round(2 / 3))
        assert quantity.with_unit(2 / 3) == f"{quantity.text(2 / 3)} {quantity.unit}".strip()
        assert quantity.label == (f"{quantity.title} (dB)" if name == "psnr" else quantity.title)
        assert quantity.arrow == {1: "↑", -1: "↓", 0: ""}[quantity.better]


@pytest.mark.parametrize(
    ("texts", "better", "best"),
    [
        (["9.99", "10.00", None], +1, "10.00"),
        (["9.99", "10.00", None], -1, "9.99"),
        (["9.99", "10.00"], 0, None),
        (["10.00", "10.00", None], +1, None),
        (["10.00", None], +1, None),
        ([], -1, None),
    ],
)
def test_the_best_is_so_as_printed_and_only_where_something_is_worse(texts, better, best):
    assert best_of(texts, better) == best


def test_no_value_depends_on_the_number_of_threads():
    reconstruction, truth = pair((40, 36, 34))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(evaluate(reconstruction, truth))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]
