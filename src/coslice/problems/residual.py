"""How far a reconstruction is from its measurement, view by view, and what may be the reason.

    r_v = |A x - y|_v / |y|_v,        a number per view (of thick slices: per slice), over the rays that are believed

A measurement that its own geometry cannot explain leaves a residual that no volume takes away. `remarks_on_residual`
tries the usual mistakes on a small copy of the problem, a few thousand voxels: least squares of the data as they are,
with the views turning the other way, with the axis moved, and with the values read otherwise (counts for logarithms,
a sign, an offset). What explains the data much better is said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

import torch
from torch import Tensor

from coslice.axes import axis_number
from coslice.classical import cgls, filled
from coslice.geometry import Geometry, Grid, Orbit, ParallelBeam
from coslice.operators import Projector
from coslice.problems.ct import CTProblem
from coslice.problems.joint_stacks import StackProblem
from coslice.problems.problem import Problem
from coslice.problems.super_resolution import ThickSliceProblem
from coslice.sums import inner

__all__ = ["Residual", "remarks_on_residual", "residual", "residuals"]

_BLANK = 1e-3  # of the usual view's length: a view that holds less is divided by this
_LARGE = 0.03  # a residual below is not doubted
_UNEXPLAINED = 0.15  # one above is said even if nothing explains it
_NOISY = 1.5  # times what the noise alone leaves
_BETTER = 0.75  # of the residual must a mistake leave, at most, to be named
_REACH = 1.15  # times the height of the grid that the rows may see
_LIKELY = (
    " Likely reasons: the geometry (direction and start of the angles, axis, distances in mm), values that are no line "
    "integrals, or an object that reaches beyond the volume."
)
_ACROSS, _HIGH, _VIEWS, _ITERATIONS = 40, 8, 60, 12  # of the small copy


@dataclass(frozen=True)
class Residual:
    """|A x - y| / |y|.

    Attributes:
        per_view: of each view, thick slice, or stack of several.
        total: of all of them.
    """

    per_view: tuple[float, ...]
    total: float

    @property
    def record(self) -> dict[str, float | list[float]]:
        """For run.json."""
        return {"per_view": [round(value, 6) for value in self.per_view], "total": round(self.total, 6)}


def residual(problem: Problem, volume: Tensor) -> Residual:
    """How far `volume` is from the measurement.

    Args:
        problem: the measurement; rays of weight 0 do not count, other weights are not looked at.
        volume: (z, y, x) in the unit window.
    """
    y = problem.measurement
    difference = problem.operator.forward(volume.to(y)) - y
    if problem.weights is not None:
        believed = problem.weights > 0
        difference, y = torch.where(believed, difference, 0.0), torch.where(believed, y, 0.0)
    squares = [[inner(one, one) for one in _parts(problem, measured)] for measured in (difference, y)]
    usual = sum(squares[1]) / max(1, sum(square > 0 for square in squares[1]))
    per_view = tuple(
        math.sqrt(left / max(there, _BLANK**2 * usual)) if left else 0.0 for left, there in zip(*squares, strict=True)
    )
    whole = sum(squares[1])
    return Residual(per_view, math.sqrt(sum(squares[0]) / whole) if whole else 0.0)


def _parts(problem: Problem, measured: Tensor) -> Sequence[Tensor]:
    """The views, the thick slices, or the stacks of what was measured; what has none of them is one part."""
    if isinstance(problem, StackProblem):
        return measured.split([int(seen.sum()) for seen in problem.operator.seen])  # pyright: ignore
    if measured.ndim == 1:
        return (measured,)
    if isinstance(problem, ThickSliceProblem):
        return measured.movedim(axis_number(problem.axis), 0).unbind()
    return measured.unbind()


def residuals(problem: Problem, volume: Tensor) -> tuple[float, ...]:
    """`residual(problem, volume).per_view`."""
    return residual(problem, volume).per_view


def remarks_on_residual(problem: Problem, initial: Residual, final: Residual) -> tuple[str, ...]:
    """What a residual says that does not fall or stays large, with the likely reason; nothing where all is well.

    Parallel views that turn the other way show the object's mirror image without any residual; that is not seen here.

    Args:
        problem: the measurement.
        initial, final: of its first reconstruction and of the result.

    Returns:
        Full sentences.
    """
    small = _small(problem) if isinstance(problem, CTProblem) else None
    bad = _outliers(final.per_view)
    before, after = (_without(bad, one) for one in (initial, final))
    least = _NOISY * _noise_alone(problem)
    if after < max(_LARGE, least):
        said = _on_scale(*small) if small else ()
        return said + _on_views(bad, final, problem.kind)
    reasons = _reasons(problem, *small) if small and isinstance(problem, CTProblem) else ()
    if not reasons and after < max(_UNEXPLAINED, least) and after < 0.9 * before:
        return _on_views(bad, final, problem.kind)
    if final == initial:  # of one step, as filtered back-projection: nothing that could have fallen
        large = (f"The residual |A x - y| is {after:.1%} of the measurement.",) if reasons else ()
        inside = small is not None and _within(small[0], small[1])
        if small and inside and not reasons and (left := _left(*small)) > max(_UNEXPLAINED, least):
            large = (f"On a small copy no volume explains {left:.1%} of the projections.{_LIKELY}",)
        return (*large, *reasons, *(() if reasons else _on_views(bad, final, problem.kind)))
    course = f"from {before:.1%} to {after:.1%} of the measurement"
    verb = "fell only" if after < before else "did not fall: it went"
    sentence = f"The residual |A x - y| {verb} {course}.{'' if reasons else _LIKELY}"
    return (sentence, *reasons, *(() if reasons else _on_views(bad, final, problem.kind)))


def _noise_alone(problem: Problem) -> float:
    """The residual of the truth, where the noise is known."""
    y, weights = problem.measurement, problem.weights
    square, count = inner(y, y), float(y.numel())
    if weights is not None:
        believed = torch.where(weights > 0, y, 0.0)
        square = inner(believed, believed)
        # A ray of weight w has the variance noise^2 / w.
        count = float((1 / weights[weights > 0].double()).sum())
    return problem.noise * math.sqrt(count / square) if square else 0.0


def _within(geometry: Geometry, grid: Grid) -> bool:
    """Whether the outer rows pass through the grid at all; beside it there may be a body that it does not hold."""
    if isinstance(geometry, Orbit):
        return True
    height = geometry.detector[0] * geometry.pixel[0]
    if not isinstance(geometry, ParallelBeam):
        height *= geometry.source_axis / geometry.source_detector
    return height < _REACH * grid.size[0]


def _outliers(per_view: Sequence[float]) -> list[int]:
    """The numbers of a few views that agree far less than the others."""
    if len(per_view) < 5:
        return []
    middle = median(per_view)
    spread = 1.4826 * median(abs(value - middle) for value in per_view)
    limit = max(middle + 8 * spread, 2 * middle, _LARGE)
    bad = [number for number, value in enumerate(per_view) if value > limit]
    return bad if len(bad) <= max(1, len(per_view) // 5) else []


def _without(bad: Sequence[int], residual: Residual) -> float:
    """The residual of the other views."""
    if not bad:
        return residual.total
    others = [value for number, value in enumerate(residual.per_view) if number not in bad]
    return math.sqrt(fmean(value**2 for value in others))


def _on_views(bad: Sequence[int], residual: Residual, kind: str) -> tuple[str, ...]:
    if not bad:
        return ()
    word = "slice" if kind == "zsr" else "view"
    named = ", ".join(str(number) for number in bad[:8]) + (" and others" if len(bad) > 8 else "")
    who, verb, them = (
        (f"{word.capitalize()}s", "disagree", "them") if len(bad) > 1 else (word.capitalize(), "disagrees", "it")
    )
    worst = max(residual.per_view)
    return (
        f"{who} {named} (counted from 0) {verb} with the reconstruction by up to {worst:.1%}, the others by "
        f"{_without(bad, residual):.1%}; leave {them} out if something moved or failed there.",
    )


def _on_scale(geometry: Geometry, grid: Grid, y: Tensor) -> tuple[str, ...]:
    """Whether the volume fits the window at all, which a good residual does not say."""
    # So few iterations know the large parts only and not the noise.
    top = float(torch.quantile(cgls(Projector(geometry, grid), y, 3).flatten().abs(), 0.99))
    if 0.05 < top < 2:
        return ()
    return (
        f"The brightest of the volume is about {top:.2g} times the top of the window: lengths may be in cm and not mm, "
        "or the attenuation of water may be another one.",
    )


def _reasons(problem: CTProblem, geometry: Geometry, grid: Grid, y: Tensor) -> tuple[str, ...]:
    """What explains the data of a small copy of the problem much better than they do as they are."""
    if scale := _on_scale(geometry, grid, y):
        # Only where they fit otherwise: counts and the like have no scale.
        left = _left(geometry, grid, y, math.inf)
        if left < _UNEXPLAINED:
            return scale
    limit = _BETTER * _left(geometry, grid, y)
    tried = [(_left(changed, grid, values), explanation) for explanation, changed, values in _mistakes(geometry, y)]
    left, explanation = min(tried, default=(math.inf, ""), key=lambda one: one[0])
    if left >= limit:
        left, explanation = _axis(geometry, grid, y, _pitch(problem.geometry))
    if left >= limit:
        return ()
    return (f"On a small copy the projections agree to {left:.1%} if {explanation}.",)


def _mistakes(geometry: Geometry, y: Tensor) -> list[tuple[str, Geometry, Tensor]]:
    """(what was done about it and what to do, geometry, measurement) of each mistake that can be tried."""
    tried: list[tuple[str, Geometry, Tensor]] = []
    if not isinstance(geometry, Orbit):
        back = replace(geometry, angles=tuple(-angle for angle in geometry.angles))
        tried.append(("the views turn the other way: reverse the angles", back, y))
    low, high = _ends(y)
    if low > 0:
        logged = -torch.log(y.clamp(min=1e-3 * high) / high)
        tried.append(("-ln of them is taken: say that they are counts or transmission", geometry, logged))
    if -low > high:
        tried.append(("their sign is turned: give -ln(counts / open beam)", geometry, -y))
    # Where air is seen at the edges of the views, an offset is what they have in common.
    offset = float(torch.cat((y[..., :1], y[..., -1:]), -1).median())
    if abs(offset) > 0.02 * max(-low, high):
        tried.append((f"{offset:.3g} is subtracted: correct the open beam (I0)", geometry, y - offset))
    return tried


def _axis(geometry: Geometry, grid: Grid, y: Tensor, column: float) -> tuple[float, str]:
    """The least residual with the detector moved across, and the move in words; `column` of the scanner in mm."""
    pitch = _pitch(geometry)
    known: dict[float, float] = {}

    def left(steps: float) -> float:
        if steps not in known:
            known[steps] = _left(_shifted(geometry, steps * pitch), grid, y)
        return known[steps]

    side = 1 if left(1) < left(-1) else -1
    width = 1.0
    while width < geometry.detector[1] / 4 and left(2 * side * width) < left(side * width):
        width *= 2
    # The least is between half and twice the best; every round halves the steps around it.
    best, step = side * width, width / 2
    while step >= 0.25:
        best = min((best - step, best, best + step), key=left)
        step /= 2
    mm = best * pitch
    sign = "+" if mm > 0 else "-"
    move = f"the detector is moved by {abs(mm):.3g} mm along {sign}u"
    return left(best), f"{move}: look for the axis of rotation (--rotation-axis find)"


def _pitch(geometry: Geometry) -> float:
    return math.hypot(*geometry.column_step[0]) if isinstance(geometry, Orbit) else geometry.pixel[1]


def _shifted(geometry: Geometry, mm: float) -> Geometry:
    if not isinstance(geometry, Orbit):
        return replace(geometry, offset=(geometry.offset[0], geometry.offset[1] + mm))
    centres: list[tuple[float, float, float]] = []
    for (x, y, z), (a, b, c) in zip(geometry.centre, geometry.column_step, strict=True):
        share = mm / math.hypot(a, b, c)
        centres.append((x + share * a, y + share * b, z + share * c))
    return replace(geometry, centre=tuple(centres))


def _ends(y: Tensor) -> tuple[float, float]:
    """What nearly all values lie between."""
    values = y.flatten().double()
    return float(torch.quantile(values, 0.005)), float(torch.quantile(values, 0.995))


def _left(geometry: Geometry, grid: Grid, y: Tensor, top: float = 1.25) -> float:
    """|A x - y| / |y| of least squares, cut off at 0 and `top`: of values beyond the window there are none."""
    operator = Projector(geometry, grid)
    volume = cgls(operator, y, _ITERATIONS)
    difference = operator.forward(volume.clamp(0, top) if top < math.inf else volume) - y
    length = inner(y, y)
    return math.sqrt(inner(difference, difference) / length) if length else 0.0


def _small(problem: CTProblem) -> tuple[Geometry, Grid, Tensor] | None:
    """Fewer voxels, views and pixels: blocks of pixels are averaged, views left out; None of a single view."""
    geometry, grid = problem.geometry, problem.grid
    if geometry.views < 3:
        return None
    y = problem.measurement.cpu()
    if problem.weights is not None:
        angles = range(geometry.views) if isinstance(geometry, Orbit) else geometry.angles
        y = filled(y, problem.weights.cpu() > 0, [float(angle) for angle in angles])
    step = -(-geometry.views // _VIEWS)
    views = slice(0, None, step)
    rows, columns = geometry.detector
    # So few voxels across that the rays outnumber them, about twice.
    across = min(_ACROSS, max(8, math.isqrt(len(range(0, geometry.views, step)) * min(columns, 2 * _ACROSS) // 2)))
    blocks = (max(1, rows // (2 * _HIGH)), max(1, columns // (2 * across)))
    kept = (rows // blocks[0] * blocks[0], columns // blocks[1] * blocks[1])
    y = y[views, : kept[0], : kept[1]]
    y = y.reshape(len(y), kept[0] // blocks[0], blocks[0], kept[1] // blocks[1], blocks[1]).mean((2, 4))
    geometry = _coarser(geometry, views, blocks, kept)
    nz, ny, nx = grid.shape
    shape = (min(nz, _HIGH), min(ny, across), min(nx, across))
    spacing = [size / n for size, n in zip(grid.size, shape, strict=True)]
    return geometry, Grid(shape, (spacing[0], spacing[1], spacing[2]), grid.centre), y.contiguous()


def _coarser(geometry: Geometry, views: slice, blocks: tuple[int, int], kept: tuple[int, int]) -> Geometry:
    """Some views, and blocks of the first `kept` (rows, columns) as pixels."""
    detector = (kept[0] // blocks[0], kept[1] // blocks[1])
    cut = [(k - n) / 2 for k, n in zip(kept, geometry.detector, strict=True)]  # the centre moves by so many pixels
    if isinstance(geometry, Orbit):
        steps = list(zip(geometry.row_step, geometry.column_step, strict=True))[views]
        centre = tuple(
            (
                c[0] + cut[0] * r[0] + cut[1] * s[0],
                c[1] + cut[0] * r[1] + cut[1] * s[1],
                c[2] + cut[0] * r[2] + cut[1] * s[2],
            )
            for c, (r, s) in zip(geometry.centre[views], steps, strict=True)
        )
        n, m = blocks
        row_step = tuple((n * r[0], n * r[1], n * r[2]) for r, _ in steps)
        column_step = tuple((m * c[0], m * c[1], m * c[2]) for _, c in steps)
        return Orbit(geometry.source[views], centre, row_step, column_step, detector, geometry.divergent)
    (dv, du), (v, u) = geometry.pixel, geometry.offset
    return replace(
        geometry,
        angles=geometry.angles[views],
        detector=detector,
        pixel=(dv * blocks[0], du * blocks[1]),
        offset=(v + cut[0] * dv, u + cut[1] * du),
    )
