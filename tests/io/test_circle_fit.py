"""Views that lie on a circle are found to, whichever way they are stored; others are left free."""

from dataclasses import replace

import numpy as np
import pytest

from coslice.geometry import ConeBeam, Orbit, ParallelBeam
from coslice.io.geometry_files.circle_fit import fitted
from geometry_laws import circle_of

CIRCLES = (
    ConeBeam((0.1, 1.2, 2.9, 6.0, 8.0), (5, 9), (2.0, 3.0), (4.0, -60.0), source_axis=500.0, axis_detector=300.0),
    ConeBeam((4.0, 3.9, 3.8), (1, 1), (2.0, 3.0), source_axis=500.0, axis_detector=0.0),
    ParallelBeam((-0.5, 0.7, 3.5), (5, 9), (2.0, 3.0), (4.0, -60.0)),
)


def stored(orbit, rows=1, columns=1):
    """The same rays with rows or columns stored backwards."""

    def turned(steps, sign):
        return tuple(tuple(sign * step for step in vector) for vector in steps)

    return replace(orbit, row_step=turned(orbit.row_step, rows), column_step=turned(orbit.column_step, columns))


@pytest.mark.parametrize("circle", CIRCLES)
@pytest.mark.parametrize("rows", [1, -1])
def test_a_circle_is_found_from_its_views(circle, rows):
    found = fitted(stored(circle.to_orbit(), rows), "it")
    assert type(found.geometry) is type(circle)
    assert (found.flip_rows, found.flip_columns, found.notes) == (rows < 0, False, ())
    turns = (np.array(circle_of(found).angles) - circle.angles) / (2 * np.pi)
    assert turns == pytest.approx(np.round(turns[0]) * np.ones(len(turns)))
    assert replace(found.geometry, angles=circle.angles) == circle


def test_columns_backwards_are_flipped_of_a_cone_and_seen_from_behind_of_parallel_rays():
    """Parallel rays have no sense of travel, so reversed columns are the same scan half a turn on."""
    cone = fitted(stored(CIRCLES[0].to_orbit(), columns=-1), "it")
    assert cone.flip_columns
    assert circle_of(cone).offset == CIRCLES[0].offset
    parallel = fitted(stored(CIRCLES[2].to_orbit(), columns=-1), "it")
    assert not parallel.flip_columns
    assert circle_of(parallel).offset == (4.0, 60.0)
    assert np.cos(np.array(circle_of(parallel).angles) - CIRCLES[2].angles) == pytest.approx([-1, -1, -1])


@pytest.mark.parametrize(("shift", "circular"), [(0.03, True), (0.3, False)])
@pytest.mark.parametrize("along", [(0.0, 0.0, 1.0), (0.6, -0.8, 0.0)])
def test_a_view_that_stands_off_is_told_in_pixels(shift, circular, along):
    """One of five detectors is moved by a share of a pixel; a fifth of that the circle moves after it."""
    orbit = CIRCLES[0].to_orbit()
    angle = CIRCLES[0].angles[1]
    across = np.array((-np.sin(angle), np.cos(angle), 0.0)) if along[2] == 0 else np.array(along)
    pitch = 3.0 if along[2] == 0 else 2.0
    moved = tuple(float(c) for c in orbit.centre[1] + shift * pitch * across)
    found = fitted(replace(orbit, centre=(orbit.centre[0], moved, *orbit.centre[2:])), "it")
    assert isinstance(found.geometry, ConeBeam if circular else Orbit)
    assert f"off by up to {0.8 * shift:.2g} pixels" in found.notes[0]


def test_a_source_that_wanders_along_the_beam_is_seen_at_the_axis():
    """Its detector moves along, so that its pixels' rays still meet the detector where they did."""
    orbit = CIRCLES[0].to_orbit()
    nearer = tuple(float(c) for c in 0.9 * np.array(orbit.source[2]))
    found = fitted(replace(orbit, source=(*orbit.source[:2], nearer, *orbit.source[3:])), "it")
    assert found.geometry == replace(orbit, source=(*orbit.source[:2], nearer, *orbit.source[3:]))
