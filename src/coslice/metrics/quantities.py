"""The table of what is measured: how every number is called and printed, wherever it is shown.

    name           title             better     decimals    unit
    psnr           PSNR              more       2           dB       of images, one for each plane
    ssim           SSIM              more       3
    lpips          LPIPS             less       3
    sdiff          SDiff             neither    4                    of the volume
    sdiff_truth    SDiff of truth    neither    4
    sdiff_delta    Δ                 neither    4
    sdiff_gap      |Δ|               less       4
    seconds        seconds           neither    0                    of the run

The four SDiff are printed with a fifth decimal where there is room for it: on the page of a reconstruction, and in a
sentence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["PER_PLANE", "PER_STEP", "PER_VOLUME", "QUANTITIES", "Quantity", "best_of"]


@dataclass(frozen=True)
class Quantity:
    """A number that is measured of a reconstruction.

    Attributes:
        name: in records, in JSON and in recipes: "psnr".
        title: in print: "PSNR".
        better: +1 where more is better, -1 where less is, 0 where neither.
        decimals: digits after the point, in a table.
        unit: "dB", or "" for a number without a unit.
        page_decimals: digits after the point where there is room; None for as many as in a table.
    """

    name: str
    title: str
    better: int
    decimals: int
    unit: str = ""
    page_decimals: int | None = None

    @property
    def arrow(self) -> str:
        """Which way is better: "↑", "↓" or ""."""
        return {1: "↑", -1: "↓", 0: ""}[self.better]

    @property
    def label(self) -> str:
        """The title with the unit, for an axis: "PSNR (dB)"."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def text(self, value: float) -> str:
        """A value as tables print it: "31.23"."""
        return f"{value:.{self.decimals}f}"

    def page_text(self, value: float) -> str:
        """A value as it is printed where there is room."""
        return f"{value:.{self.decimals if self.page_decimals is None else self.page_decimals}f}"

    def with_unit(self, value: float) -> str:
        """A value and its unit: "31.23 dB"."""
        return f"{self.text(value)} {self.unit}".rstrip()


QUANTITIES: dict[str, Quantity] = {
    quantity.name: quantity
    for quantity in (
        Quantity("psnr", "PSNR", +1, 2, "dB"),
        Quantity("ssim", "SSIM", +1, 3),
        Quantity("lpips", "LPIPS", -1, 3),
        Quantity("sdiff", "SDiff", 0, 4, page_decimals=5),
        Quantity("sdiff_truth", "SDiff of truth", 0, 4, page_decimals=5),
        Quantity("sdiff_delta", "Δ", 0, 4, page_decimals=5),
        Quantity("sdiff_gap", "|Δ|", -1, 4, page_decimals=5),
        Quantity("seconds", "seconds", 0, 0),
    )
}
"""All of them by name."""

PER_PLANE = tuple(QUANTITIES[name] for name in ("psnr", "ssim", "lpips"))
"""Measured slice by slice in each plane."""

PER_VOLUME = tuple(QUANTITIES[name] for name in ("sdiff", "sdiff_truth", "sdiff_delta", "sdiff_gap", "seconds"))
"""Measured once, of the whole volume."""

PER_STEP = tuple(QUANTITIES[name] for name in ("psnr", "sdiff", "lpips"))
"""Measured of the estimate after each step of the sampling, by `coslice.metrics.Watcher`."""


def best_of(texts: Iterable[str | None], better: int) -> str | None:
    """The best of numbers as they are printed, so that equals on paper are equally best; None where none is.

    Args:
        texts: None for a number that is not known.
        better: +1 where more is better, -1 where less is, 0 where neither.
    """
    known = {text for text in texts if text is not None}
    if not better or len(known) < 2:
        return None
    return (max if better > 0 else min)(known, key=float)
