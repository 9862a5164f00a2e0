"""NCSN++, the score network of Song et al. (ICLR 2021), as DiffusionMBIR, TPDM and ISCS train it on slices.

A U-Net s(x, sigma) that predicts the score, grad_x log p_sigma(x), of x = x0 + sigma n. Its last layer is divided by
sigma, so the layers themselves predict a quantity of unit size (-n). Beside the usual path it has pyramids:

    image --> down --> down --> ... middle ... --> up --> up --> score / sigma
      |        ^        ^                          |      ^
      +-- halve+-- halve+    pyramids.input        +-> double, add     pyramids.output

`pyramids.input`: at each halving the image itself comes in again, either as the shrunken picture ("input_skip") or
through convolutions of its own ("residual"). `pyramids.output`: the output is gathered from all resolutions, as a sum
of enlarged pictures ("output_skip") or of features ("residual").

The noise level enters each block as a bias computed from Fourier features of ln(sigma), or from sines of its index in
the published table of levels ("positional"). Sums of two branches are divided by sqrt(2) (`skip_rescale`), so their
variance stays. Parameters have their published names (`all_modules.N. ...`, in order of use), so that weights load as
they are; beside that flat list `NCSNpp` keeps the same modules sorted into levels, and computes with those.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coslice.networks.inference import closed
from coslice.networks.layers import check_sides, index_waves, silent
from coslice.networks.ncsnpp_config import NCSNppConfig, noise_levels
from coslice.networks.ncsnpp_layers import (
    BigGANBlock,
    Combine,
    FourierFeatures,
    Pyramid,
    Resampled,
    SingleHeadAttention,
    conv3x3,
    merge,
    norm,
    resampler,
)

__all__ = ["NCSNpp"]

_Module = TypeVar("_Module", bound=nn.Module)


@dataclass
class _Down:
    """A level on the way down; `join` takes in the image again, by `halve` or itself, after `shrink`."""

    blocks: list[tuple[BigGANBlock, SingleHeadAttention | None]]
    shrink: BigGANBlock | None = None
    halve: Resampled | None = None
    join: Combine | Pyramid | None = None


@dataclass
class _Up:
    """A level on the way up; `double` and `branch`, or `pyramid`, lead to the output pyramid before `grow`."""

    blocks: list[BigGANBlock]
    attention: SingleHeadAttention | None = None
    double: Resampled | None = None
    branch: list[nn.Module] | None = None
    pyramid: Pyramid | None = None
    grow: BigGANBlock | None = None


class NCSNpp(nn.Module):
    """s(x, sigma): images (b, c, h, w) and noise levels (b,) -> score (b, c, h, w).

    x is x0 + sigma n with x0 in [0, 1] ([-1, 1] if `centred`); h and w are multiples of `stride`.
    """

    sigmas: Tensor

    def __init__(self, config: NCSNppConfig = NCSNppConfig()):
        super().__init__()
        self.config = config
        self.register_buffer("sigmas", noise_levels(config.levels))
        self.all_modules = nn.ModuleList()
        # Plain lists: each module is registered once, under its published name.
        self._fourier: list[FourierFeatures] = []
        self._embed: list[nn.Module] = []
        self._down: list[_Down] = []
        self._middle: list[nn.Module] = []
        self._up: list[_Up] = []
        self._last: list[nn.Module] = []
        self._build()

    @property
    def stride(self) -> int:
        return self.config.stride

    @property
    def dtype(self) -> torch.dtype:
        return self.all_modules[-1].weight.dtype  # type: ignore[return-value]

    def _add(self, module: _Module) -> _Module:
        self.all_modules.append(module)
        return module

    def _build(self) -> None:
        config = self.config
        waves = config.channels
        if config.embedding == "fourier":
            self._fourier = [self._add(FourierFeatures(config.channels, config.fourier_scale))]
            waves *= 2
        self._embed = [self._add(nn.Linear(waves, 4 * config.channels))]
        self._embed.append(self._add(nn.Linear(4 * config.channels, 4 * config.channels)))
        self._first = [self._add(conv3x3(config.image_channels, config.channels))]
        skips = self._build_down()
        width = skips[-1]
        self._middle = [self._block(width, width), self._add(SingleHeadAttention(width, config.skip_rescale))]
        self._middle.append(self._block(width, width))
        width = self._build_up(width, skips)
        if config.pyramids.output != "output_skip":
            self._last = [self._add(norm(width)), self._add(silent(conv3x3(width, config.image_channels)))]

    def _build_down(self) -> list[int]:
        """The way down; returns the widths of everything the way up will be handed."""
        config = self.config
        skips = [width] = [config.channels]
        picture = config.image_channels
        for number, level_width in enumerate(config.widths):
            level = _Down([])
            for _ in range(config.blocks):
                block = self._block(width, level_width)
                width = level_width
                attends = number in config.attention
                level.blocks.append(
                    (block, self._add(SingleHeadAttention(width, config.skip_rescale)) if attends else None)
                )
                skips.append(width)
            if number < len(config.widths) - 1:
                level.shrink = self._block(width, width, "down")
                if config.pyramids.input == "input_skip":
                    level.halve = self._add(Resampled(resampler(config.kernel, "down")))
                    level.join = self._add(Combine(picture, width, config.pyramids.combine))
                    width *= 2 if config.pyramids.combine == "cat" else 1
                elif config.pyramids.input == "residual":
                    level.join = self._add(Pyramid(picture, width, config.kernel, "down"))
                    picture = width
                skips.append(width)
            self._down.append(level)
        return skips

    def _build_up(self, width: int, skips: list[int]) -> int:
        """The way up, from the deepest level; returns its last width."""
        config = self.config
        deepest = len(config.widths) - 1
        skips = list(skips)
        below = 0
        for number, level_width in reversed(list(enumerate(config.widths))):
            level = _Up([])
            for _ in range(config.blocks + 1):
                level.blocks.append(self._block(width + skips.pop(), level_width))
                width = level_width
            if number in config.attention:
                level.attention = self._add(SingleHeadAttention(width, config.skip_rescale))
            if config.pyramids.output == "output_skip":
                if number < deepest:
                    level.double = self._add(Resampled(resampler(config.kernel, "up")))
                level.branch = [self._add(norm(width)), self._add(silent(conv3x3(width, config.image_channels)))]
            elif config.pyramids.output == "residual" and number == deepest:
                level.branch = [self._add(norm(width)), self._add(conv3x3(width, width))]
                below = width
            elif config.pyramids.output == "residual":
                level.pyramid = self._add(Pyramid(below, width, config.kernel, "up"))
                below = width
            if number > 0:
                level.grow = self._block(width, width, "up")
            self._up.append(level)
        return width

    def _block(self, width_in: int, width_out: int, direction: str = "") -> BigGANBlock:
        resample = resampler(self.config.kernel, direction) if direction else None
        return self._add(BigGANBlock(width_in, width_out, 4 * self.config.channels, self.config.skip_rescale, resample))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The score at x (b, c, h, w), each image at its own sigma (b,).

        Raises:
            CosliceError: sides that are no multiples of `stride`.
        """
        check_sides("NCSN++", x, self.stride)
        label = self._label(sigma)
        image = (x if self.config.centred else 2 * x - 1).to(self.dtype)
        h, skips = self._go_down(image, label)
        before, attention, after = self._middle
        h = after(attention(before(h, label)), label)
        h, pyramid = self._go_up(h, skips, label)
        h = pyramid if self.config.pyramids.output == "output_skip" else _apply(self._last, h)
        return h / sigma.to(h)[:, None, None, None] if self.config.scale_by_sigma else h

    def _label(self, sigma: Tensor) -> Tensor:
        # Phases would not survive a smaller type than float32.
        if self.config.embedding == "fourier":
            waves = self._fourier[0](sigma.to(torch.float32).log())
        else:
            waves = index_waves(_index(sigma, self.sigmas), self.config.channels, ends=True, sines_first=True)
        first, second = self._embed
        return second(F.silu(first(waves.to(self.dtype))))

    def _go_down(self, image: Tensor, label: Tensor) -> tuple[Tensor, list[Tensor]]:
        picture = image
        h = self._first[0](image)
        skips = [h]
        for level in self._down:
            for block, attention in level.blocks:
                h = block(h, label)
                h = h if attention is None else attention(h)
                skips.append(h)
            if level.shrink is not None:
                h = level.shrink(h, label)
                if level.halve is not None and isinstance(level.join, Combine):
                    picture = level.halve(picture)
                    h = level.join(picture, h)
                elif level.join is not None:
                    h = picture = merge(level.join(picture), h, self.config.skip_rescale)
                skips.append(h)
        return h, skips

    def _go_up(self, h: Tensor, skips: list[Tensor], label: Tensor) -> tuple[Tensor, Tensor]:
        pyramid = h.new_zeros(())
        for level in self._up:
            for block in level.blocks:
                h = block(torch.cat((h, skips.pop()), dim=1), label)
            h = h if level.attention is None else level.attention(h)
            if level.pyramid is not None:
                h = pyramid = merge(level.pyramid(pyramid), h, self.config.skip_rescale)
            elif level.branch is not None:
                larger = pyramid if level.double is None else level.double(pyramid)
                pyramid = larger + _apply(level.branch, h)
            h = h if level.grow is None else level.grow(h, label)
        return h, pyramid


def _index(sigma: Tensor, sigmas: Tensor) -> Tensor:
    """Where `sigma` (b,) stands in the geometric table `sigmas` (0 the largest), with fractions between entries."""
    logs = sigmas[[0, -1]].float().log()
    return (logs[0] - sigma.float().log()) / (logs[0] - logs[1]) * (len(sigmas) - 1)


def _apply(norm_and_conv: list[nn.Module], h: Tensor) -> Tensor:
    norm, conv = norm_and_conv
    return closed(norm, conv, h)  # type: ignore[arg-type]
