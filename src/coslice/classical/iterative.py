"""Iterative reconstruction: conjugate gradients, CGLS, SIRT.

* `conjugate_gradient` solves M z = b for a symmetric positive (semi)definite M (Hestenes and Stiefel,
  1952). With r = b - M z and p = r to begin with, an iteration is

      a = <r, r>/<p, M p>,    z <- z + a p,    r' = r - a M p,    p <- r' + (<r', r'>/<r, r>) p.

  Stopped early it is the proximal step of DDS (M = A^T A, b = A^T y, started at the denoised volume).
* `cgls` is the same on A^T A z = A^T y, but carries the residual y - A z itself, which loses less to rounding
  (Bjorck, Numerical Methods for Least Squares Problems, alg. 7.4.1). From zero it goes to the
  minimum-norm least-squares solution.
* `sirt` repeats x <- x + C A^T R (y - A x), with R = 1/(A 1) and C = 1/(A^T 1), diagonal (Gregor and Benson,
  IEEE Trans. Med. Imaging 27, 2008); it goes to the minimum of |y - A x| weighted by R. Rays that meet no
  voxel and voxels that no ray meets get weight 0 and are left as they are. An A with entries below 0 is
  out of its reach. With weights w of the rays, R = w/(A 1) and C = 1/(A^T w).

All are torch only and run where `y` is. Vectors keep the memory layout of what the operator returns, so an
operator may store its volumes in whatever order it likes. `callback(iteration, x)` is called after each
iteration, counted from 1; x is changed in place by the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from coslice.classical import vectors
from coslice.errors import CosliceError
from coslice.operators.base import Operator

__all__ = ["Callback", "Sirt", "cgls", "check_measurement", "check_start", "conjugate_gradient", "sirt"]

Callback: TypeAlias = Callable[[int, Tensor], None]

_ROUNDINGS = 4
"""A residual of so many roundings of the numbers that it is a difference of holds nothing else."""


def conjugate_gradient(
    apply: Callable[[Tensor], Tensor],
    right: Tensor,
    start: Tensor | None,
    iterations: int,
    tolerance: float = 0.0,
    callback: Callback | None = None,
    scale: float = 0.0,
) -> Tensor:
    """Solve M z = right, M symmetric positive semidefinite, by at most `iterations` conjugate gradients.

    Args:
        apply: z -> M z; may write all its results to the same memory.
        right: right-hand side, any shape; the solution takes its memory layout.
        start: first z, left unchanged; None for zero.
        iterations: largest number of iterations; each calls `apply` once, a start other than None once more.
        tolerance: stops when the residual's norm is at most this times that of `right`; whatever it is, when the
            residual is no more than rounding.
        callback: called after each iteration, with its number and z.
        scale: norm of what `right` is a small difference of, in whose rounding it is.

    Returns:
        z. Besides what `apply` needs, three tensors of its size are held.

    Raises:
        CosliceError: for a start of another shape or a negative number of iterations.
    """
    _check_iterations("conjugate_gradient", iterations)
    solution, residual, direction = (vectors.empty_like(right) for _ in range(3))
    if start is None:
        solution.zero_()
        residual.copy_(right)
    else:
        check_start("conjugate_gradient", start, tuple(right.shape))
        solution.copy_(start)
        torch.sub(right, apply(solution), out=residual)
    energy, whole = vectors.dot(residual, residual), vectors.dot(right, right)
    # A residual as small as its own rounding points anywhere, also to where M is 0: a step along it would be boundless.
    rounding = _ROUNDINGS * torch.finfo(right.dtype).eps
    enough = max(tolerance**2 * whole, rounding**2 * max(whole, energy, scale**2))
    direction.copy_(residual)
    for iteration in range(1, iterations + 1):
        if energy <= enough:
            break
        image = apply(direction)
        curvature = vectors.dot(direction, image)
        if not curvature > 0:  # the rest of the residual is rounding, or lies where M is 0
            break
        step = energy / curvature
        previous, energy = energy, vectors.advance(solution, residual, direction, image, step)
        if callback is not None:
            callback(iteration, solution)
        if iteration < iterations:
            vectors.turn(direction, residual, energy / previous)
    return solution


def cgls(
    operator: Operator,
    y: Tensor,
    iterations: int = 20,
    start: Tensor | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Least squares min |y - A x| by conjugate gradients, stopped early.

    Args:
        operator: A.
        y: measurement, shape `operator.codomain`.
        iterations: number of iterations; each costs one A and one A^T.
        start: first x, (z, y, x), left unchanged; None for zero.

    Returns:
        x, (z, y, x).

    Raises:
        CosliceError: for shapes that do not fit the operator or a negative number of iterations.
    """
    _check_iterations("cgls", iterations)
    check_measurement("cgls", operator, y)
    if start is None:
        residual = y.clone()
        gradient = operator.adjoint(residual)
        solution = torch.zeros_like(gradient)
    else:
        check_start("cgls", start, tuple(operator.domain))
        residual = y - operator.forward(start)
        gradient = operator.adjoint(residual)
        solution = torch.empty_like(gradient).copy_(start)
    direction = gradient.clone()
    energy = vectors.dot(gradient, gradient)
    for iteration in range(1, iterations + 1):
        image = operator.forward(direction)
        curvature = vectors.dot(image, image)
        if energy == 0 or curvature == 0:
            break
        step = energy / curvature
        solution.add_(direction, alpha=step)
        residual.sub_(image, alpha=step)
        gradient = operator.adjoint(residual)
        previous, energy = energy, vectors.dot(gradient, gradient)
        vectors.turn(direction, gradient, energy / previous)
        if callback is not None:
            callback(iteration, solution)
    return solution


@dataclass(frozen=True)
class Sirt:
    """SIRT as a pseudo-inverse of `operator`: `Sirt(operator)(y)` is about A-dagger y.

    The weights R and C are computed at the first call on a device and kept. The ISCS paper's DDNM takes
    100 iterations with positivity, from zero.

    Attributes:
        operator: A, with no entry below 0.
        iterations: number of iterations; each costs one A and one A^T.
        positivity: whether values below 0 are set to 0 after each iteration.
        weights: of the rays, of a measurement's shape, from 0 up; what a ray of weight 0 holds, even what is no
            number, changes nothing. None is 1 everywhere.
    """

    operator: Operator
    iterations: int = 100
    positivity: bool = True
    weights: Tensor | None = None
    _diagonals: dict[torch.device, tuple[Tensor, Tensor]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        _check_iterations("Sirt", self.iterations)

    def diagonals(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """R, of a measurement's shape, and C, of a volume's, on `device`; 0 where nothing is seen."""
        if device not in self._diagonals:
            rays = _inverse(self.operator.forward(torch.ones(self.operator.domain, device=device)))
            if self.weights is None:
                believed = torch.ones(self.operator.codomain, device=device)
            else:
                believed = self.weights.to(device)
                rays = rays * believed
            self._diagonals[device] = (rays, _inverse(self.operator.adjoint(believed)))
        return self._diagonals[device]

    def __call__(self, y: Tensor, start: Tensor | None = None, callback: Callback | None = None) -> Tensor:
        """x, (z, y, x), from a measurement `y`; `start` is the first x, left unchanged, None for zero.

        Raises:
            CosliceError: for shapes that do not fit the operator.
        """
        check_measurement("sirt", self.operator, y)
        ray_weight, voxel_weight = self.diagonals(y.device)
        if self.weights is not None:
            y = torch.where(ray_weight > 0, y, 0.0)
        solution = torch.zeros_like(voxel_weight)
        if start is not None:
            check_start("sirt", start, tuple(self.operator.domain))
            solution.copy_(start)
        for iteration in range(1, self.iterations + 1):
            residual = y if iteration == 1 and start is None else y - self.operator.forward(solution)
            solution.addcmul_(voxel_weight, self.operator.adjoint(ray_weight * residual))
            if self.positivity:
                solution.clamp_(min=0)
            if callback is not None:
                callback(iteration, solution)
        return solution


def sirt(
    operator: Operator,
    y: Tensor,
    iterations: int = 100,
    start: Tensor | None = None,
    positivity: bool = True,
    callback: Callback | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """`Sirt(operator, iterations, positivity, weights)(y, start)`; hold the object to call it often.

    Raises:
        CosliceError: for shapes that do not fit the operator or a negative number of iterations.
    """
    return Sirt(operator, iterations, positivity, weights)(y, start, callback)


def _inverse(sums: Tensor) -> Tensor:
    """1/sums; 0 where a sum is 0 up to rounding."""
    seen = sums > 1e-6 * sums.max()
    return torch.where(seen, 1 / sums, 0.0)


def _check_iterations(name: str, iterations: int) -> None:
    if iterations < 0:
        raise CosliceError(f"{name}: {iterations} iterations were asked for, 0 or more are needed.")


def check_measurement(name: str, operator: Operator, y: Tensor) -> None:
    """Raise CosliceError, as `name`, unless `y` has the shape of the operator's measurements."""
    if tuple(y.shape) != tuple(operator.codomain):
        raise CosliceError(
            f"{name}: a measurement of shape {tuple(y.shape)} was given, the operator makes "
            f"{tuple(operator.codomain)}; give the data that belong to this operator."
        )


def check_start(name: str, start: Tensor, shape: tuple[int, ...]) -> None:
    """Raise CosliceError, as `name`, unless a start has `shape`."""
    if tuple(start.shape) != shape:
        raise CosliceError(f"{name}: a start of shape {tuple(start.shape)} was given, {shape} is needed.")
