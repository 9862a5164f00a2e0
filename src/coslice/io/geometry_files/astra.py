"""ASTRA's projection geometries, as dictionaries and as JSON files of them.

ASTRA's circle begins a quarter turn before ours: at angle a the source is at R (sin a, -cos a, 0), the detector's
columns run along (cos a, sin a, 0) and its rows along z, so beta = a - pi/2 and nothing is flipped. Of a "vec" geometry
each view is a list: source (or direction of the rays), centre of the detector, step from a column to the next, step
from a row to the next (ASTRA, documentation of 3D geometries and `geom_2vec`). In two dimensions the z, and the rows,
are left out.

ASTRA's arrays of projections are (rows, views, columns), of volumes (z, y, x) as ours; its two-dimensional images have
their first row at the largest y.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, FanBeam, Geometry, Grid, Orbit, ParallelBeam
from coslice.io.geometry_files.circle_fit import fitted
from coslice.io.geometry_files.fields import Fields
from coslice.io.geometry_files.scanner_file import KnownOfRecording, ScannerFile

__all__ = ["from_astra", "is_astra", "of_astra", "to_astra"]

FORMAT = "ASTRA projection geometry"

_VOLUME_TYPES = ("cone", "cone_vec", "parallel3d", "parallel3d_vec")
_PLANE_TYPES = ("fanflat", "fanflat_vec", "parallel", "parallel_vec")
_OWN_KEYS = ("ProjectionAngles", "Vectors", "DetectorColCount", "DetectorCount", "DetectorSpacingX", "DetectorWidth")
_ORDER = 'ASTRA\'s projections are stored as (rows, views, columns), which is the order "rvc".'


def from_astra(
    values: Mapping[str, Any],
    volume: Mapping[str, Any] | None = None,
    shape: tuple[int, int, int] | None = None,
) -> ScannerFile:
    """The geometry of an ASTRA dictionary.

    Args:
        values: as `astra.create_proj_geom` makes it: cone, cone_vec, parallel3d, parallel3d_vec, fanflat, fanflat_vec,
            parallel or parallel_vec. Lengths in mm, angles in rad.
        volume: as `astra.create_vol_geom` makes it; becomes the grid.
        shape: (views, rows, columns) of the projections, to check against, and for the rows of a flat geometry, which
            are slices there.

    Raises:
        CosliceError: another type, a curved detector, a value that is missing or not of its kind.
    """
    whole = values if volume is None else {"projection": values, "volume": volume}
    return of_astra(whole, "The ASTRA geometry", KnownOfRecording(shape=shape))


def is_astra(values: Mapping[str, Any]) -> bool:
    """Whether a mapping has the keys of an ASTRA geometry, or holds one as "projection"."""
    inner = values.get("projection", values)
    return isinstance(inner, Mapping) and any(key in inner for key in _OWN_KEYS)


def of_astra(values: Mapping[str, Any], name: str, known: KnownOfRecording) -> ScannerFile:
    """As `from_astra`, of a file."""
    volume = values.get("volume")
    fields = Fields(values.get("projection", values), name)
    kind = fields.choice("type", (*_VOLUME_TYPES, *_PLANE_TYPES))
    option = fields.get("option")
    if isinstance(option, Mapping) and option:
        raise CosliceError(
            f"{name}: the option {', '.join(map(str, option))} is not read; write the geometry as a vec geometry, "
            "which needs none."
        )
    flat = kind in _PLANE_TYPES
    detector = _flat_detector(fields, known) if flat else _detector(fields, known)
    orbit = _from_vectors(fields, kind, detector) if kind.endswith("_vec") else None
    flips, notes = (False, False), [_ORDER] if not flat else []
    if orbit is not None:
        found = fitted(orbit, name)
        geometry, flips = found.geometry, (found.flip_rows, found.flip_columns)
        notes += found.notes
    else:
        geometry = _circular(fields, kind, detector)
    if flat:
        geometry = _stack(geometry, detector[0], name, notes)
    known.check_views(geometry.views, name)
    grid = None if volume is None else _grid(Fields(volume, f"{name}, volume"), geometry)
    return ScannerFile(geometry, grid, *flips, format=FORMAT, notes=tuple(notes))


def to_astra(geometry: Geometry) -> dict[str, Any]:
    """The ASTRA dictionary of a geometry: a circle where ASTRA's can be moved nowhere, else vectors; lengths in mm.

    A fan beam and its slices are described by one fanflat geometry, which holds for every slice.
    """
    if isinstance(geometry, FanBeam):
        count = geometry.detector[1]
        if geometry.offset[1] == 0:
            return {
                "type": "fanflat",
                "DetectorWidth": geometry.pixel[1],
                "DetectorCount": count,
                "ProjectionAngles": _angles(geometry),
                "DistanceOriginSource": geometry.source_axis,
                "DistanceOriginDetector": geometry.axis_detector,
            }
        flat = ConeBeam(
            geometry.angles,
            (1, count),
            geometry.pixel,
            (0.0, geometry.offset[1]),
            geometry.source_axis,
            geometry.axis_detector,
        )
        vectors = _vectors(flat.to_orbit())[:, (0, 1, 3, 4, 6, 7)]
        return {"type": "fanflat_vec", "DetectorCount": count, "Vectors": vectors.tolist()}
    rows, columns = geometry.detector
    size = {"DetectorRowCount": rows, "DetectorColCount": columns}
    if isinstance(geometry, Orbit) or any(geometry.offset):
        orbit = geometry.to_orbit()
        kind = "cone_vec" if orbit.divergent else "parallel3d_vec"
        return {"type": kind, **size, "Vectors": _vectors(orbit).tolist()}
    found = {
        "type": "cone" if isinstance(geometry, ConeBeam) else "parallel3d",
        "DetectorSpacingX": geometry.pixel[1],
        "DetectorSpacingY": geometry.pixel[0],
        **size,
        "ProjectionAngles": _angles(geometry),
    }
    if isinstance(geometry, ConeBeam):
        found |= {"DistanceOriginSource": geometry.source_axis, "DistanceOriginDetector": geometry.axis_detector}
    return found


def _angles(geometry: ConeBeam | FanBeam | ParallelBeam) -> list[float]:
    return [angle + math.pi / 2 for angle in geometry.angles]


def _vectors(orbit: Orbit) -> np.ndarray:
    return np.concatenate([np.array(v) for v in (orbit.source, orbit.centre, orbit.column_step, orbit.row_step)], 1)


def _detector(fields: Fields, known: KnownOfRecording) -> tuple[int, int]:
    given = fields.whole("DetectorRowCount"), fields.whole("DetectorColCount")
    hint = "ASTRA stores projections as (rows, views, columns), so they may have to be read in that order, rvc"
    return known.detector(given, fields.name, hint)


def _flat_detector(fields: Fields, known: KnownOfRecording) -> tuple[int, int]:
    """The rows of a flat geometry are slices, of which only the projections know the number."""
    columns = fields.whole("DetectorCount")
    return known.detector((1 if known.shape is None else known.shape[1], columns), fields.name)


def _circular(fields: Fields, kind: str, detector: tuple[int, int]) -> ConeBeam | FanBeam | ParallelBeam:
    angles = tuple(float(angle) - math.pi / 2 for angle in fields.list("ProjectionAngles"))
    if kind in _PLANE_TYPES:
        width = fields.number("DetectorWidth")
        pixel = (width, width)
    else:
        pixel = fields.number("DetectorSpacingY"), fields.number("DetectorSpacingX")
    if kind in ("parallel", "parallel3d"):
        return ParallelBeam(angles, detector, pixel)
    beam = FanBeam if kind == "fanflat" else ConeBeam
    return beam(
        angles,
        detector,
        pixel,
        source_axis=fields.number("DistanceOriginSource"),
        axis_detector=fields.number("DistanceOriginDetector"),
    )


def _from_vectors(fields: Fields, kind: str, detector: tuple[int, int]) -> Orbit:
    if kind in _PLANE_TYPES:
        rows = fields.rows("Vectors", 6)
        zero, width = np.zeros((len(rows), 1)), np.linalg.norm(rows[:, 4:], axis=1, keepdims=True)
        parts = [np.hstack((rows[:, at : at + 2], zero)) for at in (0, 2, 4)]
        parts.append(np.hstack((zero, zero, width)))
        detector = 1, detector[1]
    else:
        rows = fields.rows("Vectors", 12)
        parts = [rows[:, at : at + 3] for at in (0, 3, 6, 9)]

    def vectors(part: np.ndarray) -> tuple[tuple[float, float, float], ...]:
        return tuple((float(x), float(y), float(z)) for x, y, z in part)

    source, centre, column, row = map(vectors, parts)
    return Orbit(source, centre, row, column, detector, divergent=not kind.startswith("parallel"))


def _stack(geometry: Geometry, rows: int, name: str, notes: list[str]) -> Geometry:
    """A flat geometry for `rows` slices, which are as far apart as columns are at the axis: ASTRA does not say."""
    if isinstance(geometry, Orbit):
        if rows > 1:
            raise CosliceError(
                f"{name} is a flat geometry of its own for every view, which holds for one row, but the projections "
                f"have {rows}; write it as cone_vec or parallel3d_vec."
            )
        return geometry
    du = geometry.pixel[1]
    step = du if isinstance(geometry, ParallelBeam) else du / geometry.magnification
    notes.append(f"A flat geometry does not say how far slices are apart; {step:.4g} mm, as the columns, is assumed.")
    common = geometry.angles, (rows, geometry.detector[1]), (step, du), (0.0, geometry.offset[1])
    if isinstance(geometry, ParallelBeam):
        return ParallelBeam(*common)
    return FanBeam(*common, source_axis=geometry.source_axis, axis_detector=geometry.axis_detector)


def _grid(fields: Fields, geometry: Geometry) -> Grid:
    columns, rows = fields.whole("GridColCount"), fields.whole("GridRowCount")
    flat = "GridSliceCount" not in fields
    slices = geometry.detector[0] if flat else fields.whole("GridSliceCount")
    option = fields.get("option")
    window = Fields(option if isinstance(option, Mapping) else {}, fields.name)

    def side(axis: str, count: int) -> tuple[float, float]:
        """Spacing and centre, mm; without a window a voxel is 1 wide."""
        low = window.number(f"WindowMin{axis}", -count / 2)
        high = window.number(f"WindowMax{axis}", count / 2)
        return (high - low) / count, (high + low) / 2

    (dx, x), (dy, y) = side("X", columns), side("Y", rows)
    dz, z = side("Z", slices) if not flat else (_row_pitch(geometry, dx), 0.0)
    return Grid((slices, rows, columns), (dz, dy, dx), (z, y, x))


def _row_pitch(geometry: Geometry, otherwise: float) -> float:
    return otherwise if isinstance(geometry, Orbit) else geometry.pixel[0]
