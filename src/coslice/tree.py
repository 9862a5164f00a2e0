"""Trees of plain values, as YAML files hold them, made into dataclasses.

The types of a dataclass are the schema of its file: a key that is not known, or a value of another kind, is one
sentence with the key's path (`optimiser.learning_rate`). Understood are plain types, dataclasses, tuples of one kind or
of several, dictionaries with words for keys, and unions of such.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from coslice.errors import CosliceError

__all__ = ["built", "read_tree"]


def read_tree(path: str | Path) -> dict[str, Any]:
    """The tree of keys in a YAML file; an empty file is an empty tree.

    Raises:
        CosliceError: no such file, or one that is no YAML mapping.
    """
    try:
        tree = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise CosliceError(f"recipe: {path} was given, but it cannot be read as text; give a YAML file.") from error
    except yaml.YAMLError as error:
        line = " ".join(str(error).split())[:120]
        raise CosliceError(f"recipe: {path} was given, but it is not YAML ({line}); correct it.") from error
    if tree is not None and not isinstance(tree, dict):
        raise CosliceError(f"recipe: {path} was given, but it holds no keys; write lines like `batch: 16`.")
    return tree or {}


class _Loader(yaml.SafeLoader):
    """Plain values only, and no key twice: the last one would win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f'"{key.value}" is there twice', key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


T = TypeVar("T")


def built(kind: type[T], values: Any, path: str = "") -> T:
    """A dataclass of a tree of plain values, each checked against the type of its field.

    Args:
        kind: the dataclass.
        values: its fields by name, nested likewise; what is left out has its default.
        path: of the tree in a larger one, with a dot at its end, for the error.

    Raises:
        CosliceError: an unknown key, a value of another kind, or what `kind` itself refuses; named by its path.
    """
    where = path.rstrip(".") or "the recipe"
    if not isinstance(values, Mapping):
        raise CosliceError(f"recipe: {where} is {values!r}, but keys with values are needed; correct it.")
    hints = typing.get_type_hints(kind)
    known = [item.name for item in fields(kind)]  # pyright: ignore[reportArgumentType]
    for key in values:
        if key not in known:
            raise CosliceError(f"recipe: the key {path}{key} is not known; choose among {', '.join(known)}.")
    arguments = {key: _value(hints[key], value, f"{path}{key}") for key, value in values.items()}
    try:
        return kind(**arguments)
    except TypeError as error:
        missing = [f.name for f in fields(kind) if f.name not in values]  # pyright: ignore[reportArgumentType]
        raise CosliceError(f"recipe: {where} lacks one of {', '.join(missing)}; add it.") from error


def _value(kind: Any, value: Any, path: str) -> Any:
    """`value` as `kind`: a plain type, a dataclass, a tuple of one kind or of several, or a union of such."""
    if is_dataclass(kind):
        return built(typing.cast(type, kind), value, f"{path}.")
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _one_of(inside, value, path)
    if origin is tuple and isinstance(value, list | tuple):
        kinds = [inside[0]] * len(value) if inside[-1] is Ellipsis else list(inside)
        if len(kinds) == len(value):
            return tuple(_value(k, v, f"{path}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if origin is dict and isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise CosliceError(f'recipe: {path} has the key {key!r}, but a word is needed; write "{key}".')
        return {key: _value(inside[1], item, f"{path}.{key}") for key, item in value.items()}
    if kind is Any or (kind is type(None) and value is None):
        return value
    if kind is float and type(value) in (int, float, str):
        try:
            number = float(value)  # pyright: ignore[reportArgumentType]  # YAML 1.1 takes 1e-3 for a word
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
    elif kind in (bool, int, str) and type(value) is kind:
        return value
    raise CosliceError(f"recipe: {path} is {value!r}, but {_named(kind)} is needed; correct it.")


def _one_of(kinds: tuple[Any, ...], value: Any, path: str) -> Any:
    for kind in kinds:
        try:
            return _value(kind, value, path)
        except CosliceError:
            # A list or a section says more of its own mistakes than the union would.
            if isinstance(value, list | dict) and (is_dataclass(kind) or typing.get_origin(kind) in (tuple, dict)):
                raise
    expected = " or ".join(_named(kind) for kind in kinds)
    raise CosliceError(f"recipe: {path} is {value!r}, but {expected} is needed; correct it.")


def _named(kind: Any) -> str:
    if typing.get_origin(kind) is tuple:
        inside = typing.get_args(kind)
        return f"a list of {len(inside)}" if inside[-1] is not Ellipsis else "a list"
    names = {float: "a number", int: "a whole number", str: "a word", bool: "true or false", type(None): "nothing"}
    return names.get(kind, "a section")
