"""The shape of the guided-diffusion U-Net."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from coslice.errors import CosliceError
from coslice.networks.configuration import tidy
from coslice.networks.limits import check_counts, check_levels
from coslice.tree import built

__all__ = ["GuidedUNetConfig"]

_TITLE = "guided-diffusion U-Net"


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
        sizes = {name: getattr(self, name) for name in ("image_channels", "channels", "blocks", "heads")}
        optional = {name: getattr(self, name) for name in ("heads_up", "head_channels")}
        check_counts(_TITLE, **sizes, **{name: count for name, count in optional.items() if count is not None})
        check_counts(_TITLE, 0, classes=self.classes)
        check_levels(_TITLE, self.multipliers, self.attention)
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
    def from_dict(cls, values: Mapping[str, Any], who: str = _TITLE) -> GuidedUNetConfig:
        """The configuration that `to_dict`, or a part of it, describes; the rest is as published.

        Raises:
            CosliceError: a name or a value that is none of its; it begins with `who`.
        """
        found = built(cls, values, who=who)
        return replace(found, multipliers=tuple(map(tidy, found.multipliers)))
