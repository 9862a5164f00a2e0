"""Code in the text becomes a link to what it names, and every term of the glossary can be linked to.

Pages and docstrings say `coslice.noise.Slerp`, `Slerp`, `coslice priors import` or `--rotation-axis`, and nothing else:
where one of them names exactly one thing in the reference, the site links it. A row of the glossary is the target
`glossary.md#the-term`, and a term for the role of that name.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

from docutils import nodes
from glossary_terms import slug, terms_of
from reference_pages import described_modules
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

__all__ = ["GLOSSARY", "setup"]

GLOSSARY = "glossary"
_LINKABLE = ("class", "function", "data", "exception")
_NAME = re.compile(r"[A-Za-z_][\w.]*")


def _mark_terms(app: Any, doctree: nodes.document) -> None:
    """Every row of a table of the glossary is the target of its terms."""
    page = app.env.current_document.docname
    if page != GLOSSARY:
        return
    standard = app.env.domains.standard_domain
    targets: dict[str, str] = {}
    for table in doctree.findall(nodes.tgroup):
        head = next(iter(table.findall(nodes.thead)), None)
        if head is None or not head.astext().startswith("term"):
            continue
        for row in next(iter(table.findall(nodes.tbody))).children:
            cell = row[0]
            for term in terms_of(cell.astext()):
                target = slug(term)
                if not target or target in doctree.ids:
                    continue
                row["ids"].append(target)
                doctree.ids[target] = row
                targets[term] = target
                standard.anonlabels.setdefault(target, (page, target))
                standard._note_term(term, target, location=cell)

    _link_terms(doctree, {term: target for term, target in targets.items() if re.search(r"\w[ -]\w", term)})


def _link_terms(doctree: nodes.document, targets: dict[str, str]) -> None:
    """Terms of several words become links where another row speaks of them; single words are mostly meant as words."""
    longest_first = sorted(map(re.escape, targets), key=len, reverse=True)
    pattern = re.compile(rf"\b({'|'.join(longest_first)})(?=s?\b)")
    for row in doctree.findall(nodes.row):
        for text in [one for cell in row.children[2:] for one in cell.findall(nodes.Text)]:
            pieces = pattern.split(text.astext())
            if len(pieces) == 1 or _is_inside(text, (nodes.reference, addnodes.pending_xref, nodes.literal)):
                continue
            new: list[nodes.Node] = []
            for number, piece in enumerate(pieces):
                if number % 2 and targets[piece] not in row["ids"]:
                    new.append(nodes.reference("", piece, refid=targets[piece], internal=True))
                elif piece:
                    new.append(nodes.Text(piece))
            text.parent.replace(text, new)


class CodeLinks(SphinxPostTransform):
    """Literals that name something become links."""

    default_priority = 5

    def run(self, **kwargs: Any) -> None:
        python = self.env.domains.python_domain
        known = _known(self.app)
        for literal in list(self.document.findall(nodes.literal)):
            if _is_inside(literal, (nodes.reference, addnodes.pending_xref, nodes.title, addnodes.download_reference)):
                continue
            text = literal.astext()
            found = self._command(text) or self._object(text, literal, python, known)
            if found is None:
                continue
            page, target, title = found
            if (page, target) == (self.env.current_document.docname, self._own_target(literal)):
                continue
            link = make_refnode(
                self.app.builder, self.env.current_document.docname, page, target, literal.deepcopy(), title
            )
            literal.replace_self(link)

    def _own_target(self, literal: nodes.Node) -> str:
        for name in _descriptions(literal):
            return name[1]
        return ""

    def _command(self, text: str) -> tuple[str, str, str] | None:
        labels = self.env.domains.standard_domain.anonlabels
        if text.startswith("coslice "):
            words = text.split()[1:]
            for many in (2, 1):
                name = "command-" + "-".join(words[:many])
                if len(words) >= many and name in labels:
                    return (*labels[name], "coslice " + " ".join(words[:many]))
        option = re.match(r"--[a-z][a-z-]+", text)
        if option:
            options = self.env.domains.standard_domain.progoptions
            places = [(program, place) for (program, name), place in options.items() if name == option.group()]
            if len(places) == 1:
                return (*places[0][1], f"{places[0][0]} {option.group()}")
        return None

    def _object(
        self, text: str, literal: nodes.Node, python: Any, known: dict[str, str]
    ) -> tuple[str, str, str] | None:
        name = re.sub(r"\(.*\)$", "", text, flags=re.DOTALL)
        if not _NAME.fullmatch(name) or name == "coslice":  # mostly the program
            return None
        tried = [name] if name.startswith("coslice") else []
        if not name.startswith("coslice"):
            for (module, cls), _ in _descriptions(literal):
                tried += [f"{module}.{cls}.{name}"] if cls else []
                tried.append(f"{module}.{name}")
            page = self.env.current_document.docname
            if page.startswith("api/"):
                tried.append(f"{page[4:]}.{name}")
            if name in known and (not name.islower() or "_" in name):  # a plain word is mostly meant as one
                tried.append(known[name])
        for full in tried:
            if full in python.objects:
                entry = python.objects[full]
                if entry.objtype == "module" and full != name:  # an argument that is called as a room
                    continue
                return entry.docname, entry.node_id, full
        return None


def _known(app: Any) -> dict[str, str]:
    """Names that only one thing of the reference has, or that `coslice.` itself offers; `Class.member` too."""
    held = getattr(app, "names_of_one_thing", None)
    if held is not None:
        return held
    places: dict[str, set[tuple[str, str]]] = defaultdict(set)
    full: dict[str, str] = {}
    for name, entry in app.env.domains.python_domain.objects.items():
        words = name.split(".")
        short = [words[-1]] if entry.objtype in _LINKABLE else []
        if entry.objtype in ("method", "attribute", "property") and len(words) > 2:
            short = [".".join(words[-2:])]
        for word in short:
            places[word].add((entry.docname, entry.node_id))
            if len(words) == 2 or word not in full:
                full[word] = name
    found = {word: name for word, name in full.items() if len(places[word]) == 1 or name == f"coslice.{word}"}
    app.names_of_one_thing = found
    return found


def _is_inside(node: nodes.Node, kinds: tuple[type[nodes.Node], ...]) -> bool:
    parent = node.parent
    while parent is not None:
        if isinstance(parent, kinds):
            return True
        parent = parent.parent
    return False


def _descriptions(node: nodes.Node) -> Any:
    """Module and class of the objects that a piece of text describes, innermost first, with their targets."""
    parent = node.parent
    while parent is not None:
        if isinstance(parent, addnodes.desc) and parent.children and isinstance(parent[0], addnodes.desc_signature):
            signature = parent[0]
            module, name = signature.get("module") or "", signature.get("fullname") or ""
            cls = name if parent.get("objtype") in ("class", "exception") else name.rpartition(".")[0]
            yield (module, cls), (signature["ids"] or [""])[0]
        parent = parent.parent


def _unlinked(app: Any, env: Any, node: addnodes.pending_xref, text: nodes.Node) -> nodes.Node | None:
    """Types that the reference does not describe stay words: those of Python and torch, and inner ones of ours."""
    if node.get("refdomain") != "py" or node["reftarget"].rpartition(".")[0] in described_modules():
        return None
    return text


def setup(app: Any) -> dict[str, Any]:
    app.connect("doctree-read", _mark_terms)
    app.connect("missing-reference", _unlinked)
    app.add_post_transform(CodeLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
