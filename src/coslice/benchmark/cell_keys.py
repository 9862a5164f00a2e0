"""What a cell is known by: the hash of everything its numbers depend on, and of nothing else.

    numerics       `NUMERICS`, below
    scan           digest of the bytes of its file
    preparation    what was set
    lesions        put into the scan, if any: what was set; a region that is only measured is no part of a key
    intensities    where a group has its own
    task           its kind, and its numbers that differ from those of their first publication
    method         the kinds of its parts, and their settings that differ likewise (`coslice.methods.differing`); of a
                   part that is not coslice's all settings, and a digest of the file that defines it
    seed           of the first sample; none of a method that draws nothing, so one run does for all seeds
    draws          `DRAWS`, of a method that draws
    lpips          where it is followed
    priors         digests of the bytes of their files; of a published checkpoint also `READING`, and what the recipe
                   says of its images

Words, such as titles, are no part of a key. Neither are settings as they were when they were published, so a new
setting whose default changes nothing keeps every finished cell; who changes a default says with `first=` what it was
(`coslice.settings`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from coslice.benchmark.definition import Benchmark, Cell
from coslice.benchmark.store import digest_of, file_digest
from coslice.methods import Direct, differing
from coslice.priors import Shown, is_published
from coslice.priors.configurations import configuration_beside
from coslice.priors.foreign_folders import foreign_files, is_foreign
from coslice.priors.places import find_prior
from coslice.problems import Task

__all__ = ["NUMERICS", "Keyed", "keyed_cells"]

NUMERICS = 2
"""Version of what coslice computes from the same settings.

Raise it whenever the numbers of a cell would come out otherwise: finished cells are then left alone, and computed anew.
"""

DRAWS = 2
"""Version of what a sampler draws of a seed; 2 is the noise that has the same bits on every device."""

READING = 2
"""Version of how a published checkpoint is read; from 2 on, plane, window and range of its images are looked for."""

Keyed = Mapping[Cell, str]
"""Cells, each with its key; rows that ask for the same have the same one."""


def keyed_cells(benchmark: Benchmark) -> Keyed:
    """The cells of a grid, each with its key.

    Raises:
        CosliceError: a file that cannot be read.
    """
    digests: dict[str, str] = {}

    def digest(name: str, *paths: Path) -> str:
        if name not in digests:
            digests[name] = "-".join(map(file_digest, paths))
        return digests[name]

    keyed = {}
    for cell in benchmark.cells():
        scan = benchmark.scans[benchmark.groups[cell.group].scan]
        priors = [
            digest(f"prior {name}", *_files_of_prior(name)) + _reading(name, shown)
            for name, shown in zip(cell.priors, cell.shown, strict=True)
            if name
        ]
        keyed[cell] = digest_of(_described(benchmark, cell, digest(f"scan {scan.path}", scan.path), priors))
    return keyed


def _reading(name: str, shown: Shown) -> str:
    return f"-{READING}{shown.known or ''}" if is_published(name) else ""


def _files_of_prior(name: str) -> list[Path]:
    """The weights, and of a published checkpoint what says how to read them."""
    if is_foreign(name):
        files = foreign_files(name)
        return [files.weights, *files.described]
    weights = find_prior(name)
    beside = None if weights.suffix == ".safetensors" else configuration_beside(weights)
    return [weights] if beside is None else [weights, beside]


def _described(benchmark: Benchmark, cell: Cell, scan: str, priors: list[str]) -> dict[str, Any]:
    group = benchmark.groups[cell.group]
    preparation = _set(benchmark.scans[group.scan])
    for name in ("file", "needs"):
        preparation.pop(name, None)
    return {
        "numerics": NUMERICS,
        "scan": scan,
        "preparation": preparation,
        **({} if group.lesions is None else {"lesions": _set(group.lesions)}),
        **({} if group.intensities is None else {"intensities": group.intensities}),
        "task": _task(group.measurement(cell.seed)),
        "method": differing(cell.method),
        **({"seed": 0} if isinstance(cell.method, Direct) else {"seed": cell.first_seed, "draws": DRAWS}),
        "priors": priors,
        **({"lpips": True} if cell.lpips else {}),
    }


def _task(task: Task) -> dict[str, Any]:
    """A task whose published numbers are left out is the one that names them."""
    known = {name for name, _ in task.settings()}
    chosen = {name: value for name, value in task.chosen.items() if name in known}
    described = differing(replace(task, **chosen))
    return (
        described
        if task.noise is None
        else described | {"noise": {"kind": type(task.noise).__name__, **_set(task.noise)}}
    )


def _set(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that have another value than their default."""
    assert is_dataclass(value)
    return {
        item.name: getattr(value, item.name)
        for item in fields(value)
        if item.default is MISSING or getattr(value, item.name) != item.default
    }
