"""Reconstruction without a learned prior: filtered back-projection, SIRT, CGLS, ADMM with total variation, splines."""

from coslice.classical.cubic import cubic
from coslice.classical.fdk import fdk
from coslice.classical.gaps import filled
from coslice.classical.iterative import Sirt, cgls, conjugate_gradient, sirt
from coslice.classical.total_variation import AdmmState, TotalVariation, admm_step, admm_tv, mean_diagonal

__all__ = [
    "AdmmState",
    "Sirt",
    "TotalVariation",
    "admm_step",
    "admm_tv",
    "cgls",
    "conjugate_gradient",
    "cubic",
    "fdk",
    "filled",
    "mean_diagonal",
    "sirt",
]
