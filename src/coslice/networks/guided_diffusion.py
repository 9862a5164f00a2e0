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

import torch
from torch import Tensor, nn

from coslice.errors import CosliceError
from coslice.networks.guided_config import GuidedUNetConfig
from coslice.networks.guided_layers import Conv, GuidedBlock, MultiHeadAttention, Stage, resampling
from coslice.networks.inference import closed
from coslice.networks.layers import check_sides, index_waves, silent

__all__ = ["GuidedUNet"]


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
                self.input_blocks.append(Stage(resampling(width, config, "down")))
                skips.append(width)

        self.middle_block = Stage(
            GuidedBlock(width, width, config),
            MultiHeadAttention(width, config, up=False),
            GuidedBlock(width, width, config),
        )
        self.output_blocks = nn.ModuleList()
        for level, level_width in reversed(list(enumerate(config.widths))):
            for number in range(config.blocks + 1):
                layers = self._block(level, width + skips.pop(), level_width, up=True)
                width = level_width
                if level and number == config.blocks:
                    layers.append(resampling(width, config, "up"))
                self.output_blocks.append(Stage(*layers))
        channels_out = config.image_channels * (2 if config.learn_sigma else 1)
        self.out = nn.Sequential(
            nn.GroupNorm(32, width), nn.SiLU(), silent(nn.Conv2d(width, channels_out, 3, padding=1))
        )

    def _block(self, level: int, width_in: int, width_out: int, up: bool = False) -> list[nn.Module]:
        layers: list[nn.Module] = [GuidedBlock(width_in, width_out, self.config)]
        if level in self.config.attention:
            layers.append(MultiHeadAttention(width_out, self.config, up))
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
        embedding = self.time_embed(index_waves(t, self.config.channels, ends=False, sines_first=False).to(self.dtype))
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
        return closed(self.out[0], self.out[-1], h)  # type: ignore[arg-type]

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
