"""Which words of a source may go along into a derived series.

Only listed elements are carried at all; private elements, free text, dates, people and places are not among them.
On request a second list goes along, that names the person and the study. Without it the result follows the basic
application confidentiality profile (PS3.15, annex E) with the option to retain UIDs: study, frame of reference and
source images keep theirs, so that the result lies beside its source in a viewer. Name and ID become a label made of the
StudyInstanceUID, which is in the file anyway: two series of one study stay of one person, and nothing can be found out
from it about the ID.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from pydicom import Dataset, config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement

from coslice.io.dicom.headers import found

__all__ = ["TECHNIQUE", "carried", "coded", "copy_elements", "deidentified", "identified"]

TECHNIQUE = (
    *("Manufacturer", "ManufacturerModelName", "BodyPartExamined", "PatientPosition", "PositionReferenceIndicator"),
    *("StudyInstanceUID", "FrameOfReferenceUID", "SeriesNumber", "AcquisitionNumber"),
    *("KVP", "DataCollectionDiameter", "RotationDirection", "ExposureTime", "XRayTubeCurrent", "Exposure"),
    *("FilterType", "ConvolutionKernel", "ScanOptions", "AcquisitionType"),
    *("ScanningSequence", "SequenceVariant", "MRAcquisitionType", "RepetitionTime", "EchoTime", "EchoTrainLength"),
    *("InversionTime", "TriggerTime", "FlipAngle", "MagneticFieldStrength", "ImagedNucleus", "EchoNumbers"),
    *("WindowCenter", "WindowWidth"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
)
PERSON = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge"),
    *("PatientSize", "PatientWeight", "EthnicGroup", "PatientComments"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName", "StudyDescription"),
    *("AcquisitionDate", "AcquisitionTime", "InstitutionName", "StationName", "DeviceSerialNumber", "ProtocolName"),
    *("PatientIdentityRemoved", "DeidentificationMethod"),
)
"""Kept on request only."""


def carried(sources: Sequence[Any]) -> Dataset:
    """The elements of both lists that a slice has, whatever groups they stand in; senseless values are left out."""
    result = Dataset()
    for name in (*TECHNIQUE, *PERSON):
        value = found(sources, name)
        if value is not None:
            _add(result, name, value)
    return result


def copy_elements(source: Dataset, target: Dataset, names: Iterable[str]) -> None:
    """Those of `names` that `source` has."""
    for name in names:
        if name in source:
            target[name] = source[name]


def identified(target: Dataset, source: Dataset) -> None:
    """`target` with the person and the study of `source`, as it names them."""
    copy_elements(source, target, PERSON)
    if "PatientIdentityRemoved" not in target:
        target.PatientIdentityRemoved = "NO"


def deidentified(target: Dataset, study: str) -> None:
    """`target` with a label for a person, made of the StudyInstanceUID, and empty where nothing may stand."""
    label = f"coslice-{hashlib.sha256(study.encode()).hexdigest()[:12]}"
    target.PatientName = target.PatientID = label
    target.PatientIdentityRemoved = "YES"
    target.LongitudinalTemporalInformationModified = "REMOVED"
    target.DeidentificationMethod = "coslice: listed elements only; UIDs kept"
    target.DeidentificationMethodCodeSequence = [
        coded("113100", "Basic Application Confidentiality Profile"),
        coded("113110", "Retain UIDs Option"),
    ]


def coded(value: str, meaning: str, scheme: str = "DCM") -> Dataset:
    """An item of a code sequence; schemes that begin with 99 are private."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _add(target: Dataset, name: str, value: Any) -> None:
    tag = tag_for_keyword(name)
    assert tag is not None
    kind = dictionary_VR(tag)
    # As text of its own: names and the like hold bytes in the source's alphabet.
    if kind == "PN":
        value = str(value)
    try:
        target[tag] = DataElement(tag, kind, value, validation_mode=config.RAISE)
    except (ValueError, TypeError, OverflowError):
        return
