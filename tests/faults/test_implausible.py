"""What cannot be meant is said, or refused, in a sentence that names it; and of what is usual nothing is said.

Each table is: what was tried, and words of the sentence. The plausible half is as important: a warning that comes with
every run is read by nobody.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from coslice import plan, run
from coslice.data import embedded_scan
from coslice.detector import GaussianNoise, PhotonNoise
from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, Geometry, Grid, ParallelBeam
from coslice.io.geometry_files import ScannerFile
from coslice.io.nifti import read_nifti, write_nifti
from coslice.io.recordings import Recording
from coslice.methods import METHODS, Method, changed, find_method, methods_for
from coslice.operators import Projector
from coslice.preparation import Preparation
from coslice.priors import embedded_priors, load_prior, remarks_for_prior
from coslice.problems import (
    GridChoice,
    LimitedAngleCT,
    SliceSuperResolution,
    SparseViewCT,
    Stated,
    from_projections,
    from_stacks,
    from_thick_slices,
    remarks_on_residual,
    simulate,
    with_reference,
)
from coslice.problems.residual import residual
from coslice.values import comparable
from coslice.volume import Volume
from coslice.window import CT_WINDOW
from small_problems import priors

pytestmark = pytest.mark.faults

SVCT = SparseViewCT(views=8)


@pytest.fixture(scope="module")
def chest():
    return embedded_scan().slices(24, 40).resized(64)


@pytest.fixture(scope="module")
def brain():
    path = next(iter(embedded_priors().values())).parents[1] / "scan" / "brain.nii.gz"
    whole = read_nifti(path)
    return Volume(whole.data[4:36, 56:120, 44:108], whole.affine)


def spaced(volume, z, y, x):
    return Volume(volume.data, np.diag((x, y, z, 1.0)))


def random(seed=0):
    return np.random.default_rng(seed)


def on(volume, values):
    return volume.with_data(torch.as_tensor(np.asarray(values), dtype=torch.float32))


def told(make):
    """All that is said of something, or the sentence that it is refused with."""
    try:
        made = make()
    except CosliceError as error:
        return str(error)
    return " ".join(made if isinstance(made, list | tuple) else made.remarks)


def check(words, said):
    assert words in said, f"expected {words!r}, but it was said: {said or 'nothing'}"


SCANS = {
    "0 to 1": (lambda c: on(c, (c.data + 1000) / 2600), "scaled to 0..1"),
    "-1 to 1": (lambda c: on(c, (c.data + 1000) / 1300 - 1), "scaled to -1..1"),
    "percent": (lambda c: on(c, (c.data + 1000) / 26), "no known unit"),
    "8 bits": (lambda c: on(c, ((c.data + 1000) / 2600 * 255).clip(0, 255).round()), "8 bits"),
    "attenuation in 1/cm": (lambda c: on(c, (c.data + 1000) / 1000 * 0.193), "attenuation in 1/cm"),
    "attenuation in 1/mm": (lambda c: on(c, (c.data + 1000) / 1000 * 0.0193), "attenuation in 1/mm"),
    "HU + 1024": (lambda c: on(c, c.data + 1024), "1024 was taken off"),
    "HU + 1024 without a sign": (lambda c: on(c, (c.data + 1024).clip(0)), "1024 was taken off"),
    "HU cut off at 0": (lambda c: on(c, c.data.clip(0)), "CT without air"),
    "a window of soft tissue": (lambda c: on(c, c.data.clip(-200, 300)), "no known unit"),
    "HU / 1000": (lambda c: on(c, c.data / 1000), "HU divided by 1000"),
    "HU x 10": (lambda c: on(c, c.data * 10), "HU times 10"),
    "upside down": (lambda c: on(c, -c.data), "upside down"),
    "z-scored": (lambda c: on(c, (c.data - c.data.mean()) / c.data.std()), "mean 0 and deviation 1"),
    "a mask": (lambda c: on(c, c.data > -300), "a mask"),
    "labels": (lambda c: on(c, np.digitize(c.data, [-500, -100, 0, 100, 300])), "a label map"),
    "PET": (lambda c: on(c, random().gamma(1.2, 900, c.shape)), "look like MR"),
    "SUV": (lambda c: on(c, random().gamma(1.2, 0.8, c.shape)), "no known unit"),
    "ultrasound": (lambda c: on(c, random().rayleigh(40, c.shape).clip(0, 255).round()), "8 bits"),
    "constant": (lambda c: on(c, 0 * c.data + 7), "every voxel is 7"),
    "all air": (lambda c: on(c, -1000 + random().normal(0, 5, c.shape)), "nothing but air"),
    "water without air": (lambda c: on(c, random().normal(0, 5, c.shape)), "no known unit"),
    "noise in HU": (lambda c: on(c, random().normal(-500, 500, c.shape)), "looks like noise"),
    "metal": (lambda c: on(c, torch.where(c.data > 250, 9000, c.data)), "lie above the window"),
    "slices in a wrong order": (lambda c: on(c, c.data[random(3).permutation(16)]), "in the right order"),
    "two passes woven": (lambda c: on(c, c.data[[k // 2 + 8 * (k % 2) for k in range(16)]]), "woven together"),
    "voxels of 1 um": (lambda c: spaced(c, 1e-3, 1e-3, 1e-3), "check the voxel size"),
    "metres for millimetres": (lambda c: spaced(c, 5, 67, 67), "check the voxel size"),
    "oblong pixels": (lambda c: spaced(c, 1, 1, 5), "stacked along x"),
    "coronal slices as axial": (
        lambda _: Volume(embedded_scan().data.transpose(0, 1)[40:64].contiguous(), np.diag((3.36, 1.0, 3.36, 1.0))),
        "those of a CT are square",
    ),
    "cut by the field of view": (
        lambda _: Volume(embedded_scan().data[24:40, 32:96, 32:96], np.diag((3.36, 3.36, 1.0, 1.0))),
        "reaches the border",
    ),
    "8 pixels": (lambda c: Volume(c.data[:, 28:34, 28:34], c.affine), "needs at least 7|needs HU|at least 7"),
    "one slice": (lambda c: c.slices(0, 1), "at least 7 along each axis"),
    "two slices": (lambda c: c.slices(0, 2), "at least 7 along each axis"),
}


@pytest.mark.parametrize("name", SCANS)
def test_a_scan_that_is_none_or_is_in_another_unit_place_or_order(chest, name):
    make, words = SCANS[name]
    said = told(lambda: simulate(make(chest), SVCT))
    assert any(one in said for one in words.split("|")), f"{words!r} is not in: {said or 'nothing'}"


TASKS = {
    "one view": (SparseViewCT(views=1), "One view shows next to nothing"),
    "two views": (SparseViewCT(views=2), "2 views show next to nothing"),
    "three views": (SparseViewCT(views=3), "3 views show next to nothing"),
    "a thousand views": (SparseViewCT(views=1000), "more than the 101 that 64 voxels across need"),
    "a wedge of 5 degrees": (LimitedAngleCT(angle=5), "span 5 degrees"),
    "a whole turn as a wedge": (LimitedAngleCT(angle=360), "no limited angle"),
    "half a turn of parallel beams": (LimitedAngleCT("parallel", angle=180), "no limited angle"),
    "one photon": (SparseViewCT(noise=PhotonNoise(1)), "next to nothing of it is left"),
    "a hundred photons": (SparseViewCT(noise=PhotonNoise(100)), "of the measurement"),
    "more electronic noise than photons": (SparseViewCT(noise=PhotonNoise(1e4, 1e5)), "next to nothing of it is left"),
    "noise as large as the body": (SparseViewCT(noise=GaussianNoise(10.0)), "next to nothing of it is left"),
    "noise that is none": (SparseViewCT(noise=GaussianNoise(1e-12)), "there is none"),
    "rows as high as the volume": (SparseViewCT(rows=50), "slices high at the axis"),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_measurement_that_shows_nothing_or_all(chest, name):
    task, words = TASKS[name]
    check(words, told(lambda: simulate(chest, task)))


def test_voxels_that_are_finer_than_the_scan(chest):
    check("hold no detail of their own", told(lambda: simulate(chest, SVCT, preparation=Preparation(spacing=2.0))))
    check("1e+30 photons", told(lambda: [str(PhotonNoise(1e30))]))


def thick(brain, factor=4):
    return Volume(brain.data[::factor], brain.affine @ np.diag((1.0, 1.0, factor, 1.0)))


SLICES = {
    "two thick slices": (lambda b: simulate(b, SliceSuperResolution(16)), "2 thick slices of 16"),
    "one thick slice": (lambda b: simulate(b, SliceSuperResolution(32)), "1 thick slice of 32"),
    "thicker than all": (lambda b: simulate(b, SliceSuperResolution(40)), "at least 40 are needed"),
    "a profile as wide as the stack": (lambda b: simulate(b, SliceSuperResolution(5, 100.0)), "at most 10"),
    "a profile that is none": (lambda b: simulate(b, SliceSuperResolution(5, 0.01)), "far narrower"),
    "noise above the image": (
        lambda b: simulate(b, SliceSuperResolution(5, noise=GaussianNoise(2.0))),
        "next to nothing of it is left",
    ),
    "cubes already": (lambda b: from_thick_slices(b), "nothing to gain"),
    "slices of micrometres": (lambda b: from_thick_slices(b, factor=40), "finer than anything in their planes"),
    "a gap that is all": (lambda b: from_thick_slices(thick(b), gap_mm=3.99), "was not measured"),
    "slices thicker than the stack": (lambda b: from_thick_slices(thick(b), thickness_mm=50), "at most 32"),
    "MR seen as HU": (lambda b: from_thick_slices(thick(b), CT_WINDOW), "prior sees HU"),
    "a stack twice": (lambda b: from_stacks([thick(b), thick(b)]), "counts double"),
    "slices in a wrong order": (
        lambda b: from_thick_slices(on(thick(b, 2), b.data[::2][random(1).permutation(16)])),
        "in the right order",
    ),
    "a mask": (lambda b: simulate(on(b, b.data > 300), SliceSuperResolution(4)), "a mask"),
}


@pytest.mark.parametrize("name", SLICES)
def test_thick_slices_that_are_none(brain, name):
    make, words = SLICES[name]
    check(words, told(lambda: make(brain)))


SETTINGS = {
    "one step": ({"schedule": {"steps": 1}}, "1 network evaluation a sample"),
    "two steps": ({"schedule": {"steps": 2}}, "2 network evaluations a sample"),
    "a start without noise": ({"schedule": {"sigma_max": 0.011, "steps": 5}}, "begins at sigma 0.011"),
    "an end in noise": ({"schedule": {"sigma_min": 0.3}}, "ends at sigma 0.3"),
    "noise alone that hides nothing": ({"start": {"volume": "noise"}}, "from noise alone"),
    "levels beyond the prior": ({"schedule": {"sigma_max": 1000.0}}, "it was trained for"),
    "no fresh noise": ({"renoising": {"eta": 0.0}}, "No step adds fresh noise"),
    "transitions that are all quiet": ({"renoising": {"quiet": 30}}, "None of the 29 transitions"),
    "noise of no length": ({"noise": {"kind": "ou", "length": 1e-3}}, "as good as independent"),
    "noise of endless length": ({"noise": {"kind": "ou", "length": 1e6}}, "as good as identical"),
    "no iterations": ({"data": {"iterations": 0}}, "at least 1 is needed"),
}


@pytest.fixture(scope="module")
def problem(chest):
    return simulate(chest, SVCT).problem


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_do_nothing_or_leave_nothing_to_do(problem, name):
    tree, words = SETTINGS[name]
    check(words, told(lambda: plan(problem, changed(find_method("dds"), tree, "dds"), priors(find_method("dds")))))


def tilted(volume, degrees):
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.eye(4)
    turn[1:3, 1:3] = [[cosine, -sine], [sine, cosine]]
    return Volume(volume.data, turn @ volume.affine)


PRIORS = {
    "micro-CT": (lambda c: spaced(c, 0.02, 0.02, 0.02), "ct", "pixels of 1.2 to 5.47 mm"),
    "pixels of a centimetre": (lambda c: spaced(c, 1, 10, 10), "ct", "pixels of 1.2 to 5.47 mm"),
    "slices 40 mm apart": (lambda c: spaced(c, 40, 3, 3), "ct", "slices 0.8 to 8 mm apart"),
    "16 pixels": (lambda c: c.resized(16), "ct", "images of 128 to 256 pixels"),
    "4096 pixels": (lambda c: c.slices(0, 1).resized(4096), "ct", "images of 128 to 256 pixels"),
    "oblique slices": (lambda c: tilted(c, 40), "ct", "tilted by 40 degrees"),
}


@pytest.mark.parametrize("name", PRIORS)
def test_scans_that_a_prior_never_saw(chest, name):
    make, prior, words = PRIORS[name]
    check(words, told(lambda: remarks_for_prior(make(chest), load_prior(prior))))


def test_a_prior_of_the_other_modality(chest, brain):
    mr = load_prior("mr")
    check("a CT by its air", told(lambda: simulate(chest, SliceSuperResolution(4), mr.window_for)))
    check("the window of MR", told(lambda: plan(simulate(chest, SVCT).problem, "dds", mr)))
    check("single slices are needed", told(lambda: plan(simulate(chest, SVCT).problem, "dds", load_prior("ct3"))))
    check("needs HU", told(lambda: simulate(brain, SVCT)))


COMPARED = {
    "both in 0 to 1": (lambda c: (on(c, (c.data + 990) / 2600), on(c, (c.data + 1000) / 2600)), "say what is 0 and 1"),
    "one in 0 to 1": (lambda c: (on(c, (c.data + 1000) / 2600), c), "not in one unit"),
    "an empty one": (lambda c: (on(c, 0 * c.data), c), "those of an empty volume"),
    "a constant truth": (lambda c: (c, on(c, 0 * c.data)), "nothing to compare with"),
    "moved aside": (lambda c: (on(c, c.data.roll(2, 2)), c), "moved by -2 along x"),
    "moved along the body": (lambda c: (on(c, c.data.roll(3, 0)), c), "moved by -3 along z"),
    "mirrored": (lambda c: (on(c, c.data.flip(2)), c), "mirrored along x"),
    "upside down": (lambda c: (on(c, c.data.flip(1)), c), "mirrored along y"),
    "another scale": (lambda c: (on(c, 1.5 * c.data + 200), c), "in one unit?"),
    "another patient": (lambda c: (on(c, c.data.roll(25, 1).flip(1).roll(30, 2)), c), "of one patient|far better"),
    "HU + 1024": (lambda c: (on(c, c.data + 1024), c), "1024 was taken off"),
}


@pytest.mark.parametrize("name", COMPARED)
def test_a_comparison_that_compares_nothing(chest, name):
    make, words = COMPARED[name]
    said = told(lambda: comparable(*make(embedded_scan().resized(64))))
    assert any(one in said for one in words.split("|")), f"{words!r} is not in: {said or 'nothing'}"


def test_a_window_far_from_both_and_a_reference_that_lies_elsewhere(chest, brain):
    check("these numbers say nothing", told(lambda: comparable(chest, chest, "5000:6000")))
    study = from_thick_slices(thick(chest, 2), factor=2, axis="z")
    check("mirrored along x", told(lambda: with_reference(study, mirror(chest), "the other")))


def mirror(volume):
    return on(volume, volume.data.flip(2))


N = 36
CONE = ConeBeam(tuple(np.radians(np.arange(N) * 360 / N)), (6, 96), (6.0, 6.0), (0.0, 0.0), 700, 500)
BODY = Grid((8, 96, 96), (4.0, 3.0, 3.0))


def body():
    """Attenuation in 1/mm: water with bones, a lung and a hole, like nothing mirrored."""
    _, y, x = np.meshgrid(*(BODY.axis(name) for name in "zyx"), indexing="ij")
    mu = np.where((x / 120) ** 2 + (y / 90) ** 2 < 1, 0.0194, 0.0)
    for across, down, radius, value in (
        (60, 20, 18, 0.04),
        (-50, -10, 35, 0.005),
        (10, -55, 12, 0.035),
        (-20, 50, 8, 0),
    ):
        mu = np.where((x - across) ** 2 + (y - down) ** 2 < radius**2, value, mu)
    return torch.from_numpy(mu).float()


def projected(geometry):
    """Line integrals with a little noise, (views, rows, columns)."""
    exact = Projector(geometry, BODY).forward(body()).numpy()
    return (exact + random().normal(0, 0.01, exact.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def lines():
    return projected(CONE)


def study_of(recorded, geometry: Geometry = CONE, **stated):
    """What is said before anything is reconstructed."""
    recording = Recording(recorded.astype(np.float32), logged=None, name="scan")
    asked = Stated(**{"values": "lines", "grid": GridChoice(48), **stated})
    return from_projections(recording, ScannerFile(geometry), asked)


def result_of(recorded, geometry: Geometry = CONE, **stated):
    """What is said after it, too."""
    study = study_of(recorded, geometry, **stated)
    result = run(study.problem, "fdk")
    ends = (residual(study.problem, volume) for volume in (result.initial, result.reconstruction))
    return [*study.remarks, *remarks_on_residual(study.problem, *ends)]


def dead(lines):
    lines = lines.copy()
    lines[::8] = 0
    return lines


def lost(lines):
    lines = lines.copy()
    lines[3] = np.inf
    return lines


def half(lines):
    return np.concatenate((lines[: N // 2], lines[: N // 2]))


def scaled(factor):
    return replace(
        CONE, pixel=(6 * factor, 6 * factor), source_axis=700 * factor, axis_detector=500 * factor
    )  # every length in another unit


RECORDINGS = {
    "transmission as line integrals": (lambda x: study_of(np.exp(-x)), "look like transmission"),
    "counts as line integrals": (lambda x: study_of(5e4 * np.exp(-x)), "they may be counts"),
    "line integrals as transmission": (lambda x: study_of(x, values="transmission"), "the open beam"),
    "the logarithm twice": (lambda x: study_of(-np.log(x.clip(1e-3))), "was taken twice"),
    "counts that rise with attenuation": (lambda x: study_of(-x), "nothing is in it"),
    "a brighter beam than the flat field's": (lambda x: study_of(x - 0.4), "times as bright"),
    "scaled by 1000": (lambda x: study_of(1000 * x), "no beam is seen through more"),
    "scaled by 1/1000": (lambda x: study_of(x / 1000), "takes away 1 % of the beam"),
    "noise": (lambda x: result_of(random().normal(1, 1, x.shape)), "no volume explains|The noise is"),
    "nothing": (lambda x: study_of(0 * x), "nothing is in it"),
    "dead views": (lambda x: result_of(dead(x)), "disagree"),
    "a view that is no number": (lambda x: study_of(lost(x)), "view 3"),
    "half of the views twice": (lambda x: study_of(half(x)), "18 of 36 views are copies"),
    "views in a wrong order": (lambda x: result_of(x[random().permutation(N)]), "no volume explains"),
    "half a turn": (
        lambda x: result_of(x, replace(CONE, angles=tuple(np.radians(np.arange(N) * 180 / N)))),
        "axis of rotation|no volume explains",
    ),
    "two turns": (
        lambda x: result_of(x, replace(CONE, angles=tuple(np.radians(np.arange(N) * 720 / N)))),
        "no volume explains|disagree",
    ),
    "degrees as radians": (
        lambda x: study_of(x, replace(CONE, angles=tuple(np.arange(N) * 360.0 / N))),
        "check their unit",
    ),
    "radians as degrees": (
        lambda x: study_of(x, replace(CONE, angles=tuple(np.radians(a) for a in CONE.angles))),
        "check their unit",
    ),
    "the other sense": (lambda x: study_of(x, replace(CONE, angles=tuple(-a for a in CONE.angles))), "the other way"),
    "metres": (lambda x: study_of(x, scaled(1e-3)), "all lengths of the geometry are in mm"),
    "micrometres": (lambda x: study_of(x, scaled(1e3)), "all lengths of the geometry are in mm"),
    "centimetres, with water": (lambda x: result_of(x, scaled(0.1), water=0.0194), "lengths may be in cm"),
    "distances in metres": (
        lambda x: study_of(x, replace(CONE, source_axis=0.7, axis_detector=0.5)),
        "source must be outside",
    ),
    "distances in micrometres": (
        lambda x: study_of(x, replace(CONE, source_axis=7e5, axis_detector=5e5)),
        "all lengths are in mm",
    ),
    "pixels in micrometres": (lambda x: study_of(x, replace(CONE, pixel=(6e3, 6e3))), "source must be outside"),
    "pixels in metres": (lambda x: study_of(x, replace(CONE, pixel=(6e-3, 6e-3))), "all lengths are in mm"),
    "a detector far aside": (
        lambda x: study_of(x, replace(CONE, offset=(0.0, 3000.0))),
        "every source must be outside|there are",
    ),
    "a detector above the object": (lambda x: study_of(x, replace(CONE, offset=(500.0, 0.0))), "seen by no view"),
    "a detector 27 mm aside": (lambda x: study_of(x, replace(CONE, offset=(0.0, 27.0))), "axis of rotation"),
    "water in 1/cm": (lambda x: study_of(x, water=0.194), "in 1/cm"),
    "water a tenth as dense": (lambda x: study_of(x, water=0.00194), "off by one factor"),
    "a window far above": (lambda x: result_of(x, window=(0.0, 5.0)), "times the top of the window"),
    "one view": (lambda x: study_of(x, views=1), "One view shows next to nothing"),
    "two views": (lambda x: study_of(x, views=2), "2 views show next to nothing"),
    "an object beyond the detector": (
        lambda x: study_of(x[:, :, 34:62], replace(CONE, detector=(6, 28))),
        "either the object reaches both",
    ),
}


@pytest.mark.parametrize("name", RECORDINGS)
def test_projections_that_are_none_or_of_another_scanner(lines, name):
    make, words = RECORDINGS[name]
    said = told(lambda: make(lines))
    assert any(one in said for one in words.split("|")), f"{words!r} is not in: {said or 'nothing'}"


def test_the_command_says_it_and_writes_it(chest, tmp_path, trials):
    """The same sentences, on the terminal and in run.json."""
    path, out = tmp_path / "ct.nii.gz", tmp_path / "out"
    write_nifti(spaced(chest, 1, 1, 5), path)
    trial = trials.tried("reconstruct", path, "--method", "fdk", "--views", "2", "--out", out).sane()
    for words in ("stacked along x", "2 views show next to nothing"):
        assert words in trial.output and words in (out / "run.json").read_text()
    moved = tmp_path / "moved.nii.gz"
    write_nifti(on(chest, chest.data.roll(2, 2)), moved)
    write_nifti(chest, path)
    assert "moved by -2 along x" in trials.tried("evaluate", moved, path).sane().errors


# What is usual.


@pytest.mark.parametrize(
    "task",
    [
        *(SparseViewCT("parallel", views) for views in (4, 6, 8)),
        *(SparseViewCT(views=views) for views in (30, 60)),
        *(LimitedAngleCT(beam) for beam in ("cone", "parallel")),
        SparseViewCT(rows=0.5),
        SparseViewCT(noise=PhotonNoise(1e4, 5.0)),
        SparseViewCT(noise=GaussianNoise(0.05)),
    ],
    ids=str,
)
def test_nothing_is_said_of_usual_measurements(chest, task):
    assert simulate(chest, task).remarks == ()


@pytest.mark.parametrize("first", [0, 24, 48])
def test_nothing_is_said_of_slabs_of_a_chest(first):
    chest = embedded_scan().slices(first, first + 16)
    assert simulate(chest, SVCT).remarks == () and remarks_for_prior(chest, load_prior("ct")) == ()
    noisy = on(chest, chest.data + random().normal(0, 60, chest.shape))
    assert simulate(noisy, SVCT).remarks == ()


def test_nothing_is_said_of_a_brain(brain):
    for factor in (2, 4, 5):
        assert simulate(brain, SliceSuperResolution(factor, noise=GaussianNoise(0.02))).remarks == ()
    assert from_thick_slices(thick(brain)).remarks == ()
    coronal = Volume(brain.data[:, ::4], brain.affine @ np.diag((1.0, 4.0, 1.0, 1.0)))
    usual = ("lie still", "seen by no stack", "Spacings of", "reach beyond", "to match those of the first")
    said = from_stacks([thick(brain), coronal]).remarks
    assert not [one for one in said if not any(words in one for words in usual)], said


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ["ct", "zsr"])
def test_nothing_is_said_of_published_settings(problem, brain, name, kind):
    method = methods_for(kind).get(name)
    if not isinstance(method, Method):
        return
    of = problem if kind == "ct" else simulate(brain, SliceSuperResolution(4)).problem
    said = plan(of, method, priors(method)).remarks
    assert not [one for one in said if "does not lie" not in one], said


def test_nothing_is_said_of_reconstructions_however_bad(chest):
    for views in (4, 8, 30):
        study = simulate(chest, SparseViewCT(views=views))
        found = on(chest, study.window.from_unit(run(study.problem, "fdk").reconstruction))
        assert comparable(found, chest).remarks == ()
    noisy = on(chest, chest.data + random().normal(0, 200, chest.shape))
    assert comparable(noisy, chest).remarks == () and comparable(chest, chest).remarks == ()


def test_nothing_is_said_of_clean_projections(lines):
    usual = ("The values were taken", "The open beam", "Blocks of", "are what the prior sees")
    said = result_of(lines, water=0.0194) + result_of(lines)
    assert not [one for one in said if not any(words in one for words in usual)], said
    parallel = ParallelBeam(tuple(np.radians(np.arange(30) * 6)), (4, 96), (4.0, 4.0))
    said = result_of(projected(parallel), parallel)
    assert not [one for one in said if not any(words in one for words in usual)], said
