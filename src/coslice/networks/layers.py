"""What the networks share: layers that start silent, labels as sines and cosines, and the check of an image's sides."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coslice.errors import CosliceError

__all__ = ["check_sides", "index_waves", "silent", "waves"]

_Layer = TypeVar("_Layer", bound=nn.Module)


def silent(layer: _Layer) -> _Layer:
    """`layer` itself, its parameters made 0, so that it puts out zeros until it has learned something."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def waves(phase: Tensor, sines_first: bool = False) -> Tensor:
    """Cosines, then sines of phases (b, n) in rad; or sines, then cosines: (b, 2 n)."""
    parts = (phase.sin(), phase.cos()) if sines_first else (phase.cos(), phase.sin())
    return torch.cat(parts, dim=1)


def index_waves(index: Tensor, count: int, ends: bool, sines_first: bool) -> Tensor:
    """The sinusoidal embedding of an index, with frequencies that fall geometrically from 1.

    Args:
        index: (b,), in steps, with fractions.
        count: width of the embedding; if it is odd, the last column is 0.
        ends: whether the last frequency is 1/10000 (NCSN++), or the one that would come next (guided diffusion).
        sines_first: as in `waves`.

    Returns:
        (b, count) float32.
    """
    half = count // 2
    intervals = max(half - 1, 1) if ends else half
    frequencies = torch.exp(torch.arange(half, device=index.device) * (-math.log(10000) / intervals))
    phase = index.to(torch.float32)[:, None] * frequencies
    return F.pad(waves(phase, sines_first), (0, count % 2))


def check_sides(name: str, x: Tensor, stride: int) -> None:
    """Refuse images x (b, c, h, w) whose sides are not multiples of `stride`, in the name of a network.

    Raises:
        CosliceError: a side that is 0 or no multiple.
    """
    height, width = x.shape[-2:]
    if height % stride or width % stride or not height or not width:
        raise CosliceError(
            f"{name}: images of {height} x {width} pixels were given, but sides must be multiples of {stride}; "
            "pad or crop them."
        )
