"""A DICOM file as bytes that pydicom parses, no more of them than the file can honestly hold.

pydicom unpacks a deflated file whole, whatever comes of it: three megabytes can be gigabytes. So such a file is
unpacked here, within `coslice.io.memory`'s bound, and handed on as the plain one that it stands for.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import pydicom
from pydicom.filebase import DicomFileLike
from pydicom.filereader import read_file_meta_info
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from coslice.io.memory import check_packing, on_disk
from coslice.io.plain_files import check_plain

__all__ = ["has_preamble", "read_dataset"]

_PREAMBLE = 132
_LENGTH = 12
"""Bytes of the first element of the meta group, which says how many bytes of it follow."""
_HEADER = 16 << 20
"""Bytes of all elements but the pixels."""


def read_dataset(path: Path, only: Sequence[str | int] | None = None, pixels: bool = True) -> Any:
    """The elements of a file, those of `only` or all; without `pixels` it is not read so far.

    Raises:
        CosliceError: no plain file, or more would be unpacked than the file can honestly hold.
        Exception: what pydicom raises for damaged files.
    """
    tags: list[Any] | None = list(only) if only else None
    with _opened(path, pixels) as (stream, preamble):
        found = pydicom.dcmread(stream, stop_before_pixels=not pixels, specific_tags=tags, force=not preamble)
        for _ in found if tags else ():  # what is wrong with an element is said here, and not wherever it is used
            pass
    return found


def has_preamble(path: Path) -> bool:
    """Whether a file begins as DICOM files do since 1993."""
    with open(path, "rb") as stream:
        return stream.read(_PREAMBLE)[128:] == b"DICM"


@contextmanager
def _opened(path: Path, pixels: bool) -> Iterator[tuple[IO[bytes], bool]]:
    """The file as pydicom is to read it, and whether it begins with a preamble."""
    check_plain(path, "give a DICOM file, or a folder of them")
    check_packing(path, path.stat().st_size, on_disk(path))
    with open(path, "rb") as stream:
        preamble = has_preamble(path)
        if preamble:
            # A file without a transfer syntax, or without a meta group, is not deflated.
            meta = read_file_meta_info(path)
            if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
                start = _PREAMBLE + _LENGTH + int(meta.FileMetaInformationGroupLength)
                yield _inflated(stream, start, meta, path, pixels), preamble
                return
        yield stream, preamble


def _inflated(stream: IO[bytes], start: int, meta: Any, path: Path, pixels: bool) -> IO[bytes]:
    """The plain file that a deflated one stands for; without `pixels`, no more of it than its header."""
    most = _HEADER
    if pixels:
        head = pydicom.dcmread(_inflated(stream, start, meta, path, False), stop_before_pixels=True)
        count = int(head.get("NumberOfFrames") or 1) * int(head.get("SamplesPerPixel") or 1)
        bytes_ = count * head.Rows * head.Columns * head.BitsAllocated // 8
        check_packing(path, bytes_, on_disk(path))
        most += bytes_
    stream.seek(start)
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    body = unpacker.decompress(stream.read(), most)
    if pixels and not unpacker.eof:
        raise EOFError("its deflated part is cut short, or is more than its header says")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    plain = BytesIO()
    plain.write(bytes(128) + b"DICM")
    write_file_meta_info(DicomFileLike(plain), meta, enforce_standard=False)
    plain.write(body)
    plain.seek(0)
    return plain
