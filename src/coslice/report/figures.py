"""The drawings of a benchmark: a metric against a setting, against another metric, or along the sampling.

    sweep      a line for each method over the values its rows give a setting, deviations over seeds as bars; or over
               the network evaluations that its rows had, as they were counted, with the axis of their logarithms
    groups     a line for each row over a number of the groups, such as that of views; a panel for what else differs
    course     a line for each row: the estimate after each step, of the first seed
    scatter    a point for each row

A figure has a panel for each group and quantity that has something to show. The same numbers give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from statistics import fmean
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from coslice.axes import PLANES
from coslice.benchmark import COUNTED, Benchmark, Entry, Figure, Records, entry_of, metric_called, sweep
from coslice.metrics import QUANTITIES
from coslice.report.style import LINE_WIDTH, STYLE, content, draw_truth, literal, set_style

__all__ = ["Drawing", "drawings"]

_PANEL = (4.6, 3.4)  # inches
_MOST_COLUMNS = 3
_MARKS = "osD^vPX*hp<>"
_WORDS = {
    "task.angle": "wedge of directions (degrees)",
    "task.electronic_noise": "electronic noise (counts)",
    "task.factor": "thin slices to a thick one",
    "task.fwhm_mm": "width of the slice profile (mm)",
    "task.measurement_noise": "standard deviation of the noise",
    "task.photons": "photons per detector pixel",
    "task.rows": "height of a detector row (slices)",
    "task.views": "views",
    "noise.angle": "anchor angle (degrees)",
    "prior.cross_every": "one step of so many jumps slices",
    "renoising.eta": "η",
    COUNTED: "network evaluations",
    "schedule.steps": "network evaluations",
    "steps": "network evaluations",
}


@dataclass(frozen=True)
class Drawing:
    """A figure, drawn.

    Attributes:
        name: for its files.
        title: what it shows, in words.
        svg, pdf: its bytes.
    """

    name: str
    title: str
    svg: bytes
    pdf: bytes


@dataclass
class _Line:
    """Points of one colour; `deviations` of y, over seeds."""

    xs: list[float]
    ys: list[float]
    deviations: list[float]

    def add(self, x: float, y: float, deviation: float | None = None) -> None:
        self.xs.append(float(x))
        self.ys.append(y)
        self.deviations.append(deviation or 0.0)


def drawings(benchmark: Benchmark, records: Records) -> list[Drawing]:
    """The figures a recipe asks for that have something to show.

    Args:
        benchmark: the recipe.
        records: by group and row, one for each seed.
    """
    found = []
    for figure in benchmark.drawings.figures:
        families = _families(figure, benchmark) if figure.kind == "groups" else {}
        panels = {
            (title, y): lines
            for title in families or benchmark.groups
            for y in figure.ys
            if (
                lines := _lines_over_groups(y, families[title], benchmark, records)
                if families
                else _lines(figure, y, title, benchmark, records)
            )
        }
        if panels:
            found.append(_drawn(figure, panels, records, len(families or benchmark.groups) > 1))
    return found


def _families(figure: Figure, benchmark: Benchmark) -> dict[str, dict[str, float]]:
    """Groups that differ in nothing but the number a figure is against: their numbers in order, by what they share."""
    found: list[tuple[dict[str, Any], dict[str, float]]] = []
    for title, group in benchmark.groups.items():
        number, shared = group.number(figure.of_groups), group.but_for(figure.of_groups)
        if number is None:
            continue
        for known, members in found:
            if known == shared:
                members[title] = number
                break
        else:
            found.append((shared, {title: number}))
    first = found[0][0]
    differing = [name for name in first if any(shared[name] != first[name] for shared, _ in found)]
    titles = [", ".join(_said(name, shared[name]) for name in differing) for shared, _ in found]
    ordered = [dict(sorted(members.items(), key=itemgetter(1))) for _, members in found]
    return dict(zip(titles, ordered, strict=True))


def _said(name: str, value: Any) -> str:
    """A field of a group in the title of a panel."""
    if name in ("scan", "task", "beam"):
        return str(value)
    return f"{name.replace('_', ' ')} {'none' if value is None else f'{value:g}'}"


def _lines_over_groups(
    y: str, members: Mapping[str, float], benchmark: Benchmark, records: Records
) -> dict[str, _Line]:
    """The lines of a panel by the title of their row."""
    lines: dict[str, _Line] = {}
    for group, number in members.items():
        for row, entry in _column(benchmark, records, group, y).items():
            if entry.mean is not None:
                lines.setdefault(row, _Line([], [], [])).add(number, entry.mean, entry.deviation)
    return lines


def _lines(figure: Figure, y: str, group: str, benchmark: Benchmark, records: Records) -> dict[str, _Line]:
    """The lines of a panel by their label."""
    lines: dict[str, _Line] = {}
    if figure.kind == "course":
        for row in benchmark.rows[group]:
            for step in records[group, row][0]["trajectory"]:
                if step[y] is not None:
                    lines.setdefault(row, _Line([], [], [])).add(step["step"] + 1, step[y])
        return lines
    entries = _column(benchmark, records, group, y)
    if figure.kind == "scatter":
        places = {row: (row, entry.mean) for row, entry in _column(benchmark, records, group, figure.x).items()}
    else:
        known = [row for row, entry in entries.items() if entry.mean is not None]
        places = sweep(benchmark, group, figure.setting, known)
        if figure.x == COUNTED:
            counts = {row: fmean(record[COUNTED] for record in records[group, row]) for row in places}
            places = {row: (places[row][0], counts[row]) for row in sorted(counts, key=lambda row: counts[row])}
    for row, (label, x) in places.items():
        entry = entries[row]
        if x is not None and entry.mean is not None:
            lines.setdefault(label, _Line([], [], [])).add(x, entry.mean, entry.deviation)
    return lines


def _column(benchmark: Benchmark, records: Records, group: str, name: str) -> dict[str, Entry]:
    """A metric of the rows of a group."""
    metric = metric_called(name)
    return {row: entry_of(metric, records[group, row]) for row in benchmark.rows[group]}


def _drawn(
    figure: Figure, panels: Mapping[tuple[str, str], Mapping[str, _Line]], records: Records, several: bool
) -> Drawing:
    columns = min(len(panels), len(figure.ys) if len(figure.ys) > 1 else _MOST_COLUMNS)
    rows = -(-len(panels) // columns)
    # One look for a label in all panels: the legend is said once.
    looks = {label: k for k, label in enumerate(dict.fromkeys(one for lines in panels.values() for one in lines))}
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(_PANEL[0] * columns, _PANEL[1] * rows), layout="constrained")
        said: set[str] = set()
        for i, ((group, y), lines) in enumerate(panels.items()):
            axes = canvas.add_subplot(rows, columns, i + 1, title=literal(group) if several else "")
            _panel(axes, figure, y, lines, looks)
            if figure.kind == "course" and y == "sdiff":
                truth = next(found[0]["metrics"]["sdiff_truth"] for (of, _), found in records.items() if of == group)
                draw_truth(axes, truth)
            labels = set(axes.get_legend_handles_labels()[1])
            if not labels <= said:  # what a panel before has said stands in nobody's way again
                axes.legend(frameon=False, fontsize=8)
            said |= labels
        svg, pdf = content(canvas, "svg"), content(canvas, "pdf")
    title = f"{', '.join(map(_words, figure.ys))} against {_words(figure.x)}"
    name = f"{'-'.join(figure.ys)}-against-{figure.x}".replace(".", "-").replace("_", "-")
    return Drawing(name, title, svg, pdf)


def _panel(axes: Axes, figure: Figure, y: str, lines: Mapping[str, _Line], looks: Mapping[str, int]) -> None:
    of_groups, counted = figure.kind == "groups", figure.x == COUNTED
    if of_groups or counted:
        lines = _with_ticks(axes, lines)
    for label, line in lines.items():
        i = looks[label]
        mark = _MARKS[i % len(_MARKS)] if figure.kind in ("scatter", "groups") else "o" if len(line.xs) < 12 else None
        bars = line.deviations if any(line.deviations) else None
        style = {"marker": mark, "markersize": 5, "linewidth": LINE_WIDTH, "capsize": 3, "color": f"C{i % 10}"}
        axes.errorbar(line.xs, line.ys, bars, label=literal(label), **style)
    axes.set_xlabel(_words(figure.x))
    axes.set_ylabel(_words(y))
    course = figure.kind == "course"
    of_factors = (of_groups and y == "sdiff_gap") or (counted and y in ("sdiff_gap", "seconds"))
    factors = of_factors and min(min(line.ys) for line in lines.values()) > 0
    set_style(axes, log=factors or (course and y == "sdiff"), whole=course)


def _with_ticks(axes: Axes, lines: Mapping[str, _Line]) -> dict[str, _Line]:
    """Ticks where there are values, by their logarithms if all are above 0; infinity stands one step beyond the others.

    Returns:
        The lines, with x where they are drawn.
    """
    values = sorted({x for line in lines.values() for x in line.xs})
    known = [value for value in values if math.isfinite(value)] or [1.0]
    step = known[-1] / known[-2] if len(known) > 1 and known[-2] > 0 else 10
    places = [value if math.isfinite(value) else step * known[-1] for value in values]
    axes.set_xscale("log" if places[0] > 0 else "linear")
    axes.set_xticks(places, [_tick(value) for value in values])
    axes.minorticks_off()
    at = dict(zip(values, places, strict=True))
    return {label: _Line([at[x] for x in line.xs], line.ys, line.deviations) for label, line in lines.items()}


def _tick(value: float) -> str:
    if not math.isfinite(value):
        return "no noise"
    mantissa, exponent = f"{value:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}" if abs(value) >= 1e4 else f"{value:g}"


def _words(name: str) -> str:
    """What an axis is called: a metric, or a setting."""
    if name in QUANTITIES:
        return QUANTITIES[name].label
    if name in _WORDS:
        return _WORDS[name]
    return metric_called(name).label if name.partition(".")[0] in PLANES else name.replace("_", " ").replace(".", ", ")
