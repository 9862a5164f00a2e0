"""A 2D prior applied to a volume, slice by slice (the ISCS paper's eq. 9).

Axes have names: the prior's images are planes of the volume, rows and columns given by `plane`, stacked
`along` the axis that is left. The CT prior has plane "yx" along "z"; the published MR prior is coronal,
plane "zx" along "y".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coslice.errors import CosliceError
from coslice.threads import one_each

__all__ = ["SlicePrior"]


@dataclass(frozen=True)
class SlicePrior:
    """D(x, sigma) of a volume: every slice through one 2D denoiser.

    Attributes:
        denoiser: module (b, 1, h, w), sigma (b,) -> (b, 1, h, w), in the unit window.
        stride: sides of the denoiser's images are multiples of this; others are padded by reflection.
        sigma_range: noise levels the denoiser was trained for.
        plane: rows and columns of an image, two of "z", "y", "x".
        batch: slices at a time on an accelerator; a CPU takes one per thread.
        name: for messages.
    """

    denoiser: nn.Module
    stride: int
    sigma_range: tuple[float, float]
    plane: str = "yx"
    batch: int = 4
    name: str = "prior"

    @property
    def along(self) -> str:
        """The axis the slices are stacked along."""
        return next(axis for axis in "zyx" if axis not in self.plane)

    def check(self, shape: tuple[int, ...], *sigmas: float) -> None:
        """Refuse a volume (z, y, x) whose slices the network cannot take, and noise levels it was not trained for."""
        sides = tuple(shape["zyx".index(axis)] for axis in self.plane)
        if min(sides) < self.stride:
            raise CosliceError(
                f"prior {self.name}: slices of {sides[0]} x {sides[1]} pixels were given, but the network needs at "
                f"least {self.stride} x {self.stride}; choose a larger --size or a larger scan."
            )
        low, high = self.sigma_range
        for sigma in sigmas:
            if not low <= sigma <= high:
                raise CosliceError(
                    f"prior {self.name}: sigma {sigma:g} was asked for, but it was trained for {low:g} to {high:g}; "
                    "choose the schedule within that range."
                )

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """Denoise x (z, y, x) at `sigma`.

        Raises:
            CosliceError: slices smaller than the stride, or sigma outside what the network was trained for.
        """
        self.check(tuple(x.shape), sigma)
        order = ["zyx".index(axis) for axis in (self.along, *self.plane)]
        stack = x.permute(order)
        denoised = torch.empty(stack.shape, dtype=x.dtype, device=x.device)

        def denoise(some: Tensor, out: Tensor) -> None:
            out.copy_(self._denoise(some, sigma))

        if x.device.type == "cpu":
            with one_each() as workers:
                list(workers.map(denoise, stack.split(1), denoised.split(1)))
        else:
            list(map(denoise, stack.split(self.batch), denoised.split(self.batch)))
        return denoised.permute([order.index(axis) for axis in range(3)])

    @torch.no_grad()  # again: the switch is per thread
    def _denoise(self, slices: Tensor, sigma: float) -> Tensor:
        height, width = slices.shape[1:]
        down, right = -height % self.stride, -width % self.stride
        images = F.pad(slices[:, None], (0, right, 0, down), mode="reflect")
        level = torch.full((len(images),), sigma, device=images.device)
        return self.denoiser(images, level)[:, 0, :height, :width]
