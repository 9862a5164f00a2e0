"""A benchmark: a recipe whose every row has been checked, and the grid of reconstructions it asks for.

Here the names of a recipe become methods and files, and what could not be run is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from coslice.benchmark.metric import LesionMetric, Metric, metric_called
from coslice.benchmark.recipe_content import BenchmarkScan, Figure, Group, Needed, PublishedNumbers, RecipeContent
from coslice.benchmark.recipe_file import RecipeFile, read_recipe
from coslice.benchmark.rows import RowMethod, rows_of
from coslice.benchmark.slice_figure import SliceFigure, check_pictures
from coslice.errors import CosliceError
from coslice.methods import METHODS, USUAL_PRIORS, AnyMethod, Method, setting_lines
from coslice.metrics import UNIT, Protocol, protocol_called
from coslice.priors import Shown

__all__ = ["PRIORS", "Benchmark", "Cell", "Drawings", "load_benchmark", "prior_key", "setting_of"]

PRIORS = tuple(f"{kind}.{need}" for kind, need in USUAL_PRIORS) + (
    *("ct.planes.auxiliary", "ct.relay.auxiliary", "zsr.patches"),
    *("zsr.planes", "zsr.planes.auxiliary", "zsr.relay", "zsr.relay.auxiliary"),
)
"""What a recipe may name a prior for, beside a method: the kind of problem, and what the method needs. Behind either
may stand a task, as in "fbp-unet.svct-parallel-8": then it is for groups that are measured so."""


@dataclass(frozen=True)
class Cell:
    """One reconstruction of the grid.

    Attributes:
        group, row: titles.
        seed: one of the benchmark's.
        method: with all its settings.
        priors: names or files of its priors; None for one that neither the recipe names nor coslice brings.
        shown: what the recipe says of the images of each.
        lpips: whether the course of its sampling holds LPIPS too.
    """

    group: str
    row: str
    seed: int
    method: AnyMethod = field(compare=False)
    priors: tuple[str | None, ...] = ()
    shown: tuple[Shown, ...] = ()
    lpips: bool = False

    @property
    def first_seed(self) -> int:
        """Seed of its first sample. Those of the others follow, and no two cells of a row share one."""
        return self.seed * (self.method.samples if isinstance(self.method, Method) else 1)


@dataclass(frozen=True)
class Drawings:
    """What a recipe wants drawn.

    Attributes:
        figures: of numbers.
        pictures: of slices.
    """

    figures: tuple[Figure, ...]
    pictures: tuple[SliceFigure, ...]


@dataclass(frozen=True)
class Benchmark:
    """A recipe whose every row has been checked.

    Attributes:
        name: "table1-small".
        title, source, about: in words; `about` says how an edition differs from what was published.
        metrics: the columns.
        groups: by title.
        scans: by name, each with a file.
        rows: by group and title.
        priors: as in the file, with what the user named.
        shown: by the same names, what the recipe says of their images.
        seeds: of each row.
        drawings: to make beside the table.
        called: the recipe as a command names it; of a path only the last part.
        published: by group and row, as in the file; shown beside a group with `published_of`.
        protocol: how the numbers of its tables are taken.
    """

    name: str
    title: str
    source: str
    about: str
    metrics: tuple[Metric, ...]
    groups: dict[str, Group]
    scans: dict[str, BenchmarkScan]
    rows: dict[str, dict[str, RowMethod]]
    priors: dict[str, str]
    shown: dict[str, Shown]
    seeds: tuple[int, ...]
    drawings: Drawings
    called: str
    published: PublishedNumbers
    protocol: Protocol

    @property
    def outputs(self) -> str:
        """The folder of its table: the name, with the protocol behind it where that is not "unit"."""
        return self.name if self.protocol == UNIT else f"{self.name}.{self.protocol.name}"

    def cells(self) -> list[Cell]:
        """The grid, group by group, so that a measurement is made once."""
        return [
            Cell(group, row, seed, chosen.method, *self._priors(group, chosen.method), chosen.lpips)
            for group, rows in self.rows.items()
            for seed in self.seeds
            for row, chosen in rows.items()
        ]

    @property
    def groups_with_lesions(self) -> list[str]:
        """Titles of the groups whose lesions are measured: where no column asks for it, none."""
        asked = any(isinstance(metric, LesionMetric) for metric in self.metrics)
        return [title for title, group in self.groups.items() if asked and group.count_of_lesions]

    @property
    def partners(self) -> dict[str, str]:
        """By the title of a group with inserted lesions, the group that is the same but for them."""
        return partners_of(self.groups)

    def published_of(self, group: str, row: str) -> tuple[float | tuple[float, float] | None, ...] | None:
        """The published numbers beside a row, in the order of `metrics`."""
        return self.published.get(self.groups[group].published or group, {}).get(row)

    def _priors(self, group: str, method: AnyMethod) -> tuple[tuple[str | None, ...], tuple[Shown, ...]]:
        """The priors of a method, and what the recipe says of each."""
        kind = self.groups[group].kind
        usual = USUAL_PRIORS.get((kind, method.need), ())
        keys = _prior_keys(self.priors, self.groups[group], method)
        named = tuple(self.priors.get(key, usual[i] if i < len(usual) else None) for i, key in enumerate(keys))
        return named, tuple(self.shown.get(key, Shown()) for key in keys)


def partners_of(groups: Mapping[str, Group]) -> dict[str, str]:
    """As `Benchmark.partners`; groups without such a partner are left out."""
    plain = {
        title: replace(group, region=None, published=None) for title, group in groups.items() if group.lesions is None
    }
    found: dict[str, str] = {}
    for title, group in groups.items():
        for other, known in plain.items():
            if group.lesions is not None and known == replace(group, lesions=None, published=None):
                found.setdefault(title, other)
    return found


def _possible_keys(group: Group, method: AnyMethod) -> tuple[str, ...]:
    """The names that the first prior of a method may be given under in a group, the most special first."""
    sort, task = f"{group.kind}.{method.need}", group.task_key
    return f"{method.name}.{task}", f"{sort}.{task}", method.name, sort


def prior_key(named: Mapping[str, object], group: Group, method: AnyMethod) -> str:
    """Under what name it is given: the task's or the method's own, else what methods of its sort need."""
    *special, usual = _possible_keys(group, method)
    return next((key for key in special if key in named), usual)


def _prior_keys(named: Mapping[str, object], group: Group, method: AnyMethod) -> list[str]:
    """The same for all its priors; none for a method that needs none."""
    if not method.need:
        return []
    further = len(method.prior.planes) - 1 if isinstance(method, Method) else 0
    return [prior_key(named, group, method)] + [f"{group.kind}.{method.need}.auxiliary"] * further


def setting_of(method: AnyMethod, path: str) -> float | None:
    """The number a setting has; None where it has none, or the method has no such setting."""
    value = {line.path: line.value for line in setting_lines(method)}.get(path)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def load_benchmark(
    name: str,
    scans: Mapping[str, str] | None = None,
    priors: Mapping[str, str] | None = None,
    seeds: tuple[int, ...] | None = None,
    protocol: str | None = None,
) -> Benchmark:
    """A recipe, ready to be run.

    Args:
        name: as `read_recipe` takes it.
        scans, priors: files the user names, by their names in the recipe.
        seeds: instead of the recipe's.
        protocol: name of one, instead of the recipe's.

    Raises:
        CosliceError: as `read_recipe`; a row that could not be run, data that the user must name, another protocol.
    """
    recipe = read_recipe(name)
    scans, priors, usual = dict(scans or {}), dict(priors or {}), recipe.content.seeds
    return _checked(
        recipe,
        scans,
        priors,
        seeds or usual,
        protocol_called(recipe.content.protocol if protocol is None else protocol),
    )


def _checked(
    recipe: RecipeFile, scans: dict[str, str], priors: dict[str, str], seeds: tuple[int, ...], protocol: Protocol
) -> Benchmark:
    name, content = recipe.name, recipe.content
    if not seeds or len(set(seeds)) != len(seeds):
        raise CosliceError(f"{name}: the seeds {seeds} were given, at least one is needed and each only once.")
    rows = rows_of(recipe)
    if not any(rows.values()) or not content.metrics:
        raise CosliceError(f"{name}: it asks for nothing; give at least one group, one method for it, and one metric.")
    for title, group in content.groups.items():
        if group.scan not in content.scans:
            raise CosliceError(f"{name}: group {title} is of the scan {group.scan}, which is none of its scans.")
    methods = [chosen.method for found in rows.values() for chosen in found.values()]
    _check_figures(name, content, methods)
    _check_lesions(name, content, rows)
    windows = {title: group.window for title, group in content.groups.items()}
    counts = {title: group.count_of_lesions for title, group in content.groups.items()}
    check_pictures(name, content.pictures, rows, windows, counts)
    named_scans, lacking = _scans(name, content, scans)
    named_priors, also = _named_priors(name, content, priors, rows)
    if lacking or also:
        raise CosliceError(f"{name}: it runs on data of yours, which must be named: {'; '.join([*lacking, *also])}.")
    return Benchmark(
        name=name,
        title=content.title,
        source=content.source,
        about=content.about,
        metrics=tuple(metric_called(metric) for metric in content.metrics),
        groups=content.groups,
        scans=named_scans,
        rows=rows,
        priors=named_priors,
        shown={key: prior.shown for key, prior in content.priors.items() if isinstance(prior, Needed)},
        seeds=seeds,
        drawings=Drawings(content.figures, content.pictures),
        called=recipe.called,
        published=_published(name, content),
        protocol=protocol,
    )


def _check_figures(name: str, content: RecipeContent, methods: list[AnyMethod]) -> None:
    groups, columns = content.groups.values(), [metric_called(metric) for metric in content.metrics]
    for figure in content.figures:
        drawn = figure.ys if figure.kind != "scatter" else (figure.x, *figure.ys)
        lesions = [] if figure.kind == "course" else [y for y in drawn if isinstance(metric_called(y), LesionMetric)]
        if lesions and not any(isinstance(metric, LesionMetric) for metric in columns):
            raise CosliceError(
                f"{name}: a figure is of {lesions[0]}, but lesions are measured only where a column asks "
                "for it; add it to metrics."
            )
        if figure.kind == "groups" and len({group.number(figure.of_groups) for group in groups} - {None}) < 2:
            raise CosliceError(
                f"{name}: a figure is against {figure.x}, but no two groups differ in it; give some groups other "
                f"{figure.of_groups}."
            )
        if figure.kind == "sweep" and all(setting_of(method, figure.setting) is None for method in methods):
            raise CosliceError(
                f"{name}: a figure is against {figure.x}, but no row has a number of that name; give the path of a "
                "setting, as in schedule.steps."
            )


def _check_lesions(name: str, content: RecipeContent, rows: Mapping[str, Mapping[str, RowMethod]]) -> None:
    """Refuse lesions that could not be put in, and numbers of lesions that could not be measured."""
    for title, group in content.groups.items():
        if group.lesions is not None and group.window != "ct":
            raise CosliceError(
                f"{name}: group {title} has lesions, which are put into tissues found by their HU, but it is no CT; "
                "give a region instead."
            )
        mask = None if group.region is None else group.region.mask
        if mask is not None and mask not in content.scans:
            known = ", ".join(content.scans)
            raise CosliceError(f"{name}: the mask of group {title} is the scan {mask}, but its scans are {known}.")
        if mask is not None and replace(content.scans[mask], file=None, needs=None) != BenchmarkScan():
            raise CosliceError(f"{name}: the mask {mask} is prepared as the scan of {title} is; leave out how.")
    if not any(isinstance(metric_called(metric), LesionMetric) for metric in content.metrics):
        return
    if not any(group.count_of_lesions for group in content.groups.values()):
        raise CosliceError(f"{name}: it asks for numbers of lesions, but no group has lesions or a region; give one.")
    partners = partners_of(content.groups)
    for title, group in content.groups.items():
        if group.lesions is None:
            continue
        if title not in partners:
            raise CosliceError(
                f"{name}: the lesions of group {title} are measured against a group that is the same without them; add "
                "it."
            )
        for row, chosen in rows[title].items():
            if rows[partners[title]].get(row) != chosen:
                raise CosliceError(
                    f"{name}: row {row} of {title} is measured against the same row of {partners[title]}, which it "
                    "does not have, or has with other settings; make them equal."
                )


def _scans(name: str, content: RecipeContent, given: Mapping[str, str]) -> tuple[dict[str, BenchmarkScan], list[str]]:
    """The scans that are read, and words for each that the user must name."""
    used = {group.scan for group in content.groups.values()}
    used |= {group.region.mask for group in content.groups.values() if group.region and group.region.mask}
    for key in given:
        if key not in content.scans:
            raise CosliceError(f"{name}: a scan {key} was named, but its scans are {', '.join(content.scans)}.")
    scans = {key: replace(scan, file=given.get(key, scan.file)) for key, scan in content.scans.items() if key in used}
    lacking = [f"scan {key}=FILE ({scan.needs or 'a NIfTI file'})" for key, scan in scans.items() if scan.file is None]
    return scans, lacking


def _named_priors(
    name: str, content: RecipeContent, given: Mapping[str, str], rows: Mapping[str, Mapping[str, RowMethod]]
) -> tuple[dict[str, str], list[str]]:
    """The priors that are named, and words for each that the user must name."""
    asked = [(content.groups[group], chosen.method) for group, found in rows.items() for chosen in found.values()]
    known = {*PRIORS, *(method.name for method in METHODS.values() if method.need)}
    for group, method in asked:
        known |= {*_possible_keys(group, method), *_prior_keys({}, group, method)} if method.need else set()
    for key in (*content.priors, *given):
        if key not in known:
            sorts, tasks = ", ".join(PRIORS), dict.fromkeys(group.task_key for group in content.groups.values())
            raise CosliceError(
                f"{name}: a prior was named for {key}, but priors are for {sorts}, or for one method, and for one task "
                f"with a point and its name behind: {', '.join(tasks)}."
            )
    named: dict[str, str | Needed] = {**content.priors, **given}
    read = {key for group, method in asked for key in _prior_keys(named, group, method)}
    lacking = [
        f"prior {key}=FILE ({value.needs})" for key, value in named.items() if isinstance(value, Needed) and key in read
    ]
    return {key: value for key, value in named.items() if isinstance(value, str)}, lacking


def _published(name: str, content: RecipeContent) -> PublishedNumbers:
    for group, rows in content.published.items():
        for row, values in rows.items():
            if len(values) != len(content.metrics):
                raise CosliceError(
                    f"{name}: published.{group}.{row} has {len(values)} numbers, but there are "
                    f"{len(content.metrics)} metrics; give as many, null for those that are not known."
                )
    for group in content.groups.values():
        if group.published is not None and group.published not in content.published:
            raise CosliceError(f"{name}: there are no published numbers of {group.published}.")
    return content.published
