"""A training run as one value, and as one YAML file.

Everything the weights depend on, besides the scans and the machine, is a field of `Recipe`. The file is the same
tree: a section per part, a line per number; what is left out has its default. It is stored in the run's folder and
in the metadata of the weights, so a prior says how it was made and can be made again:

    images: 300000
    data: {plane: yx, window: ct}
    optimiser: {name: muon, learning_rate: 1e-3}

A file is checked against the types here before any work, see `coslice.tree`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from coslice.errors import CosliceError
from coslice.io.files import atomic
from coslice.networks.unet import UNetConfig
from coslice.training.slices import Augment, Patches
from coslice.training.views import View
from coslice.tree import built, read_tree

__all__ = [
    "MAY_CHANGE",
    "NETWORK",
    "Averages",
    "Data",
    "Optimiser",
    "Recipe",
    "Schedule",
    "Sigmas",
    "Supervised",
    "differences",
    "overlay",
    "shape",
]

NETWORK = UNetConfig(blocks=1)
"""The shape of a network when nothing else is asked for."""


def shape(slices: int) -> UNetConfig:
    """The shape of a network of images of so many slices, when nothing else is asked for."""
    return replace(NETWORK, image_channels=slices, positions=slices > 1)


MAY_CHANGE = ("images", "data.licence", "data.credit", "data.strict")
"""What a resumed run may be given anew: its length, and what nothing is computed from."""


def _need(condition: bool, key: str, given: object, needed: str) -> None:
    if not condition:
        raise CosliceError(f"recipe: {key} is {given!r}, but it must be {needed}; correct it.")


@dataclass(frozen=True)
class Data:
    """Which images the scans become.

    Attributes:
        plane: rows and columns of an image, two of "z", "y", "x".
        window: "ct", "mr" or "LOW:HIGH", see `coslice.volume.scan_window`.
        size: side in pixels to which slices are resampled; None keeps their own.
        validation: share of the scans held out, or their names.
        strict: refuse a folder with an unreadable file instead of skipping the file.
        licence, credit: of the scans, for the card.
    """

    plane: str = "yx"
    window: str = "ct"
    size: int | None = None
    validation: float | tuple[str, ...] = 0.1
    strict: bool = False
    licence: str = ""
    credit: str = ""

    def __post_init__(self) -> None:
        good = len(self.plane) == 2 and len(set(self.plane)) == 2 and set(self.plane) <= set("zyx")
        _need(good, "data.plane", self.plane, 'two of "z", "y", "x", as in yx or zx')
        _need(self.size is None or self.size >= 32, "data.size", self.size, "at least 32 pixels")
        if isinstance(self.validation, float):
            _need(0 < self.validation < 1, "data.validation", self.validation, "between 0 and 1, or names of scans")


@dataclass(frozen=True)
class Optimiser:
    """How gradients become steps.

    Attributes:
        name: "adam" or "muon", see `coslice.training.optimisers`.
        learning_rate: the highest of the schedule.
        betas: of Adam's two running means.
        momentum: of Muon's.
        clip: largest norm of the gradient.
    """

    name: str = "muon"
    learning_rate: float = 1.2e-3
    betas: tuple[float, float] = (0.9, 0.99)
    momentum: float = 0.95
    clip: float = 1.0

    def __post_init__(self) -> None:
        _need(self.name in ("adam", "muon"), "optimiser.name", self.name, "adam or muon")
        _need(0 < self.learning_rate < 1, "optimiser.learning_rate", self.learning_rate, "between 0 and 1")
        _need(all(0 <= b < 1 for b in self.betas), "optimiser.betas", self.betas, "two numbers from 0 to below 1")
        _need(0 <= self.momentum < 1, "optimiser.momentum", self.momentum, "from 0 to below 1")
        _need(self.clip > 0, "optimiser.clip", self.clip, "above 0")


@dataclass(frozen=True)
class Schedule:
    """The learning rate over images, relative to its highest.

    Attributes:
        name: "linear", "cosine" or "inverse-sqrt", see `coslice.training.optimisers.relative_rate`.
        warmup: images over which it rises from 0.
        hold: images after which "inverse-sqrt" begins to fall.
        decay: last share of the run over which "linear" and "inverse-sqrt" fall to 0.
    """

    name: str = "linear"
    warmup: int = 1_600
    hold: int = 40_000
    decay: float = 0.35

    def __post_init__(self) -> None:
        names = ("linear", "cosine", "inverse-sqrt")
        _need(self.name in names, "schedule.name", self.name, ", ".join(names))
        _need(self.warmup >= 0, "schedule.warmup", self.warmup, "at least 0")
        _need(self.hold >= 1, "schedule.hold", self.hold, "at least 1")
        _need(0 <= self.decay <= 1, "schedule.decay", self.decay, "between 0 and 1")


@dataclass(frozen=True)
class Averages:
    """Averaged weights; the one with the lowest validation loss is exported.

    Attributes:
        widths: standard deviation of each average's weighting over the run, as a share of the run so far.
    """

    widths: tuple[float, ...] = (0.05, 0.12)

    def __post_init__(self) -> None:
        good = bool(self.widths) and all(0 < width <= 0.25 for width in self.widths)
        _need(good, "averages.widths", self.widths, "one or more numbers above 0, up to 0.25")


@dataclass(frozen=True)
class Sigmas:
    """Noise levels of training: ln sigma ~ N(ln median, spread^2), clamped to lowest..highest."""

    median: float = 0.15
    spread: float = 1.5
    lowest: float = 0.002
    highest: float = 20.0

    def __post_init__(self) -> None:
        _need(self.median > 0, "sigma.median", self.median, "above 0")
        _need(self.spread >= 0, "sigma.spread", self.spread, "at least 0")
        _need(0 < self.lowest < self.highest, "sigma.lowest", self.lowest, "above 0 and below sigma.highest")


@dataclass(frozen=True)
class Supervised:
    """Training on pairs of analytic reconstructions and the truth, instead of on noise: FBP-UNet.

    Attributes:
        tasks: keys, see `coslice.tasks.keys.acquisition_of`.
        sizes: sides of the slices, in pixels; None: as the views of the pack have them.
    """

    tasks: tuple[str, ...]
    sizes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        good = bool(self.tasks) and len(set(self.tasks)) == len(self.tasks)
        _need(good, "supervised.tasks", self.tasks, "one or more different tasks, as svct-parallel-8")
        sizes = self.sizes
        good = sizes is None or (len(set(sizes)) == len(sizes) > 0 and min(sizes) >= 32)
        _need(good, "supervised.sizes", sizes, "one or more different sides of at least 32 pixels")


@dataclass(frozen=True)
class Recipe:
    """Everything a training run is made of, besides its scans and its machine.

    Attributes:
        images: length of the run.
        batch: images per step, over all ranks.
        micro: images whose gradient is computed at once; None: 8 on a CPU, all of a rank's on an accelerator.
        precision: "bf16" (autocast), "f32", or "auto": bf16 where the machine multiplies it natively.
        seed: of initial weights, images and noise.
        init: prior whose weights the run starts from; its architecture is taken too.
        data_mean, data_std: of the training images in the unit window; None: measured from the first batches.
        network: its shape; None: that of `init`, or `NETWORK`.
        patches: slices to an image; more than one makes a prior of patches, as DiffusionBlend needs it.
        supervised: the tasks of an FBP-UNet; None: a diffusion prior. `sigma` and `augment` have no say in it.
        views: kinds of batches; None: by the size of the slices (`coslice.training.slices.default_views`), or of
            `supervised.sizes`.
    """

    images: int = 300_000
    batch: int = 16
    micro: int | None = None
    precision: str = "auto"
    seed: int = 0
    init: str | None = None
    data_mean: float | None = None
    data_std: float | None = None
    data: Data = field(default_factory=Data)
    network: UNetConfig | None = None
    views: tuple[View, ...] | None = None
    augment: Augment = field(default_factory=Augment)
    patches: Patches = field(default_factory=Patches)
    supervised: Supervised | None = None
    optimiser: Optimiser = field(default_factory=Optimiser)
    schedule: Schedule = field(default_factory=Schedule)
    averages: Averages = field(default_factory=Averages)
    sigma: Sigmas = field(default_factory=Sigmas)

    def __post_init__(self) -> None:
        _need(self.images >= 1, "images", self.images, "at least 1")
        _need(self.batch >= 1, "batch", self.batch, "at least 1")
        _need(self.micro is None or self.micro >= 1, "micro", self.micro, "at least 1")
        _need(self.precision in ("auto", "bf16", "f32"), "precision", self.precision, "auto, bf16 or f32")
        _need(0 <= self.seed < 2**63, "seed", self.seed, "at least 0")
        _need(self.data_std is None or self.data_std > 0, "data_std", self.data_std, "above 0")
        slices = self.network.image_channels if self.network else self.patches.slices
        _need(slices == self.patches.slices, "network.image_channels", slices, f"patches.slices, {self.patches.slices}")
        _need(self.views is None or len(self.views) > 0, "views", self.views, "a list of views, or left out")
        _need(slices == 1 or not self.supervised, "patches.slices", slices, "1 where there are supervised.tasks")

    def to_dict(self) -> dict[str, Any]:
        """As `from_dict` reads it, of dicts, lists and plain values only."""
        return _plain(asdict(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """The recipe of a (partial) tree; what is left out has its default.

        Raises:
            CosliceError: an unknown key, a value of the wrong kind or out of range, named by its path.
        """
        return built(cls, values)

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """The recipe in a YAML file.

        Raises:
            CosliceError: as `read_tree` and `from_dict`.
        """
        return cls.from_dict(read_tree(path))

    def save(self, path: str | Path) -> None:
        """Write the YAML, atomically."""
        with atomic(path) as part:
            part.write_text(yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True), encoding="utf-8")


def overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the leaves of `over` in place of its own."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[key] = overlay(below, value) if both else value  # pyright: ignore[reportArgumentType]
    return merged


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


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
