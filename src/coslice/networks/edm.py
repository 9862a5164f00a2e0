"""EDM preconditioning: a network F becomes a denoiser D.

    D(x, sigma) = m + c_skip (x - m) + c_out F(c_in (x - m), ln(sigma) / 4)

    c_skip = s^2 / (sigma^2 + s^2)          c_out = sigma s / sqrt(sigma^2 + s^2)
    c_in   = 1 / sqrt(sigma^2 + s^2)

with m and s the mean and standard deviation of the data, so that F sees and predicts images of unit
variance at every sigma (Karras et al., NeurIPS 2022, table 1; the mean is ours, since air is 0 here).

A network of patches of slices is also given ln(d)/2, with d the mm between neighbouring slices of a patch: what
DiffusionBlend (Song et al., NeurIPS 2024, section 3) encodes as 1 or k slices, in a unit that all scans share.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from coslice.errors import CosliceError

__all__ = ["EDMDenoiser"]


@dataclass(frozen=True)
class _Coefficients:
    skip: Tensor
    out: Tensor
    inner: Tensor


class EDMDenoiser(nn.Module):
    """D(x, sigma) = E[x0 | x0 + sigma n = x] from a network of unit-variance images.

    Args:
        network: F(image, label) -> image; image (b, c, h, w), label (b,). With `positions` in its config,
            F(image, label, position), position (b,).
        data_mean, data_std: mean and standard deviation of the training images, in the unit window.
    """

    def __init__(self, network: nn.Module, data_mean: float, data_std: float):
        super().__init__()
        self.network = network
        self.data_mean, self.data_std = data_mean, data_std

    def forward(self, x: Tensor, sigma: Tensor, distance: Tensor | None = None) -> Tensor:
        """Denoise x (b, c, h, w), each image at its own sigma (b,).

        `distance` (b,), mm between neighbouring slices of a patch, is for networks with positions; others ignore it.

        Raises:
            CosliceError: no distance for a network with positions.
        """
        c = self._coefficients(sigma.to(torch.float32)[:, None, None, None])
        centred = x - self.data_mean
        labels = [sigma.to(torch.float32).log() / 4]
        if self.positions:
            if distance is None:
                raise CosliceError(
                    "EDMDenoiser: no distance was given, but a network of patches needs the mm between their slices; "
                    "give one for each image."
                )
            labels.append(distance.to(torch.float32).log() / 2)
        output = self.network((c.inner * centred).to(self.dtype), *labels)
        return self.data_mean + c.skip * centred + c.out * output.to(x.dtype)

    def loss(self, images: Tensor, sigma: Tensor, noise: Tensor, distance: Tensor | None = None) -> Tensor:
        """Per-image denoising loss in units of F's target variance: |D(x0 + sigma n) - x0|^2 / c_out^2."""
        c = self._coefficients(sigma[:, None, None, None])
        error = self(images + sigma[:, None, None, None] * noise, sigma, distance) - images
        return (error / c.out).square().mean(dim=(1, 2, 3))

    def _coefficients(self, sigma: Tensor) -> _Coefficients:
        total = (sigma**2 + self.data_std**2).sqrt()
        return _Coefficients(self.data_std**2 / total**2, sigma * self.data_std / total, 1 / total)

    @property
    def positions(self) -> bool:
        """Whether the network is also given how far apart slices are."""
        return getattr(getattr(self.network, "config", None), "positions", False)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.network.parameters()).dtype
