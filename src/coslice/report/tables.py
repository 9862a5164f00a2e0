"""Tables of a page: numbers as text, arranged for the templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from coslice.metrics import best_of
from coslice.report.pictures import PLANES

__all__ = ["metrics_table", "seconds_table"]

_METRICS = (("psnr", "PSNR", +1, 2), ("ssim", "SSIM", +1, 3), ("lpips", "LPIPS", -1, 3))  # key, name, better, decimals


def metrics_table(table: Mapping[str, Mapping[str, Any]], methods: Sequence[str] = ()) -> dict[str, Any]:
    """The numbers of several methods, for the macro of the same name.

    Args:
        table: by method, as `coslice.metrics.evaluate` gives them; a missing or None value is left out.
        methods: the order of the rows, before those of `table` that it lacks.

    Returns:
        Columns with a value in at least one row ("groups" and "heads"), "rows" as text with the best of each column
        marked, and "truth_sdiff", None where no truth was known.
    """
    methods = [*methods, *(name for name in table if name not in methods)]
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
        printed = [None if value is None else format(value, form) for value in values]
        if not any(printed):
            continue
        best = best_of(printed, better)
        heads.append({"group": group, "name": name, "arrow": {1: "↑", -1: "↓", 0: ""}[better]})
        cells = [text or "-" for text in printed]
        texts.append([{"text": cell, "best": cell == best} for cell in cells])
    groups = [
        {"name": group.capitalize(), "span": sum(h["group"] == group for h in heads)}
        for group in dict.fromkeys(h["group"] for h in heads)
    ]
    rows = [{"method": method, "cells": [column[i] for column in texts]} for i, method in enumerate(methods)]
    known = [row["sdiff_truth"] for row in table.values() if row.get("sdiff_truth") is not None]
    truth = f"{known[0]:.5f}" if known else None
    return {"groups": groups, "heads": heads, "rows": rows if heads else [], "truth_sdiff": truth}


def seconds_table(seconds: Mapping[str, Any]) -> dict[str, Any] | None:
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
