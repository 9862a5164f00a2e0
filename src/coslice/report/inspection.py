"""Pictures of an input as it is found, as PNG: a scanner from above, projections and their sinogram, a scan.

The scanner is drawn as one looks from +z down on the plane of the orbit, x to the right and y up, in mm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import MaxNLocator

from coslice.axes import PLANES, axis_number
from coslice.geometry import Geometry, Grid, Orbit, ParallelBeam
from coslice.report.style import LINE_WIDTH, STYLE, content, literal, set_style
from coslice.volume import Volume
from coslice.window import Window

__all__ = ["from_above", "projections_picture", "recognised_peaks", "scan_picture", "scanner_picture"]

_MOST_PIXELS = 800  # of a side of a picture
_SOURCES = 72  # that are drawn
_BINS = 256
_GREY = "0.55"
_APART = 5  # bins of 10 HU, within which a peak is the highest
_LEAST = 5e-4  # of all voxels, in the bin of a peak
_TISSUES = (  # HU, where a peak of a CT's histogram is expected
    ("air", -1100, -920),
    ("lung", -920, -500),
    ("fat", -150, -50),
    ("soft tissue", -20, 110),
    ("bone", 250, 2000),
)


def scanner_picture(geometry: Geometry, grid: Grid | None) -> bytes:
    """The scanner from above: sources, detector, field of view and voxels."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 5.2), layout="constrained")
        _from_above(figure.add_subplot(), geometry, grid)
        return content(figure, "png")


def projections_picture(
    view: np.ndarray,
    sinogram: np.ndarray,
    rows: tuple[int, int],
    columns: tuple[int, int],
    views: int,
    axes: Sequence[tuple[str, float]] = (),
    geometry: Geometry | None = None,
    grid: Grid | None = None,
    title: str = "line integrals",
) -> bytes:
    """One projection, one sinogram, and the scanner from above.

    Args:
        view: the first projection, (rows, columns), rows along +v.
        sinogram: one row of all views, (views, columns).
        rows, columns: number of the first and of the last of the detector that `view` spans from edge to edge.
        views: how many of them `sinogram` stands for.
        axes: (word, column) of rotation axes to draw.
        geometry, grid: of the scanner; None where they are not known.
        title: what the numbers are.
    """
    with matplotlib.rc_context(STYLE):
        panels = 2 if geometry is None else 3
        figure = Figure(figsize=(4.6 * panels, 4.4), layout="constrained")
        left, right = columns[0] - 0.5, columns[1] + 0.5
        middle = rows[0] + (rows[1] - rows[0] + 1) // 2
        for place, (what, image, along, flipped) in enumerate(
            (
                (f"first view, {title}", view, "row, upwards", True),
                (f"sinogram of row {middle}", sinogram, "view", False),
            )
        ):
            panel = figure.add_subplot(1, panels, place + 1, title=what)
            low, high = _range(image)
            extent = (left, right, rows[0] - 0.5, rows[1] + 0.5) if flipped else (left, right, views - 0.5, -0.5)
            shown = panel.imshow(
                _thinned(image), "gray", vmin=low, vmax=high, extent=extent, aspect="auto", origin=_origin(flipped)
            )
            for number, (word, column) in enumerate(axes):
                panel.axvline(column, color=f"C{number + 1}", linewidth=LINE_WIDTH, linestyle="--", label=literal(word))
            if axes and not flipped:
                panel.legend(fontsize=8, loc="upper right")
            panel.set(xlabel="column", ylabel=along, xlim=(left, right))
            panel.yaxis.set_major_locator(MaxNLocator(integer=True))
            figure.colorbar(shown, ax=panel, shrink=0.8)
        if geometry is not None:
            _from_above(figure.add_subplot(1, panels, 3, title="from above"), geometry, grid)
        return content(figure, "png")


def scan_picture(volume: Volume, window: Window, title: str = "") -> bytes:
    """The middle slice of each plane in the window, and the histogram with the peaks that are recognised."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(14.4, 3.9), layout="constrained")
        if title:
            figure.suptitle(literal(title))
        data, spacing = volume.data.cpu().numpy(), volume.spacing
        for place, (name, plane) in enumerate(PLANES.items()):
            number = axis_number(plane.along)
            # as seen by a radiologist: the patient's left, or back, is on the right
            slice_ = np.take(data, data.shape[number] // 2, number)[:, ::-1]
            down, across = (mm for axis, mm in enumerate(spacing) if axis != number)
            panel = figure.add_subplot(1, 4, place + 1, title=f"{name} {data.shape[number] // 2}")
            height, width = slice_.shape[0] * down, slice_.shape[1] * across
            # rows run to superior or to anterior, which are up
            panel.imshow(
                _thinned(slice_),
                "gray",
                vmin=window.low,
                vmax=window.high,
                extent=(0, width, 0, height),
                origin="lower",
            )
            panel.set(xlabel="mm", xlim=(0, width), ylim=(0, height))
            places = ((0.5, 0.97), (0.97, 0.5), (0.5, 0.03), (0.03, 0.5))
            for letter, (x, y) in zip(plane.edges, places, strict=True):
                panel.text(x, y, letter, color="C1", ha="center", va="center", transform=panel.transAxes)
        _histogram(figure.add_subplot(1, 4, 4, title="voxels"), data, window)
        return content(figure, "png")


def recognised_peaks(values: np.ndarray, window: Window) -> tuple[tuple[str, float], ...]:
    """(tissue, HU) of the peaks of a CT's histogram that stand where a tissue is expected; none of another unit.

    Args:
        values: of voxels, any shape.
        window: of the scan; only one in HU names tissues.
    """
    if window.unit != "HU":
        return ()
    counts, edges = np.histogram(values, np.arange(-1100.0, 2000.0, 10.0))
    smooth = np.convolve(counts, np.array((1, 2, 3, 2, 1)) / 9, mode="same")
    centres, found = (edges[1:] + edges[:-1]) / 2, []
    for tissue, low, high in _TISSUES:
        inside = (centres >= low) & (centres < high)
        best = int(np.flatnonzero(inside)[smooth[inside].argmax()])
        near = smooth[max(0, best - _APART) : best + _APART + 1]
        # a peak, and not the slope of another
        if smooth[best] == near.max() and smooth[best] > max(_LEAST * counts.sum(), 1.2 * min(near[0], near[-1])):
            found.append((tissue, float(centres[best])))
    return tuple(found)


def _histogram(axes: Axes, data: np.ndarray, window: Window) -> None:
    some = data.reshape(-1)[:: max(1, data.size // 1_000_000)]
    low, high = float(some.min()), float(some.max())
    beyond = 0.15 * window.width
    low, high = max(low, window.low - beyond), min(high, window.high + beyond)
    if not high > low:
        low, high = low - 0.5, low + 0.5
    counts, edges = np.histogram(some, _BINS, (low, high))
    axes.stairs(np.maximum(counts, 0.5), edges, color="C0", fill=True)
    axes.set_yscale("log")
    for end in (window.low, window.high):
        axes.axvline(end, color=_GREY, linestyle="--", linewidth=1)
    top = float(counts.max())
    for number, (tissue, place) in enumerate(recognised_peaks(some, window)):
        axes.axvline(place, color=f"C{number + 1}", linewidth=1, label=f"{tissue}, {place:.0f} HU")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)
    axes.set(xlabel=window.unit or "value", ylim=(0.5, 2 * top))
    axes.spines[["top", "right"]].set_visible(False)


def from_above(geometry: Geometry) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Sources (views, 2), the ends of the first view's detector (2, 2), and the rays to them, x and y in mm.

    Where rays are parallel, "sources" are points that they come by.
    """
    if isinstance(geometry, Orbit):
        return _of_orbit(geometry)
    reach = float(np.abs(geometry.u()).max())
    parallel = isinstance(geometry, ParallelBeam)
    away, behind = (1.6 * reach,) * 2 if parallel else (geometry.source_axis, geometry.axis_detector)
    sources = away * np.stack((np.cos(geometry.angles), np.sin(geometry.angles)), 1)
    detector = _line(-behind, geometry.angles[0], geometry.u())
    back = 2 * away * _direction(geometry.angles[0])
    return sources, detector, [(point + back if parallel else sources[0], point) for point in detector]


def _from_above(axes: Axes, geometry: Geometry, grid: Grid | None) -> None:
    """Where the sources go, the detector of the first view, what all views see and the voxels."""
    sources, detector, rays = from_above(geometry)
    few = np.unique(np.linspace(0, len(sources) - 1, _SOURCES).round().astype(int))
    axes.plot(*sources[few].T, ".", color=_GREY, markersize=4, label="sources" if geometry.divergent else "beams")
    axes.plot(*sources[0], "o", color="C3", markersize=7, label="first view")
    if len(sources) > 1:
        nearby = sources[min(len(sources) - 1, max(1, len(sources) // 18))]
        axes.annotate("", nearby, sources[0], arrowprops={"arrowstyle": "->", "color": "C3", "linewidth": 1.4})
    for start, end in rays:
        axes.plot(*zip(start, end, strict=True), color="C3", linewidth=0.8, alpha=0.6)
    axes.plot(*np.array(detector).T, color="C0", linewidth=3, label="detector")
    if grid is not None:
        _, depth, width = grid.size
        corner = (grid.centre[2] - width / 2, grid.centre[1] - depth / 2)
        axes.add_patch(Rectangle(corner, width, depth, fill=False, color="C2", linewidth=LINE_WIDTH, label="voxels"))
        if not isinstance(geometry, Orbit):
            axes.add_patch(Circle((0, 0), max(width, depth) / 2, color="C2", alpha=0.15, label="field of view"))
    axes.plot(0, 0, "+", color="0.2", markersize=8)
    axes.set(xlabel="x, mm", ylabel="y, mm")
    axes.set_aspect("equal", adjustable="datalim")
    set_style(axes)
    axes.legend(fontsize=7, ncols=5, loc="lower center", bbox_to_anchor=(0.5, -0.3), frameon=False, handlelength=1.2)


def _of_orbit(orbit: Orbit) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Sources, the ends of the first view's detector, and the rays to them."""
    half = (orbit.detector[1] - 1) / 2
    centre, step = np.array(orbit.centre[0])[:2], np.array(orbit.column_step[0])[:2]
    detector = np.stack((centre - half * step, centre + half * step))
    sources = np.array(orbit.source)[:, :2]
    if orbit.divergent:
        return sources, detector, [(sources[0], point) for point in detector]
    reach = max(1.0, float(np.abs(detector).max()))
    along = sources / np.maximum(np.linalg.norm(sources, axis=1, keepdims=True), 1e-9)
    return -reach * along, detector, [(point - 2 * reach * along[0], point) for point in detector]


def _direction(angle: float) -> np.ndarray:
    return np.array((math.cos(angle), math.sin(angle)))


def _line(away: float, angle: float, u: np.ndarray) -> np.ndarray:
    across = np.array((-math.sin(angle), math.cos(angle)))
    return np.stack([away * _direction(angle) + end * across for end in (u[0], u[-1])])


def _thinned(image: np.ndarray) -> np.ndarray:
    """No more pixels than a picture shows."""
    steps = [max(1, n // _MOST_PIXELS) for n in image.shape]
    return np.asarray(image[:: steps[0], :: steps[1]], dtype=np.float32)


def _range(image: np.ndarray) -> tuple[float, float]:
    low, high = (float(end) for end in np.nanpercentile(image, (0.5, 99.5)))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _origin(flipped: bool) -> Any:
    return "lower" if flipped else "upper"
