"""How well a denoiser finds the truth behind what a sampler shows it, on scans it does not learn from."""

from __future__ import annotations

import torch
from torch import nn

from coslice.training.learning.optimisers import Mapper
from coslice.training.learning.validation import cleaned, rms
from coslice.training.supply.rollout_stream import RolloutExample

__all__ = ["rollout_errors"]


def rollout_errors(
    denoiser: nn.Module, tables: dict[str, dict[str, RolloutExample]], mapper: Mapper, dtype: torch.dtype
) -> dict[str, dict[str, list[float]]]:
    """By size and task, the root mean square of e_k and of D(x + e_k + sigma n, sigma) - x, in units of the window.

    Args:
        denoiser: D, on any device.
        tables: by size and task, on the CPU.
        mapper: a `map` that may share the images among threads.
        dtype: of autocast.
    """
    return {
        size: {task: _errors(denoiser, example, mapper, dtype) for task, example in table.items()}
        for size, table in tables.items()
    }


def _errors(denoiser: nn.Module, example: RolloutExample, mapper: Mapper, dtype: torch.dtype) -> list[float]:
    images = cleaned(denoiser, example.seen, example.sigma, mapper, dtype, example.distances)
    return [round(rms(error), 6) for error in (example.error, images - example.truth)]
