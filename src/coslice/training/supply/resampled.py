"""Slices of a pack as a reconstruction of so many pixels has them, the field of view kept."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from coslice.resampling import resize
from coslice.training.collection.catalogue import Pack, PackedScan

__all__ = ["resampled", "resampled_spacing"]


def resampled(pack: Pack, name: str, size: int, first: int = 0, count: int | None = None) -> Tensor:
    """Slices first, first + 1, ... of the scan `name`, `count` of them or all that follow.

    Returns:
        (n, size, size) float32 in the unit window.
    """
    stored = pack.slices(name)[first : None if count is None else first + count]
    return resize(torch.from_numpy(stored.astype(np.float32) / np.float32(pack.full)), (size, size))


def resampled_spacing(scan: PackedScan, size: int) -> tuple[float, float, float]:
    """mm between slices, rows and columns of what `resampled` gives."""
    apart, rows, columns = scan.spacing
    return apart, rows * scan.shape[1] / size, columns * scan.shape[2] / size
