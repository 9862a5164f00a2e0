"""A pack's slices along another plane.

A pack holds whole volumes, slice after slice, so what was packed in one plane can be cut in another without the scans:
on a machine where only a pack has travelled, one collection serves priors of several planes. The pixels are those of
the pack. Empty slices that the pack left out stay out: at a scan's ends they are air beside its images, which are then
shorter by so much.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from coslice.errors import CosliceError
from coslice.io.files import atomic, prepare_output
from coslice.training.collection.catalogue import Pack, PackedScan, read_record, write_record
from coslice.training.collection.pack import open_pack
from coslice.training.collection.scans import COARSE, SMALLEST, plane_axes

__all__ = ["recut_pack"]


def recut_pack(pack: Pack, plane: str, folder: Path) -> tuple[Pack, tuple[str, ...]]:
    """The pack of the same scans in `plane`, made in `folder` or found there; and the scans that were left out.

    As of a folder of scans, those are left out whose images would be smaller than 32 pixels, have nothing in them, or
    whose pixels are square where those of more slices are long, or the other way round.

    Raises:
        CosliceError: nothing is left, no such plane, or the folder cannot be written to.
    """
    old, new = plane_axes(pack.plane), plane_axes(plane)
    order = tuple(old.index(axis) for axis in new)
    fitting = [scan for scan in pack.scans if min(scan.shape[order[1]], scan.shape[order[2]]) >= SMALLEST]
    slices = {
        coarse: sum(s.shape[order[0]] for s in fitting if _coarse(s, order) == coarse) for coarse in (True, False)
    }
    fitting = [scan for scan in fitting if _coarse(scan, order) == (slices[True] > slices[False])]
    wanted = replace(pack, folder=folder, plane=plane, size=None, scans=())
    made = _made(wanted, pack)
    if made is None:
        prepare_output(folder, overwrite=True)
        scans = [_cut(pack, scan, order, folder) for scan in fitting]
        made = replace(wanted, scans=tuple(scan for scan in scans if scan is not None))
        if not made.scans:
            raise CosliceError(
                f"The pack in {pack.folder} is of plane {pack.plane}, and none of its scans has images of {SMALLEST} x "
                f"{SMALLEST} pixels or more in plane {plane}; choose {pack.plane}, or give the scans themselves."
            )
        write_record(made, {"complete": True, "of": _stamp(pack)})
    return made, tuple(name for name in pack.names if name not in made.names)


def _made(wanted: Pack, pack: Pack) -> Pack | None:
    """What is in the folder already, if it was made of this pack."""
    try:
        found = open_pack(wanted.folder)
        same = replace(found, scans=()) == wanted and read_record(wanted.folder).get("of") == _stamp(pack)
    except CosliceError:
        return None
    return found if same and all((found.folder / scan.file).is_file() for scan in found.scans) else None


def _stamp(pack: Pack) -> list[str]:
    return [scan.file for scan in pack.scans]


def _coarse(scan: PackedScan, order: tuple[int, ...]) -> bool:
    pixel = sorted((scan.spacing[order[1]], scan.spacing[order[2]]))
    return pixel[1] > COARSE * pixel[0]


def _cut(pack: Pack, scan: PackedScan, order: tuple[int, ...], folder: Path) -> PackedScan | None:
    """A scan in another order of its axes, written into `folder`; None: there is nothing in it."""
    stack = pack.slices(scan.name).transpose(order)
    kept = np.flatnonzero(stack.max(axis=(1, 2)) >= pack.empty * pack.full)
    if not len(kept):
        return None
    with atomic(folder / scan.file) as part:
        np.save(part, np.ascontiguousarray(stack[kept]))
    spacing = scan.spacing[order[0]], scan.spacing[order[1]], scan.spacing[order[2]]
    shape = len(kept), stack.shape[1], stack.shape[2]
    return replace(scan, shape=shape, spacing=spacing, left_out=len(stack) - len(kept), source=None)
