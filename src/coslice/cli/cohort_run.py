"""What `coslice cohort` does: everything checked, what lacks done on an engine, tables and page kept up to date."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from coslice.cli.cohort_options import columns, files_of, options_of, read_cohort_recipe, shown, wish_of
from coslice.cli.cohort_scan import ScanTask, finished, reconstruct_one
from coslice.cli.display import Watch, plain_table, say, show, warn
from coslice.cli.job_bars import job_bars
from coslice.cli.jobs import reconstruct_projections, reconstruct_slices
from coslice.cli.wishes import How
from coslice.cohort import (
    Cohort,
    ManifestScan,
    ScanRecord,
    Statistic,
    fingerprint,
    flat_numbers,
    options_digest,
    read_manifest,
    share_of,
    statistics_of,
    write_tables,
)
from coslice.cohort.cohort_folder import RESERVED
from coslice.cohort.tables_on_disk import CohortLine
from coslice.engine import Engine, Finished, Job, check_engine, chosen_engine
from coslice.errors import CosliceError
from coslice.problems import Task
from coslice.report.cohort_page import number_text, write_cohort_page
from coslice.stop_signals import EXITS, stop_signals

__all__ = ["Cohorting", "run_cohort"]

_PATIENCE = 20
"""Tables are written again while scans are made, but never take more than one part in so many of the time."""


@dataclass(frozen=True)
class Cohorting:
    """What the user asked for.

    Attributes:
        manifest, recipe, out: as given.
        share: "K/N".
        overwrite: whether to do again what was made otherwise.
        plan, table: whether to stop after looking, or after the tables.
        device: where to compute.
    """

    manifest: Path
    recipe: Path | None
    out: Path
    share: str | None
    overwrite: bool
    plan: bool
    table: bool
    device: str

    @property
    def command(self) -> str:
        """What goes on with it, files by their last part."""
        words = ["coslice", "cohort", self.manifest.name]
        words += [] if self.recipe is None else ["--recipe", self.recipe.name]
        return shlex.join([*words, "--out", f"{self.out.name or 'out'}/"])


class _Session:
    """A cohort at work: its scans with their options, and where they stand."""

    def __init__(self, wished: Cohorting) -> None:
        self.wished, self.cohort = wished, Cohort(wished.out.absolute())
        manifest = read_manifest(wished.manifest, columns(), RESERVED)
        self.common = read_cohort_recipe(wished.recipe)
        self.rows = manifest.scans
        self.options = {row.name: options_of(row, self.common, wished.manifest) for row in self.rows}
        self.mine = share_of(self.rows, wished.share)
        self._digests: dict[Path, str] = {}
        self._written, self._took = 0.0, 0.0

    def recipe_of(self, row: ManifestScan) -> str:
        """The digest of a scan's options, and of what is in the files that they name."""
        options = self.options[row.name]
        files = {parameter: self._content(path) for parameter, path in files_of(options).items()}
        return options_digest(shown(options), files)

    def _content(self, path: Path) -> str:
        if path not in self._digests:
            self._digests[path] = fingerprint(path).content
        return self._digests[path]

    def task(self, row: ManifestScan) -> ScanTask:
        device = "cuda" if self.wished.device.startswith("cuda:") else self.wished.device  # a worker sees its own
        return ScanTask(self.cohort, row, self.options[row.name], self.recipe_of(row), device)

    def lacking(self) -> list[ManifestScan]:
        """The scans of this share that are to be made.

        Raises:
            CosliceError: some were made otherwise, and are not to be made again.
        """
        lacking, otherwise = [], []
        for row in self.mine:
            record = self.cohort.record(row.name)
            if finished(self.cohort, row, self.recipe_of(row), record):
                continue
            if record.state == "done" and self.cohort.whole(row.name):
                otherwise.append((row, record))
            lacking.append(row)
        if otherwise and not self.wished.overwrite:
            row, record = otherwise[0]
            more = f", and so it is with {len(otherwise) - 1} more" if len(otherwise) > 1 else ""
            raise CosliceError(
                f"cohort: {row.name} is there, but {self._difference(row, record)}{more}; choose another folder, or do "
                "it again with --overwrite."
            )
        return lacking

    def _difference(self, row: ManifestScan, record: ScanRecord) -> str:
        """What is other than when a scan was made."""
        if record.recipe == self.recipe_of(row):
            return "its scan is another one now" if row.scan.exists() else "its scan is not there any more"
        now = shown(self.options[row.name])
        for option in sorted({*now, *record.options}):
            if now.get(option) != record.options.get(option):
                was, given = (_worded(values.get(option)) for values in (record.options, now))
                return f"it was made with {option} {was}, and {given} is asked for now"
        return "a file that its options name has another content now"

    def check(self, rows: Sequence[ManifestScan]) -> None:
        """Refuse what could not be run, before hours are spent on other scans.

        Raises:
            CosliceError: options that do not fit together, a method or a prior that is not there; with the line.
        """
        known: set[tuple[object, ...]] = set()
        for row in rows:
            if not row.scan.exists():
                continue
            try:
                wish = wish_of(row, self.options[row.name], self.cohort.folder(row.name), "cpu", False)
                _check_method(wish, known)
            except CosliceError as error:
                raise CosliceError(f"{self.wished.manifest.name}, line {row.line} ({row.name}): {error}") from error

    def lines(self) -> list[CohortLine]:
        """All scans of the manifest, as they stand."""
        found: list[CohortLine] = []
        for row in self.rows:
            record = self.cohort.record(row.name)
            if record.state == "running":
                with self.cohort.taken(row.name) as free:
                    record = replace(record, state="stopped", worker="") if free else record
            # Tables and pages are passed on, and the places of files may say whose they are.
            record = replace(record, message=record.message.replace(str(row.scan), row.scan.name))
            numbers = flat_numbers(self.cohort.metrics(row.name)) if record.state == "done" else {}
            found.append(CohortLine(row, record, numbers))
        return found

    def write(self, at_last: bool = False) -> tuple[list[CohortLine], list[Statistic]] | None:
        """Write tables and page, unless they would be written too often."""
        began = time.monotonic()
        if not at_last and began - self._written < _PATIENCE * self._took:
            return None
        with self.cohort.writing():
            lines = self.lines()
            statistics = statistics_of({line.scan.name: line.numbers for line in lines if line.numbers})
            common = shown(self.common)
            write_tables(self.cohort.out, lines, statistics, common)
            title = f"Cohort {self.wished.manifest.stem}"
            write_cohort_page(self.cohort, title, lines, statistics, common, self.wished.command)
        self._written, self._took = time.monotonic(), time.monotonic() - began
        return lines, statistics


def run_cohort(
    wished: Cohorting,
    engine: str | None,
    address: str | None,
    workers: int | None,
    threads: int | None,
    retries: int,
) -> int:
    """Do what lacks of a cohort.

    Returns:
        The exit code: 0 where all is done, 1 where something failed or is still to do, 128 and the signal's number
        where one stopped it.

    Raises:
        CosliceError: anything that cannot be done, before a scan is begun.
    """
    if retries < 0:
        raise CosliceError(f"retries: {retries} was given, at least 0 is needed.")
    check_engine(engine, address, workers, threads, wished.device)
    session = _Session(wished)
    session.cohort.check()
    if wished.table:
        session.cohort.prepare()
        return _conclude(session, session.rows)
    lacking = session.lacking()
    session.check(lacking)
    _say_first(session, lacking)
    if wished.plan:
        return 0
    session.cohort.prepare()
    with session.cohort.entered(wished.share):
        asked: list[str] = []
        if lacking:
            chosen = chosen_engine(len(lacking), engine, address, workers, threads, wished.device)
            say(chosen.said)
            asked = _work(session, chosen.engine, lacking, retries)
        code = _conclude(session, session.mine)
    if asked:
        warn(f"Stopped by {asked[0]}; what is done is kept in {wished.out}: the same command goes on there.")
        return EXITS.get(asked[0], 1)
    return code


def _say_first(session: _Session, lacking: Sequence[ManifestScan]) -> None:
    count, mine = len(session.rows), len(session.mine)
    share = "" if session.wished.share is None else f", {mine} of them in this share"
    say(f"{count} scans{share}: {mine - len(lacking)} done, {len(lacking)} to do.")
    missing = [row.said for row in lacking if not row.scan.exists()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        say(f"Not there: {', '.join(missing[:3])}{more}.")


def _check_method(wish: partial[None], known: set[tuple[object, ...]]) -> None:
    """Refuse a method, a setting or a prior that is not there; each only once, since a prior takes a second."""
    how = replace(next(one for one in wish.args if isinstance(one, How)), seed=0)
    kind = next((one.problem_kind for one in wish.args if isinstance(one, Task)), "zsr")
    kind = "ct" if wish.func is reconstruct_projections else kind
    if (how, kind) in known:
        return
    how.check(kind)
    method = how.chosen(kind)
    if wish.func is not reconstruct_slices:  # whose usual prior depends on what the scan is of
        how.loaded(method, kind)
    known.add((how, kind))


def _work(session: _Session, engine: Engine, rows: Sequence[ManifestScan], retries: int) -> list[str]:
    """Do the scans; the signals that asked to stop."""
    by_name = {row.name: row for row in rows}
    jobs = [
        Job(row.name, reconstruct_one, (session.task(row),), session.cohort.beside(row.name, "txt")) for row in rows
    ]
    with (
        stop_signals() as asked,
        Watch() as watch,
        job_bars(watch, "cohort", "scans", {name: name for name in by_name}) as bars,
    ):
        try:
            for ended in engine.run(jobs, retries, bars.heard, lambda: bool(asked)):
                bars.ended(ended.key)
                try:
                    _settle(session, by_name[ended.key], ended)
                    session.write()
                except CosliceError as error:  # a full disk ends no scan that is at work
                    warn(str(error))
        except KeyboardInterrupt:
            asked.append("SIGINT")
    return list(asked)


def _settle(session: _Session, row: ManifestScan, ended: Finished) -> None:
    """Keep and say what became of a scan, where its worker could not."""
    cohort, last = session.cohort, ended.last
    record = cohort.record(row.name)
    if ended.done:
        where = "is made by another process" if last.value == "elsewhere" else f"done in {last.seconds:.0f} s"
        say(f"{row.name}: {where}")
    elif last.ending == "stopped":
        if record.state == "running":
            cohort.keep(row.name, replace(record, state="stopped", worker=""))
        say(f"{row.name}: stopped")
    else:
        if last.ending != "refused":  # which its worker has kept
            failed = replace(record, state="failed", message=last.message, worker="", seconds=round(last.seconds, 2))
            cohort.keep(row.name, failed)
        elif record.state != "failed":
            cohort.keep(row.name, replace(record, state="failed", message=last.message, worker=""))
        say(f"{row.name}: failed. {last.message}")


def _conclude(session: _Session, counted: Sequence[ManifestScan]) -> int:
    """Write and show the tables; 0 where all that counts is done."""
    written = session.write(at_last=True)
    assert written is not None
    lines, statistics = written
    _show(statistics)
    say(f"Report: {session.cohort.out / 'index.html'}")
    names = {row.name for row in counted}
    states = {line.scan.name: line.record for line in lines if line.scan.name in names}
    failed = [name for name, record in states.items() if record.state == "failed"]
    open_ = [name for name, record in states.items() if record.state not in ("failed", "done")]
    if failed:
        what = "; ".join(f"{name}: {states[name].message.removesuffix('.')}" for name in failed[:5]) + "."
        more = f" (and {len(failed) - 5} more)" if len(failed) > 5 else ""
        warn(f"{len(failed)} of {len(states)} scans failed{more}. {what}")
    elif open_:
        warn(f"{len(open_)} of {len(states)} scans are not done yet.")
    return 1 if failed or open_ else 0


def _show(statistics: Sequence[Statistic]) -> None:
    if not statistics:
        return
    table = plain_table()
    for number, head in enumerate(("", "scans", "mean ± sd", "median", "worst", "of")):
        table.add_column(head, justify="right" if 0 < number < 5 else "left", no_wrap=0 < number < 5)
    for one in statistics:
        if one.metric.count(".") > 1 or one.metric.startswith("initial"):
            continue  # methods beside it are in the tables
        spread = "" if one.deviation is None else f" ± {number_text(one.metric, one.deviation)}"
        texts = [number_text(one.metric, value) for value in (one.mean, one.median, one.worst)]
        table.add_row(one.metric, str(one.count), texts[0] + spread, texts[1], texts[2], one.worst_scan)
    show(table)


def _worded(value: Any) -> str:
    if value is None:
        return "nothing"
    return ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, Mapping) else str(value)
