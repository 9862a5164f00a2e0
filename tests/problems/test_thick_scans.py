"""Real scans of thick slices: which axis, which profile, which modality; and that nothing measured is lost."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from coslice import run
from coslice.errors import CosliceError
from coslice.methods import usual_priors
from coslice.operators import ThickSlices
from coslice.plans import plan
from coslice.preparation import Preparation
from coslice.problems import SliceSuperResolution, ThickSliceProblem, from_thick_slices, modality_of, simulate
from coslice.volume import Volume
from coslice.window import CT_WINDOW, scan_window
from laws import relative
from oblique import WINDOW, at, thin
from small_problems import prior, quick


def head(low: float = 0.0, high: float = 2.0, shape=(8, 12, 12), spacing=(4.0, 1.0, 1.0), seed=0) -> Volume:
    """A soft ball from `low` in its corners to `high` in its middle."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    ball = np.exp(-2 * (z**2 + y**2 + x**2)) + 0.02 * np.random.default_rng(seed).uniform(size=shape)
    ball = (ball - ball.min()) / (ball.max() - ball.min())
    return Volume(torch.from_numpy(low + (high - low) * ball), np.diag((*spacing[::-1], 1.0)))


@pytest.mark.parametrize("axis", ["z", "y", "x"])
@pytest.mark.parametrize("factor", [None, 4])
def test_slices_are_made_thin_along_the_axis_they_are_thick_along(axis, factor):
    """--factor says how many, not where."""
    dz, dy, dx = (4.4 if name == axis else 1.1 for name in "zyx")
    scan = thin(6, (dz, dy, dx))
    study = from_thick_slices(scan, WINDOW, factor)
    assert study.volume.spacing == pytest.approx((1.1, 1.1, 1.1))
    number = "zyx".index(axis)
    assert torch.equal(study.volume.data, scan.data.repeat_interleave(4, number))
    index = [0.0, 0.0, 0.0]
    for i in range(3):
        index[2 - number] = i * 4 - 0.5
        fine = at(study.volume, *index)
        index[2 - number] = i - 0.5
        np.testing.assert_allclose(fine, at(scan, *index), atol=1e-9)
    assert any(f"thick along {axis}" in said for said in study.remarks) == (axis != "z")
    assert f"along {axis}" in study.title and study.settings["factor"] == 4


def test_turning_a_scan_turns_its_reconstruction():
    scan, method = head(), quick("dds", renoising={"eta": 0.0}, noise="identical", schedule={"steps": 2})
    straight = from_thick_slices(scan, WINDOW)
    turned = from_thick_slices(Volume(scan.data.transpose(0, 2).contiguous(), np.diag((4.0, 1.0, 1.0, 1.0))), WINDOW)
    cubic = (study.problem.initial() for study in (straight, turned))
    assert torch.equal(next(cubic), next(cubic).transpose(0, 2))
    assert run(turned.problem, method, prior("zx")).reconstruction.shape == (12, 12, 32)


@pytest.mark.parametrize(
    ("spacing", "orientation", "axis", "said"),
    [
        ((4.0, 1.0, 1.0), "RAS", "z", ""),
        ((1.0, 4.0, 1.0), "RAS", "y", "coronal, thick along y"),
        ((1.0, 1.0, 3.0), "RAS", "x", "sagittal, thick along x"),
        ((2.0, 2.0, 2.0), "RSP", "y", "file stores its slices along y"),
        ((2.0, 2.0, 1.9), "PSR", "x", "file stores its slices along x"),
    ],
)
def test_the_thick_axis_is_found_from_the_spacing_else_from_the_file(spacing, orientation, axis, said):
    scan = replace(head(spacing=spacing), orientation=tuple(orientation))
    study = from_thick_slices(scan, WINDOW, 2)
    assert isinstance(study.problem, ThickSliceProblem) and study.problem.axis == axis
    assert not study.remarks if not said else said in study.remarks[0]


def test_an_axis_that_cannot_be_told_is_asked_for_and_one_that_is_said_is_taken():
    scan = head(spacing=(1.0, 3.0, 3.0))
    with pytest.raises(CosliceError, match="say the axis, y or x"):
        from_thick_slices(scan, WINDOW, 3)
    study = from_thick_slices(scan, WINDOW, 3, axis="x")
    assert study.volume.spacing == pytest.approx((1.0, 3.0, 1.0))
    with pytest.raises(CosliceError, match='axis: "w"'):
        from_thick_slices(scan, WINDOW, axis="w")
    with pytest.raises(CosliceError, match=r"size: 8 was given, .* thick along x"):
        from_thick_slices(head(spacing=(1.0, 1.0, 4.0)), WINDOW, preparation=Preparation(size=8))


def test_a_gap_and_a_thickness_are_one_thing_and_said():
    scan = head()
    gap, box = from_thick_slices(scan, WINDOW, 4, gap_mm=1.0), from_thick_slices(scan, WINDOW, 4, thickness_mm=3.0)
    for study in (gap, box):
        assert isinstance(study.problem.operator, ThickSlices)
        assert study.problem.operator.thickness == pytest.approx(3.0)
        assert any("gaps of 1 mm" in said for said in study.remarks)
    wide = from_thick_slices(scan, WINDOW, 4, thickness_mm=6.0)
    assert any("overlap by 2 mm" in said for said in wide.remarks)
    whole = from_thick_slices(scan, WINDOW, 4, thickness_mm=4.01, gap_mm=0.0)
    assert isinstance(whole.problem, ThickSliceProblem) and whole.problem.thickness is None and not whole.remarks
    refused: Any = (
        ({"gap_mm": 1.0, "thickness_mm": 2.0}, "slices are 4 mm apart; leave one out"),
        ({"gap_mm": 4.0}, "slices of 0 mm"),
        ({"thickness_mm": -1.0}, "slices of -1 mm"),
        ({"gap_mm": 1.0, "fwhm_mm": 4.0}, "leave one out"),
    )
    for given, words in refused:
        with pytest.raises(CosliceError, match=words):
            from_thick_slices(scan, WINDOW, 4, **given)


@pytest.mark.parametrize(
    "settings", [{"axis": "y"}, {"slice_thickness_mm": 2.0}, {"factor": 2.5}, {"axis": "x", "factor": 2}]
)
def test_a_measurement_of_any_profile_is_the_study_it_was_simulated_in(settings):
    task = SliceSuperResolution(**{"factor": 3, **settings})
    simulated = simulate(thin(15, (1.0, 1.0, 1.0)), task, WINDOW)
    assert simulated.thick is not None
    real = from_thick_slices(simulated.thick, WINDOW, task.factor, axis=task.axis, thickness_mm=task.slice_thickness_mm)
    np.testing.assert_allclose(real.volume.affine, simulated.volume.affine, atol=1e-9)
    assert relative(real.problem.initial(), simulated.problem.initial()) < 1e-6
    assert simulated.settings.items() >= settings.items() and real.settings.items() >= settings.items()
    (ours, theirs) = (study.problem.operator for study in (real, simulated))
    assert isinstance(ours, ThickSlices) and isinstance(theirs, ThickSlices)
    np.testing.assert_allclose(ours.matrix, theirs.matrix, atol=1e-12)


def test_a_distance_that_is_no_whole_number_of_thin_slices_is_taken_and_said():
    study = from_thick_slices(head(spacing=(2.5, 1.0, 1.0)), WINDOW, 2.5)
    assert study.volume.shape == (20, 12, 12) and study.volume.spacing == pytest.approx((1.0, 1.0, 1.0))
    assert any("no whole number" in said for said in study.remarks)
    rounded = from_thick_slices(head(spacing=(2.9999998, 1.0, 1.0)), WINDOW, 2.9999998)
    assert isinstance(rounded.problem, ThickSliceProblem) and rounded.problem.factor == 3 and not rounded.remarks


MEASURED = {
    "CT of HU": (head(-1024.0, 1200.0), "ct"),
    "CT with metal": (head(-1024.0, 8000.0), "ct"),
    "MR a little below 0": (head(-56.0, 900.0), "mr"),
    "MR of mean 0": (head(-1.2, 3.4), "mr"),
    "MR brighter than its window": (head(0.0, 1000.0), "0:700"),
}


@pytest.mark.parametrize(("scan", "window"), MEASURED.values(), ids=list(MEASURED))
@pytest.mark.parametrize("method", ["dds", "ddnm", "wdds"])
def test_nothing_that_was_measured_is_lost(scan, window, method):
    """The mean of the thin slices is the measured one, also where that lies outside of the window."""
    study = from_thick_slices(scan, scan_window(window, scan.data))
    result = run(
        study.problem, quick(method, data={"rounds": 20}), prior("zx", window="ct" if window == "ct" else "mr")
    )
    back = study.problem.operator.forward(result.reconstruction)
    rms = float((back - study.problem.measurement).square().mean().sqrt()) * study.window.width
    assert rms < 0.01 * float(scan.data.max() - scan.data.min())
    measured = study.window.from_unit(back)
    for extreme in (scan.data.argmin(), scan.data.argmax()):
        width = float(scan.data.max() - scan.data.min())
        assert abs(float(measured.flatten()[extreme] - scan.data.flatten()[extreme])) < 0.02 * width
    below = (scan.data < study.window.low) & (study.window.unit != "HU")  # below air is padding, and deserves no alarm
    outside = (below | (scan.data > study.window.high)).any()
    assert any("lie outside the window" in said for said in study.remarks) == bool(outside)


def test_where_the_measurement_lies_within_the_window_so_does_the_volume():
    y = torch.tensor([0.2, 1.3, 0.5, -0.1])[:, None, None].expand(4, 2, 2)
    x = torch.tensor([-0.5, 0.5, 1.5])[:, None, None].repeat(4, 2, 2)
    for thickness, factor in ((None, 3), (1.0, 3)):
        open_ends = ThickSliceProblem(y, factor, thickness=thickness, clipped=False).clamped(x)[:, 0, 0].tolist()
        closed = ThickSliceProblem(y, factor, thickness=thickness).clamped(x)[:, 0, 0].tolist()
        assert closed == [0, 0.5, 1] * 4
        high, low = open_ends[2::3], open_ends[0::3]
        assert high[1] == 1.5 and high[3] == 1.0 and low[3] == -0.5 and low[:2] == [0.0, 0.0]
        if thickness is None:
            assert high == [1.0, 1.5, 1.0, 1.0] and low == [0.0, 0.0, 0.0, -0.5]
        else:  # the voxel between two slices belongs to both
            assert high == [1.5, 1.5, 1.0, 1.0] and low == [0.0, 0.0, 0.0, -0.5]


@pytest.mark.parametrize(
    ("scan", "said", "word", "guessed"),
    [
        (head(-1024.0, 1200.0), None, "ct", True),
        (head(-1024.0, 1200.0), "CT", "ct", False),
        (head(-1024.0, 1200.0), "MR", "mr", False),
        (head(0.0, 900.0), None, "", False),
        (head(-56.0, 900.0), None, "", False),
        (head(-1.2, 3.4), None, "", False),
        (head(-100.0, 300.0), None, "", False),
        (head(0.0, 1.0), "ct", "ct", False),
    ],
)
def test_a_ct_is_known_by_its_file_or_by_its_air(scan, said, word, guessed):
    assert modality_of(scan, said)[0] == word
    assert bool(modality_of(scan, said)[1]) == guessed
    study = from_thick_slices(scan, modality=said)
    assert study.problem.modality == word and (study.window == CT_WINDOW) == (word == "ct")
    assert any("were taken for HU: a CT" in remark for remark in study.remarks) == guessed


def test_thick_slices_of_ct_have_priors_of_ct():
    ct = from_thick_slices(head(-1024.0, 1200.0)).problem
    with pytest.raises(CosliceError, match="window of MR, but the problem is of CT"):
        plan(ct, quick(), prior("zx", window="mr"))
    with pytest.raises(CosliceError, match="CT and of MR only"):
        from_thick_slices(head(), modality="PT")
    assert usual_priors("zsr", "slices", "CT") == ("ct-coronal",) and usual_priors("zsr", "slices") == ("mr",)
    assert usual_priors("zsr", "planes", "ct") == () and usual_priors("ct", "slices") == ("ct",)


def test_a_prior_across_the_thick_axis_is_spoken_of():
    problem = from_thick_slices(head(), WINDOW).problem
    across, along = (plan(problem, quick(), prior(plane)) for plane in ("yx", "zx"))
    assert len(across.remarks) == 1 and "planes yx" in across.remarks[0] and "z" in across.remarks[0]
    assert along.remarks == ()


@pytest.mark.parametrize("rows", [4, 5, 6, 12, 15])
def test_few_slices_are_continued_by_reflection(rows):
    """As often as it takes to fill what the network needs, also where there are fewer than are missing."""
    wide = replace(prior("zx"), stride=16)
    volume = torch.rand((rows, 3, 20), generator=torch.Generator().manual_seed(rows))
    index = np.arange(16) % (2 * (rows - 1))
    folded = torch.from_numpy(np.minimum(index, 2 * (rows - 1) - index))
    expected = wide(volume[folded], 0.3)[:rows]
    assert torch.equal(wide(volume, 0.3), expected)
