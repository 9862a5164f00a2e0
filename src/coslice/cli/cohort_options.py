"""The options of `coslice reconstruct` as keys of a recipe and as columns of a manifest.

A recipe is what a command line is, with `--` left out, and `set` a tree:

    task: svct
    views: 60
    method: wdds
    set:
      data: {iterations: 20}

The signature of the command is the only list of them. Paths in a recipe are relative to it, those in a manifest to
that.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, cast

import yaml

from coslice.cli.reconstruct import asked
from coslice.cohort import ManifestScan
from coslice.errors import CosliceError
from coslice.methods import is_own
from coslice.tree import assigned, nested, overlay, read_tree, typed

__all__ = ["columns", "files_of", "options_of", "read_cohort_recipe", "shown", "wish_of"]

_OF_COMMAND = ("context", "scan", "out", "overwrite", "resume", "device")
"""Parameters that are the command's to say."""
_MAY_BE_FILES = ("prior", "auxiliary_prior", "reference", "method")


@dataclass(frozen=True)
class _Option:
    """An option of `coslice reconstruct`.

    Attributes:
        parameter: of the function.
        kind: the type of its value.
    """

    parameter: str
    kind: Any

    def value(self, given: Any, key: str, who: str, folder: Path) -> Any:
        """A plain value as the function takes it.

        Raises:
            CosliceError: it is of another kind.
        """
        kinds = typing.get_args(self.kind) or (self.kind,)
        if given is None and type(None) in kinds:
            return None
        if list[Path] in kinds:
            texts = typed(tuple[str, ...], [given] if isinstance(given, str) else given, key, who)
            return [_place(text, folder) for text in texts]
        if Path in kinds:
            return _place(typed(str, given, key, who), folder)
        if str in kinds:
            if isinstance(given, list) and all(isinstance(one, str) for one in given):
                given = ",".join(given)  # as compare: [sirt, admm-tv]
            text = repr(given) if type(given) in (int, float) else typed(str, given, key, who)
            return _file_or_name(self.parameter, text, folder)
        return typed(self.kind, given, key, who)


@lru_cache(maxsize=1)
def _options() -> dict[str, _Option]:
    """By name, without dashes before it."""
    found: dict[str, _Option] = {}
    for parameter, hint in typing.get_type_hints(asked, include_extras=True).items():
        if parameter in (*_OF_COMMAND, "return"):
            continue
        kind, *extras = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
        # Where an option names itself, typer has its first name in the place of a default.
        names = [getattr(one, "default", None) for one in extras]
        named = next((name for name in names if isinstance(name, str) and name.startswith("--")), None)
        name = named.partition("/")[0][2:] if named else parameter.replace("_", "-")
        found[name] = _Option(parameter, kind)
    return found


def columns() -> list[str]:
    """The options that may be columns of a manifest; "set" stands for "set.PATH"."""
    return list(_options())


def read_cohort_recipe(path: Path | None) -> dict[str, Any]:
    """The options of a recipe by parameter; "settings" is a tree. No recipe says nothing.

    Raises:
        CosliceError: no such file, an option that is not known or not a recipe's, or a value of another kind.
    """
    if path is None:
        return {}
    who = f"recipe {path.name}"
    known, options = _options(), {}
    for key, given in read_tree(path, who).items():
        name = str(key).replace("_", "-")
        if name in _OF_COMMAND:
            raise CosliceError(f"{who}: {key} is not a recipe's to say; leave it out, and give it to coslice cohort.")
        if name not in known:
            from difflib import get_close_matches

            near = get_close_matches(name, known, 1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise CosliceError(f"{who}: the key {key} is not known; {meant}Known are {', '.join(sorted(known))}.")
        parameter = known[name].parameter
        if parameter in options:
            raise CosliceError(f"{who}: {name} was given twice; give it once.")
        if parameter == "settings":
            if not isinstance(given, Mapping):
                raise CosliceError(f"{who}: set is {given!r}, but a section is needed, as in data: {{iterations: 20}}.")
            options[parameter] = dict(given)
        else:
            options[parameter] = known[name].value(given, name, who, path.parent.absolute())
    return options


def options_of(row: ManifestScan, recipe: Mapping[str, Any], manifest: Path) -> dict[str, Any]:
    """The options of a scan by parameter: those of the recipe, with those of its row in their place.

    Raises:
        CosliceError: a cell that is of another kind than its option.
    """
    who = f"manifest line {row.line} ({row.name})"
    known, options = _options(), dict(recipe)
    settings: list[tuple[str, Any]] = []
    for column, cell in row.options.items():
        if column.startswith("set."):
            settings.append(assigned(f"{column[4:]}={cell}", who))
            continue
        option = known[column]
        if option.parameter == "settings":
            raise CosliceError(f"{who}: a column is called set, but a path is needed, as in set.data.iterations.")
        kinds = typing.get_args(option.kind) or (option.kind,)
        text = str in kinds or Path in kinds or list[Path] in kinds
        given = None if cell == "none" else cell if text else assigned(f"{column}={cell}", who)[1]
        if list[Path] in kinds and given is not None:
            given = [word.strip() for word in cell.split(";")]
        options[option.parameter] = option.value(given, column, who, manifest.parent.absolute())
    if settings:
        options["settings"] = overlay(options.get("settings", {}), nested(settings, who))
    return options


def wish_of(row: ManifestScan, options: Mapping[str, Any], out: Path, device: str, overwrite: bool) -> partial[None]:
    """What `coslice reconstruct` would do with these options, checked as far as it can be without the scan.

    Raises:
        CosliceError: options that do not fit together.
    """
    given = dict(options)
    if "settings" in given:
        given["settings"] = [f"{path}={_yaml(value)}" for path, value in _leaves(given["settings"])]
    return asked(cast(Any, None), scan=row.scan, out=out, device=device, overwrite=overwrite, **given)


def files_of(options: Mapping[str, Any]) -> dict[str, Path]:
    """The files that options name, by parameter; of several with their number behind it."""
    found: dict[str, Path] = {}
    for parameter, value in options.items():
        for number, one in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(one, str) and parameter in _MAY_BE_FILES:
                place = Path(one.rpartition(":")[0] if parameter == "method" else one)
                one = place if place.is_absolute() else None
            if isinstance(one, Path):
                found[f"{parameter}.{number}" if isinstance(value, list) else parameter] = one
    return found


def shown(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON and pages have them: by name, files by their last part."""
    names = {option.parameter: name for name, option in _options().items()}

    def worded(parameter: str, value: Any) -> Any:
        if isinstance(value, list):
            return [worded(parameter, one) for one in value]
        is_file = isinstance(value, Path) or (parameter in _MAY_BE_FILES and Path(str(value)).is_absolute())
        return Path(str(value)).name if is_file else value

    return {names[parameter]: worded(parameter, value) for parameter, value in sorted(options.items())}


def _place(text: str, folder: Path) -> Path:
    return folder / text


def _file_or_name(parameter: str, text: str, folder: Path) -> str:
    """Of an option that takes names and files, a file as its whole path, relative to `folder`; a name as it is."""
    if parameter not in _MAY_BE_FILES:
        return text
    if parameter == "method":
        if not is_own(text):
            return text
        file, _, name = text.rpartition(":")
        return f"{folder / file}:{name}"
    try:
        there = (folder / text).exists()
    except (OSError, ValueError):
        there = False
    return str(folder / text) if there else text


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _yaml(value: Any) -> str:
    """A value as `--set` takes it."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return yaml.safe_dump(value, default_style='"', width=10**6).strip()
    if isinstance(value, list):
        return yaml.safe_dump(value, default_flow_style=True, width=10**6).strip()
    return ("true" if value else "false") if isinstance(value, bool) else repr(value)
