"""PSNR and SSIM of stacks of grey images, L the distance of black and white (data range), 1 unless it is said.

    PSNR = 10 log10 (L^2 / mean (a - b)^2),

capped at 100 dB: two images that agree to 1e-5 are equal for every purpose here, and infinity is neither
a number JSON knows nor one that can be averaged.

    SSIM = mean  (2 m_a m_b + C1)(2 s_ab + C2) / ((m_a^2 + m_b^2 + C1)(s_a^2 + s_b^2 + C2)),

m and s the means and covariances in a window, C1 = (0.01 L)^2, C2 = (0.03 L)^2, the mean over all windows that
lie within the image. There are two windows in use:

    box         7 x 7, unbiased covariances: scikit-image's default, which most published CT numbers mean by SSIM
    gaussian    11 x 11, sigma 1.5, biased: Wang et al. 2004, and torchmetrics' default
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeVar

import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.threads import spread

__all__ = ["PSNR_CAP", "SSIM_SIDES", "mean_squares", "of_mean_square", "of_pieces", "psnr", "ssim"]

_Value = TypeVar("_Value")

PSNR_CAP = 100.0
"""The largest PSNR reported, dB."""

SSIM_SIDES = {"box": 7, "gaussian": 11}
"""Pixels of the side of SSIM's windows; images must have as many."""

_SIGMA = 1.5  # pixels, of the Gaussian
_PIECE = 1 << 17  # numbers that are worked on at a time: float64 copies of so many fit a core's cache


def psnr(image: Tensor, truth: Tensor, data_range: float | Tensor = 1.0) -> Tensor:
    """PSNR in dB of each image: (n, h, w) twice -> (n,) float64, at most `PSNR_CAP`.

    Args:
        image, truth: in one unit.
        data_range: the distance of black and white, in that unit: one number, or (n,), one for each image.

    Raises:
        CosliceError: the shapes differ or are not (n, h, w); a range that is not positive.
    """
    _check("psnr", image, truth, data_range)
    return of_mean_square(mean_squares(image, truth), data_range)


def ssim(
    image: Tensor, truth: Tensor, data_range: float | Tensor = 1.0, window: Literal["box", "gaussian"] = "box"
) -> Tensor:
    """SSIM of each image: (n, h, w) twice -> (n,) float64.

    Args:
        image, truth: in one unit.
        data_range: the distance of black and white, in that unit: one number, or (n,), one for each image.
        window: "box" or "gaussian", see above.

    Raises:
        CosliceError: the shapes differ or are not (n, h, w); a side is below 7 pixels, of the Gaussian 11; a range that
            is not positive.
    """
    _check("ssim", image, truth, data_range)
    side = SSIM_SIDES[window]
    if min(image.shape[1:]) < side:
        raise CosliceError(
            f"ssim: images of {image.shape[1]} x {image.shape[2]} pixels were given, "
            f"at least {side} x {side} are needed; measure more slices together."
        )
    ranges = torch.as_tensor(data_range, dtype=torch.float64, device=image.device).expand(len(image))
    return torch.cat(of_pieces(lambda a, b, widths: _ssim(a, b, widths, window), image, truth, ranges))


def mean_squares(image: Tensor, truth: Tensor) -> Tensor:
    """mean (a - b)^2 of each image: (n, h, w) twice -> (n,) float64. Neither stack is copied."""
    return torch.cat(of_pieces(lambda a, b: (a.double() - b.double()).square_().mean((1, 2)), image, truth))


def of_mean_square(error: Tensor, data_range: float | Tensor = 1.0) -> Tensor:
    """PSNR in dB of mean squared errors, at most `PSNR_CAP`; one range for all of them, or one for each."""
    width = data_range.double().log10() if isinstance(data_range, Tensor) else math.log10(data_range)
    return (20 * width - 10 * error.log10()).clamp(max=PSNR_CAP)


def _check(who: str, image: Tensor, truth: Tensor, data_range: float | Tensor) -> None:
    least = float(data_range.min()) if isinstance(data_range, Tensor) else data_range
    if not least > 0:
        raise CosliceError(f"{who}: a data range of {least:g} was given, a positive one is needed.")
    if image.shape != truth.shape or image.ndim != 3 or len(image) == 0:
        raise CosliceError(
            f"{who}: images of shape {tuple(image.shape)} and a truth of shape {tuple(truth.shape)} were given, "
            "two stacks (n, h, w) of one shape are needed."
        )


def of_pieces(function: Callable[..., _Value], *stacks: Tensor, size: int | None = None) -> list[_Value]:
    """`function` of the same few images of stacks (n, ...), for all of them in turn; on a CPU a piece a thread.

    A metric that goes through them keeps its temporaries small, whatever the size of a volume, and its values do not
    depend on how many threads there are.

    Args:
        function: what is wanted of a piece of each stack.
        stacks: as long as each other.
        size: numbers of each stack in a piece, about; None is what suits arithmetic, a core's cache.
    """
    count = max(1, (_PIECE if size is None else size) // max(1, stacks[0][0].numel()))
    pieces = list(zip(*(stack.split(count) for stack in stacks), strict=True))
    found: dict[int, _Value] = {}

    def work(number: int, piece: tuple[Tensor, ...]) -> None:
        found[number] = function(*piece)

    spread(stacks[0].device, work, range(len(pieces)), pieces)
    return [found[number] for number in range(len(pieces))]


def _ssim(image: Tensor, truth: Tensor, ranges: Tensor, window: str) -> Tensor:
    # float64, since the variances below are small differences of large numbers.
    c1, c2 = ((constant * ranges[:, None, None]) ** 2 for constant in (0.01, 0.03))
    moments = image.new_empty((4, *image.shape), dtype=torch.float64)
    a, b, products, squares = moments.unbind()
    a.copy_(image)
    b.copy_(truth)
    torch.mul(a, b, out=products)
    torch.mul(a, a, out=squares).addcmul_(b, b)
    means = _box_means(moments) if window == "box" else _gaussian_means(moments)
    mean_a, mean_b, mean_ab, mean_squares = means.unbind()
    count = SSIM_SIDES["box"] ** 2
    unbiased = count / (count - 1) if window == "box" else 1.0
    product = mean_a * mean_b
    of_means = (mean_a * mean_a).addcmul_(mean_b, mean_b)
    structure = (mean_ab - product).mul_(2 * unbiased).add_(c2)
    spread = (mean_squares - of_means).mul_(unbiased).add_(c2)
    similarity = product.mul_(2).add_(c1).mul_(structure).div_(of_means.add_(c1).mul_(spread))
    return similarity.mean((1, 2))


def _box_means(maps: Tensor) -> Tensor:
    for axis in (2, 3):
        maps = _sums_of_seven(maps, axis)
    return maps / SSIM_SIDES["box"] ** 2


def _sums_of_seven(maps: Tensor, axis: int) -> Tensor:
    """Of every seven neighbours along an axis, by four additions: a pair, two pairs, and these with what is left."""
    count = maps.shape[axis] - SSIM_SIDES["box"] + 1
    pairs = maps.narrow(axis, 0, count + 5) + maps.narrow(axis, 1, count + 5)
    fours = pairs.narrow(axis, 0, count) + pairs.narrow(axis, 2, count)
    return fours.add_(pairs.narrow(axis, 4, count)).add_(maps.narrow(axis, 6, count))


def _gaussian_means(maps: Tensor) -> Tensor:
    side = SSIM_SIDES["gaussian"]
    bell = [math.exp(-0.5 * ((place - side // 2) / _SIGMA) ** 2) for place in range(side)]
    for axis in (2, 3):
        count = maps.shape[axis] - side + 1
        maps = sum((weight * maps.narrow(axis, i, count) for i, weight in enumerate(bell)), maps.new_zeros(())) / sum(
            bell
        )
    return maps
