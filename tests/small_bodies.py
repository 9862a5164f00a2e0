"""A body that a scan is made of."""

import numpy as np


def ball(shape=(16, 32, 32), spacing=(2.0, 4.0, 4.0), radius=50.0):
    """A ball of water in air, HU, (z, y, x), with a denser core off its centre."""
    axes = [(np.arange(n) - (n - 1) / 2) * d for n, d in zip(shape, spacing, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    hu = np.where(z**2 + y**2 + x**2 < radius**2, 0.0, -1000.0)
    return np.where(z**2 + (y - 15) ** 2 + (x + 10) ** 2 < 12**2, 400.0, hu).astype(np.float32)
