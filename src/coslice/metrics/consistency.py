"""Do neighbouring slices belong together? The paper's slice difference (appendix C.1).

    SDiff = 1/(S - 1) sum_i mean |x[i+1] - x[i]|                     (eq. 18)
    Delta = SDiff(reconstruction) - SDiff(truth),  gap = |Delta|     (eq. 19)

Anatomy itself changes from slice to slice, so SDiff is to be *right*, not small: Delta > 0 is flicker
between slices, Delta < 0 is smoothing across them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coslice.axes import AXES, axis_number
from coslice.errors import CosliceError
from coslice.metrics.images import of_pieces

__all__ = ["NEIGHBOURS", "consistency", "slice_difference", "slice_differences"]


NEIGHBOURS = ("sdiff", "sdiff_truth", "sdiff_delta", "sdiff_gap")
"""What `consistency` measures."""


def slice_differences(volume: Tensor, along: str = "z") -> Tensor:
    """mean |x[i+1] - x[i]| for each pair of neighbours along an axis: (z, y, x) -> (n - 1,) float64.

    Raises:
        CosliceError: a volume that is not (z, y, x), an axis other than z, y, x, fewer than 2 slices along it.
    """
    if volume.ndim != 3 or along not in tuple(AXES):
        raise CosliceError(
            f"slice_differences: data of shape {tuple(volume.shape)} along {along!r} was given, "
            "a volume (z, y, x) along 'z', 'y' or 'x' is needed."
        )
    stack = volume.movedim(axis_number(along), 0)
    if len(stack) < 2:
        raise CosliceError(f"slice_differences: {len(stack)} slice along {along} was given, at least 2 are needed.")
    return torch.cat(of_pieces(_differences, stack[1:], stack[:-1]))


def _differences(after: Tensor, before: Tensor) -> Tensor:
    return (after - before).abs_().mean((1, 2), dtype=torch.float64)


def slice_difference(volume: Tensor, along: str = "z") -> float:
    """SDiff, eq. 18, of a volume (z, y, x), in its own unit. Errors as `slice_differences`."""
    return float(slice_differences(volume, along).mean())


def consistency(reconstruction: Tensor, truth: Tensor) -> dict[str, float]:
    """SDiff along z of both, the signed Delta and the gap |Delta| of eq. 19.

    Raises:
        CosliceError: as `slice_differences`.
    """
    ours, theirs = slice_difference(reconstruction), slice_difference(truth)
    return {"sdiff": ours, "sdiff_truth": theirs, "sdiff_delta": ours - theirs, "sdiff_gap": abs(ours - theirs)}
