"""A 2D prior: a denoiser of images, applied to a volume slice by slice (the ISCS paper's eq. 9), or patch by patch.

Axes have names: the prior's images are planes of the volume, rows and columns given by `plane`, stacked
`along` the axis that is left. The CT prior has plane "yx" along "z"; the published MR prior is coronal,
plane "zx" along "y".

A prior of patches has k channels, slices of one volume (DiffusionBlend++, Song et al., NeurIPS 2024). Which slices
it sees together is decided elsewhere (`coslice.priors.partitions`); in what form it gets their distance is its own
matter: in mm, if coslice trained it; as a class, if it is a published one; or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coslice.axes import axis_number, stacked_along
from coslice.devices import deterministic, images_at_once
from coslice.errors import CosliceError
from coslice.networks.eight_bits import multiplies_eight_bits
from coslice.networks.inference import Answers, answering
from coslice.parallel import check_same, complete_, share, shares
from coslice.priors.denoisers import MARGIN
from coslice.priors.partitions import Patch
from coslice.threads import spread
from coslice.upper_floors import ask
from coslice.volume import Volume
from coslice.window import Window, scan_window

__all__ = ["EIGHT_BITS_FROM", "SlicePrior"]

EIGHT_BITS_FROM = 0.02
"""Noise level from which on 8-bit integers are exact enough: what they get wrong is drowned by what follows."""

_WITH_GRADIENTS = 4
"""Images in one call whose gradients an accelerator holds."""

_MEASURED: WeakKeyDictionary[nn.Module, dict[tuple[torch.device, tuple[int, ...]], int]] = WeakKeyDictionary()
"""Images in one call, by network, device and sides."""

_LEAST = 4
"""Pixels of a side. Of less there is next to nothing to see: nearly all would be reflection."""


@dataclass(frozen=True, repr=False)
class SlicePrior:
    """D(x, sigma) in the unit window: of a volume, every slice alone, or of a batch of images.

    Attributes:
        denoiser: module x (b, c, h, w), sigma (b,) -> (b, c, h, w), in the unit window.
        stride: number of pixels that sides must be a multiple of; other images are padded by reflection, as often as
            it takes.
        sigma_range: smallest and largest noise level that the denoiser was trained for, in the unit window.
        plane: rows and columns of an image, two of "z", "y", "x".
        window: name of the intensities that are 0 and 1, see `coslice.window.scan_window`.
        channels: number of channels of an image; 1, or the k slices of a patch.
        classes: for a network with classes, that of patches of neighbours and that of patches of jumping slices.
        arithmetic: in what the network's convolutions multiply on a CPU: "float", the type of its weights; "int8", see
            `coslice.networks.inference`; "auto", integers where the processor is fastest at them and sigma is at least
            `EIGHT_BITS_FROM`. Gradients are always in the type of the weights.
        batch: number of images in one call on an accelerator; None asks its memory, see
            `coslice.devices.images_at_once`. A thread of a CPU takes one, and gradients are of a few at a time.
        name: the name that messages use.
        card: what people want to know: name, data, licences, training, losses.
    """

    denoiser: nn.Module
    stride: int
    sigma_range: tuple[float, float]
    plane: str = "yx"
    window: str = "ct"
    channels: int = 1
    classes: tuple[int, int] | None = None
    arithmetic: str = "auto"
    batch: int | None = None
    name: str = "prior"
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def network(self) -> nn.Module:
        """The torch module inside, with its own signature: NCSN++ (x, sigma), guided diffusion (x, t), UNet (x, c)."""
        return self.denoiser.network  # type: ignore[return-value]

    @property
    def along(self) -> str:
        """The axis the slices are stacked along."""
        return stacked_along(self.plane)

    def __repr__(self) -> str:
        low, high = self.sigma_range
        images = "slices" if self.channels == 1 else f"patches of {self.channels} slices"
        weights = sum(weight.numel() for weight in self.denoiser.parameters())
        return (
            f"SlicePrior({self.name}: {images} of planes {self.plane} along {self.along}, window {self.window}, "
            f"sigma {low:.4g} to {high:.4g}, {weights:,} weights)"
        )

    def _repr_html_(self) -> str:
        return ask("html", self)

    def window_for(self, volume: Volume) -> Window:
        """The intensities of `volume` that are 0 and 1 to this prior."""
        return scan_window(self.window, volume.data)

    def check(self, shape: tuple[int, ...], *sigmas: float) -> None:
        """Refuse a volume (z, y, x) whose slices the network cannot take, and noise levels it was not trained for."""
        self._check_sides(tuple(shape[axis_number(axis)] for axis in self.plane))
        self.check_sigmas(*sigmas)

    def check_single(self) -> None:
        """Refuse a prior of patches where one of single slices is needed."""
        if self.channels != 1:
            raise CosliceError(
                f"prior {self.name}: it denoises patches of {self.channels} slices, but single slices are needed; give "
                "it to wblend, diffusionblend or diffusionblend++, or choose another prior."
            )

    def check_patches(self) -> None:
        """Refuse a prior of single slices where one of patches is needed."""
        if self.channels < 2:
            raise CosliceError(
                f"prior {self.name}: it denoises single slices, but a prior of patches is needed, such as ct3; "
                "train one with: coslice train SCANS --slices 3."
            )

    def _check_sides(self, sides: tuple[int, ...]) -> None:
        if min(sides) < _LEAST:
            raise CosliceError(
                f"prior {self.name}: slices of {sides[0]} x {sides[1]} pixels were given, but the network needs at "
                f"least {_LEAST} x {_LEAST}; choose a larger size, a larger scan, more slices or a larger factor."
            )

    def check_sigmas(self, *sigmas: float) -> None:
        """Refuse noise levels that the network was not trained for."""
        low, high = self.sigma_range
        for sigma in sigmas:
            # Single precision may round a bound to just outside itself.
            if not low * (1 - MARGIN) <= sigma <= high * (1 + MARGIN):
                raise CosliceError(
                    f"prior {self.name}: sigma {sigma:g} was asked for, but it was trained for {low:g} to {high:g}; "
                    "choose the schedule within that range: schedule.sigma_max and schedule.sigma_min."
                )

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: float | Tensor, label: Tensor | None = None) -> Tensor:
        """Denoise x at `sigma`.

        Args:
            x: a volume (z, y, x), or images (b, c, h, w) of the prior's plane.
            sigma: noise level in the unit window; for images also one for every image, (b,).
            label: (b,), for images: the class of a network that asks for one, or the mm between slices of patches.

        Raises:
            CosliceError: slices smaller than the stride, sigma outside what the network was trained for, a volume
                for a prior of several channels.
        """
        if x.ndim == 4:
            return self._denoised_images(x, sigma, label)
        level = self._checked_volume(x, sigma)
        stack, result = self._stack_and_place(x)
        singles = [Patch((number,), (0,)) for number in range(len(stack))]
        spread(
            x.device,
            partial(self._denoise, result, stack, level, None, self._answers(level)),
            self._portions(singles, stack),
        )
        return self._completed(result, singles)

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
        stack, result = self._stack_and_place(x)
        spread(
            x.device,
            partial(self._denoise, result, stack, sigma, spacing, self._answers(sigma)),
            self._portions(patches, stack),
        )
        return self._completed(result, patches)

    @torch.no_grad()  # again: the switch is per thread
    def _denoise(
        self,
        result: Tensor,
        stack: Tensor,
        sigma: float,
        spacing: float | None,
        answers: Answers,
        patches: Sequence[Patch],
    ) -> None:
        """Write into `result` the slices of `stack`, both (slices, rows, columns), that `patches` answer for."""
        height, width = stack.shape[1:]
        images = stack[torch.tensor([patch.slices for patch in patches], device=stack.device)]
        label = None if spacing is None else self.label(patches, spacing, stack.device)
        with answering(answers):
            denoised = self.denoiser(*self._inputs(images, sigma, label))[..., :height, :width]
        for patch, slices in zip(patches, denoised, strict=True):
            for place in patch.own:
                result[patch.slices[place]] = slices[place]

    @property
    def products(self) -> str:
        """In what the convolutions of the network multiply on a CPU, in words."""
        stored = str(getattr(self.denoiser, "dtype", torch.float32)).removeprefix("torch.")
        if not self._integers or (self.arithmetic == "auto" and not multiplies_eight_bits()):
            return stored
        return "int8" if self.arithmetic == "int8" else f"int8 from sigma {EIGHT_BITS_FROM:g} up, {stored} below"

    def _answers(self, sigma: float) -> Answers:
        auto = self.arithmetic == "auto" and sigma >= EIGHT_BITS_FROM and multiplies_eight_bits()
        return Answers(eight_bits=self._integers and (auto or self.arithmetic == "int8"))

    @property
    def _integers(self) -> bool:
        """Whether the network may multiply integers: one of another library has no such layers."""
        return self.arithmetic != "float" and getattr(self.denoiser, "own_layers", True)

    def label(self, patches: Sequence[Patch], spacing: float, device: torch.device | str = "cpu") -> Tensor | None:
        """What the network asks for besides patches and noise level: their classes, or the mm between their slices.

        Args:
            patches: (b,).
            spacing: mm between neighbouring slices.
            device: of the answer, (b,); None of a network that asks for nothing.
        """
        if self.classes is not None:
            return torch.tensor([self.classes[patch.gap > 1] for patch in patches], device=device)
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
        level = self._checked_volume(x, sigma)
        if cotangent.shape != x.shape:
            raise CosliceError(
                f"prior {self.name}: a cotangent of shape {tuple(cotangent.shape)} was given for x of shape "
                f"{tuple(x.shape)}, the same shape is needed."
            )
        stacks = [volume.permute(self._order) for volume in (x, cotangent)]
        result = torch.empty(stacks[0].shape, dtype=x.dtype, device=x.device)
        size = 1 if x.device.type == "cpu" else min(self.batch or _WITH_GRADIENTS, _WITH_GRADIENTS)
        mine = share(len(result))
        with deterministic(x.device):
            parts = ([part for part in stack[mine].split(size) if len(part)] for stack in (result, *stacks))
            spread(x.device, partial(self._pull, level), *parts)
        complete_(result)
        return result.permute(self._back)

    @torch.enable_grad()  # in each thread, also below a no_grad
    def _pull(self, sigma: float, result: Tensor, stack: Tensor, cotangent: Tensor) -> None:
        """Write J^T `cotangent` at the slices of `stack` into `result`, all (slices, rows, columns)."""
        height, width = stack.shape[1:]
        images = stack[:, None].detach().requires_grad_()
        answers = self.denoiser(*self._inputs(images, sigma))[..., :height, :width]
        (gradient,) = torch.autograd.grad(answers, images, cotangent[:, None])
        result.copy_(gradient[:, 0])

    def _checked_volume(self, x: Tensor, sigma: float | Tensor) -> float:
        if x.ndim != 3 or self.channels != 1 or (isinstance(sigma, Tensor) and sigma.ndim > 0):
            raise CosliceError(
                f"prior {self.name}: x of shape {tuple(x.shape)} was given to a prior of {self.channels}-channel "
                "images, which takes a volume (z, y, x) at one sigma if it has one channel, or images (b, c, h, w); "
                "a prior of patches is for diffusionblend and diffusionblend++."
            )
        self.check(tuple(x.shape), float(sigma))
        return float(sigma)

    def _batch(self, images: Tensor) -> int:
        """How many of `images` (..., h, w) go into one call of the network."""
        device, sides = images.device, tuple(images.shape[-2:])
        if device.type == "cpu":
            return 1
        if self.batch is not None:
            return self.batch
        measured = _MEASURED.setdefault(self.denoiser, {})
        if (device, sides) not in measured:
            one, lowest = torch.zeros((1, self.channels, *sides), device=device), self.sigma_range[0]
            label = self.label([Patch(tuple(range(self.channels)), (0,))], 1.0, device)
            measured[device, sides] = images_at_once(device, lambda: self.denoiser(*self._inputs(one, lowest, label)))
        return measured[device, sides]

    def _portions(self, patches: Sequence[Patch], stack: Tensor) -> list[Sequence[Patch]]:
        """This rank's share of the patches, so many together as go into one call."""
        size, patches = self._batch(stack), patches[share(len(patches))]
        return [patches[start : start + size] for start in range(0, len(patches), size)]

    def _stack_and_place(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A volume, slices first, and memory for what becomes of it. All ranks have the same volume."""
        check_same(x, "the volume that a step begins with")
        stack = x.permute(self._order)
        return stack, torch.empty(stack.shape, dtype=x.dtype, device=x.device)

    def _completed(self, result: Tensor, patches: Sequence[Patch]) -> Tensor:
        """The volume, with the slices that other ranks' patches answer for."""
        theirs = (patches[part] for part in shares(len(patches)))
        complete_(result, [[one.slices[place] for one in some for place in one.own] for some in theirs])
        return result.permute(self._back)

    @property
    def _order(self) -> list[int]:
        """The axes of a volume, slices first."""
        return [axis_number(axis) for axis in (self.along, *self.plane)]

    @property
    def _back(self) -> list[int]:
        """The axes of a stack, as a volume has them."""
        return [self._order.index(axis) for axis in range(3)]

    def _denoised_images(self, x: Tensor, sigma: float | Tensor, label: Tensor | None) -> Tensor:
        levels = torch.as_tensor(sigma, dtype=torch.float32, device=x.device)
        if x.shape[1] != self.channels or (levels.ndim and levels.shape != x.shape[:1]):
            raise CosliceError(
                f"prior {self.name}: images {tuple(x.shape)} and sigma {tuple(levels.shape)} were given, "
                f"images (b, {self.channels}, h, w) and one sigma, or one for each image, are needed."
            )
        self._check_sides(tuple(x.shape[-2:]))
        self.check_sigmas(*levels.reshape(-1).tolist())
        height, width = x.shape[-2:]
        result, size = torch.empty_like(x), self._batch(x)
        levels = levels.expand(len(x))
        labels = [None] * len(x) if label is None else label.to(x.device).expand(len(x)).split(size)

        @torch.no_grad()  # again: the switch is per thread
        def denoise(written: Tensor, images: Tensor, sigma: Tensor, label: Tensor | None) -> None:
            with answering(self._answers(float(sigma.min()))):
                written.copy_(self.denoiser(*self._inputs(images, sigma, label))[..., :height, :width])

        spread(x.device, denoise, *(part.split(size) for part in (result, x, levels)), labels)
        return result

    def _inputs(self, images: Tensor, sigma: float | Tensor, label: Tensor | None = None) -> tuple[Tensor, ...]:
        """What the denoiser is called with: images padded to its stride, a noise level for each, and their label."""
        height, width = images.shape[-2:]
        down, right = -height % self.stride, -width % self.stride
        padded = _reflected_beyond(images, down, right)
        levels = torch.as_tensor(sigma, dtype=torch.float32, device=images.device).expand(len(images))
        return (padded, levels) if label is None else (padded, levels, label)


def _reflected_beyond(images: Tensor, down: int, right: int) -> Tensor:
    """Images (b, c, h, w) with `down` rows and `right` columns more, thrown back at the last ones and at the first."""
    while down > 0 or right > 0:
        height, width = images.shape[-2:]
        rows, columns = min(down, height - 1), min(right, width - 1)
        images = F.pad(images, (0, columns, 0, rows), mode="reflect")
        down, right = down - rows, right - columns
    return images
