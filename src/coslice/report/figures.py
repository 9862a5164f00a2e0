"""The drawings of a benchmark: a metric against a setting, against another metric, or along the sampling.

    sweep      a line for each method over the values its rows give a setting, deviations over seeds as bars
    course     a line for each row: the estimate after each step, of the first seed
    scatter    a point for each row

A figure has a panel for each group and quantity that has something to show. The same numbers give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from coslice.axes import PLANES
from coslice.benchmark import Benchmark, Entry, Figure, Records, entry_of, metric_called, sweep
from coslice.metrics import QUANTITIES
from coslice.report.style import LINE_WIDTH, STYLE, content, draw_truth, literal, set_style

__all__ = ["Drawing", "drawings"]

_PANEL = (4.6, 3.4)  # inches
_MOST_COLUMNS = 3
_MARKS = "osD^vPX*hp<>"
_WORDS = {
    "noise.angle": "anchor angle (degrees)",
    "prior.cross_every": "one step of so many jumps slices",
    "renoising.eta": "η",
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
    for figure in benchmark.figures:
        panels = {
            (group, y): lines
            for group in benchmark.groups
            for y in figure.ys
            if (lines := _lines(figure, y, group, benchmark, records))
        }
        if panels:
            found.append(_drawn(figure, panels, records, len(benchmark.groups) > 1))
    return found


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
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(_PANEL[0] * columns, _PANEL[1] * rows), layout="constrained")
        for i, ((group, y), lines) in enumerate(panels.items()):
            axes = canvas.add_subplot(rows, columns, i + 1, title=literal(group) if several else "")
            _panel(axes, figure, y, lines)
            if figure.kind == "course" and y == "sdiff":
                truth = next(found[0]["metrics"]["sdiff_truth"] for (of, _), found in records.items() if of == group)
                draw_truth(axes, truth)
            axes.legend(frameon=False, fontsize=8)
        svg, pdf = content(canvas, "svg"), content(canvas, "pdf")
    title = f"{', '.join(map(_words, figure.ys))} against {_words(figure.x)}"
    name = f"{'-'.join(figure.ys)}-against-{figure.x}".replace(".", "-").replace("_", "-")
    return Drawing(name, title, svg, pdf)


def _panel(axes: Axes, figure: Figure, y: str, lines: Mapping[str, _Line]) -> None:
    for i, (label, line) in enumerate(lines.items()):
        mark = _MARKS[i % len(_MARKS)] if figure.kind == "scatter" else "o" if len(line.xs) < 12 else None
        bars = line.deviations if any(line.deviations) else None
        style = {"marker": mark, "markersize": 5, "linewidth": LINE_WIDTH, "capsize": 3, "color": f"C{i % 10}"}
        axes.errorbar(line.xs, line.ys, bars, label=literal(label), **style)
    axes.set_xlabel(_words(figure.x))
    axes.set_ylabel(_words(y))
    course = figure.kind == "course"
    set_style(axes, log=course and y == "sdiff", whole=course)


def _words(name: str) -> str:
    """What an axis is called: a metric, or a setting."""
    if name in QUANTITIES:
        return QUANTITIES[name].label
    if name in _WORDS:
        return _WORDS[name]
    return metric_called(name).label if name.partition(".")[0] in PLANES else name.replace("_", " ").replace(".", ", ")
