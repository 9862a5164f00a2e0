"""A scan's numbers brought to the unit that its task needs, or refused; and what of them a window does not hold."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from coslice.errors import CosliceError
from coslice.values.intensities import Intensities, reading_of
from coslice.values.statements import Values, parse_values
from coslice.volume import Volume
from coslice.window import Window

__all__ = ["Settled", "remarks_for_scan", "settle"]

_NO_IMAGE = ("no numbers", "constant", "a mask", "a label map")
_FEW_SLICES = 8


@dataclass(frozen=True)
class Settled:
    """A scan whose numbers are known.

    Attributes:
        scan: in the unit that was needed.
        values: what was said, or found without a doubt, of the numbers before, see `parse_values`; None for nothing.
        remarks: sentences on what was done.
    """

    scan: Volume
    values: str | None = None
    remarks: tuple[str, ...] = ()


def settle(scan: Volume, expected: str, values: Values | str | None = None, who: str = "scan") -> Settled:
    """The scan in the unit that is needed: HU for CT, any for MR.

    HU pass. A CT in HU + 1024 or + 1000 with its air is turned into HU, and that is said. Whatever else a CT is given
    in is refused, until the user says what the numbers are.

    Args:
        scan: as read.
        expected: "ct" or "mr"; "" for numbers that a window of their own speaks of.
        values: what the user says of the numbers, see `parse_values`; None looks at them.
        who: what messages call the scan.

    Raises:
        CosliceError: no image; numbers that are not in the unit, or cannot be known to be; a CT where MR is needed.
    """
    if isinstance(values, str):
        values = parse_values(values)
    found = reading_of(scan)
    if found.verdict in _NO_IMAGE[:2]:
        raise CosliceError(
            f"{who}: every voxel is {found.low:g}, but an image is needed; check that it is the right file."
        )
    if values is not None:
        converted, remark = values.apply(scan)
        if expected == "ct" and remark and found.ct and found.hu and not reading_of(converted).hu:
            remark += " They looked like HU before, and no longer do: check what was said of them."
        return Settled(converted, values.text, (remark,) if remark else ())
    if expected == "mr":
        _check_mr(found, who)
    elif expected == "ct" and found.shift:
        converted, _ = Values(found.statement, 1.0, -found.shift).apply(scan)
        low, high = (float(end) for end in converted.data.aminmax())
        remark = (
            f"The scan's values, {found.low:g} to {found.high:g}, are HU + {found.shift} by their air and soft tissue; "
            f"{found.shift} was taken off, which gives {low:g} to {high:g} HU (say --values if they are anything else)."
        )
        return Settled(converted, found.statement, (remark,))
    elif expected == "ct" and found.wrapped:
        data = torch.where(scan.data > 32767, scan.data - 65536, scan.data)
        remark = (
            "The scan's values above 32767 are HU below 0 that were stored without a sign; 65536 was taken off them, "
            f"which gives {float(data.min()):g} to {float(data.max()):g} HU."
        )
        return Settled(scan.with_data(data), None, (remark,))
    elif expected == "ct" and not found.hu:
        raise CosliceError(
            f"{who}: values of {found.low:.6g} to {found.high:.6g} were given, which look like {found.verdict}, but CT "
            f"needs HU (air -1000, water 0, up to 1600 and more); say what they are with {_options(found)}"
            f"{_elsewhere(found)}."
        )
    return Settled(scan)


def _check_mr(found: Intensities, who: str) -> None:
    if found.ct:
        converted = "" if found.hu else f" --values {found.statement}"
        raise CosliceError(
            f"{who}: values of {found.low:.6g} to {found.high:.6g} were given, a CT by its air and soft tissue "
            f"({found.verdict}), but the prior is of MR; a CT belongs to a CT prior: --prior ct-coronal{converted}; or "
            "say --values any."
        )
    if found.verdict.startswith(_NO_IMAGE):
        raise CosliceError(
            f"{who}: values of {found.low:.6g} to {found.high:.6g} were given, which look like {found.verdict}, but an "
            "MR image is needed; give the image, or say --values any."
        )


def _options(found: Intensities) -> str:
    """The options for what the numbers may be, the likeliest first."""
    words = list(dict.fromkeys((found.statement, *_ALSO.get(found.verdict, ()), "hu")))
    return " or ".join(f"--values {word}" for word in words)


_ALSO = {
    "a scan scaled to 0..1, or attenuation in 1/cm": ("mu/cm:0.193",),
    "HU + 1024 or HU + 1000": ("hu+1000",),
}
"""Statements beside the likeliest."""


def _elsewhere(found: Intensities) -> str:
    if found.statement == "A:B=C:D":
        return " (A:B=C:D: A is C HU and B is D HU)"
    return ", or reconstruct MR with --task zsr" if found.verdict.startswith("MR") else ""


def remarks_for_scan(volume: Volume, window: Window) -> tuple[str, ...]:
    """What of a volume its window does not hold, in sentences; values below one of HU are padding and deserve none.

    Args:
        volume: as it is measured, in its own unit.
        window: intensities that are 0 and 1.
    """
    data, unit = volume.data, f" {window.unit}".rstrip()
    remarks = [_beyond(data > window.high, "above", float(data.max()), window.high, unit, window)]
    if window.unit != "HU":
        remarks.append(_beyond(data < window.low, "below", float(data.min()), window.low, unit, window))
    if window.unit == "a.u." and window.low < 0:
        remarks.append(
            f"The scan goes down to {float(data.min()):.4g}, where images of MR begin at 0; its window begins at "
            f"{window.low:.4g}."
        )
    if volume.shape[0] < _FEW_SLICES:
        remarks.append(
            f"The scan has {volume.shape[0]} slices, too few for coherence along z and for the metrics of the planes "
            "through it to mean much."
        )
    return tuple(remark for remark in remarks if remark)


def _beyond(mask: torch.Tensor, side: str, extreme: float, end: float, unit: str, window: Window) -> str:
    """The sentence on the voxels in `mask`; "" where there are none, or as few as a percentile leaves out."""
    count = int(mask.sum())
    share = count / mask.numel()
    if not count or (window.unit == "a.u." and share <= 0.01):
        return ""
    voxels = "1 voxel lies" if count == 1 else f"{count:,} voxels ({100 * share:.2g} %) lie"
    highest = "highest" if side == "above" else "lowest"
    return (
        f"{voxels} {side} the window of {window.low:g} to {window.high:g}{unit}, the {highest} at {extreme:.6g}{unit}; "
        f"they were cut to {end:g}{unit} before anything was measured, and metrics count them as equal."
    )
