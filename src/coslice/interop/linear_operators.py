"""An operator of ours as a `LinearOperator` of scipy or pylops: a matrix of float32 that is never written down.

    A = coslice.interop.linear_operator(projector)                       # scipy
    x = scipy.sparse.linalg.lsqr(A, y.ravel())[0].reshape(projector.domain)

    A = coslice.interop.linear_operator(projector, library="pylops")
    x = pylops.optimization.basic.cgls(A, y.ravel(), niter=20)[0]        # and A @ volume, (z, y, x), as it is

Vectors are volumes and measurements read row by row, x the fastest: `array.ravel()`. They are numpy's, on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from coslice.errors import CosliceError
from coslice.interop.differentiable_operators import checked_operator
from coslice.interop.libraries import imported
from coslice.interop.physics import checked_problem
from coslice.operators import Operator
from coslice.problems import Problem, Study

__all__ = ["OperatorMatrix", "linear_operator", "linear_problem"]

Library = Literal["scipy", "pylops"]


def linear_operator(operator: Operator, library: Library = "scipy") -> Any:
    """The operator as a `scipy.sparse.linalg.LinearOperator` or a `pylops.LinearOperator`.

    Args:
        operator: A, a `coslice.Operator`.
        library: whose.

    Returns:
        A matrix of float32, (prod(codomain), prod(domain)), with `matvec`, `rmatvec`, `matmat`, `rmatmat`, `@`, `.T`,
        `.H`; complex vectors are taken as two real ones. pylops' knows the shapes too (`dims`, `dimsd`).

    Raises:
        CosliceError: no operator; another library, or one that is not installed.
    """
    operator = checked_operator("linear_operator", operator)
    matrix = OperatorMatrix(operator)
    if library == "scipy":
        return matrix
    if library != "pylops":
        raise CosliceError(f'linear_operator: the library {library!r} was given; choose "scipy" or "pylops".')
    pylops = imported("pylops", "linear_operator")
    return pylops.LinearOperator(
        Op=matrix, dims=tuple(operator.domain), dimsd=tuple(operator.codomain), name=type(operator).__name__
    )


def linear_problem(problem: Problem | Study, library: Library = "scipy") -> tuple[Any, np.ndarray]:
    """What was measured, or simulated, as A x = y for scipy or pylops: (A, y).

    x is the volume in the *unit window*, 0 where `study.window.low` is and 1 where `study.window.high` is; y is in
    units of A of such a volume, which for CT is mm. Where rays have weights w, A is sqrt(w) A and y is sqrt(w) y.

    Args:
        problem: a problem, or a study, whose problem is taken.
        library: "scipy" or "pylops".

    Returns:
        A, see `linear_operator`, and y, one axis, float32.

    Raises:
        CosliceError: as `linear_operator`; no problem.
    """
    operator, y = checked_problem("linear_problem", problem).misfit
    return linear_operator(operator, library), y.detach().cpu().contiguous().numpy().reshape(-1)


class OperatorMatrix(LinearOperator):
    """scipy's view of a `coslice.Operator`; made by `linear_operator`."""

    def __init__(self, operator: Operator) -> None:
        super().__init__(np.float32, (math.prod(operator.codomain), math.prod(operator.domain)))
        self.operator = operator

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        return _on_vectors(self.operator.forward, x, self.operator.domain)

    def _rmatvec(self, x: np.ndarray) -> np.ndarray:
        return _on_vectors(self.operator.adjoint, x, self.operator.codomain)


def _on_vectors(one: Callable[[Tensor], Tensor], vector: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    vector = np.asarray(vector)
    if np.iscomplexobj(vector):
        real, imaginary = (_on_vectors(one, part, shape) for part in (np.real(vector), np.imag(vector)))
        return real + 1j * imaginary
    # A copy: an operator must not meet memory that is read-only, or that its caller goes on to change.
    given = torch.from_numpy(np.array(vector, dtype=np.float32).reshape(shape))
    return one(given).contiguous().numpy().reshape(-1)
