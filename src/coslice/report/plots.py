"""The curves of a page as SVG.

Two families: metrics of an estimate over the steps of the sampling, and of a result over the slices of its planes. A
method has one colour in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from torch import Tensor

from coslice.axes import PLANES
from coslice.metrics import PER_PLANE, PER_STEP, Curves, slice_differences
from coslice.report.environment import uri
from coslice.report.style import LINE_WIDTH, STYLE, TRUTH, content, draw_truth, literal, set_style

__all__ = ["course_plots", "neighbour_plot", "residual_plot", "slice_plots"]

Points = Sequence[tuple[float, float]]


def course_plots(
    trajectory: Mapping[str, Sequence[Mapping[str, Any]]],
    truth_sdiff: float | None = None,
    methods: Sequence[str] = (),
) -> list[dict[str, str]]:
    """PSNR, SDiff and LPIPS over the steps of the sampling, as far as they are known.

    Args:
        trajectory: by method, one mapping a step with "step", "psnr", "sdiff", "lpips"; values may be None or missing.
        truth_sdiff: SDiff of the truth, a dashed line.
        methods: all of the page, whose order gives the colours.

    Returns:
        A plot's "name", "src" (an address that is its own content) and "alt", one mapping a plot.
    """
    colours, plots = _colours([*methods, *trajectory]), []
    for quantity in PER_STEP:
        key, name = quantity.name, quantity.label
        curves = {
            method: [(s["step"] + 1, s[key]) for s in steps if s.get(key) is not None]
            for method, steps in trajectory.items()
        }
        level = truth_sdiff if key == "sdiff" else None
        alt = f"{name} of the estimate after each step"
        plots += _plot(curves, colours, name, "step", alt, level=level, log=key == "sdiff")
    return plots


def slice_plots(curves_by_method: Mapping[str, Mapping[str, Curves]]) -> list[dict[str, str]]:
    """PSNR, SSIM and LPIPS over the slices of the three planes, as far as they are known.

    Args:
        curves_by_method: by method, `coslice.metrics.per_slice` of its volume.

    Returns:
        As `course_plots`, plane by plane; nothing for a plane that could not be measured.
    """
    colours, plots = _colours(curves_by_method), []
    for plane in PLANES:
        for quantity in PER_PLANE:
            name = quantity.label
            curves = {
                method: list(zip(curves[plane].index, getattr(curves[plane], quantity.name) or (), strict=False))
                for method, curves in curves_by_method.items()
                if plane in curves
            }
            alt = f"{name} of each {plane} slice"
            plots += _plot(curves, colours, f"{plane} {name}", f"{plane} slice", alt)
    return plots


def neighbour_plot(volumes: Mapping[str, Tensor], known: bool = True) -> list[dict[str, str]]:
    """The mean absolute difference of each axial slice from the next: flicker where it is above the truth's.

    Args:
        volumes: by method, (z, y, x) in the unit window; where `known`, the truth first.
        known: whether the first is the truth.

    Returns:
        As `course_plots`; nothing for volumes of a single slice.
    """
    if len(next(iter(volumes.values()))) < 2:
        return []
    first = next(iter(volumes)) if known else None
    colours = _colours(name for name in volumes if name != first)
    curves = {
        name: [(i, float(value)) for i, value in enumerate(slice_differences(volume.cpu()))]
        for name, volume in volumes.items()
    }
    truth = curves.pop(first) if first is not None else ()
    alt = "Mean absolute difference of each axial slice from the next"
    return _plot(curves, colours, "|x[i+1] - x[i]|", "axial slice i", alt, dashed=truth)


def residual_plot(residual: Mapping[str, Mapping[str, Any]], across: str = "view") -> list[dict[str, str]]:
    """The residual |A x - y| / |y| of each view: what the geometry or the values cannot explain stands out.

    Args:
        residual: by method, as `coslice.problems.residual.Residual.record` has it.
        across: what is counted, "view" or "slice".

    Returns:
        As `course_plots`; nothing for a measurement of a single view.
    """
    curves = {method: list(enumerate(one["per_view"])) for method, one in residual.items()}
    curves = {method: points for method, points in curves.items() if len(points) > 1}
    return _plot(curves, _colours(residual), "|A x - y| / |y|", across, f"Residual of each {across}")


def _colours(methods) -> dict[str, str]:
    return {method: f"C{i}" for i, method in enumerate(dict.fromkeys(methods))}


def _plot(
    curves: Mapping[str, Points],
    colours: Mapping[str, str],
    name: str,
    across: str,
    alt: str,
    level: float | None = None,
    dashed: Points = (),
    log: bool = False,
) -> list[dict[str, str]]:
    """At most one plot; `level` and `dashed` are of the truth."""
    curves = {method: points for method, points in curves.items() if len(points)}
    if not curves and not dashed:
        return []
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 3.4))
        figure.subplots_adjust(left=0.17, bottom=0.15, right=0.98, top=0.97)  # to fit them takes as long as the rest
        axes = figure.add_subplot(xlabel=across, ylabel=name)
        for method, points in curves.items():
            places, values = zip(*points, strict=True)
            marker = "." if len(points) < 40 else None
            how = {"color": colours[method], "label": literal(method), "linewidth": LINE_WIDTH, "marker": marker}
            axes.plot(places, values, **how)
        if level is not None:
            draw_truth(axes, level)
        if dashed:
            draw_truth(axes, dashed)
        set_style(axes, log, whole=True)
        axes.legend(frameon=False)
        src = uri("image/svg+xml", content(figure, "svg"))
    return [{"name": name, "src": src, "alt": f"{alt} for {', '.join([*curves, *([TRUTH] if dashed else [])])}"}]
