"""Laws of sheets of slices: the pictures are the slices, frames are about the lesions, numbers are of the slice."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from coslice.benchmark import SliceFigure
from coslice.report.pictures import grey, square, view
from coslice.report.slice_sheets import SheetContent, _frame, _numbers, slice_sheet

HU = (-1000.0, 1600.0)
BOX = ((3, 5), (20, 24), (6, 10))


def slices(**over):
    volume = torch.rand(12, 32, 32, generator=torch.Generator().manual_seed(0))
    curves = {"DDS": {"axial": {"index": [4, 6], "psnr": [20.0, 31.256], "ssim": [0.5, 0.87654]}}}
    settings = {
        "title": "Few views",
        "volumes": {"Truth": volume, "DDS": volume.square()},
        "spacing": (2.0, 2.0, 2.0),
        "window": HU,
        "unit": "HU",
        "curves": curves,
        "lesions": [BOX],
    }
    return SheetContent(**settings | over)


@pytest.mark.parametrize(("window", "display"), [("soft", (-175.0, 275.0)), (None, (-480.0, 820.0))])
def test_the_pictures_of_a_sheet_are_the_slices_in_their_window(window, display):
    """At 200 dots an inch a picture is 320 wide, beside margins of 44: the slice, each voxel 10 x 10."""
    shown = slices(volumes={"Truth": torch.zeros(12, 32, 32), "DDS": torch.full((12, 32, 32), 0.4)})
    sheet = slice_sheet(SliceFigure(planes=("axial",), window=window), shown)
    assert sheet is not None and f"{display[0]:g} to {display[1]:g} HU" in sheet.title
    pixels = np.asarray(Image.open(io.BytesIO(sheet.png)).convert("L"))
    hu = -1000 + 0.4 * 2600
    expected = round(255 * (hu - display[0]) / (display[1] - display[0]))
    assert abs(int(pixels[100, 200]) - 0) <= 1 and abs(int(pixels[100, 44 + 328 + 160]) - expected) <= 1


def test_the_same_volumes_give_the_same_sheet_and_errors_stand_below():
    plain = slice_sheet(SliceFigure(planes=("axial",)), slices())
    again = slice_sheet(SliceFigure(planes=("axial",)), slices())
    wrong = slice_sheet(SliceFigure(planes=("axial",), errors=True), slices())
    assert plain and again and wrong
    assert (plain.png, plain.pdf) == (again.png, again.pdf) and plain.name == "slices-few-views-axial"
    heights = [Image.open(io.BytesIO(sheet.png)).height for sheet in (plain, wrong)]
    assert heights[1] - heights[0] == pytest.approx(328, abs=1)
    assert "absolute errors" in wrong.title and "absolute errors" not in plain.title


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_frame_of_a_lesion_holds_all_of_it_in_its_middle(plane):
    marked = torch.zeros(12, 32, 32)
    marked[tuple(slice(*ends) for ends in BOX)] = 1
    at = {"axial": 4 / 12, "coronal": 22 / 32, "sagittal": 8 / 32}[plane]
    picture = square(grey(view(marked, plane, at), (0.0, 1.0), (0.0, 1.0)), plane, (2.0, 2.0, 2.0))
    left, top, right, bottom = _frame(BOX, plane, slices(), picture.size)
    rows, columns = np.nonzero(np.asarray(picture))
    assert left <= columns.min() and columns.max() < right and top <= rows.min() and rows.max() < bottom
    across = (columns.min() + columns.max() + 1) / 2
    assert abs((left + right) / 2 - across) <= 1 or left == 0 or right == picture.width
    assert right - left == min(15, picture.width), "30 mm of 2 mm voxels"


def test_numbers_are_those_of_the_slice_that_is_shown():
    curves = slices().curves["DDS"]["axial"]
    assert _numbers(curves, 6) == "31.26 / 0.877" and _numbers(curves, 5) == "" and _numbers(None, 6) == ""
    assert _numbers({**curves, "ssim": None}, 4) == "20.00"


def test_a_group_without_the_lesion_or_the_rows_has_no_sheet():
    assert slice_sheet(SliceFigure(lesion=2), slices()) is None
    assert slice_sheet(SliceFigure(rows=("FDK",)), slices()) is None
