"""What is said of an input, whatever it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Any

from coslice.escapes import visible

__all__ = ["Description", "by", "number", "written"]

_WIDTH = 100
_LABEL = 14


@dataclass(frozen=True, eq=False)
class Description:
    """One input in words.

    Attributes:
        title: its name and what it is.
        entries: (label, sentences), in the order they are read.
        facts: the same as numbers and words for programs, JSON.
        doubts: (severity, sentence), the gravest first; severity "grave", "warning" or "note".
        advice: (what it is for, lines to type), such as the command that reconstructs it.
        picture: draws it as PNG; None where there is nothing to draw.
    """

    title: str
    entries: tuple[tuple[str, str], ...]
    facts: dict[str, Any] = field(default_factory=dict)
    doubts: tuple[tuple[str, str], ...] = ()
    advice: tuple[tuple[str, str], ...] = ()
    picture: Callable[[], bytes] | None = None

    @property
    def values(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return {
            "what": self.title,
            **self.facts,
            "said": [{"about": label, "sentence": sentence} for label, sentence in self.entries],
            "doubts": [{"severity": severity, "sentence": sentence} for severity, sentence in self.doubts],
            "advice": [{"for": purpose, "type": lines} for purpose, lines in self.advice],
        }


def written(description: Description) -> str:
    """A description as lines for a terminal or a text file."""
    lines = [description.title, ""]
    before = None
    for label, sentence in description.entries:
        lines += _hanging("" if label == before else label, sentence)
        before = label
    if description.doubts:
        lines += ["", "Doubts"]
        for severity, sentence in description.doubts:
            lines += wrap(
                sentence,
                _WIDTH,
                initial_indent={"grave": "  !! ", "warning": "  !  "}.get(severity, "  -  "),
                subsequent_indent="     ",
                break_long_words=False,
                break_on_hyphens=False,
            )
    for purpose, typed in description.advice:
        lines += ["", f"{purpose}:", *(f"  {line}" for line in typed.splitlines())]
    return "\n".join(map(visible, lines))


def _hanging(label: str, sentence: str) -> Sequence[str]:
    return wrap(
        sentence,
        _WIDTH,
        initial_indent=f"{label:<{_LABEL}}",
        subsequent_indent=" " * _LABEL,
        break_long_words=False,
        break_on_hyphens=False,
    )


def by(numbers: Sequence[float], digits: int = 4) -> str:
    """ "0.45 x 0.45"."""
    return " x ".join(number(one, digits) for one in numbers)


def number(value: float, digits: int = 4) -> str:
    """A number in a sentence, in so many digits; whole numbers as they are."""
    return (
        str(value) if isinstance(value, int) else f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"
    )
