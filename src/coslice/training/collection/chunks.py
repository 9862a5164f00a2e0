"""Stacks of slices as a few compressed files of limited size, for places that take no large ones.

A chunk is about a megabyte of slices, as their bytes stand in memory, shortened by bzip2: on 8-bit CT it was smaller
than deflate with or without differences between neighbours (43, 47 and 53 MB of 115), as small as lzma,
and faster than both. Chunks fill a file until the next would not fit. A table, to be kept by the caller,
says how long each chunk is, which stack it belongs to, and which hash each file should have.
"""

from __future__ import annotations

import bz2
import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coslice.errors import CosliceError
from coslice.io.files import atomic
from coslice.io.memory import check_packing, on_disk
from coslice.io.plain_files import check_plain, is_plain

__all__ = ["check_parts", "read_chunks", "write_chunks"]

_CHUNK = 1 << 20


def write_chunks(stacks: Iterable[np.ndarray], folder: Path, limit: int) -> list[dict[str, Any]]:
    """Write stacks (n, h, w), uint8 or uint16, as files of at most `limit` bytes in `folder`; returns the table.

    Raises:
        CosliceError: a chunk does not fit into `limit`, or the folder cannot be written to.
    """
    parts: list[dict[str, Any]] = []
    content, chunks = bytearray(), []

    def finish() -> None:
        file = f"part-{len(parts):03d}.bin"
        with atomic(folder / file) as part:
            part.write_bytes(content)
        parts.append({"file": file, "sha256": hashlib.sha256(content).hexdigest(), "chunks": list(chunks)})
        content.clear()
        chunks.clear()

    for number, stack in enumerate(stacks):
        many = max(1, _CHUNK // (stack[0].nbytes or 1))
        for first in range(0, len(stack), many):
            chunk = _encoded(stack[first : first + many])
            if len(chunk) > limit:
                raise CosliceError(
                    f"Files of at most {limit} bytes were asked for, but {min(many, len(stack) - first)} slices take "
                    f"{len(chunk)}; allow larger files."
                )
            if len(content) + len(chunk) > limit:
                finish()
            chunks.append([number, len(chunk)])
            content += chunk
    if content:
        finish()
    return parts


def read_chunks(
    folder: Path, parts: Sequence[dict[str, Any]], shapes: Sequence[tuple[int, int, int]], dtype: type
) -> Iterator[np.ndarray]:
    """The stacks, of the given shapes, one after the other.

    Raises:
        CosliceError: a file is missing or not what was written.
    """
    paths = [folder / Path(part["file"]).name for part in parts]
    needed = sum(math.prod(shape) for shape in shapes) * np.dtype(dtype).itemsize
    check_packing(folder, needed, sum(on_disk(path) for path in paths if is_plain(path)))
    pending: list[np.ndarray] = []
    current = 0
    for number, chunk in _chunks(folder, parts):
        if not current <= number <= min(current + 1, len(shapes) - 1):
            raise _others(folder)
        if number != current:
            yield _stack(folder, pending, shapes, current)
            pending, current = [], number
        pending.append(_decoded(folder, chunk, shapes[number], dtype))
    if current != len(shapes) - 1:
        raise _others(folder)
    yield _stack(folder, pending, shapes, current)


def _others(folder: Path) -> CosliceError:
    return CosliceError(f"The parts in {folder} hold other scans than the pack lists; copy the whole pack again.")


def check_parts(folder: Path, parts: Any) -> None:
    """Refuse a table of parts that is none: it may come from a stranger.

    Raises:
        CosliceError: entries are missing, or of another kind.
    """
    try:
        for part in parts:
            if not all(isinstance(part[key], str) and len(part[key]) < 256 for key in ("file", "sha256")):
                raise TypeError("no text")
            for number, length in part["chunks"]:
                if type(number) is not int or type(length) is not int or min(number, length) < 0:
                    raise TypeError("no number")
    except (KeyError, TypeError, ValueError) as error:
        raise CosliceError(f"The pack in {folder} has a damaged table of parts; copy the whole pack again.") from error


def _chunks(folder: Path, parts: Sequence[dict[str, Any]]) -> Iterator[tuple[int, bytes]]:
    for part in parts:
        path = folder / Path(part["file"]).name
        check_plain(path, "copy the whole pack again")
        check_packing(path, path.stat().st_size, on_disk(path))
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CosliceError(f"{path} is missing or unreadable; copy the whole pack again.") from error
        if hashlib.sha256(content).hexdigest() != part["sha256"]:
            raise CosliceError(f"{path} is damaged; copy it again.")
        start = 0
        for number, length in part["chunks"]:
            yield number, content[start : start + length]
            start += length


def _stack(folder: Path, pending: list[np.ndarray], shapes: Sequence[tuple[int, int, int]], number: int) -> np.ndarray:
    stack = np.concatenate(pending) if pending else np.empty(0)
    if number >= len(shapes) or stack.shape != shapes[number]:
        raise CosliceError(f"The parts in {folder} do not hold the slices they should; copy the whole pack again.")
    return stack


def _encoded(stack: np.ndarray) -> bytes:
    return bz2.compress(stack.astype(stack.dtype.newbyteorder("<"), copy=False).tobytes())


def _decoded(folder: Path, chunk: bytes, shape: tuple[int, int, int], dtype: type) -> np.ndarray:
    most = max(_CHUNK, math.prod(shape[1:]) * np.dtype(dtype).itemsize)
    unpacker = bz2.BZ2Decompressor()
    try:
        content = unpacker.decompress(chunk, most)
        if not unpacker.eof or unpacker.unused_data:
            raise ValueError("another length")
        values = np.frombuffer(content, np.dtype(dtype).newbyteorder("<")).astype(dtype)
        return values.reshape(-1, *shape[1:])
    except (OSError, ValueError, EOFError) as error:
        raise CosliceError(f"The parts in {folder} do not hold the slices they should; copy the pack again.") from error
