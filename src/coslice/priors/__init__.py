"""Priors: networks trained on 2D images, made into denoisers of volumes."""

from coslice.priors.slices import SlicePrior
from coslice.priors.store import LoadedPrior, embedded_priors, load_prior, save_prior

__all__ = ["LoadedPrior", "SlicePrior", "embedded_priors", "load_prior", "save_prior"]
