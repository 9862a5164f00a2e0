"""Sections of a training run's settings: small frozen values that refuse what cannot be, by the key in the file.
Those of the noise levels are in `levels`.

What each means for the images, the network and its steps is said where it is used; here is only what can be chosen.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from coslice.axes import check_plane
from coslice.errors import CosliceError
from coslice.escapes import shown

__all__ = [
    "ArithmeticSettings",
    "AugmentSettings",
    "AverageSettings",
    "DataSettings",
    "OptimiserSettings",
    "PatchSettings",
    "PublishedSettings",
    "RateSettings",
    "StartSettings",
    "SupervisedSettings",
    "View",
    "need",
]


_MOST_EPOCHS, _MOST_PIXELS, _MOST_LETTERS, _MOST_SNAPSHOTS = 1_000_000, 4096, 499, 200
_MOST_MM = 50


def need(condition: bool, key: str, given: object, needed: str) -> None:
    """Refuse the value of `key` unless `condition` holds.

    Raises:
        CosliceError: it does not.
    """
    if not condition:
        raise CosliceError(f"train: {key} is {shown(given)}, but it must be {needed}; correct it.")


@dataclass(frozen=True)
class ArithmeticSettings:
    """How a step is computed.

    Attributes:
        micro: images whose gradient is computed at once; None: 8 on a CPU, all of a rank's on an accelerator.
        precision: "bf16" (autocast), "f32", or "auto": bf16 where the machine multiplies it natively.
    """

    micro: int | None = None
    precision: str = "auto"

    def __post_init__(self) -> None:
        need(self.micro is None or self.micro >= 1, "micro", self.micro, "at least 1")
        need(self.precision in ("auto", "bf16", "f32"), "precision", self.precision, "auto, bf16 or f32")


@dataclass(frozen=True)
class StartSettings:
    """What a run starts from.

    Attributes:
        seed: of initial weights, images and noise.
        init: prior whose weights the run starts from; its architecture is taken too.
        preset: name of the published settings that were taken, see `coslice.training.presets`.
        data_mean, data_std: of the training images in the unit window; None: measured from the first batches.
    """

    seed: int = 0
    init: str | None = None
    preset: str | None = None
    data_mean: float | None = None
    data_std: float | None = None

    def __post_init__(self) -> None:
        need(0 <= self.seed < 2**63, "seed", self.seed, "at least 0")
        need(self.data_std is None or self.data_std > 0, "data_std", self.data_std, "above 0")


@dataclass(frozen=True)
class DataSettings:
    """Which images the scans become.

    Attributes:
        plane: rows and columns of an image, two of "z", "y", "x".
        window: "ct", "mr" or "LOW:HIGH", see `coslice.volume.scan_window`.
        size: side in pixels to which slices are resampled; None keeps their own.
        validation: share of the subjects held out, or names of scans.
        background: "air" makes all that is outside the body air, see `coslice.background`; None leaves it.
        subjects: a table or pattern that says whose the scans are, see `coslice.training.collection.subjects`; None:
            names, folders and DICOM tell.
        strict: refuse a folder with a scan that cannot be used instead of skipping the scan.
        thickness: least thickness, in mm, of the slices that are shown, see `coslice.training.supply.slice_stream`.
        licence, credit: of the scans, for the card.
        not_for: what the prior is not for, besides what every prior is not for, for the card.
    """

    plane: str = "yx"
    window: str = "ct"
    size: int | None = None
    validation: float | tuple[str, ...] = 0.1
    background: str | None = None
    subjects: str | None = None
    strict: bool = False
    licence: str = ""
    credit: str = ""
    not_for: str = ""
    thickness: float | None = None

    def __post_init__(self) -> None:
        need(_is_plane(self.plane), "data.plane", self.plane, 'two of "z", "y", "x", as in yx or zx')
        good = self.size is None or 32 <= self.size <= _MOST_PIXELS
        need(good, "data.size", self.size, f"at least 32 and at most {_MOST_PIXELS:,} pixels")
        need(self.background in (None, "air"), "data.background", self.background, "air, or left out")
        need(self.background is None or self.window != "mr", "data.background", self.background, "left out for MR")
        good = self.thickness is None or 0 < self.thickness <= _MOST_MM
        need(good, "data.thickness", self.thickness, f"above 0 and at most {_MOST_MM} mm, or left out")
        for name in ("licence", "credit", "not_for"):
            words = getattr(self, name)
            good = len(words) <= _MOST_LETTERS and all(map(str.isprintable, words.splitlines()))
            need(good, f"data.{name}", words, f"at most {_MOST_LETTERS} letters, without controls")
        if isinstance(self.validation, float):
            need(0 < self.validation < 1, "data.validation", self.validation, "between 0 and 1, or names of scans")


def _is_plane(plane: str) -> bool:
    with suppress(CosliceError):
        check_plane(plane)
        return True
    return False


@dataclass(frozen=True)
class View:
    """One kind of batch.

    Attributes:
        side: of the images, in pixels.
        scale: smallest and largest zoom of the stored slice; 0.5 shows it at half its resolution.
        share: how often a step shows this view, relative to the other views.
        images: images in a step, relative to the nominal batch.
        stretch: smallest and largest further zoom of the rows, for planes whose pixels are no squares; 2 shows the
            rows twice as far apart.

    Raises:
        CosliceError: a side below 1, zooms that are not 0 < smallest <= largest, a share or count not above 0.
    """

    side: int
    scale: tuple[float, float]
    share: float
    images: float = 1.0
    stretch: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        ordered = all(0 < low <= high < math.inf for low, high in (self.scale, self.stretch))
        if self.side < 1 or not ordered or not (self.share > 0 and self.images > 0):
            raise CosliceError(
                f"train: {self} was given, but a view needs a side of at least 1 pixel, zooms and stretches "
                "0 < smallest <= largest, and a share and a number of images above 0."
            )


@dataclass(frozen=True)
class AugmentSettings:
    """How images are varied.

    Attributes:
        flip_columns: probability that an image is mirrored left to right.
        flip_rows: probability that it is mirrored top to bottom.
        rotate: largest angle, in degrees, by which it is turned either way; what lies outside the slice is air.
        gain: values are multiplied by up to this much more or less than 1.
        offset: up to this much is added or taken away, in the unit window; 0 stays 0.
        dequantise: move each value to a random place on its own step.

    Raises:
        CosliceError: a probability outside 0..1, a gain outside 0..1, a negative offset, an angle outside 0..180.
    """

    flip_columns: float = 0.5
    flip_rows: float = 0.25
    gain: float = 0.05
    offset: float = 0.01
    dequantise: bool = True
    rotate: float = 0.0

    def __post_init__(self) -> None:
        need(0 <= self.rotate <= 180, "augment.rotate", self.rotate, "at least 0 and at most 180 degrees")
        if not all(0 <= share <= 1 for share in (self.flip_columns, self.flip_rows, self.gain, self.offset)):
            raise CosliceError(f"train: {self} was given, but flips, gain and offset must lie between 0 and 1.")


@dataclass(frozen=True)
class PatchSettings:
    """What the channels of an image are.

    Attributes:
        slices: of one scan in an image; 1 is no patch.
        jump: share of patches whose slices are `slices` apart, where the scan has so many; the others are neighbours.
        flip: probability that their order is reversed.

    Raises:
        CosliceError: fewer than one slice, a share outside 0..1.
    """

    slices: int = 1
    jump: float = 0.5
    flip: float = 0.5

    def __post_init__(self) -> None:
        if self.slices < 1 or not (0 <= self.jump <= 1 and 0 <= self.flip <= 1):
            raise CosliceError(f"train: {self} was given, but at least 1 slice and shares between 0 and 1 are needed.")

    def rows(self, middle: int, jumping: bool, count: int) -> tuple[list[int], int]:
        """Of a scan of `count` slices: those of a patch about `middle`, moved inside, and how many apart they are.

        Where there are too few for a patch, the last is repeated.
        """
        gap = self.slices if jumping and (self.slices - 1) * self.slices < count else 1
        last = (self.slices - 1) * gap
        first = min(max(0, middle - last // 2), max(0, count - 1 - last))
        return [min(first + gap * i, count - 1) for i in range(self.slices)], gap


@dataclass(frozen=True)
class SupervisedSettings:
    """Training on pairs of analytic reconstructions and the truth, instead of on noise: FBP-UNet.

    Attributes:
        tasks: keys, see `coslice.problems.task_of_key`.
        sizes: sides of the slices, in pixels; None: as the views of the pack have them.
    """

    tasks: tuple[str, ...]
    sizes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        good = bool(self.tasks) and len(set(self.tasks)) == len(self.tasks)
        need(good, "supervised.tasks", self.tasks, "one or more different tasks, as svct-parallel-8")
        sizes = self.sizes
        good = sizes is None or (len(set(sizes)) == len(sizes) > 0 and 32 <= min(sizes) <= max(sizes) <= _MOST_PIXELS)
        need(good, "supervised.sizes", sizes, f"one or more different sides of 32 to {_MOST_PIXELS:,} pixels")


@dataclass(frozen=True)
class OptimiserSettings:
    """How gradients become steps.

    Attributes:
        name: "adam", "adamw" or "muon", see `coslice.training.learning.optimisers`.
        learning_rate: the highest of the schedule.
        betas: of Adam's two running means.
        momentum: of Muon's.
        clip: largest norm of the gradient; None: as large as it is.
        weight_decay: of AdamW: in a step, weights shrink by this times the learning rate.
    """

    name: str = "muon"
    learning_rate: float = 1.2e-3
    betas: tuple[float, float] = (0.9, 0.99)
    momentum: float = 0.95
    clip: float | None = 1.0
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        need(self.name in ("adam", "adamw", "muon"), "optimiser.name", self.name, "adam, adamw or muon")
        need(0 < self.learning_rate < 1, "optimiser.learning_rate", self.learning_rate, "between 0 and 1")
        need(all(0 <= b < 1 for b in self.betas), "optimiser.betas", self.betas, "two numbers from 0 to below 1")
        need(0 <= self.momentum < 1, "optimiser.momentum", self.momentum, "from 0 to below 1")
        need(self.clip is None or self.clip > 0, "optimiser.clip", self.clip, "above 0, or none")
        need(self.weight_decay >= 0, "optimiser.weight_decay", self.weight_decay, "at least 0")


@dataclass(frozen=True)
class RateSettings:
    """The learning rate over images, relative to its highest.

    Attributes:
        name: "linear", "cosine" or "inverse-sqrt", see `coslice.training.learning.optimisers.relative_rate`.
        warmup: images over which it rises from 0.
        hold: images after which "inverse-sqrt" begins to fall.
        decay: last share of the run over which "linear" and "inverse-sqrt" fall to 0.
        epochs: length of the run in passes over the slices trained on; None: `images` says it.
    """

    name: str = "linear"
    warmup: int = 1_600
    hold: int = 40_000
    decay: float = 0.35
    epochs: float | None = None

    def __post_init__(self) -> None:
        names = ("linear", "cosine", "inverse-sqrt")
        need(self.name in names, "schedule.name", self.name, ", ".join(names))
        need(self.warmup >= 0, "schedule.warmup", self.warmup, "at least 0")
        need(self.hold >= 1, "schedule.hold", self.hold, "at least 1")
        need(0 <= self.decay <= 1, "schedule.decay", self.decay, "between 0 and 1")
        good = self.epochs is None or 0 < self.epochs <= _MOST_EPOCHS
        need(good, "schedule.epochs", self.epochs, f"above 0 and at most {_MOST_EPOCHS:,}, or left out")


@dataclass(frozen=True)
class AverageSettings:
    """Averaged weights; the one with the lowest validation loss is exported.

    Attributes:
        widths: standard deviation of each average's weighting over the run, as a share of the run so far.
        rates: of exponential averages: what of the average a step leaves; 0 is the last weights.
        snapshots: so many of each width are kept along the run, from which `coslice priors average` makes those of
            other widths; 0 keeps none.
    """

    widths: tuple[float, ...] = (0.05, 0.12)
    rates: tuple[float, ...] = ()
    snapshots: int = 8

    def __post_init__(self) -> None:
        good = all(0 < width <= 0.25 for width in self.widths)
        need(good and bool(self.widths or self.rates), "averages.widths", self.widths, "numbers above 0, up to 0.25")
        need(all(0 <= rate < 1 for rate in self.rates), "averages.rates", self.rates, "numbers from 0 to below 1")
        good = 0 <= self.snapshots <= _MOST_SNAPSHOTS
        need(good, "averages.snapshots", self.snapshots, f"at least 0 and at most {_MOST_SNAPSHOTS}")


@dataclass(frozen=True)
class PublishedSettings:
    """The published network that a run goes on with; found out from `init`, never written by hand.

    Attributes:
        described: network and denoiser, as `coslice.priors.metadata.described_prior` has them.
        origin: what its card says of where it is from: name, title, source, licence.
    """

    described: dict[str, Any]
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def channels(self) -> int:
        """Slices to an image."""
        return int(self.described["config"]["image_channels"])
