"""Numbers of lesions against closed forms: Gaussians blurred by Gaussians, and noise of known covariance."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from coslice.errors import CosliceError
from coslice.lesions import (
    Lesion,
    contrast_recovery,
    detectability,
    filter_scores,
    filtered,
    half_width,
    insert,
    invented,
    measure_region,
    npw_detectability,
    outlined,
    profile,
    respond,
    rim_of,
)
from coslice.volume import Volume


def scan_of(data, spacing=(1.0, 1.5, 1.5)):
    return Volume(data, np.diag((*spacing[::-1], 1.0)))


def gaussian(shape, deviation):
    axes = [torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in shape]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.exp(-(z**2 + y**2 + x**2) / (2 * deviation**2))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TRUTH = scan_of(torch.full((24, 28, 28), 40.0))
LESION = Lesion((11, 14, 13), 8.0, -60.0)


def test_a_perfect_reconstruction_is_perfect():
    found = respond(LESION, insert(TRUTH, [LESION]), TRUTH, TRUTH)
    assert found.recovery == pytest.approx(1, abs=1e-5)
    assert found.width_z == pytest.approx(1, abs=1e-5) and found.width_plane == pytest.approx(1, abs=1e-5)
    assert found.offset == pytest.approx(0, abs=1e-3)
    assert found.noise == 0 and found.cnr is None


def test_recovery_is_linear_in_the_response_and_blind_to_what_both_have():
    error = scan_of(5 * normal(24, 28, 28).float())
    absent = TRUTH.with_data(TRUTH.data + error.data)
    added = insert(TRUTH, [LESION]).data - TRUTH.data
    for share in (0.0, 0.3, 1.4):
        found = respond(LESION, absent.with_data(absent.data + share * added), absent, TRUTH)
        assert found.recovery == pytest.approx(share, abs=1e-5)
        assert found.noise == pytest.approx(5, rel=0.15)
        assert found.cnr == pytest.approx(share * 60 / found.noise, abs=1e-4)
    assert respond(LESION, absent, absent, TRUTH).width_z is None


def test_a_moved_lesion_is_that_far_off():
    moved = Lesion((13, 14, 12), 8.0, -60.0)
    found = respond(LESION, insert(TRUTH, [moved]), TRUTH, TRUTH)
    assert found.offset == pytest.approx(math.hypot(2 * 1.0, 1 * 1.5), abs=0.05)
    half = Lesion((11.5, 14, 13), 8.0, -60.0)
    assert respond(LESION, insert(TRUTH, [half]), TRUTH, TRUTH).offset == pytest.approx(0.5, abs=0.1)


def test_a_blur_along_z_widens_along_z_alone():
    added = insert(TRUTH, [LESION]).data - TRUTH.data
    blurred = torch.from_numpy(ndimage.gaussian_filter1d(added.numpy(), 3.0, axis=0))
    found = respond(LESION, TRUTH.with_data(TRUTH.data + blurred), TRUTH, TRUTH)
    assert found.recovery < 0.95
    assert found.width_z is not None and found.width_z > 1.1
    assert found.width_plane is not None and found.width_plane == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("own", "blur"), [(2.0, 1.0), (2.0, 2.0), (1.5, 2.5)])
def test_a_blur_of_known_width_lowers_the_contrast_by_the_known_factor(own, blur):
    shares = gaussian((41, 41, 41), own)
    response = -70 * torch.from_numpy(ndimage.gaussian_filter(shares.numpy(), blur, truncate=8))
    expected = (2 * own**2 / (2 * own**2 + blur**2)) ** 1.5
    assert contrast_recovery(response, shares, -70.0) == pytest.approx(expected, rel=1e-4)


def test_half_width_of_a_gaussian():
    line = torch.exp(-((torch.arange(81) - 40.0) ** 2) / (2 * 6.0**2))
    assert half_width(line, 38) == pytest.approx(2 * math.sqrt(2 * math.log(2)) * 6, rel=2e-3)
    assert half_width(-line, 40) is None
    assert half_width(torch.ones(9), 4) is None


def test_npw_d_prime_in_white_noise_is_the_closed_form():
    """s . s / sqrt(s . K s) = |s| / sigma for K = sigma^2 I."""
    signal, sigma = 3 * gaussian((5, 5, 5), 1.2), 4.0
    noise = sigma * normal(20000, 5, 5, 5)
    expected = float(signal.norm()) / sigma
    assert npw_detectability(noise[:10000] + signal, noise[10000:], signal) == pytest.approx(expected, rel=0.03)
    assert npw_detectability(noise[:10000] + signal, noise[10000:]) == pytest.approx(expected, rel=0.06)


def test_npw_d_prime_in_correlated_noise_is_the_closed_form_and_not_that_of_a_prewhitener():
    signal = torch.linspace(-1, 2, 12, dtype=torch.float64).reshape(3, 2, 2)
    mixing = normal(12, 12, seed=1)
    covariance = mixing @ mixing.T
    noise = (normal(40000, 12, seed=2) @ mixing.T).reshape(-1, 3, 2, 2)
    s = signal.flatten()
    expected = float(s @ s / (s @ covariance @ s).sqrt())
    whitened = float((s @ torch.linalg.solve(covariance, s)).sqrt())
    found = npw_detectability(noise[:20000] + signal, noise[20000:], signal)
    assert found == pytest.approx(expected, rel=0.05 / min(1.0, expected))
    assert whitened > 1.2 * expected  # the test could tell one from the other


def test_detectability_of_few_numbers_by_hand():
    present, absent = torch.tensor([5.0, 7.0]), torch.tensor([1.0, 2.0, 3.0])
    assert detectability(present, absent) == pytest.approx((6 - 2) / math.sqrt((2 + 1) / 2))
    for wrong in ((present[:1], absent), (torch.ones(3), torch.zeros(3))):
        with pytest.raises(CosliceError, match="detectability"):
            detectability(*wrong)


def test_the_filter_over_a_volume_is_the_filter_at_each_place():
    template, error = profile(Lesion((2, 2, 2), 4.0, 1.0), (1, 1, 1), (5, 5, 5))[0], normal(9, 10, 11)
    template = template + 0.1 * normal(*template.shape, seed=4)  # no symmetry that would hide a flip
    scores = filtered(error, template)
    half = [n // 2 for n in template.shape]
    assert bool(scores[: half[0]].isnan().all()) and int(scores.isfinite().sum()) == math.prod(
        m - n + 1 for m, n in zip(error.shape, template.shape, strict=True)
    )
    z, y, x = 4, 5, 6
    patch = error[tuple(slice(c - h, c + h + 1) for c, h in zip((z, y, x), half, strict=True))]
    assert float(scores[z, y, x]) == pytest.approx(float(filter_scores(patch[None], template)[0]), rel=1e-9)


def test_a_lesion_that_is_invented_is_found_with_its_contrast():
    invention = Lesion((11, 14, 13), 8.0, 35.0)
    error = insert(scan_of(torch.zeros(24, 28, 28)), [invention]).data.double()
    centre = Lesion((6, 6, 6), 8.0, 1.0)
    scores = filtered(error, profile(centre, TRUTH.spacing, (13, 13, 13))[0])
    everywhere = torch.ones(scores.shape, dtype=torch.bool)
    assert invented(scores, everywhere, 100) == pytest.approx(35, rel=1e-5)
    assert invented(-scores, everywhere, 100) == pytest.approx(35, rel=1e-5)
    values = scores[scores.isfinite()].abs().numpy()
    assert invented(scores, everywhere) == pytest.approx(float(np.percentile(values, 99.9)), rel=1e-9)
    with pytest.raises(CosliceError, match="no place"):
        invented(scores, ~everywhere)


def test_a_region_keeps_the_share_of_its_contrast_that_is_left():
    truth = insert(TRUTH, [LESION])
    region = outlined(truth, (slice(5, 18), slice(8, 20), slice(8, 20)), -math.inf, 0.0)
    assert bool(region[11, 14, 13]) and int(region.sum()) > 50
    rim = rim_of(region, truth.spacing, torch.ones(truth.shape, dtype=torch.bool))
    assert not bool((region & rim).any())
    perfect = measure_region(truth, truth, region, rim)
    assert perfect.recovery == 1 and perfect.bias == 0 and perfect.error == 0 and perfect.cnr is None
    halved = truth.with_data(40 + 0.5 * (truth.data - 40))
    found = measure_region(halved, truth, region, rim)
    assert found.recovery == pytest.approx(0.5, rel=1e-5)
    # A shift of all values is a bias and no loss of contrast.
    shifted = measure_region(truth.with_data(truth.data + 7), truth, region, rim)
    assert shifted.recovery == pytest.approx(1, rel=1e-5) and shifted.bias == pytest.approx(7, rel=1e-5)


def test_the_largest_part_within_the_box_is_the_region():
    data = torch.zeros(6, 8, 8)
    data[1, 1, 1:3], data[3, 2:5, 2:4], data[5, 7, :] = 1, 1, 1
    found = outlined(scan_of(data), (slice(0, 5), slice(0, 8), slice(0, 8)), 0.5, 2)
    assert torch.equal(torch.nonzero(found), torch.nonzero(torch.where(torch.arange(6)[:, None, None] == 3, data, 0)))
    with pytest.raises(CosliceError, match="no voxel"):
        outlined(scan_of(data), (slice(0, 1), slice(0, 8), slice(0, 8)), 0.5, 2)
    with pytest.raises(CosliceError, match="the box"):
        outlined(scan_of(data), (slice(0, 9), slice(0, 8), slice(0, 8)), 0.5, 2)
