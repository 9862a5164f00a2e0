"""Measured projections, from the files that a command names to a study."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from coslice.cli.display import Watch
from coslice.errors import CosliceError
from coslice.geometry import Orbit, ParallelBeam
from coslice.io.geometry_files import ScannerFile, read_geometry
from coslice.io.recordings import Recording, is_recording, read_recording
from coslice.problems import Stated, Study, from_projections
from coslice.window import Window

__all__ = ["ProjectionFiles", "opened", "projections_study"]


@dataclass(frozen=True)
class ProjectionFiles:
    """The files of a measurement, as a command names them.

    Attributes:
        recording: of the projections.
        geometry: of the scanner; None where the recording's own angles and `beam` say enough.
        beam: "parallel" is all there is to say of a stack of parallel beams.
        pixel: (dv, du) of the detector, mm; None is as the files say.
        flat, dark: open beam and beam off.
        dataset: the array within a file of several.
        order: of its axes, as "rvc".
    """

    recording: Path
    geometry: Path | None = None
    beam: str | None = None
    pixel: tuple[float, float] | None = None
    flat: Path | None = None
    dark: Path | None = None
    dataset: str | None = None
    order: str | None = None

    @property
    def meant(self) -> bool:
        """Whether these are projections: a geometry was named, or the file is in a format that only they have."""
        return self.geometry is not None or is_recording(self.recording)

    @property
    def stated(self) -> dict[str, Any]:
        """What was said of the files, by option, without their names."""
        said = {
            "geometry": self.geometry and "GEOMETRY",
            "beam": self.beam,
            "flat": self.flat and "FLAT",
            "dark": self.dark and "DARK",
            "dataset": self.dataset,
            "order": self.order,
            "pixel": None if self.pixel is None else list(self.pixel),
        }
        return {name: value for name, value in said.items() if value is not None}


def opened(files: ProjectionFiles, one_view: bool = False) -> tuple[Recording, ScannerFile]:
    """The recording and its scanner.

    Args:
        files: their names.
        one_view: whether the recording's one view stands for all.

    Raises:
        CosliceError: files that cannot be read or do not belong together; projections without a geometry.
    """
    if files.geometry is None:
        recording = _recorded(files)
        return recording, _parallel(files, recording, files.pixel or recording.pixel)
    if files.beam is not None:
        raise CosliceError(
            f"--beam {files.beam} was given with --geometry, which says it already; leave one of them out."
        )
    try:
        return _with_geometry(files, files.geometry, _recorded(files), one_view)
    except CosliceError:
        # Axes in another order than (v, r, c) fit neither the fields nor the geometry, which may know the right one.
        wanted = None if files.order is not None else _shape_by_itself(files.geometry, one_view)
        if wanted is None:
            raise
        bare = read_recording(files.recording, dataset=files.dataset, shape=wanted)
        if bare.data.shape != wanted:
            raise
    return _with_geometry(files, files.geometry, _recorded(files, wanted), one_view)


def projections_study(files: ProjectionFiles, stated: Stated, window: Window, reference: bool, device: str) -> Study:
    """The study of measured projections, with a bar while they are read.

    Args:
        files: their names.
        stated: what is said of them.
        window: HU that the prior sees as 0 and 1.
        reference: whether to compare with a reconstruction from all views.
        device: where to work.

    Raises:
        CosliceError: as `opened` and `coslice.problems.from_projections`.
    """
    recording, scanner = opened(files, stated.axisymmetric)
    with Watch() as watch, watch.task("measurement") as progress:
        study = from_projections(recording, scanner, stated, window, reference, device, progress)
    said = files.stated | dict(study.stated) | ({"reference": "all views"} if reference else {})
    return replace(study, stated=said)


def _recorded(files: ProjectionFiles, shape: tuple[int, int, int] | None = None) -> Recording:
    return read_recording(
        files.recording, flat=files.flat, dark=files.dark, dataset=files.dataset, order=files.order, shape=shape
    )


def _with_geometry(
    files: ProjectionFiles, geometry: Path, recording: Recording, one_view: bool
) -> tuple[Recording, ScannerFile]:
    views, rows, columns = recording.data.shape
    scanner = read_geometry(
        geometry,
        None if one_view else (views, rows, columns),
        None if one_view else recording.angles,
        pixel=files.pixel or recording.pixel,
        origin=recording.origin,
    )
    told = None if isinstance(scanner.geometry, Orbit) else scanner.geometry.pixel
    if files.pixel is not None and told is not None and not np.allclose(told, files.pixel, rtol=1e-3):
        given, said = (" x ".join(f"{side:g}" for side in pixel) for pixel in (files.pixel, told))
        raise CosliceError(
            f"--pixel: {given} mm was given, but {geometry.name} says {said} mm; leave it out, or correct the file."
        )
    return recording, scanner


def _shape_by_itself(geometry: Path, one_view: bool) -> tuple[int, int, int] | None:
    """(views, rows, columns) of a geometry file that says all three without its recording, else None."""
    try:
        views, rows, columns = read_geometry(geometry).geometry.shape
    except CosliceError:
        return None
    return 1 if one_view else views, rows, columns


def _parallel(files: ProjectionFiles, recording: Recording, pixel: tuple[float, float] | None) -> ScannerFile:
    """The scanner of a stack of parallel beams, whose angles the recording has."""
    name = files.recording.name
    if files.beam != "parallel":
        given = "" if files.beam is None else f", and --beam {files.beam} alone does not say where its source is"
        raise CosliceError(
            f"{name} holds projections, but nothing says where their rays ran{given}; give --geometry FILE, or --beam "
            "parallel where they are parallel and the file has their angles. A scan is given as NIfTI or DICOM."
        )
    if recording.angles is None:
        raise CosliceError(
            f"{name} has no angles, so --beam parallel is not enough; give --geometry FILE with angles_deg in it."
        )
    notes: tuple[str, ...] = ()
    if pixel is None:
        pixel = (1.0, 1.0)
        notes = (
            f"{name} does not say how large its pixels are: they are taken as 1 mm, so lengths are in pixels and "
            "values in 1 per pixel; --pixel says it.",
        )
    _, rows, columns = recording.data.shape
    return ScannerFile(ParallelBeam(recording.angles, (rows, columns), pixel), format="parallel beam", notes=notes)
