"""What was found and not used: every file with its reason, and a table that says it once.

A file is of a kind ("masks (two values)") and has a sentence of its own. Kinds are counted; sentences go into the
record of a run. Names in both are legible: what is no printable character, or no UTF-8, is replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coslice.errors import CosliceError

__all__ = ["PASSED_OVER", "SkippedScan", "Unusable", "legible", "skipped_of", "skipped_record", "skipped_table"]

HIDDEN = "hidden files"
NO_SLICES = "DICOM objects without slices of a scan (localisers, reports, segmentations), or second copies"
PASSED_OVER = (HIDDEN, NO_SLICES)
"""Kinds that are no scans, so that they are counted, but never refused."""

_WORDS = (
    ("NaN", "NaN or infinite voxels"),
    ("colour", "colour voxels"),
    ("complex", "complex voxels"),
    ("one 3D scan is needed", "not one 3D volume"),
    ("damaged", "damaged or cut short"),
    ("may not be read", "no permission to read"),
    ("not a NIfTI file", "no NIfTI file, whatever the name says"),
    ("voxel size", "voxel sizes that cannot be"),
    ("affine", "an affine that cannot be"),
    ("one slice", "one slice"),
    ("compressed", "DICOM that no installed decoder reads"),
)
"""Of readers' sentences, so that those of one kind are counted together."""


@dataclass(frozen=True)
class SkippedScan:
    """A file (or folder of a series) that is not used.

    Attributes:
        path: where it is.
        reason: one sentence with the path in it.
        kind: what it has in common with others, in a few words.
    """

    path: Path
    reason: str
    kind: str = "not readable"


class Unusable(CosliceError):
    """A scan that cannot be used, with the kind of reason as `SkippedScan` has it."""

    def __init__(self, sentence: str, kind: str):
        super().__init__(sentence)
        self.kind = kind


def legible(text: object) -> str:
    """`text` without control characters, and without bytes of file names that are no UTF-8."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text))


def skipped_of(path: Path, error: CosliceError) -> SkippedScan:
    """The file at `path`, which `error` keeps from being used."""
    sentence = legible(error)
    if isinstance(error, Unusable):
        return SkippedScan(path, sentence, error.kind)
    said = sentence.replace(legible(path), "")
    kind = next((kind for word, kind in _WORDS if word in said), None)
    return SkippedScan(path, sentence, kind or "not one readable volume")


def skipped_table(skipped: Sequence[SkippedScan]) -> str:
    """Kinds, how many there are of each, and the names of up to three; empty if nothing was skipped."""
    groups = _groups(skipped)
    if not groups:
        return ""
    width = max(len(kind) for kind in groups)
    lines = [f"Skipped {len(skipped)} {'file' if len(skipped) == 1 else 'files or series'}:"]
    for kind, some in groups.items():
        names = ", ".join(legible(one.path.name) for one in some[:3]) + (", ..." if len(some) > 3 else "")
        lines.append(f"  {len(some):5}  {kind:{width}}  {names}")
    return "\n".join(lines)


def skipped_record(skipped: Sequence[SkippedScan]) -> list[dict[str, Any]]:
    """The same for JSON, with the sentences of up to a hundred of each kind."""
    return [
        {"kind": kind, "count": len(some), "reasons": [one.reason for one in some[:100]]}
        for kind, some in _groups(skipped).items()
    ]


def _groups(skipped: Sequence[SkippedScan]) -> dict[str, list[SkippedScan]]:
    """By kind, the largest first."""
    groups: dict[str, list[SkippedScan]] = {}
    for one in skipped:
        groups.setdefault(one.kind, []).append(one)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))
