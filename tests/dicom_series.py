"""DICOM series on disk, for the tests that read them."""

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

SHAPE = (5, 6, 7)  # slices, rows, columns
STRAIGHT = np.array([[-0.75, 0, 0, 40.0], [0, -1.25, 0, 30.0], [0, 0, 2.5, -100.0], [0, 0, 0, 1]])


def turned(degrees: float, axis: int, affine: np.ndarray = STRAIGHT) -> np.ndarray:
    """`affine` after a turn of the patient about an axis."""
    i, j = [k for k in range(3) if k != axis]
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    rotation = np.eye(4)
    rotation[[i, i, j, j], [i, j, i, j]] = cosine, -sine, sine, cosine
    return rotation @ affine


def sheared(degrees: float) -> np.ndarray:
    """As of a tilted gantry: slices turned about x, the table still moves along z."""
    affine = turned(degrees, 0)
    affine[:3, 2] = STRAIGHT[:3, 2]
    return affine


def numbers(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3000, SHAPE).astype(np.uint16)


def header(series: str, sop_class: UID = CTImageStorage) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID, dataset.Modality, dataset.PatientID = series, "CT", "A^B"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    return dataset


def place(affine: np.ndarray, k: int) -> tuple[list[float], list[float], list[float]]:
    """DICOM's position, direction and spacing of slice k of a volume with `affine` (column, row, slice) -> RAS."""
    lps = np.diag((-1.0, -1.0, 1.0, 1.0)) @ affine
    across, down = (lps[:3, c] / np.linalg.norm(lps[:3, c]) for c in (0, 1))
    spacing = [float(np.linalg.norm(lps[:3, c])) for c in (1, 0)]
    return list((lps @ (0, 0, k, 1))[:3]), [*across, *down], spacing


def write_series(folder, stored, affine=STRAIGHT, series=None, names=None, **changes):
    """One file a slice; `names` gives them names in another order than that of the slices."""
    folder.mkdir(parents=True, exist_ok=True)
    series = series or generate_uid()
    for k, pixels in enumerate(stored):
        dataset = header(series)
        position, directions, spacing = place(affine, k)
        dataset.ImagePositionPatient = [f"{p:.9f}" for p in position]
        dataset.ImageOrientationPatient = [f"{d:.9f}" for d in directions]
        dataset.PixelSpacing = [f"{s:.9f}" for s in spacing]
        # Each slice its own scale, as scanners of other kinds than CT write it.
        dataset.RescaleSlope, dataset.RescaleIntercept = 1 + k / 2, -1024 + k
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
        for name, value in changes.items():
            setattr(dataset, name, value)
        dataset.save_as(folder / f"{(names or range(len(stored)))[k]:04d}.dcm", enforce_file_format=True)
    return folder


def moved(millimetres: float, affine: np.ndarray = STRAIGHT) -> np.ndarray:
    """`affine` some way along its slices."""
    step = affine[:, 2] / np.linalg.norm(affine[:3, 2])
    result = affine.copy()
    result[:, 3] += step * millimetres
    return result


def change(path, **changes):
    """Change or (None) remove elements of a file."""
    dataset = pydicom.dcmread(path)
    for name, value in changes.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.save_as(path)


def write_enhanced(path, stored, affines, order, series=None, frame=None):
    """One file of many frames: frame n is slice `order[n]` of the stack with `affines[n]`, rescaled as `write_series`.

    `frame(n)` are elements of FrameContentSequence.
    """
    dataset = header(series or generate_uid(), EnhancedCTImageStorage)
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = len(order), *stored.shape[1:]
    groups = []
    for n, (k, affine) in enumerate(zip(order, affines, strict=True)):
        position, directions, _ = place(affine, k)
        group, inner = Dataset(), [Dataset() for _ in range(4)]
        inner[0].ImagePositionPatient = [f"{p:.9f}" for p in position]
        inner[1].ImageOrientationPatient = [f"{d:.9f}" for d in directions]
        inner[2].RescaleSlope, inner[2].RescaleIntercept = 1 + k / 2, -1024 + k
        for name, value in (frame(n) if frame else {}).items():
            setattr(inner[3], name, value)
        group.PlanePositionSequence, group.PlaneOrientationSequence = Sequence(inner[:1]), Sequence(inner[1:2])
        group.PixelValueTransformationSequence, group.FrameContentSequence = Sequence(inner[2:3]), Sequence(inner[3:])
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    shared, measures = Dataset(), Dataset()
    measures.PixelSpacing = place(affines[0], order[-1])[2]
    shared.PixelMeasuresSequence = Sequence([measures])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PixelData = np.ascontiguousarray(stored).tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path
