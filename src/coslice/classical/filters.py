"""The ramp filter and the redundancy weights of filtered back-projection.

**Ramp.** The band-limited ramp |f|, |f| < 1/(2 d), sampled at the pitch d, is in space (Kak & Slaney,
Principles of Computerized Tomographic Imaging, eq. 3.61)

    h(0) = 1/(4 d^2),    h(n) = -1/(pi n d)^2 for odd n,    h(n) = 0 for other even n.

Its transform is not exactly 0 at f = 0; sampling |f| itself instead would shift all grey values. Rows
are padded with zeros to twice their length, so the convolution is not circular.

**Redundancy.** With the source at angle beta, the ray at fan angle gamma = atan(p / source_axis) is the
same line as the ray at -gamma from the source at beta - 2 gamma + pi. Each line has to count once:

    w(beta, gamma) = c(beta) b(gamma) / [c(beta) b(gamma) + c(beta - 2 gamma + pi) b(-gamma)],

(Noo, Defrise, Clackdoyle and Kudo, Phys. Med. Biol. 47, 2002) with c a window on the measured arc L that
falls to 0 at both ends as sin^2 over d = max(L - pi, 2 gamma_max), at most L/2:

* a full turn has no ends, c = 1 and w = 1/2;
* L = pi + 2 gamma_max gives, for the central ray, the weights of Parker (Med. Phys. 9, 1982), and any
  longer arc (over-scan) is as good;
* on a shorter arc (limited angle) a line whose conjugate was not measured counts as measured once, w = 1,
  and lines never measured stay missing.

The window b is 1, except for a full turn with a detector displaced to one side that does not see the
grid's short side: there b rises as sin^2 over the strip that both sides of the detector see
(Wang, Med. Phys. 29, 2002). Its unseen side is filled with zeros, because the filter spreads into it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import scipy.fft
import torch
from torch import Tensor

from coslice.errors import CosliceError

__all__ = ["Arc", "Filter", "apply_ramp", "displacement", "measured_arc", "ramp_response", "redundancy", "strip_window"]

Filter: TypeAlias = Literal["ramp", "hann"]


def ramp_response(columns: int, pitch: float, filter: Filter = "ramp") -> np.ndarray:
    """Transform (length/2 + 1,) of the ramp kernel times `pitch`, for rows of `columns` samples.

    `length` is the power of two that holds 2 columns - 1. "hann" multiplies by (1 + cos(pi f / f_max))/2.
    """
    if filter not in ("ramp", "hann"):
        raise CosliceError(f'fdk: the filter {filter!r} was asked for, "ramp" or "hann" is needed.')
    length = 1 << max(2 * columns - 2, 1).bit_length()
    lag = np.minimum(np.arange(length), length - np.arange(length))
    kernel = np.zeros(length)
    kernel[0] = 0.25
    odd = lag % 2 == 1
    kernel[odd] = -1 / (np.pi * lag[odd]) ** 2
    response = np.fft.rfft(kernel).real / pitch
    if filter == "hann":
        response *= (1 + np.cos(np.linspace(0, np.pi, len(response)))) / 2
    return response


def apply_ramp(rows: Tensor, pitch: float, filter: Filter = "ramp") -> Tensor:
    """Convolve the last axis of `rows`, sampled at `pitch` mm, with the ramp; same shape."""
    columns = rows.shape[-1]
    response = torch.as_tensor(ramp_response(columns, pitch, filter), dtype=rows.dtype, device=rows.device)
    length = 2 * (len(response) - 1)
    if rows.device.type != "cpu":
        return torch.fft.irfft(torch.fft.rfft(rows, n=length) * response, n=length)[..., :columns]
    # torch's transform rounds otherwise with another number of threads; this one works alone.
    spectrum = scipy.fft.rfft(rows.numpy(), n=length, workers=1)
    spectrum *= response.numpy()
    filtered = np.asarray(scipy.fft.irfft(spectrum, n=length, workers=1, overwrite_x=True))
    return torch.from_numpy(filtered[..., :columns])


@dataclass(frozen=True)
class Arc:
    """The arc a scan covers.

    Attributes:
        start: angle in rad where it starts, half a step before the first view.
        length: its length in rad, at most 2 pi.
        steps: the angle in rad that each view stands for, (views,); their sum is `length`.
    """

    start: float
    length: float
    steps: np.ndarray

    @property
    def closed(self) -> bool:
        return self.length >= 2 * math.pi - 1e-6


def measured_arc(angles: tuple[float, ...]) -> Arc:
    """The arc covered by views at `angles` (rad, in any order, any number of turns).

    A view stands for half the way to each neighbour. The turn is closed unless one gap between
    neighbours is over 1.5 times any other; the arc then starts behind that gap.
    """
    turned = np.round(np.mod(angles, 2 * math.pi), 9)
    turned[turned >= 6.28318530] = 0.0  # an angle just below a whole turn is that turn
    at, which, count = np.unique(turned, return_inverse=True, return_counts=True)
    gaps = np.diff(at, append=at[0] + 2 * math.pi)
    widest = int(gaps.argmax())
    others = np.delete(gaps, widest)
    if len(others) == 0 or gaps[widest] <= 1.5 * others.max():
        steps = (gaps + np.roll(gaps, 1)) / 2
        start, length = float(at[0] - gaps[-1] / 2), 2 * math.pi
    else:
        first = (widest + 1) % len(at)
        inner = np.roll(gaps, -first)[:-1]
        padded = np.concatenate((inner[:1], inner, inner[-1:]))
        steps = np.roll((padded[1:] + padded[:-1]) / 2, first)
        start, length = float(at[first] - inner[0] / 2), float(steps.sum())
    return Arc(start, length, (steps / count)[which])


def redundancy(
    angles: tuple[float, ...], fan: np.ndarray, arc: Arc, closed: bool, strip: np.ndarray | None = None
) -> np.ndarray:
    """w(beta, gamma), shape (views, columns), for the fan angles `fan` in rad of the columns.

    `closed` takes the arc for a full turn. `strip`, (2, columns), is the window b at gamma and at -gamma.
    """
    here, there = (np.ones_like(fan), np.ones_like(fan)) if strip is None else strip
    if closed:
        return np.broadcast_to(here / (here + there), (len(angles), len(fan)))
    taper = min(arc.length / 2, max(arc.length - math.pi, 2 * float(np.abs(fan).max())))

    def window(beta: np.ndarray) -> np.ndarray:
        along = np.mod(beta - arc.start, 2 * math.pi)
        to_end = np.minimum(along, arc.length - along)
        inside = np.sin(math.pi / 2 * np.clip(to_end / max(taper, 1e-9), 0, 1)) ** 2
        return np.where(to_end > 0, inside, 0.0)

    beta = np.asarray(angles)[:, None]
    measured = window(beta) * here
    conjugate = window(beta - 2 * fan + math.pi) * there
    return measured / (measured + conjugate)


def displacement(p: np.ndarray, pitch: float, reach: float) -> float:
    """Half the width in mm of the strip seen by both sides of a displaced detector; 0 if it is not displaced.

    Positive where the detector reaches farther to positive p. A detector whose short side sees all rays
    through the grid, or that is off by less than a pixel, is not displaced.

    Args:
        p: column centres in mm on the virtual detector.
        pitch: their distance, mm.
        reach: largest |p| of a ray that meets the grid, mm.
    """
    low, high = pitch / 2 - float(p[0]), float(p[-1]) + pitch / 2
    overlap = min(low, high)
    if overlap <= pitch or abs(high - low) < pitch or overlap >= reach:
        return 0.0
    return overlap if high > low else -overlap


def strip_window(p: np.ndarray, overlap: float) -> np.ndarray:
    """The window b at p and at -p, (2, columns), for the signed `overlap` in mm of `displacement`."""
    return np.sin(math.pi / 4 * (1 + np.clip(np.stack((p, -p)) / overlap, -1, 1))) ** 2
