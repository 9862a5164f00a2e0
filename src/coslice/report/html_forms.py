"""What a notebook shows of a value that is the last line of a cell: pictures of volumes, tables of settings.

Small, so that a notebook may hold many: a picture is of the three middle planes. Nothing here fails, whatever a volume
holds; what cannot be drawn is black.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import singledispatch
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from torch import Tensor

from coslice.axes import PLANES
from coslice.errors import shortened
from coslice.methods import Direct, Method, setting_lines
from coslice.plans import Plan
from coslice.priors import SlicePrior
from coslice.problems import Study
from coslice.report.environment import uri
from coslice.report.pictures import Range, Spacing, shown, view
from coslice.report.three_planes import three_planes
from coslice.run_result import Result
from coslice.values import reading_of
from coslice.volume import Volume
from coslice.window import CT_WINDOW

__all__ = ["html_of"]

_TAILS = (0.005, 0.995)
"""Of the voxels of the middle planes, those that are black and white where the unit is not known."""


@singledispatch
def html_of(value: Any) -> str:
    """HTML of a value of coslice: a volume, a study, a plan, a method, a prior or a result."""
    return _line(repr(value))


@html_of.register
def _(value: Volume) -> str:
    window = (CT_WINDOW.low, CT_WINDOW.high)
    hu = reading_of(value).hu
    black, white = shown(window) if hu else _range(value.data)
    words = f"Shown from {black:.4g} to {white:.4g}" + (", taken for HU." if hu else ".")
    return _picture({"": value.data}, value.spacing, (0.0, 1.0), (black, white)) + _line(repr(value)) + _line(words)


@html_of.register
def _(value: Study) -> str:
    window = (value.window.low, value.window.high)
    volume = (
        Markup() if value.unit is None else _of_unit({"": value.unit}, value.problem.spacing, window, value.window.unit)
    )
    return volume + _line(repr(value)) + Markup().join(map(_line, value.remarks))


@html_of.register
def _(value: Result) -> str:
    spacing = (1.0, 1.0, 1.0) if value.plan is None else value.plan.problem.spacing
    window, unit = (0.0, 1.0), ""
    volumes = {"First" if value.plan is None else value.plan.problem.initial_title: value.initial}
    volumes["Result" if value.plan is None else value.plan.label] = value.reconstruction
    if value.study is not None:
        window, unit = (value.study.window.low, value.study.window.high), value.study.window.unit
        if value.study.unit is not None:
            volumes = {value.study.reference or "Truth": value.study.unit} | volumes
    return _of_unit(volumes, spacing, window, unit) + _line(repr(value))


@html_of.register
def _(value: Plan) -> str:
    return _line(repr(value)) + Markup().join(map(_line, value.remarks)) + html_of(value.method)


@html_of.register(Method)
@html_of.register(Direct)
def _(value: Any) -> str:
    head = Markup("<div><b>{}</b> ({})</div><div>{}</div>").format(value.label, value.name, value.source)
    rows = [
        (line.path, line.value, "" if line.published == line.value else line.published, line.setting.meaning)
        for line in setting_lines(value)
    ]
    return head + _table(("setting", "value", "published", "meaning"), rows)


@html_of.register
def _(value: SlicePrior) -> str:
    plain = {key: entry for key, entry in value.card.items() if isinstance(entry, str | int | float)}
    return _line(repr(value)) + _table(("card", ""), plain.items())


def _of_unit(volumes: dict[str, Tensor], spacing: Spacing, window: Range, unit: str) -> Markup:
    return _picture(volumes, spacing, window, shown(window, unit))


def _picture(volumes: dict[str, Tensor], spacing: Spacing, window: Range, display: Range) -> Markup:
    drawn = three_planes(volumes, spacing, window, display, side=160)
    alt = "Axial, coronal and sagittal plane through the middle"
    return Markup('<img src="{}" alt="{}">').format(uri("image/png", drawn), alt)


def _range(data: Tensor) -> Range:
    """Black and white of a volume in a unit of its own."""
    values = np.concatenate([view(data, plane).ravel() for plane in PLANES])
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = (float(one) for one in np.quantile(values, _TAILS))
    return low, high if high > low else low + 1


def _line(text: str) -> Markup:
    return Markup("<div>{}</div>").format(shortened(text))


def _table(heads: Iterable[str], rows: Iterable[Iterable[Any]]) -> Markup:
    def row(cells: Iterable[Any], tag: str) -> str:
        kind = Markup('<{0} style="text-align: left">{{}}</{0}>').format(Markup(tag))
        return "<tr>" + "".join(kind.format(escape(str(cell))) for cell in cells) + "</tr>"

    return Markup(f"<table>{row(heads, 'th')}{''.join(row(cells, 'td') for cells in rows)}</table>")
