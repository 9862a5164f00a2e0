"""A 2D prior applied to a volume, slice by slice (the ISCS paper's eq. 9).

Axes have names: the prior's images are planes of the volume, rows and columns given by `plane`, stacked
`along` the axis that is left. The CT prior has plane "yx" along "z"; the published MR prior is coronal,
plane "zx" along "y".
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coslice.errors import CosliceError

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

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse a volume (z, y, x) whose slices the network cannot take."""
        sides = tuple(shape["zyx".index(axis)] for axis in self.plane)
        if min(sides) < self.stride:
            raise CosliceError(
                f"prior {self.name}: slices of {sides[0]} x {sides[1]} pixels were given, but the network needs at "
                f"least {self.stride} x {self.stride}; choose a larger --size or a larger scan."
            )

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """Denoise x (z, y, x) at `sigma`.

        Raises:
            CosliceError: slices smaller than the stride, or sigma outside what the network was trained for.
        """
        self.check(tuple(x.shape))
        low, high = self.sigma_range
        if not low <= sigma <= high:
            raise CosliceError(
                f"prior {self.name}: sigma {sigma:g} was asked for, but it was trained for {low:g} to {high:g}; "
                "choose the schedule within that range."
            )
        order = ["zyx".index(axis) for axis in (self.along, *self.plane)]
        stack = x.permute(order)
        denoised = torch.empty(stack.shape, dtype=x.dtype, device=x.device)

        def denoise(some: Tensor, out: Tensor) -> None:
            out.copy_(self._denoise(some, sigma))

        if x.device.type == "cpu":
            with _one_thread_each() as workers:
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


@contextmanager
def _one_thread_each() -> Iterator[ThreadPoolExecutor]:
    """A pool as wide as torch's, whose workers run every operation on one thread.

    Normalisations sum in an order that depends on how many threads share an operation, and float32 convolutions
    in one that depends on how many images share a call. One image on one thread makes the result independent of
    thread count and stack height, bit for bit. It is also faster where the cores are shared with other work: no
    operation waits for a thread that was put aside.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as workers:
            yield workers
    finally:
        torch.set_num_threads(threads)
