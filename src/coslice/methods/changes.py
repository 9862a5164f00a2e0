"""A method with other settings, from a tree of plain values: the same for YAML files, the command line and Python.

    changed(DDS, {"data": {"iterations": 20}, "noise": "iscs", "schedule": {"kind": "karras", "steps": 10}})

A part is named by its word, or by a section of its settings; with "kind" in the section it becomes another part. A new
part keeps those settings that both inherit and that are not at their default, so that {"schedule": "karras"} changes
the spacing of the noise levels and not their number. The dataclasses of the parts are the list of what there is.
"""

from __future__ import annotations

import hashlib
import inspect
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, cast

from coslice.errors import CosliceError
from coslice.methods.endings import LastEstimate
from coslice.methods.former import FORMER, FORMER_OF_DIRECT
from coslice.methods.method import AnyMethod, Direct, Method
from coslice.settings import Part, Setting, kinds_of
from coslice.tree import plain, typed

__all__ = ["SettingLine", "changed", "described", "differing", "kinds_at", "parts_of", "setting_lines"]

_SLOTS = {
    Method: ("prior", "data", "renoising", "schedule", "noise", "start", "end", "samples"),
    Direct: ("solution",),
}
"""What may be changed of a method: its parts, and the number of samples."""

T = TypeVar("T", bound=Part | Method | Direct)


def changed(value: T, tree: Mapping[str, Any], who: str = "method", path: str = "") -> T:
    """A method, or a part of one, with the settings of `tree` in place of its own.

    Args:
        value: the method or part.
        tree: settings by name, sections by the name of a part; a part may also be given as a value.
        who: what an error begins with.
        path: of `tree` in a larger one, with a dot at its end, for errors.

    Raises:
        CosliceError: a setting or a kind of part that is not known, a value of another type or out of its range.
    """
    if not isinstance(tree, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # not every caller checks types
        at = path.rstrip(".") or "the settings"
        raise CosliceError(f"{who}: {at} is {tree!r}, but settings with values are needed; correct it.")
    if not isinstance(value, Part | Method | Direct):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise CosliceError(f"{who}: settings of {value!r} were given, but a method or a part of one is needed.")
    hints, known = typing.get_type_hints(type(value)), _names(value)
    new: dict[str, Any] = {}
    for name, given in tree.items():
        if name not in known:
            raise _unknown(value, str(name), known, who, path)
        here = f"{path}{name}"
        part = _part_type(hints[name])
        if part is None:
            new[name] = typed(hints[name], given, here, who)
        elif given is None and type(None) in typing.get_args(hints[name]):
            new[name] = None
        else:
            new[name] = _changed_part(part, getattr(value, name), given, who, here)
    try:
        return replace(value, **new)
    except CosliceError as error:
        raise CosliceError(f"{who}: {_at_path(value, path, str(error))}") from error


def _at_path(value: Any, path: str, sentence: str) -> str:
    """What a part says of itself, with the path by which a user of files and commands knows it."""
    sentence = sentence.removeprefix(f"{type(value).__name__}: ")
    if not path:
        return sentence
    whole = sentence.partition(" ")[0] in _names(value)
    return f"{path}{sentence}" if whole else f"{path.rstrip('.')}: {sentence}"


def _changed_part(base: type[Part], current: Part | None, given: Any, who: str, path: str) -> Part:
    if isinstance(given, base):
        return given
    word: Any = given
    tree: dict[str, Any] = {}
    if isinstance(given, Mapping):
        tree = dict(cast("Mapping[str, Any]", given))
        word = tree.pop("kind", current.kind if current is not None else None)
    if current is not None and word == current.kind and not inspect.isabstract(type(current)):
        return changed(current, tree, who, f"{path}.")
    kinds = kinds_of(base)
    if word is None and tree:
        raise CosliceError(
            f"{who}: {path} was given settings ({', '.join(map(str, tree))}), but nothing says of what; give "
            f"{path}.kind too, one of {', '.join(kinds)}."
        )
    if list(kinds) == [current.kind if current is not None else ""]:
        raise CosliceError(
            f"{who}: {path} is {word!r}, but it has settings of its own; give {path}.{_names(current)[0]}, say."
        )
    if not isinstance(word, str) or word not in kinds:
        near = get_close_matches(str(word).lower(), kinds, 1)
        hint = f"did you mean {near[0]}?" if near else "correct it."
        raise CosliceError(f"{who}: {path} is {word!r}, but it is one of {', '.join(kinds) or 'nothing'}; {hint}")
    chosen = kinds[word]
    return changed(chosen(**_kept(current, chosen)), tree, who, f"{path}.")


def _kept(current: Part | None, chosen: type[Part]) -> dict[str, Any]:
    """What a part of another kind keeps of the present one: what was chosen of the settings that both inherit."""
    if current is None:
        return {}
    common = next(kind for kind in type(current).__mro__ if issubclass(chosen, kind))
    defaults = {item.name: item.default for item in fields(current)}
    shared = [name for name, _ in common.settings()] if issubclass(common, Part) else []
    return {name: getattr(current, name) for name in shared if getattr(current, name) != defaults[name]}


def _names(value: Any) -> list[str]:
    for method, slots in _SLOTS.items():
        if isinstance(value, method):
            return list(slots)
    return [name for name, _ in value.settings()]


def _part_type(hint: Any) -> type[Part] | None:
    """The part that a field of this type holds; None for a plain value."""
    for kind in (hint, *typing.get_args(hint)):
        if isinstance(kind, type) and issubclass(kind, Part):
            return kind
    return None


def _unknown(value: Any, name: str, known: list[str], who: str, path: str) -> CosliceError:
    subject = f"method {value.name}" if isinstance(value, Method | Direct) else path.rstrip(".") or type(value).__name__
    if isinstance(value, Direct) and name in (*_SLOTS[Method], "steps"):
        own = ", ".join(line.path for line in setting_lines(value) if "." in line.path) or "none"
        return CosliceError(
            f"{who}: {path}{name} was given, but {value.title} does not sample and has none; its settings: {own}."
        )
    near = _nearest(value, name, known, path)
    meant = f"did you mean {path}{near}? " if near else ""
    settings = f"it has {', '.join(known)}" if known else "it has no settings"
    return CosliceError(f"{who}: {path}{name} was given, but {subject} has no setting of that name; {meant}{settings}.")


def _nearest(value: Any, name: str, known: list[str], path: str) -> str | None:
    """The path of the setting that was probably meant: the same name further below, a former one's, or one like it."""
    paths = [line.path for line in setting_lines(value)]
    below = {line.rpartition(".")[2]: line for line in reversed(paths)}
    former = (FORMER_OF_DIRECT if isinstance(value, Direct) else FORMER).get(name, "").removeprefix(path)
    if former in paths:
        return former
    for found in (name, former.rpartition(".")[2]):
        if found in below:
            return below[found]
    close = get_close_matches(name, [*known, *below], 1)
    return None if not close else close[0] if close[0] in known else below[close[0]]


def parts_of(value: AnyMethod | Part) -> dict[str, Part | None]:
    """The parts of a method, and the parts of these, by path; None where there could be one and is none."""
    return {path: part for path, part, _ in _places(value)}


def kinds_at(value: AnyMethod | Part) -> dict[str, list[str]]:
    """The words of the parts that may stand at each path of `parts_of`."""
    return {path: list(kinds_of(base)) for path, _, base in _places(value)}


def _places(value: AnyMethod | Part, path: str = "") -> Iterator[tuple[str, Part | None, type[Part]]]:
    hints = typing.get_type_hints(type(value))
    for name in _names(value):
        base = _part_type(hints[name])
        if base is None:
            continue
        part: Part | None = getattr(value, name)
        yield f"{path}{name}", part, base
        if part is not None:
            yield from _places(part, f"{path}{name}.")


@dataclass(frozen=True)
class SettingLine:
    """One setting of a method, as `coslice methods NAME` prints it.

    Attributes:
        path: of the setting, as in "data.iterations".
        value: of the method.
        setting: its meaning, unit and bounds.
        published: the value that was published, where it is another; else `value`.
    """

    path: str
    value: Any
    setting: Setting
    published: Any


def setting_lines(method: AnyMethod | Part) -> list[SettingLine]:
    """All settings of a method, part by part; a part itself is a line whose value is its word."""
    published: Mapping[str, Any] = {} if isinstance(method, Part) else method.published
    return [SettingLine(path, value, known, published.get(path, value)) for path, value, known in _walk(method)]


def _walk(value: Any, path: str = "") -> Iterator[tuple[str, Any, Setting]]:
    if not isinstance(value, Part):
        for name in _names(value):
            below = getattr(value, name)
            if isinstance(below, Part):
                if name != below.kind:  # the start has no other kinds, and needs no word
                    yield name, below.kind or type(below).__name__, Setting((below.__doc__ or "").split("\n")[0], None)
                yield from _walk(below, f"{name}.")
            else:
                yield name, below, Setting("Reconstructions of which the mean is taken", 1)
        return
    for name, known in value.settings():
        below = getattr(value, name)
        if isinstance(below, Part):
            yield f"{path}{name}", below.kind or type(below).__name__, known
            yield from _walk(below, f"{path}{name}.")
        else:
            yield f"{path}{name}", below, known


def described(value: AnyMethod | Part) -> dict[str, Any]:
    """All of a method as a tree of plain values, for records: names, parts with their kind, every setting."""
    if isinstance(value, Part):
        settings = {name: _plain(getattr(value, name), described) for name, _ in value.settings()}
        return _kind(value) | settings
    words: dict[str, Any] = {"name": value.name, "title": value.title, "source": value.source}
    if isinstance(value, Method) and value.fast:
        words["fast"] = True
    return words | {name: _plain(getattr(value, name), described) for name in _names(value)}


def differing(value: AnyMethod | Part) -> dict[str, Any]:
    """What numbers depend on, for keys: kinds of parts, and the settings that differ from their first publication.

    A setting that is new, and has the default with which nothing changes, leaves no trace here. A part from outside of
    coslice is described by all its settings and a digest of the file that defines it.
    """
    if isinstance(value, Part):
        own = not value.built_in()
        settings = {
            name: _plain(getattr(value, name), differing)
            for name, known in value.settings()
            if own or getattr(value, name) != known.first
        }
        return _kind(value) | settings | ({"code": _digest(type(value))} if own else {})
    tree = {name: _plain(getattr(value, name), differing) for name in _names(value)}
    # What methods did when they were first published is no trace, as with settings.
    for name, first in (("samples", 1), ("end", {"kind": LastEstimate.kind})):
        if tree.get(name) == first:
            del tree[name]
    return tree


def _plain(value: Any, describe: Any) -> Any:
    return describe(value) if isinstance(value, Part) else plain(value) if is_dataclass(value) else value


def _kind(part: Part) -> dict[str, str]:
    """The word of a part; the name of its class where it has none, which coslice's own do where there is one kind."""
    if part.kind or part.built_in():
        return {"kind": part.kind} if part.kind else {}
    return {"kind": type(part).__qualname__}  # not its module, whose name says where the user's file lies


def _digest(kind: type) -> str:
    """Of the source file of a class; of the class's name alone where there is none, as in a notebook."""
    try:
        source = Path(inspect.getfile(kind)).read_bytes()
    except (OSError, TypeError):
        source = kind.__qualname__.encode()
    return hashlib.sha256(source).hexdigest()[:16]
