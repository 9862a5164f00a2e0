"""Averages as they were along a run, kept in its folder, so that a width can be chosen afterwards (`profiles`).

    RUN/averages/000037500-0.05.safetensors       the average of width 0.05 after 37,500 images

A run keeps so many of each width, evenly spaced: where one too many would be there, as in a run that was made longer,
the one goes whose neighbours are closest. They are float16, packed without loss (`coslice.io.packing`): 11 bits of a
weight where a prior's file has 8, so a sum of several is still finer than what is made of it. A weight that no float16
is stays in float32. How the averages stand at the run's end, in float32, is in its checkpoint.

Nothing that a run computes depends on them. A run that was killed writes those after its checkpoint again, the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.io.files import atomic, remove_dead_temporaries
from coslice.io.packing import check_header, read_weights, write_weights
from coslice.training.learning.average import Average

__all__ = ["Snapshot", "forget_later", "keep_snapshots", "stored_snapshots"]

FOLDER = "averages"
_NAME = re.compile(r"(\d{9,})-(0\.\d+)\.safetensors")


@dataclass(frozen=True)
class Snapshot:
    """An average that was kept.

    Attributes:
        images: after which it was.
        name: of the average.
        path: of the file.
    """

    images: int
    name: str
    path: Path

    def weights(self, like: dict[str, Tensor]) -> dict[str, Tensor]:
        """Its tensors, float32 on the CPU, which must have names and shapes as `like`.

        Raises:
            CosliceError: the file is damaged, or of another network.
        """
        again = "delete it, and averages are made of the others."
        try:
            check_header(self.path)
            found = read_weights(self.path)
        except (CosliceError, safetensors.SafetensorError, OSError) as error:
            raise CosliceError(f"{self.path} is damaged or cannot be read; {again}") from error
        if {name: value.shape for name, value in found.items()} != {name: value.shape for name, value in like.items()}:
            raise CosliceError(f"{self.path} is of another network than the run beside it; {again}")
        return {name: value.float() for name, value in found.items()}


def stored_snapshots(out: Path) -> list[Snapshot]:
    """The averages that the run in `out` has kept, in order of their images."""
    found = [(path, _NAME.fullmatch(path.name)) for path in (out / FOLDER).glob("*.safetensors")]
    return sorted((Snapshot(int(m[1]), m[2], path) for path, m in found if m), key=lambda s: (s.images, s.name))


def keep_snapshots(out: Path, averages: Sequence[Average], images: int, most: int) -> None:
    """Keep those of `averages` that have a width as they are after `images` images, and of each width at most `most`.

    Raises:
        CosliceError: the disk refuses.
    """
    tracked = [average for average in averages if average.width is not None]
    if not tracked or not most:
        return
    (out / FOLDER).mkdir(exist_ok=True)
    for average in tracked:
        with atomic(out / FOLDER / f"{images:09d}-{average.name}.safetensors") as part:
            write_weights(part, {name: _short(value) for name, value in average.weights.items()}, {}, packed=True)
    for average in tracked:
        kept = [one for one in stored_snapshots(out) if one.name == average.name]
        while len(kept) > most:
            places = [0, *(one.images for one in kept)]
            # The last stays: it is the one that was asked for now.
            gaps = [after - before for before, after in zip(places, places[2:], strict=False)]
            kept.pop(gaps.index(min(gaps)) if gaps else 0).path.unlink()


def forget_later(out: Path, images: int) -> None:
    """Remove what was kept after `images` images: a run that goes on from there writes it again."""
    if (out / FOLDER).is_dir():
        remove_dead_temporaries(out / FOLDER)
    for one in stored_snapshots(out):
        if one.images > images:
            with suppress(OSError):
                one.path.unlink()


def _short(value: Tensor) -> Tensor:
    half = value.detach().to("cpu", torch.float16)
    return half.contiguous() if bool(half.isfinite().all()) else value.detach().float().cpu().contiguous()
