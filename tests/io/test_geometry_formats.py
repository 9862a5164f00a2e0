"""ASTRA, Nikon, LEAP and TIGRE: every stored pixel's ray is where the format's published formulas put it."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from coslice import CosliceError
from coslice.geometry import ConeBeam, FanBeam, Grid, Orbit, ParallelBeam, sparse_view
from coslice.io.geometry_files import from_astra, from_tigre, read_geometry, to_astra
from geometry_laws import assert_cone, assert_parallel, circle_of, stored_rays, written

NIKON = Path(__file__).parents[1] / "data" / "nikon"
ANGLES = (0.3, 1.4, 2.9, 4.4)


def level(angle, along, across, z=0.0):
    """`along` (cos, sin) + `across` (-sin, cos)."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array((along * c - across * s, along * s + across * c, z))


# ASTRA

CONE = {"type": "cone", "DetectorSpacingX": 1.5, "DetectorSpacingY": 2.0, "DetectorRowCount": 5, "DetectorColCount": 8}
CONE |= {"ProjectionAngles": list(ANGLES), "DistanceOriginSource": 400.0, "DistanceOriginDetector": 250.0}
VOLUME = {"GridRowCount": 6, "GridColCount": 8, "GridSliceCount": 4}


def astra_vectors(angle, first, centre, du, dv):
    """A row of Vectors as ASTRA's `geom_2vec` makes it: s*sin, -s*cos and so on."""
    sine, cosine = math.sin(angle), math.cos(angle)
    return [sine * first, -cosine * first, 0, -sine * centre, cosine * centre, 0, cosine * du, sine * du, 0, 0, 0, dv]


def astra_pixel(rows, view, row, column, size=(5, 8)):
    vectors = np.array(rows[view])
    return vectors[3:6] + (column - (size[1] - 1) / 2) * vectors[6:9] + (row - (size[0] - 1) / 2) * vectors[9:12]


@pytest.mark.parametrize("kind", ["cone", "cone_vec"])
def test_astras_cone_is_its_vectors(tmp_path, kind):
    rows = [astra_vectors(angle, 400.0, 250.0, 1.5, 2.0) for angle in ANGLES]
    values = CONE if kind == "cone" else {"type": kind, "DetectorRowCount": 5, "DetectorColCount": 8, "Vectors": rows}
    scanner = read_geometry(written(tmp_path, values), shape=(4, 5, 8))
    assert isinstance(scanner.geometry, ConeBeam)
    assert (scanner.flip_rows, scanner.flip_columns) == (False, False)
    assert_cone(scanner, 4, lambda view: rows[view][:3], lambda *at: astra_pixel(rows, *at))
    assert any('"rvc"' in note for note in scanner.notes)


@pytest.mark.parametrize("kind", ["parallel3d", "parallel3d_vec"])
def test_astras_parallel_rays_are_its_vectors(kind):
    rows = [astra_vectors(angle, 1.0, 0.0, 1.5, 2.0) for angle in ANGLES]
    values = {key: value for key, value in CONE.items() if "Distance" not in key} | {"type": kind}
    scanner = from_astra(values if kind == "parallel3d" else values | {"Vectors": rows})
    assert isinstance(scanner.geometry, ParallelBeam)
    assert_parallel(scanner, 4, lambda view: rows[view][:3], lambda *at: astra_pixel(rows, *at))


@pytest.mark.parametrize("kind", ["fanflat", "fanflat_vec", "parallel", "parallel_vec"])
def test_astras_flat_geometries_hold_for_every_slice(kind):
    fan = kind.startswith("fan")
    rows = [astra_vectors(angle, 400.0 if fan else 1.0, 250.0 if fan else 0.0, 1.5, 0.0) for angle in ANGLES]
    values = {"type": kind, "DetectorCount": 8, "DetectorWidth": 1.5, "ProjectionAngles": ANGLES}
    values |= {"DistanceOriginSource": 400.0, "DistanceOriginDetector": 250.0}
    if kind.endswith("_vec"):
        values = {"type": kind, "DetectorCount": 8, "Vectors": np.array(rows)[:, (0, 1, 3, 4, 6, 7)]}
    scanner = from_astra(values, shape=(4, 3, 8))
    step = 1.5 * 400 / 650 if fan else 1.5
    assert isinstance(scanner.geometry, FanBeam if fan else ParallelBeam)
    assert circle_of(scanner).detector == (3, 8)
    assert any(f"{step:.4g} mm, as the columns, is assumed" in note for note in scanner.notes)

    def pixel(view, row, column):
        flat = astra_pixel([[*rows[view][:9], 0, 0, step]], 0, row, column, (3, 8))
        return flat

    if not fan:
        assert_parallel(scanner, 4, lambda view: rows[view][:3], pixel)
        return
    for row in range(3):
        point, _ = stored_rays(scanner, 1)
        source = [*rows[1][:2], (row - 1) * step]
        assert point[row, 2] == pytest.approx(source)
        assert np.linalg.norm(np.cross(pixel(1, row, 2) - source, stored_rays(scanner, 1)[1][row, 2])) < 1e-6


def test_astras_volume_is_the_grid(tmp_path):
    option = {"WindowMinX": -8.0, "WindowMaxX": 8.0, "WindowMinY": -10.0, "WindowMaxY": 2.0}
    option |= {"WindowMinZ": -1.0, "WindowMaxZ": 5.0}
    scanner = read_geometry(written(tmp_path, {"projection": CONE, "volume": VOLUME | {"option": option}}))
    assert scanner.grid == Grid((4, 6, 8), (1.5, 2.0, 2.0), (2.0, -4.0, 0.0))
    assert from_astra(CONE, VOLUME).grid == Grid((4, 6, 8))


@pytest.mark.parametrize(
    "geometry",
    [
        ConeBeam(ANGLES, (3, 4), (1.0, 2.0), source_axis=300.0, axis_detector=100.0),
        ConeBeam(ANGLES, (3, 4), (1.0, 2.0), (5.0, -30.0), source_axis=300.0, axis_detector=100.0),
        ParallelBeam(ANGLES, (3, 4), (1.0, 2.0)),
        ParallelBeam(ANGLES, (3, 4), (1.0, 2.0), (0.5, 3.0)),
        FanBeam(ANGLES, (1, 4), (1.0, 2.0), source_axis=300.0, axis_detector=100.0),
        FanBeam(ANGLES, (1, 4), (1.0, 2.0), (0.0, 7.0), source_axis=300.0, axis_detector=100.0),
        Orbit(((9.0, 1, 2), (8, 2, 1)), ((-9.0, 0, 1), (-8, 1, 0)), ((0.0, 0, 1),) * 2, ((0.0, 1, 0),) * 2, (3, 4)),
    ],
)
def test_to_astra_and_back_has_the_same_rays(geometry):
    values = json.loads(json.dumps(to_astra(geometry)))
    back = from_astra(values, shape=geometry.shape)
    assert type(back.geometry) is type(geometry)
    for view in range(geometry.views):
        (a, along), (b, other) = stored_rays(back, view), stored_rays(SimpleScanner(geometry), view)
        assert np.abs(np.cross(along, other)).max() < 1e-9
        assert np.abs(np.cross(a - b, along)).max() < 1e-6


def SimpleScanner(geometry):
    return SimpleNamespace(geometry=geometry, flip_rows=False, flip_columns=False)


@pytest.mark.parametrize(
    ("change", "shape", "words"),
    [
        ({"type": "cyl_cone_vec"}, None, "choose one of cone, cone_vec"),
        ({"option": {"ExtraDetectorOffset": [1, 2, 3, 4]}}, None, "option ExtraDetectorOffset is not read"),
        ({}, (5, 4, 8), "so they may have to be read in that order, rvc"),
        ({}, (7, 5, 8), "describes 4 views, but the projections have 7"),
        ({"DetectorColCount": 8.5}, None, "a whole number from 1"),
        ({"DistanceOriginSource": None}, None, "DistanceOriginSource is missing"),
        ({"type": "cone_vec", "Vectors": [[1, 2, 3]]}, None, "12 numbers a view are needed"),
        ({"type": "cone_vec", "Vectors": [[9, 0, 0, -9, 0, 0, 0, 0, 0, 0, 0, 1]]}, None, "0 or parallel"),
    ],
)
def test_what_astra_cannot_mean_is_refused(change, shape, words):
    with pytest.raises(CosliceError, match=words):
        from_astra(CONE | change, shape=shape)


# Nikon

XTEKCT = {"Projections": 4, "InitialAngle": 20, "AngularStep": 90, "SrcToObject": 100, "SrcToDetector": 500}
XTEKCT |= {"DetectorPixelsX": 8, "DetectorPixelsY": 5, "DetectorPixelSizeX": 0.2, "DetectorPixelSizeY": 0.3}
XTEKCT |= {"VoxelsX": 8, "VoxelsY": 8, "VoxelsZ": 5, "VoxelSizeX": 0.04, "VoxelSizeY": 0.04, "VoxelSizeZ": 0.06}
XTEKCT |= {"WhiteLevel": 60000.0, "OffsetX": 0, "OffsetY": 0, "OffsetZ": 0}


def xtekct(folder, **changes):
    lines = [f"{key}={value}" for key, value in (XTEKCT | changes).items() if value is not None]
    return written(folder, "\r\n".join(["[XTekCT]", "Name=a", *lines, "[Xrays]", "XraykV=160"]), "scan.xtekct")


def cil(angle, vector):
    """CIL's frame (source at -y) turned as its conversion to ASTRA turns it, by InitialAngle + i AngularStep - 180."""
    turn = math.radians(angle - 180)
    c, s = math.cos(turn), math.sin(turn)
    return np.array(((c, -s, 0), (s, c, 0), (0, 0, 1))) @ np.array(vector)


@pytest.mark.parametrize("axis", [0.0, 0.05])
def test_nikon_is_as_cil_reads_it(tmp_path, axis):
    """Panel origin at the top right; the axis at -CentreOfRotation / magnification along x."""
    scanner = read_geometry(xtekct(tmp_path, CentreOfRotationTop=axis, CentreOfRotationBottom=axis), (4, 5, 8))
    aside = axis * 100 / 500

    def pixel(view, row, column):
        x, z = (3.5 - column) * 0.2, (2 - row) * 0.3
        return cil(20 + 90 * view, (x + aside, 400, z))

    # a displaced axis is an oblique detector, but here by far less than a tenth of a pixel
    assert isinstance(scanner.geometry, ConeBeam)
    assert_cone(scanner, 4, lambda view: cil(20 + 90 * view, (aside, -100, 0)), pixel, 1e-6 if axis == 0 else 1e-3)
    assert scanner.grid == Grid((5, 8, 8), (0.06, 0.04, 0.04))
    assert scanner.white == 60000
    assert (scanner.flip_rows, scanner.flip_columns) == (True, True)


def test_tigre_reads_nikon_as_the_same_scan_turned_over(tmp_path):
    """TIGRE: angles -(start + i step), rows upwards, columns as stored; CIL's world turned by half about an x there."""
    ours = read_geometry(xtekct(tmp_path), (4, 5, 8))
    angles = -np.radians(20 + 90 * np.arange(4))
    sizes = {"nDetector": (5, 8), "dDetector": (0.3, 0.2), "DSO": 100.0, "DSD": 500.0, "angles": angles}
    theirs = from_tigre(sizes)
    quarter = np.array(((0.0, 1, 0), (-1, 0, 0), (0, 0, 1)))  # CIL's start is a quarter turn on
    over = np.diag((1.0, -1, -1)) @ quarter
    for view in range(4):
        (a, along), (b, other) = stored_rays(ours, view), stored_rays(theirs, view)
        assert np.abs(np.cross(along @ over.T, other)).max() < 1e-9
        assert np.abs(np.cross(a @ over.T - b, other)).max() < 1e-6


def test_an_axis_that_leans_is_a_free_orbit(tmp_path):
    scanner = read_geometry(xtekct(tmp_path, CentreOfRotationTop=0.3, CentreOfRotationBottom=-0.3), (4, 5, 8))
    roll = -math.atan2(0.6, 5 * 0.3)  # of the axis, from z towards x seen from the source
    assert isinstance(scanner.geometry, Orbit)
    for view in range(4):  # the axis is z, and the detector's rows lean against it
        row = np.array(scanner.geometry.row_step[view])
        assert -row[2] / 0.3 == pytest.approx(math.cos(roll))
        assert scanner.geometry.source[view][2] == pytest.approx(0)
    assert any("conjugate gradients" in note for note in scanner.notes)


@pytest.mark.parametrize(("name", "to_axis"), [("radiogram", 76.7511959), ("settings", 76.7192516)])
def test_settings_of_a_real_scanner(name, to_axis):
    """Images of 2000 rows x 1500 columns; one of the files says 2000 columns."""
    scanner = read_geometry(NIKON / f"{name}.xtekct", (3142, 2000, 1500))
    geometry = scanner.geometry
    assert isinstance(geometry, ConeBeam)
    assert (geometry.detector, geometry.pixel, geometry.offset) == ((2000, 1500), (0.2, 0.2), (0.0, 0.0))
    assert geometry.source_axis == pytest.approx(to_axis)
    assert geometry.source_detector == pytest.approx(1127.464)
    assert math.degrees(geometry.angles[-1] - geometry.angles[0]) == pytest.approx(3141 * 0.11457670273711)
    assert scanner.white == 60000
    assert any("2000 rows x 2000 columns" in note for note in scanner.notes) == (name == "settings")


@pytest.mark.parametrize(("shape", "words"), [((4, 6, 9), "taken as a part"), ((4, 8, 5), "may lie on their side")])
def test_images_of_another_size_than_the_file_says(tmp_path, shape, words):
    scanner = read_geometry(xtekct(tmp_path), shape)
    assert circle_of(scanner).detector == shape[1:]
    assert any(words in note for note in scanner.notes)


HEADING = "Projs\tFrames\tExposure(ms)\n4\t1\t500\nProjection\tAngle(deg)\tTime(s)\n"


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("_ctdata.txt", HEADING + "1\t0.0\t1\n2\t91.0\t2\n3\t179.0\t3\n4\t-90.5\t4\n", (0, 91, 179, 269.5)),
        ("scan_ctdata.txt", HEADING + "1\t-5\t1\n2\t-96\t2\n3\t-185\t3\n4\t-275\t4\n", (0, 91, 180, 270)),
        ("scan.ang", "Projection: Angle\n1:271.0\n2:180.0\n3:90.0\n4:0.0\n", (0, 91, 181, 271)),
        ("scan.ang", "Projection: Angle\n1:5.0\n2:96.0\n", (0, 90, 180, 270)),
        ("scan_ctdata.txt", HEADING + "1\t0\t1\n2\t5\t2\n3\t10\t3\n4\t15\t4\n", (0, 90, 180, 270)),
        ("other_ctdata.txt", HEADING + "1\t0\t1\n2\t91\t2\n3\t180\t3\n4\t270\t4\n", (0, 90, 180, 270)),
    ],
)
def test_angles_measured_at_the_stage(tmp_path, file, text, expected):
    """They follow the sense of the even steps; a list that does not fit is passed over, and that is said."""
    (tmp_path / file).write_text(text)
    scanner = read_geometry(xtekct(tmp_path), (4, 5, 8))
    turned = np.degrees(np.array(circle_of(scanner).angles) - circle_of(scanner).angles[0])
    assert turned == pytest.approx(expected)
    assert any(file in note for note in scanner.notes) == (not file.startswith("other"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"SrcToObject": None}, "SrcToObject is missing; add it"),
        ({"SrcToObject": 600}, "not the larger one"),
        ({"AngularStep": 0}, "AngularStep is 0"),
        ({"Projections": 3142}, "describes 3142 views, but the projections have 4"),
        ({"Projections": 10**10}, "a whole number from 1"),
        ({"DetectorPixelSizeX": "wide"}, "finite numbers are needed"),
    ],
)
def test_what_nikon_cannot_mean_is_refused(tmp_path, change, words):
    with pytest.raises(CosliceError, match=words):
        read_geometry(xtekct(tmp_path, **change), (4, 5, 8))


# LEAP

LEAP = {"geometry": "CONE", "numAngles": 4, "numRows": 5, "numCols": 8, "pixelHeight": 0.3, "pixelWidth": 0.2}
LEAP |= {"centerRow": 1.0, "centerCol": 6.5, "phis": "0.0, 50.0, 120, 300", "sod": 100.0, "sdd": 500.0, "tau": 0.0}
LEAP |= {
    "numX": 8,
    "numY": 6,
    "numZ": 4,
    "voxelWidth": 0.1,
    "voxelHeight": 0.2,
    "offsetX": 1,
    "offsetY": 2,
    "offsetZ": 3,
}


def leap(folder, **changes):
    lines = [f"{key} = {value}" for key, value in (LEAP | changes).items() if value is not None]
    return written(folder, "\n".join(["# CT geometry parameters", *lines, ""]), "leap.txt")


def leap_ray(view, row, column, tau=0.0, tilt=0.0):
    """Source and pixel of LEAP's formula: R theta - tau theta_perp, then along -theta + u theta_perp + v z."""
    phi = math.radians((0.0, 50.0, 120.0, 300.0)[view] - 90)
    s, t = (column - 6.5) * 0.2, (row - 1.0) * 0.3
    c, d = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    return level(phi, 100, -tau), level(phi, 100 - 500, c * s - d * t - tau, d * s + c * t)


@pytest.mark.parametrize("moved", [{}, {"tau": 0.7}, {"tiltAngle": 3.0}, {"tau": -0.4, "tiltAngle": -2.0}])
def test_leaps_cone_is_its_formula(tmp_path, moved):
    scanner = read_geometry(leap(tmp_path, **moved), (4, 5, 8))
    tau, tilt = moved.get("tau", 0.0), moved.get("tiltAngle", 0.0)
    # a tilt about a centre that is not the middle: LEAP turns the axes, and shifts along the turned ones
    tolerance = 1e-6 if tilt or not tau else 2e-3
    assert isinstance(scanner.geometry, Orbit if tilt else ConeBeam)
    assert_cone(
        scanner,
        4,
        lambda view: leap_ray(view, 0, 0, tau, tilt)[0],
        lambda view, row, column: leap_ray(view, row, column, tau, tilt)[1],
        tolerance,
    )
    assert scanner.grid == Grid((4, 6, 8), (0.2, 0.1, 0.1), (3, 2, 1))


def test_leaps_parallel_rays_and_their_voxels(tmp_path):
    """Where rows are slices, LEAP's z begins with the first row: at -centerRow pixelHeight."""
    scanner = read_geometry(leap(tmp_path, geometry="parallel", phis=None, angularRange=180, offsetZ=0), (4, 5, 8))

    def pixel(view, row, column):
        return level(math.radians(45 * view - 90), 0, (column - 6.5) * 0.2, (row - 1) * 0.3)

    assert_parallel(scanner, 4, lambda view: level(math.radians(45 * view - 90), 1, 0), pixel)
    assert scanner.grid is not None
    assert scanner.grid.axis("z")[0] == pytest.approx(-0.3)


def test_leaps_old_words(tmp_path):
    text = "img_dimx = 8\nimg_dimy = 8\nimg_dimz = 5\nimg_pwidth = 1\nimg_pheight = 1\nproj_geometry = fan\n"
    text += "proj_arange = 360\nproj_nangles = 4\nproj_nrows = 5\nproj_ncols = 8\nproj_pheight = 1\nproj_pwidth = 2\n"
    text += "proj_crow = 2\nproj_ccol = 3.5\nproj_phis = \nproj_sod = 100\nproj_sdd = 150\n"
    scanner = read_geometry(written(tmp_path, text, "param.cfg"), (4, 5, 8))
    expected = sparse_view(4, start=-math.pi / 2)
    assert isinstance(scanner.geometry, FanBeam)
    assert circle_of(scanner).angles == pytest.approx(expected)
    assert (scanner.geometry.source_axis, scanner.geometry.axis_detector) == (100, 50)


def test_leaps_helix_climbs_per_radian(tmp_path):
    scanner = read_geometry(leap(tmp_path, helicalPitch=2.0), (4, 5, 8))
    heights = [float(scanner.geometry.rays(view)[0][0, 0, 2]) for view in range(4)]
    assert np.diff(heights) == pytest.approx(2.0 * np.radians((50, 70, 180)))
    assert heights[0] == pytest.approx(-heights[-1])


def test_leaps_modules(tmp_path):
    vectors = {"sourcePositions": "100 0 1 0 90 2", "moduleCenters": "-50 3 0 0 -60 0"}
    vectors |= {"rowVectors": "0 0 1 0 0 1", "colVectors": "0 1 0 -1 0 0"}
    scanner = read_geometry(leap(tmp_path, geometry="modular", numAngles=2, **vectors), (2, 5, 8))
    source, centre = ((100, 0, 1), (0, 90, 2)), ((-50, 3, 0), (0, -60, 0))
    across = ((0, 1, 0), (-1, 0, 0))

    def pixel(view, row, column):
        return np.array(centre[view]) + (column - 3.5) * 0.2 * np.array(across[view]) + (0, 0, (row - 2) * 0.3)

    assert_cone(scanner, 2, lambda view: source[view], pixel)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"detectorType": "CURVED"}, "the detector is curved"),
        ({"geometry": "cone_parallel"}, "choose one of cone, fan"),
        ({"phis": "0, 1"}, "numAngles is 4, but there are 2 phis"),
        ({"phis": None}, "has no angles, and neither do the projections"),
        ({"sdd": None}, "sdd is missing"),
        ({"geometry": "fan", "tau": 1}, "tau of a fan beam is not read"),
    ],
)
def test_what_leap_cannot_mean_is_refused(tmp_path, change, words):
    with pytest.raises(CosliceError, match=words):
        read_geometry(leap(tmp_path, **change), (4, 5, 8))


# TIGRE

TIGRE = {"DSD": 1500, "DSO": 1000, "nDetector": [5, 8], "dDetector": [2.0, 1.5], "nVoxel": [4, 6, 8]}
TIGRE |= {"sVoxel": [8.0, 6.0, 8.0], "offOrigin": [1.0, 2.0, 3.0], "offDetector": [-4.0, 30.0], "angles": list(ANGLES)}


def tigre_pixel(angle, row, column, aside=0.0):
    return level(angle, -500, (column - 3.5) * 1.5 + 30.0 + aside, (row - 2) * 2.0 - 4.0)


@pytest.mark.parametrize("form", ["json", "yaml", "object"])
def test_tigres_cone_is_its_formula(tmp_path, form):
    if form == "object":
        scanner = from_tigre(SimpleNamespace(**{key: np.array(value) for key, value in TIGRE.items()}))
    else:
        text = json.dumps(TIGRE) if form == "json" else "\n".join(f"{k}: {json.dumps(v)}" for k, v in TIGRE.items())
        scanner = read_geometry(written(tmp_path, text, f"g.{form}"), (4, 5, 8))
    assert isinstance(scanner.geometry, ConeBeam)
    assert_cone(scanner, 4, lambda view: level(ANGLES[view], 1000, 0), lambda v, *at: tigre_pixel(ANGLES[v], *at))
    assert scanner.grid == Grid((4, 6, 8), (2.0, 1.0, 1.0), (1.0, 2.0, 3.0))


def test_tigres_centre_of_rotation_moves_source_and_detector():
    scanner = from_tigre(TIGRE | {"COR": 25.0})

    def pixel(view, row, column):
        return tigre_pixel(ANGLES[view], row, column, 25.0)

    assert_cone(scanner, 4, lambda view: level(ANGLES[view], 1000, 25.0), pixel, 5e-3)


def test_tigres_detector_rolls_in_its_plane_by_yaw_about_the_beam():
    """Of (roll, pitch, yaw), Rz(roll) Ry(pitch) Rx(yaw), the last turns about x, the beam at angle 0."""
    yaw = 0.2
    scanner = from_tigre(TIGRE | {"rotDetector": [0.0, 0.0, yaw], "angles": [0.0]})

    def pixel(view, row, column):
        y, z = (column - 3.5) * 1.5, (row - 2) * 2.0
        c, s = math.cos(yaw), math.sin(yaw)
        return -500, c * y - s * z + 30, s * y + c * z - 4

    assert_cone(scanner, 1, lambda view: (1000, 0, 0), pixel)


@pytest.mark.parametrize(("axis", "angles"), [(1, (0.0, 0.3, 0.0)), (2, (0.4, 0.0, 0.7))])
def test_tigres_euler_angles(axis, angles):
    """Rz(a) Ry(b) Rz(c): b lifts the source below the plane by DSO sin b; a and c add."""
    source = from_tigre(TIGRE | {"angles": [angles]}).geometry.rays(0)[0][0, 0]
    if axis == 1:
        assert source == pytest.approx((1000 * math.cos(0.3), 0, -1000 * math.sin(0.3)))
    else:
        assert source == pytest.approx(level(1.1, 1000, 0))


def test_tigres_values_for_every_view_and_parallel_rays():
    moved = from_tigre(TIGRE | {"offDetector": [[-4.0, 30.0]] * 4, "DSO": [1000] * 4})
    assert moved.geometry == from_tigre(TIGRE).geometry
    flat = from_tigre(TIGRE | {"mode": "parallel"})
    assert_parallel(flat, 4, lambda view: level(ANGLES[view], 1, 0), lambda v, *at: tigre_pixel(ANGLES[v], *at))
    shifting = from_tigre(TIGRE | {"offDetector": [[0.0, 10.0 * view] for view in range(4)]})
    assert isinstance(shifting.geometry, Orbit)


def test_even_steps_in_the_words_of_naf(tmp_path):
    values = {key: value for key, value in TIGRE.items() if key != "angles"} | {"totalAngle": 180, "startAngle": 10}
    scanner = read_geometry(written(tmp_path, values), (4, 5, 8))
    assert circle_of(scanner).angles == pytest.approx(np.radians((10, 55, 100, 145)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"nDetector": [8, 5]}, r"Python order is \(rows, columns\)"),
        ({"DSD": None}, "DSD and DSO"),
        ({"DSD": [1500, 1500]}, "given for 2 views, but there are 4"),
        ({"offOrigin": [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 0, 3]]}, "offOrigin moves"),
        ({"mode": "helix"}, "choose one of cone, parallel"),
        ({"dDetector": [0, 1]}, "positive lengths"),
    ],
)
def test_what_tigre_cannot_mean_is_refused(change, words):
    with pytest.raises(CosliceError, match=words):
        from_tigre(TIGRE | change, shape=(4, 5, 8))
