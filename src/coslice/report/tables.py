"""Tables of a page: numbers as text, arranged for the templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from coslice.axes import PLANES
from coslice.metrics import PER_PLANE, QUANTITIES, UNIT, Quantity, best_of

__all__ = ["metrics_table", "seconds_table"]

Column = tuple[str, Quantity, Callable[[Mapping[str, Any]], float | None]]
"""What stands above it, what it shows, and how that is read from the metrics of a method."""


def metrics_table(table: Mapping[str, Mapping[str, Any]], methods: Sequence[str] = ()) -> dict[str, Any]:
    """The numbers of several methods, for the macro of the same name.

    Args:
        table: by method, as `coslice.metrics.evaluate` gives them; a missing or None value is left out.
        methods: the order of the rows, before those of `table` that it lacks.

    Returns:
        Columns with a value in at least one row ("groups" and "heads"), "rows" as text with the best of each column
        marked, "truth_sdiff", None where no truth was known, and in words the "protocol", which is "unit".
    """
    methods = [*methods, *(name for name in table if name not in methods)]
    columns: list[Column] = [
        (plane, quantity, lambda row, p=plane, k=quantity.name: row.get(p, {}).get(k))
        for plane in PLANES
        for quantity in PER_PLANE
    ]
    columns += [("Between slices", QUANTITIES[k], lambda row, k=k: row.get(k)) for k in ("sdiff", "sdiff_gap")]
    heads, texts = [], []
    for group, quantity, read in columns:
        values = [read(table.get(method, {})) for method in methods]
        printed = [None if value is None else quantity.page_text(value) for value in values]
        if not any(printed):
            continue
        best = best_of(printed, quantity.better)
        heads.append({"group": group, "name": quantity.title, "arrow": quantity.arrow})
        cells = [text or "-" for text in printed]
        texts.append([{"text": cell, "best": cell == best} for cell in cells])
    groups = [
        {"name": group.capitalize(), "span": sum(h["group"] == group for h in heads)}
        for group in dict.fromkeys(h["group"] for h in heads)
    ]
    rows = [{"method": method, "cells": [column[i] for column in texts]} for i, method in enumerate(methods)]
    known = [row["sdiff_truth"] for row in table.values() if row.get("sdiff_truth") is not None]
    truth = QUANTITIES["sdiff_truth"].page_text(known[0]) if known else None
    return {
        "groups": groups,
        "heads": heads,
        "rows": rows if heads else [],
        "truth_sdiff": truth,
        "protocol": UNIT.sentence,
    }


def seconds_table(seconds: Mapping[str, Any]) -> dict[str, Any] | None:
    """A table with the methods in rows and the phases in columns; one row where seconds are not of methods."""
    if not seconds:
        return None
    nested = {name: value for name, value in seconds.items() if isinstance(value, Mapping)}
    shared = {name: value for name, value in seconds.items() if name not in nested}
    phases = list(dict.fromkeys(phase for parts in nested.values() for phase in parts))
    rows = [(name, [_time(parts.get(phase)) for phase in phases]) for name, parts in nested.items()]
    return {"phases": phases, "rows": rows, "shared": [(name, _time(value)) for name, value in shared.items()]}


def _time(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if value < 10 else f"{value:.1f}"
