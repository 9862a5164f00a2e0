"""Plans at work: run, measured and written, with bars and sentences, and stopped when a signal asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from coslice.cli.display import Watch, say, show_table
from coslice.cli.forecast import Forecast
from coslice.cli.words import reconstruct_command
from coslice.errors import CosliceError
from coslice.operators import ThickSlices
from coslice.output import Interval, Measured, ResultsFolder, find_intervals, measure, titles, write_results
from coslice.output.intervals import LEVEL
from coslice.parallel import company
from coslice.plans import Plan
from coslice.priors import remarks_on_brightness
from coslice.problems import Study, remarks_on_residual
from coslice.report.run_page import write_run_page
from coslice.runs import Progress, Result, run
from coslice.stop_signals import stop_signals

__all__ = ["execute", "help_execute"]


def execute(
    study: Study,
    plans: Mapping[str, Plan],
    results: ResultsFolder,
    lpips: bool = False,
    series: Callable[[Mapping[str, Result], Path], None] | None = None,
) -> None:
    """Run plans, measure what they give, and fill a folder; or go on with that where it was stopped.

    Args:
        study: what was measured.
        plans: by file stem.
        results: the folder.
        lpips: whether LPIPS is followed over the steps.
        series: writes DICOM beside the other results, into the folder that it is given.

    Raises:
        CosliceError: as `coslice.run`; results that cannot be written.
        Stopped: a signal asked for it, and what there is has been kept.
    """
    if not company().anywhere(not results.complete):
        return
    shown = repr(study.volume)
    if study.task is None and study.unit is None:  # there are no values yet, and no file they were stored in
        shown = shown.partition(", stored")[0] + ")"
    say(shown, study.title)
    for remark in dict.fromkeys((*study.remarks, *(r for planned in plans.values() for r in planned.remarks))):
        say(remark)
    _say_reflected(study)
    found: dict[str, Result] = {}
    with stop_signals() as asked:

        def heard(progress: Progress, phase: str, done: int, total: int) -> None:
            progress(phase, done, total)
            if asked and phase not in ("sampling", "denoising"):  # a step is finished and kept first
                raise results.stopped(asked[0])

        with Watch() as watch:
            for stem, planned in plans.items():
                keeper = results.keeper(stem, planned, asked)
                with watch.task(planned.label) as bar:
                    progress = partial(heard, Forecast(planned.label, bar, say).heard)
                    kept = keeper.kept()
                    try:
                        found[stem] = run(
                            planned, truth=study.unit, lpips=lpips, progress=progress, keep=keeper, kept=kept
                        )
                    except CosliceError as error:
                        if type(error) is not CosliceError or not keeper.path.is_file():
                            raise
                        raise CosliceError(f"{error} What was kept before stays: {results.way}.") from error
            intervals = find_intervals(plans, found)
            with watch.task("metrics") as bar:
                measured = measure(study, found, lambda done, total: heard(bar, "planes", done, total), intervals)
        _write(study, plans, results, found, measured, intervals, series)


def help_execute(plans: Mapping[str, Plan]) -> None:
    """What a rank does that does not write: its share of the same plans."""
    if company().anywhere(False):
        for planned in plans.values():
            run(planned)


def _write(
    study: Study,
    plans: Mapping[str, Plan],
    results: ResultsFolder,
    found: Mapping[str, Result],
    measured: Measured,
    intervals: Mapping[str, Interval],
    series: Callable[[Mapping[str, Result], Path], None] | None,
) -> None:
    """Write all files, and say what there is; a signal that asks to stop is not heard any more."""
    if study.measured and measured.residuals:
        ends = measured.residuals["initial"], measured.residuals[next(iter(plans))]
        said = remarks_on_residual(study.problem, *ends)
        if study.known is None:
            said += _on_brightness(study, next(iter(plans.values())), next(iter(found.values())))
        study = replace(study, remarks=(*study.remarks, *said))
        for remark in said:
            say(remark)
    out = {stem: stem if len(plans) > 1 else "out" for stem in plans}
    commands = [reconstruct_command(study, planned, out[stem]) for stem, planned in plans.items()]
    commands = [command for command in commands if command]
    with results.together() as aside:
        record = write_results(aside, study, plans, found, measured, intervals)
        page = write_run_page(aside, study, plans, found, measured, record, commands, intervals)
        if series is not None:
            series(found, aside)
    if measured.numbers:
        names = titles(study, plans)
        show_table({names[stem]: values for stem, values in measured.numbers.items()})
    _say_intervals(intervals, measured)
    say(f"Report: {results.out / page.name}")


def _on_brightness(study: Study, planned: Plan, result: Result) -> tuple[str, ...]:
    """Where a result is far brighter or darker than what its priors were trained on.

    A first reconstruction would not tell: of a wedge it is dark, and of few views it is full of streaks.
    """
    volume = result.reconstruction
    said = (remarks_on_brightness(volume, p.name, p.card, p.plane, study.window) for p in planned.priors)
    return tuple(remark for remarks in said for remark in remarks)


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
            f"{operator.domain[operator.number]} slices are no multiple of {operator.factor}: of the last thick one, "
            f"{operator.reflected} are reflected, and not reconstructed."
        )
