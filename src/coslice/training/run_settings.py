"""A training run as one value, and as one YAML file.

Everything the weights depend on, besides the scans and the machine, is in `TrainingSettings`. The file is the same
tree: a section per part, a line per number; what is left out has its default. It is stored in the run's folder and
in the metadata of the weights, so a prior says how it was made and can be made again:

    images: 300000
    data: {plane: yx, window: ct}
    optimiser: {name: muon, learning_rate: 1e-3}

A file is checked against the types here before any work, see `coslice.tree`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from coslice.io.files import atomic
from coslice.networks.unet import UNetConfig
from coslice.priors.travelling_cards import recipe_without_names
from coslice.training.levels import SigmaSettings
from coslice.training.rollout_settings import RolloutSettings, check_shares
from coslice.training.sections import (
    ArithmeticSettings,
    AugmentSettings,
    AverageSettings,
    DataSettings,
    OptimiserSettings,
    PatchSettings,
    PublishedSettings,
    RateSettings,
    StartSettings,
    SupervisedSettings,
    View,
    need,
)
from coslice.tree import INLINE, built, plain, read_tree

__all__ = ["MAY_CHANGE", "SimulatedSettings", "TrainingSettings", "default_network", "differences"]


def default_network(slices: int) -> UNetConfig:
    """The shape of a network of images of so many slices, when nothing else is asked for."""
    return UNetConfig(slices, blocks=1, positions=slices > 1)


MAY_CHANGE = ("images", "averages.snapshots", "data.licence", "data.credit", "data.not_for", "data.strict")
"""What a resumed run may be given anew: its length, and what nothing is computed from."""


_MOST_IMAGES = 100_000
"""In a step: beyond that it is a slip, and packing the scans would be for nothing."""


@dataclass(frozen=True)
class SimulatedSettings:
    """What is measured and reconstructed of the scans before training, to be trained on.

    Attributes:
        supervised: the tasks of an FBP-UNet; None: a diffusion prior. `sigma` and `augment` have no say in it.
        rollouts: steps of a sampler, shown beside noise; none of a plain diffusion prior.
    """

    supervised: SupervisedSettings | None = None
    rollouts: tuple[RolloutSettings, ...] = ()

    def __post_init__(self) -> None:
        check_shares(self.rollouts)
        need(not (self.supervised and self.rollouts), "rollouts", "given", "left out where there are supervised.tasks")


@dataclass(frozen=True)
class TrainingSettings:
    """Everything a training run is made of, besides its scans and its machine.

    Attributes:
        images: length of the run.
        batch: images per step, over all ranks.
        arithmetic: how a step is computed; its keys stand beside the others in a file, as those of `start`.
        start: seed, initial weights, and moments of the images.
        data: which images the scans become.
        network: its shape; None: that of `start.init`, or `default_network`.
        views: kinds of batches; None: by the size of the slices (`coslice.training.supply.views.default_views`), or of
            `supervised.sizes`.
        augment: how images are varied.
        patches: slices to an image; more than one makes a prior of patches, as DiffusionBlend needs it.
        simulated: tasks of an FBP-UNet, and rollouts; its keys stand beside the others in a file.
        optimiser: how gradients become steps.
        schedule: the learning rate over images.
        averages: of the weights.
        sigma: noise levels.
        published: of a run that goes on from a published network, its description, in place of `network`.
    """

    images: int = 300_000
    batch: int = 16
    arithmetic: ArithmeticSettings = field(default_factory=ArithmeticSettings, metadata=INLINE)
    start: StartSettings = field(default_factory=StartSettings, metadata=INLINE)
    data: DataSettings = field(default_factory=DataSettings)
    network: UNetConfig | None = None
    views: tuple[View, ...] | None = None
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    patches: PatchSettings = field(default_factory=PatchSettings)
    simulated: SimulatedSettings = field(default_factory=SimulatedSettings, metadata=INLINE)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    schedule: RateSettings = field(default_factory=RateSettings)
    averages: AverageSettings = field(default_factory=AverageSettings)
    sigma: SigmaSettings = field(default_factory=SigmaSettings)
    published: PublishedSettings | None = None

    def __post_init__(self) -> None:
        need(self.images >= 1, "images", self.images, "at least 1")
        need(1 <= self.batch <= _MOST_IMAGES, "batch", self.batch, f"at least 1 and at most {_MOST_IMAGES:,}")
        slices = self.network.image_channels if self.network else self.patches.slices
        need(slices == self.patches.slices, "network.image_channels", slices, f"patches.slices, {self.patches.slices}")
        need(self.views is None or len(self.views) > 0, "views", self.views, "a list of views, or left out")
        need(slices == 1 or not self.supervised, "patches.slices", slices, "1 where there are supervised.tasks")
        thickness = self.data.thickness
        good = thickness is None or not self.supervised
        need(good, "data.thickness", thickness, "left out where there are supervised.tasks")
        good = (self.sigma.draw == "published") == bool(self.published)
        drawn = "published" if self.published else "log-normal or mixture"
        need(good, "sigma.draw", self.sigma.draw, f"{drawn} for this network")
        if self.published:
            self._check_published(self.published)

    def _check_published(self, published: PublishedSettings) -> None:
        channels, levels = published.channels, tuple(published.described["sigma_range"])
        need(self.network is None, "network", self.network, "left out, since init brings its own")
        need(self.supervised is None, "supervised", self.supervised, "left out for a published network")
        need(not self.rollouts, "rollouts", "given", "left out for a published network")
        need(self.patches.slices == channels, "patches.slices", self.patches.slices, f"{channels}, as init has it")
        own = (self.sigma.lowest, self.sigma.highest)
        need(own == levels, "sigma.lowest and sigma.highest", own, f"{levels}, which init was trained for")

    @property
    def supervised(self) -> SupervisedSettings | None:
        """The tasks of an FBP-UNet; None: a diffusion prior."""
        return self.simulated.supervised

    @property
    def rollouts(self) -> tuple[RolloutSettings, ...]:
        """Steps of a sampler that are shown beside noise."""
        return self.simulated.rollouts

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation of the training images, once they are known."""
        mean, deviation = self.start.data_mean, self.start.data_std
        assert mean is not None and deviation is not None
        return mean, deviation

    def with_moments(self, mean: float, deviation: float) -> TrainingSettings:
        """The same with another mean and standard deviation of the images."""
        return replace(self, start=replace(self.start, data_mean=mean, data_std=deviation))

    def to_dict(self) -> dict[str, Any]:
        """As `from_dict` reads it, of dicts, lists and plain values only."""
        return plain(self)

    def to_travel(self) -> dict[str, Any]:
        """As `to_dict`, without what tells of the machine and of persons: paths, and names of held-out scans."""
        return recipe_without_names(self.to_dict())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingSettings:
        """The settings of a (partial) tree; what is left out has its default.

        Raises:
            CosliceError: an unknown key, a value of the wrong kind or out of range, named by its path.
        """
        return built(cls, values, who="train")

    @classmethod
    def load(cls, path: str | Path) -> TrainingSettings:
        """The settings in a YAML file.

        Raises:
            CosliceError: as `read_tree` and `from_dict`.
        """
        return cls.from_dict(read_tree(path, "train"))

    def save(self, path: str | Path) -> None:
        """Write the YAML, atomically."""
        with atomic(path) as part:
            part.write_text(yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True), encoding="utf-8")


def differences(stored: Mapping[str, Any], given: Mapping[str, Any], path: str = "") -> list[str]:
    """Paths of the leaves that `given` sets (not None) and that are otherwise in `stored`."""
    found = []
    for key, value in given.items():
        below = stored.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            found += differences(below, value, f"{path}{key}.")
        elif value is not None and value != below:
            found.append(f"{path}{key}")
    return found
