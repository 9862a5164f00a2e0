"""The rows of a recipe as methods.

    DDS+ISCS: {method: dds, noise: iscs, steps: 10, data: {iterations: 20}, groups: [SVCT]}

A row names a method, or one of the user's own as FILE.py:NAME. Everything else in it, but for `groups`, `lpips` and
`fast`, is a tree of settings as `coslice.methods.changed` takes it. Settings of the recipe, then of the group, then of
the row change the method one after another, so that a part named anew keeps of the others what it has in common with
them. With `fast: true` a row has the method's fast form, which comes before its own settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from coslice.benchmark.recipe_content import RecipeContent, SettingsByMethod
from coslice.benchmark.recipe_file import RecipeFile
from coslice.errors import CosliceError
from coslice.methods import METHODS, AnyMethod, Method, changed, fast_form, find_method, is_own, load_method

__all__ = ["TRUTH", "RowMethod", "rows_of"]

TRUTH = "Truth"
"""What pages call the prepared scan, so no row."""
_EVERY = "*"
_OF_ROWS = ("method", "groups", "seed", "fast")
"""What settings by method do not say."""


@dataclass(frozen=True)
class RowMethod:
    """How a row of a group reconstructs.

    Attributes:
        method: with all its settings.
        lpips: whether the course of its sampling holds LPIPS too.
    """

    method: AnyMethod
    lpips: bool = False


def rows_of(recipe: RecipeFile) -> dict[str, dict[str, RowMethod]]:
    """The rows by group and title, each only in the groups it is for.

    Raises:
        CosliceError: a group that cannot be measured so, a row that could not be run, or settings for no method.
    """
    name, content = recipe.name, recipe.content
    own = {
        row: load_method(str(chosen["method"]), recipe.folder)
        for row, chosen in content.methods.items()
        if is_own(str(chosen.get("method")))
    }
    for title, group in content.groups.items():
        try:
            group.measurement(0)
        except CosliceError as error:
            raise CosliceError(f"{name}: group {title}: {error}") from error
    known = list(dict.fromkeys([*METHODS, *(method.name for method in own.values())]))
    for settings in (content.settings, *(group.settings for group in content.groups.values())):
        _check_settings(name, settings, known)
    return {
        title: {
            row: _row_method(recipe, title, row, own.get(row))
            for row, chosen in content.methods.items()
            if _belongs(content, name, title, row, chosen, own.get(row))
        }
        for title in content.groups
    }


def _check_settings(name: str, settings: SettingsByMethod, known: list[str]) -> None:
    for method, tree in settings.items():
        if method != _EVERY and method not in known:
            raise CosliceError(f"{name}: settings are for {method}, but the methods are {', '.join(known)}.")
        for unfit in tree.keys() & set(_OF_ROWS):
            raise CosliceError(f"{name}: the settings for {method} hold a {unfit}, which is a row's; leave it out.")


def _belongs(
    content: RecipeContent, name: str, group: str, row: str, chosen: Mapping[str, Any], own: AnyMethod | None
) -> bool:
    """Whether a row is of a group: none that names others, and none whose method is not for such problems."""
    if row == TRUTH:
        raise CosliceError(f"{name}: a row is called {TRUTH}, as pages call the scan itself; choose another title.")
    if "seed" in chosen:
        raise CosliceError(f"{name}: row {row} has a seed, but seeds are of all rows; leave it out.")
    groups = chosen.get("groups", [group])
    if not isinstance(groups, list) or not all(isinstance(other, str) and other in content.groups for other in groups):
        known = ", ".join(content.groups)
        raise CosliceError(f"{name}: groups of row {row} are {groups!r}, but a list of some of {known} is needed.")
    if group not in groups:
        return False
    method = chosen.get("method")
    if own is None and (not isinstance(method, str) or method not in METHODS):
        raise CosliceError(f"{name}: row {row} has the method {method!r}, but the methods are {', '.join(METHODS)}.")
    kinds = (own or METHODS[str(method)]).kinds
    return not kinds or content.groups[group].kind in kinds


def _row_method(recipe: RecipeFile, group: str, row: str, own: AnyMethod | None) -> RowMethod:
    content, chosen = recipe.content, recipe.content.methods[row]
    method = own or find_method(chosen["method"], content.groups[group].kind)
    lpips = False
    for place, tree in _layers(content, group, row, method):
        who = f"{recipe.name}: row {row} of {group}" + (f", settings for {place}" if place else "")
        if _said(tree, "fast", False, who):
            method = _fast(method, content.groups[group].kind, who)
        settings = {key: value for key, value in tree.items() if key not in ("method", "groups", "lpips", "fast")}
        method = changed(method, _written_out(settings, who) if isinstance(method, Method) else settings, who)
        lpips = _said(tree, "lpips", lpips, who)
    return RowMethod(method, lpips)


def _said(tree: Mapping[str, Any], name: str, usual: bool, who: str) -> bool:
    value = tree.get(name, usual)
    if not isinstance(value, bool):
        raise CosliceError(f"{who}: {name} is {value!r}, but true or false is needed; correct it.")
    return value


def _fast(method: AnyMethod, kind: str, who: str) -> AnyMethod:
    try:
        return fast_form(method, kind)
    except CosliceError as error:
        raise CosliceError(f"{who}: {error}") from error


def _layers(content: RecipeContent, group: str, row: str, method: AnyMethod) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The trees that change a row's method, in their order, each with the method it is for; "" for the row's own."""
    for settings in (content.settings, content.groups[group].settings):
        for name in ((_EVERY,) if isinstance(method, Method) else ()) + (method.name,):
            if name in settings:
                yield name, settings[name]
    yield "", content.methods[row]


def _written_out(tree: Mapping[str, Any], who: str) -> dict[str, Any]:
    """`steps: 30` as it stands for: `schedule: {steps: 30}`."""
    settings = dict(tree)
    if "steps" not in settings:
        return settings
    steps, schedule = settings.pop("steps"), settings.get("schedule", {})
    section = {"kind": schedule} if isinstance(schedule, str) else schedule
    if not isinstance(section, Mapping):
        raise CosliceError(f"{who}: schedule is {schedule!r}, but a word or a section is needed; correct it.")
    if "steps" in section:
        raise CosliceError(f"{who}: steps was given beside schedule.steps, which is the same; give one of the two.")
    return settings | {"schedule": {**section, "steps": steps}}
