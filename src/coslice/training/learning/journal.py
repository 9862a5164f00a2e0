"""What a run says of itself while it goes: to a listener, and in its log.

The log is a line of JSON per record. A resumed run first drops the lines that were written after its checkpoint, so a
log reads as if nothing had happened.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.io.files import atomic
from coslice.io.refusals import advice_on, reason_of
from coslice.training.learning.trainer import BANDS, StepReport

__all__ = ["Journal", "Listener", "Meter", "record_line"]


class Listener:
    """Hears how a run goes; this one keeps it to itself."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def packing(self, done: int, total: int, name: str) -> None:
        """Scans packed of all, and the next one's name."""

    def simulating(self, done: int, total: int, name: str) -> None:
        """Reconstructions simulated of all, and which is next."""

    def training(self, images: int, total: int, speed: float, loss: float | None) -> None:
        """Images seen of all, images per second lately, and the last record's loss."""

    def record(self, record: dict[str, Any]) -> None:
        """A line of the log."""


def record_line(record: dict[str, Any]) -> str:
    """A record of the log as a line for people."""
    if "validation" not in record:
        return (
            f"{record['images']:,} images: loss {record['loss']:.4f}, gradient {record['gradient_norm']:.3g}, "
            f"rate {record['rate']:.3g}, {record['images_per_second']:.4g} images/s"
        )
    rows = dict(record["validation"][record["best"]])
    mean = rows.pop("overall")
    tables = "; ".join(f"{size} " + " ".join(f"{rmse:.4f}" for rmse in row.values()) for size, row in rows.items())
    keys = " ".join(next(iter(rows.values())))
    where = f"of {keys}" if "tasks" in record else f"at sigma {keys}"
    rolled = "; ".join(
        f"{task} at {size} {error:.4f} -> {left:.4f}"
        for size, table in record.get("rollouts_rmse", {}).items()
        for task, (error, left) in table.items()
    )
    of_rollouts = f"; of rollouts, before and after: {rolled}" if rolled else ""
    return f"{record['images']:,} images: validation error {mean:.5f} ({where}: {tables}{of_rollouts})"


class Meter:
    """Sums of the numbers of steps since the last record; tensors stay where they are until somebody asks."""

    def __init__(self, stored: dict[str, Any] | None = None):
        stored = stored or {}
        zeros = torch.zeros(len(BANDS) + 1, dtype=torch.float64)
        self.images: int = stored.get("images", 0)
        self.losses: Tensor = stored.get("losses", zeros)
        self.counts: Tensor = stored.get("counts", zeros)
        self.norms: list[float] = list(stored.get("norms", []))
        self._waiting: list[StepReport] = []

    def add(self, report: StepReport) -> None:
        self.images += report.images
        self._waiting.append(report)

    def state(self) -> dict[str, Any]:
        """As the next `Meter` takes it.

        Raises:
            CosliceError: a loss or gradient is no number any more.
        """
        for report in self._waiting:
            self.losses = self.losses + report.losses.cpu().double()
            self.counts = self.counts + report.counts.cpu().double()
            self.norms.append(float(report.norm))
        self._waiting.clear()
        if not (math.isfinite(float(self.losses.sum())) and all(map(math.isfinite, self.norms))):
            raise CosliceError(
                "training: the loss is no number any more, so the run is stopped before this is saved; "
                "start again from its last checkpoint with a lower learning rate in a new folder, or in f32."
            )
        return {"images": self.images, "losses": self.losses, "counts": self.counts, "norms": self.norms}

    def record(self) -> dict[str, Any]:
        """Mean loss, loss per band of sigma, and mean norm of the gradient since the last record."""
        self.state()
        edges = ("0", *(f"{edge:g}" for edge in BANDS), "inf")
        bands = {
            f"{low}-{high}": round(float(loss / count), 5)
            for low, high, loss, count in zip(edges, edges[1:], self.losses, self.counts, strict=False)
            if count
        }
        mean = float(self.losses.sum() / self.counts.sum().clamp(min=1))
        norm = sum(self.norms) / max(len(self.norms), 1)
        self.__init__()
        return {"loss": round(mean, 5), "loss_per_sigma": bands, "gradient_norm": round(norm, 4)}


class Journal:
    """The log of a run: `log.jsonl`, and TensorBoard's files where it is installed.

    Args:
        folder: of the run.
        images: lines of later than this are dropped.
    """

    def __init__(self, folder: Path, images: int):
        self._path = folder / "log.jsonl"
        self._board: Any = None
        self._cut(images)
        with suppress(ImportError, OSError, ValueError):  # it is not there, or does not like the folder
            from torch.utils.tensorboard.writer import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=images)

    @property
    def has_board(self) -> bool:
        """Whether TensorBoard is installed, and written to."""
        return self._board is not None

    def write(self, record: dict[str, Any]) -> None:
        """Append a record; numbers in it, also in groups, become TensorBoard's curves.

        Raises:
            CosliceError: the disk refuses.
        """
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise CosliceError(
                f"{self._path} cannot be written: {reason_of(error, self._path.parent)}; {advice_on(error)}, and the "
                "same command goes on from the last checkpoint."
            ) from error
        for name, value in _numbers(record):
            self._tell("add_scalar", name, value, record["images"])

    def show(self, name: str, grey: np.ndarray, images: int) -> None:
        """Give TensorBoard a picture (h, w), uint8."""
        self._tell("add_image", name, grey, images, dataformats="HW")

    def close(self) -> None:
        self._tell("close")

    def _tell(self, call: str, *values: Any, **named: Any) -> None:
        """Call TensorBoard's writer; one that cannot write is told no more: the log has it all."""
        if self._board:
            try:
                getattr(self._board, call)(*values, **named)
            except Exception:  # of a thread of its own, which raises here what befell it there
                self._board = None

    def _cut(self, images: int) -> None:
        if not self._path.exists():
            return
        kept = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, KeyError, TypeError):  # a kill may have cut the last line
                if json.loads(line)["images"] <= images:
                    kept.append(line + "\n")
        with atomic(self._path) as part:
            part.write_text("".join(kept), encoding="utf-8")


def _numbers(record: dict[str, Any], path: str = "") -> Iterable[tuple[str, float]]:
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{path}{key}/")
        elif isinstance(value, int | float) and key != "images":
            yield f"{path}{key}", float(value)
