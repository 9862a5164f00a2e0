"""The numbers a table can show of a reconstruction, by name.

axial.psnr                        the mean over the slices of a plane; likewise ssim, lpips, coronal, sagittal
axial.psnr.std                    their standard deviation over the slices
sdiff, sdiff_truth                mean absolute difference of neighbouring slices, of the reconstruction and the truth
sdiff_delta, sdiff_gap            sdiff - sdiff_truth, and its absolute value
seconds                           that the reconstruction took
lesion.recovery                   of the lesions of a group, see `LESION_QUANTITIES`; of all of them
lesion.lung.recovery              of those in lung; likewise lesion.soft
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coslice.axes import PLANES
from coslice.errors import CosliceError
from coslice.metrics import PER_PLANE, PER_VOLUME, QUANTITIES, Quantity

__all__ = ["LESION_QUANTITIES", "LesionMetric", "Metric", "metric_called"]

LESION_QUANTITIES = {
    quantity.name: quantity
    for quantity in (
        Quantity("recovery", "recovery", 0, 2),
        Quantity("recovery_least", "least recovery", 0, 2),
        Quantity("contrast", "contrast", 0, 0),
        Quantity("contrast_truth", "contrast of truth", 0, 0),
        Quantity("noise", "noise", -1, 0),
        Quantity("cnr", "CNR", +1, 1),
        Quantity("offset", "offset", -1, 2, "mm"),
        Quantity("width_z", "width z", 0, 2),
        Quantity("width_plane", "width in plane", 0, 2),
        Quantity("detectability", "least d′", +1, 1),
        Quantity("invented", "invented", -1, 0),
        Quantity("bias", "bias", 0, 0),
        Quantity("rmse", "RMSE", -1, 0),
    )
}
"""What is measured of lesions, by name, see docs/lesions.md; contrasts, noise, bias and RMSE are in the scan's unit. A
region has no noise, least recovery, offset, width, d' and nothing invented, inserted lesions no bias and RMSE."""

_PARTS = ("lung", "soft")


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


@dataclass(frozen=True)
class LesionMetric(Metric):
    """A number of the lesions of a group.

    Attributes:
        part: "all", or the tissue they are in: "lung", "soft".
    """

    part: str = "all"

    def of(self, record: Mapping[str, Any]) -> float | None:
        """The value in a record that has been completed by `coslice.benchmark.lesion_numbers`; None without one."""
        return record.get("lesions", {}).get(self.part, {}).get(self.quantity.name)


def metric_called(name: str) -> Metric:
    """The metric of a name.

    Raises:
        CosliceError: another name.
    """
    if name in {quantity.name for quantity in PER_VOLUME}:
        return Metric(name, QUANTITIES[name])
    plane, _, rest = name.partition(".")
    if plane == "lesion":
        part, _, key = rest.rpartition(".")
        if key in LESION_QUANTITIES and part in ("", *_PARTS) and rest in (key, f"{part}.{key}"):
            return LesionMetric(name, LESION_QUANTITIES[key], part or "lesions", part=part or "all")
        raise CosliceError(
            f'metric: "{name}" was given, but metrics of lesions are lesion.NAME, or lesion.lung.NAME and '
            f"lesion.soft.NAME for those in one tissue, NAME one of {', '.join(LESION_QUANTITIES)}."
        )
    key, _, deviation = rest.partition(".")
    images = [quantity.name for quantity in PER_PLANE]
    if plane in PLANES and key in images and rest in (key, f"{key}.std"):
        return Metric(name, QUANTITIES[key], plane, deviation=bool(deviation))
    planes = " or ".join(f"{plane}.{images[0]}" for plane in PLANES)
    volumes = ", ".join(quantity.name for quantity in PER_VOLUME)
    raise CosliceError(
        f'metric: "{name}" was given, but metrics are like {planes} (also {", ".join(images[1:])}, and .std behind '
        f"it), {volumes}, or lesion.recovery and others of lesions."
    )
