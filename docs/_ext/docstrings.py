"""Docstrings of coslice, written to be read as they stand, in the markup of the site.

They are Markdown in their text: `name` is code, **word** is bold, what is indented is shown as it is. Sections named
Args, Attributes, Raises, Returns and Yields hold `name: text` entries. `as_rst` rewrites all of it; nothing in it is
taken for markup of reStructuredText, so |y - A z| is no substitution and `add_` no link.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Attribute", "as_rst", "first_sentence", "inline"]

SECTIONS = {
    "Args": "Arguments",
    "Attributes": "Attributes",
    "Raises": "Raises",
    "Returns": "Returns",
    "Yields": "Yields",
}
"""Sections of a docstring, and what the site calls them."""
_OF_TEXT = ("Returns", "Yields")
_HEAD = re.compile(rf"({'|'.join(SECTIONS)}):\s*$")
_ITEM = re.compile(r"( *)([-*]|\d+\.) +(?=\S)")
_ENTRY = re.compile(r"(\*{0,2}\w[\w.]*(?:, \*{0,2}\w[\w.]*)*): +(?=\S)")
_SPAN = re.compile(r"(``.+?``|`[^`]+`)", re.DOTALL)
_BOLD = re.compile(r"(\*\*[^\s*](?:[^*]*[^\s*])?\*\*)", re.DOTALL)


@dataclass(frozen=True)
class Attribute:
    """What is known of an attribute besides its docstring.

    Attributes:
        kind: its type as it is written; "" where it has none.
        value: its default as it is written; "" where it has none.
        text: what is to be said of it, where the docstring says nothing.
        more: a phrase that is added in any case, without a stop.
    """

    kind: str = ""
    value: str = ""
    text: str = ""
    more: str = ""


def as_rst(lines: Sequence[str], attributes: Mapping[str, Attribute] | None = None) -> list[str]:
    """A docstring in reStructuredText.

    Args:
        lines: of the docstring, without the indentation that all of them share.
        attributes: of a class, in their order; None where Attributes are shown as a list and not indexed. Those that
            have a text and are not in the docstring are added to it.
    """
    body, sections = _parted([line.rstrip() for line in lines])
    rst = _blocks(body)
    fields: list[str] = []
    named: set[str] = set()
    for name, inside in sections:
        entries = list(_entries(inside))
        if name == "Attributes" and attributes is not None:
            for names, text in entries:
                rst += _attribute(names, text, attributes)
                named.update(names)
        elif name in _OF_TEXT:
            fields += [f":{SECTIONS[name]}:", *_deeper(_blocks(inside)), ""]
        else:
            fields += [f":{SECTIONS[name]}:"]
            for names, text in entries:
                fields += _deeper([", ".join(f"``{word}``" for word in names), *_deeper(_blocks(text))])
            fields.append("")
    for name, known in (attributes or {}).items():
        if name not in named and known.text:
            rst += _attribute([name], [known.text], attributes or {})
    return [*rst, *fields]


def first_sentence(text: str | None) -> str:
    """The first sentence of a docstring, in reStructuredText; "" of none."""
    paragraph = " ".join((text or "").strip().split("\n\n")[0].split())
    found = re.match(r"(.*?[.?!])(?=\s+[A-Z`]|$)", paragraph)
    return inline((found.group(1) if found else paragraph).rstrip(":"))


def inline(text: str) -> str:
    """A paragraph of text: code stays code, bold stays bold, everything else means itself."""
    out = ""
    for number, piece in enumerate(_SPAN.split(text)):
        if number % 2 == 0:
            out += "".join(_plain(part) if i % 2 == 0 else part for i, part in enumerate(_BOLD.split(piece)))
            continue
        code = piece.strip("`")
        # Markup must stand apart from letters before and after it.
        out += (r"\ " if out and not re.search(r"[\s'\"(\[{<\-/:]$", out) else "") + f"``{code.strip()}``\0"
    return re.sub(
        "\0(?=[^\\s'\")\\]}>\\-/:.,;!?\\\\]|$)", lambda at: r"\ " if at.end() < len(out) else "", out
    ).replace("\0", "")


def _plain(text: str) -> str:
    text = re.sub(r"([\\*|])", r"\\\1", text)
    return re.sub(r"(?<=[\w)])_(?!\w)", r"\_", text)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _deeper(lines: Iterable[str]) -> list[str]:
    return [f"   {line}" if line else "" for line in lines]


def _undented(lines: Sequence[str]) -> list[str]:
    least = min((_indent(line) for line in lines if line), default=0)
    return [line[least:] for line in lines]


def _parted(lines: Sequence[str]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The text of a docstring, and its sections with what stands in them; text after a section is text, too."""
    body: list[str] = []
    sections: list[tuple[str, list[str]]] = []
    inside: list[str] | None = None
    for number, line in enumerate(lines):
        head = _HEAD.match(line)
        if head and number + 1 < len(lines) and _indent(lines[number + 1]):
            inside = []
            sections.append((head.group(1), inside))
        elif inside is not None and (not line or _indent(line)):
            inside.append(line)
        else:
            inside = None
            body.append(line)
    return body, [(name, _undented(within)) for name, within in sections]


def _entries(lines: Sequence[str]) -> Iterator[tuple[list[str], list[str]]]:
    """`name: text` with the lines that belong to it."""
    names: list[str] = []
    text: list[str] = []
    for line in lines:
        found = _ENTRY.match(line)
        if found:
            if names:
                yield names, text
            names, text = found.group(1).split(", "), [line[found.end() :]]
        elif names:
            text.append(line)
    if names:
        yield names, [text[0], *_undented(text[1:])]


def _attribute(names: Sequence[str], text: Sequence[str], attributes: Mapping[str, Attribute]) -> list[str]:
    known = [attributes.get(name, Attribute()) for name in names]
    rst = ["", f".. attribute:: {names[0]}", *(f"               {name}" for name in names[1:])]
    if len({one.kind for one in known}) == 1 and known[0].kind:
        rst.append(f"   :type: {known[0].kind}")
    if len(names) == 1 and known[0].value:
        rst.append(f"   :value: {known[0].value}")
    lines = "\n".join([*text[:1], *_undented(text[1:])]).rstrip().split("\n")
    more = {name: attributes[name].more for name in names if name in attributes and attributes[name].more}
    if more:
        one = len(set(more.values())) == 1 and len(more) == len(names)
        said = next(iter(more.values())) if one else "; ".join(f"`{name}` {words}" for name, words in more.items())
        said = said[0].upper() + said[1:] + "."
        if "" in lines:
            lines += ["", said]
        else:
            lines[-1] = lines[-1].rstrip(".") + f". {said}"
    return [*rst, "   :no-contents-entry:", "", *_deeper(_blocks(lines)), ""]


def _blocks(lines: Sequence[str]) -> list[str]:
    """Paragraphs, lists, and what is indented as it stands."""
    out: list[str] = []
    paragraph: list[str] = []

    def end() -> None:
        if paragraph:
            out.extend([*inline("\n".join(paragraph)).split("\n"), ""])
            paragraph.clear()

    at = 0
    while at < len(lines):
        line = lines[at]
        item = _ITEM.match(line)
        if not line:
            end()
            at += 1
        elif item and _indent(line) < 4:
            end()
            margin = item.end()
            within = [line[margin:]]
            at += 1
            while at < len(lines) and (_indent(lines[at]) >= 2 or (not lines[at] and _goes_on(lines, at))):
                if _ITEM.match(lines[at]) and _indent(lines[at]) <= _indent(line):
                    break
                within.append(lines[at].strip() if _indent(lines[at]) <= margin else lines[at][margin:])
                at += 1
            mark = item.group(2) if item.group(2) != "*" else "-"
            inner = _blocks(within)
            while inner and not inner[-1]:
                inner.pop()
            pad = " " * (len(mark) + 1)
            out.extend([f"{mark} {inner[0]}", *(pad + more if more else "" for more in inner[1:]), ""])
        elif _indent(line) >= 4:
            end()
            block: list[str] = []
            while at < len(lines) and (not lines[at] or _indent(lines[at]) >= 4):
                block.append(lines[at])
                at += 1
            out.extend(_as_it_is(block))
        else:
            paragraph.append(line.strip())
            at += 1
    end()
    return out


def _goes_on(lines: Sequence[str], at: int) -> bool:
    """Whether a list goes on after an empty line."""
    following = next((line for line in lines[at:] if line), "")
    return _indent(following) >= 2


def _as_it_is(block: Sequence[str]) -> list[str]:
    block = _undented(block)
    while block and not block[-1]:
        block.pop()
    language = "python" if _is_python("\n".join(block)) else "text"
    return [f".. code-block:: {language}", "", *_deeper(block), ""]


def _is_python(text: str) -> bool:
    """Whether it is code and not a formula, which may happen to be an expression."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return False
    statements = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.With, ast.For)
    calls = (ast.Assign, ast.Expr)
    return any(isinstance(node, statements) for node in tree.body) or all(
        isinstance(node, calls) and isinstance(node.value, ast.Call) for node in tree.body
    )
