"""The state of a run, on disk, such that a run can be killed at any moment.

The latest state is `checkpoint.pt`, the one before it `checkpoint.previous.pt`. Each is written whole under another
name, flushed, and renamed, so at every moment one of the two is whole; should the latest be damaged all the same (a
failing disk, a copy that broke off), the previous one takes over. Files carry checksums, which are compared before
anything is believed, and are read without unpickling: tensors, numbers, words and containers of them.
"""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from coslice.errors import CosliceError
from coslice.io.files import atomic

__all__ = ["has_checkpoint", "load_checkpoint", "save_checkpoint"]

LATEST, PREVIOUS = "checkpoint.pt", "checkpoint.previous.pt"


def has_checkpoint(folder: Path) -> bool:
    """Whether a run in `folder` has been saved, whole or not."""
    return any((folder / name).exists() for name in (LATEST, PREVIOUS))


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Make `state` the latest of the run in `folder`; the latest so far becomes the previous.

    Raises:
        CosliceError: the disk refuses.
    """
    latest = folder / LATEST
    before = has_checkpoint(folder)
    try:
        with atomic(latest) as part:
            with _Stream(part, "wb") as stream:
                try:
                    torch.save(state, stream)
                except (RuntimeError, OSError) as error:  # torch speaks of positions in its file
                    raise stream.refusal or OSError(str(error).splitlines()[0][:120]) from error
            if latest.exists():
                os.replace(latest, folder / PREVIOUS)
    except CosliceError as error:
        kept = "the run is kept as of its last checkpoint" if before else "nothing of the run is kept yet"
        raise CosliceError(
            f"{str(error).removesuffix('.')}; {kept}, and the same command goes on from there."
        ) from error


def load_checkpoint(folder: Path) -> tuple[dict[str, Any] | None, str]:
    """The latest whole state in `folder`, None in a new one; and what there is to say about it, mostly nothing.

    Raises:
        CosliceError: there are checkpoints, but none is whole.
    """
    damaged = []
    for name in (LATEST, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        try:
            state = _read(path)
        except (OSError, EOFError, ValueError, RuntimeError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile):
            damaged.append(name)
            continue
        return state, f"{damaged[0]} is damaged; going on from {name}." if damaged else ""
    if damaged:
        raise CosliceError(
            f"{folder}: {' and '.join(damaged)} cannot be read, so the run cannot go on; "
            "bring back a copy, or start a new run in another folder."
        )
    return None, ""


class _Stream(io.FileIO):
    """A file that remembers why it was refused what was to be written, whoever reports it how."""

    refusal: OSError | None = None

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while left:  # a full disk takes a part first
                left = left[super().write(left) :]
        except OSError as error:
            self.refusal = error
            raise
        return size


def _read(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        if archive.testzip() is not None:
            raise zipfile.BadZipFile(f"{path.name} fails its checksums")
    return torch.load(path, map_location="cpu", weights_only=True)
