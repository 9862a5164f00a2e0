"""How an estimate gets better from step to step: the curves of the paper's Figure 5.

After each step the estimate, clipped to the unit window as the result will be, is measured by

    PSNR     of the whole volume, -10 log10 mean (x - truth)^2,
    SDiff    along the stack (eq. 18),
    LPIPS    the mean over planes of the mean over a few evenly spaced slices.

LPIPS of every slice would cost more than the sampling it watches, hence the few; they are chosen once, so that
the steps can be compared. The numbers of a table, over all slices, are `coslice.metrics.evaluate`'s.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coslice.axes import AXES, PLANES, axis_number
from coslice.errors import CosliceError
from coslice.metrics import perceptual
from coslice.metrics.consistency import slice_difference
from coslice.metrics.images import mean_squares, of_mean_square

__all__ = ["Watcher"]


class Watcher:
    """Measures estimates against a truth, step by step.

    Args:
        truth: (z, y, x) in the unit window, or None where it is not known: only SDiff is then measured.
        lpips: whether to measure LPIPS, by far the slowest.
        along: the axis of SDiff, "z" as published.
        slices: of each plane, at most as many go into LPIPS; slices whose truth is constant never do.

    Raises:
        CosliceError: a truth that is not a volume, another axis, or fewer than one slice.
    """

    def __init__(self, truth: Tensor | None, lpips: bool = False, along: str = "z", slices: int = 16) -> None:
        if truth is not None and truth.ndim != 3:
            raise CosliceError(
                f"Watcher: a truth of shape {tuple(truth.shape)} was given, a volume (z, y, x) is needed."
            )
        if along not in tuple(AXES) or slices < 1:
            raise CosliceError(
                f"Watcher: {slices} slices and SDiff along {along!r} were asked for, "
                "at least 1 slice and 'z', 'y' or 'x' are needed."
            )
        self.truth, self.along = truth, along
        self._chosen = _choose(truth, slices) if lpips and truth is not None else {}

    def record(self, step: int, sigma: float, estimate: Tensor) -> dict[str, float | int | None]:
        """What is known of the estimate after a step.

        Args:
            step: its number.
            sigma: its noise level.
            estimate: (z, y, x), not yet clipped, on the truth's device.

        Returns:
            "step", "sigma", "psnr" in dB, "sdiff" in units of the window, and "lpips"; "psnr" is None without a
            truth, "lpips" also where it was not asked for or no plane has slices of 31 pixels a side.

        Raises:
            CosliceError: an estimate of another shape than the truth, or with one slice along the axis of SDiff.
        """
        if self.truth is not None and estimate.shape != self.truth.shape:
            raise CosliceError(
                f"Watcher: an estimate of shape {tuple(estimate.shape)} was given, "
                f"{tuple(self.truth.shape)} (z, y, x) is needed, as the truth has."
            )
        estimate = estimate.clamp(0, 1)
        return {
            "step": step,
            "sigma": sigma,
            "psnr": self._psnr(estimate),
            "sdiff": slice_difference(estimate, self.along),
            "lpips": self._lpips(estimate),
        }

    def _psnr(self, estimate: Tensor) -> float | None:
        if self.truth is None:
            return None
        return float(of_mean_square(mean_squares(estimate, self.truth).mean()))

    def _lpips(self, estimate: Tensor) -> float | None:
        if self.truth is None or not self._chosen:
            return None
        means = []
        for axis, index in self._chosen.items():
            image, truth = (volume.index_select(axis, index).movedim(axis, 0) for volume in (estimate, self.truth))
            means.append(float(perceptual.lpips(image * 2 - 1, truth * 2 - 1).mean()))
        return sum(means) / len(means)


def _choose(truth: Tensor, count: int) -> dict[int, Tensor]:
    """By the axis of each plane that can be measured, the slices to measure."""
    chosen = {}
    for plane in PLANES.values():
        axis = axis_number(plane.along)
        images = truth.movedim(axis, 0)
        kept = torch.nonzero(images.amax((1, 2)) > images.amin((1, 2))).flatten()
        if len(kept) == 0 or min(images.shape[1:]) < perceptual.SMALLEST_SIDE:
            continue
        # The middles of equal parts: the ends of a scan have the least to see.
        parts = min(count, len(kept))
        chosen[axis] = kept[[(2 * part + 1) * len(kept) // (2 * parts) for part in range(parts)]]
    return chosen
