"""An operator of ours as a deepinv `LinearPhysics`, and a measurement of ours as a problem of theirs.

    physics = coslice.interop.deepinv_physics(projector)
    y = physics(x)                             # (B, 1, z, y, x) -> (B, 1, views, rows, columns), noise and all
    x = physics.A_dagger(y)

deepinv's images are (batch, channels, depth, height, width); a volume of ours is one of them, its slices the depth. A
is exact in both directions, so deepinv's optimisers, unfolded networks and losses get true gradients, and A^T A, which
their solvers call most, is computed at once. Channels and the batch are done one after the other.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import Tensor

from coslice.errors import CosliceError
from coslice.interop.differentiable_operators import checked_operator, differentiable
from coslice.interop.libraries import imported
from coslice.operators import Operator
from coslice.problems import Problem, Study

__all__ = ["deepinv_physics", "deepinv_problem"]


def deepinv_physics(operator: Operator, noise_model: Any = None, **settings: Any) -> Any:
    """The operator as a `deepinv.physics.LinearPhysics`.

    Args:
        operator: A, a `coslice.Operator`.
        noise_model: what `physics(x)` adds to A x, as `deepinv.physics.GaussianNoise(0.01)`; None adds nothing.
        settings: of `deepinv.physics.LinearPhysics`, as `max_iter`, `tol`, `solver` ("CG" if not said), `device` of the
            noise model.

    Returns:
        A physics with `A`, `A_adjoint`, `A_adjoint_A`, `A_dagger`, `prox_l2` and all else that deepinv makes of them,
        for images (B, C, z, y, x) and measurements (B, C, *operator.codomain); `physics.operator` is A.

    Raises:
        CosliceError: no operator; deepinv is not installed.
    """
    return _physics_class()(checked_operator("deepinv_physics", operator), noise_model, **settings)


def deepinv_problem(problem: Problem | Study, noise_model: Any = None, **settings: Any) -> tuple[Any, Tensor]:
    """What was measured, or simulated, as deepinv has it: (physics, y).

    The unknown is the volume in the *unit window*, 0 where `study.window.low` is and 1 where `study.window.high` is:
    denoisers for images from 0 to 1 fit, and `study.window.from_unit` brings a result back to HU. y is in units of A of
    such a volume; for CT that is mm. Where rays have weights w, the physics is sqrt(w) A and y is sqrt(w) y, so that
    plain least squares there are the weighted ones here.

    Args:
        problem: a problem, or a study, whose problem is taken.
        noise_model: of the physics; None is `GaussianNoise` of the problem's noise where that is known, and none where
            it is 0. y has its noise already.
        settings: as for `deepinv_physics`; the device is that of y if not said.

    Returns:
        The physics, and y, (1, 1, *codomain).

    Raises:
        CosliceError: no problem; deepinv is not installed.
    """
    problem = checked_problem("deepinv_problem", problem)
    operator, y = problem.misfit
    if noise_model is None and problem.noise > 0:
        noise_model = imported("deepinv.physics", "deepinv_problem").GaussianNoise(problem.noise)
    return deepinv_physics(operator, noise_model, **{"device": y.device, **settings}), y[None, None]


def checked_problem(who: str, problem: object) -> Problem:
    """The problem of a study, or the problem.

    Raises:
        CosliceError: something else, naming `who` asks.
    """
    problem = problem.problem if isinstance(problem, Study) else problem
    if not isinstance(problem, Problem):
        raise CosliceError(f"{who}: {type(problem).__name__} was given, but a coslice.Problem or Study is needed.")
    return problem


@cache
def _physics_class() -> type[Any]:
    # Made on demand: its base is deepinv's.
    base: Any = imported("deepinv.physics", "deepinv_physics").LinearPhysics

    class OperatorPhysics(base):
        """deepinv's view of a `coslice.Operator`."""

        def __init__(self, operator: Operator, noise_model: Any = None, **settings: Any) -> None:
            settings.setdefault("solver", "CG")
            if noise_model is not None:
                settings["noise_model"] = noise_model
            super().__init__(img_size=(1, *operator.domain), **settings)
            self.operator = operator
            self._own = differentiable(operator)

        # deepinv hands every word said to a physics to all of its parts; A has none to take.
        def A(self, x: Tensor, **_: Any) -> Tensor:
            return self._own(x)

        def A_adjoint(self, y: Tensor, **_: Any) -> Tensor:
            return self._own.adjoint(y)

        def A_adjoint_A(self, x: Tensor, **_: Any) -> Tensor:
            return self._own.normal(x)

        def extra_repr(self) -> str:
            return repr(self.operator)

    return OperatorPhysics
