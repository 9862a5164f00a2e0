"""The window two volumes are compared in: a truth in a sliver of it is refused, an empty volume never looks good."""

import pytest
import torch

from coslice.data import embedded_scan
from coslice.errors import CosliceError
from coslice.metrics import psnr
from coslice.values import comparable
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
def test_a_truth_in_another_unit_is_refused(truth, added):
    moved = truth.with_data(truth.data + added)
    with pytest.raises(CosliceError, match="--window"):
        comparable(moved, moved)


def test_a_window_in_numbers_is_a_choice_and_its_misfit_a_remark(truth):
    small = unit(truth)
    seen, remarks = comparable(small, small, "-1000:1600")
    assert (seen.low, seen.high) == (-1000, 1600) and "fills 0.0" in remarks[0]
    assert comparable(small, small, "0:1")[1] == ()
    assert comparable(truth, truth)[1] == ()


@pytest.mark.parametrize(("value", "said"), [(0.0, "is 0 in every voxel"), (-1000.0, "-1000"), (5000.0, "5000")])
def test_a_constant_reconstruction_is_told_and_scores_badly(truth, value, said):
    empty = truth.with_data(torch.full_like(truth.data, value))
    seen, remarks = comparable(empty, truth)
    assert any(said in remark for remark in remarks)
    assert float(psnr(seen.to_unit(empty.data), seen.to_unit(truth.data)).max()) < 20


def test_one_side_of_the_window_is_constant_too(truth):
    bright = truth.with_data(truth.data + 9000)
    assert any("one side of the window" in remark for remark in comparable(bright, truth)[1])


def test_a_constant_truth_is_no_truth(truth):
    with pytest.raises(CosliceError, match="every voxel of the truth is 3"):
        comparable(truth, truth.with_data(torch.full_like(truth.data, 3)), "0:5")


def test_what_both_have_above_the_window_is_counted(truth):
    data = truth.data.clone()
    data[2:4, 60:62, 60:62] = 8000
    scan = truth.with_data(data)
    (remark,) = comparable(scan, scan)[1]
    assert "8 voxels" in remark and "8000" in remark
    assert comparable(truth, scan)[1] == ()  # a reconstruction without it differs, which metrics show
