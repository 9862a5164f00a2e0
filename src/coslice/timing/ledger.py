"""The ledger: lines of seconds, what machine they are of, and their form as JSON and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from coslice.errors import CosliceError
from coslice.io.files import write_json, write_text
from coslice.timing.peaks import Peaks
from coslice.timing.stopwatch import Seconds

__all__ = ["HEADS", "Ledger", "Line", "Whole", "kept"]


@dataclass(frozen=True)
class Line:
    """A part of a run.

    Attributes:
        group: what it belongs to: "prior", "projector", "noise", "metrics", "files", "start", "whole run".
        part: its name.
        unit: what its seconds are for: a volume, a slice, an iteration, ...
        seconds: measured.
        floor: the least seconds, see `coslice.timing.peaks`; None where no such number says anything.
    """

    group: str
    part: str
    unit: str
    seconds: Seconds
    floor: float | None = None

    @property
    def ratio(self) -> float | None:
        """How often the floor fits into what was measured."""
        return self.seconds.median / self.floor if self.floor else None

    @property
    def cells(self) -> tuple[str, ...]:
        """As a row of a table: part, per what, seconds, spread, floor, ratio."""
        floor = "" if self.floor is None else _seconds(self.floor)
        ratio = "" if self.ratio is None else f"{self.ratio:.1f}" if self.ratio < 99.5 else f"{self.ratio:.0f}"
        return self.part, self.unit, _seconds(self.seconds.median), f"{100 * self.seconds.spread:.0f} %", floor, ratio


HEADS = ("part", "per", "seconds", "±", "floor", "ratio")
"""Of the cells of a line."""


@dataclass(frozen=True)
class Whole:
    """Whole processes that did the same.

    Attributes:
        command: what each was.
        lines: the whole, and where it went.
        peak_memory_mb: the most that any of them held.
        numbers: PSNR of the planes, in words; "" without a truth.
    """

    command: str
    lines: Sequence[Line]
    peak_memory_mb: float
    numbers: str = ""

    @property
    def words(self) -> str:
        """Runs, memory and numbers in a sentence."""
        told = f", {self.numbers} in axial, coronal and sagittal planes" if self.numbers else ""
        return f"Medians of {self.lines[0].seconds.count}; at most {self.peak_memory_mb:.0f} MB{told}."


@dataclass(frozen=True)
class Ledger:
    """What was measured, and on what.

    Attributes:
        command: that measured it.
        machine: in words.
        size: slices, and pixels of a side, of the volume.
        peaks: of the machine; None where only whole runs were measured.
        lines: parts.
        whole: whole runs.
        remark: what else a reader must know, a sentence or "".
        date: when, UTC.
    """

    command: str
    machine: str
    size: tuple[int, int]
    peaks: Peaks | None
    lines: Sequence[Line]
    whole: Sequence[Whole] = ()
    remark: str = ""
    date: str = field(default_factory=lambda: datetime.now(timezone.utc).strftime("%Y-%m-%d"))

    @property
    def record(self) -> dict[str, Any]:
        """For JSON; seconds unrounded."""
        return {
            "command": self.command,
            "date": self.date,
            "machine": self.machine,
            "remark": self.remark,
            "size": list(self.size),
            "versions": {name: version(name) for name in ("coslice", "torch", "numba")},
            "peaks": None if self.peaks is None else _peaks_record(self.peaks),
            "parts": [_line_record(line) for line in self.lines],
            "whole": [_whole_record(one) for one in self.whole],
        }

    @property
    def peak_words(self) -> str:
        """The machine's rates in a sentence; "" where none were measured."""
        if self.peaks is None:
            return ""
        rates = [f"{rate / 1e9:.0f} GFLOP/s in {name}" for name, rate in self.peaks.convolutions.items()]
        return (
            f"3 x 3 convolutions reach {', '.join(rates)}; matrix products {self.peaks.arithmetic / 1e9:.0f} GFLOP/s "
            f"in float32; memory {self.peaks.memory / 1e9:.1f} GB/s."
        )

    @property
    def page(self) -> str:
        """In Markdown."""
        count, side = self.size
        said = f"`{self.command}`, {self.date}, coslice {version('coslice')}, torch {version('torch')}."
        of = [f"Machine: {self.machine}.", self.peak_words, self.remark]
        text = ["# Speed", "", said, " ".join(sentence for sentence in of if sentence), ""]
        for one in self.whole:
            text += [f"## {one.command}", "", one.words, "", *_table(one.lines), ""]
        if self.lines:
            text += [f"## Parts, {count} slices of {side} x {side} pixels", "", *_table(self.lines), ""]
        return "\n".join(text)


def kept(ledger: Ledger, path: Path) -> None:
    """Write a ledger to a file that ends in .json or .md.

    Raises:
        CosliceError: another ending, or a place that cannot be written to.
    """
    if path.suffix == ".json":
        write_json(path, ledger.record)
    elif path.suffix == ".md":
        write_text(path, ledger.page)
    else:
        raise CosliceError(f"--out {path} was given, but a name that ends in .json or .md is needed.")


def _seconds(value: float) -> str:
    return f"{1e3 * value:.3g} ms" if value < 1 else f"{value:.3g} s"


def _table(lines: Sequence[Line]) -> list[str]:
    rows = [f"| {' | '.join(HEADS)} |", "|---|---|" + "---:|" * 4]
    group = ""
    for line in lines:
        if line.group != group:
            group = line.group
            rows.append(f"| **{group}** |" + " |" * 5)
        rows.append(f"| {' | '.join(line.cells)} |")
    return rows


def _line_record(line: Line) -> dict[str, Any]:
    taken = line.seconds
    return {
        "group": line.group,
        "part": line.part,
        "per": line.unit,
        "seconds": taken.median,
        "low": taken.low,
        "high": taken.high,
        "count": taken.count,
        "floor": line.floor,
        "ratio": line.ratio,
    }


def _whole_record(whole: Whole) -> dict[str, Any]:
    return {
        "command": whole.command,
        "peak_memory_mb": whole.peak_memory_mb,
        "numbers": whole.numbers,
        "phases": [_line_record(line) for line in whole.lines],
    }


def _peaks_record(peaks: Peaks) -> dict[str, Any]:
    return {"convolutions": dict(peaks.convolutions), "arithmetic": peaks.arithmetic, "memory": peaks.memory}
