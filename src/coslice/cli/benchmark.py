"""`coslice benchmark`: the papers' tables, or one of one's own, from a recipe to a folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from coslice.benchmark import Benchmark, Cell, Store, complete, keyed_cells, load_benchmark, shipped_benchmarks
from coslice.cli.display import Watch, say, show_benchmark, show_benchmarks, warn
from coslice.cli.reconstruct import Device
from coslice.devices import chosen_device
from coslice.errors import CosliceError
from coslice.reconstruction import Progress
from coslice.report.benchmark import publish

__all__ = ["benchmark"]


def benchmark(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help=escape("Name of a shipped one, as in table1-small, or a YAML file.  [lists them]"), show_default=False
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for results; what is finished there is not computed again.")] = Path(
        "coslice-benchmark"
    ),
    scan: Annotated[list[str] | None, typer.Option(help="NAME=FILE: a scan of the recipe.", show_default=False)] = None,
    prior: Annotated[
        list[str] | None, typer.Option(help="KIND=FILE, as in ct.slices=FILE: a prior of it.", show_default=False)
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help=escape("Runs of each row, with seeds 0, 1, ...  [the recipe's]"))
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print what would be computed, and stop.")] = False,
    device: Device = "auto",
) -> None:
    """Regenerate a table of the papers: reconstruct what its recipe asks for, print the table, write a page.

    Interrupt it, kill it, start it again, or start it several times at once on one folder: no cell is computed twice.
    """
    if recipe is None:
        show_benchmarks(shipped_benchmarks())
        return
    if seeds is not None and seeds < 1:
        raise CosliceError(f"--seeds {seeds} was given, at least 1 is needed.")
    chosen = load_benchmark(
        recipe, _pairs("--scan", scan), _pairs("--prior", prior), tuple(range(seeds)) if seeds else None
    )
    place = str(chosen_device(device))
    cells, store = keyed_cells(chosen), Store(out)
    if plan:
        _say_plan(cells, store)
        return
    if not all(map(store.has, cells.values())):
        _complete(chosen, cells, store, place)
    table, page = publish(out / chosen.name, chosen, cells, store)
    show_benchmark(table)
    say(f"Report: {page}")


def _say_plan(cells: Mapping[Cell, str], store: Store) -> None:
    keys = set(cells.values())
    for cell, key in cells.items():
        say(f"{'done ' if store.has(key) else 'to do'}  {cell.group}, {cell.row}, seed {cell.seed}")
    say(f"{sum(map(store.has, keys))} of {len(keys)} cells are done.")


def _complete(chosen: Benchmark, cells: Mapping[Cell, str], store: Store, device: str) -> None:
    keys = set(cells.values())
    with Watch() as watch, watch.task(chosen.name) as overall:

        def left(count: int) -> None:
            overall("cells", len(keys) - count, len(keys))

        @contextmanager
        def working(cell: Cell) -> Iterator[Progress]:
            with watch.task(f"{cell.group}, {cell.row}", transient=True) as progress:
                yield progress

        try:
            complete(chosen, cells, store, device, working, left)
        except KeyboardInterrupt:
            done = sum(map(store.has, keys))
            warn(
                f"Interrupted; {done} of {len(keys)} cells are kept in {store.folder}: the same command goes on there."
            )
            sys.exit(130)


def _pairs(option: str, given: list[str] | None) -> dict[str, str]:
    pairs = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise CosliceError(f'{option} "{text}" was given, but NAME=FILE is needed.')
        if name in pairs:
            raise CosliceError(f"{option} {name} was given twice; choose one.")
        pairs[name] = value
    return pairs
