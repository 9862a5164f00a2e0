"""Our own geometry file: what is written comes back, what a person writes is understood, slips are named."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from coslice import CosliceError
from coslice.geometry import ConeBeam, FanBeam, Grid, Orbit, ParallelBeam, sparse_view
from coslice.io.geometry_files import read_geometry, write_geometry
from geometry_laws import assert_cone, circle_of, written

numbers = st.floats(-1e4, 1e4, allow_nan=False)
positive = st.floats(1e-3, 1e4)
vector = st.tuples(numbers, numbers, numbers)


@st.composite
def circular(draw):
    kind = draw(st.sampled_from((ConeBeam, FanBeam, ParallelBeam)))
    common = {
        "angles": tuple(draw(st.lists(st.floats(-20, 20), min_size=1, max_size=5))),
        "detector": (draw(st.integers(1, 9)), draw(st.integers(1, 9))),
        "pixel": (draw(positive), draw(positive)),
        "offset": (draw(numbers), draw(numbers)),
    }
    if kind is ParallelBeam:
        return kind(**common)
    return kind(**common, source_axis=draw(positive), axis_detector=draw(st.floats(0, 1e4)))


@st.composite
def orbits(draw):
    views = draw(st.integers(1, 4))
    lists = [tuple(draw(vector) for _ in range(views)) for _ in range(4)]
    assume(np.linalg.norm(np.cross(lists[2], lists[3]), axis=-1).min() > 0)
    return Orbit(*lists, detector=(draw(st.integers(1, 9)), draw(st.integers(1, 9))), divergent=draw(st.booleans()))


@st.composite
def grids(draw):
    sizes = tuple(draw(st.integers(1, 512)) for _ in range(3))
    return Grid(sizes, tuple(draw(positive) for _ in range(3)), draw(vector))


@settings(max_examples=30, deadline=None)
@given(geometry=st.one_of(circular(), orbits()), grid=st.one_of(st.none(), grids()))
def test_what_is_written_comes_back_to_the_last_digit(tmp_path_factory, geometry, grid):
    path = tmp_path_factory.mktemp("own") / "geometry.json"
    write_geometry(geometry, path, grid)
    scanner = read_geometry(path, shape=geometry.shape)
    assert scanner.geometry == geometry
    assert scanner.grid == grid
    assert (scanner.flip_rows, scanner.flip_columns, scanner.notes) == (False, False, ())


SIX_LINES = {"type": "cone", "angles_deg": {"start": 0, "arc": 360}, "pixel_mm": 0.2}
SIX_LINES |= {"source_axis_mm": 500, "source_detector_mm": 800}


def test_six_lines_are_a_scanner(tmp_path):
    scanner = read_geometry(written(tmp_path, SIX_LINES), shape=(8, 5, 7))
    assert scanner.geometry == ConeBeam(
        tuple(math.radians(45 * view) for view in range(8)), (5, 7), (0.2, 0.2), source_axis=500, axis_detector=300
    )
    said = " ".join(scanner.notes)
    assert "rows are stored" in said
    assert "columns are stored" in said
    assert "which way the scan turns" in said


def test_the_same_as_yaml(tmp_path):
    text = "type: cone\nangles_deg: {start: 0, arc: 360}\npixel_mm: 0.2\nsource_axis_mm: 500\nsource_detector_mm: 800\n"
    yaml, own = written(tmp_path, text, "g.yaml"), written(tmp_path, SIX_LINES)
    assert read_geometry(yaml, shape=(8, 5, 7)).geometry == read_geometry(own, shape=(8, 5, 7)).geometry


@pytest.mark.parametrize(
    ("angles", "expected"),
    [
        ([0, 10, 30], (0, 10, 30)),
        ({"start": 5, "step": -2}, (5, 3, 1)),
        ({"start": 5, "arc": 90, "views": 3}, (5, 35, 65)),
        ({"step": 2}, (0, 2, 4)),
    ],
)
def test_angles_are_lists_or_even_steps(tmp_path, angles, expected):
    scanner = read_geometry(written(tmp_path, SIX_LINES | {"angles_deg": angles}), shape=(3, 5, 7))
    assert circle_of(scanner).angles == pytest.approx([math.radians(angle) for angle in expected])


@pytest.mark.parametrize(
    ("sense", "sign"),
    [("counterclockwise", 1), ("clockwise", -1), ("object clockwise", 1), ("object counterclockwise", -1)],
)
def test_an_object_that_turns_one_way_is_a_source_that_goes_the_other(tmp_path, sense, sign):
    """A source at angle a sees the object as a source at 0 sees it turned by -a."""
    path = written(tmp_path, SIX_LINES | {"angles_deg": [0, 40], "rotation": sense})
    scanner = read_geometry(path, shape=(2, 5, 7))
    angle = sign * math.radians(40)
    place = (500 * math.cos(angle), 500 * math.sin(angle), 0)
    assert scanner.geometry.rays(1)[0][2, 3] == pytest.approx(place)


def test_angles_of_the_recording_are_used_and_turned(tmp_path):
    values = {key: value for key, value in SIX_LINES.items() if key != "angles_deg"} | {"rotation": "clockwise"}
    scanner = read_geometry(written(tmp_path, values), shape=(3, 5, 7), angles=(0.0, 0.5, 1.0))
    assert circle_of(scanner).angles == (0.0, -0.5, -1.0)


@pytest.mark.parametrize("rows", ["up", "down"])
@pytest.mark.parametrize("columns", ["right", "left"])
@pytest.mark.parametrize("axis", [3.0, 1.25, 6.0])
def test_the_rotation_axis_falls_on_its_stored_column(tmp_path, rows, columns, axis):
    """The pixel of column i is (i - c) pitches from the axis, to the right seen from the source, or to the left."""
    values = {"rotation_axis_column": axis, "rows": rows, "columns": columns, "angles_deg": [0, 90], "pixel_mm": [3, 2]}
    scanner = read_geometry(written(tmp_path, SIX_LINES | values), shape=(2, 5, 7))
    right, up = (1 if columns == "right" else -1), (1 if rows == "up" else -1)

    def pixel(view, row, column):
        u, v = right * (column - axis) * 2, up * (row - 2) * 3
        return (-300, u, v) if view == 0 else (-u, -300, v)

    assert_cone(scanner, 2, lambda view: ((500, 0, 0), (0, 500, 0))[view], pixel)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"angle_deg": [1, 2, 3]}, 'angle_deg" is not known here; did you mean angles_deg'),
        ({"pixel": 1}, "did you mean pixel_mm"),
        ({"type": "cones"}, "choose one of cone, fan, parallel, orbit"),
        ({"angles_deg": [0, 1]}, "describes 2 views, but the projections have 3"),
        ({"angles_deg": [0, 1, None]}, "finite numbers are needed"),
        ({"angles_deg": [0, 1, True]}, "finite numbers are needed"),
        ({"angles_deg": [0, 1, math.nan]}, "finite numbers are needed"),
        ({"angles_deg": {"step": 1, "arc": 3}}, "one of step and arc"),
        ({"angles_deg": {"stepp": 1}}, "did you mean step"),
        ({"angles_deg": {"step": 1, "views": 10**9}}, "a whole number from 1 to"),
        ({"angles_deg": None}, "has no angles, and neither do the projections"),
        ({"angles_rad": [0, 1, 2]}, "both given"),
        ({"detector": [7, 5]}, "7 rows x 5 columns, but the projections have 5 x 7"),
        ({"detector": [5.5, 7]}, r"whole \[rows, columns\]"),
        ({"pixel_mm": [1, 2, 3]}, "two positive lengths"),
        ({"pixel_mm": -1}, "two positive lengths"),
        ({"pixel_mm": None}, "how large the detector's pixels are"),
        ({"source_axis_mm": None}, "source_axis_mm is missing; add it"),
        ({"source_axis_mm": 900}, "smaller than source_axis_mm"),
        ({"source_axis_mm": -5}, "must be positive"),
        ({"axis_detector_mm": 300}, "both given"),
        ({"rotation_axis_column": 3, "offset_mm": [0, 1]}, "both given"),
        ({"rotation": "left"}, "choose one of counterclockwise"),
        ({"grid": {"shape": [1, 2]}}, "3 numbers are needed"),
        ({"grid": 5}, "grid has shape"),
    ],
)
def test_a_slip_is_named(tmp_path, change, words):
    values = {key: value for key, value in (SIX_LINES | change).items() if value is not None}
    with pytest.raises(CosliceError, match=words):
        read_geometry(written(tmp_path, values), shape=(3, 5, 7))


def test_pixels_of_the_recording_fill_in_and_are_compared(tmp_path):
    bare = written(tmp_path, {key: value for key, value in SIX_LINES.items() if key != "pixel_mm"}, "bare.json")
    assert circle_of(read_geometry(bare, shape=(3, 5, 7), pixel=(0.3, 0.4))).pixel == (0.3, 0.4)
    whole = read_geometry(written(tmp_path, SIX_LINES), shape=(3, 5, 7), pixel=(0.4, 0.4))
    assert circle_of(whole).pixel == (0.2, 0.2)
    assert any("header says pixels of 0.4 x 0.4 mm, the geometry file 0.2 x 0.2" in note for note in whole.notes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no geometry file that coslice knows"),
        ("a picture\x00\x01", "no geometry file that coslice knows"),
        ("[1, 2]", "no geometry file that coslice knows"),
        ('{"type": "cone",', "looks like JSON but is damaged"),
        ('{"a": ' + "1" * 6000 + "}", "looks like JSON but is damaged"),
        ("{" * 100000, "looks like JSON but is damaged"),
        ('{"name": "me"}', 'has no "type"'),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "no geometry file that coslice knows"),
    ],
)
def test_what_is_no_geometry_is_refused_with_what_is_known(tmp_path, text, words):
    with pytest.raises(CosliceError, match=words):
        read_geometry(written(tmp_path, text, "file.txt"))


def test_a_file_that_is_not_there_and_a_folder(tmp_path):
    with pytest.raises(CosliceError, match="does not exist; give a geometry file"):
        read_geometry(tmp_path / "none.json")
    with pytest.raises(CosliceError, match="is a folder"):
        read_geometry(tmp_path)


def test_projections_given_as_the_geometry_are_not_read_whole(tmp_path):
    path = tmp_path / "projections.raw"
    with open(path, "wb") as stream:
        stream.truncate(70 * 2**20)
    with pytest.raises(CosliceError, match="70 MB, but a geometry file has at most 64; are these the projections"):
        read_geometry(path)


@pytest.mark.parametrize(("theirs", "said"), [((0.5, 0.0, -0.5), False), ((0.0, 0.5, 1.1), True)])
def test_other_angles_of_the_recording_are_told(tmp_path, theirs, said):
    """Another start or sense is no disagreement."""
    values = {key: value for key, value in SIX_LINES.items() if key != "angles_deg"} | {"angles_rad": [0, 0.5, 1]}
    scanner = read_geometry(written(tmp_path, values), shape=(3, 5, 7), angles=theirs)
    assert circle_of(scanner).angles == (0.0, 0.5, 1.0)
    assert any("has other angles than the geometry file, by up to 5.73 degrees" in n for n in scanner.notes) == said


def test_angles_of_another_number_than_views_are_refused(tmp_path):
    with pytest.raises(CosliceError, match="3 views, but 2 angles"):
        read_geometry(written(tmp_path, SIX_LINES), shape=(3, 5, 7), angles=sparse_view(2))
