"""Fast forms: settings with which a method needs half the time, or less, for nearly the same quality.

A fast form changes settings of a method and nothing else: it is a tree as `coslice.methods.changed` takes it. What is
said in addition, such as another noise or number of steps, comes after it and wins.

Settings were chosen on training scans with the embedded priors and 30 views of 96 to 256 pixels. Where views are few
against pixels the prior must invent much, and fewer evaluations invent less well: see docs/performance.md for what each
form gains and loses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from coslice.errors import CosliceError
from coslice.methods.changes import changed
from coslice.methods.method import AnyMethod, Direct, Method

__all__ = ["FAST_FORMS", "fast_form"]

FAST_FORMS: dict[str, dict[str, Mapping[str, Any]]] = {
    # Of fewer levels, each of DDS is given more conjugate gradients, which cost a twentieth of an evaluation. Sampling
    # starts lower: the first levels wipe out what the start knows, and few steps do not bring it back. With less fresh
    # noise less of it is left at the end of few steps.
    "ct": {
        "wblend": {
            "schedule": {"steps": 23, "sigma_max": 0.25},
            "data": {"iterations": 7},
            "renoising": {"temperature": 0.75},
        },
        "wdds": {
            "schedule": {"steps": 14, "sigma_max": 0.2},
            "data": {"iterations": 11},
            "renoising": {"temperature": 0.5},
        },
        "dds": {
            "schedule": {"steps": 12, "sigma_max": 0.2},
            "data": {"iterations": 17},
            "renoising": {"temperature": 0.6},
        },
        "dds-tv": {
            "schedule": {"steps": 13, "sigma_max": 0.15},
            "data": {"iterations": 8},
            "renoising": {"temperature": 0.85},
        },
        "ddnm": {"schedule": {"steps": 15, "sigma_max": 0.15}, "renoising": {"temperature": 0.85}},
        "diffusionblend++": {
            "schedule": {"steps": 44, "sigma_max": 0.2},
            "data": {"iterations": 6},
            "renoising": {"temperature": 0.85},
        },
    },
    "zsr": {
        "dds": {"schedule": {"steps": 10, "sigma_max": 0.1}, "renoising": {"temperature": 0.65}},
    },
}
"""The settings of fast forms, by the kind of the problem and the name of the method."""


def fast_form(method: AnyMethod, kind: str = "ct") -> Method:
    """The form of a method that needs half the time, or less.

    Args:
        method: one of ours or of the papers, which other settings than its own may have been given.
        kind: of the problem: "ct" or "zsr" (thick slices).

    Raises:
        CosliceError: a method that has no fast form, or a part of it that the settings of the fast form do not fit.
    """
    if isinstance(method, Direct):
        raise CosliceError(f"method {method.name}: it does not sample, so it has no fast form; leave out fast.")
    if method.fast:
        return method
    known = FAST_FORMS.get(kind, {})
    if method.name not in known:
        choice = f"choose one of {', '.join(known)}, or fewer steps" if known else "choose fewer steps"
        raise CosliceError(f"method {method.name}: it has no fast form for this task; {choice} instead.")
    return replace(changed(method, known[method.name], f"fast form of {method.name}"), fast=True)
