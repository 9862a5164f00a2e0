"""The drawings of a benchmark: a metric against a setting, against another metric, or along the sampling.

    sweep      a line for each method over the values its rows give a setting, deviations over seeds as bars
    course     a line for each row: the estimate after each step, of the first seed
    scatter    a point for each row

A figure has a panel for each group and quantity that has something to show. The same numbers give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from coslice.benchmark import Benchmark, Entry, Metric, metric_called
from coslice.benchmark.shape import Figure
from coslice.benchmark.table import Records, entry_of
from coslice.methods import DIFFUSION
from coslice.recipe import Recipe, chosen_method
from coslice.report.plots import STYLE, drawn, dress, literal

__all__ = ["Drawing", "drawings"]

_PANEL = (4.6, 3.4)  # inches
_MOST_COLUMNS = 3
_MARKS = "osD^vPX*hp<>"
_WORDS = {"psnr": "PSNR (dB)", "sdiff": "SDiff", "lpips": "LPIPS", "step": "step", "eta": "η"}
_WORDS |= {"steps": "network evaluations", "anchor_angle": "anchor angle (degrees)"}
_WORDS |= {"cross_every": "one step of so many jumps slices"}


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
    ys = _column(benchmark, records, group, metric_called(y))
    xs = _column(benchmark, records, group, metric_called(figure.x)) if figure.kind == "scatter" else {}
    kind = benchmark.groups[group].acquisition(0).kind
    labels: dict[Recipe, str] = {}
    for row, recipe in benchmark.rows[group].items():
        x, label = (xs[row].mean, row) if xs else (_setting(recipe, figure.x, kind), "")
        if x is None or ys[row].mean is None:
            continue
        if not xs:
            # Rows that differ in nothing else are one line, and no two lines are called alike.
            alike = replace(recipe, **{figure.x: None})
            label = labels.setdefault(alike, row if alike.title in labels.values() else alike.title)
        lines.setdefault(label, _Line([], [], [])).add(x, ys[row].mean, ys[row].deviation)  # pyright: ignore
    return lines


def _setting(recipe: Recipe, name: str, kind: str) -> float | None:
    """The number a setting has, the method's own where the recipe leaves it out; None where there is none."""
    given = getattr(recipe, name)
    if given is not None or recipe.method not in DIFFUSION:
        return given
    return getattr(chosen_method(recipe, kind), name, None)


def _column(benchmark: Benchmark, records: Records, group: str, metric: Metric) -> dict[str, Entry]:
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
                axes.axhline(truth, color="0.25", linestyle="--", linewidth=1.2, label="Truth")
            axes.legend(frameon=False, fontsize=8)
        svg, pdf = drawn(canvas, "svg"), drawn(canvas, "pdf")
    title = f"{', '.join(map(_words, figure.ys))} against {_words(figure.x)}"
    name = f"{'-'.join(figure.ys)}-against-{figure.x}".replace(".", "-").replace("_", "-")
    return Drawing(name, title, svg, pdf)


def _panel(axes: Axes, figure: Figure, y: str, lines: Mapping[str, _Line]) -> None:
    for i, (label, line) in enumerate(lines.items()):
        mark = _MARKS[i % len(_MARKS)] if figure.kind == "scatter" else "o" if len(line.xs) < 12 else None
        bars = line.deviations if any(line.deviations) else None
        style = {"marker": mark, "markersize": 5, "linewidth": 1.6, "capsize": 3, "color": f"C{i % 10}"}
        axes.errorbar(line.xs, line.ys, bars, label=literal(label), **style)
    axes.set_xlabel(_words(figure.x))
    axes.set_ylabel(_words(y))
    dress(axes, log=figure.kind == "course" and y == "sdiff")
    if figure.kind == "course":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _words(name: str) -> str:
    if name in _WORDS:
        return _WORDS[name]
    if "." not in name and not name.startswith("sdiff"):
        return name.replace("_", " ")
    metric = metric_called(name)
    return f"{metric.plane} {metric.title}".strip() + (" (dB)" if metric.title == "PSNR" else "")
