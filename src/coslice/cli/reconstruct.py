"""`coslice reconstruct` and `coslice demo`: options into values, values into a study, a study into a folder."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from coslice.cli.display import Watch, say, show_table
from coslice.data import SCAN_CREDIT, embedded_scan
from coslice.devices import chosen_device
from coslice.errors import CosliceError
from coslice.io.files import output_folder
from coslice.io.nifti import read_nifti
from coslice.measurement_noise import detector_noise
from coslice.methods import METHODS
from coslice.noise import NOISES
from coslice.operators import ThickSlices
from coslice.parts import load_priors
from coslice.preparation import Preparation
from coslice.priors import SlicePrior, load_prior
from coslice.priors.partitions import ENDS
from coslice.recipe import RENOISING, Recipe, chosen_method
from coslice.reconstruction import Result, check_prior, run
from coslice.schedule import SCHEDULES
from coslice.study import Study, from_measurement, measure, parse_slices, simulate, write
from coslice.tasks import BEAMS, TASKS, Acquisition
from coslice.volume import Volume, Window, scan_window

__all__ = ["demo", "reconstruct"]

DEMO_SLICES = (8, 56)
"""Enough to see the slices flicker, few enough to wait for on a laptop."""

_TASKS = ", ".join(f"{name} ({title})" for name, title in TASKS.items())
_SCAN, _SAMPLER, _METHOD = "The measurement", "The sampler", "The method"


def _option(text: str, panel: str | None = None) -> Any:
    # "[100]" is a default here, not a style.
    return typer.Option(help=escape(text), rich_help_panel=panel)


Out = Annotated[Path, _option("Folder for the results; must be new or empty.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace earlier results in the output folder.")]
Device = Annotated[str, _option("auto, cpu, cuda, cuda:1, ...")]


def demo(
    out: Out = Path("coslice-demo"),
    overwrite: Overwrite = False,
    steps: Annotated[int, _option("Diffusion steps.")] = 30,
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
        study = simulate(scan, prior.window_for, preparation=Preparation(slices=DEMO_SLICES), device=place)
        _work(
            study, {"dds-independent": replace(recipe, noise="independent"), "dds-iscs": recipe}, (prior, None), folder
        )


def reconstruct(
    scan: Annotated[Path, typer.Argument(help="NIfTI: CT in HU, or MR.")],
    out: Out,
    task: Annotated[str, _option(_TASKS, _SCAN)] = "svct",
    from_real: Annotated[
        bool,
        typer.Option("--from-measurement", help="zsr: SCAN has thick slices itself; no truth.", rich_help_panel=_SCAN),
    ] = False,
    beam: Annotated[str | None, _option("Of svct and lact: " + " or ".join(BEAMS) + ".  [cone]", _SCAN)] = None,
    views: Annotated[
        int | None, _option("Number of views.  [svct: 30, parallel beam 8; lact: one per degree]", _SCAN)
    ] = None,
    angle: Annotated[float | None, _option("Wedge of lact in degrees.  [100, parallel beam 90]", _SCAN)] = None,
    factor: Annotated[int | None, _option("zsr: thin slices per thick one.  [5; measured: to cubes]", _SCAN)] = None,
    fwhm: Annotated[float | None, _option("zsr: Gaussian slice profile, mm.  [box]", _SCAN)] = None,
    measurement_noise: Annotated[
        float | None, _option("Gaussian: of line integrals, or zsr: of the window.", _SCAN)
    ] = None,
    photons: Annotated[float | None, _option("CT: photons per pixel, without a patient.", _SCAN)] = None,
    electronic_noise: Annotated[float, _option("With --photons: its standard deviation in counts.", _SCAN)] = 0.0,
    slices: Annotated[str | None, _option("FIRST:LAST along z, LAST not included.  [all]", _SCAN)] = None,
    thickness: Annotated[float | None, _option("First average slices to this thickness, mm.", _SCAN)] = None,
    spacing: Annotated[float | None, _option("First resample to cubes, mm; measured: in plane.", _SCAN)] = None,
    size: Annotated[int | None, _option("First resize slices to SIZE x SIZE.", _SCAN)] = None,
    pad: Annotated[int | None, _option("First pad to a cube of so many voxels.", _SCAN)] = None,
    method: Annotated[str, _option(", ".join(METHODS), _METHOD)] = "dds",
    prior: Annotated[
        str | None, _option("Name of a prior, or a file.  [CT: ct, of patches ct3; MR: mr]", _METHOD)
    ] = None,
    auxiliary_prior: Annotated[str | None, _option("tpdm: prior of a second plane.  [CT: ct-coronal]", _METHOD)] = None,
    auxiliary_every: Annotated[int | None, _option("tpdm: it takes one step of so many.  [2]", _METHOD)] = None,
    partition: Annotated[str | None, _option("diffusionblend++: random or fixed.  [random]", _METHOD)] = None,
    cross_every: Annotated[
        int | None, _option("diffusionblend++: jumping slices at one step of so many, 0 never.  [2]", _METHOD)
    ] = None,
    ends: Annotated[str | None, _option("Patches at the ends: " + " or ".join(ENDS) + ".  [overlap]", _METHOD)] = None,
    cg_iterations: Annotated[int | None, _option("CG iterations per data step.  [dds: 10; zsr: 1]", _METHOD)] = None,
    gamma: Annotated[float | None, _option("Weight of the data in dds.  [early-stopped CG]", _METHOD)] = None,
    sirt_iterations: Annotated[int | None, _option("Iterations of sirt, also in ddnm.  [100]", _METHOD)] = None,
    tv_weight: Annotated[float | None, _option("lambda of dds-tv, diffusion-mbir, admm-tv.", _METHOD)] = None,
    tv_penalty: Annotated[float | None, _option("rho of the same.", _METHOD)] = None,
    data_weight: Annotated[float | None, _option("lambda of diffpir.  [7]", _METHOD)] = None,
    guidance: Annotated[float | None, _option("Step of dps.", _METHOD)] = None,
    noise: Annotated[
        str | None, _option(", ".join(NOISES) + ".  [iscs; diffusionblend, tpdm: independent]", _SAMPLER)
    ] = None,
    patch_noise: Annotated[
        str | None,
        _option("With patches, ISCS ties slices in lanes, one to each of a patch, or all.  [lanes]", _SAMPLER),
    ] = None,
    start_noise: Annotated[str | None, _option("Noise of the start, when not the same.", _SAMPLER)] = None,
    start_from: Annotated[str, _option("initial (with noise) or noise (alone).", _SAMPLER)] = "initial",
    anchor_angle: Annotated[float | None, _option("Angle of ISCS's anchors in degrees.  [as drawn]", _SAMPLER)] = None,
    renoising: Annotated[str | None, _option(", ".join(RENOISING) + ".  [the method's]", _SAMPLER)] = None,
    steps: Annotated[int | None, _option("Network evaluations per sample.  [the method's]", _SAMPLER)] = None,
    samples: Annotated[int | None, _option("Samples whose mean is the result.  [1]", _SAMPLER)] = None,
    schedule: Annotated[str | None, _option(", ".join(SCHEDULES) + ".  [the method's]", _SAMPLER)] = None,
    sigma_max: Annotated[float | None, _option("First noise level.  [the method's]", _SAMPLER)] = None,
    sigma_min: Annotated[float | None, _option("Last noise level.  [the method's]", _SAMPLER)] = None,
    eta: Annotated[float | None, _option("Share of fresh noise, 0 to 1.  [the method's]", _SAMPLER)] = None,
    temperature: Annotated[float | None, _option("Size of the fresh noise, 0 to 1.  [1; zsr: 0.8]", _SAMPLER)] = None,
    rounds: Annotated[
        int | None, _option("Projections between data and values from 0 to 1 at the end.  [0; zsr: 10]", _SAMPLER)
    ] = None,
    seed: Annotated[int, _option("Same seed, same result; also of the measurement's noise.", _SAMPLER)] = 0,
    lpips: Annotated[
        bool, typer.Option("--lpips", help="Follow LPIPS over the steps.", rich_help_panel=_SAMPLER)
    ] = False,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Measure SCAN as the task says, reconstruct it from that, and compare; or reconstruct a SCAN of thick slices."""
    options = dict(locals())
    place = str(chosen_device(device))
    acquisition = Acquisition(
        task, views, angle, factor, fwhm, detector_noise(measurement_noise, photons, electronic_noise), seed, beam
    )
    recipe = Recipe(**{field.name: options[field.name] for field in fields(Recipe)})
    preparation = Preparation(None, thickness, spacing, size, pad)
    _check_measured(from_real, acquisition)
    # Names and numbers are checked before any file is read.
    chosen = chosen_method(recipe, acquisition.kind)
    loaded, auxiliary = load_priors(chosen, acquisition.kind, prior, auxiliary_prior, place)

    def window(volume: Volume) -> Window:
        return scan_window(loaded.window if loaded else acquisition.window, volume.data)

    whole = read_nifti(scan)
    preparation = replace(preparation, slices=None if slices is None else parse_slices(slices, whole.shape[0]))
    if from_real:
        study = from_measurement(whole, window, factor, fwhm, preparation, place)
    else:
        study = simulate(whole, window, acquisition, preparation, place)
    check_prior(study.problem, recipe, loaded, auxiliary)
    with output_folder(out, overwrite) as folder:
        _work(study, {"reconstruction": recipe}, (loaded, auxiliary), folder)


def _check_measured(measured: bool, acquisition: Acquisition) -> None:
    if measured and acquisition.is_ct:
        raise CosliceError(
            f"--from-measurement was given with task {acquisition.task}, but only thick slices can be read so far; "
            "choose --task zsr."
        )
    if measured and acquisition.noise is not None:
        raise CosliceError(
            "--from-measurement was given with simulated noise, but a real scan has its own; choose one."
        )


def _work(
    study: Study, recipes: dict[str, Recipe], priors: tuple[SlicePrior | None, SlicePrior | None], folder: Path
) -> None:
    """Run the recipes, by file stem, measure them, and fill the folder."""
    say(f"{study.grid!r}\n{study.title}")
    _say_reflected(study)
    results: dict[str, Result] = {}
    with Watch() as watch:
        for stem, recipe in recipes.items():
            with watch.task(recipe.title) as progress:
                results[stem] = run(study.problem, recipe, priors[0], study.unit, progress, priors[1])
        with watch.task("metrics") as progress:
            metrics = measure(study, results, lambda done, total: progress("planes", done, total))
    write(folder, study, recipes, results, metrics, [prior.card for prior in priors if prior])
    if metrics:
        show_table({study.titled(stem, recipes): values for stem, values in metrics.items()})
    say(f"Report: {folder / 'report.html'}")


def _say_reflected(study: Study) -> None:
    operator = study.problem.operator
    if isinstance(operator, ThickSlices) and operator.reflected:
        say(
            f"{operator.domain[0]} slices are no multiple of {operator.factor}: of the last thick one, "
            f"{operator.reflected} are reflected, and not reconstructed."
        )
