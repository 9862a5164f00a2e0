"""Which lengths a scan's header may give in mm: others are slips of a unit, or bytes that are no numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from coslice.errors import CosliceError
from coslice.escapes import numeral

__all__ = ["PLAUSIBLE_MM", "check_place", "check_spacing", "check_wish"]

PLAUSIBLE_MM = (1e-3, 1e3)
"""Of a voxel's sides."""
_WISHED = {"thickness": (1e-6, 1e5), "spacing": (1e-6, 1e5), "size": (1, 1e5), "pad": (1, 1e5)}
"""What may be asked for, by name: mm, and voxels."""
_FARTHEST_MM = 1e6
"""No scanner is a kilometre away; float32, which files hold, cannot tell voxels apart much further out."""


def check_spacing(spacing: Sequence[float] | np.ndarray, path: str | Path, what: str = "a voxel size") -> None:
    """Refuse lengths that no voxel has, NaN among them.

    Raises:
        CosliceError: naming `path` and `what` it gives.
    """
    low, high = PLAUSIBLE_MM
    # Written so that NaN fails it too.
    if not all(low <= s <= high for s in spacing):
        given = " x ".join(f"{s:g}" for s in spacing)
        raise CosliceError(f"{path} gives {what} of {given} mm, {low:g} to {high:g} mm is needed; correct its header.")


def check_place(place: Sequence[float] | np.ndarray, path: str | Path) -> None:
    """Refuse a place (x, y, z) that no scanner reaches.

    Raises:
        CosliceError: naming `path`.
    """
    away = float(np.abs(place).max())
    if not away <= _FARTHEST_MM:
        raise CosliceError(
            f"{path} places its voxels {away:.3g} mm from the origin, at most {_FARTHEST_MM:g} are taken; correct its "
            "header."
        )


def check_wish(name: str, value: float) -> None:
    """Refuse a thickness, spacing, size or pad that no grid of voxels can have.

    Raises:
        CosliceError: naming it.
    """
    low, high = _WISHED[name]
    if not 0 < value < math.inf:
        raise CosliceError(f"{name}: {numeral(value)} was given, a positive number is needed.")
    if not low <= value <= high:
        raise CosliceError(f"{name}: {numeral(value)} was given, from {low:g} to {high:g} is possible.")
