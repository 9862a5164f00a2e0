"""Sheets of slices for papers: columns are the truth and the rows of a group, lines are planes.

    FDK | DDS | ...         titles
    [ whole slice  ]        PSNR / SSIM of this slice in its corner; a part framed, if one is asked for
    [ that part    ]        enlarged
    [ |error|      ]        on one scale for the sheet, if asked for

Every picture has the width of a column, so a slab that is thin along z is a strip; where a strip is too low for
numbers, they stand in the part that is enlarged. Frames are amber, those of lesions cyan.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor

from coslice.axes import PLANES, axis_number
from coslice.benchmark import SliceFigure
from coslice.report.pictures import (
    Range,
    Spacing,
    error_map,
    error_scale,
    fitted,
    grey,
    shown,
    slice_index,
    square,
    view,
    zoom_box,
)
from coslice.report.style import STYLE, content, literal

__all__ = ["Sheet", "SheetContent", "slice_sheet"]

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""First and last (not included) voxel along z, y and x."""

_LETTERS = 80
"""Of a title in the name of a file."""
_DPI, _COLUMN, _GAP, _HEAD, _SIDE = 200, 1.6, 0.04, 0.22, 0.22  # dots an inch; inches
_LOWEST = 0.3  # inches that numbers need
_AMBER, _CYAN = "#f0b428", "#00d7ff"
_OVER: dict[str, Any] = {"color": "white", "bbox": {"facecolor": "black", "alpha": 0.6, "pad": 0.8, "linewidth": 0}}
_GREY: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255, "interpolation": "none", "aspect": "auto"}
_MARGIN = 30.0  # mm, the least side of a frame about a lesion


@dataclass(frozen=True)
class Sheet:
    """A sheet, drawn.

    Attributes:
        name: for its files.
        title: what it shows, in words.
        png, pdf: its bytes.
    """

    name: str
    title: str
    png: bytes
    pdf: bytes


@dataclass(frozen=True)
class SheetContent:
    """What a sheet is made of.

    Attributes:
        title: of the group.
        volumes: by name, (z, y, x) in the unit window, the truth first.
        spacing: (dz, dy, dx), mm.
        window: value in `unit` of unit 0 and of unit 1.
        unit: "HU" for CT.
        curves: by name, plane and metric, as in the records of a benchmark; None of the truth.
        lesions: where they are.
    """

    title: str
    volumes: Mapping[str, Tensor]
    spacing: Spacing
    window: Range
    unit: str
    curves: Mapping[str, Mapping[str, Mapping[str, Any]]]
    lesions: Sequence[Box] = ()


@dataclass(frozen=True)
class _Line:
    """Pictures of one height, one for each column; None leaves a place empty."""

    plane: str
    tiles: list[Image.Image | None]
    frame: tuple[float, float, float, float] | None = None
    colour: str = _AMBER
    texts: Sequence[str] = ()

    @property
    def height(self) -> float:
        """Inches."""
        tile = next(tile for tile in self.tiles if tile is not None)
        tall = _COLUMN * tile.height / tile.width
        return max(tall, _LOWEST) if any(self.texts) else tall


def slice_sheet(figure: SliceFigure, slices: SheetContent) -> Sheet | None:
    """The sheet of a group; None where the figure is of a lesion that the group has not, or of none of its rows."""
    truth, *others = slices.volumes
    rows = [row for row in figure.rows or others if row in others]
    if not rows or (figure.lesion is not None and figure.lesion > len(slices.lesions)):
        return None
    volumes = {name: slices.volumes[name] for name in (truth, *rows)}
    display = figure.display or shown(slices.window, slices.unit)
    limit = error_scale(volumes, slices.window) if figure.errors else None
    lines = [line for plane in figure.planes for line in _lines(figure, slices, volumes, plane, display, limit)]
    with matplotlib.rc_context(STYLE):
        canvas = _laid_out(list(volumes), lines)
        png, pdf = content(canvas, "png"), content(canvas, "pdf")
    ends = f"{display[0]:g} to {display[1]:g} {slices.unit}".rstrip()
    words = f"{slices.title}: {', '.join(figure.planes)} slices, {ends}"
    if limit is not None:
        words += f"; absolute errors, 0 to {limit:g} {slices.unit}".rstrip()
    short = "-".join(re.findall(r"[a-z0-9]+", slices.title.lower()))[:_LETTERS]
    name = "-".join(["slices", *([short] if short else []), *figure.planes])
    return Sheet(name, words, png, pdf)


def _lines(
    figure: SliceFigure,
    slices: SheetContent,
    volumes: Mapping[str, Tensor],
    plane: str,
    display: Range,
    limit: float | None,
) -> list[_Line]:
    lesion = None if figure.lesion is None else slices.lesions[figure.lesion - 1]
    at = figure.place(plane) if lesion is None else _through(lesion, plane, next(iter(volumes.values())))
    cuts = {name: view(volume, plane, at) for name, volume in volumes.items()}
    wholes = [square(grey(cut, slices.window, display), plane, slices.spacing) for cut in cuts.values()]
    box, colour = None, _AMBER
    if lesion is not None:
        box, colour = _frame(lesion, plane, slices, wholes[0].size), _CYAN
    elif figure.enlarges(plane):
        box = zoom_box(wholes[0], figure.focus(plane))
    index = slice_index(next(iter(volumes.values())).shape[axis_number(PLANES[plane].along)], at)
    texts = ["", *(_numbers(slices.curves.get(name, {}).get(plane), index) for name in [*volumes][1:])]
    width = round(_COLUMN * _DPI)
    whole = _Line(plane, [fitted(image, width) for image in wholes], texts=texts)
    lines = [whole]
    if box is not None:
        parts = [fitted(image.crop(box), width) for image in wholes]
        low = whole.tiles[0] is not None and _COLUMN * whole.tiles[0].height / width < _LOWEST
        scaled = tuple(side / size for side, size in zip(box, (*wholes[0].size, *wholes[0].size), strict=True))
        frame = (scaled[0], scaled[1], scaled[2], scaled[3])
        lines = [
            _Line(plane, whole.tiles, frame, colour, () if low else texts),
            _Line(plane, [*parts], None, colour, texts if low else ()),
        ]
    if limit is not None:
        span = slices.window[1] - slices.window[0]
        truth = next(iter(cuts.values()))
        maps = [
            fitted(square(error_map(span * np.abs(cut - truth), limit), plane, slices.spacing), width)
            for cut in [*cuts.values()][1:]
        ]
        lines.append(_Line(plane, [None, *maps], texts=(f"|error|, 0 to {limit:g} {slices.unit}".rstrip(),)))
    return lines


def _numbers(curves: Mapping[str, Any] | None, index: int) -> str:
    """PSNR / SSIM of a slice; "" where they were not measured."""
    if curves is None or index not in curves["index"]:
        return ""
    place = list(curves["index"]).index(index)
    found = [(curves[name], decimals) for name, decimals in (("psnr", 2), ("ssim", 3))]
    return " / ".join(f"{values[place]:.{decimals}f}" for values, decimals in found if values)


def _through(lesion: Box, plane: str, volume: Tensor) -> float:
    """The place of the slice through the middle of a lesion."""
    axis = axis_number(PLANES[plane].along)
    return (sum(lesion[axis]) / 2) / volume.shape[axis]


def _frame(lesion: Box, plane: str, slices: SheetContent, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a square about a lesion, three times as wide as it, as far as there is picture."""
    shape = next(iter(slices.volumes.values())).shape
    longest = max((b - a) * mm for (a, b), mm in zip(lesion, slices.spacing, strict=True))
    side, ends = max(3 * longest, _MARGIN), []
    for axis_name, pixels in ((PLANES[plane].columns, size[0]), (PLANES[plane].rows, size[1])):
        axis = axis_number(axis_name)
        count, mm = shape[axis], slices.spacing[axis]
        scale = pixels / (count * mm)
        middle = (count - sum(lesion[axis]) / 2) * mm * scale  # pictures run against the axes
        wide = min(round(side * scale), pixels)
        first = min(max(round(middle - wide / 2), 0), pixels - wide)
        ends.append((first, first + wide))
    (left, right), (top, bottom) = ends
    return left, top, right, bottom


def _laid_out(titles: Sequence[str], lines: Sequence[_Line]) -> Canvas:
    width = _SIDE + len(titles) * (_COLUMN + _GAP)
    height = _HEAD + sum(line.height + _GAP for line in lines)
    canvas = Canvas(figsize=(width, height), dpi=_DPI)
    lefts = [_SIDE + i * (_COLUMN + _GAP) for i in range(len(titles))]
    for left, title in zip(lefts, titles, strict=True):
        _write(canvas, left + _COLUMN / 2, _HEAD / 2, literal(title), ha="center", va="center", fontsize=8)
    top = _HEAD
    for plane, found in groupby(lines, key=lambda line: line.plane):
        middle = top + sum(line.height + _GAP for line in found) / 2
        _write(canvas, _SIDE / 2, middle, plane, ha="center", va="center", fontsize=7, rotation=90)
        top = 2 * middle - top
    top = _HEAD
    for line in lines:
        for i, (left, tile) in enumerate(zip(lefts, line.tiles, strict=True)):
            text = line.texts[i] if i < len(line.texts) else ""
            tall = 0.0
            if tile is not None:
                tall = _COLUMN * tile.height / tile.width
                place = (left / width, 1 - (top + tall) / height, _COLUMN / width, tall / height)
                axes = canvas.add_axes(place, frameon=False, xticks=[], yticks=[], xlim=(0, 1), ylim=(1, 0))
                axes.imshow(np.asarray(tile), extent=(0, 1, 1, 0), **_GREY)
                if line.frame is not None:
                    x, y, right, bottom = line.frame
                    box = Rectangle((x, y), right - x, bottom - y, fill=False, edgecolor=line.colour, linewidth=0.8)
                    axes.add_patch(box)
            if text:
                style = _OVER if tall >= _LOWEST else {}  # black on the paper beside a strip, else white on the picture
                _write(canvas, left + 0.04, top + line.height - 0.04, text, va="bottom", fontsize=6, **style)
        top += line.height + _GAP
    return canvas


def _write(canvas: Canvas, x: float, y: float, text: str, **style: Any) -> None:
    """Words at inches from the left and the top."""
    width, height = canvas.get_size_inches()
    canvas.text(x / width, 1 - y / height, text, **style)
