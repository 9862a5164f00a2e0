"""A training run from scans to a prior's file, in a folder that can be left and come back to.

    DIR/run.yaml          the recipe
    DIR/slices/           the scans as a pack (`coslice.training.pack`), unless a pack was given
    DIR/pairs/            of a supervised run, the simulated reconstructions (`coslice.training.pairs`)
    DIR/checkpoint.pt     the state, and checkpoint.previous.pt the one before
    DIR/log.jsonl         a line per record; tensorboard/ the same as curves
    DIR/samples/          pictures of what the averaged weights can do
    DIR/prior.safetensors, prior.md    the prior and its card

Doing the same again in the same folder goes on with the run, bit for bit as if it had never stopped. What was given
then need not be given again; what is given must be the same, but for its length and what computes it.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from coslice.devices import chosen_device
from coslice.errors import CosliceError
from coslice.io.files import atomic, output_folder
from coslice.networks.edm import EDMDenoiser
from coslice.training.card import Table, card, card_page, hardware
from coslice.training.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint
from coslice.training.loop import Trainer, common_side
from coslice.training.pack import Pack, split
from coslice.training.preparation import claim, fed, fingerprint, load_initial, packed, resolved, stored_recipe
from coslice.training.ranks import Ranks, joined
from coslice.training.recipe import Recipe
from coslice.training.slices import SliceStream
from coslice.training.supervised import PairStream, analytic_errors, errors, panel
from coslice.training.watch import SIGMAS, Examples, Journal, Listener, Meter, overall, picture, save_picture, validate

__all__ = ["Outcome", "Pace", "train"]


@dataclass(frozen=True)
class Pace:
    """How often a run looks up from its work.

    Attributes:
        log: images between records.
        validate: images between validations and pictures.
        save: seconds between checkpoints.
        examples: slices of each size to validate on.
    """

    log: int = 1_600
    validate: int = 20_000
    save: float = 300.0
    examples: int = 16

    def __post_init__(self) -> None:
        if min(self.log, self.validate, self.examples) < 1 or self.save < 0:
            raise CosliceError(f"{self} was given, but intervals and examples must be at least 1; correct them.")


@dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended.

    Attributes:
        images: seen by the run so far.
        reason: "finished", "minutes", or the signal that stopped it.
        prior: the file that was written; none after a signal.
    """

    images: int
    reason: str
    prior: Path | None


def train(
    recipe: Recipe,
    places: Sequence[Path],
    out: Path,
    device: str = "auto",
    minutes: float | None = None,
    compiled: bool = False,
    pace: Pace = Pace(),
    listener: Listener | None = None,
) -> Outcome:
    """Train a prior on the scans in `places`, or go on with the run in `out`, and export it.

    Args:
        recipe: what to do, see `settle`.
        places: NIfTI files, folders of NIfTI or DICOM, or the folder of a pack; empty in a run that has its slices.
        out: folder of the run.
        device: "auto" takes an accelerator where there is one.
        minutes: stop, resumably, after so many.
        compiled: spend a minute on making steps faster.
        pace: intervals.
        listener: is told how it goes, on the rank that writes.

    Raises:
        CosliceError: bad input, before anything is computed; see `find_scans`, `make_pack`, `settle`.
    """
    began = time.monotonic()
    if minutes is not None and not minutes > 0:
        raise CosliceError(f"train: {minutes:g} minutes were given, more than 0 are needed; correct --minutes.")
    where = chosen_device(device)
    claim(out)
    if has_checkpoint(out):
        recipe = stored_recipe(out, recipe.to_dict())
    initial = load_initial(recipe.init, recipe.patches.slices) if recipe.init and not has_checkpoint(out) else None
    with joined() as ranks:
        listener = listener if listener and ranks.writes else Listener()
        if where.type != "cpu" and ranks.size > 1:
            where = torch.device(where.type, ranks.local)
        with output_folder(out, overwrite=True) if ranks.writes else nullcontext():
            slices = packed(recipe, places, out, ranks, listener)
            kind = _SupervisedRun if recipe.supervised else _Run
            run = kind(recipe, slices, out, ranks, pace, listener, initial, where, compiled)
            return run.go(began + 60 * minutes if minutes is not None else float("inf"))


class _Run:
    """The parts of a run, put together."""

    def __init__(
        self,
        recipe: Recipe,
        pack: Pack,
        out: Path,
        ranks: Ranks,
        pace: Pace,
        listener: Listener,
        initial: EDMDenoiser | None,
        device: torch.device,
        compiled: bool,
    ):
        self.pack, self.out, self.ranks, self.pace, self.listener = pack, out, ranks, pace, listener
        names, held_out = split(pack, recipe.data.validation)
        stored, notice = load_checkpoint(out)
        if notice:
            listener.note(notice)
        self.scans = fingerprint(pack)
        if stored and stored["scans"] != self.scans:
            raise CosliceError(
                f"{out} was begun on other scans than those given now; give the same, "
                f"or start a new run from what it has learned, with --init {out / 'prior.safetensors'}."
            )
        self.recipe, self.stream = fed(resolved(recipe, pack, initial), pack, names, out, device, ranks, listener)
        self.held_out, self.names = held_out, names
        network = initial.network if initial else None
        self.trainer = Trainer(self.recipe, self.stream, device, ranks, compiled, network)
        self.machine = hardware(device, ranks)
        self.seconds = 0.0
        self.meter = Meter()
        if stored:
            self.trainer.load(stored)
            self.seconds, self.meter = stored["seconds"], Meter(stored["meter"])
        ranks.agree(f"{self.trainer.images} {self.scans} {self.recipe}", "the checkpoint, recipe or pack")
        if ranks.writes:
            self.recipe.save(out / "run.yaml")
        self.examples = self._examples(pace.examples)

    def go(self, deadline: float) -> Outcome:
        """Train until the end, the deadline or a signal; save, and export unless it was a signal."""
        trainer, total = self.trainer, self.recipe.images
        self._say_hello()
        journal = Journal(self.out, trainer.images) if self.ranks.writes else None
        if journal and not journal.has_board:
            self.listener.note("TensorBoard is not installed; log.jsonl has everything it would show.")
        with trainer.working(), _signals() as asked:
            try:
                if trainer.images < total:
                    self._loop(journal, deadline, asked)
                # Of another rank's stop, this one need not know the reason.
                reason = "finished" if trainer.images >= total else (asked or ["minutes"])[0]
                prior = None
                if self.ranks.writes and reason in ("finished", "minutes"):
                    best, table = self._validate(journal)
                    examples = self.examples
                    if reason == "finished":
                        examples = self._examples(4 * self.pace.examples)
                        table = self._measured(best, examples)
                    prior = self._export(best, table, self._more(examples))
            finally:
                if journal:
                    journal.close()
        self.ranks.wait()
        outcome = Outcome(trainer.images, reason, prior)
        self.listener.note(_closing(outcome, total))
        return outcome

    def _loop(self, journal: Journal | None, deadline: float, asked: list[str]) -> None:
        trainer, pace = self.trainer, self.pace
        saved, marks, loss = time.monotonic(), deque([(self.seconds, trainer.images)], maxlen=64), None
        while trainer.images < self.recipe.images:
            began, before = time.monotonic(), trainer.images
            turn = trainer.step(bool(asked))
            self.meter.add(turn)
            self.seconds += time.monotonic() - began
            marks.append((self.seconds, trainer.images))
            speed = (trainer.images - marks[0][1]) / max(self.seconds - marks[0][0], 1e-9)
            if time.monotonic() > deadline and not asked:
                asked.append("minutes")
            stopping = float(turn.stop) > 0 if self.ranks.size > 1 else bool(asked)
            if journal:
                if _crossed(before, trainer.images, pace.log):
                    record = {"images": trainer.images, "step": trainer.steps, **self.meter.record()}
                    record |= {"rate": turn.rate, "images_per_second": round(speed, 2)}
                    loss = record["loss"]
                    journal.write(record)
                    self.listener.record(record)
                self.listener.training(trainer.images, self.recipe.images, speed, loss)
                last = trainer.images >= self.recipe.images
                if _crossed(before, trainer.images, pace.validate) and not last and not stopping:
                    self._validate(journal)
                if stopping or last or time.monotonic() - saved >= pace.save:
                    self._save()
                    saved = time.monotonic()
            if stopping:
                return

    def _save(self) -> None:
        more = {"recipe": self.recipe.to_dict(), "scans": self.scans, "seconds": self.seconds}
        save_checkpoint(self.out, {**self.trainer.state(), **more, "meter": self.meter.state()})

    def _validate(self, journal: Journal | None) -> tuple[int, Table]:
        """Measure the averages, log them with a picture of the best, and return its number and its table."""
        trainer = self.trainer
        tables = [self._measured(i, self.examples) for i in range(len(trainer.averages))]
        best = min(range(len(tables)), key=lambda i: overall(tables[i]))
        widths = [f"{average.width:g}" for average in trainer.averages]
        record: dict[str, Any] = {"images": trainer.images, "best": widths[best], "validation": {}}
        for width, table in zip(widths, tables, strict=True):
            rows = {size: {key: round(rmse, 6) for key, rmse in row.items()} for size, row in table.items()}
            record["validation"][width] = {"overall": round(overall(table), 6), **rows}
        record |= self._more(self.examples)
        if journal:
            grey = self._picture(trainer.averaged(best))
            save_picture(self.out / "samples" / f"{trainer.images:09d}.png", grey)
            journal.show("samples", grey, trainer.images)
            journal.write(record)
        self.listener.record(record)
        return best, tables[best]

    def _picture(self, denoiser: EDMDenoiser) -> np.ndarray:
        trainer, examples = self.trainer, self.examples[f"{common_side(self.recipe)} px"]
        chosen = _spread(len(examples.images))
        highest = min(self.recipe.sigma.highest, 5.0)
        upwards = self.pack.plane.startswith("z")  # people expect heads up
        shown = Examples(examples.images[chosen], examples.distances[chosen])
        return picture(denoiser, shown, denoiser.data_mean, highest, trainer.each, trainer.dtype, upwards)

    def _measured(self, index: int, examples: dict[str, Any]) -> Table:
        """Validation errors of average number `index`, by size of image and sigma."""
        trainer, denoiser, low, high = self.trainer, self.trainer.averaged(index), *self._sigma_range()
        sigmas = [sigma for sigma in SIGMAS if low <= sigma <= high]
        tables = {size: validate(denoiser, x, sigmas, trainer.each, trainer.dtype) for size, x in examples.items()}
        return {size: {f"{sigma:g}": rmse for sigma, rmse in row.items()} for size, row in tables.items()}

    def _counts(self, count: int) -> dict[int, int]:
        """`count` slices to validate on of the smallest size of image, and of larger ones as many as cost the same."""
        sides = sorted({view.side for view in self.stream.views})
        return {side: max(2, round(count * (sides[0] / side) ** 2)) for side in sides}

    def _examples(self, count: int) -> dict[str, Any]:
        """By size, what to validate on; `count` slices of the smallest."""
        assert isinstance(self.stream, SliceStream)
        names, counts = self.held_out or self.names, self._counts(count)
        return {f"{side} px": Examples(*self.stream.validation(names, n, side)) for side, n in counts.items()}

    def _more(self, examples: dict[str, Any]) -> dict[str, Any]:
        """What log and card say besides."""
        return {}

    def _sigma_range(self) -> tuple[float, float]:
        return self.recipe.sigma.lowest, self.recipe.sigma.highest

    def _export(self, best: int, table: Table, more: dict[str, Any]) -> Path:
        from coslice.priors import SlicePrior, save_prior

        trainer = self.trainer
        progress = {
            "images": trainer.images,
            "steps": trainer.steps,
            "hours": round(self.seconds / 3600, 3),
            "hardware": self.machine,
        }
        width = trainer.averages[best].width
        told = card(self.out.resolve().name, self.recipe, self.pack, self.held_out, progress, table, width) | more
        path = self.out / "prior.safetensors"
        prior = SlicePrior(
            denoiser=trainer.averaged(best),
            stride=self.recipe.network.stride if self.recipe.network else 1,
            sigma_range=self._sigma_range(),
            plane=self.pack.plane,
            window=self.pack.window,
            channels=self.recipe.patches.slices,
            name=told["name"],
            card=told,
        )
        save_prior(path, prior, torch.bfloat16)
        with atomic(self.out / "prior.md") as part:
            part.write_text(card_page(told), encoding="utf-8")
        return path

    def _say_hello(self) -> None:
        summary, trainer = self.pack.summary(), self.trainer
        count = sum(parameter.numel() for parameter in trainer.parameters)
        patches = self.recipe.patches.slices
        as_patches = f", as patches of {patches}" if patches > 1 else ""
        self.listener.note(
            f"{len(self.stream):,} slices of {len(self.names)} scans to train on, "
            f"{len(self.held_out)} scans held out; plane {summary['plane']}, window {summary['window']}{as_patches}"
        )
        if not self.held_out:
            self.listener.note("There is only one scan, so validation is on the scan trained on.")
        words = "bf16" if trainer.dtype == torch.bfloat16 else "f32"
        self.listener.note(
            f"{type(trainer.network).__name__} of {count / 1e6:.1f} M parameters, {self.recipe.optimiser.name}, "
            f"{words}, on {self.machine}"
        )
        for task, level in self._more({}).get("tasks", {}).items():
            self.listener.note(f"{task}: analytic reconstructions to learn from, wrong by {level:g} (root mean square)")
        if trainer.images:
            self.listener.note(f"Going on at {trainer.images:,} of {self.recipe.images:,} images.")


class _SupervisedRun(_Run):
    """A run on pairs: what is measured and shown is what it makes of analytic reconstructions."""

    def _picture(self, denoiser: EDMDenoiser) -> np.ndarray:
        trainer, examples = self.trainer, self.examples[f"{common_side(self.recipe)} px"]
        chosen = _spread(len(next(iter(examples.values())).truth))
        return panel(denoiser, {task: x.only(chosen) for task, x in examples.items()}, trainer.each, trainer.dtype)

    def _measured(self, index: int, examples: dict[str, Any]) -> Table:
        """Validation errors of average number `index`, by size of image and task."""
        return errors(self.trainer.averaged(index), examples, self.trainer.each, self.trainer.dtype)

    def _examples(self, count: int) -> dict[str, Any]:
        assert isinstance(self.stream, PairStream)
        names, counts = self.held_out or self.names, self._counts(count)
        return {f"{side} px": self.stream.examples(names, n, side) for side, n in counts.items()}

    def _more(self, examples: dict[str, Any]) -> dict[str, Any]:
        """The tasks with their levels, and the validation errors of the analytic reconstructions."""
        assert isinstance(self.stream, PairStream)
        return {"tasks": self.stream.levels, "validation_rmse_analytic": analytic_errors(examples)}

    def _sigma_range(self) -> tuple[float, float]:
        assert isinstance(self.stream, PairStream)
        return min(self.stream.levels.values()), max(self.stream.levels.values())


def _spread(count: int) -> torch.Tensor:
    """Up to three numbers below `count`, evenly spaced."""
    return torch.linspace(0, count - 1, min(3, count)).long()


def _closing(outcome: Outcome, total: int) -> str:
    if outcome.reason == "finished":
        return f"Finished after {outcome.images:,} images: {outcome.prior}"
    why = "The time is up" if outcome.reason == "minutes" else f"Stopped by {outcome.reason}"
    so_far = f"; the prior so far: {outcome.prior}" if outcome.prior else ""
    return f"{why} at {outcome.images:,} of {total:,} images; the same command goes on from there{so_far}"


def _crossed(before: int, after: int, every: int) -> bool:
    return before // every != after // every


@contextmanager
def _signals() -> Iterator[list[str]]:
    """Inside, Ctrl-C and SIGTERM are noted in the list instead of ending the process; a second Ctrl-C ends it."""
    asked: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, _frame: object) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(signal.Signals(number).name)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            with suppress(TypeError):
                signal.signal(number, handler)
