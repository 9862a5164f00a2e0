"""Lesions of a recipe's groups: spheres that are put into the scan before it is measured, or one that is there.

    groups:
      Chest: {scan: chest, task: svct, views: 30}
      Nodules: {scan: chest, task: svct, views: 30, lesions: {diameters: [7, 10], soft: []}}
      Patient: {scan: patient, task: svct, views: 30, region: {mask: outline}}

What a reconstruction makes of inserted lesions is the difference of two: so a group with `lesions` needs another one
that is the same but for them, and the rows of both are compared, seed by seed. Each of the two is a cell of its own.
A `region` needs no partner, and changes no cell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.lesions import (
    LUNG,
    SOFT_TISSUE,
    Lesion,
    Tissue,
    insert,
    outlined,
    profile,
    rim_of,
    spread_lesions,
)
from coslice.preparation import Preparation
from coslice.volume import Volume
from coslice.window import Window

__all__ = ["InsertedLesions", "LesionRegion", "box_about", "with_lesions"]

_AIR = 0.05
"""Of the window: the air or the emptiness about a body, with which no lesion is compared."""

_SAME_PLACE = 1e-3
"""Of the entries of two affines, mm."""

Range = tuple[int, int]


@dataclass(frozen=True)
class InsertedLesions:
    """Spheres of every diameter and contrast, at places of the prepared scan that a seed draws.

    Attributes:
        diameters: mm, none below 2 of the largest voxel side.
        lung, soft: contrasts in lung and in soft tissue, HU; none for no lesions there.
        each: how many of every diameter and contrast.
        seed: of the places; the same for all seeds of the rows.
        edge: width of their soft edge, mm; 0 is a hard one.

    Raises:
        CosliceError: no lesion.
    """

    diameters: tuple[float, ...] = (5.0, 8.0)
    lung: tuple[float, ...] = LUNG.contrasts
    soft: tuple[float, ...] = SOFT_TISSUE.contrasts
    each: int = 1
    seed: int = 0
    edge: float = 0.0

    def __post_init__(self) -> None:
        if not self.count > 0:
            raise CosliceError(
                f"lesions: {self.each} of each of {len(self.diameters)} diameters and "
                f"{len(self.lung) + len(self.soft)} contrasts were asked for; at least one lesion is needed."
            )
        for diameter in self.diameters:
            for contrast in (*self.lung, *self.soft):
                Lesion((0, 0, 0), diameter, contrast, self.edge)  # which refuses what is no lesion

    @property
    def count(self) -> int:
        """How many lesions there are."""
        return self.each * len(self.diameters) * (len(self.lung) + len(self.soft))

    @property
    def tissues(self) -> tuple[Tissue, ...]:
        """Where they are."""
        both = replace(LUNG, contrasts=self.lung), replace(SOFT_TISSUE, contrasts=self.soft)
        return tuple(tissue for tissue in both if tissue.contrasts)

    def spread(self, scan: Volume) -> tuple[Lesion, ...]:
        """The lesions of a prepared scan, in HU.

        Raises:
            CosliceError: as `coslice.lesions.spread_lesions`.
        """
        return spread_lesions(scan, self.diameters, self.tissues, self.each, self.seed, edge=self.edge)


@dataclass(frozen=True)
class LesionRegion:
    """A lesion that is in the scan.

    Attributes:
        mask: name of a scan of the recipe whose voxels above 0.5 are the lesion; on the grid of the group's own scan,
            prepared like it.
        box: FIRST and LAST (not included) along z, y and x, voxels of the prepared scan: the lesion is the largest
            connected part of this box within `between`.
        between: two values in the scan's unit; None takes the whole box.
        rim: width of the tissue about it that it is compared with, mm.

    Raises:
        CosliceError: neither a mask nor a box, or both; thresholds the wrong way; no rim.
    """

    mask: str | None = None
    box: tuple[Range, Range, Range] | None = None
    between: tuple[float, float] | None = None
    rim: float = 5.0

    def __post_init__(self) -> None:
        if (self.mask is None) == (self.box is None):
            raise CosliceError("region: a mask or a box is needed; give one of the two.")
        if self.between is not None and (self.box is None or not self.between[0] <= self.between[1]):
            raise CosliceError(
                f"region: between {list(self.between)} was given; a lower and a higher value are needed, and a box "
                "that they are for."
            )
        if not self.rim > 0:
            raise CosliceError(f"region: a rim of {self.rim:g} mm was given, a width above 0 is needed.")

    def inside(self, truth: Volume, mask: tuple[Volume, Volume, Preparation] | None) -> Tensor:
        """Its voxels: (z, y, x) bool.

        Args:
            truth: the prepared scan.
            mask: where `mask` is named, its file, the group's scan as it was before its preparation, and that.

        Raises:
            CosliceError: a mask on another grid, a box outside the scan, or no voxel.
        """
        if mask is not None:
            drawn, scan, preparation = mask
            if drawn.shape != scan.shape:
                raise CosliceError(
                    f"region: the mask {self.mask} has {drawn.shape} voxels, but its scan {scan.shape}; draw it on the "
                    "grid of the scan."
                )
            apart = float(abs(drawn.affine - scan.affine).max())
            if not apart <= _SAME_PLACE:
                raise CosliceError(
                    f"region: the mask {self.mask} has as many voxels as its scan, but lies elsewhere (their affines "
                    f"differ by {apart:.4g}); draw it on the grid of the scan, or give it the scan's header."
                )
            found = preparation(drawn).data > 0.5
            if not bool(found.any()):
                raise CosliceError(
                    f"region: no voxel of the mask {self.mask} is above 0.5 in what is kept of the scan."
                )
            return found
        assert self.box is not None
        z, y, x = (slice(*ends) for ends in self.box)
        low, high = self.between or (-torch.inf, torch.inf)
        return outlined(truth, (z, y, x), low, high)

    def around(self, inside: Tensor, truth: Volume, window: Window) -> Tensor:
        """The rim about its voxels, air left out."""
        return rim_of(inside, truth.spacing, window.to_unit(truth.data) > _AIR, self.rim)


def with_lesions(scan: Volume, lesions: tuple[Lesion, ...], window: Window) -> Volume:
    """A scan with lesions put in.

    Raises:
        CosliceError: the window would cut some of their contrast away.
    """
    present = insert(scan, lesions)
    seen = window.to_unit(present.data) - window.to_unit(scan.data)
    if float((seen * window.width - (present.data - scan.data)).abs().max()) > 1e-4 * window.width:
        raise CosliceError(
            f"lesions: the window, {window.low:g} to {window.high:g} {window.unit}, cuts off some of their contrast; "
            "choose weaker ones."
        )
    return present


def box_about(lesion: Lesion | Tensor, volume: Volume) -> tuple[Range, Range, Range]:
    """First and last (not included) voxel of a lesion along z, y and x; of a sphere, or of (z, y, x) bool."""
    if isinstance(lesion, Lesion):
        z, y, x = ((part.start, part.stop) for part in profile(lesion, volume.spacing, volume.shape)[1])
    else:
        z, y, x = ((int(i.min()), int(i.max()) + 1) for i in torch.nonzero(lesion).unbind(1))
    return z, y, x
