"""Published configuration files, read into our words.

A configuration that accompanies published weights is a JSON or YAML mapping, flat (guided diffusion's command line
arguments) or in sections (`model:`, `data:`, `diffusion:`, as score_sde and DDS write it). A `ConfigEntry` says what
one field of our config is; the reader refuses entries that contradict the weights themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from coslice.errors import CosliceError

__all__ = ["ConfigEntry", "Settings", "agrees", "missing"]

_SECTIONS = ("model", "data", "diffusion", "sde", "network", "unet")


@dataclass(frozen=True)
class ConfigEntry:
    """One entry of a configuration file: `word`: `given`, which makes our `field` equal to `value`."""

    field: str
    word: str
    given: Any
    value: Any


class Settings:
    """A configuration file as a flat mapping of published words.

    Args:
        content: as parsed; sections are laid flat, top level first.
        source: the file's name, for messages.

    Raises:
        CosliceError: not a mapping; and, from the readers below, a value of another kind than needed.
    """

    def __init__(self, content: Any, source: str):
        if not isinstance(content, Mapping):
            raise CosliceError(
                f"{source}: a {type(content).__name__} was given, but a configuration maps names to values."
            )
        sections = (content[name] for name in _SECTIONS if isinstance(content.get(name), Mapping))
        self.source = source
        self.flat: dict[str, Any] = {}
        for section in (content, *sections):
            self.flat = {**section, **self.flat}

    def get(self, *words: str) -> tuple[str, Any] | None:
        """The first of `words` that is there with a value, and that value."""
        return next(((word, self.flat[word]) for word in words if self.flat.get(word) is not None), None)

    def value(self, kind: Callable[[Any], Any], *words: str) -> Any:
        """The value of the first of `words`, as `kind`; None if none is there."""
        found = self.get(*words)
        return None if found is None else self._as(kind, *found)

    def entries(self, field: str, kind: Callable[[Any], Any], *words: str) -> list[ConfigEntry]:
        """What the first of `words` says of `field`, its value read by `kind`; nothing if none is there."""
        found = self.get(*words)
        return [] if found is None else [ConfigEntry(field, *found, self._as(kind, *found))]

    def _as(self, kind: Callable[[Any], Any], word: str, given: Any) -> Any:
        try:
            return kind(given)
        except (TypeError, ValueError) as error:
            raise CosliceError(
                f"{self.source}: {word} {given!r} was given, which cannot be read as what it should be."
            ) from error


def integer(given: Any) -> int:
    """A whole number, also written as text or as a float."""
    if isinstance(given, bool) or float(given) != int(float(given)):
        raise ValueError
    return int(float(given))


def flag(given: Any) -> bool:
    """True or False, also written as text."""
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if str(given).lower() not in words:
        raise ValueError
    return words[str(given).lower()]


def numbers(given: Any) -> tuple[float, ...]:
    """Numbers of a list, of "1,2,4", or a single one; whole ones as int."""
    parts = given.split(",") if isinstance(given, str) else given if isinstance(given, list | tuple) else [given]
    return tuple(tidy(float(part)) for part in parts if str(part).strip())


def tidy(number: float) -> float:
    """The same number, as int if it is whole."""
    return int(number) if float(number).is_integer() else number


def agrees(a: Any, b: Any) -> bool:
    """Whether two values of a field are the same, numbers to a thousandth of themselves."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(agrees, a, b))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-3)
    return a == b


def missing(title: str, name: str) -> CosliceError:
    """The error for a parameter without which nothing can be inferred."""
    return CosliceError(
        f'{title}: the weights have no "{name}", without which the network\'s shape is not known; '
        "the file may be incomplete, or of another kind."
    )
