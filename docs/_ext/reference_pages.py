"""The reference: a page for every room that `coslice.` offers, made of what the room lists and of its docstrings.

The stub `coslice/__init__.pyi` is the list of rooms and names. A room that lists nothing itself, as `coslice.io`, shows
the modules below it that do. Names that come from elsewhere than an offered room stand on the page of `coslice` itself.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import types
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_origin

from docstrings import Attribute, as_rst, first_sentence
from made_pages import Made, write_pages

import coslice
from coslice.methods import Direct, Method, setting_lines
from coslice.settings import Part, Setting

__all__ = [
    "attributes_of",
    "described_modules",
    "documented_names",
    "door",
    "elsewhere",
    "homes",
    "modules_of",
    "other_names",
    "own_names",
    "page_of",
    "page_of_door",
    "setup",
    "text_of_value",
]

_STUB = Path(coslice.__file__).with_suffix(".pyi")


def door(stub: str) -> tuple[list[str], dict[str, str]]:
    """What a stub offers: rooms, and names with the modules they come from, as in {"Slerp": "noise"}."""
    rooms: list[str] = []
    names: dict[str, str] = {}
    for node in ast.parse(stub).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if node.module is None:
                    rooms.append(alias.name)
                else:
                    names[alias.name] = node.module
    return rooms, names


@cache
def modules_of(room: str) -> list[str]:
    """The modules whose lists make the page of a room: itself, or those below it that have one."""
    module = importlib.import_module(f"coslice.{room}")
    if hasattr(module, "__all__") or not hasattr(module, "__path__"):
        return [module.__name__]
    _, names = door(_STUB.read_text(encoding="utf-8"))
    taken = {f"coslice.{home}" for home in names.values()}
    below = []
    for path in sorted(Path(module.__path__[0]).iterdir()):
        name = f"{module.__name__}.{path.stem}"
        package = (path / "__init__.py").exists()
        if (package or (path.suffix == ".py" and (name in taken or path.name in (module.__doc__ or "")))) and hasattr(
            importlib.import_module(name), "__all__"
        ):
            below.append(name)
    return below


def documented_names(room: str) -> list[str]:
    """Full names of what the page of a room describes."""
    return [f"{name}.{word}" for name in modules_of(room) for word in own_names(name)]


@cache
def described_modules() -> frozenset[str]:
    """The modules whose lists the reference goes through."""
    rooms, _ = door(_STUB.read_text(encoding="utf-8"))
    return frozenset(name for room in rooms for name in modules_of(room))


def own_names(module: str) -> list[str]:
    """What a module lists and no other room does that it comes from: `coslice.methods` lists kinds of noise, too."""
    return [name for name in _listed(module) if elsewhere(module, name) == ""]


def elsewhere(module: str, name: str) -> str:
    """The full name under which the module that a name is from describes it; "" where none but this one does."""
    source = module
    while source := next((found for node in _tree(source).body if (found := _imported(source, node, name))), ""):
        if source in described_modules() and name in importlib.import_module(source).__all__:
            return f"{source}.{name}"
    return ""


@cache
def homes() -> dict[str, str]:
    """Where each name that `coslice.` offers is described: {"coslice.Slerp": "coslice.noise.Slerp"}."""
    rooms, names = door(_STUB.read_text(encoding="utf-8"))
    described = {full for room in rooms for full in documented_names(room)}
    found = {}
    for name, home in names.items():
        full = elsewhere(f"coslice.{home}", name) or f"coslice.{home}.{name}"
        found[f"coslice.{name}"] = full if full in described else _listed_as(name, described) or f"coslice.{name}"
    return found


def _listed_as(name: str, described: set[str]) -> str:
    """Where a room describes what `coslice.` has from a module that is no room; "" where none does."""
    for full in sorted(described):
        module, word = full.rsplit(".", 1)
        if word == name and getattr(importlib.import_module(module), name) is getattr(coslice, name):
            return full
    return ""


def other_names() -> dict[str, str]:
    """Further full names of what is described, as `coslice.methods.Mixed` is of `coslice.mixed_noise.Mixed`."""
    lists = [(module, name) for module in described_modules() for name in _listed(module)]
    found = {f"{module}.{name}": elsewhere(module, name) for module, name in lists}
    return {full: home for full, home in found.items() if home} | homes()


def _listed(module: str) -> list[str]:
    """What a module lists, without modules, in the order in which it is written: a reader meets the parts first."""
    inside = importlib.import_module(module)
    names = [name for name in inside.__all__ if not isinstance(getattr(inside, name), types.ModuleType)]
    return sorted(names, key=lambda name: _place(module, name))


def _place(module: str, name: str) -> tuple[int, ...]:
    """Where a name is defined: line by line through the modules it is imported from."""
    for node in _tree(module).body:
        if source := _imported(module, node, name):
            return (node.lineno, *_place(source, name))
        if name in _targets(node) or getattr(node, "name", "") == name:
            return (node.lineno,)
    return (0,)


def _kind(value: Any) -> str:
    if inspect.isclass(value) and get_origin(value) is None:
        return "exception" if issubclass(value, BaseException) else "class"
    return "function" if inspect.isroutine(value) or hasattr(value, "__wrapped__") else "data"


def page_of(room: str) -> str:
    """The page of a room."""
    title = f"coslice.{room}"
    lines = [title, "=" * len(title), ""]
    modules = modules_of(room)
    if modules != [title]:
        lines += [f".. automodule:: {title}", "   :no-members:", ""]
    for module in modules:
        if module != title:
            lines += [module, "-" * len(module), ""]
        lines += [f".. automodule:: {module}", "   :no-members:", ""]
        lines += _described([f"{module}.{name}" for name in own_names(module)], "~" if module != title else "-")
        also = [found for name in _listed(module) if (found := elsewhere(module, name))]
        if also:
            lines += ["Also offered here: " + ", ".join(f"``{full}``" for full in also) + ".", ""]
    return "\n".join(lines)


def page_of_door() -> str:
    """The page of `coslice` itself: all names with where they are described, and those that have no other place."""
    names = homes()
    lines = ["coslice", "=======", "", ".. automodule:: coslice", "   :no-members:", "", *_table(names)]
    return "\n".join([*lines, *_described([name for name, home in names.items() if name == home], "-")])


def _table(names: dict[str, str]) -> list[str]:
    lines = [".. list-table::", "   :widths: 35 65", ""]
    for short, home in names.items():
        lines += [f"   * - :py:obj:`{short} <{home}>`", f"     - {_said_of(home)}"]
    return [*lines, ""]


def _said_of(full: str) -> str:
    value = _value(full)
    if _kind(value) != "data":
        return first_sentence(inspect.getdoc(value))
    return first_sentence(text_of_value(full))


def _described(names: list[str], underline: str) -> list[str]:
    lines: list[str] = []
    groups = {"class": "Classes", "exception": "Errors", "function": "Functions", "data": "Values"}
    for kind, heading in groups.items():
        inside = [full for full in names if _kind(_value(full)) == kind]
        if not inside:
            continue
        if underline == "-":
            lines += [heading, underline * len(heading), ""]
        for full in inside:
            if kind == "data":
                lines += _data(full)
            else:
                lines += [f".. auto{kind}:: {full}"]
                if kind != "function":
                    lines += ["   :members:", "   :special-members: __call__"]
                    lines += ["   :show-inheritance:"] if _shown_bases(_value(full).__bases__) else []
                lines.append("")
    return lines


def _shown_bases(bases: tuple[type, ...]) -> list[type]:
    """Those of coslice; in place of one that is not for use from outside, what that stands on."""
    shown: list[type] = []
    for base in bases:
        if base.__module__.startswith("coslice"):
            shown += _shown_bases(base.__bases__) if base.__name__.startswith("_") else [base]
    return shown


def _value(full: str) -> Any:
    module, _, name = full.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _data(full: str) -> list[str]:
    """A constant: what is written below it, and of a method its parts and settings."""
    value = _value(full)
    module, _, name = full.rpartition(".")
    lines = [f".. py:data:: {name}", f"   :module: {module}"]
    text = repr(value)
    if isinstance(value, int | float | str) and len(text) < 60:
        lines.append(f"   :value: {text}")
    elif not _is_type(value):
        lines.append(f"   :type: {type(value).__name__}")
    lines += ["", *(f"   {line}" for line in as_rst(text_of_value(full).splitlines())), ""]
    if isinstance(value, Method | Direct):
        lines += [f"   {line}" for line in _settings_of(value)]
    return lines


def _is_type(value: Any) -> bool:
    return get_origin(value) is not None or isinstance(value, types.UnionType) or inspect.isclass(value)


def _settings_of(method: Method | Direct) -> Iterator[str]:
    yield from [".. list-table::", "   :header-rows: 1", "   :widths: 25 20 55", ""]
    yield from ["   * - setting", "     - value", "     - meaning"]
    for line in setting_lines(method):
        said = first_sentence(line.setting.meaning) if line.setting.meaning else ""
        unit = f", {line.setting.unit}" if line.setting.unit else ""
        other = "" if line.published == line.value else f"; published: {line.published}"
        yield from [f"   * - ``{line.path}``", f"     - ``{line.value}``", f"     - {said}{unit}{other}"]
    yield ""


def text_of_value(full: str) -> str:
    """What is said of a constant: the string below it, where it is assigned; of a method what it is and its source."""
    value = _value(full)
    if isinstance(value, Method | Direct):
        return f"{value.title}: {value.source}."
    module, _, name = full.rpartition(".")
    written = _string_below(module, name)
    if written:
        return written
    return f"{_written_value(module, name)}" if _is_type(value) else ""


@cache
def _tree(module: str) -> ast.Module:
    """The text of a module; of one that imports its names at their first use, its stub."""
    path = Path(str(importlib.import_module(module).__file__))
    stub = path.with_suffix(".pyi")
    return ast.parse((stub if stub.exists() else path).read_text(encoding="utf-8"))


def _imported(module: str, node: ast.stmt, name: str) -> str:
    """The module of ours that a statement imports a name from; "" of any other statement."""
    if not isinstance(node, ast.ImportFrom) or not node.module or name not in [a.asname or a.name for a in node.names]:
        return ""
    source = f"{module}.{node.module}" if node.level else node.module
    return source if source.startswith("coslice.") else ""


def _string_below(module: str, name: str) -> str:
    body = _tree(module).body
    for node, following in zip(body, [*body[1:], ast.Pass()], strict=True):
        if source := _imported(module, node, name):
            return _string_below(source, name)
        if name in _targets(node):
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                return inspect.cleandoc(str(following.value.value))
            return ""
    return ""


def _targets(node: ast.stmt) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _written_value(module: str, name: str) -> str:
    for node in _tree(module).body:
        if source := _imported(module, node, name):
            return _written_value(source, name)
        if name in _targets(node):
            return f"`{ast.unparse(node.value)}`"
    return ""


def attributes_of(cls: type[Any]) -> dict[str, Attribute]:
    """Types and defaults of the fields of a dataclass; of a part's settings also what they mean."""
    if not dataclasses.is_dataclass(cls):
        return {name: Attribute(_type(hint)) for name, hint in inspect.get_annotations(cls).items()}
    settings = dict(cls.settings()) if issubclass(cls, Part) else {}
    found = {}
    for item in dataclasses.fields(cls):
        value = "" if item.default is dataclasses.MISSING else repr(item.default)
        known = settings.get(item.name)
        found[item.name] = Attribute(
            _type(item.type),
            value if len(value) < 60 else "",
            _meaning(known) if known else "",
            _bounds(known) if known else "",
        )
    return found


def _type(hint: Any) -> str:
    return hint if isinstance(hint, str) else getattr(hint, "__name__", str(hint))


def _meaning(setting: Setting) -> str:
    unit = f" In {setting.unit}." if setting.unit else ""
    return f"{setting.meaning}.{unit}"


def _bounds(setting: Setting) -> str:
    needed = setting.needed
    if needed == "a finite number":
        return ""
    return f"one of {', '.join(setting.choices)}" if setting.choices else needed


def _docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    attributes = attributes_of(obj) if what in ("class", "exception") and inspect.isclass(obj) else None
    lines[:] = as_rst(lines, attributes)


def _bases(app: Any, name: str, obj: Any, options: Any, bases: list[Any]) -> None:
    bases[:] = _shown_bases(tuple(bases))


def _make(app: Any) -> None:
    docs = Path(app.srcdir)
    rooms, _ = door(_STUB.read_text(encoding="utf-8"))
    texts = {f"coslice.{room}": page_of(room) for room in rooms}
    write_pages(docs / "api", {"coslice": page_of_door(), **texts})
    rows = ["", "| module | what it is |", "|---|---|"]
    for name in ("coslice", *texts):
        said = (
            first_sentence(importlib.import_module(name).__doc__)
            .replace("``", "`")
            .replace("\\", "")
            .replace("|", "\\|")
        )
        rows.append(f"| [{name}](api/{name}.rst) | {said} |")
    app.made_pages["reference"] = Made("\n".join([*rows, ""]), [f"api/{name}" for name in ("coslice", *texts)])


def _note_short_names(app: Any, env: Any) -> None:
    """`coslice.Slerp` leads to where `coslice.noise.Slerp` is described."""
    objects = env.domains.python_domain.objects
    for short, home in other_names().items():
        if short != home and home in objects:
            objects[short] = objects[home]._replace(aliased=True)


def setup(app: Any) -> dict[str, Any]:
    app.connect("builder-inited", _make)
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("autodoc-process-bases", _bases)
    app.connect("env-updated", _note_short_names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
