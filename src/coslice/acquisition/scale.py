"""The unit of reconstructed values: attenuation in 1/mm to HU, or through a window of its own.

    HU = 1000 (mu - mu_water) / (mu_water - mu_air)

Where nobody knows the attenuation of water, it is looked for in a first reconstruction, whose histogram has a peak of
air near 0 and one of the matter there is most of. In a patient that is soft tissue, with fat below it. Their usual
numbers, about +45 and -100 HU at the energies of a CT scanner, place water between the two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, median_filter

from coslice.errors import CosliceError
from coslice.window import Window

__all__ = ["FoundWater", "HounsfieldScale", "attenuation_window", "found_water", "inside_circle", "remarks_on_water"]

SOFT_TISSUE, FAT = 45.0, -100.0
"""Usual HU of muscle, blood and organs, and of fat, at the energies of a CT scanner."""

_BINS = 600
_SLICES = 32
_SOME = 0.15  # of the highest peak of matter, below which a peak is none
_LUNG = 0.27  # of the densest matter, below which something is lung, foam or wax


@dataclass(frozen=True)
class HounsfieldScale:
    """Between attenuation (1/mm) and HU.

    Attributes:
        water: attenuation of water, 1/mm.
        air: attenuation of air as reconstructed, 1/mm.

    Raises:
        CosliceError: numbers that are not finite, or water not above air.
    """

    water: float
    air: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.water) and math.isfinite(self.air) and self.water > max(self.air, 0)):
            raise CosliceError(
                f"water: attenuations of water {self.water:g} and of air {self.air:g} 1/mm were given, but water "
                "must be above 0 and above air; at 70 keV it is 0.0193."
            )

    def to_hu(self, mu):
        """HU of attenuation values in 1/mm, an array, a tensor or a number."""
        return (mu - self.water) * (1000 / (self.water - self.air))

    def from_hu(self, hu):
        """The inverse of `to_hu`."""
        return hu * ((self.water - self.air) / 1000) + self.water

    def window(self, window: Window) -> Window:
        """A window in HU as one in 1/mm."""
        return Window(float(self.from_hu(window.low)), float(self.from_hu(window.high)), "1/mm")


@dataclass(frozen=True)
class FoundWater:
    """What a histogram says about the scale.

    Attributes:
        scale: of the peaks found.
        certainty: from 0 to 1: how far the peak stands out of the values about it.
        notes: in full sentences.
    """

    scale: HounsfieldScale
    certainty: float
    notes: tuple[str, ...] = ()


def inside_circle(shape: tuple[int, ...], share: float = 1.0) -> np.ndarray:
    """The inscribed ellipse of planes (..., y, x), (y, x) bool, of `share` of its radius: where every view looks."""
    y, x = ((np.arange(n) - (n - 1) / 2) / (n / 2) for n in shape[-2:])
    return y[:, None] ** 2 + x**2 <= share**2


def found_water(volume: np.ndarray, inside: np.ndarray | None = None) -> FoundWater:
    """The attenuation of water and air from the histogram of a reconstruction.

    Args:
        volume: attenuation in 1/mm, (z, y, x).
        inside: voxels that count, broadcast to the volume; None is the circle inscribed in each slice.

    Raises:
        CosliceError: no peak of matter apart from air, as where the object fills the field of view unevenly, or
            nothing was reconstructed.
    """
    from scipy.signal import find_peaks  # takes half a second to load, and most runs need none

    inside = inside_circle(volume.shape) if inside is None else inside
    # peaks as narrow as the noise lets them be
    some = np.unique(np.linspace(0, len(volume) - 1, _SLICES).round().astype(int))
    calm = median_filter(np.asarray(volume)[some], size=(1, 3, 3), mode="nearest")
    values = calm[np.broadcast_to(inside, volume.shape)[some]].astype(np.float64)
    values = values[np.isfinite(values)]
    if values.size < 64:
        raise CosliceError(_NO_PEAK.format("too few voxels lie in the field of view"))
    low, top = np.percentile(values, (0.5, 99.5))
    if not top > max(low, 0):
        raise CosliceError(_NO_PEAK.format("no voxel stands out of air"))
    edges = np.linspace(min(low, -0.2 * top), 1.2 * top, _BINS + 1)
    counts = np.histogram(values, edges)[0].astype(np.float64)
    centres = (edges[1:] + edges[:-1]) / 2
    matter = _matter(values, top)
    # narrow enough to part fat from muscle, wide enough for the noise of the histogram
    density = gaussian_filter1d(counts, max(1.5, 0.008 * matter / (centres[1] - centres[0])), mode="constant")
    peaks, properties = find_peaks(np.pad(density, 1), prominence=0.02 * density.max())
    peaks, prominence = peaks - 1, properties["prominences"]
    place, height = centres[peaks], density[peaks]
    is_air = np.abs(place) < 0.1 * matter
    air = float(place[is_air][height[is_air].argmax()]) if is_air.any() else 0.0
    solid = np.flatnonzero(place > max(0.0, 0.1 * matter))
    solid = solid[height[solid] > _SOME * height[solid].max(initial=0.0)]
    if len(solid) == 0:
        raise CosliceError(_NO_PEAK.format("the values of matter are spread without a peak"))
    solid = solid[place[solid] > _LUNG * place[solid].max()]
    main = solid[height[solid].argmax()]
    certainty = float(prominence[main] / height[main])
    lower = np.flatnonzero(density < height[main] / 2)
    left, right = lower[lower < peaks[main]].max(initial=0), lower[lower > peaks[main]].min(initial=_BINS - 1)
    if certainty < 0.4 or centres[right] - centres[left] > 0.5 * place[main]:
        raise CosliceError(_NO_PEAK.format("the values of matter are spread without a clear peak"))
    fat = _fat(place, height, main, solid)
    if fat is None:
        water = float(place[main])
        how = "its main peak of matter was taken for water"
    else:
        soft, lean = float(place[max(main, fat)]), float(place[min(main, fat)])
        water = lean + (soft - lean) * -FAT / (SOFT_TISSUE - FAT)
        how = f"its peaks at {lean:.4g} and {soft:.4g} 1/mm are in the ratio of fat and soft tissue"
    sure = "clear" if certainty > 0.8 else "fairly clear" if certainty > 0.6 else "weak"
    note = (
        f"Water was taken to attenuate {water:.4g} 1/mm and air {air:.2g} 1/mm, from the histogram of a first "
        f"reconstruction: {how}, and the peak is {sure} ({certainty:.2f} of 1). If the object is made of something "
        "else, all HU are off by one factor: --water MU says it."
    )
    return FoundWater(HounsfieldScale(water, air), certainty, (note,))


_MATTER = (2e-4, 20.0)
"""Attenuation of a thin foam at 150 keV and of gold at 40 keV, 1/mm: the thinnest and the densest that is scanned."""

_WATER = (0.007, 0.082)
"""Attenuation of water at 1 MeV and at 20 keV, 1/mm (Hubbell and Seltzer, NIST tables)."""
_NO_PEAK = "water: the reconstruction does not show what water is, {}; say its attenuation: --water MU in 1/mm."


def _matter(values: np.ndarray, top: float) -> float:
    """The median of the matter: of what is above the threshold that parts dense from thin best (Otsu, 1979)."""
    counts, edges = np.histogram(values, 256, (0.0, top))
    centres = (edges[1:] + edges[:-1]) / 2
    below, mass = np.cumsum(counts), np.cumsum(counts * centres)
    above = below[-1] - below
    with np.errstate(invalid="ignore", divide="ignore"):
        between = (mass[-1] * below / below[-1] - mass) ** 2 / (below * above)
    threshold = centres[int(np.nan_to_num(between, posinf=0.0).argmax())]
    return float(np.median(values[values > threshold]))


def _fat(place: np.ndarray, height: np.ndarray, main: int, solid: np.ndarray) -> int | None:
    """The other peak of fat and soft tissue, where there is one at the right ratio and of some size."""
    ratio = (1000 + FAT) / (1000 + SOFT_TISSUE)
    for other in solid:
        if other != main and height[other] > _SOME * height[main]:
            found = min(place[other], place[main]) / max(place[other], place[main])
            if abs(found - ratio) < 0.05:
                return int(other)
    return None


def remarks_on_water(water: float) -> tuple[str, ...]:
    """A sentence on an attenuation of water, 1/mm, that only odd energies have."""
    low, high = _WATER
    if low <= water <= high:
        return ()
    return (
        f"Water is said to attenuate {water:.3g} 1/mm, but from 20 keV to 1 MeV it attenuates {high:g} to {low:g}: if "
        "the number is in 1/cm, or of another energy, all HU are off by one factor.",
    )


def attenuation_window(
    volume: np.ndarray,
    air: float = 0.0,
    high: float | None = None,
    share: float = 0.999,
    headroom: float = 1.1,
    inside: np.ndarray | None = None,
) -> tuple[Window, tuple[str, ...]]:
    """A window for laboratory data, whose matter has no HU: from air to the densest matter.

    Args:
        volume: a first reconstruction in 1/mm, (z, y, x).
        air: what becomes 0, 1/mm.
        high: what becomes 1, 1/mm; None is `headroom` times the value above which 1 - `share` of the voxels lie.
        inside: as `found_water`.

    Raises:
        CosliceError: nothing above air.
    """
    said = high is not None
    if high is None:
        inside = inside_circle(volume.shape) if inside is None else inside
        values = np.asarray(volume)[np.broadcast_to(inside, volume.shape)]
        high = air + headroom * (float(np.quantile(values[np.isfinite(values)], share)) - air)
    if not high > air:
        raise CosliceError(
            f"window: the reconstruction ends at {high:.4g} 1/mm and air is {air:.4g}, so nothing is in it; look at "
            "the projections, or give the window."
        )
    how = "as given" if said else f"{headroom:g} times the {100 * share:g} % point of a first reconstruction"
    note = f"Values from {air:.4g} to {high:.4g} 1/mm ({how}) are what the prior sees as 0 to 1."
    return Window(air, high, "1/mm"), (note, *_on_attenuation((high - air) / headroom, said))


def _on_attenuation(densest: float, said: bool) -> tuple[str, ...]:
    """A sentence on matter that no X-rays meet; nothing of what the user said."""
    low, high = _MATTER
    if said or low <= densest <= high:
        return ()
    return (
        f"The densest matter attenuates {densest:.3g} 1/mm, and no X-rays know any below {low:g} or above {high:g}: "
        "check that all lengths of the geometry are in mm, and that the values are line integrals.",
    )
