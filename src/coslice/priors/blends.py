"""Priors of a volume, blended from denoisers of something smaller: another one at every step, or windows about slices.

    Blend           DiffusionBlend++, DiffusionBlend    patches of a volume, cut anew at every step; or windows
    Perpendicular   TPDM                                two priors of slices, of perpendicular planes, in turn
    Relayed         WBlend                              patches in the first steps, single slices in the last

The first two stand for a product of densities, whose score is a sum of scores (Song et al., NeurIPS 2024, table 7). To
compute every term at every step would cost too much, so a step computes one term, and another step the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from coslice.errors import CosliceError
from coslice.noise import Lanes, Reading
from coslice.priors.partitions import Partition
from coslice.priors.slices import SlicePrior
from coslice.sampling import Changing, Denoiser
from coslice.window import same_window

__all__ = ["Blend", "Perpendicular", "Relayed"]


@dataclass(frozen=True)
class Blend(Changing):
    """A prior of patches as one of volumes.

    Attributes:
        prior: a prior of patches.
        count: number of slices of the volume.
        spacing: distance between neighbouring slices, in mm.
        partition: (step, count) -> the slices that are seen together.
        lanes: whether ISCS and BCS give every slice of a patch its own noise, as in training; else the noise is that
            for a prior of single slices.

    Raises:
        CosliceError: a prior of single slices, or one whose patches no such partition can be made of.
    """

    prior: SlicePrior
    count: int
    spacing: float
    partition: Callable[[int, int], Partition]
    lanes: bool = True

    def __post_init__(self) -> None:
        self.prior.check_patches()
        # Making one is checking that it can be made, before hours of work.
        self.partition(0, self.count)

    def at(self, step: int) -> Denoiser:
        patches = self.partition(step, self.count).patches
        return partial(self.prior.patches, patches=patches, spacing=self.spacing)

    def reading(self, step: int) -> Reading:
        lanes = self.partition(step, self.count).lanes if self.lanes else Lanes()
        return Reading(self.prior.along, lanes)


@dataclass(frozen=True)
class Relayed(Changing):
    """Patches first, single slices at the end.

    A prior of patches sees three slices and is less often wrong about what is there; but its patches are drawn one by
    one, and their texture is not that of their neighbours. Single slices whose noise ISCS ties end alike.

    Attributes:
        patches: of the first steps.
        single: a prior of single slices, of the other steps.
        switch: number of the first step that is the other's.

    Raises:
        CosliceError: a prior of patches as the second; two priors of different planes or windows.
    """

    patches: Blend
    single: SlicePrior
    switch: int

    def __post_init__(self) -> None:
        self.single.check_single()
        first, second = self.patches.prior, self.single
        if first.plane != second.plane or not same_window(first.window, second.window):
            raise CosliceError(
                f"prior: {first.name} of plane {first.plane} and window {first.window} and {second.name} of plane "
                f"{second.plane} and window {second.window} were given, but one goes on where the other ends; give two "
                "priors of the same images."
            )

    def at(self, step: int) -> Denoiser:
        return self.single if step >= self.switch else self.patches.at(step)

    def reading(self, step: int) -> Reading:
        return Reading(self.single.along) if step >= self.switch else self.patches.reading(step)


@dataclass(frozen=True)
class Perpendicular(Changing):
    """Two priors of perpendicular planes in turn (TPDM, Lee et al., ICCV 2023): p(x) ~ q1(slices)^a q2(slices)^b.

    Volumes of any shape: each prior sees the slices of its plane, whatever their sides.

    Attributes:
        primary, auxiliary: priors of single slices.
        auxiliary_every: number of steps, the last of which is the auxiliary prior's; published: 2, so a = b.

    Raises:
        CosliceError: two priors of one plane, or of different windows; never a primary step.
    """

    primary: SlicePrior
    auxiliary: SlicePrior
    auxiliary_every: int = 2

    def __post_init__(self) -> None:
        first, second = self.primary, self.auxiliary
        if first.along == second.along:
            raise CosliceError(
                f"tpdm: priors {first.name} and {second.name} were given, which are both of plane {first.plane}; "
                "give an auxiliary prior of another plane."
            )
        if not same_window(first.window, second.window):
            raise CosliceError(
                f"tpdm: priors {first.name} of window {first.window} and {second.name} of {second.window} were given, "
                "but both must see the same intensities."
            )
        if self.auxiliary_every < 2:
            raise CosliceError(f"auxiliary_every: {self.auxiliary_every} was given, at least 2 is needed.")

    def at(self, step: int) -> SlicePrior:
        return self.auxiliary if step % self.auxiliary_every == self.auxiliary_every - 1 else self.primary

    def reading(self, step: int) -> Reading:
        return Reading(self.at(step).along)
