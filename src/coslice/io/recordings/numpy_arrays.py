"""NumPy: .npy, mapped into memory, and .npz, a zip file of them.

The header of an .npy is a Python literal that numpy parses without evaluating it. An array of objects would need
pickle, which runs whatever its writer liked; it is refused.
"""

from __future__ import annotations

import struct
import warnings
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from coslice.io.recordings.named_arrays import angles_in_radians, chosen, with_role
from coslice.io.recordings.stored import (
    DEFLATE,
    Stored,
    StoredArray,
    check_numbers,
    check_promise,
    damaged,
    reading,
)

__all__ = ["npz_arrays", "read_npy", "read_npz"]

_LONGEST_HEADER = 1 << 16
_Header = tuple[tuple[int, ...], bool, np.dtype]


def read_npy(path: Path) -> Stored:
    """The array of an .npy file, mapped.

    Raises:
        CosliceError: damaged, cut short, empty, or not of real numbers.
    """
    with reading(path):
        with open(path, "rb") as stream:
            header, start = _header(stream), stream.tell()
        check_numbers(path, header[2])
        check_promise(path, header[0], header[2], path.stat().st_size - start)
        return Stored(_mapped(path, header, start))


def npz_arrays(path: Path) -> tuple[StoredArray, ...]:
    """The arrays of an .npz file; nothing but their headers is read.

    Raises:
        CosliceError: damaged.
    """
    with reading(path), zipfile.ZipFile(path) as archive:
        found = []
        for member in archive.infolist():
            if member.filename.endswith(".npy"):
                _packing(path, member)
                with archive.open(member) as stream:
                    shape, _, dtype = _header(stream)
                if any(one.name == member.filename.removesuffix(".npy") for one in found):
                    raise damaged(path, "two arrays in it have one name")
                found.append(StoredArray(member.filename.removesuffix(".npy"), shape, dtype.name))
        return tuple(found)


def read_npz(path: Path, dataset: str | None) -> Stored:
    """The projections of an .npz file, mapped where they are not compressed, and fields and angles by name.

    Raises:
        CosliceError: as `read_npy`; no such array, or several that could be meant.
    """
    arrays = npz_arrays(path)
    name, notes = chosen(path, arrays, dataset)
    flat, dark, theta = (with_role(role, arrays, name) for role in ("flat", "dark", "angles"))
    angles = None
    with reading(path), zipfile.ZipFile(path) as archive:
        if theta is not None:
            angles, more = angles_in_radians(theta, _member(path, archive, theta), "", degrees_if_silent=False)
            notes += more
        return Stored(
            _member(path, archive, name),
            flat=None if flat is None else _member(path, archive, flat),
            dark=None if dark is None else _member(path, archive, dark),
            angles=angles,
            notes=notes,
        )


def _header(stream: IO[bytes]) -> _Header:
    version = npy.read_magic(stream)  # type: ignore[arg-type]
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"its version {version[0]}.{version[1]} is none of NumPy's")
    # Version 3 differs in the letters of field names alone, and arrays with fields are no projections.
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that Python 2 wrote, which are as good
        return read(_Pieces(stream))  # type: ignore[arg-type, return-value]


class _Pieces:
    """A stream that gives no more than a header may have: numpy reads as much as one says that it has."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, count: int) -> bytes:
        if count > _LONGEST_HEADER:
            raise ValueError(f"its header would have {count} bytes")
        return self._stream.read(count)


def _mapped(path: Path, header: _Header, start: int) -> np.ndarray:
    shape, fortran, dtype = header
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")


def _packing(path: Path, info: zipfile.ZipInfo) -> int:
    """How many bytes one of a member may stand for. Other methods unpack all of a block for its first byte."""
    packing = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: DEFLATE}.get(info.compress_type)
    if packing is None:
        raise damaged(path, f"{info.filename.removesuffix('.npy')} is packed by a method that numpy does not write")
    return packing


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    info = archive.getinfo(f"{name}.npy")
    packing = _packing(path, info)
    with archive.open(info) as stream:
        header = shape, fortran, dtype = _header(stream)
        start = stream.tell()
        check_numbers(f"{name} in {path}", dtype)
        needed = check_promise(path, shape, dtype, min(info.compress_size, path.stat().st_size), packing)
        if needed + start > info.file_size:
            raise damaged(path, f"{name} ends before its {needed} bytes do")
        if packing == 1:
            return _mapped(path, header, start + _content_of(path, info))
        data = np.empty(needed, np.uint8)
        done = 0
        while done < needed:
            count = stream.readinto(memoryview(data)[done:])  # type: ignore[attr-defined]
            if not count:
                raise damaged(path, f"{name} ends before its {needed} bytes do")
            done += count
        stream.read(1)  # only at its end is the checksum compared
    return data.view(dtype).reshape(shape, order="F" if fortran else "C")


def _content_of(path: Path, info: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: behind its own header, whose name and extras may differ from the directory's."""
    with open(path, "rb") as stream:
        stream.seek(info.header_offset)
        fields = stream.read(30)
    name, extra = struct.unpack("<2H", fields[26:30])
    return info.header_offset + 30 + name + extra
