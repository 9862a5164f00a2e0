"""From counts to line integrals of attenuation.

    p = -ln((I - D) / (F - D))

of counts I, the open beam F and the dark signal D (Beer and Lambert). Several flat or dark fields are averaged pixel
by pixel; of five or more the median is taken, which a hit in one of them does not move. A recording that was
divided by its open beam already is transmission, p = -ln T.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from coslice.acquisition.defects import found_defects, mend
from coslice.acquisition.recorded_values import kind_of_values
from coslice.errors import CosliceError

__all__ = ["LEAST_COUNT", "LEAST_TRANSMISSION", "MEDIAN_FROM", "MeasuredLines", "line_integrals_from"]

LEAST_COUNT = 0.5
"""Counts above dark that stand for fewer: less has no logarithm, or one that is noise."""

LEAST_TRANSMISSION = 1e-5
"""Likewise of transmission."""

MEDIAN_FROM = 5
"""So many flat or dark fields are joined by the median, fewer by the mean."""

_BRIGHTER = 1.5  # transmission that noise does not reach
_TOPS = (2**8 - 1, 2**10 - 1, 2**12 - 1, 2**14 - 1, 2**16 - 1)


@dataclass(frozen=True, eq=False)
class MeasuredLines:
    """What was measured, as line integrals of attenuation.

    Attributes:
        lines: p, (views, rows, columns) float32, without unit.
        mended: of the same shape, True where a bad value was replaced.
        values: what the recording held, see `coslice.acquisition.recorded_values.KINDS`.
        open_beam: counts of the open beam above dark, (rows, columns) float32; None where no counts are known.
        notes: in full sentences.
    """

    lines: np.ndarray
    mended: np.ndarray
    values: str
    open_beam: np.ndarray | None = None
    notes: tuple[str, ...] = ()


def line_integrals_from(
    data: np.ndarray,
    flat: np.ndarray | None = None,
    dark: np.ndarray | None = None,
    *,
    white: float | None = None,
    values: str | None = None,
    logged: bool | None = None,
    mask: np.ndarray | None = None,
    repair: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> MeasuredLines:
    """Take the logarithm of what a detector recorded, and mend what it did not measure.

    The recording is read once, view by view, so it may be memory-mapped.

    Args:
        data: (views, rows, columns), integers or floats.
        flat: open beam, (n, rows, columns) or (rows, columns).
        dark: beam off, likewise.
        white: counts of the open beam, instead of flat fields.
        values: "counts", "transmission" or "lines"; None concludes it where the numbers leave no doubt.
        logged: what the file says: True line integrals, False not.
        mask: known bad pixels, (rows, columns), True where bad.
        repair: whether bad pixels are looked for and mended; values without a number and those of `mask` always are.
        progress: called with the number of views done and of all.

    Raises:
        CosliceError: arrays of other shapes; fields that do not belong to the recording; values that could be several
            things; too many bad pixels.
    """
    data = _checked(data)
    shape = data.shape[1:]
    flat, flat_notes = _field("flat", flat, shape)
    dark, dark_notes = _field("dark", dark, shape)
    kind, notes = kind_of_values(data, flat, white, values, logged)
    notes = (*notes, *flat_notes, *dark_notes)
    if kind != "counts":
        if dark is not None:
            raise CosliceError(
                f"dark: a dark field was given for values that are {_WORDS[kind]}, which need none; leave it out, or "
                "give the open beam too: --flat FILE or --white COUNTS."
            )
        beam = None
    else:
        level = np.full(shape, float(white if white is not None else 0), np.float32) if flat is None else flat
        beam = _open_beam(level, dark)
    lines, tally = _logarithms(data, beam, dark, kind, progress)
    _check_beam(tally, lines.size)
    _check_views(lines)
    clean = lines if repair else np.where(np.isfinite(lines), 0, np.nan).astype(np.float32)
    defects = found_defects(clean, beam if repair else None, dark if repair else None, mask)
    mended = mend(lines, defects)
    return MeasuredLines(lines, mended, kind, beam, (*notes, *_said(tally, kind, lines.size), *defects.notes))


_WORDS = {"transmission": "transmission", "lines": "line integrals"}


def _checked(data: np.ndarray) -> np.ndarray:
    if data.ndim != 3 or 0 in data.shape or data.dtype.kind not in "iuf":
        raise CosliceError(
            f"recording: an array of shape {data.shape} and type {data.dtype} was given, but numbers (views, rows, "
            "columns) are needed."
        )
    return data


def _field(name: str, frames: np.ndarray | None, shape: tuple[int, ...]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """One frame of several, (rows, columns) float32, and how it was made."""
    if frames is None:
        return None, ()
    frames = frames[None] if frames.ndim == 2 else frames
    if frames.ndim != 3 or len(frames) == 0 or frames.shape[1:] != shape or frames.dtype.kind not in "iuf":
        raise CosliceError(
            f"{name}: fields of shape {frames.shape} were given, but a view of the recording has {shape} (rows, "
            "columns); give those of the same detector, cropped and binned alike."
        )
    if len(frames) < MEDIAN_FROM:
        total = np.zeros(shape)
        for frame in frames:
            total += frame
        made, one = total / len(frames), "mean"
    else:
        made, one = np.empty(shape), "median"
        for row in range(shape[0]):  # so that memory is that of a few rows
            made[row] = np.median(frames[:, row].astype(np.float64), axis=0)
    if not np.isfinite(made).any():
        raise CosliceError(f"{name}: none of its values is a number; look at the file in another program.")
    notes = (f"Of {len(frames)} {name} fields the {one} was taken, pixel by pixel.",) if len(frames) > 1 else ()
    return made.astype(np.float32), notes


def _open_beam(level: np.ndarray, dark: np.ndarray | None) -> np.ndarray:
    """F - D, (rows, columns) float32."""
    if not (np.nan_to_num(level) > 0).any():
        raise CosliceError("flat: no pixel of the flat field counts anything; was the beam on? Give another one.")
    beam = level if dark is None else level - dark
    seen = np.isfinite(beam) & (beam > 0)
    if 2 * seen.sum() < seen.size:
        raise CosliceError(
            f"dark: {100 * (1 - seen.mean()):.0f} % of the pixels are no brighter in the flat field (median "
            f"{np.nanmedian(level):.4g}) than in the dark one (median "
            f"{0 if dark is None else np.nanmedian(dark):.4g}); were the two interchanged?"
        )
    return beam.astype(np.float32)


@dataclass
class _Tally:
    starved: int = 0
    brighter: int = 0
    measured: int = 0
    top: float = -np.inf
    at_top: int = 0
    whole: bool = True


def _logarithms(
    data: np.ndarray,
    beam: np.ndarray | None,
    dark: np.ndarray | None,
    kind: str,
    progress: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, _Tally]:
    """p as it is, with NaN where nothing can be said, and what was met on the way."""
    lines = np.empty(data.shape, np.float32)
    tally = _Tally()
    exact = np.float32 if data.dtype.itemsize <= 2 or data.dtype == np.float32 else np.float64
    if beam is not None:
        beam = np.where(np.isfinite(beam) & (beam > 0), beam, np.nan).astype(exact)
    least = LEAST_TRANSMISSION if beam is None else LEAST_COUNT
    with np.errstate(invalid="ignore", over="ignore"):
        for number in range(len(data)):
            view = np.array(data[number], dtype=exact)
            if kind == "lines":
                lines[number] = view
            else:
                _notice_top(tally, view)
                if dark is not None:
                    view -= dark
                few = view < least
                tally.starved += int(few.sum() if beam is None else (few & np.isfinite(beam)).sum())
                view[few] = least
                if beam is not None:
                    view /= beam
                tally.brighter += int((view > _BRIGHTER).sum())
                tally.measured += int(np.isfinite(view).sum())
                np.log(view, out=view)
                lines[number] = -view
            if progress is not None:
                progress(number + 1, len(data))
    lines[~np.isfinite(lines)] = np.nan
    return lines, tally


def _notice_top(tally: _Tally, view: np.ndarray) -> None:
    top = float(np.nanmax(view, initial=-np.inf))
    if top > tally.top:
        tally.top, tally.at_top = top, 0
    if top == tally.top and top in _TOPS:
        tally.at_top += int((view == top).sum())


def _check_beam(tally: _Tally, size: int) -> None:
    if tally.starved > 0.5 * size:
        raise CosliceError(
            f"recording: {100 * tally.starved / size:.0f} % of its values are no brighter than without beam; the dark "
            "field does not belong to it, or the values are not what they were taken for (--values)."
        )
    if tally.brighter > 0.05 * max(1, tally.measured):
        raise CosliceError(
            f"recording: {100 * tally.brighter / tally.measured:.0f} % of its values are more than {_BRIGHTER:g} times "
            "the open beam, which an object only darkens; give the flat field of this exposure, or the right --white."
        )


def _check_views(lines: np.ndarray) -> None:
    lost = [number for number, view in enumerate(lines) if not np.isfinite(view).any()]
    if lost:
        named = ", ".join(map(str, lost[:8])) + (" and others" if len(lost) > 8 else "")
        raise CosliceError(
            f"recording: there is no number at all in view {named} (counted from 0); leave it out, of the recording "
            "and of its geometry."
        )


def _said(tally: _Tally, kind: str, size: int) -> tuple[str, ...]:
    notes = []
    if tally.starved:
        floor = "half a count" if kind == "counts" else f"{LEAST_TRANSMISSION:g}"
        notes.append(
            f"{tally.starved} of {size} values were below {floor} above dark, where a logarithm says nothing; they "
            f"were set to {floor}."
        )
    if tally.at_top >= 3:
        bits = int(tally.top).bit_length()
        notes.append(
            f"{tally.at_top} of {size} values stand at {tally.top:g}, the top of {bits} bits: they are saturated, "
            "and the object's thin parts may look thicker or thinner than they are."
        )
    return tuple(notes)
