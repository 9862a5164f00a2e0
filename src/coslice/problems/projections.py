"""Measured projections made ready to reconstruct: a recording and its scanner become a study.

    recording, scanner  ->  views, rows and columns kept, blocks of pixels to   `coslice.acquisition.reduction`
                        ->  line integrals p, defects mended                    `coslice.acquisition.counts`
                        ->  the axis of rotation, found or as given             `coslice.acquisition.rotation_axis`
                        ->  how far every ray can be trusted                    `coslice.acquisition.trust`
                        ->  the unit window, from water or a first reconstruct  `coslice.acquisition.scale`
                        ->  y = (p - mu_low A(1)) / (mu_high - mu_low), in mm

mu is attenuation in 1/mm; the prior sees mu_low and mu_high as 0 and 1. What was guessed or left out is in `remarks`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from coslice.acquisition.counts import MeasuredLines, line_integrals_from
from coslice.acquisition.doubts import doubts
from coslice.acquisition.reduction import Reduction, chosen_views, median_of_views
from coslice.acquisition.rotation_axis import RotationAxis, found_axis, with_axis
from coslice.acquisition.scale import HounsfieldScale, attenuation_window, found_water, remarks_on_water
from coslice.acquisition.trust import Trust, measured_trust
from coslice.classical import Sirt
from coslice.errors import CosliceError
from coslice.geometry import ConeBeam, FanBeam, Geometry, Grid, Orbit, ParallelBeam, angles_of
from coslice.io.geometry_files import ScannerFile
from coslice.io.recordings import Recording
from coslice.operators import Projector
from coslice.preparation import Preparation
from coslice.problems.ct import CTProblem
from coslice.problems.measured_grid import OTHER_SLICES, check_room, chosen_slices, rows_of, voxels_and_blocks
from coslice.problems.stated import Stated, stated_settings
from coslice.problems.study import Study
from coslice.problems.task_remarks import remarks_on_problem
from coslice.volume import Volume
from coslice.window import CT_WINDOW, Window

__all__ = ["Taken", "first_reconstruction", "from_projections", "take"]

_COARSE = 96  # voxels across of the reconstruction that a scale is looked for in
_COARSE_ITERATIONS = 20
_HEADROOM = 1.6  # of the window above the densest matter, which a prior of CT sees as bone then
_AXIS_ROWS = 16  # of the detector, that the rotation axis is looked for in
_LOOKED_AT = 64  # views that stand for all where one view does
_AROUND = 360  # views of an object that is the same all around: more show nothing new


def from_projections(
    recording: Recording,
    scanner: ScannerFile,
    stated: Stated = Stated(),
    window: Window = CT_WINDOW,
    reference: bool = False,
    device: str = "cpu",
    progress: Callable[[str, int, int], None] = lambda phase, done, total: None,
) -> Study:
    """The study of a measurement; nothing is known of the volume behind it.

    Args:
        recording: what the detector recorded.
        scanner: where its rays ran.
        stated: what the user says of both.
        window: HU that the prior sees as 0 and 1; used where the attenuation of water is known.
        reference: whether to reconstruct from all views by filtered back-projection too, to compare with.
        device: where to work.
        progress: called as work goes on: phase, done, total.

    Raises:
        CosliceError: recording and scanner that do not belong together, a statement that cannot be, or values that
            could be several things.
    """
    taken = take(recording, scanner, stated, all_views=reference, progress=progress)
    lines, geometry, remarks = taken.lines, taken.geometry, list(taken.remarks)
    attenuation, shown, said = _scale(taken, stated, window)
    remarks += said
    p = _tensor(lines, device)
    everything, found, title = (p, geometry), None, ""
    weights = None if stated.axisymmetric else _tensor(taken.weights, device)
    if reference and stated.views is not None:
        choice = chosen_views(angles_of(geometry), stated.views)
        remarks += choice.notes
        views = list(choice.views)
        p, geometry = p[views], Reduction(views=choice.views).geometry(geometry)
        weights = None if weights is None else weights[views]
    unit = _ToUnit(attenuation, taken.grid)
    # Nothing attenuates less than nothing, but metal may attenuate more than the window holds.
    bounds = (min(0.0, -attenuation.low / attenuation.width), math.inf)
    problem = CTProblem(
        geometry,
        taken.grid,
        unit(p, geometry),
        taken.deviation / attenuation.width,
        weights=_relative(weights),
        bounds=bounds,
    )
    volume = Volume.on(taken.grid, torch.zeros(taken.grid.shape))
    if reference:
        whole = CTProblem(everything[1], taken.grid, unit(*everything))
        found = whole.initial().clamp(*bounds)
        title = f"{whole.initial_title} of all {everything[1].views} views"
        volume = volume.with_data(shown.from_unit(found.cpu()))
    return Study(
        volume,
        shown,
        found,
        problem,
        None,
        Preparation(),
        _words(geometry),
        values=taken.values,
        remarks=(*remarks, *remarks_on_problem(problem, simulated=False)),
        reference=title,
        stated=stated_settings(stated) | {"format": scanner.format},
        names=(recording.name,) if recording.name else (),
    )


@dataclass(frozen=True, eq=False)
class Taken:
    """Line integrals, and all that is known of them before their unit.

    Attributes:
        lines: p, (views, rows, columns) float32, rows along +v, columns along +u.
        weights: of the rays, likewise, relative inverse variances.
        deviation: root mean square of the noise of p.
        geometry: of these views and pixels.
        grid: the voxels.
        values: what the recording held: "counts", "transmission" or "lines".
        axis: where the rotation axis was found, if it was looked for.
        remarks: what was found, guessed, or left out, in full sentences.
    """

    lines: np.ndarray
    weights: np.ndarray
    deviation: float
    geometry: Geometry
    grid: Grid
    values: str
    axis: RotationAxis | None = None
    remarks: tuple[str, ...] = ()


def take(
    recording: Recording,
    scanner: ScannerFile,
    stated: Stated = Stated(),
    all_views: bool = False,
    progress: Callable[[str, int, int], None] = lambda phase, done, total: None,
) -> Taken:
    """What a recording measured, on the pixels that the voxels ask for.

    Args:
        recording, scanner, stated, progress: as `from_projections`.
        all_views: whether to keep all views, whatever `stated` says.

    Raises:
        CosliceError: as `from_projections`.
    """
    data, fields, geometry = _oriented(recording, scanner, stated)
    remarks = [*recording.notes, *scanner.notes]
    reduction = Reduction(
        rows=_stored(stated.detector.rows, geometry.detector[0], scanner.flip_rows),
        columns=_stored(stated.detector.columns, geometry.detector[1], scanner.flip_columns),
    )
    counts = _Counts(data, fields, scanner, recording.logged, stated)
    geometry, axis, said = _with_the_axis(counts, reduction, geometry)
    remarks += said
    kept = reduction.geometry(geometry)
    grid, binning = voxels_and_blocks(kept, stated.grid, scanner.grid, stated.detector.binning)
    reduction = replace(reduction, binning=binning)
    if stated.slices is not None:
        first, last = stated.slices
        whole = grid
        grid = chosen_slices(grid, (first or 0, whole.shape[0] if last is None else last))
        if grid.shape != whole.shape and isinstance(geometry, ConeBeam):
            remarks.append(OTHER_SLICES)
        elif isinstance(geometry, FanBeam | ParallelBeam) and scanner.grid is None:
            reduction = replace(reduction, rows=rows_of(geometry, grid))
    views = stated.views
    if stated.axisymmetric and views is None and geometry.views > _AROUND:
        views = _AROUND
    if views is not None and not all_views:
        choice = chosen_views(angles_of(geometry), views)
        remarks += choice.notes
        reduction = replace(reduction, views=choice.views)
    geometry = reduction.geometry(geometry)
    if stated.axisymmetric:
        reduction = replace(reduction, views=None)
    # What is said of rows and columns counts as the file does.
    sides = zip(
        (reduction.rows, reduction.columns), data.shape[1:], (scanner.flip_rows, scanner.flip_columns), strict=True
    )
    rows, columns = (_stored(kept, count, flipped) for kept, count, flipped in sides)
    remarks += replace(reduction, views=None, rows=rows, columns=columns).notes(data.shape)
    if stated.detector.median > 1:
        remarks.append(
            f"Every pixel became the median of {stated.detector.median} x {stated.detector.median} about it."
        )
    check_room(geometry, grid)
    measured = counts.lines(reduction, lambda done, total: progress("projections", done, total))
    trust = counts.trust(measured, reduction)
    lines, weights = measured.lines, trust.weights
    looked_at = lines, geometry
    if stated.axisymmetric:
        lines, weights = np.broadcast_to(lines, geometry.shape), np.broadcast_to(weights, geometry.shape)
        few = _every_few(geometry.views, _LOOKED_AT)
        looked_at = few.of(lines), few.geometry(geometry)
        remarks.append(f"The one view stands for all {geometry.views}: the object is taken to be the same all around.")
    doubted = (doubt.sentence for doubt in doubts(*looked_at, grid) if doubt.severity != "note")
    remarks += [*measured.notes, *trust.notes, *doubted]
    return Taken(lines, weights, trust.deviation, geometry, grid, measured.values, axis, tuple(remarks))


def _with_the_axis(
    counts: _Counts, reduction: Reduction, geometry: Geometry
) -> tuple[Geometry, RotationAxis | None, tuple[str, ...]]:
    """The geometry with its axis where it was found or stated, the finding, and what is said of it."""
    stated, flipped = counts.stated.axis, counts.scanner.flip_columns
    last = geometry.detector[1] - 1
    if stated is None:
        return geometry, None, ()
    if stated == "find":
        axis = counts.axis(reduction, geometry)
        column = axis.column + (reduction.columns or (0, 0))[0]
        stored = last - column if flipped else column
        said = (
            (f"As the file counts its columns, the axis is at column {stored:.2f}.",) if stored != axis.column else ()
        )
        return _with_axis(geometry, column), axis, (*axis.notes, *said)
    if not -0.5 <= stated <= last + 0.5:
        raise CosliceError(f"rotation-axis: column {stated:g} was given, but the detector has columns 0 to {last}.")
    return _with_axis(geometry, last - stated if flipped else stated), None, ()


def _every_few(views: int, about: int) -> Reduction:
    """Every n-th view from the first on, `about` so many of them."""
    return Reduction(views=tuple(range(0, views, max(1, views // about))))


@dataclass(frozen=True, eq=False)
class _Counts:
    """A recording turned the right way round, before its logarithm."""

    data: np.ndarray
    fields: tuple[np.ndarray | None, np.ndarray | None]
    scanner: ScannerFile
    logged: bool | None
    stated: Stated

    def lines(self, reduction: Reduction, progress: Callable[[int, int], None] | None = None) -> MeasuredLines:
        flat, dark = self._fields(reduction)
        white = self.stated.white
        if white is None and flat is None:
            white = self.scanner.white
        return line_integrals_from(
            self._smoothed(reduction.of(self.data)),
            flat,
            dark,
            white=white,
            values=self.stated.values,
            logged=self.logged,
            repair=self.stated.repair,
            progress=progress,
        )

    def _smoothed(self, data: np.ndarray) -> np.ndarray:
        side = self.stated.detector.median
        return data if side == 1 else median_of_views(data, side)

    def trust(self, measured: MeasuredLines, reduction: Reduction) -> Trust:
        return measured_trust(measured, *self._fields(reduction), self.stated.photons)

    def axis(self, reduction: Reduction, geometry: Geometry) -> RotationAxis:
        """Where a few rows in the middle see the axis, as a column of what `reduction` keeps."""
        first, last = reduction.rows or (0, geometry.detector[0])
        middle = max(first, (first + last - _AXIS_ROWS) // 2)
        few = replace(reduction, rows=(middle, min(last, middle + _AXIS_ROWS)))
        lines, seen = self.lines(few).lines, few.geometry(geometry)
        if self.stated.axisymmetric:
            seen = _every_few(seen.views, _LOOKED_AT).geometry(seen)
            lines = np.broadcast_to(lines, seen.shape)
        return found_axis(lines, seen)

    def _fields(self, reduction: Reduction) -> tuple[np.ndarray | None, np.ndarray | None]:
        flat, dark = (None if field is None else reduction.image(field) for field in self.fields)
        return flat, dark


class _ToUnit:
    """y = (p - mu_low A(1)) / (mu_high - mu_low), in mm."""

    def __init__(self, attenuation: Window, grid: Grid) -> None:
        self.attenuation, self.grid = attenuation, grid

    def __call__(self, p: Tensor, geometry: Geometry) -> Tensor:
        if self.attenuation.low:
            p = p - self.attenuation.low * Projector(geometry, self.grid).forward(torch.ones(self.grid.shape).to(p))
        return _everywhere(p, lambda y: y / self.attenuation.width)


def _tensor(array: np.ndarray, device: str) -> Tensor:
    """On the device; one view that stands for all is kept once."""
    if array.strides[0] == 0:
        return torch.as_tensor(np.array(array[:1]), device=device).expand(array.shape)
    return torch.as_tensor(np.ascontiguousarray(array), device=device)


def _everywhere(p: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """`function` of all views; of one that stands for all, once."""
    return function(p[:1]).expand_as(p) if p.stride(0) == 0 else function(p)


def _scale(taken: Taken, stated: Stated, window: Window) -> tuple[Window, Window, tuple[str, ...]]:
    """The unit window in 1/mm, the same in the unit of the results, and what is said about it."""
    given = None if stated.window is None else Window(*stated.window)
    if stated.water is None:
        if given is not None:
            shown = Window(given.low, given.high, "1/mm")
            said = f"Values from {given.low:g} to {given.high:g} 1/mm are what the prior sees as 0 to 1, as stated."
            return shown, shown, (said,)
        found, notes = attenuation_window(first_reconstruction(taken), stated.air, headroom=_HEADROOM)
        return found, found, notes
    notes: tuple[str, ...] = ()
    if stated.water == "find":
        water = found_water(first_reconstruction(taken))
        scale, notes = water.scale, water.notes
    else:
        scale, notes = HounsfieldScale(stated.water, stated.air), remarks_on_water(stated.water)
    shown = window if given is None else Window(given.low, given.high, "HU")
    return scale.window(shown), shown, notes


def first_reconstruction(taken: Taken) -> np.ndarray:
    """A first reconstruction in 1/mm on few voxels, by SIRT, whose histogram has no streaks of few views."""
    grid, geometry = taken.grid, taken.geometry
    nz, ny, nx = grid.shape
    block, rows = max(1, max(ny, nx) // _COARSE), max(1, nz // _COARSE)
    choice = replace(_every_few(geometry.views, 2 * _LOOKED_AT), binning=(rows, block))
    deep, down, over = (max(1, n // by) for n, by in zip(grid.shape, (rows, block, block), strict=True))
    dz, dy, dx = (mm / n for mm, n in zip(grid.size, (deep, down, over), strict=True))
    if ny == 1:  # the plane of an object that is the same all around: its rays run through all of it
        down, dy = over, dx
    coarse = Grid((deep, down, over), (dz, dy, dx), grid.centre)
    p, seen = torch.as_tensor(np.ascontiguousarray(choice.of(taken.lines))), choice.geometry(geometry)
    return Sirt(Projector(seen, coarse), _COARSE_ITERATIONS)(p).numpy()


def _oriented(
    recording: Recording, scanner: ScannerFile, stated: Stated
) -> tuple[np.ndarray, tuple[np.ndarray | None, np.ndarray | None], Geometry]:
    """Data and (flat, dark) with rows along +v and columns along +u, and the geometry of all that is stored."""
    geometry, shape = scanner.geometry, recording.data.shape
    needed = (1, *geometry.detector) if stated.axisymmetric else tuple(geometry.shape)
    if tuple(shape) != needed:
        hint = "check which of them is meant"
        if shape[0] == 1 and shape[1:] == needed[1:]:
            hint = "if the one view stands for all, as of an object that is the same all around, say --axisymmetric"
        raise CosliceError(
            f"projections: {recording.name or 'the recording'} has {shape[0]} views of {shape[1]} x {shape[2]} pixels "
            f"(rows x columns), but the geometry has {needed[0]} of {needed[1]} x {needed[2]}; {hint}."
        )
    turn = np.s_[..., :: -1 if scanner.flip_rows else 1, :: -1 if scanner.flip_columns else 1]
    flat, dark = (None if field is None else field[turn] for field in (recording.flat, recording.dark))
    return recording.data[turn], (flat, dark), geometry


def _with_axis(geometry: Geometry, column: float) -> Geometry:
    if isinstance(geometry, Orbit):
        raise CosliceError(
            "axis: a column of the rotation axis was given for a free orbit, whose every view says where it stands; "
            "leave it out."
        )
    return with_axis(geometry, column)


def _stored(kept: tuple[int | None, int | None] | None, count: int, flipped: bool) -> tuple[int, int] | None:
    """A range of stored rows or columns, counted along +v or +u."""
    if kept is None:
        return None
    first, last = kept[0] or 0, count if kept[1] is None else kept[1]
    return (count - last, count - first) if flipped else (first, last)


def _relative(weights: Tensor | None) -> Tensor | None:
    """Of mean 1; None where all rays are trusted alike."""
    if weights is None or bool((weights == weights[0, 0, 0]).all()):
        return None
    return weights / weights.mean()


def _words(geometry: Geometry) -> str:
    beam = {"ConeBeam": "cone-beam ", "FanBeam": "fan-beam ", "ParallelBeam": "parallel-beam "}
    kind = beam.get(type(geometry).__name__, "")
    return f"{geometry.views} measured {kind}view{'s' if geometry.views > 1 else ''}"
