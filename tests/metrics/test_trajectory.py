"""Laws of the trajectory: each number is what the whole protocol would give, where both measure the same."""

from __future__ import annotations

import math

import pytest
import torch

from coslice.axes import AXES, PLANES
from coslice.errors import CosliceError
from coslice.metrics import PER_STEP, PSNR_CAP, Watcher, evaluate, lpips, slice_difference

SHAPE = (33, 34, 36)


def draw(seed: int, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_with_every_slice_it_is_the_published_protocol():
    truth, estimate = draw(0), draw(1)
    record = Watcher(truth, lpips=True, slices=max(SHAPE)).record(3, 0.5, estimate)
    whole = evaluate(estimate, truth)
    planes = [whole[plane]["lpips"] for plane in PLANES]
    assert (record["step"], record["sigma"]) == (3, 0.5)
    assert record["lpips"] == pytest.approx(sum(planes) / 3, rel=1e-5)
    assert record["sdiff"] == pytest.approx(whole["sdiff"], rel=1e-9)


def test_psnr_is_of_the_whole_volume():
    truth = 0.5 * draw(2)
    assert Watcher(truth).record(0, 1.0, truth + 0.1)["psnr"] == pytest.approx(20, abs=1e-4)
    assert Watcher(truth).record(0, 1.0, truth)["psnr"] == PSNR_CAP


def test_what_is_measured_is_the_clipped_estimate():
    truth, estimate = draw(3), 4 * draw(4) - 2
    watcher = Watcher(truth, lpips=True, slices=1)
    assert watcher.record(0, 1.0, estimate) == watcher.record(0, 1.0, estimate.clamp(0, 1))
    assert estimate.min() < 0, "left as it was"


def test_slices_without_content_and_slices_not_chosen_do_not_count():
    truth = draw(5)
    truth[:30] = 0  # leaves three axial slices
    estimate = truth.clone()
    watcher = Watcher(truth, lpips=True, slices=1)
    assert watcher.record(0, 1.0, estimate)["lpips"] == 0
    estimate[:30] = draw(6)[:30]
    # The axial slice is untouched, the two others see the noise in their lower part.
    assert (watcher.record(0, 1.0, estimate)["lpips"] or 0) > 0
    axial_only = draw(7, (33, 34, 20))  # sagittal images alone are large enough
    axial_only[:, :, :18] = 0
    noisy = axial_only.clone()
    noisy[:, :, :18] = draw(8, (33, 34, 18))
    assert Watcher(axial_only, lpips=True).record(0, 1.0, noisy)["lpips"] == 0


def test_few_slices_stand_evenly_for_all():
    """A truth whose error grows slice by slice from 0: evenly spaced slices have nearly the mean of all."""
    truth = draw(9, (64, 32, 32))
    estimate = truth + torch.linspace(0, 0.3, 64)[:, None, None] * (draw(10, (64, 32, 32)) - 0.5)
    values = [Watcher(truth, lpips=True, slices=n).record(0, 1.0, estimate)["lpips"] for n in (8, 64)]
    assert values[0] == pytest.approx(values[1], rel=0.1)
    # Of n slices and k to choose, the middles of k equal parts: n (2i + 1) / 2k.
    means = []
    for axis in range(3):
        n = truth.shape[axis]
        middles = [n * (2 * i + 1) // 16 for i in range(8)]
        chosen = [volume.clamp(0, 1).movedim(axis, 0)[middles] * 2 - 1 for volume in (estimate, truth)]
        means.append(float(lpips(*chosen).mean()))
    assert values[0] == pytest.approx(sum(means) / 3, rel=1e-6)


@pytest.mark.parametrize(
    ("truth", "perceptual", "known"),
    [
        (None, True, {"sdiff"}),
        (draw(11), False, {"sdiff", "psnr"}),
        (draw(12, (12, 30, 40)), True, {"sdiff", "psnr"}),
        (torch.full((33, 33, 33), 0.5), True, {"sdiff", "psnr"}),
        (draw(13, (12, 33, 33)), True, {"sdiff", "psnr", "lpips"}),
    ],
)
def test_what_cannot_be_measured_is_none(truth, perceptual, known):
    estimate = draw(14, SHAPE if truth is None else tuple(truth.shape))
    record = Watcher(truth, perceptual).record(0, 1.0, estimate)
    assert list(record) == ["step", "sigma", "psnr", "sdiff", "lpips"]
    assert list(record)[2:] == [quantity.name for quantity in PER_STEP]
    assert {name for name in ("psnr", "sdiff", "lpips") if record[name] is not None} == known
    assert all(math.isfinite(value) for value in record.values() if value is not None)


def test_sdiff_runs_along_the_asked_axis():
    estimate = draw(15)
    for along in AXES:
        assert Watcher(None, along=along).record(0, 1.0, estimate)["sdiff"] == slice_difference(estimate, along)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"truth": torch.zeros(4, 4)}, ["(4, 4)", "(z, y, x)"]),
        ({"truth": None, "along": "t"}, ["'t'", "'z', 'y' or 'x'"]),
        ({"truth": None, "slices": 0}, ["0 slices", "at least 1"]),
    ],
)
def test_bad_input_is_refused_in_a_sentence(how, words):
    with pytest.raises(CosliceError) as caught:
        Watcher(**how)
    assert all(word in str(caught.value) for word in words)


def test_an_estimate_of_another_shape_is_refused():
    with pytest.raises(CosliceError, match=r"\(32, 34, 36\).*\(33, 34, 36\)"):
        Watcher(draw(0)).record(0, 1.0, draw(0)[1:])
