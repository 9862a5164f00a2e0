"""The style that all drawings share, and their bytes: the same for the same numbers, whenever they are drawn."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

__all__ = ["LINE_WIDTH", "STYLE", "TRUTH", "content", "draw_truth", "literal", "set_style"]

STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "coslice", "font.size": 10}
"""Settings of matplotlib to draw within."""
LINE_WIDTH = 1.6
"""Of a curve, points."""
TRUTH = "Truth"
"""What a legend calls the truth."""

_ANONYMOUS = {
    "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
    "pdf": dict.fromkeys(("CreationDate", "Creator", "Producer")),
    "png": {"Software": None},
}
_TRUTH_LINE = {"color": "0.25", "linestyle": "--", "linewidth": 1.2, "label": TRUTH}


def set_style(axes: Axes, log: bool = False, whole: bool = False) -> None:
    """Quiet axes.

    Args:
        axes: with their curves.
        log: y by decades, as flicker falls.
        whole: x has whole numbers only, such as those of steps and slices.
    """
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    if whole:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9", linewidth=0.6)


def draw_truth(axes: Axes, truth: float | Sequence[tuple[float, float]]) -> None:
    """The truth as a dashed line: a level, or a curve through points (x, y)."""
    if isinstance(truth, float | int):
        axes.axhline(truth, **_TRUTH_LINE)
    else:
        axes.plot(*zip(*truth, strict=True), **_TRUTH_LINE)


def literal(text: str) -> str:
    """Words of the user as they stand; matplotlib takes what is between dollars for formulas, and no halves of letters.

    Names of files that are no text have such halves, each of which becomes a question mark.
    """
    return text.encode(errors="replace").decode().replace("$", r"\$")


def content(figure: Figure, form: str) -> bytes:
    """A figure as "svg", "pdf" or "png", without the date and the program; made within `STYLE`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, metadata=_ANONYMOUS[form])
    return buffer.getvalue()
