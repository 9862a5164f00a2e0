"""A reconstruction told on one page: a single HTML file that needs no network and no script.

The page shows, from top to bottom, the three planes through the middle of every volume, the absolute errors
on one scale, the table of metrics, the course of PSNR, SDiff and LPIPS over the steps, the recipe and the seconds.
The same input gives the same bytes: the page holds no date and no path.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from coslice.io.files import atomic
from coslice.report.pictures import (
    PLANES,
    Plane,
    Range,
    Spacing,
    check_volumes,
    error_map,
    grey,
    png,
    shown,
    square,
    view,
)

__all__ = ["write_report"]

_HINT = {
    "axial": "seen from the feet: anterior is up, the patient's left is on the right",
    "coronal": "seen from the front: superior is up, the patient's left is on the right",
    "sagittal": "seen from the patient's left: superior is up, anterior is on the left",
}
_METRICS = (("psnr", "PSNR", +1, 2), ("ssim", "SSIM", +1, 3), ("lpips", "LPIPS", -1, 3))  # key, name, better, decimals


def write_report(
    path: str | Path,
    *,
    title: str,
    truth: Tensor | None,
    reconstructions: Mapping[str, Tensor],
    table: Mapping[str, Mapping[str, Any]],
    spacing: Spacing,
    window: Range,
    display: Range | None = None,
    trajectory: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    recipe: Mapping[str, Any] | None = None,
    seconds: Mapping[str, Any] | None = None,
    unit: str = "HU",
) -> None:
    """Write the page that compares reconstructions of one scan; an old page is replaced whole or not at all.

    Args:
        path: the HTML file.
        title: the page's heading.
        truth: (z, y, x) in units of `window`, or None for a real measurement: then no errors are shown.
        reconstructions: by method, volumes of the truth's shape; RAS+, in units of `window`.
        table: by method, what `coslice.metrics.evaluate` gives: "axial", "coronal" and "sagittal", each with
            "psnr" (dB), "ssim", "lpips"; "sdiff", "sdiff_truth", "sdiff_gap". A missing or None value is left out.
        spacing: (dz, dy, dx), mm.
        window: value in `unit` of unit 0 and of unit 1.
        display: values in `unit` shown black and white; None takes the papers' for CT, else the whole window.
        trajectory: by method, one mapping a step with "step", "sigma", "psnr", "sdiff", "lpips"; values
            may be None or missing.
        recipe: what was run, nested as it comes.
        seconds: by phase, or by method and phase.
        unit: the name of the physical unit of `window`, "HU" for CT, "a.u." for MR; "" where it has none.

    Raises:
        CosliceError: for volumes of different shapes, values that are not finite, or an empty window.
    """
    volumes = {**({} if truth is None else {"Truth": truth}), **reconstructions}
    display = shown(window, unit) if display is None else display
    check_volumes("report", volumes, spacing, window, display)
    errors = None if truth is None else _errors(truth, reconstructions, spacing, window)
    truth_sdiff = _first(row.get("sdiff_truth") for row in table.values())
    page = _template().render(
        title=title,
        facts=_facts(next(iter(volumes.values())), spacing, window, display, unit, truth is not None),
        planes=[_plane_row(p, volumes, table, spacing, window, display) for p in PLANES.values()],
        errors=errors,
        unit=unit,
        **_table(table, reconstructions),
        truth_sdiff=None if truth_sdiff is None else f"{truth_sdiff:.5f}",
        plots=_plots(trajectory or {}, truth_sdiff),
        recipe=_flat(recipe or {}),
        recipe_json=json.dumps(recipe or {}, indent=2, default=str),
        seconds=_seconds(seconds or {}),
    )
    with atomic(path) as part:
        part.write_text(page, encoding="utf-8")


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("coslice.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _first(values) -> Any:
    return next((value for value in values if value is not None), None)


def _facts(volume: Tensor, spacing: Spacing, window: Range, display: Range, unit: str, known: bool) -> str:
    size = " x ".join(str(n) for n in volume.shape)
    pitch = " x ".join(f"{s:.3g}" for s in spacing)
    truth = "" if known else " The truth is not known."
    black_to_white, seen = (f"{low:.5g} to {high:.5g} {unit}".rstrip() for low, high in (display, window))
    return (
        f"{size} voxels of {pitch} mm (z, y, x). Shown from {black_to_white}; "
        f"the prior sees {'these values' if display == window else seen} as 0 to 1.{truth}"
    )


def _figure(name: str, source: str, size: tuple[int, int], caption: str, alt: str) -> dict[str, Any]:
    return {"name": name, "src": source, "width": size[0], "height": size[1], "caption": caption, "alt": alt}


def _row(plane: Plane, figures: list[dict[str, Any]]) -> dict[str, Any]:
    flat = figures[0]["width"] > 2.5 * figures[0]["height"]  # thin slabs need the width of the page
    edges = dict(zip(("top", "right", "bottom", "left"), plane.edges, strict=True))
    return {"name": plane.name, "hint": _HINT[plane.name], "edges": edges, "flat": flat, "figures": figures}


def _plane_row(
    plane: Plane,
    volumes: Mapping[str, Tensor],
    table: Mapping[str, Mapping[str, Any]],
    spacing: Spacing,
    window: Range,
    display: Range,
) -> dict[str, Any]:
    figures = []
    for name, volume in volumes.items():
        image = square(grey(view(volume, plane.name), window, display), plane.name, spacing)
        psnr = table.get(name, {}).get(plane.name, {}).get("psnr")
        caption = "" if psnr is None else f"{psnr:.2f} dB"
        alt = f"{name}, {plane.name} slice" + (f", PSNR {caption}" if caption else "")
        figures.append(_figure(name, _uri("image/png", png(image)), image.size, caption, alt))
    return _row(plane, figures)


def _nice(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, ... from `value` up; 1 for 0."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if value <= step * power * (1 + 1e-9))


def _errors(
    truth: Tensor, reconstructions: Mapping[str, Tensor], spacing: Spacing, window: Range
) -> dict[str, Any] | None:
    """Absolute errors in physical units on one scale, on which half the methods stay below its end at 99 %."""
    if not reconstructions:
        return None
    span = window[1] - window[0]
    cuts = {
        plane: {
            name: span * np.abs(view(volume, plane) - view(truth, plane)) for name, volume in reconstructions.items()
        }
        for plane in PLANES
    }
    tails = [np.quantile(np.concatenate([cuts[p][name].ravel() for p in PLANES]), 0.99) for name in reconstructions]
    limit = _nice(float(np.median(tails)))
    rows = []
    for plane in PLANES.values():
        figures = []
        for name, error in cuts[plane.name].items():
            # 128 colours tell errors apart as well as 16 million and make the page a third as heavy
            image = square(error_map(error, limit), plane.name, spacing).quantize(128)
            alt = f"{name}, absolute error of the {plane.name} slice"
            figures.append(_figure(name, _uri("image/png", png(image)), image.size, f"mean {error.mean():.3g}", alt))
        rows.append(_row(plane, figures))
    bar = error_map(np.linspace(0, limit, 256, dtype=np.float32)[None], limit)
    return {"rows": rows, "limit": f"{limit:g}", "bar": _uri("image/png", png(square(bar, "axial", (1, 1, 1))))}


def _table(table: Mapping[str, Mapping[str, Any]], reconstructions: Mapping[str, Tensor]) -> dict[str, Any]:
    """Columns with a value in at least one row, and the rows as text with the best of each column marked."""
    methods = [*reconstructions, *(name for name in table if name not in reconstructions)]
    columns: list[tuple[str, str, int, Callable[[Mapping[str, Any]], float | None], str]] = [
        (plane, name, better, lambda row, p=plane, k=key: row.get(p, {}).get(k), f".{decimals}f")
        for plane in PLANES
        for key, name, better, decimals in _METRICS
    ]
    columns.append(("Between slices", "SDiff", 0, lambda row: row.get("sdiff"), ".5f"))
    columns.append(("Between slices", "|Δ|", -1, lambda row: row.get("sdiff_gap"), ".5f"))
    heads, texts = [], []
    for group, name, better, read, form in columns:
        values = [read(table.get(method, {})) for method in methods]
        known = [format(value, form) for value in values if value is not None]
        if not known:
            continue
        # compared as printed, so that equals on the page are equally bold
        best = (max if better > 0 else min)(known, key=float) if better and len(set(known)) > 1 else None
        heads.append({"group": group, "name": name, "arrow": {1: "↑", -1: "↓", 0: ""}[better]})
        cells = ["-" if value is None else format(value, form) for value in values]
        texts.append([{"text": cell, "best": cell == best} for cell in cells])
    groups = [
        {"name": group.capitalize(), "span": sum(h["group"] == group for h in heads)}
        for group in dict.fromkeys(h["group"] for h in heads)
    ]
    rows = [{"method": method, "cells": [column[i] for column in texts]} for i, method in enumerate(methods)]
    return {"groups": groups, "heads": heads, "rows": rows if heads else []}


def _plots(trajectory: Mapping[str, Sequence[Mapping[str, Any]]], truth_sdiff: float | None) -> list[dict[str, str]]:
    plots = []
    colours = {method: f"C{i}" for i, method in enumerate(trajectory)}  # of a method the same in every plot
    for key, name in (("psnr", "PSNR (dB)"), ("sdiff", "SDiff"), ("lpips", "LPIPS")):
        curves = {
            method: [(s["step"] + 1, s[key]) for s in steps if s.get(key) is not None]
            for method, steps in trajectory.items()
        }
        curves = {method: points for method, points in curves.items() if points}
        if curves:
            drawing = _plot(curves, colours, name, level=truth_sdiff if key == "sdiff" else None, log=key == "sdiff")
            alt = f"{name} of the estimate after each step for {', '.join(curves)}"
            plots.append({"name": name, "src": _uri("image/svg+xml", drawing), "alt": alt})
    return plots


def _plot(
    curves: Mapping[str, list[tuple[int, float]]],
    colours: Mapping[str, str],
    name: str,
    level: float | None,
    log: bool,
) -> bytes:
    """An SVG of curves over the steps; `level` is a dashed line for the truth."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "coslice", "font.size": 10}):
        figure = Figure(figsize=(5.6, 3.4), layout="constrained")
        axes = figure.add_subplot(xlabel="step", ylabel=name)
        for method, points in curves.items():
            steps, values = zip(*points, strict=True)
            marker = "." if len(points) < 40 else None
            axes.plot(steps, values, color=colours[method], label=method, linewidth=1.6, marker=marker)
        if level is not None:
            axes.axhline(level, color="0.25", linestyle="--", linewidth=1.2, label="Truth")
        if log:  # flicker falls by decades
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.9", linewidth=0.6)
        axes.legend(frameon=False)
        empty = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(buffer, format="svg", metadata=empty)
    return buffer.getvalue()


def _flat(recipe: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """(dotted name, value as text) of every leaf of a nested mapping."""
    rows: list[tuple[str, str]] = []
    for key, value in recipe.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows += _flat(value, f"{name}.")
        else:
            text = ", ".join(map(_short, value)) if isinstance(value, (list, tuple)) else _short(value)
            rows.append((name, text if len(text) <= 160 else f"{text[:150]} ... ({len(value)} values)"))
    return rows


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _seconds(seconds: Mapping[str, Any]) -> dict[str, Any] | None:
    """A table with a row for each method and a column for each phase; one row where no method is told."""
    if not seconds:
        return None
    nested = {name: value for name, value in seconds.items() if isinstance(value, Mapping)}
    shared = {name: value for name, value in seconds.items() if name not in nested}
    phases = list(dict.fromkeys(phase for parts in nested.values() for phase in parts))
    rows = [(name, [_time(parts.get(phase)) for phase in phases]) for name, parts in nested.items()]
    return {"phases": phases, "rows": rows, "shared": [(name, _time(value)) for name, value in shared.items()]}


def _time(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if value < 10 else f"{value:.1f}"
