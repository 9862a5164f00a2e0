"""Pairs for supervised training: slices as they are, and as an analytic reconstruction of few views shows them.

The stack of a scan in a pack, with its spacing, is a volume x. For each size it is resampled to size x size pixels
(bilinear, antialiased, the field of view kept), and for each task measured and reconstructed,

    b = clip(FBP(A x), 0, 1),        s_task^2 = mean (b - x)^2 over the slices trained on,

by the very functions that a reconstruction uses, with whole volumes: a cone beam mixes slices. This is done once. The
results are 16-bit files in the run's folder, mapped rather than read, each named by a hash of all it depends on;
`pairs.json` lists those that are finished, with the mean square of b - x, so an interrupted run loses one at most.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.geometry import Grid
from coslice.io.documents import read_json
from coslice.io.files import atomic, prepare_output, write_json
from coslice.priors.supervised import as_input
from coslice.problems import task_of_key
from coslice.training.collection.catalogue import Pack
from coslice.training.supply.resampled import resampled, resampled_spacing

__all__ = ["FULL", "TRUTH", "Pairs", "check_pairs", "make_pairs"]

_VERSION = 1
"""Of how pairs are simulated; another number makes all files anew."""

TRUTH = "truth"
FULL = 65535
"""The stored value that stands for 1."""


@dataclass(frozen=True)
class Pairs:
    """A folder of pairs of all scans of a pack.

    Attributes:
        pack: the slices.
        folder: of the files.
        tasks: keys, see `coslice.problems.task_of_key`.
        sizes: sides of the slices, in pixels.
        errors: mean of (b - x)^2 by file, of the files that are finished.
    """

    pack: Pack
    folder: Path
    tasks: tuple[str, ...]
    sizes: tuple[int, ...]
    errors: dict[str, float] = field(repr=False)

    def truth(self, name: str, size: int) -> np.ndarray:
        """x of the scan `name`, (n, size, size) uint16, mapped; `FULL` is 1."""
        return self._mapped(TRUTH, name, size)

    def analytic(self, task: str, name: str, size: int) -> np.ndarray:
        """b of the scan `name`, likewise."""
        return self._mapped(task, name, size)

    def levels(self, names: Sequence[str]) -> dict[str, float]:
        """s of each task, over the slices of the scans `names`; every size counts alike. To four decimals."""
        counts = [self.pack.scan(name).shape[0] for name in names]
        levels = {}
        for task in self.tasks:
            means = [
                sum(n * self.errors[self.file(task, name, size)] for n, name in zip(counts, names, strict=True))
                for size in self.sizes
            ]
            levels[task] = max(round(math.sqrt(sum(means) / (sum(counts) * len(means))), 4), 1e-4)
        return levels

    def file(self, kind: str, name: str, size: int) -> str:
        """Name of a file: `kind` is a task or "truth"."""
        scan = self.pack.scan(name)
        depends = (_VERSION, kind, size, scan.file, scan.shape, scan.spacing, self.pack.bits)
        return f"{kind}-{size}-{Path(scan.file).stem}-{hashlib.sha256(repr(depends).encode()).hexdigest()[:8]}.npy"

    def _mapped(self, kind: str, name: str, size: int) -> np.ndarray:
        path = self.folder / self.file(kind, name, size)
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise CosliceError(f"{path} is missing or damaged; delete it, and it is made again.") from error
        if array.shape != (self.pack.scan(name).shape[0], size, size) or array.dtype != np.uint16:
            raise CosliceError(f"{path} holds {array.dtype} {array.shape}; delete it, and it is made again.")
        return array


def check_pairs(pack: Pack, tasks: Sequence[str]) -> None:
    """Refuse a pack that cannot be scanned, and tasks that are none.

    Raises:
        CosliceError: slices that are not axial, a window of MR, a key that is none.
    """
    if pack.plane != "yx" or pack.window == "mr":
        raise CosliceError(
            f"train: tasks of CT were asked for, but the slices are of plane {pack.plane} and window {pack.window}; "
            "give axial slices (plane yx) of CT."
        )
    for task in tasks:
        if task_of_key(task).problem_kind != "ct":
            raise CosliceError(
                f"train: {task} was given as a task of an FBP-UNet, but tasks of CT are needed, as svct-parallel-8."
            )


def make_pairs(
    pack: Pack,
    tasks: Sequence[str],
    sizes: Sequence[int],
    folder: Path,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int, str], None] | None = None,
) -> Pairs:
    """Simulate the pairs of all scans of `pack` that are not in `folder` yet; files of other settings are deleted.

    Args:
        pack: axial slices of CT.
        tasks: keys, see `coslice.problems.task_of_key`.
        sizes: sides in pixels.
        folder: made if it does not exist.
        device: where to simulate.
        progress: called with (reconstructions done, in all, task and name of the next).

    Raises:
        CosliceError: as `check_pairs`; a folder that cannot be written to.
    """
    check_pairs(pack, tasks)
    folder = prepare_output(folder, overwrite=True)
    pairs = Pairs(pack, folder, tuple(tasks), tuple(sizes), {})
    wanted = [(name, size, kind) for name in pack.names for size in sizes for kind in (TRUTH, *tasks)]
    found = _listed(folder)
    pairs.errors.update({file: found[file] for file in (pairs.file(k, n, s) for n, s, k in wanted) if file in found})
    volume: tuple[str, int, Tensor] | None = None
    for done, (name, size, kind) in enumerate(wanted):
        file = pairs.file(kind, name, size)
        if progress:
            progress(done, len(wanted), f"{kind} {name} {size} px")
        if file in pairs.errors:
            continue
        if volume is None or volume[:2] != (name, size):
            volume = name, size, resampled(pack, name, size).to(device)
        pairs.errors[file] = _make(pairs, kind, name, size, volume[2])
        _list(pairs)
    if pairs.errors != found:
        _list(pairs)
    for path in set(folder.glob("*.npy")) - {folder / file for file in pairs.errors}:
        path.unlink(missing_ok=True)
    if progress:
        progress(len(wanted), len(wanted), "")
    return pairs


def _make(pairs: Pairs, kind: str, name: str, size: int, truth: Tensor) -> float:
    """Write one file, and return the mean square of what is wrong in it."""
    scan, image = pairs.pack.scan(name), truth
    if kind != TRUTH:
        grid = Grid((truth.shape[0], truth.shape[1], truth.shape[2]), resampled_spacing(scan, size))
        image = as_input(task_of_key(kind).problem(truth, grid, scan.window).initial())
    with atomic(pairs.folder / pairs.file(kind, name, size)) as part:
        np.save(part, np.ascontiguousarray((image * FULL).round().cpu().numpy().astype(np.uint16)))
    return float((image - truth).square().mean(dtype=torch.float64))


def _listed(folder: Path) -> dict[str, float]:
    """The finished files of `folder` with their errors."""
    try:
        listed = read_json(folder / "pairs.json")
        return {file: float(error) for file, error in listed.items() if (folder / file).is_file()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _list(pairs: Pairs) -> None:
    write_json(pairs.folder / "pairs.json", pairs.errors, indent=1)
