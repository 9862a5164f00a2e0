"""`coslice train`: a prior of one's own from a folder of scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from coslice.stop_signals import EXITS

__all__ = ["train"]


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
    val: Annotated[
        str | None, typer.Option(help="Share of the subjects to hold out, or scans, NAME,NAME; default 0.1.")
    ] = None,
    subjects: Annotated[
        str | None,
        typer.Option(
            help="Whose the scans are: a CSV or TSV file with lines SCAN,SUBJECT, or a pattern with one group, as "
            r"'(P\d+)', searched in the path; told by names, folders and DICOM by default."
        ),
    ] = None,
    init: Annotated[
        str | None, typer.Option(help="Start from a prior's weights: a name, a file, or a published checkpoint.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Published settings: diffusionblend, dds, diffusion-mbir, tpdm; by --init if left out."),
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Length of the run in passes over its slices.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same prior; default 0.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any other setting by its name in run.yaml, as optimiser.learning_rate=1e-3; may be repeated.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse scans that cannot be used instead of skipping them.")
    ] = False,
    licence: Annotated[str | None, typer.Option(help="Licence of the scans, for the card.")] = None,
    credit: Annotated[str | None, typer.Option(help="Whom to credit for the scans, for the card.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after so many; the same command goes on.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    compiled: Annotated[bool, typer.Option("--compile", help="Spend a minute to make steps faster.")] = False,
    log_every: Annotated[int | None, typer.Option(help="Images between lines of the log; default 1600.")] = None,
    validate_every: Annotated[
        int | None, typer.Option(help="Images between validations and pictures; default 20000.")
    ] = None,
    save_every: Annotated[float | None, typer.Option(help="Seconds between checkpoints; default 300.")] = None,
) -> None:
    """Train a prior on the slices of DATA, or go on with the run in --out."""
    # Here, so that the command's help need not wait for them.
    from coslice.cli.training_bars import TrainingBars
    from coslice.training.learning.run_folder import run_settings_of
    from coslice.training.learning.training_run import Pace
    from coslice.training.learning.training_run import train as train_prior
    from coslice.tree import assigned, nested, overlay, read_tree

    options = {
        "images": images,
        "batch": batch,
        "seed": seed,
        "init": init,
        "preset": preset,
        "schedule.epochs": epochs,
        "data.plane": plane,
        "data.window": window,
        "data.size": size,
        "data.validation": None if val is None else _validation(val),
        "data.subjects": subjects,
        "data.strict": strict or None,
        "data.licence": licence,
        "data.credit": credit,
        "patches.slices": slices,
        "supervised.tasks": task or None,
        "supervised.sizes": [size] if task and size else None,
    }
    given = nested([*_given(options).items(), *(assigned(text) for text in settings or [])])
    tree = overlay(read_tree(config, "train") if config else {}, given)
    pace = Pace(**_given({"log": log_every, "validate": validate_every, "save": save_every}))
    places = data or []
    run_settings = run_settings_of(out, places, tree)
    with TrainingBars().shown() as bars:
        outcome = train_prior(run_settings, places, out, device, minutes, compiled, pace, bars)
    if outcome.reason in EXITS:
        raise typer.Exit(EXITS[outcome.reason])


def _validation(text: str) -> float | list[str]:
    try:
        return float(text)
    except ValueError:
        return [name for name in text.split(",") if name]


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
