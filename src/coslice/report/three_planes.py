"""Small pictures of volumes: the three middle planes side by side, a row for each volume, at one scale in mm."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from coslice.axes import AXES, PLANES
from coslice.report.pictures import Range, Spacing, grey, png, typeface, view

__all__ = ["three_planes"]

_GAP, _HEAD = 4, 18
_BACK, _INK = (17, 17, 17), (230, 230, 230)


def three_planes(
    volumes: Mapping[str, Tensor], spacing: Spacing, window: Range, display: Range, side: int = 200
) -> bytes:
    """A PNG of the middle axial, coronal and sagittal slice of every volume.

    Args:
        volumes: by the name that is printed over its row, (z, y, x) in units of `window`; one without a name has none.
            Voxels that are no numbers are black.
        spacing: (dz, dy, dx), mm.
        window: value of unit 0 and of unit 1.
        display: values shown black and white.
        side: pixels of the longest side of a plane.
    """
    shape = next(iter(volumes.values())).shape
    mm = {axis: n * d for axis, n, d in zip(AXES, shape, spacing, strict=True)}
    scale = side / max(mm.values())
    sizes = {p.name: tuple(max(1, round(mm[axis] * scale)) for axis in (p.columns, p.rows)) for p in PLANES.values()}
    heads = {name: _HEAD if name else 0 for name in volumes}
    width = sum(wide for wide, _ in sizes.values()) + _GAP * (len(sizes) + 1)
    tall = max(high for _, high in sizes.values())
    sheet = Image.new("RGB", (width, sum(heads.values()) + (tall + _GAP) * len(volumes) + _GAP), _BACK)
    draw, top = ImageDraw.Draw(sheet), _GAP
    for name, volume in volumes.items():
        if name:
            draw.text((_GAP, top + _HEAD / 2), name, fill=_INK, font=typeface(12), anchor="lm")
        top, left = top + heads[name], _GAP
        for plane, (wide, high) in sizes.items():
            image = Image.fromarray(grey(np.nan_to_num(view(volume, plane), nan=-np.inf), window, display))
            sheet.paste(image.resize((wide, high), Image.Resampling.BICUBIC), (left, top + (tall - high) // 2))
            left += wide + _GAP
        top += tall + _GAP
    return png(sheet)
