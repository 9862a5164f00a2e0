"""The window two volumes are compared in: a truth in a sliver of it is refused, an empty volume never looks good."""

import pytest
import torch

from coslice.data import embedded_scan
from coslice.errors import CosliceError
from coslice.metrics import psnr
from coslice.values import comparable, parse_values
from coslice.volume import Volume


@pytest.fixture(scope="module")
def truth():
    return embedded_scan().slices(20, 30)


def unit(volume: Volume) -> Volume:
    return volume.with_data(((volume.data + 1000) / 2600).clamp(0, 1))


@pytest.mark.parametrize(("scale", "window"), [(1.0, "0:1"), (0.02, r"0:0.0"), (100.0, "0:"), (255.0, "0:")])
def test_a_truth_in_a_sliver_of_the_usual_window_is_refused_with_a_window_that_fits(truth, scale, window):
    small = truth.with_data(scale * unit(truth).data)
    with pytest.raises(CosliceError, match=rf"fills .* of the window.*--window {window}"):
        comparable(small, small)


@pytest.mark.parametrize("added", [1000, 1024, 32768])
def test_what_was_surely_added_to_hu_is_taken_off_and_that_is_said(truth, added):
    moved = truth.with_data(truth.data + added)
    for ours, theirs, said in ((moved, moved, 2), (truth, moved, 1), (moved, truth, 1)):
        compared = comparable(ours, theirs)
        assert torch.equal(compared.reconstruction.data, truth.data) and torch.equal(compared.truth.data, truth.data)
        assert len(compared.remarks) == said and all(f"{added} was taken off" in remark for remark in compared.remarks)


def test_who_says_what_the_numbers_are_is_believed(truth):
    small, moved = unit(truth), truth.with_data(truth.data + 1024)
    line, added, hu = (parse_values(text) for text in ("0:1=-1000:1600", "hu+1024", "hu"))
    inside = truth.data.clamp(-1000, 1600)
    for ours, theirs, values in ((small, small, [line]), (small, truth, [line, hu]), (truth, small, [hu, line])):
        compared = comparable(ours, theirs, values=values)
        for volume in (compared.reconstruction, compared.truth):
            torch.testing.assert_close(volume.data.clamp(-1000, 1600), inside, atol=1e-3, rtol=0)
        assert len(compared.remarks) == sum(one is line for one in (values[0], values[-1]))
    assert torch.equal(comparable(moved, moved, values=[added]).truth.data, truth.data)
    with pytest.raises(CosliceError, match="--window LOW:HIGH"):
        comparable(small, small, values=[parse_values("any")])
    assert comparable(small, truth, "0:1", [parse_values("any")]).reconstruction is small


@pytest.mark.parametrize("window", ["ct", "mr", "0:1", "-1000:1600"])
def test_a_volume_in_0_to_1_and_one_in_hu_are_never_compared(truth, window):
    small = unit(truth)
    for ours, theirs in ((small, truth), (truth, small)):
        with pytest.raises(CosliceError, match=r"not in one unit.*--values"):
            comparable(ours, theirs, window)


def test_ct_with_and_without_something_added_are_not_compared_in_a_window_of_numbers(truth):
    moved = truth.with_data(truth.data + 32768)
    with pytest.raises(CosliceError, match=r"not in one unit.*--values hu --values hu\+32768"):
        comparable(truth, moved, "-1000:1600")


def test_of_two_surely_other_units_the_window_of_ct_refuses_either(truth):
    tens = truth.with_data(10 * truth.data)
    with pytest.raises(CosliceError, match=r"truth is of .* HU times 10"):
        comparable(truth, tens)
    with pytest.raises(CosliceError, match=r"reconstruction is of .* HU times 10"):
        comparable(tens, truth)


def test_a_bad_reconstruction_in_hu_is_measured(truth):
    """Noise, a blur, half of it lost: none of them has the histogram of a CT, and none is another unit."""
    noise = 300 * torch.randn(truth.data.shape, generator=torch.Generator().manual_seed(0))
    for data in (noise, truth.data + noise, truth.data / 2 - 500, truth.data.clamp(min=0), truth.data * 0.2):
        assert comparable(truth.with_data(data), truth).truth is truth


@pytest.mark.parametrize(("value", "said"), [(0.0, "is 0 in every voxel"), (-1000.0, "-1000"), (5000.0, "5000")])
def test_a_constant_reconstruction_is_told_and_scores_badly(truth, value, said):
    empty = truth.with_data(torch.full_like(truth.data, value))
    compared = comparable(empty, truth)
    seen = compared.window
    assert any(said in remark for remark in compared.remarks)
    assert float(psnr(seen.to_unit(empty.data), seen.to_unit(truth.data)).max()) < 20


def test_one_side_of_the_window_is_constant_too(truth):
    bright = truth.with_data(truth.data + 9000)
    assert any("one side of the window" in remark for remark in comparable(bright, truth).remarks)


def test_a_constant_truth_is_no_truth(truth):
    with pytest.raises(CosliceError, match="every voxel of the truth is 3"):
        comparable(truth, truth.with_data(torch.full_like(truth.data, 3)), "0:5")


def test_what_both_have_above_the_window_is_counted(truth):
    data = truth.data.clone()
    data[2:4, 60:62, 60:62] = 8000
    scan = truth.with_data(data)
    (remark,) = comparable(scan, scan).remarks
    assert "8 voxels" in remark and "8000" in remark
    assert comparable(truth, scan).remarks == ()  # a reconstruction without it differs, which metrics show
