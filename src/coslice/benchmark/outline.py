"""What a page says of a benchmark's recipe, as plain values: a page need not know what a recipe is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from torch import Tensor

from coslice.benchmark.definition import Benchmark, setting_of
from coslice.benchmark.rows import RowMethod
from coslice.benchmark.slice_figure import SliceFigure
from coslice.methods import AnalyticSolution, AnyMethod, Direct, Method, described, methods_for
from coslice.priors import embedded_priors
from coslice.tree import plain
from coslice.volume import Volume
from coslice.window import Window

__all__ = ["first_reconstruction", "outline", "sweep"]


def outline(benchmark: Benchmark) -> dict[str, Any]:
    """Everything that was asked for, without the places of files on this machine."""
    rows = {
        group: {row: _row(chosen, benchmark.groups[group].kind) for row, chosen in found.items()}
        for group, found in benchmark.rows.items()
    }
    scans = {
        name: _given(asdict(scan)) | {"file": scan.file if scan.embedded else "FILE"}
        for name, scan in benchmark.scans.items()
    }
    return {
        "title": benchmark.title,
        "source": benchmark.source,
        "about": benchmark.about,
        "seeds": list(benchmark.seeds),
        "metrics": [metric.name for metric in benchmark.metrics],
        "protocol": benchmark.protocol.name,
        "figures": [{"x": figure.x, "y": list(figure.ys)} for figure in benchmark.drawings.figures],
        **({"pictures": list(map(_asked, benchmark.drawings.pictures))} if benchmark.drawings.pictures else {}),
        "scans": scans,
        "priors": {kind: name if name in embedded_priors() else "FILE" for kind, name in benchmark.priors.items()},
        "groups": {name: _given(plain(group)) for name, group in benchmark.groups.items()},
        "rows": rows,
    }


def _asked(picture: SliceFigure) -> dict[str, Any]:
    usual = plain(SliceFigure())
    return {name: value for name, value in plain(picture).items() if value != usual[name]}


def _row(chosen: RowMethod, kind: str) -> dict[str, Any]:
    """A row as a recipe would say it: its noise, and what differs from the method of its name."""
    method, usual = chosen.method, methods_for(kind).get(chosen.method.name)
    tree, before = described(method), {} if usual is None else described(usual)
    for word in ("name", "title", "source"):
        del tree[word]
    settings = _differing(tree, before)
    if isinstance(method, Method):
        settings.setdefault("noise", tree["noise"]["kind"])
    return {"method": method.name, **settings, **({"lpips": True} if chosen.lpips else {})}


def _differing(tree: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves that `usual` has not, or has otherwise; a section with nothing but its kind is that word."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        before = usual.get(key)
        if isinstance(value, Mapping):
            below = _differing(value, before if isinstance(before, Mapping) else {})
            found |= {key: below["kind"] if below.keys() == {"kind"} else below} if below else {}
        elif value != before:
            found[key] = value
    return found


def sweep(benchmark: Benchmark, group: str, setting: str, rows: Sequence[str]) -> dict[str, tuple[str, float]]:
    """What a drawing of a metric against a setting needs: by row, the name of its line, and the setting's value.

    Rows that differ in nothing but the setting are one line, and no two lines have the same name.

    Args:
        benchmark: the recipe.
        group: of the rows.
        setting: path of a number, as in "renoising.eta".
        rows: those to draw; rows for which the setting has no value are left out.
    """
    names: dict[str, str] = {}
    found = {}
    for row in rows:
        method = benchmark.rows[group][row].method
        value = setting_of(method, setting)
        if value is None:
            continue
        label = replace(method, samples=1).label if setting == "samples" else method.label
        name = names.setdefault(_without(method, setting), row if label in names.values() else label)
        found[row] = name, value
    return found


def _without(method: AnyMethod, setting: str) -> str:
    """All of a method but one setting."""
    tree = described(method)
    *sections, name = setting.split(".")
    place = tree
    for section in sections:
        place = place[section]
    del place[name]
    return json.dumps(tree, sort_keys=True, default=repr)


def first_reconstruction(benchmark: Benchmark, group: str, truth: Volume, window: Window) -> dict[str, Tensor]:
    """The reconstruction that the methods of a group start from, by its title; nothing where a row is that already.

    Args:
        benchmark: the recipe.
        group: measured again with the first seed.
        truth, window: of the group, as `coslice.benchmark.truth_of` gives them.

    Returns:
        (z, y, x) in the unit window.
    """
    methods = [chosen.method for chosen in benchmark.rows[group].values()]
    if any(isinstance(method, Direct) and isinstance(method.solution, AnalyticSolution) for method in methods):
        return {}
    task = benchmark.groups[group].measurement(benchmark.seeds[0])
    problem = task.problem(window.to_unit(truth.data), truth.grid(), window)
    return {problem.initial_title: problem.initial().clamp(0, 1)}


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """What was set."""
    return {name: value for name, value in values.items() if value not in (None, {}, 0.0)}
