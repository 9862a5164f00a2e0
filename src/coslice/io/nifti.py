"""NIfTI: one file, one volume, one affine.

A NIfTI file stores an array (i, j, k) in any of 48 axis orders and an affine that takes indices to
(right, anterior, superior) millimetres. Reading brings the array to the nearest canonical order, i
towards right, j anterior, k superior, turns it round to (z, y, x), and remembers the order it had;
writing restores that order. Between the two,

    array_canonical[P i] = array[i],        affine_canonical = affine P^-1,

with P a permutation of axes with flips, so a voxel never changes its place in the patient.

A file has two affines: sform (three rows of numbers) and qform (a rotation, voxel sizes and an offset), each with a
code for the space its millimetres refer to. The volume's own affine is sform, or qform where sform has no code. Some
programs (those built on ITK) look at qform first, so both are kept, and both are written.

What the header says is looked at by `nifti_header` before a voxel is read. Voxels are read some megabytes at a time, as
far as they are wanted: of a packed file that holds a thousand slices, ten take the memory of ten (`memory`).
"""

from __future__ import annotations

import gzip
import logging
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import nibabel
import numpy as np
import torch
from nibabel import orientations
from nibabel.imageglobals import logger
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from nibabel.volumeutils import apply_read_scaling

from coslice.errors import CosliceError
from coslice.io.files import atomic
from coslice.io.memory import check_memory, check_packing, on_disk
from coslice.io.nifti_header import NiftiHeader, read_nifti_header
from coslice.io.plain_files import check_plain
from coslice.volume import ROUNDED, Volume, shears

__all__ = [
    "canonical_volume",
    "fits_memory",
    "in_order",
    "nifti_image",
    "nifti_remarks",
    "nifti_shape",
    "read_nifti",
    "write_nifti",
]

_RAS = orientations.axcodes2ornt(("R", "A", "S"))
_UNREADABLE = (OSError, EOFError, zlib.error, ValueError, OverflowError, HeaderDataError, HeaderTypeError)
_BEST_COMPRESSION = 1032
"""Deflate cannot shrink further than this, so a header that promises more than file size times it is lying."""
_BLOCK = 8 << 20
"""Bytes that are read at a time."""


def read_nifti(path: str | Path, slices: tuple[int, int] | None = None) -> Volume:
    """The 3D scan in `path` (.nii or .nii.gz, NIfTI-1 or -2), in canonical order, scaled, float32.

    Args:
        path: the file.
        slices: first and last (not included) along z, from the feet; the others are not read, and never in memory. None
            reads all.

    Trailing axes of length 1 are dropped. Sizes in metres or micrometres become millimetres. A file with neither
    sform nor qform takes its spacing from `pixdim`, with the origin at its centre and x towards the left, as
    in the older ANALYZE format; which side is which is then a convention, not a fact (`nifti_remarks` says it). Of a
    packed file nothing is read behind the last slice that is asked for, so then its checksum is not compared.

    Memory: 8 bytes a voxel that is asked for, and 32 MB; for more than a file can honestly hold, or than there is,
    none is taken (`coslice.io.memory`).

    Raises:
        CosliceError: a file that is missing, no NIfTI, damaged or cut short; not 3D; colour or complex voxels;
            NaN or infinite voxels; a voxel size that is zero, negative, not finite or beyond 0.001..1000 mm, or
            of another unit in sform than in pixdim; an affine that cannot be inverted; a scaling that is not finite;
            slices that are not there; more voxels than fit into memory.
    """
    path = Path(path)
    with _opened_header(path) as (header, stream):
        along, first, last = _part(header, slices, path)
        _check_length(header, stream, path)
        _check_size(header, (last - first) / header.shape[along], path)
        array = _voxels(header, stream, along, first, last)
        # Only at its end does a gzip stream verify its checksum.
        while slices is None and isinstance(stream, gzip.GzipFile) and stream.read(1 << 20):
            pass
    wrong = array.size - int(np.isfinite(array).sum())
    if wrong:
        raise CosliceError(f"{path} has {wrong} voxels that are NaN or infinite; replace them by numbers first.")
    placed = header.affine.copy()
    placed[:, 3] += first * placed[:, along]
    volume = canonical_volume(array, placed, header.space_code)
    if header.qform is None:
        return volume
    # The same voxels, turned round in the same way.
    turned = header.qform @ np.linalg.inv(header.affine) @ volume.affine
    return replace(volume, qform=turned, qform_code=header.qform_code)


def nifti_shape(path: str | Path) -> tuple[int, int, int]:
    """Numbers of voxels (z, y, x) of the scan in `path`, from its header alone. Errors as `read_nifti`."""
    with _opened_header(Path(path)) as (header, _):
        turn = orientations.io_orientation(header.affine)
    by_axis = dict(zip(turn[:, 0].astype(int), header.shape, strict=True))
    return by_axis[2], by_axis[1], by_axis[0]


def nifti_remarks(path: str | Path) -> tuple[str, ...]:
    """What the file's header leaves open or says oddly, and what was made of it: sentences. Errors as `read_nifti`."""
    path = Path(path)
    with _opened_header(path) as (header, stream):
        left = _length(path, isinstance(stream, gzip.GzipFile)) - header.start - header.stored_bytes
    return (*header.remarks, *([f"{left} bytes behind the voxels of {path.name} were left."] if left > 0 else []))


def fits_memory(path: str | Path) -> bool:
    """Whether all of the scan in `path` may be read, by its size (`coslice.io.memory`). Errors as `read_nifti`."""
    path = Path(path)
    with _opened_header(path) as (header, _):
        try:
            _check_size(header, 1.0, path)
        except CosliceError:
            return False
    return True


@contextmanager
def _opened_header(path: Path) -> Iterator[tuple[NiftiHeader, IO[bytes]]]:
    """The header of a file, checked, and the open file that its voxels are still to be read from."""
    check_plain(path, "give the path of a .nii or .nii.gz file")
    try:
        with _opened(path) as stream, _quiet(), np.errstate(all="ignore"):
            yield read_nifti_header(stream, path), stream
    except CosliceError:
        raise
    except PermissionError as error:
        raise CosliceError(f"{path} may not be read by this user; change its permissions.") from error
    except _UNREADABLE as error:
        raise CosliceError(
            f"{path} is damaged or cut short ({error or type(error).__name__}); copy or convert the scan again."
        ) from error


def _part(header: NiftiHeader, slices: tuple[int, int] | None, path: Path) -> tuple[int, int, int]:
    """The file's axis that is nearest to z, and where slices from the feet are along it."""
    turn = orientations.io_orientation(header.affine)
    (axis,) = np.flatnonzero(turn[:, 0] == 2)
    count = header.shape[axis]
    first, last = (0, count) if slices is None else slices
    if not 0 <= first < last <= count:
        raise CosliceError(f"{path}: slices {first}:{last} were asked for, 0:{count} are there; choose among them.")
    if turn[axis, 1] < 0:  # the file counts from the head
        first, last = count - last, count - first
    return int(axis), first, last


def _check_length(header: NiftiHeader, stream: IO[bytes], path: Path) -> None:
    """Refuse a file that ends before its voxels do, as far as its length tells."""
    present = path.stat().st_size
    whole = present * _BEST_COMPRESSION if isinstance(stream, gzip.GzipFile) else present
    if header.start + header.stored_bytes > whole:
        raise CosliceError(
            f"{path} is damaged or cut short (shape {header.shape} in {present} bytes); copy or convert the scan again."
        )


def _length(path: Path, packed: bool) -> int:
    """Bytes of a file, unpacked; 0 of one that is packed in pieces or has something behind it."""
    if not packed:
        return path.stat().st_size
    with open(path, "rb") as stream:
        stream.seek(-4, os.SEEK_END)
        # Of the last piece, modulo 2^32.
        return int.from_bytes(stream.read(4), "little")


def _check_size(header: NiftiHeader, share: float, path: Path) -> None:
    """Refuse a share of the file that it cannot hold, or that does not fit into memory."""
    needed, present = int(math.prod(header.shape) * 4 * share), on_disk(path)
    sides = " x ".join(map(str, header.shape))
    check_packing(f"{path} ({sides} voxels)", needed, present, ", or read some slices of it (--slices FIRST:LAST)")
    check_memory(f"{path} ({sides} voxels)", 2 * needed, "read fewer slices of it (--slices FIRST:LAST)")


def _voxels(header: NiftiHeader, stream: IO[bytes], along: int, first: int, last: int) -> np.ndarray:
    """The voxels `first` to `last` along an axis of the file, (i, j, k), scaled, float32."""
    ni, nj, nk = header.shape
    cut = [slice(None)] * 3
    cut[2 - along] = slice(first, last)
    # In the order of the file: planes k of lines j of voxels i.
    found = np.empty([n if axis != 2 - along else last - first for axis, n in enumerate((nk, nj, ni))], np.float32)
    planes = range(first, last) if along == 2 else range(nk)
    lines = max(1, min(nj, _BLOCK // (ni * header.dtype.itemsize)))
    slope, inter = (np.float64(number) for number in header.scaling)
    for at, k in enumerate(planes):
        for j in range(0, nj, lines):
            count = min(lines, nj - j)
            wanted = slice(max(first - j, 0), max(min(last - j, count), 0)) if along == 1 else slice(0, count)
            if wanted.start >= wanted.stop:
                continue
            stream.seek(header.start + (k * nj + j) * ni * header.dtype.itemsize)
            block = np.frombuffer(_read(stream, count * ni * header.dtype.itemsize), header.dtype).reshape(count, ni)
            block = block[wanted, cut[2]] if along == 0 else block[wanted]
            to = j - first + wanted.start if along == 1 else j
            found[at, to : to + len(block)] = apply_read_scaling(block, slope, inter)
    return found.transpose(2, 1, 0)


def _read(stream: IO[bytes], count: int) -> bytes:
    found = stream.read(count)
    if len(found) != count:
        raise EOFError("voxels are missing at its end")
    return found


def write_nifti(volume: Volume, path: str | Path) -> None:
    """Write `volume` to `path` (.nii or .nii.gz) as float32, in the axis order it was read in.

    The file appears whole or not at all. sform and qform are those the volume was read with, codes included. A
    volume without a qform gets that of its affine, axes that were rounded to three decimals put at right angles;
    a sheared one (more than 0.2 degrees, as of a tilted gantry) gets none, since a qform cannot say it.

    Raises:
        CosliceError: another suffix, voxels that are not finite, a place that cannot be written to.
    """
    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise CosliceError(f"{path} was given for a NIfTI file, but its name must end in .nii or .nii.gz.")
    wrong = int((~torch.isfinite(volume.data)).sum())
    if wrong:
        raise CosliceError(f"{path} was not written: {wrong} voxels are NaN or infinite.")
    image = nifti_image(volume)
    with atomic(path) as temporary:
        nibabel.save(image, temporary)


def nifti_image(volume: Volume) -> nibabel.Nifti1Image:
    """What `write_nifti` writes, in memory."""
    array, place = in_order(volume, volume.orientation)
    affine = volume.affine @ place
    image = nibabel.Nifti1Image(array, affine, dtype=np.float32)
    image.set_sform(affine, code=volume.space_code)
    if volume.qform is not None and volume.qform_code:
        image.set_qform(volume.qform @ place, code=volume.qform_code)
    else:
        image.set_qform(affine, code=0 if shears(affine, ROUNDED) else volume.space_code)
    image.header.set_xyzt_units("mm")
    return image


def canonical_volume(array: np.ndarray, affine: np.ndarray, space_code: int = 1) -> Volume:
    """A `Volume` from an array (i, j, k) in any axis order and its affine (index to RAS+ mm, 4 x 4)."""
    turn = orientations.io_orientation(affine)
    canonical = orientations.apply_orientation(array, turn)
    data = torch.from_numpy(np.ascontiguousarray(canonical.transpose(2, 1, 0), dtype=np.float32))
    return Volume(
        data=data,
        affine=affine @ orientations.inv_ornt_aff(turn, array.shape),
        orientation=orientations.ornt2axcodes(turn),
        space_code=space_code,
    )


def in_order(volume: Volume, orientation: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The voxels (i, j, k), axes in the directions of `orientation`, and the matrix from (i, j, k, 1) to (x, y, z, 1).

    An affine of the volume times that matrix is the array's.
    """
    array = volume.data.detach().cpu().permute(2, 1, 0).numpy()
    turn = orientations.ornt_transform(_RAS, orientations.axcodes2ornt(tuple(orientation)))
    return orientations.apply_orientation(array, turn), orientations.inv_ornt_aff(turn, array.shape)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's warnings: what they tell of is either refused here, in words, or harmless."""
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def _opened(path: Path) -> IO[bytes]:
    with open(path, "rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else open(path, "rb")  # type: ignore[return-value]
