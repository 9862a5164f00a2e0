"""What looks wrong with a measurement and its geometry, before anything is reconstructed from them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from coslice.acquisition.defects import noise_along_rows
from coslice.acquisition.field_of_view import field_of_view
from coslice.acquisition.rotation_axis import RotationAxis, axis_column, found_axis, with_axis
from coslice.acquisition.rotation_sense import rotation_sense
from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, FanBeam, Geometry, Grid, Orbit, ParallelBeam

__all__ = ["Doubt", "doubts"]

_SAMPLE = 64  # views, and rows, that are looked at
_TURN = 2 * math.pi
_NARROW, _WIDE = 0.2, 100.0
"""Degrees that a beam opens by: below it is as good as parallel, above no tube shines."""
_FAINT = 0.01
"""Line integrals of less are 1 % of the beam, as of a sheet of paper."""


@dataclass(frozen=True)
class Doubt:
    """One thing that may be wrong.

    Attributes:
        sentence: what, how much of it, and what to do.
        severity: "note" is good to know, "warning" costs quality, "grave" means that what comes out is likely wrong.
    """

    sentence: str
    severity: Literal["note", "warning", "grave"]


def doubts(
    lines: np.ndarray,
    geometry: Geometry,
    grid: Grid | None = None,
    axis: RotationAxis | None = None,
) -> tuple[Doubt, ...]:
    """Everything that looks wrong, the gravest first.

    Args:
        lines: line integrals, (views, rows, columns).
        geometry: the scanner, as it is meant to be used.
        grid: the voxels meant to be reconstructed; None leaves out whether they are seen.
        axis: where the axis was found, where that is known already.

    Raises:
        CosliceError: line integrals of another shape than the geometry has.
    """
    if tuple(lines.shape) != tuple(geometry.shape):
        raise CosliceError(
            f"doubts: line integrals of shape {tuple(lines.shape)} were given, the geometry has {geometry.shape} "
            "(views, rows, columns)."
        )
    found = []
    if not isinstance(geometry, Orbit):
        found += _of_angles(np.asarray(geometry.angles))
    edges = _Edges(lines)
    found += _of_copies(lines)
    found += _of_distances(geometry)
    if edges.largest == 0:
        found.append(Doubt("No view shows anything: all line integrals are 0.", "grave"))
    else:
        found += [*_of_values(edges), *_of_truncation(edges, geometry)]
        # What depends on the angles is not worth asking while they are likely wrong.
        if not any(doubt.severity == "grave" for doubt in found):
            said, true = _of_axis(lines, geometry, axis)
            found += [*said, *_of_sense(lines, true)]
    if grid is not None:
        found += _of_coverage(geometry, grid)
    order = ("grave", "warning", "note")
    return tuple(sorted(found, key=lambda doubt: order.index(doubt.severity)))


def _of_angles(angles: np.ndarray) -> Iterator[Doubt]:
    if len(angles) < 2:
        return
    span = float(np.ptp(angles))
    if span > 2 * _TURN + 0.01:
        guess = f"; degrees read as radians would span {span:.4g} degrees" if span <= 1081 else ""
        yield Doubt(
            f"The angles span {span / _TURN:.1f} turns{guess}: check their unit.",
            "grave",
        )
        return
    if span < 0.2:
        yield Doubt(
            f"The angles span only {math.degrees(span):.2g} degrees: check their unit, they may have been converted to "
            "radians twice.",
            "grave",
        )
        return
    step = float(np.median(np.diff(np.sort(angles))))
    turned = np.sort(angles % _TURN)
    gaps = np.diff(turned, append=turned[0] + _TURN)
    doubled = int((gaps < 1e-6).sum())
    if doubled and abs(span - _TURN) < 1e-6:
        yield Doubt(
            "The last view is at the same angle as the first, a full turn on: it counts double; leave it out, or check "
            "whether the angles were meant to end a step before.",
            "note",
        )
        doubled -= 1
    if doubled > 0:
        yield Doubt(
            f"{doubled} of {len(angles)} views are at an angle that another has too: they count double.", "note"
        )
    if step > 0 and span + step < math.pi - 0.5 * step:
        yield Doubt(
            f"The views cover {math.degrees(span + step):.0f} degrees, less than half a turn: edges along the missing "
            "directions cannot be seen.",
            "warning",
        )


def _of_copies(lines: np.ndarray) -> Iterator[Doubt]:
    """Views whose every value is that of another one, which no detector with noise measures twice."""
    if lines.strides[0] == 0:  # one view that stands for all, as was said
        return
    shown = [hashlib.blake2b(view.tobytes(), digest_size=16).digest() for view in map(np.asarray, lines) if view.any()]
    copies = len(shown) - len(set(shown))
    if copies:
        yield Doubt(
            f"{copies} of {len(lines)} views are copies of others, value by value: was the recording put together "
            "twice, or are its angles those of another one?",
            "warning",
        )


def _of_distances(geometry: Geometry) -> Iterator[Doubt]:
    """Fans so narrow that they are none, where a length is in another unit than the others."""
    if isinstance(geometry, ParallelBeam | Orbit) or geometry.detector[1] < 8:
        return
    fan = math.degrees(2 * math.atan(geometry.detector[1] * geometry.pixel[1] / 2 / geometry.source_detector))
    if fan < _NARROW or fan > _WIDE:
        yield Doubt(
            f"The beam opens by {fan:.2g} degrees to the columns of the detector, which are {geometry.pixel[1]:.3g} mm "
            f"wide at {geometry.source_detector:.4g} mm from the source: check that all lengths are in mm.",
            "warning",
        )


class _Edges:
    """The values at the edges of a sample of views.

    Attributes:
        top: the 99 % point of all values.
        floor: what noise does to the mean of an edge, in a row.
        left, right, lower, upper: median at the edge, one of each view.
        base: of the two sides the lower one, median over the views.
        steady: whether both edges show something, and the same in all views.
        middle: median of the middle third of the columns.
    """

    def __init__(self, lines: np.ndarray) -> None:
        views = np.unique(np.linspace(0, len(lines) - 1, _SAMPLE).round().astype(int))
        rows = np.unique(np.linspace(0, lines.shape[1] - 1, _SAMPLE).round().astype(int))
        some = np.nan_to_num(np.stack([np.asarray(lines[view])[rows] for view in views])).astype(np.float64)
        columns = some.shape[2]
        wide = max(1, columns // 50)
        self.some, self.columns = some, columns
        self.low, self.top = (float(value) for value in np.percentile(some, (1, 99)))
        self.largest = max(abs(self.low), abs(self.top))
        self.floor = 1.5 * noise_along_rows(some) / math.sqrt(wide)
        # the row that shows most, lest a shoulder at one height go unseen; of means, which noise moves less
        sides = [side.mean(2) for side in (some[..., :wide], some[..., -wide:])]
        self.left, self.right = (np.percentile(side, 90, axis=1) for side in sides)
        lowest = np.minimum(*(np.median(side, axis=1) for side in sides))
        self.base = float(np.median(lowest))
        # an object that turns does not show the same at the edge in all views; a wrong open beam does
        self.steady = self.base > self.least and float(lowest.std()) < 0.25 * self.base
        self.lower, self.upper = np.median(some[:, 0], axis=1), np.median(some[:, -1], axis=1)
        self.middle = float(np.median(some[..., columns // 3 : max(columns // 3 + 1, 2 * columns // 3)]))

    @property
    def least(self) -> float:
        """What an edge must show to show more than noise and than a slightly uneven flat field."""
        return max(0.05 * self.largest, 2 * self.floor)


def _of_values(edges: _Edges) -> Iterator[Doubt]:
    if edges.top > 15:
        yield Doubt(
            f"Line integrals reach {edges.top:.3g}, but no beam is seen through more than about 12: they may be "
            "counts, or scaled by a factor.",
            "grave",
        )
    elif edges.largest < _FAINT:
        yield Doubt(
            f"Line integrals reach {edges.largest:.2g} only, so nothing takes away 1 % of the beam: they may be scaled "
            "by a factor.",
            "warning",
        )
    elif edges.base - edges.middle > 0.3 * edges.largest:
        reason = (
            "they look like transmission, of which the logarithm was not taken (--values transmission)"
            if abs(edges.base - 1) < 0.15 and edges.top < 1.3
            else "the logarithm was not taken, was taken twice, or lacks its minus sign"
        )
        yield Doubt(
            f"The edges of the views are at {edges.base:.3g} and their middle at {edges.middle:.3g}, but line "
            f"integrals are near 0 beside the object and larger within: {reason}.",
            "grave",
        )
    elif edges.base < -edges.least:
        yield Doubt(
            f"Beside the object line integrals are {edges.base:.3g} instead of 0: the beam was "
            f"{math.exp(-edges.base):.2f} times as bright as the flat field says; give the flat field of this "
            "exposure, or --white.",
            "warning",
        )
    elif edges.base > edges.least and edges.steady:
        yield Doubt(
            f"Line integrals are {edges.base:.3g} at both edges, where they should be 0: either the object reaches "
            f"both, or the beam was only {math.exp(-edges.base):.2f} times as bright as the flat field says.",
            "warning",
        )


def _of_truncation(edges: _Edges, geometry: Geometry) -> Iterator[Doubt]:
    if edges.base > edges.middle or edges.steady:
        return
    sides = [("first", edges.left > edges.least), ("last", edges.right > edges.least)]
    cut = [(name, float(side.mean())) for name, side in sides if side.mean() > 0.02]
    if len(cut) == 1:
        (name, share), shifted = cut[0], False
        if not isinstance(geometry, Orbit):
            # a detector moved aside is meant to be cut on the side nearer to the axis
            to_axis = axis_column(geometry) / max(1, edges.columns - 1)
            shifted = to_axis < 0.4 if name == "first" else to_axis > 0.6
        full = not isinstance(geometry, Orbit) and np.ptp(geometry.angles) > 1.8 * math.pi
        if shifted and full:
            yield Doubt(
                f"The object reaches the {name} column in {share:.0%} of the views, as it should where a detector is "
                "moved aside over a full turn.",
                "note",
            )
        else:
            yield Doubt(
                f"The object reaches beyond the {name} column in {share:.0%} of the views: values near the edge of the "
                "field of view will be too high.",
                "warning",
            )
    elif len(cut) == 2:
        yield Doubt(
            f"The object reaches beyond the first column in {cut[0][1]:.0%} of the views and beyond the last in "
            f"{cut[1][1]:.0%}: values will be too high towards the edge of the field of view.",
            "warning",
        )
    if isinstance(geometry, ConeBeam) and edges.some.shape[1] > 2:
        ends = [
            name
            for name, rows in (("lowest", edges.lower), ("highest", edges.upper))
            if np.percentile(rows, 90) > edges.least
        ]
        if ends:
            yield Doubt(
                f"The object reaches beyond the {' and the '.join(ends)} row: slices there are seen by some views "
                "only.",
                "note",
            )


def _of_axis(lines: np.ndarray, geometry: Geometry, axis: RotationAxis | None) -> tuple[list[Doubt], Geometry]:
    """What is doubtful about the axis, and the geometry with the axis where it seems to be."""
    if isinstance(geometry, Orbit) or geometry.views < 3 or geometry.detector[1] < 8:
        return [], geometry
    axis = found_axis(lines, geometry) if axis is None else axis
    aside = axis.column - axis_column(geometry)
    if math.isinf(axis.uncertainty):
        return [Doubt(axis.notes[0], "note")], geometry
    if abs(aside) <= max(0.5, 3 * axis.uncertainty):
        return [], geometry
    sentence = (
        f"The axis of rotation seems to be {abs(aside):.1f} columns from where the geometry has it "
        f"({abs(aside) * geometry.pixel[1]:.3g} mm on the detector), so everything comes out doubled or blurred: the "
        f"detector's offset along u should be {axis.offset:.3f} mm, which --rotation-axis find sees to."
    )
    return [Doubt(sentence, "grave" if abs(aside) > 2 else "warning")], with_axis(geometry, axis.column)


def _of_sense(lines: np.ndarray, geometry: Geometry) -> Iterator[Doubt]:
    if isinstance(geometry, Orbit):
        return
    sense = rotation_sense(lines, geometry)
    yield Doubt(sense.note, "grave" if sense.wrong else "note")
    if isinstance(geometry, ParallelBeam | FanBeam) or geometry.offset[0] == 0:
        yield Doubt(
            "Whether the rows are stored upwards or downwards cannot be told from these views: if downwards, the "
            "volume comes out mirrored along z.",
            "note",
        )


def _of_coverage(geometry: Geometry, grid: Grid) -> Iterator[Doubt]:
    view = field_of_view(geometry, grid)
    if view.unseen > 0:
        slices = f", among them {view.unseen_planes:.0%} of the slices entirely" if view.unseen_planes > 0 else ""
        severity = "grave" if view.unseen > 0.5 else "warning" if view.unseen > 0.02 else "note"
        yield Doubt(
            f"{view.unseen:.1%} of the grid's voxels are seen by no view{slices}: only the prior fills them; choose a "
            "smaller grid, or check the geometry.",
            severity,
        )
    seldom = view.below(1 / 3) - view.unseen
    if seldom > 0.05:
        yield Doubt(f"Another {seldom:.0%} of the voxels are seen by fewer than a third of the views.", "warning")
