"""`coslice methods`, and a method from the options of a command."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coslice.cli.options import option

if TYPE_CHECKING:
    from coslice.methods import AnyMethod

__all__ = ["OWN_OPTIONS", "chosen_method", "list_methods", "settings_of_task", "settings_tree"]

OWN_OPTIONS = {"noise": "noise", "steps": "schedule.steps", "samples": "samples"}
"""Settings that have an option of their own: their paths, by option."""


def list_methods(
    name: Annotated[
        str | None, typer.Argument(help="Name of a method; without one, all are listed.", show_default=False)
    ] = None,
    task: Annotated[str, option("svct, lact or zsr: the settings for such measurements.  [svct]")] = "svct",
    fast: Annotated[bool, typer.Option("--fast", help="Fast forms: half the time, nearly the same quality.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the methods; or print the parts of one, every setting with its meaning, value and published value."""
    from coslice.cli.listing import show_method, show_methods
    from coslice.cli.terminal import print_json
    from coslice.methods import FAST_FORMS, described, fast_form, methods_for
    from coslice.problems import make_task

    kind = make_task(task).problem_kind
    if name is not None:
        method = chosen_method(name, kind, fast=fast)
        if as_json:
            print_json(described(method) | {"published": dict(method.published)})
        else:
            show_method(method, name, task, fast)
        return
    found = methods_for(kind)
    if fast:
        found = {name: fast_form(method, kind) for name, method in found.items() if name in FAST_FORMS[kind]}
    if as_json:
        print_json({name: described(method) for name, method in found.items()})
    else:
        show_methods(found.values())


def chosen_method(
    name: str,
    kind: str,
    noise: str | None = None,
    steps: int | None = None,
    samples: int | None = None,
    settings: Sequence[str] = (),
    fast: bool = False,
) -> AnyMethod:
    """The method of a command.

    Args:
        name: of a method, or "FILE.py:NAME" for one of the user's own.
        kind: of the problem.
        noise, steps, samples: options of their own for the settings that most users change.
        settings: texts "data.iterations=20".
        fast: whether its fast form is meant; what else is given is changed of that.

    Raises:
        CosliceError: a method or a setting that is not known, a method without a fast form, or a value out of its
            range.
    """
    from coslice.errors import CosliceError
    from coslice.methods import Direct, changed, fast_form, find_method, is_own, load_method
    from coslice.tree import assigned, nested

    method = load_method(name) if is_own(name) else find_method(name, kind)
    if fast:
        method = fast_form(method, kind)
    given = {"noise": noise, "steps": steps, "samples": samples}
    given = {name: value for name, value in given.items() if value is not None}
    for setting, value in given.items():
        if isinstance(method, Direct):
            raise CosliceError(
                f"{setting} {value} was given, but {method.title} does not sample and has none; leave it out."
            )
    pairs = [assigned(text) for text in settings]
    _check_once(given, pairs)
    method = changed(method, nested((OWN_OPTIONS[name], value) for name, value in given.items()), method.name)
    return changed(method, settings_tree(pairs), method.name)


def _check_once(given: Iterable[str], pairs: Iterable[tuple[str, Any]]) -> None:
    """Refuse a setting that is given by its own option and by --set too: one of the two would win in silence."""
    from coslice.errors import CosliceError

    for path, _ in pairs:
        for name in given:
            if path in (OWN_OPTIONS[name], f"{OWN_OPTIONS[name]}.kind"):
                raise CosliceError(f"{path} was given by --{name} and by --set too; give it once.")


def settings_of_task(settings: Sequence[str], given: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The settings of a simulated measurement among texts "task.rows=0.5", by name; and the other texts.

    Args:
        settings: texts "PATH=VALUE".
        given: settings of the measurement that have options of their own; None where that was not used.

    Raises:
        CosliceError: a setting that an option gave too, one that is given twice, or a value that is no plain one.
    """
    from coslice.errors import CosliceError
    from coslice.tree import assigned, nested

    texts = [text for text in settings if text.partition("=")[0].strip().startswith("task.")]
    found = dict(nested([assigned(text) for text in texts]).get("task", {}))
    for name, value in found.items():
        if given.get(name) is not None:
            raise CosliceError(f"task.{name} was given by --{name.removesuffix('_mm')} and by --set too; give it once.")
        if not isinstance(value, int | float | str):
            raise CosliceError(f"set: task.{name} is {value!r}, but a number or a word is needed; correct it.")
    return found, tuple(text for text in settings if text not in texts)


def settings_tree(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The tree of settings by path, where "renoising" may be given beside "renoising.eta": it is the kind then."""
    from coslice.tree import nested

    paths = [path for path, _ in pairs]
    named = {path for path, value in pairs if isinstance(value, str) and any(p.startswith(f"{path}.") for p in paths)}
    return nested((f"{path}.kind" if path in named else path, value) for path, value in pairs)
