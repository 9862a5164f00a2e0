"""Which format a geometry file has, by what is in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from coslice.errors import CosliceError
from coslice.geometry import Orbit
from coslice.io.geometry_files.astra import is_astra, of_astra
from coslice.io.geometry_files.fields import json_or_yaml, text_of
from coslice.io.geometry_files.leap import leap_values, of_leap
from coslice.io.geometry_files.nikon import is_nikon, of_nikon
from coslice.io.geometry_files.own_json import TYPES, from_own
from coslice.io.geometry_files.rtk import is_rtk, of_rtk
from coslice.io.geometry_files.scanner_file import KnownOfRecording, ScannerFile, check_scanner
from coslice.io.geometry_files.tigre import is_tigre, of_tigre

__all__ = ["read_geometry"]

_KNOWN_FORMATS = (
    "coslice's own JSON, RTK's ThreeDCircularGeometry XML, ASTRA's projection geometry as JSON, Nikon's .xtekct, "
    "LEAP's parameters, and TIGRE's as JSON or YAML"
)


def read_geometry(
    path: str | Path,
    shape: tuple[int, int, int] | None = None,
    angles: Sequence[float] | None = None,
    *,
    pixel: tuple[float, float] | None = None,
    origin: tuple[float, float] | None = None,
) -> ScannerFile:
    """The scanner that a geometry file describes; the format is found from what is in the file.

    Args:
        path: the file.
        shape: (views, rows, columns) of the projections: checked against the file, and used where it says nothing.
        angles: of the views, rad, as the projections' own file gives them; used where the geometry file has none.
        pixel: (dv, du) in mm, likewise. RTK's files have no pixels, so there it is needed.
        origin: (v, u) in mm of the centre of the first stored pixel, as the header of RTK's projections has it (there
            in the order u, v); only RTK's files need it. Without it the detector is taken as centred on (0, 0).

    Returns:
        The geometry, what must be flipped in the stored projections, and in `notes` what was assumed.

    Raises:
        CosliceError: a file of no known format; a value that is missing, unknown, or not of its kind; another number of
            views or pixels than the projections have.
    """
    path = Path(path)
    known = KnownOfRecording(
        shape=None if shape is None else (int(shape[0]), int(shape[1]), int(shape[2])),
        angles=None if angles is None else tuple(float(angle) for angle in angles),
        pixel=_checked(pixel, "pixel", positive=True),
        origin=_checked(origin, "origin"),
    )
    if known.shape is not None and known.angles is not None and len(known.angles) != known.shape[0]:
        raise CosliceError(
            f"The projections have {known.shape[0]} views, but {len(known.angles)} angles; one for each view is needed."
        )
    scanner = _read(text_of(path), path, known)
    check_scanner(scanner, str(path))
    note = _other_angles(scanner, known)
    return replace(scanner, notes=(*scanner.notes, note)) if note else scanner


def _read(text: str, path: Path, known: KnownOfRecording) -> ScannerFile:
    name = str(path)
    if is_rtk(text):
        return of_rtk(text, name, known)
    if is_nikon(text):
        return of_nikon(text, path, known)
    leap = leap_values(text)
    if leap is not None:
        return of_leap(leap, name, known)
    values = json_or_yaml(text, name)
    if values is None:
        raise CosliceError(f"{name} is no geometry file that coslice knows; known are {_KNOWN_FORMATS}.")
    return _of_mapping(values, name, known)


def _of_mapping(values: Mapping[str, Any], name: str, known: KnownOfRecording) -> ScannerFile:
    if is_astra(values):
        return of_astra(values, name, known)
    if is_tigre(values):
        return of_tigre(values, name, known)
    if str(values.get("type", "")).lower() in TYPES or "angles_deg" in values or "pixel_mm" in values:
        return from_own(values, name, known)
    raise CosliceError(
        f'{name} has no "type" ({", ".join(TYPES)}), and is of no other format that coslice knows; known are '
        f"{_KNOWN_FORMATS}."
    )


def _other_angles(scanner: ScannerFile, known: KnownOfRecording) -> str:
    """A note where the projections' own angles are not those of the geometry, whatever their start and sense."""
    if known.angles is None or isinstance(scanner.geometry, Orbit):
        return ""
    here, there = (np.array(angles) - angles[0] for angles in (scanner.geometry.angles, known.angles))
    off = min(float(np.abs(here - sense * there).max()) for sense in (1, -1))
    if off <= math.radians(0.1):
        return ""
    return (
        f"The projections' own file has other angles than the geometry file, by up to {math.degrees(off):.3g} degrees; "
        "the geometry file's are used."
    )


def _checked(pair: Sequence[float] | None, word: str, positive: bool = False) -> tuple[float, float] | None:
    if pair is None:
        return None
    numbers = tuple(float(number) for number in pair)
    if len(numbers) != 2 or not all(math.isfinite(n) and (n > 0 or not positive) for n in numbers):
        raise CosliceError(f"{word}: {tuple(pair)} was given, two lengths (v, u) in mm are needed.")
    return numbers[0], numbers[1]
