"""How bright the images of a scan are: three numbers that its size and field of view hardly change.

Of an image u in the unit window, with q its 99th percentile,

    level      the mean of its voxels of q/2 and more: of a CT soft tissue and bone, of a brain what is no ventricle
    bright     q
    clipped    the share of its voxels that lie at the window's upper end, 1, or beyond

and of a scan: the medians of `level` and `bright` over its images, and the share `clipped` that a tenth of its images
exceed, since metal is in few slices. How much air is around a body, and whether an image shows it whole or in part,
moves its mean several times over; these numbers it leaves alone. They follow the unit, the window and the scale of a
scan, what fills it (contrast medium, metal), and what was never there.

A prior's card holds what its training scans had, from the smallest to the largest (`spans`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from coslice.window import EMPTY

__all__ = ["Brightness", "brightness_of", "spans"]

_PERCENTILE, _TENTH = 99.0, 90.0
_IMAGES = 64
"""That are looked at, evenly through a scan."""


@dataclass(frozen=True)
class Brightness:
    """Of a scan, in the unit window; see the module.

    Attributes:
        level: of what is bright in its images.
        bright: 99th percentile of its images.
        clipped: share of the voxels of an image at 1 and beyond.
    """

    level: float
    bright: float
    clipped: float


def brightness_of(images: np.ndarray, full: float = 1.0) -> Brightness:
    """Of images (n, rows, columns). Those that show nothing (`coslice.window.EMPTY`) are left out, if any show more.

    Args:
        images: of one scan, as a prior is to see them; they may be mapped from a file.
        full: the value that stands for 1.
    """
    chosen = np.unique(np.linspace(0, len(images) - 1, min(_IMAGES, len(images))).round().astype(int))
    found = [_of_image(np.asarray(images[k], dtype=np.float32) / full) for k in chosen]
    shown = [numbers for largest, *numbers in found if largest >= EMPTY] or [numbers for _, *numbers in found]
    level, bright, clipped = np.array(shown).T
    return Brightness(float(np.median(level)), float(np.median(bright)), float(np.percentile(clipped, _TENTH)))


def spans(scans: Iterable[Brightness]) -> dict[str, list[float]]:
    """By name, the smallest and the largest number among scans, to four decimals of the window; {} of none."""
    rows = [(one.level, one.bright, one.clipped) for one in scans]
    names = Brightness.__dataclass_fields__
    return {
        name: [round(min(column), 4), round(max(column), 4)]
        for name, column in zip(names, zip(*rows, strict=True), strict=False)
    }


def _of_image(u: np.ndarray) -> tuple[float, float, float, float]:
    """The largest value, and the three numbers."""
    q = float(np.percentile(u, _PERCENTILE))
    return float(u.max()), float(u[u >= q / 2].mean(dtype=np.float64)), q, float((u >= 1).mean())
