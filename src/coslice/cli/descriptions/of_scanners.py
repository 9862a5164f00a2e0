"""A scanner in words: its beam, its arc, its detector, what it sees, and the voxels it would be reconstructed on."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coslice.acquisition.rotation_axis import axis_column
from coslice.classical.filters import measured_arc
from coslice.cli.descriptions.description import Description, by, number
from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, Geometry, Grid, Orbit, ParallelBeam
from coslice.io.geometry_files import ScannerFile
from coslice.io.recordings import Recording
from coslice.problems.measured_grid import GridChoice, voxels_and_blocks

__all__ = [
    "Voxels",
    "scanner_description",
    "scanner_entries",
    "scanner_facts",
    "shortest_geometry",
    "stored_entries",
    "usual_voxels",
]

_ASIDE = 0.05  # of half the detector's width: less is no half fan
_GIB = 2**30
_FEWER = (512, 256)  # voxels across, where the usual ones are too many


@dataclass(frozen=True)
class Voxels:
    """What a measurement would be reconstructed on.

    Attributes:
        grid: the voxels; None where they cannot be told.
        binning: (rows, columns) of pixels that become one.
        problem: why there is no grid, or why there are fewer voxels than usual, one sentence.
        size: voxels across, where only fewer than usual are possible.
    """

    grid: Grid | None
    binning: tuple[int, int] = (1, 1)
    problem: str = ""
    size: int | None = None


def usual_voxels(
    geometry: Geometry,
    choice: GridChoice,
    asked: Grid | None = None,
    binning: tuple[int, int] | None = None,
) -> Voxels:
    """`coslice.problems.measured_grid.voxels_and_blocks`; fewer voxels where those are too many for any memory."""
    try:
        return Voxels(*voxels_and_blocks(geometry, choice, asked, binning))
    except CosliceError as error:
        problem = str(error)
    if choice.size is None and choice.spacing is None:
        for size in _FEWER:
            try:
                return Voxels(*voxels_and_blocks(geometry, GridChoice(size), asked, binning), problem, size)
            except CosliceError:
                continue
    return Voxels(None, problem=problem)


def scanner_description(path: Path, scanner: ScannerFile, choice: GridChoice) -> Description:
    """A geometry file alone."""
    geometry = scanner.geometry
    voxels = usual_voxels(geometry, choice, scanner.grid)

    def picture() -> bytes:
        from coslice.report.inspection import scanner_picture

        return scanner_picture(geometry, voxels.grid)

    return Description(
        f"{path.name}: a scanner's geometry ({scanner.format})",
        (
            *scanner_entries(geometry, voxels, scanner.flip_columns),
            *stored_entries(scanner),
            *(("Remarks", note) for note in scanner.notes),
        ),
        {"kind": "geometry", "format": scanner.format, **scanner_facts(geometry, voxels)},
        (("grave", voxels.problem),) if voxels.problem else (),
        (
            (
                "To reconstruct with it",
                f"coslice reconstruct PROJECTIONS --geometry {shlex.quote(str(path))} --out out/",
            ),
        ),
        picture,
    )


def stored_entries(scanner: ScannerFile) -> tuple[tuple[str, str], ...]:
    """What the file says of how the projections are stored."""
    turned = [
        word
        for word, flipped in (
            ("rows downwards", scanner.flip_rows),
            ("columns from right to left", scanner.flip_columns),
        )
        if flipped
    ]
    said = [f"The projections are stored with {' and '.join(turned)}, seen from the source."] if turned else []
    if scanner.white is not None:
        said.append(f"The open beam counts {scanner.white:g}.")
    if scanner.grid is not None:
        said.append("The file itself says which voxels are meant.")
    return tuple(("File", sentence) for sentence in said)


def scanner_entries(geometry: Geometry, voxels: Voxels, mirrored: bool = False) -> tuple[tuple[str, str], ...]:
    """Its beam, arc, detector, field of view and voxels, in sentences by label.

    Args:
        geometry: of the detector's pixels as recorded.
        voxels: that it is reconstructed on.
        mirrored: whether the stored columns run against +u, which columns are counted by.
    """
    entries = [("Scanner", _beam(geometry))]
    if not isinstance(geometry, Orbit):
        entries += [("Angles", _arc(geometry)), ("Detector", _detector(geometry, mirrored))]
    if voxels.grid is not None:
        entries += [("Field of view", _seen(geometry, voxels.grid)), ("Voxels", _voxels(voxels))]
        entries.append(("Memory", _memory(geometry, voxels)))
    return tuple(entries)


def scanner_facts(geometry: Geometry, voxels: Voxels) -> dict[str, Any]:
    """The same for programs; lengths in mm, angles in degrees."""
    facts: dict[str, Any] = {
        "beam": _KINDS[type(geometry).__name__],
        "views": geometry.views,
        "detector": list(geometry.detector),
    }
    if not isinstance(geometry, Orbit):
        arc = measured_arc(geometry.angles)
        facts |= {
            "pixel_mm": list(geometry.pixel),
            "offset_mm": list(geometry.offset),
            "rotation_axis_column": axis_column(geometry),
            "first_angle_deg": math.degrees(geometry.angles[0]),
            "step_deg": math.degrees(_step(geometry)),
            "arc_deg": math.degrees(arc.length),
        }
        if not isinstance(geometry, ParallelBeam):
            facts |= {
                "source_axis_mm": geometry.source_axis,
                "source_detector_mm": geometry.source_detector,
                "magnification": geometry.magnification,
                "fan_angle_deg": math.degrees(_fan(geometry)),
            }
    if voxels.grid is not None:
        grid = voxels.grid
        facts["grid"] = {
            "shape": list(grid.shape),
            "spacing_mm": list(grid.spacing),
            "centre_mm": list(grid.centre),
            "bytes": 4 * math.prod(grid.shape),
        }
        facts["binning"] = list(voxels.binning)
    return facts


_KINDS = {"ConeBeam": "cone", "FanBeam": "fan", "ParallelBeam": "parallel", "Orbit": "orbit"}


def _beam(geometry: Geometry) -> str:
    views = f"{geometry.views} view{'' if geometry.views == 1 else 's'}"
    if isinstance(geometry, Orbit):
        if not geometry.divergent:
            return f"Parallel rays on a free orbit of {views}: every view says for itself where it stands."
        away = np.linalg.norm(np.array(geometry.source), axis=1)
        return (
            f"A point source on a free orbit of {views}, each of which says where its source and detector stand; "
            f"the source is {away.min():.4g} to {away.max():.4g} mm from the origin."
        )
    if isinstance(geometry, ParallelBeam):
        return f"Parallel beam, {views}."
    kind = "Cone" if isinstance(geometry, ConeBeam) else "Fan"
    return (
        f"{kind} beam, {views}. The source is {number(geometry.source_axis)} mm from the axis of rotation and "
        f"{number(geometry.source_detector)} mm from the detector, which magnifies {geometry.magnification:.4g} times."
    )


def _step(geometry: Any) -> float:
    """The usual angle from one view to the next in the order of the file, rad; below 0 clockwise."""
    steps = np.diff(np.array(geometry.angles, dtype=np.float64))
    turned = sorted(float(step) for step in (steps + math.pi) % (2 * math.pi) - math.pi)
    return turned[len(turned) // 2] if turned else 0.0


def _fan(geometry: Any) -> float:
    """The angle that the detector spans in the plane, rad."""
    u, du = geometry.u(), geometry.pixel[1]
    ends = np.arctan((np.array((u[0] - du / 2, u[-1] + du / 2))) / geometry.source_detector)
    return float(ends[1] - ends[0])


def _arc(geometry: Any) -> str:
    if geometry.views == 1:
        return f"One view, at {math.degrees(geometry.angles[0]):.4g} degrees."
    arc, step = measured_arc(geometry.angles), _step(geometry)
    steps = sorted(set(np.diff(np.unique(np.round(np.degrees(geometry.angles), 6))).tolist()))
    # what rounding in a file leaves is even
    even = len(steps) > 0 and steps[-1] - steps[0] < 0.02 * steps[len(steps) // 2]
    length, start = math.degrees(arc.length), round(math.degrees(geometry.angles[0]), 6) + 0.0  # no -0
    sense = "counterclockwise" if step > 0 else "clockwise"
    words = (
        f"From {start:.4g} degrees on, {sense} as seen from +z, "
        f"{'in steps of' if even else 'in uneven steps of about'} {math.degrees(abs(step)):.4g} degrees: "
    )
    if arc.closed:
        return words + "a full turn."
    needed = 180.0 if isinstance(geometry, ParallelBeam) else 180 + math.degrees(2 * _half_fan(geometry))
    if isinstance(geometry, ParallelBeam) and length >= 179:
        return words + f"{length:.4g} degrees, and half a turn is all that is needed."
    if length >= needed - 1:
        return words + f"a short scan of {length:.4g} degrees, of which {needed:.4g} are needed."
    if length >= 179:
        return (
            words + f"{length:.4g} degrees, where half a turn and the fan's angle are {needed:.4g}: towards the edge, "
            "some directions are missing."
        )
    return words + f"{length:.4g} degrees, a limited angle: {needed:.4g} would be needed."


def _half_fan(geometry: Any) -> float:
    """The angle from the central ray to the farther edge of the detector, rad."""
    widest = float(np.abs(geometry.u()).max()) + geometry.pixel[1] / 2
    return math.atan(widest / geometry.source_detector)


def _detector(geometry: Any, mirrored: bool) -> str:
    rows, columns = geometry.detector
    height, width = rows * geometry.pixel[0], columns * geometry.pixel[1]
    axis = columns - 1 - axis_column(geometry) if mirrored else axis_column(geometry)
    words = (
        f"{rows} x {columns} pixels (rows x columns) of {by(geometry.pixel)} mm, {height:.4g} mm high, {width:.4g} mm "
        f"wide. The axis of rotation falls on column {axis:.2f} of 0..{columns - 1}"
    )
    v, u = geometry.offset
    if abs(u) > _ASIDE * width / 2:
        half = "" if isinstance(geometry, ParallelBeam) else " (half fan)"
        full = measured_arc(geometry.angles).closed
        gain = (
            ", which over a full turn widens the field of view"
            if full and not isinstance(geometry, ParallelBeam)
            else ""
        )
        words += f": the detector is moved aside by {number(abs(u))} mm{half}{gain}"
    elif u:
        words += f", an offset of {number(u)} mm"
    return words + (f"; it is moved by {number(v)} mm along the axis." if v else ".")


def _seen(geometry: Geometry, grid: Grid) -> str:
    z, y, x = grid.size
    low, high = grid.centre[0] - z / 2, grid.centre[0] + z / 2
    what = "The voxels span" if isinstance(geometry, Orbit) else "A circle of"
    return f"{what} {number(max(y, x))} mm across, {number(z)} mm high (z {low:.4g} to {high:.4g} mm)."


def _voxels(voxels: Voxels) -> str:
    grid = voxels.grid
    assert grid is not None
    words = f"{by(grid.shape)} (z, y, x) of {by(grid.spacing)} mm would be reconstructed"
    if voxels.binning != (1, 1):
        words += f", from blocks of {by(voxels.binning)} pixels (rows x columns)"
    return words + "; --size and --spacing say otherwise."


def _memory(geometry: Geometry, voxels: Voxels) -> str:
    assert voxels.grid is not None
    rows, columns = (n // block for n, block in zip(geometry.detector, voxels.binning, strict=True))
    volume, lines = 4 * math.prod(voxels.grid.shape), 4 * geometry.views * rows * columns
    return (
        f"One volume takes {_bytes(volume)}, all line integrals {_bytes(lines)}; a method holds several of each at a "
        "time."
    )


def _bytes(count: int) -> str:
    return f"{count / _GIB:.2g} GiB" if count >= 0.1 * _GIB else f"{count / 2**20:.2g} MiB"


def shortest_geometry(recording: Recording) -> str:
    """The JSON that is missing, with what is known filled in and "?" for what is not."""
    values: dict[str, Any] = {"type": "cone"}
    if recording.angles is None:
        values["angles_deg"] = {"start": 0, "arc": 360}
    if recording.pixel is None:
        values["pixel_mm"] = ["?", "?"]
    values |= {"source_axis_mm": "?", "source_detector_mm": "?", "rotation": "counterclockwise"}
    return json.dumps(values)
