"""What a scanner sees of a volume, against the projector that looks through it."""

from dataclasses import replace

import pytest
import torch

from coslice.geometry import ConeBeam, FanBeam, Grid, ParallelBeam, sparse_view
from coslice.operators import Projector
from coslice.operators.coverage import coverage, remarks_on_coverage, unseen_share

GRID = Grid((12, 16, 16), (2.0, 2.0, 2.0))
TURN = sparse_view(24)
CONE = ConeBeam(TURN, (80, 160), (1.0, 1.0), source_axis=120.0, axis_detector=80.0)
FAN = FanBeam(TURN, (80, 160), (1.0, 1.0), source_axis=120.0, axis_detector=80.0)
PARALLEL = ParallelBeam(sparse_view(24, 3.141592653589793), (60, 120), (0.5, 0.5))
ALL = {"cone": CONE, "fan": FAN, "parallel": PARALLEL, "orbit": CONE.to_orbit(), "flat": PARALLEL.to_orbit()}


@pytest.mark.parametrize("name", ALL)
def test_a_detector_that_sees_all_leaves_nothing_to_say(name):
    assert remarks_on_coverage(ALL[name], GRID) == ()
    assert unseen_share(ALL[name], GRID) == 0


@pytest.mark.parametrize(
    ("name", "orbit"),
    [("cone", False), ("cone", True), ("fan", False), ("parallel", False), ("parallel", True)],
)
@pytest.mark.parametrize("offset", [(0.0, 0.0), (7.0, 0.0), (-6.0, 5.0)])
def test_voxels_are_unseen_where_no_ray_of_a_fine_detector_meets_them(name, orbit, offset):
    narrow = replace(ALL[name], detector=(24, 30), offset=offset)
    rays = Projector(narrow, GRID).adjoint(torch.ones(narrow.shape))
    # A voxel's neighbours take part in what the projector calls its rays, so it sees a little further.
    unmet = float((rays == 0).float().mean())
    found = unseen_share(narrow.to_orbit() if orbit else narrow, GRID)
    assert unmet - 0.01 <= found <= unmet + 0.2


@pytest.mark.parametrize("name", ["cone", "parallel"])
def test_an_orbit_sees_what_its_circle_sees(name):
    narrow = replace(ALL[name], detector=(20, 26), offset=(3.0, 2.0))
    assert coverage(narrow, GRID) == pytest.approx(coverage(narrow.to_orbit(), GRID), abs=0)


def test_half_of_a_stack_above_the_rows_is_unseen():
    half = replace(PARALLEL, detector=(24, 120), offset=(6.0, 0.0))
    assert unseen_share(half, GRID) == pytest.approx(0.5)
    assert any("50% of the voxels" in said for said in remarks_on_coverage(half, GRID))


def test_a_narrow_detector_truncates_and_one_that_stands_aside_in_a_full_turn_does_not():
    narrow = replace(CONE, detector=(80, 30))
    assert coverage(narrow, GRID).truncated > 0.2 and coverage(narrow, GRID).unseen == 0
    assert any("some directions only" in said for said in remarks_on_coverage(narrow, GRID))
    aside = replace(CONE, detector=(80, 60), offset=(0.0, 24.0))
    assert coverage(aside, GRID).truncated < 0.01
    short = replace(aside, angles=sparse_view(24, 3.2))
    assert coverage(short, GRID).truncated > 0.2


def test_a_volume_beside_the_beam_is_not_seen():
    away = replace(GRID, centre=(500.0, 0.0, 0.0))
    for geometry in ALL.values():
        assert unseen_share(geometry, away) == 1
