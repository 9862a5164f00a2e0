"""What a network is trained for, by its family: at which noise levels, and by which loss.

Ours is an `EDMDenoiser`, which knows its loss. A published network goes on as it was trained: its denoiser
(`coslice.priors.denoisers`) draws the noise levels and knows the loss of its family, in float32, without augmentation
(`coslice.training.presets`).

Whatever the family, a `Learner` has a `network`, is called with (x, sigma, label) and has `loss(images, sigma, noise,
label)`. The label (b,) says how the slices of a patch lie, as numbers: the mm between them for ours, the class for a
published network with classes; others do not read it.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor, nn

from coslice.networks.edm import EDMDenoiser
from coslice.networks.unet import UNet
from coslice.noise import Key, generator
from coslice.priors.denoisers import PublishedDenoiser
from coslice.training.run_settings import TrainingSettings, default_network

__all__ = ["EDMObjective", "Learner", "Objective", "PublishedLearner", "PublishedObjective", "fresh_network"]


class Learner(Protocol):
    """A denoiser in training; it is an `nn.Module` too."""

    def loss(self, images: Tensor, sigma: Tensor, noise: Tensor, label: Tensor) -> Tensor: ...

    def __call__(self, x: Tensor, sigma: Tensor, label: Tensor) -> Tensor: ...


class Objective(ABC):
    """What a network is trained for.

    Attributes:
        network: the one that training starts with.
    """

    network: nn.Module

    @abstractmethod
    def learner(self, network: nn.Module) -> nn.Module:
        """`network` as a `Learner`."""

    @abstractmethod
    def levels(self, key: Key, count: int) -> Tensor:
        """Noise levels of the images of a step: (count,) float32, a function of `key` alone."""

    @abstractmethod
    def denoiser(self, learner: nn.Module) -> nn.Module:
        """What of a learner is exported."""


class EDMObjective(Objective):
    """Of a U-Net of ours; `network` None is a fresh one, from the settings' seed."""

    def __init__(self, settings: TrainingSettings, network: nn.Module | None = None):
        self.settings = settings
        self.network = fresh_network(settings) if network is None else network

    def learner(self, network: nn.Module) -> EDMDenoiser:
        return EDMDenoiser(network, *self.settings.moments)

    def levels(self, key: Key, count: int) -> Tensor:
        return self.settings.sigma.levels(key, count)

    def denoiser(self, learner: nn.Module) -> nn.Module:
        return learner


class PublishedLearner(nn.Module):
    """A published network in training.

    Args:
        published: its denoiser.
    """

    def __init__(self, published: PublishedDenoiser):
        super().__init__()
        self.published = published

    @property
    def network(self) -> nn.Module:
        return self.published.network

    def forward(self, x: Tensor, sigma: Tensor, label: Tensor) -> Tensor:
        return self.published(x, sigma, *self._classes(label))

    def loss(self, images: Tensor, sigma: Tensor, noise: Tensor, label: Tensor) -> Tensor:
        return self.published.loss(images, sigma, noise, *self._classes(label))

    def _classes(self, label: Tensor) -> tuple[Tensor, ...]:
        return (label.round().long(),) if getattr(self.published, "classes", 0) else ()


class PublishedObjective(Objective):
    """Of a published network: what it was trained for before."""

    def __init__(self, published: PublishedDenoiser):
        self.published, self.network = published, published.network

    def learner(self, network: nn.Module) -> PublishedLearner:
        # The same denoiser of another network, which is put in its place while all else is copied.
        return PublishedLearner(copy.deepcopy(self.published, {id(self.network): network}))

    def levels(self, key: Key, count: int) -> Tensor:
        return self.published.drawn_levels(torch.from_numpy(generator(key, 0).random(count)))

    def denoiser(self, learner: nn.Module) -> nn.Module:
        assert isinstance(learner, PublishedLearner)
        return learner.published


def fresh_network(settings: TrainingSettings) -> UNet:
    """The untrained network of a run, the same for the same seed, whatever was drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.start.seed)
        return UNet(settings.network or default_network(settings.patches.slices))
