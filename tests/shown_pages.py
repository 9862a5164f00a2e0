"""What pages show: their commands; and their Python, run as it stands, but for sizes that are made small."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))

QUICK = "replace(DDS, schedule=replace(DDS.schedule, steps=2))"
"""DDS in two steps, in the place of the name of a method."""


def commands(text: str) -> Iterator[str]:
    """Lines of a page that begin with `coslice`, in fences and indented, and what stands so between backticks."""
    text = text.replace("\\\n", " ")
    for line in text.splitlines():
        if re.match(r"( {4,})?coslice \S", line):
            yield line.strip()
    yield from re.findall(r"`(coslice [a-z][^`\n]*)`", text)


def python_blocks(page: Path) -> list[str]:
    """The Python of a page, block by block, without the indentation of a list."""
    text = page.read_text(encoding="utf-8")
    fences = re.findall(r"^ *```python\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for block in fences]


def made_small(text: str, instead: Iterable[tuple[str, str]]) -> str:
    """`text` with small numbers; what is to be replaced must be shown."""
    for shown, small in instead:
        assert shown in text, shown
        text = text.replace(shown, small)
    return text


def run_shown(text: str, **given: Any) -> dict[str, Any]:
    """The names that the code leaves, which begins with those that `QUICK` needs."""
    names: dict[str, Any] = {"__name__": "shown", **given}
    text = "from dataclasses import replace\nfrom coslice.methods import DDS\n" + text
    exec(compile(text, "shown", "exec", dont_inherit=True), names)  # this module's __future__ is not the page's
    return names
