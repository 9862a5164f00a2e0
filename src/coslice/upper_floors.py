"""What a value of a lower floor asks of an upper one: `volume.show()` is drawn where pages are drawn.

Volumes, plans and results know nothing of pages and import none (docs/design.md, "Rooms"). They say a word here, and
whoever answers it is imported then. Who answers which word is said in one place, the door `coslice/__init__.py`, which
stands on no floor.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["answering", "ask"]

_PLACES: dict[str, str] = {}
"""By word, the function that answers, as in "coslice.report.showing:show"."""


def answering(**places: str) -> None:
    """Say who answers which word: MODULE:FUNCTION, imported when it is first asked."""
    _PLACES.update(places)


def ask(word: str, *given: Any, **more: Any) -> Any:
    """What the function that answers `word` gives for these arguments; it raises what that raises."""
    module, _, name = _PLACES[word].partition(":")
    return getattr(import_module(module), name)(*given, **more)
