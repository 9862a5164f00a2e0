"""A reconstruction on one page: a single HTML file that needs no network.

The page shows, from top to bottom, a viewer of all volumes, the table of metrics, pictures of the three planes through
the middle of every volume and of their absolute errors, which also print and need no WebGL2, the metrics slice by
slice, the course of PSNR, SDiff and LPIPS over the steps, the seconds, and the recipe with the command that runs it
again. The same input gives the same bytes: the page holds no date and no path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from coslice.axes import PLANES, Plane
from coslice.io.files import write_text
from coslice.metrics import QUANTITIES, Curves
from coslice.report.environment import template, uri
from coslice.report.pictures import (
    Range,
    Spacing,
    check_volumes,
    error_map,
    error_scale,
    grey,
    png,
    shown,
    square,
    view,
)
from coslice.report.plots import course_plots, neighbour_plot, residual_plot, slice_plots
from coslice.report.tables import metrics_table, seconds_table
from coslice.report.viewer import Scene, viewer

__all__ = ["facts", "plane_row", "write_report"]

_HINT = {
    "axial": "seen from the feet: anterior is up, the patient's left is on the right",
    "coronal": "seen from the front: superior is up, the patient's left is on the right",
    "sagittal": "seen from the patient's left: superior is up, anterior is on the left",
}


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
    curves: Mapping[str, Mapping[str, Curves]] | None = None,
    command: str | None = None,
    layers: Mapping[str, Tensor] | None = None,
    notes: Sequence[str] = (),
    residual: Mapping[str, Mapping[str, Any]] | None = None,
    truth_title: str = "Truth",
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
        curves: by method, as `coslice.metrics.per_slice` gives them.
        command: what runs it again, a line for each reconstruction.
        layers: by name, what the viewer can lay over the volumes, see `coslice.report.viewer.Scene`.
        notes: sentences shown below the viewer.
        truth_title: what the truth is called; of a real measurement it is a reference.
        residual: by method, how far it is from each view, as `coslice.problems.residual.Residual.record` has it.

    Raises:
        CosliceError: for volumes or layers of different shapes, values that are not finite, or an empty window.
    """
    volumes = {**({} if truth is None else {truth_title: truth}), **reconstructions}
    display = shown(window, unit) if display is None else display
    check_volumes("report", volumes, spacing, window, display)
    known = truth is not None
    truth_sdiff = _first(row.get("sdiff_truth") for row in table.values())
    scene = Scene(title, volumes, spacing, window, unit, known, table, layers or {})
    with ThreadPoolExecutor(1) as beside:  # the volumes are packed while the curves are drawn
        packing = beside.submit(viewer, [scene])
        drawn = {
            "planes": [plane_row(p, volumes, table, spacing, window, display) for p in PLANES.values()],
            "errors": _errors(volumes, spacing, window) if known and reconstructions else None,
            "slices": slice_plots(curves or {}),
            "neighbours": neighbour_plot(volumes, known),
            "plots": course_plots(trajectory or {}, truth_sdiff, list(reconstructions)),
            "residuals": residual_plot(residual or {}),
        }
        through = packing.result()
    page = template("page.html").render(
        title=title,
        viewer=through,
        notes=notes,
        facts=facts(next(iter(volumes.values())), spacing, window, display, unit, known),
        unit=unit,
        table=metrics_table(table, list(reconstructions)),
        command=command,
        recipe=_flat(recipe or {}),
        recipe_json=json.dumps(recipe or {}, indent=2, default=str),
        seconds=seconds_table(seconds or {}),
        **drawn,
    )
    write_text(path, page)


def _first(values) -> Any:
    return next((value for value in values if value is not None), None)


def facts(volume: Tensor, spacing: Spacing, window: Range, display: Range, unit: str, known: bool | None) -> str:
    """A line under the heading: the grid, and what is black and white.

    Args:
        volume, spacing, window, display, unit: as `write_report` takes them.
        known: whether the truth is known; None where that is no question, and nor is what a prior sees.
    """
    size = " x ".join(str(n) for n in volume.shape)
    pitch = " x ".join(f"{s:.3g}" for s in spacing)
    truth = " The truth is not known." if known is False else ""
    black_to_white, seen = (f"{low:.5g} to {high:.5g} {unit}".rstrip() for low, high in (display, window))
    if known is None:
        return f"{size} voxels of {pitch} mm (z, y, x). Shown from {black_to_white}."
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


def plane_row(
    plane: Plane,
    volumes: Mapping[str, Tensor],
    table: Mapping[str, Mapping[str, Any]],
    spacing: Spacing,
    window: Range,
    display: Range,
) -> dict[str, Any]:
    """The middle slices of a plane, as the template's `strip` draws them; the arguments are as of `write_report`."""
    figures = []
    for name, volume in volumes.items():
        image = square(grey(view(volume, plane.name), window, display), plane.name, spacing)
        psnr = table.get(name, {}).get(plane.name, {}).get("psnr")
        caption = "" if psnr is None else QUANTITIES["psnr"].with_unit(psnr)
        alt = f"{name}, {plane.name} slice" + (f", PSNR {caption}" if caption else "")
        figures.append(_figure(name, uri("image/png", png(image)), image.size, caption, alt))
    return _row(plane, figures)


def _errors(volumes: Mapping[str, Tensor], spacing: Spacing, window: Range) -> dict[str, Any]:
    """Absolute errors in physical units of all volumes after the truth, on one scale."""
    (_, truth), *others = volumes.items()
    span, limit = window[1] - window[0], error_scale(volumes, window)
    cuts = {
        plane: {name: span * np.abs(view(volume, plane) - view(truth, plane)) for name, volume in others}
        for plane in PLANES
    }
    rows = []
    for plane in PLANES.values():
        figures = []
        for name, error in cuts[plane.name].items():
            # 128 colours tell errors apart as well as 16 million and make the page a third as heavy
            image = square(error_map(error, limit), plane.name, spacing).quantize(128)
            alt = f"{name}, absolute error of the {plane.name} slice"
            figures.append(_figure(name, uri("image/png", png(image)), image.size, f"mean {error.mean():.3g}", alt))
        rows.append(_row(plane, figures))
    bar = error_map(np.linspace(0, limit, 256, dtype=np.float32)[None], limit)
    return {"rows": rows, "limit": f"{limit:g}", "bar": uri("image/png", png(square(bar, "axial", (1, 1, 1))))}


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
