"""Volumes that are no images: masks, label maps, probability maps. A prior must not learn from them.

The values decide, together with names, which only lower the bar: a scan that is called "mask" and looks like a scan is
one. With the share s of equal neighbours (along x, where not both are the commonest value, nor both the highest),

    mask            two different values
    label map       whole numbers from -1 up, at most 16 different, or s >= 0.8; if named so, any with s >= 0.5
    probability map no value below 0, and 25 % of those above 0 at the highest; if named so, any within 0..1

A scan quantised to 8 bits has noise, so its neighbours seldom are equal; a map of a thousand regions has not. Measured:
s of a chest CT 0.22, in 8 bits 0.20 to 0.39, in 6 bits up to 0.53, of T1 heads 0.10; at the highest value are 9 % of
a CT clipped to soft tissue, 0.4 % of T1 heads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from coslice.training.collection.skips import Unusable

__all__ = ["check_image"]

_FEW = 16
_EQUAL, _EQUAL_NAMED = 0.8, 0.5
_TOP = 0.25
_SUFFIXES = {
    *("mask", "masks", "brainmask", "seg", "segs", "segmentation", "label", "labels", "labelmap", "roi", "rois"),
    *("dseg", "probseg", "prob", "probability", "pve", "aseg", "aparc", "wmparc", "annotation", "gt", "groundtruth"),
}
_FOLDERS = {
    *("labelstr", "labelsts", "labels", "label", "masks", "mask", "segmentations", "segmentation", "segs", "rois"),
    *("annotations", "groundtruth", "gt", "probabilities"),
}
_MIXED = {"derivatives"}
"""Folders that hold maps and scans, so that they say nothing of values within 0..1."""


def check_image(data: Tensor, parts: Sequence[str], where: str) -> None:
    """Refuse a volume that is no image.

    Args:
        data: its voxels (z, y, x).
        parts: names of the folders it is in, and its own.
        where: it is, for the sentence.

    Raises:
        Unusable: one value everywhere, a mask, a label map, a probability map.
    """
    low, high = (float(end) for end in data.aminmax())
    if low == high:
        raise Unusable(f"{where} is {low:g} everywhere, so there is nothing to learn from it.", "one value everywhere")
    values = _different(data)
    if values is not None and len(values) == 2:
        raise Unusable(
            f"{where} is a mask, no scan: all voxels are {values[0]:g} or {values[1]:g}.", "masks (two values)"
        )
    if low < -1:
        return
    named = _named(parts, _FOLDERS)
    whole = bool((data == data.round()).all())
    if values is not None and whole:
        raise Unusable(
            f"{where} is a label map, no scan: it holds {len(values)} different whole numbers only.",
            "label maps (few whole numbers)",
        )
    hinted = named or _named(parts, _MIXED)
    if whole or named:
        equal = _equal_neighbours(data, high)
        if equal >= (_EQUAL_NAMED if hinted else _EQUAL):
            raise Unusable(
                f"{where} is a label map, no scan: {100 * equal:.0f} % of neighbouring voxels in it are equal.",
                "label maps (regions of equal values)",
            )
    if low >= 0:
        # Beyond 0..1 only what is exactly at the top is certainty; a ball of water is nearly one value too.
        near = 0.98 * high if high <= 1.001 else high
        top = float((data >= near).sum() / (data > 0.02 * high).sum())
        if top >= _TOP or (named and high <= 1.001):
            raise Unusable(
                f"{where} is a probability map, no scan: its values run from {low:g} to {high:g}, and "
                + ("its name says so." if top < _TOP else f"{100 * top:.0f} % of those above 0 are at {high:g}."),
                "probability maps",
            )


def _different(data: Tensor) -> np.ndarray | None:
    """The different values, if these are few; a scan has shown more after a slice or two."""
    values = np.empty(0, np.float32)
    for image in data.numpy():
        values = np.union1d(values, image)
        if len(values) > _FEW:
            return None
    return values


def _equal_neighbours(data: Tensor, high: float) -> float:
    """Share of voxels that equal their neighbour along x, of pairs that are not all background or all saturated."""
    background = float(data.reshape(-1)[:: max(1, data.numel() // 100_000)].mode().values)
    one, other = data[..., 1:], data[..., :-1]
    equal = one == other
    plain = equal & ((one == background) | (one == high))
    counted = equal.numel() - int(plain.sum())
    return (int(equal.sum()) - int(plain.sum())) / max(counted, 1)


def _named(parts: Sequence[str], folders: set[str]) -> bool:
    """Whether a file is called as maps are, or lies in a folder that is called so."""
    if any(part.lower() in folders for part in parts[:-1]):
        return True
    stem = parts[-1].lower() if parts else ""
    tokens = re.split(r"[_.\-+ ]+", stem)
    return folders is _FOLDERS and (tokens[-1] in _SUFFIXES or re.search(r"(^|_)label-[a-z0-9]+", stem) is not None)
