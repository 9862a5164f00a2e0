"""A compact convolutional U-Net for slices, or for patches of slices as channels, with a noise label.

The network sees an image at half resolution: `pixel_unshuffle` folds each 2x2 block of pixels into
channels first and unfolds it last, which quarters the cost of every layer and loses nothing. It has
no attention and no fixed size, so one set of weights serves any image whose sides are multiples of
`UNet.stride`.

The noise label enters every block as a scale and a shift of its second normalisation (FiLM). So does, for patches, the
distance between their slices: DiffusionBlend's relative position encoding, embedded by waves and dense layers like
the noise and added to it.

A patch is either the channels of one image, or (`exchange`) as many images as it has slices. The same weights see
each of these, and between the two convolutions of every block they tell each other what they found: a 3x3 convolution
over a slice, then a 1x1 one over its neighbours, as the (2+1)D blocks of Tran et al. (CVPR 2018) take space and time
apart. By an exchange that begins silent a network of single slices becomes such a network of patches, which begins
with its answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coslice.errors import CosliceError
from coslice.networks.inference import closed, convolved, doubled, kept
from coslice.networks.layers import silent, waves
from coslice.networks.limits import check_counts, check_levels
from coslice.tree import built

__all__ = ["UNet", "UNetConfig", "for_patches"]

Controls = list[tuple[Tensor, ...]]
"""Scale and shift of every block, by its number."""


@dataclass(frozen=True)
class UNetConfig:
    """The shape of a `UNet`.

    Attributes:
        image_channels: channels of the image (1 for a slice, k for a patch of k slices).
        channels: width of the first level.
        multipliers: width of each level, in units of `channels`; the resolution halves between levels.
        blocks: residual blocks per level, on the way down and on the way up.
        fold: side of the pixel block folded into channels before the first layer.
        positions: whether the network is given how far apart the slices of a patch are.
        exchange: whether the slices of a patch are images of their own, whose features are exchanged in every block.

    Raises:
        CosliceError: numbers that no network has, or levels whose channels are no multiples of 8.
    """

    image_channels: int = 1
    channels: int = 48
    multipliers: tuple[int, ...] = (1, 2, 3, 3)
    blocks: int = 2
    fold: int = 2
    positions: bool = False
    exchange: bool = False

    def __post_init__(self) -> None:
        check_counts("U-Net", image_channels=self.image_channels, channels=self.channels, fold=self.fold)
        check_counts("U-Net", 0, blocks=self.blocks)
        check_levels("U-Net", self.multipliers)
        if self.exchange and self.image_channels == 1:
            raise CosliceError(
                "U-Net: exchange was asked for, but slices have neighbours in patches of at least 2 only."
            )
        if odd := [width for width in (self.channels * m for m in self.multipliers) if width % 8]:
            raise CosliceError(f"U-Net: a level of {odd[0]} channels was asked for, multiples of 8 are needed.")

    @property
    def stride(self) -> int:
        """Image sides must be multiples of this."""
        return self.fold * 2 ** (len(self.multipliers) - 1)

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], who: str = "U-Net") -> UNetConfig:
        """The configuration that `to_dict` describes.

        Raises:
            CosliceError: a name or a value that is none of its; it begins with `who`.
        """
        return built(cls, values, who=who)


class UNet(nn.Module):
    """F(x, c, d): image (b, image_channels, h, w) and noise label (b,) -> image of the same shape.

    h and w are multiples of `stride`. d (b,), where the network has `positions`, is the label of the distance.
    """

    def __init__(self, config: UNetConfig = UNetConfig()):
        super().__init__()
        self.config = config
        widths = [config.channels * m for m in config.multipliers]
        label_width = 4 * config.channels
        slices = config.image_channels if config.exchange else 1
        folded = config.image_channels // slices * config.fold**2

        self.label = Label(config.channels, label_width)
        if config.positions:
            self.position = Label(config.channels, label_width)
            # A network that starts from a prior of single slices starts with its answers.
            silent(self.position.dense2)
        self.first = nn.Conv2d(folded, widths[0], 3, padding=1)

        self.down = nn.ModuleList()
        skips = [widths[0]]
        width = widths[0]
        for level, level_width in enumerate(widths):
            for _ in range(config.blocks):
                self.down.append(Block(width, level_width, label_width, slices))
                width = level_width
                skips.append(width)
            if level < len(widths) - 1:
                self.down.append(Downsample(width))
                skips.append(width)

        self.middle = Block(width, width, label_width, slices)

        self.up = nn.ModuleList()
        for level, level_width in reversed(list(enumerate(widths))):
            for _ in range(config.blocks + 1):
                self.up.append(Block(width + skips.pop(), level_width, label_width, slices))
                width = level_width
            if level > 0:
                self.up.append(Upsample(width))

        self._blocks = [layer for layer in self.modules() if isinstance(layer, Block)]
        for number, block in enumerate(self._blocks):
            block.number = number

        self.last_norm = nn.GroupNorm(8, width)
        self.last = silent(nn.Conv2d(width, folded, 3, padding=1))

    @property
    def stride(self) -> int:
        return self.config.stride

    def forward(self, image: Tensor, label: Tensor, position: Tensor | None = None) -> Tensor:
        labels = label if position is None else torch.stack((label, position))
        controls = kept(self, labels.flatten(), lambda: self._controls(label, position))
        x = image.flatten(0, 1)[:, None] if self.config.exchange else image
        x = self.first(F.pixel_unshuffle(x, self.config.fold))
        skips = [x]
        for layer in self.down:
            x = layer(x, controls)
            skips.append(x)
        x = self.middle(x, controls)
        for layer in self.up:
            if isinstance(layer, Block):
                x = torch.cat((x, skips.pop()), dim=1)
            x = layer(x, controls)
        x = closed(self.last_norm, self.last, x)
        return F.pixel_shuffle(x, self.config.fold).reshape(image.shape)

    def _controls(self, label: Tensor, position: Tensor | None) -> Controls:
        """What the labels say to every block: its scale and shift, and how much is exchanged, (b, width) each."""
        embedded = self.label(label.float())
        if position is not None:
            embedded = embedded + self.position(position.float())
        if self.config.exchange:
            embedded = embedded.repeat_interleave(self.config.image_channels, dim=0)
        return [block.controls(embedded) for block in self._blocks]


class Block(nn.Module):
    """A residual block of two 3x3 convolutions, the second normalised under the label's control.

    Where a patch has more than one image to it (`slices`), these exchange what the first convolution found.
    """

    def __init__(self, width_in: int, width_out: int, label_width: int, slices: int = 1):
        super().__init__()
        self.number = 0
        self.norm1 = nn.GroupNorm(8, width_in)
        self.conv1 = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.film = nn.Linear(label_width, 2 * width_out)
        self.norm2 = nn.GroupNorm(8, width_out)
        # Each block starts as the identity, so the untrained network is a plain skip path.
        self.conv2 = silent(nn.Conv2d(width_out, width_out, 3, padding=1))
        self.skip = nn.Conv2d(width_in, width_out, 1) if width_in != width_out else nn.Identity()
        self.exchange = Exchange(width_out, label_width, slices) if slices > 1 else None

    def controls(self, embedded: Tensor) -> tuple[Tensor, ...]:
        """What the embedded labels (b, label_width) say to this block, (b, width_out) each."""
        told = self.film(embedded).chunk(2, dim=1)
        return told if self.exchange is None else (*told, self.exchange.gate(embedded))

    def forward(self, x: Tensor, controls: Controls) -> Tensor:
        scale, shift, *gate = controls[self.number]
        h = closed(self.norm1, self.conv1, x)
        if self.exchange is not None:
            h = self.exchange(h, *gate)
        past = convolved(self.skip, x, levels=False) if isinstance(self.skip, nn.Conv2d) else x
        return closed(self.norm2, self.conv2, h, scale=scale, shift=shift, plus=past, spare=past is not x)


class Exchange(nn.Module):
    """What the slices of a patch hear of their neighbours: h_i + (1 + gate) W (h_(i-1) + h_(i+1)).

    W (width, width) is one for both sides, so that a patch turned over gives the answers turned over; beyond the ends
    of a patch there is nothing. The gate, of the labels, says how much of it is added at this noise and distance.
    """

    def __init__(self, width: int, label_width: int, slices: int):
        super().__init__()
        self.slices = slices
        self.gate = silent(nn.Linear(label_width, width))
        self.mix = silent(nn.Conv2d(width, width, 1, bias=False))

    def forward(self, h: Tensor, gate: Tensor) -> Tensor:
        told = convolved(self.mix, h, levels=False) * (1 + gate[:, :, None, None])
        said, heard = (part.unflatten(0, (-1, self.slices)) for part in (told, h))
        inner = heard[:, 1:-1] + said[:, :-2] + said[:, 2:]
        return torch.cat((heard[:, :1] + said[:, 1:2], inner, heard[:, -1:] + said[:, -2:-1]), dim=1).flatten(0, 1)


class Downsample(nn.Conv2d):
    """Halves the resolution with a strided 3x3 convolution."""

    def __init__(self, width: int):
        super().__init__(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor, controls: Controls) -> Tensor:  # type: ignore[override]
        return super().forward(x)


class Upsample(nn.Conv2d):
    """Doubles the resolution: nearest neighbour, then a 3x3 convolution."""

    def __init__(self, width: int):
        super().__init__(width, width, 3, padding=1)

    def forward(self, x: Tensor, controls: Controls) -> Tensor:  # type: ignore[override]
        return doubled(self, x)


class Label(nn.Module):
    """Embeds a label: cosines and sines of geometric frequencies, then two dense layers.

    (b,) float32 -> (b, width) in the weights' own type: the phase would not survive bfloat16.
    """

    def __init__(self, count: int, width: int, lowest: float = 0.2, highest: float = 50.0):
        super().__init__()
        half = count // 2
        self.frequencies = [lowest * (highest / lowest) ** (i / max(half - 1, 1)) for i in range(half)]
        self.dense1 = nn.Linear(2 * half, width)
        self.dense2 = nn.Linear(width, width)

    def forward(self, label: Tensor) -> Tensor:
        phase = label[:, None] * label.new_tensor(self.frequencies)
        embedded = waves(phase).to(self.dense1.weight.dtype)
        return F.silu(self.dense2(F.silu(self.dense1(embedded))))


@torch.no_grad()
def for_patches(network: UNet, slices: int) -> UNet:
    """The network of single slices `network` as one of patches, which gives every slice what `network` gives it.

    Whatever their distance; so training on patches starts with all that was learned on slices, and has to learn only
    what neighbours tell each other. The result is in float32.

    Raises:
        CosliceError: a network of patches, or fewer than 2 slices.
    """
    if network.config.image_channels != 1 or slices < 2:
        raise CosliceError(
            f"for_patches: a network of {network.config.image_channels} slices to an image was to be one of {slices}, "
            "but one of single slices is needed, for at least 2."
        )
    with torch.device("meta"):  # every weight is given below
        patches = UNet(replace(network.config, image_channels=slices, positions=True, exchange=True))
    weights = {name: weight.float() for name, weight in network.state_dict().items()}
    for part in ("weight", "bias"):
        # Distances begin to be seen as noise is, and to say nothing.
        weights[f"position.dense1.{part}"] = weights[f"label.dense1.{part}"].clone()
    for name, weight in patches.state_dict().items():
        weights.setdefault(name, torch.zeros(weight.shape))
    patches.load_state_dict(weights, assign=True)
    return patches
