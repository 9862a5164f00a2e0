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
slice by slice.

Draws are counter-based (Philox): a plane is a function of (seed, step, stream, index) alone. So the same
seed gives the same noise whatever the batch, the slab, the rank, or the device it is added on.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from coslice.errors import CosliceError
from coslice.sums import inner

__all__ = ["NOISES", "Identical", "Independent", "Key", "Noise", "Slerp", "generator", "standard_normal"]


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
    """Draws number `index` of `key`, whatever is drawn beside them."""
    # Philox mixes a 128-bit key with a 256-bit counter; the draw itself advances the lowest counter word.
    words = np.array([key.seed % 2**64, int.from_bytes(key.stream.encode()[:8], "little")], dtype=np.uint64)
    counter = np.array([0, 0, index, key.step], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=words, counter=counter))


def standard_normal(key: Key, index: int, shape: tuple[int, ...]) -> Tensor:
    """Plane number `index` of `key`: float32 standard Gaussian of `shape`, on the CPU."""
    return torch.from_numpy(generator(key, index).standard_normal(shape, dtype=np.float32))


@dataclass(frozen=True)
class Noise(ABC):
    """A strategy; `along` is the axis ("z", "y" or "x") along which slices are stacked."""

    along: str = "z"

    def __post_init__(self) -> None:
        if self.along not in ("z", "y", "x"):
            raise CosliceError(f'{type(self).__name__}: along="{self.along}" was given, "z", "y" or "x" is needed.')

    def __call__(self, shape: tuple[int, int, int], key: Key) -> Tensor:
        """The noise of a whole volume (z, y, x)."""
        return self.add_(torch.zeros(shape), 1.0, key)

    def add_(self, volume: Tensor, scale: float, key: Key, first: int = 0, count: int | None = None) -> Tensor:
        """volume += scale * eps, in place, and return volume.

        Args:
            volume: (z, y, x), on any device.
            scale: standard deviation of what is added.
            key: which noise.
            first, count: when `volume` is a slab of a taller stack, its first slice and the stack's height.
        """
        stack = volume.movedim("zyx".index(self.along), 0)
        self._add_(stack, scale, key, first, len(stack) if count is None else count)
        return volume

    @abstractmethod
    def _add_(self, stack: Tensor, scale: float, key: Key, first: int, count: int) -> None:
        """stack (slices, height, width) += scale * eps, for slices first, first + 1, ... of `count`."""


@dataclass(frozen=True)
class Independent(Noise):
    """Every slice its own noise: the conventional sampler."""

    def _add_(self, stack: Tensor, scale: float, key: Key, first: int, count: int) -> None:
        for i, plane in enumerate(stack):
            plane.add_(standard_normal(key, first + i, tuple(plane.shape)).to(plane), alpha=scale)


@dataclass(frozen=True)
class Identical(Noise):
    """Every slice the same noise: batch-consistent sampling."""

    def _add_(self, stack: Tensor, scale: float, key: Key, first: int, count: int) -> None:
        stack.add_(standard_normal(key, 0, tuple(stack.shape[1:])).to(stack), alpha=scale)


@dataclass(frozen=True)
class Slerp(Noise):
    """Inter-slice consistent stochasticity: spherical interpolation between two planes (eq. 11).

    Attributes:
        angle: the angle Omega between the planes, in rad, prescribed as in the paper's Table 8.
            None leaves it as drawn, near pi/2 in high dimension (proposition B.1).
    """

    angle: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.angle is not None and not 0 < self.angle < math.pi:
            raise CosliceError(
                f"Slerp: an anchor angle of {math.degrees(self.angle):g} degrees was given, "
                "but it must lie strictly between 0 and 180 degrees."
            )

    def anchors(self, key: Key, shape: tuple[int, ...]) -> tuple[Tensor, Tensor, float]:
        """z_1, z_S and the angle Omega between them."""
        z_1, z_s = standard_normal(key, 0, shape), standard_normal(key, 1, shape)
        if self.angle is None:
            cosine = inner(z_1, z_s) / (_norm(z_1) * _norm(z_s))
            return z_1, z_s, math.acos(min(1.0, max(-1.0, cosine)))
        # Keep the length of z_S, turn its direction in the plane the two span.
        along = z_1 / _norm(z_1)
        across = z_s - inner(along, z_s) * along
        turned = math.cos(self.angle) * along + math.sin(self.angle) * across / _norm(across)
        return z_1, _norm(z_s) * turned, self.angle

    def _add_(self, stack: Tensor, scale: float, key: Key, first: int, count: int) -> None:
        z_1, z_s, omega = self.anchors(key, tuple(stack.shape[1:]))
        z_1, z_s = z_1.to(stack), z_s.to(stack)
        for i, plane in enumerate(stack):
            a = (first + i) / (count - 1) if count > 1 else 0.0
            plane.add_(z_1, alpha=scale * math.sin((1 - a) * omega) / math.sin(omega))
            plane.add_(z_s, alpha=scale * math.sin(a * omega) / math.sin(omega))


def _norm(z: Tensor) -> float:
    return math.sqrt(inner(z, z))


NOISES: dict[str, type[Noise]] = {"independent": Independent, "identical": Identical, "iscs": Slerp}
"""Strategies by the name the command line gives them."""
