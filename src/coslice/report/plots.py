"""Curves as SVG that is the same, byte for byte, whenever it is drawn.

Two families: metrics of an estimate over the steps of the sampling, and of a result over the slices of its planes. A
method has one colour in all of them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from coslice.metrics import Curves, slice_differences
from coslice.report.environment import uri
from coslice.report.pictures import PLANES

__all__ = ["STYLE", "course_plots", "drawn", "dress", "literal", "neighbour_plot", "slice_plots"]

STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "coslice", "font.size": 10}
"""Settings of matplotlib to draw within."""
_ANONYMOUS = {
    "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
    "pdf": dict.fromkeys(("CreationDate", "Creator", "Producer")),
}
_TRUTH = "Truth"
_METRICS = (("psnr", "PSNR (dB)"), ("ssim", "SSIM"), ("lpips", "LPIPS"))
_COURSES = (("psnr", "PSNR (dB)"), ("sdiff", "SDiff"), ("lpips", "LPIPS"))

Points = Sequence[tuple[float, float]]


def course_plots(
    trajectory: Mapping[str, Sequence[Mapping[str, Any]]],
    truth_sdiff: float | None = None,
    methods: Sequence[str] = (),
) -> list[dict[str, str]]:
    """PSNR, SDiff and LPIPS over the steps of the sampling, of each what is known.

    Args:
        trajectory: by method, one mapping a step with "step", "psnr", "sdiff", "lpips"; values may be None or missing.
        truth_sdiff: SDiff of the truth, a dashed line.
        methods: all of the page, whose order gives the colours.

    Returns:
        Of each plot "name", "src" (an address that is its own content) and "alt".
    """
    colours, plots = _colours([*methods, *trajectory]), []
    for key, name in _COURSES:
        curves = {
            method: [(s["step"] + 1, s[key]) for s in steps if s.get(key) is not None]
            for method, steps in trajectory.items()
        }
        level = truth_sdiff if key == "sdiff" else None
        alt = f"{name} of the estimate after each step"
        plots += _plot(curves, colours, name, "step", alt, level=level, log=key == "sdiff")
    return plots


def slice_plots(curves_by_method: Mapping[str, Mapping[str, Curves]]) -> list[dict[str, str]]:
    """PSNR, SSIM and LPIPS over the slices of each plane, of each what is known.

    Args:
        curves_by_method: by method, `coslice.metrics.per_slice` of its volume.

    Returns:
        As `course_plots`, plane by plane; nothing for a plane that could not be measured.
    """
    colours, plots = _colours(curves_by_method), []
    for plane in PLANES:
        for key, name in _METRICS:
            curves = {
                method: list(zip(curves[plane].index, getattr(curves[plane], key) or (), strict=False))
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


def dress(axes: Axes, log: bool = False) -> None:
    """Quiet axes; with `log`, y by decades, as flicker falls."""
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9", linewidth=0.6)


def literal(text: str) -> str:
    """Words of the user as they stand; matplotlib takes what is between dollars for formulas."""
    return text.replace("$", r"\$")


def drawn(figure: Figure, form: str) -> bytes:
    """A figure as "svg" or "pdf", without the date and the program; made within `STYLE`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, metadata=_ANONYMOUS[form])
    return buffer.getvalue()


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
    if not curves and not len(dashed):
        return []
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 3.4))
        figure.subplots_adjust(left=0.17, bottom=0.15, right=0.98, top=0.97)  # to fit them takes as long as the rest
        axes = figure.add_subplot(xlabel=across, ylabel=name)
        for method, points in curves.items():
            places, values = zip(*points, strict=True)
            marker = "." if len(points) < 40 else None
            axes.plot(places, values, color=colours[method], label=literal(method), linewidth=1.6, marker=marker)
        if level is not None:
            axes.axhline(level, color="0.25", linestyle="--", linewidth=1.2, label=_TRUTH)
        if len(dashed):
            axes.plot(*zip(*dashed, strict=True), color="0.25", linestyle="--", linewidth=1.2, label=_TRUTH)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        dress(axes, log)
        axes.legend(frameon=False)
        src = uri("image/svg+xml", drawn(figure, "svg"))
    return [{"name": name, "src": src, "alt": f"{alt} for {', '.join([*curves, *([_TRUTH] if len(dashed) else [])])}"}]
