"""What of a recording is looked at, where all of it would take long: a few views, blocks of pixels, a few slices."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from coslice.acquisition.counts import MeasuredLines, line_integrals_from
from coslice.acquisition.reduction import Reduction
from coslice.acquisition.scale import found_water
from coslice.acquisition.trust import Trust, measured_trust
from coslice.errors import CosliceError
from coslice.geometry import Orbit
from coslice.io.recordings import Recording
from coslice.problems import Stated
from coslice.problems.measured_grid import chosen_slices
from coslice.problems.projections import Taken, first_reconstruction

__all__ = ["Sample", "blocks_to_look_at", "likely_water", "sample_as_it_is"]

_AS_THEY_ARE = 12_000_000  # values that are looked at one by one
_IN_BLOCKS = 12_000_000  # likewise in blocks of pixels
_READ = 300_000_000  # that are read for those
_LEAST_VIEWS, _LEAST_COLUMNS = 48, 192
_MIDDLE = 4  # rows, and slices, of the reconstruction that water is looked for in
_SURE = 0.6
_WATER = (0.0145, 0.038)
"""Attenuation of water from 150 to 30 keV, 1/mm (Hubbell and Seltzer, NIST tables of X-ray mass attenuation)."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Some views as they are.

    Attributes:
        views: their numbers.
        measured: their line integrals.
        trust: their noise.
    """

    views: tuple[int, ...]
    measured: MeasuredLines
    trust: Trust


def sample_as_it_is(recording: Recording, stated: Stated, white: float | None) -> Sample:
    """Some views of a recording, all of a small one.

    Args:
        recording: what the detector recorded.
        stated: what the user says of it.
        white: counts of the open beam, where there are no flat fields.

    Raises:
        CosliceError: values that could be several things, or that cannot be made line integrals.
    """
    data, flat, dark = recording.data, recording.flat, recording.dark
    count = min(len(data), max(2, _AS_THEY_ARE // (data.shape[1] * data.shape[2])))
    views = tuple(np.unique(np.linspace(0, len(data) - 1, count).round().astype(int)).tolist())
    measured = line_integrals_from(
        data if count == len(data) else data[list(views)],
        flat,
        dark,
        white=white,
        values=stated.values,
        logged=recording.logged,
        repair=stated.repair,
    )
    return Sample(views, measured, measured_trust(measured, flat, dark, stated.photons))


def blocks_to_look_at(views: int, rows: int, columns: int) -> tuple[int, tuple[int, int] | None]:
    """How many views to look at, and the (rows, columns) of a block; None for pixels as they are."""
    views = min(views, max(_LEAST_VIEWS, _READ // (rows * columns)))
    block = 1
    while views * math.ceil(rows / block) * (columns // block) > _IN_BLOCKS and columns >= _LEAST_COLUMNS * (block + 1):
        block += 1
    views = min(views, max(_LEAST_VIEWS, _IN_BLOCKS // (math.ceil(rows / block) * (columns // block))))
    return views, None if block == 1 else (min(block, rows), block)


def likely_water(taken: Taken) -> float | None:
    """The attenuation of what may be water in a first reconstruction, 1/mm; None where nothing is like it."""
    if taken.geometry.views < 8 or isinstance(taken.geometry, Orbit):
        return None
    try:
        found = found_water(first_reconstruction(_middle(taken)))
    except CosliceError:
        return None
    water = found.scale.water
    return water if _WATER[0] <= water <= _WATER[1] and found.certainty >= _SURE else None


def _middle(taken: Taken) -> Taken:
    """A few rows in the middle of the detector and the slices there."""
    geometry, grid = taken.geometry, taken.grid
    assert not isinstance(geometry, Orbit)
    nearest = int(np.abs(geometry.v()).argmin())
    first = max(0, min(nearest - _MIDDLE // 2, geometry.detector[0] - _MIDDLE))
    last = min(geometry.detector[0], first + _MIDDLE)
    few = Reduction(rows=(first, last)).geometry(geometry)
    middle = int(np.abs(grid.axis("z") - float(few.v().mean())).argmin())
    low = max(0, min(middle - _MIDDLE // 2, grid.shape[0] - _MIDDLE))
    slices = chosen_slices(grid, (low, min(grid.shape[0], low + _MIDDLE)))
    return replace(taken, lines=np.asarray(taken.lines)[:, first:last], geometry=few, grid=slices)
