"""TIGRE's geometry, as an object, a dictionary, JSON or YAML.

At angle a TIGRE's source is at DSO (cos a, sin a, 0); columns run along (-sin a, cos a, 0), rows along z, and
`offDetector` moves the detector along both: beta = a, and nothing is flipped. `COR` moves source and detector together
along the columns, `rotDetector` (roll, pitch, yaw) turns the detector about its centre by Rz(roll) Ry(pitch) Rx(yaw)
before it is offset, and angles of three numbers are Euler's, Rz(a) Ry(b) Rz(c) (TIGRE, computeDeltas_Siddon). Python's
order is (z, y, x) and (rows, columns), mm and rad; MATLAB's is the reverse.

`totalAngle` and `startAngle`, in degrees, are the words of the NAF family's files for even steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, Geometry, Grid, Orbit, ParallelBeam
from coslice.io.geometry_files.circle_fit import fitted
from coslice.io.geometry_files.fields import Fields
from coslice.io.geometry_files.scanner_file import KnownOfRecording, ScannerFile

__all__ = ["from_tigre", "is_tigre", "of_tigre"]

FORMAT = "TIGRE geometry"

_PER_VIEW = {"DSD": 1, "DSO": 1, "COR": 1, "offDetector": 2, "offOrigin": 3, "rotDetector": 3}


def from_tigre(geometry: Any, angles: Any = None, shape: tuple[int, int, int] | None = None) -> ScannerFile:
    """The geometry of a TIGRE object or of a mapping with its names.

    Args:
        geometry: with DSD, DSO, nDetector, dDetector and, where given, nVoxel, dVoxel, offOrigin, offDetector,
            rotDetector, COR, mode and angles.
        angles: rad, (n,) or (n, 3), where the geometry has none.
        shape: (views, rows, columns) of the projections, to check against.

    Raises:
        CosliceError: a value that is missing or not of its kind.
    """
    values = dict(geometry if isinstance(geometry, Mapping) else vars(geometry))
    if angles is not None:
        values["angles"] = np.asarray(angles)
    return of_tigre(values, "The TIGRE geometry", KnownOfRecording(shape=shape))


def is_tigre(values: Mapping[str, Any]) -> bool:
    """Whether a mapping has TIGRE's names."""
    return "nDetector" in values and ("DSD" in values or "dDetector" in values)


def of_tigre(values: Mapping[str, Any], name: str, known: KnownOfRecording) -> ScannerFile:
    """As `from_tigre`, of a file."""
    fields = Fields({key: value for key, value in values.items() if value is not None}, name)
    kind = fields.choice("mode", ("cone", "parallel"), "cone")
    rows, columns = fields.numbers("nDetector", 2)
    if rows != int(rows) or columns != int(columns) or min(rows, columns) < 1:
        raise CosliceError(f"{name}: nDetector [{rows:g}, {columns:g}] was given, whole (rows, columns) are needed.")
    hint = "TIGRE's Python order is (rows, columns), its MATLAB order (columns, rows)"
    detector = known.detector((int(rows), int(columns)), name, hint)
    pixel = _sides(fields, "dDetector", "sDetector", (float(rows), float(columns)))
    euler = _angles(fields, known)
    known.check_views(len(euler), name)
    per_view = {key: _each(fields, key, width, len(euler)) for key, width in _PER_VIEW.items() if key in fields}
    notes: list[str] = []
    grid = _grid(fields, per_view, notes)
    geometry, flips = _geometry(kind, euler, detector, (pixel[0], pixel[1]), per_view, name, notes)
    return ScannerFile(geometry, grid, *flips, format=FORMAT, notes=tuple(notes))


def _angles(fields: Fields, known: KnownOfRecording) -> np.ndarray:
    """Euler angles (n, 3), rad."""
    if "angles" in fields:
        given = fields.array("angles")
        if given.ndim == 2 and given.shape[1] == 3:
            return given
        first = fields.list("angles")
    elif "totalAngle" in fields:
        if known.shape is None:
            raise CosliceError(f"{fields.name} has totalAngle, and no projections say of how many views; add angles.")
        step = fields.number("totalAngle") / known.shape[0]
        first = np.radians(fields.number("startAngle", 0.0) + step * np.arange(known.shape[0]))
    else:
        first = np.array(known.angles_for(fields.name, "angles"))
    return np.stack((first, np.zeros_like(first), np.zeros_like(first)), -1)


def _sides(fields: Fields, each: str, whole: str, counts: tuple[float, ...]) -> tuple[float, ...]:
    """Sizes of pixels or voxels, mm, or those of the whole over the counts."""
    if each in fields:
        sides = fields.numbers(each, len(counts))
    else:
        sides = tuple(size / count for size, count in zip(fields.numbers(whole, len(counts)), counts, strict=True))
    if min(sides) <= 0:
        raise CosliceError(f"{fields.name}: {each} {sides} was given, positive lengths are needed.")
    return sides


def _each(fields: Fields, key: str, width: int, views: int) -> np.ndarray:
    """A value for every view, (n, width); one stands for all."""
    array = fields.array(key)
    array = fields.rows(key, width) if array.size != width else array.reshape(1, width)
    if len(array) not in (1, views):
        raise CosliceError(f"{fields.name}: {key} is given for {len(array)} views, but there are {views}.")
    return np.broadcast_to(array, (views, width))


def _grid(fields: Fields, per_view: Mapping[str, np.ndarray], notes: list[str]) -> Grid | None:
    if "nVoxel" not in fields:
        return None
    shape = fields.numbers("nVoxel", 3)
    if any(side != int(side) for side in shape):
        raise CosliceError(f"{fields.name}: nVoxel {shape} was given, three whole numbers (z, y, x) are needed.")
    spacing = _sides(fields, "dVoxel", "sVoxel", shape)
    centre = per_view.get("offOrigin", np.zeros((1, 3)))
    if np.ptp(centre, axis=0).any():
        raise CosliceError(f"{fields.name}: offOrigin moves from view to view, which is not read; use one value.")
    z, y, x = centre[0]
    return Grid(
        (int(shape[0]), int(shape[1]), int(shape[2])),
        (spacing[0], spacing[1], spacing[2]),
        (float(z), float(y), float(x)),
    )


def _geometry(
    kind: str,
    euler: np.ndarray,
    detector: tuple[int, int],
    pixel: tuple[float, float],
    per_view: Mapping[str, np.ndarray],
    name: str,
    notes: list[str],
) -> tuple[Geometry, tuple[bool, bool]]:
    views = len(euler)

    def of(key: str, width: int) -> np.ndarray:
        return per_view.get(key, np.zeros((views, width)))

    if kind == "cone" and not {"DSD", "DSO"} <= set(per_view):
        raise CosliceError(f"{name}: DSD and DSO, from the source to the detector and to the axis, are needed.")
    to_axis, to_detector = of("DSO", 1)[:, 0], of("DSD", 1)[:, 0]
    offset = of("offDetector", 2)
    turned = euler[:, 1:].any() or of("COR", 1).any() or of("rotDetector", 3).any()
    if not turned and not any(np.ptp(array, axis=0).any() for array in (to_axis, to_detector, offset)):
        angles = tuple(float(angle) for angle in euler[:, 0])
        common = angles, detector, pixel, (float(offset[0, 0]), float(offset[0, 1]))
        if kind == "parallel":
            return ParallelBeam(*common), (False, False)
        distances = float(to_axis[0]), float(to_detector[0] - to_axis[0])
        return ConeBeam(*common, source_axis=distances[0], axis_detector=distances[1]), (False, False)
    found = fitted(_orbit(kind, euler, detector, pixel, per_view, of), name)
    notes += found.notes
    return found.geometry, (found.flip_rows, found.flip_columns)


def _orbit(kind: str, euler: np.ndarray, detector, pixel, per_view: Mapping[str, np.ndarray], of) -> Orbit:
    to_axis, to_detector, offset = of("DSO", 1)[:, 0], of("DSD", 1)[:, 0], of("offDetector", 2)
    lists: list[list[tuple[float, float, float]]] = [[], [], [], []]
    for view, (a, b, c) in enumerate(euler):
        around = _z(a) @ _y(b) @ _z(c)
        roll, pitch, yaw = of("rotDetector", 3)[view]
        own = _z(roll) @ _y(pitch) @ _x(yaw)
        aside = of("COR", 1)[view, 0] * np.array((-math.sin(a), math.cos(a), 0.0))
        centre = np.array((to_axis[view] - to_detector[view], offset[view, 1], offset[view, 0]))
        source = np.array((to_axis[view], 0.0, 0.0)) if kind == "cone" else np.array((-1.0, 0.0, 0.0))
        placed = (
            around @ source + (aside if kind == "cone" else 0.0),
            around @ centre + aside,
            around @ own @ np.array((0.0, 0.0, pixel[0])),
            around @ own @ np.array((0.0, pixel[1], 0.0)),
        )
        for found, vector in zip(lists, placed, strict=True):
            found.append((float(vector[0]), float(vector[1]), float(vector[2])))
    return Orbit(*(tuple(found) for found in lists), detector=detector, divergent=kind == "cone")


def _z(angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return np.array(((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, 1.0)))


def _y(angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return np.array(((c, 0.0, s), (0.0, 1.0, 0.0), (-s, 0.0, c)))


def _x(angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return np.array(((1.0, 0.0, 0.0), (0.0, c, -s), (0.0, s, c)))
