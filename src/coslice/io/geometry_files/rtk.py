"""RTK's ThreeDCircularGeometry XML.

RTK turns about its y axis, gantry angle 0 has the source on +z, columns run along +x and rows along +y. Its world is
ours by the cyclic change (x, y, z)_ours = (z, x, y)_RTK, in which a gantry angle is our view angle. So RTK's volume,
a NumPy array of axes [z, y, x], is ours transposed: ours = theirs.transpose(1, 2, 0).

In the frame turned by the three angles,

    M_R = Rz(-in plane) Rx(-out of plane) Ry(-gantry),

the source stands at (SourceOffsetX, SourceOffsetY, SourceToIsocenter) and the detector's point (u, v) at
(ProjectionOffsetX + u, ProjectionOffsetY + v, SourceToIsocenter - SourceToDetector); a SourceToDetectorDistance of 0
makes the rays parallel. (u, v) are millimetres in the projections' own image, whose origin and spacing only their
header has. A value that a projection leaves out is that of the one before (RTK, documentation of
ThreeDCircularProjectionGeometry).
"""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field

import numpy as np

from coslice.errors import CosliceError
from coslice.geometry import Orbit
from coslice.io.geometry_files.circle_fit import fitted
from coslice.io.geometry_files.fields import LARGEST
from coslice.io.geometry_files.scanner_file import KnownOfRecording, ScannerFile

__all__ = ["is_rtk", "of_rtk"]

FORMAT = "RTK ThreeDCircularGeometry"

_ROOT = "RTKThreeDCircularGeometry"
_PARAMETERS = (
    "SourceToIsocenterDistance",
    "SourceToDetectorDistance",
    "GantryAngle",
    "ProjectionOffsetX",
    "ProjectionOffsetY",
    "SourceOffsetX",
    "SourceOffsetY",
    "InPlaneAngle",
    "OutOfPlaneAngle",
)
_COLLIMATION = ("CollimationUInf", "CollimationUSup", "CollimationVInf", "CollimationVSup")
_TO_OURS = np.array(((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)))


@dataclass
class _Frame:
    """A view in RTK's world: source (or direction), the place of (u, v) = (0, 0), and the steps along u and v, mm."""

    source: np.ndarray
    origin: np.ndarray
    u: np.ndarray
    v: np.ndarray


@dataclass
class _Read:
    """What the file has said so far: values stay until they are given again."""

    values: dict[str, float] = field(default_factory=dict)
    notes: set[str] = field(default_factory=set)


def is_rtk(text: str) -> bool:
    """Whether a text is XML; no other format here is."""
    return text.lstrip().startswith("<")


def of_rtk(text: str, name: str, known: KnownOfRecording) -> ScannerFile:
    """The geometry of RTK's XML, versions 1 to 3.

    Raises:
        CosliceError: XML of another kind, with entities, or damaged; a curved detector; a matrix that contradicts the
            parameters; pixels that nothing says the size of.
    """
    root = _root(text, name)
    read = _Read()
    frames: list[_Frame] = []
    divergent: set[bool] = set()
    for element in root:
        if element.tag == "Projection":
            frame, point = _frame(element, read, f"{name}, projection {len(frames) + 1}")
            frames.append(frame)
            divergent.add(point)
        else:
            _take(element, read, name)
    if not frames:
        raise CosliceError(f"{name} has no <Projection>; one for every view is needed.")
    if len(divergent) != 1:
        raise CosliceError(f"{name} mixes parallel and divergent views; give one kind.")
    known.check_views(len(frames), name)
    detector = known.detector(None, name)
    pixel, _ = known.pixel_for(None, name, "give the pixel size, or the projections as MHA, whose header has it")
    notes = [f"RTK's axes (z, x, y) are taken as (x, y, z): its y, the rotation axis, is z here; {_VOLUME}."]
    first = known.origin
    if first is None:
        first = -(detector[0] - 1) / 2 * pixel[0], -(detector[1] - 1) / 2 * pixel[1]
        notes.append(
            "The origin of RTK's projections is not known, so their centre is taken as the point (0, 0) of the file."
        )
    middle = [start + (count - 1) / 2 * step for start, count, step in zip(first, detector, pixel, strict=True)]
    orbit = Orbit(
        source=_ours(frame.source for frame in frames),
        centre=_ours(frame.origin + middle[0] * frame.v + middle[1] * frame.u for frame in frames),
        row_step=_ours(pixel[0] * frame.v for frame in frames),
        column_step=_ours(pixel[1] * frame.u for frame in frames),
        detector=detector,
        divergent=divergent.pop(),
    )
    found = fitted(orbit, name)
    return ScannerFile(
        geometry=found.geometry,
        flip_rows=found.flip_rows,
        flip_columns=found.flip_columns,
        format=FORMAT,
        notes=(*notes, *sorted(read.notes), *found.notes),
    )


_VOLUME = "an RTK volume [z, y, x] is ours as .transpose(1, 2, 0)"


def _root(text: str, name: str) -> ElementTree.Element:
    """The root of the XML; a document type that defines or fetches anything is refused."""
    for doctype in re.findall(r"<!DOCTYPE[^>]*>?", text):
        if not re.fullmatch(r"<!DOCTYPE\s+\w+\s*>", doctype):
            raise CosliceError(f"{name} has a document type with definitions, which is not read; remove it.")
    if "<!ENTITY" in text:
        raise CosliceError(f"{name} defines entities, which are not read; write the values out.")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise CosliceError(f"{name} is damaged XML ({error}); write it again.") from error
    if root.tag != _ROOT:
        raise CosliceError(f"{name} is XML of <{root.tag[:60]}>, but of XML only RTK's <{_ROOT}> is known.")
    version = root.get("version", "3")
    if version not in ("1", "2", "3"):
        raise CosliceError(
            f"{name} is of version {version[:20]}, but versions 1 to 3 are known; write it with another RTK."
        )
    return root


def _take(element: ElementTree.Element, read: _Read, where: str) -> None:
    tag = "GantryAngle" if element.tag == "Angle" else element.tag
    if tag in _COLLIMATION:
        read.notes.add("The collimation in RTK's file is passed over: pixels in its shade count as measured.")
        return
    if tag not in (*_PARAMETERS, "RadiusCylindricalDetector"):
        raise CosliceError(
            f"{where}: <{element.tag[:60]}> is not known; known are {', '.join(_PARAMETERS)} and Matrix."
        )
    number = _numbers(element, where, 1)[0]
    if tag == "RadiusCylindricalDetector":
        if number != 0:
            raise CosliceError(
                f"{where}: the detector is a cylinder of radius {number:g} mm, but flat ones are needed; rebin the "
                "projections to a flat detector first."
            )
        return
    read.values[tag] = float(number)


def _numbers(element: ElementTree.Element, where: str, count: int) -> np.ndarray:
    try:
        numbers = np.array([float(word) for word in (element.text or "").split()])
    except ValueError:
        numbers = np.array(())
    if numbers.shape != (count,) or not (np.abs(numbers) <= LARGEST).all():
        raise CosliceError(f"{where}: <{element.tag}> {count} finite number{'s' * (count > 1)} needed.")
    return numbers


def _frame(projection: ElementTree.Element, read: _Read, where: str) -> tuple[_Frame, bool]:
    """A view, and whether its rays start at a point."""
    matrix = None
    given = False
    for element in projection:
        if element.tag == "Matrix":
            matrix = _numbers(element, where, 12).reshape(3, 4)
        else:
            _take(element, read, where)
            given = True
    if matrix is not None and not given and "GantryAngle" not in read.values:
        return _of_matrix(matrix, where)
    values = {key: read.values.get(key, 0.0) for key in _PARAMETERS}
    if "SourceToIsocenterDistance" not in read.values:
        raise CosliceError(f"{where}: SourceToIsocenterDistance is missing, and there is no Matrix in its place.")
    turn = _turn(values)
    divergent = values["SourceToDetectorDistance"] != 0
    place = np.array((values["ProjectionOffsetX"], values["ProjectionOffsetY"], 0.0))
    source = np.array((values["SourceOffsetX"], values["SourceOffsetY"], values["SourceToIsocenterDistance"]))
    if divergent:
        place[2] = source[2] - values["SourceToDetectorDistance"]
    else:
        source = np.array((0.0, 0.0, -1.0))
    if matrix is not None:
        _check(matrix, turn, source, place, divergent, where)
    back = turn.T
    return _Frame(back @ source, back @ place, back[:, 0], back[:, 1]), divergent


def _turn(values: dict[str, float]) -> np.ndarray:
    """M_R: from RTK's world into the turned frame."""
    (gc, gs), (oc, os_), (ic, is_) = (
        (math.cos(angle), math.sin(angle))
        for angle in (math.radians(-values[key]) for key in ("GantryAngle", "OutOfPlaneAngle", "InPlaneAngle"))
    )
    in_plane = np.array(((ic, -is_, 0.0), (is_, ic, 0.0), (0.0, 0.0, 1.0)))
    out_of_plane = np.array(((1.0, 0.0, 0.0), (0.0, oc, -os_), (0.0, os_, oc)))
    gantry = np.array(((gc, 0.0, gs), (0.0, 1.0, 0.0), (-gs, 0.0, gc)))
    return in_plane @ out_of_plane @ gantry


def _check(
    matrix: np.ndarray, turn: np.ndarray, source: np.ndarray, place: np.ndarray, divergent: bool, where: str
) -> None:
    """Refuse a matrix that does not take the world to where the parameters do."""
    if divergent:
        distance = source[2] - place[2]
        inner = np.array(((-distance, 0.0, source[0] - place[0]), (0.0, -distance, source[1] - place[1]), (0, 0, 1.0)))
        expected = inner @ np.column_stack((turn, -source))
    else:
        expected = np.column_stack((turn, -place))
        expected[2] = (0.0, 0.0, 0.0, 1.0)
    if np.abs(matrix - expected).max() > 1e-3 + 1e-6 * np.abs(expected).max():
        raise CosliceError(
            f"{where}: the Matrix and the parameters contradict each other; one of them was changed by hand, or the "
            "file is of an old RTK; write it again."
        )


def _of_matrix(matrix: np.ndarray, where: str) -> tuple[_Frame, bool]:
    """A view from its 3 x 4 matrix alone: (u, v, 1) w = M (x, y, z, 1)."""
    left, right = matrix[:, :3], matrix[:, 3]
    parallel = not left[2].any()
    square = np.vstack((left[:2], np.cross(left[0], left[1]))) if parallel else left
    if abs(np.linalg.det(square)) < 1e-12 * max(np.abs(square).max(), 1e-30) ** 3 or (parallel and right[2] == 0):
        raise CosliceError(f"{where}: the Matrix projects nothing, its columns depend on each other; correct it.")
    inverse = np.linalg.inv(square)
    if parallel:
        scaled = inverse[:, :2] * right[2]
        return _Frame(np.cross(left[0], left[1]), -inverse[:, :2] @ right[:2], scaled[:, 0], scaled[:, 1]), False
    source = -inverse @ right
    # On the plane where a step of one mm in u is one mm in space, on the side of the isocentre.
    scale = 1 / np.linalg.norm(inverse[:, 0])
    if inverse[:, 2] @ source > 0:
        scale = -scale
    return _Frame(source, source + scale * inverse[:, 2], scale * inverse[:, 0], scale * inverse[:, 1]), True


def _ours(vectors) -> tuple[tuple[float, float, float], ...]:
    turned = (_TO_OURS @ vector for vector in vectors)
    return tuple((float(x), float(y), float(z)) for x, y, z in turned)
