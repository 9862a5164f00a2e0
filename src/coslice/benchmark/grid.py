"""The cells of a recipe, computed: by one process or by as many as are started on the same folder.

Every process goes through the grid and computes what is neither finished nor another's at the moment; at the end each
waits for what the others still have. A process that is killed leaves its cell unclaimed, and another takes it.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from coslice.benchmark.recipe import Benchmark, Cell
from coslice.benchmark.shape import Group
from coslice.benchmark.store import Store, digest_of, file_digest
from coslice.errors import CosliceError
from coslice.io.nifti import read_nifti
from coslice.methods import DIFFUSION
from coslice.metrics import evaluate, per_slice
from coslice.parts import load_priors
from coslice.priors import SlicePrior
from coslice.priors.places import find_prior
from coslice.priors.published import configuration_beside
from coslice.recipe import chosen_method
from coslice.reconstruction import Progress, check_prior, run
from coslice.study import Study, simulate
from coslice.volume import Volume, Window, scan_window

__all__ = ["Keyed", "complete", "keyed_cells", "truth_of"]

_VERSION = 1
"""Of what a cell's numbers mean; raised when coslice changes what it computes, so that old cells are left alone."""
_POLL = 0.5  # seconds between looks at what other processes have finished

Keyed = Mapping[Cell, str]
"""Cells, each with its key; rows that ask for the same have the same one."""


def keyed_cells(benchmark: Benchmark) -> Keyed:
    """The cells of a grid, each with the hash of all it depends on: scan, measurement, recipe and weights.

    Raises:
        CosliceError: a file that cannot be read.
    """
    digests: dict[str, str] = {}

    def digest(name: str, *paths: Path) -> str:
        if name not in digests:
            digests[name] = "-".join(map(file_digest, paths))
        return digests[name]

    keyed = {}
    for cell in benchmark.cells():
        scan = benchmark.scans[benchmark.groups[cell.group].scan]
        priors = [digest(f"prior {name}", *_files_of_prior(name)) for name in cell.priors if name]
        keyed[cell] = digest_of(_described(benchmark, cell, digest(f"scan {scan.path}", scan.path), priors))
    return keyed


def _files_of_prior(name: str) -> list[Path]:
    """The weights, and of a published checkpoint what says how to read them."""
    weights = find_prior(name)
    beside = None if weights.suffix == ".safetensors" else configuration_beside(weights)
    return [weights] if beside is None else [weights, beside]


def _described(benchmark: Benchmark, cell: Cell, scan: str, priors: list[str]) -> dict[str, Any]:
    group = benchmark.groups[cell.group]
    acquisition = group.acquisition(cell.seed)
    method = asdict(chosen_method(cell.recipe, acquisition.kind))
    # What the method says already, published values in place of what was left out.
    recipe = {name: value for name, value in asdict(cell.recipe).items() if name not in method}
    for name in ("title", "source", "kinds"):
        del method[name]  # words, which no number depends on
    preparation = asdict(benchmark.scans[group.scan])
    for name in ("file", "needs"):
        del preparation[name]
    if cell.recipe.method not in DIFFUSION:
        recipe["seed"] = 0  # draws nothing, so one run does for all seeds
    return {
        "version": _VERSION,
        "scan": scan,
        "preparation": preparation,
        "acquisition": acquisition.settings,
        "recipe": recipe,
        "method": method,
        "priors": priors,
    }


def truth_of(benchmark: Benchmark, group: Group) -> tuple[Volume, Window]:
    """The prepared scan of a group, and the window its rows are compared in.

    Raises:
        CosliceError: a scan that cannot be read or prepared.
    """
    chosen = benchmark.scans[group.scan]
    scan = read_nifti(chosen.path)
    truth = chosen.preparation(scan.shape[0])(scan)
    return truth, scan_window(group.acquisition(0).window, truth.data)


class _Workshop:
    """What cells are computed with: priors, loaded once, and the measurement of the group at work."""

    def __init__(self, benchmark: Benchmark, device: str) -> None:
        self._benchmark, self._device = benchmark, device
        self._loaded: dict[tuple[str, str | None, str | None], tuple[SlicePrior | None, SlicePrior | None]] = {}
        self._study: tuple[tuple[str, int], Study] | None = None

    def study(self, cell: Cell) -> Study:
        group = self._benchmark.groups[cell.group]
        key = (cell.group, group.acquisition(cell.seed).seed)
        if self._study is None or self._study[0] != key:
            self._study = None  # not two at once
            truth, window = truth_of(self._benchmark, group)
            self._study = key, simulate(truth, window, group.acquisition(cell.seed), device=self._device)
        return self._study[1]

    def priors(self, cell: Cell) -> tuple[SlicePrior | None, SlicePrior | None]:
        acquisition = self._benchmark.groups[cell.group].acquisition(cell.seed)
        method = chosen_method(cell.recipe, acquisition.kind)
        key = (f"{acquisition.kind}.{method.prior}", *cell.priors)
        if key not in self._loaded:
            loaded = load_priors(method, acquisition.kind, *cell.priors, self._device)
            for prior in loaded:
                if prior is not None and prior.window != acquisition.window:
                    raise CosliceError(
                        f"prior {prior.name}: it sees the window {prior.window}, but the rows of {cell.group} are "
                        f"compared in the window {acquisition.window}; name another prior."
                    )
            self._loaded[key] = loaded
        return self._loaded[key]

    def check(self, cells: Iterable[Cell]) -> None:
        """Refuse what could not be run, before hours are spent on other cells."""
        for cell in cells:
            check_prior(self.study(cell).problem, cell.recipe, *self.priors(cell))

    def computed(self, cell: Cell, progress: Progress) -> tuple[dict[str, Any], Volume]:
        """The record of a cell, and its reconstruction."""
        study = self.study(cell)
        prior, auxiliary = self.priors(cell)
        began = time.perf_counter()
        result = run(study.problem, cell.recipe, prior, study.unit, progress, auxiliary)
        seconds = time.perf_counter() - began
        assert study.unit is not None
        progress("metrics", 0, 1)
        reconstruction, truth = result.reconstruction.cpu(), study.unit.cpu()
        curves = per_slice(reconstruction, truth)
        progress("metrics", 1, 1)
        record = {
            "title": cell.recipe.title,
            "metrics": evaluate(reconstruction, truth, curves=curves),
            "curves": {plane: asdict(curve) for plane, curve in curves.items()},
            "trajectory": result.trajectory,
            "seconds": seconds,
            "phases": result.seconds,
            "device": self._device,
            "threads": torch.get_num_threads(),
            "study": study.settings,
            "versions": {name: version(name) for name in ("coslice", "torch")} | {"python": platform.python_version()},
        }
        return record, study.grid.with_data(study.window.from_unit(reconstruction))


def complete(
    benchmark: Benchmark,
    cells: Keyed,
    store: Store,
    device: str,
    working: Callable[[Cell], AbstractContextManager[Progress]],
    left: Callable[[int], None] = lambda count: None,
) -> None:
    """Compute what is not in the store, with whatever other processes work on it; return when all of it is there.

    Args:
        benchmark: whose cells they are.
        cells: see `keyed_cells`.
        store: where finished ones are; made where it is missing.
        device: to compute on.
        working: entered for each cell this process computes; what it gives is told of the progress.
        left: told how many cells are not finished, again and again.

    Raises:
        CosliceError: a scan or a prior that cannot be read or does not fit, or a store that cannot be written to, all
            of it before anything is computed.
    """
    pending = {key: cell for cell, key in cells.items() if not store.has(key)}
    if not pending:
        return
    workshop = _Workshop(benchmark, device)
    workshop.check(pending.values())
    store.prepare()
    while pending:
        idle = True
        for key, cell in pending.items():
            left(sum(not store.has(one) for one in pending))
            with store.claimed(key) as mine:
                if mine and not store.has(key):
                    with working(cell) as progress:
                        record, volume = workshop.computed(cell, progress)
                        store.put(key, {"row": cell.row, "seed": cell.seed, **record}, volume)
                    idle = False
        pending = {key: cell for key, cell in pending.items() if not store.has(key)}
        if pending and idle:
            time.sleep(_POLL)
    left(0)
