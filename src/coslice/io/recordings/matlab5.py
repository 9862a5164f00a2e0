"""MATLAB's files of version 5 to 7, element by element.

A file is a header of 128 bytes and a row of elements: a tag of kind and size, and that many bytes. A variable is an
element of elements: flags, sides, name, values; or, since version 7, such an element deflated. Values of a type may
be stored in a smaller one that holds them. A struct has an element for each of its fields.

scipy reads these files too, but trusts them: a damaged one ends Python without a word. So here every size is compared
with what is there first, and only what is asked for is inflated.

Reference: MAT-File Format, The MathWorks, version 5 level.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coslice.io.memory import check_packing
from coslice.io.recordings.stored import DEFLATE

__all__ = ["Variable", "is_matlab5", "variables"]

_KINDS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MATRIX, _DEFLATED = 14, 15
_NUMBERS = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_OTHERS = {1: "cell", 3: "object", 4: "text", 5: "sparse", 16: "function", 17: "opaque"}
_STRUCT = 2
_HEAD = 1 << 12
_DEPTH = 8


@dataclass(frozen=True, eq=False)
class Variable:
    """A variable, or a field of a struct, of which only the head has been looked at.

    Attributes:
        name: as "struct/field" for a field.
        shape: in MATLAB's order.
        dtype: numpy's word for its type, or "text", "cell", ...
        source: the element it is in: the bytes as they are in the file, deflated or not.
        start: where its values begin in the (inflated) element.
        order: of bytes, "<" or ">".
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    source: _Source
    start: int
    order: str

    def values(self) -> np.ndarray:
        """The values, in MATLAB's order of indices; mapped where they are neither deflated nor of a smaller type.

        Raises:
            ValueError: they are not as many as the sides say.
        """
        kind, found, _ = _element(self.source.all(), self.start, self.order)
        if kind not in _KINDS:
            raise ValueError(f"{self.name} has values of kind {kind}")
        stored = np.dtype(self.order + _KINDS[kind])
        if found.size != math.prod(self.shape) * stored.itemsize:
            raise ValueError(f"{self.name} has {found.size // stored.itemsize} values for its {self.shape}")
        dtype = self.order + np.dtype(self.dtype).str[1:]
        return found.view(stored).astype(dtype, copy=False).reshape(self.shape, order="F")


@dataclass(frozen=True, eq=False)
class _Source:
    """Bytes of a variable as they stand (`inflated` 0), or a deflated stream of `inflated` bytes."""

    content: np.ndarray
    inflated: int = 0

    def head(self) -> np.ndarray:
        if not self.inflated:
            return self.content
        return np.frombuffer(zlib.decompressobj().decompress(self.content.data, _HEAD), np.uint8)

    def all(self) -> np.ndarray:
        if not self.inflated:
            return self.content
        check_packing("A variable in it", self.inflated, self.content.size)
        stream = zlib.decompressobj()
        found = stream.decompress(self.content.data, self.inflated + 1)
        if len(found) != self.inflated or not stream.eof:  # only at its end is the checksum compared
            raise ValueError(f"a compressed variable is not of the {self.inflated} bytes that it says")
        return np.frombuffer(found, np.uint8)


def is_matlab5(path: Path) -> bool:
    """Whether `path` begins as files of version 5 to 7 do."""
    with open(path, "rb") as stream:
        start = stream.read(128)
    return len(start) == 128 and start[124:] in (b"\x00\x01IM", b"\x01\x00MI")


def variables(path: Path) -> Iterator[Variable]:
    """The variables of a file in order, and in place of a struct of one element its fields.

    Raises:
        ValueError, struct.error, zlib.error: the file is damaged or cut short.
    """
    content = np.memmap(path, np.uint8, "r")
    order = "<" if content[126:128].tobytes() == b"IM" else ">"
    at = 128
    while at < content.size:
        kind, found, at = _element(content, at, order)
        if kind not in (_MATRIX, _DEFLATED):
            raise ValueError(f"an element of kind {kind} is no variable")
        if kind == _MATRIX:
            yield from _matrix(_Source(found), 0, order, "", _DEPTH)
            continue
        head = _Source(found, 1).head()
        word, promised = struct.unpack_from(f"{order}2I", head.data)
        if word != _MATRIX or promised > found.size * DEFLATE:
            raise ValueError("a compressed element is no variable, or promises more than it can hold")
        yield from _matrix(_Source(found, promised + 8), 8, order, "", _DEPTH)


def _element(content: np.ndarray, at: int, order: str) -> tuple[int, np.ndarray, int]:
    """Kind and bytes of the element at `at`, and where the next one begins."""
    word, count = struct.unpack_from(f"{order}2I", content.data, at)
    if word >> 16:  # up to four bytes stand in the tag itself
        kind, count, start, after = word & 0xFFFF, word >> 16, at + 4, at + 8
        if count > 4:
            raise ValueError(f"a short element has {count} bytes")
    else:
        kind, start = word, at + 8
        after = start + count + (0 if kind == _DEFLATED else -count % 8)
    if start + count > content.size:
        raise ValueError(f"an element of {count} bytes ends behind the end")
    return kind, content[start : start + count], after


def _matrix(source: _Source, at: int, order: str, inside: str, depth: int) -> Iterator[Variable]:
    head = source.head()
    _, flags, at = _element(head, at, order)
    _, sides, at = _element(head, at, order)
    _, name, at = _element(head, at, order)
    flag = struct.unpack_from(f"{order}I", flags.data)[0]
    shape = tuple(int(side) for side in np.frombuffer(sides.tobytes(), f"{order}i4"))
    if any(side < 0 for side in shape):
        raise ValueError(f"a variable has the sides {shape}")
    label = inside or name.tobytes().decode("latin-1")
    kind = flag & 0xFF
    if kind == _STRUCT and math.prod(shape) == 1 and depth:
        yield from _fields(source, at, order, label, depth)
        return
    dtype = np.dtype(_NUMBERS[kind]).name if kind in _NUMBERS else _OTHERS.get(kind, "struct")
    if flag & 0x800:
        dtype = f"complex {dtype}"
    if flag & 0x200:
        dtype = "bool"
    yield Variable(label, shape, dtype, source, at, order)


def _fields(source: _Source, at: int, order: str, label: str, depth: int) -> Iterator[Variable]:
    whole = source.all()
    _, length, at = _element(whole, at, order)
    _, names, at = _element(whole, at, order)
    step = struct.unpack_from(f"{order}i", length.data)[0]
    if step < 1:
        raise ValueError(f"{label} has names of {step} letters")
    for first in range(0, names.size, step):
        field = names[first : first + step].tobytes().split(b"\x00")[0].decode("latin-1")
        kind, found, at = _element(whole, at, order)
        if kind == _MATRIX and found.size:
            yield from _matrix(_Source(found), 0, order, f"{label}/{field}", depth - 1)
