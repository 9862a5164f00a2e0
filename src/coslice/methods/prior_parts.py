"""How a method reads a volume with its priors: alone, by patches, by windows, in two planes.

Slices     a prior of single slices, every slice alone
Patches    a prior of k slices, on patches cut anew at every step (DiffusionBlend++)
Windows    the same, on a window about every slice (DiffusionBlend)
Relay      patches first, single slices at the end
Planes     two priors of single slices, of perpendicular planes, in turn (TPDM)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from itertools import accumulate, pairwise
from typing import ClassVar

from coslice.axes import axis_number
from coslice.errors import CosliceError
from coslice.priors import SlicePrior
from coslice.priors.blends import Blend, Perpendicular, Relayed
from coslice.priors.partitions import ENDS, Partition, RandomPartitions, windows
from coslice.problems import Problem
from coslice.sampling import Changing
from coslice.settings import Part, setting

__all__ = ["USUAL_PRIORS", "Patches", "Planes", "PriorPart", "Relay", "Slices", "Windows", "usual_priors"]

USUAL_PRIORS: dict[tuple[str, str], tuple[str, ...]] = {
    ("ct", "slices"): ("ct",),
    ("ct", "patches"): ("ct3",),
    ("ct", "planes"): ("ct", "ct-coronal"),
    ("ct", "relay"): ("ct3", "ct"),
    ("ct", "supervised"): ("ct-fbp-unet",),
    ("zsr", "slices"): ("mr",),
}
"""Names of the embedded priors, by the kind of the problem and what a method needs."""

_OF_THICK_CT = {"slices": ("ct-coronal",)}
"""The same for thick slices of CT. As that of MR, it sees planes that the thick axis lies in (docs/results.md)."""


def usual_priors(kind: str, need: str, modality: str = "") -> tuple[str, ...]:
    """Names of the embedded priors for a problem; none where none fits.

    Args:
        kind: of the problem.
        need: what the method needs, see `USUAL_PRIORS`.
        modality: "ct" or "mr", in any case; of thick slices whose modality is not known, that of MR is taken.
    """
    if kind == "zsr" and modality.lower() == "ct":
        return _OF_THICK_CT.get(need, ())
    return USUAL_PRIORS.get((kind, need), ())


_ARITHMETIC = "Products of the networks on a CPU: of the weights' type, of 8-bit integers, or the faster"


@dataclass(frozen=True)
class PriorPart(Part, ABC):
    """How the priors of a method become one function of volumes.

    Attributes:
        need: what sort of prior it needs, a key of `USUAL_PRIORS`.
        planes: names of the priors it needs, in order.
        arithmetic: of the networks on a CPU, see `coslice.priors.SlicePrior`.
    """

    need: ClassVar[str] = "slices"
    planes: ClassVar[tuple[str, ...]] = ("prior",)

    _: KW_ONLY
    arithmetic: str = setting("auto", _ARITHMETIC, choices=("auto", "float", "int8"))

    @abstractmethod
    def build(self, problem: Problem, priors: Sequence[SlicePrior], seed: int) -> SlicePrior | Changing:
        """What the loop asks at every step.

        Args:
            problem: whose volumes are denoised.
            priors: as many as `planes` has names.
            seed: of what is drawn, such as partitions.

        Raises:
            CosliceError: priors of another sort, or that do not fit the problem's slices.
        """

    def over(
        self, problem: Problem, priors: Sequence[SlicePrior], seed: int, sigmas: Sequence[float]
    ) -> SlicePrior | Changing:
        """The same for a known schedule. One that depends on the noise levels overrides this.

        Args:
            problem, priors, seed: as of `build`.
            sigmas: the noise levels, then 0.
        """
        return self.build(problem, priors, seed)

    def computing(self, prior: SlicePrior) -> SlicePrior:
        """`prior` with this arithmetic; "auto" leaves it as it is."""
        return prior if self.arithmetic == "auto" else replace(prior, arithmetic=self.arithmetic)


@dataclass(frozen=True)
class Slices(PriorPart):
    """Every slice alone."""

    kind = "slices"

    def build(self, problem: Problem, priors: Sequence[SlicePrior], seed: int) -> SlicePrior:
        priors[0].check_single()
        return self.computing(priors[0])


_ENDS = "Patches at the ends of the stack: moved inside, or with the last slice repeated"
_CLIP = "Predictions cut off at 0 and 1 before the data step"
_LANES = "Noise of their own for the slices of a patch, where noise is tied between slices"


@dataclass(frozen=True)
class _OfPatches(PriorPart):
    """What the two ways to use a prior of patches share."""

    need = "patches"

    ends: str = setting("overlap", _ENDS, choices=ENDS)
    lanes: bool = setting(True, _LANES)
    _: KW_ONLY
    clip: bool = setting(False, _CLIP)

    def build(self, problem: Problem, priors: Sequence[SlicePrior], seed: int) -> Blend:
        prior = self.computing(priors[0])
        prior.check_patches()
        axis = axis_number(prior.along)
        partition = self._partition(prior.channels, seed)
        return Blend(prior, problem.shape[axis], problem.spacing[axis], partition, self.lanes, self.clip)

    @abstractmethod
    def _partition(self, size: int, seed: int) -> Callable[[int, int], Partition]:
        """(step, number of slices) -> partition into patches of `size`."""


@dataclass(frozen=True)
class Patches(_OfPatches):
    """Patches that cut the volume another way at every step (DiffusionBlend++, Algorithm 1).

    Attributes:
        ends: "overlap", as in the published code, or "repeat", as in the paper.
        lanes: whether ISCS and BCS leave the slices of a patch independent (`coslice.noise.Lanes`); without, they treat
            all slices alike, as with a prior of single ones.
        clip: whether predictions are cut off at the ends of the window; DiffusionBlend's code has that, to [-1, 1], in
            both of its released scripts, but commented out.
        cross_every: one step of so many sees slices k apart; 0 is never.
        partition: "random" or "fixed" starts of the patches of neighbours (Table 4).
    """

    kind = "patches"

    cross_every: int = setting(2, "Steps of which one sees slices that lie k apart; 0 for none", least=0)
    partition: str = setting("random", "Starts of the patches of neighbours", choices=("random", "fixed"))

    def _partition(self, size: int, seed: int) -> Callable[[int, int], Partition]:
        return RandomPartitions(size, seed, self.cross_every, self.partition == "random", self.ends)


@dataclass(frozen=True)
class Windows(_OfPatches):
    """A window about every slice, which answers for that slice alone (DiffusionBlend, Algorithm 2).

    Attributes:
        ends, lanes, clip: as of `Patches`.
    """

    kind = "windows"

    def _partition(self, size: int, seed: int) -> Callable[[int, int], Partition]:
        return partial(_windows, size=size, ends=self.ends)


def _windows(step: int, count: int, size: int, ends: str) -> Partition:
    return windows(count, size, ends)


@dataclass(frozen=True)
class Relay(PriorPart):
    """Patches first, single slices at the end (ours).

    Attributes:
        share: of the steps, the last of which see single slices; at least one does.
        patches: how the volume is cut before.
    """

    kind = "relay"
    need = "relay"
    planes = ("prior of patches", "prior of single slices")

    share: float = setting(0.2, "Share of the steps, at the end, that see single slices", above=0, most=1)
    patches: Patches = setting(Patches(), "How the volume is cut into patches before")

    def build(self, problem: Problem, priors: Sequence[SlicePrior], seed: int) -> Relayed:
        raise CosliceError("relay: it changes hands at a step, and no schedule was given; use `over`.")

    def over(self, problem: Problem, priors: Sequence[SlicePrior], seed: int, sigmas: Sequence[float]) -> Relayed:
        first, single = map(self.computing, priors)
        steps = len(sigmas) - 1
        return Relayed(self.patches.build(problem, [first], seed), single, steps - math.ceil(self.share * steps))


@dataclass(frozen=True)
class Planes(PriorPart):
    """Two perpendicular planes in turn (TPDM, Lee et al., ICCV 2023).

    Attributes:
        auxiliary_every: K, so that the prior of the second plane takes one of so many noise levels: the last of a whole
            number, each with probability 1/K of a fraction. A whole number never draws, also one with a point, which in
            its code would.
    """

    kind = "planes"
    need = "planes"
    planes = ("prior", "auxiliary prior")

    auxiliary_every: int | float = setting(
        2, "Noise levels of which the second plane takes one; of a fraction, by chance", least=2
    )

    def build(self, problem: Problem, priors: Sequence[SlicePrior], seed: int) -> Perpendicular:
        return self.over(problem, priors, seed, ())

    def over(self, problem: Problem, priors: Sequence[SlicePrior], seed: int, sigmas: Sequence[float]) -> Perpendicular:
        for prior in priors:
            prior.check_single()
        if len(priors) < 2:
            raise CosliceError("tpdm: no prior of a second plane was given, but it needs one; give an auxiliary prior.")
        repeated = len(set(sigmas)) < len(sigmas)
        falls = (int(b < a) for a, b in pairwise(sigmas[:-1]))
        levels = tuple(accumulate(falls, initial=0)) if repeated else ()
        first, second = map(self.computing, priors[:2])
        return Perpendicular(first, second, self.auxiliary_every, seed, levels)
