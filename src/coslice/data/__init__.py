"""Data that comes with the package: two scans to try, weights of priors and of LPIPS, each with its licence."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from coslice.errors import CosliceError
from coslice.io.nifti import read_nifti
from coslice.volume import Volume

__all__ = ["CREDITS", "SCAN_CREDIT", "embedded_file", "embedded_scan"]

SCAN_CREDIT = (
    "Embedded scan: SPIE-AAPM Lung CT Challenge (The Cancer Imaging Archive), CC BY 3.0; no prior was trained on it."
)
"""Where the embedded chest comes from: to be said wherever it is shown."""
CREDITS = {"chest": SCAN_CREDIT, "brain": "Embedded brain: OpenNeuro ds002748, CC0; no prior was trained on it."}
"""Where the embedded scans come from, by name."""


def embedded_scan() -> Volume:
    """64 slices of a chest CT in HU, 128 x 128 pixels of 3.36 mm, 1 mm apart, through heart and hila."""
    return read_nifti(embedded_file("chest"))


def embedded_file(name: str) -> Path:
    """The file of the scan "chest", see `embedded_scan`, or "brain".

    The brain is 40 slices of T1 MR without the skull, 0 to 1000, 152 x 176 x 40 voxels of 1 mm, through the ventricles.

    Raises:
        CosliceError: another name.
    """
    if name not in CREDITS:
        raise CosliceError(f'embedded: "{name}" was given, but the embedded scans are {", ".join(CREDITS)}.')
    return Path(str(resources.files("coslice") / "data" / "scan" / f"{name}.nii.gz"))
