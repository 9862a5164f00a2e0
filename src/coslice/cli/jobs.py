"""What `coslice reconstruct` and `coslice demo` do: a scan into a study, plans into results, results into a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from coslice.cli.display import Watch, say, show_table
from coslice.cli.words import reconstruct_command
from coslice.data import SCAN_CREDIT, embedded_scan
from coslice.devices import chosen_device
from coslice.errors import CosliceError
from coslice.io.files import output_folder
from coslice.io.nifti import read_nifti
from coslice.methods import AnyMethod, changed, default_method, find_method
from coslice.operators import ThickSlices
from coslice.output import Interval, Measured, find_intervals, measure, titles, write_results
from coslice.output.intervals import LEVEL
from coslice.plans import Plan, load_priors, plan
from coslice.preparation import Preparation, parse_slices
from coslice.priors import remarks_for_prior
from coslice.problems import SliceSuperResolution, Study, Task, from_thick_slices, simulate
from coslice.report.run_page import write_run_page
from coslice.runs import Result, run
from coslice.values import parse_values, settle
from coslice.volume import Volume
from coslice.window import Window, scan_window

__all__ = ["reconstruct_scan", "run_demo"]

DEMO_SLICES = (8, 56)
"""Enough to see the slices flicker, few enough to wait for on a laptop."""


def run_demo(out: Path, overwrite: bool, steps: int | None, device: str) -> None:
    """Reconstruct the embedded chest by DDS with independent noise and with ISCS, and by our best, into `out`."""
    place = str(chosen_device(device))
    few: dict[str, Any] = {} if steps is None else {"schedule": {"steps": steps}}
    dds, best = (changed(find_method(name), few, "demo") for name in ("dds", default_method("ct")))
    priors = load_priors(dds, "ct", device=place)
    with output_folder(out, overwrite) as folder:
        say(SCAN_CREDIT)
        window, preparation = priors[0].window_for, Preparation(slices=DEMO_SLICES)
        study = simulate(embedded_scan(), window=window, preparation=preparation, device=place)
        independent = changed(dds, {"noise": "independent"})
        _work(
            study,
            {
                "dds-independent": plan(study.problem, independent, priors),
                "dds-iscs": plan(study.problem, dds, priors),
                best.name: plan(study.problem, best, device=place),
            },
            folder,
        )


def reconstruct_scan(
    scan: Path,
    out: Path,
    *,
    task: Task,
    factor: int | None,
    measured: bool,
    preparation: Preparation,
    slices: str | None,
    values: str | None,
    method: AnyMethod,
    priors: tuple[str | None, str | None],
    seed: int,
    lpips: bool,
    device: str,
    overwrite: bool,
) -> None:
    """Measure a scan, or take it as the measurement, reconstruct it, and fill the folder `out`.

    Args:
        scan: a NIfTI file.
        out: the folder.
        task: how it is measured.
        factor: of a scan of thick slices, thin slices to a thick one; None makes cubes.
        measured: whether the scan is the measurement itself.
        preparation: what is done to it first; `slices`, "FIRST:LAST", is added to it.
        slices: which slices to keep; None for all.
        values: what the scan's numbers are, see `coslice.values.parse_values`; None looks at them.
        method: with all its settings.
        priors: names or files of the prior and of that of a second plane; None for the usual ones.
        seed, lpips, device, overwrite: as the options of the command.

    Raises:
        CosliceError: anything that cannot be done, before a file is made.
    """
    place = str(chosen_device(device))
    _check_measured(measured, task)
    said = None if values is None else parse_values(values)
    loaded = load_priors(method, task.problem_kind, priors, place)

    def window(volume: Volume) -> Window:
        return scan_window(loaded[0].window if loaded else task.window, volume.data)

    whole = read_nifti(scan)
    if slices is not None:
        preparation = replace(preparation, slices=parse_slices(slices, whole.shape[0]))
    if measured and isinstance(task, SliceSuperResolution):
        settled = settle(whole, loaded[0].window if loaded else task.window, said)
        study = from_thick_slices(settled.scan, window, factor, task.fwhm_mm, preparation, place)
        study = replace(study, values=settled.values, remarks=settled.remarks + study.remarks)
    else:
        study = simulate(whole, task, window, preparation, place, said)
    study = replace(
        study, remarks=study.remarks + tuple(r for prior in loaded for r in remarks_for_prior(study.volume, prior))
    )
    planned = plan(study.problem, method, loaded, seed)
    with output_folder(out, overwrite) as folder:
        _work(study, {"reconstruction": planned}, folder, lpips)


def _check_measured(measured: bool, task: Task) -> None:
    if measured and not isinstance(task, SliceSuperResolution):
        raise CosliceError(
            f"--from-measurement was given with task {task.kind}, but only thick slices can be read so far; "
            "choose --task zsr."
        )
    if measured and task.noise is not None:
        raise CosliceError(
            "--from-measurement was given with simulated noise, but a real scan has its own; choose one."
        )


def _work(study: Study, plans: Mapping[str, Plan], folder: Path, lpips: bool = False) -> None:
    """Run the plans, by file stem, measure the results, and fill the folder."""
    say(f"{study.volume!r}\n{study.title}")
    for remark in study.remarks:
        say(remark)
    _say_reflected(study)
    results: dict[str, Result] = {}
    with Watch() as watch:
        for stem, planned in plans.items():
            with watch.task(planned.label) as progress:
                results[stem] = run(planned, truth=study.unit, lpips=lpips, progress=progress)
        intervals = find_intervals(plans, results)
        with watch.task("metrics") as progress:
            measured = measure(study, results, lambda done, total: progress("planes", done, total), intervals)
    record = write_results(folder, study, plans, results, measured, intervals)
    out = {stem: stem if len(plans) > 1 else "out" for stem in plans}
    commands = [reconstruct_command(study, planned, out[stem]) for stem, planned in plans.items()]
    commands = [command for command in commands if command]
    page = write_run_page(folder, study, plans, results, measured, record, commands, intervals)
    if measured.numbers:
        names = titles(study, plans)
        show_table({names[stem]: values for stem, values in measured.numbers.items()})
    _say_intervals(intervals, measured)
    say(f"Report: {page}")


def _say_intervals(intervals: Mapping[str, Interval], measured: Measured) -> None:
    for stem, interval in intervals.items():
        if interval.reason:
            say(interval.reason)
        elif held := measured.numbers.get(stem, {}).get("uncertainty"):
            level, body = f"{LEVEL:g} %", 100 * held[f"coverage_{LEVEL:g}"]
            say(f"Interval of {level} in {stem}-interval.nii.gz: it holds {body:.1f} % of the voxels inside the body.")


def _say_reflected(study: Study) -> None:
    operator = study.problem.operator
    if isinstance(operator, ThickSlices) and operator.reflected:
        say(
            f"{operator.domain[0]} slices are no multiple of {operator.factor}: of the last thick one, "
            f"{operator.reflected} are reflected, and not reconstructed."
        )
