"""The table of a benchmark: means over seeds, what is best, and the published numbers beside.

A published number was measured on other data with another prior, so it stands in a row of its own below ours and
is never compared with it.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from coslice.benchmark.definition import Benchmark
from coslice.benchmark.metric import Metric
from coslice.benchmark.recipe_content import COUNTED
from coslice.methods import published_evaluations
from coslice.metrics import Protocol, best_of

__all__ = ["Entry", "Records", "Row", "Table", "entry_of", "table_of"]

Records = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]
"""Of finished cells, by group and row: one for each seed."""


@dataclass(frozen=True)
class Entry:
    """A number of a table.

    Attributes:
        mean: over seeds; None where it could not be measured or was not published.
        deviation: standard deviation over seeds (of the sample), None for one seed.
        best: whether, as printed, no other of its group and column is better.
    """

    mean: float | None
    deviation: float | None = None
    best: bool = False

    def text(self, metric: Metric) -> str:
        """As it is printed: "36.84", "36.84 ± 0.14" or "-"."""
        if self.mean is None:
            return "-"
        return metric.text(self.mean) + (f" ± {metric.text(self.deviation)}" if self.deviation is not None else "")


@dataclass(frozen=True)
class Row:
    """A method in a group.

    Attributes:
        title: of the method.
        entries: ours, one a metric.
        published: likewise, None where nothing was published of it.
        seconds: that a reconstruction took, the mean over seeds.
        evaluations: of its networks in a reconstruction, likewise, see `coslice.methods.Method.evaluations`.
        usual: as many as were published, or as a method of ours has; None of a method that does not sample.
    """

    title: str
    entries: tuple[Entry, ...]
    published: tuple[Entry, ...] | None
    seconds: float
    evaluations: float = 0
    usual: int | None = None

    @property
    def counted(self) -> str:
        """Its evaluations as they are printed: "30", or "40 of 4,000" where more were published."""
        fewer = self.usual is not None and self.evaluations < self.usual
        return f"{self.evaluations:,.0f}" + (f" of {self.usual:,}" if fewer else "")


@dataclass(frozen=True)
class Table:
    """Groups of rows.

    Attributes:
        title, source, about: of the benchmark.
        metrics: the columns.
        groups: rows by the group's title.
        seeds: how many runs a number is the mean of.
        protocol: how the numbers were taken.
    """

    title: str
    source: str
    about: str
    metrics: tuple[Metric, ...]
    groups: dict[str, tuple[Row, ...]]
    seeds: int
    protocol: Protocol

    @property
    def spans(self) -> list[tuple[str, int]]:
        """The planes of the columns from left to right, "" for numbers of whole volumes, and how many each has."""
        return [(plane, len(list(run))) for plane, run in groupby(metric.plane for metric in self.metrics)]

    @property
    def costs(self) -> tuple[str, ...]:
        """Titles of the columns that every table has behind its metrics: what a row took."""
        asked = any(metric.name == "seconds" for metric in self.metrics)
        return (COUNTED,) if asked else (COUNTED, "seconds")

    def costs_of(self, row: Row) -> tuple[str, ...]:
        """The entries of a row in these columns."""
        return (row.counted, f"{row.seconds:.0f}")[: len(self.costs)]

    @property
    def has_published(self) -> bool:
        return any(row.published for rows in self.groups.values() for row in rows)

    @property
    def legend(self) -> str:
        """What a reader must know to read it."""
        parts = [self.protocol.sentence if any(metric.plane for metric in self.metrics) else ""]
        parts += ["↑ more is better, ↓ less is better, bold is best of its group." if self._marks else ""]
        if any(metric.title.startswith("PSNR") for metric in self.metrics):
            parts.append("PSNR in dB.")
        if any(row.usual is not None and row.evaluations < row.usual for rows in self.groups.values() for row in rows):
            parts.append(
                "Evaluations are those of the networks, with how many were published, or are usual of a method of "
                "ours, where that is more."
            )
        if self.seeds > 1:
            parts.append(f"Mean ± standard deviation of {self.seeds} runs.")
        if self.has_published:
            parts.append(f"Published: the numbers of {self.source}, on other data with another prior.")
        return " ".join(part for part in parts if part)

    @property
    def _marks(self) -> bool:
        return any(metric.better for metric in self.metrics)


def table_of(benchmark: Benchmark, records: Records) -> Table:
    """The table of all of a benchmark's records."""
    groups = {}
    for group, recipes in benchmark.rows.items():
        entries = {row: [entry_of(metric, records[group, row]) for metric in benchmark.metrics] for row in recipes}
        columns = [_marked(metric, [entries[row][i] for row in recipes]) for i, metric in enumerate(benchmark.metrics)]
        groups[group] = tuple(
            Row(
                title=row,
                entries=tuple(column[i] for column in columns),
                published=_published(benchmark, group, row),
                seconds=statistics.fmean(record["seconds"] for record in records[group, row]),
                evaluations=statistics.fmean(record[COUNTED] for record in records[group, row]),
                usual=published_evaluations(chosen.method, benchmark.groups[group].kind),
            )
            for i, (row, chosen) in enumerate(recipes.items())
        )
    words = {"title": benchmark.title, "source": benchmark.source, "about": benchmark.about}
    return Table(
        **words, metrics=benchmark.metrics, groups=groups, seeds=len(benchmark.seeds), protocol=benchmark.protocol
    )


def entry_of(metric: Metric, records: Sequence[Mapping[str, Any]]) -> Entry:
    """The mean of a metric over records of one row, and its deviation."""
    values = [value for record in records if (value := metric.of(record)) is not None]
    if not values:
        return Entry(None)
    return Entry(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def _marked(metric: Metric, entries: Sequence[Entry]) -> list[Entry]:
    """A column of a group, its best marked; compared as printed, so that equals are equally bold."""
    texts = [None if entry.mean is None else metric.text(entry.mean) for entry in entries]
    best = best_of(texts, metric.better)
    return [replace(entry, best=best is not None and text == best) for entry, text in zip(entries, texts, strict=True)]


def _published(benchmark: Benchmark, group: str, row: str) -> tuple[Entry, ...] | None:
    values = benchmark.published_of(group, row)
    if values is None or all(value is None for value in values):
        return None
    return tuple(Entry(*value) if isinstance(value, tuple) else Entry(value) for value in values)
