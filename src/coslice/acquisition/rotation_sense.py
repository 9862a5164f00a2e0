"""Which way round the scanner turned, asked of the measurement.

With the sense reversed, a diverging beam meets the object from the wrong side, and no volume fits the views. So a
coarse reconstruction of the central rows by a few conjugate gradients (`coslice.classical.cgls`) is made both ways,
and the one that leaves less of the measurement is right. Mirrored columns look the same as a reversed sense, and both
together cannot be told from neither: the volume is then a mirror image. Of parallel beams that is so at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from coslice.classical import cgls
from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, FanBeam, Geometry, Grid, Orbit, ParallelBeam
from coslice.operators import Projector

__all__ = ["RotationSense", "rotation_sense"]

_SIDE = 40
_VIEWS = 24
_ITERATIONS = 10
_CLEAR = 1.2
"""How many times less the better sense must leave."""


@dataclass(frozen=True)
class RotationSense:
    """What each sense leaves of the measurement, |A x - y| / |y|.

    Attributes:
        given: with the angles as they are; NaN where it cannot be told.
        reversed: with the angles negated.
        told: whether the two differ enough to say.
        note: in a full sentence.
    """

    given: float
    reversed: float
    told: bool
    note: str

    @property
    def wrong(self) -> bool:
        """Whether the reversed sense fits clearly better."""
        return self.told and self.reversed < self.given


def rotation_sense(lines: np.ndarray, geometry: Geometry) -> RotationSense:
    """Compare both senses.

    Args:
        lines: line integrals, (views, rows, columns).
        geometry: the scanner, with the axis where it is.

    Raises:
        CosliceError: line integrals of another shape.
    """
    if tuple(lines.shape) != tuple(geometry.shape):
        raise CosliceError(
            f"sense: line integrals of shape {tuple(lines.shape)} were given, the geometry has {geometry.shape} "
            "(views, rows, columns)."
        )
    if isinstance(geometry, Orbit):
        return _untold("A free orbit has no sense to reverse: its geometry says where every view is.")
    if isinstance(geometry, ParallelBeam):
        return _untold(
            "Of parallel beams the sense of rotation cannot be told: were it the other way round, the volume would "
            "only come out as its mirror image."
        )
    views, fan = _coarse(lines, geometry)
    if geometry.views < 4 or not float(views.abs().sum()) > 0:
        return _untold("There are too few views, or nothing in them, to tell the sense of rotation.")
    given, turned = (
        _left(views, turned) for turned in (fan, replace(fan, angles=tuple(-angle for angle in fan.angles)))
    )
    ratio = max(given, turned) / max(min(given, turned), 1e-12)
    told = ratio >= _CLEAR
    if not told:
        note = (
            f"The sense of rotation cannot be told from these views: reversed, a coarse reconstruction leaves "
            f"{turned:.1%} of them, as given {given:.1%}."
        )
    elif turned < given:
        note = (
            f"The scanner seems to turn the other way: with the angles reversed, a coarse reconstruction leaves "
            f"{turned:.1%} of the views, as given {given:.1%}, {ratio:.1f} times as much; reverse the angles, or the "
            "columns if they are stored mirrored."
        )
    else:
        note = f"The sense of rotation fits: reversed, a coarse reconstruction leaves {ratio:.1f} times as much."
    return RotationSense(given, turned, told, note)


def _untold(note: str) -> RotationSense:
    return RotationSense(math.nan, math.nan, False, note)


def _coarse(lines: np.ndarray, geometry: ConeBeam | FanBeam) -> tuple[torch.Tensor, FanBeam]:
    """The central rows as one fan of few views and columns."""
    v = np.abs(geometry.v())
    reach = 0.01 * geometry.source_detector if isinstance(geometry, ConeBeam) else math.inf
    rows = np.flatnonzero(v <= max(reach, v.min()))
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, 8).round().astype(int))]
    if isinstance(geometry, FanBeam):
        rows = rows[len(rows) // 2 :][:1]  # each is a slice of its own
    views = np.unique(np.linspace(0, geometry.views - 1, _VIEWS).round().astype(int))
    columns = geometry.detector[1]
    block = max(1, math.ceil(columns / (1.5 * _SIDE)))
    kept = columns // block
    some = np.stack([lines[view][rows, : kept * block].mean(0, dtype=np.float64) for view in views])
    some = np.nan_to_num(some).reshape(len(views), kept, block).mean(2)
    u = geometry.u()[: kept * block].mean()
    fan = FanBeam(
        angles=tuple(geometry.angles[view] for view in views),
        detector=(1, kept),
        pixel=(1.0, geometry.pixel[1] * block),
        offset=(0.0, float(u)),
        source_axis=geometry.source_axis,
        axis_detector=geometry.axis_detector,
    )
    return torch.from_numpy(some).float()[:, None], fan


def _left(views: torch.Tensor, fan: FanBeam) -> float:
    widest = float(np.abs(fan.u()).max()) + fan.pixel[1] / 2
    radius = fan.source_axis * math.sin(math.atan(widest / fan.source_detector))
    radius = min(radius, 0.65 * fan.source_axis)
    pitch = 2 * radius / _SIDE
    operator = Projector(fan, Grid((1, _SIDE, _SIDE), (1.0, pitch, pitch)))
    found = cgls(operator, views, _ITERATIONS)
    return float((operator.forward(found) - views).norm() / views.norm())
