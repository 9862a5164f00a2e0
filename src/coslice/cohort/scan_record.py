"""What is known of one scan of a cohort, in cohort/NAME.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from coslice.cohort.fingerprints import Fingerprint
from coslice.errors import CosliceError
from coslice.tree import built, plain

__all__ = ["ScanRecord", "State"]

State = Literal["waiting", "running", "stopped", "failed", "done"]


@dataclass(frozen=True)
class ScanRecord:
    """Where a scan stands.

    Attributes:
        state: "waiting" is of a scan that nothing was done with.
        recipe: digest of the options it is reconstructed with; "" where that is not known.
        options: the same in words, files by their last part.
        scan: the file that was reconstructed; None where nothing was read.
        starts: how often it was begun.
        seconds: of the last time.
        message: why it failed, in a sentence.
        worker: who is at it, "MACHINE:PROCESS".
    """

    state: State = "waiting"
    recipe: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    scan: Fingerprint | None = None
    starts: int = 0
    seconds: float | None = None
    message: str = ""
    worker: str = ""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> ScanRecord | None:
        """The record of a tree of values; None of one that is none."""
        try:
            return built(cls, values, who="cohort")
        except CosliceError:
            return None

    @property
    def tree(self) -> dict[str, Any]:
        """As JSON has it."""
        return plain(self)
