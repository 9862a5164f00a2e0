"""Places for lesions: in lung and in soft tissue, found by HU and homogeneity, the same for the same seed.

A place is a voxel about which a ball, as large as the lesion and a rim, has a mean within the HU of the tissue and a
small standard deviation, both by sums over the ball; the ball lies inside the volume and inside the body (all that is
not the outer air). So a lesion never sits on a rib, a vessel or the skin, and what is measured is the reconstruction,
not the anatomy under the lesion.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from scipy import ndimage, signal
from torch import Tensor

from coslice.errors import CosliceError
from coslice.lesions.spheres import Lesion, profile
from coslice.noise import Key, generator
from coslice.volume import Volume

__all__ = ["LUNG", "SOFT_TISSUE", "Tissue", "near", "places", "resolvable", "spread_lesions"]

_AIR = -300.0
"""HU below which a voxel that touches the border of a slice through such voxels is air outside of the body."""


@dataclass(frozen=True)
class Tissue:
    """Where lesions may be, and which.

    Attributes:
        name: in tables.
        low, high: mean of a place, HU.
        roughness: largest standard deviation of a place, HU.
        contrasts: of lesions there, HU.

    Raises:
        CosliceError: `high` not above `low`, or no roughness.
    """

    name: str
    low: float
    high: float
    roughness: float
    contrasts: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not (self.high > self.low and self.roughness > 0):
            raise CosliceError(
                f"Tissue {self.name}: {self.low:g} to {self.high:g} HU with a roughness of {self.roughness:g} were "
                "given; a higher second number and a roughness above 0 are needed."
            )


LUNG = Tissue("lung", -950.0, -650.0, 80.0, (600.0, 300.0))
"""Parenchyma: +600 is a solid nodule (-600 to 0 HU), +300 one of ground glass."""

SOFT_TISSUE = Tissue("soft", -20.0, 120.0, 25.0, (100.0, 50.0, -50.0, -100.0))
"""Organs and muscle; fat is below."""


def resolvable(diameters: Sequence[float], spacing: Sequence[float]) -> tuple[float, ...]:
    """Diameters, mm, those below 2 of the largest voxel side raised to that, each once, in rising order."""
    return tuple(sorted({max(float(diameter), 2 * max(spacing)) for diameter in diameters}))


def places(scan: Volume, tissue: Tissue, diameter: float, rim: float = 1.0) -> Tensor:
    """Voxels that may be the centre of a lesion, (z, y, x) bool.

    Args:
        scan: HU.
        tissue: which.
        diameter: of the lesion, mm.
        rim: of the same tissue about it, mm.
    """
    inner = Lesion((0, 0, 0), diameter, 1.0)
    radius = inner.reach + rim
    half = [math.ceil(radius / size) for size in scan.spacing]
    if any(n < 2 * h + 1 for n, h in zip(scan.shape, half, strict=True)):
        return torch.zeros(scan.shape, dtype=torch.bool)
    shape = tuple(2 * h + 1 for h in half)
    ball, _ = profile(
        Lesion((half[0], half[1], half[2]), 2 * radius, 1.0), scan.spacing, (shape[0], shape[1], shape[2])
    )
    weights = (ball / ball.sum()).numpy()
    values = scan.data.double().numpy()
    shifted = values - values.mean()  # the variance is a difference of squares
    mean = signal.fftconvolve(shifted, weights, mode="valid")
    square = signal.fftconvolve(shifted**2, weights, mode="valid")
    deviation = np.sqrt(np.clip(square - mean**2, 0, None))
    mean += values.mean()
    outside = signal.fftconvolve(_outer_air(values).astype(float), weights, mode="valid")
    fit = (mean >= tissue.low) & (mean <= tissue.high) & (deviation <= tissue.roughness) & (outside < 1e-6)
    found = np.zeros(scan.shape, dtype=bool)
    # profile() leaves away empty outer voxels of the ball: its own half-widths say where "valid" begins.
    starts = [(n - 1) // 2 for n in weights.shape]
    found[tuple(slice(s, s + n) for s, n in zip(starts, fit.shape, strict=True))] = fit
    return torch.from_numpy(found)


def _outer_air(values: np.ndarray) -> np.ndarray:
    """Air that reaches the border of a slice; the lungs do not."""
    outer = np.zeros(values.shape, dtype=bool)
    for plane, air in zip(outer, values < _AIR, strict=True):
        regions, _ = cast("tuple[np.ndarray, int]", ndimage.label(air))
        border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
        plane[...] = np.isin(regions, border[border > 0])
    return outer


def spread_lesions(
    scan: Volume,
    diameters: Sequence[float] = (3.0, 5.0, 8.0),
    tissues: Sequence[Tissue] = (LUNG, SOFT_TISSUE),
    each: int = 1,
    seed: int = 0,
    apart: float = 6.0,
    edge: float = 0.0,
) -> tuple[Lesion, ...]:
    """Lesions of every diameter and contrast in each tissue, at places drawn from a seed.

    The large ones are placed first. Centres are centres of voxels.

    Args:
        scan: HU.
        diameters: mm, none below 2 of the largest voxel side, see `resolvable`.
        tissues: where, and with which contrasts.
        each: lesions of every diameter and contrast.
        seed: of the places.
        apart: least distance between the surfaces of two lesions, mm.
        edge: width of the soft edge, mm.

    Raises:
        CosliceError: a diameter below 2 voxels, none of a kind asked for, or a lesion for which no place is left.
    """
    if each < 1 or not diameters or apart < 0 or not any(tissue.contrasts for tissue in tissues):
        raise CosliceError(
            f"spread_lesions: {each} lesions of each of {len(diameters)} diameters, {apart:g} mm apart, were asked "
            "for; at least 1 of at least one diameter and contrast, and a distance of at least 0 mm are needed."
        )
    least = 2 * max(scan.spacing)
    if min(diameters) < least * (1 - 1e-9):
        raise CosliceError(
            f"spread_lesions: a diameter of {min(diameters):g} mm was given, but below 2 voxels, {least:.3g} mm, a "
            "lesion is no sphere; give larger ones, as resolvable(diameters, spacing) does."
        )
    rng = generator(Key(seed, stream="lesions"), 0)
    chosen: list[Lesion] = []
    for diameter in sorted(diameters, reverse=True):
        for tissue in tissues:
            free = places(scan, tissue, diameter + edge)
            for contrast in [contrast for contrast in tissue.contrasts for _ in range(each)]:
                left = torch.nonzero(free & ~near(scan, chosen, (diameter + edge) / 2 + apart)).numpy()
                if not len(left):
                    raise CosliceError(
                        f"spread_lesions: no place is left in {tissue.name} for a lesion of {diameter:.3g} mm and "
                        f"{contrast:+g} HU, {len(chosen)} have one; ask for fewer, smaller or nearer ones, or give "
                        "more slices."
                    )
                z, y, x = left[int(rng.integers(len(left)))].tolist()
                chosen.append(Lesion((z, y, x), diameter, contrast, edge, tissue.name))
    return tuple(chosen)


def near(scan: Volume, lesions: Sequence[Lesion], distance: float) -> Tensor:
    """Voxels whose distance to the surface of a lesion is below `distance` mm: (z, y, x) bool."""
    found = torch.zeros(scan.shape, dtype=torch.bool)
    for lesion in lesions:
        z, y, x = (
            ((torch.arange(n) - c) * size).square()
            for n, c, size in zip(scan.shape, lesion.centre, scan.spacing, strict=True)
        )
        found |= z[:, None, None] + y[:, None] + x < (lesion.reach + distance) ** 2
    return found
