"""The U-Net of guided diffusion (Dhariwal & Nichol, NeurIPS 2021), which DDS and DiffusionBlend train on slices.

It sees images scaled to [-1, 1] and made noisy the variance-preserving way, x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) n,
and answers with n. Networks with `learn_sigma` answer with twice the channels: n, then a number between 0 and 1 that
interpolates the variance of a DDPM step, which samplers on sigma have no use for.

The step t enters every residual block as sines and cosines passed through two dense layers, either as a scale and
shift of its second normalisation (`scale_shift`) or as a bias. A class, where the network has classes, is added to the
same embedding; DiffusionBlend uses it to say how the three slices of a patch lie. Attention has several heads. Queries,
keys and values come out of one convolution, in an order of which there are two: head by head (q k v of head 1, q k v
of head 2, ...), or all q, all k, all v (`new_attention_order`).

Parameters have their published names. Weights stored in half precision are to be loaded as float32.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coslice.errors import CosliceError
from coslice.networks.resampling import check_sides, mean_down, repeat_up

__all__ = ["GuidedUNet", "GuidedUNetConfig"]


@dataclass(frozen=True)
class GuidedUNetConfig:
    """The shape of a `GuidedUNet`. The defaults are the published 256 x 256 model of DDS.

    Attributes:
        image_channels: channels of the image.
        channels: width that the multipliers multiply.
        multipliers: width of each level, in units of `channels`; the resolution halves between levels.
        blocks: residual blocks per level on the way down; one more on the way up.
        attention: levels (0 the finest) with attention; the middle has it always.
        heads: attention heads, when `head_channels` is None.
        heads_up: the same on the way up; None for as many as on the way down.
        head_channels: channels of a head, or None.
        new_attention_order: how queries, keys and values lie in their convolution.
        scale_shift: the embedding scales and shifts, rather than being a bias.
        resampling: between levels, by "residual" blocks, a "conv"-olution, or "pool"-ing and repetition.
        classes: number of classes, 0 for a network without.
        learn_sigma: twice the channels come out.

    Raises:
        CosliceError: numbers that do not fit together, for instance heads that do not divide a width.
    """

    image_channels: int = 1
    channels: int = 256
    multipliers: tuple[float, ...] = (1, 1, 2, 2, 4, 4)
    blocks: int = 1
    attention: tuple[int, ...] = (4,)
    heads: int = 4
    heads_up: int | None = None
    head_channels: int | None = 64
    new_attention_order: bool = False
    scale_shift: bool = True
    resampling: str = "residual"
    classes: int = 0
    learn_sigma: bool = True

    def __post_init__(self) -> None:
        if self.resampling not in ("residual", "conv", "pool"):
            raise CosliceError(
                f'guided-diffusion U-Net: resampling "{self.resampling}" was given, '
                '"residual", "conv" or "pool" is needed.'
            )
        numbers = (self.image_channels, self.channels, self.blocks, self.heads, *self.multipliers)
        if not self.multipliers or min(numbers) <= 0:
            raise CosliceError(f"guided-diffusion U-Net: {self} was given, but sizes must be positive.")
        if odd := [width for width in self.widths if width % 32]:
            raise CosliceError(
                f"guided-diffusion U-Net: a level of {odd[0]} channels was asked for, multiples of 32 are needed."
            )
        for width in self.attended:
            for heads in (self.heads_of(width), self.heads_of(width, up=True)):
                if not heads or width % heads or (self.head_channels and width % self.head_channels):
                    cut = f"{self.head_channels} channels a head" if self.head_channels else f"{heads} heads"
                    raise CosliceError(
                        f"guided-diffusion U-Net: attention over {width} channels was asked for with {cut}, "
                        "which does not divide them; give the number the network was trained with."
                    )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(round(self.channels * m) for m in self.multipliers)

    @property
    def attended(self) -> tuple[int, ...]:
        """Widths that attention works at; the last is the middle's."""
        return (*(self.widths[level] for level in self.attention), self.widths[-1])

    @property
    def stride(self) -> int:
        """Image sides must be multiples of this."""
        return 2 ** (len(self.multipliers) - 1)

    def heads_of(self, width: int, up: bool = False) -> int:
        """Heads of an attention over `width` channels."""
        if self.head_channels is not None:
            return width // self.head_channels
        return self.heads_up if up and self.heads_up is not None else self.heads

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> GuidedUNetConfig:
        tuples = {key: tuple(values[key]) for key in ("multipliers", "attention") if key in values}
        return cls(**{**values, **tuples})


class GuidedUNet(nn.Module):
    """eps(x_t, t): images (b, c, h, w) and steps (b,) -> noise (b, c, h, w), or (b, 2 c, h, w) with `learn_sigma`.

    Steps count from 0 and may be fractional; h and w are multiples of `stride`.
    """

    def __init__(self, config: GuidedUNetConfig = GuidedUNetConfig()):
        super().__init__()
        self.config = config
        embedded = 4 * config.channels
        self.time_embed = nn.Sequential(nn.Linear(config.channels, embedded), nn.SiLU(), nn.Linear(embedded, embedded))
        if config.classes:
            self.label_emb = nn.Embedding(config.classes, embedded)
        width = config.widths[0]
        skips = [width]
        self.input_blocks = nn.ModuleList([Stage(Conv(config.image_channels, width))])
        for level, level_width in enumerate(config.widths):
            for _ in range(config.blocks):
                self.input_blocks.append(Stage(*self._block(level, width, level_width)))
                width = level_width
                skips.append(width)
            if level < len(config.widths) - 1:
                self.input_blocks.append(Stage(_resampling(width, config, "down")))
                skips.append(width)

        self.middle_block = Stage(
            ResBlock(width, width, config), Attention(width, config, up=False), ResBlock(width, width, config)
        )
        self.output_blocks = nn.ModuleList()
        for level, level_width in reversed(list(enumerate(config.widths))):
            for number in range(config.blocks + 1):
                layers = self._block(level, width + skips.pop(), level_width, up=True)
                width = level_width
                if level and number == config.blocks:
                    layers.append(_resampling(width, config, "up"))
                self.output_blocks.append(Stage(*layers))
        channels_out = config.image_channels * (2 if config.learn_sigma else 1)
        self.out = nn.Sequential(
            nn.GroupNorm(32, width), nn.SiLU(), _silent(nn.Conv2d(width, channels_out, 3, padding=1))
        )

    def _block(self, level: int, width_in: int, width_out: int, up: bool = False) -> list[nn.Module]:
        layers: list[nn.Module] = [ResBlock(width_in, width_out, self.config)]
        if level in self.config.attention:
            layers.append(Attention(width_out, self.config, up))
        return layers

    @property
    def stride(self) -> int:
        return self.config.stride

    @property
    def dtype(self) -> torch.dtype:
        return self.time_embed[0].weight.dtype  # type: ignore[return-value]

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """The noise in x (b, c, h, w), each image at its own step t (b,) and of its own class y (b,), if there are any.

        Raises:
            CosliceError: sides that are no multiples of `stride`; a class missing, superfluous or unknown.
        """
        check_sides("guided-diffusion U-Net", x, self.stride)
        embedding = self.time_embed(_step_waves(t, self.config.channels).to(self.dtype))
        if self.config.classes or y is not None:
            embedding = embedding + self._class(y)
        h = x.to(self.dtype)
        skips = []
        for stage in self.input_blocks:
            h = stage(h, embedding)
            skips.append(h)
        h = self.middle_block(h, embedding)
        for stage in self.output_blocks:
            h = stage(torch.cat((h, skips.pop()), dim=1), embedding)
        return self.out(h)

    def _class(self, y: Tensor | None) -> Tensor:
        count = self.config.classes
        if not count:
            raise CosliceError("guided-diffusion U-Net: classes were given, but the network has none; leave them out.")
        if y is None or int(y.min()) < 0 or int(y.max()) >= count:
            given = "no class was" if y is None else f"classes {int(y.min())} to {int(y.max())} were"
            raise CosliceError(
                f"guided-diffusion U-Net: {given} given, but the network needs one of 0 to {count - 1} for each image."
            )
        return self.label_emb(y)


class Stage(nn.Sequential):
    """Layers in a row, each given the embedding too."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:  # type: ignore[override]
        for layer in self:
            x = layer(x, embedding)
        return x


class Conv(nn.Conv2d):
    """A 3x3 convolution that takes no notice of the embedding."""

    def __init__(self, width_in: int, width_out: int):
        super().__init__(width_in, width_out, 3, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)


class ResBlock(nn.Module):
    """A residual block of two 3x3 convolutions under the embedding's control; it may halve ("down") or double."""

    def __init__(self, width_in: int, width_out: int, config: GuidedUNetConfig, direction: str = ""):
        super().__init__()
        self.scale_shift, self.direction = config.scale_shift, direction
        self.in_layers = nn.Sequential(
            nn.GroupNorm(32, width_in), nn.SiLU(), nn.Conv2d(width_in, width_out, 3, padding=1)
        )
        control = 2 * width_out if config.scale_shift else width_out
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(4 * config.channels, control))
        # Third stands the published dropout, which does nothing outside training.
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, width_out),
            nn.SiLU(),
            nn.Identity(),
            _silent(nn.Conv2d(width_out, width_out, 3, padding=1)),
        )
        self.skip_connection = nn.Conv2d(width_in, width_out, 1) if width_in != width_out else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(b, width_in, h, w), embedding (b, 4 channels) -> (b, width_out, h', w')."""
        norm, act, conv = self.in_layers
        h = act(norm(x))
        if self.direction:
            resample = mean_down if self.direction == "down" else repeat_up
            h, x = resample(h), resample(x)
        h = conv(h)
        control = self.emb_layers(embedding)[:, :, None, None]
        if self.scale_shift:
            scale, shift = control.chunk(2, dim=1)
            norm, *rest = self.out_layers
            h = norm(h) * (1 + scale) + shift
            for layer in rest:
                h = layer(h)
        else:
            h = self.out_layers(h + control)
        return self.skip_connection(x) + h


class Attention(nn.Module):
    """Every pixel asks all others: softmax(q k^T / sqrt(c)) v in each head, added to the input."""

    def __init__(self, width: int, config: GuidedUNetConfig, up: bool):
        super().__init__()
        self.heads, self.new_order = config.heads_of(width, up), config.new_attention_order
        self.norm = nn.GroupNorm(32, width)
        self.qkv = nn.Conv1d(width, 3 * width, 1)
        self.proj_out = _silent(nn.Conv1d(width, width, 1))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(b, width, h, w) -> the same shape."""
        count, width, pixels = len(x), x.shape[1], x[0, 0].numel()
        qkv = self.qkv(self.norm(x).flatten(2))
        order = (count, 3, self.heads) if self.new_order else (count, self.heads, 3)
        heads = qkv.reshape(*order, width // self.heads, pixels).transpose(-1, -2)
        q, k, v = heads.unbind(1 if self.new_order else 2)
        answer = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(count, width, pixels)
        return x + self.proj_out(answer).reshape(x.shape)


class Downsample(nn.Module):
    """Halves the resolution by a strided convolution, or by means of 2 x 2 pixels."""

    def __init__(self, width: int, learned: bool):
        super().__init__()
        if learned:
            self.op = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.op(x) if hasattr(self, "op") else mean_down(x)


class Upsample(nn.Module):
    """Doubles the resolution by repetition, which a convolution may follow."""

    def __init__(self, width: int, learned: bool):
        super().__init__()
        if learned:
            self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = repeat_up(x)
        return self.conv(x) if hasattr(self, "conv") else x


def _resampling(width: int, config: GuidedUNetConfig, direction: str) -> nn.Module:
    if config.resampling == "residual":
        return ResBlock(width, width, config, direction)
    return (Downsample if direction == "down" else Upsample)(width, config.resampling == "conv")


def _step_waves(t: Tensor, count: int) -> Tensor:
    """Cosines and sines of steps (b,), frequencies geometric from 1 towards 1/10000: (b, count) float32."""
    half = count // 2
    frequencies = torch.exp(torch.arange(half, device=t.device) * (-math.log(10000) / half))
    phase = t.to(torch.float32)[:, None] * frequencies
    return F.pad(torch.cat((phase.cos(), phase.sin()), dim=1), (0, count % 2))


def _silent(layer: nn.Module) -> nn.Module:
    """Make a layer put out zeros until it has learned something."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
