"""Finished cells under another protocol than `unit`, which their own records have.

Everything is there: a cell's reconstruction, in float32 and clipped to the window as the result of a run is, and the
truth, prepared again from its scan. So a table under another protocol needs no network, and its numbers are kept beside
the cell for the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from coslice.benchmark.cell_keys import Keyed
from coslice.benchmark.definition import Benchmark
from coslice.benchmark.grid import truth_of
from coslice.benchmark.recipe_content import COUNTED
from coslice.benchmark.store import Store
from coslice.benchmark.table import Records
from coslice.errors import CosliceError
from coslice.io.nifti import read_nifti
from coslice.metrics import UNIT, evaluate, per_slice

__all__ = ["finished_records", "remeasured"]


def finished_records(benchmark: Benchmark, cells: Keyed, store: Store) -> Records:
    """The records of a finished grid by group and row, one for each seed, as their runs measured them.

    Raises:
        CosliceError: a cell that is not finished or damaged.
    """
    records: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for cell, key in cells.items():
        record = store.record(key)
        if record is None:
            raise CosliceError(f"{benchmark.name}: {cell.group}, {cell.row} is not finished; run the benchmark again.")
        # A cell of a coslice that did not count had as many as its method asks for.
        counted = {COUNTED: cell.method.evaluations} | record
        records.setdefault((cell.group, cell.row), []).append(counted)
    return records


def remeasured(
    benchmark: Benchmark,
    cells: Keyed,
    store: Store,
    records: Records,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Records:
    """The same records with metrics and curves under the benchmark's protocol; the rest of them stays as it is.

    Args:
        benchmark, cells: the recipe, and the keys of its cells.
        store: holds all of them; numbers that are not there yet are kept in it.
        records: of `finished_records`.
        progress: called with how many cells are done, and how many there are.

    Raises:
        CosliceError: a scan that cannot be read, a volume that is gone, a store that cannot be written to.
    """
    protocol = benchmark.protocol
    if protocol == UNIT:
        return records
    described = asdict(protocol)
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    known = None
    for done, (cell, key) in enumerate(cells.items()):
        progress(done, len(cells))
        numbers = store.remeasured(key, protocol.name)
        before = records[cell.group, cell.row][len(found.setdefault((cell.group, cell.row), []))]
        if numbers is None or numbers.get("protocol") != described or not _alike(numbers["metrics"], before["metrics"]):
            if known is None or known[0] != cell.group:
                known = cell.group, *truth_of(benchmark, benchmark.groups[cell.group])
            _, truth, window = known
            pair = window.to_unit(read_nifti(store.volume(key)).data), window.to_unit(truth.data)
            curves = per_slice(*pair, protocol=protocol)
            numbers = {
                "protocol": described,
                "data_range": protocol.data_range(pair[1]),
                "metrics": evaluate(*pair, curves=curves, protocol=protocol),
                "curves": {plane: asdict(curve) for plane, curve in curves.items()},
            }
            numbers = store.keep_remeasured(key, protocol.name, numbers)
        taken = {"protocol": protocol.name, "metrics": numbers["metrics"], "curves": numbers["curves"]}
        found[cell.group, cell.row].append({**before, **taken})
    progress(len(cells), len(cells))
    return found


def _alike(numbers: Any, model: Any) -> bool:
    """Whether there is a number, or None, wherever `model` has one: what was kept may be damaged."""
    if isinstance(model, Mapping):
        return isinstance(numbers, Mapping) and all(_alike(numbers.get(name), part) for name, part in model.items())
    return numbers is None or isinstance(numbers, int | float)
