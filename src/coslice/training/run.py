"""A training run from scans to a prior's file, in a folder that can be left and come back to.

    DIR/run.yaml          the recipe
    DIR/slices/           the scans as a pack (`coslice.training.pack`), unless a pack was given
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

import torch
from torch import Tensor

from coslice.devices import chosen_device
from coslice.errors import CosliceError
from coslice.io.files import atomic, output_folder
from coslice.networks.edm import EDMDenoiser
from coslice.training.card import card, card_page, hardware
from coslice.training.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint
from coslice.training.loop import Trainer, common_side
from coslice.training.pack import Pack, split
from coslice.training.preparation import claim, fingerprint, load_initial, packed, resolved, stored_recipe
from coslice.training.ranks import Ranks, joined
from coslice.training.recipe import Recipe
from coslice.training.watch import SIGMAS, Journal, Listener, Meter, overall, picture, save_picture, validate

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
    initial = load_initial(recipe.init) if recipe.init and not has_checkpoint(out) else None
    with joined() as ranks:
        listener = listener if listener and ranks.writes else Listener()
        if where.type != "cpu" and ranks.size > 1:
            where = torch.device(where.type, ranks.local)
        with output_folder(out, overwrite=True) if ranks.writes else nullcontext():
            slices = packed(recipe, places, out, ranks, listener)
            run = _Run(recipe, slices, out, ranks, pace, listener, initial, where, compiled)
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
        self.recipe, self.stream = resolved(recipe, pack, names, initial)
        self.held_out, self.names = held_out, names
        network = initial.network if initial else None
        self.trainer = Trainer(self.recipe, self.stream, device, ranks, compiled, network)
        self.scans = fingerprint(pack)
        self.machine = hardware(device, ranks)
        self.seconds = 0.0
        self.meter = Meter()
        if stored:
            if stored["scans"] != self.scans:
                raise CosliceError(
                    f"{out} was begun on other scans than those given now; give the same, "
                    f"or start a new run from what it has learned, with --init {out / 'prior.safetensors'}."
                )
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
                    if reason == "finished":
                        table = self._measured(best, self._examples(4 * self.pace.examples))
                    prior = self._export(best, table)
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

    def _validate(self, journal: Journal | None) -> tuple[int, dict[str, dict[float, float]]]:
        """Measure the averages, log them with a picture of the best, and return its number and its table."""
        trainer = self.trainer
        tables = [self._measured(i, self.examples) for i in range(len(trainer.averages))]
        best = min(range(len(tables)), key=lambda i: overall(tables[i]))
        widths = [f"{average.width:g}" for average in trainer.averages]
        record: dict[str, Any] = {"images": trainer.images, "best": widths[best], "validation": {}}
        for width, table in zip(widths, tables, strict=True):
            rows = {size: {f"{s:g}": round(rmse, 6) for s, rmse in row.items()} for size, row in table.items()}
            record["validation"][width] = {"overall": round(overall(table), 6), **rows}
        if journal:
            examples = self.examples[f"{common_side(self.recipe)} px"]
            chosen = examples[torch.linspace(0, len(examples) - 1, min(3, len(examples))).long()]
            highest = min(self.recipe.sigma.highest, 5.0)
            denoiser = trainer.averaged(best)
            upwards = self.pack.plane.startswith("z")  # people expect heads up
            grey = picture(denoiser, chosen, denoiser.data_mean, highest, trainer.each, trainer.dtype, upwards)
            save_picture(self.out / "samples" / f"{trainer.images:09d}.png", grey)
            journal.show("samples", grey, trainer.images)
            journal.write(record)
        self.listener.record(record)
        return best, tables[best]

    def _measured(self, index: int, examples: dict[str, Tensor]) -> dict[str, dict[float, float]]:
        """Validation errors of average number `index`, by size of image and sigma."""
        trainer, denoiser = self.trainer, self.trainer.averaged(index)
        sigmas = [sigma for sigma in SIGMAS if self.recipe.sigma.lowest <= sigma <= self.recipe.sigma.highest]
        return {size: validate(denoiser, x, sigmas, trainer.each, trainer.dtype) for size, x in examples.items()}

    def _examples(self, count: int) -> dict[str, Tensor]:
        """`count` slices to validate on of the smallest size of image, and of larger ones as many as cost the same."""
        sides = sorted({view.side for view in self.stream.views})
        counts = [max(2, round(count * (sides[0] / side) ** 2)) for side in sides]
        names = self.held_out or self.names
        return {f"{s} px": self.stream.validation(names, n, s) for s, n in zip(sides, counts, strict=True)}

    def _export(self, best: int, table: dict[str, dict[float, float]]) -> Path:
        from coslice.priors import SlicePrior, save_prior

        trainer, sigma = self.trainer, self.recipe.sigma
        progress = {
            "images": trainer.images,
            "steps": trainer.steps,
            "hours": round(self.seconds / 3600, 3),
            "hardware": self.machine,
        }
        width = trainer.averages[best].width
        told = card(self.out.resolve().name, self.recipe, self.pack, self.held_out, progress, table, width)
        path = self.out / "prior.safetensors"
        prior = SlicePrior(
            denoiser=trainer.averaged(best),
            stride=self.recipe.network.stride if self.recipe.network else 1,
            sigma_range=(sigma.lowest, sigma.highest),
            plane=self.pack.plane,
            window=self.pack.window,
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
        self.listener.note(
            f"{len(self.stream):,} slices of {len(self.names)} scans to train on, "
            f"{len(self.held_out)} scans held out; plane {summary['plane']}, window {summary['window']}"
        )
        if not self.held_out:
            self.listener.note("There is only one scan, so validation is on the scan trained on.")
        words = "bf16" if trainer.dtype == torch.bfloat16 else "f32"
        self.listener.note(
            f"{type(trainer.network).__name__} of {count / 1e6:.1f} M parameters, {self.recipe.optimiser.name}, "
            f"{words}, on {self.machine}"
        )
        if trainer.images:
            self.listener.note(f"Going on at {trainer.images:,} of {self.recipe.images:,} images.")


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
