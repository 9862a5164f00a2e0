"""What numbers are, told from the numbers: every way in which users' scans were not in HU, and those that were."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

from coslice.data import embedded_scan
from coslice.errors import CosliceError
from coslice.io.nifti import read_nifti
from coslice.values import reading_of, remarks_for_scan, settle
from coslice.volume import Volume
from coslice.window import CT_WINDOW, Window, scan_window

Change = Callable[[np.ndarray], np.ndarray]


def volume(values: np.ndarray) -> Volume:
    return Volume(torch.as_tensor(np.array(values, dtype=np.float32)))


@pytest.fixture(scope="module")
def hu() -> np.ndarray:
    """Eight slices of the chest that comes along, 64 x 64, HU."""
    return embedded_scan().data[20:28, ::2, ::2].numpy()


@pytest.fixture(scope="module")
def mr() -> np.ndarray:
    """The brain that comes along, 0 to 1000, a voxel of each sixteen."""
    return (
        read_nifti(Path(str(resources.files("coslice") / "data" / "scan" / "brain.nii.gz"))).data[::4, ::2, ::2].numpy()
    )


def padded(value: float) -> Change:
    """Outside the circle of the scanner."""

    def change(hu: np.ndarray) -> np.ndarray:
        y, x = np.indices(hu.shape[1:])
        middle = (hu.shape[1] - 1) / 2
        return np.where(np.hypot(y - middle, x - middle) > middle, value, hu)

    return change


def metal(hu: np.ndarray) -> np.ndarray:
    changed = hu.copy()
    changed[2:6, 30:33, 30:33] = 8000
    return changed


def wrapped(hu: np.ndarray) -> np.ndarray:
    return np.round(hu) % 65536


AS_HU: dict[str, Change] = {
    "a chest": lambda hu: hu,
    "padding of -2000": padded(-2000),
    "padding of -3024": padded(-3024),
    "padding of -32768": padded(-32768),
    "metal": metal,
    "noise": lambda hu: hu + np.random.default_rng(0).normal(0, 60, hu.shape),
    "seven slices": lambda hu: hu[:7],
    "air cut away": lambda hu: hu[:, 15:50, 10:55],
    "clipped to the paper's window": lambda hu: np.clip(hu, -1000, 1600),
    "clipped above": lambda hu: np.clip(hu, -1000, 400),
    "lung alone": lambda hu: np.where(hu < -500, hu, -800),
    "soft tissue alone": lambda hu: np.round(np.random.default_rng(0).choice(hu[(hu > -130) & (hu < 300)], hu.shape)),
}
NOT_HU: dict[str, tuple[Change, str]] = {
    # what was done, and a part of the sentence
    "0..1": (lambda hu: np.clip((hu + 1000) / 2600, 0, 1), "--values 0:1=-1000:1600"),
    "0..1 of 12 bits": (lambda hu: (np.maximum(hu, -1024) + 1024) / 4095, "--values 0:1=-1000:1600"),
    "0..1, air bright": (lambda hu: 1 - np.clip((hu + 1000) / 2600, 0, 1), "0..1"),
    "0..255": (lambda hu: np.round(255 * np.clip((hu + 1000) / 2600, 0, 1)), "--values 0:255=-1000:1600"),
    "percent": (lambda hu: 100 * np.clip((hu + 1000) / 2600, 0, 1), "--values 0:100=-1000:1600"),
    "-1..1": (lambda hu: 2 * np.clip((hu + 1000) / 2600, 0, 1) - 1, "--values -1:1=-1000:1600"),
    "z-scored": (lambda hu: (hu - hu.mean()) / hu.std(), "mean 0 and deviation 1"),
    "thousandths": (lambda hu: hu / 1000, "--values -1:0=-1000:0"),
    "attenuation in 1/cm": (lambda hu: 0.193 * (1 + np.maximum(hu, -1000) / 1000), "--values mu/cm:0.193"),
    "attenuation in 1/mm": (lambda hu: 0.0193 * (1 + np.maximum(hu, -1000) / 1000), "--values mu/mm:0.0193"),
    "upside down": (lambda hu: -hu, "--values 1000:0=-1000:0"),
    "16 bits": (lambda hu: np.round(65535 * np.clip((hu + 1000) / 2600, 0, 1)), "--values"),
    "1024 taken off twice": (lambda hu: hu - 1024, "--values hu-1024"),
    "moved, and no air to tell": (lambda hu: np.clip(hu, 0, 400)[:, 20:45, 15:50] + 1024, "--values hu+1024"),
    "clipped to soft tissue": (lambda hu: np.clip(hu, -160, 240), "--values hu"),
    "a mask": (lambda hu: (hu > -300).astype(np.float32), "a mask"),
    "a label map": (lambda hu: np.digitize(hu, (-900, -300, 0, 200)), "a label map"),
}
SHIFTED: dict[str, tuple[Change, int]] = {
    "unsigned": (lambda hu: np.maximum(hu, -1024) + 1024, 1024),
    "unsigned, padded": (lambda hu: padded(-2000)(np.maximum(hu, -1024) + 1024), 1024),
    "unsigned, not whole": (lambda hu: hu + 1024.25, 1024),
    "1000": (lambda hu: hu + 1000, 1000),
    "half of 16 bits": (lambda hu: hu + 32768, 32768),
    "Siemens' extended range": (lambda hu: hu + 8192, 8192),
}


@pytest.mark.parametrize("change", AS_HU.values(), ids=AS_HU)
def test_hu_pass_unchanged(hu, change):
    scan = volume(change(hu))
    settled = settle(scan, "ct")
    assert settled.scan is scan and not settled.remarks and settled.values is None


@pytest.mark.parametrize(("change", "said"), NOT_HU.values(), ids=NOT_HU)
def test_other_numbers_are_asked_for_and_pass_by_saying_so(hu, change, said):
    scan = volume(change(hu))
    low, high = (f"{float(end):.6g}" for end in scan.data.aminmax())
    with pytest.raises(CosliceError) as refused:
        settle(scan, "ct")
    sentence = str(refused.value)
    assert said in sentence and f"{low} to {high}" in sentence and "HU" in sentence and "--values hu" in sentence
    assert settle(scan, "ct", "hu").scan is scan and settle(scan, "ct", "any").scan is scan
    assert settle(scan, "").scan is scan  # a window in numbers says what they are


@pytest.mark.parametrize(("change", "shift"), SHIFTED.values(), ids=SHIFTED)
def test_what_was_added_to_hu_is_taken_off_and_said(hu, change, shift):
    scan = volume(change(hu))
    settled = settle(scan, "ct")
    assert torch.equal(settled.scan.data, scan.data - shift)
    assert settled.values == f"hu+{shift}" and f"HU + {shift}" in settled.remarks[0]
    # Said or found, it is the same.
    assert torch.equal(settle(scan, "ct", settled.values).scan.data, settled.scan.data)


def test_hu_below_0_stored_without_a_sign_are_unwrapped(hu):
    settled = settle(volume(wrapped(hu)), "ct")
    np.testing.assert_array_equal(settled.scan.data.numpy(), np.round(hu))
    assert "without a sign" in settled.remarks[0]


@pytest.mark.parametrize("low", [-1000.0, -1024.0])
def test_a_phantom_of_few_values_in_hu_passes_and_one_without_air_by_saying_so(low):
    z, y, x = np.indices((16, 40, 40)) - np.array((8, 20, 20)).reshape(3, 1, 1, 1)
    radius = np.sqrt(z**2 + y**2 + x**2)
    phantom = np.select([radius < 5, radius < 15], [1000.0, 40.0], low)
    assert not settle(volume(phantom), "ct").remarks
    head = np.select([radius < 14, radius < 16], [30.0, 1200.0], 0.0)  # 0 around the head
    with pytest.raises(CosliceError, match="--values hu"):
        settle(volume(head), "ct")
    assert not settle(volume(head), "ct", "hu").remarks


@pytest.mark.parametrize("gain", [0.255, 1, 1.3, 1.6, 2, 2.5, 3.2, 4.1, 65])
def test_mr_is_no_ct_whatever_its_gain(mr, gain):
    scan = volume(np.round(mr * gain))
    with pytest.raises(CosliceError, match="--values"):
        settle(scan, "ct")
    assert settle(scan, "mr").scan is scan


@pytest.mark.parametrize("change", [lambda v: v - 56, lambda v: (v - v.mean()) / v.std(), lambda v: v / 1000])
def test_mr_in_other_numbers_is_no_ct_and_passes_as_mr(mr, change):
    scan = volume(change(mr))
    with pytest.raises(CosliceError):
        settle(scan, "ct")
    assert settle(scan, "mr").scan is scan


@pytest.mark.parametrize("added", [0, 1000, 1024, 32768])
def test_a_ct_is_refused_where_mr_is_needed(hu, added):
    scan = volume(hu + added)
    with pytest.raises(CosliceError, match=f"--prior ct-coronal{f' --values hu.{added}' if added else ''}"):
        settle(scan, "mr")
    assert settle(scan, "mr", "any").scan is scan


@pytest.mark.parametrize("expected", ["ct", "mr", ""])
@pytest.mark.parametrize("values", [None, "hu", "any"])
def test_a_constant_scan_is_refused_whatever_is_said_of_it(expected, values):
    with pytest.raises(CosliceError, match="every voxel is 7"):
        settle(volume(np.full((8, 8, 8), 7)), expected, values)


def test_masks_are_no_mr_until_it_is_said(mr):
    for image in (mr > 300, np.digitize(mr, (200, 500, 700))):
        with pytest.raises(CosliceError, match="MR image is needed"):
            settle(volume(image), "mr")
        settle(volume(image), "mr", "any")


def test_what_was_said_against_all_appearance_is_remarked_on(hu):
    (remark,) = settle(volume(hu), "ct", "hu+1024").remarks
    assert "no longer do" in remark
    (remark,) = settle(volume(hu + 1024), "ct", "hu+1024").remarks
    assert "no longer do" not in remark


def test_the_reading_is_of_the_whole_scan_however_large(hu):
    """Looking at some voxels gives the verdict of all."""
    large = volume(np.tile(hu, (1, 6, 6)))
    assert large.data.numel() > 1_000_000 and reading_of(large) == reading_of(volume(hu))


def test_voxels_above_the_window_are_counted_and_those_of_padding_are_not(hu):
    scan = volume(metal(padded(-3024)(hu)))
    (remark,) = remarks_for_scan(scan, CT_WINDOW)
    assert "36 voxels" in remark and "8000 HU" in remark and "-3024" not in remark
    assert not remarks_for_scan(volume(hu), CT_WINDOW)
    above, below = remarks_for_scan(volume(hu), Window(-160, 240, ""))
    assert f"{int((hu > 240).sum()):,} voxels" in above and f"{int((hu < -160).sum()):,} voxels" in below


def test_a_window_of_mr_below_0_is_said_and_one_from_0_is_not(mr):
    for change, said in ((lambda v: v, False), (lambda v: v - 56, True), (lambda v: (v - v.mean()) / v.std(), True)):
        scan = volume(change(mr))
        remarks = remarks_for_scan(scan, scan_window("mr", scan.data))
        assert len(remarks) == said and all(f"{float(scan.data.min()):.4g}" in remark for remark in remarks)
