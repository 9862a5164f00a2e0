"""The files of a measurement are put together, or refused with the reason."""

import json

import numpy as np
import pytest

from coslice.cli.measurements import ProjectionFiles, opened
from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, FanBeam, Orbit, ParallelBeam, sparse_view
from coslice.io.geometry_files import write_geometry
from coslice.problems import DetectorChoice, GridChoice, Stated
from coslice.problems.measured_grid import usual_grid
from coslice.problems.projections import take

CONE = ConeBeam(sparse_view(9), (4, 12), (2.0, 2.0), source_axis=200.0, axis_detector=100.0)


@pytest.fixture
def scanner(tmp_path):
    write_geometry(CONE, tmp_path / "g.json")
    return tmp_path / "g.json"


def saved(path, array):
    np.save(path, array)
    return path


@pytest.mark.parametrize("order", ["vrc", "rvc", "rcv", "cvr"])
@pytest.mark.parametrize("fields", [True, False])
def test_a_geometry_settles_the_order_of_the_axes(tmp_path, scanner, order, fields):
    counts = np.random.default_rng(0).integers(100, 200, CONE.shape).astype(np.uint16)
    flat, dark = np.full((1, 4, 12), 250, np.uint16), np.arange(48, dtype=np.uint16).reshape(1, 4, 12)
    axes = ["vrc".index(letter) for letter in order]
    files = ProjectionFiles(
        saved(tmp_path / "p.npy", counts.transpose(axes)),
        scanner,
        flat=saved(tmp_path / "f.npy", flat.transpose(axes)) if fields else None,
        dark=saved(tmp_path / "d.npy", dark.transpose(axes)) if fields else None,
    )
    recording, _ = opened(files)
    np.testing.assert_array_equal(recording.data, counts)
    if fields:
        np.testing.assert_array_equal(recording.dark, dark)
    assert any(f'in that order, "{order}"' in note for note in recording.notes) == (order != "vrc")


def test_what_fits_in_no_order_is_refused_as_it_was_met(tmp_path, scanner):
    files = ProjectionFiles(saved(tmp_path / "p.npy", np.ones((9, 5, 12))), scanner)
    with pytest.raises(CosliceError, match=r"describes a detector of 4 rows x 12 columns, but .* 5 x 12"):
        opened(files)


def test_a_pixel_that_contradicts_the_geometry_is_refused(tmp_path, scanner):
    recording = saved(tmp_path / "p.npy", np.ones(CONE.shape))
    with pytest.raises(CosliceError, match=r"--pixel: 3 x 3 mm was given, but g.json says 2 x 2 mm"):
        opened(ProjectionFiles(recording, scanner, pixel=(3.0, 3.0)))
    assert opened(ProjectionFiles(recording, scanner, pixel=(2.0, 2.0)))[1].geometry == CONE


@pytest.mark.parametrize("side", [-1, 0, 2, 4, 33])
def test_a_median_has_a_middle_pixel_and_an_end(side):
    with pytest.raises(CosliceError, match="an odd number"):
        DetectorChoice(median=side)


@pytest.mark.parametrize("column", [-3.0, 12.0, float("nan")])
def test_the_axis_falls_on_the_detector(tmp_path, scanner, column):
    recording, file = opened(ProjectionFiles(saved(tmp_path / "p.npy", np.ones(CONE.shape)), scanner))
    with pytest.raises(CosliceError, match=r"rotation-axis: .* columns 0 to 11"):
        take(recording, file, Stated(values="lines", axis=column))


def test_a_voxel_fits_into_the_field_of_view():
    field = usual_grid(CONE, GridChoice(size=1)).size[2]
    assert usual_grid(CONE, GridChoice(spacing=field)).shape[1:] == (1, 1)
    with pytest.raises(CosliceError, match=r"spacing: .* field of view"):
        usual_grid(CONE, GridChoice(spacing=1.01 * field))


def test_rows_and_columns_are_said_as_the_file_counts_them(tmp_path, scanner):
    values = json.loads(scanner.read_text()) | {"rows": "down", "columns": "left"}
    scanner.write_text(json.dumps(values))
    lines = np.zeros(CONE.shape)
    lines[:, :, 5:8] = np.random.default_rng(0).random((9, 4, 3))
    recording, file = opened(ProjectionFiles(saved(tmp_path / "p.npy", lines), scanner))
    detector = DetectorChoice(rows=(1, 4), columns=(2, None), binning=(1, 1))
    taken = take(recording, file, Stated(values="lines", detector=detector, repair=False))
    assert "Rows 1 to 3 and columns 2 to 11 of the detector were kept." in taken.remarks
    np.testing.assert_array_equal(taken.lines, lines[:, 1:, 2:][:, ::-1, ::-1].astype(np.float32))


@pytest.mark.parametrize("beam", [ParallelBeam, FanBeam])
@pytest.mark.parametrize("binning", [None, (2, 1)])
def test_rows_of_slices_that_are_left_out_are_left_out(tmp_path, beam, binning):
    far = {} if beam is ParallelBeam else {"source_axis": 200.0, "axis_detector": 100.0}
    geometry = beam(sparse_view(9), (8, 12), (2.0, 2.0), (3.0, 0.0), **far)
    write_geometry(geometry, tmp_path / "g.json")
    lines = np.zeros(geometry.shape)
    lines[:, :, 5:8] = np.random.default_rng(0).random((9, 8, 3))
    recording, file = opened(ProjectionFiles(saved(tmp_path / "p.npy", lines), tmp_path / "g.json"))
    stated = Stated(values="lines", detector=DetectorChoice(binning=binning), slices=(1, 3), repair=False)
    taken = take(recording, file, stated)
    rows = lines[:, 1:3] if binning is None else lines[:, 2:6].reshape(9, 2, 2, 12).mean(2)
    np.testing.assert_allclose(taken.lines, rows, atol=1e-6)
    assert taken.grid.shape[0] == 2
    assert not isinstance(taken.geometry, Orbit)
    np.testing.assert_allclose(taken.geometry.v(), taken.grid.axis("z"))


def test_that_a_cone_passes_the_slices_left_out_is_said(tmp_path, scanner):
    lines = np.zeros(CONE.shape)
    lines[:, :, 5:8] = np.random.default_rng(0).random((9, 4, 3))
    recording, file = opened(ProjectionFiles(saved(tmp_path / "p.npy", lines), scanner))
    for slices, said in (((1, 2), 1), ((0, None), 0)):
        taken = take(recording, file, Stated(values="lines", slices=slices, repair=False))
        assert taken.lines.shape == CONE.shape
        assert sum("pass the slices that are left out" in remark for remark in taken.remarks) == said
