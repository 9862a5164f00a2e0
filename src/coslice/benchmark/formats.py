"""A table as text: tidy CSV for programs, Markdown for pages, LaTeX for papers."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from coslice.benchmark.definition import Benchmark
from coslice.benchmark.recipe_content import COUNTED
from coslice.benchmark.table import Entry, Records, Table
from coslice.escapes import csv_cell, visible

__all__ = ["latex", "markdown", "tidy_csv"]

_LATEX = {"&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "$": r"\$", "{": r"\{", "}": r"\}", "\\": r"\textbackslash{}"}
_LATEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"$|$", "|Δ|": r"$|\Delta|$", "Δ": r"$\Delta$"}
_LATEX |= {"±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "°": r"$^\circ$", "η": r"$\eta$", "×": r"$\times$"}


def tidy_csv(benchmark: Benchmark, records: Records) -> str:
    """A line for every number: one of ours for each seed, then the published ones, which have no seed.

    Columns: benchmark, origin ("measured" or "published"), group, method, seed, metric, value, deviation (of published
    numbers that have one), protocol (of ours). The metrics are the table's, the seconds, and the network evaluations.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("benchmark", "origin", "group", "method", "seed", "metric", "value", "deviation", "protocol"))
    taken = benchmark.protocol.name
    for (group, row), found in records.items():
        for seed, record in zip(benchmark.seeds, found, strict=True):
            values = {metric.name: metric.of(record) for metric in benchmark.metrics}
            values |= {"seconds": record["seconds"], COUNTED: record[COUNTED]}
            for name, value in values.items():
                words = (benchmark.name, "measured", *map(csv_cell, (group, row)))
                writer.writerow((*words, seed, name, _number(value), "", taken))
        for metric, value in zip(benchmark.metrics, benchmark.published_of(group, row) or (), strict=False):
            mean, deviation = value if isinstance(value, tuple) else (value, None)
            if mean is not None:
                numbers = _number(mean), _number(deviation)
                words = (benchmark.name, "published", *map(csv_cell, (group, row)))
                writer.writerow((*words, "", metric.name, *numbers, ""))
    return out.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)


def markdown(table: Table) -> str:
    """A table for each group, best in bold, the published numbers in italics below each row."""
    heads = [f"{metric.plane} {metric.title} {metric.arrow}".strip() for metric in table.metrics]
    lines = [f"## {_plain(table.title)}", ""]
    lines += [line for text in (table.about, table.legend) if text for line in (visible(text, lines=True), "")]
    for group, rows in table.groups.items():
        titles = ["method", *map(_plain, heads), *table.costs]
        lines += [f"### {_plain(group)}", "", _line(titles), _line(["---"] * len(titles))]
        for row in rows:
            lines.append(_line([_plain(row.title), *_texts(table, row.entries, "**{}**", "{}"), *table.costs_of(row)]))
            if row.published:
                none = [""] * len(table.costs)
                lines.append(_line(["*published*", *_texts(table, row.published, "", "*{}*"), *none]))
        lines.append("")
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _plain(text: str) -> str:
    return re.sub(r"([\\|*`<\[])", r"\\\1", visible(text))


def _texts(table: Table, entries: Sequence[Entry], best: str, other: str) -> list[str]:
    pairs = zip(entries, table.metrics, strict=True)
    return [(best if entry.best else other).format(entry.text(metric)) for entry, metric in pairs]


def latex(table: Table) -> str:
    """A `tabular` with booktabs' rules, best in bold, the published numbers in italics below each row."""
    heads = [_escaped(f"{metric.title} {metric.arrow}".strip()) for metric in table.metrics]
    titles = " & ".join([*heads, *table.costs])
    above = " & ".join(rf"\multicolumn{{{n}}}{{c}}{{{plane.capitalize()}}}" for plane, n in table.spans)
    count = len(table.metrics) + len(table.costs)
    lines = [
        rf"% \usepackage{{booktabs}}. {_one_line(table.title)}.",
        *(f"% {_one_line(text)}" for text in (table.about, table.legend) if text),
        rf"\begin{{tabular}}{{l{'r' * count}}}",
        r"\toprule",
        *([rf"& {above} \\"] if any(plane for plane, _ in table.spans) else []),
        rf"Method & {titles} \\",
    ]
    for group, rows in table.groups.items():
        lines += [r"\midrule", rf"\multicolumn{{{count + 1}}}{{l}}{{{_escaped(group)}}} \\"]
        for row in rows:
            texts = (
                (r"\textbf{%s}" if entry.best else "%s") % _escaped(entry.text(metric))
                for entry, metric in zip(row.entries, table.metrics, strict=True)
            )
            lines.append(" & ".join((_escaped(row.title), *texts, *table.costs_of(row))) + r" \\")
            if row.published:
                pairs = zip(row.published, table.metrics, strict=True)
                texts = (rf"\textit{{{_escaped(entry.text(metric))}}}" for entry, metric in pairs)
                none = [""] * len(table.costs)
                lines.append(" & ".join((r"\quad\textit{published}", *texts, *none)) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _escaped(text: str) -> str:
    # Before a row stands the line break of the one above, which would take a bracket or a star for its own.
    start = "{}" if text.startswith(("[", "*")) else ""
    return start + re.sub(r"\|Δ\||.", lambda found: _LATEX.get(found[0], found[0]), visible(text))


def _one_line(text: str) -> str:
    return visible(" ".join(text.split()))
