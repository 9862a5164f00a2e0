"""The numbers a table can show of a reconstruction, by name.

axial.psnr                        the mean over the slices of a plane; likewise ssim, lpips, coronal, sagittal
axial.psnr.std                    their standard deviation over the slices
sdiff, sdiff_truth                mean absolute difference of neighbouring slices, of the reconstruction and the truth
sdiff_delta, sdiff_gap            sdiff - sdiff_truth, and its absolute value
seconds                           that the reconstruction took
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coslice.axes import PLANES
from coslice.errors import CosliceError
from coslice.metrics import PER_PLANE, PER_VOLUME, QUANTITIES, Quantity

__all__ = ["Metric", "metric_called"]


@dataclass(frozen=True)
class Metric:
    """A column of a table.

    Attributes:
        name: "axial.psnr".
        quantity: what is measured, with how it is printed.
        plane: "axial", "coronal", "sagittal", or "" for a number of the whole volume.
        deviation: whether it is the standard deviation over the slices of the plane, not their mean.
    """

    name: str
    quantity: Quantity
    plane: str = ""
    deviation: bool = False

    @property
    def title(self) -> str:
        """Without the plane: "PSNR", "PSNR std"."""
        return f"{self.quantity.title} std" if self.deviation else self.quantity.title

    @property
    def label(self) -> str:
        """With the plane and the unit, for an axis: "axial PSNR (dB)"."""
        return f"{self.plane} {self.title if self.deviation else self.quantity.label}".strip()

    @property
    def better(self) -> int:
        """+1 where more is better, -1 where less is, 0 where neither, as of a deviation."""
        return 0 if self.deviation else self.quantity.better

    @property
    def arrow(self) -> str:
        """Which way is better: "↑", "↓" or ""."""
        return "" if self.deviation else self.quantity.arrow

    def of(self, record: Mapping[str, Any]) -> float | None:
        """The value in the record of a cell (`coslice.benchmark.store`); None where it could not be measured."""
        name = self.quantity.name
        if not self.plane:
            return record["seconds"] if name == "seconds" else record["metrics"][name]
        if not self.deviation:
            return record["metrics"][self.plane][name]
        values = record["curves"][self.plane][name]
        return statistics.pstdev(values) if values else None

    def text(self, value: float) -> str:
        """A value as tables print it."""
        return self.quantity.text(value)


def metric_called(name: str) -> Metric:
    """The metric of a name.

    Raises:
        CosliceError: another name.
    """
    if name in {quantity.name for quantity in PER_VOLUME}:
        return Metric(name, QUANTITIES[name])
    plane, _, rest = name.partition(".")
    key, _, deviation = rest.partition(".")
    images = [quantity.name for quantity in PER_PLANE]
    if plane in PLANES and key in images and rest in (key, f"{key}.std"):
        return Metric(name, QUANTITIES[key], plane, deviation=bool(deviation))
    planes = " or ".join(f"{plane}.{images[0]}" for plane in PLANES)
    volumes = ", ".join(quantity.name for quantity in PER_VOLUME)
    raise CosliceError(
        f'metric: "{name}" was given, but metrics are like {planes} (also {", ".join(images[1:])}, and .std behind '
        f"it), or {volumes}."
    )
