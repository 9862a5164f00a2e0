"""Standard normal deviates in integer arithmetic: the same bits on every device.

Floating-point functions (log, cos, erfinv) differ in their last bits from one library and device to the next. Integers
do not. So a deviate is made of integers alone, from one random word of 32 bits:

    word   31 30 ...... 0                    sign: the highest bit
           |  |--- u ---|                    v = 2 u + 1, and v/2^33 is the probability of the tail beyond |z|
           sign

|z| = -Phi^-1(v/2^33) is read from a table. The v from one power of two to the next, an octave, are cut into 64
segments; where v lies in its segment is d, a fraction of 25 bits; and in each segment |z| is a parabola,
c0 - d (c1 - d c2), whose coefficients are integers. The octave is the exponent of v as a float32, after the bit behind
the highest is cleared so that no rounding can carry over to the next power of two.

The result is a multiple of 2^-21. |z| < 8, so float32 holds it exactly, and 64-bit integers hold the product of any
two: inner products of planes are exact, in any order (`gram`).

How normal it is, counted over all 2^32 words (a slow test counts again): every |z| is within 0.59 units of its
quantile. The probability of a multiple or any above is that of a normal deviate above the border before it to 1.6e-8.
Moments are right to a relative 1e-6 up to the eighth, tails to 2e-4 up to 5 standard deviations and to 6e-3 up to 5.5.
The largest |z| is 6.34, which a normal deviate passes once in 4.3e9 draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib import resources

import numpy as np
import torch
from torch import Tensor

from coslice.philox import philox

__all__ = ["BITS", "deviates", "gram", "planes_of_deviates", "table"]

BITS = 21
"""A deviate is a multiple of 2^-BITS."""

# An entry of the table is c0, c1 and c2 in one integer, in units of 2^-(BITS + SPARE): c0 from bit SHIFT_0 up, with
# half a last unit added, c1 from SHIFT_1 up, c2 below. d has FRACTION bits.
OCTAVES, FRACTION, SPARE, SHIFT_0, SHIFT_1 = 32, 25, 5, 34, 13

_AT_ONCE = 1 << 22
"""Deviates drawn together on an accelerator: enough to keep it busy, in a few hundred MB of integers."""
_BLOCK = 1 << 15
"""Products of two deviates whose sum certainly fits 63 bits: each is below 2^48."""


def planes_of_deviates(
    key: tuple[int, int], step: int, indices: Sequence[int], size: int, device: torch.device
) -> Iterator[Tensor]:
    """The planes `indices` one after the other; an accelerator draws many of them together.

    Element e of a plane is word e mod 4 of the counter (e div 4, index, step): a function of e, not of the size.

    Args:
        key: two words of 32 bits.
        step: word of 32 bits.
        indices: of the planes, 64 bits.
        size: deviates to a plane.
        device: where they are drawn.

    Yields:
        (size,) float32, on the device.
    """
    if device.type == "cpu":
        # On demand: who draws nothing needs no compiler.
        from coslice.normal_deviates_numba import fill

        for index in indices:
            plane = np.empty(size, np.float32)
            fill(plane, table(), *key, index & 0xFFFFFFFF, index >> 32, step)
            yield torch.from_numpy(plane)
        return
    count = max(1, _AT_ONCE // max(size, 1))
    for first in range(0, len(indices), count):
        yield from deviates(key, step, indices[first : first + count], size, device)


def deviates(key: tuple[int, int], step: int, indices: Sequence[int], size: int, device: torch.device) -> Tensor:
    """The planes `indices` in operations of torch, on any device: (planes, size) float32.

    Args:
        key, step, indices, size, device: as of `planes_of_deviates`.
    """
    low, high = (torch.tensor([[index >> shift & 0xFFFFFFFF] for index in indices], device=device) for shift in (0, 32))
    flat = torch.empty(len(indices), size, dtype=torch.float32, device=device)
    entries = _table_on(device)
    for first in range(0, size, _AT_ONCE):
        part = flat[:, first : first + _AT_ONCE]
        blocks = torch.arange(first // 4, (first + part.shape[1] + 3) // 4, device=device)[None]
        words = philox(blocks, low, high, torch.tensor([[step]], device=device), *key)
        part.copy_(_normal(torch.stack(words, 2).flatten(1)[:, : part.shape[1]], entries))
    return flat


def _normal(words: Tensor, entries: Tensor) -> Tensor:
    """The deviate of each word (int64), in operations of torch; `coslice.normal_deviates_numba` does the same."""
    v = (words << 1 | 1) & 0xFFFFFFFF
    octave = (v & ~(v >> 1)).to(torch.float32).view(torch.int32).to(torch.int64) >> 23
    octave -= 127
    leading = v << (31 - octave)  # 1, then 6 bits that say the segment, then d
    entry = entries[(octave << 6) + (leading >> FRACTION) - 64]
    d = leading & (1 << FRACTION) - 1
    slope = (entry >> SHIFT_1 & (1 << SHIFT_0 - SHIFT_1) - 1) - ((entry & (1 << SHIFT_1) - 1) * d >> FRACTION)
    size = (entry >> SHIFT_0) - (slope * d >> FRACTION) >> SPARE
    return torch.where(words >> 31 == 1, -size, size).to(torch.float32) * 2.0**-BITS


def gram(a: Tensor, b: Tensor) -> tuple[int, int, int]:
    """<a, a>, <a, b> and <b, b> of two planes of deviates, exactly, in units of 2^-(2 BITS).

    Args:
        a, b: of one shape, multiples of 2^-BITS below 8 in size, as they are drawn.
    """
    x, y = ((plane.to(torch.float32) * 2.0**BITS).to(torch.int64).reshape(-1) for plane in (a, b))
    whole = x.numel() // _BLOCK * _BLOCK
    sums = [
        torch.cat((products[:whole].view(-1, _BLOCK).sum(1), products[whole:].sum(0, keepdim=True)))
        for products in (x * x, x * y, y * y)
    ]
    # Added as Python's integers, which have no last bit to lose.
    aa, ab, bb = (sum(row) for row in torch.stack(sums).tolist())
    return aa, ab, bb


@lru_cache(1)
def table() -> np.ndarray:
    """The coefficients of all segments, int64: 64 to an octave. `scripts/normal_table.py` made the file."""
    with (resources.files("coslice") / "data" / "normal_deviates.npy").open("rb") as file:
        return np.load(file)


@lru_cache
def _table_on(device: torch.device) -> Tensor:
    return torch.from_numpy(table()).to(device)
