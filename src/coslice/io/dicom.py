"""DICOM: many files, one series, one volume.

Every slice says where its first pixel's centre is, p (mm, towards the patient's left, posterior and
superior: LPS), and along which unit vectors r and c its columns and rows are counted, d_c and d_r mm apart. With the
slices sorted by p . (r x c), pixel (i, j) of slice k sits at

    p_k + i d_c r + j d_r c,        p_k = p_0 + k s,        s = (p_last - p_0)/(n - 1),

so (d_c r, d_r c, s, p_0) are the columns of the affine. s need not be parallel to r x c: a tilted gantry
shears the volume. NIfTI and coslice count towards right and anterior, hence diag(-1, -1, 1) in front of it.
Stored numbers become HU by v = slope * stored + intercept, slice by slice.

Nothing is guessed. Slices that are missing, double, or of another size make a volume that is wrong in mm, so they
are refused. Localisers and objects that are no images (reports, plans, segmentations) are passed over.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.pixels.decoders.base import get_decoder

from coslice.errors import CosliceError
from coslice.io.nifti import canonical_volume
from coslice.volume import Volume

__all__ = ["Series", "dicom_series", "is_dicom", "read_dicom"]

_UNREADABLE = (
    OSError,
    EOFError,
    InvalidDicomError,
    AttributeError,
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    MemoryError,
)
_NO_SCANS = {
    "SEG",
    "SR",
    "PR",
    "KO",
    "REG",
    "DOC",
    "RTSTRUCT",
    "RTDOSE",
    "RTPLAN",
    "RTIMAGE",
    "FID",
    "RWV",
    "AU",
    "ECG",
}
_TAGS = [
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "ImageType",
    "PatientID",
    "Rows",
    "SamplesPerPixel",
    "ImagePositionPatient",
    "NumberOfFrames",
    "InstanceNumber",
]
_UNEVEN = 0.1
"""Steps between slices may differ by this much of a step; a missing slice doubles one."""


@dataclass(frozen=True)
class Series:
    """The image files of one series.

    Attributes:
        uid: SeriesInstanceUID; empty for a file that could not be read.
        paths: its files, each object once.
        modality: "CT", "MR", ...
        subject: a hash of the PatientID, empty without one.
    """

    uid: str
    paths: tuple[Path, ...]
    modality: str
    subject: str


@dataclass(frozen=True)
class _Frame:
    path: Path
    position: np.ndarray
    directions: np.ndarray
    spacing: tuple[float, float]
    values: np.ndarray


def is_dicom(path: Path) -> bool:
    """Whether the file at `path` begins as DICOM files do."""
    try:
        with open(path, "rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def dicom_series(source: Path | Sequence[Path]) -> list[Series]:
    """The series of images in a folder (searched to the bottom) or among files, ordered by uid.

    Localisers and objects without images are left out. A file that cannot be read is a series of its own, so that
    reading it says why.
    """
    groups: dict[str, dict[str, Path]] = {}
    about: dict[str, tuple[str, str]] = {}
    broken: list[Path] = []
    for path in _dicom_files(source):
        try:
            with _quiet():
                header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
                if not _is_image(header):
                    continue
                uid, instance = str(header.SeriesInstanceUID), str(header.SOPInstanceUID)
                patient = str(header.get("PatientID") or "")
        except _UNREADABLE:
            broken.append(path)
            continue
        # Copies of one object are one slice.
        groups.setdefault(uid, {}).setdefault(instance, path)
        about[uid] = str(header.get("Modality", "")), _hashed(patient)
    found = [Series(uid, tuple(sorted(groups[uid].values())), *about[uid]) for uid in sorted(groups)]
    return found + [Series("", (path,), "", "") for path in broken]


def read_dicom(source: Path | Sequence[Path]) -> Volume:
    """The volume of one series, in canonical order, rescaled (CT: HU), float32.

    Args:
        source: a folder with one series in it, or the files of one, in any order; also one file of many frames.

    Raises:
        CosliceError: no series or several; a file that is damaged, or compressed in a way no installed decoder reads;
            fewer than two slices; slices of different sizes, spacings or directions, in the same place, missing, or
            not in a line; CT without a rescale slope.
    """
    series = dicom_series(source)
    place = source if isinstance(source, Path) else (source[0].parent if source else Path())
    if len(series) != 1:
        raise CosliceError(
            f"{place} holds {len(series) or 'no'} DICOM series of images, one is needed; give the files of one."
        )
    frames = [frame for path in series[0].paths for frame in _frames(path)]
    name = str(frames[0].path if len(series[0].paths) == 1 else frames[0].path.parent)
    if len(frames) < 2:
        raise CosliceError(f"{name} holds one slice, but a volume needs at least two; give the whole series.")
    _check_alike(frames, name)
    first = frames[0]
    normal = np.cross(first.directions[0], first.directions[1])
    frames.sort(key=lambda frame: float(frame.position @ normal))
    step = _step(np.array([frame.position for frame in frames]), normal, name)
    affine = np.eye(4)
    affine[:3, 0] = first.directions[0] * first.spacing[1]
    affine[:3, 1] = first.directions[1] * first.spacing[0]
    affine[:3, 2], affine[:3, 3] = step, frames[0].position
    to_ras = np.diag((-1.0, -1.0, 1.0, 1.0))
    stack = np.stack([frame.values for frame in frames])
    return canonical_volume(stack.transpose(2, 1, 0), to_ras @ affine)


def _dicom_files(source: Path | Sequence[Path]) -> Iterable[Path]:
    if not isinstance(source, Path):
        return source
    if source.is_file():
        return [source]
    return sorted(path for path in source.rglob("*") if path.is_file() and is_dicom(path))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings of odd but harmless values in headers, of which clinical files are full."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _is_image(header: Any) -> bool:
    if "Rows" not in header or header.get("Modality") in _NO_SCANS or header.get("SamplesPerPixel", 1) != 1:
        return False
    # Screen captures have no place in the patient; files of many frames give it frame by frame.
    if "ImagePositionPatient" not in header and "NumberOfFrames" not in header:
        return False
    return "LOCALIZER" not in (header.get("ImageType") or ())


def _hashed(patient: str) -> str:
    return hashlib.sha256(patient.encode()).hexdigest()[:12] if patient else ""


def _frames(path: Path) -> list[_Frame]:
    try:
        with _quiet():
            dataset = pydicom.dcmread(path)
            stored = _stored(dataset, path)
            per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
            if not per_frame and len(stored) > 1:
                raise CosliceError(f"{path} holds {len(stored)} frames without saying where they are; export slices.")
            shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
            groups = [[own, shared, dataset] for own in per_frame] if per_frame else [[dataset]]
            return [_frame(path, sources, values) for sources, values in zip(groups, stored, strict=True)]
    except CosliceError:
        raise
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CosliceError(f"{path} is damaged or incomplete ({reason.rstrip('.')}); export it again.") from error


def _stored(dataset: Any, path: Path) -> np.ndarray:
    """The numbers in the file, (frames, rows, columns)."""
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        pixels = dataset.pixel_array
    except (RuntimeError, NotImplementedError) as error:
        if not syntax.is_compressed or _decodable(syntax):
            raise
        raise CosliceError(
            f"{path} is compressed ({syntax.name}), and no installed decoder reads that; "
            "install pylibjpeg with its plug-ins, or export it uncompressed."
        ) from error
    return pixels.reshape(-1, *pixels.shape[-2:])


def _decodable(syntax: Any) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def _frame(path: Path, sources: list[Any], stored: np.ndarray) -> _Frame:
    """One slice, from what the standard keeps for each frame, for all frames, or at the top, in this order."""
    position = _numbers(_value(sources, "PlanePositionSequence", "ImagePositionPatient"), 3)
    directions = _numbers(_value(sources, "PlaneOrientationSequence", "ImageOrientationPatient"), 6)
    rows, columns = _numbers(_value(sources, "PixelMeasuresSequence", "PixelSpacing"), 2)
    slope = _value(sources, "PixelValueTransformationSequence", "RescaleSlope")
    intercept = _value(sources, "PixelValueTransformationSequence", "RescaleIntercept")
    if position is None or directions is None or rows is None or min(rows, columns) <= 0:
        raise CosliceError(f"{path} does not say where its pixels are in mm; export it with its geometry.")
    if slope is None and sources[-1].get("Modality") == "CT":
        raise CosliceError(f"{path} is CT without a rescale slope, so its numbers are no HU; export it again.")
    values = stored.astype(np.float32)
    values *= np.float32(1 if slope is None else slope)
    values += np.float32(0 if intercept is None else intercept)
    if not np.isfinite(values).all():
        raise CosliceError(f"{path} has voxels that are NaN or infinite; export it again.")
    return _Frame(path, position, directions.reshape(2, 3), (float(rows), float(columns)), values)


def _value(sources: list[Any], sequence: str, name: str) -> Any:
    for source in sources:
        if source is None:
            continue
        if source.get(sequence):
            source = source.get(sequence)[0]
        if source.get(name) is not None:
            return source.get(name)
    return None


def _numbers(values: Any, count: int) -> Any:
    numbers = None if values is None else np.array([float(value) for value in values])
    usable = numbers is not None and len(numbers) == count and np.isfinite(numbers).all()
    return numbers if usable else (None,) * 2 if count == 2 else None


def _check_alike(frames: Sequence[_Frame], name: str) -> None:
    first = frames[0]
    for frame in frames:
        if frame.values.shape != first.values.shape:
            shapes = [" x ".join(str(n) for n in f.values.shape) for f in (first, frame)]
            raise CosliceError(f"{name} mixes slices of {shapes[0]} and {shapes[1]} pixels; give slices of one size.")
        if not np.allclose(frame.spacing, first.spacing, rtol=1e-3):
            raise CosliceError(f"{name} mixes slices with pixels of different sizes in mm; give slices of one sort.")
        if not np.allclose(frame.directions, first.directions, atol=1e-2):
            raise CosliceError(f"{name} mixes slices of different directions; give slices of one direction.")


def _step(positions: np.ndarray, normal: np.ndarray, name: str) -> np.ndarray:
    """From one slice to the next, in mm, LPS; `positions` are sorted along `normal`."""
    steps = np.diff(positions @ normal)
    usual = float(np.median(steps))
    if steps.min() <= 1e-3:
        raise CosliceError(f"{name} holds several slices in the same place, as of phases or echoes; give one of them.")
    # Where slices are missing, a step is longer; which steps are the right ones only their majority can tell.
    gap = int(np.argmax(np.abs(steps - usual)))
    if abs(steps[gap] - usual) > _UNEVEN * usual:
        raise CosliceError(
            f"{name} has slices {steps[gap]:.3g} mm apart (after slice {gap + 1} of {len(positions)}) where others are "
            f"{usual:.3g} mm apart, so slices are missing or uneven; give the complete series."
        )
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    line = positions[0] + np.arange(len(positions))[:, None] * step
    if np.abs(positions - line).max() > 0.5 * usual:
        raise CosliceError(f"{name} has slices that do not lie in a line; give slices of one stack.")
    return step
