"""Data that comes with the package: a scan to try, weights of priors and of LPIPS, each with its licence."""

from __future__ import annotations

from importlib import resources

from coslice.io.nifti import read_nifti
from coslice.volume import Volume

__all__ = ["SCAN_CREDIT", "embedded_scan"]

SCAN_CREDIT = (
    "Embedded scan: SPIE-AAPM Lung CT Challenge (The Cancer Imaging Archive), CC BY 3.0; no prior was trained on it."
)


def embedded_scan() -> Volume:
    """64 slices of a chest CT in HU, 128 x 128 pixels of 3.36 mm, 1 mm apart, through heart and hila."""
    with resources.as_file(resources.files("coslice") / "data" / "scan" / "chest.nii.gz") as path:
        return read_nifti(path)
