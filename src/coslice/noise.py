"""The randomness of the sampler, as an argument.

A 2D prior denoises every slice alone, so nothing but the data and the noise ties slices together. Where
the data is silent, independent noise sends neighbouring slices along unrelated paths and the stack
flickers. A noise strategy says how the noise of slice i depends on that of slice j; every slice alone
stays standard Gaussian.

    Independent   eps_i = z_i                                       cov(eps_i, eps_j) = 0
    Identical     eps_i = z_1                (BCS, Kwon & Ye 2025)  cov = 1
    Slerp         eps_i = [sin((1 - a_i) Omega) z_1 + sin(a_i Omega) z_S] / sin(Omega)
                  a_i = (i - 1)/(S - 1)      (ISCS, eq. 11)         cov -> cos(pi (a_i - a_j) / 2)

Slerp draws two planes whatever the number of slices, and holds nothing else: it adds itself to a volume
slice by slice. Strategies whose correlation is in millimetres are in `coslice.correlated_noise`.

**For patches.** A network that sees k slices at once was trained with noise that is independent within a patch; given
slices with nearly the same noise it takes the noise for what they show. What it is to ISCS one image of a stack is the
patch: the stack of patches, images of k channels, gets the slerp between two Gaussian images of k channels. For slices
this means k interleaved stacks, `Lanes`, each with its own two planes. And where the prior reads the volume
another way from step to step (random partitions, two planes in turn), noise is laid out for whoever reads it next:
`Following`.

Draws are counter-based (`coslice.philox`) and made of integers (`coslice.normal_deviates`): a plane is a function of
(seed, step, stream, index) alone. So the same seed gives the same noise, bit for bit, whatever the batch, the slab, the
rank, or the device; and it is drawn on the device of the volume it is added to.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from coslice.axes import axis_number
from coslice.errors import CosliceError
from coslice.normal_deviates import gram, planes_of_deviates
from coslice.philox import named_key
from coslice.settings import Part, setting

__all__ = [
    "Following",
    "Identical",
    "Independent",
    "Key",
    "Lanes",
    "Noise",
    "Reading",
    "Slerp",
    "Strategy",
    "angle_between",
    "generator",
    "standard_normal",
    "standard_normals",
]


@dataclass(frozen=True)
class Key:
    """What a draw depends on.

    Attributes:
        seed: the user's.
        step: sampling step, so that every step has its own noise.
        stream: "start", "renoise", ...: one name per purpose, so that no two purposes share noise.
    """

    seed: int
    step: int = 0
    stream: str = "renoise"


def generator(key: Key, index: int) -> np.random.Generator:
    """Draws number `index` of `key`, whatever is drawn beside them: of any distribution that numpy has, on the CPU."""
    # Philox mixes a 128-bit key with a 256-bit counter; the draw itself advances the lowest counter word.
    words = np.array([key.seed % 2**64, int.from_bytes(key.stream.encode()[:8], "little")], dtype=np.uint64)
    counter = np.array([0, 0, index, key.step], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=words, counter=counter))


def standard_normal(key: Key, index: int, shape: tuple[int, ...], device: torch.device | str | None = None) -> Tensor:
    """Plane number `index` of `key`: float32 standard Gaussian of `shape`.

    Args:
        key: which noise.
        index: of the plane, from 0.
        shape: of the plane.
        device: where it is drawn; None is the CPU. The bits are the same everywhere.

    Raises:
        CosliceError: an index or a step below 0, or a step above 2^32 - 1.
    """
    return next(standard_normals(key, (index,), shape, device))


def standard_normals(
    key: Key, indices: Sequence[int], shape: tuple[int, ...], device: torch.device | str | None = None
) -> Iterator[Tensor]:
    """The planes `indices` of `key` one after the other, as `standard_normal` draws them.

    An accelerator draws many planes at once, which is far quicker than asking for each.
    """
    least, most = min(indices, default=0), max(indices, default=0)
    if not (0 <= least <= most < 2**64 and 0 <= key.step < 2**32):
        raise CosliceError(
            f"noise: planes {least} to {most} of step {key.step} were asked for, but both are counted from 0, "
            "planes to below 2^64 and steps to below 2^32; number them so."
        )
    planes = planes_of_deviates(
        named_key(key.seed, key.stream), key.step, indices, math.prod(shape), torch.device(device or "cpu")
    )
    return (plane.view(shape) for plane in planes)


@dataclass(frozen=True)
class Lanes:
    """Interleaved stacks: slice i belongs to number ((i - offset) // width) mod count.

    Attributes:
        count: of the stacks; 1 is one stack.
        width: so many neighbours belong to the same.
        offset: slice at which the first begins.
    """

    count: int = 1
    width: int = 1
    offset: int = 0

    def __getitem__(self, i: int) -> int:
        return (i - self.offset) // self.width % self.count


@dataclass(frozen=True)
class Reading:
    """How a prior reads a volume: slices stacked `along` an axis, alone or several at once, one from each lane."""

    along: str = "z"
    lanes: Lanes = Lanes()


class Noise(ABC):
    """What the sampler adds to a volume."""

    def __call__(self, shape: tuple[int, int, int], key: Key) -> Tensor:
        """The noise of a whole volume (z, y, x)."""
        return self.add_(torch.zeros(shape), 1.0, key)

    def at(self, sigma: float) -> Noise:
        """The noise for re-noising to the level `sigma`: this one, but for strategies that change with the level."""
        return self

    @abstractmethod
    def add_(self, volume: Tensor, scale: float, key: Key, first: int = 0, count: int | None = None) -> Tensor:
        """volume += scale * eps, in place, and return volume.

        Args:
            volume: (z, y, x), on any device.
            scale: standard deviation of what is added.
            key: which noise.
            first, count: when `volume` is a slab of a taller stack, its first slice and the stack's height.
        """


@dataclass(frozen=True)
class Strategy(Part, Noise):
    """How the noise of a slice depends on that of the others. An own one is a subclass with `add_to_stack`.

    The three attributes lay a strategy out in a volume. They are no settings: where the prior is known, `laid_out`
    puts the right ones in their place.

    Attributes:
        along: the axis along which slices are stacked, "z", "y" or "x".
        lanes: interleaved stacks, each with noise of its own; `Independent` needs none.
        spacing: distance between neighbouring slices, mm.

    Raises:
        CosliceError: an axis of another name.
    """

    not_settings = ("along", "lanes", "spacing")

    along: str = "z"
    lanes: Lanes = Lanes()
    spacing: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        axis_number(self.along)

    def laid_out(self, reading: Reading, spacing: tuple[float, float, float]) -> Strategy:
        """The same strategy for a prior that reads the volume in this way.

        Args:
            reading: the axis of the stack, and the lanes.
            spacing: (dz, dy, dx) of the volume, mm.
        """
        return replace(self, along=reading.along, lanes=reading.lanes, spacing=spacing[axis_number(reading.along)])

    def at(self, sigma: float) -> Strategy:
        return self

    @property
    def label(self) -> str:
        """What tables call it, its lengths included; "" where they do not speak of it."""
        return self.title or ("" if self.kind else type(self).__name__)

    def add_(self, volume: Tensor, scale: float, key: Key, first: int = 0, count: int | None = None) -> Tensor:
        if volume.ndim != 3:
            raise CosliceError(
                f"{type(self).__name__}: a tensor of shape {tuple(volume.shape)} was given, but noise is added to a "
                "volume (z, y, x)."
            )
        stack = volume.movedim(axis_number(self.along), 0)
        self.add_to_stack(stack, scale, key, first, len(stack) if count is None else count)
        return volume

    @abstractmethod
    def add_to_stack(self, stack: Tensor, scale: float, key: Key, first: int, count: int) -> None:
        """stack += scale * eps, in place.

        Args:
            stack: (slices, height, width), the slices first, first + 1, ... of `count`, on any device.
            scale: standard deviation of what is added.
            key: which noise; `standard_normal(key, index, shape, stack.device)` draws plane number `index` of it.
            first, count: the first slice of `stack`, and the height of the whole stack.
        """


@dataclass(frozen=True)
class Independent(Strategy):
    """Every slice its own noise: the conventional sampler."""

    kind = "independent"

    def add_to_stack(self, stack: Tensor, scale: float, key: Key, first: int, count: int) -> None:
        drawn = standard_normals(key, range(first, first + len(stack)), tuple(stack.shape[1:]), stack.device)
        for plane, z in zip(stack, drawn, strict=True):
            plane.add_(z.to(plane), alpha=scale)


@dataclass(frozen=True)
class Identical(Strategy):
    """Every slice the same noise: batch-consistent sampling (BCS, Kwon & Ye 2025)."""

    kind, title = "identical", "BCS"

    def add_to_stack(self, stack: Tensor, scale: float, key: Key, first: int, count: int) -> None:
        drawn = standard_normals(key, range(self.lanes.count), tuple(stack.shape[1:]), stack.device)
        planes = [z.to(stack) for z in drawn]
        for i, plane in enumerate(stack):
            plane.add_(planes[self.lanes[first + i]], alpha=scale)


@dataclass(frozen=True)
class Slerp(Strategy):
    """Inter-slice consistent stochasticity: spherical interpolation between two planes (eq. 11).

    Attributes:
        angle: the angle Omega between the planes, in degrees, prescribed as in the paper's Table 8.
            None leaves it as drawn, near 90 degrees in high dimension (proposition B.1).

    Raises:
        CosliceError: an angle that is not between 0 and 180 degrees.
    """

    kind, title = "iscs", "ISCS"

    angle: float | None = setting(None, "Angle between the two planes; none leaves it as drawn, near 90", "degrees")

    def __post_init__(self) -> None:
        if self.angle is not None and not 0 < self.angle < 180:
            raise CosliceError(
                f"Slerp: an angle of {self.angle:g} degrees was given, "
                "but it must lie strictly between 0 and 180 degrees."
            )
        super().__post_init__()

    def anchors(
        self, key: Key, shape: tuple[int, ...], lane: int = 0, device: torch.device | str | None = None
    ) -> tuple[Tensor, Tensor, float]:
        """z_1, z_S and the angle Omega (rad) between them, of a lane."""
        z_1, z_s = standard_normals(key, (2 * lane, 2 * lane + 1), shape, device)
        if self.angle is None:
            return z_1, z_s, angle_between(z_1, z_s)
        # Keep the length of z_S, turn its direction in the plane the two span:
        # |z_S| (cos Omega z_1/|z_1| + sin Omega across/|across|), across = z_S - <z_1, z_S>/<z_1, z_1> z_1.
        omega = math.radians(self.angle)
        aa, ab, bb = gram(z_1, z_s)
        across = math.sin(omega) * math.sqrt(bb * aa / (aa * bb - ab * ab))
        along = math.cos(omega) * math.sqrt(bb / aa) - across * (ab / aa)
        return z_1, (along * z_1).add_(z_s, alpha=across), omega

    def add_to_stack(self, stack: Tensor, scale: float, key: Key, first: int, count: int) -> None:
        lanes = [self.anchors(key, tuple(stack.shape[1:]), lane, stack.device) for lane in range(self.lanes.count)]
        lanes = [(z_1.to(stack), z_s.to(stack), omega) for z_1, z_s, omega in lanes]
        for i, plane in enumerate(stack):
            z_1, z_s, omega = lanes[self.lanes[first + i]]
            a = (first + i) / (count - 1) if count > 1 else 0.0
            plane.add_(z_1, alpha=scale * math.sin((1 - a) * omega) / math.sin(omega))
            plane.add_(z_s, alpha=scale * math.sin(a * omega) / math.sin(omega))


def angle_between(z_1: Tensor, z_2: Tensor) -> float:
    """The angle between two planes as vectors, rad; of planes as `standard_normal` draws them.

    Their inner products are exact, so the angle is the same number on every device.
    """
    aa, ab, bb = gram(z_1, z_2)
    return math.acos(min(1.0, max(-1.0, ab / math.sqrt(aa * bb))))


@dataclass(frozen=True)
class Following(Noise):
    """A strategy laid out for the prior that reads it: what step k adds for that of step k + 1, the start for step 0.

    Attributes:
        strategy: whatever its own axis and lanes.
        reading: of the prior, by step.
        spacing: (dz, dy, dx) of the volume, mm.
    """

    strategy: Strategy
    reading: Callable[[int], Reading]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def at(self, sigma: float) -> Following:
        return replace(self, strategy=self.strategy.at(sigma))

    def add_(self, volume: Tensor, scale: float, key: Key, first: int = 0, count: int | None = None) -> Tensor:
        reading = self.reading(0 if key.stream == "start" else key.step + 1)
        return self.strategy.laid_out(reading, self.spacing).add_(volume, scale, key, first, count)
