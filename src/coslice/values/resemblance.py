"""Whether two volumes show the same thing in the same place: sentences where they do not.

A reconstruction of another patient, one stored the other way round or one that lies two voxels beside its truth has
metrics too, and nothing in them says why they are low. So the mistakes that are usual are tried: a mirror image along
each axis, a shift, a straight line through the values. What makes the two agree much better is said.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torch.nn import functional

from coslice.volume import Volume

__all__ = ["remarks_on_resemblance"]

_MOST = 96
"""Voxels across that are looked at."""
_BETTER = 0.5
"""Root mean square error that a mistake leaves, at most, of what is there without it."""
_UNLIKE = 0.45
"""Correlation below which two volumes show something else; filtered back-projection of a single view has 0.5."""
_SAME = 0.9
"""Correlation from which on two volumes are one but for a straight line through their values."""
_LINE, _OFFSET = 0.1, 0.05
"""By how much a slope differs from 1, or an offset from 0 in parts of the range, before a line is worth a sentence."""
_AXES = ("z", "y", "x")


def remarks_on_resemblance(
    ours: Volume, truth: Volume, who: str = "reconstruction", what: str = "the truth"
) -> list[str]:
    """Why a volume may be so far from its truth; nothing where no usual mistake explains it.

    Args:
        ours, truth: on one grid and in one unit.
        who, what: what sentences call them.

    Returns:
        Full sentences.
    """
    one, other, factors = _coarse(ours.data, truth.data)
    error, like = _error(one, other), _correlation(one, other)
    if error == 0 or float(one.std()) == 0 or float(other.std()) == 0:
        return []
    if mirrored := _mirrored(one, other, error):
        return [f"Careful: the {who} fits {what} {mirrored}: is one of them stored the other way round?"]
    shift = _shift(one, other)
    moved = one.roll(shift, (0, 1, 2))
    if any(shift) and _error(_inside(moved, shift), _inside(other, shift)) < _BETTER * error:
        by = ", ".join(f"{n * f} along {a}" for n, f, a in zip(shift, factors, _AXES, strict=True) if n)
        return [f"Careful: moved by {by} (voxels), the {who} fits {what} far better: do their places agree?"]
    slope, offset = _line(one, other)
    far = abs(slope - 1) > _LINE or abs(offset) > _OFFSET * float(other.max() - other.min())
    if abs(like) > _SAME and far and _error(slope * one + offset, other) < _BETTER * error:
        return [
            f"Careful: {slope:.3g} times the {who} {'+' if offset >= 0 else '-'} {abs(offset):.3g} fits {what} far "
            "better: are both in one unit?"
        ]
    if like < _UNLIKE:
        return [
            f"Careful: the {who} is hardly like {what} (correlation {like:.2f}): are they of one patient, in one place?"
        ]
    return []


def _coarse(ours: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, list[int]]:
    """Both with blocks of voxels as one, and how many there are in a block along each axis."""
    factors = [max(1, n // _MOST) for n in truth.shape]
    pooled = [functional.avg_pool3d(data[None, None].double(), factors)[0, 0] for data in (ours, truth)]
    return pooled[0], pooled[1], factors


def _error(one: Tensor, other: Tensor) -> float:
    return float((one - other).square().mean().sqrt())


def _correlation(one: Tensor, other: Tensor) -> float:
    a, b = one - one.mean(), other - other.mean()
    return float((a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-30))


def _mirrored(one: Tensor, other: Tensor, error: float) -> str:
    found = min((_error(one.flip(axis), other), name) for axis, name in enumerate(_AXES))
    return f"far better mirrored along {found[1]}" if found[0] < _BETTER * error else ""


def _shift(one: Tensor, other: Tensor) -> tuple[int, int, int]:
    """Voxels (z, y, x) that `one` must be moved by to lie on `other`: the peak of their correlation."""
    a, b = (np.fft.rfftn((data - data.mean()).numpy()) for data in (one, other))
    peaks = np.fft.irfftn(b * np.conj(a), tuple(one.shape))
    place = np.unravel_index(int(peaks.argmax()), peaks.shape)
    z, y, x = (int(p) if p <= n // 2 else int(p) - n for p, n in zip(place, one.shape, strict=True))
    return z, y, x


def _inside(data: Tensor, shift: tuple[int, int, int]) -> Tensor:
    """Without what came round the other end."""
    for axis, moved in enumerate(shift):
        length = data.shape[axis] - abs(moved)
        data = data.narrow(axis, max(0, moved), length)
    return data


def _line(one: Tensor, other: Tensor) -> tuple[float, float]:
    """Slope and offset of least squares, other = slope one + offset."""
    a, b = one - one.mean(), other - other.mean()
    slope = float((a * b).sum() / (a * a).sum().clamp(min=1e-30))
    return slope, float(other.mean() - slope * one.mean())
