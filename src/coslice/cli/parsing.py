"""Texts of options into values, and options that do not belong together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

from coslice.errors import CosliceError

__all__ = ["attenuations", "compared", "interval", "number_or_find", "pair", "refuse"]

N = TypeVar("N", int, float)


def pair(name: str, text: str, kind: Callable[[str], N], between: str = ",") -> tuple[N, N]:
    """Two numbers "A,B"; of one number, twice it.

    Raises:
        CosliceError: a text that is none.
    """
    words = text.split(between)
    try:
        numbers = [kind(word) for word in words]
        if len(numbers) == 1 and between == ",":
            return numbers[0], numbers[0]
        first, second = numbers
    except ValueError:
        shape = "LOW:HIGH" if between == ":" else "N or N,M"
        raise CosliceError(f'{name}: "{text}" was given, but {shape} is needed.') from None
    return first, second


def interval(name: str, text: str | None) -> tuple[int | None, int | None] | None:
    """ "FIRST:LAST"; an end that is left out is None.

    Raises:
        CosliceError: a text that is none.
    """
    if text is None:
        return None
    first, colon, last = text.partition(":")
    try:
        if not colon:
            raise ValueError
        return int(first) if first else None, int(last) if last else None
    except ValueError:
        raise CosliceError(
            f'{name}: "{text}" was given, FIRST:LAST is needed, such as 100:164 (LAST not included).'
        ) from None


def number_or_find(name: str, text: str | None) -> float | Literal["find"] | None:
    """A number, or the word "find".

    Raises:
        CosliceError: another text.
    """
    if text is None or text == "find":
        return text
    try:
        return float(text)
    except ValueError:
        raise CosliceError(f'{name}: "{text}" was given, but a number is needed, or find.') from None


def attenuations(text: str | None) -> tuple[float | Literal["find"] | None, float]:
    """Of water and of air, from "WATER", "WATER:AIR" or "find:AIR"; that of air is 0 where it is not given.

    Raises:
        CosliceError: another text.
    """
    if text is None:
        return None, 0.0
    water, colon, air = text.partition(":")
    try:
        return "find" if water == "find" else float(water), float(air) if colon else 0.0
    except ValueError:
        raise CosliceError(f'water: "{text}" was given, but a number, WATER:AIR or find is needed.') from None


def compared(text: str | None) -> tuple[str, ...]:
    """Names of methods from "sirt,admm-tv".

    Raises:
        CosliceError: a name twice, or none.
    """
    names = tuple(name.strip() for name in (text or "").split(",")) if text is not None else ()
    if "" in names or len(set(names)) != len(names):
        raise CosliceError(f'compare: "{text}" was given, but names of methods, each once, are needed: sirt,admm-tv.')
    return names


def refuse(options: Mapping[str, Any], reason: str) -> None:
    """Refuse options that were given, since `reason`.

    Raises:
        CosliceError: one is not None.
    """
    given = [f"--{name}" for name, value in options.items() if value is not None]
    if given:
        raise CosliceError(
            f"{', '.join(given)} {'was' if len(given) == 1 else 'were'} given, but {reason}; leave "
            f"{'it' if len(given) == 1 else 'them'} out."
        )
