"""Which slices a prior of patches sees together: pure arithmetic on slice numbers, 0 to count - 1.

A prior of k slices says nothing of how one patch continues the next, so DiffusionBlend++ (Song et al., NeurIPS 2024,
section 3 and appendix A.4) cuts the volume another way at every step:

    adjacency    (0 1 2)(3 4 5)(6 7 8)      begun at a random slice, so that every pair of neighbours meets
    cross        (0 3 6)(1 4 7)(2 5 8)      slices k apart, in blocks of k^2: patches reach further

DiffusionBlend (ibid., Algorithm 2) has a window (i-j .. i+j) about every slice i and takes the answer for the slice
alone. Its network and that of DiffusionBlend++ learn the same thing there, E[x_i | noisy x_(i-j) .. x_(i+j)].

A slice may be seen by several patches; every slice is *answered for* by exactly one. Where a patch would reach beyond
an end it is moved inside as a whole and answers only for the slices it was missing ("overlap", as the published code
does it). The paper repeats the last slice instead ("repeat"), which shows the network one noise several times: noise
that agrees looks like anatomy to it. Stacks too short for a patch are repeated in any case.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from coslice.errors import CosliceError
from coslice.noise import Key, Lanes, generator

__all__ = ["ENDS", "Partition", "Patch", "RandomPartitions", "adjacency", "cross", "windows"]

ENDS = ("overlap", "repeat")


@dataclass(frozen=True)
class Patch:
    """Slices that the network sees together.

    Attributes:
        slices: k numbers, `gap` apart, but for slices repeated at an end.
        own: places in `slices` whose answers count.
        gap: 1 for neighbours, k for jumping slices.
    """

    slices: tuple[int, ...]
    own: tuple[int, ...]
    gap: int = 1


@dataclass(frozen=True)
class Partition:
    """The patches of a step, and the lanes that give every patch one slice each."""

    patches: tuple[Patch, ...]
    lanes: Lanes


def adjacency(count: int, size: int, offset: int = 0, ends: str = "overlap") -> Partition:
    """Neighbours in patches of `size`, one of which begins at slice `offset`."""
    first = offset % size - size if offset % size else 0
    patches = (_patch(range(i, i + size), count, 1, ends) for i in range(first, count, size))
    return Partition(tuple(patches), Lanes(size, 1, offset % size))


def cross(count: int, size: int, ends: str = "overlap") -> Partition:
    """Slices `size` apart, in blocks of size^2 from slice 0 on."""
    block = range(size * size)
    starts = (i + j for i in range(0, count, len(block)) for j in range(size) if i + j < count)
    patches = (_patch(range(i, i + len(block), size), count, size, ends) for i in starts)
    return Partition(tuple(patches), Lanes(size, size))


def windows(count: int, size: int, ends: str = "overlap") -> Partition:
    """About every slice a window of `size`, which answers for that slice alone.

    Raises:
        CosliceError: an even size.
    """
    if size % 2 == 0:
        raise CosliceError(
            f"windows: a prior of {size} slices was given, but a window has a middle; give a prior of an odd number."
        )
    half = size // 2
    patches = (_patch(range(i - half, i + half + 1), count, 1, ends, own=i) for i in range(count))
    return Partition(tuple(patches), Lanes(size))


@dataclass(frozen=True)
class RandomPartitions:
    """DiffusionBlend++'s partition of every step, a function of (seed, step).

    Attributes:
        size: number of slices of a patch, k.
        seed: the seed of the run.
        cross_every: number of steps, the first of which has the partition `cross`; 0 is never. Published: 2.
        random: whether adjacency begins at a random slice; False is the fixed partition of the paper's Table 4.
        ends: what a patch does at an end of the volume, "overlap" or "repeat", see above.

    Raises:
        CosliceError: patches of one slice, a negative frequency, or ends of another name.
    """

    size: int
    seed: int = 0
    cross_every: int = 2
    random: bool = True
    ends: str = "overlap"

    def __post_init__(self) -> None:
        if self.size < 2:
            raise CosliceError(f"partitions: patches of {self.size} slice were given, at least 2 are needed.")
        if self.ends not in ENDS:
            raise _unknown(self.ends)
        if self.cross_every < 0:
            raise CosliceError(f"cross_every: {self.cross_every} was given, 0 (never) or a number of steps is needed.")

    def __call__(self, step: int, count: int) -> Partition:
        if self.cross_every and step % self.cross_every == 0:
            return cross(count, self.size, self.ends)
        offset = int(generator(Key(self.seed, step, "blend"), 0).integers(self.size)) if self.random else 0
        return adjacency(count, self.size, offset, self.ends)


def _patch(wanted: Iterable[int], count: int, gap: int, ends: str, own: int | None = None) -> Patch:
    """The patch of the slices `wanted`, which may lie outside the stack, answering for those inside, or for `own`."""
    if ends not in ENDS:
        raise _unknown(ends)
    wanted = tuple(wanted)
    # By whole gaps, or it would no longer hold the slices it is there for.
    up, down = -(wanted[0] // gap) * gap, -((count - 1 - wanted[-1]) // gap) * gap
    moved = tuple(i + max(up, 0) - max(down, 0) for i in wanted)
    if ends == "repeat" or moved[0] < 0 or moved[-1] >= count:
        moved = tuple(min(max(i, 0), count - 1) for i in wanted)
        kept = wanted
    else:
        kept = moved
    inside = [i for i in wanted if 0 <= i < count] if own is None else [own]
    return Patch(moved, tuple(kept.index(i) for i in inside), gap)


def _unknown(ends: str) -> CosliceError:
    return CosliceError(f'ends: "{ends}" was given, {" or ".join(ENDS)} is needed.')
