"""Philox4x32-10: random words as a function of a counter and a key, in integer arithmetic.

A generator with a state must be asked in order, so its numbers depend on who asked before. A counter-based one is a
scrambling of 128 bits, different for every key: word number n is had by scrambling n, in any order, on any device. One
round of Philox multiplies two of the four words of the counter by constants, keeps the low halves of the products, and
mixes the high halves with the other two words and with the key:

    (c0, c1, c2, c3) -> (high(B c2) ^ c1 ^ k0,  low(B c2),  high(A c0) ^ c3 ^ k1,  low(A c0))

Each round is invertible, so that different counters never give the same four words. Ten rounds, with a key that grows
by a constant from round to round, pass the known batteries of tests (TestU01's BigCrush; six rounds are enough for it).

    Salmon, Moraes, Dror & Shaw: Parallel random numbers: as easy as 1, 2, 3. SC 2011.
"""

from __future__ import annotations

from functools import lru_cache
from struct import unpack
from typing import TypeVar

from torch import Tensor

__all__ = ["named_key", "philox"]

_WORD = 0xFFFFFFFF
_A, _B = 0xD2511F53, 0xCD9E8D57
_GROWTH_0, _GROWTH_1 = 0x9E3779B9, 0xBB67AE85  # the golden ratio, and sqrt(3) - 1

Words = TypeVar("Words", int, Tensor)


def philox(
    c0: Words, c1: Words, c2: Words, c3: Words, k0: int, k1: int, rounds: int = 10
) -> tuple[Words, Words, Words, Words]:
    """Four random words for each counter.

    The same lines serve Python's integers, tensors and numba: products of 64 bits may wrap into the sign, so every
    shift is followed by a mask.

    Args:
        c0, c1, c2, c3: the counter, words of 32 bits: integers, or int64 tensors of shapes that broadcast.
        k0, k1: the key, words of 32 bits.
        rounds: 10 is the published number.
    """
    for _ in range(rounds):
        a, b = c0 * _A, c2 * _B
        c0, c1, c2, c3 = (b >> 32 & _WORD) ^ c1 ^ k0, b & _WORD, (a >> 32 & _WORD) ^ c3 ^ k1, a & _WORD
        k0, k1 = k0 + _GROWTH_0 & _WORD, k1 + _GROWTH_1 & _WORD
    return c0, c1, c2, c3


@lru_cache
def named_key(seed: int, name: str) -> tuple[int, int]:
    """A key for every seed and every name.

    The seed scrambles the first 16 bytes of the name, and what comes out scrambles the next. Two of n keys agree with
    a probability of n^2/2^65.

    Args:
        seed: any integer; those that differ by a multiple of 2^64 are one.
        name: of any length.
    """
    key = seed & _WORD, seed >> 32 & _WORD
    letters = name.encode() + b"\xff"  # no letter in UTF-8: "a" and "a\0" are two names
    for place in range(0, len(letters), 16):
        a, b, c, d = unpack("<4I", letters[place : place + 16].ljust(16, b"\0"))
        key = philox(a, b, c, d, *key)[:2]
    return key
