"""Whether a scan is like what a prior was trained on: sentences where it is not.

A prior fills in what it has seen. Its card says what that was, under "seen":

    plane        rows and columns of the images
    pixel_mm     smallest and largest distance between pixels, mm, as the network was shown them
    slice_mm     smallest and largest distance between slices, mm
    size         smallest and largest image shown, pixels of a side
    intensity    how bright its scans were, from the least to the most, see `coslice.values.brightness`:
                 "level", "bright" and "clipped", in the unit window

A card that coslice's training wrote says the same of its scans under "data", and how they were zoomed under "recipe".
A card without either, as of a published checkpoint, says nothing, and so do we.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from coslice.axes import axis_number, stacked_along
from coslice.errors import CosliceError
from coslice.priors.slices import SlicePrior
from coslice.values import brightness_of
from coslice.volume import Volume
from coslice.window import Window, scan_window

__all__ = [
    "check_window_of_prior",
    "remarks_for_card",
    "remarks_for_prior",
    "remarks_on_brightness",
    "seen_by",
]

_PIXEL, _SLICE, _SIZE = 1.15, 1.5, 1.5
"""By how much pixels, slices and sizes may leave what was seen before it is worth a sentence: no more than that is
between two scans of one patient."""
_LEVEL, _BRIGHT, _CLIPPED, _SOME = 1.2, 1.3, 1.5, 0.002
"""By how much the body of a scan, and what is brightest in it, may be brighter or darker than of those that were seen;
how many times as much of its slices may lie beyond the window; and what part of a slice is too little to be worth a
sentence. Gains of training differ by 1.05. Held-out scans, cropped, padded, noisy or in another plane, leave what was
seen by 1.13, by 1.2, and not at all; a scale that is wrong by 1.3, or a bowel full of barium, by more."""
_TILTED = 30.0
"""Degrees from which on slices are oblique; heads and gantries tilt by up to 25."""


def seen_by(card: dict[str, Any]) -> dict[str, Any]:
    """What the card says the network was shown, by the names of the module, each where it is known."""
    if isinstance(seen := card.get("seen"), dict):
        return seen
    data, recipe = card.get("data"), card.get("recipe", {})
    views = recipe.get("views", [])
    if not isinstance(data, dict):
        return {}
    known = {key: data[key] for key in ("plane", "slice_mm", "intensity") if key in data}
    # A view of scale 0.5 shows pixels twice as large.
    scales = [scale for view in views for scale in view.get("scale", [])] or [1.0]
    if recipe.get("supervised") and "size" in data:  # whole slices, resized to the side of a view
        scales = [view["side"] / max(data["size"][-1]) for view in views]
    stretches = [stretch for view in views for stretch in view.get("stretch", [])] or [1.0]
    if "pixel_mm" in data:
        low, high = data["pixel_mm"]
        known["pixel_mm"] = [low / max(scales) / max(1.0, *stretches), high / min(scales) / min(1.0, *stretches)]
    if sides := [view["side"] for view in views if "side" in view]:
        known["size"] = [min(sides), max(sides)]
    return known


def remarks_for_prior(volume: Volume, prior: SlicePrior) -> tuple[str, ...]:
    """What of the volume is outside what the prior was trained on, in sentences; and what of the prior was inferred.

    Args:
        volume: on the grid of the reconstruction.
        prior: that is to see it.
    """
    inferred = tuple(f"Prior {prior.name}: {remark}" for remark in prior.card.get("remarks", ()))
    return inferred + remarks_for_card(volume, prior.name, prior.card, prior.plane)


def remarks_for_card(volume: Volume, name: str, card: dict[str, Any], plane: str) -> tuple[str, ...]:
    """`remarks_for_prior` by a prior's name, its card and the plane that it is asked in, without its weights."""
    seen, remarks = seen_by(card), []
    rows, columns = (axis_number(axis) for axis in plane)
    pixels = (volume.spacing[rows], volume.spacing[columns])
    if _outside(pixels, seen.get("pixel_mm"), _PIXEL):
        remarks.append(f"pixels of {_numbers(seen['pixel_mm'])} mm, and these are of {pixels[0]:.4g} x {pixels[1]:.4g}")
    apart = volume.spacing[axis_number(stacked_along(plane))]
    if _outside((apart,), seen.get("slice_mm"), _SLICE):
        remarks.append(f"slices {_numbers(seen['slice_mm'])} mm apart, and these are {apart:.4g} mm apart")
    sides = (volume.shape[rows], volume.shape[columns])
    if _outside(sides, seen.get("size"), _SIZE):
        remarks.append(f"images of {_numbers(seen['size'])} pixels a side, and these have {sides[0]} x {sides[1]}")
    tilt = _tilt(volume)
    if seen and tilt > _TILTED:
        remarks.append(f"slices that lie along the patient's axes, and these are tilted by {tilt:.0f} degrees")
    if seen.get("plane", plane) != plane:
        remarks.append(f"the plane {seen['plane']}, and is asked in {plane}")
    return tuple(f"Prior {name} was trained on {one}; details may be filled in wrongly." for one in remarks)


def remarks_on_brightness(
    unit: torch.Tensor, name: str, card: dict[str, Any], plane: str, window: Window | None = None
) -> tuple[str, ...]:
    """One sentence where a scan is far brighter, darker or more clipped than what a prior was trained on.

    Args:
        unit: the scan (z, y, x) in the unit window, or what was reconstructed of it.
        name, card, plane: of the prior.
        window: intensities that are 0 and 1, to say numbers in HU.
    """
    seen = seen_by(card).get("intensity")
    if not seen:
        return ()
    order = [axis_number(axis) for axis in (stacked_along(plane), *plane)]
    found = brightness_of(unit.detach().cpu().permute(order).numpy())
    said: list[str] = []
    if _outside((found.level,), seen.get("level"), _LEVEL):
        said.append(f"whose body lies at {_values(seen['level'], found.level, window)}")
    if _outside((found.bright,), seen.get("bright"), _BRIGHT):
        said.append(f"whose brightest hundredth begins at {_values(seen['bright'], found.bright, window)}")
    if seen.get("clipped") and found.clipped > max(_SOME, _CLIPPED * seen["clipped"][1]):
        most, here = (f"{100 * share:.2g} %" for share in (seen["clipped"][1], found.clipped))
        said.append(f"of which at most {most} of a slice lie beyond the window (here {here})")
    if not said:
        return ()
    return (f"Prior {name} was trained on scans {', and '.join(said)}; details may be filled in wrongly.",)


def _values(ends: Any, here: float, window: Window | None) -> str:
    """Ends of a range of the unit window, and where a scan lies; in HU where these are known."""
    if window is None or window.unit != "HU":
        return f"{_numbers(ends)} of the window (here {here:.2g})"
    low, high, own = (f"{window.low + one * window.width:.0f}" for one in (*ends, here))
    return f"{low} to {high} HU (here {own})"


def _tilt(volume: Volume) -> float:
    """The largest angle between an axis of the volume and the axis of the patient that it is called by, degrees."""
    return math.degrees(math.acos(min(1.0, float(np.abs(np.diag(volume.directions)).min()))))


def check_window_of_prior(window: Window, prior: SlicePrior, told: bool = False) -> tuple[str, ...]:
    """Refuse a window of the user's that is not the prior's, unless the prior is told; a sentence where it is.

    A window says which numbers of a scan are the prior's 0 and 1. A prior of MR takes any, since its own differs from
    scan to scan. One of HU has been trained on a fixed window: in another, all intensities are others than it knows.
    Where the numbers are in another unit, 0 to 0.05 in 1/mm, say, a window is a statement that these stand for the
    prior's range, and whoever says that the numbers are `any` numbers has made it.

    Args:
        window: that the user gave, in the unit of the scan.
        prior: that will see it.
        told: whether the user said that the numbers are in a unit of their own (`--values any`).

    Raises:
        CosliceError: a window other than the prior's, and the prior is not told.
    """
    if prior.window == "mr":
        return ()
    own = scan_window(prior.window, torch.empty(0))  # no name but "mr" looks at a scan
    if (window.low, window.high) == (own.low, own.high):
        return ()
    given, needed = f"{window.low:g} to {window.high:g}", f"{own.low:g} to {own.high:g}{f' {own.unit}'.rstrip()}"
    if not told:
        raise CosliceError(
            f"window: {given} was given, but prior {prior.name} was trained on {needed} and takes no other for HU; "
            f"leave it out, or, if the numbers are in another unit and {given} stand for that range, add --values any."
        )
    return (
        f"Prior {prior.name} was trained on {needed}; values of {given} are shown to it in place of them, as said.",
    )


def _outside(given: tuple[float, ...], seen: Any, factor: float) -> bool:
    if not seen:
        return False
    return min(given) < seen[0] / factor or max(given) > seen[1] * factor


def _numbers(ends: Any) -> str:
    low, high = (f"{end:.3g}" for end in ends)
    return low if low == high else f"{low} to {high}"
