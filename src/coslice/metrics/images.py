"""PSNR and SSIM of stacks of grey images whose data range is 1.

    PSNR = -10 log10 mean (a - b)^2,

capped at 100 dB: two images that agree to 1e-5 are equal for every purpose here, and infinity is neither
a number JSON knows nor one that can be averaged.

    SSIM = mean  (2 m_a m_b + C1)(2 s_ab + C2) / ((m_a^2 + m_b^2 + C1)(s_a^2 + s_b^2 + C2)),

m and s the means and (unbiased) covariances in a 7 x 7 box, C1 = 0.01^2, C2 = 0.03^2, the mean over all
boxes that lie within the image: Wang et al. 2004 as scikit-image computes it by default, which is what
most published CT and MRI numbers mean by SSIM.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from coslice.errors import CosliceError

__all__ = ["PSNR_CAP", "chunked", "psnr", "ssim"]

PSNR_CAP = 100.0
"""The largest PSNR reported, dB."""

_BOX = 7
_C1, _C2 = 0.01**2, 0.03**2
_CHUNK = 1 << 20


def psnr(image: Tensor, truth: Tensor) -> Tensor:
    """PSNR in dB of each image: (n, h, w) twice -> (n,) float64, at most `PSNR_CAP`.

    Raises:
        CosliceError: the shapes differ or are not (n, h, w).
    """
    _check("psnr", image, truth)
    return torch.cat([_psnr(a, b) for a, b in chunked(image, truth)])


def ssim(image: Tensor, truth: Tensor) -> Tensor:
    """SSIM of each image: (n, h, w) twice -> (n,) float64.

    Raises:
        CosliceError: the shapes differ or are not (n, h, w); a side is below 7 pixels.
    """
    _check("ssim", image, truth)
    if min(image.shape[1:]) < _BOX:
        raise CosliceError(
            f"ssim: images of {image.shape[1]} x {image.shape[2]} pixels were given, "
            f"at least {_BOX} x {_BOX} are needed; measure more slices together."
        )
    return torch.cat([_ssim(a, b) for a, b in chunked(image, truth)])


def _check(who: str, image: Tensor, truth: Tensor) -> None:
    if image.shape != truth.shape or image.ndim != 3 or len(image) == 0:
        raise CosliceError(
            f"{who}: images of shape {tuple(image.shape)} and a truth of shape {tuple(truth.shape)} were given, "
            "two stacks (n, h, w) of one shape are needed."
        )


def chunked(image: Tensor, truth: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of pieces of two stacks (n, ...), of about a million numbers, so that temporaries stay small."""
    count = max(1, _CHUNK // max(1, image[0].numel()))
    return zip(image.split(count), truth.split(count), strict=True)


def _psnr(image: Tensor, truth: Tensor) -> Tensor:
    error = (image.double() - truth.double()).square().mean((1, 2))
    return (-10 * error.log10()).clamp(max=PSNR_CAP)


def _ssim(image: Tensor, truth: Tensor) -> Tensor:
    # float64, since the variances below are small differences of large numbers.
    a, b = image.double(), truth.double()
    moments = torch.stack((a, b, a * b, a * a + b * b), dim=1)
    mean_a, mean_b, mean_ab, mean_squares = _box_means(moments).unbind(1)
    unbiased = _BOX**2 / (_BOX**2 - 1)
    squares = mean_a * mean_a + mean_b * mean_b
    covariance = unbiased * (mean_ab - mean_a * mean_b)
    variances = unbiased * (mean_squares - squares)
    similarity = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2) / ((squares + _C1) * (variances + _C2))
    return similarity.mean((1, 2))


def _box_means(maps: Tensor) -> Tensor:
    return functional.avg_pool2d(functional.avg_pool2d(maps, (_BOX, 1), stride=1), (1, _BOX), stride=1)
