"""JSON and YAML that may come from anybody, within bounds: of depth, of values, of digits.

A few hundred bytes of YAML whose aliases stand for aliases are gigabytes when they are written out, JSON nested deep
enough ends the interpreter, and a number of a million digits takes minutes. What is not plain (an object of some
language, a number that is not finite, a key that is there twice) is refused: all by one kind of error with a reason.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from coslice.escapes import shown, visible

__all__ = ["PlainYaml", "json_of", "read_json", "read_yaml", "scalar_of", "yaml_of"]

_MOST_JSON, _MOST_YAML = 16 * 2**20, 2**17
"""Bytes of a file: records of thousands of views and of thousands of scans are smaller, and recipes by far."""
_MOST_VALUES = 1_000_000
_MOST_NODES = 100_000
"""Of YAML, with every alias written out."""
_DEEPEST = 64
_MOST_DIGITS = 308
"""Of a number; with more it may be beyond the largest float."""


def read_json(path: str | Path) -> Any:
    """What a file of JSON holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON, or goes beyond the bounds; the message is a reason, as in "line 3: expecting value".
    """
    return json_of(_text(Path(path), _MOST_JSON))


def json_of(text: str) -> Any:
    """As `read_json`, of a text.

    Raises:
        ValueError: as there.
    """
    if text.count(",") + text.count("[") + text.count("{") > _MOST_VALUES:
        raise ValueError(f"it holds more than {_MOST_VALUES:,} values")
    try:
        found = json.loads(
            text,
            parse_int=_whole,
            parse_constant=_not_finite,
            object_pairs_hook=_once,
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: {error.msg.lower()}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    _check_depth(found)
    return found


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"it holds a number of {len(digits)} digits")
    return int(digits)


def _not_finite(word: str) -> float:
    raise ValueError(f"it holds {word}, which is no number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {shown(twice)} is there twice")
    return found


def _check_depth(value: Any) -> None:
    """Refuse what is nested deeper than anything that is meant, and numbers beyond the largest."""
    level, depth = [value], 0
    while level:
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below += one.values()
            elif isinstance(one, list):
                below += one
            elif isinstance(one, float) and not math.isfinite(one):
                raise ValueError("it holds a number beyond the largest there is")
        level, depth = below, depth + 1


def read_yaml(path: str | Path) -> Any:
    """What a file of YAML holds: plain values only, whole numbers decimal, no key twice.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no YAML, or goes beyond the bounds; the message is a reason.
    """
    return yaml_of(_text(Path(path), _MOST_YAML))


def yaml_of(text: str) -> Any:
    """As `read_yaml`, of a text.

    Raises:
        ValueError: as there.
    """
    try:
        return yaml.load(text, PlainYaml)
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark is not None else ""
        raise ValueError(visible(where + " ".join(str(error.problem or error.context).split())[:200])) from error
    except yaml.YAMLError as error:
        raise ValueError(visible(" ".join(str(error).split())[:200])) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def scalar_of(text: str) -> Any:
    """One scalar as YAML reads it, in which a colon or # means nothing.

    Raises:
        ValueError: a number of too many digits, or a date that is in no calendar.
    """
    loader = PlainYaml("")
    try:
        return loader.construct_object(yaml.ScalarNode(loader.resolve(yaml.ScalarNode, text, (True, False)), text))
    except yaml.MarkedYAMLError as error:
        raise ValueError(visible(str(error.problem))) from error


class PlainYaml(yaml.SafeLoader):
    """Plain values only, within the bounds, and no key twice: the last one would win in silence.

    YAML 1.1 reads 1:30 as 90 and 010 as 8; here a whole number is what everybody takes for one.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise yaml.YAMLError("it is nested too deeply")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_document(self) -> Any:
        node = super().compose_document()
        _count(node, {}, set())
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
            # A word under a tag that it is not of, as in !!int x, or a day that is in no calendar.
            kind = node.tag.rpartition(":")[2]
            given = shown(node.value if isinstance(node, yaml.ScalarNode) else kind)
            problem = f"{given} is no value of the kind {visible(kind)}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                problem = f"the key {shown(key.value)} is there twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


def _count(node: yaml.Node | None, known: dict[int, int], above: set[int]) -> int:
    """The values of a node with every alias written out."""
    if node is None or not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) in above:
        raise yaml.YAMLError("it holds itself")
    if id(node) not in known:
        inside = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_count(one, known, {*above, id(node)}) for one in inside)
    if known[id(node)] > _MOST_NODES:
        raise yaml.YAMLError(f"its aliases stand for more than {_MOST_NODES:,} values")
    return known[id(node)]


def _whole_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    digits = str(loader.construct_scalar(node))
    if len(digits) > _MOST_DIGITS:
        raise ValueError("digits")
    return int(digits)


_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def _decimal_only() -> None:
    resolvers = {
        first: [(tag, pattern) for tag, pattern in found if tag not in _NUMBERS]
        for first, found in PlainYaml.yaml_implicit_resolvers.items()
    }
    PlainYaml.yaml_implicit_resolvers = resolvers
    PlainYaml.add_implicit_resolver(_NUMBERS[0], re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
    decimal = r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"
    special = r"^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
    PlainYaml.add_implicit_resolver(_NUMBERS[1], re.compile(f"{decimal}|{special}"), list("-+0123456789."))
    PlainYaml.add_constructor(_NUMBERS[0], _whole_number)


_decimal_only()


def _text(path: Path, most: int) -> str:
    """The text of a regular file of at most `most` bytes."""
    if not path.is_file():
        if path.exists():
            raise ValueError("it is no file")
        raise FileNotFoundError(2, "No such file or directory", str(path))
    with open(path, "rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it is larger than {most / 2**20:.3g} MB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("it is no text in UTF-8") from error
