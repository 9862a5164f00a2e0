"""Named values of a file, checked as they are taken: finite numbers, lists of the right length, known names."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from coslice.errors import CosliceError
from coslice.escapes import shown
from coslice.io.plain_files import check_plain

__all__ = ["LARGEST", "Fields", "degrees", "json_or_yaml", "text_of"]

_MOST_BYTES = 64 * 2**20
_MOST_YAML = 2**20
_SHOWN = 60  # letters of a value in a sentence
"""YAML is read letter by letter in Python; a list of angles needs no more."""
_MOST_COUNTED = 1_000_000
"""Views, rows, columns, voxels along an axis: a slip must not ask for all of the memory."""

LARGEST = 1e12
"""No length in mm and no angle is larger; the squares of what is can still be computed."""
_SPACES = str.maketrans(",;[]()", "      ")


class Fields:
    """A mapping of names to values, as a file gave it.

    Args:
        values: by name; anything else is refused.
        name: of the file, for messages.
        ignore_case: whether the names' letters may be large or small.
    """

    def __init__(self, values: Any, name: str, ignore_case: bool = False) -> None:
        if not isinstance(values, Mapping):
            raise CosliceError(f"{name}: {shown(values, _SHOWN)} was given, but names with values are needed.")
        self.values = {str(key).lower() if ignore_case else str(key): value for key, value in values.items()}
        self.name = name
        self._ignore_case = ignore_case

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def get(self, key: str) -> Any:
        value = self.values.get(key.lower() if self._ignore_case else key)
        return None if isinstance(value, str) and not value.strip() else value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number; without `default` it must be there."""
        array = self.array(key, default)
        if array.size != 1:
            raise CosliceError(f"{self.name}: {key} has {array.size} values, one number is needed.")
        return float(array.reshape(-1)[0])

    def whole(self, key: str, default: int | None = None) -> int:
        """A positive whole number."""
        number = self.number(key, default)
        if number != int(number) or not 1 <= number <= _MOST_COUNTED:
            raise CosliceError(
                f"{self.name}: {key} {number:g} was given, a whole number from 1 to {_MOST_COUNTED} is needed."
            )
        return int(number)

    def numbers(self, key: str, count: int, default: Iterable[float] | None = None) -> tuple[float, ...]:
        """`count` finite numbers."""
        array = self.array(key, default)
        if array.shape != (count,):
            raise CosliceError(f"{self.name}: {key} has shape {array.shape}, {count} numbers are needed.")
        return tuple(float(number) for number in array)

    def pair(self, key: str) -> tuple[float, float]:
        """Two positive numbers; one stands for both."""
        array = self.array(key, None)
        if array.size == 1:
            array = np.repeat(array.reshape(-1), 2)
        if array.shape != (2,) or array.min() <= 0:
            raise CosliceError(
                f"{self.name}: {key} {shown(self.get(key), _SHOWN)} was given, two positive lengths are needed."
            )
        return float(array[0]), float(array[1])

    def three(self, key: str, default: float | None = None) -> tuple[float, float, float]:
        """Three numbers; one stands for all."""
        array = self.array(key, default)
        x, y, z = np.repeat(array.reshape(-1), 3) if array.size == 1 else self.numbers(key, 3)
        return float(x), float(y), float(z)

    def list(self, key: str) -> np.ndarray:
        """One or more finite numbers, (n,)."""
        array = self.array(key, None).reshape(-1)
        if array.size == 0:
            raise CosliceError(f"{self.name}: {key} is empty, at least one number is needed.")
        return array

    def rows(self, key: str, width: int) -> np.ndarray:
        """Lists of `width` finite numbers, (n, width), also as one long list."""
        array = self.array(key, None)
        if array.ndim == 1 and array.size and array.size % width == 0:
            array = array.reshape(-1, width)
        if array.ndim != 2 or array.shape[1] != width or len(array) == 0:
            raise CosliceError(f"{self.name}: {key} has shape {array.shape}, {width} numbers a view are needed.")
        return array

    def choice(self, key: str, choices: tuple[str, ...], default: str | None = None) -> str:
        """One of `choices`, in any case of letters."""
        value = self.get(key)
        word = default if value is None else str(value).strip().lower()
        if word not in choices:
            given = "nothing" if value is None else shown(value, _SHOWN)
            raise CosliceError(f"{self.name}: {key} {given} was given; choose one of {', '.join(choices)}.")
        return word

    def refuse_unknown(self, known: Iterable[str]) -> None:
        """Refuse a name that is not in `known`, with the nearest that is: a slip must not pass for a default."""
        known = tuple(known)
        for key in self.values:
            if key not in known:
                near = get_close_matches(key, known, 1, 0.5)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
                raise CosliceError(f'{self.name}: "{key[:60]}" is not known here; {hint}')

    def array(self, key: str, default: Any = None) -> np.ndarray:
        """Finite numbers in whatever lists they come."""
        value = self.get(key)
        if value is None:
            value = default
        if value is None:
            raise CosliceError(f"{self.name}: {key} is missing; add it.")
        if isinstance(value, str):
            value = value.translate(_SPACES).split()
        try:
            array = np.array(value, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            array = np.array(np.nan)
        if _has_truth(value) or not (np.abs(array) <= LARGEST).all():
            raise CosliceError(f"{self.name}: {key} {shown(value, _SHOWN)} was given, finite numbers are needed.")
        return array


def _has_truth(value: Any) -> bool:
    """Whether true or false stand where numbers should: numpy would count them as 1 and 0."""
    if isinstance(value, list | tuple):
        return any(_has_truth(item) for item in value)
    return isinstance(value, bool)


def text_of(path: Path) -> str:
    """The text of a file of at most 64 MB; letters that are no UTF-8 are replaced.

    Raises:
        CosliceError: a file that is not there, cannot be read, or is larger.
    """
    try:
        check_plain(path, "a geometry file is needed: give the file in it" if path.is_dir() else "give a geometry file")
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise CosliceError(
                f"{path} has {size / 2**20:.0f} MB, but a geometry file has at most {_MOST_BYTES // 2**20}; "
                "are these the projections?"
            )
        with open(path, "rb") as stream:
            return stream.read(_MOST_BYTES).decode("utf-8-sig", errors="replace")
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise CosliceError(f"The geometry file {path} cannot be read: {reason}; check its name.") from error


def json_or_yaml(text: str, name: str) -> dict[str, Any] | None:
    """The mapping that a text holds as JSON, or else as YAML; None where it holds none.

    Raises:
        CosliceError: JSON that breaks off or has a slip in it, with the line.
    """
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            where = f", line {error.lineno}: {error.msg.lower()}" if isinstance(error, json.JSONDecodeError) else ""
            raise CosliceError(f"{name} looks like JSON but is damaged{where}; correct it.") from error
        return found if isinstance(found, dict) else None
    if len(text) > _MOST_YAML:
        return None
    try:
        found = yaml.load(text, Loader=_PlainLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        return None
    return found if isinstance(found, dict) else None


class _PlainLoader(yaml.SafeLoader):
    """YAML without references, which can make a few lines stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("references are not read")
        return super().compose_node(parent, index)


def degrees(angles: Iterable[float]) -> tuple[float, ...]:
    """Radians of angles in degrees."""
    return tuple(math.radians(float(angle)) for angle in angles)
