"""Nikon's (X-Tek's) .xtekct, and the lists of measured angles beside it.

Nikon documents its turntable nowhere. Two readers of its files that people reconstruct with, CIL's NikonDataReader and
TIGRE's NikonDataLoader, agree on the sense up to half a turn about x, and CIL's is taken, start included: in the frame
that stands with the source, x to the right seen from the source, y towards the detector and z up,

    source (0, 0, 0), detector (0, SrcToDetector, 0), axis through (-ObjectOffsetX, SrcToObject, 0),

row 0 is the top of the detector, column 0 its right edge seen from the source, and from view to view the source goes
counterclockwise about the object, seen from +z, by AngularStep: beta = InitialAngle + i AngularStep + 90 degrees.
ObjectOffsetX is written, or is the mean of CentreOfRotationTop and -Bottom, which are mm on the detector, over the
magnification; their difference over the detector's height is the lean of the axis.
"""

from __future__ import annotations

import math
from configparser import ConfigParser
from configparser import Error as ConfigError
from pathlib import Path

import numpy as np

from coslice.errors import CosliceError
from coslice.geometry import Grid, Orbit
from coslice.io.geometry_files.circle_fit import fitted
from coslice.io.geometry_files.fields import Fields, text_of
from coslice.io.geometry_files.scanner_file import KnownOfRecording, ScannerFile

__all__ = ["is_nikon", "of_nikon"]

FORMAT = "Nikon xtekct"

_SECTION = "[xtekct]"


def is_nikon(text: str) -> bool:
    """Whether a text has Nikon's section."""
    return _SECTION in text[:4096].lower()


def of_nikon(text: str, path: Path, known: KnownOfRecording) -> ScannerFile:
    """The geometry of an .xtekct; angles measured at the stage are taken from a list beside it where it fits.

    Raises:
        CosliceError: a value that is missing or no number; another number of views than the projections have.
    """
    name = str(path)
    fields = Fields(_section(text, name), name, ignore_case=True)
    notes: list[str] = []
    views = fields.whole("Projections")
    known.check_views(views, name)
    detector = _detector(fields, known, notes)
    turns = _turns(fields, views, path, notes)
    orbit = _orbit(fields, detector, [math.radians(fields.number("InitialAngle", 0.0)) + turn for turn in turns], notes)
    # The flips are those of a camera that stands behind the detector and counts from its top.
    found = fitted(orbit, name)
    notes.append(
        "Nikon does not document which way its stage turns; the sense and the start are those of CIL's reader, rows "
        "from the top, columns from the right seen from the source."
    )
    return ScannerFile(
        geometry=found.geometry,
        grid=_grid(fields, notes),
        flip_rows=found.flip_rows,
        flip_columns=found.flip_columns,
        white=fields.number("WhiteLevel") if "WhiteLevel" in fields else None,
        format=FORMAT,
        notes=(*notes, *found.notes),
    )


def _section(text: str, name: str) -> dict[str, str]:
    parser = ConfigParser(interpolation=None, strict=False, delimiters=("=",), comment_prefixes=("#", ";"))
    try:
        parser.read_string(text)
    except ConfigError as error:
        reason = str(error).splitlines()[0]
        raise CosliceError(f"{name} is a damaged .xtekct ({reason}); export it again.") from error
    return next(dict(parser[section]) for section in parser.sections() if f"[{section.lower()}]" == _SECTION)


def _detector(fields: Fields, known: KnownOfRecording, notes: list[str]) -> tuple[int, int]:
    """The pixels that the images have; the file is often that of another binning or region."""
    given = fields.whole("DetectorPixelsY"), fields.whole("DetectorPixelsX")
    if known.shape is None or known.shape[1:] == given:
        return given
    rows, columns = known.shape[1:]
    turned = " These are its rows and columns exchanged, so the images may lie on their side." * (
        given == (columns, rows)
    )
    notes.append(
        f"{fields.name} says a detector of {given[0]} rows x {given[1]} columns, but the images have {rows} x "
        f"{columns}; they are taken as a part of it in its middle, with pixels of the size in the file.{turned}"
    )
    return rows, columns


def _turns(fields: Fields, views: int, path: Path, notes: list[str]) -> np.ndarray:
    """How far the source has gone since the first view, rad."""
    step = math.radians(fields.number("AngularStep"))
    if views > 1 and step == 0:
        raise CosliceError(f"{fields.name}: AngularStep is 0, so all {views} views would be the same; correct it.")
    nominal = step * np.arange(views)
    for file in _beside(path):
        measured = _measured(file)
        if len(measured) != views:
            notes.append(
                f"{file.name} lists {len(measured)} angles for {views} views, so the even steps of {path.name} are "
                "used."
            )
            continue
        for listed in (measured, measured[::-1]):  # .ang files may begin with the last view
            turns = np.unwrap(listed - listed[0])
            turns = turns if (turns[-1] < 0) == (nominal[-1] < 0) else -turns
            off = float(np.abs(turns - nominal).max())
            if off <= abs(step):
                notes.append(
                    f"The angles are those measured at the stage, of {file.name}; they differ from even steps by up to "
                    f"{math.degrees(off):.2g} degrees."
                )
                return turns
        notes.append(
            f"The angles of {file.name} are more than a step away from those of {path.name}, whose even steps are used."
        )
    return nominal


def _beside(path: Path) -> list[Path]:
    """The lists of angles in the folder of `path`: of its own name first, then any."""
    try:
        names = sorted(file for file in path.parent.iterdir() if file.name.lower().endswith(("_ctdata.txt", ".ang")))
    except OSError:
        return []
    own = [file for file in names if file.name.lower().startswith((path.stem.lower(), "_ctdata"))]
    return own[:2]


def _measured(file: Path) -> np.ndarray:
    """Angles in rad of a list: below its last heading, in each line the number of the view, then degrees."""
    found: list[float] = []
    try:
        text = text_of(file)
    except CosliceError:
        return np.array(())
    for line in text.splitlines():
        words = line.replace(":", " ").replace(",", " ").split()
        if not words:
            continue
        try:
            int(words[0])
            angle = float(words[1])
        except (IndexError, ValueError):
            found.clear()  # what stands above a heading is no list of angles
            continue
        if math.isfinite(angle):
            found.append(math.radians(angle))
    return np.array(found)


def _orbit(fields: Fields, detector: tuple[int, int], turns: list[float], notes: list[str]) -> Orbit:
    """Source and detector in the frame that stands, brought to the axis, and turned about it."""
    to_axis, to_detector = fields.number("SrcToObject"), fields.number("SrcToDetector")
    if not 0 < to_axis <= to_detector:
        raise CosliceError(
            f"{fields.name}: SrcToObject {to_axis:g} mm and SrcToDetector {to_detector:g} mm were given; the first "
            "must be positive and not the larger one."
        )
    du, dv = fields.number("DetectorPixelSizeX"), fields.number("DetectorPixelSizeY")
    top, bottom = fields.number("CentreOfRotationTop", 0.0), fields.number("CentreOfRotationBottom", 0.0)
    offset = fields.number("ObjectOffsetX", (top + bottom) / 2 * to_axis / to_detector)
    height = fields.number("DetectorPixelsY") * dv
    roll = math.radians(fields.number("ObjectRoll", -math.degrees(math.atan2(top - bottom, height))))
    tilt = math.radians(-fields.number("ObjectTilt", 0.0))
    if min(du, dv) <= 0 or max(abs(roll), abs(tilt)) > math.pi / 4:
        raise CosliceError(
            f"{fields.name}: pixels of {du:g} x {dv:g} mm and an axis that leans by {math.degrees(roll):.3g} and "
            f"{math.degrees(tilt):.3g} degrees were given; sizes above 0 and at most 45 degrees are needed."
        )
    shift = fields.number("DetectorOffsetX", 0.0), fields.number("DetectorOffsetY", 0.0)
    if any(shift):
        notes.append(
            f"DetectorOffset {shift[0]:g}, {shift[1]:g} mm is taken as a shift along the stored columns and rows; "
            "Nikon does not document its sign."
        )
    axis = np.array((math.sin(roll), -math.sin(tilt) * math.cos(roll), math.cos(tilt) * math.cos(roll)))
    through = np.array((-offset, to_axis, 0.0))
    origin = through - (through @ axis) * axis  # where the axis is nearest to the source, so that the source has z = 0
    upright = _onto_z(axis)

    def standing(*vector: float) -> np.ndarray:
        return upright @ np.array(vector)

    source = upright @ -origin
    centre = upright @ (np.array((-shift[0], to_detector, -shift[1])) - origin)
    column, row = standing(-du, 0.0, 0.0), standing(0.0, 0.0, -dv)
    around = np.array([_about_z(turn + math.pi) for turn in turns])

    def per_view(vector: np.ndarray) -> tuple[tuple[float, float, float], ...]:
        return tuple((float(x), float(y), float(z)) for x, y, z in around @ vector)

    return Orbit(per_view(source), per_view(centre), per_view(row), per_view(column), detector)


def _about_z(angle: float) -> np.ndarray:
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array(((cosine, -sine, 0.0), (sine, cosine, 0.0), (0.0, 0.0, 1.0)))


def _onto_z(axis: np.ndarray) -> np.ndarray:
    """The smallest rotation that takes the unit vector `axis`, which points up, to z."""
    x, y, z = axis
    cross = np.array(((0.0, 0.0, -x), (0.0, 0.0, -y), (x, y, 0.0)))
    return np.eye(3) + cross + cross @ cross / (1 + z)


def _grid(fields: Fields, notes: list[str]) -> Grid | None:
    names = [f"{word}{axis}" for word in ("Voxels", "VoxelSize") for axis in "ZYX"]
    if not all(key in fields for key in names):
        return None
    shape = [fields.whole(key) for key in names[:3]]
    spacing = [fields.number(key) for key in names[3:]]
    offset = [fields.number(f"Offset{axis}", 0.0) for axis in "ZYX"]
    if any(offset):
        notes.append(
            f"Nikon's reconstruction was moved by {offset} mm (z, y, x); in which frame is not documented, and the "
            "grid here is not moved."
        )
    return Grid((shape[0], shape[1], shape[2]), (spacing[0], spacing[1], spacing[2]))
