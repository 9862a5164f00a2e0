"""What the pages show is understood: their commands by the command line, their Python by the package."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path
from typing import Any, cast

import pytest
import typer

from coslice.cli.app import app
from shown_pages import PAGES, ROOT, commands

OWN_SCAN = ROOT / "docs" / "your-own-scan.md"
ROOT_COMMAND = cast(Any, typer.main.get_command(app))  # only groups have commands


def unknown(line: str) -> list[str]:
    """What of a command line no command has: its name, an option, or an option without its value."""
    words = shlex.split(line, comments=True)
    command = ROOT_COMMAND
    rest = words[1:]
    while hasattr(command, "commands"):
        if not rest or rest[0].startswith("-"):
            return []
        if rest[0] not in command.commands:
            return [rest[0]]
        command, rest = command.commands[rest[0]], rest[1:]
    options = {name: item for item in command.params for name in (*item.opts, *item.secondary_opts)}
    found = [word for word in rest if word.startswith("--") and word not in options and word != "--help"]
    for word, following in zip(rest, [*rest, "--"][1:], strict=True):
        item = options.get(word) if word.startswith("--") else None
        if item is not None and not getattr(item, "is_flag", False) and following.startswith("--"):
            found.append(f"{word} without a value")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_the_pages_are_understood(page):
    """Every command, and every option of it, exists: parsed, not run."""
    assert {line: wrong for line in commands(page.read_text(encoding="utf-8")) if (wrong := unknown(line))} == {}


def test_the_results_are_a_page_one_reads():
    """Tables have pages of their own, in docs/tables."""
    assert len((ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines()) <= 400


def test_a_command_that_is_not_there_is_found():
    assert unknown("coslice reconstruct a --geometri g --out o") == ["--geometri"]
    assert unknown("coslice reconstrukt a") == ["reconstrukt"]
    assert unknown("coslice reconstruct a --geometry --out o") == ["--geometry without a value"]
    assert unknown("coslice priors show ct") == unknown("coslice reconstruct a --no-repair --out o/   # words") == []


def test_own_scan_shows_what_it_promises():
    text = OWN_SCAN.read_text(encoding="utf-8")
    lines = [line for line in commands(text) if line.startswith("coslice reconstruct")]
    assert len(lines) >= 6 and len(PAGES) >= 8
    known = {
        name for item in ROOT_COMMAND.commands["reconstruct"].params for name in (*item.opts, *item.secondary_opts)
    }
    named = set(re.findall(r"`(--[a-z-]+)", text))
    assert named <= known, named - known


def test_the_python_of_own_scan_imports_what_is_there():
    blocks = re.findall(r"```python\n(.*?)```", OWN_SCAN.read_text(encoding="utf-8"), re.DOTALL)
    imports = [node for node in ast.walk(ast.parse("\n".join(blocks))) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in imports if (node.module or "").startswith("coslice")]
    assert ours
    for node in ours:
        module = importlib.import_module(str(node.module))
        assert [name.name for name in node.names if not hasattr(module, name.name)] == []


def test_links_of_the_pages_lead_somewhere():
    """Files exist, and headings of this page or of another; terms of the glossary are rows (test_site.py)."""
    for page in [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            led = page.parent / name if name else page
            assert led.exists(), (page.name, target)
            if anchor and led.suffix == ".md" and led.name != "glossary.md":
                assert anchor in _anchors(led), (page.name, target)


def _anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in _headings(text)}


def _headings(text: str) -> list[str]:
    return re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
