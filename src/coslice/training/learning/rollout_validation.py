"""How well a denoiser finds the truth behind what a sampler shows it, on scans it does not learn from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coslice.training.learning.optimisers import Mapper
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
    device = next(denoiser.parameters()).device

    @torch.no_grad()  # inside what threads run: the switch is per thread
    def denoised(i: int) -> Tensor:
        one = slice(i, i + 1)
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            given = denoiser(
                example.seen[one].to(device), example.sigma[one].to(device), example.distances[one].to(device)
            )
        return given.clamp(0, 1).float().cpu()

    images = torch.cat(list(mapper(denoised, range(len(example.truth)))))
    return [round(_rms(error), 6) for error in (example.error, images - example.truth)]


def _rms(error: Tensor) -> float:
    return float(error.double().square().mean().sqrt())
