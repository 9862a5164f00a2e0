"""Every fault put into a clean measurement is doubted, with its number, and a clean one is not."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from coslice.acquisition.doubts import doubts
from coslice.acquisition.field_of_view import field_of_view
from coslice.acquisition.rotation_axis import RotationAxis
from coslice.acquisition.rotation_sense import rotation_sense
from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, FanBeam, Grid, ParallelBeam, sparse_view
from coslice.operators import Projector

GRID = Grid((2, 48, 48))
SCANNERS = {
    "parallel": ParallelBeam(sparse_view(40, math.pi), (4, 60), (1.0, 1.0)),
    "fan": FanBeam(sparse_view(30), (4, 100), (1.0, 1.0), (0.0, 0.0), 150, 100),
    "cone": ConeBeam(sparse_view(30), (8, 100), (1.0, 1.0), (0.0, 0.0), 150, 100),
    "short": ConeBeam(sparse_view(40, math.pi + 0.7), (8, 100), (1.0, 1.0), (0.0, 0.0), 150, 100),
}
PARALLEL, CONE = SCANNERS["parallel"], SCANNERS["cone"]


CENTRED = RotationAxis(29.5, 0.0, 0.02, True)
"""The axis of 60 columns, where a law is about something else and need not look for it."""


def serious(found):
    return [doubt for doubt in found if doubt.severity != "note"]


@pytest.mark.parametrize("name", SCANNERS)
def test_a_clean_measurement_leaves_notes_only(projected, name):
    found = doubts(projected(SCANNERS[name], 0.01), SCANNERS[name], GRID)
    assert serious(found) == []
    sense = [doubt.sentence for doubt in found if "sense of rotation" in doubt.sentence]
    assert len(sense) == 1 and ("cannot be told" in sense[0]) == (name == "parallel")


@pytest.mark.parametrize("name", ["cone", "short"])
def test_a_reversed_sense_leaves_more_and_is_doubted(projected, name):
    true = SCANNERS[name]
    lines = projected(true, 0.01)
    turned = replace(true, angles=tuple(-angle for angle in true.angles))
    right, wrong = rotation_sense(lines, true), rotation_sense(lines, turned)
    assert right.told and not right.wrong and wrong.wrong
    assert wrong.given == pytest.approx(right.reversed) and wrong.reversed == pytest.approx(right.given)
    if name == "cone":  # mirrored columns are the same fault
        found = doubts(lines[..., ::-1], true)[0]
        assert found.severity == "grave" and f"{wrong.given / wrong.reversed:.1f} times as much" in found.sentence


def test_where_beams_hardly_diverge_the_sense_cannot_be_told(projected):
    far = replace(CONE, source_axis=15000, axis_detector=10000)
    sense = rotation_sense(projected(far, 0.01), far)
    assert not sense.told and not sense.wrong and "cannot be told" in sense.note
    assert "free orbit" in rotation_sense(projected(CONE), CONE.to_orbit()).note


LINES = {
    "transmission": (lambda p: np.exp(-p), "grave", "logarithm was not taken"),
    "no sign": (lambda p: -p, "grave", "minus sign"),
    "twice": (lambda p: -np.log(np.clip(p, 1e-4, None)), "grave", "taken twice"),
    "counts": (lambda p: 60000 * np.exp(-p), "grave", "they may be counts"),
    "too bright": (lambda p: p - 0.2, "warning", "1.22 times as bright as the flat field"),
    "too dark": (lambda p: p + 0.2, "warning", "0.82 times as bright as the flat field"),
    "nothing": (lambda p: 0 * p, "grave", "No view shows anything"),
    "cut on both sides": (lambda p: p[..., 20:-20], "warning", "beyond the first column in"),
}


@pytest.mark.parametrize("fault", LINES)
def test_values_that_are_no_line_integrals_are_doubted_for_their_likely_reason(projected, fault):
    change, severity, words = LINES[fault]
    lines = change(projected(PARALLEL, 0.005))
    geometry = replace(PARALLEL, detector=(4, lines.shape[2]))
    found = serious(doubts(lines, geometry, axis=replace(CENTRED, column=(lines.shape[2] - 1) / 2)))
    assert [(doubt.severity, words in doubt.sentence) for doubt in found] == [(severity, True)]


@pytest.mark.parametrize(("side", "kept"), [("first", slice(18, None)), ("last", slice(None, -18))])
def test_a_cut_object_is_doubted_on_the_side_and_a_displaced_detector_is_not(projected, side, kept):
    offset = 9.0 if side == "first" else -9.0
    lines = projected(PARALLEL, 0.005)[..., kept]
    half = replace(PARALLEL, detector=(4, 42), offset=(0.0, offset))
    found = serious(doubts(lines, half))
    assert [f"beyond the {side} column" in doubt.sentence for doubt in found] == [True]
    turn = ParallelBeam(sparse_view(40), (4, 42), (1.0, 1.0), (0.0, offset))
    found = doubts(projected(turn, 0.005), turn)
    assert serious(found) == [] and any(f"reaches the {side} column" in doubt.sentence for doubt in found)


@pytest.mark.parametrize(("name", "columns"), [("parallel", -6.0), ("parallel", 1.5), ("cone", -6.0)])
def test_an_axis_off_its_place_is_doubted_by_its_number(projected, name, columns):
    lines = projected(SCANNERS[name], 0.005)
    found = serious(doubts(lines, replace(SCANNERS[name], offset=(0.0, columns))))
    assert len(found) == 1 and f"seems to be {abs(columns):.1f} columns from" in found[0].sentence
    assert found[0].severity == ("grave" if abs(columns) > 2 else "warning")


@pytest.mark.parametrize(
    ("angles", "severity", "words"),
    [
        (np.linspace(0, 180, 40), "grave", "degrees read as radians would span 180 degrees"),
        (np.deg2rad(PARALLEL.angles), "grave", "converted to radians twice"),
        (np.linspace(0, 2 * math.pi, 40), "note", "last view is at the same angle as the first"),
        (np.repeat(np.linspace(0, 3, 20), 2), "note", "20 of 40 views are at an angle that another has too"),
        (np.linspace(0, 1.0, 40), "warning", "less than half a turn"),
    ],
)
def test_angles_that_cannot_be_meant_are_doubted(projected, angles, severity, words):
    geometry = replace(PARALLEL, angles=tuple(angles))
    found = doubts(projected(geometry, 0.005), geometry, axis=CENTRED)
    assert [doubt.severity for doubt in found if words in doubt.sentence] == [severity]


GRIDS = {
    "seen": (GRID, 0.0),
    "too tall": (Grid((9, 48, 48)), 6 / 9),
    "beside": (Grid((2, 48, 48), centre=(50.0, 0.0, 0.0)), 1.0),
}


@pytest.mark.parametrize("name", GRIDS)
def test_voxels_that_no_view_shows_are_counted(projected, name):
    grid, unseen = GRIDS[name]
    geometry = replace(PARALLEL, detector=(3, 60))
    assert field_of_view(geometry, grid).unseen == pytest.approx(unseen)
    words = f"{unseen:.1%} of the grid's voxels are seen by no view"
    found = [
        doubt for doubt in doubts(projected(geometry), geometry, grid, CENTRED) if "seen by no view" in doubt.sentence
    ]
    assert [words in doubt.sentence for doubt in found] == ([True] if unseen else [])
    if name == "too tall":
        assert found[0].severity == "grave" and f"{unseen:.0%} of the slices entirely" in found[0].sentence


@pytest.mark.parametrize("name", ["cone"])
def test_what_is_seen_is_what_rays_touch(name):
    """A detector moved aside sees a ring; the transpose of the projector says which voxels its rays touch."""
    geometry = replace(SCANNERS[name], angles=sparse_view(24), detector=(12, 16), offset=(0.0, 30.0))
    view = field_of_view(geometry, GRID)
    np.testing.assert_array_equal(view.share, field_of_view(geometry.to_orbit(), GRID).share)
    parallel = replace(PARALLEL, offset=(0.3, 4.0))
    np.testing.assert_array_equal(field_of_view(parallel, GRID).share, field_of_view(parallel.to_orbit(), GRID).share)
    touched = Projector(geometry, GRID, backend="torch").adjoint(torch.ones(geometry.shape)).numpy() > 0
    some = [np.unique(np.linspace(0, n - 1, 17).round().astype(int)) for n in GRID.shape]
    # a ray is a voxel wide, so the two may differ by a voxel at the border of the ring
    assert 0.05 < view.unseen < 0.9
    assert ((view.share > 0) == touched[np.ix_(*some)]).mean() > 0.93


def test_line_integrals_of_another_shape_are_refused():
    for check in (doubts, rotation_sense):
        with pytest.raises(CosliceError, match="line integrals of shape"):
            check(np.zeros((3, 4, 5)), PARALLEL)
