"""Commands and their options. What they do is elsewhere; here it is named, told, and refused in one sentence."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from coslice.cli.display import Watch, say, show_table, warn
from coslice.cli.priors import priors
from coslice.cli.train import train
from coslice.data import SCAN_CREDIT, embedded_scan
from coslice.devices import chosen_device
from coslice.errors import CosliceError
from coslice.io.files import output_folder
from coslice.io.nifti import read_nifti
from coslice.methods import CLASSICAL, METHODS
from coslice.metrics import evaluate as evaluate_metrics
from coslice.noise import NOISES
from coslice.priors import SlicePrior, load_prior
from coslice.reconstruction import Recipe, Result, chosen_method, run
from coslice.study import Study, measure, parse_slices, simulate, write
from coslice.tasks import TASKS
from coslice.volume import CT_WINDOW, Volume

__all__ = ["main"]

DEMO_SLICES = (8, 56)
"""Enough to see the slices flicker, few enough to wait for on a laptop."""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Reconstruct 3D medical images with diffusion priors trained on 2D slices.",
)
app.add_typer(priors, name="priors")
app.command()(train)


def main() -> None:
    """Entry point of the `coslice` command: bad input is one sentence and exit code 2."""
    try:
        app()
    except CosliceError as error:
        warn(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        warn("Interrupted; nothing was written.")
        sys.exit(130)


Out = Annotated[Path, typer.Option(help="Folder for the results; must be new or empty.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace earlier results in the output folder.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]


@app.command()
def demo(
    out: Out = Path("coslice-demo"),
    overwrite: Overwrite = False,
    steps: Annotated[int, typer.Option(help="Diffusion steps.")] = 30,
    device: Device = "auto",
) -> None:
    """Reconstruct the embedded chest CT from 30 cone-beam views, with and without ISCS, beside FDK."""
    place = str(chosen_device(device))
    prior = load_prior("ct", place)
    recipe = Recipe(method="dds", steps=steps)
    chosen_method(recipe)
    scan = embedded_scan()
    with output_folder(out, overwrite) as folder:
        say(SCAN_CREDIT)
        study = simulate(scan, prior.window_for(scan), slices=DEMO_SLICES, device=place)
        _work(study, {"dds-independent": replace(recipe, noise="independent"), "dds-iscs": recipe}, prior, folder)


@app.command()
def reconstruct(
    scan: Annotated[Path, typer.Argument(help="CT scan in HU, NIfTI.")],
    out: Out,
    task: Annotated[str, typer.Option(help=" or ".join(TASKS))] = "svct",
    views: Annotated[int | None, typer.Option(help="Number of views.  [svct: 30; lact: one per degree]")] = None,
    angle: Annotated[float | None, typer.Option(help="Wedge of lact in degrees.  [100]")] = None,
    method: Annotated[str, typer.Option(help=", ".join(METHODS))] = "dds",
    noise: Annotated[str, typer.Option(help=", ".join(NOISES))] = "iscs",
    start_noise: Annotated[str | None, typer.Option(help="Noise of the start, when not the same.")] = None,
    start_from: Annotated[str, typer.Option(help="initial (FDK plus noise) or noise (noise alone).")] = "initial",
    anchor_angle: Annotated[float | None, typer.Option(help="Angle of ISCS's anchors in degrees.  [as drawn]")] = None,
    prior: Annotated[str, typer.Option(help="Name of an embedded prior, or a file.")] = "ct",
    steps: Annotated[int | None, typer.Option(help="Network evaluations.  [30]")] = None,
    sigma_max: Annotated[float | None, typer.Option(help="First noise level.  [dds: 0.5; ddnm: 5]")] = None,
    sigma_min: Annotated[float | None, typer.Option(help="Last noise level.  [0.01]")] = None,
    eta: Annotated[float | None, typer.Option(help="Share of fresh noise, 0 to 1.  [1]")] = None,
    cg_iterations: Annotated[int | None, typer.Option(help="CG iterations of dds.  [10]")] = None,
    gamma: Annotated[float | None, typer.Option(help="Weight of the data in dds.  [early-stopped CG]")] = None,
    sirt_iterations: Annotated[int | None, typer.Option(help="Iterations of sirt, also in ddnm.  [100]")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same result.")] = 0,
    slices: Annotated[str | None, typer.Option(help="FIRST:LAST along z, LAST not included.  [all]")] = None,
    size: Annotated[int | None, typer.Option(help="Resize slices to SIZE x SIZE.  [as they are]")] = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Simulate projections of SCAN, reconstruct it from them, and measure the result against SCAN."""
    place = str(chosen_device(device))
    recipe = Recipe(
        method=method,
        noise=noise,
        start_noise=start_noise,
        start_from=start_from,
        anchor_angle=anchor_angle,
        steps=steps,
        sigma_max=sigma_max,
        sigma_min=sigma_min,
        eta=eta,
        cg_iterations=cg_iterations,
        gamma=gamma,
        sirt_iterations=sirt_iterations,
        seed=seed,
    )
    chosen = chosen_method(recipe)  # names and numbers are checked before any file is read
    loaded = None if method in CLASSICAL else load_prior(prior, place)
    whole = read_nifti(scan)
    window = CT_WINDOW if loaded is None else loaded.window_for(whole)
    study = simulate(whole, window, task, views, angle, parse_slices(slices, whole.shape[0]), size, place)
    if loaded is not None:
        loaded.check(study.truth.shape, chosen.sigma_max, chosen.sigma_min)
    with output_folder(out, overwrite) as folder:
        _work(study, {"reconstruction": recipe}, loaded, folder)


def _work(study: Study, recipes: dict[str, Recipe], prior: SlicePrior | None, folder: Path) -> None:
    """Run the recipes, by file stem, measure them, and fill the folder."""
    say(f"{study.truth!r}\n{TASKS[study.settings['task']]}, {study.settings['views']} cone-beam views")
    results: dict[str, Result] = {}
    with Watch() as watch:
        for stem, recipe in recipes.items():
            with watch.task(recipe.title) as progress:
                results[stem] = run(study.problem, recipe, prior, study.unit, progress)
        with watch.task("metrics") as progress:
            metrics = measure(study, results, lambda done, total: progress("planes", done, total))
    write(folder, study, recipes, results, metrics, prior and prior.card)
    show_table({study.title(stem, recipes): values for stem, values in metrics.items()})
    say(f"Report: {folder / 'report.html'}")


@app.command()
def evaluate(
    reconstruction: Annotated[Path, typer.Argument(help="NIfTI, in HU.")],
    truth: Annotated[Path, typer.Argument(help="NIfTI on the same grid.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure RECONSTRUCTION against TRUTH: PSNR, SSIM, LPIPS per plane, and slice differences."""
    ours, theirs = read_nifti(reconstruction), read_nifti(truth)
    if ours.shape != theirs.shape or not np.allclose(ours.affine, theirs.affine, atol=1e-3):
        raise CosliceError(
            f"evaluate: {reconstruction.name} is {ours!r} and {truth.name} is {theirs!r}, with origins at "
            f"{_origin(ours)} and {_origin(theirs)} mm, but they must be on the same grid; cut or resample one of them."
        )
    metrics = evaluate_metrics(CT_WINDOW.to_unit(ours.data), CT_WINDOW.to_unit(theirs.data))
    if as_json:
        sys.stdout.write(json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    else:
        show_table({reconstruction.name: metrics})


def _origin(volume: Volume) -> str:
    return "(" + ", ".join(f"{value:g}" for value in volume.affine[:3, 3]) + ")"
