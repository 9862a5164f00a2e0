"""A volume written as a derived DICOM series, one slice a file (CT or MR Image Storage).

Values v are stored as 16-bit numbers n >= 0 with v = slope * n + intercept, one slope for the series. Whole numbers
that span at most 65535 have slope 1 and come back exactly. Other values have the smallest power of two that fits,

    slope = 2^ceil(log2((max - min)/65535)),        intercept = slope * floor(min/slope),

so that they come back to slope/2: -1024 to 3071 HU to 1/32 HU. MR images have no rescaling in the standard's module,
so the same line is given a second time as a real world value mapping, which readers of MR look at.

Slices lie as those of the source's file did (`Volume.orientation`), each with its own position. The series has new
UIDs at every call, since an instance must never be two things; study and frame of reference keep theirs, so that a
viewer lays the result over its source.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from pydicom import Dataset, config
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pydicom.valuerep import format_number_as_ds

from coslice.errors import CosliceError
from coslice.io.dicom.carried import TECHNIQUE, coded, copy_elements, deidentified, identified
from coslice.io.dicom.dicom_scan import DicomScan
from coslice.io.files import atomic_folder
from coslice.io.nifti import in_order
from coslice.volume import ROUNDED, Volume, shears

__all__ = ["write_dicom"]

_STORAGE = {"CT": CTImageStorage, "MR": MRImageStorage}
_MOST = 65535
_SCANNER = 1
"""NIfTI's code for the scanner's coordinates."""
_ONLY_CT = ("KVP", "DataCollectionDiameter", "RotationDirection", "FilterType", "ConvolutionKernel", "AcquisitionType")
_ONLY_CT += ("ExposureTime", "XRayTubeCurrent", "Exposure")
_ONLY_MR = ("ScanningSequence", "SequenceVariant", "MRAcquisitionType", "RepetitionTime", "EchoTime", "EchoTrainLength")
_ONLY_MR += ("InversionTime", "TriggerTime", "FlipAngle", "MagneticFieldStrength", "ImagedNucleus", "EchoNumbers")
_UPSIDE = {"R": "L", "A": "P", "S": "I"}
"""Rows and columns of an image are counted towards these: a viewer shows the patient upright, seen from the feet."""


@dataclass(frozen=True, eq=False)
class _Planes:
    """Slices as they are written: pixels (slices, rows, columns) and their places, in mm, LPS."""

    values: np.ndarray
    positions: np.ndarray
    directions: np.ndarray
    spacing: tuple[float, float]
    normal: np.ndarray
    distance: float


def write_dicom(
    volume: Volume,
    folder: str | Path,
    scan: DicomScan | None = None,
    *,
    description: str,
    derivation: str,
    keep_patient: bool = False,
    unit: str = "HU",
    modality: str | None = None,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Write `volume` as one derived series into a folder of its own, whole or not at all.

    Args:
        volume: where it is in the patient and in which order its axes are written.
        folder: a new or an empty one; its files are 0001.dcm, ...
        scan: the source, whose study, frame of reference and technique go along; None makes a study of its own.
        description: name of the series, 64 characters are kept.
        derivation: how it was made, 1024 characters are kept.
        keep_patient: name the person and the study as the source does; otherwise a label stands for them
            (`coslice.io.dicom.carried`).
        unit: of the values; "HU" is written as such, anything else as unspecified.
        modality: "CT" or "MR"; None is the source's, or CT.
        overwrite: replace an earlier series in `folder`.

    Returns:
        What to know about the files, in sentences: the steps of their values, what is named in them.

    Raises:
        CosliceError: voxels that are not finite; axes within the slices that are not at right angles; another
            modality; a folder with other things in it, or that cannot be written to.
    """
    wrong = int((~volume.data.isfinite()).sum())
    if wrong:
        raise CosliceError(f"{folder} was not written: {wrong} voxels are NaN or infinite.")
    modality = modality or (scan.modality if scan else "CT")
    if modality not in _STORAGE:
        raise CosliceError(f"A DICOM series of modality {modality} was asked for, CT or MR is written; use NIfTI.")
    planes = _planes(volume, scan)
    stored, slope, intercept = _quantised(planes.values)
    with atomic_folder(folder, "[0-9]*.dcm", overwrite) as place, _strict():
        common = _common(modality, scan, description, derivation, keep_patient)
        _add_technique(common, modality, scan, unit)
        _add_values(common, modality, unit, slope, intercept, (float(planes.values.min()), float(planes.values.max())))
        _add_geometry(common, planes, scan)
        for k, pixels in enumerate(stored):
            one = _slice(common, planes, k, pixels, scan)
            one.save_as(place / f"{k + 1:04d}.dcm", enforce_file_format=True)
    return _notes(volume, slope, unit, scan, keep_patient)


def _notes(volume: Volume, slope: float, unit: str, scan: DicomScan | None, keep_patient: bool) -> tuple[str, ...]:
    whose = "The DICOM files name no patient: a label stands for the person, and dates and places are left out."
    if keep_patient and scan is not None:
        whose = "The DICOM files name the patient and the study as the source does."
    elif keep_patient:
        whose = "The source names no patient, so the DICOM files do not either."
    notes = (f"The DICOM files hold the values in steps of {slope:.3g} {unit.rstrip('.')}.", whose)
    if volume.qform_code == _SCANNER != volume.space_code and not np.allclose(_in_scanner(volume), volume.affine):
        notes += ("The DICOM files are placed by the scan's qform, as its sform is not in the scanner's coordinates.",)
    return notes


def _planes(volume: Volume, scan: DicomScan | None) -> _Planes:
    codes = volume.orientation
    if scan is None:
        # A NIfTI file may count anywhere; as DICOM it is to be looked at.
        codes = (*(_UPSIDE.get(code, code) for code in codes[:2]), codes[2])
    array, place = in_order(volume, codes)
    affine = np.diag((-1.0, -1.0, 1.0, 1.0)) @ (volume.affine if scan else _in_scanner(volume)) @ place
    counts = np.array(array.shape)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    units = affine[:3, :3] / lengths
    skew = float(units[:, 0] @ units[:, 1])
    if abs(skew) > ROUNDED:
        raise CosliceError(
            f"The rows and columns of the volume's slices are {math.degrees(math.acos(skew)):.2f} degrees apart, "
            "DICOM needs 90; resample the volume to a straight grid, or use NIfTI."
        )
    # The diagonals of a rhombus are at right angles, so those halfway between them are. What was rounded is put right
    # about the middle of each slice, where that moves least.
    diagonals = np.stack((units[:, 0] + units[:, 1], units[:, 0] - units[:, 1]))
    diagonals /= np.linalg.norm(diagonals, axis=1)[:, None] * math.sqrt(2)
    across, down = diagonals[0] + diagonals[1], diagonals[0] - diagonals[1]
    middle = (counts[:2] - 1) / 2 * lengths[:2]
    shift = units[:, :2] @ middle - np.stack((across, down), axis=1) @ middle
    positions = affine[:3, 3] + np.arange(counts[2])[:, None] * affine[:3, 2] + shift
    normal = np.cross(across, down)
    return _Planes(
        values=array.transpose(2, 1, 0),
        positions=positions,
        directions=np.stack((across, down)),
        spacing=(float(lengths[1]), float(lengths[0])),
        normal=normal,
        distance=float(abs(affine[:3, 2] @ normal)),
    )


def _in_scanner(volume: Volume) -> np.ndarray:
    """Where the voxels are for the scanner: the affine, or the qform, which NIfTI has for that.

    The qform is taken where it alone speaks of the scanner (the affine of a template's space, as MNI), and where both
    are one place but for rounding, since its axes are at right angles.
    """
    if volume.qform is None:
        return volume.affine
    if volume.qform_code == _SCANNER != volume.space_code:
        return volume.qform
    corner = np.array([*(n - 1 for n in volume.shape[::-1]), 1])
    allowed = ROUNDED * float(np.linalg.norm(volume.affine[:3, :3] @ corner[:3]))
    apart = volume.qform - volume.affine
    near = max(np.linalg.norm(apart @ corner), np.linalg.norm(apart[:3, 3])) <= allowed
    return volume.qform if near and shears(volume.affine) else volume.affine


def _quantised(values: np.ndarray) -> tuple[np.ndarray, float, float]:
    """16-bit numbers, slope and intercept, as text of 16 characters holds them."""
    low, high = float(values.min()), float(values.max())
    if high - low <= _MOST and abs(low) < 1e6 and np.array_equal(values, np.rint(values)):
        slope = 1.0
    else:
        span = max(high - low, abs(high) * 1e-6, 1e-12)
        slope = 2.0 ** math.ceil(math.log2(span / _MOST))
        slope = float(_decimal(slope))
    intercept = float(_decimal(slope * math.floor(low / slope)))
    stored = np.rint((values.astype(np.float64) - intercept) / slope)
    # The last bit of the longest span may lie one step beyond.
    return np.clip(stored, 0, _MOST).astype("<u2"), slope, intercept


def _common(modality: str, scan: DicomScan | None, description: str, derivation: str, keep_patient: bool) -> Dataset:
    """What all slices say: whose, of which study and series, how made."""
    template = scan.template if scan else Dataset()
    common, now = Dataset(), datetime.now()
    common.SpecificCharacterSet = "ISO_IR 192"
    common.SOPClassUID, common.Modality = _STORAGE[modality], modality
    common.ImageType = ["DERIVED", "SECONDARY", "AXIAL" if modality == "CT" else "OTHER"]
    for name in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"):
        setattr(common, name, "")
    common.AccessionNumber = common.ReferringPhysicianName = ""
    common.StudyInstanceUID = template.get("StudyInstanceUID") or generate_uid()
    if keep_patient and scan is not None:
        identified(common, template)
    else:
        deidentified(common, common.StudyInstanceUID)
    common.SeriesInstanceUID = generate_uid()
    common.SeriesNumber = 1000 + int(template.get("SeriesNumber") or 0)
    common.SeriesDescription = _short(description, 64)
    common.FrameOfReferenceUID = template.get("FrameOfReferenceUID") or generate_uid()
    common.PositionReferenceIndicator = ""
    common.PatientPosition = ""
    common.Manufacturer = "" if scan else "coslice"
    common.ContentDate, common.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    common.InstanceCreationDate, common.InstanceCreationTime = common.ContentDate, common.ContentTime
    common.DerivationDescription = _short(derivation, 1024)
    common.DerivationCodeSequence = [coded("RECONSTRUCTION", "Image reconstruction", "99COSLICE")]
    common.BurnedInAnnotation = "NO"
    common.ContributingEquipmentSequence = [_equipment(now, derivation)]
    return common


def _equipment(now: datetime, derivation: str) -> Dataset:
    from coslice import __version__

    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = [coded("109102", "Processing Equipment")]
    equipment.Manufacturer = equipment.ManufacturerModelName = "coslice"
    equipment.SoftwareVersions = __version__
    equipment.ContributionDateTime = now.strftime("%Y%m%d%H%M%S")
    equipment.ContributionDescription = _short(derivation, 1024)
    return equipment


def _add_technique(common: Dataset, modality: str, scan: DicomScan | None, unit: str) -> None:
    required = {"CT": {"KVP": None}, "MR": {"ScanningSequence": "RM", "SequenceVariant": "NONE", "ScanOptions": ""}}
    empty = {"CT": (), "MR": ("MRAcquisitionType", "RepetitionTime", "EchoTime", "EchoTrainLength")}
    for name, value in required[modality].items():
        setattr(common, name, value)
    for name in (*empty[modality], "AcquisitionNumber"):
        setattr(common, name, None)
    if scan is None:
        return
    others = {"StudyInstanceUID", "FrameOfReferenceUID", "SeriesNumber", *(_ONLY_MR if modality == "CT" else _ONLY_CT)}
    if unit != "HU" and modality == "CT":
        others |= {"WindowCenter", "WindowWidth"}
    copy_elements(scan.template, common, [name for name in TECHNIQUE if name not in others])


def _add_values(
    common: Dataset, modality: str, unit: str, slope: float, intercept: float, values: tuple[float, float]
) -> None:
    common.SamplesPerPixel, common.PhotometricInterpretation = 1, "MONOCHROME2"
    common.BitsAllocated, common.BitsStored, common.HighBit, common.PixelRepresentation = 16, 16, 15, 0
    common.RescaleSlope, common.RescaleIntercept = _decimal(slope), _decimal(intercept)
    common.RescaleType = "HU" if unit == "HU" and modality == "CT" else "US"
    if "WindowCenter" not in common:
        centre, width = (40.0, 400.0) if unit == "HU" else (sum(values) / 2, max(values[1] - values[0], slope))
        common.WindowCenter, common.WindowWidth = _decimal(centre), _decimal(width)
    if modality == "MR":
        mapping = Dataset()
        mapping.LUTExplanation, mapping.LUTLabel = "Linear", "coslice"
        mapping.RealWorldValueFirstValueMapped, mapping.RealWorldValueLastValueMapped = 0, _MOST
        mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = slope, intercept
        mapping.MeasurementUnitsCodeSequence = [coded("1", "no units", "UCUM")]
        common.RealWorldValueMappingSequence = [mapping]


def _add_geometry(common: Dataset, planes: _Planes, scan: DicomScan | None) -> None:
    common.Rows, common.Columns = planes.values.shape[1:]
    common.ImageOrientationPatient = [_decimal(float(cosine)) for cosine in planes.directions.ravel()]
    common.PixelSpacing = [_decimal(length) for length in planes.spacing]
    thickness = planes.distance
    # Slices that lie where the source's lay are as thick as those.
    if scan and scan.stack.thickness and math.isclose(planes.distance, scan.stack.distance, rel_tol=1e-2):
        thickness = scan.stack.thickness
    common.SliceThickness = _decimal(thickness)
    common.SpacingBetweenSlices = _decimal(planes.distance)
    if scan and (
        planes.values.shape != (len(scan.stack.slices), *scan.stack.slices[0].shape)
        or not math.isclose(planes.distance, scan.stack.distance, rel_tol=1e-3)
    ):
        common.DerivationCodeSequence.append(coded("113085", "Spatial resampling"))


def _slice(common: Dataset, planes: _Planes, k: int, pixels: np.ndarray, scan: DicomScan | None) -> Dataset:
    one = Dataset()
    one.update(common)
    one.SOPInstanceUID, one.InstanceNumber = generate_uid(), k + 1
    position = planes.positions[k]
    one.ImagePositionPatient = [_decimal(float(place)) for place in position]
    one.SliceLocation = _decimal(float(position @ planes.normal))
    if scan is not None:
        _add_sources(one, planes, k, scan)
    one.PixelData = np.ascontiguousarray(pixels).tobytes()
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(one.SOPClassUID), UID(one.SOPInstanceUID)
    one.file_meta = meta
    return one


def _add_sources(one: Dataset, planes: _Planes, k: int, scan: DicomScan) -> None:
    """The source's slices that this one lies among: all would make each file as long as the series."""
    places = np.array([source.position @ planes.normal for source in scan.stack.slices])
    away = np.abs(places - planes.positions[k] @ planes.normal)
    near = np.flatnonzero(away <= max(planes.distance, scan.stack.distance, float(away.min())) * (1 + 1e-6))
    frames: dict[tuple[str, str], list[int]] = {}
    for index in near:
        source = scan.stack.slices[index]
        frames.setdefault(source.instance, []).extend([] if source.frame is None else [source.frame + 1])
    items = []
    for (kind, instance), numbers in frames.items():
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = kind, instance
        if numbers:
            item.ReferencedFrameNumber = sorted(numbers)
        items.append(item)
    purpose = coded("121322", "Source image for image processing operation")
    one.SourceImageSequence = []
    for item in items:
        source = Dataset()
        source.update(item)
        source.PurposeOfReferenceCodeSequence = [purpose]
        one.SourceImageSequence.append(source)
    referenced = Dataset()
    referenced.SeriesInstanceUID, referenced.ReferencedInstanceSequence = scan.series.uid, items
    one.ReferencedSeriesSequence = [referenced]


def _decimal(number: float) -> str:
    """A number in at most 16 characters, to twelve digits: the thirteenth is rounding, and takes one too many."""
    return format_number_as_ds(float(f"{number:.12g}"))


def _short(text: str, length: int) -> str:
    text = "".join(letter if letter.isprintable() and letter != "\\" else " " for letter in text)
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 3] + "..."


@contextmanager
def _strict() -> Iterator[None]:
    """What does not fit the standard raises instead of being warned of."""
    settings = config.settings
    before = settings.reading_validation_mode, settings.writing_validation_mode
    # The first holds for values that are set, the second for files.
    settings.reading_validation_mode = settings.writing_validation_mode = config.RAISE
    try:
        yield
    finally:
        settings.reading_validation_mode, settings.writing_validation_mode = before
