"""A training run from scans to a prior's file, in a folder that can be left and come back to.

    DIR/run.yaml          the settings
    DIR/scans.json        how many scans were found, of how many subjects, and what was skipped, with reasons
    DIR/slices/           the scans as a pack (`coslice.training.collection`), unless a pack was given
    DIR/pairs/            of a supervised run, the simulated reconstructions (`coslice.training.supply.pairs`)
    DIR/rollouts/         of a run with rollouts, the steps of reconstructions (`coslice.training.supply.rollouts`)
    DIR/checkpoint.pt     the state, and checkpoint.previous.pt the one before
    DIR/log.jsonl         a line per record; tensorboard/ the same as curves
    DIR/averages/         averages along the run, for choosing a width afterwards (`snapshots`)
    DIR/samples/          pictures of what the averaged weights can do
    DIR/prior.safetensors, prior.md    the prior and its card

Doing the same again in the same folder goes on with the run, bit for bit as if it had never stopped (`run_folder`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from coslice.devices import chosen_device
from coslice.errors import CosliceError
from coslice.io.files import output_folder, remove_dead_temporaries
from coslice.io.locks import lock_folder
from coslice.parallel import Ranks, joined
from coslice.stop_signals import stop_signals
from coslice.training.collection.catalogue import Pack
from coslice.training.collection.pack import split
from coslice.training.learning.beginning import Beginning, beginning_of
from coslice.training.learning.card import hardware, prior_card
from coslice.training.learning.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint
from coslice.training.learning.export import PRIOR, export_prior
from coslice.training.learning.journal import Journal, Listener, Meter
from coslice.training.learning.measures import measures_of
from coslice.training.learning.run_folder import check_run_folder, stored_settings
from coslice.training.learning.run_inputs import (
    fingerprint,
    image_stream,
    other_scans,
    resolved_settings,
    run_pack,
    skipped_counts,
)
from coslice.training.learning.snapshots import forget_later, keep_snapshots
from coslice.training.learning.trainer import Trainer
from coslice.training.learning.validation import ErrorTable, overall, save_picture
from coslice.training.run_settings import TrainingSettings

__all__ = ["Outcome", "Pace", "TrainingRun", "opened_run", "train"]


@dataclass(frozen=True)
class Pace:
    """How often a run looks up from its work.

    Attributes:
        log: images between records.
        validate: images between validations and pictures.
        save: seconds between checkpoints.
        examples: slices of the smallest size to validate on.
    """

    log: int = 1_600
    validate: int = 20_000
    save: float = 300.0
    examples: int = 16

    def __post_init__(self) -> None:
        if min(self.log, self.validate, self.examples) < 1 or self.save < 0:
            raise CosliceError(f"train: {self} was given, but intervals and examples must be at least 1; correct them.")


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

    def sentence(self, total: int) -> str:
        """The outcome of a run of `total` images in words."""
        if self.reason == "finished":
            return f"Finished after {self.images:,} images: {self.prior}"
        why = "The time is up" if self.reason == "minutes" else f"Stopped by {self.reason}"
        so_far = f"; the prior so far: {self.prior}" if self.prior else ""
        return f"{why} at {self.images:,} of {total:,} images; the same command goes on from there{so_far}"


def train(
    settings: TrainingSettings,
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
        settings: of the run, see `coslice.training.learning.run_folder.run_settings_of`.
        places: NIfTI files, folders of NIfTI or DICOM, or the folder of a pack; empty in a run that has its slices.
        out: folder of the run.
        device: "auto" takes an accelerator where there is one.
        minutes: after which the run stops, resumably; None: it goes on to its end.
        compiled: spend a minute on making steps faster.
        pace: intervals.
        listener: hears how it goes, on the rank that writes.

    Raises:
        CosliceError: bad input, before anything is computed; see `find_scans`, `make_pack`, `run_settings_of`.
    """
    began = time.monotonic()
    if minutes is not None and not minutes > 0:
        raise CosliceError(f"train: {minutes:g} minutes were given, more than 0 are needed; correct minutes.")
    with opened_run(settings, places, out, device, compiled, pace, listener) as run:
        return run.go(began + 60 * minutes if minutes is not None else float("inf"))


@contextmanager
def opened_run(
    settings: TrainingSettings,
    places: Sequence[Path],
    out: Path,
    device: str = "auto",
    compiled: bool = False,
    pace: Pace = Pace(),
    listener: Listener | None = None,
) -> Iterator[TrainingRun]:
    """The run in `out`, new or as it stands, for this process and its ranks alone.

    Arguments and errors are as of `train`.
    """
    where = chosen_device(device)
    check_run_folder(out)
    if has_checkpoint(out):
        settings = stored_settings(out, settings.to_dict())
    start = beginning_of(settings, has_checkpoint(out))
    with joined() as ranks:
        listener = listener if listener and ranks.writes else Listener()
        if where.type != "cpu" and ranks.size > 1:
            where = torch.device(where.type, ranks.local)
        with _own(out, listener) if ranks.writes else nullcontext():
            pack = run_pack(settings, places, out, ranks, listener)
            yield TrainingRun(settings, pack, out, ranks, pace, listener, start, where, compiled)


@contextmanager
def _own(out: Path, listener: Listener) -> Iterator[None]:
    """The folder of a run for this process alone, without what a killed one left half-written."""
    with output_folder(out, overwrite=True), lock_folder(out, listener.note):
        remove_dead_temporaries(out)
        yield


class TrainingRun:
    """The parts of a run, put together."""

    def __init__(
        self,
        settings: TrainingSettings,
        pack: Pack,
        out: Path,
        ranks: Ranks,
        pace: Pace,
        listener: Listener,
        start: Beginning,
        device: torch.device,
        compiled: bool,
    ):
        self.pack, self.out, self.ranks, self.pace, self.listener = pack, out, ranks, pace, listener
        self.names, self.held_out = split(pack, settings.data.validation)
        stored, notice = load_checkpoint(out)
        if notice:
            listener.note(notice)
        self.scans = fingerprint(pack)
        if stored and stored["scans"] != self.scans:
            raise other_scans(out)
        settings = resolved_settings(settings, pack, start)
        self.settings, self.stream = image_stream(settings, pack, self.names, out, device, ranks, listener)
        self.trainer = Trainer(self.settings, self.stream, device, ranks, compiled, start.objective(self.settings))
        self.remarks: list[str] = start.published.card.get("remarks", []) if start.published else []
        self.machine = hardware(device, ranks)
        self.seconds = 0.0
        self.meter = Meter()
        if stored:
            self.trainer.load(stored)
            self.seconds, self.meter = stored["seconds"], Meter(stored["meter"])
        ranks.agree(f"{self.trainer.images} {self.scans} {self.settings}", "the checkpoint, settings or pack")
        if ranks.writes:
            self.settings.save(out / "run.yaml")
        self.measures = measures_of(self.settings, self.stream, self.held_out or self.names)
        self.examples = self.measures.examples(pace.examples)

    def go(self, deadline: float) -> Outcome:
        """Train until the end, the deadline or a signal; save, and export unless it was a signal."""
        trainer, total = self.trainer, self.settings.images
        if self.ranks.writes:
            forget_later(self.out, trainer.images)
        self._introduce()
        journal = Journal(self.out, trainer.images) if self.ranks.writes else None
        if journal and not journal.has_board:
            self.listener.note("TensorBoard is not installed; log.jsonl has everything it would show.")
        with trainer.working(), stop_signals() as asked:
            try:
                if trainer.images < total:
                    self._repeat(journal, deadline, asked)
                # Of another rank's stop, this one need not know the reason.
                reason = "finished" if trainer.images >= total else (asked or ["minutes"])[0]
                prior = None
                if self.ranks.writes and reason in ("finished", "minutes"):
                    prior = self._finish(journal, reason == "finished")
            finally:
                if journal:
                    journal.close()
        self.ranks.wait()
        outcome = Outcome(trainer.images, reason, prior)
        self.listener.note(outcome.sentence(total))
        return outcome

    def _repeat(self, journal: Journal | None, deadline: float, asked: list[str]) -> None:
        """Step until the run's length, the deadline or a signal."""
        trainer, pace = self.trainer, self.pace
        saved, marks, loss = time.monotonic(), deque([(self.seconds, trainer.images)], maxlen=64), None
        while trainer.images < self.settings.images:
            began, before = time.monotonic(), trainer.images
            report = trainer.step(bool(asked))
            self.meter.add(report)
            self.seconds += time.monotonic() - began
            marks.append((self.seconds, trainer.images))
            speed = (trainer.images - marks[0][1]) / max(self.seconds - marks[0][0], 1e-9)
            most = self.settings.averages.snapshots
            if self.ranks.writes and most and _crossed(before, trainer.images, max(1, self.settings.images // most)):
                keep_snapshots(self.out, trainer.averages, trainer.images, most)
            if time.monotonic() > deadline and not asked:
                asked.append("minutes")
            stopping = float(report.stop) > 0 if self.ranks.size > 1 else bool(asked)
            if journal:
                if _crossed(before, trainer.images, pace.log):
                    record = {"images": trainer.images, "step": trainer.steps, **self.meter.record()}
                    record |= {"rate": report.rate, "images_per_second": round(speed, 2)}
                    loss = record["loss"]
                    journal.write(record)
                    self.listener.record(record)
                self.listener.training(trainer.images, self.settings.images, speed, loss)
                last = trainer.images >= self.settings.images
                if _crossed(before, trainer.images, pace.validate) and not last and not stopping:
                    self._validate(journal)
                if stopping or last or time.monotonic() - saved >= pace.save:
                    self._save()
                    saved = time.monotonic()
            if stopping:
                return

    def _save(self) -> None:
        more = {"recipe": self.settings.to_dict(), "scans": self.scans, "seconds": self.seconds}
        save_checkpoint(self.out, {**self.trainer.state(), **more, "meter": self.meter.state()})

    def _validate(self, journal: Journal | None) -> tuple[int, ErrorTable]:
        """Measure the averages, log them with a picture of the best, and return its number and its table."""
        trainer = self.trainer
        tables = [self.errors(trainer.averaged(i), self.examples) for i in range(len(trainer.averages))]
        best = min(range(len(tables)), key=lambda i: overall(tables[i]))
        names = [average.name for average in trainer.averages]
        record: dict[str, Any] = {"images": trainer.images, "best": names[best], "validation": {}}
        for name, table in zip(names, tables, strict=True):
            rows = {size: {key: round(rmse, 6) for key, rmse in row.items()} for size, row in table.items()}
            record["validation"][name] = {"overall": round(overall(table), 6), **rows}
        record |= self.measures.notes(self.examples)
        record |= self.measures.more(trainer.averaged(best), trainer.mapper, trainer.dtype)
        if journal:
            grey = self.measures.picture(trainer.averaged(best), self.examples, trainer.mapper, trainer.dtype)
            save_picture(self.out / "samples" / f"{trainer.images:09d}.png", grey)
            journal.show("samples", grey, trainer.images)
            journal.write(record)
        self.listener.record(record)
        return best, tables[best]

    def errors(self, learner: nn.Module, examples: dict[str, Any]) -> ErrorTable:
        """Errors of averaged weights on the held-out scans."""
        return self.measures.errors(learner, examples, self.trainer.mapper, self.trainer.dtype)

    def last_examples(self) -> dict[str, Any]:
        """Those that a prior is measured on at the end: more than along the run."""
        return self.measures.examples(4 * self.pace.examples)

    def _finish(self, journal: Journal | None, finished: bool) -> Path:
        """Export the best of the averages; at the end of the run, measured on more examples."""
        trainer = self.trainer
        best, table = self._validate(journal)
        examples = self.examples
        if finished:
            examples = self.last_examples()
            table = self.errors(trainer.averaged(best), examples)
        name = self.out.resolve().name
        learner = trainer.averaged(best)
        card = self.card(name, table, trainer.averages[best].name) | self.measures.notes(examples)
        card |= self.measures.more(learner, trainer.mapper, trainer.dtype)
        return self.export(self.out / PRIOR, learner, card)

    def card(self, name: str, table: ErrorTable, average: str) -> dict[str, Any]:
        """The card of the prior `name` with the weights `average`, whose errors are `table`."""
        trainer = self.trainer
        progress = {
            "images": trainer.images,
            "steps": trainer.steps,
            "hours": round(self.seconds / 3600, 3),
            "hardware": self.machine,
        }
        skipped = skipped_counts(self.out)
        return prior_card(name, self.settings, self.pack, self.held_out, progress, table, average, skipped)

    def export(self, target: Path, learner: nn.Module, card: dict[str, Any]) -> Path:
        """Write averaged weights and their card as the prior `target`, and return it."""
        denoiser = self.trainer.objective.denoiser(learner)
        return export_prior(target, denoiser, self.settings, self.pack, self.measures.sigma_range, card)

    def _introduce(self) -> None:
        """Tell the listener what is trained on what."""
        summary, trainer = self.pack.summary(), self.trainer
        count = sum(parameter.numel() for parameter in trainer.parameters)
        patches = self.settings.patches.slices
        as_patches = f", as patches of {patches}" if patches > 1 else ""
        self.listener.note(
            f"{len(self.stream):,} slices of {len(self.names)} scans to train on, "
            f"{len(self.held_out)} scans held out; plane {summary['plane']}, window {summary['window']}{as_patches}"
        )
        if self.held_out:
            shown = ", ".join(self.held_out[:10]) + (", ..." if len(self.held_out) > 10 else "")
            self.listener.note(f"Held out: {shown}")
            people = {self.pack.scan(name).person for name in self.held_out}
            both = [name for name in self.names if self.pack.scan(name).person in people]
            if both:
                self.listener.note(
                    f"Of subjects held out, {len(both)} other scans are trained on ({', '.join(both[:3])}), "
                    "so validation errors are too small; name them in --val too."
                )
        elif len(self.names) == 1:
            self.listener.note("There is only one scan, so validation is on the scan trained on.")
        else:
            self.listener.note(
                "All scans are of one subject, so none is held out and validation is on scans trained on; "
                "if they are of several, say so with --subjects."
            )
        words = "bf16" if trainer.dtype == torch.bfloat16 else "f32"
        self.listener.note(
            f"{type(trainer.network).__name__} of {count / 1e6:.1f} M parameters, {self.settings.optimiser.name}, "
            f"{words}, on {self.machine}"
        )
        published, start = self.settings.published, self.settings.start
        if published:
            for remark in self.remarks:
                self.listener.note(remark)
            sides = ", ".join(str(view.side) for view in self.settings.views or ())
            self.listener.note(
                f"Going on from {published.origin.get('title', start.init)}, with its own loss and noise levels, on "
                f"images of {sides} pixels, by the settings of {start.preset}: batches of {self.settings.batch}, "
                f"learning rate {self.settings.optimiser.learning_rate:g}."
            )
        for task, level in self.measures.notes({}).get("tasks", {}).items():
            self.listener.note(f"{task}: analytic reconstructions to learn from, wrong by {level:g} (root mean square)")
        if trainer.images:
            self.listener.note(f"Going on at {trainer.images:,} of {self.settings.images:,} images.")


def _crossed(before: int, after: int, every: int) -> bool:
    return before // every != after // every
