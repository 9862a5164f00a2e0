"""What the terminal shows: messages, progress with time left, and the table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD, Box
from rich.cells import cell_len
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from coslice.axes import PLANES
from coslice.cli.terminal import Terminal
from coslice.errors import shortened
from coslice.escapes import visible
from coslice.metrics import PER_PLANE, QUANTITIES, UNIT, Quantity
from coslice.priors.measured_cards import error_table, measured_of
from coslice.priors.travelling_cards import TERMS
from coslice.runs import Progress

if TYPE_CHECKING:
    from coslice.priors import Measurement

if TYPE_CHECKING:  # the room of benchmarks takes long to load, and most commands need no table of one
    from coslice.benchmark import Entry, Metric
    from coslice.benchmark import Table as BenchmarkTable

__all__ = [
    "Watch",
    "listening",
    "plain_table",
    "say",
    "show",
    "show_benchmark",
    "show_benchmarks",
    "show_card",
    "show_measured",
    "show_priors",
    "show_table",
    "warn",
]

_TITLES = 11
"""Columns of the terminal that titles of rows have at the least."""
_DASHED_HEAD = Box(str(SIMPLE_HEAD).replace("─", "-"), ascii=True)
"""For streams without lines; in place of rich's own choice, which draws bars between columns."""

_out, _err = Terminal(), Terminal(stderr=True)


def say(*lines: str) -> None:
    """Print lines to the standard output; an end of a line within one is written out, or a name could fake another."""
    _out.print("\n".join(map(visible, lines)))


def show(table: Table) -> None:
    """Print a table to the standard output."""
    _out.print(table)


def warn(text: str) -> None:
    """Print a line to the standard error stream, without its middle where it is very long."""
    _err.print(Text.assemble(("coslice:", "bold red"), " ", _err.legible(shortened(visible(text)))))


_listeners: list[Progress] = []


@contextmanager
def listening(progress: Progress) -> Iterator[None]:
    """Inside, every bar of this process tells `progress` too how it goes on."""
    _listeners.append(progress)
    try:
        yield
    finally:
        _listeners.remove(progress)


class Watch:
    """Progress bars with the time gone and the time left: `with watch.task("DDS") as progress: ...`."""

    def __init__(self) -> None:
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
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
    def task(self, title: str, transient: bool = False) -> Iterator[Progress]:
        """A bar, which a transient one leaves no trace of."""
        bar = self._bars.add_task(title, total=None, visible=False)  # until there is something to show
        shown, steps, part = "", 0, 0.0

        def progress(phase: str, done: int, total: int) -> None:
            nonlocal shown, steps, part
            if phase == "denoising" and shown == "sampling":  # of a step that is not done, and may ask twice
                part = max(part, done / total)
                self._bars.update(bar, completed=steps + part)
            else:
                if phase != shown:
                    shown = phase
                    self._bars.reset(bar, total=total, description=visible(f"{title}: {phase}"), visible=True)
                steps, part = done, 0.0
                self._bars.update(bar, completed=done)
            for listener in _listeners:
                listener(phase, done, total)

        try:
            yield progress
        finally:
            if transient:
                self._bars.remove_task(bar)


def show_table(metrics: Mapping[str, Mapping[str, Any]], protocol: str = UNIT.name) -> None:
    """The paper's table: PSNR, SSIM and LPIPS of the three planes, SDiff and its gap; 80 columns wide."""
    table = plain_table(caption=_caption(metrics, protocol))
    table.add_column("\n", min_width=8)  # long titles are broken, numbers never
    titles = " ".join(quantity.title for quantity in PER_PLANE)
    for plane in PLANES:
        table.add_column(f"{plane}\n{titles}", justify="right", no_wrap=True, min_width=15)
    whole = [QUANTITIES["sdiff"], QUANTITIES["sdiff_gap"]]
    for quantity in whole:
        table.add_column(f"\n{quantity.title}", justify="right", no_wrap=True, min_width=5)
    for title, values in metrics.items():
        cells = [" ".join(_number(quantity, values[plane]) for quantity in PER_PLANE) for plane in PLANES]
        table.add_row(title, *cells, *(_number(quantity, values) for quantity in whole))
    _out.print(table)


def show_benchmark(table: BenchmarkTable) -> None:
    """A benchmark's table: the numbers of a plane in one column, ours in rows, the published ones below each."""
    columns: dict[str, list[int]] = {}
    for i, metric in enumerate(table.metrics):
        columns.setdefault(metric.plane or metric.title, []).append(i)
    lines: list[tuple[str, list[Text], str]] = []  # title, numbers, style
    for title, rows in table.groups.items():
        lines.append((title, [], "bold"))
        for row in rows:
            costs = map(Text, table.costs_of(row))
            lines.append((row.title, [*_joined(columns.values(), row.entries, table.metrics), *costs], ""))
            if row.published:
                numbers = _joined(columns.values(), row.published, table.metrics)
                lines.append(("  published", [*numbers, *(Text() for _ in table.costs)], "dim italic"))
    grid = plain_table()
    grid.add_column("\n", min_width=_TITLES)  # long titles are broken, numbers never
    named = [(head, " ".join(table.metrics[place].title for place in places)) for head, places in columns.items()]
    for i, (head, names) in enumerate([*named, *(("", cost) for cost in table.costs)]):
        over = _out.legible(f"{head if head != names else ''}\n{names}")
        widest = max([*map(cell_len, over.split("\n")), *(numbers[i].cell_len for _, numbers, _ in lines if numbers)])
        grid.add_column(over, justify="right", no_wrap=True, min_width=widest)
    for title, numbers, style in lines:
        grid.add_row(title, *numbers, style=style)
    _out.print(table.title, style="bold")
    for text in (table.about, table.legend):
        if text:
            _out.print(text, style="dim")
    # As wide as the numbers are: a line that the terminal breaks can be read, one that is cut cannot.
    least = sum((column.min_width or 0) + 2 for column in grid.columns)  # with what is between them
    grid.width = least if least > _out.width else None
    _out.print(grid)


def _joined(columns: Iterable[Sequence[int]], entries: Sequence[Entry], metrics: Sequence[Metric]) -> list[Text]:
    """The numbers of a row, those that stand in one column side by side; the best are bold."""

    def shown(i: int) -> Text:
        text = " ± ".join(_short(number) for number in entries[i].text(metrics[i]).split(" ± "))
        return Text(_out.legible(text), "bold" if entries[i].best else "")

    return [Text(" ").join(map(shown, places)) for places in columns]


def show_benchmarks(found: Mapping[str, tuple[str, str]]) -> None:
    """A line for each shipped recipe, with the names of its editions."""
    table = plain_table()
    for title in ("name", "what", "source"):
        table.add_column(title)
    names_of: dict[tuple[str, str], list[str]] = {}
    for name, words in found.items():
        names_of.setdefault(words, []).append(name)
    for (title, source), names in names_of.items():
        table.add_row("\n".join(names), title, source)
    _out.print(table)


def show_priors(cards: Mapping[str, Mapping[str, Any]], embedded: Collection[str]) -> None:
    """A line for each prior; what came with coslice and what the user brought."""
    table = plain_table()
    for title in ("name", "what", "plane", "images", "licence"):
        table.add_column(title)
    for name, card in cards.items():
        mark = "" if name in embedded else " (yours)"
        title = card.get("title", card.get("network", "-"))
        words = (title, card.get("plane", "-"), card.get("images", "-"), card.get("licence", "-"))
        table.add_row(visible(name) + mark, *(visible(_compact(word)) for word in words))
    _out.print(table)


def show_card(name: str, card: Mapping[str, Any]) -> None:
    """All that a prior's file says, one entry a line; tables of numbers as tables."""
    import yaml

    _out.print(visible(name), style="bold")
    for key, value in card.items():
        if key == "measured" and (measured := measured_of(card)):
            show_measured(measured)
        elif key.startswith("validation") and _is_grid(value):
            _out.print(_grid(key, value))
        elif isinstance(value, Mapping) and any(isinstance(inner, Mapping) for inner in value.values()):
            lines = yaml.safe_dump(value, sort_keys=False).rstrip().split("\n")
            say(f"{_words(key)}:", *(f"  {line}" for line in lines))
        elif isinstance(value, Mapping):
            say(f"{_words(key)}: " + ", ".join(f"{inner} {_compact(item)}" for inner, item in value.items()))
        elif isinstance(value, list | tuple) and any(isinstance(item, str) and " " in item for item in value):
            say(f"{_words(key)}:", *(f"  - {item}" for item in value))
        else:
            say(f"{_words(key)}: {_compact(value)}")
    if missing := [key for key in TERMS if not card.get(key)]:
        say(f"not stated: {', '.join(map(_words, missing))}")


def show_measured(measured: Measurement, names: Sequence[str] = ()) -> None:
    """What was measured of a prior: a table in HU, where its window is in HU, and one in units of the window.

    Args:
        measured: of the prior.
        names: of the scans; none of a card, which names none.
    """
    said = {"Denoising error, in units of the window, by noise level": False}
    if all(row.rmse_hu for row in measured.rows):
        said = {"Denoising error, in HU, by noise level of the window": True} | said
    for title, in_hu in said.items():
        head, *rows = error_table(measured, in_hu)
        table = plain_table(title=title, title_justify="left")
        for number, word in enumerate(head):
            table.add_column(word, justify="right" if number else "left", no_wrap=number > 0)
        for row in rows:
            table.add_row(*map(_short, row))
        _out.print(table)
    for number, name in enumerate(names, 1):
        say(f"Scan {number}: {name}")
    say(f"Convolutions in {measured.arithmetic}; seed {measured.seed}; times of {measured.machine}.")


def _is_grid(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(row, Mapping) for row in value.values())


def _grid(title: str, rows: Mapping[str, Mapping[str, Any]]) -> Table:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    table = plain_table(title=visible(_words(title)))
    for column in ("", *columns):
        table.add_column(visible(column), justify="right" if column else "left")
    for name, row in rows.items():
        table.add_row(*map(visible, (name, *(_compact(row.get(column, "-")) for column in columns))))
    return table


def plain_table(**how: Any) -> Table:
    """A table with one line below its head, and no other."""
    box = _DASHED_HEAD if _out.options.ascii_only else SIMPLE_HEAD
    return Table(box=box, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, **how)


def _words(key: str) -> str:
    return key.replace("_", " ")


def _compact(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " to ".join(map(_compact, value)) if len(value) == 2 else ", ".join(map(_compact, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _caption(metrics: Mapping[str, Mapping[str, Any]], protocol: str) -> str:
    truth = next(iter(metrics.values()))["sdiff_truth"]  # None of a single slice, which has no neighbour
    known = "-" if truth is None else QUANTITIES["sdiff"].page_text(truth)
    return f"Protocol {protocol}, PSNR in dB; SDiff of the truth {known}; |Δ| = |SDiff - SDiff of the truth|"


def _number(quantity: Quantity, values: Mapping[str, Any]) -> str:
    value = values[quantity.name]
    return "-" if value is None else _short(quantity.text(value))


def _short(text: str) -> str:
    return text[1:] if text.startswith("0.") else text  # .937, as the papers' readers know it
