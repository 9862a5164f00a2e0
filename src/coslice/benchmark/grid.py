"""The cells of a recipe, computed: by one process or by as many as are started on the same folder.

Every process goes through the grid and computes what is neither finished nor another's at the moment; at the end each
waits for what the others still have. A process that is killed leaves its cell to the others, and one of them takes it,
where it stands: of a cell that takes minutes that is kept once a minute (`coslice.output.keeping`).
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coslice.benchmark.cell_keys import Keyed
from coslice.benchmark.definition import Benchmark, Cell
from coslice.benchmark.fitting import Fitting
from coslice.benchmark.lesion_content import with_lesions
from coslice.benchmark.recipe_content import Group
from coslice.benchmark.store import Store
from coslice.errors import CosliceError
from coslice.io.nifti import read_nifti
from coslice.metrics import UNIT, evaluate, per_slice
from coslice.output import Keeper
from coslice.plans import Plan, plan
from coslice.problems import Study, simulate
from coslice.runs import Progress, run
from coslice.values import settle
from coslice.volume import Volume
from coslice.window import Window, scan_window

__all__ = ["Workshop", "check_lesions", "complete", "region_of", "scan_of", "truth_of"]

_POLL = 0.5  # seconds between looks at what other processes have finished


def truth_of(benchmark: Benchmark, group: Group) -> tuple[Volume, Window]:
    """The prepared scan of a group, its lesions put in, and the window its rows are compared in.

    Raises:
        CosliceError: as `scan_of`; lesions that have no place, or that the window cuts off.
    """
    scan, window = scan_of(benchmark, group)
    if group.lesions is None:
        return scan, window
    return with_lesions(scan, group.lesions.spread(scan), window), window


def scan_of(benchmark: Benchmark, group: Group) -> tuple[Volume, Window]:
    """The same without lesions.

    Raises:
        CosliceError: a scan that cannot be read or prepared, or whose numbers are not in the unit of the window.
    """
    chosen = benchmark.scans[group.scan]
    scan = read_nifti(chosen.path)
    for remark in settle(scan, group.window, who=f"scan {group.scan}").remarks:
        raise CosliceError(f"scan {group.scan}: a benchmark takes a scan as it is. {remark} Write it to a new file.")
    truth = chosen.preparation(scan.shape[0])(scan)
    return truth, scan_window(group.window, truth.data)


def region_of(benchmark: Benchmark, group: Group) -> tuple[Tensor, Tensor]:
    """The lesion that is in the scan of a group with a region, and the tissue about it: (z, y, x) bool each.

    Raises:
        CosliceError: as `scan_of`; a mask on another grid, a box outside the scan, no voxel, or no tissue about it.
    """
    region, (scan, window) = group.region, scan_of(benchmark, group)
    assert region is not None
    mask = None
    if region.mask is not None:
        chosen = benchmark.scans[group.scan]
        whole = read_nifti(chosen.path)
        mask = read_nifti(benchmark.scans[region.mask].path), whole, chosen.preparation(whole.shape[0])
    inside = region.inside(scan, mask)
    rim = region.around(inside, scan, window)
    if int(rim.sum()) < 2:
        raise CosliceError(
            f"region: it has {int(inside.sum())} voxels, but about it are {int(rim.sum())} voxels of tissue within "
            f"{region.rim:g} mm, at least 2 are needed; choose a smaller region or a wider rim."
        )
    return inside, rim


def check_lesions(benchmark: Benchmark, titles: Collection[str]) -> None:
    """Refuse lesions of these groups that have no place, and regions that are not there.

    Raises:
        CosliceError: as `truth_of` and `region_of`, with the group.
    """
    for title in titles:
        group = benchmark.groups[title]
        try:
            if group.lesions is not None:
                truth_of(benchmark, group)
            if group.region is not None:
                region_of(benchmark, group)
        except CosliceError as error:
            raise CosliceError(f"{benchmark.name}: group {title}: {error}") from error


class Workshop:
    """What cells are computed with: their priors, and the measurement of the group at work."""

    def __init__(self, benchmark: Benchmark, device: str) -> None:
        self._benchmark, self._device = benchmark, device
        self._fitting = Fitting(benchmark, device)
        self._study: tuple[tuple[str, int], Study] | None = None

    def study(self, cell: Cell) -> Study:
        group = self._benchmark.groups[cell.group]
        task = group.measurement(cell.seed)
        key = (cell.group, task.seed)
        if self._study is None or self._study[0] != key:
            self._study = None  # not two at once
            truth, window = truth_of(self._benchmark, group)
            self._study = key, simulate(truth, task, window, device=self._device, values="any")
        return self._study[1]

    def plan(self, cell: Cell) -> Plan:
        """The plan of a cell; refuses what could not be run."""
        return plan(self.study(cell).problem, cell.method, self._fitting.priors(cell), cell.first_seed)

    def check(self, cells: Collection[Cell]) -> tuple[str, ...]:
        """Refuse what could not be run, before hours are spent on other cells; sentences on the priors."""
        said = self._fitting.check(cells)
        check_lesions(self._benchmark, dict.fromkeys(cell.group for cell in cells))
        for cell in cells:
            self.plan(cell)
        return said

    def computed(self, cell: Cell, progress: Progress, state: Path) -> tuple[dict[str, Any], Volume]:
        """The record of a cell, and its reconstruction.

        Args:
            cell: that this process has taken.
            progress: called as work goes on.
            state: file that says where its run stands, if there is one; and will.
        """
        study, planned = self.study(cell), self.plan(cell)
        keeper = Keeper(state, planned)
        try:
            kept = keeper.kept()
        except CosliceError:  # what another version of coslice left: the cell begins anew
            kept = None
        began = time.perf_counter()
        result = run(planned, truth=study.unit, lpips=cell.lpips, progress=progress, keep=keeper, kept=kept)
        seconds = sum(result.seconds.values()) if result.resumed else time.perf_counter() - began
        assert study.unit is not None
        progress("metrics", 0, 1)
        reconstruction, truth = result.reconstruction.cpu(), study.unit.cpu()
        curves = per_slice(reconstruction, truth)
        progress("metrics", 1, 1)
        record = {
            "title": planned.label,
            "protocol": UNIT.name,
            "metrics": evaluate(reconstruction, truth, curves=curves),
            "curves": {plane: asdict(curve) for plane, curve in curves.items()},
            "trajectory": result.trajectory,
            "seconds": seconds,
            **({"resumed": result.resumed} if result.resumed else {}),
            "phases": result.seconds,
            "evaluations": result.evaluations,
            "device": self._device,
            "threads": torch.get_num_threads(),
            "study": study.settings,
            "versions": {name: version(name) for name in ("coslice", "torch")} | {"python": platform.python_version()},
        }
        return record, study.volume.with_data(study.window.from_unit(reconstruction))

    def put(self, store: Store, key: str, cell: Cell, progress: Progress) -> None:
        """Compute a cell that this process has taken, and keep it."""
        record, volume = self.computed(cell, progress, store.state(key))
        store.put(key, {"row": cell.row, "seed": cell.seed, **record}, volume)


def complete(
    benchmark: Benchmark,
    cells: Keyed,
    store: Store,
    device: str,
    working: Callable[[Cell], AbstractContextManager[Progress]],
    left: Callable[[int], None] = lambda count: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> None:
    """Compute what is not in the store, with whatever other processes work on it; return when all of it is there.

    Args:
        benchmark: whose cells they are.
        cells: see `keyed_cells`.
        store: where finished ones are; made where it is missing.
        device: to compute on.
        working: entered for each cell this process computes; what it gives is called as work goes on.
        left: called with the number of cells that are not finished, again and again.
        say: called with each sentence on what was inferred of a prior.

    Raises:
        CosliceError: a scan or a prior that cannot be read or does not fit, or a store that cannot be written to, all
            of it before anything is computed.
    """
    pending = {key: cell for cell, key in cells.items() if not store.has(key)}
    if not pending:
        return
    workshop = Workshop(benchmark, device)
    for sentence in workshop.check(pending.values()):
        say(sentence)
    store.prepare()
    while pending:
        idle = True
        for key, cell in pending.items():
            left(sum(not store.has(one) for one in pending))
            with store.taken(key) as mine:
                if mine and not store.has(key):
                    with working(cell) as progress:
                        workshop.put(store, key, cell, progress)
                    idle = False
        pending = {key: cell for key, cell in pending.items() if not store.has(key)}
        if pending and idle:
            time.sleep(_POLL)
    left(0)
