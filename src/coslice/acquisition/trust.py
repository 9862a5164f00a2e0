"""How far line integrals from counts can be believed.

A detector that counts g per photon, n of them above dark, and adds electronic noise of e counts, has by the delta
method

    var p = g/n + (1 + 1/L) e^2/n^2 + (g/F + e^2/F^2)/K,        n = F exp(-p),

with F the open beam of K flat fields and L dark fields, whose own noise comes along. The gain g is measured by photon
transfer (Janesick, Scientific Charge-Coupled Devices, 2001): flat fields taken one after another vary by var F = g F
+ e^2, once their common brightness is divided out; dark fields vary by e^2. Where there are no two flat fields, the
noise of the views where they show air says what a photon counts, g/F = var p. Blur of the detector hides a part of
the noise from the second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri

from coslice.acquisition.counts import LEAST_COUNT, MEDIAN_FROM, MeasuredLines
from coslice.acquisition.defects import noise_along_rows
from coslice.errors import CosliceError

__all__ = ["MENDED_WEIGHT", "WEIGHT_BOUNDS", "Trust", "measured_trust"]

WEIGHT_BOUNDS = (0.02, 5.0)
"""Least and greatest weight of a measured value, in units of the median's."""

MENDED_WEIGHT = 1e-3
"""Likewise of a mended one, which is no measurement."""

_AIR = 0.005  # share of values that must show air
_VIEWS, _ROWS = 32, 64


@dataclass(frozen=True, eq=False)
class Trust:
    """The noise of line integrals.

    Attributes:
        deviation: root mean square of the noise of p over all measured values; 0 where none could be measured.
        weights: inverse variances, (views, rows, columns) float32 of mean 1, see `WEIGHT_BOUNDS`, `MENDED_WEIGHT`.
        photons: of the open beam per pixel and view, median over the pixels; infinite where no noise could be measured.
        notes: in full sentences.
    """

    deviation: float
    weights: np.ndarray
    photons: float
    notes: tuple[str, ...] = ()


def measured_trust(
    measured: MeasuredLines,
    flat: np.ndarray | None = None,
    dark: np.ndarray | None = None,
    photons: float | None = None,
) -> Trust:
    """Deviation and weights of the line integrals.

    Args:
        measured: what `line_integrals_from` gave.
        flat: the flat fields as recorded, (n, rows, columns); two or more tell the gain.
        dark: the dark fields as recorded, (n, rows, columns); two or more tell the electronic noise.
        photons: of the open beam per pixel and view, where they are known; median over the pixels.

    Raises:
        CosliceError: a number of photons that is not positive; an image without values that were measured.
    """
    if photons is not None and not (math.isfinite(photons) and photons > 0):
        raise CosliceError(f"photons: {photons:g} of the open beam were given, a positive number is needed.")
    if measured.mended.all():
        raise CosliceError("trust: no value of the recording was measured, all were mended.")
    beam = measured.open_beam
    level = 1.0
    if beam is not None:
        beam = np.where(np.isfinite(beam) & (beam > 0), beam, np.nan).astype(np.float64)
        level = float(np.nanmedian(beam))
        beam = np.nan_to_num(beam, nan=level)
    electronic = 0.0 if dark is None or dark.ndim != 3 or len(dark) < 2 else _spread(dark)
    flats = 0 if flat is None else 1 if flat.ndim == 2 else len(flat)
    gain, how = None, "as given"
    if photons is not None:
        gain = level / photons
    elif flats >= 2 and flat is not None and beam is not None:
        ratio = _spread(flat, beam)
        gain, how = max(ratio - electronic / level, 0.0), f"from how {flats} flat fields differ"
    else:
        gain, how = _gain_in_air(measured, electronic / level**2)
        gain *= level
    if not gain > 0 and not electronic > 0:
        weights = np.where(measured.mended, np.float32(MENDED_WEIGHT), np.float32(1))
        notes = ("No noise was found in the recording: all its values are trusted alike.",)
        return Trust(0.0, weights / weights.mean(dtype=np.float64).astype(np.float32), math.inf, notes)
    darks = 0 if dark is None else 1 if dark.ndim == 2 else len(dark)
    weights, deviation = _weighed(measured, beam, gain, electronic, _noise_of_mean(flats), _noise_of_mean(darks))
    found = level / gain if gain > 0 else math.inf
    words = f"The open beam is about {found:.3g} photons per pixel and view ({how})"
    words += f", the electronic noise {math.sqrt(electronic):.3g} counts" if electronic else ""
    return Trust(
        deviation, weights, found, (f"{words}: line integrals have a noise of {deviation:.3g} (root mean square).",)
    )


def _spread(frames: np.ndarray, beam: np.ndarray | None = None) -> float:
    """Variance over frames; as a share of the signal above dark where `beam` says it.

    A frame's brightness against the others is divided out, and pixels with hits are left out.
    """
    shape = frames.shape[1:]
    means = np.array([np.nanmean(frame, dtype=np.float64) for frame in frames])
    scale = means.mean() / means if beam is not None else np.ones(len(frames))
    first = np.asarray(frames[0], np.float64) * scale[0]
    total, squares = np.zeros(shape), np.zeros(shape)
    for frame, factor in zip(frames[1:], scale[1:], strict=True):
        step = frame * factor - first
        total += step
        squares += step**2
    n = len(frames)
    variance = (squares - total**2 / n) / (n - 1)
    relative = variance if beam is None else variance / beam
    good = np.isfinite(relative)
    middle = float(np.median(relative[good])) if good.any() else 0.0
    # chi-squared with n - 1 degrees: beyond this stand hits, not noise
    good &= relative <= max(middle, 0.0) * chdtri(n - 1, 1e-6) / chdtri(n - 1, 0.5)
    if not good.any():
        return 0.0
    return float(variance[good].mean() / (1.0 if beam is None else beam[good].mean()))


def _gain_in_air(measured: MeasuredLines, electronic: float) -> tuple[float, str]:
    """g/F, from differences of neighbours; what stays the same in all views is no noise of theirs."""
    lines = measured.lines
    views = np.unique(np.linspace(0, len(lines) - 1, _VIEWS).round().astype(int))
    some = lines[views][:, :: max(1, lines.shape[1] // _ROWS)].astype(np.float64)
    some[measured.mended[views][:, :: max(1, lines.shape[1] // _ROWS)]] = np.nan
    near = 0.05 * max(float(np.nanpercentile(some, 99)), 1e-6)
    rough = noise_along_rows(some)
    air = np.abs(some) < max(near, 4 * rough)
    if air.mean() > _AIR:
        inside = np.where(air, some, np.nan)
        how = "from the noise in air"
    else:
        # nothing shows air: noise grows as exp(p/2), which is divided out
        inside = some
        how = "from the differences of neighbouring values, since no view shows air"
    left = inside[..., 1:-1] - (inside[..., :-2] + inside[..., 2:]) / 2
    if how != "from the noise in air":
        left = left * np.exp(-some[..., 1:-1] / 2)
    factor = 1.5
    if len(views) >= 8:
        seen = np.isfinite(left)
        count = np.maximum(seen.sum(0), 1)
        left = left - np.where(seen, left, 0).sum(0) / count
        left = left[:, seen.sum(0) >= 8]
        factor *= 1 - 1 / len(views)
    left = np.abs(left[np.isfinite(left)])
    deviation = float(np.median(left)) / 0.6745 if left.size else 0.0
    return max(deviation**2 / factor - electronic, 0.0), how


def _noise_of_mean(frames: int) -> float:
    """Variance of what `line_integrals_from` makes of several frames, in units of a single one's."""
    if frames == 0:
        return 0.0
    return (1.0 if frames < MEDIAN_FROM else math.pi / 2) / frames


def _weighed(
    measured: MeasuredLines, beam: np.ndarray | None, gain: float, electronic: float, flats: float, darks: float
) -> tuple[np.ndarray, float]:
    lines, mended = measured.lines, measured.mended
    level = np.ones(lines.shape[1:]) if beam is None else beam
    # below these n is noise itself, and its logarithm deviates by about 1
    least = max(math.sqrt(electronic), gain, LEAST_COUNT if beam is not None else 1e-6)
    own = (gain / level + electronic / level**2) * flats
    weights = np.empty(lines.shape, np.float32)
    total, count = 0.0, 0
    for number, view in enumerate(lines):
        n = np.maximum(level * np.exp(-view.astype(np.float64)), least)
        variance = gain / n + (1 + darks) * electronic / n**2 + own
        good = ~mended[number]
        total += float(variance[good].sum())
        count += int(good.sum())
        weights[number] = 1 / variance
    every = max(1, weights.size // 1_000_000)
    middle = float(np.median(weights.reshape(-1)[::every][~mended.reshape(-1)[::every]]))
    low, high = WEIGHT_BOUNDS
    np.clip(weights, low * middle, high * middle, out=weights)
    weights[mended] = MENDED_WEIGHT * middle
    weights /= np.float32(weights.mean(dtype=np.float64))
    return weights, math.sqrt(total / count)
