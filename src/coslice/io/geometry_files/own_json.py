"""Our own geometry file: JSON that a person can write in six lines and that gives every value back exactly.

    {"type": "cone",                                    cone, fan, parallel or orbit
     "angles_deg": {"start": 0, "arc": 360},            or a list; "step" instead of "arc"; "angles_rad" likewise
     "pixel_mm": [0.2, 0.2],                            between rows, between columns; one number for both
     "source_axis_mm": 500,
     "source_detector_mm": 1000}                        or "axis_detector_mm"

Left out, the detector's [rows, columns] ("detector") and the number of views are those of the projections, and so are
the angles where these have them. "offset_mm" [v, u] is where the detector's centre stands; "rotation_axis_column", the
column on which the rotation axis falls, counted from 0 at the centre of the first stored one, says the same of u.
"rotation" is the sense, seen from +z, in which the source goes around the object, or with "object" before it the sense
in which the object turns before a source that stands; "rows" "up" or "down" and "columns" "right" or "left", seen from
the source, is how the pixels are stored. "grid" holds "shape", "spacing_mm" and "centre_mm" in the order (z, y, x),
"white" the counts of the open beam. An orbit lists "source_mm" (or "direction", of parallel rays),
"detector_centre_mm", "row_step_mm" and "column_step_mm", each [x, y, z] for every view.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from coslice.errors import CosliceError
from coslice.escapes import shown
from coslice.geometry import ConeBeam, FanBeam, Geometry, Grid, Orbit, ParallelBeam
from coslice.io.files import write_text
from coslice.io.geometry_files.circle_fit import check_pixels
from coslice.io.geometry_files.fields import Fields, degrees
from coslice.io.geometry_files.scanner_file import KnownOfRecording, ScannerFile

__all__ = ["TYPES", "from_own", "write_geometry"]

TYPES = ("cone", "fan", "parallel", "orbit")
FORMAT = "coslice geometry JSON"

_COMMON = ("type", "detector", "rows", "columns", "grid", "white")
_TURNING = (*_COMMON, "angles_deg", "angles_rad", "rotation", "pixel_mm", "offset_mm", "rotation_axis_column")
_DIVERGENT = (*_TURNING, "source_axis_mm", "axis_detector_mm", "source_detector_mm")
_ORBIT = (*_COMMON, "source_mm", "direction", "detector_centre_mm", "row_step_mm", "column_step_mm")
_KNOWN = {"cone": _DIVERGENT, "fan": _DIVERGENT, "parallel": _TURNING, "orbit": _ORBIT}
_SENSES = {
    "counterclockwise": 1.0,
    "clockwise": -1.0,
    "object clockwise": 1.0,
    "object counterclockwise": -1.0,
}


def write_geometry(
    geometry: Geometry,
    path: str | Path,
    grid: Grid | None = None,
    *,
    flip_rows: bool = False,
    flip_columns: bool = False,
    white: float | None = None,
) -> None:
    """Write a geometry, and the voxels it is meant for, as our own JSON; `read_geometry` gives all back exactly.

    Args:
        geometry: any scanner.
        path: of the file.
        grid: voxels in the scanner's frame, mm.
        flip_rows, flip_columns: whether the projections are stored against +v, +u, see `ScannerFile`.
        white: counts of the open beam.

    Raises:
        CosliceError: the file cannot be written.
    """
    values: dict[str, Any] = {"type": _word(geometry)}
    if isinstance(geometry, Orbit):
        values["source_mm" if geometry.divergent else "direction"] = geometry.source
        values["detector_centre_mm"] = geometry.centre
        values["row_step_mm"], values["column_step_mm"] = geometry.row_step, geometry.column_step
    else:
        turned = tuple(math.degrees(angle) for angle in geometry.angles)
        if degrees(turned) == geometry.angles:
            values["angles_deg"] = turned
        else:  # some angles are no number of degrees to the last digit
            values["angles_rad"] = geometry.angles
        values |= {"rotation": "counterclockwise", "pixel_mm": geometry.pixel, "offset_mm": geometry.offset}
        if not isinstance(geometry, ParallelBeam):
            values |= {"source_axis_mm": geometry.source_axis, "axis_detector_mm": geometry.axis_detector}
    values |= {
        "detector": geometry.detector,
        "rows": "down" if flip_rows else "up",
        "columns": "left" if flip_columns else "right",
    }
    if white is not None:
        values["white"] = white
    if grid is not None:
        values["grid"] = {"shape": grid.shape, "spacing_mm": grid.spacing, "centre_mm": grid.centre}
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in values.items())
    write_text(path, f"{{\n{lines}\n}}\n")


def from_own(values: Mapping[str, Any], name: str, known: KnownOfRecording) -> ScannerFile:
    """The geometry of a mapping with our keys.

    Raises:
        CosliceError: an unknown key, a value of another kind, or one that is needed and in neither the file nor the
            recording.
    """
    fields = Fields(values, name)
    kind = fields.choice("type", TYPES)
    fields.refuse_unknown(_KNOWN[kind])
    flip_rows = fields.choice("rows", ("up", "down"), "up") == "down"
    flip_columns = fields.choice("columns", ("right", "left"), "right") == "left"
    notes = [
        f'{name} does not say how the {what} are stored, so they are taken to run {default} ("{what}": "{default}").'
        for what, default in (("rows", "up"), ("columns", "right"))
        if what not in fields
    ]
    geometry = _orbit(fields, known) if kind == "orbit" else _circular(fields, kind, known, flip_columns, notes)
    known.check_views(geometry.views, name)
    return ScannerFile(
        geometry=geometry,
        grid=_grid(fields),
        flip_rows=flip_rows,
        flip_columns=flip_columns,
        white=fields.number("white") if "white" in fields else None,
        format=FORMAT,
        notes=tuple(notes),
    )


def _word(geometry: Geometry) -> str:
    kinds: dict[type, str] = {ConeBeam: "cone", FanBeam: "fan", ParallelBeam: "parallel", Orbit: "orbit"}
    return kinds[type(geometry)]


def _circular(fields: Fields, kind: str, known: KnownOfRecording, flipped: bool, notes: list[str]) -> Geometry:
    name = fields.name
    detector = known.detector(_detector(fields), name)
    given = fields.pair("pixel_mm") if "pixel_mm" in fields else None
    pixel, note = known.pixel_for(given, name, "add pixel_mm, in mm")
    if note:
        notes.append(note)
    if "rotation" not in fields:
        notes.append(
            f"{name} does not say which way the scan turns, so the source is taken to go counterclockwise around the "
            'object, seen from +z ("rotation": "counterclockwise").'
        )
    sense = _SENSES[fields.choice("rotation", tuple(_SENSES), "counterclockwise")]
    common = {
        "angles": tuple(sense * angle for angle in _angles(fields, known)),
        "detector": detector,
        "pixel": pixel,
        "offset": _offset(fields, detector[1], pixel[1], flipped),
    }
    if kind == "parallel":
        return ParallelBeam(**common)
    source_axis = fields.number("source_axis_mm")
    if "axis_detector_mm" in fields and "source_detector_mm" in fields:
        raise CosliceError(f"{name}: axis_detector_mm and source_detector_mm were both given; give one of them.")
    if "axis_detector_mm" in fields:
        axis_detector = fields.number("axis_detector_mm")
    else:
        axis_detector = fields.number("source_detector_mm") - source_axis
        if axis_detector < 0:
            raise CosliceError(
                f"{name}: source_detector_mm {source_axis + axis_detector:g} is smaller than source_axis_mm "
                f"{source_axis:g}; the detector stands behind the axis."
            )
    beam = ConeBeam if kind == "cone" else FanBeam
    return beam(**common, source_axis=source_axis, axis_detector=axis_detector)


def _detector(fields: Fields) -> tuple[int, int] | None:
    if "detector" not in fields:
        return None
    rows, columns = fields.numbers("detector", 2)
    if rows != int(rows) or columns != int(columns) or min(rows, columns) < 1:
        raise CosliceError(f"{fields.name}: detector [{rows:g}, {columns:g}], whole [rows, columns] are needed.")
    return int(rows), int(columns)


def _angles(fields: Fields, known: KnownOfRecording) -> tuple[float, ...]:
    """Angles in rad, before the sense of rotation."""
    if "angles_deg" in fields and "angles_rad" in fields:
        raise CosliceError(f"{fields.name}: angles_deg and angles_rad were both given; give one of them.")
    key = "angles_rad" if "angles_rad" in fields else "angles_deg"
    if key not in fields:
        return known.angles_for(fields.name, "angles_deg")
    given = fields.get(key)
    if isinstance(given, Mapping):
        angles = _even(Fields(given, f"{fields.name}, {key}"), known)
    else:
        angles = tuple(map(float, fields.list(key)))
    return angles if key == "angles_rad" else degrees(angles)


def _even(fields: Fields, known: KnownOfRecording) -> tuple[float, ...]:
    fields.refuse_unknown(("start", "step", "arc", "views"))
    if "views" not in fields and known.shape is None:
        raise CosliceError(f"{fields.name}: views is missing, and no projections were given; add it.")
    views = fields.whole("views", None if known.shape is None else known.shape[0])
    if ("step" in fields) == ("arc" in fields):
        raise CosliceError(f"{fields.name}: one of step and arc is needed; step is from one view to the next.")
    start = fields.number("start", 0.0)
    step = fields.number("step") if "step" in fields else fields.number("arc") / views
    return tuple(start + step * view for view in range(views))


def _offset(fields: Fields, columns: int, du: float, flipped: bool) -> tuple[float, float]:
    if "rotation_axis_column" not in fields:
        v, u = fields.numbers("offset_mm", 2, (0.0, 0.0))
        return v, u
    v, u = fields.numbers("offset_mm", 2, (0.0, 0.0))
    if u != 0:
        raise CosliceError(
            f"{fields.name}: rotation_axis_column and a u in offset_mm were both given; give one of them."
        )
    past = (columns - 1) / 2 - fields.number("rotation_axis_column")
    return v, (-past if flipped else past) * du


def _grid(fields: Fields) -> Grid | None:
    given = fields.get("grid")
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise CosliceError(
            f"{fields.name}: grid has shape, spacing_mm and centre_mm, but {shown(given, 60)} was given."
        )
    inner = Fields(given, f"{fields.name}, grid")
    inner.refuse_unknown(("shape", "spacing_mm", "centre_mm"))
    shape = inner.numbers("shape", 3)
    if any(side != int(side) for side in shape):
        raise CosliceError(f"{inner.name}: shape {shape} was given, three whole numbers (z, y, x) are needed.")
    return Grid(
        (int(shape[0]), int(shape[1]), int(shape[2])),
        inner.three("spacing_mm"),
        inner.three("centre_mm", 0.0),
    )


def _orbit(fields: Fields, known: KnownOfRecording) -> Orbit:
    if ("source_mm" in fields) == ("direction" in fields):
        raise CosliceError(
            f"{fields.name}: one of source_mm (rays from a point) and direction (parallel rays) is needed."
        )
    divergent = "source_mm" in fields

    def vectors(key: str) -> tuple[tuple[float, float, float], ...]:
        return tuple((float(x), float(y), float(z)) for x, y, z in np.atleast_2d(fields.rows(key, 3)))

    orbit = Orbit(
        source=vectors("source_mm" if divergent else "direction"),
        centre=vectors("detector_centre_mm"),
        row_step=vectors("row_step_mm"),
        column_step=vectors("column_step_mm"),
        detector=known.detector(_detector(fields), fields.name),
        divergent=divergent,
    )
    check_pixels(orbit, fields.name)
    return orbit
