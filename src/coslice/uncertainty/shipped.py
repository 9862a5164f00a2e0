"""The calibrations that come with the package, and which of them applies to a run."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from pathlib import Path

from coslice.errors import CosliceError
from coslice.io.documents import read_json
from coslice.uncertainty.calibration import Calibration
from coslice.uncertainty.conditions import Conditions

__all__ = ["find_calibration", "read_calibration", "shipped_calibrations", "why_none"]


def read_calibration(path: str | Path) -> Calibration:
    """A calibration from its file.

    Raises:
        CosliceError: no such file, no JSON, or no calibration in it.
    """
    try:
        tree = read_json(path)
    except (OSError, ValueError) as error:
        raise CosliceError(
            f"calibration {path}: it cannot be read ({error}); give a file that was made by scripts/calibrate.py."
        ) from error
    return Calibration.from_tree(tree)


@lru_cache(maxsize=1)
def shipped_calibrations() -> tuple[Calibration, ...]:
    """Those in the package, by name."""
    folder = Path(str(resources.files("coslice") / "data" / "calibration"))
    return tuple(read_calibration(path) for path in sorted(folder.glob("*.json")))


def find_calibration(run: Conditions, known: tuple[Calibration, ...] | None = None) -> Calibration | None:
    """The first calibration that applies to a run; None where none does, see `why_none`.

    Args:
        run: its conditions.
        known: to choose among; None is `shipped_calibrations()`.
    """
    known = shipped_calibrations() if known is None else known
    return next((one for one in known if not one.conditions.differences(run)), None)


def why_none(run: Conditions, known: tuple[Calibration, ...] | None = None) -> str:
    """Why no calibration applies to a run, in one sentence that speaks of the nearest one; "" where one does."""
    known = shipped_calibrations() if known is None else known
    if find_calibration(run, known) is not None:
        return ""
    if not known:
        return "No interval: there is no calibration."
    found = {one.name: one.conditions.differences(run) for one in known}
    name = min(found, key=lambda one: len(found[one]))
    return f"No interval: no calibration fits this run; of the nearest, {name}, {', and '.join(found[name])}."
