"""The shape of NCSN++, and the table of noise levels that it was trained with.

In files the parts lie flat, under the published words: `progressive_input` is `pyramids.input`, `sigma_max` is
`levels.sigma_max`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.escapes import shown
from coslice.networks.configuration import tidy
from coslice.networks.limits import check_counts, check_levels
from coslice.tree import built

__all__ = ["NCSNppConfig", "NoiseTable", "Pyramids", "noise_levels"]

_MOST_TAPS = 64
_FLAT = {
    "pyramids": {"progressive_input": "input", "progressive_combine": "combine", "progressive": "output"},
    "levels": {"sigma_min": "sigma_min", "sigma_max": "sigma_max", "scales": "scales"},
}
"""Parts of a configuration: the word of each of their fields in files."""


@dataclass(frozen=True)
class Pyramids:
    """Where the image itself comes in and goes out beside the usual path.

    Attributes:
        input: at each halving, "none", "input_skip" (the shrunken picture) or "residual" (convolutions of its own).
        combine: how "input_skip" joins picture and features, "sum" or "cat".
        output: gathered from all resolutions or not, "none", "output_skip" (pictures) or "residual" (features).

    Raises:
        CosliceError: a word that is none of these.
    """

    input: str = "residual"
    combine: str = "sum"
    output: str = "none"

    def __post_init__(self) -> None:
        known = (("none", "input_skip", "residual"), ("sum", "cat"), ("none", "output_skip", "residual"))
        for (name, key), words in zip(_FLAT["pyramids"].items(), known, strict=True):
            _check_word(name, getattr(self, key), words)


@dataclass(frozen=True)
class NoiseTable:
    """The noise levels of training: `scales` of them, geometric from `sigma_max` down to `sigma_min`.

    Raises:
        CosliceError: levels that are not positive, or in the wrong order.
    """

    sigma_min: float = 0.01
    sigma_max: float = 378.0
    scales: int = 2000

    def __post_init__(self) -> None:
        check_counts("NCSN++", scales=self.scales)
        if not 0 < self.sigma_min < self.sigma_max:
            raise CosliceError(
                f"NCSN++: {self.scales} noise levels from {self.sigma_max:g} to {self.sigma_min:g} were given, but "
                "there must be some, positive and falling."
            )


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
        pyramids: where the image comes in and goes out.
        fir, fir_kernel: resample with this filter, rather than by means and repetition.
        skip_rescale: divide sums of two branches by sqrt(2).
        scale_by_sigma: divide the output by sigma.
        centred: the images given are in [-1, 1] already; else in [0, 1], and mapped inside.
        levels: the table of noise levels.

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
    pyramids: Pyramids = field(default_factory=Pyramids)
    fir: bool = True
    fir_kernel: tuple[float, ...] = (1, 3, 3, 1)
    skip_rescale: bool = True
    scale_by_sigma: bool = True
    centred: bool = False
    levels: NoiseTable = field(default_factory=NoiseTable)

    def __post_init__(self) -> None:
        _check_word("embedding", self.embedding, ("fourier", "positional"))
        check_counts("NCSN++", image_channels=self.image_channels, channels=self.channels, blocks=self.blocks)
        check_levels("NCSN++", self.multipliers, self.attention)
        if not 2 <= len(self.fir_kernel) <= _MOST_TAPS or sum(self.fir_kernel) == 0:
            raise CosliceError(
                f"NCSN++: FIR kernel {shown(self.fir_kernel)} was given, but it needs 2 to {_MOST_TAPS} taps and a sum."
            )

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

    def to_dict(self) -> dict[str, Any]:
        """For files: flat, in the published words."""
        flat: dict[str, Any] = {}
        for key, value in asdict(self).items():
            flat |= {name: value[inner] for name, inner in _FLAT[key].items()} if key in _FLAT else {key: value}
        return flat

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], who: str = "NCSN++") -> NCSNppConfig:
        """The configuration that `to_dict`, or a part of it, describes; the rest is as published.

        Raises:
            CosliceError: a name or a value that is none of its; it begins with `who`.
        """
        inside = {name for names in _FLAT.values() for name in names}
        tree: dict[str, Any] = {key: value for key, value in values.items() if key not in inside}
        for part, names in _FLAT.items():
            tree[part] = {inner: values[name] for name, inner in names.items() if name in values}
        found = built(cls, tree, who=who)
        numbers = (tuple(map(tidy, found.multipliers)), tuple(map(tidy, found.fir_kernel)))
        return replace(found, multipliers=numbers[0], fir_kernel=numbers[1])


def noise_levels(table: NoiseTable) -> Tensor:
    """The levels of `table`: (scales,), from `sigma_max` to `sigma_min`."""
    ends = math.log(table.sigma_max), math.log(table.sigma_min)
    return torch.linspace(*ends, table.scales).exp()


def _check_word(name: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise CosliceError(f'NCSN++: {name} "{given}" was given, but it is one of {known}.')
