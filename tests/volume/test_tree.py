"""Laws of typed trees: what is written is what is built, and a mistake is named by its path."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest

from coslice.errors import CosliceError
from coslice.tree import INLINE, assigned, assignments, built, nested, overlay, plain, read_tree


@dataclass(frozen=True)
class Leaf:
    size: int
    name: str = "oak"


@dataclass(frozen=True)
class Tree:
    leaves: dict[str, Leaf]
    height: float = 1.0
    pairs: tuple[tuple[int, float], ...] = ()
    either: str | tuple[str, ...] = ""
    free: dict[str, dict[str, Any]] = field(default_factory=dict)
    maybe: float | tuple[float, float] | None = None


@dataclass(frozen=True)
class Branch:
    tree: Tree | None = None


@dataclass(frozen=True)
class Roots:
    depth: float = 2.0
    soil: Leaf | None = None


@dataclass(frozen=True)
class Rooted:
    height: float = 1.0
    roots: Roots = field(default_factory=Roots, metadata=INLINE)
    leaf: Leaf | None = None


WHOLE = {
    "leaves": {"a": {"size": 1}, "b": {"size": 2, "name": "elm"}},
    "height": 3,
    "pairs": [[1, 2.5], [3, 4]],
    "either": ["x", "y"],
    "free": {"k": {"anything": [1, None]}},
    "maybe": [1, 2],
}


def test_a_tree_is_built_as_it_is_written():
    tree = built(Tree, WHOLE)
    assert tree.leaves == {"a": Leaf(1), "b": Leaf(2, "elm")}
    assert tree.height == 3.0 and isinstance(tree.height, float)
    assert tree.pairs == ((1, 2.5), (3, 4.0)) and tree.either == ("x", "y") and tree.maybe == (1.0, 2.0)
    assert tree.free == WHOLE["free"]
    assert built(Tree, asdict(tree)) == tree


def test_a_tree_is_the_plain_form_of_what_is_built_of_it():
    leaves = {"a": {"size": 1, "name": "oak"}, "b": {"size": 2, "name": "elm"}}
    assert plain(built(Tree, WHOLE)) == WHOLE | {"leaves": leaves}
    for value in (Tree({}), built(Tree, WHOLE), Rooted(3.0, Roots(1.0, Leaf(2))), Rooted(leaf=Leaf(1))):
        assert built(type(value), plain(value)) == value


def test_keys_of_an_inline_section_stand_beside_the_others():
    tree = {"height": 1.0, "depth": 5.0, "soil": {"size": 2, "name": "oak"}, "leaf": None}
    assert built(Rooted, tree) == Rooted(roots=Roots(5.0, Leaf(2)))
    assert plain(Rooted(roots=Roots(5.0, Leaf(2)))) == tree and list(plain(Rooted())) == list(tree)
    for change, path in (({"depth": "deep"}, "depth is 'deep'"), ({"soil": {"sizes": 1}}, r"soil\.sizes")):
        with pytest.raises(CosliceError, match=path):
            built(Rooted, tree | change)
    with pytest.raises(CosliceError, match="roots is not known"):
        built(Rooted, {"roots": {"depth": 1.0}})


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"leaves": {"a": {"size": "big"}}}, "leaves.a.size"),
        ({"leaves": {"a": {"weight": 1}}}, "leaves.a.weight"),
        ({"leaves": {1: {"size": 1}}}, "leaves has the key 1"),
        ({"leaves": {"a": {}}}, "leaves.a lacks"),
        ({"leaves": [1]}, "leaves is"),
        ({"height": "tall"}, "height"),
        ({"height": True}, "height"),
        ({"height": float("inf")}, "height"),
        ({"height": "nan"}, "height"),
        ({"pairs": [[1]]}, r"pairs\[0\]"),
        ({"either": 3}, "either"),
        ({"free": {"k": 3}}, "free.k"),
        ({"maybe": [1, 2, 3]}, "maybe"),
        ({"roots": 1}, "roots"),
    ],
)
def test_a_mistake_is_named_by_its_path(change, path):
    with pytest.raises(CosliceError, match=path):
        built(Tree, WHOLE | change)


def test_a_file_that_is_no_tree_is_refused(tmp_path):
    for text in ("- a\n- b\n", "a: [1", "\x00"):
        (tmp_path / "a.yaml").write_text(text)
        with pytest.raises(CosliceError, match=r"a\.yaml"):
            read_tree(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("")
    assert read_tree(tmp_path / "a.yaml") == {}


@pytest.mark.parametrize(
    ("kind", "tree", "words"),
    [
        (Tree, {"hight": 1}, "did you mean height?"),
        (Branch, {"tree": {"leaves": {"a": {"sizes": 1}}}}, "did you mean tree.leaves.a.size?"),
        (Branch, {"height": 1}, "did you mean tree.height?"),
        (Branch, {"oak.hight": 1}, "is not known; did you mean tree.height? Known are tree."),
        (Rooted, {"dept": 1}, "did you mean depth? Known are height, depth, soil, leaf."),
        (Rooted, {"sizes": 1}, "did you mean soil.size?"),
        (Tree, {"quay": 1}, "is not known; Known are leaves, height, pairs, either, free, maybe."),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(kind, tree, words):
    with pytest.raises(CosliceError, match=f"^forest: .*{re.escape(words)}"):
        built(kind, tree, who="forest")


def test_every_mistake_begins_with_who_made_it(tmp_path):
    for change in (
        {"leaves": {"a": {"size": "big"}}},
        {"leaves": {1: {}}},
        {"maybe": [1, 2, 3]},
        {"leaves": {"a": {}}},
    ):
        with pytest.raises(CosliceError, match=r"^forest: "):
            built(Tree, WHOLE | change, who="forest")
    with pytest.raises(CosliceError, match=r"^forest: "):
        read_tree(tmp_path / "none.yaml", "forest")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1.5", 1.5),
        ("1e-3", 1e-3),
        ("true", True),
        ("null", None),
        ("", None),
        ("oak", "oak"),
        ("CC BY 4.0: oak # elm", "CC BY 4.0: oak # elm"),
        ("a=b", "a=b"),
        ("!x", "!x"),
        ("-1000:400", "-1000:400"),
        ("[0.05, 0.12]", [0.05, 0.12]),
        ("{a: 1, b: [x]}", {"a": 1, "b": ["x"]}),
        ('"1"', "1"),
    ],
)
def test_an_assignment_is_a_path_and_a_yaml_value(text, value):
    path, got = assigned(f"oak.leaf={text}")
    assert path == "oak.leaf"
    assert (type(got), got) == (type(value), value)


def test_assignments_make_the_tree_of_their_paths():
    tree = assignments(["height=3", "free.k.x=1", "free.k.y=[1, 2]", "either=oak"])
    assert tree == {"height": 3, "free": {"k": {"x": 1, "y": [1, 2]}}, "either": "oak"}
    assert nested([("a.b", 1), ("a.c", 2)]) == {"a": {"b": 1, "c": 2}}
    assert assignments([]) == {}


@pytest.mark.parametrize(
    "texts",
    [["height"], ["=3"], ["a..b=1"], [".a=1"], ["a=[1"], ["a={b: 1, b: 2}"], ["a=1", "a=2"], ["a.b=1", "a.b=1"]]
    + [
        ["a=1", "a.b=2"],
        ["a.b=2", "a=1"],
        ["a.b=1", "a.b.c.d=2"],
        ["a={b: 1}", "a.c=2"],
        ["a={b: !!python/name:os.system x}"],
    ]
    + [["a=[!x y]"], ["a=2020-13-45"]],
)
def test_assignments_that_say_two_things_or_none_are_refused(texts):
    with pytest.raises(CosliceError, match=r"^set: .*[;,] .*\.$"):
        assignments(texts)


def test_what_is_laid_over_a_tree_changes_its_leaves_alone():
    base = {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    assert overlay(base, {"a": {"c": {"d": 5}}, "f": {"g": 6}}) == {"a": {"b": 1, "c": {"d": 5}}, "e": 3, "f": {"g": 6}}
    assert overlay(base, {}) == base and overlay({}, base) == base
    assert overlay(base, base) == base
    assert base == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}


@pytest.mark.parametrize(
    ("text", "value"),
    [("010", 10), ("1:30", "1:30"), ("0x10", "0x10"), ("1_000", "1_000"), ("-2", -2), ("1e-3", 1e-3), (".5", 0.5)]
    + [("none", None), ("null", None), ("true", True), ("no", False)],
)
def test_numbers_are_what_everybody_takes_for_them(text, value):
    path, read = assigned(f"a={text}")
    assert path == "a" and read == value and type(read) is type(value)
