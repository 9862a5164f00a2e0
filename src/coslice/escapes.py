"""Words of strangers, made harmless where they are printed: names, cards, recipes, headers.

A terminal obeys some characters: colours, titles, the clipboard and the place of the cursor are set by them, and text
can be made to run backwards. Spreadsheets obey cells that begin as formulas do. What is obeyed is written out here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from coslice.errors import CosliceError

__all__ = ["check_file_name", "csv_cell", "numeral", "shown", "visible"]

_OBEYED = ("Cc", "Cf", "Co", "Zl", "Zp")
"""Unicode's categories of what is no picture of a letter: controls, directions and joiners, private use, lines."""
_HALF = "Cs"
"""Its category of halves of letters, which no stream can write: bytes of a file's name that are no text."""
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Beginnings of formulas; the last four are wide forms, which some programs take for the narrow ones."""
_MOST = 120
_MOST_OF_NAMES = 120
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
"""Names that Windows keeps for devices, whatever stands behind a dot."""


def visible(text: str, lines: bool = False) -> str:
    """`text` with every character that a terminal would obey written out, as in \\x1b or \\u202e.

    Args:
        text: of anybody.
        lines: whether ends of lines and tabs stay what they are.
    """
    if text.isascii() and text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(one if one in kept else _seen(one) for one in text)


def _seen(character: str) -> str:
    kind = unicodedata.category(character)
    if kind == _HALF:
        return "?"
    return character.encode("unicode_escape").decode() if kind in _OBEYED else character


def shown(value: Any, most: int = _MOST) -> str:
    """A value as Python writes it, cut to `most` characters, for the sentence of an error.

    Only as much of the value is looked at as is shown: a list of lists of lists may stand for gigabytes.
    """
    words = _begun(value, most)
    return words if len(words) <= most else words[: most - 3] + "..."


def numeral(value: float) -> str:
    """A number in a sentence, in six digits; of a whole one with hundreds of digits, how many there are."""
    try:
        return f"{value:g}"
    except OverflowError:
        return shown(value)


def _begun(value: Any, room: int) -> str:
    """At least the first `room` characters of what repr would give."""
    if isinstance(value, str):
        whole = repr(value[: room + 1])
        return visible(whole)
    if isinstance(value, bytes):
        return repr(value[: room + 1])
    if isinstance(value, int) and not isinstance(value, bool):
        bits = value.bit_length()
        return repr(value) if bits < 400 else f"a whole number of about {int(bits * 0.30103) + 1} digits"
    if isinstance(value, Mapping):
        return _listed("{", "}", ((key, item) for key, item in value.items()), room)
    if isinstance(value, list | tuple | set | frozenset):
        opened, closed = ("[", "]") if isinstance(value, list) else ("(", ")") if isinstance(value, tuple) else "{}"
        return _listed(opened, closed, ((item,) for item in value), room)
    return visible(repr(value))


def _listed(opened: str, closed: str, items: Any, room: int) -> str:
    text = opened
    for number, entry in enumerate(items):
        if len(text) > room:
            return text
        text += ", " if number else ""
        for place, item in enumerate(entry):
            text += ": " if place else ""
            text += _begun(item, room - len(text)) if len(text) < room else "..."
    return text + closed


def csv_cell(value: Any) -> Any:
    """A cell of a table in CSV that no spreadsheet takes for a formula: words that begin as one have a ' before them.

    Numbers stay what they are, also those below 0, and as text. Lines in a cell are joined to one.
    """
    if not isinstance(value, str):
        return value
    text = visible(" ".join(value.splitlines()) if "\n" in value or "\r" in value else value)
    text = text.encode(errors="backslashreplace").decode()
    if not text.lstrip().startswith(_FORMULAS):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def check_file_name(name: str, who: str) -> str:
    """`name`, if a file or a folder can be called so on every system, within the folder where it is put.

    Args:
        name: without a folder.
        who: begins the sentence, as in "recipe: the edition".

    Raises:
        CosliceError: it is empty, leads to another folder, is longer than 120 letters, has characters that names cannot
            have, or is kept by Windows for a device.
    """
    reason = (
        "it is empty"
        if not name.strip(". ")
        else f"it has {len(name)} letters, and at most {_MOST_OF_NAMES} are possible"
        if len(name) > _MOST_OF_NAMES
        else "it begins with a dot, or ends with a dot or a space"
        if name[0] == "." or name[-1] in ". "
        else 'a name can have no control characters and none of / \\ : * ? " < > |'
        if set(name) & set('/\\:*?"<>|') or visible(name) != name
        else "Windows keeps it for a device"
        if name.partition(".")[0].lower() in _RESERVED
        else ""
    )
    if reason:
        raise CosliceError(f"{who} {shown(name)} cannot be the name of a file ({reason}); choose another name.")
    return name
