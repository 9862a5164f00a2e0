"""Fewer views, rows and columns: what is kept of a recording, and the geometry of what is kept.

Binning takes means of blocks of pixels. Of counts that is what a detector of larger pixels counts, so a recording is
reduced before the logarithm; of line integrals it is their mean over the block. Cropping comes first, in pixels as
recorded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from scipy.ndimage import median_filter

from coslice.errors import CosliceError
from coslice.geometry import Geometry, Orbit

__all__ = ["Reduction", "ViewChoice", "chosen_views", "median_of_views"]

_Geometry = TypeVar("_Geometry", bound=Geometry)


@dataclass(frozen=True)
class Reduction:
    """What is kept of projections (views, rows, columns).

    Attributes:
        views: numbers of the views kept, in the order wanted; None keeps all.
        rows: the first row kept and the first not kept any more; None keeps all.
        columns: likewise.
        binning: rows and columns that become one. What is left over at the end is cut off.

    Raises:
        CosliceError: numbers that are negative, reversed or no whole numbers from 1 up.
    """

    views: tuple[int, ...] | None = None
    rows: tuple[int, int] | None = None
    columns: tuple[int, int] | None = None
    binning: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        if min(self.binning) < 1 or any(n != int(n) for n in self.binning):
            raise CosliceError(f"binning: {self.binning} was given, two whole numbers from 1 up are needed, as 2,2.")
        for name, kept in (("rows", self.rows), ("columns", self.columns)):
            if kept is not None and not 0 <= kept[0] < kept[1]:
                raise CosliceError(f"{name}: {kept[0]} to {kept[1]} were given, but the first must be below the last.")
        if self.views is not None and (len(self.views) == 0 or min(self.views) < 0):
            raise CosliceError("views: an empty choice or a negative number was given, 0 is the first view.")

    def of(self, data: np.ndarray) -> np.ndarray:
        """The projections kept, (views, rows, columns) float32, or as recorded where nothing is binned.

        Raises:
            CosliceError: a view, row or column that is not there; less than one block of pixels.
        """
        if self.views is not None:
            _within("views", max(self.views) + 1, len(data))
        views = range(len(data)) if self.views is None else self.views
        if self == Reduction():
            return data
        first = self.image(data[views[0]])
        kept = np.empty((len(views), *first.shape), first.dtype)
        for number, view in enumerate(views):  # one at a time: the recording may be memory-mapped
            kept[number] = self.image(data[view])
        return kept

    def image(self, frame: np.ndarray) -> np.ndarray:
        """The part of one view, of a flat or dark field or of several, (..., rows, columns), that is kept."""
        (j, rows), (i, columns) = self._kept(frame.shape[-2:])
        b, a = self.binning
        part = frame[..., j : j + rows * b, i : i + columns * a]
        if self.binning == (1, 1):
            return part
        blocks = np.asarray(part).reshape(*frame.shape[:-2], rows, b, columns, a)
        return blocks.mean((-3, -1), dtype=np.float64).astype(np.float32)

    def mask(self, bad: np.ndarray) -> np.ndarray:
        """Bad pixels (rows, columns) of what is kept: those with a bad one in them."""
        return self.image(bad.astype(np.float32)) > 0

    def geometry(self, geometry: _Geometry) -> _Geometry:
        """The geometry of what is kept.

        Raises:
            CosliceError: as `of`.
        """
        (j, rows), (i, columns) = self._kept(geometry.detector)
        b, a = self.binning
        # from the old centre of the detector to the new one, in old pixels
        up = j + (rows * b - 1) / 2 - (geometry.detector[0] - 1) / 2
        along = i + (columns * a - 1) / 2 - (geometry.detector[1] - 1) / 2
        if self.views is not None:
            _within("views", max(self.views) + 1, geometry.views)
        views = range(geometry.views) if self.views is None else self.views
        if isinstance(geometry, Orbit):
            source, centre, row, column = (
                np.array(vectors)[list(views)]
                for vectors in (geometry.source, geometry.centre, geometry.row_step, geometry.column_step)
            )
            centre = centre + up * row + along * column
            vectors = (tuple(map(tuple, each)) for each in (source, centre, row * b, column * a))
            return Orbit(*vectors, detector=(rows, columns), divergent=geometry.divergent)  # pyright: ignore[reportReturnType]
        (dv, du), (v, u) = geometry.pixel, geometry.offset
        return replace(
            geometry,
            angles=tuple(geometry.angles[view] for view in views),
            detector=(rows, columns),
            pixel=(dv * b, du * a),
            offset=(v + up * dv, u + along * du),
        )

    def notes(self, shape: tuple[int, int, int]) -> tuple[str, ...]:
        """What is done to projections of that shape, in full sentences."""
        (_, rows), (_, columns) = self._kept(shape[1:])
        b, a = self.binning
        said = []
        if self.views is not None and len(self.views) != shape[0]:
            said.append(f"{len(self.views)} of {shape[0]} views were kept.")
        if self.rows is not None or self.columns is not None:
            (j, end_j), (i, end_i) = self.rows or (0, shape[1]), self.columns or (0, shape[2])
            said.append(f"Rows {j} to {end_j - 1} and columns {i} to {end_i - 1} of the detector were kept.")
        if self.binning != (1, 1):
            said.append(f"Blocks of {b} x {a} pixels (rows x columns) became one: {rows} x {columns} are left.")
        return tuple(said)

    def _kept(self, detector: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """First pixel and number of blocks along rows and along columns."""
        kept = []
        for name, wanted, size, block in zip(
            ("rows", "columns"), (self.rows, self.columns), detector, self.binning, strict=True
        ):
            first, end = (0, size) if wanted is None else wanted
            _within(name, end, size)
            if end - first < block:
                raise CosliceError(f"binning: {block} {name} to one were asked for, but there are {end - first}.")
            kept.append((first, (end - first) // block))
        return kept[0], kept[1]


def _within(name: str, end: int, size: int) -> None:
    if end > size:
        raise CosliceError(f"{name}: number {end - 1} was asked for, but the recording has 0 to {size - 1}.")


def median_of_views(data: np.ndarray, side: int) -> np.ndarray:
    """Every pixel the median of the square of `side` pixels about it, in each view by itself; of data's type."""
    smooth = np.empty(data.shape, data.dtype)
    for view, image in enumerate(data):
        smooth[view] = median_filter(image, side, mode="nearest")
    return smooth


@dataclass(frozen=True)
class ViewChoice:
    """Some of a recording's views.

    Attributes:
        views: their numbers, in the order recorded.
        notes: in full sentences.
    """

    views: tuple[int, ...]
    notes: tuple[str, ...] = ()


def chosen_views(angles: Sequence[float], count: int) -> ViewChoice:
    """`count` views, spread as evenly over the arc as whole numbers allow.

    Of evenly spaced angles every n-th is taken where that works out: with both ends of the arc where the recording
    has both, else from the first on, so that a closed turn stays evenly sampled. Otherwise the views nearest to an even
    spread are taken.

    Args:
        angles: of all views, rad, in any order.
        count: how many to keep.

    Raises:
        CosliceError: fewer than 1, or more than there are.
    """
    total = len(angles)
    if not 1 <= count <= total:
        raise CosliceError(f"views: {count} were asked for, but the recording has {total}; choose 1 to {total}.")
    if count == total:
        return ViewChoice(tuple(range(total)))
    turned = np.asarray(angles, dtype=float)
    turned = -turned if turned[-1] < turned[0] else turned
    order = np.argsort(turned, kind="stable")
    beta = turned[order]
    notes = []
    turns = (beta[-1] - beta[0]) / (2 * math.pi)
    steps = np.diff(beta)
    step = float(np.median(steps))
    even = total > 2 and step > 0 and float(np.abs(steps - step).max()) < 0.05 * step
    if even and round(turns) >= 1 and abs(turns - round(turns)) * 2 * math.pi < 0.25 * step:
        order, beta = order[:-1], beta[:-1]
        notes.append("The last view repeats the first after a full turn, and was left out.")
    kept = len(order)
    span = beta[-1] - beta[0]
    # a half or full turn whose end was left out, since it repeats the start
    closed = even and abs((span + step) / math.pi - round((span + step) / math.pi)) * math.pi < 0.25 * step
    if count == kept:
        picked = np.arange(kept)
    elif even and closed and kept % count == 0:
        picked = np.arange(0, kept, kept // count)
    elif even and not closed and count > 1 and (kept - 1) % (count - 1) == 0:
        picked = np.arange(0, kept, (kept - 1) // (count - 1))
    else:
        if closed or not even:
            turn = span + (step if closed else span / max(1, kept - 1))
            wanted = beta[0] + turn * np.arange(count) / count
        else:
            wanted = np.linspace(beta[0], beta[-1], count) if count > 1 else beta[:1]
        picked = _nearest(beta, wanted)
        if count > 1:
            notes.append(
                f"{count} of {kept} views cannot be spread evenly by whole numbers: those nearest to an even spread "
                "were taken."
            )
    if len(picked) > 1 and even and len(notes) < 2 and len(set(np.diff(picked))) == 1 and picked[1] - picked[0] > 1:
        notes.append(f"Every {_ordinal(int(picked[1] - picked[0]))} view was kept: {count} of {total}.")
    return ViewChoice(tuple(sorted(int(order[k]) for k in picked)), tuple(notes))


def _nearest(have: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Numbers of the values nearest to those wanted, each taken once, rising."""
    picked, first = [], 0
    for number, value in enumerate(wanted):
        # leave enough for those that follow
        last = len(have) - (len(wanted) - number)
        first_best = first + int(np.abs(have[first : last + 1] - value).argmin())
        picked.append(first_best)
        first = first_best + 1
    return np.array(picked)


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
