"""Laws of pictures: where the patient is in them, what is grey, what a strip enlarges."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from coslice.axes import PLANES, axis_number
from coslice.errors import CosliceError
from coslice.report import error_map, grey, picture, view
from coslice.report.pictures import square, typeface
from ramps import HU, SHAPE, SPACING, ramp

# The first and last voxel of each axis of a RAS+ volume (z, y, x), by where in the patient it is.
PLACES = {"inferior": ("z", 0), "superior": ("z", -1), "posterior": ("y", 0), "anterior": ("y", -1)}
PLACES |= {"left": ("x", 0), "right": ("x", -1)}


@pytest.mark.parametrize(
    ("plane", "up", "on_the_right"),
    [("axial", "anterior", "left"), ("coronal", "superior", "left"), ("sagittal", "superior", "posterior")],
)
def test_a_mark_in_the_patient_is_where_a_radiologist_looks_for_it(plane, up, on_the_right):
    volume = torch.zeros(SHAPE)
    where: dict[str, int | slice] = dict.fromkeys("zyx", slice(None))
    for place in (up, on_the_right):
        axis, index = PLACES[place]
        where[axis] = index
    volume[where["z"], where["y"], where["x"]] = 1
    image = view(volume, plane)
    assert image[0, -1] == 1, "up and to the right"
    assert image.sum() == 1


@pytest.mark.parametrize("plane", PLANES)
def test_view_cuts_the_middle_and_the_asked_slice(plane):
    axis = axis_number(PLANES[plane].along)
    numbered = torch.arange(SHAPE[axis], dtype=torch.float32).reshape([-1 if a == axis else 1 for a in range(3)])
    volume = numbered.expand(SHAPE)
    for at, index in ((0.0, 0), (0.5, SHAPE[axis] // 2), (1.0, SHAPE[axis] - 1)):
        assert np.unique(view(volume, plane, at)).tolist() == [index]


@pytest.mark.parametrize("spacing", [(2.0, 1.0, 1.0), (0.5, 1.5, 1.5), (1.0, 0.7, 1.4)])
def test_a_picture_has_the_proportions_of_the_patient(spacing):
    sides = {axis: n * s for axis, n, s in zip("zyx", SHAPE, spacing, strict=True)}
    for name, plane in PLANES.items():
        width, height = square(grey(view(ramp(), name), **HU), name, spacing).size
        assert width / height == pytest.approx(sides[plane.columns] / sides[plane.rows], rel=0.06)


def test_grey_is_linear_between_the_display_ends_and_clips_beyond():
    low, high = HU["window"]
    hu = np.array([[-1000.0, -480.0, 170.0, 820.0, 1600.0, 5000.0]])
    np.testing.assert_array_equal(grey((hu - low) / (high - low), **HU), [[0, 0, 128, 255, 255, 255]])


def test_errors_grow_brighter_and_saturate():
    light = error_map(np.array([[0.0, 10.0, 50.0, 100.0, 900.0]]), limit=100.0).astype(int).sum(-1)[0]
    assert (np.diff(light[:4]) > 0).all()
    assert light[0] < 10
    assert light[4] == light[3]


@pytest.mark.parametrize(
    ("window", "unit", "display"),
    [
        ((-1000.0, 1600.0), "HU", (-480.0, 820.0)),
        ((-160.0, 240.0), "HU", (-160.0, 240.0)),
        ((0.0, 900.0), "HU", (0.0, 900.0)),
        ((-1000.0, 1600.0), "a.u.", (-1000.0, 1600.0)),
    ],
)
def test_a_strip_shows_the_papers_greys_for_ct_and_the_window_for_others(window, unit, display):
    strips = []
    ways: list[dict[str, Any]] = [{"unit": unit}, {"display": display}]
    for how in ways:
        buffer = io.BytesIO()
        picture(buffer, {"Mark": ramp()}, spacing=SPACING, window=window, **how)
        strips.append(buffer.getvalue())
    assert strips[0] == strips[1]


def test_a_strip_leaves_out_a_truth_nobody_knows():
    strips = []
    for volumes in ({"truth": None, "DDS": ramp()}, {"DDS": ramp()}):
        buffer = io.BytesIO()
        picture(buffer, volumes, spacing=SPACING, **HU)
        strips.append(buffer.getvalue())
    assert strips[0] == strips[1]
    with pytest.raises(CosliceError, match="no volume"):
        picture(io.BytesIO(), {"truth": None}, spacing=SPACING, **HU)


def test_a_strip_has_a_column_for_each_volume_and_equal_ones_look_equal(tmp_path):
    width = 60
    volumes = {"Truth": ramp(), "Same": ramp(), "Other": ramp(5)}
    picture(tmp_path / "strip.png", volumes, spacing=SPACING, width=width, **HU)
    buffer = io.BytesIO()
    picture(buffer, volumes, spacing=SPACING, width=width, **HU)
    assert buffer.getvalue() == (tmp_path / "strip.png").read_bytes()
    sheet = np.asarray(Image.open(buffer).convert("RGB"))
    gap, head = 2, 18
    columns = [sheet[head:, gap + i * (width + gap) :][:, :width] for i in range(3)]
    np.testing.assert_array_equal(columns[0], columns[1])
    assert (columns[0] != columns[2]).any()
    assert sheet.shape[1] == 3 * (width + gap) + gap


def test_a_strip_enlarges_what_it_frames():
    volume = torch.zeros(40, 40, 40)
    volume[20:, :, :10] = 1  # superior and left: up and to the right
    buffer = io.BytesIO()
    how: dict[str, Any] = {"spacing": (1.0, 1.0, 1.0), "window": (0.0, 1.0), "display": (0.0, 1.0), "width": 80}
    picture(buffer, {"Mark": volume}, planes=["coronal"], focus=(0.0, 1.0), **how)
    # Framed are the upper 10 rows and the last 20 of 40 columns, so the mark's edge is half across.
    part = np.asarray(Image.open(buffer).convert("L"))[18 + 80 + 2 :, 2:82][:40]
    assert part[:, :36].max() < 50
    assert part[:, 44:].min() > 200


@pytest.mark.parametrize("across", [0.25, 0.6])
def test_a_strip_enlarges_the_most_detailed_part_of_the_first_volume(across):
    plain, detailed = torch.full((40, 40, 40), 0.4), torch.full((40, 40, 40), 0.4)
    middle = round(40 * across)
    rows = torch.arange(40) % 2 * 0.2
    detailed[10:20, :, 40 - middle - 10 : 40 - middle + 10] += rows[10:20, None, None]
    detailed[:, :, :3] = 0  # an outline, however sharp, is no detail
    how: dict[str, Any] = {"spacing": (1.0, 1.0, 1.0), "window": (0.0, 1.0), "planes": ["coronal"]}
    strips = []
    for volumes, focus in (((detailed, plain), None), ((detailed, plain), (25 / 40, across)), ((plain, plain), None)):
        buffer = io.BytesIO()
        picture(buffer, {"First": volumes[0], "Second": volumes[1]}, focus=focus, **how)
        strips.append(buffer.getvalue())
    assert strips[0] == strips[1]
    centred = io.BytesIO()
    picture(centred, {"First": plain, "Second": plain}, focus=(0.5, 0.5), **how)
    assert strips[2] == centred.getvalue(), "the middle where nothing stands out"


def test_an_unknown_plane_is_refused():
    with pytest.raises(CosliceError, match=r"oblique.*axial, coronal, sagittal"):
        view(ramp(), "oblique")


def test_names_with_accents_have_letters_of_their_own():
    font = typeface(20)
    accented, missing, another = (list(font.getmask(letter)) for letter in ("é", "\uffff", "\ufffe"))  # type: ignore
    assert accented != missing == another
    assert font.getlength("Matérn") == font.getlength("Matern")
