"""How far a reconstruction is from its measurement, view by view, and what may be the reason.

    r_v = |A x - y|_v / |y|_v,        a number per view (of thick slices: per slice), over the rays that are believed

A measurement that its own geometry cannot explain leaves a residual that no volume takes away. `remarks_on_residual`
tries the usual mistakes on a small copy of the problem, a few thousand voxels: least squares of the data as they are,
with the views turning the other way, with the axis moved, and with the values read otherwise (counts for logarithms,
a sign, an offset). What explains the data much better is said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from coslice.classical import cgls, filled
from coslice.geometry import Geometry, Grid, Orbit
from coslice.operators import Operator, Projector
from coslice.problems.ct import CTProblem
from coslice.problems.problem import Problem
from coslice.sums import inner

__all__ = ["Residual", "remarks_on_residual", "residual", "residuals"]

_BLANK = 1e-3  # of the usual view's length: a view that holds less is divided by this
_LARGE = 0.03  # a residual below is not doubted
_UNEXPLAINED = 0.15  # one above is said even if nothing explains it
_NOISY = 1.5  # times what the noise alone leaves
_BETTER = 0.6  # of the residual must a mistake leave, at most, to be named
_ACROSS, _HIGH, _VIEWS, _ITERATIONS = 40, 8, 60, 12  # of the small copy


@dataclass(frozen=True)
class Residual:
    """|A x - y| / |y|.

    Attributes:
        per_view: of each view, or thick slice.
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
    squares = [[inner(one, one) for one in measured] for measured in (difference, y)]
    usual = sum(squares[1]) / max(1, sum(square > 0 for square in squares[1]))
    per_view = tuple(
        math.sqrt(left / max(there, _BLANK**2 * usual)) if left else 0.0 for left, there in zip(*squares, strict=True)
    )
    whole = sum(squares[1])
    return Residual(per_view, math.sqrt(sum(squares[0]) / whole) if whole else 0.0)


def residuals(problem: Problem, volume: Tensor) -> tuple[float, ...]:
    """`residual(problem, volume).per_view`."""
    return residual(problem, volume).per_view


def remarks_on_residual(problem: Problem, initial: Residual, final: Residual) -> tuple[str, ...]:
    """What a residual says that does not fall or stays large, with the likely reason; nothing where all is well.

    Args:
        problem: the measurement.
        initial, final: of its first reconstruction and of the result.

    Returns:
        Full sentences.
    """
    remarks = list(_outliers(final.per_view, "slice" if problem.kind == "zsr" else "view"))
    y = problem.measurement
    length = math.sqrt(inner(y, y)) if problem.weights is None else math.sqrt(inner(*[problem.misfit[1]] * 2))
    expected = problem.noise * math.sqrt(y.numel()) / length if length else 0.0
    if final.total < max(_LARGE, _NOISY * expected):
        return tuple(remarks)
    reasons = _reasons(problem) if isinstance(problem, CTProblem) else ()
    course = f"from {initial.total:.1%} to {final.total:.1%} of the measurement"
    if reasons or final.total >= max(_UNEXPLAINED, _NOISY * expected) or final.total > 0.9 * initial.total:
        word = "fell only" if final.total < initial.total else "did not fall: it went"
        doubts = (
            ""
            if reasons
            else (
                " Likely reasons: the geometry (direction and start of the angles, axis, distances in mm), values that are "
                "no line integrals, or an object that reaches beyond the volume."
            )
        )
        remarks.insert(0, f"The residual |A x - y| {word} {course}.{doubts}")
        remarks[1:1] = reasons
    return tuple(remarks)


def _outliers(per_view: Sequence[float], word: str) -> tuple[str, ...]:
    """A few views that agree far less than the others."""
    values = torch.tensor(per_view, dtype=torch.float64)
    if len(values) < 5:
        return ()
    middle = values.median()
    spread = 1.4826 * (values - middle).abs().median()
    bad = torch.nonzero(values > torch.maximum(middle + 8 * spread, 2 * middle) + 1e-3).flatten().tolist()
    if not bad or len(bad) > max(1, len(values) // 5):
        return ()
    named = ", ".join(str(number) for number in bad[:8]) + (" and others" if len(bad) > 8 else "")
    one = len(bad) == 1
    worst = float(values.max())
    return (
        f"{word.capitalize()}{'' if one else 's'} {named} (counted from 0) {'disagrees' if one else 'disagree'} with "
        f"the reconstruction by up to {worst:.1%}, the others by {float(middle):.1%}; leave "
        f"{'it' if one else 'them'} out if something moved or failed there.",
    )


def _reasons(problem: CTProblem) -> tuple[str, ...]:
    """What explains the data of a small copy of the problem much better than they do as they are."""
    small = _small(problem)
    if small is None:
        return ()
    geometry, grid, y = small
    as_given, _ = _left(geometry, grid, y)
    found: list[tuple[float, str]] = []
    for explanation, changed, values in _mistakes(geometry, y):
        left, volume = _left(changed, grid, values)
        sensible = float(volume.mean()) > 0
        if sensible and left < _BETTER * as_given:
            found.append((left, explanation(left)))
    if shifted := _axis(geometry, grid, y, as_given, problem.geometry):
        found.append(shifted)
    # The best explanation alone: several mistakes that help a little are usually one.
    return (min(found)[1],) if found else ()


def _mistakes(geometry: Geometry, y: Tensor) -> list[tuple[Callable[[float], str], Geometry, Tensor]]:
    """(sentence for a residual, geometry, measurement) of each mistake that can be tried."""
    tried: list[tuple[Callable[[float], str], Geometry, Tensor]] = []
    if not isinstance(geometry, Orbit):
        back = replace(geometry, angles=tuple(-angle for angle in geometry.angles))
        tried.append((lambda left: _sentence("the views turned the other way", left, "reverse the angles"), back, y))
    low, high = (float(value) for value in _ends(y))
    if low > 0:
        logged = -torch.log(y.clamp(min=1e-3 * high) / high)
        tried.append(
            (lambda left: _sentence("-ln was still to be taken", left, "say that they are counts"), geometry, logged)
        )
    if high <= 0 or -low > high:
        tried.append((lambda left: _sentence("their sign was turned", left, "turn it"), geometry, -y))
    # Where air is seen at the edges of the views, an offset is what they have in common.
    edge = torch.cat((y[..., :1], y[..., -1:]), -1).flatten()
    offset = float(edge.median())
    if abs(offset) > 0.02 * max(abs(low), abs(high)):
        tried.append(
            (
                lambda left: _sentence(f"{offset:.3g} were subtracted", left, "correct the open beam (I0)"),
                geometry,
                y - offset,
            )
        )
    return tried


def _sentence(condition: str, left: float, remedy: str) -> str:
    return f"On a small copy the projections agree to {left:.1%} if {condition}: {remedy}."


def _axis(geometry: Geometry, grid: Grid, y: Tensor, as_given: float, full: Geometry) -> tuple[float, str] | None:
    """The axis moved by whole columns of the small copy, and between them by a parabola."""
    pitch = _pitch(geometry)
    steps = (-4, -2, -1, 0, 1, 2, 4)
    left = [as_given if step == 0 else _left(_shifted(geometry, step * pitch), grid, y)[0] for step in steps]
    best = min(range(len(steps)), key=left.__getitem__)
    if steps[best] == 0 or left[best] >= _BETTER * as_given:
        return None
    columns = steps[best] * pitch / _pitch(full)
    sentence = (
        f"the detector stood about {abs(columns):.0f} columns further along {'+' if columns > 0 else '-'}u "
        f"(offset {'+' if columns > 0 else '-'}{abs(columns) * _pitch(full):.3g} mm)"
    )
    return left[best], _sentence(sentence, left[best], "find the axis of rotation")


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


def _ends(y: Tensor) -> tuple[Tensor, Tensor]:
    """What nearly all values lie between."""
    values = y.flatten().double()
    return torch.quantile(values, 0.005), torch.quantile(values, 0.995)


def _left(geometry: Geometry, grid: Grid, y: Tensor) -> tuple[float, Tensor]:
    """What least squares leave of y, relative, and the volume."""
    operator: Operator = Projector(geometry, grid)
    volume = cgls(operator, y, _ITERATIONS)
    difference = operator.forward(volume) - y
    length = inner(y, y)
    return (math.sqrt(inner(difference, difference) / length) if length else 0.0), volume


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
        rows, columns = (
            tuple((blocks[a] * v[0], blocks[a] * v[1], blocks[a] * v[2]) for v in pair)
            for a, pair in enumerate(zip(*steps))
        )
        return Orbit(geometry.source[views], centre, rows, columns, detector, geometry.divergent)
    (dv, du), (v, u) = geometry.pixel, geometry.offset
    return replace(
        geometry,
        angles=geometry.angles[views],
        detector=detector,
        pixel=(dv * blocks[0], du * blocks[1]),
        offset=(v + cut[0] * dv, u + cut[1] * du),
    )
