"""RTK's XML, against what itk-rtk itself projected of a phantom without symmetry: see tests/data/rtk/make.py."""

from pathlib import Path

import numpy as np
import pytest
import torch

from coslice import CosliceError
from coslice.geometry import ConeBeam, Grid, Orbit, ParallelBeam
from coslice.io.geometry_files import read_geometry
from coslice.operators import Projector
from geometry_laws import circle_of, stored_rays, written

RTK = Path(__file__).parents[1] / "data" / "rtk"
KINDS = {"circle": ConeBeam, "free": Orbit, "parallel": ParallelBeam}


@pytest.fixture(scope="module")
def made():
    with np.load(RTK / "projections.npz") as content:
        return dict(content)


def read(made, name, path=None, shape=None, **changes):
    facts = {"pixel": tuple(made["pixel"]), "origin": tuple(made["origin"])} | changes
    return read_geometry(path or RTK / f"{name}.xml", shape or made[name].shape, **facts)


@pytest.mark.parametrize("name", list(KINDS))
def test_projections_of_rtk_are_ours(made, name):
    """To 0.05 %, which is how they were rounded; any one value with a wrong sign is off by 1.9 % or more."""
    scanner = read(made, name)
    assert isinstance(scanner.geometry, KINDS[name])
    volume = torch.from_numpy(made["volume"].astype(np.float32).transpose(1, 2, 0).copy())
    z, y, x = made["spacing"]
    volume_shape = volume.shape[0], volume.shape[1], volume.shape[2]
    ours = Projector(scanner.geometry, Grid(volume_shape, (y, x, z))).forward(volume).numpy()
    theirs = made[name].astype(np.float32)
    assert np.linalg.norm(ours - theirs) < 5e-4 * np.linalg.norm(theirs)


@pytest.mark.parametrize("name", list(KINDS))
def test_the_matrix_says_what_the_parameters_say(made, name, tmp_path):
    """A file of matrices alone gives the same rays."""
    lines = (RTK / f"{name}.xml").read_text().splitlines()
    tags = ("xml", "RTK", "/RTK", "Projection>", "/Projection>", "Matrix", "/Matrix", "!DOCTYPE")
    bare = [line for line in lines if "<" not in line or line.strip().lstrip("<?").startswith(tags)]
    matrices = read(made, name, written(tmp_path, "\n".join(bare), "matrices.xml"))
    parameters = read(made, name)
    for view in range(6):
        (a, along), (b, other) = stored_rays(matrices, view), stored_rays(parameters, view)
        assert np.abs(np.cross(along, other)).max() < 1e-6
        assert np.abs(np.cross(a - b, along)).max() < 1e-3


def test_without_an_origin_the_detector_is_centred_and_it_is_said(made):
    scanner = read(made, "circle", origin=None)
    assert circle_of(scanner).offset == (-4.0, 12.0)
    assert any("origin of RTK's projections is not known" in note for note in scanner.notes)
    assert circle_of(read(made, "circle")).offset == (-4.0 + 2.5, 12.0 - 9.0)


HEAD = '<?xml version="1.0"?>\n<!DOCTYPE RTKGEOMETRY>\n<RTKThreeDCircularGeometry version="{}">'
DISTANCES = "<SourceToIsocenterDistance>500</SourceToIsocenterDistance>"
DISTANCES += "<SourceToDetectorDistance>800</SourceToDetectorDistance>"


def xml(inside, version=3, head=HEAD):
    return head.format(version) + inside + "</RTKThreeDCircularGeometry>"


def test_a_value_stays_until_it_is_given_again(made, tmp_path):
    """As RTK reads: a projection that leaves one out has that of the one before; <Angle> is the old word."""
    inside = DISTANCES + "<Projection><Angle>10</Angle><ProjectionOffsetX>3</ProjectionOffsetX></Projection>"
    inside += "<Projection><Angle>20</Angle></Projection>"
    scanner = read(made, "", written(tmp_path, xml(inside, version=2), "g.xml"), (2, 5, 6), origin=None)
    assert circle_of(scanner).offset == (0.0, 3.0)
    assert np.degrees(circle_of(scanner).angles) == pytest.approx((10, 20))


def test_a_detector_turned_by_half_a_turn_is_stored_backwards(made, tmp_path):
    inside = DISTANCES + "<InPlaneAngle>180</InPlaneAngle>" + "<Projection></Projection>"
    scanner = read(made, "", written(tmp_path, xml(inside), "g.xml"), (1, 5, 6), origin=None)
    assert isinstance(scanner.geometry, ConeBeam)
    assert (scanner.flip_rows, scanner.flip_columns) == (True, True)


MATRIX = "<Matrix>-800 0 0 0  0 -800 0 0  0 0 1 -400</Matrix>"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (xml(DISTANCES), "no <Projection>"),
        (xml("<Projection><GantryAngle>1</GantryAngle></Projection>"), "SourceToIsocenterDistance is missing"),
        (xml(DISTANCES + "<Projection><GantryAngle>one</GantryAngle></Projection>"), "1 finite number needed"),
        (xml(DISTANCES + "<Projection><GantryAngle>inf</GantryAngle></Projection>"), "1 finite number needed"),
        (xml(DISTANCES + "<Projection><Gantry>1</Gantry></Projection>"), "<Gantry> is not known"),
        (xml("<RadiusCylindricalDetector>800</RadiusCylindricalDetector>"), "cylinder of radius 800 mm"),
        (xml(DISTANCES + f"<Projection><GantryAngle>0</GantryAngle>{MATRIX}</Projection>"), "contradict each other"),
        (xml(f"<Projection><Matrix>{'0 ' * 12}</Matrix></Projection>"), "projects nothing"),
        (xml(DISTANCES + "<Projection/>" * 2), "describes 2 views, but the projections have 1"),
        (xml(DISTANCES + "<Projection/>", version=4), "version 4"),
        (xml(DISTANCES)[:-9], "damaged XML"),
        ("<html></html>", "only RTK's"),
        (xml("&a;", head="<!DOCTYPE x [<!ENTITY a 'b'>]>" + HEAD[22:]), "document type with definitions"),
        (xml("", head='<!DOCTYPE x SYSTEM "file:///etc/passwd">' + HEAD[22:]), "document type with definitions"),
    ],
)
def test_what_cannot_be_read_is_refused(made, tmp_path, text, words):
    with pytest.raises(CosliceError, match=words):
        read(made, "", written(tmp_path, text, "g.xml"), (1, 5, 6))


def test_pixels_are_needed(made):
    with pytest.raises(CosliceError, match="how large the detector's pixels are; give the pixel size, or"):
        read(made, "circle", pixel=None)
