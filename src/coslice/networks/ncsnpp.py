"""NCSN++, the score network of Song et al. (ICLR 2021), as DiffusionMBIR, TPDM and ISCS train it on slices.

A U-Net s(x, sigma) that predicts the score, grad_x log p_sigma(x), of x = x0 + sigma n. Its last layer is divided by
sigma, so the layers themselves predict a quantity of unit size (-n). Beside the usual path it has pyramids:

    image --> down --> down --> ... middle ... --> up --> up --> score / sigma
      |        ^        ^                          |      ^
      +-- halve+-- halve+    progressive_input     +-> double, add     progressive

`progressive_input`: at each halving the image itself is fed in again, either as the shrunken picture ("input_skip") or
through convolutions of its own ("residual"). `progressive`: the output is gathered from all resolutions, as a sum of
enlarged pictures ("output_skip") or of features ("residual").

The noise level enters each block as a bias computed from Fourier features of ln(sigma), or from sines of its index in
the published table of levels ("positional"). Sums of two branches are divided by sqrt(2) (`skip_rescale`), so their
variance stays. Parameters have their published names (`all_modules.N. ...`, in order of use), so that weights load as
they are; beside that flat list `NCSNpp` keeps the same modules sorted into levels, and computes with those.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coslice.errors import CosliceError
from coslice.networks.ncsnpp_layers import (
    Attention,
    Combine,
    FourierFeatures,
    Pyramid,
    Resampled,
    ResBlock,
    conv3x3,
    merge,
    norm,
    resampler,
    silent,
)
from coslice.networks.resampling import check_sides

__all__ = ["NCSNpp", "NCSNppConfig", "noise_levels"]

_Module = TypeVar("_Module", bound=nn.Module)


@dataclass(frozen=True)
class NCSNppConfig:
    """The shape of an `NCSNpp`. The defaults are the published 256 x 256 model.

    Attributes:
        image_channels: channels of the image and of the score.
        channels: width that the multipliers multiply.
        multipliers: width of each level, in units of `channels`; the resolution halves between levels.
        blocks: residual blocks per level on the way down; one more on the way up.
        attention: levels (0 the finest) with attention; the middle has it always.
        embedding: of the noise level, "fourier" or "positional".
        fourier_scale: standard deviation of the random Fourier frequencies of a fresh network.
        progressive_input: "none", "input_skip" or "residual".
        progressive_combine: how "input_skip" joins picture and features, "sum" or "cat".
        progressive: "none", "output_skip" or "residual".
        fir, fir_kernel: resample with this filter, rather than by means and repetition.
        skip_rescale: divide sums of two branches by sqrt(2).
        scale_by_sigma: divide the output by sigma.
        centred: the images given are in [-1, 1] already; else in [0, 1], and mapped inside.
        sigma_min, sigma_max, scales: the table of noise levels, geometric from large to small.

    Raises:
        CosliceError: a word that is none of the above, an empty or impossible number.
    """

    image_channels: int = 1
    channels: int = 128
    multipliers: tuple[float, ...] = (1, 2, 2, 2)
    blocks: int = 4
    attention: tuple[int, ...] = ()
    embedding: str = "fourier"
    fourier_scale: float = 16.0
    progressive_input: str = "residual"
    progressive_combine: str = "sum"
    progressive: str = "none"
    fir: bool = True
    fir_kernel: tuple[float, ...] = (1, 3, 3, 1)
    skip_rescale: bool = True
    scale_by_sigma: bool = True
    centred: bool = False
    sigma_min: float = 0.01
    sigma_max: float = 378.0
    scales: int = 2000

    def __post_init__(self) -> None:
        words = {
            "embedding": ("fourier", "positional"),
            "progressive_input": ("none", "input_skip", "residual"),
            "progressive_combine": ("sum", "cat"),
            "progressive": ("none", "output_skip", "residual"),
        }
        for name, known in words.items():
            if getattr(self, name) not in known:
                raise CosliceError(f'NCSN++: {name} "{getattr(self, name)}" was given, but it is one of {known}.')
        numbers = (self.image_channels, self.channels, self.blocks, self.scales, *self.multipliers)
        if not self.multipliers or min(numbers) <= 0 or not 0 < self.sigma_min < self.sigma_max:
            raise CosliceError(f"NCSN++: {self} was given, but sizes and noise levels must be positive.")
        if len(self.fir_kernel) < 2 or sum(self.fir_kernel) == 0:
            raise CosliceError(f"NCSN++: FIR kernel {self.fir_kernel} was given, but it needs two taps and a sum.")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(round(self.channels * m) for m in self.multipliers)

    @property
    def kernel(self) -> tuple[float, ...] | None:
        """The filter of the resampling, None without."""
        return self.fir_kernel if self.fir else None

    @property
    def stride(self) -> int:
        """Image sides must be multiples of this."""
        return 2 ** (len(self.multipliers) - 1)

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> NCSNppConfig:
        tuples = {key: tuple(values[key]) for key in ("multipliers", "attention", "fir_kernel") if key in values}
        return cls(**{**values, **tuples})


@dataclass
class _Down:
    """A level on the way down; `join` takes in the image again, by `halve` or itself, after `shrink`."""

    blocks: list[tuple[ResBlock, Attention | None]]
    shrink: ResBlock | None = None
    halve: Resampled | None = None
    join: Combine | Pyramid | None = None


@dataclass
class _Up:
    """A level on the way up; `double` and `branch`, or `pyramid`, lead to the output pyramid before `grow`."""

    blocks: list[ResBlock]
    attention: Attention | None = None
    double: Resampled | None = None
    branch: list[nn.Module] | None = None
    pyramid: Pyramid | None = None
    grow: ResBlock | None = None


class NCSNpp(nn.Module):
    """s(x, sigma): images (b, c, h, w) and noise levels (b,) -> score (b, c, h, w).

    x is x0 + sigma n with x0 in [0, 1] ([-1, 1] if `centred`); h and w are multiples of `stride`.
    """

    sigmas: Tensor

    def __init__(self, config: NCSNppConfig = NCSNppConfig()):
        super().__init__()
        self.config = config
        self.register_buffer("sigmas", noise_levels(config))
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
        self._middle = [self._block(width, width), self._add(Attention(width, config.skip_rescale))]
        self._middle.append(self._block(width, width))
        width = self._build_up(width, skips)
        if config.progressive != "output_skip":
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
                level.blocks.append((block, self._add(Attention(width, config.skip_rescale)) if attends else None))
                skips.append(width)
            if number < len(config.widths) - 1:
                level.shrink = self._block(width, width, "down")
                if config.progressive_input == "input_skip":
                    level.halve = self._add(Resampled(resampler(config.kernel, "down")))
                    level.join = self._add(Combine(picture, width, config.progressive_combine))
                    width *= 2 if config.progressive_combine == "cat" else 1
                elif config.progressive_input == "residual":
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
                level.attention = self._add(Attention(width, config.skip_rescale))
            if config.progressive == "output_skip":
                if number < deepest:
                    level.double = self._add(Resampled(resampler(config.kernel, "up")))
                level.branch = [self._add(norm(width)), self._add(silent(conv3x3(width, config.image_channels)))]
            elif config.progressive == "residual" and number == deepest:
                level.branch = [self._add(norm(width)), self._add(conv3x3(width, width))]
                below = width
            elif config.progressive == "residual":
                level.pyramid = self._add(Pyramid(below, width, config.kernel, "up"))
                below = width
            if number > 0:
                level.grow = self._block(width, width, "up")
            self._up.append(level)
        return width

    def _block(self, width_in: int, width_out: int, direction: str = "") -> ResBlock:
        resample = resampler(self.config.kernel, direction) if direction else None
        return self._add(ResBlock(width_in, width_out, 4 * self.config.channels, self.config.skip_rescale, resample))

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
        h = pyramid if self.config.progressive == "output_skip" else _apply(self._last, h)
        return h / sigma.to(h)[:, None, None, None] if self.config.scale_by_sigma else h

    def _label(self, sigma: Tensor) -> Tensor:
        # Phases would not survive a smaller type than float32.
        if self.config.embedding == "fourier":
            waves = self._fourier[0](sigma.to(torch.float32).log())
        else:
            waves = _index_waves(_index(sigma, self.sigmas), self.config.channels)
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


def noise_levels(config: NCSNppConfig) -> Tensor:
    """The published table: (scales,), geometric from `sigma_max` to `sigma_min`."""
    ends = math.log(config.sigma_max), math.log(config.sigma_min)
    return torch.linspace(*ends, config.scales).exp()


def _index(sigma: Tensor, sigmas: Tensor) -> Tensor:
    """Where `sigma` (b,) stands in the geometric table `sigmas` (0 the largest), with fractions between entries."""
    logs = sigmas[[0, -1]].float().log()
    return (logs[0] - sigma.float().log()) / (logs[0] - logs[1]) * (len(sigmas) - 1)


def _index_waves(index: Tensor, count: int) -> Tensor:
    """Sines and cosines of an index (b,), frequencies geometric from 1 to 1/10000: (b, count)."""
    half = count // 2
    frequencies = torch.exp(torch.arange(half, device=index.device) * (-math.log(10000) / max(half - 1, 1)))
    phase = index[:, None] * frequencies
    return F.pad(torch.cat((phase.sin(), phase.cos()), dim=1), (0, count % 2))


def _apply(norm_and_conv: list[nn.Module], h: Tensor) -> Tensor:
    norm, conv = norm_and_conv
    return conv(F.silu(norm(h)))
