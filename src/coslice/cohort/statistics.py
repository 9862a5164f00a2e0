"""The numbers of the scans of a cohort, and what they are together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from coslice.axes import PLANES
from coslice.metrics import PER_PLANE, QUANTITIES, Quantity

__all__ = ["Statistic", "flat_numbers", "quantity_of", "statistics_of"]

_RECONSTRUCTION = "reconstruction"
_OF_VOLUME = ("sdiff", "sdiff_gap")


@dataclass(frozen=True)
class Statistic:
    """One number of all scans that have it.

    Attributes:
        metric: its name, as in the table: "axial.psnr".
        count: of the scans.
        mean, median: over the scans.
        deviation: the standard deviation, of a sample; None of one scan.
        worst: the worst value; the largest of a number of which neither more nor less is better.
        worst_scan: the name of the scan that has it.
    """

    metric: str
    count: int
    mean: float
    deviation: float | None
    median: float
    worst: float
    worst_scan: str

    @property
    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def flat_numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a scan by name: "axial.psnr", "sdiff"; those of methods beside it as "sirt.axial.psnr".

    Args:
        metrics: by file stem, as metrics.json has them. The first reconstruction, "initial", is a method too.
    """
    numbers: dict[str, float] = {}
    for stem in sorted(metrics, key=lambda stem: stem != _RECONSTRUCTION):
        values, before = metrics[stem], "" if stem == _RECONSTRUCTION else f"{stem}."
        if not isinstance(values, Mapping):
            continue
        for plane in PLANES:
            row = values.get(plane)
            for quantity in PER_PLANE:
                _add(
                    numbers,
                    f"{before}{plane}.{quantity.name}",
                    row.get(quantity.name) if isinstance(row, Mapping) else None,
                )
        for name in _OF_VOLUME:
            _add(numbers, f"{before}{name}", values.get(name))
    return numbers


def statistics_of(numbers: Mapping[str, Mapping[str, float]]) -> list[Statistic]:
    """Mean, deviation, median and the worst of every number, in the order of the first scan that has it.

    Args:
        numbers: by the scan's name, as `flat_numbers` gives them.
    """
    found: list[Statistic] = []
    for metric in dict.fromkeys(metric for row in numbers.values() for metric in row):
        values = {scan: row[metric] for scan, row in numbers.items() if metric in row}
        worst = (min if quantity_of(metric).better > 0 else max)(values, key=lambda scan: values[scan])
        listed = list(values.values())
        found.append(
            Statistic(
                metric,
                len(listed),
                math.fsum(listed) / len(listed),
                statistics.stdev(listed) if len(listed) > 1 else None,
                statistics.median(listed),
                values[worst],
                worst,
            )
        )
    return found


def quantity_of(metric: str) -> Quantity:
    """What a number of the table measures."""
    return QUANTITIES[metric.rpartition(".")[2]]


def _add(numbers: dict[str, float], name: str, value: Any) -> None:
    if isinstance(value, int | float) and math.isfinite(value):
        numbers[name] = float(value)
