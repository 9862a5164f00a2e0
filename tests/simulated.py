"""Problems of known volumes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from coslice.geometry import Grid
from coslice.problems import SliceSuperResolution, Task, ThickSliceProblem
from coslice.window import CT_WINDOW, Window


def uniform(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """A reproducible float32 tensor, uniform from 0 to 1."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def measured(
    task: Task, truth: Tensor, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0), window: Window = CT_WINDOW
) -> Any:
    """What `task` makes of `truth` (z, y, x), in the unit window, with voxels of `spacing` mm."""
    z, y, x = truth.shape
    return task.problem(truth, Grid((z, y, x), spacing), window)


def thick_slices(truth: Tensor, factor: int, fwhm: float | None = None) -> ThickSliceProblem:
    """Its thick slices, with voxels of 1 mm, so that the width of the profile is in thin slices too."""
    return measured(SliceSuperResolution(factor, fwhm), truth)
