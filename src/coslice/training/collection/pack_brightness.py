"""How bright the scans of a pack are, for the card of what is trained on them."""

from __future__ import annotations

from collections.abc import Sequence

from coslice.training.collection.catalogue import Pack
from coslice.values import brightness_of, spans

__all__ = ["pack_intensity"]


def pack_intensity(pack: Pack, names: Sequence[str] | None = None) -> dict[str, list[float]]:
    """What a card says under "intensity" (`coslice.priors.suitability`), measured from the slices of a pack.

    The window of an MR scan is itself made so that a thousandth of its voxels lie beyond: nothing is said of these.

    Args:
        pack: of slices in the unit window, as training sees them.
        names: of the scans; None is all of them.
    """
    scans = pack.names if names is None else names
    found = spans(brightness_of(pack.slices(name), pack.full) for name in scans)
    return {key: ends for key, ends in found.items() if key != "clipped" or pack.window != "mr"}
