"""`coslice reconstruct` and `coslice demo`: their options."""

from __future__ import annotations

import sys
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from coslice.cli.options import (
    PROJECTIONS,
    Axis,
    Axisymmetric,
    Binning,
    Columns,
    Dark,
    Dataset,
    Device,
    Flat,
    Geometry,
    Order,
    Out,
    Overwrite,
    Pixel,
    Rows,
    Set,
    White,
    option,
)

__all__ = ["asked", "demo", "reconstruct"]

_SCAN, _METHOD = "The measurement", "The method"
_DICOM = "DICOM"


def demo(
    out: Out = Path("coslice-demo"),
    overwrite: Overwrite = False,
    steps: Annotated[int | None, option("Diffusion steps of every method.  [30, 30 and 50]")] = None,
    device: Device = "auto",
) -> None:
    """Reconstruct the embedded chest CT from 30 cone-beam views, by DDS with and without ISCS and by our best."""
    from coslice.cli.jobs import run_demo
    from coslice.cli.wishes import Where

    run_demo(Where(out, overwrite, command=tuple(sys.argv[1:])), steps, device)


def asked(
    context: typer.Context,
    scan: Annotated[
        Path | None,
        typer.Argument(
            help="NIfTI or a folder of DICOM (CT in HU, or MR); or measured projections: .npy, .npz, TIFF or a folder "
            "of them, HDF5, .mha, .mhd, .mat.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path | None, option("Folder for the results; new, empty, or with the same run unfinished.")] = None,
    task: Annotated[
        str, option("svct (sparse-view CT), lact (limited-angle CT), zsr (thick slices to thin ones).  [svct]", _SCAN)
    ] = "svct",
    from_real: Annotated[
        bool,
        typer.Option("--from-measurement", help="zsr: SCAN has thick slices itself; no truth.", rich_help_panel=_SCAN),
    ] = False,
    beam: Annotated[str | None, option("CT: cone or parallel.  [cone]", _SCAN)] = None,
    views: Annotated[
        int | None,
        option(
            "CT: number of views; of projections, how many to use.  [svct: 30, parallel 8; lact: one per degree]", _SCAN
        ),
    ] = None,
    angle: Annotated[float | None, option("lact: wedge in degrees.  [100, parallel 90]", _SCAN)] = None,
    factor: Annotated[float | None, option("zsr: thin slices per thick one.  [5; measured: to cubes]", _SCAN)] = None,
    fwhm: Annotated[float | None, option("zsr: Gaussian slice profile, mm.  [box]", _SCAN)] = None,
    measurement_noise: Annotated[
        float | None, option("Gaussian: of line integrals, or zsr: of the window.", _SCAN)
    ] = None,
    photons: Annotated[float | None, option("CT: photons per pixel, without a patient.", _SCAN)] = None,
    electronic_noise: Annotated[float, option("With photons: its standard deviation in counts.  [0]", _SCAN)] = 0.0,
    values: Annotated[
        str | None,
        option(
            "What the numbers are: hu, hu+1024, A:B=C:D (A is C HU), mu/cm:WATER, mu/mm:WATER, any; of projections "
            "counts, transmission or lines.  [found]",
            _SCAN,
        ),
    ] = None,
    window: Annotated[
        str | None,
        option("LOW:HIGH that the prior sees as 0 and 1: of a scan with --values any, of projections in 1/mm.", _SCAN),
    ] = None,
    series: Annotated[str | None, option("DICOM: number, UID or words of the series.", _SCAN)] = None,
    slices: Annotated[str | None, option("FIRST:LAST along z from the feet, LAST not included.  [all]", _SCAN)] = None,
    thickness: Annotated[float | None, option("First average slices to this thickness, mm.", _SCAN)] = None,
    spacing: Annotated[
        float | None, option("First resample to cubes, mm; measured: in plane; of projections, the voxels.", _SCAN)
    ] = None,
    size: Annotated[int | None, option("First resize slices to SIZE x SIZE; of projections, the grid.", _SCAN)] = None,
    pad: Annotated[int | None, option("First pad to a cube of so many voxels.", _SCAN)] = None,
    stack: Annotated[
        list[Path] | None, option("zsr: another stack of the same patient, in any orientation; repeatable.", _SCAN)
    ] = None,
    axis: Annotated[
        str | None, option("zsr, measured: z, y or x, along which slices are thick.  [found]", _SCAN)
    ] = None,
    gap: Annotated[
        float | None, option("zsr, measured: mm between slices; below 0 they overlap.  [found]", _SCAN)
    ] = None,
    slice_thickness: Annotated[
        float | None, option("zsr, measured: mm of a slice, instead of --gap.  [found]", _SCAN)
    ] = None,
    geometry: Geometry = None,
    flat: Flat = None,
    dark: Dark = None,
    white: White = None,
    pixel: Pixel = None,
    dataset: Dataset = None,
    order: Order = None,
    rotation_axis: Axis = None,
    rows: Rows = None,
    columns: Columns = None,
    binning: Binning = None,
    median: Annotated[int, option("Side of a median filter on every view, pixels.  [1]", PROJECTIONS)] = 1,
    axisymmetric: Axisymmetric = False,
    repair: Annotated[
        bool,
        typer.Option("--repair/--no-repair", help="Mend dead and stuck pixels.", rich_help_panel=PROJECTIONS),
    ] = True,
    water: Annotated[
        str | None,
        option(
            "Its attenuation, 1/mm, or find: results in HU; WATER:AIR also says that of air.  [results in 1/mm]",
            PROJECTIONS,
        ),
    ] = None,
    method: Annotated[
        str | None,
        option(
            "A name that `coslice methods` lists, or FILE.py:NAME for one of your own.  [CT: wblend, with --prior "
            "alone wdds; thick slices: dds]",
            _METHOD,
        ),
    ] = None,
    prior: Annotated[
        str | None,
        option(
            "Name of a prior, a file, or diffusers:FOLDER.  [CT: ct, of patches ct3, thick: ct-coronal; MR: mr]",
            _METHOD,
        ),
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
    fast: Annotated[
        bool, typer.Option("--fast", help="The method's fast form: half the time.", rich_help_panel=_METHOD)
    ] = False,
    steps: Annotated[int | None, option("Network evaluations per sample.  [the method's]", _METHOD)] = None,
    samples: Annotated[int | None, option("Samples whose mean is the result.  [1]", _METHOD)] = None,
    seed: Annotated[int, option("Same seed, same result; also of the measurement's noise.  [0]", _METHOD)] = 0,
    settings: Set = None,
    lpips: Annotated[
        bool, typer.Option("--lpips", help="Follow LPIPS over the steps.", rich_help_panel=_METHOD)
    ] = False,
    compare: Annotated[str | None, option("Other methods to run beside it, as sirt,admm-tv.", _METHOD)] = None,
    reference: Annotated[
        str | None,
        option("What a real measurement is compared with: a scan, or all-views of projections.", _METHOD),
    ] = None,
    dicom: Annotated[
        bool, typer.Option("--dicom", help="Write a DICOM series too, de-identified.", rich_help_panel=_DICOM)
    ] = False,
    keep_patient: Annotated[
        bool, typer.Option("--keep-patient", help="With --dicom: keep name and ID.", rich_help_panel=_DICOM)
    ] = False,
    device: Device = "auto",
    overwrite: Overwrite = False,
    resume: Annotated[
        Path | None, option("Go on with the unfinished run in this folder; instead of everything else.")
    ] = None,
) -> partial[None]:
    """Reconstruct SCAN: measured as the task says and compared; or thick slices or projections that were measured."""
    from dataclasses import replace

    from coslice.cli.resuming import resume_run

    if resume is not None:
        return partial(resume_run, context, resume)
    if scan is None:
        context.fail("Missing argument 'scan'")
    if out is None:
        context.fail("Missing option '--out'")

    from coslice.cli.jobs import reconstruct_projections, reconstruct_scan, reconstruct_slices
    from coslice.cli.measurements import ProjectionFiles
    from coslice.cli.parsing import attenuations, compared, interval, number_or_find, pair, refuse
    from coslice.cli.selection import settings_of_task
    from coslice.cli.wishes import How, Where
    from coslice.detector import detector_noise
    from coslice.errors import CosliceError
    from coslice.escapes import shown
    from coslice.preparation import Preparation
    from coslice.problems import DetectorChoice, GridChoice, Stated, make_task
    from coslice.values import parse_values

    if not 0 <= seed < 2**63:
        raise CosliceError(f"seed: {shown(seed)} was given, at least 0 and less than 2^63 is needed.")
    how = How(
        method, (prior, auxiliary_prior), noise, steps, samples, tuple(settings or ()), seed, lpips, device,
        compared(compare), reference, None if window is None else pair("window", window, float, ":"), fast,
    )  # fmt: skip
    command = ("cohort",) if context is None else tuple(sys.argv[1:])  # a worker of a cohort has no command line
    where = Where(out, overwrite, dicom, keep_patient, command)
    of_projections = {
        "flat": flat,
        "dark": dark,
        "white": white,
        "pixel": pixel,
        "dataset": dataset,
        "order": order,
        "rotation-axis": rotation_axis,
        "rows": rows,
        "columns": columns,
        "binning": binning,
        "median": None if median == 1 else median,
        "axisymmetric": axisymmetric or None,
        "no-repair": None if repair else True,
        "water": water,
    }
    of_measured_slices = {"stack": stack or None, "axis": axis, "gap": gap, "slice-thickness": slice_thickness}
    files = ProjectionFiles(
        scan, geometry, beam, None if pixel is None else pair("pixel", pixel, float), flat, dark, dataset, order
    )
    if files.meant:
        of_scans = {
            "task": None if task == "svct" else task,
            "angle": angle,
            "factor": factor,
            "fwhm": fwhm,
            "measurement-noise": measurement_noise,
            "electronic-noise": electronic_noise or None,
            "series": series,
            "thickness": thickness,
            "pad": pad,
            **of_measured_slices,
        }
        refuse(of_scans, f"{scan.name} is taken for measured projections")
        of_water, of_air = attenuations(water)
        stated = Stated(
            values=values,
            white=white,
            photons=photons,
            views=views,
            detector=DetectorChoice(
                interval("rows", rows),
                interval("columns", columns),
                None if binning is None else pair("binning", binning, int),
                median,
            ),
            axis=number_or_find("rotation-axis", rotation_axis),
            water=of_water,
            air=of_air,
            window=how.window,
            grid=GridChoice(size, spacing),
            slices=interval("slices", slices),
            axisymmetric=axisymmetric,
            repair=repair,
        )
        return partial(reconstruct_projections, files, stated, how, where)
    refuse(of_projections, f"{scan.name} is taken for a scan")
    detector = detector_noise(measurement_noise, photons, electronic_noise)
    interval("slices", slices)
    if values is not None:
        parse_values(values)
    preparation = Preparation(None, thickness, spacing, size, pad)
    if from_real or stack:
        refuse({"measurement-noise": measurement_noise, "photons": photons}, "a real scan has its own noise")
        if task != "zsr":
            raise CosliceError(
                f"--from-measurement was given with task {task}, but of scans only thick slices are a measurement; "
                "choose --task zsr, or give projections."
            )
        refuse({"beam": beam, "views": views, "angle": angle}, "thick slices have no views")
        return partial(
            reconstruct_slices,
            (scan, *(stack or ())),
            series,
            factor,
            fwhm,
            axis,
            gap,
            slice_thickness,
            preparation,
            slices,
            values,
            how,
            where,
        )
    refuse(of_measured_slices, "it is for a scan that is a measurement itself, see --from-measurement")
    if factor is not None and not factor.is_integer():
        raise CosliceError(f"factor: {factor:g} was given, but thin slices are simulated by whole numbers of them.")
    whole_factor = None if factor is None else int(factor)
    measurement = {"beam": beam, "views": views, "angle": angle, "factor": whole_factor, "fwhm_mm": fwhm}
    of_task, of_method = settings_of_task(how.settings, measurement)
    how = replace(how, settings=of_method)
    acquired = make_task(task, measurement | of_task, detector, seed)
    return partial(reconstruct_scan, scan, series, acquired, preparation, slices, values, how, where)


@wraps(asked, assigned=("__annotations__", "__doc__"))  # its options are those of the command, its docstring the help
def reconstruct(**options: Any) -> None:
    asked(**options)()
