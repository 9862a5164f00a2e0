"""The numbers in a DICOM file, decompressed where they are compressed.

RLE and deflated files need nothing but pydicom; JPEG, JPEG-LS and JPEG 2000 need a decoder, an optional package.
A header that promises more pixels than its data can hold is refused before memory is taken for them.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGExtended12Bit

from coslice.errors import CosliceError
from coslice.io.memory import check_packing, on_disk

__all__ = ["stored_pixels"]

_BEST_COMPRESSION = 1 << 15
"""No decoder makes more pixels than this of a byte: a black slice of 512 x 512 takes some dozens of them."""


def stored_pixels(dataset: Any, path: Path) -> np.ndarray:
    """The numbers in a file, (frames, rows, columns).

    Raises:
        CosliceError: compressed in a way no installed decoder reads, or more pixels than the data can hold.
        Exception: what pydicom raises for damaged files (`headers.UNREADABLE`).
    """
    meta = dataset.file_meta
    if "TransferSyntaxUID" not in meta:
        # Files without a preamble say nothing; they were parsed as one of these two.
        implicit = dataset.original_encoding[0]
        meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    syntax = meta.TransferSyntaxUID
    count = int(dataset.get("NumberOfFrames") or 1)
    size = len(dataset.PixelData)
    if count * 8 > max(size, 8) or count * dataset.Rows * dataset.Columns > size * _BEST_COMPRESSION:
        raise CosliceError(
            f"{path} is damaged or incomplete ({count} x {dataset.Rows} x {dataset.Columns} pixels in {size} bytes); "
            "export it again."
        )
    bits = int(dataset.BitsAllocated)
    kept, highest = dataset.get("BitsStored"), dataset.get("HighBit")
    if None not in (kept, highest) and int(highest) + 1 != int(kept):
        raise CosliceError(
            f"{path} stores {kept} bits of a number up to bit {highest}, but numbers are read from their lowest bit; "
            "export it again."
        )
    check_packing(path, 4 * count * dataset.Rows * dataset.Columns, on_disk(path))
    expected = count * dataset.Rows * dataset.Columns * bits // 8
    if not syntax.is_compressed and size > expected + 1:  # a byte makes an odd length even; pydicom refuses fewer
        raise CosliceError(
            f"{path} has {size} bytes of pixels, where {count} x {dataset.Rows} x {dataset.Columns} of {bits} bits "
            f"take {expected}, so its rows and columns are not those of its header; export it again."
        )
    try:
        pixels = dataset.pixel_array
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        if not syntax.is_compressed or (_decodable(syntax) and "support" not in str(error)):
            raise
        if syntax != JPEGExtended12Bit or find_spec("gdcm") is None:
            raise CosliceError(
                f"{path} is compressed ({syntax.name}), and no installed decoder reads that; {_advice()}."
            ) from error
        pixels = _by_gdcm(path, dataset, count)
    return pixels.reshape(-1, *pixels.shape[-2:])


def _by_gdcm(path: Path, dataset: Any, count: int) -> np.ndarray:
    """The numbers of a file by GDCM itself, which decodes 12-bit JPEG that pydicom does not hand to it."""
    import gdcm  # pyright: ignore[reportMissingImports]

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    if not reader.Read():
        raise ValueError("its JPEG data cannot be decoded")
    # The library hands bytes over as text.
    content = reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape")
    dtype = np.dtype(f"{'i' if dataset.PixelRepresentation else 'u'}{dataset.BitsAllocated // 8}")
    return np.frombuffer(content, dtype).reshape(count, dataset.Rows, dataset.Columns)


def _decodable(syntax: Any) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def _advice() -> str:
    if find_spec("gdcm") is None:
        return 'pip install "coslice[dicom]", or export it uncompressed'
    return "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg, or export it uncompressed"
