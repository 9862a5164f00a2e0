"""Pixels that do not measure: dead, hot and stuck ones, whole rows and columns, and hits in a single view.

The flat field shows pixels without response. The views show those that stand out of all their neighbours in nearly
every view, which nothing in a turning object does, and those that never change. All are judged against the range of
their neighbours, so that edges of the object and noise stay as they are. Line integrals of such pixels are
replaced by the mean of good neighbours in the same view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from coslice.errors import CosliceError

__all__ = ["MOST_DEFECTS", "Defects", "found_defects", "mend", "noise_along_rows"]

MOST_DEFECTS = 0.1
"""Share of bad pixels above which nothing is mended and the recording is refused."""

_VIEWS = 64  # that are looked at for pixels bad in every view; fewer of a detector so large that
_PIXELS = 6e7  # more than these would be read
_DEAD = 0.2  # response below this share of the neighbourhood's
_HOT = 0.3  # dark signal above this share of the open beam
_PERSISTENT = 0.7  # of the views, for a pixel bad in all
_MOST_ZINGERS = 0.01
_AROUND = tuple((j, i) for j in (-1, 0, 1) for i in (-1, 0, 1) if (j, i) != (0, 0))
_BESIDE = ((0, -2), (0, -1), (0, 1), (0, 2))  # where there is one row only


@dataclass(frozen=True, eq=False)
class Defects:
    """Where a recording is not to be believed.

    Attributes:
        pixels: bad in every view, (rows, columns) bool.
        zingers: (view, row, column) of values bad in one view, (n, 3) int.
        notes: in full sentences.
    """

    pixels: np.ndarray
    zingers: np.ndarray
    notes: tuple[str, ...] = ()


def found_defects(
    lines: np.ndarray,
    open_beam: np.ndarray | None = None,
    dark: np.ndarray | None = None,
    mask: np.ndarray | None = None,
) -> Defects:
    """Find them.

    Args:
        lines: line integrals p, (views, rows, columns); values that are no number are bad.
        open_beam: counts of the open beam above dark, (rows, columns).
        dark: counts without beam, (rows, columns).
        mask: known bad pixels, (rows, columns), True where bad.

    Raises:
        CosliceError: a mask of another shape; more than `MOST_DEFECTS` of the pixels bad.
    """
    shape = lines.shape[1:]
    if mask is not None and mask.shape != shape:
        raise CosliceError(
            f"mask: bad pixels of shape {mask.shape} were given, but a view has {shape} (rows, columns)."
        )
    given = np.zeros(shape, bool) if mask is None else mask.astype(bool)
    dead, hot = _from_fields(shape, open_beam, dark)
    count = int(np.clip(_PIXELS / lines[0].size, 8, _VIEWS))
    chosen = np.unique(np.linspace(0, len(lines) - 1, count).round().astype(int))
    sigma = noise_along_rows(lines[chosen[:16], :: max(1, shape[0] // 64)])
    unread, stuck = _unchanging(lines, chosen, sigma)
    aside = _persistent(lines, chosen, sigma)
    pixels = given | dead | hot | unread | stuck | aside
    share = pixels.mean()
    if share > MOST_DEFECTS:
        reason = (
            "the mask does not belong to this detector"
            if given.mean() > MOST_DEFECTS
            else "the flat or dark field does not belong to this recording, or its values are of another kind"
        )
        raise CosliceError(
            f"defects: {100 * share:.0f} % of the pixels look bad, at most {100 * MOST_DEFECTS:.0f} % are mended; "
            f"{reason}."
        )
    zingers = _zingers(lines, pixels, sigma)
    notes, told = [], np.zeros(shape, bool)
    for what, where in (
        ("marked as bad", given),
        ("dead (no response in the flat field)", dead),
        ("hot (bright without beam)", hot),
        ("without a number in most views", unread),
        ("stuck (the same value in all views)", stuck),
        ("out of line with all neighbours in nearly all views", aside),
    ):
        count = int((where & ~told).sum())
        told |= where
        if count:
            were = "pixel was" if count == 1 else "pixels were"
            notes.append(f"{count} {were} {what} and replaced by the mean of good neighbours.")
    if len(zingers) > _MOST_ZINGERS * lines.size:
        notes.append(
            f"{100 * len(zingers) / lines.size:.1f} % of all values stand out of their neighbours, too many for hits "
            "of single pixels: they were left as they are."
        )
        zingers = zingers[:0]
    elif len(zingers):
        were = "value was" if len(zingers) == 1 else "values were"
        notes.append(f"{len(zingers)} {were} bad in a single view and replaced by the mean of good neighbours.")
    return Defects(pixels, zingers, tuple(notes))


def mend(lines: np.ndarray, defects: Defects) -> np.ndarray:
    """Replace bad values of `lines`, in place, by the mean of good neighbours in the same view.

    Wide defects fill from their edges inwards.

    Returns:
        (views, rows, columns) bool, True where a value was replaced.
    """
    mended = np.zeros(lines.shape, bool)
    if defects.pixels.any():
        for bad, neighbours, good in _filling(defects.pixels):
            weights = good / good.sum(1, keepdims=True)
            for view in lines:
                flat = view.reshape(-1)
                flat[bad] = (np.where(good, flat[neighbours], 0) * weights).sum(1)
                view[...] = flat.reshape(view.shape)
        mended |= defects.pixels
    views = defects.zingers[:, 0]
    for view in np.unique(views):
        where = np.zeros(lines.shape[1:], bool)
        where[tuple(defects.zingers[views == view, 1:].T)] = True
        flat = lines[view].reshape(-1)
        for bad, neighbours, good in _filling(where):
            flat[bad] = np.where(good, flat[neighbours], 0).sum(1) / good.sum(1)
        lines[view] = flat.reshape(where.shape)
        mended[view] |= where
    return mended


def _filling(bad: np.ndarray):
    """Rounds of (pixels, their 8 neighbours, which of those are good), flat indices, from the edges inwards."""
    rows, columns = bad.shape
    bad = bad.copy()
    while bad.any():
        j, i = np.nonzero(bad)
        nj, ni = (
            np.stack([at + step for step in steps], 1)
            for at, steps in zip((j, i), zip(*_AROUND, strict=True), strict=True)
        )
        inside = (nj >= 0) & (nj < rows) & (ni >= 0) & (ni < columns)
        nj, ni = nj.clip(0, rows - 1), ni.clip(0, columns - 1)
        good = inside & ~bad[nj, ni]
        ready = good.any(1)
        if not ready.any():
            raise CosliceError("defects: all pixels of a view are bad, so nothing is left to replace them by.")
        yield (j * columns + i)[ready], (nj * columns + ni)[ready], good[ready]
        bad[j[ready], i[ready]] = False


def _from_fields(shape, open_beam, dark) -> tuple[np.ndarray, np.ndarray]:
    """Pixels without response, and pixels bright without beam."""
    dead = hot = np.zeros(shape, bool)
    if open_beam is not None and np.ptp(open_beam) != 0:  # a white level says nothing of pixels
        beam = np.nan_to_num(open_beam, nan=0.0, posinf=0.0, neginf=0.0)
        around = ndimage.median_filter(beam, size=(min(5, 2 * shape[0] - 1), 5), mode="nearest")
        dead = (beam <= 0) | (beam < _DEAD * around)
        if dark is not None:
            hot = dark - np.median(dark) > _HOT * np.maximum(around, 0)
    return dead, hot & ~dead


def noise_along_rows(lines: np.ndarray) -> float:
    """Deviation of the noise, from what is left of every value beside the mean of its neighbours along the row."""
    if lines.shape[-1] < 3:
        return 0.0
    left = lines[..., 1:-1] - (lines[..., :-2] + lines[..., 2:]) / 2
    left = np.abs(left[np.isfinite(left)])
    return float(np.median(left)) / 0.6745 / 1.5**0.5 if left.size else 0.0


def _neighbours(view: np.ndarray, least, empty: float):
    """`least` (np.minimum or np.maximum) of all neighbours, of those left and right, of those above and below."""
    view = np.where(np.isfinite(view), view, np.float32(empty))
    padded = np.pad(view, 1, constant_values=empty)
    inner = padded[1:-1, 1:-1]
    # The outermost pixels have one neighbour only, and of an object that reaches beyond them all would stand out: the
    # slope of the next two continues.
    for lines, edges in ((inner.T, padded[1:-1].T), (inner, padded[:, 1:-1])):
        if len(lines) >= 3:
            with np.errstate(invalid="ignore"):
                for edge, next_one, after in ((0, lines[1], lines[2]), (-1, lines[-2], lines[-3])):
                    onwards = 2 * next_one - after
                    edges[edge] = np.where(np.isfinite(onwards), onwards, empty)
    beside = least(padded[:, :-2], padded[:, 2:])
    three = least(beside, padded[:, 1:-1])
    above = least(padded[:-2, 1:-1], padded[2:, 1:-1])
    around = least(least(three[:-2], three[2:]), beside[1:-1])
    if len(view) == 1:  # no rows to look at, so two columns on
        wide = np.pad(view, ((0, 0), (2, 2)), constant_values=empty)
        around = least(around, least(wide[:, :-4], wide[:, 4:]))
    return around, beside[1:-1], above


def _persistent(lines: np.ndarray, chosen: np.ndarray, sigma: float) -> np.ndarray:
    """Pixels, rows and columns outside the range of their neighbours in nearly all views."""
    rows, columns = lines.shape[1:]
    views = len(chosen)
    factor, least = (0.5, max(3 * sigma, 0.03)) if views >= 4 else (2.0, max(8 * sigma, 0.3))
    counts = np.zeros((3, rows, columns), np.int16)
    with np.errstate(invalid="ignore"):
        for view in (lines[number] for number in chosen):
            lowest, highest = _neighbours(view, np.minimum, np.inf), _neighbours(view, np.maximum, -np.inf)
            for count, low, high in zip(counts, lowest, highest, strict=True):
                count += np.maximum(view - high, low - view) > np.maximum(factor * (high - low), least)
    pixels, in_columns, in_rows = counts > _PERSISTENT * views
    if rows >= 5 and views >= 4:
        pixels |= (in_columns.mean(0) > 0.8)[None, :]
    if columns >= 5 and rows >= 3 and views >= 4:
        pixels |= (in_rows.mean(1) > 0.8)[:, None]
    return pixels


def _unchanging(lines: np.ndarray, chosen: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Pixels without a number in most views, and pixels that hardly vary although their neighbours do."""
    shape = lines.shape[1:]
    total, squares, count = np.zeros(shape), np.zeros(shape), np.zeros(shape, np.int32)
    first = np.nan_to_num(lines[chosen[0]].astype(np.float64))  # about which the squares lose nothing to rounding
    for number in chosen:
        step = lines[number] - first
        seen = np.isfinite(step)
        step[~seen] = 0
        count += seen
        total += step
        squares += step**2
    unread = count < 0.5 * len(chosen)
    if len(chosen) < 4:
        return unread, np.zeros(shape, bool)
    count = np.maximum(count, 1)
    mean, variance = first + total / count, squares / count - (total / count) ** 2
    around = ndimage.median_filter(variance, size=(min(3, 2 * shape[0] - 1), 5), mode="nearest")
    # Without noise, air beside the object varies as little: then only a pixel that shows something can be stuck.
    return unread, (variance < 1e-3 * around) & ((np.abs(mean) > 0.02) | (sigma > 1e-4))


def _zingers(lines: np.ndarray, pixels: np.ndarray, sigma: float) -> np.ndarray:
    """(view, row, column) of values without a number, or far brighter than all their neighbours: p far below."""
    least = max(6 * sigma, 0.1)
    steps = np.array(_AROUND if lines.shape[1] > 1 else _BESIDE)
    found = []
    for number, view in enumerate(lines):
        unread = ~np.isfinite(view)
        low = np.zeros(view.shape, bool)
        with np.errstate(invalid="ignore"):
            low[:, 1:-1] = (view[:, 1:-1] < view[:, :-2] - least) & (view[:, 1:-1] < view[:, 2:] - least)
        low &= ~pixels
        j, i = np.nonzero(low)
        if len(j):
            nj, ni = j[:, None] + steps[:, 0], i[:, None] + steps[:, 1]
            inside = (nj >= 0) & (nj < view.shape[0]) & (ni >= 0) & (ni < view.shape[1])
            nj, ni = nj.clip(0, view.shape[0] - 1), ni.clip(0, view.shape[1] - 1)
            around = np.where(inside & ~pixels[nj, ni], view[nj, ni], np.nan)
            with np.errstate(invalid="ignore"):
                lowest, highest = np.fmin.reduce(around, 1), np.fmax.reduce(around, 1)
                keep = lowest - view[j, i] > np.maximum(2 * (highest - lowest), least)
            low[:] = False
            low[j[keep], i[keep]] = True
        j, i = np.nonzero(low | (unread & ~pixels))
        found.append(np.stack((np.full(len(j), number), j, i), 1))
    return np.concatenate(found)
