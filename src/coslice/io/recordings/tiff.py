"""TIFF: one file, an image or a stack of them.

Pages of one size are a stack, whether each has a header of its own or, as ImageJ writes large stacks, the first has
one for all. Colour is refused. A page must lie inside the file: libraries fill what is missing with zeros.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from coslice.errors import CosliceError
from coslice.io.recordings.stored import Stored, check_numbers, check_promise, damaged, listed, optional, reading, sides

__all__ = ["TiffHeader", "read_tiff", "read_tiff_into", "said_of", "tiff_header"]

_SHORTEST = 8
"""Bytes of a header."""
_PACKING = 1 << 13
"""LZW, at most 4096 bytes to 12 bits, packs closer than deflate."""

_GREY = (0, 1)
"""Of the tag PhotometricInterpretation: small values bright, small values dark."""
_MM = {2: 25.4, 3: 10.0}  # ResolutionUnit: inch, centimetre
_PIXEL_MM = (2e-4, 5.0)
_PRINT_DPI = (72, 96, 150, 300, 600, 1200)
"""What programs write into files that nobody will print; no detector's pixels."""


@dataclass(frozen=True)
class TiffHeader:
    """What a TIFF file says of its image before a pixel is read.

    Attributes:
        shape: (rows, columns) or (pages, rows, columns).
        dtype: with the file's byte order.
        start: where the pixels begin, if they lie in one piece as they are; else None.
        pixel: (dv, du) mm, where the file says so and means it.
        odd: what should be said of it, as "has ...".
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    start: int | None
    pixel: tuple[float, float] | None
    odd: tuple[str, ...]


def tiff_header(path: Path) -> TiffHeader:
    """The header of the image in `path`, after a check that its pixels are in the file.

    Raises:
        CosliceError: tifffile is not installed; no TIFF, damaged, cut short; colour; pages of several sizes.
    """
    with _opened(path) as (file, series):
        return _header(path, file, series)


def read_tiff(path: Path) -> Stored:
    """The image or stack in `path`, mapped if it lies in one piece.

    Raises:
        CosliceError: as `tiff_header`; a compression that tifffile cannot read by itself.
    """
    with _opened(path) as (file, series):
        header = _header(path, file, series)
        if header.start is not None:
            data = np.memmap(path, header.dtype, "r", header.start, header.shape)
        else:
            data = _decoded(path, series).reshape(header.shape)
    spacing = (None,) * (len(header.shape) - 2) + (header.pixel or (None, None))
    return Stored(data, spacing=spacing, notes=said_of(path.name, header))


def read_tiff_into(path: Path, target: np.ndarray) -> None:
    """Read the image of `path` into an array of its shape. Errors as `read_tiff`."""
    with _opened(path) as (_, series):
        target[...] = _decoded(path, series).reshape(target.shape)


def said_of(name: str, header: TiffHeader) -> tuple[str, ...]:
    """The sentences about what a header says."""
    return tuple(f"{name} {words}." for words in header.odd)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """A TiffFile and the series of its images; what tifffile merely logs is an error here."""
    tifffile = optional("tifffile", path)
    complaints = _Complaints(logging.ERROR)
    logger = logging.getLogger("tifffile")
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(complaints)
    try:
        # OME's XML may point to other files; the pages say all that is needed.
        with reading(path), tifffile.TiffFile(str(path), is_ome=False) as file:
            series = [one for one in file.series if not one.keyframe.is_reduced] or list(file.series)
            if complaints.said:
                raise damaged(path, complaints.said[0])
            if not series:
                raise damaged(path, "it has no image")
            if len(series) > 1:
                raise CosliceError(
                    f"{path} has images of several sizes or types ({listed([sides(one.shape) for one in series])}), "
                    "but the views of a scan have one; save them alone."
                )
            yield file, series[0]
            if complaints.said:
                raise damaged(path, complaints.said[0])
    finally:
        logger.removeHandler(complaints)
        logger.propagate = propagates


class _Complaints(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def _header(path: Path, file: Any, series: Any) -> TiffHeader:
    page = series.keyframe
    if page.samplesperpixel != 1 or page.photometric not in _GREY:
        kind = getattr(page.photometric, "name", page.photometric)
        raise CosliceError(f"{path} is in colour ({kind}), but one number a pixel is needed; save grey.")
    dtype = np.dtype(series.dtype)
    check_numbers(path, dtype)
    shape = tuple(int(side) for side in series.shape)
    long = [side for side in shape[:-2] if side > 1]
    if len(shape) < 2 or len(long) > 1:
        raise CosliceError(
            f"{path} is a stack of {sides(shape)} (axes {series.axes}), but projections are views x rows x columns; "
            "save one stack of images."
        )
    shape = (*long, *shape[-2:])
    size, start = path.stat().st_size, series.dataoffset
    if start is not None:
        if start < _SHORTEST or sum(page.databytecounts) < math.prod(shape[-2:]) * dtype.itemsize:
            raise damaged(path, "the pixels of its first page begin in its header, or are too few")
        check_promise(path, shape, dtype, size - start)
    else:
        held = 0
        for one in series.pages:
            if one is None:
                raise damaged(path, "a page is missing")
            for offset, count in zip(one.dataoffsets, one.databytecounts, strict=True):
                if not offset or not count or offset + count > size:
                    raise damaged(path, f"the pixels of page {one.index + 1} end behind the end of the file")
                held += count
        check_promise(path, shape, dtype, min(held, size), 1 if page.compression == 1 else _PACKING)
    order = dtype.newbyteorder(file.byteorder) if dtype.itemsize > 1 else dtype
    odd: tuple[str, ...] = ()
    if page.photometric == 0:
        odd += ("shows large values dark (MinIsWhite); its values were read as they are stored",)
    if "JPEG" in getattr(page.compression, "name", ""):
        odd += ("is compressed by JPEG, which usually changes values",)
    return TiffHeader(shape, order if start is not None else dtype, start, _pixel(page), odd)


def _decoded(path: Path, series: Any) -> np.ndarray:
    """The pixels: by tifffile, and by Pillow where tifffile wants a package that reads every compression there is."""
    try:
        return series.asarray(maxworkers=1)
    except (ValueError, ImportError) as error:
        if isinstance(error, ValueError) and "imagecodecs" not in str(error):
            raise
        found = _by_pillow(path, series)
        if found is not None:
            return found
        name = getattr(series.keyframe.compression, "name", "a method")
        raise CosliceError(
            f"{path} is compressed by {name}, which is read with the package imagecodecs alone; run pip install "
            "imagecodecs, or save it without compression or with deflate."
        ) from error


def _by_pillow(path: Path, series: Any) -> np.ndarray | None:
    """The pixels if Pillow finds images of the same number, size and type in the file (LZW, PackBits); else None."""
    data: np.ndarray = np.empty((len(series.pages), *series.shape[-2:]), series.dtype)
    with Image.open(path) as image:
        if getattr(image, "n_frames", 1) != len(data):
            return None
        for number, view in enumerate(data):
            image.seek(number)
            found = np.asarray(image)
            if found.shape != view.shape or found.dtype.newbyteorder("=") != view.dtype:
                return None
            view[...] = found
    return data


def _pixel(page: Any) -> tuple[float, float] | None:
    """(dv, du) in mm from the resolution tags, if they have a unit and could be a detector's."""
    try:
        mm = _MM[int(page.tags["ResolutionUnit"].value)]
        (across, by_u), (down, by_v) = (page.tags[f"{axis}Resolution"].value for axis in "XY")
        dv, du = mm * by_v / down, mm * by_u / across
    except (KeyError, ValueError, TypeError, ZeroDivisionError):
        return None
    low, high = _PIXEL_MM
    for step in (dv, du):
        if not low <= step <= high or any(math.isclose(25.4 / step, dpi, rel_tol=0.002) for dpi in _PRINT_DPI):
            return None
    return dv, du
