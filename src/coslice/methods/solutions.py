"""Methods that do not sample: how each of them solves a problem, as a part with settings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from coslice.classical import admm_tv, cgls, sirt
from coslice.errors import CosliceError
from coslice.priors import SlicePrior
from coslice.priors.supervised import check_supervised, fbp_unet
from coslice.problems import Problem
from coslice.settings import Part, setting

__all__ = ["AdmmTVSolution", "AnalyticSolution", "CglsSolution", "NetworkSolution", "SirtSolution", "Solution"]

_ROUNDING = 1e-6
"""Degrees by which sums of angles may be off."""

_SCALES = ("diagonal", "voxels")
_AXES = ("zyx", "zy", "zx", "yx", "z", "y", "x")

Iterated = Callable[[int, int], None]
"""Called with the number of finished iterations, and of all of them."""


def _counted(iterated: Iterated, count: int) -> Callable[[int, Tensor], None]:
    """`iterated` as the iterative methods call it, with the number of the iteration and the volume so far."""
    return lambda iteration, volume: iterated(iteration, count)


@dataclass(frozen=True)
class Solution(Part, ABC):
    """How a problem is solved without sampling.

    Attributes:
        need: sort of prior it needs, "" for none.
        evaluations: how often the prior is asked for the whole volume.
    """

    need: ClassVar[str] = ""
    evaluations: ClassVar[int] = 0

    @abstractmethod
    def solve(self, problem: Problem, initial: Tensor, priors: Sequence[SlicePrior], iterated: Iterated) -> Tensor:
        """The reconstruction (z, y, x), in the unit window.

        Args:
            problem: the measurement.
            initial: its first reconstruction.
            priors: one where `need` says so.
            iterated: called after every iteration.
        """

    def check(self, problem: Problem, priors: Sequence[SlicePrior]) -> None:
        """Refuse priors that do not fit.

        Raises:
            CosliceError: they do not.
        """


@dataclass(frozen=True)
class AnalyticSolution(Solution):
    """The first reconstruction itself: FDK of a cone beam, FBP of a parallel one, cubic splines of thick slices."""

    kind = "analytic"

    def solve(self, problem: Problem, initial: Tensor, priors: Sequence[SlicePrior], iterated: Iterated) -> Tensor:
        return initial


@dataclass(frozen=True)
class _Iterated(Solution):
    """A solution by iterations of one A and one A^T each."""

    iterations: int = setting(100, "Iterations", least=1)

    def solve(self, problem: Problem, initial: Tensor, priors: Sequence[SlicePrior], iterated: Iterated) -> Tensor:
        callback = _counted(iterated, self.iterations)
        return self._solved(problem, callback)

    @abstractmethod
    def _solved(self, problem: Problem, callback: Callable[[int, Tensor], None]) -> Tensor:
        """The reconstruction; `callback` is called after every iteration."""


@dataclass(frozen=True)
class SirtSolution(_Iterated):
    """Simultaneous iterative reconstruction with values from 0 up.

    Attributes:
        iterations: one A and one A^T each.
    """

    kind = "sirt"

    def _solved(self, problem: Problem, callback: Callable[[int, Tensor], None]) -> Tensor:
        # Its own weights of rays, those of the measurement times 1/(A 1), cannot go into A.
        y, weights = problem.measurement, problem.weights
        return sirt(problem.operator, y, self.iterations, callback=callback, weights=weights)


@dataclass(frozen=True)
class CglsSolution(_Iterated):
    """Conjugate gradients on the normal equations, from zero, stopped early.

    Attributes:
        iterations: one A and one A^T each.
    """

    kind = "cgls"

    iterations: int = setting(20, "Iterations", least=1)

    def _solved(self, problem: Problem, callback: Callable[[int, Tensor], None]) -> Tensor:
        return cgls(*problem.misfit, self.iterations, callback=callback)


@dataclass(frozen=True)
class AdmmTVSolution(Solution):
    """Total variation by ADMM, from zero (the ISCS paper's eq. 13).

    The paper's D has differences along all three axes and takes its constants from Chung et al. (CVPR 2023); its code
    has D_x and D_y only, each shrunk by itself and periodic, with lambda 3 and rho 50 for lengths in voxels.

    Attributes:
        weight, penalty: lambda and rho.
        iterations: of ADMM.
        cg_iterations: steps of conjugate gradients in each of them.
        scale: what lambda and rho are relative to: "diagonal", the mean diagonal of A^T A, so that one weight does for
            any number of views; or "voxels", as published, for an A that counts lengths in voxels
            (`coslice.problems.Problem.unit`).
        axes: along which neighbours are compared.
        isotropic: whether the differences of a voxel shrink together, as one vector; if not, each by itself.
        periodic: whether the last voxel of a row is compared with the first.
    """

    kind = "admm-tv"

    weight: float = setting(0.06, "Weight lambda of total variation, relative to scale", least=0)
    penalty: float = setting(1.0, "Penalty rho of ADMM, likewise", above=0)
    iterations: int = setting(30, "Iterations of ADMM", least=1)
    cg_iterations: int = setting(5, "Steps of conjugate gradients in each iteration", least=1)
    scale: str = setting("diagonal", "What they are relative to: mean diagonal of A^T A, or voxels", choices=_SCALES)
    axes: str = setting("zyx", "Axes along which neighbours are compared", choices=_AXES)
    isotropic: bool = setting(True, "Differences of a voxel shrink together, not each by itself")
    periodic: bool = setting(False, "The last voxel of a row is compared with the first")

    def solve(self, problem: Problem, initial: Tensor, priors: Sequence[SlicePrior], iterated: Iterated) -> Tensor:
        return admm_tv(
            *problem.misfit,
            weight=self.weight,
            penalty=self.penalty,
            iterations=self.iterations,
            cg_iterations=self.cg_iterations,
            axes=tuple(self.axes),
            isotropic=self.isotropic,
            callback=_counted(iterated, self.iterations),
            periodic=self.periodic,
            unit=problem.unit if self.scale == "voxels" else None,
        )


@dataclass(frozen=True)
class SuitedSolution(Solution):
    """The first reconstruction; another one where a wedge of directions is missing.

    A first reconstruction by a formula is blurred over a missing wedge and streaked beside it, by more than the noise
    of a sampler should be. Total variation fills the wedge with what has few edges.

    Attributes:
        wedge: degrees that must be missing.
        otherwise: the solution then.

    Raises:
        CosliceError: another solution that needs a prior of its own.
    """

    kind = "suited"

    wedge: float = setting(30.0, "Missing directions that call for another solution", "degrees", above=0, most=180)
    otherwise: Solution = setting(AdmmTVSolution(iterations=16, cg_iterations=4), "Solution then")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.otherwise.need:
            word = self.otherwise.kind or type(self.otherwise).__name__
            raise CosliceError(
                f"SuitedSolution: otherwise {word} was given, which needs a prior; choose a solution that needs none."
            )

    def solve(self, problem: Problem, initial: Tensor, priors: Sequence[SlicePrior], iterated: Iterated) -> Tensor:
        if problem.missing_wedge < self.wedge - _ROUNDING:
            return initial
        return self.otherwise.solve(problem, initial, priors, iterated)


@dataclass(frozen=True)
class NetworkSolution(Solution):
    """FBP-UNet: a network that makes the first reconstruction into the truth, slice by slice."""

    kind = "network"
    need = "supervised"
    evaluations = 1

    def solve(self, problem: Problem, initial: Tensor, priors: Sequence[SlicePrior], iterated: Iterated) -> Tensor:
        return fbp_unet(priors[0], initial, problem.task)

    def check(self, problem: Problem, priors: Sequence[SlicePrior]) -> None:
        check_supervised(priors[0], problem.task)
