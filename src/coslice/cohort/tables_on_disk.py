"""The tables of a cohort: cohort.csv, cohort-summary.csv and cohort.json."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coslice.cohort.manifest import ManifestScan
from coslice.cohort.scan_record import ScanRecord
from coslice.cohort.statistics import Statistic
from coslice.escapes import csv_cell
from coslice.io.files import write_json, write_text

__all__ = ["CohortLine", "write_tables"]


@dataclass(frozen=True)
class CohortLine:
    """A scan in the tables.

    Attributes:
        scan: its row of the manifest.
        record: where it stands.
        numbers: its metrics by name; empty where there are none.
    """

    scan: ManifestScan
    record: ScanRecord
    numbers: Mapping[str, float]


def write_tables(
    out: Path, lines: Sequence[CohortLine], statistics: Sequence[Statistic], recipe: Mapping[str, Any]
) -> None:
    """Write all three into `out`, each whole or not at all.

    Args:
        out: a folder that exists.
        lines: of all scans, in the order of the manifest.
        statistics: of those that are done.
        recipe: what the scans have in common, for the JSON.
    """
    notes = list(dict.fromkeys(note for line in lines for note in line.scan.notes))
    metrics = list(dict.fromkeys(metric for line in lines for metric in line.numbers))
    head = ["name", "scan", *(f"#{note}" for note in notes), "status", "starts", "seconds", "message", *metrics]
    rows: list[list[Any]] = []
    for line in lines:
        scan, record = line.scan, line.record
        seconds = "" if record.seconds is None else round(record.seconds, 1)
        rows.append(
            [
                *(scan.name, scan.said, *(scan.notes.get(note, "") for note in notes)),
                *(record.state, record.starts, seconds, record.message),
                *(line.numbers.get(metric, "") for metric in metrics),
            ]
        )
    write_text(out / "cohort.csv", _csv([head, *rows]))
    columns = list(Statistic.__dataclass_fields__)
    of_all = [
        [one.record[column] if one.record[column] is not None else "" for column in columns] for one in statistics
    ]
    write_text(out / "cohort-summary.csv", _csv([columns, *of_all]))
    states = [line.record.state for line in lines]
    write_json(
        out / "cohort.json",
        {
            "recipe": recipe,
            "counts": {state: states.count(state) for state in dict.fromkeys(states)},
            "summary": [one.record for one in statistics],
            "scans": [
                {
                    "name": line.scan.name,
                    "scan": line.scan.said,
                    "notes": line.scan.notes,
                    "options": line.scan.options,
                    "status": line.record.state,
                    "starts": line.record.starts,
                    "seconds": line.record.seconds,
                    "message": line.record.message,
                    "metrics": line.numbers,
                }
                for line in lines
            ],
        },
    )


def _csv(rows: Iterable[Iterable[Any]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([csv_cell(cell) for cell in row] for row in rows)
    return out.getvalue()
