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

from coslice.errors import CosliceError
from coslice.metrics import PLANES

__all__ = ["Metric", "metric_called"]

_IMAGES = {"psnr": ("PSNR", +1, 2), "ssim": ("SSIM", +1, 3), "lpips": ("LPIPS", -1, 3)}  # title, better, decimals
_VOLUMES = {
    "sdiff": ("SDiff", 0, 4),
    "sdiff_truth": ("SDiff of truth", 0, 4),
    "sdiff_delta": ("Δ", 0, 4),
    "sdiff_gap": ("|Δ|", -1, 4),
    "seconds": ("seconds", 0, 0),
}


@dataclass(frozen=True)
class Metric:
    """A column of a table.

    Attributes:
        name: "axial.psnr".
        plane: "axial", "coronal", "sagittal", or "" for a number of the whole volume.
        title: without the plane: "PSNR".
        better: +1 where more is better, -1 where less is, 0 where neither.
        decimals: to print.
    """

    name: str
    plane: str
    title: str
    better: int
    decimals: int

    @property
    def arrow(self) -> str:
        """Which way is better: "↑", "↓" or ""."""
        return {1: "↑", -1: "↓", 0: ""}[self.better]

    def of(self, record: Mapping[str, Any]) -> float | None:
        """The value in the record of a cell (`coslice.benchmark.store`); None where it could not be measured."""
        if not self.plane:
            return record["seconds"] if self.name == "seconds" else record["metrics"][self.name]
        _, key, *deviation = self.name.split(".")
        if not deviation:
            return record["metrics"][self.plane][key]
        values = record["curves"][self.plane][key]
        return statistics.pstdev(values) if values else None

    def text(self, value: float) -> str:
        """A value as tables print it."""
        return f"{value:.{self.decimals}f}"


def metric_called(name: str) -> Metric:
    """The metric of a name.

    Raises:
        CosliceError: another name.
    """
    if name in _VOLUMES:
        title, better, decimals = _VOLUMES[name]
        return Metric(name, "", title, better, decimals)
    plane, _, rest = name.partition(".")
    key, _, deviation = rest.partition(".")
    if plane in PLANES and key in _IMAGES and rest in (key, f"{key}.std"):
        title, better, decimals = _IMAGES[key]
        return Metric(name, plane, f"{title} std" if deviation else title, 0 if deviation else better, decimals)
    planes = " or ".join(f"{plane}.psnr" for plane in PLANES)
    raise CosliceError(
        f'metric: "{name}" was given, but metrics are like {planes} (also ssim, lpips, and .std behind it), '
        f"or {', '.join(_VOLUMES)}."
    )
