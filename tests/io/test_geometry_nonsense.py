"""Nonsense in the place of any value of any format is a sentence, never a traceback."""

import json
from contextlib import suppress
from pathlib import Path

import pytest

from coslice import CosliceError
from coslice.io.geometry_files import read_geometry
from geometry_laws import written

NONSENSE = (None, "x", True, [], {}, [[]], -1, 0, float("nan"), [[1, 2], [3]], 10**400)
OWN = {"type": "cone", "angles_deg": [0, 1], "pixel_mm": [1, 2], "source_axis_mm": 5, "axis_detector_mm": 5}
OWN |= {"detector": [3, 4], "offset_mm": [0, 0], "rotation": "clockwise", "rows": "up", "columns": "left", "white": 1}
OWN |= {"grid": {"shape": [1, 2, 3], "spacing_mm": 1, "centre_mm": [0, 0, 0]}}
ORBIT = {"type": "orbit", "source_mm": [[9, 0, 0]], "detector_centre_mm": [[-9, 0, 0]], "row_step_mm": [[0, 0, 1]]}
ORBIT |= {"column_step_mm": [[0, 1, 0]], "detector": [3, 4]}
ASTRA = {"type": "cone", "DetectorSpacingX": 1, "DetectorSpacingY": 1, "DetectorRowCount": 3, "DetectorColCount": 4}
ASTRA |= {"ProjectionAngles": [0, 1], "DistanceOriginSource": 5, "DistanceOriginDetector": 5, "option": {}}
VECTORS = {"type": "cone_vec", "DetectorRowCount": 3, "DetectorColCount": 4, "Vectors": [[9, 0, 0, -9, 0, 0] + [1] * 6]}
BOTH = {"projection": ASTRA, "volume": {"GridRowCount": 1, "GridColCount": 2, "GridSliceCount": 3, "option": {}}}
TIGRE = {"DSD": 9, "DSO": 5, "nDetector": [3, 4], "dDetector": [1, 1], "nVoxel": [3, 4, 5], "dVoxel": [1, 1, 1]}
TIGRE |= {"offOrigin": [0, 0, 0], "offDetector": [0, 0], "COR": 1, "rotDetector": [0, 0, 0], "angles": [0, 1]}
LEAP = {"geometry": "cone", "numAngles": 2, "numRows": 3, "numCols": 4, "pixelHeight": 1, "pixelWidth": 1, "tau": 1}
LEAP |= {"centerRow": 1, "centerCol": 1, "phis": "0, 1", "sod": 5, "sdd": 9, "helicalPitch": 1, "tiltAngle": 1}
LEAP |= {"numX": 3, "numY": 3, "numZ": 3, "voxelWidth": 1, "voxelHeight": 1, "offsetX": 0, "offsetY": 0, "offsetZ": 0}
MAPPINGS = {"own": OWN, "orbit": ORBIT, "vectors": VECTORS, "both": BOTH, "tigre": TIGRE}

USED = ("Projections", "DetectorPixel", "Src", "Angular", "CentreOfRotationTop", "VoxelsX")


def tried(path):
    with suppress(CosliceError):
        read_geometry(path, (2, 3, 4), pixel=(1, 1))


def places(values, at=()):
    """The ways to every value in a tree of mappings."""
    for key, value in values.items():
        yield (*at, key)
        if isinstance(value, dict):
            yield from places(value, (*at, key))


def replaced(values, at, nonsense):
    return values | {at[0]: nonsense if len(at) == 1 else replaced(values[at[0]], at[1:], nonsense)}


@pytest.mark.parametrize("name", list(MAPPINGS))
def test_in_mappings(tmp_path, name):
    for at in places(MAPPINGS[name]):
        for nonsense in NONSENSE:
            tried(written(tmp_path, replaced(MAPPINGS[name], at, nonsense)))


@pytest.mark.parametrize("name", ["leap", "nikon"])
def test_in_lists_of_names(tmp_path, name):
    nikon = (Path(__file__).parents[1] / "data" / "nikon" / "radiogram.xtekct").read_text()
    text = "\n".join(f"{k} = {v}" for k, v in LEAP.items()) if name == "leap" else nikon.replace("3142", "2")
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if name == "nikon" and not line.startswith(USED):
            continue
        for nonsense in ("", "x", "1 2", "-1", "0", "1e300"):
            changed = [*lines[:number], f"{line.partition('=')[0]}= {nonsense}", *lines[number + 1 :]]
            tried(written(tmp_path, "\n".join(changed), "file.txt"))
        tried(written(tmp_path, "\n".join([*lines[:number], *lines[number + 1 :]]), "file.txt"))


def test_a_file_that_breaks_off(tmp_path):
    """Wherever it ends."""
    rtk = (Path(__file__).parents[1] / "data" / "rtk" / "free.xml").read_text()
    for text in (rtk, json.dumps(OWN), json.dumps(BOTH), json.dumps(TIGRE)):
        for end in range(0, len(text), max(len(text) // 20, 1)):
            tried(written(tmp_path, text[:end], "file.txt"))
