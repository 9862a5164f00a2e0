"""What a geometry file says, and what the recording adds to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, FanBeam, Geometry, Grid, Orbit

__all__ = ["KnownOfRecording", "ScannerFile", "check_scanner"]

_LENGTHS_MM = (1e-6, 1e6)
_MOST_TURNED = 1e5
_MOST_VOXELS = 100_000


@dataclass(frozen=True)
class ScannerFile:
    """A geometry as a file gives it, in the world of `coslice.geometry`.

    Attributes:
        geometry: where the rays run; views in the order of the file, rows along +v and columns along +u.
        grid: the voxels that the file itself asks for, in the scanner's frame, mm.
        flip_rows: the stored rows run against +v, so they must be reversed before the geometry holds.
        flip_columns: likewise the stored columns against +u.
        white: counts of the open beam.
        format: the format in words.
        notes: what was assumed or passed over, full sentences.
    """

    geometry: Geometry
    grid: Grid | None = None
    flip_rows: bool = False
    flip_columns: bool = False
    white: float | None = None
    format: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class KnownOfRecording:
    """What is known of the projections before their geometry is read; None where nothing is.

    Attributes:
        shape: (views, rows, columns).
        angles: of the views, rad.
        pixel: (dv, du), mm.
        origin: (v, u) of the centre of the first pixel, mm, in the format's own detector frame.
    """

    shape: tuple[int, int, int] | None = None
    angles: tuple[float, ...] | None = None
    pixel: tuple[float, float] | None = None
    origin: tuple[float, float] | None = None

    def check_views(self, views: int, name: str) -> None:
        """Refuse a file with another number of views than the projections have."""
        if self.shape is not None and self.shape[0] != views:
            raise CosliceError(
                f"{name} describes {views} views, but the projections have {self.shape[0]}; give the geometry that was "
                "recorded with them, or check the order of their axes."
            )

    def detector(self, given: tuple[int, int] | None, name: str, what: str = "") -> tuple[int, int]:
        """(rows, columns): those of the file, checked against the projections, or theirs.

        Args:
            given: what the file says; None where it says nothing.
            name: of the file.
            what: a hint for the message, a sentence without its full stop.
        """
        if given is None and self.shape is None:
            raise CosliceError(
                f"{name} does not say how many pixels the detector has, and no projections were given; give both."
            )
        if given is None:
            assert self.shape is not None
            return self.shape[1], self.shape[2]
        if self.shape is not None and self.shape[1:] != given:
            raise CosliceError(
                f"{name} describes a detector of {given[0]} rows x {given[1]} columns, but the projections have "
                f"{self.shape[1]} x {self.shape[2]}; {what or 'give the geometry that was recorded with them'}."
            )
        return given

    def angles_for(self, name: str, key: str) -> tuple[float, ...]:
        """The recording's angles, rad, where the file has none."""
        if self.angles is None:
            raise CosliceError(
                f"{name} has no angles, and neither do the projections; add {key} to it, one angle for every view."
            )
        return self.angles

    def pixel_for(self, given: tuple[float, float] | None, name: str, what: str) -> tuple[tuple[float, float], str]:
        """(dv, du) in mm of the file or else of the recording, and a note where the two disagree."""
        if given is None:
            if self.pixel is None:
                raise CosliceError(f"{name} does not say how large the detector's pixels are; {what}.")
            return self.pixel, ""
        if self.pixel is not None and not np.allclose(given, self.pixel, rtol=0.01):
            return given, (
                f"The projections' own header says pixels of {_by(self.pixel)} mm, the geometry file {_by(given)} mm; "
                "the geometry file's are used."
            )
        return given, ""


def check_scanner(scanner: ScannerFile, name: str) -> None:
    """Refuse what no scanner is: pixels, distances, angles and grids beyond anything that is built.

    From X-ray microscopes to cargo scanners all lengths fit into twelve powers of ten with room to spare.

    Raises:
        CosliceError: naming the value.
    """
    geometry, lengths = scanner.geometry, {}
    if isinstance(geometry, Orbit):
        for word, vectors in (("row", geometry.row_step), ("column", geometry.column_step)):
            lengths[f"a step between {word}s"] = np.linalg.norm(np.array(vectors), axis=1)
    else:
        lengths["a pixel"] = np.array(geometry.pixel)
        if not np.abs(geometry.angles).max() <= _MOST_TURNED:
            raise CosliceError(
                f"{name} gives angles beyond {_MOST_TURNED:g} rad, which are no longer exact; correct it."
            )
    if isinstance(geometry, ConeBeam | FanBeam):
        lengths["the distance from the source to the axis"] = np.array([geometry.source_axis])
    grid = scanner.grid
    if grid is not None:
        lengths["a voxel"] = np.array(grid.spacing)
        if max(grid.shape) > _MOST_VOXELS:
            raise CosliceError(f"{name} asks for {_sides(grid.shape)} voxels, at most {_MOST_VOXELS} a side are taken.")
    low, high = _LENGTHS_MM
    for what, found in lengths.items():
        if not low <= found.min() <= found.max() <= high:
            wrong = found.min() if found.min() < low else found.max()
            raise CosliceError(f"{name} gives {what} of {wrong:g} mm, {low:g} to {high:g} mm is needed; correct it.")


def _sides(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _by(pixel: Sequence[float]) -> str:
    return " x ".join(f"{side:g}" for side in pixel)


def tidy(length: float) -> float:
    """`length` without the last digits that arithmetic of rotations leaves, mm."""
    return round(float(f"{length:.12g}"), 9) + 0.0 if math.isfinite(length) else length
