"""The header of a NIfTI file as it stands there, and what is wrong or odd about it.

A scan with a broken header is refused rather than repaired: a wrong voxel size is a wrong dose and a wrong diagnosis.
So the header is looked at before a library can put defaults in place of zeros. What a header says twice (the size of
voxels, the type of values) must agree; where it is silent, what is assumed is said.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import nibabel
import numpy as np
from nibabel.nifti1 import intent_codes
from nibabel.spatialimages import HeaderDataError

from coslice.errors import CosliceError
from coslice.io.lengths import check_place, check_spacing
from coslice.volume import flattens

__all__ = ["NiftiHeader", "mm_of_unit", "qform_of", "read_nifti_header"]

_FORMATS = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}
_TO_MM = {1: 1000.0, 2: 1.0, 3: 0.001}
_OTHER_UNIT = 5.0
"""Voxel sizes that differ by more are of different units."""
_SAID = 0.01
"""Those that differ by this share are spoken of."""
_CODES = range(6)
_LONGEST = 1 << 20
"""Voxels along an axis."""
_MOST_EXTENSIONS = 64 << 20


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """What the header says, checked.

    Attributes:
        shape: voxels along the file's axes, the fastest first: three numbers.
        dtype: of the stored numbers, with the file's order of bytes.
        start: where they begin, bytes from the start of the (unpacked) file.
        scaling: (slope, intercept) of what is stored.
        affine: index to mm (R, A, S), 4 x 4.
        qform: the file's qform in mm, or None.
        qform_code: NIfTI's word for what it refers to; 0 without one.
        space_code: NIfTI's word for what `affine` refers to.
        remarks: what was assumed or is odd, full sentences.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    start: int
    scaling: tuple[float, float]
    affine: np.ndarray
    qform: np.ndarray | None
    qform_code: int
    space_code: int
    remarks: tuple[str, ...]

    @property
    def stored_bytes(self) -> int:
        """Of all its values, as they are stored."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_nifti_header(stream: IO[bytes], path: Path) -> NiftiHeader:
    """The header that `stream` begins with.

    Raises:
        CosliceError: no NIfTI header, or one with values that cannot be or contradict each other.
        nibabel.spatialimages.HeaderDataError, ValueError: the library's own complaints.
    """
    raw, size = _raw_header(stream, path)
    shape, dtype = _shape(raw, path), _dtype(raw, path)
    start = _start(raw, size, path)
    for name in ("qform_code", "sform_code"):
        if int(raw[name]) not in _CODES:
            raise CosliceError(
                f"{path} has {name} {int(raw[name])}, but NIfTI knows 0 to {_CODES[-1]}; correct its header."
            )
    to_mm, unit = mm_of_unit(raw)
    steps = np.array(raw["pixdim"][1:4], dtype=np.float64) * to_mm
    check_spacing(steps, path)
    header = type(raw)(raw.binaryblock, raw.endianness, check=True)
    affine = _affine(header, to_mm, path)
    placed, turned = (int(raw[name]) for name in ("sform_code", "qform_code"))
    qform, qform_code = qform_of(header, to_mm)
    remarks = (*unit, *_sizes_said(affine, steps, placed, path), *_intent(raw))
    if turned and (flip := float(raw["pixdim"][0])) not in (-1.0, 0.0, 1.0):
        remarks += (f"The header's word on mirroring (pixdim[0]) is {flip:g}, neither 1 nor -1: 1 is taken in qform.",)
    if not placed and not turned:
        remarks += (
            f"{path.name} does not say where it lies: its centre is taken as the origin, and its first axis as "
            "running towards the left, as in the older ANALYZE format; which side is which is a convention here.",
        )
    return NiftiHeader(
        shape=shape,
        dtype=dtype,
        start=start,
        scaling=_scaling(raw, path),
        affine=affine,
        qform=qform,
        qform_code=qform_code,
        space_code=placed or (0 if turned else 2),
        remarks=remarks,
    )


def _raw_header(stream: IO[bytes], path: Path) -> tuple[Any, int]:
    """The header as it stands in the file, nothing repaired, and its size."""
    try:
        start = stream.read(max(_FORMATS))
    except Exception:  # whatever a broken stream brings a library to
        start = b""
    for order in ("little", "big"):
        size = int.from_bytes(start[:4], order)
        if size in _FORMATS and len(start) >= size:
            header = _FORMATS[size](start[:size], check=False)
            if bytes(header["magic"])[:3] in (b"n+1", b"n+2"):
                return header, size
    raise CosliceError(f"{path} is not a NIfTI file; give a single-file .nii or .nii.gz scan.")


def _shape(raw: Any, path: Path) -> tuple[int, int, int]:
    rank = int(raw["dim"][0])
    shape = tuple(int(n) for n in raw["dim"][1 : 1 + rank]) if 0 < rank <= 7 else ()
    if len(shape) < 3 or min(shape) < 1 or math.prod(shape[3:]) != 1:
        raise CosliceError(f"{path} holds data of shape {shape}, but one 3D scan is needed; extract a volume first.")
    if max(shape) > _LONGEST:
        raise CosliceError(
            f"{path} says {' x '.join(map(str, shape))} voxels, at most {_LONGEST} along an axis are taken; correct "
            "its header."
        )
    return shape[0], shape[1], shape[2]


def _dtype(raw: Any, path: Path) -> np.dtype:
    try:
        dtype = raw.get_data_dtype()
    except (HeaderDataError, KeyError):
        dtype = np.dtype("V1")
    if dtype.kind not in "iuf":
        kind = "complex" if dtype.kind == "c" else "colour" if dtype.names else "unreadable"
        raise CosliceError(f"{path} has {kind} voxels, but one real number per voxel is needed; convert it first.")
    bits = int(raw["bitpix"])
    if bits not in (0, 8 * dtype.itemsize):
        raise CosliceError(
            f"{path} has voxels of type {dtype.name} (datatype {int(raw['datatype'])}) and of {bits} bits (bitpix), "
            "which contradict each other; correct its header."
        )
    return dtype


def _start(raw: Any, size: int, path: Path) -> int:
    offset = float(raw["vox_offset"])
    first = size + 4  # four bytes say whether extensions follow
    if not first <= offset <= _MOST_EXTENSIONS or offset != int(offset):
        raise CosliceError(
            f"{path} says that its voxels begin at byte {offset:g} (vox_offset), a whole number from {first} to "
            f"{_MOST_EXTENSIONS} is needed; correct its header."
        )
    return int(offset)


def _scaling(raw: Any, path: Path) -> tuple[float, float]:
    """Slope and intercept; a slope of 0 means none, and so does NaN, which nibabel writes."""
    slope, inter = float(raw["scl_slope"]), float(raw["scl_inter"])
    if slope == 0 or math.isnan(slope):
        return 1.0, 0.0
    if not (math.isfinite(slope) and math.isfinite(inter)):
        raise CosliceError(
            f"{path} scales its numbers by {slope:g} and adds {inter:g} (scl_slope, scl_inter), finite numbers are "
            "needed; correct its header."
        )
    return slope, inter


def mm_of_unit(raw: Any) -> tuple[float, tuple[str, ...]]:
    """Millimetres of the file's unit of length, and what was assumed of it."""
    code = int(raw["xyzt_units"]) & 7
    if code in _TO_MM:
        return _TO_MM[code], ()
    unit = "no unit" if code == 0 else f"the unit {code}, which NIfTI does not know,"
    return 1.0, (f"The header gives {unit} for its lengths: they are taken as millimetres.",)


def _affine(header: Any, to_mm: float, path: Path) -> np.ndarray:
    """The file's affine in mm, refused where it does not make sense."""
    affine = np.array(header.get_best_affine(), dtype=np.float64)
    affine[:3] *= to_mm
    if not np.isfinite(affine).all():
        raise CosliceError(f"{path} has an affine with NaN or infinite entries; correct its header.")
    check_spacing(np.linalg.norm(affine[:3, :3], axis=0), path)
    if flattens(affine):
        raise CosliceError(f"{path} has an affine that flattens the voxels (determinant 0); correct its header.")
    check_place(affine[:3, 3], path)
    return affine


def _sizes_said(affine: np.ndarray, steps: np.ndarray, placed: int, path: Path) -> tuple[str, ...]:
    """The sentence about voxel sizes of sform and of pixdim that differ.

    Raises:
        CosliceError: by so much that one of them is in another unit.
    """
    if not placed:  # else both are of pixdim
        return ()
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    apart = float(np.maximum(sizes / steps, steps / sizes).max())
    what = f"{_by(sizes)} mm in sform and {_by(steps)} mm in pixdim"
    if apart > _OTHER_UNIT:
        raise CosliceError(
            f"{path} gives a voxel size of {what}, which cannot both be in one unit; correct its header."
        )
    return (f"The header gives voxels of {what}; sform is believed.",) if apart > 1 + _SAID else ()


def _intent(raw: Any) -> tuple[str, ...]:
    """The sentence about values that the header says are no image."""
    code = int(raw["intent_code"])
    if not code:
        return ()
    try:
        words = f"{intent_codes.label[code]}, intent code {code}"
    except KeyError:
        words = f"intent code {code}, which NIfTI does not know"
    return (f"The header says that its values are no plain image ({words}); they are read as one.",)


def qform_of(header: Any, to_mm: float) -> tuple[np.ndarray | None, int]:
    """The qform in mm and its code; None where it has no code, or its numbers are no rotation while sform's count."""
    try:
        qform, code = header.get_qform(coded=True)
    except (HeaderDataError, ValueError, ArithmeticError):
        return None, 0
    if qform is None:
        return None, 0
    qform[:3] *= to_mm
    return (qform, int(code)) if np.isfinite(qform).all() and not flattens(qform) else (None, 0)


def _by(sizes: np.ndarray) -> str:
    return " x ".join(f"{size:g}" for size in sizes)
