"""Total variation: a reconstruction with few edges, by the alternating direction method of multipliers.

    min_x  1/2 |A x - y|^2 + lambda |D x|_1                               (ISCS paper, eq. 13, with its l2,1 norm)

D takes forward differences between neighbouring voxels along the chosen axes, 0 behind the last voxel, or, in
published code, from the last voxel to the first (periodic).
|D x|_1 is the sum over voxels of the length of the difference vector (isotropic, l2,1) or of its absolute
entries (anisotropic). Values differ voxel by voxel: spacing in mm does not enter.

With s for D x and u for the scaled dual, an iteration (Boyd et al., Found. Trends Mach. Learn. 3, 2011, 3.1.1) is

    x <- solve (A^T A + rho D^T D) x = A^T y + rho D^T (s - u)      a few conjugate gradients, from the last x
    s <- shrink(D x + u, lambda / rho)
    u <- u + D x - s

A projector in mm has a large A^T A, 10^2 to 10^4 on the diagonal, growing with the number of views and the
size of voxels. `admm_tv` therefore takes numbers relative to the mean diagonal d = tr(A^T A)/voxels,

    lambda = weight * d,    rho = penalty * d,

so that volumes of all sizes, scans of all view counts and data in all units share one `weight`. (The norm of
A^T A would not do: it is the response to flat volumes, which grows with their width; differences between
neighbours answer like the diagonal.) `weight` is in units of the image's values and the default is for
volumes of about 0 to 1: for another unit multiply it by the range. `penalty` has no unit. Published numbers
are lambda and rho themselves, of an A that counts lengths in voxels: with `unit`, the width of a voxel in A's
unit,

    lambda = weight * unit^2,    rho = penalty * unit^2.

The state is explicit, so that a loop with an ADMM step inside (DiffusionMBIR, DDS + TV) carries split and
dual from one step of the diffusion to the next, only along z if it likes: see `admm_step`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from coslice.axes import AXES, axis_number
from coslice.classical.iterative import Callback, check_measurement, check_start, conjugate_gradient
from coslice.errors import CosliceError
from coslice.operators.base import Operator

__all__ = ["AdmmState", "TotalVariation", "admm_step", "admm_tv", "mean_diagonal"]


@dataclass(frozen=True)
class TotalVariation:
    """The regulariser |D x|_1 of a volume (z, y, x).

    Attributes:
        axes: the axes differences are taken along; ("z",) alone ties slices and nothing else.
        isotropic: l2,1 (lengths of difference vectors) or, if False, l1.
        periodic: whether behind the last voxel stands the first one; if not, the difference there is 0.
    """

    axes: tuple[str, ...] = ("z", "y", "x")
    isotropic: bool = True
    periodic: bool = False

    def __post_init__(self) -> None:
        if not self.axes or len(set(self.axes)) != len(self.axes) or not set(self.axes) <= set(AXES):
            raise CosliceError(
                f'TotalVariation: the axes {self.axes} were given, different ones of "z", "y" and "x" are needed.'
            )

    def gradient(self, volume: Tensor) -> Tensor:
        """D x: (z, y, x) -> (axes, z, y, x)."""
        differences = _stack_like(volume, len(self.axes))
        for name, difference in zip(self.axes, differences, strict=True):
            a = axis_number(name)
            last = volume.shape[a] - 1
            torch.sub(volume.narrow(a, 1, last), volume.narrow(a, 0, last), out=difference.narrow(a, 0, last))
            if self.periodic:
                torch.sub(volume.select(a, 0), volume.select(a, last), out=difference.select(a, last))
            else:
                difference.select(a, last).zero_()
        return differences

    def adjoint(self, differences: Tensor) -> Tensor:
        """D^T d: (axes, z, y, x) -> (z, y, x); minus the divergence."""
        volume = torch.zeros_like(differences[0])
        for name, difference in zip(self.axes, differences, strict=True):
            a = axis_number(name)
            last = volume.shape[a] - 1
            volume.narrow(a, 1, last).add_(difference.narrow(a, 0, last))
            volume.narrow(a, 0, last).sub_(difference.narrow(a, 0, last))
            if self.periodic:
                volume.select(a, 0).add_(difference.select(a, last))
                volume.select(a, last).sub_(difference.select(a, last))
        return volume

    def shrink(self, differences: Tensor, threshold: float) -> Tensor:
        """argmin_s  threshold |s|_1 + 1/2 |s - d|^2: every length less `threshold`, at least 0."""
        length = self._length(differences)
        # a length of 0 divides to inf, which the clamp turns into a factor of 0
        return differences * (1 - threshold / length).clamp_(min=0) if threshold > 0 else differences.clone()

    def value(self, volume: Tensor) -> float:
        """|D x|_1."""
        return float(self._length(self.gradient(volume)).sum(dtype=torch.float64))

    def _length(self, differences: Tensor) -> Tensor:
        return differences.square().sum(0).sqrt_() if self.isotropic else differences.abs()


@dataclass(frozen=True)
class AdmmState:
    """Where ADMM stands: the volume x (z, y, x), and split s and scaled dual u, both (axes, z, y, x)."""

    volume: Tensor
    split: Tensor
    dual: Tensor

    @staticmethod
    def started_at(volume: Tensor, variation: TotalVariation) -> AdmmState:
        """x = volume, s = D x, u = 0."""
        split = variation.gradient(volume)
        return AdmmState(volume, split, torch.zeros_like(split))


def admm_step(
    state: AdmmState,
    normal: Callable[[Tensor], Tensor],
    right: Tensor,
    variation: TotalVariation,
    threshold: float,
    rho: float,
    cg_iterations: int,
) -> AdmmState:
    """One iteration of ADMM on 1/2 |A x - y|^2 + lambda |D x|_1; `state` is left unchanged.

    Args:
        state: where to go on from. `dataclasses.replace(state, volume=...)` starts the conjugate
            gradients elsewhere, as at a denoised volume, and keeps the dual.
        normal: x -> A^T A x.
        right: A^T y, (z, y, x).
        variation: D and its norm.
        threshold: lambda / rho, in units of the volume.
        rho: weight of |D x - s|^2, in units of A^T A.
        cg_iterations: conjugate gradients spent on x.
    """

    def system(volume: Tensor) -> Tensor:
        return normal(volume).add_(variation.adjoint(variation.gradient(volume)), alpha=rho)

    target = torch.add(right, variation.adjoint(state.split - state.dual), alpha=rho)
    volume = conjugate_gradient(system, target, state.volume, cg_iterations)
    shifted = variation.gradient(volume).add_(state.dual)
    split = variation.shrink(shifted, threshold)
    return AdmmState(volume, split, shifted.sub_(split))


def admm_tv(
    operator: Operator,
    y: Tensor,
    weight: float = 0.06,
    penalty: float = 1.0,
    iterations: int = 30,
    cg_iterations: int = 5,
    axes: tuple[str, ...] = ("z", "y", "x"),
    isotropic: bool = True,
    start: Tensor | None = None,
    callback: Callback | None = None,
    *,
    periodic: bool = False,
    unit: float | None = None,
) -> Tensor:
    """Reconstruct with total variation: min 1/2 |A x - y|^2 + weight d |D x|_1, d = tr(A^T A)/voxels.

    Args:
        operator: A.
        y: measurement, shape `operator.codomain`.
        weight: strength of the regulariser, relative to d and in units of the volume's values.
        penalty: rho / d; changes how fast it converges, not where to.
        iterations: number of iterations of ADMM.
        cg_iterations: conjugate gradients in an iteration of ADMM; every one costs one A and one A^T.
        axes, isotropic: as in `TotalVariation`.
        start: first x, (z, y, x); None for zero.
        callback: called with (iteration, x) after each iteration of ADMM.
        periodic: as in `TotalVariation`.
        unit: None for weight and penalty relative to d. A number is what published operators call 1, in units of A
            (`coslice.problems.Problem.unit`); then lambda = weight unit^2 and rho = penalty unit^2, and no d is needed.

    Returns:
        x, (z, y, x).

    Raises:
        CosliceError: for shapes that do not fit the operator, a negative weight, or a penalty or unit not above 0.
    """
    if weight < 0 or penalty <= 0:
        raise CosliceError(
            f"admm_tv: weight {weight} and penalty {penalty} were given, "
            "a weight of at least 0 and a penalty above 0 are needed."
        )
    if unit is not None and not unit > 0:
        raise CosliceError(f"admm_tv: unit {unit} was given, a length above 0 in units of A is needed.")
    check_measurement("admm_tv", operator, y)
    if start is not None:
        check_start("admm_tv", start, tuple(operator.domain))
    variation = TotalVariation(axes, isotropic, periodic)
    right = operator.adjoint(y)
    volume = torch.zeros_like(right)
    if start is not None:
        volume.copy_(start)
    state = AdmmState.started_at(volume, variation)
    rho = penalty * (mean_diagonal(operator, y.device) if unit is None else unit**2)
    for iteration in range(1, iterations + 1):
        state = admm_step(state, operator.normal, right, variation, weight / penalty, rho, cg_iterations)
        if callback is not None:
            callback(iteration, state.volume)
    return state.volume


def mean_diagonal(operator: Operator, device: torch.device | str = "cpu", probes: int = 4) -> float:
    """tr(A^T A) / voxels, estimated as the mean of |A v|^2 / voxels over `probes` vectors v of signs +-1.

    (Hutchinson, Commun. Stat. Simul. Comput. 19, 1990.) The signs are a fixed sequence without pattern, so the
    number is the same every time; it is good to about 1 % for 100 000 voxels, to a quarter for 1000.
    """
    voxels = math.prod(operator.domain)
    count = torch.arange(1, voxels + 1, device=device, dtype=torch.int64)
    total = 0.0
    for probe in range(1, probes + 1):
        # the squares modulo a prime are as irregular as dice; so is their higher half
        residue = (count + probe * 104_729).square() % 2_147_483_647
        signs = torch.where(residue * 48_271 % 2_147_483_647 < 1_073_741_824, 1.0, -1.0).view(operator.domain)
        total += float(operator.forward(signs).square().sum(dtype=torch.float64))
    return total / probes / voxels


def _stack_like(volume: Tensor, count: int) -> Tensor:
    """An empty (count, *volume.shape) tensor whose entries are stored in the order of `volume`."""
    order = sorted(range(volume.ndim), key=volume.stride, reverse=True)
    stored = volume.new_empty((count, *(volume.shape[a] for a in order)))
    return stored.permute(0, *(1 + order.index(a) for a in range(volume.ndim)))
