"""What a run on pairs measures and shows: what its denoiser makes of analytic reconstructions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from coslice.training.learning.optimisers import Mapper
from coslice.training.learning.validation import ErrorTable, cleaned, rms
from coslice.training.supply.pair_stream import PairExample

__all__ = ["analytic_errors", "pair_errors", "pair_picture"]


def pair_errors(
    denoiser: nn.Module, examples: dict[str, dict[str, PairExample]], mapper: Mapper, dtype: torch.dtype
) -> ErrorTable:
    """By size and task, the root mean square error of D(b, s), in units of the window.

    Args:
        denoiser: D, on any device.
        examples: by size and task, on the CPU.
        mapper: a `map` that may share the images among threads.
        dtype: of autocast.
    """
    return {
        size: {task: rms(_corrected(denoiser, x, mapper, dtype) - x.truth) for task, x in row.items()}
        for size, row in examples.items()
    }


def analytic_errors(examples: dict[str, dict[str, PairExample]]) -> ErrorTable:
    """The same of b, to six decimals."""
    return {
        size: {task: round(rms(example.analytic - example.truth), 6) for task, example in row.items()}
        for size, row in examples.items()
    }


def pair_picture(
    denoiser: nn.Module, examples: dict[str, PairExample], mapper: Mapper, dtype: torch.dtype
) -> np.ndarray:
    """A picture (h, w), uint8: for each task a row of x, b, D(b, s), of each example; first rows are at the back."""
    rows = []
    for example in examples.values():
        triples = torch.stack((example.truth, example.analytic, _corrected(denoiser, example, mapper, dtype)), dim=1)
        rows.append(torch.cat(list(triples.flatten(0, 1)[:, 0].flip(-2)), dim=1))
    return (torch.cat(rows).clamp(0, 1) * 255).round().byte().numpy()


def _corrected(denoiser: nn.Module, example: PairExample, mapper: Mapper, dtype: torch.dtype) -> Tensor:
    """clip(D(b, s)), (n, 1, h, w) on the CPU."""
    levels = torch.full((len(example.analytic),), example.level)
    return cleaned(denoiser, example.analytic, levels, mapper, dtype)
