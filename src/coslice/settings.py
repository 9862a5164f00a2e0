"""Parts: small frozen values that name their own settings, say what each means, and refuse what cannot be.

A method of reconstruction is a composition of parts: a schedule, a noise, a data step, and so on. A part is a frozen
dataclass whose fields are made with `setting`:

    @dataclass(frozen=True)
    class Geometric(Schedule):
        kind = "geometric"
        steps: int = setting(30, "Network evaluations for each sample", least=1)
        sigma_max: float = setting(5.0, "First noise level", unit="unit window", above=0)

The dataclass is the only list of its settings. The command line, YAML files, `coslice methods` and the keys of finished
benchmark cells read it from here. A number out of its range is refused when the part is made, so a part that exists
is valid.

`first` is the value a setting had when it was first published. Keys of benchmark cells hold only what differs from it,
so a new setting whose default changes nothing keeps every key. Who changes a default writes the old one as `first`.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from numbers import Real
from typing import Any, ClassVar

from coslice.errors import CosliceError
from coslice.escapes import numeral, shown, visible

__all__ = ["TYPE_WORDS", "Part", "Setting", "kinds_of", "setting", "sort_of"]


@dataclass(frozen=True)
class Setting:
    """What is known of one setting besides its name and value.

    Attributes:
        meaning: a phrase with a noun.
        first: the value at first publication, see the module.
        unit: of the number; "" for a count or a word.
        least, above, most: bounds of a number; `least` and `most` are allowed values, `above` is not.
        choices: the words that are allowed; empty where any value of the type is.
    """

    meaning: str
    first: Any
    unit: str = ""
    least: float | None = None
    above: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def needed(self) -> str:
        """What a value must be, in words: "a number from 0 to 1"."""
        if self.choices:
            return " or ".join(self.choices)
        low = f"above {self.above:g}" if self.above is not None else ""
        low = f"at least {self.least:g}" if self.least is not None else low
        high = f"at most {self.most:g}" if self.most is not None else ""
        return " and ".join(words for words in (low, high) if words) or "a finite number"

    def allows(self, value: Any) -> bool:
        """Whether `value` lies within the bounds, which only a number does; None, where the type allows it, always."""
        if value is None:
            return True
        if self.choices:
            return value in self.choices
        bounded = (self.least, self.above, self.most) != (None, None, None)
        if isinstance(value, bool) or not isinstance(value, Real):
            return not bounded
        try:
            number = float(value)
        except OverflowError:  # a whole number of hundreds of digits
            return False
        return (
            math.isfinite(number)
            and (self.least is None or number >= self.least)
            and (self.above is None or number > self.above)
            and (self.most is None or number <= self.most)
        )


_KEY = "coslice"  # of a field's metadata
_MOST_COUNT = 100_000
"""Of steps, iterations and the like: more would never end."""
_LARGEST = 1e12
"""Of a number, and the inverse of the smallest: its square still has a place in single precision."""
_DEFAULT = object()


def setting(
    default: Any,
    meaning: str,
    unit: str = "",
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    choices: tuple[str, ...] = (),
    first: Any = _DEFAULT,
) -> Any:
    """A field of a part. Arguments as the attributes of `Setting`; `default` is the value where none is given."""
    described = Setting(meaning, default if first is _DEFAULT else first, unit, least, above, most, choices)
    return dataclasses.field(default=default, metadata={_KEY: described})


@dataclass(frozen=True)
class Part:
    """A part of a method; its fields made with `setting` are its settings.

    Attributes:
        kind: the word for it in files and on the command line; "" for a class that has none, as a user's own may.
        title: what tables call it; "" where they do not speak of it.
        not_settings: names of fields that are no settings.
        memoryless: of a part of the user's own, that nothing it builds remembers anything from one step to the next. A
            run that was killed then goes on in the middle of a sample; else at the beginning of one, unless what
            remembers is `coslice.Stateful`. coslice's own parts are the one or the other.

    Raises:
        CosliceError: a setting of another type or outside its bounds; a class that is no dataclass, has fields that are
            no settings, or takes the word of one of coslice's parts.
    """

    kind: ClassVar[str] = ""
    title: ClassVar[str] = ""
    not_settings: ClassVar[tuple[str, ...]] = ()
    memoryless: ClassVar[bool] = False

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        taken = kinds_of(sort_of(cls)).get(cls.__dict__.get("kind", ""))
        if taken is not None and taken.built_in() and not cls.built_in():
            raise CosliceError(
                f'{cls.__name__}: the kind "{cls.kind}" was given, but coslice calls its {taken.__name__} so; choose '
                "another word."
            )

    def __post_init__(self) -> None:
        self._check_class()
        hints, word = _hints(type(self)), type(self).__name__
        for name, known in self.settings():
            value = getattr(self, name)
            hint = hints.get(name, Any)
            if not _fits(hint, value):
                given = f'"{visible(value[:100])}"' if isinstance(value, str) else shown(value)
                raise CosliceError(f"{word}: {name} {given} was given, {_in_words(hint)} is needed.")
            if not known.allows(value):
                given = numeral(value) if isinstance(value, int | float) else f'"{visible(str(value)[:100])}"'
                unit = f" {known.unit}" if known.unit else ""
                raise CosliceError(f"{word}: {name} {given}{unit} was given, {known.needed} is needed.")
            if isinstance(value, int | float) and known.most is None and _beyond(value):
                whole = isinstance(value, int)
                bound = f"at most {_MOST_COUNT:,}" if whole else f"0 or {1 / _LARGEST:g} to {_LARGEST:g}"
                raise CosliceError(f"{word}: {name} {numeral(value)} was given, {bound} is possible.")

    def _check_class(self) -> None:
        """Refuse a class whose fields nobody could see: keys and records are made of settings."""
        cls = type(self)
        if any(isinstance(value, dataclasses.Field) for value in vars(cls).values()):
            raise CosliceError(f"{cls.__name__}: it is no dataclass; write @dataclass(frozen=True) above the class.")
        known = {*(name for name, _ in self.settings()), *self.not_settings}
        for item in dataclasses.fields(self):
            if item.name not in known:
                raise CosliceError(
                    f"{cls.__name__}: the field {item.name} is no setting; make it with setting(DEFAULT, MEANING)."
                )

    @classmethod
    def built_in(cls) -> bool:
        """Whether the class is one of coslice's, and not from outside."""
        return cls.__module__.startswith("coslice.")

    @classmethod
    def settings(cls) -> Iterator[tuple[str, Setting]]:
        """The settings by name, in the order of the dataclass."""
        for item in dataclasses.fields(cls):
            if _KEY in item.metadata:
                yield item.name, item.metadata[_KEY]


def _beyond(value: float) -> bool:
    """Whether a number without bounds of its own is so large, or so near to 0, that no computation stands it."""
    if isinstance(value, int):
        return abs(value) > _MOST_COUNT
    return abs(value) > _LARGEST or 0.0 < abs(value) < 1 / _LARGEST


TYPE_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a word",
    bool: "true or false",
    type(None): "nothing",
}
"""Types of plain values as messages name them."""


def sort_of(cls: type[Part]) -> type[Part]:
    """The sort of part that a class is: the first class below `Part` that it stems from."""
    return next(kind for kind in reversed(cls.__mro__) if issubclass(kind, Part) and kind is not Part)


def kinds_of(base: type[Part]) -> dict[str, type[Part]]:
    """The kinds of a sort of part by their words, those from outside of coslice that have a word included."""
    found = {base.kind: base} if base.kind else {}
    for below in base.__subclasses__():
        for word, kind in kinds_of(below).items():
            if word not in found or not found[word].built_in():  # of a class defined twice, as in a notebook, the later
                found[word] = kind
    return found


@lru_cache(maxsize=256)
def _hints(cls: type[Part]) -> dict[str, Any]:
    """Types of the fields of a class; none where they cannot be found, as in a notebook's cell."""
    try:
        return typing.get_type_hints(cls)
    except (NameError, TypeError):
        return {}


def _fits(hint: Any, value: Any) -> bool:
    """Whether a value is of a type; a whole number is a number, and true and false are neither."""
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(one, value) for one in inside)
    if origin is typing.Literal:
        return value in inside
    if hint in (int, float):
        return isinstance(value, int if hint is int else (int, float)) and not isinstance(value, bool)
    kind = origin or hint
    return isinstance(value, kind) if isinstance(kind, type) else True


def _in_words(hint: Any) -> str:
    inside = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(map(str, inside))
    if inside and typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(map(_in_words, inside))
    return TYPE_WORDS.get(hint, f"a {getattr(hint, '__name__', hint)}")
