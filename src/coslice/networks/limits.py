"""What the shape of a network can be: bounds of any, and of one whose tensors are there.

A configuration of a few bytes may ask for a network of terabytes, or for a billion empty layers. So its numbers are
bounded before a network is built, and more closely by the tensors that it has to fit: no layer is wider than the
longest side among them, and there are no more layers than tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from coslice.errors import CosliceError
from coslice.escapes import shown

__all__ = ["check_counts", "check_levels", "check_room"]

_WIDEST = 2**17
_LAYERS = 2**10
_LEVELS = 12
_LARGEST_FACTOR = 1024


def check_counts(title: str, least: int = 1, **counts: int) -> None:
    """Refuse numbers of channels, blocks, heads or classes that no network has.

    Args:
        title: of the network, which begins the sentence.
        least: of each.
        counts: by name.

    Raises:
        CosliceError: one is below `least`, or beyond what any network has.
    """
    for name, count in counts.items():
        most = _LAYERS if name == "blocks" else _WIDEST
        if not least <= count <= most:
            raise CosliceError(
                f"{title}: {name} {shown(count)} was given, but it must be from {least} to {most}; give the shape that "
                "the network was trained with."
            )


def check_levels(title: str, multipliers: Sequence[float], attention: Sequence[int] = ()) -> None:
    """Refuse multipliers that are no widths of levels, and attention at levels that are not there.

    Raises:
        CosliceError: likewise.
    """
    if not 1 <= len(multipliers) <= _LEVELS or not all(0 < one <= _LARGEST_FACTOR for one in multipliers):
        raise CosliceError(
            f"{title}: the multipliers {shown(multipliers)} were given, but from 1 to {_LEVELS} numbers above 0 and up "
            f"to {_LARGEST_FACTOR} are needed, one for each level."
        )
    if not all(0 <= level < len(multipliers) for level in attention):
        raise CosliceError(
            f"{title}: attention at the levels {shown(attention)} was given, but its levels are 0 to "
            f"{len(multipliers) - 1}."
        )


def check_room(title: str, config: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a configuration that cannot be that of these tensors, before a network is built from it.

    Args:
        title: of whose it is.
        config: of a network in `coslice.networks.NETWORKS`.
        shapes: of the tensors by name.

    Raises:
        CosliceError: it is wider than the longest side, or has more layers than there are tensors.
    """
    longest = max((side for shape in shapes.values() for side in shape), default=0)
    widest = max(config.channels * max(config.multipliers), config.image_channels, getattr(config, "classes", 0))
    layers = config.blocks * len(config.multipliers)
    if widest > longest or layers > len(shapes):
        found = f"{len(shapes)} tensors with sides of at most {longest}" if shapes else "no tensors at all"
        raise CosliceError(
            f"{title}: its configuration asks for {layers} blocks and layers of {widest:g} channels, but its file "
            f"holds {found}; the two do not belong together, get the file anew."
        )
    taken = math.prod((getattr(config, "fold", 1),) * 2) * config.image_channels
    if taken > longest:
        raise CosliceError(
            f"{title}: its configuration folds images into {taken} channels, but its file holds tensors with sides of "
            f"at most {longest}; the two do not belong together, get the file anew."
        )
