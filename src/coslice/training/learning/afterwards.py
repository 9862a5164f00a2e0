"""The width of a run's averaged weights, chosen when the run is there.

How much of a run its averaged weights should remember is only known at its end, and differs from run to run (EDM2;
Karras et al., CVPR 2024, section 3). So averages of several widths are made of those that the run has kept
(`snapshots`) and those in its checkpoint, by least squares of their profiles (`profiles`), measured on the held-out
scans, and the best becomes the prior. Of a run that is not finished they are averages up to its last checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.training.learning.average import exponent
from coslice.training.learning.checkpoint import has_checkpoint
from coslice.training.learning.export import PRIOR
from coslice.training.learning.journal import Listener
from coslice.training.learning.profiles import Profile, mixture
from coslice.training.learning.run_folder import stored_settings
from coslice.training.learning.snapshots import stored_snapshots
from coslice.training.learning.training_run import Pace, TrainingRun, opened_run
from coslice.training.learning.validation import ErrorTable, overall

__all__ = ["WIDTHS", "KeptAverages", "MeasuredAverage", "average_run", "parse_widths"]

WIDTHS = (0.04, 0.07, 0.1, 0.15, 0.2)
"""Tried where none are named, beside those that the run tracked."""


@dataclass(frozen=True)
class MeasuredAverage:
    """Averaged weights that were measured.

    Attributes:
        name: of the average: its width, or its rate.
        missed: how far its profile is from that of its width, relative to it; 0 where the run tracked it.
        table: errors on the held-out scans, in units of the window, by size of image and sigma.
    """

    name: str
    missed: float
    table: ErrorTable

    @property
    def error(self) -> float:
        """The geometric mean of `table`."""
        return overall(self.table)

    def sentence(self) -> str:
        """In words, for people."""
        rows = "; ".join(f"{size} " + " ".join(f"{e:.4f}" for e in row.values()) for size, row in self.table.items())
        keys = " ".join(next(iter(self.table.values())))
        made = f", its profile met to {100 * self.missed:.2g} %" if self.missed else ", tracked by the run"
        width = self.name if self.name.startswith("rate") else f"width {self.name}"
        return f"{width}: validation error {self.error:.5f} (at {keys}: {rows}){made}"


class KeptAverages:
    """What a run has kept of its averages, to make others of.

    Args:
        run: with power-function averages and snapshots of them.

    Raises:
        CosliceError: it has none.
    """

    def __init__(self, run: TrainingRun):
        trainer, end = run.trainer, run.trainer.images
        self._tracked = {average.name: average for average in trainer.averages if average.width is not None}
        # Later ones are of a part of the run that was lost with a kill, and will be written again.
        self._snapshots = [one for one in stored_snapshots(run.out) if one.images < end and one.name in self._tracked]
        if not self._snapshots:
            raise CosliceError(
                f"average: {run.out} has kept no averages of its way (averages.snapshots was 0, the run is of before "
                "there were any, or has just begun), so there is nothing to make other widths of; let it train on, or "
                "train anew."
            )
        self.end = end
        self.profiles = [Profile(end, exponent(average.width)) for average in self._tracked.values() if average.width]
        self.profiles += [Profile(one.images, exponent(self._width(one.name))) for one in self._snapshots]

    def weights(self, width: float) -> tuple[dict[str, Tensor], float]:
        """The average of relative width `width` at the end, on the CPU, and how far its profile is from it.

        Raises:
            CosliceError: a snapshot is damaged.
        """
        mixed = mixture(Profile(self.end, exponent(width)), self.profiles)
        first, *others = self._tracked.values()
        total = {name: torch.zeros(value.shape) for name, value in first.weights.items()}
        kept = [lambda average=average: average.weights for average in (first, *others)]
        kept += [lambda one=one: one.weights(first.weights) for one in self._snapshots]
        for c, weights in zip(mixed.coefficients, kept, strict=True):
            for name, value in weights().items():
                total[name].add_(value.cpu(), alpha=float(c))
        return total, mixed.missed

    def _width(self, name: str) -> float:
        width = self._tracked[name].width
        assert width is not None
        return width


def average_run(
    out: Path,
    places: Sequence[Path] = (),
    widths: Sequence[float] = WIDTHS,
    target: Path | None = None,
    device: str = "auto",
    pace: Pace | None = None,
    listener: Listener | None = None,
) -> tuple[Path, tuple[MeasuredAverage, ...]]:
    """Measure averages of several widths of the run in `out`, and write the best as a prior.

    Args:
        out: folder of the run.
        places: its scans or its pack, if its slices are not in its own folder.
        widths: to be tried, besides those that the run tracked.
        target: file to write, .safetensors; None: the prior of the run.
        device: as of `train`.
        pace: of the run, which says on how many slices is measured; None is the usual one.
        listener: hears how it goes.

    Returns:
        The file, and what was measured, best first.

    Raises:
        CosliceError: no run, one without snapshots, a width that no average has, scans that are not its own.
    """
    for width in widths:
        exponent(width)
    if target is not None and target.suffix != ".safetensors":
        raise CosliceError(f"average: {target.name} was given to write, but the name must end in .safetensors.")
    if not has_checkpoint(out):
        raise CosliceError(f"average: {out} holds no training run with a checkpoint; give the --out of one.")
    listener = listener or Listener()
    with opened_run(stored_settings(out, {}), places, out, device, False, pace or Pace(), listener) as run:
        with run.trainer.working():
            best, learner, found = _best(run, widths, listener)
        path = target or out / PRIOR
        name = out.resolve().name if target is None else target.stem
        card = run.card(name, best.table, best.name) | run.measures.notes(run.last_examples())
        card |= run.measures.more(learner, run.trainer.mapper, run.trainer.dtype)
        card["averages_tried"] = {one.name: float(f"{one.error:.4g}") for one in found}
        return run.export(path, learner, card), tuple(sorted(found, key=lambda one: one.error))


def parse_widths(text: str) -> tuple[float, ...]:
    """Widths as people write them, "0.03,0.1".

    Raises:
        CosliceError: no numbers, or one that no average has.
    """
    try:
        widths = tuple(float(word) for word in text.split(","))
    except ValueError:
        widths = (math.nan,)
    if not all(0 < width <= 0.25 for width in widths):
        raise CosliceError(
            f'average: widths "{text}" were given, but numbers above 0 and up to 0.25 are needed, as in 0.03,0.1.'
        )
    return widths


def _best(
    run: TrainingRun, widths: Sequence[float], listener: Listener
) -> tuple[MeasuredAverage, torch.nn.Module, list[MeasuredAverage]]:
    """The average with the lowest error, as a learner, and all that were measured."""
    kept, trainer, examples = KeptAverages(run), run.trainer, run.last_examples()
    ways = [(average.name, lambda average=average: (average.weights, 0.0)) for average in trainer.averages]
    known = {name for name, _ in ways}
    ways += [(f"{w:g}", lambda w=w: kept.weights(w)) for w in dict.fromkeys(widths) if f"{w:g}" not in known]
    best, found = None, []
    for name, way in ways:
        weights, missed = way()
        learner = trainer.with_weights(weights)
        found.append(MeasuredAverage(name, missed, run.errors(learner, examples)))
        listener.note(found[-1].sentence())
        if best is None or found[-1].error < best[0].error:
            best = found[-1], learner
    assert best is not None
    return (*best, found)
