"""How bright the scans of a pack are, for the card of what is trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coslice.priors import read_card, update_card
from coslice.priors.suitability import seen_by
from coslice.training.collection.catalogue import Pack
from coslice.values import brightness_of, spans

__all__ = ["pack_intensity", "write_intensity"]


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


def write_intensity(prior: Path, pack: Pack, names: Sequence[str] | None = None) -> dict[str, list[float]]:
    """Say on the card of a prior that was trained without it how bright the scans of its pack are; returns that.

    Args:
        prior: its file.
        pack, names: as of `pack_intensity`; of the scans that it was trained on, and not of those held out.

    Raises:
        CosliceError: as `coslice.priors.storage.update_card`.
    """
    intensity = pack_intensity(pack, names)
    update_card(prior, {"seen": {**seen_by(read_card(prior)), "intensity": intensity}})
    return intensity
