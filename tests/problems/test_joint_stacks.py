"""Several stacks of one patient: where they lie, that they agree, and that three show what one does not."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from coslice import run
from coslice.errors import CosliceError
from coslice.metrics import psnr
from coslice.operators import Stacks, ThickSlices
from coslice.problems import StackProblem, from_stacks, from_thick_slices
from coslice.volume import Volume
from coslice.window import Window
from laws import relative
from oblique import WINDOW, at
from oblique import thin as oblique
from small_problems import prior, quick

FACTOR = 4


def patient(shape=(16, 20, 12)) -> Volume:
    """Fine detail in every direction, oblique in the scanner, dark at its faces."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    detail = 1 + np.cos(9 * x + 2 * y) * np.cos(8 * y - z) * np.cos(10 * z + x)
    data = torch.from_numpy(np.exp(-2 * (z**2 + y**2 + x**2)) * detail)
    return replace(oblique(4, (1.1, 1.1, 1.1)), data=data.float())


def stack(volume: Volume, axis: str, factor: float = FACTOR) -> Volume:
    return volume.with_thick_slices(ThickSlices(volume.shape, factor, axis=axis).forward(volume.data), factor, axis)


def three(volume: Volume) -> list[Volume]:
    return [stack(volume, axis) for axis in "zyx"]


def test_one_stack_alone_is_the_problem_of_thick_slices():
    scan = stack(patient(), "y")
    joint, alone = from_stacks([scan], WINDOW), from_thick_slices(scan, WINDOW, FACTOR)
    np.testing.assert_allclose(joint.volume.affine, alone.volume.affine, atol=1e-6)
    assert joint.volume.shape == alone.volume.shape
    x = torch.rand(joint.volume.shape, generator=torch.Generator().manual_seed(0))
    ours = joint.problem.operator.forward(x).reshape(scan.shape)
    assert relative(ours, alone.problem.operator.forward(x)) < 1e-5
    assert relative(joint.problem.measurement.reshape(scan.shape), alone.problem.measurement) < 1e-6


def test_the_volume_that_stacks_are_made_of_is_found_again():
    """Its voxels, in its place; and it measures as the stacks do."""
    volume = patient()
    study = from_stacks(three(volume), WINDOW)
    assert study.volume.shape == volume.shape
    np.testing.assert_allclose(study.volume.affine, volume.affine, atol=1e-6)
    operator = study.problem.operator
    assert isinstance(operator, Stacks) and all(seen.all() for seen in operator.seen)
    unit = study.window.to_unit(volume.data)
    assert relative(operator.forward(unit), study.problem.measurement) < 1e-5
    assert any("motion between them is not corrected" in said for said in study.remarks)


def test_three_stacks_show_what_one_does_not():
    volume = patient()
    unit, method = WINDOW.to_unit(volume.data), quick("dds")
    one, all_three = from_thick_slices(three(volume)[0], WINDOW, FACTOR), from_stacks(three(volume), WINDOW)
    for volumes in (
        [study.problem.initial() for study in (one, all_three)],
        [run(study.problem, method, prior("zx")).reconstruction for study in (one, all_three)],
    ):
        alone, joint = (float(psnr(found.clamp(0, 1), unit).mean()) for found in volumes)
        assert joint > alone + 4


@pytest.mark.parametrize("method", ["dds", "ddnm", "wdds", "sirt", "cgls"])
def test_methods_agree_with_every_stack(method):
    volume = patient()
    study = from_stacks(three(volume), WINDOW)
    chosen = method if method in ("sirt", "cgls") else quick(method, data={"rounds": 20})
    found = run(study.problem, chosen, None if method in ("sirt", "cgls") else prior("zx")).reconstruction
    assert relative(study.problem.operator.forward(found), study.problem.measurement) < 0.05


def test_an_oblique_stack_lies_where_it_says():
    """A ramp in the scanner's space, seen by stacks of any turn, comes back as that ramp."""
    slope, offset = np.array((0.004, -0.003, 0.005)), 1.0

    def ramp(scan: Volume) -> Volume:
        z, y, x = np.meshgrid(*(np.arange(n) for n in scan.shape), indexing="ij")
        index = np.stack((x, y, z, np.ones_like(x)), -1)
        return scan.with_data(torch.from_numpy((index @ scan.affine.T)[..., :3] @ slope + offset - 0.4))

    scans = [ramp(oblique(6, (4.0, 1.3, 1.3), seed)) for seed in (0, 1, 2)]
    study = from_stacks(scans, WINDOW, 1.5)
    operator = study.problem.operator
    assert isinstance(operator, Stacks) and all(seen.all() for seen in operator.seen)
    seen = operator.adjoint(torch.ones(operator.codomain)) > 0.5
    expected = WINDOW.to_unit(ramp(study.volume).data, clip=False)
    error = (study.problem.initial() - expected)[seen].abs()
    assert float(error.max()) < 0.01
    assert relative(operator.forward(expected), study.problem.measurement) < 1e-5
    for one in scans:  # every corner of every stack is inside
        corner = np.linalg.inv(study.volume.affine) @ (*at(one, *(n - 1 for n in one.shape[::-1])), 1)
        assert (corner[:3] > -0.5).all() and (corner[:3] < np.array(study.volume.shape[::-1]) - 0.5).all()


def test_intensities_are_matched_and_said():
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (16, 20, 12)), indexing="ij")
    first, second, last = three(patient().with_data(torch.from_numpy(np.exp(-2 * (z**2 + y**2 + x**2)))))
    brighter = second.with_data(second.data * 2.5)
    study = from_stacks([first, brighter, last], WINDOW)
    assert any("Stack 2: its intensities were multiplied by 0.4" in said for said in study.remarks)
    assert not any("Stack 3: its intensities" in said for said in study.remarks)
    plain = from_stacks([first, second, last], WINDOW)
    assert relative(study.problem.measurement, plain.problem.measurement) < 0.02
    away = replace(last, affine=last.affine + np.array([[0, 0, 0, 40.0], [0] * 4, [0] * 4, [0] * 4]))
    apart = from_stacks([first, away], WINDOW)
    assert any("shares too little with the first" in said for said in apart.remarks)
    assert any("seen by no stack, and come from the prior alone" in said for said in apart.remarks)
    hu = [one.with_data(one.data * 700 - 1000) for one in (first, brighter)]
    assert not any("multiplied" in said for said in from_stacks(hu, Window(-1000, 1600), modality="CT").remarks)


def test_a_target_may_be_smaller_and_what_reaches_beyond_is_left_out_and_said():
    volume = patient()
    target = Volume(volume.data[2:14, :, :], volume.slices(2, 14).affine)
    study = from_stacks(three(volume), WINDOW, target=target)
    assert study.volume.shape == (12, 20, 12)
    assert any("Stack 1: 50 % of its voxels reach beyond" in said for said in study.remarks)
    unit = study.window.to_unit(target.data)
    assert relative(study.problem.operator.forward(unit), study.problem.measurement) < 1e-5


def test_each_stack_may_have_gaps_of_its_own():
    volume = patient()
    study = from_stacks(three(volume), WINDOW, thickness_mm=[None, 2.2, 4.4])
    assert isinstance(study.problem, StackProblem)
    assert [stack.thickness for stack in study.problem.stacks] == pytest.approx([1.0, 0.5, 1.0])
    said = next(said for said in study.remarks if "gaps" in said)
    assert said.startswith("Stack 2: Slices of 2.2 mm lie 4.4 mm apart")
    assert study.volume.shape == volume.shape


def test_it_travels_and_makes_the_same_again():
    problem = from_stacks(three(patient()), WINDOW).problem
    first = problem.initial()
    other = pickle.loads(pickle.dumps(problem))
    assert "operator" not in other.__dict__ and torch.equal(other.initial(), first)
    assert len(pickle.dumps(problem)) < problem.measurement.numel() * 4 + 8000


def test_what_was_measured_outside_of_the_window_is_kept():
    volume = patient()
    study = from_stacks(three(volume), Window(0.1, 1.2, ""))
    assert sum("lie outside the window" in said for said in study.remarks) == 3
    found = run(study.problem, quick("dds", data={"rounds": 20}), prior("zx")).reconstruction
    assert float(found.max()) > 1 and float(found.min()) < 0
    assert relative(study.problem.operator.forward(found), study.problem.measurement) < 0.06


def test_stacks_that_cannot_be_put_together_are_refused():
    scans = three(patient())
    with pytest.raises(CosliceError, match="no stack was given"):
        from_stacks([])
    with pytest.raises(CosliceError, match="2 axes were given for 3 stacks"):
        from_stacks(scans, WINDOW, axes=["z", "y"])
    with pytest.raises(CosliceError, match="leave one out"):
        from_stacks(scans, WINDOW, fwhm_mm=4.0, thickness_mm=3.0)
    with pytest.raises(CosliceError, match="2 thicknesses were given for 3 stacks"):
        from_stacks(scans, WINDOW, thickness_mm=[3.0, None])
    with pytest.raises(CosliceError, match="numbers above 0 are needed"):
        from_stacks(scans, WINDOW, thickness_mm=[3.0, None, -1.0])
    with pytest.raises(CosliceError, match="spacing of -1"):
        from_stacks(scans, WINDOW, -1.0)
    with pytest.raises(CosliceError, match=r"crop the stacks, or choose a larger spacing"):
        from_stacks(scans, WINDOW, 0.01)
    problem = from_stacks(scans, WINDOW).problem
    assert isinstance(problem, StackProblem)
    with pytest.raises(CosliceError, match=r"Stacks\.gathered"):
        replace(problem, measurement=problem.measurement[1:])


@pytest.mark.parametrize("code", [0, 4])
def test_the_result_lies_where_the_first_stacks_qform_says_too(code):
    """A file may have no sform, or one of a template's space: programs built on ITK look at the qform."""
    volume = patient()
    scanner = np.array([[0.0, -1, 0, 30], [1, 0, 0, -7], [0, 0, 1, 11], [0, 0, 0, 1]])
    stacks = [replace(one, space_code=code, qform=scanner @ one.affine, qform_code=1) for one in three(volume)]
    found = from_stacks(stacks, WINDOW).volume
    assert found.qform is not None and (found.space_code, found.qform_code) == (code, 1)
    np.testing.assert_allclose(found.qform, scanner @ volume.affine, atol=1e-6)
