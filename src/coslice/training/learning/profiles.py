"""Averages of any width, made afterwards from a few that were kept.

A power-function average (`average`) of weights theta, taken up to t images, is an integral over the run so far,

    theta_hat_i = integral_0^{t_i} p_i(s) theta(s) ds,        p_i(s) = (gamma_i + 1) s^gamma_i / t_i^(gamma_i + 1),

so a sum of such averages, sum_i c_i theta_hat_i, is the integral with the profile sum_i c_i p_i. Whoever keeps a few of
them along a run can have another average of it, without having known which: the c that bring their sum closest to the
wanted profile (EDM2; Karras et al., CVPR 2024, section 3.2 and appendix C),

    min_c || sum_i c_i p_i - p ||^2        with sum_i c_i = 1,

where all that is needed are products of profiles, which have a closed form: for t_a <= t_b

    <p_a, p_b> = (gamma_a + 1)(gamma_b + 1) / (gamma_a + gamma_b + 1)  t_a^gamma_b / t_b^(gamma_b + 1).

That the c sum to 1 is ours: weights that never changed then stay what they are, however badly a profile is met.
A profile that was kept itself is met by itself alone. What is missed of the others is known, see `Mixture.missed`, and
bounds the error: no weight is further off than this times the profile's norm and the weight's own over the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Mixture", "Profile", "inner", "mixture"]


@dataclass(frozen=True)
class Profile:
    """p of an average.

    Attributes:
        end: t, images up to which it was taken, above 0.
        power: gamma.
    """

    end: float
    power: float


@dataclass(frozen=True)
class Mixture:
    """How kept averages are summed up.

    Attributes:
        coefficients: c, (n,) float64, of sum 1.
        missed: || sum_i c_i p_i - p || / || p ||.
    """

    coefficients: np.ndarray
    missed: float


def inner(a: Profile, b: Profile) -> float:
    """<p_a, p_b>, in 1/images."""
    if a.end > b.end:
        a, b = b, a
    share = (a.power + 1) * (b.power + 1) / (a.power + b.power + 1)
    return share * (a.end / b.end) ** b.power / b.end


def mixture(wanted: Profile, kept: Sequence[Profile]) -> Mixture:
    """The sum of the profiles `kept`, different ones, that is closest to `wanted`."""
    size = np.array([inner(p, p) for p in kept]) ** -0.5
    gram = np.array([[inner(p, q) for q in kept] for p in kept]) * size * size[:, None]
    right = np.array([inner(p, wanted) for p in kept]) * size
    # Lagrange's: the last row says that the coefficients sum to 1.
    system = np.block([[gram, size[:, None]], [size, np.zeros((1, 1))]])
    known = np.append(right, 1.0)
    solved = np.linalg.solve(system, known)
    solved += np.linalg.solve(system, known - system @ solved)  # what the first solution has lost to rounding
    c = solved[:-1]
    whole = inner(wanted, wanted)
    left = whole - 2 * c @ right + c @ gram @ c
    return Mixture(c * size, float(np.sqrt(max(left, 0.0) / whole)))
