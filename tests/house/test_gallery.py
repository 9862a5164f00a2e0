"""The scripts of the gallery: read here, run by the site's build and, one by one, with `-m slow`.

All of them take two minutes, so by default each is held to what is seen without running it: that the names of coslice
it uses are there, that a reader gets a title, words and a figure, and that it leaves nothing behind.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
GALLERY = ROOT / "examples" / "gallery"
SCRIPTS = sorted(GALLERY.glob("*/plot_*.py"))
NAMED = [script.relative_to(GALLERY).as_posix() for script in SCRIPTS]
SECTIONS = sorted(path for path in GALLERY.iterdir() if path.is_dir() and path.name != "__pycache__")


def chain(node: ast.AST) -> list[str]:
    """["a", "b", "c"] of the expression a.b.c; [] of anything else."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [*reversed([*names, node.id])] if isinstance(node, ast.Name) else []


def found(start: object, names: list[str]) -> bool:
    """Whether start.a.b... is there; modules below a module are imported."""
    for name in names:
        if isinstance(start, ModuleType) and not hasattr(start, name):
            try:
                start = importlib.import_module(f"{start.__name__}.{name}")
                continue
            except ImportError:
                return False
        if not hasattr(start, name):
            return False
        start = getattr(start, name)
    return True


def unknown(text: str) -> list[str]:
    """What of coslice a script uses and coslice does not have, or keeps for itself."""
    tree, known, wrong = ast.parse(text), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {a.asname or a.name.split(".")[0]: a.name for a in node.names if a.name.split(".")[0] == "coslice"}
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "coslice":
            known |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    for path in known.values():
        if not found(importlib.import_module("coslice"), path.split(".")[1:]) or "._" in path:
            wrong.append(path)
    for node in ast.walk(tree):
        names = chain(node)
        if names and names[0] in known and known[names[0]] not in wrong:
            path = [*known[names[0]].split("."), *names[1:]]
            # What is called gives another thing, so a chain is followed as far as names go.
            if not found(importlib.import_module("coslice"), path[1:]) or any(name.startswith("_") for name in path):
                wrong.append(".".join(path))
    return wrong


def words(text: str) -> Iterator[str]:
    """What a reader reads: the docstring, and the comments of text cells."""
    yield ast.get_docstring(ast.parse(text)) or ""
    for cell in re.findall(r"^# %%\n((?:#.*\n)+)", text, re.MULTILINE):
        yield re.sub(r"^# ?", "", cell, flags=re.MULTILINE)


def titled(lines: list[str]) -> bool:
    """Whether lines of reST begin with a title, underlined at least as long, and an empty line."""
    return len(lines) > 3 and set(lines[1]) in ({"="}, {"-"}) and len(lines[1]) >= len(lines[0]) and not lines[2]


def test_a_gallery_in_sections():
    assert len(SCRIPTS) >= 16 and 4 <= len(SECTIONS) <= 6
    assert sorted(GALLERY.rglob("*.py")) == SCRIPTS, "scripts stand in sections, and are called plot_..."
    for folder in (GALLERY, *SECTIONS):
        assert titled((folder / "GALLERY_HEADER.rst").read_text(encoding="utf-8").splitlines()), folder.name
        assert folder == GALLERY or any(folder in script.parents for script in SCRIPTS)
    assert len({script.name for script in SCRIPTS}) == len(SCRIPTS)


def drawn_later(text: str) -> list[str]:
    """Names of axes that another cell draws on than the one that made the figure, which the site has shown by then."""
    made: dict[str, int] = {}
    late = []
    for number, cell in enumerate(re.split(r"^# %%.*$", text, flags=re.MULTILINE)):
        for node in ast.walk(ast.parse(cell)):
            if isinstance(node, ast.Assign) and "subplots" in ast.unparse(node.value):
                made |= {one.id: number for one in ast.walk(node.targets[0]) if isinstance(one, ast.Name)}
        uses = {node.id for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.Name)}
        late += [name for name in sorted(uses & set(made)) if made[name] != number]
    return late


@pytest.mark.parametrize("script", SCRIPTS, ids=NAMED)
def test_a_figure_is_finished_in_the_cell_that_begins_it(script):
    assert drawn_later(script.read_text(encoding="utf-8")) == []


def test_a_figure_that_is_finished_later_is_found():
    assert drawn_later("fig, ax = plt.subplots()\nax.plot(1)\n# %%\nax.plot(2)\n") == ["ax"]
    assert drawn_later("fig, ax = plt.subplots()\n# %%\nfig, ax = plt.subplots()\nax.plot(2)\n") == []


@pytest.mark.parametrize("name", NAMED)
def test_a_script_uses_what_coslice_offers(name):
    """Every module, function and class exists and is public."""
    text = (GALLERY / name).read_text(encoding="utf-8")
    assert "coslice" in text and unknown(text) == []


@pytest.mark.parametrize("name", NAMED)
def test_a_script_has_words_and_a_figure(name):
    """A title and a lead, cells of text, a figure, numbers printed; short; in reST."""
    text = (GALLERY / name).read_text(encoding="utf-8")
    lines = text.splitlines()
    assert 15 <= len(lines) <= 90 and max(map(len, lines)) <= 120
    cells = list(words(text))
    docstring = cells[0].splitlines()
    assert titled(docstring) and docstring[3].endswith((".", "?"))
    assert len(cells) >= 3 and all(cell.strip() for cell in cells)
    # One backtick is a role of reST: names are between two.
    assert [cell for cell in cells if re.search(r"(?<!`)`(?!`)", cell.replace("``", ""))] == []
    assert "plt.subplots(" in text and "plt.show()" in text and "print(" in text


@pytest.mark.parametrize("name", NAMED)
def test_a_script_leaves_nothing_behind(name):
    """No path of one's own machine, and what is written goes into a folder that is taken away."""
    text = (GALLERY / name).read_text(encoding="utf-8")
    strings = [n.value for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    assert [value for value in strings if re.match(r"(/|~|[A-Za-z]:\\)\S", value)] == []
    writes = re.search(r"\b(write_\w+|savefig|write_text|open|mkdir)\(", text)
    assert not writes or "TemporaryDirectory()" in text


def test_what_is_not_there_is_found():
    assert unknown("import coslice\ncoslice.nothing_here(1).more") == ["coslice.nothing_here"]
    assert unknown("from coslice.noise import Key, Kay\n") == ["coslice.noise.Kay"]
    assert unknown("import coslice as c\nc.noise.Slerp.no_such()") == ["coslice.noise.Slerp.no_such"]
    assert unknown("from coslice.metrics import planes\nplanes._named") == ["coslice.metrics.planes._named"]
    assert unknown("import coslice\ncoslice.metrics.psnr(a, b).item()\nnumpy.nothing") == []
    assert list(words('"""T\n=\n\nL."""\n\n# %%\n# one `a`\n# two\nx = 1\n')) == ["T\n=\n\nL.", "one `a`\ntwo\n"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMED)
def test_a_script_runs(name, tmp_path):
    """From another folder, to its end, with numbers printed and no file left."""
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    ran = subprocess.run(
        [sys.executable, str(GALLERY / name)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"\d", ran.stdout) and list(tmp_path.iterdir()) == []
