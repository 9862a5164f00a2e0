"""From a recording and its scanner to a study: laws that hold whatever the file was."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from coslice.acquisition.rotation_axis import with_axis
from coslice.classical import fdk
from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, FanBeam, Grid, ParallelBeam, sparse_view
from coslice.io.geometry_files import ScannerFile, read_geometry, write_geometry
from coslice.io.recordings import Recording, read_recording
from coslice.operators import Projector
from coslice.problems import CTProblem, DetectorChoice, GridChoice, Stated, from_projections
from coslice.problems.measured_grid import binning_for, chosen_slices, usual_grid
from coslice.problems.projections import take
from coslice.window import CT_WINDOW

WATER = 0.02
SHAPE, SPACING = (4, 32, 32), (2.0, 2.0, 2.0)
GRID = Grid(SHAPE, SPACING)
ANGLES = sparse_view(24)
PARALLEL = ParallelBeam(sparse_view(24, math.pi), (4, 32), (2.0, 2.0))
CONE = ConeBeam(ANGLES, (6, 48), (4.0, 4.0), source_axis=300.0, axis_detector=300.0)
FAN = FanBeam(ANGLES, (4, 48), (2.0, 4.0), source_axis=300.0, axis_detector=300.0)


def body() -> torch.Tensor:
    """Attenuation in 1/mm: water in air with a rod and a hole, like nothing mirrored."""
    _, y, x = np.meshgrid(*(GRID.axis(name) for name in "zyx"), indexing="ij")
    mu = np.where(x**2 + y**2 < 26**2, WATER, 0.0)
    mu = np.where((x - 12) ** 2 + (y + 5) ** 2 < 25, 2 * WATER, mu)
    return torch.from_numpy(np.where((x + 8) ** 2 + (y - 10) ** 2 < 30, 0.2 * WATER, mu)).float()


def measured(recording: Recording, scanner: ScannerFile, stated: Stated, reference: bool = False):
    """The study, and its problem."""
    study = from_projections(recording, scanner, stated, reference=reference)
    assert isinstance(study.problem, CTProblem)
    return study, study.problem


def recorded(geometry, grid=GRID, mu=None, **more) -> Recording:
    lines = Projector(geometry, grid).forward(body() if mu is None else mu)
    return Recording(lines.numpy(), logged=True, name="scan", **more)


@pytest.mark.parametrize("geometry", [PARALLEL, FAN, CONE], ids=lambda g: type(g).__name__)
@pytest.mark.parametrize("window", [(-1000.0, 1600.0), (-200.0, 300.0)])
def test_y_is_the_projection_of_the_unit_window(geometry, window):
    """y = A u where p = A mu and u = (HU - low)/(high - low): the affine map and A exchange, also below air."""
    stated = Stated(water=WATER, window=window, grid=GridChoice(spacing=2.0))
    study, problem = measured(recorded(geometry), ScannerFile(geometry, GRID), stated)
    hu = 1000 * (body() / WATER - 1)
    unit = (hu - window[0]) / (window[1] - window[0])
    expected = Projector(geometry, problem.grid).forward(unit)
    assert study.window.unit == "HU" and problem.grid.shape == SHAPE
    torch.testing.assert_close(problem.measurement, expected, rtol=1e-4, atol=2e-3)


def test_the_lowest_value_is_that_of_air_and_metal_has_no_highest():
    """Nothing attenuates less than air does, whatever the window; above it there is no end."""
    for window, lowest in (((-1000.0, 1600.0), 0.0), ((-200.0, 300.0), -1.6)):
        problem = from_projections(
            recorded(PARALLEL), ScannerFile(PARALLEL), Stated(water=WATER, window=window)
        ).problem
        volume = problem.clamped(torch.tensor([[[-9.0, 0.5, 9.0]]]))
        assert volume.flatten().tolist() == pytest.approx([lowest, 0.5, 9.0])


@pytest.mark.parametrize("flip_rows", [False, True])
@pytest.mark.parametrize("flip_columns", [False, True])
def test_a_detector_that_is_stored_upside_down_or_mirrored_measures_the_same(flip_rows, flip_columns):
    plain = recorded(CONE)
    turned = replace(plain, data=plain.data[:, :: -1 if flip_rows else 1, :: -1 if flip_columns else 1])
    scanner = ScannerFile(CONE, flip_rows=flip_rows, flip_columns=flip_columns)
    # the range of columns is of what is stored
    columns = (3, 45) if not flip_columns else (48 - 45, 48 - 3)
    stated = Stated(water=WATER, detector=DetectorChoice(columns=columns))
    plainly = Stated(water=WATER, detector=DetectorChoice(columns=(3, 45)))
    _, expected = measured(plain, ScannerFile(CONE), plainly)
    _, found = measured(turned, scanner, stated)
    assert found.geometry == expected.geometry
    torch.testing.assert_close(found.measurement, expected.measurement)


@pytest.mark.parametrize("geometry", [PARALLEL, CONE], ids=lambda g: type(g).__name__)
@pytest.mark.parametrize("shift", [-4.6, 3.0])
def test_the_axis_is_found_and_the_grid_follows_it(geometry, shift):
    """With an axis that is `shift` pixels off, the field of view is what all views see, or more in a full turn."""
    truly = with_axis(geometry, (geometry.detector[1] - 1) / 2 + shift)
    found = take(recorded(truly), ScannerFile(geometry), Stated(axis="find"))
    assert found.axis is not None
    assert found.axis.column == pytest.approx((geometry.detector[1] - 1) / 2 + shift, abs=0.25)
    given = take(recorded(truly), ScannerFile(geometry), Stated(axis=(geometry.detector[1] - 1) / 2 + shift))
    assert isinstance(given.geometry, type(truly))
    assert given.geometry.offset == pytest.approx(truly.offset)
    expected = usual_grid(truly, GridChoice())
    assert given.grid == expected


def test_the_measured_tooth_has_its_axis_where_its_makers_say(request):
    path = request.config.rootpath / "tests" / "data" / "tooth" / "tooth.h5"
    tooth = read_recording(path)
    assert tooth.angles is not None
    scanner = ScannerFile(ParallelBeam(tooth.angles, tooth.data.shape[1:], (1.0, 1.0)))
    taken = take(tooth, scanner, Stated(axis="find", grid=GridChoice(size=160)))
    assert taken.axis is not None and taken.axis.column == pytest.approx(296, abs=1)
    assert taken.values == "counts" and taken.geometry.detector == (2, 213)  # three columns to one, rows are slices
    assert 0.001 < taken.deviation < 0.05


def test_counts_transmission_and_lines_of_one_object_are_one_measurement():
    lines = recorded(PARALLEL).data
    flat, dark = np.full((2, 4, 32), 5000.0, np.float32), np.full((1, 4, 32), 20.0, np.float32)
    counts = (20 + 4980 * np.exp(-lines)).astype(np.float32)
    forms = {
        "counts": Recording(counts, flat, dark),
        "transmission": Recording(np.exp(-lines)),
        "lines": Recording(lines),
    }
    expected = from_projections(recorded(PARALLEL), ScannerFile(PARALLEL), Stated(water=WATER)).problem.measurement
    for values, recording in forms.items():
        stated = Stated(values=values, water=WATER, repair=False)
        study = from_projections(recording, ScannerFile(PARALLEL), stated)
        assert study.values == values
        torch.testing.assert_close(study.problem.measurement, expected, rtol=1e-3, atol=1e-2)


def test_an_object_that_is_the_same_all_around_needs_one_view():
    """FDK of one view that stands for all is that of as many copies; the plane through the axis is one of its own."""
    z, y, x = np.meshgrid(*(GRID.axis(name) for name in "zyx"), indexing="ij")
    mu = torch.from_numpy(np.where(x**2 + y**2 < (20 + z) ** 2, WATER, 0.0)).float()
    one = recorded(replace(CONE, angles=(0.3,)), mu=mu)
    stated = Stated(axisymmetric=True, grid=GridChoice(spacing=2.0), water=WATER)
    _, problem = measured(one, ScannerFile(CONE, GRID), stated)
    assert problem.measurement.stride(0) == 0 and problem.geometry == CONE
    copies = problem.measurement.contiguous()
    whole = fdk(copies, CONE, GRID)
    torch.testing.assert_close(problem.initial(), whole, rtol=1e-4, atol=1e-5)
    plane = replace(stated, grid=GridChoice(spacing=2.0, plane=True))
    _, found = measured(one, ScannerFile(CONE, GRID), plane)
    assert found.grid.shape == (4, 1, 32)
    middle = whole[:, 15:17].mean(1)  # y = 0 lies between two rows
    torch.testing.assert_close(found.initial()[:, 0], middle, rtol=0.05, atol=0.05 * float(middle.max()))
    with pytest.raises(CosliceError, match="say --axisymmetric"):
        from_projections(one, ScannerFile(CONE), Stated(water=WATER))


def test_a_reference_of_all_views_is_their_filtered_back_projection():
    stated = Stated(water=WATER, views=8)
    study, problem = measured(recorded(PARALLEL), ScannerFile(PARALLEL), stated, reference=True)
    few, alike = measured(recorded(PARALLEL), ScannerFile(PARALLEL), stated)
    assert problem.geometry == alike.geometry and problem.geometry.views == 8
    torch.testing.assert_close(problem.measurement, alike.measurement)
    whole = from_projections(recorded(PARALLEL), ScannerFile(PARALLEL), Stated(water=WATER)).problem
    assert study.unit is not None and study.reference == "FBP of all 24 views"
    torch.testing.assert_close(study.unit, whole.initial().clamp(min=0))
    assert few.unit is None and few.measured and study.measured


def test_the_grid_is_what_every_view_sees():
    """The corner ray touches the circle: R = S sin(atan(u/D)); parallel rays R = u; slices are rows at the axis."""
    cone = usual_grid(CONE, GridChoice())
    radius = 300 * math.sin(math.atan(96 / 600))
    assert cone.spacing == pytest.approx((2.0, 2.0, 2.0)) and cone.shape[1] == math.floor(2 * radius / 2)
    parallel = usual_grid(replace(PARALLEL, offset=(5.0, -6.0)), GridChoice(size=13))
    assert parallel.spacing == pytest.approx((2.0, 2 * (32 - 6) / 13, 2 * (32 - 6) / 13)) and parallel.centre[0] == 5
    half_fan = replace(CONE, offset=(0.0, 60.0))
    wide = 300 * math.sin(math.atan((96 + 60) / 600))
    assert usual_grid(half_fan, GridChoice()).size[1] == pytest.approx(2 * wide, abs=2.0)
    assert (
        binning_for(PARALLEL, 4.1) == (1, 2) and binning_for(CONE, 4.1) == (2, 2) and binning_for(CONE, 3.0) == (1, 1)
    )
    cut = chosen_slices(Grid((10, 4, 4), (2.0, 1.0, 1.0), (7.0, 0.0, 0.0)), (2, 5))
    np.testing.assert_allclose(cut.axis("z"), Grid((10, 4, 4), (2.0, 1.0, 1.0), (7.0, 0.0, 0.0)).axis("z")[2:5])


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        (Stated(detector=DetectorChoice(rows=(2, 9))), "rows: number 8"),
        (Stated(slices=(0, 99)), "give FIRST:LAST within 0:4"),
        (Stated(views=25), "choose 1 to 24"),
        (Stated(grid=GridChoice(spacing=1e-4)), "are possible; choose a smaller --size"),
        (Stated(window=(3.0, 3.0)), "Window"),
    ],
)
def test_what_cannot_be_is_refused_in_words(stated, words):
    with pytest.raises(CosliceError, match=words):
        from_projections(recorded(PARALLEL), ScannerFile(PARALLEL), stated)


def test_a_recording_of_another_size_than_the_geometry_says_is_refused(tmp_path):
    write_geometry(CONE, tmp_path / "g.json")
    with pytest.raises(CosliceError, match="24 views"):
        read_geometry(tmp_path / "g.json", shape=(23, 6, 48))
    with pytest.raises(CosliceError, match="has 24 views of 4 x 32 pixels"):
        from_projections(recorded(PARALLEL), ScannerFile(CONE), Stated())


def test_the_window_of_laboratory_data_holds_the_densest_matter_and_is_said():
    study = from_projections(recorded(PARALLEL), ScannerFile(PARALLEL), Stated())
    assert study.window.unit == "1/mm" and study.window.low == 0
    assert 2 * WATER < study.window.high < 4 * WATER
    assert any("are what the prior sees as 0 to 1" in remark for remark in study.remarks)
    assert study.window != CT_WINDOW


@pytest.mark.parametrize(("name", "value"), [("water", -1.0), ("water", 0.0), ("white", 0.0), ("photons", -2.0)])
def test_numbers_that_cannot_be_are_refused_before_a_file_is_read(name, value):
    told = {name: value}
    with pytest.raises(CosliceError, match=name):
        Stated(**told)
