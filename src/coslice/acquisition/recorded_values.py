"""What the numbers of a recording are: counts, transmission or line integrals."""

from __future__ import annotations

import math

import numpy as np

from coslice.errors import CosliceError

__all__ = ["KINDS", "kind_of_values", "sample_of"]

KINDS = ("counts", "transmission", "lines")
"""Counts of a detector; the share of the beam that came through, 0..1; line integrals, -ln of that share."""

_VIEWS, _ROWS = 16, 64
_AIR = 0.1  # how far the border of a recording may be from open beam, in transmission or in p
_MOST_LINES = 15.0  # e^-15 of a beam is nothing a detector could measure
_MOST_TRANSMISSION = 1.15


def kind_of_values(
    data: np.ndarray,
    flat: np.ndarray | None = None,
    white: float | None = None,
    values: str | None = None,
    logged: bool | None = None,
) -> tuple[str, tuple[str, ...]]:
    """One of `KINDS`, and the sentence that says so where it was concluded from the numbers.

    Args:
        data: (views, rows, columns) as recorded.
        flat: open beam, as recorded; a recording that has one is of counts.
        white: counts of the open beam; likewise.
        values: one of `KINDS`, where somebody says so.
        logged: what the file says: True line integrals, False not.

    Raises:
        CosliceError: an unknown kind; what is said contradicts itself; numbers that could be several things.
    """
    if values is not None and values not in KINDS:
        raise CosliceError(f'values: "{values}" was given, but it must be one of {", ".join(KINDS)}.')
    if flat is not None and white is not None:
        raise CosliceError("white: a white level and flat fields were both given, but a beam is open once; choose one.")
    if white is not None and not (math.isfinite(white) and white > 0):
        raise CosliceError(f"white: {white:g} was given, but the counts of the open beam are a positive number.")
    beam = "flat fields" if flat is not None else "a white level" if white is not None else ""
    said = values or ("lines" if logged else None)
    if said in ("transmission", "lines") and beam:
        raise CosliceError(
            f"values: {beam} and values that need none ({said}) were given; leave one of them out, or say "
            "--values counts."
        )
    if said is not None:
        if said == "counts" and not beam:
            raise CosliceError(_ask_for_beam(data))
        return said, ()
    if beam:
        _check_belongs(data, flat)
        return "counts", ()
    kind = _concluded(data)
    if kind is None or (kind == "lines" and logged is False):
        raise CosliceError(_ask_for_beam(data) if logged is False else _ask(data))
    what = {
        "transmission": "transmission, since they end near 1 where the object is not",
        "lines": "line integrals, since they end near 0 where the object is not",
    }[kind]
    return kind, (f"The values were taken for {what} (--values {' or '.join(KINDS)} says otherwise).",)


def sample_of(data: np.ndarray) -> np.ndarray:
    """At most 16 views of at most 64 rows, spread evenly, (views, rows, columns) float64; finite values only matter."""
    views = np.unique(np.linspace(0, len(data) - 1, _VIEWS).round().astype(int))
    rows = np.unique(np.linspace(0, data.shape[1] - 1, _ROWS).round().astype(int))
    return np.stack([np.asarray(data[view])[rows].astype(np.float64) for view in views])


def _range_and_border(data: np.ndarray) -> tuple[float, float, tuple[float, float]]:
    """The 0.1 and 99.9 % points, and the medians of the left and of the right border."""
    some = sample_of(data)
    some[~np.isfinite(some)] = np.nan
    if np.isnan(some).all():
        raise CosliceError("recording: none of its values is a number; look at the file in another program.")
    low, high = np.nanpercentile(some, (0.1, 99.9))
    if low == high:
        raise CosliceError(f"recording: all its values are {low:g}, so nothing was recorded; look at the file.")
    wide = max(1, some.shape[2] // 50)
    left, right = (float(np.nan_to_num(np.nanmedian(side))) for side in (some[..., :wide], some[..., -wide:]))
    return float(low), float(high), (left, right)


def _concluded(data: np.ndarray) -> str | None:
    """The kind, "transmission" or "lines", where the numbers leave no doubt."""
    if np.issubdtype(data.dtype, np.integer):
        return None
    low, high, border = _range_and_border(data)
    # one side may show the object: a detector may be shifted
    through = low >= -0.05 and high <= _MOST_TRANSMISSION and abs(max(border) - 1) < _AIR
    lines = low > -1 and high <= _MOST_LINES and abs(min(border, key=abs)) < _AIR * min(1.0, high)
    if through == lines:
        return None
    return "transmission" if through else "lines"


def _check_belongs(data: np.ndarray, flat: np.ndarray | None) -> None:
    if flat is None:
        return
    _, high, _ = _range_and_border(data)
    level = float(np.nanmedian(flat))
    if high <= 2 and level > 50:
        raise CosliceError(
            f"flat: the recording ends at {high:.3g} and the flat field is about {level:.4g}, so the recording was "
            "divided by it already; leave --flat and --dark out, and say --values transmission or --values lines."
        )


def _ask(data: np.ndarray) -> str:
    low, high, border = _range_and_border(data)
    return (
        f"recording: values from {low:.4g} to {high:.4g} that end at {border[0]:.4g} and {border[1]:.4g} could be "
        f"several things; say --values transmission or --values lines, or --values counts with the open beam: --flat "
        f"FILE or --white {_level(border, high)}."
    )


def _ask_for_beam(data: np.ndarray) -> str:
    low, high, border = _range_and_border(data)
    return (
        f"recording: counts from {low:.4g} to {high:.4g} were given without what the open beam counts; give it: --flat "
        f"FILE, or --white {_level(border, high)} if the brighter side shows air."
    )


def _level(border: tuple[float, float], high: float) -> str:
    level = max(border)
    return f"{level if level > 0 else high:.5g}"
