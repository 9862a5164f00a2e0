"""The table of `coslice.normal_deviates`, made anew: `python scripts/normal_table.py FILE.npy`.

The file in the package is what counts: made on another machine, the last bit of an entry may differ, and with it some
draws of every seed. A test holds the file against the normal distribution.
"""

import sys
from pathlib import Path

import numpy as np
from scipy.special import ndtri

from coslice.normal_deviates import BITS, OCTAVES, SHIFT_0, SHIFT_1, SPARE


def table() -> np.ndarray:
    """One entry for each of the 64 segments of every octave: c0, c1 and c2 in one integer."""
    octave, segment = np.arange(OCTAVES)[:, None], np.arange(64)[None, :]
    # Twice the tail's probability is v/2^32. A segment begins at v = (64 + segment) 2^(octave - 6).
    width = 2.0 ** (octave - 6 - 33)
    begin = (64.0 + segment) * width
    # The parabola through the quantiles at Chebyshev's nodes: its error is within a few per cent of the smallest.
    t = (1 + np.cos(np.pi * np.array([1, 3, 5]) / 6)) / 2
    f = [-ndtri(begin + width * node) for node in t]
    first, second = (f[1] - f[0]) / (t[1] - t[0]), (f[2] - f[1]) / (t[2] - t[1])
    c2 = (second - first) / (t[2] - t[0])
    c1 = first - c2 * (t[0] + t[1])
    c0 = f[0] - first * t[0] + c2 * t[0] * t[1]
    # Up to octave 6 a segment holds one v at most, its first.
    c0 = np.where(octave <= 6, -ndtri(begin), c0)
    c1, c2 = np.where(octave <= 6, 0.0, -c1), np.where(octave <= 6, 0.0, c2)
    scale = 2.0 ** (BITS + SPARE)
    whole = [np.rint(c * scale).astype(np.int64) for c in (c0, c1, c2)]
    whole[0] += 1 << (SPARE - 1)  # to round by cutting
    whole[2] = np.maximum(whole[2], 0)  # the last segments before the median are straight
    limits = (2 ** (63 - SHIFT_0), 2 ** (SHIFT_0 - SHIFT_1), 2**SHIFT_1)
    assert all(((c >= 0) & (c < limit)).all() for c, limit in zip(whole, limits, strict=True))
    return (whole[0] << SHIFT_0 | whole[1] << SHIFT_1 | whole[2]).ravel()


if __name__ == "__main__":
    np.save(Path(sys.argv[1]), table())
