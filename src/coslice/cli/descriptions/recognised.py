"""Which kind of input a path is, and its description."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from coslice.cli.descriptions.description import Description
from coslice.cli.measurements import ProjectionFiles
from coslice.errors import CosliceError
from coslice.io.plain_files import check_plain, what_else
from coslice.problems import Stated

__all__ = ["KNOWN", "described"]

KNOWN = (
    "a scan (NIfTI, or a folder of DICOM files), projections (.npy, .npz, TIFF or a folder of them, HDF5, .mha, .mhd, "
    ".mat), a scanner's geometry (JSON, RTK .xml, ASTRA, Nikon .xtekct, LEAP or TIGRE), a prior (a file or a name that "
    "`coslice priors` lists), or a folder of results"
)
_WEIGHTS = (".safetensors", ".pth", ".pt", ".ckpt")
_NIFTI = (b"n+1\x00", b"n+2\x00")


def described(
    files: ProjectionFiles,
    stated: Stated,
    series: str | None = None,
    one_view: bool = False,
) -> Description:
    """What `files.recording` is, whatever it is.

    Args:
        files: the input, and what belongs to it where it is projections.
        stated: what the user says of it.
        series: which of several DICOM series.
        one_view: whether the one view of projections stands for all.

    Raises:
        CosliceError: nothing that coslice reads.
    """
    path = files.recording
    if not path.exists():
        return _prior_or_nothing(path)
    if not path.is_dir():  # a pipe would wait for ever
        check_plain(path, f"inspect knows {KNOWN}")
    if path.suffix.lower() in _WEIGHTS:
        from coslice.cli.descriptions.of_records import prior_description

        return prior_description(str(path))
    if (path / "run.json").is_file() or path.name == "run.json":
        from coslice.cli.descriptions.of_records import run_description

        return run_description(path)
    if not files.meant and _is_scan(path):
        from coslice.cli.descriptions.of_scans import scan_description

        return scan_description(path, series, stated.values)
    if files.meant:
        from coslice.cli.descriptions.of_projections import projections_description

        # transmission and the like are words of projections, which they check themselves
        return projections_description(files, stated, one_view)
    if path.is_dir():
        from coslice.cli.descriptions.of_scans import scan_description

        try:
            return scan_description(path, series, stated.values)
        except CosliceError as error:
            raise CosliceError(f"{error} What inspect knows is {KNOWN}.") from error
    return _geometry(files, stated)


def _prior_or_nothing(path: Path) -> Description:
    from coslice.cli.descriptions.of_records import prior_description
    from coslice.priors import embedded_priors, stored_priors

    name = str(path)
    if name in embedded_priors() or name in stored_priors():
        return prior_description(name)
    raise CosliceError(f"{name} {what_else(path)}, and is no prior's name; inspect knows {KNOWN}.")


def _is_scan(path: Path) -> bool:
    from coslice.io.dicom import is_dicom

    if path.is_dir():
        return False
    return path.name.lower().endswith((".nii", ".nii.gz")) or is_dicom(path) or _begins_as_nifti(path)


def _begins_as_nifti(path: Path) -> bool:
    try:
        with open(path, "rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else open(path, "rb") as stream:
            start = stream.read(540)
    except (OSError, EOFError, zlib.error):
        return False
    return start[344:348] in _NIFTI or start[4:8] in _NIFTI


def _geometry(files: ProjectionFiles, stated: Stated) -> Description:
    from coslice.cli.descriptions.of_scanners import scanner_description
    from coslice.io.geometry_files import read_geometry

    path = files.recording
    try:
        scanner = read_geometry(path, pixel=files.pixel)
    except CosliceError as error:
        if "no geometry file" in str(error) or "no other format" in str(error):
            raise CosliceError(f"{path} is nothing that coslice reads; inspect knows {KNOWN}.") from error
        raise
    return scanner_description(path, scanner, stated.grid)
