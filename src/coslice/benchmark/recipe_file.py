"""Where recipes are, and what their files say together: editions, and recipes that are like others.

    editions       by name, what is otherwise: `paper` needs the user's data, `small` runs anywhere
    like           another recipe beside it, else a shipped one, whose entries are taken where there are none of its own

`table1-small` is the edition `small` of the recipe `table1`. A file of one's own needs no editions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from coslice.benchmark.recipe_content import RecipeContent
from coslice.errors import CosliceError
from coslice.escapes import check_file_name, shown, visible
from coslice.tree import built, read_tree

__all__ = ["RecipeFile", "read_recipe", "shipped_benchmarks"]

_SHIPPED = Path(str(resources.files("coslice") / "benchmark" / "recipes"))
_TAKEN = ("cells", "locks")  # folders beside the outputs


@dataclass(frozen=True)
class RecipeFile:
    """A recipe that was read.

    Attributes:
        name: of its outputs: "table1-small".
        called: what a command line calls it; of a path only the last part.
        folder: where its file is.
        content: what it says.
    """

    name: str
    called: str
    folder: Path
    content: RecipeContent


def shipped_benchmarks() -> dict[str, tuple[str, str]]:
    """Title and source of the recipes that come with coslice, by name, editions included."""
    found = {}
    for path in sorted(_SHIPPED.glob("*.yaml"), key=lambda path: (len(path.stem), path.stem)):
        tree = _read(path)
        for edition in tree["editions"]:
            found[f"{path.stem}-{edition}"] = (tree["title"], tree["source"])
    return found


def read_recipe(name: str) -> RecipeFile:
    """A recipe by the name of a shipped one, as in "table1-small", or by the path of a file, "mine.yaml" or
    "mine.yaml:small" for an edition of it.

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
    check_file_name(title, "recipe: the name of its outputs")
    if title in _TAKEN:
        raise CosliceError(f"recipe: {path.name} would write to the folder {title}, which is another's; rename it.")
    content = built(RecipeContent, _over(tree, editions[edition]) if edition else tree)
    _check_published(title, content, [tree, *editions.values()])
    return RecipeFile(title, title if path.parent == _SHIPPED else Path(name).name, path.parent, content)


def _found(name: str) -> tuple[Path, str | None]:
    file, colon, edition = name.partition(".yaml:")
    if colon:
        return Path(f"{file}.yaml"), edition
    if name.endswith((".yaml", ".yml")):
        return Path(name), None
    stem, _, edition = name.rpartition("-")
    if Path(stem).name == stem and (_SHIPPED / f"{stem}.yaml").is_file():
        return _SHIPPED / f"{stem}.yaml", edition
    raise CosliceError(
        f'recipe: "{name}" was given, but it is neither a YAML file nor one of {", ".join(shipped_benchmarks())}.'
    )


def _read(path: Path, before: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The tree of a file, "editions" by name among it, with what it takes from the one it is like."""
    if path in before:
        raise CosliceError(f"recipe: {path.name} is like itself in the end; give one of them entries of its own.")
    tree = dict(read_tree(path))
    own = _keys(path, "editions", tree.pop("editions", None))
    editions = {name: _keys(path, name, edition) for name, edition in own.items()}
    like = tree.pop("like", None)
    if like is None:
        return tree | {"editions": editions}
    if not isinstance(like, str) or Path(like).name != like or visible(like) != like:
        raise CosliceError(
            f"recipe: {path.name} is like {shown(like)}, but the name of a recipe beside it, or of a shipped one, is "
            "needed."
        )
    beside = path.with_name(f"{like}.yaml")
    base = _read(beside if beside.is_file() else _shipped(path, like), (*before, path))
    # What the file says itself is not taken from anywhere, not from an edition of the other one either.
    theirs = {
        name: {key: value for key, value in edition.items() if key not in tree}
        for name, edition in base.pop("editions").items()
    }
    return _over(base, tree) | {"editions": editions | {n: e | editions.get(n, {}) for n, e in theirs.items()}}


def _shipped(path: Path, like: str) -> Path:
    """Where the shipped recipe is that a file is like."""
    if (found := _SHIPPED / f"{like}.yaml").is_file():
        return found
    stem, _, edition = like.rpartition("-")
    meant = (
        f"write like: {stem}, which has the edition {edition} among others"
        if (_SHIPPED / f"{stem}.yaml").is_file()
        else f"shipped are {', '.join(sorted(each.stem for each in _SHIPPED.glob('*.yaml')))}"
    )
    raise CosliceError(
        f'recipe: {path.name} is like "{like}", but there is no {like}.yaml beside it, and no shipped recipe of '
        f"that name; {meant}."
    )


def _over(tree: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `tree`; published numbers, which have the order of the metrics, do not outlive them."""
    kept = dict(tree)
    if "metrics" in over and over["metrics"] != tree.get("metrics"):
        kept.pop("published", None)
    return kept | dict(over)


def _keys(path: Path, name: str, value: Any) -> dict[str, Any]:
    if value is not None and not (isinstance(value, Mapping) and all(isinstance(key, str) for key in value)):
        raise CosliceError(
            f"recipe: {visible(name[:100])} of {path.name} is {shown(value)}, but words with values are needed; "
            "correct it."
        )
    return dict(value or {})


def _check_published(name: str, content: RecipeContent, trees: Sequence[Mapping[str, Any]]) -> None:
    """Refuse numbers that no edition would show, as misspelt ones are."""
    groups = {key for tree in trees for key in tree.get("groups", {})} | set(content.groups)
    rows = {key for tree in trees for key in tree.get("methods", {})} | set(content.methods)
    for group, numbers in content.published.items():
        for known, title in ((groups, group), *((rows, row) for row in numbers)):
            if title not in known:
                raise CosliceError(
                    f"{name}: there are published numbers of {title}, which is neither a group nor a row; correct it."
                )
