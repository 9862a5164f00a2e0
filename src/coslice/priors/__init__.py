"""Priors: networks trained on 2D images, made into denoisers of volumes."""

from coslice.priors.denoisers import InputRange
from coslice.priors.denoising_error import Measurement, measure_prior
from coslice.priors.guidance import Guided, PullBack, by_autograd
from coslice.priors.live_priors import from_deepinv, from_diffusers, from_monai, prior_from
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
    update_card,
)
from coslice.priors.suitability import check_window_of_prior, remarks_for_prior, remarks_on_brightness

__all__ = [
    "Guided",
    "InputRange",
    "Measurement",
    "PullBack",
    "Shown",
    "SlicePrior",
    "by_autograd",
    "check_shown",
    "check_window_of_prior",
    "embedded_priors",
    "from_deepinv",
    "from_diffusers",
    "from_monai",
    "import_prior",
    "is_published",
    "load_prior",
    "measure_prior",
    "parse_range",
    "prior_from",
    "read_card",
    "remarks_for_prior",
    "remarks_on_brightness",
    "save_prior",
    "stored_priors",
    "update_card",
    "user_store",
]
