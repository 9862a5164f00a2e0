"""How much each ray of a measurement is to be believed.

Of Gaussian noise with the variance s_i^2 in entry i, the likeliest volume makes sum_i (y_i - (A x)_i)^2 / s_i^2 small.
A problem holds these weights relative to their mean, and the noise of an entry whose weight is 1:

    w_i = noise^2 / s_i^2,        1 / noise^2 = mean of 1 / s_i^2
"""

from __future__ import annotations

import torch
from torch import Tensor

from coslice.errors import CosliceError

__all__ = ["relative_weights"]


def relative_weights(variance: Tensor) -> tuple[Tensor, float]:
    """Weights and noise of a problem whose entries have noise of these variances.

    Args:
        variance: s_i^2, above 0, in the units of y squared; infinite for an entry that is not to be believed.

    Returns:
        The weights, 0 where the variance is infinite and else of mean 1, and the noise, in the units of y.

    Raises:
        CosliceError: a variance that is not above 0, or none that is finite.
    """
    if not bool((variance > 0).all()) or not bool(variance.isfinite().any()):
        raise CosliceError(
            "relative_weights: variances that are not above 0, or that are all infinite, were given; a variance above "
            "0 is needed for every entry, infinite where it is not to be believed."
        )
    inverse = torch.where(variance.isfinite(), 1 / variance.double(), 0.0)
    mean = float(inverse.sum()) / int((inverse > 0).sum())
    return (inverse / mean).to(variance.dtype), mean**-0.5
