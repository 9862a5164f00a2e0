"""`coslice train`: a prior of one's own from a folder of scans."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from coslice.training.preparation import settle
from coslice.training.recipe import overlay
from coslice.training.run import Pace
from coslice.training.run import train as train_prior
from coslice.training.watch import Listener, told
from coslice.tree import read_tree

__all__ = ["train"]

_EXITS = {"SIGINT": 130, "SIGTERM": 143}


def train(
    out: Annotated[Path, typer.Option(help="Folder of the run; if it holds one, the run goes on.")],
    data: Annotated[
        list[Path] | None,
        typer.Argument(help="NIfTI files, folders of NIfTI or DICOM, or a pack of slices.", show_default=False),
    ] = None,
    plane: Annotated[str | None, typer.Option(help="Rows and columns of the images: yx, zx or zy; default yx.")] = None,
    window: Annotated[str | None, typer.Option(help="What becomes 0 and 1: ct, mr or LOW:HIGH; default ct.")] = None,
    size: Annotated[int | None, typer.Option(help="Resample slices to SIZE x SIZE; as they are by default.")] = None,
    slices: Annotated[
        int | None, typer.Option(help="Slices to an image: 3 makes a prior of patches for DiffusionBlend; default 1.")
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(help="Train an FBP-UNet for svct-parallel-8, lact-cone-100, ...; may be repeated."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML of a run; options given beside it come first.")] = None,
    images: Annotated[int | None, typer.Option(help="Length of the run in images; default 300000.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images per step; default 16.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Its highest; default 0.0012.")] = None,
    optimiser: Annotated[str | None, typer.Option(help="muon or adam; default muon.")] = None,
    schedule: Annotated[str | None, typer.Option(help="linear, cosine or inverse-sqrt; default linear.")] = None,
    precision: Annotated[str | None, typer.Option(help="bf16, f32 or auto; default auto.")] = None,
    val: Annotated[
        str | None, typer.Option(help="Share of the scans to hold out, or names, NAME,NAME; default 0.1.")
    ] = None,
    init: Annotated[str | None, typer.Option(help="Start from a prior's weights: a name or a file.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same prior; default 0.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse unreadable files instead of skipping them.")] = False,
    licence: Annotated[str | None, typer.Option(help="Licence of the scans, for the card.")] = None,
    credit: Annotated[str | None, typer.Option(help="Whom to credit for the scans, for the card.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after so many; the same command goes on.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    compiled: Annotated[bool, typer.Option("--compile", help="Spend a minute to make steps faster.")] = False,
    log_every: Annotated[int, typer.Option(help="Images between lines of the log.")] = Pace.log,
    validate_every: Annotated[int, typer.Option(help="Images between validations and pictures.")] = Pace.validate,
    save_every: Annotated[float, typer.Option(help="Seconds between checkpoints.")] = Pace.save,
) -> None:
    """Train a prior on the slices of DATA, or go on with the run in --out."""
    given: dict[str, Any] = {
        "images": images,
        "batch": batch,
        "precision": precision,
        "seed": seed,
        "init": init,
        "data": {
            "plane": plane,
            "window": window,
            "size": size,
            "validation": None if val is None else _validation(val),
            "strict": strict or None,
            "licence": licence,
            "credit": credit,
        },
        "patches": {"slices": slices},
        "supervised": {"tasks": task, "sizes": [size] if size else None} if task else {},
        "optimiser": {"name": optimiser, "learning_rate": learning_rate},
        "schedule": {"name": schedule},
    }
    pace = Pace(log_every, validate_every, save_every)
    tree = overlay(read_tree(config) if config else {}, _set_only(given))
    places = data or []
    recipe = settle(out, places, tree)
    with _Bars().shown() as bars:
        outcome = train_prior(recipe, places, out, device, minutes, compiled, pace, bars)
    if outcome.reason in _EXITS:
        raise typer.Exit(_EXITS[outcome.reason])


class _Bars(Listener):
    """Shows a run on the terminal; in a file, where bars would be noise, a line per record."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[done]}"),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=self._console)
        self._bar = self._progress.add_task("", total=None, done="", visible=False)

    @contextmanager
    def shown(self) -> Iterator[_Bars]:
        self._progress.start()
        try:
            yield self
        finally:
            self._progress.stop()

    def note(self, text: str) -> None:
        self._console.print(escape(text))

    def packing(self, done: int, total: int, name: str) -> None:
        shown = f"{done} of {total} scans {name}"
        self._progress.update(self._bar, description="packing", completed=done, total=total, done=shown, visible=True)

    def simulating(self, done: int, total: int, name: str) -> None:
        shown = f"{done} of {total} {name}"
        self._progress.update(
            self._bar, description="simulating", completed=done, total=total, done=shown, visible=True
        )

    def training(self, images: int, total: int, speed: float, loss: float | None) -> None:
        if self._progress.tasks[0].description != "training":
            # Time left is to be told from the speed of this session, not from what was there before.
            self._progress.reset(self._bar, description="training", total=total, completed=images, visible=True)
        known = "" if loss is None else f", loss {loss:.4f}"
        shown = f"{images:,} of {total:,} images, {speed:.3g} images/s{known}"
        self._progress.update(self._bar, completed=images, done=shown)

    def record(self, record: dict[str, Any]) -> None:
        if "validation" in record or not self._console.is_terminal:
            self._console.print(escape(told(record)))


def _validation(text: str) -> float | list[str]:
    try:
        return float(text)
    except ValueError:
        return [name for name in text.split(",") if name]


def _set_only(tree: dict[str, Any]) -> dict[str, Any]:
    chosen = {key: _set_only(value) if isinstance(value, dict) else value for key, value in tree.items()}
    return {key: value for key, value in chosen.items() if value not in (None, {})}
