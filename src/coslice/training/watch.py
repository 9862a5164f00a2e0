"""What a run shows of itself: numbers, pictures, and the error on scans it does not learn from.

The training loss mixes all noise levels, weighted for the optimiser. What a reconstruction feels is the error of the
denoiser itself, so validation measures, on held-out slices x and fixed noise n, for a handful of sigmas,

    RMSE(sigma) = sqrt(mean (clip(D(x + sigma n, sigma)) - x)^2)

in units of the window (times its width: in HU). The log is a line of JSON per record. A resumed run first drops the
lines that were written after its checkpoint, so a log reads as if nothing had happened.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from coslice.errors import CosliceError
from coslice.io.files import atomic
from coslice.noise import Independent, Key, standard_normal
from coslice.renoising import Share
from coslice.sample import sample, start
from coslice.schedule import karras
from coslice.training.loop import BANDS, Turn
from coslice.training.optimisers import Each

__all__ = [
    "SIGMAS",
    "Examples",
    "Journal",
    "Listener",
    "Meter",
    "overall",
    "picture",
    "save_picture",
    "told",
    "validate",
]

SIGMAS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Noise levels at which priors are validated."""


@dataclass(frozen=True)
class Examples:
    """What a denoiser is shown.

    Attributes:
        images: (n, slices, h, w), in the unit window.
        distances: (n,), mm between the slices of an image.
    """

    images: Tensor
    distances: Tensor


class Listener:
    """Who is told how a run goes; this one keeps it to itself."""

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


def told(record: dict[str, Any]) -> str:
    """A record as a line for people."""
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
    return f"{record['images']:,} images: validation error {mean:.5f} ({where}: {tables})"


class Meter:
    """Sums of what steps told, since the last record; tensors stay where they are until somebody asks."""

    def __init__(self, stored: dict[str, Any] | None = None):
        stored = stored or {}
        zeros = torch.zeros(len(BANDS) + 1, dtype=torch.float64)
        self.images: int = stored.get("images", 0)
        self.losses: Tensor = stored.get("losses", zeros)
        self.counts: Tensor = stored.get("counts", zeros)
        self.norms: list[float] = list(stored.get("norms", []))
        self._waiting: list[Turn] = []

    def add(self, turn: Turn) -> None:
        self.images += turn.images
        self._waiting.append(turn)

    def state(self) -> dict[str, Any]:
        """As the next `Meter` takes it.

        Raises:
            CosliceError: a loss or gradient is no number any more.
        """
        for turn in self._waiting:
            self.losses = self.losses + turn.losses.cpu().double()
            self.counts = self.counts + turn.counts.cpu().double()
            self.norms.append(float(turn.norm))
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
        with suppress(ImportError):
            from torch.utils.tensorboard.writer import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=images)

    @property
    def has_board(self) -> bool:
        """Whether TensorBoard is fed."""
        return self._board is not None

    def write(self, record: dict[str, Any]) -> None:
        """Append a record; numbers in it, also in groups, become TensorBoard's curves."""
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        if self._board:
            for name, value in _numbers(record):
                self._board.add_scalar(name, value, record["images"])

    def show(self, name: str, grey: np.ndarray, images: int) -> None:
        """Give TensorBoard a picture (h, w), uint8."""
        if self._board:
            self._board.add_image(name, grey, images, dataformats="HW")

    def close(self) -> None:
        if self._board:
            self._board.close()

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


def validate(
    denoiser: nn.Module,
    examples: Examples,
    sigmas: Iterable[float] = SIGMAS,
    each: Each = map,
    dtype: torch.dtype | None = None,
) -> dict[float, float]:
    """RMSE(sigma) of D over `examples`, in units of the window.

    Args:
        denoiser: D, on any device.
        examples: on the CPU.
        sigmas: noise levels.
        each: a `map` that may share the images among threads.
        dtype: of autocast; None computes as the weights are.
    """
    device, images = next(denoiser.parameters()).device, examples.images

    def squares(numbers: Sequence[int]) -> Tensor:
        some = images[numbers[0] : numbers[-1] + 1].to(device)
        distances = examples.distances[numbers[0] : numbers[-1] + 1].to(device)
        noise = torch.stack([standard_normal(Key(0, 0, "validate"), i, tuple(some.shape[1:])) for i in numbers])
        errors = [
            _denoised(denoiser, some + sigma * noise.to(device), distances, sigma, dtype).clamp(0, 1) - some
            for sigma in sigmas
        ]
        return torch.stack([error.square().mean(dim=(1, 2, 3)).sum() for error in errors]).cpu().double()

    sigmas = tuple(sigmas)
    size = 1 if device.type == "cpu" else 16
    groups = [range(i, min(i + size, len(images))) for i in range(0, len(images), size)]
    means = torch.stack(list(each(squares, groups))).sum(dim=0) / len(images)
    return dict(zip(sigmas, means.sqrt().tolist(), strict=True))


def overall(table: Mapping[str, Mapping[Any, float]]) -> float:
    """One number for a table {size: {sigma: RMSE}}: the geometric mean, to which every noise level counts alike."""
    logs = [math.log(max(rmse, 1e-12)) for row in table.values() for rmse in row.values()]
    return math.exp(sum(logs) / len(logs))


def picture(
    denoiser: nn.Module,
    examples: Examples,
    mean: float,
    highest: float,
    each: Each = map,
    dtype: torch.dtype | None = None,
    upwards: bool = False,
) -> np.ndarray:
    """What a denoiser does, as a picture (h, w), uint8; with `upwards` each image's first row is its lowest.

    A row for each example: as it is, then with noise and denoised, at sigma 0.1, 0.5 and 2; of patches, their middle
    slices. The last row are samples from pure noise at `highest`, by 20 deterministic steps of the one loop, always
    from the same noise, with the first example's distance.
    """
    device = next(denoiser.parameters()).device
    truth, distances = examples.images.to(device), examples.distances.to(device)
    slices, size = truth.shape[1], 1 if device.type == "cpu" else 16

    def denoised(images: Tensor, sigma: float, apart: Tensor) -> Tensor:
        parts = zip(images.split(size), apart.split(size), strict=True)
        return torch.cat(list(each(lambda part: _denoised(denoiser, part[0], part[1], sigma, dtype), parts)))

    def step_of(x: Tensor, sigma: float) -> Tensor:
        return denoised(x.unflatten(0, (-1, slices)), sigma, distances[:1].expand(7)).flatten(0, 1)

    columns = [truth]
    for number, sigma in enumerate((0.1, 0.5, 2.0)):
        noisy = Independent().add_(truth.flatten(0, 1).clone(), sigma, Key(0, number, "picture")).view(truth.shape)
        columns += [noisy, denoised(noisy, sigma, distances)]
    x = start(torch.full((7 * slices, *truth.shape[2:]), mean, device=device), highest, Independent(), seed=0)
    for step in sample(x, karras(20, highest, 0.005), step_of, lambda d, _: d, Independent(), 0, Share(0.0)):
        x = step.x
    middle = slices // 2
    rows = [*torch.cat([column[:, middle : middle + 1] for column in columns], dim=1), x[middle::slices]]
    if upwards:
        rows = [row.flip(-2) for row in rows]
    grey = torch.cat([torch.cat(list(row), dim=1) for row in rows]).clamp(0, 1)
    return (grey * 255).round().byte().cpu().numpy()


@torch.no_grad()  # inside what threads run: the switch is per thread
def _denoised(
    denoiser: nn.Module, images: Tensor, distances: Tensor, sigma: float, dtype: torch.dtype | None
) -> Tensor:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
        return denoiser(images, torch.full((len(images),), sigma, device=images.device), distances)


def save_picture(path: Path, grey: np.ndarray) -> None:
    """Write a picture (h, w), uint8, as PNG."""
    path.parent.mkdir(exist_ok=True)
    with atomic(path) as part:
        Image.fromarray(grey).save(part)


def _numbers(record: dict[str, Any], path: str = "") -> Iterable[tuple[str, float]]:
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{path}{key}/")
        elif isinstance(value, int | float) and key != "images":
            yield f"{path}{key}", float(value)
