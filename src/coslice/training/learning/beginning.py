"""What a run starts from: untrained weights, a prior that coslice trained, or a published network.

A published network (NCSN++, guided diffusion) goes on as it is: its architecture, its denoiser and its noise levels
come from the file, and what training needs to know of it, for the day the run goes on without that file, stands in the
settings as `published`. The averaged (EMA) weights are where training starts, as they are what is sampled with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coslice.errors import CosliceError
from coslice.networks.edm import EDMDenoiser
from coslice.networks.unet import UNet, for_patches
from coslice.priors import SlicePrior, load_prior
from coslice.priors.denoisers import PublishedDenoiser
from coslice.priors.metadata import described_prior, prior_of
from coslice.priors.origins import Shown
from coslice.training.learning.objective import EDMObjective, Objective, PublishedObjective
from coslice.training.presets import family_preset, preset_tree
from coslice.training.run_settings import TrainingSettings
from coslice.tree import overlay

__all__ = ["Beginning", "beginning_of", "initial_denoiser", "with_published"]

_ORIGIN = ("name", "title", "source", "licence", "fine_tuned_from")


@dataclass(frozen=True)
class Beginning:
    """What a run starts from; neither: untrained weights of ours.

    Attributes:
        ours: a denoiser that coslice trained.
        published: a published one, as a prior.
    """

    ours: EDMDenoiser | None = None
    published: SlicePrior | None = None

    def objective(self, settings: TrainingSettings) -> Objective:
        """What is trained, and for what."""
        if self.published:
            assert isinstance(self.published.denoiser, PublishedDenoiser)
            return PublishedObjective(self.published.denoiser)
        return EDMObjective(settings, self.ours.network if self.ours else None)


def beginning_of(settings: TrainingSettings, goes_on: bool) -> Beginning:
    """What a run of these settings starts from; of one that goes on, only the shape, since its weights are its own.

    Raises:
        CosliceError: no such prior, one that is not of this training's kind, or one of other patches.
    """
    if settings.published and goes_on:
        prior = prior_of(settings.published.described, "prior")
        return Beginning(published=_trainable(prior))
    if settings.start.init is None or goes_on:
        return Beginning()
    if not settings.published:
        return Beginning(initial_denoiser(settings.start.init, settings.patches.slices))
    prior = load_prior(settings.start.init, otherwise=Shown(settings.data.plane, settings.data.window))
    if described_prior(prior) != settings.published.described:
        raise CosliceError(
            f'train: init "{settings.start.init}" is not what the settings were made for; have them made anew.'
        )
    return Beginning(published=_trainable(prior))


def initial_denoiser(name: str, slices: int) -> EDMDenoiser:
    """The denoiser of a prior of ours to start from; of single slices, made one of patches where these are wanted.

    Args:
        name: of the prior, or its file.
        slices: to an image.

    Raises:
        CosliceError: no such prior, one that is not ours, or one of other patches.
    """
    denoiser = load_prior(name).denoiser
    if not isinstance(denoiser, EDMDenoiser) or not isinstance(denoiser.network, UNet):
        raise CosliceError(
            f'train: init "{name}" is no U-Net that coslice trained, and `published` is not set; have the settings '
            "made by run_settings_of, as the command does."
        )
    had = denoiser.network.config.image_channels
    if had not in (1, slices):
        raise CosliceError(
            f'train: init "{name}" is of {had} slices to an image, but {slices} were asked for; '
            "give it one slice or as many."
        )
    network = denoiser.network if had == slices else for_patches(denoiser.network, slices)
    return EDMDenoiser(network.float().requires_grad_(True), denoiser.data_mean, denoiser.data_std)


def with_published(given: Mapping[str, Any], packed: Mapping[str, Any]) -> dict[str, Any]:
    """A tree of settings with what its preset, its published network and its data say laid below it, in this order.

    Args:
        given: as in run.yaml.
        packed: what the data are, likewise.

    Raises:
        CosliceError: no such preset or prior.
    """
    init, preset = given.get("init"), given.get("preset")
    prior = None
    if isinstance(init, str):
        # Where nothing says what a checkpoint was shown, it is taken to be what it will be shown.
        data = {"plane": "yx", "window": "ct", **packed["data"], **given.get("data", {})}
        prior = load_prior(init, otherwise=Shown(data["plane"], data["window"]))
    published = prior is not None and isinstance(prior.denoiser, PublishedDenoiser)
    if prior is None or not published:
        return overlay(overlay(_preset(preset, given), packed) if preset else packed, given)
    described = described_prior(prior)
    if not preset:
        preset = family_preset(described["network"], prior.channels)
    size = prior.card.get("image_size")
    known = {
        "preset": preset,
        "precision": "f32",
        "micro": 1,
        "published": {"described": described, "origin": {k: prior.card[k] for k in _ORIGIN if k in prior.card}},
        "patches": {"slices": prior.channels},
        "data": {"plane": prior.plane, "window": prior.window} | ({"size": size} if isinstance(size, int) else {}),
        "sigma": {"lowest": prior.sigma_range[0], "highest": prior.sigma_range[1], "draw": "published"},
    }
    return overlay(overlay(overlay(_preset(preset, given), known), packed), given)


def _preset(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a preset; its epochs are not in the way of a number of images that was given."""
    tree = preset_tree(name)
    return overlay(tree, {"schedule": {"epochs": None}}) if "images" in given else tree


def _trainable(prior: SlicePrior) -> SlicePrior:
    """The prior with weights that can be trained: all but the frequencies that NCSN++ never trains."""
    for name, parameter in prior.network.float().named_parameters():
        parameter.requires_grad_(not name.endswith("all_modules.0.W"))
    return prior
