"""The documentation site: pages have a place, the reference is complete, docstrings say there what they say in code.

`make docs` builds the site, with every warning an error. What can be known without a build is known here.
"""

from __future__ import annotations

import importlib
import inspect
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import coslice

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def ours() -> Any:
    """Loads a module of docs/_ext, which stand beside each other and not in a package."""
    sys.path.insert(0, str(DOCS / "_ext"))
    yield importlib.import_module
    sys.path.remove(str(DOCS / "_ext"))


def written_pages() -> set[str]:
    """Pages of docs/ as the site names them; what a build has made is none of them."""
    made = ("_build/", "api/", "commands/", "cards/", "gallery/", "tables/")
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")}
    return {page for page in pages if not page.startswith(made)} | {"tables/index"}


# Pages


def test_every_page_is_in_the_navigation_once(ours):
    navigation = ours("navigation")
    listed = [page for pages in navigation.NAVIGATION.values() for page in pages]
    assert len(listed) == len(set(listed))
    assert written_pages() - {"index"} == set(listed) - {"gallery/index"}
    assert set(navigation.CARDS) <= set(listed) and set(navigation.SHOWN) <= set(listed)


def test_a_page_that_is_not_written_is_left_out(ours, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "here.md").touch()
    listed = ours("navigation").listed
    assert listed(tmp_path / "docs", ["here", "gone", "gallery/index"]) == ["here"]
    (tmp_path / "examples" / "gallery").mkdir(parents=True)
    assert listed(tmp_path / "docs", ["gone", "gallery/index"]) == ["gallery/index"]


def test_links_are_moved_to_what_the_site_has(ours):
    moved = ours("pages").moved_links
    assert moved("[a](../README.md) [b](theory.md#x) `[c](../README.md)`", "docs", ROOT) == (
        "[a](index.md) [b](theory.md#x) `[c](../README.md)`"
    )
    assert moved("[a](docs/theory.md#x) [b](CONTRIBUTING.md)", "", ROOT) == "[a](theory.md#x) [b](contributing.md)"
    assert moved("[a](../results.md) [b](../../CHANGELOG.md)", "docs/tables", ROOT) == (
        "[a](../results.md) [b](../changes.md)"
    )
    assert moved("[card](../src/coslice/data/priors/ct.md)", "docs", ROOT) == "[card](cards/ct.md)"
    assert moved("[room](../src/coslice/) [a](https://b.c/d)", "docs", ROOT) == "room [a](https://b.c/d)"
    assert moved("[script](../examples/fbp-unet/train.sh)", "docs", ROOT) == "[script](../examples/fbp-unet/train.sh)"
    assert moved("```\n[a](../README.md)\n```\n", "docs", ROOT) == "```\n[a](../README.md)\n```\n"


def test_links_to_the_gallery_lead_to_its_pages(ours):
    """Not to a download of the script; a page that is deeper goes up first."""
    moved = ours("pages").moved_links
    assert moved("[a](../examples/gallery/2_ct/plot_1_geometry.py)", "docs", ROOT) == (
        "[a](gallery/2_ct/plot_1_geometry.rst)"
    )
    assert moved("[a](../../examples/gallery/2_ct/plot_1_geometry.py)", "docs/tables", ROOT) == (
        "[a](../gallery/2_ct/plot_1_geometry.rst)"
    )
    assert moved("[a](../examples/gallery) [b](../examples/gallery/2_ct/)", "docs", ROOT) == (
        "[a](gallery/index.rst) [b](gallery/2_ct/index.rst)"
    )
    assert moved("[a](examples/gallery)", "", ROOT) == "[a](gallery/index.rst)"
    header = "../examples/gallery/GALLERY_HEADER.rst"
    assert moved(f"[a]({header})", "docs", ROOT) == f"[a]({header})"


def test_every_script_of_the_gallery_is_told_of_by_a_page():
    """A reader of the page finds the script that shows it, by a link that works where the page lies, too."""
    folder = ROOT / "examples" / "gallery"
    pages = [page.read_text(encoding="utf-8") for page in sorted(DOCS.glob("*.md"))]
    linked = {target for text in pages for target in re.findall(r"\]\(\.\./examples/gallery/([^)\s]+\.py)\)", text)}
    assert linked == {script.relative_to(folder).as_posix() for script in folder.glob("*/*.py")}


def test_links_into_the_glossary_lead_to_a_term_or_a_heading(ours):
    """`glossary.md#noise-level` is a row on the site; on a code host it is the page."""
    glossary = ours("glossary_terms")
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    targets = {glossary.slug(head) for head in re.findall(r"^#+ +(.*)$", text, re.MULTILINE)}
    cells = [row.split(" | ")[0].strip("| ") for row in text.splitlines() if row.startswith("| ")]
    targets |= {glossary.slug(term) for cell in cells for term in glossary.terms_of(cell)}
    assert {"noise-level", "derived-series", "the-sampler", "gather", "transpose"} <= targets
    for page in [DOCS / f"{name}.md" for name in written_pages()]:
        for target in re.findall(r"\]\([^)\s]*glossary\.md#([^)\s]+)\)", page.read_text(encoding="utf-8")):
            assert target in targets, (page.name, target)


def test_a_table_of_the_glossary_has_a_term_once(ours):
    glossary = ours("glossary_terms")
    for table in re.split(r"^#+ +.*$", (DOCS / "glossary.md").read_text(encoding="utf-8"), flags=re.MULTILINE):
        cells = [row.split(" | ")[0].strip("| ") for row in table.splitlines() if row.startswith("| ")]
        terms = [term for cell in cells for term in glossary.terms_of(cell)]
        assert [term for term in terms if terms.count(term) > 1] == []


def test_the_papers_to_cite_are_those_of_the_citation_file(ours):
    shown = ours("pages").citations((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert "Chenhe Du" in shown and "(https://openreview.net/forum?id=R5ETdN6ifA)" in shown
    assert shown.count("\n- ") == (ROOT / "CITATION.cff").read_text(encoding="utf-8").count("\n  - type:")


def test_the_python_of_the_first_page_is_that_of_the_readme():
    """Which is run as it stands; but for the scan, since here the one that comes along is taken."""
    (shown,) = re.findall(r"```python\n(.*?)```", (DOCS / "index.md").read_text(encoding="utf-8"), re.DOTALL)
    lines = shown.replace(
        "coslice.data.embedded_scan()", 'coslice.read_nifti("chest.nii.gz").slices(100, 164).resized(128)'
    )
    run = [line.split("  #")[0] for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()]
    assert "embedded_scan()" in shown and callable(coslice.data.embedded_scan)
    assert [line for line in lines.splitlines() if line not in run] == []


# The reference


def test_every_name_that_is_offered_is_described(ours):
    """Names on the page of their room, or on that of coslice itself; rooms on one of their own."""
    reference = ours("reference_pages")
    rooms, names = reference.door(Path(coslice.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    assert {*rooms, *names} == set(coslice.__all__)
    homes = reference.homes()
    for name in names:
        module, _, word = homes[f"coslice.{name}"].rpartition(".")
        assert getattr(importlib.import_module(module), word) is getattr(coslice, name)
        page = reference.page_of(module.split(".")[1]) if module != "coslice" else reference.page_of_door()
        described = rf"\.\. (?:auto\w+:: {re.escape(module)}\.|py:data:: ){word}$"
        assert re.search(described, page, re.MULTILINE), name


def test_nothing_is_described_twice(ours):
    """A class that a room lists from a module that is no room stands there, and not on the page of coslice again."""
    reference = ours("reference_pages")
    rooms, _ = reference.door(Path(coslice.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    pages = [*(reference.page_of(room) for room in rooms), reference.page_of_door()]
    described = re.findall(r"^\.\. auto(?:class|function|exception):: (\S+)$", "\n".join(pages), re.MULTILINE)
    values = [getattr(importlib.import_module(full.rpartition(".")[0]), full.rpartition(".")[2]) for full in described]
    assert len(values) > 100
    assert [full for full, value in zip(described, values, strict=True) if values.count(value) > 1] == []


def test_an_error_has_its_sentence_and_a_method_its_settings(ours):
    page = ours("reference_pages").page_of("methods")
    assert ".. py:data:: DDS\n" in page and "``data.iterations``" in page
    assert ".. autoclass:: coslice.methods.ConjugateGradients\n" in page
    assert ".. autoexception:: coslice.CosliceError\n" in ours("reference_pages").page_of_door()


def test_settings_are_shown_with_meaning_unit_and_bounds(ours):
    schedule = importlib.import_module("coslice.schedule").Geometric
    shown = ours("docstrings").as_rst(["Title."], ours("reference_pages").attributes_of(schedule))
    known = dict(schedule.settings())["steps"]
    at = shown.index(".. attribute:: steps")
    said = " ".join(line.strip() for line in shown[at : at + 6])
    assert ":type: int" in said and known.meaning in said and "At least 1." in said


def test_every_command_and_option_is_described(ours):
    pages = ours("command_pages")
    for words, command in pages.commands().items():
        page = pages.page_of_command(words.split(" ")[0])
        section = page.split(f".. program:: coslice {words}\n")[1].split(".. program::")[0]
        for item in command.params:
            if item.param_type_name == "option":
                for name in (*item.opts, *item.secondary_opts):
                    assert re.search(rf"\.\. option::.* {name}( |,|$)", section, re.MULTILINE), (words, name)


# Docstrings


@pytest.mark.parametrize(
    ("markdown", "rst"),
    [
        ("|y - A z|^2", r"\|y - A z\|^2"),
        ("`add_` and add_ of a*b", r"``add_`` and add\_ of a\*b"),
        ("**Bold.** 2 * 3", r"**Bold.** 2 \* 3"),
        ("two `Slice`s, x`y`", r"two ``Slice``\ s, x\ ``y``"),
        ("(`a`, `b`)", "(``a``, ``b``)"),
        ("D:\\data", r"D:\\data"),
    ],
)
def test_text_means_itself(ours, markdown, rst):
    assert ours("docstrings").inline(markdown) == rst


def test_what_is_indented_is_shown_as_it_is(ours):
    """Also right below a line, and in a list; code is coloured as code."""
    lines = ["A step:", "    x = |y|_2 *", "", "- one", "  more", "- two", "", "      import a"]
    assert ours("docstrings").as_rst(lines) == [
        *["A step:", "", ".. code-block:: text", "", "   x = |y|_2 *", ""],
        *["- one", "  more", "", "- two", "", "  .. code-block:: python", "", "     import a", ""],
    ]


def test_sections_become_fields(ours):
    lines = ["Do.", "", "Args:", "    a, b: two", "        lines.", "", "Returns:", "    None: or not.", "After."]
    assert ours("docstrings").as_rst(lines) == [
        *["Do.", "", "After.", ""],
        *[":Arguments:", "   ``a``, ``b``", "      two", "      lines.", "", ""],
        *[":Returns:", "   None: or not.", "", ""],
    ]


@pytest.mark.slow  # the build of the site finds the same, and more
def test_every_docstring_of_the_reference_is_read_without_a_warning(ours):
    """By docutils itself, as the site reads it; the directives of the site are stood in for."""
    core = pytest.importorskip("docutils.core")
    rst = importlib.import_module("docutils.parsers.rst")
    nodes = importlib.import_module("docutils.nodes")

    class Attribute(rst.Directive):  # pyright: ignore[reportUntypedBaseClass]
        required_arguments, final_argument_whitespace, has_content = 1, True, True
        option_spec = {"type": str, "value": str, "no-contents-entry": rst.directives.flag}  # noqa: RUF012

        def run(self) -> list[Any]:
            inside = nodes.container()
            self.state.nested_parse(self.content, self.content_offset, inside)
            return [inside]

    rst.directives.register_directive("attribute", Attribute)
    reference, docstrings = ours("reference_pages"), ours("docstrings")
    wrong = {}
    for name, text, attributes in described(reference):
        source = "\n".join(docstrings.as_rst(text.splitlines(), attributes))
        said: list[str] = []
        settings = {"report_level": 2, "halt_level": 5, "warning_stream": said_to(said), "syntax_highlight": "none"}
        core.publish_doctree(source, settings_overrides=settings)
        if said:
            wrong[name] = said
    assert wrong == {}


def described(reference: Any) -> Any:
    """All that the reference shows: modules, classes with their members, functions, values."""
    for module in sorted(reference.described_modules()):
        inside = importlib.import_module(module)
        yield module, inspect.getdoc(inside) or "", None
        for word in reference.own_names(module):
            value = getattr(inside, word)
            full = f"{module}.{word}"
            if inspect.isclass(value):
                yield full, inspect.getdoc(value) or "", reference.attributes_of(value)
                for name, member in vars(value).items():
                    shown = callable(member) or isinstance(member, property)
                    if shown and member.__doc__ and (not name.startswith("_") or name == "__call__"):
                        yield f"{full}.{name}", inspect.cleandoc(member.__doc__), None
            elif inspect.isroutine(value):
                yield full, inspect.getdoc(value) or "", None
            else:
                yield full, reference.text_of_value(full), None


def said_to(lines: list[str]) -> Any:
    """A stream that docutils writes its warnings to."""
    return type("Stream", (), {"write": lambda _, text: lines.append(text)})()


def test_everything_that_is_described_says_something(ours):
    """A name without a word about it is no reference."""
    silent = [name for name, text, _ in described(ours("reference_pages")) if not text.strip()]
    assert silent == []


def test_navigation_names_relative_pages_only(ours):
    for pages in ours("navigation").NAVIGATION.values():
        assert all(page == posixpath.normpath(page) and not page.startswith((".", "/")) for page in pages)
