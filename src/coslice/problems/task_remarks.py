"""What a measurement cannot show, whatever is reconstructed from it: sentences, before any work.

    few views, or a narrow wedge      hold next to nothing of most edges
    more views than sampling needs    are no sparse views, and a whole turn is no limited angle
    noise as large as what was seen   leaves nothing to reconstruct from
    one or two thick slices           do not say how the body goes on between them

Simulated and real measurements are asked alike, since both are values (`coslice.problems.Problem`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from coslice.axes import axis_number
from coslice.geometry import ConeBeam, FanBeam, Orbit, ParallelBeam, angles_of
from coslice.preparation import Preparation
from coslice.problems.ct import CTProblem
from coslice.problems.problem import Problem
from coslice.problems.super_resolution import ThickSliceProblem
from coslice.sums import inner
from coslice.volume import Volume

__all__ = ["remarks_on_preparation", "remarks_on_problem"]

_FEW = 3
"""Views that hold next to nothing; published are 4 and more."""
_NARROW = 30.0
"""Degrees of a wedge, likewise; published are 90 and more."""
_ENOUGH = 4.0
"""Times as many views as sampling needs, from which on none is missing."""
_LOUD, _DROWNED = {"ct": 0.15, "zsr": 0.4}, 0.7
"""Root mean square of the noise, of that of the measurement, that is too much. 1,000 photons in a chest are 7 %."""
_RESOLVED = 1e-7
"""Of the largest value: float32 holds nothing smaller."""
_HIGH = 0.5
"""Height of a detector row, of that of the volume."""
_THICK = 3
"""Thick slices from which on it is seen how the body goes on."""
_POINT = 0.5
"""Width of a profile in thin slices, below which it sees points between which nothing is measured."""
_FINER = 0.6
"""Of the scan's own: voxels smaller than this were made up."""
_THINNER = 0.4
"""Of a pixel: thin slices below are thinner than anything in the plane shows."""


def remarks_on_problem(problem: Problem, simulated: bool = True) -> tuple[str, ...]:
    """What of a measurement is too little, too much, or drowned; nothing where all is well.

    Args:
        problem: the measurement.
        simulated: whether its noise, geometry and slices are as somebody wished them.
    """
    said = [*_on_noise(problem, simulated)]
    if isinstance(problem, CTProblem):
        said += _on_views(problem, simulated)
    if isinstance(problem, ThickSliceProblem):
        said += _on_slices(problem)
    return tuple(said)


def remarks_on_preparation(scan: Volume, prepared: Volume, preparation: Preparation) -> tuple[str, ...]:
    """A sentence on voxels that are finer than the scan's, if they are.

    Args:
        scan: as it was read.
        prepared: what `preparation` made of it.
        preparation: what was done.
    """
    if preparation.spacing is None and preparation.size is None:
        return ()
    pairs = list(zip("zyx", prepared.spacing, scan.spacing, strict=True))
    axis, new, old = min(pairs, key=lambda one: one[1] / one[2])
    if new > _FINER * old:
        return ()
    return (
        f"Voxels of {new:.4g} mm along {axis} were made of the scan's of {old:.4g} mm: they hold no detail of their "
        "own, and a prior may be asked for some that nobody measured.",
    )


def _on_noise(problem: Problem, simulated: bool) -> Iterator[str]:
    y, noise = problem.measurement, problem.noise
    if not noise or not bool(y.isfinite().all()):
        return
    everything = math.sqrt(inner(y, y) / y.numel())
    share = noise / max(everything, 1e-30)
    # Of a real measurement the noise is an estimate, and a rough one where pixels are few.
    if share > (_LOUD.get(problem.kind, math.inf) if simulated else _LOUD["zsr"]):
        left = "next to nothing of it is left" if share > _DROWNED else "only what is large and dense is left"
        yield (
            f"The noise is {100 * share:.2g} % of the measurement ({noise:.3g} of {everything:.3g}, root mean square): "
            f"{left}, and the rest is the prior's."
        )
    elif simulated and noise < _RESOLVED * float(y.abs().max()):
        yield f"Noise of {noise:.3g} is less than the measurement's numbers resolve: there is none."


def _on_views(problem: CTProblem, simulated: bool) -> Iterator[str]:
    geometry, (nz, ny, nx) = problem.geometry, problem.shape
    views = geometry.views
    if views <= _FEW:
        count = f"{views} views show" if views > 1 else "One view shows"
        yield f"{count} next to nothing of most edges: nearly all of the volume is the prior's."
        return
    if isinstance(geometry, Orbit):
        return
    angles = sorted(angles_of(geometry))
    step = (angles[-1] - angles[0]) / (views - 1)
    wedge = math.degrees(angles[-1] - angles[0] + step)
    if wedge < _NARROW:
        yield (
            f"The views span {wedge:.3g} degrees, and show next to nothing of edges along other directions: nearly all "
            "of the volume is the prior's."
        )
    if not simulated:
        return
    needed = math.ceil(math.pi / 2 * max(ny, nx))
    if problem.task.startswith("lact") and wedge + 1e-6 >= 180 + _fan(geometry):
        yield f"A wedge of {wedge:.4g} degrees leaves no direction out: this is no limited angle."
    elif views > _ENOUGH * needed:
        yield (
            f"{views} views are more than the {needed} that {max(ny, nx)} voxels across need: nothing is sparse here."
        )
    if isinstance(geometry, ConeBeam) and geometry.pixel[0] * _at_axis(geometry) > max(
        _HIGH * nz * problem.spacing[0], 4 * problem.spacing[0]
    ):
        yield (
            f"A detector row is {geometry.pixel[0] * _at_axis(geometry) / problem.spacing[0]:.3g} slices high at the "
            f"axis, of {nz}: what lies above what is hardly measured."
        )


def _fan(geometry: ConeBeam | FanBeam | ParallelBeam) -> float:
    """The angle that the beam opens by to the columns, degrees; half a turn more of views shows every direction."""
    if isinstance(geometry, ParallelBeam):
        return 0.0
    return 2 * math.degrees(math.atan(geometry.detector[1] * geometry.pixel[1] / 2 / geometry.source_detector))


def _at_axis(geometry: ConeBeam | FanBeam | ParallelBeam) -> float:
    """What a length on the detector is at the axis."""
    return 1.0 if isinstance(geometry, ParallelBeam) else geometry.source_axis / geometry.source_detector


def _on_slices(problem: ThickSliceProblem) -> Iterator[str]:
    number = axis_number(problem.axis)
    thick, (dz, dy, dx) = problem.measurement.shape[number], problem.spacing
    if thick < _THICK:
        yield (
            f"{thick} thick slice{'s' if thick > 1 else ''} of {problem.factor:g} thin ones "
            f"{'do' if thick > 1 else 'does'} not say how the body goes on between: nearly all of it is the prior's."
        )
    if problem.fwhm is not None and problem.fwhm < _POINT:
        yield (
            f"A slice profile of {problem.fwhm * (dz, dy, dx)[number]:.3g} mm is far narrower than a thin slice, "
            f"{(dz, dy, dx)[number]:.3g} mm: the scan sees planes, and nothing between them."
        )
    thin, fine = (dz, dy, dx)[number], min(mm for place, mm in enumerate((dz, dy, dx)) if place != number)
    if thin < _THINNER * fine:
        yield (
            f"Thin slices of {thin:.3g} mm are finer than anything in their planes, whose pixels are {fine:.3g} mm: "
            "they will show no more than fewer would."
        )
