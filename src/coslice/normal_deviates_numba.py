"""Normal deviates on CPU cores: `coslice.normal_deviates`, compiled.

Four short loops over a few hundred words that stay in the cache: three of them become vector instructions, and the one
that reads the table, which cannot, is nothing but that.
"""

from __future__ import annotations

import numpy as np

from coslice.kernels import kernel
from coslice.normal_deviates import BITS, FRACTION, SHIFT_0, SHIFT_1, SPARE
from coslice.philox import philox

__all__ = ["fill", "quantiles"]

_WORDS = 1024
_D = (1 << FRACTION) - 1
_C1, _C2 = (1 << SHIFT_0 - SHIFT_1) - 1, (1 << SHIFT_1) - 1
_UNIT = np.float32(2.0**-BITS)

_philox = kernel(nogil=True)(philox)


@kernel(nogil=True)
def fill(out, table, k0, k1, index_low, index_high, step):
    """Fill a plane with normal deviates.

    Args:
        out: (size,) float32.
        table: as `coslice.normal_deviates.table`.
        k0, k1: the key; index_low, index_high, step: the counter above the number of the block.
    """
    words = np.empty(_WORDS, np.uint32)
    for first in range(0, out.size, _WORDS):
        count = min(_WORDS, out.size - first)
        _scramble(words, first // 4, k0, k1, index_low, index_high, step)
        quantiles(words[:count], table, out[first : first + count])


@kernel(nogil=True)
def _scramble(words, first, k0, k1, index_low, index_high, step):
    for j in range(words.size // 4):
        a, b, c, d = _philox(first + j, index_low, index_high, step, k0, k1, 10)
        words[4 * j], words[4 * j + 1], words[4 * j + 2], words[4 * j + 3] = a, b, c, d


@kernel(nogil=True)
def quantiles(words, table, out):
    """The deviate of each word.

    Args:
        words: (size,) uint32.
        table: as `coslice.normal_deviates.table`.
        out: (size,) float32, filled.
    """
    entries, places = np.empty(words.size, np.int64), np.empty(words.size, np.int64)
    _locate(words, entries, places)
    _look_up(entries, table)
    _evaluate(words, entries, places, out)


@kernel(nogil=True)
def _locate(words, segments, places):
    for j in range(words.size):
        v = (np.int64(words[j]) << 1 | 1) & 0xFFFFFFFF
        octave = np.int64(np.float32(v & ~(v >> 1)).view(np.int32) >> 23) - 127
        leading = v << (31 - octave)
        segments[j] = (octave << 6) + (leading >> FRACTION) - 64
        places[j] = leading & _D


@kernel(nogil=True)
def _look_up(entries, table):
    for j in range(entries.size):
        entries[j] = table[np.uint64(entries[j])]  # unsigned: no question whether to count from the end


@kernel(nogil=True)
def _evaluate(words, entries, places, out):
    for j in range(out.size):
        entry, d = entries[j], places[j]
        slope = (entry >> SHIFT_1 & _C1) - ((entry & _C2) * d >> FRACTION)
        size = np.int32(((entry >> SHIFT_0) - (slope * d >> FRACTION)) >> SPARE)
        sign = np.int32(words[j]) >> 31
        out[j] = np.float32((size ^ sign) - sign) * _UNIT
