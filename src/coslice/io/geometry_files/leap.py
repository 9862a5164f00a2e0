"""LEAP's parameter files: one `name = value` a line, in the words of its version 1 and of the older files.

With p = angle - 90 degrees, LEAP's source is at R (cos p, sin p, 0) - tau (-sin p, cos p, 0), columns run along
(-sin p, cos p, 0) and rows along z; `centerRow` and `centerCol` are the pixel that the ray through the origin meets
where tau is 0 (LEAP, documentation of set_conebeam and set_angles: phis are in degrees and begin a quarter turn before
the formula's). So beta = p, and nothing is flipped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, FanBeam, Geometry, Grid, Orbit, ParallelBeam
from coslice.io.geometry_files.circle_fit import fitted
from coslice.io.geometry_files.fields import Fields
from coslice.io.geometry_files.scanner_file import KnownOfRecording, ScannerFile

__all__ = ["leap_values", "of_leap"]

FORMAT = "LEAP parameters"

_OLD_NAMES = {
    "img_dimx": "numX",
    "img_dimy": "numY",
    "img_dimz": "numZ",
    "img_pwidth": "voxelWidth",
    "img_pheight": "voxelHeight",
    "img_offsetx": "offsetX",
    "img_offsety": "offsetY",
    "img_offsetz": "offsetZ",
    "proj_geometry": "geometry",
    "proj_arange": "angularRange",
    "proj_nangles": "numAngles",
    "proj_nrows": "numRows",
    "proj_ncols": "numCols",
    "proj_pheight": "pixelHeight",
    "proj_pwidth": "pixelWidth",
    "proj_crow": "centerRow",
    "proj_ccol": "centerCol",
    "proj_phis": "phis",
    "proj_sod": "sod",
    "proj_sdd": "sdd",
}
_KINDS = ("cone", "fan", "parallel", "modular")


def leap_values(text: str) -> dict[str, str] | None:
    """The values of a LEAP file by name; None for a text of another kind."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        stripped = line.split("#", 1)[0].strip()
        if not stripped:
            continue
        key, equals, value = stripped.partition("=")
        key = key.strip()
        if not equals or not key.replace("_", "").isalnum():
            return None
        found[_OLD_NAMES.get(key.lower(), key)] = value.strip()
    lower = {key.lower() for key in found}
    return found if {"geometry", "numangles"} <= lower or {"numcols", "pixelwidth"} <= lower else None


def of_leap(values: Mapping[str, str], name: str, known: KnownOfRecording) -> ScannerFile:
    """The geometry of LEAP's parameters.

    Raises:
        CosliceError: a curved detector or another geometry that cannot be read; a value that is missing or no number.
    """
    fields = Fields(values, name, ignore_case=True)
    kind = fields.choice("geometry", _KINDS)
    if kind != "parallel" and fields.choice("detectorType", ("flat", "curved", "0", "1"), "flat") in ("curved", "1"):
        raise CosliceError(f"{name}: the detector is curved, but flat ones are needed; rebin the projections first.")
    detector = known.detector((fields.whole("numRows"), fields.whole("numCols")), name)
    notes: list[str] = []
    geometry, flips = _geometry(fields, kind, detector, known, notes)
    known.check_views(geometry.views, name)
    return ScannerFile(geometry, _grid(fields, kind), *flips, format=FORMAT, notes=tuple(notes))


def _geometry(
    fields: Fields, kind: str, detector: tuple[int, int], known: KnownOfRecording, notes: list[str]
) -> tuple[Geometry, tuple[bool, bool]]:
    pixel = fields.number("pixelHeight"), fields.number("pixelWidth")
    if min(pixel) <= 0:
        raise CosliceError(
            f"{fields.name}: pixels of {pixel[0]:g} x {pixel[1]:g} mm were given, sizes above 0 are needed."
        )
    if kind == "modular":
        return _fit(_modular(fields, detector, pixel), fields.name, notes)
    angles = _angles(fields, known)
    offset = tuple(
        ((count - 1) / 2 - fields.number(key, (count - 1) / 2)) * step
        for key, count, step in zip(("centerRow", "centerCol"), detector, pixel, strict=True)
    )
    flat = angles, detector, pixel, (offset[0], offset[1])
    if kind == "parallel":
        return ParallelBeam(*flat), (False, False)
    source_axis, source_detector = fields.number("sod"), fields.number("sdd")
    distances = {"source_axis": source_axis, "axis_detector": source_detector - source_axis}
    tau, tilt = fields.number("tau", 0.0), math.radians(fields.number("tiltAngle", 0.0))
    pitch = fields.number("helicalPitch", 0.0)
    if kind == "fan":
        if tau != 0:
            raise CosliceError(
                f"{fields.name}: tau of a fan beam is not read; give the columns' centre as centerCol and tau 0."
            )
        return FanBeam(*flat, **distances), (False, False)
    circle = ConeBeam(*flat, **distances)
    if tau == tilt == pitch == 0:
        return circle, (False, False)
    return _fit(_moved(circle, tau, tilt, pitch), fields.name, notes)


def _fit(orbit: Orbit, name: str, notes: list[str]) -> tuple[Geometry, tuple[bool, bool]]:
    found = fitted(orbit, name)
    notes += found.notes
    return found.geometry, (found.flip_rows, found.flip_columns)


def _angles(fields: Fields, known: KnownOfRecording) -> tuple[float, ...]:
    quarter = math.pi / 2
    if "phis" in fields:
        phis = fields.list("phis")
        if len(phis) != fields.whole("numAngles", len(phis)):
            raise CosliceError(
                f"{fields.name}: numAngles is {fields.whole('numAngles')}, but there are {len(phis)} phis; correct one."
            )
        return tuple(math.radians(angle) - quarter for angle in phis)
    if "angularRange" in fields:
        views = fields.whole("numAngles", None if known.shape is None else known.shape[0])
        step = math.radians(fields.number("angularRange")) / views
        return tuple(step * view - quarter for view in range(views))
    return tuple(angle - quarter for angle in known.angles_for(fields.name, "phis"))


def _moved(circle: ConeBeam, tau: float, tilt: float, pitch: float) -> Orbit:
    """Source and detector moved by -tau along the columns, the detector turned in its plane, both on a helix."""
    beta = np.array(circle.angles)
    zero, one = np.zeros_like(beta), np.ones_like(beta)
    outwards = np.stack((np.cos(beta), np.sin(beta), zero), -1)
    level = np.stack((-np.sin(beta), np.cos(beta), zero), -1)
    up = np.stack((zero, zero, one), -1)
    across = math.cos(tilt) * level + math.sin(tilt) * up
    upward = math.cos(tilt) * up - math.sin(tilt) * level
    place = -tau * level + (pitch * (beta - (beta[0] + beta[-1]) / 2))[:, None] * up
    v, u = circle.offset

    def per_view(vectors: np.ndarray) -> tuple[tuple[float, float, float], ...]:
        return tuple((float(x), float(y), float(z)) for x, y, z in vectors)

    return Orbit(
        source=per_view(circle.source_axis * outwards + place),
        centre=per_view(-circle.axis_detector * outwards + place + u * across + v * upward),
        row_step=per_view(circle.pixel[0] * upward),
        column_step=per_view(circle.pixel[1] * across),
        detector=circle.detector,
    )


def _modular(fields: Fields, detector: tuple[int, int], pixel: tuple[float, float]) -> Orbit:
    def vectors(key: str, scale: float = 1.0) -> tuple[tuple[float, float, float], ...]:
        return tuple((float(x), float(y), float(z)) for x, y, z in scale * fields.rows(key, 3))

    return Orbit(
        source=vectors("sourcePositions"),
        centre=vectors("moduleCenters"),
        row_step=vectors("rowVectors", pixel[0]),
        column_step=vectors("colVectors", pixel[1]),
        detector=detector,
    )


def _grid(fields: Fields, kind: str) -> Grid | None:
    """LEAP's voxels; where rows are slices, its z begins with the first row."""
    if not all(key in fields for key in ("numX", "numY", "numZ", "voxelWidth", "voxelHeight")):
        return None
    nz, ny, nx = (fields.whole(f"num{axis}") for axis in "ZYX")
    width, height = fields.number("voxelWidth"), fields.number("voxelHeight")
    z = fields.number("offsetZ", 0.0)
    if kind in ("fan", "parallel"):
        rows = fields.whole("numRows")
        z += (nz - 1) / 2 * height - fields.number("centerRow", (rows - 1) / 2) * fields.number("pixelHeight")
    return Grid((nz, ny, nx), (height, width, width), (z, fields.number("offsetY", 0.0), fields.number("offsetX", 0.0)))
