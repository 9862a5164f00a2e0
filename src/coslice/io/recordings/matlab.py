"""MATLAB: versions 5 to 7, and version 7.3, which is HDF5.

Arrays keep MATLAB's own order of indices: A(i, j, k) is [i, j, k] here, whichever version wrote it. HDF5 lists the
axes of a column-major array in reverse, so those of 7.3 are turned back.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from coslice.errors import CosliceError
from coslice.io.recordings import hdf5
from coslice.io.recordings.matlab5 import is_matlab5, variables
from coslice.io.recordings.named_arrays import angles_in_radians, chosen, with_role
from coslice.io.recordings.stored import Stored, StoredArray, listed, reading, sides

__all__ = ["matlab_arrays", "read_matlab"]

_DTYPES = {"double": "float64", "single": "float32", "logical": "bool", "char": "text"}
_NUMBERS = {"double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}


def matlab_arrays(path: Path) -> tuple[StoredArray, ...]:
    """The variables of a .mat file; nothing but their headers is read.

    Raises:
        CosliceError: damaged; version 4; version 7.3 without h5py.
    """
    with reading(path):
        if _is_hdf5(path):
            with hdf5.opened(path) as file:
                return tuple(
                    StoredArray(name, item.shape[::-1], _word(_kind(item)))
                    for name, item in hdf5.datasets(file).items()
                    if not name.startswith("#")
                )
        _check_version(path)
        return tuple(StoredArray(one.name, one.shape, one.dtype) for one in variables(path))


def read_matlab(path: Path, dataset: str | None) -> Stored:
    """The projections of a .mat file, and fields and angles by name.

    Raises:
        CosliceError: damaged, cut short, or not of real numbers; no such variable, or several that could be meant;
            version 4; version 7.3 without h5py.
    """
    arrays = matlab_arrays(path)
    name, notes = chosen(path, arrays, None if dataset is None else dataset.replace(".", "/"))
    flat, dark, theta = (with_role(role, arrays, name) for role in ("flat", "dark", "angles"))
    wanted = [one for one in (name, flat, dark, theta) if one is not None]
    for array in arrays:
        if array.name == name and not array.dtype.startswith(("int", "uint", "float")):
            raise CosliceError(
                f"{name} in {path} is {array.dtype}, but projections are an array of real numbers; the file has "
                f"{listed(arrays)}."
            )
        if array.name == name and not math.prod(array.shape):
            raise CosliceError(f"{name} in {path} is empty ({sides(array.shape)}): no projections are in it.")
    with reading(path):
        if _is_hdf5(path):
            with hdf5.opened(path) as file:
                found = {one: hdf5.values(file[one], path)[0].T for one in wanted}
        else:
            found = {one.name: one.values() for one in variables(path) if one.name in wanted}
    angles = None
    if theta is not None:
        angles, more = angles_in_radians(theta, found[theta], "", degrees_if_silent=False)
        notes += more
    return Stored(
        found[name],
        flat=None if flat is None else found[flat],
        dark=None if dark is None else found[dark],
        angles=angles,
        notes=notes,
    )


def _word(kind: str) -> str:
    """numpy's word for a class of MATLAB's."""
    return _DTYPES.get(kind, kind)


def _is_hdf5(path: Path) -> bool:
    with open(path, "rb") as stream:
        return stream.read(10) == b"MATLAB 7.3"


def _check_version(path: Path) -> None:
    """Refuses what is neither of version 5 to 7 nor 7.3.

    Raises:
        CosliceError: it is none of these.
    """
    if not is_matlab5(path):
        raise CosliceError(
            f"{path} is no MATLAB file of version 5 or later, or damaged at its start; save it with -v7 or -v7.3."
        )


def _kind(item: Any) -> str:
    kind = item.attrs.get("MATLAB_class", str(item.dtype))
    return kind.decode("latin-1") if isinstance(kind, bytes) else str(kind)
