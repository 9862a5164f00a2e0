"""Slices as a reader of images expects them: from a volume (z, y, x) to pixels.

A canonical volume grows towards the patient's right along x, anterior along y, superior along z (RAS+).
Radiologists look from the patient's feet and from the patient's left:

    plane     rows run from ... to ...     columns run from ... to ...
    axial     anterior -> posterior        right -> left
    coronal   superior -> inferior         right -> left
    sagittal  superior -> inferior         anterior -> posterior

so every plane is the volume reversed along its two axes, and the patient's left is on the picture's right.
A picture has square pixels: each side is its length in mm divided by the finer of the two spacings. Grey is

    HU = low + unit (high - low),   grey = clip((HU - black) / (white - black), 0, 1)

with `window` = (low, high), the HU of unit 0 and 1, and `display` = (black, white): the papers' choice for CT, the
whole window for everything else. Other units than HU, such as those of MR, take the same way.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from coslice.axes import AXES, PLANES, axis_number
from coslice.errors import CosliceError
from coslice.io.files import write_bytes
from coslice.window import DISPLAYS

__all__ = [
    "PAPER_RANGE",
    "Range",
    "Spacing",
    "check_volumes",
    "error_map",
    "error_scale",
    "fitted",
    "grey",
    "picture",
    "png",
    "shown",
    "slice_index",
    "square",
    "typeface",
    "view",
    "zoom_box",
]

Spacing = tuple[float, float, float]
Range = tuple[float, float]
Place = tuple[float, float]

PAPER_RANGE = DISPLAYS["chest"]
"""HU black and white in the figures of both papers."""


_THIN = 4
"""A volume of fewer slices along an axis has no picture across it."""


def shown(window: Range, unit: str = "HU") -> Range:
    """The values shown black and white by default: the papers' for CT whose window holds them, else all of `window`."""
    holds = window[0] <= PAPER_RANGE[0] and PAPER_RANGE[1] <= window[1]
    return PAPER_RANGE if unit == "HU" and holds else window


def check_volumes(who: str, volumes: Mapping[str, Tensor], spacing: Spacing, window: Range, display: Range) -> None:
    """Raise `CosliceError` unless there are volumes, finite and of one shape (z, y, x), and sane ranges."""
    if not volumes:
        raise CosliceError(f"{who}: no volume was given, at least one is needed to draw.")
    first, reference = next(iter(volumes.items()))
    for name, volume in volumes.items():
        if volume.ndim != 3 or not volume.numel() or volume.shape != reference.shape:
            raise CosliceError(
                f"{who}: '{name}' has shape {tuple(volume.shape)} and '{first}' has {tuple(reference.shape)}; "
                "volumes of one shape (z, y, x), with voxels in them, are needed."
            )
        if not bool(volume.isfinite().all()):
            raise CosliceError(f"{who}: '{name}' holds values that are not finite; repair or leave out that volume.")
    if len(spacing) != 3 or not all(math.isfinite(s) and s > 0 for s in spacing):
        raise CosliceError(f"{who}: spacing {spacing} mm was given, three positive numbers (z, y, x) are needed.")
    for name, (low, high) in (("window", window), ("display", display)):
        if not low < high:
            raise CosliceError(f"{who}: {name} ({low:g}, {high:g}) was given, (low, high) with low < high is needed.")


def slice_index(size: int, at: float) -> int:
    """The slice at a place from 0 (first) to 1 (last) of `size` slices."""
    return min(int(at * size), size - 1)


def view(volume: Tensor, plane: str, at: float = 0.5) -> np.ndarray:
    """One slice of a RAS+ volume as a radiologist looks at it.

    Args:
        volume: (z, y, x).
        plane: "axial", "coronal" or "sagittal".
        at: where along the axis its slices are stacked along, from 0 (first slice) to 1 (last); 0.5 is the middle.

    Returns:
        (rows, columns), float32, turned as the table in the module's docstring says.

    Raises:
        CosliceError: for another plane, or `at` outside 0..1.
    """
    if plane not in PLANES or not 0 <= at <= 1:
        raise CosliceError(
            f"view: plane '{plane}' at {at:g} was asked for; choose one of {', '.join(PLANES)} and a place in 0..1."
        )
    axis = axis_number(PLANES[plane].along)
    image = volume.detach().select(axis, slice_index(volume.shape[axis], at))
    return np.ascontiguousarray(image.cpu().float().numpy()[::-1, ::-1])


def grey(image: np.ndarray, window: Range, display: Range) -> np.ndarray:
    """uint8 grey of an image in units: `display` (black, white) and `window` (unit 0, unit 1) in HU."""
    hu = window[0] + image * (window[1] - window[0])
    return np.rint(255 * np.clip((hu - display[0]) / (display[1] - display[0]), 0, 1)).astype(np.uint8)


def error_scale(volumes: Mapping[str, Tensor], window: Range) -> float:
    """The end of a scale of absolute errors for all methods, in the unit of `window`: 1, 2, 5, 10, ...

    On the middle slices, half the methods stay below it at 99 %; 1 where there is nothing to compare.

    Args:
        volumes: (z, y, x) in the unit window, the truth first.
        window: value of unit 0 and of unit 1.
    """
    truth, *others = volumes.values()
    cuts = [[np.abs(view(volume, plane) - view(truth, plane)).ravel() for plane in PLANES] for volume in others]
    if not cuts:
        return 1.0
    tails = [np.quantile(np.concatenate(errors), 0.99) for errors in cuts]
    return _nice((window[1] - window[0]) * float(np.median(tails)))


def _nice(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, ... from `value` up; 1 for 0."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if value <= step * power * (1 + 1e-9))


def error_map(error: np.ndarray, limit: float) -> np.ndarray:
    """uint8 RGB (rows, columns, 3) of an absolute error: black at 0, brightest from `limit` on."""
    level = np.rint(255 * np.clip(error / limit, 0, 1)).astype(np.uint8)
    return colormaps["inferno"](level, bytes=True)[..., :3]


def square(pixels: np.ndarray, plane: str, spacing: Spacing) -> Image.Image:
    """A picture of (rows, columns) pixels of `plane`, resampled so that its own pixels are square."""
    mm = dict(zip(AXES, spacing, strict=True))
    row, column = mm[PLANES[plane].rows], mm[PLANES[plane].columns]
    pitch = min(row, column)
    height, width = (max(1, round(n * s / pitch)) for n, s in zip(pixels.shape[:2], (row, column), strict=True))
    return _resized(Image.fromarray(pixels), width, height)


def png(image: Image.Image) -> bytes:
    """The bytes of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")  # to optimise takes six times as long and saves a twentieth
    return buffer.getvalue()


def zoom_box(image: Image.Image, focus: Place | None) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the part to enlarge: 2:1, whole height of a slab, at most half a block's width."""
    width, height = image.size
    tall = height if width >= 3 * height else max(1, round(min(0.4 * height, 0.25 * width)))
    wide = min(2 * tall, width)
    if focus is None:
        top, left = _busiest(np.asarray(image, dtype=np.float64), tall, wide)
    else:
        left = min(max(round(focus[1] * width - wide / 2), 0), width - wide)
        top = min(max(round(focus[0] * height - tall / 2), 0), height - tall)
    return left, top, left + wide, top + tall


def _busiest(image: np.ndarray, tall: int, wide: int) -> tuple[int, int]:
    """(top, left) of the box with the most change between neighbouring pixels; the middlest of equals."""
    change = np.zeros((image.shape[0] + 1, image.shape[1] + 1))
    for axis, inner in ((0, change[2:, 1:]), (1, change[1:, 2:])):
        first, second = image.take(range(image.shape[axis] - 1), axis), image.take(range(1, image.shape[axis]), axis)
        # A tenth of white is black to the eye, and the outline against black no detail.
        inner += np.abs(second - first) * (np.minimum(first, second) > 25)
    sums = change.cumsum(0).cumsum(1)
    boxes = sums[tall:, wide:] - sums[:-tall, wide:] - sums[tall:, :-wide] + sums[:-tall, :-wide]
    down, across = (np.abs(np.arange(n) - (n - 1) / 2) / n for n in boxes.shape)
    most = np.where(boxes >= boxes.max() * (1 - 1e-9), down[:, None] + across, np.inf)
    top, left = np.unravel_index(most.argmin(), most.shape)
    return int(top), int(left)


def fitted(image: Image.Image, width: int) -> Image.Image:
    """A picture of another width, of its proportions."""
    return _resized(image, width, max(1, round(image.height * width / image.width)))


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    # Smooth to the eye, where coslice.resampling is exact: these are pixels of a picture, no longer a measurement.
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BICUBIC)


def _column(wholes: Sequence[Image.Image], boxes: Sequence[tuple[int, int, int, int]], width: int) -> list[Image.Image]:
    """Top to bottom: every plane with its enlarged part framed, and that part."""
    tiles = []
    for whole, box in zip(wholes, boxes, strict=True):
        part = fitted(whole.crop(box), width)
        scale = width / whole.width
        whole = fitted(whole, width).convert("RGB")
        frame = [round(side * scale) for side in box]
        ImageDraw.Draw(whole).rectangle((frame[0], frame[1], frame[2] - 1, frame[3] - 1), outline=(240, 180, 40))
        tiles += [whole, part.convert("RGB")]
    return tiles


def _worth_seeing(shape: Sequence[int]) -> tuple[str, ...]:
    thin = [plane.name for plane in PLANES.values() if shape[axis_number(plane.along)] < _THIN]
    return (thin[0],) if thin else ("coronal", "sagittal")


def typeface(size: int) -> ImageFont.FreeTypeFont:
    """Letters of every name of a method: Pillow's own font has no accents."""
    import matplotlib

    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)


def picture(
    target: str | Path | BinaryIO,
    volumes: Mapping[str, Tensor | None],
    *,
    spacing: Spacing,
    window: Range,
    display: Range | None = None,
    unit: str = "HU",
    planes: Sequence[str] | None = None,
    at: float = 0.5,
    focus: Place | None = None,
    width: int = 320,
) -> None:
    """A PNG strip to compare volumes: one column each; every plane whole, then a part of it enlarged.

    Args:
        target: a path, replaced whole or not at all, or a binary file open for writing.
        volumes: by the name to print on top, (z, y, x) in units of `window`; None, as of a truth that is not
            known, is left out.
        spacing: (dz, dy, dx), mm.
        window: value in `unit` of unit 0 and of unit 1.
        display: values in `unit` shown black and white; None takes `shown(window, unit)`.
        unit: the name of the physical unit of `window`.
        planes: which to draw, top to bottom; None takes the coronal and the sagittal one, or, of a volume too thin for
            pictures of them, the one it is not thin across.
        at: place of the slices along the axis they are cut across, 0..1.
        focus: (down, across), each 0..1: where in the picture the enlarged part is centred; None takes the part of
            the first volume with the most detail.
        width: of a column, pixels.

    Raises:
        CosliceError: for volumes of different shapes, values that are not finite, or an unknown plane.
    """
    display = shown(window, unit) if display is None else display
    known = {name: volume for name, volume in volumes.items() if volume is not None}
    check_volumes("picture", known, spacing, window, display)
    planes = _worth_seeing(next(iter(known.values())).shape) if planes is None else planes
    wholes = {
        name: [square(grey(view(volume, plane, at), window, display), plane, spacing) for plane in planes]
        for name, volume in known.items()
    }
    boxes = [zoom_box(image, focus) for image in next(iter(wholes.values()))]
    columns = {name: _column(images, boxes, width) for name, images in wholes.items()}
    gap, head = max(2, width // 80), max(18, width // 12)
    heights = [tile.height for tile in next(iter(columns.values()))]
    sheet = Image.new(
        "RGB", (len(columns) * (width + gap) + gap, head + sum(heights) + gap * len(heights)), (17, 17, 17)
    )
    draw, font = ImageDraw.Draw(sheet), typeface(round(head * 0.6))
    for column, (name, tiles) in enumerate(columns.items()):
        left, top = gap + column * (width + gap), head
        draw.text((left + width / 2, head / 2), name, fill=(230, 230, 230), font=font, anchor="mm")
        for tile in tiles:
            sheet.paste(tile, (left, top))
            top += tile.height + gap
    if isinstance(target, (str, Path)):
        write_bytes(target, png(sheet))
    else:
        target.write(png(sheet))
