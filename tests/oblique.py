"""An oblique scan, whose axes are those of nothing else."""

from __future__ import annotations

import numpy as np
import torch

from coslice.volume import Volume
from coslice.window import Window

WINDOW = Window(0.0, 2.0, "a.u.")


def thin(count: int = 15, spacing: tuple[float, float, float] = (1.0, 1.5, 1.5), seed: int = 0) -> Volume:
    """Its voxels, from 0.5 to 1.5."""
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)) * 0.1 + np.eye(3))
    affine = np.eye(4)
    affine[:3, :3] = turn * np.sign(np.diag(turn)) @ np.diag(spacing[::-1])
    affine[:3, 3] = (-20.0, 5.0, 100.0)
    data = torch.rand((count, 12, 10), generator=torch.Generator().manual_seed(seed)) + 0.5
    return Volume(data, affine, ("P", "S", "R"))


def at(volume: Volume, x: float, y: float, z: float) -> np.ndarray:
    """Where a place in voxels is in the patient, mm."""
    return (volume.affine @ (x, y, z, 1.0))[:3]
