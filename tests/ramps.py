"""A volume to draw, and how it is shown."""

from __future__ import annotations

from typing import Any

import torch

SPACING = (2.0, 1.0, 1.0)
HU: dict[str, Any] = {"window": (-1000.0, 1600.0), "display": (-480.0, 820.0)}
SHAPE = (8, 12, 16)


def ramp(seed: int = 0) -> torch.Tensor:
    return torch.linspace(0, 1, 8 * 12 * 16).reshape(SHAPE).roll(seed, 2)
