"""Can an observer tell a lesion, and would it see one where there is none?

The observer is a matched filter that knows place and shape but not the correlations of the noise: non-prewhitening,
NPW (Barrett & Myers, Foundations of Image Science, 2004, chapter 13; Wagner & Brown, Phys. Med. Biol. 1985). Of an
image g and a template w its score is t = w . g; of two ensembles of scores, with a lesion and without,

    d' = (mean t_1 - mean t_0) / sqrt((var t_1 + var t_0) / 2)                    (Barrett & Myers, eq. 13.19)

For a signal s in noise of covariance K, and w = s, that is  s . s / sqrt(s . K s).

Here t is divided by w . w, which changes no d' and makes t the contrast, in the unit of the volume, that fits g best in
the sense of least squares.
"""

from __future__ import annotations

import math

import torch
from scipy import signal
from torch import Tensor

from coslice.errors import CosliceError

__all__ = ["detectability", "filter_scores", "filtered", "invented", "npw_detectability"]


def filter_scores(images: Tensor, template: Tensor) -> Tensor:
    """w . g / w . w of each image: (n, z, y, x) and (z, y, x) -> (n,) float64, contrasts in the images' unit.

    Raises:
        CosliceError: shapes that do not fit, or a template of zeros.
    """
    if images.shape[1:] != template.shape or not bool(template.any()):
        raise CosliceError(
            f"filter_scores: images of shape {tuple(images.shape)} and a template of shape {tuple(template.shape)} "
            "were given; n images (n, z, y, x) and a template (z, y, x) that is not 0 are needed."
        )
    weights = template.double().flatten()
    return images.double().flatten(1) @ weights / weights.square().sum()


def detectability(present: Tensor, absent: Tensor) -> float:
    """d' of scores with a lesion and without, (n,) and (m,): eq. 13.19 of Barrett & Myers. Below 0: darker with it.

    Raises:
        CosliceError: fewer than 2 scores of a kind, or none that differ, of which no d' is known.
    """
    if min(present.numel(), absent.numel()) < 2:
        raise CosliceError(
            f"detectability: {present.numel()} scores with a lesion and {absent.numel()} without were given, at least "
            "2 of each are needed; measure more seeds or places."
        )
    spread = float((present.double().var() + absent.double().var()) / 2)
    if not spread > 0:
        raise CosliceError("detectability: scores without any spread were given, of which no d' is known.")
    return float(present.double().mean() - absent.double().mean()) / math.sqrt(spread)


def npw_detectability(present: Tensor, absent: Tensor, template: Tensor | None = None) -> float:
    """d' of the NPW observer of two ensembles of images.

    Args:
        present, absent: (n, z, y, x) and (m, z, y, x), with the lesion and without.
        template: (z, y, x); None is the mean difference of the ensembles, which with few images is partly their noise
            and makes d' too large.

    Raises:
        CosliceError: as `filter_scores` and `detectability`.
    """
    if template is None:
        template = present.double().mean(0) - absent.double().mean(0)
    return detectability(filter_scores(present, template), filter_scores(absent, template))


def filtered(error: Tensor, template: Tensor) -> Tensor:
    """The score w . g / w . w of the template at every place of a volume.

    Args:
        error: (z, y, x).
        template: (z, y, x), odd sides, centred.

    Returns:
        (z, y, x) float64, NaN where the template leaves the volume.

    Raises:
        CosliceError: a template with an even side, larger than the volume, or of zeros.
    """
    sides = tuple(template.shape)
    if any(n % 2 == 0 or n > m for n, m in zip(sides, error.shape, strict=True)) or not bool(template.any()):
        raise CosliceError(
            f"filtered: a template of shape {sides} was given for a volume of shape {tuple(error.shape)}; odd sides, "
            "none above the volume's, and voxels that are not all 0 are needed."
        )
    weights = template.double()
    inner = signal.fftconvolve(
        error.double().numpy(), (weights / weights.square().sum()).flip((0, 1, 2)).numpy(), mode="valid"
    )
    scores = torch.full(tuple(error.shape), math.nan, dtype=torch.float64)
    z, y, x = (slice(n // 2, n // 2 + m) for n, m in zip(sides, inner.shape, strict=True))
    scores[z, y, x] = torch.from_numpy(inner)
    return scores


def invented(scores: Tensor, where: Tensor, percentile: float = 99.9) -> float:
    """The contrast of false lesions: a percentile of |score| over the places `where`, (z, y, x) bool.

    Of the error of a reconstruction without a lesion, `filtered` at the scale of a lesion: the contrast that is
    invented at one place in 1000 (99.9 %). Interpolated between order statistics.

    Raises:
        CosliceError: no place with a score.
    """
    kept = scores[where & scores.isfinite()].abs()
    if not len(kept):
        raise CosliceError("invented: no place with a score was given; choose others, or a larger volume.")
    rank = percentile / 100 * (len(kept) - 1)
    ordered = kept.sort().values
    low, high = ordered[math.floor(rank)], ordered[math.ceil(rank)]
    return float(low + (high - low) * (rank - math.floor(rank)))
