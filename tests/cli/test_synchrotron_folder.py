"""A folder as DM4CT's synchrotron scans are published, from counts to a volume: docs/dm4ct.md.

The imitation is small and made here: dark_0001.tif, flat_0001.tif and tomo_0001.tif of 16 bits in one folder, half a
turn in even steps, and an axis of rotation that is not in the middle of the detector.
"""

import json
import math
import re

import numpy as np
import pytest
import tifffile
import torch

from coslice.geometry import Grid
from coslice.io.geometry_files import from_astra, read_geometry
from coslice.io.nifti import read_nifti
from coslice.io.recordings import read_recording
from coslice.operators import Projector
from coslice.problems import GridChoice, Stated, from_projections

VIEWS, ROWS, COLUMNS = 90, 4, 56
SHIFT = 2.5  # columns beyond the middle on which the axis falls; that of F3_2 is 62
PIXEL = 0.009
GRID = Grid((ROWS, 44, 44), (PIXEL, PIXEL, PIXEL))


def told(request):
    """The geometry of docs/dm4ct.md, which is of 1200 views and 1653 columns."""
    page = (request.config.rootpath / "docs" / "dm4ct.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    return json.loads(found)


@pytest.fixture
def geometry(request, tmp_path):
    """The same for the imitation: other steps and another axis, all else as on the page."""
    values = told(request)
    values["angles_deg"] = {"start": values["angles_deg"]["start"], "step": 180 / VIEWS}
    values["rotation_axis_column"] = (COLUMNS - 1) / 2 + SHIFT
    path = tmp_path / "rocks.json"
    path.write_text(json.dumps(values))
    return path


def stored_lines(scanner, truth):
    """What the detector would store of a volume's line integrals, (views, rows, columns) in the files' own order."""
    lines = Projector(scanner.geometry, GRID).forward(truth)
    axes = [axis for axis, flipped in ((1, scanner.flip_rows), (2, scanner.flip_columns)) if flipped]
    return lines.flip(axes).numpy()


def rock():
    """Attenuation in 1/mm of grains and pores, each slice otherwise."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in GRID.shape), indexing="ij")
    grains = 1.5 + np.sin(7 * x + 3 * z) * np.cos(9 * y - 2 * z)
    return torch.from_numpy(grains * (x**2 + (y / 0.8) ** 2 < 0.8)).float()


def test_the_geometry_of_the_page_is_that_of_the_published_script(request, geometry):
    """Its script has ASTRA's parallel3d with angles from 0 and the detector moved along u by minus the shift."""
    vectors = []
    for angle in np.linspace(0, math.pi, VIEWS, endpoint=False):
        u = np.array((math.cos(angle), math.sin(angle), 0.0)) * PIXEL
        vectors.append([math.sin(angle), -math.cos(angle), 0, *(-SHIFT * u), *u, 0, 0, PIXEL])
    size = {"DetectorRowCount": ROWS, "DetectorColCount": COLUMNS}
    theirs = from_astra({"type": "parallel3d_vec", **size, "Vectors": vectors})
    ours = read_geometry(geometry, shape=(VIEWS, ROWS, COLUMNS))
    truth = rock()
    # Their slices are apart and begin with the first row of the file; ASTRA's first row is the lowest.
    expected = stored_lines(theirs, truth)[:, ::-1]
    np.testing.assert_allclose(stored_lines(ours, truth), expected, atol=1e-3 * expected.max())
    values = told(request)
    assert values["angles_deg"]["step"] == 180 / 1200 and values["rotation_axis_column"] == (1653 - 1) / 2 + 62
    # Of the cropped columns 463 to 1230 it is 41.5 beside the middle.
    assert values["rotation_axis_column"] - 463 == (768 - 1) / 2 + 41.5


def published_folder(place, lines, photons=5e4, seed=0):
    """Counts of 16 bits: gains from pixel to pixel, dark and flat fields, photons."""
    random = np.random.default_rng(seed)
    gain, dark = random.uniform(0.8, 1.2, lines.shape[1:]), random.uniform(90, 110, lines.shape[1:])

    def frame(transmission):
        return np.round(random.poisson(photons * transmission) * gain + dark).astype(np.uint16)

    place.mkdir()
    for number in range(20):
        tifffile.imwrite(
            place / f"dark_{number + 1:04d}.tif", np.round(dark + random.normal(0, 1, dark.shape)).astype("u2")
        )
        tifffile.imwrite(place / f"flat_{number + 1:04d}.tif", frame(np.ones(lines.shape[1:])))
    for number, view in enumerate(lines):
        tifffile.imwrite(place / f"tomo_{number + 1:04d}.tif", frame(np.exp(-view)))
    return place


def test_counts_of_the_published_layout_become_the_volume_of_the_same_simulated_problem(coslice, geometry, tmp_path):
    truth, scanner = rock(), read_geometry(geometry, shape=(VIEWS, ROWS, COLUMNS))
    lines = stored_lines(scanner, truth)
    assert 0.3 < lines.max() < 3, "neither empty nor opaque"
    folder = published_folder(tmp_path / "F3_2_mono", lines)
    asked = ("--geometry", geometry, "--size", 44, "--spacing", PIXEL, "--method", "fdk")
    code, said, error = coslice("reconstruct", folder, *asked, "--out", tmp_path / "out")
    assert code == 0, error
    np.save(tmp_path / "lines.npy", lines)
    stated = Stated(values="lines", grid=GridChoice(size=44, spacing=PIXEL))
    study = from_projections(read_recording(tmp_path / "lines.npy"), scanner, stated)
    volumes = {
        "counts": read_nifti(tmp_path / "out" / "reconstruction.nii.gz").data,
        "simulated": study.window.from_unit(study.problem.initial()),
    }
    errors = {name: float((volume - truth).square().mean().sqrt()) for name, volume in volumes.items()}
    assert errors["simulated"] < 0.4 * float(truth.std())
    assert errors["counts"] == pytest.approx(errors["simulated"], rel=0.1)
    words = " ".join(said.split())
    assert "flat_#.tif (20 files) was taken for the flat field" in words
    assert "dark_#.tif (20 files) was taken for the dark field" in words
