"""`coslice reconstruct` and `coslice demo`: their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coslice.cli.options import Device, Out, Overwrite, Set, option

__all__ = ["demo", "reconstruct"]

_SCAN, _METHOD = "The measurement", "The method"


def demo(
    out: Out = Path("coslice-demo"),
    overwrite: Overwrite = False,
    steps: Annotated[int | None, option("Diffusion steps of every method.  [30, 30 and 50]")] = None,
    device: Device = "auto",
) -> None:
    """Reconstruct the embedded chest CT from 30 cone-beam views, by DDS with and without ISCS and by our best."""
    from coslice.cli.jobs import run_demo

    run_demo(out, overwrite, steps, device)


def reconstruct(
    scan: Annotated[Path, typer.Argument(help="NIfTI: CT in HU, or MR.")],
    out: Out,
    task: Annotated[
        str, option("svct (sparse-view CT), lact (limited-angle CT), zsr (super-resolution along z).  [svct]", _SCAN)
    ] = "svct",
    from_real: Annotated[
        bool,
        typer.Option("--from-measurement", help="zsr: SCAN has thick slices itself; no truth.", rich_help_panel=_SCAN),
    ] = False,
    beam: Annotated[str | None, option("CT: cone or parallel.  [cone]", _SCAN)] = None,
    views: Annotated[
        int | None, option("CT: number of views.  [svct: 30, parallel 8; lact: one per degree]", _SCAN)
    ] = None,
    angle: Annotated[float | None, option("lact: wedge in degrees.  [100, parallel 90]", _SCAN)] = None,
    factor: Annotated[int | None, option("zsr: thin slices per thick one.  [5; measured: to cubes]", _SCAN)] = None,
    fwhm: Annotated[float | None, option("zsr: Gaussian slice profile, mm.  [box]", _SCAN)] = None,
    measurement_noise: Annotated[
        float | None, option("Gaussian: of line integrals, or zsr: of the window.", _SCAN)
    ] = None,
    photons: Annotated[float | None, option("CT: photons per pixel, without a patient.", _SCAN)] = None,
    electronic_noise: Annotated[float, option("With photons: its standard deviation in counts.  [0]", _SCAN)] = 0.0,
    values: Annotated[
        str | None,
        option(
            "What the numbers are: hu, hu+1024, A:B=C:D (A is C HU), mu/cm:WATER, mu/mm:WATER, any.  [found]", _SCAN
        ),
    ] = None,
    slices: Annotated[str | None, option("FIRST:LAST along z, LAST not included.  [all]", _SCAN)] = None,
    thickness: Annotated[float | None, option("First average slices to this thickness, mm.", _SCAN)] = None,
    spacing: Annotated[float | None, option("First resample to cubes, mm; measured: in plane.", _SCAN)] = None,
    size: Annotated[int | None, option("First resize slices to SIZE x SIZE.", _SCAN)] = None,
    pad: Annotated[int | None, option("First pad to a cube of so many voxels.", _SCAN)] = None,
    method: Annotated[
        str | None,
        option(
            "A name that `coslice methods` lists, or FILE.py:NAME for one of your own.  [CT: wblend, with --prior "
            "alone wdds; MR: dds]",
            _METHOD,
        ),
    ] = None,
    prior: Annotated[
        str | None, option("Name of a prior, or a file.  [CT: ct, of patches ct3; MR: mr]", _METHOD)
    ] = None,
    auxiliary_prior: Annotated[
        str | None, option("wblend: prior of slices; tpdm: of a second plane.  [CT: ct; ct-coronal]", _METHOD)
    ] = None,
    noise: Annotated[
        str | None,
        option(
            "independent, identical, iscs, ou, matern, anchors or mixed.  [iscs; wblend: matern; diffusionblend, tpdm: "
            "independent]",
            _METHOD,
        ),
    ] = None,
    steps: Annotated[int | None, option("Network evaluations per sample.  [the method's]", _METHOD)] = None,
    samples: Annotated[int | None, option("Samples whose mean is the result.  [1]", _METHOD)] = None,
    seed: Annotated[int, option("Same seed, same result; also of the measurement's noise.  [0]", _METHOD)] = 0,
    settings: Set = None,
    lpips: Annotated[
        bool, typer.Option("--lpips", help="Follow LPIPS over the steps.", rich_help_panel=_METHOD)
    ] = False,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Measure SCAN as the task says, reconstruct it from that, and compare; or reconstruct a SCAN of thick slices."""
    from coslice.cli.jobs import reconstruct_scan
    from coslice.cli.selection import chosen_method
    from coslice.detector import detector_noise
    from coslice.errors import CosliceError
    from coslice.methods import default_method
    from coslice.preparation import Preparation
    from coslice.problems import make_task

    if seed < 0:
        raise CosliceError(f"seed: {seed} was given, at least 0 is needed.")
    detector = detector_noise(measurement_noise, photons, electronic_noise)
    measurement = {"beam": beam, "views": views, "angle": angle, "factor": factor, "fwhm_mm": fwhm}
    acquired = make_task(task, measurement, detector, seed)
    if method is None:
        method = default_method(acquired.problem_kind, (prior, auxiliary_prior))
    reconstruct_scan(
        scan,
        out,
        task=acquired,
        factor=factor,
        measured=from_real,
        preparation=Preparation(None, thickness, spacing, size, pad),
        slices=slices,
        values=values,
        method=chosen_method(method, acquired.problem_kind, noise, steps, samples, settings or ()),
        priors=(prior, auxiliary_prior),
        seed=seed,
        lpips=lpips,
        device=device,
        overwrite=overwrite,
    )
