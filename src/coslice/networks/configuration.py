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
from coslice.escapes import shown

__all__ = ["ConfigEntry", "Settings", "agrees", "missing"]

_SECTIONS = ("model", "data", "diffusion", "sde", "network", "unet")
_IDLE_SECTIONS = ("training", "sampling", "optim", "optimizer", "optimization", "eval", "evaluation", "time_travel")
"""Of how the network was trained, or is sampled in the published code; what matters of them is asked for by name."""


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

    Every entry that is asked for is marked, so that `unread` can name the rest.

    Raises:
        CosliceError: not a mapping; and, from the readers below, a value of another kind than needed.
    """

    def __init__(self, content: Any, source: str):
        if not isinstance(content, Mapping):
            raise CosliceError(
                f"{source}: it holds {_PARSED.get(type(content), shown(content))}, but a configuration maps names to "
                "values; give the one that came with the weights, or none."
            )
        self.source = source
        self.flat: dict[str, Any] = {}
        self._sections = {name: part for name, part in content.items() if isinstance(part, Mapping)}
        self._read: set[str] = set()
        self._overridden: dict[str, list[str]] = {}
        top = {name: value for name, value in content.items() if name not in self._sections}
        for name, section in (("", top), *((name, self._sections.get(name, {})) for name in _SECTIONS)):
            for word in section:
                if word in self.flat and not agrees(section[word], self.flat[word]):
                    self._overridden.setdefault(word, []).append(f"{name}.{word} {shown(section[word])}")
            self.flat = {**section, **self.flat}

    def inside(self, section: str, word: str) -> Any:
        """The value of an entry of one section, laid flat or not; None if it is not there."""
        return self._sections.get(section, {}).get(word)

    def unread(self, idle: Mapping[str, tuple[Any, ...]]) -> list[str]:
        """Entries that nobody asked for, in words.

        Args:
            idle: those that change nothing, with the values of which that holds; none for all values.
        """
        words = [
            f"{word} {shown(value)}"
            for word, value in self.flat.items()
            if word not in self._read and value is not None and not (word in idle and _among(value, idle[word]))
        ]
        sections = [name for name in self._sections if name not in _SECTIONS and name not in _IDLE_SECTIONS]
        overridden = [text for texts in self._overridden.values() for text in texts]
        return [*words, *overridden, *(f"the section {name}" for name in sections)]

    def elsewhere(self, word: str) -> list[str]:
        """Where `word` stands once more with another value, and that value: ["data.centered False"]."""
        return self._overridden.get(word, [])

    def get(self, *words: str) -> tuple[str, Any] | None:
        """The first of `words` that is there with a value, and that value."""
        found = next((word for word in words if self.flat.get(word) is not None), None)
        if found is None:
            return None
        self._read.add(found)
        return found, self.flat[found]

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
        except (TypeError, ValueError, OverflowError) as error:
            raise CosliceError(
                f"{self.source}: {word} {shown(given)} was given, but "
                f"{_NEEDED.get(kind, 'another value')} is needed; correct it."
            ) from error


def _among(value: Any, values: tuple[Any, ...]) -> bool:
    return not values or any(agrees(value, one) or str(value).lower() == str(one).lower() for one in values)


def side(given: Any) -> int:
    """A whole number above 0."""
    if (found := integer(given)) < 1:
        raise ValueError
    return found


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


_PARSED = {type(None): "nothing", list: "a list"}
_NEEDED = {
    integer: "a whole number",
    side: "a whole number above 0",
    flag: "true or false",
    numbers: "numbers",
    float: "a number",
    str: "a word",
}
"""What the readers of values take, in words."""
