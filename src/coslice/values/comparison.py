"""Two volumes compared: whether they are in one unit, and whether the window that metrics are taken in fits them.

PSNR has the width of the window for its peak, and SSIM its constants. Where a truth fills a hundredth of the window,
40 dB are for nothing, and an empty volume looks like a good one. Nor is a volume of 0..1 a bad one in HU: it is in
another unit, and has no distance from the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from coslice.errors import CosliceError
from coslice.values.intensities import Intensities, reading_of
from coslice.values.resemblance import remarks_on_resemblance
from coslice.values.settling import settle
from coslice.values.statements import Values
from coslice.volume import Volume
from coslice.window import CT_WINDOW, Window, scan_window

__all__ = ["Comparison", "comparable"]

_SLIVER = 0.1
"""The least share of the window that a truth must fill."""
_WIDER = 20
"""Volumes in one unit differ by less than this factor in the range of their values, however bad one of them is."""
_ELSEWHERE = "a scan", "attenuation", "HU "
"""What verdicts begin with that are surely another unit than HU; others may be a bad reconstruction in HU."""


@dataclass(frozen=True)
class Comparison:
    """Two volumes that can be compared.

    Attributes:
        reconstruction, truth: in one unit.
        window: what is 0 and 1.
        remarks: sentences on what was converted, and what to know of the numbers.
    """

    reconstruction: Volume
    truth: Volume
    window: Window
    remarks: tuple[str, ...] = ()


def comparable(
    reconstruction: Volume, truth: Volume, window: str = "ct", values: Sequence[Values] | None = None
) -> Comparison:
    """Two volumes in the unit of a window, and what to know of the numbers.

    The numbers of both are looked at, as those of a scan are that is to be reconstructed. In the window of CT, HU pass,
    and a CT that is surely in HU + 1024 or the like is turned into HU, which is said; other units are refused. In every
    window two volumes are refused that cannot be in one unit. Who says what the numbers are is believed.

    A window in numbers is a choice, and what does not fit it is remarked on. The names "ct" and "mr" are assumptions,
    and a truth that does not fit them is refused.

    Args:
        reconstruction, truth: on one grid.
        window: "ct", "mr" or "LOW:HIGH", see `coslice.window.scan_window`.
        values: what the numbers of both are, or of the reconstruction and of the truth; None looks at them.

    Raises:
        CosliceError: a truth that is constant; one that fills less than a tenth of the window, or is in another unit
            than the window, where the window was not given in numbers; volumes that are not in one unit.
    """
    low, high = (float(end) for end in truth.data.aminmax())
    if low == high:
        raise CosliceError(
            f"evaluate: every voxel of the truth is {low:g}, so there is nothing to compare with; check that it is the "
            "right file."
        )
    if values:
        (reconstruction, ours), (truth, theirs) = (
            _said(volume, said, who, window)
            for volume, said, who in zip(
                (reconstruction, truth), (values[0], values[-1]), ("reconstruction", "truth"), strict=True
            )
        )
    else:
        found = reading_of(reconstruction), reading_of(truth)
        _check_one_unit(reconstruction, truth, found, window)
        (reconstruction, ours), (truth, theirs) = (
            _in_hu(reconstruction, found[0], "reconstruction", window),
            _in_hu(truth, found[1], "truth", window),
        )
    seen = scan_window(window, truth.data)
    remarks = (*ours, *theirs, *_sliver(truth, seen, named=window in ("ct", "mr")))
    if window == "ct" and not values:
        _check_hu(reconstruction, truth)
    alike = tuple(remarks_on_resemblance(reconstruction, truth))
    return Comparison(
        reconstruction, truth, seen, remarks + _empty(reconstruction, seen) + _cut(reconstruction, truth, seen) + alike
    )


def _said(volume: Volume, values: Values, who: str, window: str) -> tuple[Volume, tuple[str, ...]]:
    """A volume converted as the user said, and the sentence on it."""
    if values.text == "any" and window == "ct":
        raise CosliceError(
            "evaluate: --values any was given without --window, so nothing says what is 0 and 1; say --window LOW:HIGH."
        )
    converted, remark = values.apply(volume)
    return converted, (f"Of the {who}: {remark}",) if remark else ()


def _in_hu(volume: Volume, found: Intensities, who: str, window: str) -> tuple[Volume, tuple[str, ...]]:
    """A volume that is surely a CT with something added, in HU; any other as it is."""
    if window != "ct" or not (found.shift or found.wrapped):
        return volume, ()
    settled = settle(volume, "ct", who=who)
    return settled.scan, tuple(f"Of the {who}: {remark}" for remark in settled.remarks)


def _check_one_unit(reconstruction: Volume, truth: Volume, found: tuple[Intensities, Intensities], window: str) -> None:
    """Refuse volumes whose ranges are so different that they cannot be in one unit, or that are told by their air."""
    (low, high), (first, last) = _range(reconstruction.data), _range(truth.data)
    ours, theirs = high - low, last - first
    apart = ours > 0 and not 1 / _WIDER < ours / (theirs or ours) < _WIDER
    told = window != "ct" and found[0].ct and found[1].ct and found[0].verdict != found[1].verdict
    if not (apart or told):
        return
    looks = [f", which look like {one.verdict}" if one.verdict != "constant" else "" for one in found]
    raise CosliceError(
        f"evaluate: the reconstruction is of {low:.6g} to {high:.6g}{looks[0]}, and the truth of {first:.6g} to "
        f"{last:.6g}{looks[1]}: they are not in one unit; say what each is, first the reconstruction, with --values "
        f"twice, as in --values {_option(found[0])} --values {_option(found[1])}, or --values any with --window "
        "LOW:HIGH to compare them as they are."
    )


def _option(found: Intensities) -> str:
    return "hu" if found.hu else found.statement


def _sliver(truth: Volume, seen: Window, named: bool) -> tuple[str, ...]:
    """The remark on a truth that fills hardly any of the window; of a window that is an assumption, the refusal."""
    low, high = _range(truth.data)
    filled = (min(high, seen.high) - max(low, seen.low)) / seen.width
    if filled >= _SLIVER:
        return ()
    said = (
        f"the truth, {low:.4g} to {high:.4g}, fills {100 * max(filled, 0):.2g} % of the window, {seen.low:g} to "
        f"{seen.high:g}{f' {seen.unit}'.rstrip()}"
    )
    fitting = f"--window {'0:1' if low >= 0 and 0.3 < high <= 1 else f'{low:.3g}:{high:.3g}'}"
    if named:
        raise CosliceError(
            f"evaluate: {said}, so any volume would look like it; say what is 0 and 1 with --window, as in {fitting}"
            f"{_or_values(reading_of(truth))}."
        )
    return (f"Careful: {said}, so any volume looks like it and these numbers say nothing; compare with {fitting}.",)


def _or_values(found: Intensities) -> str:
    return f", or what the numbers are in HU, as in --values {found.statement}" if "=" in found.statement else ""


def _check_hu(reconstruction: Volume, truth: Volume) -> None:
    """Refuse numbers that are not HU in the window of CT; of a reconstruction, only those that surely are not."""
    for who, volume in (("truth", truth), ("reconstruction", reconstruction)):
        found = reading_of(volume)
        if found.hu or (volume is reconstruction and not found.verdict.startswith(_ELSEWHERE)):
            continue
        raise CosliceError(
            f"evaluate: the {who} is of {found.low:.6g} to {found.high:.6g}, which look like {found.verdict}, but the "
            f"window of CT is in HU; say what the numbers are with --values, as in --values {found.statement} (given "
            "twice, of the reconstruction and of the truth), or give --window mr, or LOW:HIGH, which for HU is "
            f"--window {CT_WINDOW.low:g}:{CT_WINDOW.high:g}."
        )


def _range(data: Tensor) -> tuple[float, float]:
    """What all but the highest and the lowest thousandth of the voxels lie between."""
    low, high = np.percentile(data.numpy(), (0.1, 99.9))
    return float(low), float(high)


def _empty(reconstruction: Volume, window: Window) -> tuple[str, ...]:
    seen = window.to_unit(reconstruction.data)
    if float(seen.min()) < float(seen.max()):
        return ()
    low, high = (float(end) for end in reconstruction.data.aminmax())
    values = f"is {low:g} in every voxel" if low == high else f"is all on one side of the window ({low:g} to {high:g})"
    return (f"Careful: the reconstruction {values}; its metrics are those of an empty volume.",)


def _cut(reconstruction: Volume, truth: Volume, window: Window) -> tuple[str, ...]:
    """What metrics cannot tell apart, above the window; of a window in HU, below is padding."""
    both = (reconstruction.data > window.high) & (truth.data > window.high)
    count = int(both.sum())
    if not count or window.unit == "a.u.":
        return ()
    return (
        f"{count:,} voxels of both lie above the window, the truth's up to {float(truth.data.max()):.6g}; metrics "
        "count them as equal.",
    )
