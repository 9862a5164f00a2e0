"""Files of many arrays: which of them are the projections, the flat and dark fields and the angles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from coslice.errors import CosliceError
from coslice.io.recordings.stored import StoredArray, listed

__all__ = ["angles_in_radians", "chosen", "role_of", "said_to_be_logged", "with_role"]

_ROLES = {
    "flat": (
        "flat",
        "flats",
        "flatfield",
        "flatfields",
        "white",
        "whites",
        "whitefield",
        "datawhite",
        "openbeam",
        "ob",
    ),
    "dark": ("dark", "darks", "darkfield", "darkfields", "datadark", "darkcurrent"),
    "angles": ("theta", "thetas", "angle", "angles", "rotationangle", "rotationangles"),
}
_DEGREES = {"degree", "degrees", "deg", "degs", "°"}
_RADIANS = {"radian", "radians", "rad", "rads"}
_NUMBERS = ("int", "uint", "float")


def role_of(name: str) -> str:
    """ "flat", "dark" or "angles" for a name that means it, else ""; a unit at its end is no part of the name."""
    plain = "".join(letter for letter in name.rsplit("/", 1)[-1].lower() if letter.isalnum())
    for unit in ("degrees", "radians", "deg", "rad"):
        if plain.endswith(unit) and plain.removesuffix(unit) in _ROLES["angles"]:
            return "angles"
    return next((role for role, names in _ROLES.items() if plain in names), "")


def chosen(path: Path, arrays: Sequence[StoredArray], dataset: str | None) -> tuple[str, tuple[str, ...]]:
    """The name of the projections among `arrays`, and the sentence about those passed over.

    Without `dataset` they are the only 3D array of numbers that is no flat or dark field, else the only 2D one.

    Raises:
        CosliceError: there is none, or several, or no `dataset`.
    """
    names = [array.name for array in arrays]
    if dataset is not None:
        wanted = dataset.strip("/")
        if wanted not in names:
            raise CosliceError(f"{path} has no dataset {dataset!r}; it has {listed(arrays) or 'none at all'}.")
        return wanted, ()
    numeric = [array for array in arrays if array.dtype.startswith(_NUMBERS)]
    images = [array for array in numeric if len([side for side in array.shape if side > 1]) > 1]
    for dimensions in (3, 2):
        fitting = [array for array in images if _dimensions(array.shape) == dimensions]
        # A file of nothing but flat fields is what is given as the flat field.
        fitting = [array for array in fitting if not role_of(array.name)] or fitting
        if len(fitting) > 1:
            raise CosliceError(
                f"{path} has {len(fitting)} arrays that could be the projections: {listed(fitting)}; "
                "say which by naming the dataset."
            )
        if fitting:
            others = [array.name for array in images if array is not fitting[0] and not role_of(array.name)]
            left = f" {listed(others)} had fewer or more axes and were left." if others else ""
            note = f"Of {path.name} the dataset {fitting[0].name} was read.{left}"
            return fitting[0].name, (note,) if len(numeric) > 1 else ()
    raise CosliceError(
        f"{path} has no array of numbers with views, rows and columns; it has {listed(arrays) or 'no arrays'}."
    )


def _dimensions(shape: Sequence[int]) -> int:
    """How many axes there are; of more than three, those of length 1 do not count."""
    return len(shape) if len(shape) <= 3 else max(3, sum(side > 1 for side in shape))


def with_role(role: str, arrays: Sequence[StoredArray], data: str) -> str | None:
    """The only array of numbers but `data` whose name means `role` in the same group, else in the groups below it."""
    group, slash, _ = data.rpartition("/")
    found = [
        array.name
        for array in arrays
        if array.name != data
        and role_of(array.name) == role
        and array.dtype.startswith(_NUMBERS)
        and min(array.shape, default=0) > 0  # some programs write an empty field where none was taken
    ]
    beside = [name for name in found if name.rpartition("/")[0] == group]
    below = [name for name in found if name.startswith(group + slash)] if group else []
    return next((names[0] for names in (beside, below) if len(names) == 1), None)


def angles_in_radians(
    name: str, values: np.ndarray, unit: str, degrees_if_silent: bool
) -> tuple[tuple[float, ...] | None, tuple[str, ...]]:
    """Angles of the views in rad, and what was assumed of their unit.

    Without a unit, a span of half a turn or a whole one settles it. Else they are degrees where a format says so
    (`degrees_if_silent`), and not taken where none does.
    """
    flat = np.asarray(values, dtype=np.float64).reshape(-1)
    if not flat.size or not np.isfinite(flat).all():
        return None, (f"The angles in {name} are empty or not finite numbers, so they were not taken.",)
    unit = unit.strip().lower()
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    if not unit:
        unit = next((word for word in ("degrees", "radians", "deg", "rad") if plain.endswith(word)), "")
    notes: tuple[str, ...] = ()
    if not unit:
        span = float(np.ptp(flat))
        degrees, radians = _turns(span, flat.size, 180.0), _turns(span, flat.size, math.pi)
        unit = "degrees" if degrees else "radians" if radians else "degrees" if degrees_if_silent else ""
        reason = (
            f"their span of {span:g} is that of whole half turns" if degrees or radians else "that is the format's rule"
        )
        if not unit:
            return None, (
                f"The angles in {name} (span {span:g}) have no unit and could be degrees or radians, so they were not "
                "taken; give the angles with the geometry.",
            )
        notes = (f"The angles in {name} have no unit; they were read as {unit}, since {reason}.",)
    if unit in _DEGREES:
        return tuple(float(angle) for angle in np.radians(flat)), notes
    if unit in _RADIANS:
        return tuple(float(angle) for angle in flat), notes
    return None, (f"The angles in {name} are in {unit!r}, which is neither degrees nor radians; they were not taken.",)


def _turns(span: float, count: int, half: float) -> bool:
    """Whether views of `count` angles cover one, two or four half turns, with the last step or without it."""
    full = span * count / max(count - 1, 1)
    return any(math.isclose(one, turns * half, rel_tol=0.01) for one in (span, full) for turns in (1, 2, 4))


def said_to_be_logged(attribute: Callable[[str], str]) -> bool | None:
    """What the attributes "units" and "description" of an array say: True line integrals, False counts."""
    units = attribute("units").strip().lower()
    words = f"{units} {attribute('description').lower()}".replace("_", " ").replace("-", " ")
    if any(word in words for word in ("line integral", "minus log", "negative log")) or units.startswith(
        ("-log", "-ln")
    ):
        return True
    return False if units in ("count", "counts", "adu", "photon", "photons", "photon counts") else None
