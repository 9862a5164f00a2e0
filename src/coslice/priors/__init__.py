"""Priors: networks trained on 2D images, made into denoisers of volumes."""

from coslice.priors.denoisers import InputRange
from coslice.priors.guidance import Guided, PullBack, by_autograd
from coslice.priors.origins import Shown, parse_range
from coslice.priors.places import embedded_priors, stored_priors, user_store
from coslice.priors.slices import SlicePrior
from coslice.priors.storage import (
    check_shown,
    import_prior,
    is_published,
    load_prior,
    read_card,
    save_prior,
)
from coslice.priors.suitability import check_window_of_prior, remarks_for_prior

__all__ = [
    "Guided",
    "InputRange",
    "PullBack",
    "Shown",
    "SlicePrior",
    "by_autograd",
    "check_shown",
    "check_window_of_prior",
    "embedded_priors",
    "import_prior",
    "is_published",
    "load_prior",
    "parse_range",
    "read_card",
    "remarks_for_prior",
    "save_prior",
    "stored_priors",
    "user_store",
]
