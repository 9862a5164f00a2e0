"""The cells of a recipe on an engine: each worker has its own workshop, and takes cells as one of many processes does.

A cell is the same whoever computes it, and is kept where one process keeps it. So a grid that one process began is
finished by many, and the other way round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from coslice.benchmark.cell_keys import Keyed, keyed_cells
from coslice.benchmark.definition import Benchmark, Cell, load_benchmark
from coslice.benchmark.grid import Workshop
from coslice.benchmark.store import Store
from coslice.devices import chosen_device
from coslice.engine import Context, Engine, Heard, Job
from coslice.errors import CosliceError

__all__ = ["BenchmarkCall", "complete_on", "compute_cell"]


@dataclass(frozen=True)
class BenchmarkCall:
    """What `load_benchmark` was called with, so that a worker can call it too.

    Attributes:
        name: of the recipe.
        scans, priors: names and files that the user gave.
        seeds, protocol: instead of the recipe's.
    """

    name: str
    scans: tuple[tuple[str, str], ...] = ()
    priors: tuple[tuple[str, str], ...] = ()
    seeds: tuple[int, ...] | None = None
    protocol: str | None = None

    def loaded(self) -> Benchmark:
        """The benchmark.

        Raises:
            CosliceError: as `load_benchmark`.
        """
        return load_benchmark(self.name, dict(self.scans), dict(self.priors), self.seeds, self.protocol)


@lru_cache(maxsize=1)
def _at_work(call: BenchmarkCall, device: str) -> tuple[Workshop, dict[str, Cell]]:
    benchmark = call.loaded()
    return Workshop(benchmark, str(chosen_device(device))), {key: cell for cell, key in keyed_cells(benchmark).items()}


def compute_cell(context: Context, call: BenchmarkCall, key: str, folder: Path, device: str) -> bool:
    """Compute a cell, in a worker; False where it is there, or another process is at it.

    Raises:
        CosliceError: files of the benchmark are others here.
    """
    workshop, cells = _at_work(call, device)
    store = Store(folder)
    if key not in cells:
        raise CosliceError(f"{call.name}: its files were changed while it was computed; start it again.")
    with store.taken(key) as mine:
        if not mine or store.has(key):
            return False
        workshop.put(store, key, cells[key], context.progress)
    return True


def complete_on(
    engine: Engine,
    call: BenchmarkCall,
    benchmark: Benchmark,
    cells: Keyed,
    store: Store,
    device: str,
    heard: Heard = lambda key, phase, done, total: None,
    left: Callable[[str, int], None] = lambda key, count: None,
    say: Callable[[str], None] = lambda sentence: None,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Compute what is not in the store on the workers of an engine; return when they have nothing more to do.

    Cells that other processes are at when their turn comes are left to those: `complete` waits for them.

    Args:
        engine: whose workers compute.
        call: what `benchmark` was loaded with.
        benchmark, cells, store, say: as `complete` takes them.
        device: likewise, or "auto", which is each worker's own.
        heard: called with the key of a cell as it goes on.
        left: called with the key of a cell that is finished, and how many are not.
        stopping: see `Engine.run`.

    Raises:
        CosliceError: as `complete`; cells that could not be computed, after all others were.
    """
    pending = {key: cell for cell, key in cells.items() if not store.has(key)}
    if not pending:
        return
    for sentence in Workshop(benchmark, str(chosen_device(device))).check(pending.values()):
        say(sentence)
    store.prepare()
    folder = store.folder.absolute()
    jobs = [Job(key, compute_cell, (call, key, folder, device)) for key in pending]
    failed: list[str] = []
    count = len(pending)
    for ended in engine.run(jobs, heard=heard, stopping=stopping):
        count -= 1
        left(ended.key, count)
        if not ended.done and ended.last.ending != "stopped":
            cell = pending[ended.key]
            failed.append(f"{cell.group}, {cell.row}, seed {cell.seed}: {ended.last.message}")
    if failed:
        more = f" (and {len(failed) - 3} more)" if len(failed) > 3 else ""
        raise CosliceError(
            f"{benchmark.name}: {len(failed)} of {len(pending)} cells failed{more}. {' '.join(failed[:3])} What is "
            f"finished is kept in {store.folder}."
        )
