"""The consoles of the command line: nothing in them is read as markup or obeyed, and they can write to any stream.

Names, cards, recipes and headers come from anybody, and may hold what a terminal obeys; `coslice.escapes` writes it
out.

A file that output is sent to on Windows takes 256 characters, a plain locale 128. What such a stream cannot encode is
replaced by what comes nearest: Δ by "diff", the lines of a table by dashes, letters with accents by those without, and
all else by a question mark. Numbers are ASCII, and so the same on every stream.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
import unicodedata
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from coslice.errors import CosliceError
from coslice.escapes import visible

__all__ = ["Terminal", "adapt_streams", "print_json"]

_NARROWEST = 20
_NEAREST = "coslice.nearest"
"""The name of our way to encode, for Python's register of them."""
_STRICT = ("strict", "surrogateescape", "backslashreplace")
"""What Python does by itself with a character that it cannot encode; anything else somebody chose."""
_WORDS = {"Δ": "diff", "±": "+/-", "×": "x", "…": "...", "•": "*", "°": " deg", "↑": "^", "↓": "v", "→": "->"}


class Terminal(Console):
    """A console on the standard output, or on the standard error stream."""

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def legible(self, text: str) -> str:
        """`text` in the characters that the stream has, and none that the terminal would obey."""
        return visible(text, lines=True).encode(self.encoding, _NEAREST).decode(self.encoding)

    def render_str(self, text: str, **how: Any) -> Text:
        """As rich's, of the legible text: replaced before it is laid out, or columns would be crooked."""
        return super().render_str(self.legible(text), **how)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich's; what came in as a `Text` of somebody's own making is made harmless here, whoever printed it."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text, lines=True))


def adapt_streams() -> None:
    """Let the standard streams replace what they cannot encode, whoever writes to them, instead of failing.

    And where the environment says that lines have no room for a word, they get some, or nothing at all would be said.
    """
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and len(columns) < 9 and int(columns) < _NARROWEST:
        os.environ["COLUMNS"] = str(_NARROWEST)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in _STRICT:
            stream.reconfigure(errors=_NEAREST)


def print_json(values: Any) -> None:
    """Print strict JSON to the standard output, in ASCII and in lines that are never broken to a width.

    Raises:
        CosliceError: a number that is not finite, which JSON has no word for.
    """
    try:
        text = json.dumps(values, indent=2, allow_nan=False)
    except ValueError as error:
        raise CosliceError(
            "json: numbers that are not finite were to be printed, but JSON has no word for them; leave out --json."
        ) from error
    sys.stdout.write(f"{text}\n")


def _nearest(character: str) -> str:
    """ASCII that comes near to a character; "?" where nothing does."""
    if character in _WORDS:
        return _WORDS[character]
    name = unicodedata.name(character, "")
    if name.startswith("BOX DRAWINGS"):
        return "+" if " AND " in name else "-" if name.endswith(("HORIZONTAL", "LEFT", "RIGHT")) else "|"
    if unicodedata.category(character) == "Pd" or name == "MINUS SIGN":
        return "-"
    if "QUOTATION MARK" in name:
        return '"' if "DOUBLE" in name else "'"
    if name.startswith("GREEK"):
        return name.partition(" WITH ")[0].rpartition(" ")[2].lower()
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_nearest, error.object[error.start : error.end])), error.end


codecs.register_error(_NEAREST, _replaced)
