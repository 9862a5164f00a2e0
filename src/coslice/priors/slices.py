"""A 2D prior: a denoiser of images, applied to a volume slice by slice (the ISCS paper's eq. 9), or patch by patch.

Axes have names: the prior's images are planes of the volume, rows and columns given by `plane`, stacked
`along` the axis that is left. The CT prior has plane "yx" along "z"; the published MR prior is coronal,
plane "zx" along "y".

A prior of patches has k channels, slices of one volume (DiffusionBlend++, Song et al., NeurIPS 2024). Which slices it
sees together is not its business (`coslice.priors.partitions`), but how it is told their distance is: in mm, by a
prior that coslice trained; as a class, by a published one; or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coslice.errors import CosliceError
from coslice.priors.partitions import Patch
from coslice.threads import one_each
from coslice.volume import Volume, Window, scan_window

__all__ = ["SlicePrior"]


@dataclass(frozen=True)
class SlicePrior:
    """D(x, sigma) in the unit window: of a volume, every slice alone, or of a batch of images.

    Attributes:
        denoiser: module x (b, c, h, w), sigma (b,) -> (b, c, h, w), in the unit window.
        stride: sides of the denoiser's images are multiples of this; others are padded by reflection.
        sigma_range: noise levels the denoiser was trained for.
        plane: rows and columns of an image, two of "z", "y", "x".
        window: name of the intensities that are 0 and 1, see `coslice.volume.scan_window`.
        channels: of an image; 1, or the k slices of a patch.
        classes: what a network with classes is told of patches: the class of neighbours, and that of jumping slices.
        batch: slices at a time on an accelerator; a CPU takes one per thread.
        name: for messages.
        card: name, data, licences, training, losses: for people.
    """

    denoiser: nn.Module
    stride: int
    sigma_range: tuple[float, float]
    plane: str = "yx"
    window: str = "ct"
    channels: int = 1
    classes: tuple[int, int] | None = None
    batch: int = 4
    name: str = "prior"
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def network(self) -> nn.Module:
        """The torch module inside, with its own signature: NCSN++ (x, sigma), guided diffusion (x, t), UNet (x, c)."""
        return self.denoiser.network  # type: ignore[return-value]

    @property
    def along(self) -> str:
        """The axis the slices are stacked along."""
        return next(axis for axis in "zyx" if axis not in self.plane)

    def window_for(self, volume: Volume) -> Window:
        """The intensities of `volume` that are 0 and 1 to this prior."""
        return scan_window(self.window, volume.data)

    def check(self, shape: tuple[int, ...], *sigmas: float) -> None:
        """Refuse a volume (z, y, x) whose slices the network cannot take, and noise levels it was not trained for."""
        self._check_sides(tuple(shape["zyx".index(axis)] for axis in self.plane))
        self._check_sigmas(*sigmas)

    def check_single(self) -> None:
        """Refuse a prior of patches where one of single slices is needed."""
        if self.channels != 1:
            raise CosliceError(
                f"prior {self.name}: it denoises patches of {self.channels} slices, but single slices are needed; give "
                "it to diffusionblend or diffusionblend++, or choose another prior."
            )

    def check_patches(self) -> None:
        """Refuse a prior of single slices where one of patches is needed."""
        if self.channels < 2:
            raise CosliceError(
                f"prior {self.name}: it denoises single slices, but a prior of patches is needed, such as ct3; "
                "train one with: coslice train SCANS --slices 3."
            )

    def _check_sides(self, sides: tuple[int, ...]) -> None:
        if min(sides) < self.stride:
            raise CosliceError(
                f"prior {self.name}: slices of {sides[0]} x {sides[1]} pixels were given, but the network needs at "
                f"least {self.stride} x {self.stride}; choose a larger --size or a larger scan."
            )

    def _check_sigmas(self, *sigmas: float) -> None:
        low, high = self.sigma_range
        for sigma in sigmas:
            # Single precision may round a bound to just outside itself.
            if not low * (1 - 1e-6) <= sigma <= high * (1 + 1e-6):
                raise CosliceError(
                    f"prior {self.name}: sigma {sigma:g} was asked for, but it was trained for {low:g} to {high:g}; "
                    "choose the schedule within that range."
                )

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: float | Tensor, label: Tensor | None = None) -> Tensor:
        """Denoise x at `sigma`.

        Args:
            x: a volume (z, y, x), or images (b, c, h, w) of the prior's plane.
            sigma: noise level in the unit window; for images also one each, (b,).
            label: (b,), for images: the class of a network that asks for one, or the mm between slices of patches.

        Raises:
            CosliceError: slices smaller than the stride, sigma outside what the network was trained for, a volume
                for a prior of several channels.
        """
        if x.ndim == 4:
            return self._denoised_images(x, sigma, label)
        sigma = self._checked_volume(x, sigma)

        @torch.no_grad()  # the switch is per thread
        def denoise(out: Tensor, some: Tensor) -> None:
            out.copy_(self._denoised(some[:, None], sigma)[:, 0])

        return self._slice_by_slice(denoise, x)

    @torch.no_grad()
    def patches(self, x: Tensor, sigma: float, patches: Sequence[Patch], spacing: float) -> Tensor:
        """Denoise x patch by patch, every slice by the one patch that answers for it.

        Args:
            x: a volume (z, y, x).
            sigma: noise level in the unit window.
            patches: which slices are seen together, as many as there are channels.
            spacing: mm between neighbouring slices.

        Raises:
            CosliceError: as when denoising; patches of another number of slices.
        """
        if x.ndim != 3 or any(len(patch.slices) != self.channels for patch in patches):
            raise CosliceError(
                f"prior {self.name}: x of shape {tuple(x.shape)} and patches of {len(patches[0].slices)} slices were "
                f"given, a volume (z, y, x) and patches of {self.channels} are needed."
            )
        self.check(tuple(x.shape), sigma)
        stack = x.permute(self._order)
        result = torch.empty(stack.shape, dtype=x.dtype, device=x.device)
        size = 1 if x.device.type == "cpu" else self.batch

        @torch.no_grad()  # again: the switch is per thread
        def denoise(some: Sequence[Patch]) -> None:
            images = stack[torch.tensor([patch.slices for patch in some], device=x.device)]
            denoised = self._denoised(images, sigma, self._position(some, spacing, x.device))
            for patch, slices in zip(some, denoised, strict=True):
                for place in patch.own:
                    result[patch.slices[place]] = slices[place]

        _shared(x.device, denoise, [patches[i : i + size] for i in range(0, len(patches), size)])
        return result.permute(*(self._order.index(axis) for axis in range(3)))

    def _position(self, patches: Sequence[Patch], spacing: float, device: torch.device) -> Tensor | None:
        if self.classes is not None:
            told = [self.classes[patch.gap > 1] for patch in patches]
            return torch.tensor(told, device=device)
        if getattr(self.denoiser, "positions", False):
            return torch.tensor([patch.gap * spacing for patch in patches], device=device)
        return None

    def pull_back(self, x: Tensor, sigma: float, cotangent: Tensor) -> Tensor:
        """J^T cotangent with J = dD/dx at (x, sigma): how <cotangent, D(x, sigma)> changes with x.

        Slices are denoised alone, so J is block diagonal: every slice is denoised once more with its own graph, which
        is gone before the next begins. One thread holds the graph of one slice, an accelerator that of a batch.

        Args:
            x: a volume (z, y, x).
            sigma: noise level in the unit window.
            cotangent: (z, y, x).

        Raises:
            CosliceError: as when denoising; a cotangent of another shape.
        """
        sigma = self._checked_volume(x, sigma)
        if cotangent.shape != x.shape:
            raise CosliceError(
                f"prior {self.name}: a cotangent of shape {tuple(cotangent.shape)} was given for x of shape "
                f"{tuple(x.shape)}, the same shape is needed."
            )

        @torch.enable_grad()  # in each thread, also below a no_grad
        def pull(out: Tensor, some: Tensor, along: Tensor) -> None:
            images = some[:, None].detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self._denoised(images, sigma), images, along[:, None])
            out.copy_(gradient[:, 0])

        return self._slice_by_slice(pull, x, cotangent)

    def _checked_volume(self, x: Tensor, sigma: float | Tensor) -> float:
        if x.ndim != 3 or self.channels != 1 or (isinstance(sigma, Tensor) and sigma.ndim > 0):
            raise CosliceError(
                f"prior {self.name}: x of shape {tuple(x.shape)} was given to a prior of {self.channels}-channel "
                "images, which takes a volume (z, y, x) at one sigma if it has one channel, or images (b, c, h, w); "
                "a prior of patches is for diffusionblend and diffusionblend++."
            )
        self.check(tuple(x.shape), float(sigma))
        return float(sigma)

    def _slice_by_slice(self, function: Callable[..., None], x: Tensor, *others: Tensor) -> Tensor:
        """function(out, x, *others) on stacks of slices, of volumes (z, y, x): the volume of the outs."""
        stacks = [volume.permute(self._order) for volume in (x, *others)]
        result = torch.empty(stacks[0].shape, dtype=x.dtype, device=x.device)
        size = 1 if x.device.type == "cpu" else self.batch
        _shared(x.device, function, *(stack.split(size) for stack in (result, *stacks)))
        return result.permute(*(self._order.index(axis) for axis in range(3)))

    @property
    def _order(self) -> list[int]:
        """The axes of a volume, slices first."""
        return ["zyx".index(axis) for axis in (self.along, *self.plane)]

    def _denoised_images(self, x: Tensor, sigma: float | Tensor, label: Tensor | None) -> Tensor:
        levels = torch.as_tensor(sigma, dtype=torch.float32, device=x.device)
        if x.shape[1] != self.channels or (levels.ndim and levels.shape != x.shape[:1]):
            raise CosliceError(
                f"prior {self.name}: images {tuple(x.shape)} and sigma {tuple(levels.shape)} were given, "
                f"images (b, {self.channels}, h, w) and one sigma, or one for each image, are needed."
            )
        self._check_sides(tuple(x.shape[-2:]))
        self._check_sigmas(*levels.reshape(-1).tolist())
        return self._denoised(x, levels, label)

    def _denoised(self, images: Tensor, sigma: float | Tensor, label: Tensor | None = None) -> Tensor:
        height, width = images.shape[-2:]
        down, right = -height % self.stride, -width % self.stride
        padded = F.pad(images, (0, right, 0, down), mode="reflect")
        level = torch.as_tensor(sigma, dtype=torch.float32, device=images.device).expand(len(images))
        labels = () if label is None else (label,)
        return self.denoiser(padded, level, *labels)[..., :height, :width]


def _shared(device: torch.device, function: Callable[..., None], *lists: Sequence[Any]) -> None:
    """map(function, *lists), on a CPU by threads that work alone."""
    if device.type != "cpu":
        list(map(function, *lists))
        return
    with one_each() as workers:
        list(workers.map(function, *lists))
