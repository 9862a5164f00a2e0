"""Laws of typed trees: what is written is what is built, and a mistake is told by its path."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import pytest

from coslice.errors import CosliceError
from coslice.tree import built, read_tree


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
def test_a_mistake_is_told_by_its_path(change, path):
    with pytest.raises(CosliceError, match=path):
        built(Tree, WHOLE | change)


def test_a_file_that_is_no_tree_is_refused(tmp_path):
    for text in ("- a\n- b\n", "a: [1", "\x00"):
        (tmp_path / "a.yaml").write_text(text)
        with pytest.raises(CosliceError, match=r"a\.yaml"):
            read_tree(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("")
    assert read_tree(tmp_path / "a.yaml") == {}
