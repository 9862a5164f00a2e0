"""Axial slices of CT scans as training images in the unit window.

Every batch has one size, and batches mix three views of a slice so that one set of weights serves
coarse and fine pixels alike: the whole slice at half resolution, a crop at a resolution between half
and full, and the whole slice at full resolution (a quarter of the batch for the same cost).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["SlicePool", "Views"]


@dataclass(frozen=True)
class Views:
    """How often a batch shows a crop or the whole slice at full resolution; else half resolution."""

    crop: float = 0.4
    full: float = 0.15


class SlicePool:
    """All axial slices of some scans, held in memory as int16 HU.

    Args:
        files: NIfTI scans in HU, slices along the last array axis, all of one in-plane size.
        window: (low, high) in HU, mapped to 0 and 1.
        quantum: step in HU to which the scans were rounded; uniform noise of one step undoes it.
        side: side of the images in a batch, half of the scans' own.
    """

    def __init__(self, files: list[Path], window: tuple[float, float], quantum: float, side: int = 128):
        stacks = []
        for file in files:
            scan = nibabel.as_closest_canonical(nibabel.load(file))
            # (x, y, z) of NIfTI in RAS+ to (z, y, x), as everywhere in coslice.
            stacks.append(torch.from_numpy(np.asarray(scan.dataobj).astype(np.int16).transpose(2, 1, 0).copy()))
        self.slices = torch.cat([s for s in stacks if s.shape[1:] == (2 * side, 2 * side)])
        self.window, self.quantum, self.side = window, quantum, side

    def __len__(self) -> int:
        return len(self.slices)

    def unit(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """Slices (b,) -> (b, 1, h, w) in the unit window, dequantised and clipped."""
        hu = self.slices[index].float()[:, None]
        hu += (torch.rand(hu.shape, generator=generator) - 0.5) * self.quantum
        low, high = self.window
        return ((hu - low) / (high - low)).clamp_(0, 1)

    def batch(self, size: int, generator: torch.Generator, views: Views = Views()) -> Tensor:
        """A random batch of `size` images of `side` pixels, or of size/4 of twice that side."""
        draw = torch.rand(3, generator=generator).tolist()
        if draw[0] < views.full:
            index = torch.randint(len(self), (max(size // 4, 1),), generator=generator)
            images = self.unit(index, generator)
        else:
            images = self.unit(torch.randint(len(self), (size,), generator=generator), generator)
            if draw[0] < views.full + views.crop:
                extent = int(self.side * (1 + draw[1] * draw[2]))  # full resolution most often
                images = torch.stack([_crop(image, extent, generator) for image in images])
            images = F.interpolate(images, size=(self.side, self.side), mode="bilinear", antialias=True)
        if torch.rand((), generator=generator) < 0.5:
            images = images.flip(-1)
        if torch.rand((), generator=generator) < 0.25:
            images = images.flip(-2)
        return images


def _crop(image: Tensor, extent: int, generator: torch.Generator) -> Tensor:
    top, left = torch.randint(image.shape[-1] - extent + 1, (2,), generator=generator).tolist()
    return image[:, top : top + extent, left : left + extent]
