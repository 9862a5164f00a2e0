"""A recipe whose every row has been checked, and the grid of reconstructions it asks for.

What stands in its file is a `coslice.benchmark.shape.Shape`. Here its rows become recipes, its names files, and what
could not be run is refused.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from coslice.benchmark.metric import Metric, metric_called
from coslice.benchmark.shape import Figure, Group, Needed, Published, Scan, Shape, read_shape
from coslice.errors import CosliceError
from coslice.methods import DIFFUSION, METHODS, USUAL_PRIORS
from coslice.recipe import Recipe, chosen_method
from coslice.tree import built

__all__ = ["TRUTH", "Benchmark", "Cell", "load_benchmark"]

PRIORS = tuple(f"{kind}.{need}" for kind, need in USUAL_PRIORS) + (
    *("ct.planes.auxiliary", "zsr.patches", "zsr.planes", "zsr.planes.auxiliary"),
)
"""What a recipe may name a prior for, beside a method: the kind of problem, and what the method needs."""
TRUTH = "Truth"
"""What pages call the prepared scan, so no row."""


@dataclass(frozen=True)
class Cell:
    """One reconstruction of the grid.

    Attributes:
        group, row: titles.
        seed: one of the benchmark's.
        recipe: how to reconstruct.
        priors: names or files of the prior, and of that of a second plane; None for what the method does not need.
    """

    group: str
    row: str
    seed: int
    recipe: Recipe
    priors: tuple[str | None, str | None]


@dataclass(frozen=True)
class Benchmark:
    """A recipe whose every row has been checked.

    Attributes:
        name: "table1-small".
        title, source, about: in words; `about` says how an edition differs from what was published.
        metrics: the columns.
        groups: by title.
        scans: by name, each with a file.
        rows: by group and row, the recipe of seed 0.
        priors: as in the file, with what the user named.
        seeds: of each row.
        figures: to draw.
        command: what runs it again, FILE in place of files.
        published: by group and row, as in the file; shown beside a group with `published_of`.
    """

    name: str
    title: str
    source: str
    about: str
    metrics: tuple[Metric, ...]
    groups: dict[str, Group]
    scans: dict[str, Scan]
    rows: dict[str, dict[str, Recipe]]
    priors: dict[str, str]
    seeds: tuple[int, ...]
    figures: tuple[Figure, ...]
    command: str
    published: Published

    def cells(self) -> list[Cell]:
        """The grid, group by group, so that a measurement is made once."""
        return [
            # Of several samples the seeds go on from the cell's, and no two cells of a row may share one.
            Cell(group, row, seed, replace(recipe, seed=seed * (recipe.samples or 1)), self._priors(group, recipe))
            for group, rows in self.rows.items()
            for seed in self.seeds
            for row, recipe in rows.items()
        ]

    def published_of(self, group: str, row: str) -> tuple[float | tuple[float, float] | None, ...] | None:
        """The published numbers beside a row, in the order of `metrics`."""
        return self.published.get(self.groups[group].published or group, {}).get(row)

    def _priors(self, group: str, recipe: Recipe) -> tuple[str | None, str | None]:
        kind = self.groups[group].acquisition(0).kind
        need = METHODS[recipe.method].prior
        usual = USUAL_PRIORS.get((kind, need), (None, None))
        first = self.priors.get(_prior_key(self.priors, kind, recipe), usual[0])
        return first, self.priors.get(f"{kind}.{need}.auxiliary", usual[1]) if need == "planes" else None


def _prior_key(named: Mapping[str, object], kind: str, recipe: Recipe) -> str:
    """Under what name the prior of a row is given: its method's, else what methods of its sort need."""
    return recipe.method if recipe.method in named else f"{kind}.{METHODS[recipe.method].prior}"


def load_benchmark(
    name: str,
    scans: Mapping[str, str] | None = None,
    priors: Mapping[str, str] | None = None,
    seeds: tuple[int, ...] | None = None,
) -> Benchmark:
    """A recipe, ready to be run.

    Args:
        name: as `read_shape` takes it.
        scans, priors: files the user names, by their names in the recipe.
        seeds: instead of the recipe's.

    Raises:
        CosliceError: as `read_shape`; a row that could not be run, data that the user must name.
    """
    title, called, shape = read_shape(name)
    scans, priors = dict(scans or {}), dict(priors or {})
    options = [word for key in scans for word in ("--scan", f"{key}=FILE")]
    options += [word for key in priors for word in ("--prior", f"{key}=FILE")]
    options += ["--seeds", str(len(seeds))] if seeds and seeds != shape.seeds else []
    command = shlex.join(("coslice", "benchmark", called, *options))
    return _checked(title, shape, scans, priors, seeds or shape.seeds, command)


def _checked(
    name: str, shape: Shape, scans: dict[str, str], priors: dict[str, str], seeds: tuple[int, ...], command: str
) -> Benchmark:
    if not seeds or len(set(seeds)) != len(seeds):
        raise CosliceError(f"{name}: the seeds {seeds} were given, at least one is needed and each only once.")
    rows = {
        title: {
            row: _recipe(shape, name, title, row, chosen)
            for row, chosen in shape.methods.items()
            if _belongs(shape, name, title, row, chosen)
        }
        for title in shape.groups
    }
    if not any(rows.values()) or not shape.metrics:
        raise CosliceError(f"{name}: it asks for nothing; give at least one group, one method for it, and one metric.")
    for title, group in shape.groups.items():
        if group.scan not in shape.scans:
            raise CosliceError(f"{name}: group {title} is of the scan {group.scan}, which is none of its scans.")
    named_scans, lacking = _scans(name, shape, scans)
    named_priors, also = _named_priors(name, shape, priors, rows)
    if lacking or also:
        raise CosliceError(f"{name}: it runs on data of yours, which must be named: {'; '.join([*lacking, *also])}.")
    return Benchmark(
        name=name,
        title=shape.title,
        source=shape.source,
        about=shape.about,
        metrics=tuple(metric_called(metric) for metric in shape.metrics),
        groups=shape.groups,
        scans=named_scans,
        rows=rows,
        priors=named_priors,
        seeds=seeds,
        figures=shape.figures,
        command=command,
        published=_published(name, shape),
    )


def _belongs(shape: Shape, name: str, group: str, row: str, chosen: Mapping[str, Any]) -> bool:
    """Whether a row is of a group: none that names others, and none whose method is not for such problems."""
    if row == TRUTH:
        raise CosliceError(f"{name}: a row is called {TRUTH}, as pages call the scan itself; choose another title.")
    if "seed" in chosen:
        raise CosliceError(f"{name}: row {row} has a seed, but seeds are of all rows; leave it out.")
    groups = chosen.get("groups", [group])
    if not isinstance(groups, list) or not all(isinstance(other, str) and other in shape.groups for other in groups):
        known = ", ".join(shape.groups)
        raise CosliceError(f"{name}: groups of row {row} are {groups!r}, but a list of some of {known} is needed.")
    if group not in groups:
        return False
    method = chosen.get("method")
    if not isinstance(method, str) or method not in METHODS:
        raise CosliceError(f"{name}: row {row} has the method {method!r}, but the methods are {', '.join(METHODS)}.")
    return shape.groups[group].acquisition(0).kind in METHODS[method].kinds


def _recipe(shape: Shape, name: str, group: str, row: str, chosen: Mapping[str, Any]) -> Recipe:
    method = chosen["method"]
    merged: dict[str, Any] = {}
    for settings in (shape.settings, shape.groups[group].settings):
        for key in settings:
            if key != "*" and key not in METHODS:
                raise CosliceError(f"{name}: settings are for {key}, but the methods are {', '.join(METHODS)}.")
            for unfit in {"method", "seed"} & settings[key].keys():
                raise CosliceError(f"{name}: the settings for {key} hold a {unfit}, which is a row's; leave it out.")
        merged |= settings.get("*", {}) if method in DIFFUSION else {}
        merged |= settings.get(method, {})
    merged |= {key: value for key, value in chosen.items() if key != "groups"}
    try:
        recipe = built(Recipe, merged)
        chosen_method(recipe, shape.groups[group].acquisition(0).kind)
    except CosliceError as error:
        raise CosliceError(f"{name}: row {row} of {group}: {error}") from error
    return recipe


def _scans(name: str, shape: Shape, given: Mapping[str, str]) -> tuple[dict[str, Scan], list[str]]:
    """The scans that are read, and an option for each that the user must name."""
    used = {group.scan for group in shape.groups.values()}
    for key in given:
        if key not in shape.scans:
            raise CosliceError(f"{name}: a scan {key} was named, but its scans are {', '.join(shape.scans)}.")
    scans = {key: replace(scan, file=given.get(key, scan.file)) for key, scan in shape.scans.items() if key in used}
    lacking = [
        f"--scan {key}=FILE ({scan.needs or 'a NIfTI file'})" for key, scan in scans.items() if scan.file is None
    ]
    return scans, lacking


def _named_priors(
    name: str, shape: Shape, given: Mapping[str, str], rows: Mapping[str, Mapping[str, Recipe]]
) -> tuple[dict[str, str], list[str]]:
    """The priors that are named, and an option for each that the user must name."""
    for key in (*shape.priors, *given):
        if key not in PRIORS and not (key in METHODS and METHODS[key].prior):
            known = ", ".join(PRIORS)
            raise CosliceError(f"{name}: a prior was named for {key}, but priors are for {known}, or for one method.")
    named: dict[str, str | Needed] = {**shape.priors, **given}
    read = {
        _prior_key(named, shape.groups[group].acquisition(0).kind, recipe)
        for group, recipes in rows.items()
        for recipe in recipes.values()
    }
    read |= {f"{key}.auxiliary" for key in read if key.endswith(".planes")}
    lacking = [
        f"--prior {key}=FILE ({value.needs})"
        for key, value in named.items()
        if isinstance(value, Needed) and key in read
    ]
    return {key: value for key, value in named.items() if isinstance(value, str)}, lacking


def _published(name: str, shape: Shape) -> Published:
    for group, rows in shape.published.items():
        for row, values in rows.items():
            if len(values) != len(shape.metrics):
                raise CosliceError(
                    f"{name}: published.{group}.{row} has {len(values)} numbers, but there are "
                    f"{len(shape.metrics)} metrics; give as many, null for those that are not known."
                )
    for group in shape.groups.values():
        if group.published is not None and group.published not in shape.published:
            raise CosliceError(f"{name}: there are no published numbers of {group.published}.")
    return shape.published
