"""What the terminal shows: messages, progress with time left, and the table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from textwrap import indent
from types import TracebackType
from typing import Any

import yaml
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from coslice.benchmark import Entry, Metric
from coslice.benchmark import Table as BenchmarkTable
from coslice.metrics import PLANES
from coslice.reconstruction import Progress as Told

__all__ = ["Watch", "say", "show_benchmark", "show_benchmarks", "show_card", "show_priors", "show_table", "warn"]

_TITLES = 11
"""Columns of the terminal that titles of rows have at the least."""

_out = Console(highlight=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    _out.print(escape(text))


def warn(text: str) -> None:
    _err.print(f"[bold red]coslice:[/] {escape(text)}")


class Watch:
    """Progress bars with the time gone and the time left: `with watch.task("DDS") as progress: ...`."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=_err,
            speed_estimate_period=3600,  # seconds; a step may take minutes
        )

    def __enter__(self) -> Watch:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bars.stop()

    @contextmanager
    def task(self, title: str, transient: bool = False) -> Iterator[Told]:
        """A bar, which a transient one leaves no trace of."""
        bar = self._bars.add_task(title, total=None, visible=False)  # until there is something to show
        shown = ""

        def progress(phase: str, done: int, total: int) -> None:
            nonlocal shown
            if phase != shown:
                shown = phase
                self._bars.reset(bar, total=total, description=f"{title}: {phase}", visible=True)
            self._bars.update(bar, completed=done)

        try:
            yield progress
        finally:
            if transient:
                self._bars.remove_task(bar)


def show_table(metrics: Mapping[str, Mapping[str, Any]]) -> None:
    """The paper's table: PSNR, SSIM and LPIPS of the three planes, SDiff and its gap; 80 columns wide."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, caption=_caption(metrics))
    table.add_column("\n", min_width=8)  # long titles are broken, numbers never
    for plane in PLANES:
        table.add_column(f"{plane}\nPSNR SSIM LPIPS", justify="right", no_wrap=True, min_width=15)
    table.add_column("\nSDiff", justify="right", no_wrap=True, min_width=5)
    table.add_column("\n|Δ|", justify="right", no_wrap=True, min_width=5)
    for title, values in metrics.items():
        cells = [
            " ".join(_number(values[plane][name], digits) for name, digits in (("psnr", 2), ("ssim", 3), ("lpips", 3)))
            for plane in PLANES
        ]
        table.add_row(title, *cells, _number(values["sdiff"], 4), _number(values["sdiff_gap"], 4))
    _out.print(table)


def show_benchmark(table: BenchmarkTable) -> None:
    """A benchmark's table: the numbers of a plane in one column, ours in rows, the published ones below each."""
    columns: dict[str, list[int]] = {}
    for i, metric in enumerate(table.metrics):
        columns.setdefault(metric.plane or metric.title, []).append(i)
    lines: list[tuple[str, list[str], str]] = []  # title, numbers, style
    for title, rows in table.groups.items():
        lines.append((title, [], "bold"))
        for row in rows:
            lines.append((row.title, _joined(columns.values(), row.entries, table.metrics), ""))
            if row.published:
                lines.append(("  published", _joined(columns.values(), row.published, table.metrics), "dim italic"))
    grid = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    grid.add_column("\n", min_width=_TITLES)  # long titles are broken, numbers never
    for i, (head, places) in enumerate(columns.items()):
        names = " ".join(table.metrics[place].title for place in places)
        widest = max([names, head, *(numbers[i] for _, numbers, _ in lines if numbers)], key=_cells)
        over = head if head != names else ""
        grid.add_column(f"{over}\n{names}", justify="right", no_wrap=True, min_width=_cells(widest))
    for title, numbers, style in lines:
        grid.add_row(escape(title), *numbers, style=style)
    _out.print(f"[bold]{escape(table.title)}[/]")
    for text in (table.about, table.legend):
        if text:
            _out.print(f"[dim]{escape(text)}[/]")
    # As wide as the numbers are: a line that the terminal breaks can be read, one that is cut cannot.
    least = sum((column.min_width or 0) + 2 for column in grid.columns)  # with what is between them
    grid.width = least if least > _out.width else None
    _out.print(grid)


def _cells(marked: str) -> int:
    """How wide a text with marks is."""
    return Text.from_markup(marked).cell_len


def _joined(columns: Iterable[Sequence[int]], entries: Sequence[Entry], metrics: Sequence[Metric]) -> list[str]:
    def shown(i: int) -> str:
        text = " ± ".join(_short(number) for number in entries[i].text(metrics[i]).split(" ± "))
        return f"[bold]{text}[/]" if entries[i].best else text

    return [" ".join(map(shown, places)) for places in columns]


def show_benchmarks(found: Mapping[str, tuple[str, str]]) -> None:
    """A line for each shipped recipe, its editions' names among it."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for title in ("name", "what", "source"):
        table.add_column(title)
    told: dict[tuple[str, str], list[str]] = {}
    for name, words in found.items():
        told.setdefault(words, []).append(name)
    for (title, source), names in told.items():
        table.add_row("\n".join(names), escape(title), escape(source))
    _out.print(table)


def show_priors(cards: Mapping[str, Mapping[str, Any]], embedded: Collection[str]) -> None:
    """A line for each prior; what came with coslice and what the user brought."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for title in ("name", "what", "plane", "images", "licence"):
        table.add_column(title)
    for name, card in cards.items():
        mark = "" if name in embedded else " (yours)"
        images = f"{card['images']:,}" if "images" in card else "-"
        told = (card.get("title", card.get("network", "-")), card.get("plane", "-"), images, card.get("licence", "-"))
        table.add_row(name + mark, *(escape(str(cell)) for cell in told))
    _out.print(table)


def show_card(name: str, card: Mapping[str, Any]) -> None:
    """All a prior's file says, an entry a line; tables of numbers as tables."""
    _out.print(f"[bold]{escape(name)}[/]")
    for key, value in card.items():
        if key.startswith("validation") and isinstance(value, Mapping):
            _out.print(_grid(key, value))
        elif isinstance(value, Mapping) and any(isinstance(inner, Mapping) for inner in value.values()):
            say(f"{_words(key)}:\n" + indent(yaml.safe_dump(value, sort_keys=False), "  ").rstrip())
        elif isinstance(value, Mapping):
            say(f"{_words(key)}: " + ", ".join(f"{inner} {_compact(item)}" for inner, item in value.items()))
        elif isinstance(value, list | tuple) and any(isinstance(item, str) and " " in item for item in value):
            say("\n".join([f"{_words(key)}:", *(f"  - {item}" for item in value)]))
        else:
            say(f"{_words(key)}: {_compact(value)}")


def _grid(title: str, rows: Mapping[str, Mapping[str, Any]]) -> Table:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, title=_words(title))
    for column in ("", *columns):
        table.add_column(column, justify="right" if column else "left")
    for name, row in rows.items():
        table.add_row(name, *(_compact(row.get(column, "-")) for column in columns))
    return table


def _words(key: str) -> str:
    return key.replace("_", " ")


def _compact(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " to ".join(map(_compact, value)) if len(value) == 2 else ", ".join(map(_compact, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _caption(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    truth = next(iter(metrics.values()))["sdiff_truth"]
    return f"PSNR in dB; SDiff of the truth {truth:.5f}; |Δ| = |SDiff - SDiff of the truth|"


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return "-"
    return _short(f"{value:.{digits}f}")


def _short(text: str) -> str:
    return text[1:] if text.startswith("0.") else text  # .937, as the papers' readers know it
