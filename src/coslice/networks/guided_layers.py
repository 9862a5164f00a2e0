"""What the guided-diffusion U-Net is made of: residual blocks, attention with several heads, resampling.

Group normalisation with 32 groups, SiLU, 3x3 convolutions; every layer is called with the embedding too. A layer that
closes a residual branch starts at zero, so that a fresh network is a plain path. Parameters have their published names.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from coslice.networks.guided_config import GuidedUNetConfig
from coslice.networks.halving import mean_down, repeat_up
from coslice.networks.inference import activated, closed, convolved, doubled
from coslice.networks.layers import silent

__all__ = ["Conv", "Enlarge", "GuidedBlock", "MultiHeadAttention", "Shrink", "Stage", "resampling"]


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


class GuidedBlock(nn.Module):
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
            silent(nn.Conv2d(width_out, width_out, 3, padding=1)),
        )
        self.skip_connection = nn.Conv2d(width_in, width_out, 1) if width_in != width_out else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(b, width_in, h, w), embedding (b, 4 channels) -> (b, width_out, h', w')."""
        norm, conv = _ends(self.in_layers)
        if self.direction == "up":
            h, x = doubled(conv, activated(norm, x)), repeat_up(x)
        elif self.direction == "down":
            h, x = convolved(conv, mean_down(activated(norm, x))), mean_down(x)
        else:
            h = closed(norm, conv, x)
        control = self.emb_layers(embedding)
        if self.scale_shift:
            labels = dict(zip(("scale", "shift"), control.chunk(2, dim=1), strict=True))
        else:
            labels = {"offset": control}
        norm, conv = _ends(self.out_layers)
        past = self.skip_connection
        plus = convolved(past, x, levels=False) if isinstance(past, nn.Conv2d) else x
        return closed(norm, conv, h, **labels, plus=plus, spare=plus is not x)


def _ends(layers: nn.Sequential) -> tuple[Any, Any]:
    """The normalisation that opens, and the convolution that closes."""
    return layers[0], layers[-1]


class MultiHeadAttention(nn.Module):
    """Every pixel asks all others: softmax(q k^T / sqrt(c)) v in each head, added to the input."""

    def __init__(self, width: int, config: GuidedUNetConfig, up: bool):
        super().__init__()
        self.heads, self.new_order = config.heads_of(width, up), config.new_attention_order
        self.norm = nn.GroupNorm(32, width)
        self.qkv = nn.Conv1d(width, 3 * width, 1)
        self.proj_out = silent(nn.Conv1d(width, width, 1))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(b, width, h, w) -> the same shape."""
        count, width, pixels = len(x), x.shape[1], x[0, 0].numel()
        qkv = self.qkv(activated(self.norm, x, active=False).flatten(2))
        order = (count, 3, self.heads) if self.new_order else (count, self.heads, 3)
        heads = qkv.reshape(*order, width // self.heads, pixels).transpose(-1, -2)
        q, k, v = heads.unbind(1 if self.new_order else 2)
        answer = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(count, width, pixels)
        return x + self.proj_out(answer).reshape(x.shape)


class Shrink(nn.Module):
    """Halves the resolution by a strided convolution, or by means of 2 x 2 pixels."""

    def __init__(self, width: int, learned: bool):
        super().__init__()
        if learned:
            self.op = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.op(x) if hasattr(self, "op") else mean_down(x)


class Enlarge(nn.Module):
    """Doubles the resolution by repetition, which a convolution may follow."""

    def __init__(self, width: int, learned: bool):
        super().__init__()
        if learned:
            self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return doubled(self.conv, x) if hasattr(self, "conv") else repeat_up(x)


def resampling(width: int, config: GuidedUNetConfig, direction: str) -> nn.Module:
    """The layer that halves ("down") or doubles ("up") the resolution between levels, of the kind `config` names."""
    if config.resampling == "residual":
        return GuidedBlock(width, width, config, direction)
    return (Shrink if direction == "down" else Enlarge)(width, config.resampling == "conv")
