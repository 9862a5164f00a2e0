"""Scanners' files and packs in which one value after the other is something else than it should be."""

import copy
import json
import re
import shutil

import pytest
from malformed import Malformed, flipped, read_here, truncated

from coslice.io.geometry_files import read_geometry
from coslice.training.collection.pack import open_pack, split

pytestmark = pytest.mark.faults

ANYTHING = (None, 0, -1, 0.5, -1e308, 1e308, 1e13, 10**9, 10**30, float("nan"), float("inf"), "", "x", "9" * 5000, [])
ANYTHING += ({}, [1], [[1, 2], [3]], True, "\x1b[31m", {"start": 0, "step": 0, "views": 10**9}, "../evil", [[[[[]]]]])
WORDS = ("", "x", "nan", "-inf", "0", "-1", "1e308", "1e-308", "1000000000", "9" * 5000, "1 2", "\x00", "1e13")
GRID = {"shape": [4, 12, 12], "spacing_mm": [1, 1, 1], "centre_mm": [0, 0, 0]}
JSON = {
    "cone": {
        "type": "cone",
        "angles_deg": {"start": 0, "arc": 360, "views": 5},
        "pixel_mm": [0.2, 0.2],
        "white": 1000,
        "source_axis_mm": 500,
        "source_detector_mm": 1000,
        "offset_mm": [0, 1],
        "detector": [4, 12],
        "grid": GRID,
    },
    "orbit": {
        "type": "orbit",
        "detector": [4, 12],
        "source_mm": [[500, 0, 0], [0, 500, 0]],
        "detector_centre_mm": [[-500, 0, 0], [0, -500, 0]],
        "row_step_mm": [[0, 0, 1], [0, 0, 1]],
        "column_step_mm": [[0, 1, 0], [-1, 0, 0]],
    },
    "astra": {
        "type": "cone",
        "DetectorSpacingX": 1,
        "DetectorSpacingY": 1,
        "DetectorRowCount": 4,
        "DetectorColCount": 12,
        "ProjectionAngles": [0, 1, 2],
        "DistanceOriginSource": 500,
        "DistanceOriginDetector": 500,
    },
    "tigre": {
        "DSD": 1000,
        "DSO": 500,
        "nDetector": [4, 12],
        "dDetector": [1, 1],
        "nVoxel": [4, 12, 12],
        "mode": "cone",
        "dVoxel": [1, 1, 1],
        "angles": [0, 1, 2],
        "offDetector": [0, 0],
        "offOrigin": [0, 0, 0],
        "COR": 0,
    },
}
TEXT = {
    "nikon.xtekct": "[XTekCT]\nProjections=5\nAngularStep=72\nDetectorPixelsX=12\nDetectorPixelsY=4\n"
    "DetectorPixelSizeX=0.2\nDetectorPixelSizeY=0.2\nSrcToObject=500\nSrcToDetector=1000\nInitialAngle=3\n"
    "CentreOfRotationTop=0\nVoxelsX=12\nVoxelsY=12\nVoxelsZ=4\nVoxelSizeX=1\nVoxelSizeY=1\nVoxelSizeZ=1\n"
    "WhiteLevel=60000\nObjectRoll=0\nObjectTilt=0\nDetectorOffsetX=0\n",
    "leap.txt": "geometry=cone\nnumAngles = 5\nnumRows = 4\nnumCols = 12\npixelHeight = 1\npixelWidth = 1\nsod = 500\n"
    "angularRange = 360\nsdd = 1000\ncenterRow=1.5\ncenterCol=5.5\ntau=0\nhelicalPitch=0\nnumX=12\nnumY=12\nnumZ=4\n"
    "voxelWidth=1\nvoxelHeight=1\n",
    "rtk.xml": '<?xml version="1.0"?>\n<!DOCTYPE RTKGEOMETRY>\n<RTKThreeDCircularGeometry version="3">\n'
    "<SourceToIsocenterDistance>500</SourceToIsocenterDistance>\n"
    "<SourceToDetectorDistance>1000</SourceToDetectorDistance>\n"
    "<Projection><GantryAngle>0</GantryAngle></Projection>\n<Projection><GantryAngle>90</GantryAngle>"
    "<ProjectionOffsetX>3</ProjectionOffsetX></Projection></RTKThreeDCircularGeometry>\n",
}
DEEP = 200_000
ODD = {
    "deep.json": '{"a":' * DEEP,
    "list.json": '{"angles_deg":' + "[" * DEEP + "]" * DEEP + "}",
    "deep.yaml": "a: " + "[" * 3000,
    "dashes.yaml": "- " * 20000,
    "deep.xml": "<a>" * DEEP + "</a>" * DEEP,
    "entities.xml": '<!DOCTYPE l [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><RTKThreeDCircularGeometry>&b;</a>',
    "digits.json": '{"type":"cone","white":' + "9" * 100_000 + "}",
    "aliases.yaml": "a: &a [1,1,1,1]\nb: &b [*a,*a,*a,*a]\nc: [*b,*b,*b,*b]\n",
    "dates.yaml": "nDetector: 2024-02-30\nDSD: !!int x\n",
    "fetch.xml": '<!DOCTYPE RTKGEOMETRY SYSTEM "file:///etc/passwd"><RTKThreeDCircularGeometry/>',
    "long.xtekct": "[xtekct]\n" + "a=b\n" * 100_000,
    "twice.xtekct": "[xtekct]\n[xtekct]\n",
    "key.json": '{"type":"cone","' + "x" * 9000 + '":1}',
}


def places(value, path=()):
    """Paths of all values within a value."""
    if path:
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inside:
        yield from places(below, (*path, key))


def changed(record):
    """(path and value, the record) with one value after the other replaced or left out."""
    for path in places(record):
        for value in (*ANYTHING, ...):
            found = copy.deepcopy(record)
            inner = found
            for key in path[:-1]:
                inner = inner[key]
            if value is ...:
                del inner[path[-1]]
            else:
                inner[path[-1]] = value
            yield f"{path} = {str(value)[:30]}", found


def read_both(path):
    """By itself, and for a recording."""
    read_geometry(path, (5, 4, 12), pixel=(1.0, 1.0))
    read_geometry(path)


@pytest.mark.parametrize("kind", JSON)
def test_a_scanner_in_json(tmp_path, kind):
    def made():
        for name, found in changed(JSON[kind]):
            yield Malformed(name, {"g.json": json.dumps(found).encode()}, "g.json")

    count, wrong = read_here(read_both, made(), tmp_path)
    assert not wrong, wrong
    assert count > 250


@pytest.mark.parametrize("name", TEXT)
def test_a_scanner_in_text(tmp_path, name):
    def made():
        text = TEXT[name]
        for number in re.finditer(r"-?\d+(\.\d+)?", text):
            for word in WORDS:
                found = text[: number.start()] + word + text[number.end() :]
                yield Malformed(f"{word[:20]!r} at {number.start()}", {name: found.encode()}, name)
        cuts = truncated(text.encode(), [n / 20 for n in range(20)])
        for what, found in (*cuts, *flipped(text.encode(), range(60), 999)):
            yield Malformed(what, {name: found}, name)

    count, wrong = read_here(read_both, made(), tmp_path)
    assert not wrong, wrong
    assert count > 150


@pytest.mark.parametrize("name", ODD)
def test_a_scanner_nested_or_huge(trials, tmp_path, name):
    (tmp_path / name).write_text(ODD[name])
    trials.tried("inspect", tmp_path / name).refused()


def test_a_pack_of_a_stranger(tmp_path, small_pack):
    record = json.loads((small_pack / "pack.json").read_text())
    content = {file.name: file.read_bytes() for file in small_pack.iterdir()}

    def made():
        for name, found in changed(record):
            yield Malformed(name, {**content, "pack.json": json.dumps(found).encode()}, "pack.json")

    def read(path):
        pack = open_pack(path.parent)
        pack.summary()
        split(pack, 0.5)
        for name in pack.names:
            pack.slices(name).sum()

    count, wrong = read_here(read, made(), tmp_path)
    assert not wrong, wrong
    assert count > 500
    assert not list(tmp_path.parent.rglob("evil*"))
    shutil.rmtree(small_pack)
