"""A run's outcome as files: the prior, and its card as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from coslice.io.files import atomic
from coslice.networks.edm import EDMDenoiser
from coslice.training.collection.catalogue import Pack
from coslice.training.learning.card import card_page
from coslice.training.run_settings import TrainingSettings

__all__ = ["PRIOR", "export_prior"]

PRIOR = "prior.safetensors"


def export_prior(
    out: Path,
    denoiser: EDMDenoiser,
    settings: TrainingSettings,
    pack: Pack,
    sigma_range: tuple[float, float],
    card: dict[str, Any],
) -> Path:
    """Write the prior and its page into the folder of a run, and return the prior's file.

    Args:
        out: folder of the run.
        denoiser: with averaged weights; stored in bfloat16.
        settings: of the run.
        pack: of the slices.
        sigma_range: lowest and highest label that the denoiser knows.
        card: as `coslice.training.learning.card.prior_card` makes it.
    """
    from coslice.priors import SlicePrior, save_prior

    prior = SlicePrior(
        denoiser=denoiser,
        stride=settings.network.stride if settings.network else 1,
        sigma_range=sigma_range,
        plane=pack.plane,
        window=pack.window,
        channels=settings.patches.slices,
        name=card["name"],
        card=card,
    )
    save_prior(out / PRIOR, prior, torch.bfloat16)
    with atomic(out / "prior.md") as part:
        part.write_text(card_page(card), encoding="utf-8")
    return out / PRIOR
