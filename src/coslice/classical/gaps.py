"""Gaps in projections, filled for filtered back-projection, which cannot leave a ray out.

An unknown pixel takes what lies between the nearest known ones of its row, linearly, and likewise of its column; the
nearer neighbours of the two count more, as one over the length of the gap. Beyond the last known pixel of a row or
column its value goes on. A view of which nothing is known takes what lies between its neighbours in angle. So a dead
pixel, a dead column, the shadow of metal and a lost view are filled alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from coslice.classical.filters import measured_arc
from coslice.errors import CosliceError

__all__ = ["filled"]


def filled(projections: Tensor, known: Tensor, angles: Sequence[float]) -> Tensor:
    """The same projections where they are known, interpolated elsewhere.

    Args:
        projections: (views, rows, columns).
        known: true where a value is to be kept, of the same shape.
        angles: of the views, rad; over a whole turn the last is the neighbour of the first.

    Returns:
        As `projections`, which is left unchanged; itself where nothing is unknown.

    Raises:
        CosliceError: nothing is known, or shapes differ.
    """
    if known.shape != projections.shape or len(angles) != len(projections):
        raise CosliceError(
            f"filled: a mask of shape {tuple(known.shape)} and {len(angles)} angles were given for projections of "
            f"shape {tuple(projections.shape)}; all of them have the same views."
        )
    if bool(known.all()):
        return projections
    if not bool(known.any()):
        raise CosliceError("filled: no ray of the projections is known, so nothing can be filled in.")
    values, mask = projections.detach().cpu().numpy(), known.cpu().numpy()
    lost = ~mask.any((1, 2))
    result = values.copy()
    for view in np.flatnonzero(~lost & ~mask.all((1, 2))):
        result[view] = _image(values[view], mask[view])
    for view in np.flatnonzero(lost):
        result[view] = _between(result, int(view), np.flatnonzero(~lost), np.asarray(angles))
    return torch.from_numpy(result).to(projections)


def _image(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    total, weights = np.zeros(image.shape), np.zeros(image.shape)
    for turned in (False, True):
        lines, believed = (image.T, known.T) if turned else (image, known)
        value, weight = np.zeros(lines.shape), np.zeros(lines.shape)
        for line in np.flatnonzero(believed.any(1) & ~believed.all(1)):
            value[line], weight[line] = _line(lines[line], believed[line])
        total += (value * weight).T if turned else value * weight
        weights += weight.T if turned else weight
    seen = ~known & (weights > 0)
    filled_in = np.where(known, image, 0).astype(float)
    filled_in[seen] = total[seen] / weights[seen]
    left = ~known & ~seen  # neither its row nor its column holds anything: after a first pass they do
    return _image(filled_in, ~left) if left.any() else filled_in


def _line(line: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What lies between the known pixels of a line, and one over the length of each gap; 0 at known ones."""
    places, at = np.arange(len(line)), np.flatnonzero(known)
    after = np.searchsorted(at, places)
    left, right = at[np.maximum(after - 1, 0)], at[np.minimum(after, len(at) - 1)]
    # At an end the gap has one side only, which says less than two: it counts as twice as long.
    gap = np.where(left < right, right - left, 2 * np.abs(places - left))
    return np.interp(places, at, line[at]), np.where(known, 0.0, 1 / np.maximum(gap, 1))


def _between(views: np.ndarray, view: int, at: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """What lies between the nearest of the views `at` on either side of an angle."""
    turn = 2 * math.pi if measured_arc(tuple(angles)).closed else math.inf
    ahead = angles[at] - angles[view]
    before, after = (-ahead, ahead) if math.isinf(turn) else (np.mod(-ahead, turn), np.mod(ahead, turn))
    before, after = (np.where(gap >= 0, gap, math.inf) for gap in (before, after))
    first, last = before.argmin(), after.argmin()
    near, far = before[first], after[last]
    if math.isinf(near) or math.isinf(far):
        return views[at[last] if math.isinf(near) else at[first]]
    share = near / (near + far) if near + far > 0 else 0.0
    return (1 - share) * views[at[first]] + share * views[at[last]]
