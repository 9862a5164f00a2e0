"""The axis is found where the projector had it, for every beam, with noise, sparse, truncated and displaced."""

import math
from dataclasses import replace

import numpy as np
import pytest

from coslice.acquisition.rotation_axis import axis_column, found_axis, with_axis
from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, FanBeam, ParallelBeam, sparse_view

HALF = sparse_view(60, math.pi)
SCANNERS = {
    "parallel half turn": ParallelBeam(HALF, (2, 60), (1.0, 1.0)),
    "parallel half turn with both ends": ParallelBeam(tuple(np.linspace(0, math.pi, 61)), (2, 60), (1.0, 1.0)),
    "parallel half turn backwards": ParallelBeam(tuple(-a for a in HALF), (2, 60), (1.0, 1.0)),
    "parallel full turn": ParallelBeam(sparse_view(30), (2, 60), (1.0, 0.9)),
    "fan": FanBeam(sparse_view(30), (2, 100), (1.0, 1.0), source_axis=150, axis_detector=100),
    "cone": ConeBeam(sparse_view(30), (5, 100), (1.0, 1.0), source_axis=150, axis_detector=100),
    "cone backwards": ConeBeam(sparse_view(30)[::-1], (4, 100), (1.0, 1.0), source_axis=150, axis_detector=100),
    "cone of small angle": ConeBeam(sparse_view(30), (4, 100), (1.0, 1.0), source_axis=900, axis_detector=600),
    "short scan": ConeBeam(sparse_view(60, math.pi + 0.6), (4, 100), (1.0, 1.0), source_axis=150, axis_detector=100),
    "displaced detector": ConeBeam(sparse_view(30), (4, 66), (1.0, 1.0), source_axis=150, axis_detector=100),
}


@pytest.mark.parametrize("name", SCANNERS)
def test_the_axis_is_where_the_projector_had_it(projected, name):
    aside = {"displaced detector": 16.75, "parallel half turn": 7.0}.get(name, -5.3)
    true = replace(SCANNERS[name], offset=(0.0, aside * SCANNERS[name].pixel[1]))
    found = found_axis(projected(true, 0.02), SCANNERS[name])
    assert found.column == pytest.approx(axis_column(true), abs=0.12)
    assert found.offset == pytest.approx(true.offset[1], abs=0.12 * true.pixel[1])
    assert found.sure and found.uncertainty < 0.5 and f"column {found.column:.2f}" in found.notes[0]


@pytest.mark.parametrize("beam", [ParallelBeam, FanBeam])
def test_without_opposite_views_the_centre_of_mass_tells(projected, beam):
    more = {} if beam is ParallelBeam else {"source_axis": 150, "axis_detector": 100}
    geometry = beam(sparse_view(60, 2.2), (4, 130), (1.0, 1.0), offset=(0.0, 4.2), **more)
    found = found_axis(projected(geometry, 0.005), replace(geometry, offset=(0.0, 0.0)))
    assert found.column == pytest.approx(axis_column(geometry), abs=0.3)
    assert "centre of mass" in found.notes[0]


def test_truncated_views_are_matched_by_what_they_show(projected):
    geometry = ParallelBeam(HALF, (4, 30), (1.0, 1.0), offset=(0.0, 1.6))
    found = found_axis(projected(geometry), geometry)
    assert found.column == pytest.approx(axis_column(geometry), abs=0.15)


def test_where_nothing_tells_the_axis_stays_and_that_is_said(projected):
    geometry = ParallelBeam(sparse_view(30, 1.0), (4, 30), (1.0, 1.0), offset=(0.0, 1.6))
    found = found_axis(projected(geometry, 0.02), geometry)
    assert found.offset == pytest.approx(1.6) and math.isinf(found.uncertainty) and not found.sure
    assert "cannot be found" in found.notes[0]


def test_a_column_and_an_offset_are_one_thing():
    geometry = SCANNERS["parallel full turn"]
    for column in (0.0, 31.5, 29.5, 50.25):
        moved = with_axis(geometry, column)
        assert axis_column(moved) == pytest.approx(column)
        assert np.interp(0.0, moved.u(), np.arange(60)) == pytest.approx(column)


@pytest.mark.parametrize(
    ("lines", "geometry", "words"),
    [
        (np.ones((60, 2, 60)), SCANNERS["parallel half turn"].to_orbit(), "free orbit"),
        (np.ones((60, 2, 59)), SCANNERS["parallel half turn"], "line integrals of shape"),
        (np.zeros((60, 2, 60)), SCANNERS["parallel half turn"], "show nothing"),
        (np.ones((2, 2, 60)), ParallelBeam((0.0, 3.1), (2, 60), (1.0, 1.0)), "at least 3 of 8"),
        (np.ones((9, 2, 7)), ParallelBeam(sparse_view(9), (2, 7), (1.0, 1.0)), "at least 3 of 8"),
    ],
)
def test_what_has_no_axis_to_find_is_refused(lines, geometry, words):
    with pytest.raises(CosliceError, match=words):
        found_axis(lines, geometry)
