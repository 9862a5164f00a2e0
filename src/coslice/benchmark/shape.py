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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

from coslice.benchmark.metric import metric_called
from coslice.data import embedded_file
from coslice.errors import CosliceError
from coslice.measurement_noise import detector_noise
from coslice.preparation import Preparation
from coslice.recipe import Recipe
from coslice.study import parse_slices
from coslice.tasks import Acquisition
from coslice.tree import built, read_tree

__all__ = ["Figure", "Group", "Needed", "Published", "Scan", "Settings", "Shape", "read_shape", "shipped_benchmarks"]

_SHIPPED = Path(str(resources.files("coslice") / "benchmark" / "recipes"))
_EMBEDDED = "embedded:"
_TAKEN = ("cells", "locks")  # folders beside the outputs
COURSES = ("psnr", "sdiff", "lpips")
"""What is known of each step."""

_NUMBERS = {item.name for item in fields(Recipe) if "int" in str(item.type) or "float" in str(item.type)}

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

    @property
    def embedded(self) -> bool:
        """Whether it comes with coslice."""
        return str(self.file).startswith(_EMBEDDED)

    @property
    def path(self) -> Path:
        """Where its file is."""
        name = str(self.file)
        return embedded_file(name.removeprefix(_EMBEDDED)) if self.embedded else Path(name)

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
        x: a setting, a field of `Recipe` that is a number and differs from row to row; "step" for the course of the
            sampling; or a metric.
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
        if self.x in _NUMBERS:
            return "sweep"
        metric_called(self.x)
        return "scatter"


@dataclass(frozen=True)
class Shape:
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


def shipped_benchmarks() -> dict[str, tuple[str, str]]:
    """Title and source of the recipes that come with coslice, by name, editions included."""
    found = {}
    for path in sorted(_SHIPPED.glob("*.yaml"), key=lambda path: (len(path.stem), path.stem)):
        tree = _read(path)
        for edition in tree["editions"]:
            found[f"{path.stem}-{edition}"] = (tree["title"], tree["source"])
    return found


def read_shape(name: str) -> tuple[str, str, Shape]:
    """A recipe by the name of a shipped one, as in "table1-small", or by the path of a file, "mine.yaml" or
    "mine.yaml:small" for an edition of it.

    Returns:
        What its outputs are called, what a command line calls it (of a path only the last part), and the recipe.

    Raises:
        CosliceError: no such recipe or edition, or anything in it that is not of its type.
    """
    path, edition = _found(name)
    tree = _read(path)
    editions = tree.pop("editions")
    if edition is not None and edition not in editions:
        known = f"its editions are {', '.join(editions)}" if editions else "it has none"
        raise CosliceError(f"recipe: {path.name} has no edition {edition}; {known}.")
    if edition is None and editions:
        raise CosliceError(f"recipe: {path.name} has the editions {', '.join(editions)}; name one, as in {name}:small.")
    title = f"{path.stem}-{edition}" if edition else path.stem
    if title in _TAKEN:
        raise CosliceError(f"recipe: {path.name} would write to the folder {title}, which is another's; rename it.")
    called = title if path.parent == _SHIPPED else Path(name).name
    shape = built(Shape, _over(tree, editions[edition]) if edition else tree)
    _check_published(title, shape, [tree, *editions.values()])
    return title, called, shape


def _found(name: str) -> tuple[Path, str | None]:
    file, colon, edition = name.partition(".yaml:")
    if colon:
        return Path(f"{file}.yaml"), edition
    if name.endswith((".yaml", ".yml")):
        return Path(name), None
    if name in shipped_benchmarks():
        stem, _, edition = name.rpartition("-")
        return _SHIPPED / f"{stem}.yaml", edition
    raise CosliceError(
        f'recipe: "{name}" was given, but it is neither a YAML file nor one of {", ".join(shipped_benchmarks())}.'
    )


def _read(path: Path, liked_by: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The tree of a file, "editions" by name among it, with what it takes from the one it is like."""
    if path in liked_by:
        raise CosliceError(f"recipe: {path.name} is like itself in the end; give one of them entries of its own.")
    tree = dict(read_tree(path))
    own = _keys(path, "editions", tree.pop("editions", None))
    editions = {name: _keys(path, name, edition) for name, edition in own.items()}
    like = tree.pop("like", None)
    if like is None:
        return tree | {"editions": editions}
    if not isinstance(like, str) or Path(like).name != like:
        raise CosliceError(f"recipe: {path.name} is like {like!r}, but the name of a recipe beside it is needed.")
    base = _read(path.with_name(f"{like}.yaml"), (*liked_by, path))
    # What the file says itself is not taken from anywhere, not from an edition of the other one either.
    theirs = {
        name: {key: value for key, value in edition.items() if key not in tree}
        for name, edition in base.pop("editions").items()
    }
    return _over(base, tree) | {"editions": editions | {n: e | editions.get(n, {}) for n, e in theirs.items()}}


def _over(tree: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `tree`; published numbers, which have the order of the metrics, do not outlive them."""
    kept = dict(tree)
    if "metrics" in over and over["metrics"] != tree.get("metrics"):
        kept.pop("published", None)
    return kept | dict(over)


def _keys(path: Path, name: str, value: Any) -> dict[str, Any]:
    if value is not None and not (isinstance(value, Mapping) and all(isinstance(key, str) for key in value)):
        raise CosliceError(f"recipe: {name} of {path.name} is {value!r}, but words with values are needed; correct it.")
    return dict(value or {})


def _check_published(name: str, shape: Shape, trees: Sequence[Mapping[str, Any]]) -> None:
    """Refuse numbers that no edition would show, as misspelt ones are."""
    groups = {key for tree in trees for key in tree.get("groups", {})} | set(shape.groups)
    rows = {key for tree in trees for key in tree.get("methods", {})} | set(shape.methods)
    for group, numbers in shape.published.items():
        for known, title in ((groups, group), *((rows, row) for row in numbers)):
            if title not in known:
                raise CosliceError(
                    f"{name}: there are published numbers of {title}, which is neither a group nor a row; correct it."
                )
