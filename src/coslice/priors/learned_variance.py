"""The bound by which guided-diffusion networks learn the variance of a step (Nichol & Dhariwal, ICML 2021).

Beside the noise, a network with `learn_sigma` names a number in [-1, 1] for each pixel, r, that puts the variance of
the step from v_t to v_(t-1) between its bounds (their eq. 15):

    ln var = f ln beta_t + (1 - f) ln beta~_t,      f = (r + 1)/2,      beta~_t = beta_t (1 - abar_(t-1))/(1 - abar_t).

It is trained by the step's part of the variational bound, in bits for each number of the image: the divergence of the
step from q(v_(t-1) | v_t, v_0), whose mean is

    (beta_t sqrt(abar_(t-1)) v_0 + (1 - abar_(t-1)) sqrt(alpha_t) v_t)/(1 - abar_t);

and at t = 0 the negative log-likelihood of v_0 in bins of 2/255 of [-1, 1]. The network's own mean has the image that
eps tells in place of v_0. Samplers on sigma never read r; it is trained so that the weights stay what others' code
expects. The normal distribution is exact here, a fitted curve in the published code.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["variance_bound"]


def variance_bound(v_0: Tensor, v_t: Tensor, eps: Tensor, range_: Tensor, step: Tensor, alpha_bar: Tensor) -> Tensor:
    """Bits of the bound, averaged over each image: (b,).

    Args:
        v_0, v_t: images without and with noise, in the window of the network, (b, c, h, w).
        eps: the noise the network tells.
        range_: r, what the network says of the variance; all like `v_0`.
        step: t, (b,), whole numbers from 0.
        alpha_bar: abar of all steps, (count,) float64.
    """

    def of_step(table: Tensor) -> Tensor:
        return table[step.cpu()].to(v_0)[:, None, None, None]

    before = torch.cat((torch.ones(1, dtype=alpha_bar.dtype), alpha_bar[:-1]))
    alpha = alpha_bar / before
    beta = 1 - alpha
    tilde = beta * (1 - before) / (1 - alpha_bar)
    tilde = torch.cat((tilde[1:2], tilde[1:]))  # That of t = 0 is 0, which has no logarithm.
    clean, noisy = beta * before.sqrt() / (1 - alpha_bar), (1 - before) * alpha.sqrt() / (1 - alpha_bar)
    share = (range_ + 1) / 2
    log_variance = share * of_step(beta.log()) + (1 - share) * of_step(tilde.log())
    told = (v_t - of_step((1 - alpha_bar).sqrt()) * eps) / of_step(alpha_bar.sqrt())
    mean, told_mean = (of_step(clean) * image + of_step(noisy) * v_t for image in (v_0, told))
    log_tilde = of_step(tilde.log())
    ratio = (log_tilde - log_variance).exp() + (mean - told_mean).square() * (-log_variance).exp()
    divergence = (log_variance - log_tilde + ratio - 1) / 2
    unlikely = -_log_likelihood(v_0, told_mean, (log_variance / 2).exp())
    bits = torch.where(step[:, None, None, None] == 0, unlikely, divergence) / math.log(2)
    return bits.mean(dim=(1, 2, 3))


def _log_likelihood(v: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Of v in a bin of width 2/255; the outermost bins reach to infinity."""
    below = torch.special.ndtr((v - mean - 1 / 255) / deviation).masked_fill(v < -0.999, 0.0)
    above = torch.special.ndtr((v - mean + 1 / 255) / deviation).masked_fill(v > 0.999, 1.0)
    return (above - below).clamp_min(1e-12).log()
