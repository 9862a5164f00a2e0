"""What one file holds, as it stands there, and the sentences for files that cannot be read."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coslice.errors import CosliceError
from coslice.io.memory import check_memory, check_packing, on_disk
from coslice.io.plain_files import is_plain

__all__ = [
    "DEFLATE",
    "Stored",
    "StoredArray",
    "check_numbers",
    "check_promise",
    "damaged",
    "listed",
    "optional",
    "reading",
    "sides",
]

DEFLATE = 1032
"""Deflate cannot shrink further than this, so a header that promises more than file size times it is lying."""


@dataclass(frozen=True, eq=False)
class Stored:
    """One file's projections, axes in the order of the file.

    Attributes:
        data: the projections, 2D or more.
        order: a letter per axis of `data` (v views, r rows, c columns), where the file names its axes.
        spacing: mm between the pixels along every axis of `data`, None where the file is silent.
        origin: place of the first pixel in mm along every axis of `data`, where the file says it.
        pixel: (dv, du), mm, where the file gives it by name and not by axis.
        flat, dark: open beam and beam off, with their axes as they stand in the file.
        angles: of the views, rad.
        logged: True line integrals, False counts, None where the file does not say.
        notes: what was chosen or left out, in full sentences.
    """

    data: np.ndarray
    order: str | None = None
    spacing: tuple[float | None, ...] = ()
    origin: tuple[float, ...] = ()
    pixel: tuple[float, float] | None = None
    flat: np.ndarray | None = None
    dark: np.ndarray | None = None
    angles: tuple[float, ...] | None = None
    logged: bool | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoredArray:
    """An array by name in a file of many: its name, shape and type ("uint16"; "text", "complex128", ...)."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.name} ({sides(self.shape) or 'one value'}, {self.dtype})"


def optional(module: str, path: Path) -> Any:
    """A package that only some formats need.

    Raises:
        CosliceError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise CosliceError(
            f'{path} is read with the package {module}, which is not installed; run pip install "coslice[projections]".'
        ) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What a library throws while it reads `path`, as one sentence.

    Raises:
        CosliceError: the file may not be read, or cannot be.
    """
    try:
        yield
    except CosliceError:
        raise
    except PermissionError as error:
        raise CosliceError(f"{path} may not be read by this user; change its permissions.") from error
    except Exception as error:  # a damaged file brings parsers to errors of any kind
        raise damaged(path, str(error) or type(error).__name__) from error


def damaged(path: Path, reason: str) -> CosliceError:
    """The error for a file whose content is broken; a library's reason is cut to one line."""
    line = " ".join(reason.split())
    return CosliceError(
        f"{path} is damaged or cut short ({line if len(line) <= 160 else line[:157] + '...'}); "
        "copy it again, or save the projections anew."
    )


def check_promise(path: Path, shape: Sequence[int], dtype: np.dtype, present: int, packing: float = 1) -> int:
    """The bytes of an array, after a look whether `present` bytes, packed at most `packing` to one, can hold it.

    What is packed, or in a file with holes, must also keep to the bounds of `coslice.io.memory`.

    Raises:
        CosliceError: they cannot, or the array is empty.
    """
    if not shape or min(shape) < 1:
        raise CosliceError(f"{path} holds an array of {sides(shape) or 'no'} values: no projections are in it.")
    needed = math.prod(shape) * dtype.itemsize
    if needed > present * packing:
        raise damaged(path, f"its header promises {sides(shape)} values in {needed} bytes, and {present} are there")
    what = f"{path} ({sides(shape)} values)"
    check_packing(what, max(needed, 4 * math.prod(shape)), min(present, on_disk(path)) if is_plain(path) else present)
    if packing != 1:
        check_memory(what, needed, "unpack it on the disk first, so that it can be mapped")
    return needed


def check_numbers(what: str | Path, dtype: np.dtype) -> None:
    """One real number a pixel.

    Raises:
        CosliceError: anything else.
    """
    if dtype.kind in "iuf":
        return
    kinds = {"b": "true and false", "c": "complex numbers", "O": "Python objects", "V": "records", "M": "dates"}
    raise CosliceError(
        f"{what} holds {kinds.get(dtype.kind, 'text')} ({dtype}), but one real number a pixel is needed; "
        "save the projections as integers or floats."
    )


def sides(shape: Sequence[int]) -> str:
    """ "181 x 2 x 640"."""
    return " x ".join(str(side) for side in shape)


def listed(items: Sequence[object], limit: int = 8) -> str:
    """Some things in a sentence, the first ones if they are many."""
    shown = [str(item) for item in items[:limit]]
    more = len(items) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
