"""A measured object: three ellipses off the axis, and its noisy projections by any scanner."""

import numpy as np
import pytest
import torch

from coslice.geometry import Grid
from coslice.operators import Projector


@pytest.fixture(scope="session")
def attenuation():
    """Attenuation in 1/mm, (4, 48, 48) voxels of 1 mm, like nothing mirrored or turned."""
    y, x = np.mgrid[:48, :48] - 23.5
    plane = np.zeros((48, 48), np.float32)
    plane[((x - 3) / 15) ** 2 + ((y + 2) / 11) ** 2 < 1] = 0.04
    plane[(x - 9) ** 2 + (y + 4) ** 2 < 8] = 0.1
    plane[(x + 3) ** 2 + (y - 2) ** 2 < 14] = 0.005
    return torch.from_numpy(plane).expand(4, 48, 48).contiguous()


@pytest.fixture(scope="session")
def projected(attenuation):
    """projected(geometry, noise=0) -> its line integrals, (views, rows, columns) float32."""

    def measure(geometry, noise=0.0):
        lines = Projector(geometry, Grid((4, 48, 48))).forward(attenuation).numpy()
        return (lines + noise * np.random.default_rng(0).normal(size=lines.shape)).astype(np.float32)

    return measure
