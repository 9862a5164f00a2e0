"""`coslice priors`: which there are, what they are, and others' checkpoints made into ours."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from coslice.cli.options import Device, option

__all__ = ["priors"]

_LARGE = 100_000_000
"""Bytes of a file that is read for seconds, which is said."""

priors = typer.Typer(
    no_args_is_help=False,
    invoke_without_command=True,
    help="List the priors there are; show one; measure one; import others'; choose a width.",
)


@priors.callback()
def list_priors(context: typer.Context) -> None:
    """List the priors there are: embedded ones, and those you imported."""
    from coslice.cli.display import show_priors, warn
    from coslice.errors import CosliceError
    from coslice.priors import embedded_priors, read_card, stored_priors
    from coslice.priors.places import store_remark

    if context.invoked_subcommand is not None:
        return
    embedded, cards, odd = embedded_priors(), {}, []
    for name, path in {**stored_priors(), **embedded}.items():
        try:
            cards[name] = read_card(path)
        except CosliceError as error:  # one odd file must not hide the others
            odd.append(f"{name} in your store is no prior: {error}")
    show_priors({**{name: cards.pop(name) for name in embedded if name in cards}, **cards}, set(embedded))
    for sentence in odd:
        warn(sentence)
    if remark := store_remark():
        warn(remark)


@priors.command()
def show(
    name: Annotated[
        str, typer.Argument(help=escape("Name of a prior, a file, hf:OWNER/REPOSITORY[/FILE], diffusers:FOLDER."))
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the card of a prior: what it was trained on, how far, and what it is for."""
    from coslice.cli.display import show_card
    from coslice.cli.terminal import print_json
    from coslice.priors import read_card

    card = read_card(name)
    if as_json:
        print_json(card)
    else:
        show_card(name, card)


@priors.command()
def measure(
    prior: Annotated[str, typer.Argument(help="Name of a prior, or a file.")],
    scans: Annotated[list[Path], typer.Argument(help="Scans that it was not trained on: NIfTI, folders of DICOM.")],
    slices: Annotated[str | None, option("FIRST:LAST along the axis that its images are stacked along.  [all]")] = None,
    most: Annotated[int, option("Images of a scan, evenly through it.  [32]")] = 32,
    seed: Annotated[int, option("Of the noise: same seed, same numbers.  [0]")] = 0,
    values: Annotated[str | None, option("What the scans' numbers are, as of `coslice reconstruct`.  [found]")] = None,
    series: Annotated[str | None, option("Of a folder of several DICOM series.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Put it onto its card, and the page beside it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    device: Device = "auto",
) -> None:
    """Measure how well a prior removes noise, on scans and at two sizes of pixel."""
    from coslice.cli.display import Watch, say, show_measured, warn
    from coslice.cli.opening import open_scan
    from coslice.cli.parsing import interval
    from coslice.cli.terminal import print_json
    from coslice.devices import chosen_device
    from coslice.errors import CosliceError
    from coslice.escapes import shown
    from coslice.priors import load_prior, measure_prior, remarks_for_prior, remarks_on_brightness
    from coslice.priors.denoising_error import settled_for
    from coslice.priors.measured_cards import own_file, write_measurement
    from coslice.tree import plain

    if not 0 <= seed < 2**63:
        raise CosliceError(f"seed: {shown(seed)} was given, at least 0 and less than 2^63 is needed.")
    path = own_file(prior) if write else None
    kept = interval("slices", slices) or (None, None)
    loaded = load_prior(prior, chosen_device(device))
    opened = [open_scan(scan, series) for scan in scans]
    settled = [settled_for(loaded, one.volume, values) for one in opened]
    with Watch() as watch, watch.task(f"prior {loaded.name}", transient=True) as progress:
        measured = measure_prior(loaded, [found.scan for found in settled], kept, most, seed, "any", progress)
    if as_json:
        print_json(plain(measured))
    else:
        show_measured(measured, [scan.name for scan in scans])
    for one, found in zip(opened, settled, strict=True):
        window = loaded.window_for(found.scan)
        unit = window.to_unit(found.scan.data)
        like = remarks_on_brightness(unit, loaded.name, loaded.card, loaded.plane, window)
        for remark in (*one.remarks, *found.remarks, *remarks_for_prior(found.scan, loaded), *like):
            warn(remark)
    if path is not None:
        written = write_measurement(path, measured)
        if not as_json:
            say(f"Written: {', '.join(map(str, written))}")


@priors.command("import")
def import_(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="A published checkpoint, as its authors left it (.pth, .pt); diffusers:FOLDER, diffusers:OWNER/NAME "
            "on the Hub, monai:FOLDER."
        ),
    ],
    format: Annotated[str, typer.Option(help="auto, ncsnpp or guided-diffusion.")] = "auto",
    out: Annotated[Path | None, option("File to write, .safetensors.  [your own store]")] = None,
    config: Annotated[Path | None, option("Its configuration, JSON or YAML.  [found beside it]")] = None,
    plane: Annotated[str | None, option("Rows and columns of its images: yx, zx or zy.  [what it says]")] = None,
    window: Annotated[str | None, option("What its 0 and 1 mean: ct, mr or LOW:HIGH.  [what it says]")] = None,
    range: Annotated[str | None, option("What the network saw for 0 and 1: -1:1 or 0:1.  [what it says]")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the weights, for the card.")] = "not stated",
    source: Annotated[str, typer.Option(help="Where the weights are from, for the card.")] = "not stated",
    classes: Annotated[
        str | None, option("Of patches: its class of neighbouring slices, of jumping ones: A,B.  [1,3]")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier file.")] = False,
) -> None:
    """Turn a published checkpoint into a prior: every weight checked, nothing executed.

    Plane, window and range are read from its configuration, name or shape, which is said, or asked for.
    """
    from coslice.cli.display import say, show_card
    from coslice.errors import CosliceError
    from coslice.priors import import_prior, parse_range, read_card, save_prior, user_store
    from coslice.priors.foreign_folders import foreign_name, is_foreign

    stem = foreign_name(str(checkpoint)) if is_foreign(str(checkpoint)) else checkpoint.stem
    target = out or user_store() / f"{stem}.safetensors"
    if target.suffix != ".safetensors":
        raise CosliceError(f"priors import: --out {target.name} was given, but the name must end in .safetensors.")
    if os.path.exists(target) and not overwrite:
        raise CosliceError(f"priors import: {target} exists; choose another name, or ask for it with --overwrite.")
    saw = None if range is None else parse_range(range)
    if checkpoint.is_file() and (size := checkpoint.stat().st_size) > _LARGE:
        say(f"Reading {checkpoint.name}, {size / 1e9:.2g} GB; each of its weights is looked at.")
    prior = import_prior(checkpoint, format, config, plane, window, licence, source, _parsed(classes), saw)
    if out is not None:
        prior.card["name"] = target.stem
    else:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CosliceError(
                f"priors import: your store {target.parent} cannot be made ({(error.strerror or str(error)).lower()}); "
                "name another folder in $COSLICE_PRIORS, or a file with --out."
            ) from error
    save_prior(target, prior)
    show_card(target.stem, read_card(target))
    say(f"Written: {target}", f"Use it: --prior {target.stem if out is None else target}")


@priors.command("average")
def average(
    run: Annotated[Path, typer.Argument(help="Folder of a training run, its --out.")],
    data: Annotated[
        list[Path] | None,
        typer.Argument(help="Its scans or its pack, if its slices are not in its folder.", show_default=False),
    ] = None,
    widths: Annotated[str | None, option("Widths to try beside the run's own.  [0.04,0.07,0.1,0.15,0.2]")] = None,
    out: Annotated[Path | None, option("File to write, .safetensors.  [the run's prior]")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier file of --out.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
) -> None:
    """Make averages of other widths of a run's weights, measure them, and write the best as its prior.

    A width is how much of the run an average remembers: the deviation of its weighting, as a share of the run.
    """
    from coslice.cli.display import say
    from coslice.cli.training_bars import TrainingBars
    from coslice.errors import CosliceError
    from coslice.training.learning.afterwards import WIDTHS, average_run, parse_widths

    chosen = parse_widths(widths) if widths else WIDTHS
    for file in (out, out.with_suffix(".md")) if out else ():
        if os.path.lexists(file) and not overwrite:
            raise CosliceError(f"average: {file} exists; choose another name, or ask for it with --overwrite.")
    if out and not out.absolute().parent.is_dir():
        raise CosliceError(f"average: the folder of {out} does not exist; make it, or choose another name.")
    with TrainingBars().shown() as bars:
        path, found = average_run(run, data or [], chosen, out, device, listener=bars)
    say(f"Best: {found[0].sentence()}", f"Written: {path}")


def _parsed(classes: str | None) -> tuple[int, int] | None:
    if classes is None:
        return None
    from coslice.errors import CosliceError

    try:
        near, far = map(int, classes.split(","))
    except ValueError:
        raise CosliceError(
            f'--classes: "{classes}" was given, but two whole numbers are needed, as in 1,3: the class of neighbouring '
            "slices and that of jumping ones."
        ) from None
    return near, far
