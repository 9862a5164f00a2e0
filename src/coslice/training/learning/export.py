"""A run's outcome as files: the prior, and its card as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from coslice.io.files import atomic
from coslice.training.collection.catalogue import Pack
from coslice.training.learning.card import card_page
from coslice.training.run_settings import TrainingSettings

__all__ = ["PRIOR", "export_prior"]

PRIOR = "prior.safetensors"


def export_prior(
    target: Path,
    denoiser: nn.Module,
    settings: TrainingSettings,
    pack: Pack,
    sigma_range: tuple[float, float],
    card: dict[str, Any],
) -> Path:
    """Write the prior and, beside it, its page of the same name; returns the prior's file.

    Args:
        target: file to write, .safetensors; in the folder of a run its `PRIOR`.
        denoiser: with averaged weights; stored in bfloat16, a published one in float32, as it came.
        settings: of the run.
        pack: of the slices.
        sigma_range: lowest and highest label that the denoiser knows.
        card: as `coslice.training.learning.card.prior_card` makes it.
    """
    from coslice.priors import SlicePrior, save_prior

    published = settings.published
    classes = published.described.get("classes") if published else None
    prior = SlicePrior(
        denoiser=denoiser,
        stride=getattr(denoiser.network, "stride", 1),
        sigma_range=sigma_range,
        plane=pack.plane,
        window=pack.window,
        channels=settings.patches.slices,
        classes=None if classes is None else (classes[0], classes[1]),
        name=card["name"],
        card=card,
    )
    save_prior(target, prior, torch.float32 if published else torch.bfloat16)
    with atomic(target.with_suffix(".md")) as part:
        part.write_text(card_page(card), encoding="utf-8")
    return target
