"""What the numbers of a scan are, told from the numbers alone.

A CT in HU betrays itself: beside air at -1000 and soft tissue between -120 and 150 there is little, and whatever was
added to it moves both together. An MR scan has its tissues spread out: over 25 of ours, whatever they were multiplied
with, at most 35 % of the body's voxels fell where a CT has its soft tissue, and of 22 CTs at least 51 %. `fits` asks
for 45 %. What does not fit is named by its range, which is enough to ask the user a question and never to answer it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from coslice.volume import Volume

__all__ = ["Intensities", "reading_of"]

_MOST = 1_000_000
"""Voxels that are looked at, evenly spread; a large scan has more."""
_LOWEST_HU = -1150.0
"""Below it is no noise of air but padding, as -2000 or -3024 outside a scanner's circle."""
_SHIFTS = (1024, 32768, 33792, 2048, 8192, -31744, -1024)
"""What scanners and converters add to HU."""
_FOUND_IN_RANGE: tuple[tuple[str, float, float], ...] = (
    # what numbers from 0 to at most so much are, and the most they may be
    ("attenuation in 1/mm", 0.0, 0.12),
    ("a scan scaled to 0..1, or attenuation in 1/cm", 0.12, 1.5),
    ("a scan in percent", 60.0, 100.5),
    ("a scan of 8 bits, 0..255", 100.5, 255.5),
)


@dataclass(frozen=True)
class Intensities:
    """What the numbers of a scan are.

    Attributes:
        verdict: "HU", "HU + 1024" and the like, or in words what they look like.
        low, high: smallest and largest value.
        hu: whether they are HU, as far as one can know.
        shift: what was added to HU, where that is sure; else 0.
        wrapped: whether they are HU in 16 bits without a sign, so that -1 became 65535.
        ct: whether the scan is surely a CT, in HU or with something added.
        statement: what the user may say of them, see `parse_values`.
    """

    verdict: str
    low: float
    high: float
    hu: bool = False
    shift: int = 0
    ct: bool = False
    wrapped: bool = False
    statement: str = "hu"


def reading_of(volume: Volume) -> Intensities:
    """What the numbers of `volume` are, told from their range and their histogram."""
    values = _sample(volume)
    if not len(values):
        return Intensities("no numbers", float("nan"), float("nan"))
    if values.min() == values.max():
        return Intensities("constant", *_ends(values))
    return _of_ct(values) or _of_range(values)


def _sample(volume: Volume) -> np.ndarray:
    """Finite voxels, (n,) float32; every k-th along the longest axes of a large scan."""
    data = volume.data.detach().cpu().numpy()
    while data.size > _MOST:
        axis = int(np.argmax(data.shape))
        data = data[(slice(None),) * axis + (slice(None, None, 2),)]
    return data[np.isfinite(data)]


def _ends(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _without_padding(values: np.ndarray) -> np.ndarray:
    """The voxels above the lowest HU, if anything much is there."""
    inside = values[values > _LOWEST_HU]
    return inside if len(inside) > 0.05 * len(values) else values


def _of_ct(values: np.ndarray) -> Intensities | None:
    """What is surely a CT, or is HU until somebody says otherwise; None of anything else."""
    inside = _without_padding(values)
    low, high = _ends(values)
    if fits(inside):
        return Intensities("HU", low, high, hu=True, ct=True)
    for shift in _SHIFTS:
        if fits(values - shift, bones=True):
            return _shifted(values, shift)
    if values.min() >= 0 and fits(_without_padding(np.where(values > 32767, values - 65536, values))):
        return Intensities("HU, those below 0 stored as 65536 more", *_ends(values), ct=True, wrapped=True)
    for verdict, statement, line in _SCALED:
        if fits(line(values)):
            return Intensities(verdict, *_ends(values), statement=statement)
    if _upside_down(inside):
        return Intensities("HU upside down", low, high, statement="1000:0=-1000:0")
    if _within_hu(inside) or _soft_tissue(inside):
        air = np.count_nonzero(np.abs(inside + 1000) < 50) > 0.05 * len(inside)
        return Intensities("HU", low, high, hu=True, ct=bool(air))
    return None


_SCALED: tuple[tuple[str, str, Callable[[np.ndarray], np.ndarray]], ...] = (
    ("HU divided by 1000", "-1:0=-1000:0", lambda v: 1000 * v.clip(-1e9, 1e9)),
    ("HU times 10", "-10000:0=-1000:0", lambda v: v / 10),
)


def fits(hu: np.ndarray, bones: bool = False) -> bool:
    """Whether numbers have the histogram of a CT of a body in HU: air, soft tissue, and little between.

    Args:
        hu: (n,).
        bones: whether there must be bone or contrast as well, which hardly any MR scan has an image of.
    """
    air = np.count_nonzero((hu > -1100) & (hu < -800))
    body = np.count_nonzero(hu > -650)
    soft = np.count_nonzero((hu > -150) & (hu < 150))
    between = np.count_nonzero((hu > -650) & (hu < -150))
    if air < 0.01 * len(hu) or body < 0.01 * len(hu):
        return False
    hard = np.count_nonzero((hu > 250) & (hu < 3500)) if bones else body
    return bool(soft >= 0.45 * body and between <= 0.6 * soft and hard >= 0.002 * body)


def _shifted(values: np.ndarray, shift: int) -> Intensities:
    """A CT that `shift` was added to: which of 1024 and 1000 it was is told by the air around the patient."""
    low, high = _ends(values)
    if shift == 1024:
        # Voxels at the lowest value that is no padding are air that was cut off there.
        lowest = values[values > shift + _LOWEST_HU].min()
        air = values[(values < 124) & (values > max(lowest, -76))]
        edges = np.arange(-76, 128, 8)
        middle = float(edges[np.histogram(air, edges)[0].argmax()]) + 4 if len(air) >= 0.005 * len(values) else 12.0
        if abs(middle - 12) < 3:
            return Intensities("HU + 1024 or HU + 1000", low, high, ct=True, statement="hu+1024")
        shift = 1024 if middle > 12 else 1000
    verdict = f"HU {'+' if shift > 0 else '-'} {abs(shift)}"
    # One that was taken off twice, and one beyond the numbers of a scanner, may be something else.
    return Intensities(verdict, low, high, shift=shift if shift > 0 else 0, ct=True, statement=f"hu{shift:+d}")


def _upside_down(hu: np.ndarray) -> bool:
    """Whether air is what is brightest."""
    return bool(hu.min() < -200 and fits(-hu))


def _within_hu(hu: np.ndarray) -> bool:
    """Whether numbers go below 0 as only HU do: lungs, phantoms, metal, but no scan that was moved or cut off there."""
    first, last = (float(end) for end in np.percentile(hu, (0.2, 95)))
    if first > -200 or last > 3100:
        return False
    piled = np.count_nonzero(hu < first + 50) > 0.2 * len(hu)
    return first < -850 or not piled


def _soft_tissue(hu: np.ndarray) -> bool:
    """Whether numbers are those of a body without its air: about 0, few far from it, none piled up."""
    low, first, middle, last = (float(end) for end in np.percentile(hu, (0, 1, 50, 99)))
    piled = np.count_nonzero(hu < low + 10) > 0.1 * len(hu)
    return not piled and -200 <= first < -40 and -130 < middle < 130 and 80 < last < 1500


def _of_range(values: np.ndarray) -> Intensities:
    """What numbers look like that are not HU."""
    low, high = _ends(values)
    top = float(np.percentile(values, 99.9))
    whole = bool((values == np.round(values)).all())
    kinds = np.unique(values)
    if len(kinds) == 2:
        return Intensities("a mask (two values)", low, high)
    if whole and low >= 0 and high <= 255 and len(kinds) <= 32:
        return Intensities(f"a label map ({len(kinds)} whole values)", low, high)
    if -1.05 <= low < -0.2 and high <= 1.05:
        return Intensities("a scan scaled to -1..1", low, high, statement="-1:1=-1000:1600")
    if low < 0 and not whole and abs(float(values.mean())) < 0.7 and 0.3 < float(values.std()) < 3:
        return Intensities("a scan normalised to mean 0 and deviation 1", low, high, statement="A:B=C:D")
    if low >= -0.05 * top:
        for verdict, above, most in _FOUND_IN_RANGE:
            if above < top <= most:
                return Intensities(verdict, low, high, statement=_statement(verdict, most))
        if top > 255.5:
            return Intensities("MR, or a CT without air that something was added to", low, high, statement="hu+1024")
    return Intensities("numbers of no known unit", low, high, statement="A:B=C:D")


def _statement(verdict: str, most: float) -> str:
    if verdict.startswith("attenuation"):
        return "mu/mm:0.0193"
    return f"0:{int(most)}=-1000:1600" if most > 2 else "0:1=-1000:1600"
