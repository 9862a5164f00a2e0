"""A scanner whose every view stands where it likes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coslice.errors import CosliceError
from coslice.geometry.voxels import floats

__all__ = ["Orbit"]


@dataclass(frozen=True)
class Orbit:
    """A free orbit: every view says where its source and its detector are.

    Attributes:
        source: per view (x, y, z) of the source in mm; the rays' direction when not `divergent`.
        centre: per view (x, y, z) of the detector's centre in mm.
        row_step, column_step: per view, the step (x, y, z) in mm from a pixel to the next row, column.
        detector: (rows, columns).
        divergent: whether rays start at a point; else they are parallel to `source`.
    """

    source: tuple[tuple[float, float, float], ...]
    centre: tuple[tuple[float, float, float], ...]
    row_step: tuple[tuple[float, float, float], ...]
    column_step: tuple[tuple[float, float, float], ...]
    detector: tuple[int, int]
    divergent: bool = True

    def __post_init__(self) -> None:
        counts = {len(self.source), len(self.centre), len(self.row_step), len(self.column_step)}
        if len(counts) != 1 or 0 in counts:
            raise CosliceError(
                f"Orbit: {len(self.source)} sources, {len(self.centre)} centres, {len(self.row_step)} row steps and "
                f"{len(self.column_step)} column steps were given; one of each per view, 1 view or more, is needed."
            )
        if len(self.detector) != 2 or min(self.detector) < 1:
            raise CosliceError(f"Orbit: a detector of {self.detector} was given, positive (rows, columns) are needed.")
        object.__setattr__(self, "detector", tuple(int(n) for n in self.detector))
        for field in ("source", "centre", "row_step", "column_step"):
            object.__setattr__(self, field, tuple(floats(vector) for vector in getattr(self, field)))

    @property
    def views(self) -> int:
        return len(self.source)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the projections: (views, rows, columns)."""
        return (self.views, *self.detector)

    def to_orbit(self) -> Orbit:
        return self

    def rays(self, view: int) -> tuple[np.ndarray, np.ndarray]:
        """Points the rays of a view start at or pass, in mm, and their directions, both (rows, columns, 3)."""
        rows, columns = self.detector
        j = (np.arange(rows) - (rows - 1) / 2)[:, None, None]
        i = (np.arange(columns) - (columns - 1) / 2)[:, None]
        source, centre, row, column = (
            np.array(vectors[view]) for vectors in (self.source, self.centre, self.row_step, self.column_step)
        )
        pixels = centre + j * row + i * column
        if not self.divergent:
            return pixels, np.broadcast_to(source, pixels.shape)
        return np.broadcast_to(source, pixels.shape), pixels - source
