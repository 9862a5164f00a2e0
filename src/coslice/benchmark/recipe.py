"""A table of a paper as one YAML file: what to reconstruct, how, how often, and what was published.

    title, source                which table this is
    metrics                      its columns, such as axial.psnr or sdiff_gap, see `coslice.benchmark.metric`
    groups                       its groups of rows: a scan, measured in one way
    methods                      its rows: fields of `coslice.recipe.Recipe`
    published                    its numbers, by group and row, in the order of `metrics`
    scans, priors, seeds,        where the data are, and how often each row is run
    settings                     fields of `Recipe` by method, "*" for every diffusion method; a row's own go first
    figures                      what to draw beside the table
    editions                     by name, what is otherwise: `paper` needs the user's data, `small` runs anywhere
    like                         another recipe beside it, whose entries are taken where there are none of its own

`table1-small` is the edition `small` of the recipe `table1`. A file of one's own needs no editions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from coslice.benchmark.metric import Metric, metric_called
from coslice.errors import CosliceError
from coslice.measurement_noise import detector_noise
from coslice.methods import DIFFUSION, METHODS, USUAL_PRIORS
from coslice.preparation import Preparation
from coslice.recipe import Recipe, chosen_method
from coslice.study import parse_slices
from coslice.tasks import Acquisition
from coslice.tree import built, read_tree

__all__ = ["Benchmark", "Cell", "Figure", "Group", "Needed", "Scan", "load_benchmark", "shipped_benchmarks"]

_SHIPPED = resources.files("coslice") / "benchmark" / "recipes"
PRIORS = tuple(f"{kind}.{need}" for kind, need in USUAL_PRIORS) + (
    *("ct.planes.auxiliary", "zsr.patches", "zsr.planes", "zsr.planes.auxiliary"),
)
"""What a recipe may name a prior for, beside a method: the kind of problem, and what the method needs."""

COURSES = ("psnr", "sdiff", "lpips")
"""What is known of each step."""

Settings = dict[str, dict[str, Any]]
Published = dict[str, dict[str, tuple[float | tuple[float, float] | None, ...]]]


@dataclass(frozen=True)
class Needed:
    """What only the user has: `needs` says what it is."""

    needs: str


@dataclass(frozen=True)
class Scan:
    """A scan and its preparation.

    Attributes:
        file: a path, or "embedded:chest" or "embedded:brain"; None where the user must name one.
        needs: what to name then.
        slices: FIRST:LAST; the others are as in `coslice.preparation.Preparation`.
    """

    file: str | None = None
    needs: str | None = None
    slices: str | None = None
    thickness: float | None = None
    spacing: float | None = None
    size: int | None = None
    pad: int | None = None

    def __post_init__(self) -> None:
        self.preparation(1)

    def preparation(self, count: int) -> Preparation:
        """What is done to a scan of `count` slices."""
        cut = None if self.slices is None else parse_slices(self.slices, count)
        return Preparation(cut, self.thickness, self.spacing, self.size, self.pad)


@dataclass(frozen=True)
class Group:
    """One scan, measured in one way: what a group of rows shares.

    Attributes:
        scan: its name in the recipe.
        task, beam, views, angle, factor, fwhm_mm: as `coslice.tasks.Acquisition` takes them.
        measurement_noise, photons, electronic_noise: as the command line takes them.
        settings: fields of `Recipe` by method, for this group only.
        published: the published group whose numbers to show; None is the one of the same title.
    """

    scan: str
    task: str = "svct"
    beam: str | None = None
    views: int | None = None
    angle: float | None = None
    factor: int | None = None
    fwhm_mm: float | None = None
    measurement_noise: float | None = None
    photons: float | None = None
    electronic_noise: float = 0.0
    settings: Settings = field(default_factory=dict)
    published: str | None = None

    def acquisition(self, seed: int) -> Acquisition:
        """How the scan is measured; the seed matters where there is noise."""
        noise = detector_noise(self.measurement_noise, self.photons, self.electronic_noise)
        return Acquisition(
            *(self.task, self.views, self.angle, self.factor, self.fwhm_mm, noise),
            seed=seed if noise else 0,
            beam=self.beam,
        )


@dataclass(frozen=True)
class Figure:
    """A drawing of the table's numbers.

    Attributes:
        x: a setting, a field of `Recipe` whose number differs from row to row; "step" for the course of the sampling;
            or a metric.
        y: what to draw against it, one or several: metrics; with "step" psnr, sdiff or lpips.

    Raises:
        CosliceError: something else.
    """

    x: str
    y: str | tuple[str, ...]

    def __post_init__(self) -> None:
        for name in self.ys:
            if self.kind != "course":
                metric_called(name)
            elif name not in COURSES:
                raise CosliceError(
                    f"figure: {name} was given for each step, but what is known is {', '.join(COURSES)}."
                )

    @property
    def ys(self) -> tuple[str, ...]:
        """All that is drawn against x."""
        return (self.y,) if isinstance(self.y, str) else self.y

    @property
    def kind(self) -> str:
        """ "course" over the steps, "sweep" over a setting, or "scatter" of two metrics."""
        if self.x == "step":
            return "course"
        if self.x in {item.name for item in fields(Recipe)}:
            return "sweep"
        metric_called(self.x)
        return "scatter"


@dataclass(frozen=True)
class _Shape:
    """The file as it stands, an edition laid over it."""

    title: str
    metrics: tuple[str, ...]
    groups: dict[str, Group]
    methods: dict[str, dict[str, Any]]
    scans: dict[str, Scan]
    source: str = ""
    about: str = ""
    seeds: tuple[int, ...] = (0,)
    priors: dict[str, str | Needed] = field(default_factory=dict)
    settings: Settings = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    published: Published = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One reconstruction of the grid.

    Attributes:
        group, row: titles.
        seed: of its noise.
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
            Cell(group, row, seed, replace(recipe, seed=seed), self._priors(group, recipe))
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


def shipped_benchmarks() -> dict[str, tuple[str, str]]:
    """Title and source of the recipes that come with coslice, by name, editions included."""
    found = {}
    for path in sorted(Path(str(_SHIPPED)).glob("*.yaml"), key=lambda path: (len(path.stem), path.stem)):
        tree = _read(path)
        for edition in tree.get("editions", {}):
            found[f"{path.stem}-{edition}"] = (tree["title"], tree["source"])
    return found


def load_benchmark(
    name: str,
    scans: Mapping[str, str] | None = None,
    priors: Mapping[str, str] | None = None,
    seeds: tuple[int, ...] | None = None,
) -> Benchmark:
    """A recipe by the name of a shipped one, as in "table1-small", or by the path of a file, "mine.yaml" or
    "mine.yaml:small" for an edition of it.

    Args:
        name: of the recipe.
        scans, priors: files the user names, by their names in the recipe.
        seeds: instead of the recipe's.

    Raises:
        CosliceError: no such recipe or edition, anything in it that could not be run, data that the user must name.
    """
    path, edition = _found(name)
    tree = _read(path)
    editions = tree.pop("editions", {})
    if edition is not None and edition not in editions:
        raise CosliceError(f"recipe: {path.name} has no edition {edition}; its editions are {', '.join(editions)}.")
    if edition is None and editions:
        raise CosliceError(f"recipe: {path.name} has the editions {', '.join(editions)}; name one, as in {name}:small.")
    shape = built(_Shape, tree | (editions[edition] if edition else {}))
    scans, priors = dict(scans or {}), dict(priors or {})
    title = f"{path.stem}-{edition}" if edition else path.stem
    called = title if path.is_relative_to(str(_SHIPPED)) else Path(name).name
    options = [f"--scan {key}=FILE" for key in scans] + [f"--prior {key}=FILE" for key in priors]
    options += [f"--seeds {len(seeds)}"] if seeds and seeds != shape.seeds else []
    command = " ".join(("coslice benchmark", called, *options))
    return _checked(title, shape, scans, priors, seeds or shape.seeds, command)


def _found(name: str) -> tuple[Path, str | None]:
    stem, dash, edition = name.rpartition("-")
    shipped = Path(str(_SHIPPED)) / f"{stem}.yaml"
    if dash and shipped.is_file():
        return shipped, edition
    file, _, edition = name.partition(".yaml:")
    if edition:
        return Path(f"{file}.yaml"), edition
    if name.endswith((".yaml", ".yml")):
        return Path(name), None
    raise CosliceError(
        f'recipe: "{name}" was given, but it is neither a YAML file nor one of {", ".join(shipped_benchmarks())}.'
    )


def _read(path: Path) -> dict[str, Any]:
    """The tree of a file, with what it takes from the one it is like."""
    tree = dict(read_tree(path))
    like = tree.pop("like", None)
    if like is None:
        return tree
    base = read_tree(path.with_name(f"{like}.yaml"))
    if "like" in base:
        raise CosliceError(f"recipe: {path.name} is like {like}, which is like another one itself; name that one.")
    own = tree.get("editions", {})
    editions = {name: edition | own.get(name, {}) for name, edition in base.get("editions", {}).items()}
    return (
        base | tree | ({"editions": editions | {n: e for n, e in own.items() if n not in editions}} if editions else {})
    )


def _checked(
    name: str, shape: _Shape, scans: dict[str, str], priors: dict[str, str], seeds: tuple[int, ...], command: str
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
    for title, group in shape.groups.items():
        if group.scan not in shape.scans:
            raise CosliceError(f"{name}: group {title} is of the scan {group.scan}, which is none of its scans.")
    return Benchmark(
        name=name,
        title=shape.title,
        source=shape.source,
        about=shape.about,
        metrics=tuple(metric_called(metric) for metric in shape.metrics),
        groups=shape.groups,
        scans=_scans(name, shape, scans),
        rows=rows,
        priors=_named_priors(name, shape, priors, rows),
        seeds=seeds,
        figures=shape.figures,
        command=command,
        published=_published(name, shape),
    )


def _belongs(shape: _Shape, name: str, group: str, row: str, chosen: Mapping[str, Any]) -> bool:
    """Whether a row is of a group: none that names others, and none whose method is not for such problems."""
    for other in chosen.get("groups", ()):
        if other not in shape.groups:
            raise CosliceError(f"{name}: row {row} is of the group {other}, which is none of its groups.")
    if group not in chosen.get("groups", (group,)):
        return False
    method = chosen.get("method")
    if method not in METHODS:
        raise CosliceError(f"{name}: row {row} has the method {method!r}, but the methods are {', '.join(METHODS)}.")
    return shape.groups[group].acquisition(0).kind in METHODS[method].kinds


def _recipe(shape: _Shape, name: str, group: str, row: str, chosen: Mapping[str, Any]) -> Recipe:
    method = chosen["method"]
    merged: dict[str, Any] = {}
    for settings in (shape.settings, shape.groups[group].settings):
        for key in settings:
            if key != "*" and key not in METHODS:
                raise CosliceError(f"{name}: settings are for {key}, but the methods are {', '.join(METHODS)}.")
        merged |= settings.get("*", {}) if method in DIFFUSION else {}
        merged |= settings.get(method, {})
    merged |= {key: value for key, value in chosen.items() if key != "groups"}
    try:
        recipe = built(Recipe, merged)
        chosen_method(recipe, shape.groups[group].acquisition(0).kind)
    except CosliceError as error:
        raise CosliceError(f"{name}: row {row} of {group}: {error}") from error
    return recipe


def _scans(name: str, shape: _Shape, given: Mapping[str, str]) -> dict[str, Scan]:
    used = {group.scan for group in shape.groups.values()}
    for key in given:
        if key not in shape.scans:
            raise CosliceError(f"{name}: a scan {key} was named, but its scans are {', '.join(shape.scans)}.")
    scans = {key: replace(scan, file=given.get(key, scan.file)) for key, scan in shape.scans.items() if key in used}
    missing = {key: scan.needs or "a NIfTI file" for key, scan in scans.items() if scan.file is None}
    if missing:
        raise _lacking(name, "--scan", missing)
    return scans


def _named_priors(
    name: str, shape: _Shape, given: Mapping[str, str], rows: Mapping[str, Mapping[str, Recipe]]
) -> dict[str, str]:
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
    missing = {key: value.needs for key, value in named.items() if isinstance(value, Needed) and key in read}
    if missing:
        raise _lacking(name, "--prior", missing)
    return {key: value for key, value in named.items() if isinstance(value, str)}


def _lacking(name: str, option: str, missing: Mapping[str, str]) -> CosliceError:
    listed = "; ".join(f"{option} {key}=FILE ({needs})" for key, needs in missing.items())
    return CosliceError(f"{name}: it runs on data of yours: {listed}.")


def _published(name: str, shape: _Shape) -> Published:
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
