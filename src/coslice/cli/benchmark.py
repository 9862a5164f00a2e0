"""`coslice benchmark`: the papers' tables, or one of one's own, from a recipe to a folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coslice.cli.options import Device, option

if TYPE_CHECKING:
    from coslice.benchmark import Benchmark, BenchmarkCall, Cell, Store
    from coslice.runs import Progress

__all__ = ["benchmark"]


def benchmark(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="Name of a shipped one, as in table1-small, or a YAML file; without one, all are listed.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for results; what is finished there is not computed again.")] = Path(
        "coslice-benchmark"
    ),
    scan: Annotated[list[str] | None, option("NAME=FILE: a scan of the recipe.")] = None,
    prior: Annotated[list[str] | None, option("KIND=FILE, as in ct.slices=FILE: a prior of it.")] = None,
    seeds: Annotated[int | None, option("Runs of each row, with seeds 0, 1, ...  [the recipe's]")] = None,
    protocol: Annotated[
        str | None, option("unit, iscs, tpdm, diffusionblend, dm4ct or dm4ct-rocks.  [the recipe's, else unit]")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Check priors and lesions, print the grid, stop.")] = False,
    engine: Annotated[
        str | None, option("ray, or local: cells on several workers.  [in this process; with --workers: local]")
    ] = None,
    address: Annotated[str | None, option("Of a Ray cluster: HOST:PORT, or auto.")] = None,
    workers: Annotated[int | None, option("Cells at once.  [with --engine: one a GPU, else one for 4 cores]")] = None,
    device: Device = "auto",
) -> None:
    """Regenerate a table of the papers: reconstruct what its recipe asks for, print the table, write a page.

    Interrupt it, kill it, start it again, or start it several times at once on one folder: no cell is computed twice.
    """
    from coslice.benchmark import (
        BenchmarkCall,
        Fitting,
        Store,
        check_lesions,
        keyed_cells,
        load_benchmark,
        shipped_benchmarks,
    )
    from coslice.cli.display import say, show_benchmark, show_benchmarks
    from coslice.cli.words import benchmark_command
    from coslice.devices import chosen_device
    from coslice.errors import CosliceError
    from coslice.metrics import UNIT
    from coslice.report.publication import publish

    if recipe is None:
        show_benchmarks(shipped_benchmarks())
        return
    if seeds is not None and seeds < 1:
        raise CosliceError(f"--seeds {seeds} was given, at least 1 is needed.")
    scans, priors = _pairs("--scan", scan), _pairs("--prior", prior)
    chosen = load_benchmark(recipe, scans, priors, tuple(range(seeds)) if seeds else None, protocol)
    place = str(chosen_device(device))
    cells, store = keyed_cells(chosen), Store(out)
    if plan:
        for sentence in Fitting(chosen, "cpu").check(cells):
            say(sentence)
        check_lesions(chosen, chosen.groups)
        _say_plan(cells, store)
        return
    if not all(map(store.has, cells.values())):
        if (engine, address, workers) != (None, None, None):
            call = BenchmarkCall(
                recipe, tuple(scans.items()), tuple(priors.items()), tuple(range(seeds)) if seeds else None, protocol
            )
            name = "local" if engine is None and address is None else engine
            _on_workers(chosen, call, cells, store, (name, address, workers), device)
        _complete(chosen, cells, store, place)
    command = benchmark_command(chosen.called, scans, priors, seeds, protocol)
    if chosen.protocol != UNIT:
        _remeasure(chosen, cells, store)
    table, page = publish(out / chosen.outputs, chosen, cells, store, command)
    show_benchmark(table)
    say(f"Report: {page}")


def _say_plan(cells: Mapping[Cell, str], store: Store) -> None:
    from coslice.cli.display import say

    keys = set(cells.values())
    for cell, key in cells.items():
        say(f"{'done ' if store.has(key) else 'to do'}  {cell.group}, {cell.row}, seed {cell.seed}")
    say(f"{sum(map(store.has, keys))} of {len(keys)} cells are done.")


def _complete(chosen: Benchmark, cells: Mapping[Cell, str], store: Store, device: str) -> None:
    from coslice.benchmark import complete
    from coslice.cli.display import Watch, say, warn

    keys = set(cells.values())
    with Watch() as watch, watch.task(chosen.name) as overall:

        def left(count: int) -> None:
            overall("cells", len(keys) - count, len(keys))

        @contextmanager
        def working(cell: Cell) -> Iterator[Progress]:
            with watch.task(f"{cell.group}, {cell.row}", transient=True) as progress:
                yield progress

        try:
            complete(chosen, cells, store, device, working, left, say)
        except KeyboardInterrupt:
            done = sum(map(store.has, keys))
            warn(
                f"Interrupted; {done} of {len(keys)} cells are kept in {store.folder}: the same command goes on there."
            )
            sys.exit(130)


def _on_workers(
    chosen: Benchmark,
    call: BenchmarkCall,
    cells: Mapping[Cell, str],
    store: Store,
    asked_for: tuple[str | None, str | None, int | None],
    device: str,
) -> None:
    """Compute what lacks on the workers of an engine."""
    from coslice.benchmark import complete_on
    from coslice.cli.display import Watch, say, warn
    from coslice.cli.job_bars import job_bars
    from coslice.engine import chosen_engine
    from coslice.stop_signals import EXITS, stop_signals

    lacking = {key: cell for cell, key in cells.items() if not store.has(key)}
    name, address, workers = asked_for
    found = chosen_engine(len(lacking), name, address, workers, device=device)
    say(found.said)
    titles = {key: f"{cell.group}, {cell.row}" for key, cell in lacking.items()}
    place = "cuda" if device.startswith("cuda:") else device  # a worker sees its own
    with stop_signals() as asked, Watch() as watch, job_bars(watch, chosen.name, "cells", titles) as bars:
        complete_on(
            found.engine,
            *(call, chosen, cells, store, place, bars.heard, lambda key, count: bars.ended(key), say),
            stopping=lambda: bool(asked),
        )
    if asked:
        warn(f"Stopped by {asked[0]}; finished cells are kept in {store.folder}: the same command goes on there.")
        sys.exit(EXITS.get(asked[0], 1))


def _remeasure(chosen: Benchmark, cells: Mapping[Cell, str], store: Store) -> None:
    """Measure the finished cells under the benchmark's protocol; what was measured before is there."""
    from coslice.benchmark import finished_records, remeasured
    from coslice.cli.display import Watch

    with Watch() as watch, watch.task(f"protocol {chosen.protocol.name}", transient=True) as progress:

        def measured(done: int, total: int) -> None:
            progress("cells", done, total)

        remeasured(chosen, cells, store, finished_records(chosen, cells, store), measured)


def _pairs(who: str, given: list[str] | None) -> dict[str, str]:
    from coslice.errors import CosliceError

    pairs = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise CosliceError(f'{who} "{text}" was given, but NAME=FILE is needed.')
        if name in pairs:
            raise CosliceError(f"{who} {name} was given twice; choose one.")
        pairs[name] = value
    return pairs
