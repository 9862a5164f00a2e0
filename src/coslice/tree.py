"""Trees of plain values, as YAML files hold them, made into dataclasses.

The types of a dataclass are the schema of its file: a key that is not known, or a value of another kind, is one
sentence with the key's path (`optimiser.learning_rate`). Understood are plain types, words of a `Literal`, dataclasses,
tuples of one kind or of several, dictionaries with words for keys, and unions of such. `who` begins the sentence:
whatever the values are of.
Keys of an `INLINE` section stand beside those of the section that holds it, so a file may stay flat where code is not.

On a command line the same leaves are written one by one, `optimiser.learning_rate=1e-3`; `assignments` makes a tree of
them, which `overlay` lays over that of a file.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from coslice.errors import CosliceError
from coslice.escapes import shown, visible
from coslice.io.documents import read_yaml, scalar_of, yaml_of
from coslice.settings import TYPE_WORDS

__all__ = ["INLINE", "assigned", "assignments", "built", "nested", "overlay", "plain", "read_tree", "typed"]

INLINE = {"inline": True}
"""Metadata of a dataclass's field: a section whose keys stand beside the others in a tree."""


def read_tree(path: str | Path, who: str = "recipe") -> dict[str, Any]:
    """The tree of keys in a YAML file; an empty file is an empty tree.

    Raises:
        CosliceError: no such file, or one that is no YAML mapping.
    """
    try:
        tree = read_yaml(path)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise CosliceError(f"{who}: {path} was given, but it cannot be read ({reason}); give a YAML file.") from error
    except ValueError as error:
        raise CosliceError(f"{who}: {path} was given, but it is not YAML ({error}); correct it.") from error
    if tree is not None and not isinstance(tree, dict):
        raise CosliceError(f"{who}: {path} was given, but it holds no keys; write lines like `batch: 16`.")
    return tree or {}


def overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the leaves of `over` in place of its own."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[key] = overlay(below, value) if both else value  # pyright: ignore[reportArgumentType]
    return merged


def assignments(texts: Sequence[str], who: str = "set") -> dict[str, Any]:
    """The tree of several "a.b=VALUE".

    Raises:
        CosliceError: as `assigned` and `nested`.
    """
    return nested([assigned(text, who) for text in texts], who)


def assigned(text: str, who: str = "set") -> tuple[str, Any]:
    """Path and value of "a.b=VALUE".

    VALUE is none, or one scalar as YAML reads it, or a flow value: [1, 2], {a: 1}, "1". In a scalar a colon or # means
    nothing, and whole numbers are decimal.

    Raises:
        CosliceError: no path, no equals sign, or a value that is not YAML.
    """
    path, equals, value = text.partition("=")
    path, value = path.strip(), value.strip()
    value = "null" if value == "none" else value  # as settings without a value are shown
    if not equals or not all(path.split(".")):
        raise CosliceError(f"{who}: {shown(text)} was given, but NAME=VALUE is needed, with dots in NAME as in a.b=1.")
    try:
        if value.startswith(("[", "{", '"', "'")):
            return path, yaml_of(value)
        return path, scalar_of(value)
    except ValueError as error:
        raise CosliceError(
            f"{who}: {shown(text)} was given, but its value is not YAML ({error}); correct it."
        ) from error


def nested(pairs: Iterable[tuple[str, Any]], who: str = "set") -> dict[str, Any]:
    """The tree of values by their paths.

    Raises:
        CosliceError: a path that is there twice, or that has both a value and paths below it.
    """
    tree: dict[str, Any] = {}
    leaves: set[str] = set()
    for path, value in pairs:
        *sections, name = path.split(".")
        if path in leaves:
            raise CosliceError(f"{who}: {path} was given twice; give it once.")
        branch, whole = tree, ""
        for i, section in enumerate(sections, 1):
            above = ".".join(sections[:i])
            whole = whole or (above if above in leaves else "")
            branch = {} if whole else branch.setdefault(section, {})
        whole = whole or (path if name in branch else "")
        if whole:
            raise CosliceError(f"{who}: {whole} was given as a whole and in parts too; give one of the two.")
        branch[name] = value
        leaves.add(path)
    return tree


T = TypeVar("T")


def built(kind: type[T], values: Any, path: str = "", who: str = "recipe") -> T:
    """A dataclass of a tree of plain values, each checked against the type of its field.

    Args:
        kind: the dataclass.
        values: its fields by name, nested likewise; what is left out has its default.
        path: of the tree in a larger one, with a dot at its end, for the error.
        who: what the error begins with.

    Raises:
        CosliceError: an unknown key, a value of another kind, or what `kind` itself refuses; named by its path.
    """
    where = path.rstrip(".") or "what was given"
    if not isinstance(values, Mapping):
        raise CosliceError(f"{who}: {where} is {shown(values)}, but keys with values are needed; correct it.")
    hints, known, within = _known(kind)
    for key in values:
        if key not in known:
            near = _nearest(str(key), kind)
            meant = f"did you mean {path}{near}? " if near else ""
            word = visible(path) + (visible(key) if isinstance(key, str) and len(key) < 100 else shown(key))
            raise CosliceError(f"{who}: the key {word} is not known; {meant}Known are {', '.join(known)}.")
    own = {key: value for key, value in values.items() if key not in within}
    arguments = {key: typed(hints[key], value, f"{path}{key}", who) for key, value in own.items()}
    for name in dict.fromkeys(within.values()):
        section = {key: value for key, value in values.items() if within.get(key) == name}
        arguments[name] = built(hints[name], section, path, who)
    try:
        return kind(**arguments)
    except TypeError as error:
        missing = [key for key in known if key not in values]
        raise CosliceError(f"{who}: {where} lacks one of {', '.join(missing)}; add it.") from error


def plain(value: Any) -> Any:
    """A dataclass, and all in it, as the tree of dictionaries, lists and plain values of which `built` makes it."""
    if is_dataclass(value):
        tree: dict[str, Any] = {}
        for item in fields(value):
            below = plain(getattr(value, item.name))
            tree |= below if item.metadata.get("inline") else {item.name: below}
        return tree
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def _known(kind: Any) -> tuple[dict[str, Any], list[str], dict[str, str]]:
    """Of a dataclass: types by field, its keys in a tree, and the inline section of each key that stands in one."""
    hints: dict[str, Any] = typing.get_type_hints(kind)
    known: list[str] = []
    within: dict[str, str] = {}
    for item in fields(kind):
        keys = _known(hints[item.name])[1] if item.metadata.get("inline") else [item.name]
        within.update(dict.fromkeys(keys, item.name) if item.metadata.get("inline") else {})
        known += keys
    return hints, known, within


def typed(kind: Any, value: Any, path: str, who: str) -> Any:
    """`value` as `kind`: a plain type, a dataclass, a tuple of one kind or of several, or a union of such.

    Raises:
        CosliceError: it is none; the sentence begins with `who`, and names the value by its path.
    """
    if is_dataclass(kind):
        return built(typing.cast(type, kind), value, f"{path}.", who)
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _one_of(inside, value, path, who)
    if origin is tuple and isinstance(value, list | tuple):
        kinds = [inside[0]] * len(value) if inside[-1] is Ellipsis else list(inside)
        if len(kinds) == len(value):
            return tuple(typed(k, v, f"{path}[{i}]", who) for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if origin is dict and isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise CosliceError(f'{who}: {path} has the key {shown(key)}, but a word is needed; write "{key}".')
        return {key: typed(inside[1], item, f"{path}.{key}", who) for key, item in value.items()}
    if kind is Any or (kind is type(None) and value is None) or (origin is typing.Literal and value in inside):
        return value
    if kind is float and type(value) in (int, float, str):
        try:
            number = float(value)  # pyright: ignore[reportArgumentType]  # YAML 1.1 takes 1e-3 for a word
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    elif kind in (bool, int, str) and type(value) is kind:
        return value
    raise CosliceError(f"{who}: {path} is {shown(value)}, but {_named(kind)} is needed; correct it.")


def _one_of(kinds: tuple[Any, ...], value: Any, path: str, who: str) -> Any:
    for kind in kinds:
        try:
            return typed(kind, value, path, who)
        except CosliceError:
            # A list or a section says more of its own mistakes than the union would.
            if isinstance(value, list | dict) and (is_dataclass(kind) or typing.get_origin(kind) in (tuple, dict)):
                raise
    expected = " or ".join(_named(kind) for kind in kinds)
    raise CosliceError(f"{who}: {path} is {shown(value)}, but {expected} is needed; correct it.")


def _nearest(key: str, kind: Any) -> str | None:
    """The known name that is most like `key`: one of `kind`'s own, or the path of one in a section below."""
    own = {name: name for name in _known(kind)[1]}
    below = {name.rpartition(".")[2]: name for name in reversed(list(_paths(kind)))}
    if key in below:
        return below[key]
    for names in (own, below):
        for name in get_close_matches(key, names, 1):
            return names[name]
    return None


def _paths(kind: Any, path: str = "") -> Iterator[str]:
    """Paths of the keys of the sections below `kind`."""
    hints, _, within = _known(kind)
    for name, hint in hints.items():
        for section in (hint, *typing.get_args(hint)):
            if is_dataclass(section) and typing.get_origin(hint) in (None, types.UnionType, typing.Union):
                here = path if name in within.values() else f"{path}{name}."
                if here != path:
                    yield from (f"{here}{key}" for key in _known(section)[1])
                yield from _paths(section, here)


def _named(kind: Any) -> str:
    inside = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(map(str, inside))
    if typing.get_origin(kind) is tuple:
        return f"a list of {len(inside)}" if inside[-1] is not Ellipsis else "a list"
    return TYPE_WORDS.get(kind, "a section")
