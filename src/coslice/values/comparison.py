"""Two volumes compared: whether the window that metrics are taken in fits them.

PSNR has the width of the window for its peak, and SSIM its constants. Where a truth fills a hundredth of the window,
40 dB are for nothing, and an empty volume looks like a good one.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from coslice.errors import CosliceError
from coslice.values.intensities import reading_of
from coslice.volume import Volume
from coslice.window import CT_WINDOW, Window, scan_window

__all__ = ["comparable"]

_SLIVER = 0.1
"""The least share of the window that a truth must fill."""


def comparable(reconstruction: Volume, truth: Volume, window: str = "ct") -> tuple[Window, tuple[str, ...]]:
    """The window that a reconstruction is compared with its truth in, and what to know of the numbers.

    A window in numbers is a choice, and what does not fit it is remarked on. The names "ct" and "mr" are assumptions,
    and a truth that does not fit them is refused.

    Args:
        reconstruction, truth: on one grid, in one unit.
        window: "ct", "mr" or "LOW:HIGH", see `coslice.window.scan_window`.

    Raises:
        CosliceError: a truth that is constant; one that fills less than a tenth of the window, or is in another unit
            than the window, where the window was not given in numbers.
    """
    low, high = _range(truth.data)
    if float(truth.data.min()) == float(truth.data.max()):
        raise CosliceError(
            f"evaluate: every voxel of the truth is {low:g}, so there is nothing to compare with; check that it is the "
            "right file."
        )
    chosen = window not in ("ct", "mr")
    seen = scan_window(window, truth.data)
    remarks: tuple[str, ...] = ()
    filled = (min(high, seen.high) - max(low, seen.low)) / seen.width
    if filled < _SLIVER:
        said = (
            f"the truth, {low:.4g} to {high:.4g}, fills {100 * max(filled, 0):.2g} % of the window, {seen.low:g} to "
            f"{seen.high:g}{f' {seen.unit}'.rstrip()}"
        )
        if not chosen:
            raise CosliceError(
                f"evaluate: {said}, so any volume would look like it; say what is 0 and 1 with --window, as in "
                f"--window {'0:1' if low >= 0 and 0.3 < high <= 1 else f'{low:.3g}:{high:.3g}'}."
            )
        remarks += (f"Careful: {said}, so any volume looks like it.",)
    if window == "ct" and not (found := reading_of(truth)).hu:
        raise CosliceError(
            f"evaluate: the truth is of {found.low:.6g} to {found.high:.6g}, which look like {found.verdict}, but the "
            f"window of CT is in HU; give --window mr, or LOW:HIGH, which for HU is --window {CT_WINDOW.low:g}:"
            f"{CT_WINDOW.high:g}."
        )
    return seen, remarks + _empty(reconstruction, seen) + _cut(reconstruction, truth, seen)


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
