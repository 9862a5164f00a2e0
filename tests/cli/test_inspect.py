"""`coslice inspect`: what it says is what was put in, and what it tells to type is right."""

import json
import math
import shlex
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from coslice.cli.descriptions.looked_at import blocks_to_look_at
from coslice.geometry import ConeBeam, FanBeam, Grid, ParallelBeam
from coslice.io.geometry_files import read_geometry, write_geometry
from coslice.operators import Projector
from coslice.report.inspection import from_above, recognised_peaks, scanner_picture
from coslice.window import CT_WINDOW, Window
from small_bodies import ball

DATA = Path(__file__).parents[1] / "data"
TOOTH = DATA / "tooth" / "tooth.h5"


@pytest.fixture(autouse=True)
def without_a_first_reconstruction(request, monkeypatch):
    """Which only one test is about."""
    if "water" not in request.node.name:
        monkeypatch.setattr("coslice.cli.descriptions.of_projections.likely_water", lambda taken: None)


@pytest.fixture
def inspected(coslice):
    """What --json prints of an input."""

    def run(*arguments):
        code, said, error = coslice("inspect", *arguments, "--json")
        assert code == 0, error
        return json.loads(said)

    return run


def sentences(found, severity=None):
    return " ".join(one["sentence"] for one in found["doubts"] if severity in (None, one["severity"]))


def typed(found, option):
    """What the command that it tells to type gives an option."""
    words = shlex.split(found["advice"][0]["type"])
    return words[words.index(option) + 1] if option in words else None


def lines_of(geometry):
    """Line integrals of two unlike blobs off the axis."""
    grid = Grid((8, 40, 40), (2.0, 2.0, 2.0))
    y, x = np.meshgrid(grid.axis("y"), grid.axis("x"), indexing="ij")
    plane = 0.02 * ((y - 2) ** 2 + (x + 3) ** 2 < 33**2) + 0.02 * ((y + 14) ** 2 + (x - 11) ** 2 < 7**2)
    volume = torch.from_numpy(np.broadcast_to(plane, grid.shape).astype(np.float32).copy())
    return Projector(geometry, grid).forward(volume).numpy()


CONE = ConeBeam(
    tuple(np.linspace(0, 2 * math.pi, 40, endpoint=False)),
    (3, 64),
    (4.0, 4.0),
    (0.0, 10.0),
    source_axis=300.0,
    axis_detector=150.0,
)


def test_a_measured_tooth_has_its_axis_off_centre_and_is_told_what_to_type(inspected, coslice):
    found = inspected(TOOTH, "--beam", "parallel")
    facts, said = found["axis"], sentences(found, "grave")
    assert found["values"] == "counts" and found["scanner"]["step_deg"] == pytest.approx(180 / 20.11, rel=0.01)
    assert abs(facts["found_column"] - facts["given_column"]) > 3 * facts["uncertainty"]
    column = typed(found, "--rotation-axis")
    assert column is not None and f"--rotation-axis {column}" in said
    again = inspected(TOOTH, "--beam", "parallel", "--rotation-axis", column)
    assert "axis of rotation was found" not in sentences(again) and float(
        typed(again, "--rotation-axis") or "nan"
    ) == float(column)
    asked = inspected(TOOTH, "--beam", "parallel", "--rotation-axis", "find")
    assert "axis of rotation was found" not in sentences(asked) and asked["scanner"] == found["scanner"]
    # the widest circle about the axis that the nearer edge sees
    last = found["shape"][2] - 0.5
    half = min(float(column) + 0.5, last - float(column))
    across = again["scanner"]["grid"]["shape"][2] * again["scanner"]["grid"]["spacing_mm"][2]
    assert across == pytest.approx(2 * half * again["scanner"]["pixel_mm"][1], abs=1.1)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_column_to_type_is_that_of_the_file_whichever_way_it_is_stored(inspected, tmp_path, mirrored):
    lines = lines_of(CONE)
    np.save(tmp_path / "p.npy", lines[..., ::-1] if mirrored else lines)
    write_geometry(replace(CONE, offset=(0.0, 0.0)), tmp_path / "g.json", flip_columns=mirrored)
    found = inspected(tmp_path / "p.npy", "--geometry", tmp_path / "g.json")
    true = 31.5 - 10 / 4
    assert float(typed(found, "--rotation-axis") or "nan") == pytest.approx(63 - true if mirrored else true, abs=0.15)
    assert found["axis"]["given_column"] == 31.5
    assert found["scanner"]["magnification"] == 1.5 and found["scanner"]["arc_deg"] == pytest.approx(360)
    assert found["scanner"]["offset_mm"][1] == pytest.approx(10, abs=0.6)


def test_matter_that_attenuates_as_water_does_may_be_water(inspected, tmp_path):
    np.save(tmp_path / "p.npy", lines_of(CONE))
    write_geometry(CONE, tmp_path / "g.json")
    found = inspected(tmp_path / "p.npy", "--geometry", tmp_path / "g.json")
    assert found["values"] == "lines" and found["water_per_mm"] == pytest.approx(0.02, rel=0.1)


def test_a_reversed_sense_is_a_grave_doubt_and_the_right_one_is_none(inspected, tmp_path):
    np.save(tmp_path / "p.npy", lines_of(CONE))
    for name, angles in (("right", CONE.angles), ("wrong", tuple(-angle for angle in CONE.angles))):
        write_geometry(replace(CONE, angles=angles), tmp_path / f"{name}.json")
    right, wrong = (inspected(tmp_path / "p.npy", "--geometry", tmp_path / f"{n}.json") for n in ("right", "wrong"))
    assert not sentences(right, "grave") and "other way" in sentences(wrong, "grave")
    facts = json.dumps(wrong)
    assert "From 0 degrees on, clockwise" in facts and "-0 degrees" not in facts  # -0.0 is the first angle's opposite


def test_transmission_is_known_from_counts_without_a_beam(inspected, tmp_path):
    lines = lines_of(CONE)
    write_geometry(CONE, tmp_path / "g.json")
    np.save(tmp_path / "t.npy", np.exp(-lines))
    np.save(tmp_path / "c.npy", (5000 * np.exp(-lines)).astype(np.uint16))
    through = inspected(tmp_path / "t.npy", "--geometry", tmp_path / "g.json")
    assert through["values"] == "transmission" and not sentences(through, "grave")
    counts = inspected(tmp_path / "c.npy", "--geometry", tmp_path / "g.json")
    assert counts["values"] is None and "--white" in sentences(counts, "grave")
    given = inspected(tmp_path / "c.npy", "--geometry", tmp_path / "g.json", "--white", 5000)
    assert given["values"] == "counts" and typed(given, "--white") == "5000"


def test_without_a_geometry_it_says_the_shortest_one_and_that_one_is_enough(inspected, tmp_path):
    np.save(tmp_path / "p.npy", lines_of(replace(CONE, offset=(0.0, 0.0))))
    alone = inspected(tmp_path / "p.npy")
    values = json.loads(alone["advice"][0]["type"])
    assert "scanner" not in alone and {name for name, value in values.items() if "?" in value} == {
        "pixel_mm",
        "source_axis_mm",
        "source_detector_mm",
    }
    values |= {"pixel_mm": [4, 4], "source_axis_mm": 300, "source_detector_mm": 450}
    (tmp_path / "g.json").write_text(json.dumps(values))
    found = inspected(tmp_path / "p.npy", "--geometry", tmp_path / "g.json")
    assert not sentences(found, "grave") and found["scanner"]["step_deg"] == pytest.approx(9)


def test_projections_and_a_geometry_that_do_not_belong_together_are_both_described(inspected, tmp_path):
    np.save(tmp_path / "p.npy", lines_of(CONE)[:-1])
    write_geometry(CONE, tmp_path / "g.json")
    found = inspected(tmp_path / "p.npy", "--geometry", tmp_path / "g.json")
    assert found["shape"] == [39, 3, 64] and "40" in sentences(found, "grave")


@pytest.mark.parametrize("flips", [(False, False), (True, False), (True, True)])
def test_a_geometry_becomes_our_json_with_all_that_it_says(coslice, tmp_path, flips):
    geometry = ParallelBeam((0.1, 0.2, 0.3), (3, 5), (1.0, 2.0), (0.5, 1.0))
    grid = Grid((3, 4, 4), (1.0, 2.0, 2.0))
    write_geometry(geometry, tmp_path / "a.json", grid, flip_rows=flips[0], flip_columns=flips[1], white=60000.0)
    code, said, _ = coslice("inspect", tmp_path / "a.json", "--as-json", tmp_path / "b.json")
    assert code == 0 and "Parallel beam, 3 views" in said
    a, b = (read_geometry(tmp_path / name) for name in ("a.json", "b.json"))
    assert replace(a, notes=()) == replace(b, notes=())
    assert (b.flip_rows, b.flip_columns, b.white, b.grid) == (*flips, 60000.0, grid)
    code, _, error = coslice("inspect", tmp_path / "a.json", "--as-json", tmp_path / "b.json")
    assert code == 2 and "--overwrite" in error


def stored(tmp_path, array, affine, qform=None):
    image = nibabel.Nifti1Image(array.astype(np.float32), affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine if qform is None else qform, code=1)
    nibabel.save(image, tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


@pytest.mark.parametrize("head_first", [False, True])
def test_a_scan_says_where_it_is_and_at_which_end_its_file_begins(coslice, tmp_path, head_first):
    affine = np.diag((4.0, 4.0, -2.0 if head_first else 2.0, 1.0))
    affine[2, 3] = 30.0 if head_first else 0.0
    hu = ball().transpose(2, 1, 0)
    path = stored(tmp_path, hu[..., ::-1] if head_first else hu, affine)
    code, said, _ = coslice("inspect", path)
    words = " ".join(said.split())
    assert code == 0 and "from 0.00 mm (feet) to 30.00 mm (head)" in words
    assert f"begins at the {'head' if head_first else 'feet'}" in words


def test_sform_and_qform_apart_are_a_doubt_in_mm(inspected, tmp_path):
    affine, other = np.diag((4.0, 4.0, 2.0, 1.0)), np.diag((4.0, 4.0, 2.0, 1.0))
    other[1, 3] = 12.5
    found = inspected(stored(tmp_path, ball().transpose(2, 1, 0), affine, other))
    assert found["qform_apart_mm"] == pytest.approx(12.5) and "12.5 mm apart" in sentences(found)


@pytest.mark.parametrize(("axis", "name"), [(0, "x"), (1, "y"), (2, "z")])
def test_thick_slices_are_found_with_their_factor(inspected, tmp_path, axis, name):
    spacing = [1.5, 1.5, 1.5]
    spacing[axis] = 6.0
    rng = np.random.default_rng(0)
    found = inspected(stored(tmp_path, rng.uniform(5, 900, (12, 14, 16)), np.diag((*spacing, 1.0))))
    assert (found["thick"]["axis"], found["thick"]["factor"], found["thick"]["spacing_mm"]) == (name, 4.0, 1.5)
    assert typed(found, "--task") == "zsr" and found["priors"] == ["mr"]


def test_values_that_are_not_what_they_seem_are_said(inspected, tmp_path):
    hu, affine = ball().transpose(2, 1, 0), np.diag((4.0, 4.0, 2.0, 1.0))
    plain = inspected(stored(tmp_path, hu, affine))
    assert plain["values"]["hounsfield"] and plain["modality"] == "ct" and plain["window"] == [-1000, 1600]
    unit = inspected(stored(tmp_path, (hu + 1000) / 2600, affine))
    assert not unit["values"]["hounsfield"] and "--values 0:1=-1000:1600" in sentences(unit, "warning")
    mask = inspected(stored(tmp_path, hu > -500, affine))
    assert "mask" in sentences(mask, "grave")


def test_peaks_of_a_histogram_are_named_in_hu_only():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(-1000, 15, 5000), rng.normal(-90, 15, 1000), rng.normal(50, 15, 2000)])
    found = dict(recognised_peaks(values, CT_WINDOW))
    assert set(found) == {"air", "fat", "soft tissue"}
    assert all(abs(found[name] - hu) < 20 for name, hu in (("air", -1000), ("fat", -90), ("soft tissue", 50)))
    assert recognised_peaks(values, Window(0, 1, "a.u.")) == ()


def test_a_file_of_arrays_a_prior_and_a_run_are_described(inspected, tmp_path, tiny_prior):
    np.savez(tmp_path / "some.npz", a=np.zeros((3, 4, 5), np.float32), b=np.ones((2, 4, 5), np.uint16))
    arrays = inspected(tmp_path / "some.npz")["arrays"]
    assert {(one["name"], tuple(one["shape"]), one["type"]) for one in arrays} == {
        ("a", (3, 4, 5), "float32"),
        ("b", (2, 4, 5), "uint16"),
    }
    assert inspected(tiny_prior)["card"]["name"] == "tiny" and inspected("ct")["kind"] == "prior"
    run = {
        "study": {"task": "svct", "shape": [3, 4, 5], "spacing_mm": [1, 2, 2], "window": {"low": 0, "high": 1}},
        "methods": {"sirt": {"title": "SIRT"}},
        "seconds": {"sirt": {"a": 1.5, "b": 2.0}},
    }
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text(json.dumps(run))
    said = inspected(tmp_path / "out")["said"][0]["sentence"]
    assert "3 x 4 x 5 voxels" in said and "by SIRT in 3.5 s" in said


@pytest.mark.parametrize("content", [b"Dear reader,", b"{}", b"", b"\x00" * 600])
def test_what_is_none_of_these_is_refused_with_all_that_it_could_be(refused, tmp_path, content):
    path = tmp_path / "letter.txt"
    path.write_bytes(content)
    assert "inspect knows a scan" in refused("inspect", path)
    assert "does not exist" in refused("inspect", tmp_path / "nothing")
    assert "inspect knows" in refused("inspect", tmp_path).replace("What inspect", "inspect")


def test_nothing_is_written_without_out_and_nothing_replaced_unasked(coslice, refused, tmp_path, scan, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert coslice("inspect", scan)[0] == 0 and not list(tmp_path.iterdir())
    assert coslice("inspect", scan, "--out", "a.png")[0] == 0
    first = (tmp_path / "a.png").read_bytes()
    assert first.startswith(b"\x89PNG") and "--overwrite" in refused("inspect", scan, "--out", "a.png")
    assert coslice("inspect", DATA / "nikon" / "radiogram.xtekct", "--out", "page")[0] == 0
    assert {one.name for one in (tmp_path / "page").iterdir()} == {"picture.png", "inspection.txt", "inspection.json"}
    assert coslice("inspect", scan, "--out", "a.png", "--overwrite")[0] == 0
    assert (tmp_path / "a.png").read_bytes() == first


@pytest.mark.parametrize("shape", [(181, 2, 640), (720, 512, 512), (3000, 2000, 2000), (1, 4000, 4000), (60, 1, 70)])
def test_what_is_looked_at_is_bounded(shape):
    views, block = blocks_to_look_at(*shape)
    rows, columns = (n // b for n, b in zip(shape[1:], block or (1, 1), strict=True))
    assert 1 <= views <= shape[0] and columns >= min(shape[2], 192)
    assert views * rows * columns <= 12_000_000 or (views <= 48 and columns < 2 * 192)
    assert views * shape[1] * shape[2] <= 300_000_000 or views <= 48


def test_every_scanner_is_drawn_with_its_source_where_it_is():
    fan = FanBeam(CONE.angles, (3, 64), (4.0, 4.0), source_axis=300.0, axis_detector=150.0)
    for geometry in (fan, ParallelBeam((0.0, 1.0), (3, 5), (1.0, 2.0)).to_orbit()):
        assert scanner_picture(geometry, None).startswith(b"\x89PNG")
    sources, detector, rays = from_above(CONE.to_orbit())
    again, same, _ = from_above(CONE)
    assert np.allclose(sources, again) and np.allclose(detector, same) and np.allclose(sources[0], (300, 0))
    # the central ray falls 10 mm beside the detector's middle, 150 mm behind the axis
    assert np.allclose(detector.mean(0), (-150, 10)) and np.allclose(rays[0][1], detector[0])
