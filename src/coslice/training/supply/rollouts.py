"""Rollouts: what a sampler makes of training scans, step by step, so that its prior can be trained on it.

A denoiser is trained on x + sigma n with white noise n. A sampler asks it for something else: its estimate is wrong by
e_k when it enters step k, and what the prior sees is

    x_k = (x + e_k) + sigma_k n,          e_k = estimate_{k-1} - x.

White noise is taken out of it, and the error stays: to the prior it is anatomy. At 30 views e_k is larger than sigma_k
from the middle of a run on. (That a sampler's inputs are not those of training is known as exposure bias; Ning et al.,
ICML 2023, add more white noise against it, and Ross et al., AISTATS 2011, train on what one's own steps lead to.) So
every scan is measured and reconstructed once, by the very functions that a reconstruction uses, and e_k of some steps
is kept with the truth; `supply.rollout_stream` makes images of them.

Files of the run's folder hold, as 16-bit floats, (1 + levels, slices, size, size): x, then e_k. Each is named by a hash
of all it depends on, the priors' weights among it; `rollouts.json` lists those that are finished, so an interrupted run
loses one reconstruction at most. When all are there, a list of the settings' own says so: a run that goes on needs the
priors no more.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coslice.axes import AXES, axis_number, stacked_along
from coslice.errors import CosliceError
from coslice.geometry import Grid
from coslice.identities import digest_of_tree, prior_digest
from coslice.io.documents import read_json
from coslice.io.files import atomic, prepare_output, write_json
from coslice.methods import described
from coslice.noise import Key, generator
from coslice.plans import Plan, plan
from coslice.priors import SlicePrior
from coslice.problems import task_of_key
from coslice.runs import run
from coslice.sampling import Step
from coslice.training.collection.catalogue import Pack
from coslice.training.rollout_settings import RolloutSettings
from coslice.training.supply.resampled import resampled, resampled_spacing

__all__ = ["LISTED", "Rollout", "Rollouts", "check_rollouts", "found_rollouts", "make_rollouts"]

_VERSION = 1
"""Of how rollouts are made; another number makes all files anew."""

LISTED = "rollouts.json"

_REMEDY = (
    "a run that has not begun to train makes it again once it is deleted; one that has needs it as it was, so start "
    "a new run from what that has learned, with its prior as init"
)


@dataclass(frozen=True)
class Rollout:
    """One reconstruction that is to be made, or was.

    Attributes:
        scan: its name in the pack.
        task: key of what is measured.
        first, count: its slices.
        file: in the folder.
    """

    scan: str
    task: str
    first: int
    count: int
    file: str


@dataclass(frozen=True)
class Rollouts:
    """The rollouts of one `RolloutSettings`.

    Attributes:
        pack: the slices.
        settings: what was reconstructed, and how.
        folder: of the files.
        sigmas: the noise level that goes with e_k, for each that is kept: (levels,).
        listed: of scans in the order of the pack.
        errors: root mean square of e_k by file, (levels,) each, of files that are finished.
    """

    pack: Pack
    settings: RolloutSettings
    folder: Path
    sigmas: tuple[float, ...]
    listed: tuple[Rollout, ...]
    errors: dict[str, list[float]]

    def of(self, names: Sequence[str]) -> tuple[Rollout, ...]:
        """Those of the scans `names`."""
        return tuple(one for one in self.listed if one.scan in names)

    def opened(self, rollout: Rollout) -> np.ndarray:
        """(1 + levels, slices, size, size) float16, mapped: x, then e_k.

        Raises:
            CosliceError: the file is missing or damaged.
        """
        path, side = self.folder / rollout.file, self.settings.size
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise CosliceError(f"{path} is missing or damaged; {_REMEDY}.") from error
        if array.shape != (1 + len(self.sigmas), rollout.count, side, side) or array.dtype != np.float16:
            raise CosliceError(f"{path} holds {array.dtype} {array.shape}; {_REMEDY}.")
        return array


def check_rollouts(pack: Pack, settings: RolloutSettings) -> None:
    """Refuse tasks that the slices of `pack` cannot be measured for.

    Raises:
        CosliceError: a window of MR for CT, or the other way round.
    """
    is_mr = pack.window == "mr"
    if is_mr != (settings.kind == "zsr"):
        raise CosliceError(
            f"train: rollouts of {', '.join(settings.tasks)} were asked for, but the slices are of window "
            f"{pack.window}; tasks of CT need CT, and zsr needs window mr."
        )


def make_rollouts(
    pack: Pack,
    settings: RolloutSettings,
    priors: Sequence[SlicePrior],
    folder: Path,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int, str], None] | None = None,
) -> Rollouts:
    """Reconstruct all scans of `pack` for every task, but those that are in `folder` already.

    Args:
        pack: slices, stacked as they are in the body; empty ones are left out of it.
        settings: what to reconstruct, and how.
        priors: of the method.
        folder: made if it does not exist.
        device: where to reconstruct.
        progress: called with (reconstructions done, in all, task and name of the next).

    Raises:
        CosliceError: as `check_rollouts` and `coslice.plan`; a folder that cannot be written to.
    """
    check_rollouts(pack, settings)
    folder = prepare_output(folder, overwrite=True)
    method = settings.changed_method
    kept = _kept_steps(method.schedule.steps, settings.levels)
    sigmas = tuple(float(s) for s in method.renoising.sigmas(method.schedule))
    digests = [prior_digest(prior) for prior in priors]
    depends = (_VERSION, described(method), digests, settings.size, settings.levels, pack.bits)
    wanted = tuple(_listed(pack, settings, depends))
    made = Rollouts(pack, settings, folder, tuple(sigmas[k + 1] for k in kept), wanted, {})
    found = _finished(folder)
    made.errors.update({one.file: found[one.file] for one in wanted if one.file in found})
    for done, one in enumerate(wanted):
        if progress:
            progress(done, len(wanted), f"{one.task} {one.scan} {settings.size} px")
        if one.file not in made.errors:
            volumes = _rolled_out(*_planned(pack, settings, one, priors, device), pack.plane, kept)
            made.errors[one.file] = [float(x.square().mean(dtype=torch.float64).sqrt()) for x in volumes[1:]]
            with atomic(folder / one.file) as part:
                np.save(part, torch.stack(volumes).half().numpy())
            write_json(folder / LISTED, found | made.errors, indent=1)
    if progress:
        progress(len(wanted), len(wanted), "")
    whole = {"sigmas": made.sigmas, "listed": [asdict(one) for one in wanted], "errors": made.errors}
    write_json(folder / _list_of(settings), whole, indent=1)
    return made


def found_rollouts(pack: Pack, settings: RolloutSettings, folder: Path) -> Rollouts:
    """Those that `make_rollouts` made in `folder`, without the priors.

    Raises:
        CosliceError: the list of them is missing or damaged.
    """
    path = folder / _list_of(settings)
    try:
        whole = read_json(path)
        listed = tuple(Rollout(**one) for one in whole["listed"])
        found = Rollouts(pack, settings, folder, tuple(whole["sigmas"]), listed, dict(whole["errors"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CosliceError(
            f"{path} is missing or damaged; without it this run cannot go on, so start a new one from what it has "
            "learned, with its prior as init."
        ) from error
    for one in found.listed:
        found.opened(one)
    return found


def _list_of(settings: RolloutSettings) -> str:
    return f"rollouts-{digest_of_tree(asdict(settings))[:8]}.json"


def _kept_steps(steps: int, levels: int) -> list[int]:
    """Numbers of the steps whose estimate another step follows, at most `levels` of them, evenly spread."""
    count = min(levels, steps - 1)
    return sorted({round(i * (steps - 2) / max(count - 1, 1)) for i in range(count)})


def _listed(pack: Pack, settings: RolloutSettings, depends: tuple[Any, ...]) -> list[Rollout]:
    rollouts: list[Rollout] = []
    for name in pack.names:
        scan = pack.scan(name)
        for task in settings.tasks:
            for slab in range(settings.slabs):
                count = min(settings.slices, scan.shape[0])
                word = int.from_bytes(hashlib.sha256(f"{scan.file} {task} {slab}".encode()).digest()[:6], "big")
                first = int(generator(Key(word, 0, "rollouts"), 0).random() * (scan.shape[0] - count + 1))
                whole = (*depends, task, scan.file, scan.shape, scan.spacing, first, count)
                digest = hashlib.sha256(repr(whole).encode()).hexdigest()[:8]
                rollouts.append(Rollout(name, task, first, count, f"{task}-{Path(scan.file).stem}-{digest}.npy"))
    return rollouts


def _planned(
    pack: Pack, settings: RolloutSettings, one: Rollout, priors: Sequence[SlicePrior], device: torch.device | str
) -> tuple[Plan, Tensor]:
    """The plan of a reconstruction, and the truth as the volume (z, y, x)."""
    scan = pack.scan(one.scan)
    stack = resampled(pack, one.scan, settings.size, one.first, one.count)
    spacing = resampled_spacing(scan, settings.size)
    order = _order(pack.plane)
    truth = stack.permute(order).contiguous().to(device)
    z, y, x = truth.shape
    dz, dy, dx = (spacing[number] for number in order)
    problem = task_of_key(one.task).problem(truth, Grid((z, y, x), (dz, dy, dx)), scan.window)
    return plan(problem, settings.changed_method, list(priors), seed=one.first), truth


def _order(plane: str) -> tuple[int, int, int]:
    """Where the axes z, y, x of a volume are in a stack (slices, rows, columns) of `plane`."""
    z, y, x = ((stacked_along(plane) + plane).index(axis) for axis in AXES)
    return z, y, x


def _rolled_out(chosen: Plan, truth: Tensor, plane: str, kept: Sequence[int]) -> list[Tensor]:
    """x, then e_k of the steps `kept`, each (slices, rows, columns) of images in `plane`, on the CPU."""
    back = tuple(axis_number(axis) for axis in (stacked_along(plane), *plane))
    errors: list[Tensor] = []

    def watch(step: Step) -> None:
        if step.index in kept:
            errors.append((step.estimate - truth).permute(back).cpu())

    run(chosen, watch=watch)
    return [truth.permute(back).cpu(), *errors]


def _finished(folder: Path) -> dict[str, list[float]]:
    """The finished files of `folder` with their errors."""
    try:
        listed = read_json(folder / LISTED)
        errors = {file: [float(error) for error in row] for file, row in listed.items() if (folder / file).is_file()}
        return {file: row for file, row in errors.items() if all(map(math.isfinite, row))}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
