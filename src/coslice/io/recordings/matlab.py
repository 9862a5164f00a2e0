"""MATLAB: version 5 (and 4) by scipy, version 7.3, which is HDF5, by h5py.

Arrays keep MATLAB's own order of indices: A(i, j, k) is [i, j, k] here, whichever version wrote it. HDF5 lists the
axes of a column-major array in reverse, so those of 7.3 are turned back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from coslice.io.recordings import hdf5
from coslice.io.recordings.named_arrays import angles_in_radians, chosen, with_role
from coslice.io.recordings.stored import DEFLATE, Stored, StoredArray, check_numbers, check_promise, damaged, reading

__all__ = ["matlab_arrays", "read_matlab"]

_DTYPES = {"double": "float64", "single": "float32", "logical": "bool", "char": "text"}
_NUMBERS = {"double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}


def matlab_arrays(path: Path) -> tuple[StoredArray, ...]:
    """The variables of a .mat file; nothing but their headers is read.

    Raises:
        CosliceError: damaged; version 7.3 without h5py.
    """
    with reading(path):
        if _is_hdf5(path):
            with hdf5.opened(path) as file:
                return tuple(
                    StoredArray(name, item.shape[::-1], _word(_kind(item)))
                    for name, item in hdf5.datasets(file).items()
                    if not name.startswith("#")
                )
        found = []
        for name, shape, kind in scipy.io.whosmat(str(path)):
            if kind == "struct":
                found += _fields(name, scipy.io.loadmat(str(path), variable_names=[name])[name])
            else:
                found.append(StoredArray(name, tuple(shape), _word(kind)))
        return tuple(found)


def read_matlab(path: Path, dataset: str | None) -> Stored:
    """The projections of a .mat file, and fields and angles by name.

    Raises:
        CosliceError: damaged, cut short, or not of real numbers; no such variable, or several that could be meant;
            version 7.3 without h5py.
    """
    arrays = matlab_arrays(path)
    name, notes = chosen(path, arrays, None if dataset is None else dataset.replace(".", "/"))
    flat, dark, theta = (with_role(role, arrays, name) for role in ("flat", "dark", "angles"))
    wanted = [one for one in (name, flat, dark, theta) if one is not None]
    with reading(path):
        for array in arrays:
            if array.name in wanted and array.dtype.startswith(("int", "uint", "float")):
                # MATLAB may store whole numbers of type double in single bytes, and then deflate these.
                check_promise(path, array.shape, np.dtype(array.dtype), path.stat().st_size, DEFLATE * 8)
        found = _of_hdf5(path, wanted) if _is_hdf5(path) else _of_version_5(path, wanted)
    for one in wanted:
        check_numbers(f"{one} in {path}", found[one].dtype)
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


def _fields(name: str, struct: np.ndarray) -> list[StoredArray]:
    """The arrays in a struct, and in the structs in it, as struct/field."""
    if struct.dtype.names is None or struct.size != 1:
        return [StoredArray(name, struct.shape, "struct")]
    found = []
    for field in struct.dtype.names:
        item = struct.reshape(-1)[0][field]
        if not isinstance(item, np.ndarray) or item.dtype.kind == "O":
            continue
        inner = f"{name}/{field}"
        found += _fields(inner, item) if item.dtype.names else [StoredArray(inner, item.shape, item.dtype.name)]
    return found


def _of_version_5(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    content = scipy.io.loadmat(str(path), variable_names=sorted({name.partition("/")[0] for name in names}))
    found = {}
    for name in names:
        first, *fields = name.split("/")
        item = content.get(first)
        for field in fields:
            item = item.reshape(-1)[0][field] if isinstance(item, np.ndarray) else None
        if not isinstance(item, np.ndarray):
            raise damaged(path, f"{name} is listed but is no array")
        found[name] = item
    return found


def _of_hdf5(path: Path, names: list[str]) -> dict[str, Any]:
    with hdf5.opened(path) as file:
        found = {}
        for name in names:
            values = hdf5.values(file[name], path)[0]
            # MATLAB has no booleans and texts of its own in HDF5: an attribute tells them from numbers.
            kind = _kind(file[name])
            found[name] = values.T if kind in _NUMBERS else np.empty(0, "bool" if kind == "logical" else "U1")
        return found


def _kind(item: Any) -> str:
    kind = item.attrs.get("MATLAB_class", str(item.dtype))
    return kind.decode("latin-1") if isinstance(kind, bytes) else str(kind)
