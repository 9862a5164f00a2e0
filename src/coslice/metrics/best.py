"""Which number of a column is the best, for every table that marks one."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["best_of"]


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
