"""What the user says of measured projections, where their files do not."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from coslice.acquisition.scale import HounsfieldScale
from coslice.errors import CosliceError
from coslice.problems.measured_grid import GridChoice

__all__ = ["DetectorChoice", "Stated", "stated_settings"]

MOST_MEDIAN = 31
"""Pixels along a side of the square that a median is taken of: more takes minutes and leaves nothing."""


@dataclass(frozen=True)
class DetectorChoice:
    """Which pixels are used; None leaves it to the voxels.

    Attributes:
        rows, columns: first and last (not included), as stored; None in either place is the end.
        binning: (rows, columns) of pixels to one.
        median: side of the square of pixels whose median every pixel becomes, in each view, before the logarithm; 1 is
            none. It takes away noise and hits, and details smaller than half of it.

    Raises:
        CosliceError: a median of an even number of pixels, of less than 1 or of more than `MOST_MEDIAN`.
    """

    rows: tuple[int | None, int | None] | None = None
    columns: tuple[int | None, int | None] | None = None
    binning: tuple[int, int] | None = None
    median: int = 1

    def __post_init__(self) -> None:
        # About a pixel there is no middle of an even number, and the image would move by half a pixel.
        if not (1 <= self.median <= MOST_MEDIAN and self.median % 2):
            raise CosliceError(
                f"median: {self.median} was given, an odd number of pixels from 1 to {MOST_MEDIAN} is needed."
            )


@dataclass(frozen=True)
class Stated:
    """What the user states of a recording; None leaves it to the file, or to what is found.

    Attributes:
        values: "counts", "transmission" or "lines".
        white: counts of the open beam, where there are no flat fields.
        photons: of the open beam per pixel and view, for the noise.
        views: how many of the views to use, spread evenly.
        detector: which of its pixels, and how they are put together.
        axis: the column of the rotation axis, 0 the centre of the first column stored; "find" looks for it.
        water: attenuation of water, 1/mm; "find" looks for its peak in a first reconstruction.
        air: attenuation of air, 1/mm.
        window: (low, high): what the prior sees as 0 and 1, in HU with water, else in 1/mm.
        grid: which voxels.
        slices: first and last (not included) of them along z, counted from the lowest; None in either place is the end.
        axisymmetric: the one view stands for every view.
        repair: whether dead and stuck pixels are looked for.

    Raises:
        CosliceError: a white level or photons that are not above 0, or water that does not attenuate more than air.
    """

    values: str | None = None
    white: float | None = None
    photons: float | None = None
    views: int | None = None
    detector: DetectorChoice = field(default_factory=DetectorChoice)
    axis: float | Literal["find"] | None = None
    water: float | Literal["find"] | None = None
    air: float = 0.0
    window: tuple[float, float] | None = None
    grid: GridChoice = field(default_factory=GridChoice)
    slices: tuple[int | None, int | None] | None = None
    axisymmetric: bool = False
    repair: bool = True

    def __post_init__(self) -> None:
        for name in ("white", "photons"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise CosliceError(f"{name}: {value:g} was given, a positive number is needed.")
        if isinstance(self.water, float | int):
            HounsfieldScale(self.water, self.air)


def stated_settings(stated: Stated | DetectorChoice | GridChoice) -> dict[str, Any]:
    """What was stated, by name, without what was left out: for the record of a run."""
    given: dict[str, Any] = {}
    for item in fields(stated):
        value = getattr(stated, item.name)
        if isinstance(value, DetectorChoice | GridChoice):
            given |= stated_settings(value)
        elif value != item.default:
            given[item.name] = [*value] if isinstance(value, tuple) else value
    return given
