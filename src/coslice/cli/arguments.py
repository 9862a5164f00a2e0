"""What a command line may be, before any command looks at it."""

from __future__ import annotations

from collections.abc import Sequence

from coslice.errors import CosliceError
from coslice.escapes import shown

__all__ = ["check_arguments"]

_MOST_LETTERS = 4096
"""Of an argument: longer is no path on any system, and no setting."""
_WORDS = ("--licence", "--credit", "--source")
"""Options of words for people, which may be none."""


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuse arguments that are empty, as of a variable of a script that is not set, or longer than any path.

    An empty folder would be the present one, and an empty name that of nothing.

    Args:
        arguments: without the name of the program.

    Raises:
        CosliceError: likewise.
    """
    for number, argument in enumerate(arguments):
        if argument == "--":
            return
        before = arguments[number - 1] if number else ""
        name, equals, value = argument.partition("=")
        if len(argument) > _MOST_LETTERS:
            whose = before if before.startswith("--") else "an argument"
            raise CosliceError(
                f"{whose}: {shown(argument, 40)} of {len(argument)} letters was given, but at most {_MOST_LETTERS} are "
                "possible."
            )
        if argument.startswith("--") and equals and not value and name not in _WORDS:
            raise CosliceError(f"{name}: nothing was given; give a value, or leave the option out.")
        if not argument.strip() and before not in _WORDS:
            whose = before if before.startswith("--") else "an argument"
            raise CosliceError(f"{whose}: nothing was given; give a value, or leave it out.")
