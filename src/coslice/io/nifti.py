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

A scan with a broken header is refused rather than repaired: a wrong voxel size is a wrong dose and a
wrong diagnosis. The header is therefore looked at before a library can put defaults in place of zeros.
"""

from __future__ import annotations

import gzip
import logging
import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import nibabel
import numpy as np
import torch
from nibabel import orientations
from nibabel.imageglobals import logger
from nibabel.spatialimages import HeaderDataError, HeaderTypeError

from coslice.errors import CosliceError
from coslice.io.files import atomic
from coslice.volume import ROUNDED, Volume, flattens, shears

__all__ = ["canonical_volume", "in_order", "nifti_shape", "read_nifti", "write_nifti"]

_FORMATS = {348: (nibabel.Nifti1Header, nibabel.Nifti1Image), 540: (nibabel.Nifti2Header, nibabel.Nifti2Image)}
_TO_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
_RAS = orientations.axcodes2ornt(("R", "A", "S"))
_UNREADABLE = (OSError, EOFError, zlib.error, ValueError, OverflowError, HeaderDataError, HeaderTypeError)
_PLAUSIBLE_MM = (1e-3, 1e3)
_CODES = range(6)
# Deflate cannot shrink further than this, so a header that promises more than file size times it is lying.
_BEST_COMPRESSION = 1032


def read_nifti(path: str | Path, slices: tuple[int, int] | None = None) -> Volume:
    """The 3D scan in `path` (.nii or .nii.gz, NIfTI-1 or -2), in canonical order, scaled, float32.

    Args:
        path: the file.
        slices: first and last (not included) along z, from the feet; the others are not read, and never in memory. None
            reads all.

    Trailing axes of length 1 are dropped. Sizes in metres or micrometres become millimetres. A file with neither
    sform nor qform takes its spacing from `pixdim`, with the origin at its centre and x towards the left, as
    in the older ANALYZE format; which side is which is then a convention, not a fact.

    Raises:
        CosliceError: a file that is missing, no NIfTI, damaged or cut short; not 3D; colour or complex voxels;
            NaN or infinite voxels; a voxel size that is zero, negative, not finite or beyond 0.001..1000 mm;
            an affine that cannot be inverted; slices that are not there.
    """
    with _image(Path(path)) as (image, stream):
        affine = _affine(image, Path(path))
        qform, qform_code = _qform(image)
        if slices is None:
            array, placed = image.get_fdata(dtype=np.float32, caching="unchanged"), affine
        else:
            part, placed = _part(image.shape, affine, slices, Path(path))
            array = np.asarray(image.dataobj[part], dtype=np.float32)
        # Only at its end does a gzip stream verify its checksum.
        while isinstance(stream, gzip.GzipFile) and stream.read(1 << 20):
            pass
    wrong = array.size - int(np.isfinite(array).sum())
    if wrong:
        raise CosliceError(f"{path} has {wrong} voxels that are NaN or infinite; replace them by numbers first.")
    volume = canonical_volume(array.reshape(array.shape[:3]), placed, _space_code(image.header))
    if qform is None:
        return volume
    # The same voxels, turned round in the same way.
    turned = qform @ np.linalg.inv(affine) @ volume.affine
    return replace(volume, qform=turned, qform_code=qform_code)


def nifti_shape(path: str | Path) -> tuple[int, int, int]:
    """Numbers of voxels (z, y, x) of the scan in `path`, from its header alone. Errors as `read_nifti`."""
    with _image(Path(path)) as (image, _):
        turn = orientations.io_orientation(_affine(image, Path(path)))
        by_axis = dict(zip(turn[:, 0].astype(int), image.shape[:3], strict=True))
    return by_axis[2], by_axis[1], by_axis[0]


@contextmanager
def _image(path: Path) -> Iterator[tuple[Any, IO[bytes]]]:
    """The image in a file, its header checked, and the open file that its voxels are still to be read from."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise CosliceError(f"{path} {what}; give the path of a .nii or .nii.gz file.")
    try:
        with _opened(path) as stream, _quiet(), np.errstate(all="ignore"):
            header, image_class = _raw_header(stream, path)
            _check_header(header, path)
            stream.seek(0)
            yield image_class.from_stream(stream), stream
    except CosliceError:
        raise
    except PermissionError as error:
        raise CosliceError(f"{path} may not be read by this user; change its permissions.") from error
    except _UNREADABLE as error:
        raise CosliceError(
            f"{path} is damaged or cut short ({error or type(error).__name__}); copy or convert the scan again."
        ) from error


def _part(
    shape: tuple[int, ...], affine: np.ndarray, slices: tuple[int, int], path: Path
) -> tuple[tuple[slice | int, ...], np.ndarray]:
    """Where slices from the feet are in the array of a file, and their affine."""
    turn = orientations.io_orientation(affine)
    (axis,) = np.flatnonzero(turn[:, 0] == 2)
    (first, last), count = slices, shape[axis]
    if not 0 <= first < last <= count:
        raise CosliceError(f"{path}: slices {first}:{last} were asked for, 0:{count} are there; choose among them.")
    if turn[axis, 1] < 0:  # the file counts from the head
        first, last = count - last, count - first
    part: list[slice | int] = [slice(None)] * 3 + [0] * (len(shape) - 3)
    part[axis] = slice(first, last)
    shifted = affine.copy()
    shifted[:, 3] += first * affine[:, axis]
    return tuple(part), shifted


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
    array, place = in_order(volume, volume.orientation)
    affine = volume.affine @ place
    image = nibabel.Nifti1Image(array, affine, dtype=np.float32)
    image.set_sform(affine, code=volume.space_code)
    if volume.qform is not None and volume.qform_code:
        image.set_qform(volume.qform @ place, code=volume.qform_code)
    else:
        image.set_qform(affine, code=0 if shears(affine, ROUNDED) else volume.space_code)
    image.header.set_xyzt_units("mm")
    with atomic(path) as temporary:
        nibabel.save(image, temporary)


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


def _raw_header(stream: IO[bytes], path: Path) -> tuple[Any, Any]:
    """The header as it stands in the file, nothing repaired, and the class that reads its image."""
    try:
        start = stream.read(max(_FORMATS))
    except _UNREADABLE:
        start = b""
    for order in ("little", "big"):
        size = int.from_bytes(start[:4], order)
        if size in _FORMATS and len(start) >= size:
            header_class, image_class = _FORMATS[size]
            header = header_class(start[:size], check=False)
            if bytes(header["magic"])[:3] in (b"n+1", b"n+2"):
                return header, image_class
    raise CosliceError(f"{path} is not a NIfTI file; give a single-file .nii or .nii.gz scan.")


def _check_header(header: Any, path: Path) -> None:
    rank = int(header["dim"][0])
    shape = tuple(int(n) for n in header["dim"][1 : 1 + rank]) if 0 < rank <= 7 else ()
    if len(shape) < 3 or min(shape) < 1 or math.prod(shape[3:]) != 1:
        raise CosliceError(f"{path} holds data of shape {shape}, but one 3D scan is needed; extract a volume first.")
    try:
        dtype = header.get_data_dtype()
    except (HeaderDataError, KeyError):
        dtype = np.dtype("V1")
    if dtype.kind not in "iuf":
        kind = "complex" if dtype.kind == "c" else "colour" if dtype.names else "unreadable"
        raise CosliceError(f"{path} has {kind} voxels, but one real number per voxel is needed; convert it first.")
    promised, present = math.prod(shape) * dtype.itemsize, path.stat().st_size
    if promised > present * _BEST_COMPRESSION:
        raise CosliceError(f"{path} is damaged or cut short (shape {shape} in {present} bytes); copy it again.")
    for name in ("qform_code", "sform_code"):
        if int(header[name]) not in _CODES:
            raise CosliceError(
                f"{path} has {name} {int(header[name])}, but NIfTI knows 0 to {_CODES[-1]}; correct its header."
            )
    _check_spacing(header["pixdim"][1:4] * _to_mm(header), path)


def _check_spacing(spacing: np.ndarray, path: Path) -> None:
    low, high = _PLAUSIBLE_MM
    # Written so that NaN fails it too.
    if not all(low <= s <= high for s in spacing):
        given = " x ".join(f"{s:g}" for s in spacing)
        raise CosliceError(
            f"{path} gives a voxel size of {given} mm, but three numbers from {low:g} to {high:g} mm are needed; "
            "correct its header."
        )


def _affine(image: Any, path: Path) -> np.ndarray:
    """The file's affine in mm, refused where it does not make sense."""
    affine = np.array(image.affine, dtype=np.float64)
    affine[:3] *= _to_mm(image.header)
    if not np.isfinite(affine).all():
        raise CosliceError(f"{path} has an affine with NaN or infinite entries; correct its header.")
    _check_spacing(np.linalg.norm(affine[:3, :3], axis=0), path)
    if flattens(affine):
        raise CosliceError(f"{path} has an affine that flattens the voxels (determinant 0); correct its header.")
    return affine


def _to_mm(header: Any) -> float:
    try:
        return _TO_MM.get(header.get_xyzt_units()[0], 1.0)
    except KeyError:
        return 1.0


def _qform(image: Any) -> tuple[np.ndarray | None, int]:
    """The qform in mm and its code; None where it has no code, or its numbers are no rotation while sform's count."""
    try:
        qform, code = image.header.get_qform(coded=True)
    except (HeaderDataError, ValueError, ArithmeticError):
        return None, 0
    if qform is None:
        return None, 0
    qform[:3] *= _to_mm(image.header)
    return (qform, int(code)) if np.isfinite(qform).all() and not flattens(qform) else (None, 0)


def _space_code(header: Any) -> int:
    """What the affine's coordinates refer to: sform's word; 0 where only qform has one; 2 ("aligned") without both."""
    return int(header["sform_code"]) or (0 if int(header["qform_code"]) else 2)
