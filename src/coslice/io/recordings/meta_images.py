"""MetaImage: a header of "Key = Value" lines, and the pixels behind it (.mha) or in another file (.mhd).

DimSize counts columns first: "640 2 181" is an array of (181, 2, 640). The same order holds for ElementSpacing (mm)
and Offset, which is where the first pixel stands, not where its bytes do. RTK, elastix and ITK write this format.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import numpy as np

from coslice.errors import CosliceError
from coslice.io.plain_files import is_plain
from coslice.io.recordings.stored import DEFLATE, Stored, check_promise, damaged, reading

__all__ = ["read_meta_image"]

# As C's types are on the machines that write them: MET_LONG has 4 bytes whatever the machine.
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_LONGEST_HEADER = 1 << 16
_LONGEST_NAME = 255


def read_meta_image(path: Path) -> Stored:
    """The image in `path`, mapped unless it is compressed.

    Raises:
        CosliceError: no MetaImage, damaged or cut short; colour; pixels as text; pixels in a list of files, or in a
            file of another folder.
    """
    with reading(path):
        header, end = _header(path)
        shape = tuple(int(side) for side in reversed(header.get("DimSize", "").split()))
        dtype = _dtype(header, path)
        if len(shape) != int(header.get("NDims", len(shape))):
            raise damaged(path, f"NDims is {header['NDims']} and DimSize is {header.get('DimSize', 'missing')}")
        content, start = _content(header, path, end)
        present, left = content.stat().st_size - start, 0
        if _yes(header, "CompressedData"):
            data = _unpacked(content, start, check_promise(path, shape, dtype, present, DEFLATE)).view(dtype)
        else:
            needed = check_promise(path, shape, dtype, present)
            if header.get("HeaderSize") == "-1":  # the pixels are the end of the file
                start = content.stat().st_size - needed
            data = np.memmap(content, dtype, "r", start, shape)
            left = content.stat().st_size - start - needed
        spacing, notes = _spacing(header, path, len(shape))
        if left:
            notes += (f"{left} bytes behind the pixels that {path.name} promises were left.",)
        origin = _origin(header, len(shape))
    return Stored(data.reshape(shape), spacing=spacing, origin=origin, notes=notes)


def _header(path: Path) -> tuple[dict[str, str], int]:
    """The header's entries, and where it ends."""
    with open(path, "rb") as stream:
        start = stream.read(_LONGEST_HEADER)
    header, at = {}, 0
    while at < len(start):
        end = start.find(b"\n", at)
        line = start[at : end if end >= 0 else len(start)].decode("latin-1")
        key, equals, value = line.partition("=")
        at = end + 1 if end >= 0 else len(start)
        if not equals:
            if line.strip():
                break
            continue
        header[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            return header, at
    raise CosliceError(
        f'{path} is no MetaImage: its header of lines like "NDims = 3" does not end with ElementDataFile; '
        "give the .mha, or the .mhd whose header names the file of pixels."
    )


def _dtype(header: dict[str, str], path: Path) -> np.dtype:
    if int(header.get("ElementNumberOfChannels", "1")) != 1:
        raise CosliceError(f"{path} is in colour, but one number a pixel is needed; save it in grey values.")
    if not _yes(header, "BinaryData", "True"):
        raise CosliceError(f"{path} has its pixels as text, which is not read; save it with BinaryData = True.")
    kind = header.get("ElementType", "no type")
    if kind not in _TYPES:
        raise CosliceError(f"{path} has pixels of {kind}, but one of {', '.join(_TYPES)} is needed; convert it.")
    big = _yes(header, "BinaryDataByteOrderMSB") or _yes(header, "ElementByteOrderMSB")
    return np.dtype((">" if big else "<") + _TYPES[kind])


def _yes(header: dict[str, str], key: str, otherwise: str = "False") -> bool:
    return header.get(key, otherwise).lower() in ("true", "1", "t", "yes")


def _content(header: dict[str, str], path: Path, end: int) -> tuple[Path, int]:
    """The file of the pixels, and where they begin in it."""
    name = header["ElementDataFile"]
    if not name or len(name) > _LONGEST_NAME:
        raise damaged(path, f"ElementDataFile has {len(name)} letters, which is no file's name")
    if name.upper() == "LOCAL":
        return path, end
    if name.upper().startswith("LIST") or "%" in name:
        raise CosliceError(f"{path} spreads its pixels over several files ({name}); save them as one .mha file.")
    other = Path(name)
    if other.is_absolute() or ".." in other.parts or "\\" in name or ":" in name:
        raise CosliceError(
            f"{path} names {name} for its pixels, but only a file in its own folder is read; put it beside the header."
        )
    content = path.parent / other
    if not is_plain(content):
        raise CosliceError(f"{path} names {name} for its pixels, which is not beside it; copy it there.")
    start = int(header.get("HeaderSize", "0"))
    if start > content.stat().st_size or start < -1:
        raise damaged(path, f"HeaderSize is {start}, and {name} has {content.stat().st_size} bytes")
    return content, max(start, 0)


def _unpacked(content: Path, start: int, needed: int) -> np.ndarray:
    """`needed` bytes out of a zlib stream; not one more is kept."""
    unpacker = zlib.decompressobj()
    data, done = np.empty(needed, np.uint8), 0
    with open(content, "rb") as stream:
        stream.seek(start)
        packed = b""
        while not unpacker.eof:
            packed = unpacker.unconsumed_tail or stream.read(1 << 20)
            if not packed:
                raise damaged(content, "its compressed pixels end too early")
            part = unpacker.decompress(packed, 1 << 22)
            if done + len(part) > needed:
                raise damaged(content, f"its compressed pixels are more than the {needed} bytes of the header")
            data[done : done + len(part)] = np.frombuffer(part, np.uint8)
            done += len(part)
    if done != needed:
        raise damaged(content, f"its compressed pixels are {done} bytes, and the header says {needed}")
    return data


def _spacing(header: dict[str, str], path: Path, ndim: int) -> tuple[tuple[float | None, ...], tuple[str, ...]]:
    given = header.get("ElementSpacing", header.get("ElementSize"))
    if given is None:
        return (), ()
    spacing = tuple(float(step) for step in reversed(given.split()))
    if len(spacing) != ndim or not all(math.isfinite(step) and step > 0 for step in spacing):
        return (), (f"The ElementSpacing of {path.name}, {given!r}, makes no sense and was not taken.",)
    if set(spacing) == {1.0}:
        return spacing, (f"{path.name} says pixels of 1 mm, which is also what programs write where none is known.",)
    return spacing, ()


def _origin(header: dict[str, str], ndim: int) -> tuple[float, ...]:
    """Where the first pixel lies, mm, along every axis as stored; RTK places detectors so."""
    given = header.get("Offset", header.get("Position", header.get("Origin", ""))).split()
    places = tuple(float(place) for place in reversed(given))
    return places if len(places) == ndim and all(map(math.isfinite, places)) else ()
