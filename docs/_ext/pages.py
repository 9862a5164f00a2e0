"""Pages of docs/ as the site shows them. The files stay plain Markdown, with links that work where they lie.

What the site needs beyond that is put in while a page is read: the navigation and the cards of the first page, lists of
pages that the build has made, files from outside of docs/, and the list of papers to cite.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

import yaml
from made_pages import Made, write_pages
from navigation import CARDS, NAVIGATION, SHOWN, listed

__all__ = ["cards", "citations", "moved_links", "setup", "toctree"]

_PLACES = {
    "README.md": "index.md",
    "CITATION.cff": "citing.md",
    "docs/README.md": "index.md",
    **{file: f"{page}.md" for page, file in SHOWN.items()},
}
"""Files of the repository that the site has a page for."""
_CARDS = "src/coslice/data/priors"
"""Cards of the embedded priors, each of which is a page."""
_GALLERY = "examples/gallery"
"""Scripts, each of which is a page that the gallery makes while the site is built."""


def toctree(pages: list[str], caption: str = "", depth: int = 1) -> str:
    """A list of pages for the navigation, which the page itself does not show."""
    head = [":hidden:", f":maxdepth: {depth}", *([f":caption: {caption}"] if caption else [])]
    return "\n".join(["", "```{toctree}", *head, "", *pages, "```", ""])


def cards(docs: Path) -> str:
    """What the first page leads to."""
    there = listed(docs, list(CARDS))
    lines = ["", "## Where to go", "", "::::{grid} 1 2 2 2", ":gutter: 3", ":class-container: ways", ""]
    for page in there:
        title, text = CARDS[page]
        lines += [f":::{{grid-item-card}} {title}", f":link: {page}", ":link-type: doc", "", text, ":::", ""]
    return "\n".join([*lines, "::::", ""])


def citations(cff: str) -> str:
    """The papers of CITATION.cff as a list."""
    lines = [""]
    for paper in yaml.safe_load(cff)["references"]:
        names = [f"{author['given-names']} {author['family-names']}" for author in paper["authors"] if len(author) > 1]
        names += [author["name"] for author in paper["authors"] if "name" in author]
        where = (
            paper.get("conference", {}).get("name") or paper.get("journal") or paper.get("institution", {}).get("name")
        )
        title = f"[{paper['title']}]({paper['url']})" if "url" in paper else paper["title"]
        lines.append(f"- {', '.join(names)}. {title}. {', '.join(str(x) for x in (where, paper.get('year')) if x)}.")
    return "\n".join([*lines, ""])


def moved_links(text: str, folder: str, root: Path) -> str:
    """Links of a page to what the site keeps elsewhere.

    Args:
        text: Markdown.
        folder: the one its links start from, within the repository; "" is its root.
        root: of the repository.

    Returns:
        The text, in which links from outside of docs/ into it start from docs/, files that have a page lead to it, as
        scripts and folders of the gallery do, and a link to another folder is its words.
    """

    def moved(found: re.Match[str]) -> str:
        words, target = found.groups()
        if re.match(r"[a-z]+:|#", target):
            return found.group()
        path, _, anchor = target.partition("#")
        place = posixpath.normpath(posixpath.join(folder, path))
        page = _PLACES.get(place) or _page_of_card(place) or _page_of_gallery(place)
        if not page and (root / place).is_dir():
            return words
        start = folder[5:] if folder.startswith("docs/") else ""
        inside = page or (place[5:] if place.startswith("docs/") else f"../{place}")
        target = posixpath.relpath(inside, start or ".") + ("#" + anchor if anchor else "")
        if inside == f"../{place}" and inside.endswith(".md"):  # no page of the site, but a file to take along
            target = f"path:{target}"
        return f"[{words}]({target})"

    fences = re.split(r"(^```.*?^```)", text, flags=re.DOTALL | re.MULTILINE)
    pattern = re.compile(r"(?<!`)\[([^\[\]]*(?:\[[^\]]*\])?[^\[\]]*)\]\(([^)\s]+)\)")
    return "".join(part if part.startswith("```") else pattern.sub(moved, part) for part in fences)


def _page_of_card(place: str) -> str:
    folder, name = posixpath.split(place)
    return f"cards/{name}" if folder == _CARDS and name.endswith(".md") else ""


def _page_of_gallery(place: str) -> str:
    """The page of a script, or that of a folder's scripts; "" for anything else."""
    if place != _GALLERY and not place.startswith(f"{_GALLERY}/"):
        return ""
    stem, suffix = posixpath.splitext(place.removeprefix("examples/"))
    if suffix == ".py":
        return f"{stem}.rst"
    return "" if suffix else f"{stem}/index.rst"


def _make(app: Any) -> None:
    """Pages of the priors' cards."""
    docs = Path(app.srcdir)
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted((docs.parent / _CARDS).glob("*.md"))}
    write_pages(docs / "cards", texts, ".md")
    app.made_pages["priors"] = Made("", [f"cards/{name}" for name in texts])


def _read(app: Any, page: str, source: list[str]) -> None:
    docs = Path(app.srcdir)
    root = docs.parent
    if app.env.doc2path(page, base=False).suffix != ".md":
        return
    text = source[0]
    if page in SHOWN:
        app.env.note_dependency(os.fspath(root / SHOWN[page]))
        text = moved_links((root / SHOWN[page]).read_text(encoding="utf-8"), "", root)
    else:
        text = moved_links(text, posixpath.dirname(f"docs/{page}"), root)
    if page == "index":
        text += cards(docs)
        text += "".join(toctree(listed(docs, pages), head) for head, pages in NAVIGATION.items() if listed(docs, pages))
    elif page == "tables/index":
        tables = sorted(path.stem for path in (docs / "tables").glob("*.md") if path.stem != "index")
        text += toctree(tables)
    elif page == "citing":
        app.env.note_dependency(os.fspath(root / "CITATION.cff"))
        text += citations((root / "CITATION.cff").read_text(encoding="utf-8"))
    elif page in app.made_pages:
        made = app.made_pages[page]
        text += made.table + toctree(made.pages)
    source[0] = text


def setup(app: Any) -> dict[str, Any]:
    app.made_pages = {}
    app.connect("builder-inited", _make)
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
