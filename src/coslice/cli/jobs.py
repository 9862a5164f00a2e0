"""What `coslice reconstruct` and `coslice demo` do: a measurement, plans, results, and a folder for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from coslice.cli.display import say
from coslice.cli.execution import execute, help_execute
from coslice.cli.measurements import ProjectionFiles, projections_study
from coslice.cli.opening import OpenedScan, names_of, open_scan, slices_said
from coslice.cli.wishes import ALL_VIEWS, How, Where
from coslice.data import SCAN_CREDIT, embedded_scan
from coslice.devices import chosen_device
from coslice.errors import CosliceError
from coslice.identities import run_identity
from coslice.methods import AnalyticSolution, AnyMethod, Direct, changed, default_method, find_method
from coslice.methods.noisy_data import suited_to_noise
from coslice.output import open_results
from coslice.parallel import company
from coslice.plans import Plan, load_priors, plan
from coslice.preparation import Preparation, parse_slices
from coslice.priors import SlicePrior, remarks_for_prior, remarks_on_brightness
from coslice.problems import (
    SliceSuperResolution,
    Stated,
    Study,
    Task,
    from_stacks,
    from_thick_slices,
    modality_of,
    simulate,
    with_reference,
)
from coslice.runs import Result
from coslice.values import parse_values
from coslice.volume import Volume

__all__ = ["reconstruct_projections", "reconstruct_scan", "reconstruct_slices", "run_demo"]

DEMO_SLICES = (8, 56)
"""Enough to see the slices flicker, few enough to wait for on a laptop."""


def run_demo(where: Where, steps: int | None, device: str) -> None:
    """Reconstruct the embedded chest by DDS with independent noise and with ISCS, and by our best."""
    place = str(chosen_device(device))
    few: dict[str, Any] = {} if steps is None else {"schedule": {"steps": steps}}
    dds, best = (changed(find_method(name), few, "demo") for name in ("dds", default_method("ct")))
    priors = load_priors(dds, "ct", device=place)
    window, preparation = priors[0].window_for, Preparation(slices=DEMO_SLICES)
    study = simulate(embedded_scan(), window=window, preparation=preparation, device=place)
    independent = changed(dds, {"noise": "independent"})
    plans = {
        "dds-independent": plan(study.problem, independent, priors),
        "dds-iscs": plan(study.problem, dds, priors),
        best.name: plan(study.problem, best, device=place),
    }
    with open_results(where.out, where.overwrite, run_identity(study, plans), where.command, say) as results:
        say(SCAN_CREDIT)
        execute(study, plans, results)


def reconstruct_scan(
    scan: Path,
    series: str | None,
    task: Task,
    preparation: Preparation,
    slices: str | None,
    values: str | None,
    how: How,
    where: Where,
) -> None:
    """Measure a scan as the task says, reconstruct it from that, and fill the folder.

    Args:
        scan: NIfTI, or a folder of DICOM.
        series: which of a folder's series.
        task: how it is measured.
        preparation: what is done to it first; `slices`, "FIRST:LAST", is added to it.
        slices: which slices to keep; None for all.
        values: what the scan's numbers are, see `coslice.values.parse_values`; None looks at them.
        how, where: as they say.

    Raises:
        CosliceError: anything that cannot be done, before a file is made.
    """
    said = None if values is None else parse_values(values)
    if values == "any" and how.window is None and task.window == "ct":
        raise CosliceError(
            "--values any was given for a CT without --window, so nothing says which numbers the prior is to see as 0 "
            "and 1; say --window LOW:HIGH, or what the numbers are in HU: --values LOW:HIGH=-1000:1600."
        )
    if how.reference is not None:
        raise CosliceError(
            f"--reference {how.reference} was given, but a simulated measurement has its truth; leave it out."
        )
    how.check(task.problem_kind)
    method = how.chosen(task.problem_kind)
    priors = how.loaded(method, "ct") if task.problem_kind == "ct" else None
    opened, preparation = _cut(open_scan(scan, series, slices), slices, preparation)
    if priors is None:  # which is usual depends on the scan
        kind = "" if any(how.priors) else opened.kind
        priors = how.loaded(method, task.problem_kind, kind)
        if kind == "ct" and priors:
            named = " and ".join(prior.name for prior in priors)
            opened = replace(opened, remarks=(*opened.remarks, f"The scan is a CT, so the prior is {named}."))
    remarks = how.check_window(priors, values)
    study = simulate(opened.volume, task, how.seen(priors, task.window), preparation, how.place, said)
    study = replace(_recut(study, opened), remarks=(*remarks, *study.remarks), names=names_of(scan))
    _reconstruct(_suited(_read_so(study, opened), priors), method, priors, how, where, opened)


def reconstruct_slices(
    scans: tuple[Path, ...],
    series: str | None,
    factor: float | None,
    fwhm_mm: float | None,
    axis: str | None,
    gap_mm: float | None,
    thickness_mm: float | None,
    preparation: Preparation,
    slices: str | None,
    values: str | None,
    how: How,
    where: Where,
) -> None:
    """Reconstruct thin slices from a scan of thick ones, or from several stacks of one patient.

    Args:
        scans: NIfTI, or folders of DICOM.
        series: which of a folder's series.
        factor: thin slices to a thick one; None makes cubes.
        fwhm_mm: of a Gaussian slice profile; None is a box.
        axis: along which slices are thick; None finds it.
        gap_mm: between slices; None is what DICOM says, or none.
        thickness_mm: of the slices, instead of the gap.
        preparation, slices, values, how, where: as of `reconstruct_scan`.

    Raises:
        CosliceError: anything that cannot be done, before a file is made.
    """
    kind = SliceSuperResolution.problem_kind
    how.check(kind)
    method = how.chosen(kind)
    said = None if values is None else parse_values(values)
    wanted = slices if len(scans) == 1 else None
    opened = [open_scan(scan, series, wanted).settled(said) for scan in scans]
    first = opened[0]
    modality, _ = modality_of(first.volume, first.modality)
    priors = how.loaded(method, kind, modality)
    window_remarks, window = how.check_window(priors, values), how.seen(priors, modality or "mr")
    if len(opened) > 1:
        refused = {"factor": factor, "gap": gap_mm, "slice-thickness": thickness_mm, "axis": axis, "slices": slices}
        for name, value in refused.items():
            if value is not None:
                raise CosliceError(f"--{name} was given with several stacks, whose places say it; leave it out.")
        study = from_stacks(
            [one.volume for one in opened],
            window,
            preparation.spacing,
            fwhm_mm,
            how.place,
            axes=[one.along for one in opened],
            thickness_mm=[None if fwhm_mm else one.slice_thickness_mm or None for one in opened],
            modality=first.modality,
        )
    else:
        first, preparation = _cut(first, slices, preparation)
        opened = [first]
        stated = (gap_mm, thickness_mm, fwhm_mm) != (None, None, None)
        if not stated and axis in (None, first.along):  # what the file says is of the axis its slices lie along
            thickness_mm = first.slice_thickness_mm or None
        study = from_thick_slices(
            first.volume,
            window,
            factor,
            fwhm_mm,
            preparation,
            how.place,
            axis=axis if axis is not None else first.along,
            gap_mm=gap_mm,
            thickness_mm=thickness_mm,
            modality="CT" if first.modality is None and values not in (None, "any") else first.modality,
        )
    names = names_of(*scans, how.reference)
    study = replace(_recut(study, first), remarks=(*window_remarks, *study.remarks), names=names)
    for one in opened:
        study = _read_so(study, one)
    study = _compared(study, how)
    _reconstruct(_suited(study, priors), method, priors, how, where, first)


def reconstruct_projections(files: ProjectionFiles, stated: Stated, how: How, where: Where) -> None:
    """Reconstruct measured projections.

    Args:
        files: their names.
        stated: what is said of them.
        how, where: as they say.

    Raises:
        CosliceError: anything that cannot be done, before a file is made.
    """
    how.check("ct")
    method = how.chosen("ct")
    if stated.axisymmetric and isinstance(method, Direct) and isinstance(method.solution, AnalyticSolution):
        stated = replace(stated, grid=replace(stated.grid, plane=not how.compare))
    priors = how.loaded(method, "ct")
    if stated.water is not None and priors:
        how.check_window(priors, None)
    window = how.seen(priors, "ct")(Volume(torch.ones(1, 1, 1)))
    all_views = how.reference == ALL_VIEWS
    study = projections_study(files, stated, window, all_views, how.place)
    named = names_of(files.recording, files.geometry, files.flat, files.dark, None if all_views else how.reference)
    study = replace(study, names=(*study.names, *named))
    if not all_views:
        study = _compared(study, how)
    _reconstruct(_suited(study, priors), method, priors, how, where)


def _cut(opened: OpenedScan, slices: str | None, preparation: Preparation) -> tuple[OpenedScan, Preparation]:
    """The preparation with the slices to keep; the scan says where they are."""
    if slices is None or opened.cut is not None:
        return opened, preparation
    kept = parse_slices(slices, opened.volume.shape[0])
    volume = opened.volume.slices(*kept)  # refuses what is not there
    said = (*opened.remarks, slices_said(volume, kept, opened.volume.shape[0]))
    return replace(opened, remarks=said), replace(preparation, slices=kept)


def _recut(study: Study, opened: OpenedScan) -> Study:
    """The study with the slices of its scan that were read, for its record and the command that makes it again."""
    if opened.cut is None:
        return study
    return replace(study, preparation=replace(study.preparation, slices=opened.cut))


def _compared(study: Study, how: How) -> Study:
    """The study with the scan it is compared with, if there is one, in the study's unit."""
    if how.reference is None:
        return study
    opened = open_scan(Path(how.reference))
    if study.window.unit == "HU":
        opened = opened.settled(None)
    study = replace(study, remarks=(*study.remarks, *opened.remarks))
    return with_reference(study, opened.volume, "the reference")


def _read_so(study: Study, opened: OpenedScan) -> Study:
    """The study with what was said when its scan was read."""
    return replace(study, remarks=(*opened.remarks, *study.remarks))


def _suited(study: Study, priors: Sequence[SlicePrior]) -> Study:
    """The study with what is outside of what its priors have seen."""
    said = [remark for prior in priors for remark in remarks_for_prior(study.volume, prior)]
    if (unit := study.known) is not None:
        for one in priors:
            said += remarks_on_brightness(unit, one.name, one.card, one.plane, study.window)
    return replace(study, remarks=(*study.remarks, *dict.fromkeys(said)))


def _reconstruct(
    study: Study,
    method: AnyMethod,
    priors: Sequence[SlicePrior],
    how: How,
    where: Where,
    opened: OpenedScan | None = None,
) -> None:
    suited = method if how.changes("data") else suited_to_noise(method, study.problem)
    if suited is not method:
        said = "The noise is known, so the data step weighs it against the prediction (data.trust, data.kind=trust)."
        study = replace(study, remarks=(*study.remarks, said))
    plans = how.plans(study, suited, priors)
    modality = None if opened is None or opened.dicom is None else opened.dicom.modality
    if where.dicom and modality not in (None, "CT", "MR"):
        raise CosliceError(
            f"--dicom was given for a scan of modality {modality}, but series of CT and MR are written; leave it out."
        )
    if where.keep_patient and not where.dicom:
        raise CosliceError("--keep-patient was given without --dicom, and no other file names a patient; leave it out.")
    if not company().writes:
        help_execute(plans)
        return
    written = {"lpips": how.lpips, "dicom": where.dicom, "keep_patient": where.keep_patient}
    identity = run_identity(study, plans, **written)
    series = partial(_write_dicom, study, plans, where, opened) if where.dicom else None
    with open_results(where.out, where.overwrite, identity, where.command, say) as results:
        execute(study, plans, results, how.lpips, series)


def _write_dicom(
    study: Study,
    plans: Mapping[str, Plan],
    where: Where,
    opened: OpenedScan | None,
    found: Mapping[str, Result],
    aside: Path,
) -> None:
    from coslice.io.dicom import write_dicom  # takes long to load

    source = None if opened is None else opened.dicom
    planned = plans["reconstruction"]
    volume = study.volume.with_data(study.window.from_unit(found["reconstruction"].reconstruction.cpu()))
    notes = write_dicom(
        volume,
        aside / "dicom",
        source,
        description=f"coslice {planned.label}",
        derivation=f"{study.title}; reconstructed by coslice {planned.label}, seed {planned.seed}",
        keep_patient=where.keep_patient,
        unit=study.window.unit,
        modality=None if source is not None else "MR" if study.problem.modality == "mr" else "CT",
    )
    for note in notes:
        say(note)
    say(f"DICOM: {where.out / 'dicom'}")
